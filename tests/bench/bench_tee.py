"""The whole output path, ``dre wrap -- cat FILE``, beside ``cat FILE | tee COPY | sha256sum``, in one run.

Run by hand: ``python tests/bench/bench_tee.py [MEGABYTES] [PATH_OF_IN_TOTO_RUN]``, for random bytes and for short
lines. The wrapper does all it does for anybody: masking, patterns, recording, hashing, compression, sealing.
Prints MB/s, the ratio, the wrapper's peak resident memory and whether every byte was kept; beside it how much
of the same output in-toto-run keeps. Medians of three runs.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

LINE = b"2024-05-01T12:00:00Z INFO request %07d from src/lib/app.py completed status 200 in 12 ms [ 12%%]\n"
RUNS = 3


def bench_tee(folder: Path, source: Path) -> None:
    environ = {**os.environ, "HOME": str(folder), "PYTHONPATH": str(ROOT), "DRE_DIR": str(folder / "dre")}
    expected = hashlib.sha256(source.read_bytes()).hexdigest()
    size = source.stat().st_size / 1e6
    ours, peer, rss = [], [], 0
    for _ in range(RUNS):
        began = time.perf_counter()
        subprocess.run(
            ["sh", "-c", f"cat {source} | tee {folder}/copy | sha256sum"], capture_output=True, check=True
        )
        peer.append(time.perf_counter() - began)
        began = time.perf_counter()
        code = (
            "import os,resource,subprocess,sys\n"
            "done=subprocess.run([sys.executable,'-m','dre_ci.cli','wrap','--','cat',sys.argv[1]])\n"
            "os.write(2,str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss//1024).encode())\n"
        )
        line = f'{sys.executable} -c "$0" {source} | cat > /dev/null'
        done = subprocess.run(["sh", "-c", line, code], env=environ, capture_output=True, check=True)
        ours.append(time.perf_counter() - began)
        rss = max(rss, int(done.stderr.split()[-1]))
    shown = subprocess.run(
        [sys.executable, "-m", "dre_ci.cli", "evidence", "show", "latest", "--json"],
        env=environ,
        capture_output=True,
        check=True,
    ).stdout
    kept = "every byte kept" if expected.encode() in shown else "MASKED OR LOST"
    ours_rate, peer_rate = size / statistics.median(ours), size / statistics.median(peer)
    print(
        f"{source.name}: cat|tee|sha256sum {peer_rate:.0f} MB/s, dre wrap {ours_rate:.0f} MB/s, "
        f"ratio {ours_rate / peer_rate:.2f}, "
        f"peak RSS {rss} MiB, {kept}"
    )


def bench_in_toto(folder: Path, source: Path, peer: str) -> None:
    subprocess.run(
        ["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(folder / "key.pem")], check=True
    )
    words = [
        peer,
        "-n",
        "s",
        "-s",
        "--signing-key",
        str(folder / "key.pem"),
        "-d",
        str(folder),
        "--",
        "cat",
        str(source),
    ]
    subprocess.run(words, cwd=folder, capture_output=True, check=False)
    link = max(folder.glob("s.*.link"), key=lambda path: path.stat().st_mtime, default=None)
    said = json.loads(link.read_bytes()) if link else {}
    statement = said.get("signed") or json.loads(base64.b64decode(said.get("payload", "e30=")))
    kept = len(statement.get("byproducts", {}).get("stdout", "").encode())
    print(f"{source.name}: in-toto-run keeps {kept} of {source.stat().st_size} bytes")


def bench_stages() -> None:
    from dre_core.pipeline.mask import Masker
    from dre_core.pipeline.patterns import Patterns

    text = b"".join(LINE % number for number in range(100_000))
    values = [f"S3cr3t-{number}-{number * 7919:x}-value" for number in range(10)]
    for name, stage in (
        ("mask, no values", Masker().stage()),
        ("mask, 10 values", Masker(values).stage()),
        ("patterns", Patterns()),
    ):
        began = time.perf_counter()
        for at in range(0, len(text), 256 << 10):
            stage.feed(text[at : at + (256 << 10)])
        stage.flush()
        print(f"{name:20}{len(text) / 1e6 / (time.perf_counter() - began):7.0f} MB/s")


def main(megabytes: int, peer: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        random, lines = folder / "random", folder / "lines"
        with random.open("wb") as out:
            for _ in range(megabytes):
                out.write(os.urandom(1 << 20))
        with lines.open("wb") as out:
            subprocess.run(["seq", str(megabytes * 50_000)], stdout=out, check=True)
        for source in (random, lines):
            bench_tee(folder, source)
            if peer:
                bench_in_toto(folder, source, peer)
    bench_stages()


if __name__ == "__main__":
    main(
        int(sys.argv[1]) if len(sys.argv) > 1 else 200,
        sys.argv[2] if len(sys.argv) > 2 else shutil.which("in-toto-run") or "",
    )

"""The output path beside ``cat FILE | tee COPY | sha256sum``, the masker and the patterns, in one run.

Run by hand: ``python tests/bench/bench_tee.py [MEGABYTES]``. Prints MB/s, the ratio to the pipe line and
the wrapper's peak resident memory. The wrapper does what the pipe line does: pass on, copy, hash. Medians
of five runs.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

WRAPPED = """
import hashlib, os, resource, sys, time
sys.path.insert(0, {root!r})
from dre_core.capture.process import Command, run
digest = hashlib.sha256()
with open({copy!r}, "wb", buffering=0) as copy:
    def sink(name, data, elapsed):
        copy.write(data)
        digest.update(data)
    result = run(Command(argv=("cat", {source!r}), cwd="/"), environ=dict(os.environ), sinks=sink)
assert result.exit_code == 0 and not result.gaps, result
sys.stderr.write(digest.hexdigest() + " " + str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024))
"""
LINE = b"2024-05-01T12:00:00Z INFO request %07d from src/lib/app.py completed status 200 in 12 ms [ 12%%]\n"
RUNS = 5


def timed(command: list[str]) -> tuple[float, str]:
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return time.perf_counter() - began, (done.stdout + done.stderr).strip()


def bench_tee(folder: Path, megabytes: int) -> None:
    source, copy = folder / "source", folder / "copy"
    with source.open("wb") as out:
        block = os.urandom(1 << 20)
        for _ in range(megabytes):
            out.write(block)
    size = source.stat().st_size / 1e6
    code = WRAPPED.format(root=str(ROOT), copy=str(copy), source=str(source))
    # both end in a program that reads and drops, so that both write to a pipe
    ours_command = ["sh", "-c", f"'{sys.executable}' -I -c \"$0\" | cat > /dev/null", code]
    peer_command = ["sh", "-c", f"cat {source} | tee {copy} | sha256sum"]
    ours, peer, shown = [], [], ""
    for _ in range(RUNS):
        seconds, digest = timed(peer_command)
        peer.append(seconds)
        seconds, shown = timed(ours_command)
        ours.append(seconds)
        assert shown.split()[0] == digest.split()[0]
    ours_rate, peer_rate = size / statistics.median(ours), size / statistics.median(peer)
    print(f"cat|tee|sha256sum   {peer_rate:7.0f} MB/s")
    ratio, rss_mib = ours_rate / peer_rate, shown.split()[1]
    print(f"wrapper             {ours_rate:7.0f} MB/s   ratio {ratio:.2f}   peak RSS {rss_mib} MiB")


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


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        bench_tee(Path(name), int(sys.argv[1]) if len(sys.argv) > 1 else 200)
    bench_stages()

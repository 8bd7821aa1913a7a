"""Runs every fuzz target for a time each, and prints how often it ran.

``python -m tests.fuzz.run [SECONDS] [TARGET…]``. The corpus grows in ``.fuzz/`` (or ``DRE_FUZZ_CORPUS``) from one run
to the next; it begins with bytes of real operations that are recorded here first. A crash's input stays there beside
it, and the exit code is 1.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz.fuzz_parsers import FACTS, TARGETS, one

HERE = Path(__file__).resolve()


def seeds(corpus: Path) -> None:
    """Bytes that the parsers accept, from real operations."""
    with tempfile.TemporaryDirectory() as name:
        found = _recorded(Path(name))
    for target, items in found.items():
        (corpus / target).mkdir(parents=True, exist_ok=True)
        for number, data in enumerate(items):
            assert one(target, data), (target, number)
            (corpus / target / f"seed-{number}").write_bytes(data)


def _recorded(folder: Path) -> dict[str, list[bytes]]:
    from dre_core.crypto.aead import seal_stream
    from dre_core.crypto.dsse import Envelope
    from dre_core.crypto.keys import KEY_TYPES, Signer
    from dre_core.crypto.note import parse_proof
    from dre_core.model import canonical
    from dre_core.pipeline.codec import ZSTD
    from dre_core.store.log import Log

    home = str(folder)
    environ = {**os.environ, "HOME": home, "DRE_DIR": f"{home}/.dre", "PYTHONPATH": str(HERE.parents[2])}
    dre = [sys.executable, "-m", "dre_ci.cli"]
    (folder / "test_a.py").write_text("def test_a(): pass\ndef test_b(): assert 0\n")
    pytest = [sys.executable, "-m", "pytest", "--dre", "-q", "--junitxml=junit.xml", "test_a.py"]
    for words in ([*dre, "wrap", "--junit", "junit.xml", "--", *pytest], [*dre, "wrap", "--", "true"]):
        subprocess.run(words, cwd=folder, env=environ, capture_output=True, check=False)
    subprocess.run(
        [*dre, "evidence", "export", "--all", "--output", "e.zip"], cwd=folder, env=environ, check=True
    )
    found: dict[str, list[bytes]] = {target: [] for target in TARGETS}
    experiments = folder / ".dre" / "experiments"
    for path in experiments.glob("*/run.intoto.jsonl"):
        for line in path.read_bytes().splitlines():
            payload = Envelope.parse(line).payload
            found["envelope"].append(line)
            found["statement"].append(payload)
            found["canonical"].append(payload)
            document = canonical.loads(payload)
            if document["predicateType"].endswith("run:v1"):
                found["run"].append(canonical.dumps(document["predicate"]))
    for path in experiments.glob("*/run.tlog-proof"):
        found["proof"].append(path.read_bytes())
        found["note"].append(parse_proof(path.read_text()).checkpoint_note.encode())
    with Log.open(folder / ".dre" / "log.db", read_only=True) as log:
        found["event"] += [log.leaf(index) for index in range(log.size)]
    found["archive"].append((folder / "e.zip").read_bytes())
    found["cast"] += _payloads(folder, "recording")
    for number, kind in enumerate(FACTS):
        found["facts"] += [bytes([number]) + data for data in _payloads(folder, kind)]
    found["index"] += [path.read_bytes() for path in experiments.glob("*/index.json")]
    found["rules"].append(
        b'[[rules]]\nid = "a"\nregex = "(?i)key-([0-9a-f]{8})"\nkeywords = ["key-"]\nsecretGroup = 1\nentropy = 2.5\n'
    )
    found["journal"] += [path.read_bytes() for path in experiments.glob("*/journal/*/*.jsonl")]
    found["junit"].append((folder / "junit.xml").read_bytes())
    found["policy"].append(
        b"preset: ci\nsignatures: 2\nskips: [{tests: [a], reason: b, until: 2027-01-01}]\n"
    )
    found["cipher"].append(b"".join(seal_stream(b"k" * 32, [b"plain" * 10_000])))
    found["zstd"].append(b"".join(ZSTD.encode([b"plain " * 1000])))
    for kind in KEY_TYPES:
        signer = Signer.generate(kind)
        found["public-key"].append(signer.public.pem())
        found["private-key"].append(signer.pem())
    return found


def _payloads(folder: Path, kind: str) -> list[bytes]:
    """Plain bytes of the kept payloads of one kind, of all operations in a folder's archive."""
    from dre_core.store.sealed import archive_operations
    from dre_core.verify.evidence import read_whole
    from dre_core.verify.integrity import Expectations, Trust, inspect

    with archive_operations(folder / "e.zip") as operations:
        runs = [(inspect(each, Trust(keys={}), Expectations()).run, each.blobs) for each in operations]
        return [
            read_whole(blobs, item, 1 << 24)
            for run, blobs in runs
            if run is not None
            for item in run.items_of(kind)
            if item.kept
        ]


def fuzz(target: str, corpus: Path, seconds: int) -> tuple[int, int, str]:
    """Executions, inputs in the corpus afterwards, and the end of the output where it crashed."""
    words = [sys.executable, str(HERE.with_name("fuzz_parsers.py")), target, str(corpus / target)]
    options = [f"-max_total_time={seconds}", "-max_len=65536", "-print_final_stats=1", "-rss_limit_mb=2048"]
    environ = {**os.environ, "PYTHONPATH": str(HERE.parents[2])}
    done = subprocess.run(
        [*words, *options],
        cwd=corpus,
        env=environ,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    executed = re.search(r"stat::number_of_executed_units: *(\d+)", done.stderr)
    count = int(executed[1]) if executed else 0
    crash = done.stderr[-2000:] if done.returncode else ""
    return count, len(list((corpus / target).iterdir())), crash


def main() -> int:
    """Prints a table of targets with executions and sizes of the corpus."""
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    chosen = sys.argv[2:] or list(TARGETS)
    corpus = Path(os.environ.get("DRE_FUZZ_CORPUS", ".fuzz")).resolve()
    seeds(corpus)
    total = failed = 0
    for target in chosen:
        count, size, crash = fuzz(target, corpus, seconds)
        total += count
        failed += bool(crash) or not count
        print(
            f"{target:<12} {count:>10} executions  {size:>6} inputs{'  CRASHED' if crash else ''}", flush=True
        )
        if crash:
            print(crash, file=sys.stderr)
    print(f"{'all':<12} {total:>10} executions, {failed} targets crashed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

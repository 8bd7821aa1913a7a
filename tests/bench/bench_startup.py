"""Start-up of ``dre wrap -- true`` beside a bare interpreter and in-toto-run, in turn in one run.

Run by hand: ``python tests/bench/bench_startup.py [ROUNDS] [PATH_OF_IN_TOTO_RUN]``. Prints medians of wall and
CPU time in milliseconds and the ratio to ``python -I -c pass``, in a folder without git and in a small repository. Byte
code is compiled first, as an installation does.
"""

from __future__ import annotations

import compileall
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def once(command: list[str], folder: Path, environ: dict[str, str]) -> tuple[float, float]:
    """Wall and CPU seconds of a command that must succeed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, check=False)
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr.decode()
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main(rounds: int, peer: str) -> None:
    for package in ("dre_core", "dre_ci", "dre_pytest"):
        compileall.compile_dir(ROOT / package, quiet=1)
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        environ = {**os.environ, "HOME": name, "PYTHONPATH": str(ROOT)}
        environ.pop("DRE_DIR", None)
        plain, repository = home / "plain", home / "repository"
        for folder in (plain, repository):
            folder.mkdir()
            (folder / "file.txt").write_text("text\n")
        for words in (
            ["init", "-q"],
            ["add", "-A"],
            ["-c", "user.name=b", "-c", "user.email=b@b", "commit", "-qm", "b"],
        ):
            subprocess.run(["git", *words], cwd=repository, env=environ, check=True)
        wrap = [sys.executable, "-m", "dre_ci.cli", "wrap", "--", "true"]
        table = {
            "python -I -c pass": ([sys.executable, "-I", "-c", "pass"], plain),
            "dre wrap -- true": (wrap, plain),
            "dre wrap -- true, git": (wrap, repository),
        }
        if peer:
            key = home / "key.pem"
            subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(key)], check=True)
            table["in-toto-run -- true"] = ([peer, "-n", "s", "--signing-key", str(key), "--", "true"], plain)
        for command, folder in table.values():
            once(command, folder, environ)
        times: dict[str, list[tuple[float, float]]] = {label: [] for label in table}
        for _ in range(rounds):
            for label, (command, folder) in table.items():
                times[label].append(once(command, folder, environ))
    bare = [statistics.median(column) for column in zip(*times["python -I -c pass"], strict=True)]
    for label, pairs in times.items():
        wall, cpu = (statistics.median(column) for column in zip(*pairs, strict=True))
        of_bare = (wall / bare[0], cpu / bare[1])
        print(
            f"{label:24} wall {wall * 1e3:5.0f} ms x{of_bare[0]:5.1f}   CPU {cpu * 1e3:5.0f} ms x{of_bare[1]:5.1f}"
        )


if __name__ == "__main__":
    main(
        int(sys.argv[1]) if len(sys.argv) > 1 else 15,
        sys.argv[2] if len(sys.argv) > 2 else shutil.which("in-toto-run") or "",
    )

"""What the installed plugin costs a pytest run that did not ask for it: with it, and with ``-p no:dre``, in turn.

Run by hand: ``python tests/bench/bench_idle.py [ROUNDS]``. Prints medians and the ratio of CPU times.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path


def cpu_seconds(*words: str, cwd: str) -> float:
    """User and system time of one run."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words]
    subprocess.run(command, cwd=cwd, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "test_one.py").write_text("def test_one():\n    assert True\n", encoding="utf-8")
        cpu_seconds(cwd=folder)
        with_plugin, without = [], []
        for _ in range(rounds):
            with_plugin.append(cpu_seconds(cwd=folder))
            without.append(cpu_seconds("-p", "no:dre", cwd=folder))
    a, b = statistics.median(with_plugin), statistics.median(without)
    print(
        f"{rounds} rounds, CPU medians: installed {a * 1000:.1f} ms, blocked {b * 1000:.1f} ms, ratio {a / b:.3f}"
    )


if __name__ == "__main__":
    main()

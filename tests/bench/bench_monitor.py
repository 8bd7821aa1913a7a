"""What watching costs: DRE's own CPU time a second of run, for an idle command with 1 and with 40 processes.

Run by hand: ``python tests/bench/bench_monitor.py [SECONDS]``. The cost of a short run is taken off, so that start and
sealing do not count.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def cpu_seconds(command: list[str], folder: str) -> float:
    """CPU time of a command with all its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environ = {**os.environ, "HOME": folder, "PYTHONPATH": str(ROOT)}
    subprocess.run(command, cwd=folder, env=environ, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main(seconds: int) -> None:
    wrap = [sys.executable, "-m", "dre_ci.cli", "wrap", "--"]
    for count in (1, 40):

        def command(span: int, count: int = count) -> list[str]:
            return ["sh", "-c", f"for i in $(seq {count}); do sleep {span} & done; wait"]

        with tempfile.TemporaryDirectory() as folder:
            cost = [
                cpu_seconds([*wrap, *command(span)], folder) - cpu_seconds(command(span), folder)
                for span in (1, 1 + seconds)
            ]
        print(f"{count:>3} processes: {100 * (cost[1] - cost[0]) / seconds:.2f} % of a core")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 30)

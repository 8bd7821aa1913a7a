"""What recording costs: 10,000 trivial tests, plain and under each recorder in turn.

    python tests/bench/bench_recorder.py [--rounds 5] [--tests 10000]

CPU is user and system time of the whole process; the variants take turns, so a busy machine hits all alike.
Prints the median, the ratio to plain pytest and the difference per test in microseconds. pytest-reportlog is
left out where it is not installed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[2]
FILES = 100
PLUGIN = """
import os
from pathlib import Path

from dre_pytest.recorder import Recorder


def pytest_configure(config):
    name = os.urandom(8).hex()
    Recorder(config, Path("journal"), lambda text: text, name, name).register()
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tests", type=int, default=10_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_suite(folder, options.tests)
        run(folder, ())  # compiles the tests
        seconds: dict[str, list[float]] = {}
        memory: dict[str, int] = {}
        for _ in range(options.rounds):
            for variant, arguments in variants().items():
                cpu, peak_kib = run(folder, arguments)
                seconds.setdefault(variant, []).append(cpu)
                memory[variant] = max(memory.get(variant, 0), peak_kib)
    plain = median(seconds["plain"])
    print(f"{options.tests} tests, {options.rounds} rounds, Python {sys.version.split()[0]}")
    for variant, values in seconds.items():
        own = median(values)
        print(
            f"{variant:>10}  {own:6.2f} s CPU  ratio {own / plain:5.3f}"
            f"  {(own - plain) / options.tests * 1e6:+7.1f} us/test  {memory[variant] / 1024:5.0f} MiB"
        )


def variants() -> dict[str, tuple[str, ...]]:
    """Name to additional arguments."""
    found: dict[str, tuple[str, ...]] = {
        "plain": (),
        "recorder": ("-p", "bench_plugin"),
        "junitxml": ("--junitxml", "junit.xml"),
    }
    if find_spec("pytest_reportlog") is not None:
        found["reportlog"] = ("-p", "pytest_reportlog.plugin", "--report-log", "report.log")
    return found


def write_suite(folder: Path, count: int) -> None:
    """The tests, evenly over a hundred files."""
    (folder / "bench_plugin.py").write_text(PLUGIN)
    (folder / "pytest.ini").write_text("[pytest]\n")
    for number in range(FILES):
        body = "".join(f"def test_{each}():\n    assert True\n\n\n" for each in range(count // FILES))
        (folder / f"test_{number:03}.py").write_text(body)


def run(folder: Path, arguments: tuple[str, ...]) -> tuple[float, int]:
    """One pytest run: CPU seconds and peak memory in KiB."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    environment = {
        **os.environ,
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}",
    }
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{command} ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss


if __name__ == "__main__":
    main()

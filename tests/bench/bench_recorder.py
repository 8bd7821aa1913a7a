"""What recording costs: trivial tests and real suites, plain and under each recorder in turn.

    python tests/bench/bench_recorder.py [--rounds 5] [--tests 10000] [--instructions] [--suite DIR:PATH ...]

CPU is user and system time of the whole process; the variants take turns, so a busy machine hits all alike.
Prints the median, the ratio to plain pytest, the difference per test in microseconds, and peak memory.

``dre`` is the whole of ``pytest --dre``: recording with the real masker, sealing, all checks and the reports.
``dre-wrapped`` is the same session inside a running operation, so without the sealing: the price of a test.
``recorder`` has no masker either. What sealing and judging cost once is ``dre`` with a single test, which is
measured too, as ``dre-fixed``. Peers are left out where they are not installed.

``--instructions`` counts the processor's instructions by valgrind's callgrind instead, which no other load changes,
and takes fifty times as long: for trivial tests the price of one more test (the difference between two numbers of
tests), for a suite the whole process.

``--suite /path/to/jinja2:tests`` adds a suite that lies unpacked there; ``suites.py --folder`` leaves some.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
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
    Recorder(config, Path(os.environ["BENCH_OUT"], "journal"), lambda text: text, name, name).register()
"""
PEERS = {
    "junitxml": ("_pytest", ("--junitxml", "{out}/junit.xml")),
    "reportlog": ("pytest_reportlog", ("-p", "pytest_reportlog.plugin", "--report-log", "{out}/report.log")),
    "json-report": (
        "pytest_jsonreport",
        ("-p", "pytest_metadata.plugin", "-p", "pytest_jsonreport.plugin", "--json-report",
         "--json-report-file={out}/report.json"),
    ),
    "html": ("pytest_html", ("-p", "pytest_metadata.plugin", "-p", "pytest_html.plugin", "--html={out}/report.html")),
    "allure": ("allure_pytest", ("-p", "allure_pytest.plugin", "--alluredir={out}/allure")),
}  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tests", type=int, default=10_000)
    parser.add_argument("--suite", action="append", default=[], metavar="DIR:PATH")
    parser.add_argument("--instructions", action="store_true")
    options = parser.parse_args()
    if options.instructions:
        count_instructions(options.suite)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "many")
        write_suite(folder, options.tests)
        one = Path(name, "one")
        write_suite(one, 1)
        measure(f"{options.tests} trivial tests", folder, (), options.rounds, options.tests, one)
    for suite in options.suite:
        directory, _, tests = suite.rpartition(":")
        measure(Path(directory).name, Path(directory), (tests,), options.rounds, None, None)


def measure(
    title: str, folder: Path, tests: tuple[str, ...], rounds: int, count: int | None, one: Path | None
) -> None:
    """Run every variant in turn and print the table."""
    seconds: dict[str, list[float]] = {}
    memory: dict[str, int] = {}
    with work_folder() as out:
        _, _, text = run(folder, tests, out)  # compiles the tests
        count = count or sum(
            int(number) for number in re.findall(r"(\d+) (?:passed|failed|skipped|xfailed)", text)
        )
        for _ in range(rounds):
            for variant, arguments in variants().items():
                place = one if variant == "dre-fixed" else folder
                if place is None:
                    continue
                with work_folder() as fresh:
                    words = tuple(each.replace("{out}", str(fresh)) for each in arguments)
                    cpu, peak_kib, _ = run(place, (*tests, *words), fresh, wrapped=variant == "dre-wrapped")
                seconds.setdefault(variant, []).append(cpu)
                memory[variant] = max(memory.get(variant, 0), peak_kib)
    plain = median(seconds["plain"])
    print(f"{title}: {count} tests, {rounds} rounds, Python {sys.version.split()[0]}")
    for variant, values in seconds.items():
        own = median(values)
        print(
            f"{variant:>12}  {own:6.2f} s CPU  ratio {own / plain:5.3f}"
            f"  {(own - plain) / count * 1e6:+7.1f} us/test  {memory[variant] / 1024:5.0f} MiB",
            flush=True,
        )


def count_instructions(suites: list[str]) -> None:
    """Count and print, each variant once."""
    sizes = (400, 1200)
    with tempfile.TemporaryDirectory() as name:
        folders = [Path(name, f"tests-{size}") for size in sizes]
        for folder, size in zip(folders, sizes, strict=True):
            write_suite(folder, size)
        counts = {}
        for variant, arguments in variants().items():
            if variant != "dre-fixed":
                few, many = (instructions(folder, arguments, variant) for folder in folders)
                counts[variant] = (many - few) / (sizes[1] - sizes[0])
        show_instructions("one more trivial test", counts)
    for suite in suites:
        directory, _, tests = suite.rpartition(":")
        show_instructions(
            Path(directory).name,
            {
                variant: instructions(Path(directory), (tests, *arguments), variant)
                for variant, arguments in variants().items()
                if variant != "dre-fixed"
            },
        )


def show_instructions(title: str, counts: dict[str, float]) -> None:
    """Print one table: thousands of instructions and the ratio to plain pytest."""
    print(f"{title}: instructions, Python {sys.version.split()[0]}")
    for variant, count in counts.items():
        ratio = count / counts["plain"]
        print(f"{variant:>12}  {count / 1e3:12,.0f} k  ratio {ratio:5.3f}", flush=True)


def instructions(folder: Path, arguments: tuple[str, ...], variant: str) -> int:
    """The instructions of one run."""
    with work_folder() as out:
        words = tuple(each.replace("{out}", str(out)) for each in arguments)
        run(folder, words, out)  # compiles the tests
    with work_folder() as out:
        words = tuple(each.replace("{out}", str(out)) for each in arguments)
        counting = (
            "valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", f"--log-file={out / 'valgrind'}"
        )  # fmt: skip
        run(folder, words, out, wrapped=variant == "dre-wrapped", under=counting)
        text = (out / "valgrind").read_text()
    return int(re.findall(r"Collected : (\d+)", text)[-1])


def variants() -> dict[str, tuple[str, ...]]:
    """Name to additional arguments."""
    found: dict[str, tuple[str, ...]] = {
        "plain": (),
        "recorder": ("-p", "bench_plugin"),
        "dre-wrapped": ("-p", "dre_pytest.plugin", "--dre"),
        "dre": ("-p", "dre_pytest.plugin", "--dre"),
        "dre-fixed": ("-p", "dre_pytest.plugin", "--dre"),
    }
    return found | {name: arguments for name, (module, arguments) in PEERS.items() if find_spec(module)}


@contextmanager
def work_folder() -> Iterator[Path]:
    """A folder for what a variant writes, with the plugin of the bench in it."""
    path = Path(tempfile.mkdtemp(prefix="dre-bench-"))
    try:
        (path / "bench_plugin.py").write_text(PLUGIN)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def operation(out: Path, wrapped: bool) -> Iterator[dict[str, str]]:
    """The environment of a session; inside a held operation for the wrapped one."""
    environment = {
        **{
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("DRE_", "CI", "PYTEST_"))
        },
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONPATH": f"{out}{os.pathsep}{ROOT}",
        "HOME": str(out),
        "PYTHONHASHSEED": "0",
        "BENCH_OUT": str(out),
        "DRE_DIR": str(out / ".dre"),
    }
    if not wrapped:
        yield environment
        return
    import fcntl

    experiment = out / ".dre" / "experiments" / "op_bench"
    experiment.mkdir(parents=True)
    with (experiment / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield {**environment, "DRE_OPERATION": "op_bench"}


def write_suite(folder: Path, count: int) -> None:
    """The tests, evenly over a hundred files."""
    folder.mkdir()
    (folder / "pytest.ini").write_text("[pytest]\n")
    for number in range(min(FILES, count)):
        body = "".join(f"def test_{each}():\n    assert True\n\n\n" for each in range(max(1, count // FILES)))
        (folder / f"test_{number:03}.py").write_text(body)


def run(
    folder: Path, arguments: tuple[str, ...], out: Path, *, wrapped: bool = False, under: tuple[str, ...] = ()
) -> tuple[float, int, str]:
    """One pytest run: CPU seconds, peak memory in KiB, and the end of what it printed."""
    command = [*under, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    with operation(out, wrapped) as environment, (out / "stdout").open("wb") as stdout:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=stdout, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    text = (out / "stdout").read_text(errors="replace")[-600:]
    if process.returncode not in (0, 1):
        raise SystemExit(f"{command} ended with {process.returncode}\n{text}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss, text


if __name__ == "__main__":
    main()

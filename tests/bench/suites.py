"""Twenty and more open-source test suites, recorded: does DRE change them, and does it stay quiet?

    python tests/bench/suites.py [--folder DIR] [--only NAME ...] [--markdown FILE]

Each suite's source distribution is fetched with pip, unpacked, committed to a git repository of its own and run
plain, with ``--dre``, under ``dre wrap``, and plain and with ``--dre`` on two xdist workers. Compared are exit
codes and the counts of pytest's closing line. ``dre verify`` must say ``supported``, or ``failed`` where the
suite fails plainly too, with no finding above info: at level 3 what was wrapped, at level 2 what was not. The
exported archive must get the same verdict in an empty folder, with nothing but the public key, and junitparser must
read the counts of the closing line from the JUnit report.

Needs a package registry. Everything is kept in the folder, so a second run fetches nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from junitparser import JUnitXml

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_SECONDS = 600
BUILDERS = (
    "setuptools", "setuptools-scm", "wheel", "hatchling", "hatch-vcs", "hatch-fancy-pypi-readme", "flit-core",
    "poetry-core", "calver",
)  # fmt: skip

# One environment serves all suites: each gets only the plugins that it names.
PLUGINS = ("-p", "xdist", "-p", "dre_pytest.plugin")


@dataclass(frozen=True)
class Suite:
    """One project.

    Attributes:
        name: On the registry.
        version: The pinned version.
        tests: Arguments of pytest.
        needs: Packages that its tests import.
        parallel: Whether its tests can run on several workers at all.
    """

    name: str
    version: str
    tests: tuple[str, ...] = ("tests",)
    needs: tuple[str, ...] = ()
    parallel: bool = True


SUITES = (
    Suite("attrs", "26.1.0", needs=("hypothesis", "cloudpickle")),
    Suite(
        "blinker",
        "1.9.0",
        ("tests", "-p", "asyncio", "-o", "asyncio_default_fixture_loop_scope=function"),
        needs=("pytest-asyncio",),
    ),
    Suite("boltons", "26.2.0"),
    Suite("cachetools", "8.0.1"),
    Suite("click", "8.5.1"),
    Suite("h11", "0.16.0", ("h11",)),
    Suite("humanize", "4.17.0", needs=("freezegun",)),
    Suite("idna", "3.20"),
    Suite("inflection", "0.5.1", ("test_inflection.py",)),
    Suite("iniconfig", "2.3.1", ("testing",)),
    Suite("itsdangerous", "2.2.0", needs=("freezegun",)),
    Suite("jinja2", "3.1.6", needs=("trio",)),
    Suite("markupsafe", "3.0.4"),
    Suite("more-itertools", "11.2.1"),
    Suite(
        "packaging",
        "26.3",
        ("tests", "-k", "not test_comparison and not test_arbitrary"),
        needs=("pretend", "tomli-w"),
    ),
    Suite("parse", "1.22.4", ("tests", "-o", "addopts=")),
    Suite("pluggy", "1.7.0", ("testing", "-p", "pytest_benchmark.plugin"), needs=("pytest-benchmark",)),
    Suite("pyparsing", "3.3.3", needs=("railroad-diagrams",)),
    Suite("python-dotenv", "1.2.4", needs=("click", "sh", "ipython")),
    Suite("tabulate", "0.10.0", ("test",), needs=("wcwidth",)),
    Suite("tomlkit", "0.15.2", needs=("pyyaml",)),
    Suite("toolz", "1.2.0", ("toolz",)),
    Suite("xmltodict", "1.0.4"),
)


@dataclass
class Result:
    """What came of one suite."""

    suite: Suite
    runs: dict[str, tuple[int, str]] = field(default_factory=dict)
    verdicts: dict[str, str] = field(default_factory=dict)
    levels: dict[str, int] = field(default_factory=dict)
    elsewhere: dict[str, tuple[str, int]] = field(default_factory=dict)
    junit: dict[str, str] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)
    problem: str = ""

    @property
    def differing(self) -> list[str]:
        """Recorded runs that did not end as the plain one did."""
        pairs = (("dre", "plain"), ("wrap", "plain"), ("dre-n2", "plain-n2"))
        return [one for one, other in pairs if one in self.runs and self.runs[one] != self.runs[other]]

    @property
    def fine(self) -> bool:
        """Same codes and counts, a fitting verdict, and nothing above info."""
        if self.problem or self.differing or self.findings or not self.runs or not self.runs["plain"][1]:
            return False
        plains = {"dre": "plain", "wrap": "plain", "dre-n2": "plain-n2"}
        return all(
            verdict == ("supported" if self.runs[plains[name]][0] == 0 else "failed")
            and self.levels[name] == (3 if name == "wrap" else 2)
            and self.elsewhere[name] == (verdict, self.levels[name])
            and self.junit[name] == junit_counts(self.runs[name][1])
            for name, verdict in self.verdicts.items()
        )


class Bench:
    """A folder with a virtual environment and the unpacked suites.

    Args:
        folder: Where everything is kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "venv" / "bin" / "python"

    def prepare(self, suites: Iterable[Suite]) -> None:
        """Make the environment with DRE, pytest, xdist and what the suites need."""
        if not self.python.exists():
            self._call(sys.executable, "-m", "venv", str(self.folder / "venv"))
        needs = sorted({need for suite in suites for need in suite.needs})
        self._call(
            str(self.python), "-m", "pip", "install", "-q", "-e", str(ROOT), "pytest", "pytest-xdist", *BUILDERS,
            *needs,
        )  # fmt: skip

    def fetch(self, suite: Suite) -> Path:
        """The suite's source distribution.

        Raises:
            subprocess.CalledProcessError: There is no registry, or none that has it.
        """
        archives = self.folder / "sdist"
        archives.mkdir(parents=True, exist_ok=True)
        pattern = f"{suite.name.replace('-', '?')}-{suite.version}.tar.gz"
        if not list(archives.glob(pattern)):
            command = (
                str(self.python), "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:",
                "-d", str(archives), f"{suite.name}=={suite.version}",
            )  # fmt: skip
            try:
                self._call(*command, "--no-build-isolation")
            except subprocess.CalledProcessError:  # its builder is not here, or of another version
                self._call(*command)
        return next(archives.glob(pattern))

    def unpack(self, suite: Suite) -> Path:
        """Fetch, unpack, commit and install one suite's project.

        Raises:
            subprocess.CalledProcessError: It can't be fetched or built.
        """
        target = self.folder / "src" / f"{suite.name}-{suite.version}"
        if (target / ".git").exists():
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(self.fetch(suite)) as archive:
            top = archive.getnames()[0].partition("/")[0]
            archive.extractall(target.parent, filter="data")
        (target.parent / top).rename(target)
        install = (
            str(self.python),
            "-m",
            "pip",
            "install",
            "-q",
            "--no-deps",
            "--force-reinstall",
            str(target),
        )
        try:
            self._call(*install, "--no-build-isolation")
        except subprocess.CalledProcessError:
            self._call(*install)
        (target / ".gitignore").write_text(
            "__pycache__/\n.hypothesis/\n*.egg-info/\n.benchmarks/\nbuild/\n.coverage*\n"
        )
        self._call("git", "init", "-q", cwd=target)
        self._call("git", "add", "-A", "-f", ".", cwd=target)
        names = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
        self._call("git", *names, "commit", "-q", "-m", "import", cwd=target)
        return target

    def measure(self, suite: Suite) -> Result:
        """Run one suite in every way."""
        result = Result(suite)
        try:
            target = self.unpack(suite)
        except (subprocess.CalledProcessError, OSError) as error:
            result.problem = f"could not be prepared: {error}"
            return result
        shutil.rmtree(target / ".dre", ignore_errors=True)
        pytest = (str(self.python), "-m", "pytest", "-q", "-p", "no:cacheprovider", *PLUGINS, *suite.tests)
        wrap = (str(self.python), "-m", "dre_ci.cli", "wrap", "--")
        ways: dict[str, tuple[str, ...]] = {
            "plain": pytest,
            "dre": (*pytest, "--dre"),
            "wrap": (*wrap, *pytest, "--dre"),
        }
        if suite.parallel:
            ways |= {"plain-n2": (*pytest, "-n", "2"), "dre-n2": (*pytest, "-n", "2", "--dre")}
        try:
            for name, command in ways.items():
                result.runs[name] = self._run(command, target)
                if "plain" not in name:
                    self._verify(name, target, result)
        except subprocess.TimeoutExpired as error:
            result.problem = f"took more than {TIMEOUT_SECONDS} s: {error.cmd[-3:]}"
        return result

    def _verify(self, name: str, target: Path, result: Result) -> None:
        verdict = json.loads(self._dre(target, "verify", "--json") or b"{}")
        result.verdicts[name] = verdict.get("verdict", "none")
        result.levels[name] = verdict.get("level", 0)
        for method in verdict.get("methods", {}).values():
            for finding in method["findings"]:
                if finding["severity"] != "info":
                    kind = f"{finding['check']} ({finding['severity']})"
                    result.findings.append(f"{name}: {kind}: {finding['message']} {finding['where']}")
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            empty = Path(folder)
            (empty / "key.pem").write_bytes(self._dre(target, "keys", "public"))
            self._dre(target, "evidence", "export", "--output", str(empty / "evidence.zip"))
            elsewhere = json.loads(
                self._dre(empty, "verify", "evidence.zip", "--key", "key.pem", "--json", home=empty / "home")
                or b"{}"
            )
            result.elsewhere[name] = (elsewhere.get("verdict", "none"), elsewhere.get("level", 0))
            report = empty / "junit.xml"
            self._dre(target, "report", "generate", "--format", "junit", "--output", str(report))
            result.junit[name] = self._read_junit(report)

    def _dre(self, cwd: Path, *arguments: str, home: Path | None = None) -> bytes:
        environ = self._environ()
        if home is not None:
            home.mkdir()
            environ["HOME"] = str(home)
        return subprocess.run(
            (str(self.python), "-m", "dre_ci.cli", *arguments), cwd=cwd, env=environ, stdout=subprocess.PIPE,
            timeout=TIMEOUT_SECONDS, check=False,
        ).stdout  # fmt: skip

    @staticmethod
    def _read_junit(path: Path) -> str:
        """The counts of the run's own tests, as junitparser reads them."""
        suite = next(iter(JUnitXml.fromfile(str(path))))
        counts = {
            "failed": suite.failures,
            "error": suite.errors,
            "skipped": suite.skipped,
            "passed": suite.tests - suite.failures - suite.errors - suite.skipped,
        }
        return ", ".join(sorted(f"{number} {word}" for word, number in counts.items() if number))

    def _run(self, command: tuple[str, ...], target: Path) -> tuple[int, str]:
        done = subprocess.run(
            command, cwd=target, env=self._environ(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, timeout=TIMEOUT_SECONDS, check=False,
        )  # fmt: skip
        return done.returncode, closing_counts(done.stdout.decode("utf-8", "replace"))

    def _environ(self) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("CI", "DRE_", "PYTEST_", "GITHUB_"))
        }
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        return {
            **kept,
            "HOME": str(home),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        }

    @staticmethod
    def _call(*command: str, cwd: Path | None = None) -> None:
        done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        if done.returncode:
            tail = done.stdout.decode("utf-8", "replace")[-400:]
            raise subprocess.CalledProcessError(done.returncode, [*command[:4], tail])


_COUNT = re.compile(r"(\d+) (passed|failed|errors?|skipped|xfailed|xpassed|deselected|rerun|warnings?)")


def closing_counts(output: str) -> str:
    """The counts in pytest's closing line, in a fixed order and without warnings and time."""
    lines = [
        line for line in output.splitlines() if re.search(r" in \d[\d.:]*s?\b", line) and _COUNT.search(line)
    ]
    found = _COUNT.findall(lines[-1]) if lines else []
    return ", ".join(
        sorted(
            f"{number} {word.rstrip('s') if word == 'errors' else word}"
            for number, word in found
            if "warning" not in word
        )
    )


def junit_counts(counts: str) -> str:
    """What JUnit calls the counts of a closing line: an expected failure is skipped, an unexpected pass passed."""
    words = {"xfailed": "skipped", "xpassed": "passed"}
    sums: dict[str, int] = {}
    for part in filter(None, counts.split(", ")):
        number, _, word = part.partition(" ")
        if word != "deselected":
            sums[words.get(word, word)] = sums.get(words.get(word, word), 0) + int(number)
    return ", ".join(sorted(f"{number} {word}" for word, number in sums.items()))


def table(results: Iterable[Result]) -> str:
    """A Markdown table."""
    rows = [
        "| suite | exit | counts | as plain | verdict (`--dre`, `wrap`, `-n 2`) | above info |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for result in results:
        code, counts = result.runs.get("plain", ("", result.problem[:80]))
        same = "no: " + ", ".join(result.differing) if result.differing else "yes"
        verdicts = ", ".join(result.verdicts.values())
        name = f"{result.suite.name} {result.suite.version}"
        rows.append(f"| {name} | {code} | {counts} | {same} | {verdicts} | {len(result.findings)} |")
    return "\n".join(rows)


def main() -> int:
    """Run the suites and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--only", nargs="*", default=())
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="dre-suites-"))
    folder.mkdir(parents=True, exist_ok=True)
    chosen = [suite for suite in SUITES if not options.only or suite.name in options.only]
    bench = Bench(folder.absolute())
    bench.prepare(chosen)
    results = []
    for suite in chosen:
        started = time.monotonic()
        result = bench.measure(suite)
        results.append(result)
        state = "ok" if result.fine else f"NOT OK {result.problem} {result.differing} {result.verdicts}"
        print(
            f"{suite.name}: {state} ({time.monotonic() - started:.0f} s) {result.runs.get('plain')}",
            flush=True,
        )
        for name in result.differing:
            print(f"    {name}: {result.runs[name]}", flush=True)
        for text in result.findings[:6]:
            print(f"    {text}", flush=True)
    text = table(results)
    print(text)
    if options.markdown:
        options.markdown.write_text(text + "\n")
    return 0 if all(result.fine for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())

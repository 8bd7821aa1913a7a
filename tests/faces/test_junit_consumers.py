"""Our JUnit report before those who read it: everybody counts what we count, whatever runner wrote the input.

The inputs in ``tests/gold/junit`` were written by pytest 9.2, unittest-xml-reporting, jest-junit, gotestsum and Maven
Surefire 2.22. A consumer that does not tell errors from failures is held to their sum.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from dre_core.capture.programmatic import read_junit
from tests.faces.cache import CACHE, installing
from tests.faces.conftest import npm_install

pytestmark = pytest.mark.faces

INPUTS = Path(__file__).resolve().parents[1] / "gold" / "junit"
RUNNERS = ("pytest", "unittest", "jest", "go", "surefire")
PACKAGES = (
    "junit-to-ctrf@0.0.14", "xunit-viewer@10.6.1", "test-results-parser@0.4.6", "@datadog/datadog-ci@5.25.0",
)  # fmt: skip


@pytest.fixture(scope="module")
def npm():
    """Where the npm packages are, installed once into the cache."""
    with installing():
        return _consumers(CACHE / "npm-junit")


def _consumers(folder):
    modules = folder / "node_modules"
    if not all((modules / name.rpartition("@")[0]).exists() for name in PACKAGES):
        if shutil.which("npm") is None:
            pytest.skip("there is no npm")
        folder.mkdir(parents=True, exist_ok=True)
        npm_install(["npm"], "--prefix", str(folder), *PACKAGES, cwd=folder)
    return modules


@pytest.fixture(scope="module", params=RUNNERS)
def report(request, tmp_path_factory):
    """Our report of a run whose runner wrote that file, and what we count in it."""
    folder = tmp_path_factory.mktemp(request.param)
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith(("DRE_", "CI", "GIT"))
    }
    environ |= {"HOME": str(folder / "home")}
    path = folder / "ours.xml"
    shutil.copy(INPUTS / f"{request.param}.xml", folder / "theirs.xml")
    for words in (
        ["wrap", "--junit", "out.xml", "--", "sh", "-c", "cp theirs.xml out.xml; exit 1"],
        ["report", "generate", "--format", "junit", "--output", str(path)],
    ):
        dre = [sys.executable, "-m", "dre_ci.cli", *words]
        subprocess.run(dre, cwd=folder, env=environ, capture_output=True, timeout=60, check=False)
    theirs = read_junit((INPUTS / f"{request.param}.xml").read_bytes()).tests
    ours = read_junit(path.read_bytes()).tests
    # Every case of the input is there, and what is more are the checks of the verification.
    assert (ours.failed, ours.errors) == (theirs.failed, theirs.errors)
    assert ours.passed > theirs.passed
    return path, ours


def counted(ours) -> tuple[int, int, int, int, int]:
    """Total, passed, failed, errors, skipped: an expected failure is skipped, as nearly everybody has it."""
    skipped = ours.skipped + ours.xfailed
    return (
        ours.passed + ours.failed + ours.errors + skipped,
        ours.passed,
        ours.failed,
        ours.errors,
        skipped,
    )


def test_junitparser(report):
    from junitparser import JUnitXml

    path, ours = report
    suites = list(JUnitXml.fromfile(str(path)))
    total, passed, failed, errors, skipped = counted(ours)
    assert sum(suite.tests for suite in suites) == total
    assert sum(suite.failures for suite in suites) == failed
    assert sum(suite.errors for suite in suites) == errors
    assert sum(suite.skipped for suite in suites) == skipped
    assert sum(1 for suite in suites for case in suite if case.is_passed) == passed


def test_junit2html(report):
    pytest.importorskip("junit2htmlreport")
    path, ours = report
    words = [sys.executable, "-m", "junit2htmlreport", str(path), "--summary-matrix"]
    text = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout
    found = {name: int(count) for name, count in re.findall(r"(Failed|Passed|Skipped) +: +(\d+)", text)}
    _, passed, failed, errors, skipped = counted(ours)
    assert found == {"Passed": passed, "Failed": failed + errors, "Skipped": skipped}


def test_codecovs_own_parser(report):
    parser = pytest.importorskip("test_results_parser")
    path, ours = report
    runs = parser.parse_junit_xml(path.read_bytes()).testruns
    found = Counter(str(run.outcome) for run in runs)
    total, passed, failed, errors, skipped = counted(ours)
    assert len(runs) == total
    assert (found["pass"], found["failure"], found["error"], found["skip"]) == (
        passed,
        failed,
        errors,
        skipped,
    )


def test_junit_to_ctrf(report, npm, tmp_path):
    path, ours = report
    target = tmp_path / "ctrf.json"
    words = [str(npm / ".bin" / "junit-to-ctrf"), str(path), "-o", str(target)]
    subprocess.run(words, capture_output=True, check=True, timeout=60)
    found = json.loads(target.read_text())["results"]["summary"]
    total, passed, failed, errors, skipped = counted(ours)
    assert found["tests"] == total
    assert (found["passed"], found["failed"], found["skipped"]) == (passed, failed + errors, skipped)


def test_xunit_viewer(report, npm, tmp_path):
    path, ours = report
    words = [str(npm / ".bin" / "xunit-viewer"), "-r", str(path), "-c", "-o", str(tmp_path / "x.html")]
    text = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60).stdout
    line = [line for line in text.splitlines() if re.match(r"^\d+ \w+(, \d+ \w+)+$", line.strip())][-1]
    found = {name: int(count) for count, name in re.findall(r"(\d+) (\w+)", line)}
    _, passed, failed, errors, skipped = counted(ours)
    names = ("passed", "failure", "error", "skipped")
    assert tuple(found.get(name, 0) for name in names) == (passed, failed, errors, skipped)


def test_the_results_parser_of_npm(report, npm):
    path, ours = report
    script = (
        f"const {{parse}} = require({json.dumps(str(npm / 'test-results-parser'))});"
        f"const r = parse({{type: 'junit', files: [{json.dumps(str(path))}]}});"
        "console.log(JSON.stringify([r.total, r.passed, r.failed, r.errors, r.skipped]))"
    )
    done = subprocess.run(["node", "-e", script], capture_output=True, text=True, check=True, timeout=60)
    total, passed, failed, errors, skipped = counted(ours)
    # Its total leaves out what was skipped.
    assert json.loads(done.stdout) == [total - skipped, passed, failed, errors, skipped]


def test_datadog_takes_it(report, npm):
    path, _ = report
    words = [str(npm / ".bin" / "datadog-ci"), "junit", "upload", "--dry-run", "--service", "s", str(path)]
    environ = {**os.environ, "DATADOG_API_KEY": "none"}
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60, env=environ)
    assert done.returncode == 0
    assert "Uploaded 1 files" in done.stdout


@pytest.fixture(scope="module")
def codecov():
    """Codecov's uploader in an environment of its own, since it pins what others use."""
    with installing():
        return _uploader(CACHE / "codecov")


def _uploader(folder):
    program = folder / "bin" / "codecovcli"
    if not program.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], capture_output=True, check=False)
        pip = [str(folder / "bin" / "pip"), "install", "-q", "codecov-cli"]
        if subprocess.run(pip, capture_output=True, timeout=300, check=False).returncode:
            pytest.skip("codecov-cli can't be installed")
    return program


def test_codecovs_uploader_takes_it(report, codecov):
    path, _ = report
    words = [str(codecov), "do-upload", "--dry-run", "--report-type", "test_results", "--file", str(path)]
    words += ["--disable-search", "-t", "none", "-C", "a" * 40, "--slug", "o/r"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60, cwd=path.parent)
    assert done.returncode == 0, done.stderr
    assert "Found 1 test_results files" in done.stdout + done.stderr

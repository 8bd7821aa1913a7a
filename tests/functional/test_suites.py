"""Five open-source suites, recorded: same exit codes and counts, and the same verdict here and elsewhere."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.registry, pytest.mark.slow]

SCRIPT = Path(__file__).resolve().parents[1] / "bench" / "suites.py"
CHOSEN = ("more-itertools", "pluggy", "click", "jinja2", "boltons")


def _script():
    spec = importlib.util.spec_from_file_location("dre_bench_suites", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


suites = _script()


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    made = suites.Bench(tmp_path_factory.mktemp("suites"))
    try:
        made.prepare([suite for suite in suites.SUITES if suite.name in CHOSEN])
        made.fetch(next(suite for suite in suites.SUITES if suite.name == "pluggy"))
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no package registry: {str(error.cmd[-1])[-200:]}")
    return made


@pytest.mark.parametrize("name", CHOSEN)
def test_suite(bench, name):
    result = bench.measure(next(suite for suite in suites.SUITES if suite.name == name))
    assert not result.problem
    assert not result.differing, result.runs
    assert not result.findings
    assert result.fine, result


@pytest.mark.parametrize(
    ("line", "counts"),
    [
        ("====== 3 failed, 1 passed, 2 warnings in 0.05s ======", "1 passed, 3 failed"),
        ("1 passed in 61.10s (0:01:01)", "1 passed"),
        ("2 passed, 1 error in 1.0s", "1 error, 2 passed"),
        ("1 passed, 2 errors in 1.0s", "1 passed, 2 error"),
        ("nothing", ""),
    ],
)
def test_closing_counts(line, counts):
    assert suites.closing_counts(f"x\n{line}\n") == counts


@pytest.mark.parametrize(
    ("counts", "as_junit"),
    [
        ("1 passed, 3 failed", "1 passed, 3 failed"),
        ("2 passed, 1 skipped, 3 xfailed, 4 xpassed, 7 deselected", "4 skipped, 6 passed"),
        ("", ""),
    ],
)
def test_counts_of_a_report(counts, as_junit):
    assert suites.junit_counts(counts) == as_junit

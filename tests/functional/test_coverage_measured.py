"""Coverage: measured by the recorder or by somebody else, sealed, and held against the change and the tests."""

from __future__ import annotations

import json
import sqlite3
import sys
from importlib.util import find_spec
from pathlib import Path

import coverage
import pytest

from dre_core.capture.covered import read_covered
from dre_core.capture.programmatic import read_coverage
from dre_core.pipeline import codec
from dre_core.store.local import LocalStore
from tests.conftest import PYTEST

needs_xdist = pytest.mark.skipif(find_spec("xdist") is None, reason="needs pytest-xdist")
needs_cov = pytest.mark.skipif(find_spec("pytest_cov") is None, reason="needs pytest-cov: tox -e plugins")

SHOP = "def double(n):\n    if n > 100:\n        return -1\n    return 2 * n\n"
# Against the project's first commit: 3 is never reached, 7 left out, 10 and 11 never called, 1 and 4 are old.
CHANGED = """def double(n):
    if n > 100:
        return -1
    return 2 * n
def debug(n):
    text = f"n is {n}"
    print(text)  # pragma: no cover
    return text
def half(n):
    value = n / 2
    return value
"""
TESTS = """
import shop

def test_two():
    assert shop.double(1) == 2

def test_debug():
    assert shop.debug(1) == "n is 1"

def test_idle():
    assert 1 + 1 == 2

def test_unchecked():
    for each in []:
        assert shop.double(each)

def test_bare():
    shop.double(3)
"""


def item_of(project, kind):
    """The plain bytes of the newest operation's only item of a kind."""
    run = json.loads(project.dre("evidence", "show", "--json").stdout)
    (item,) = [item for item in run["items"] if item["kind"] == kind]
    stored = LocalStore(project.path / ".dre").read(item["digest"], 1 << 30)
    return item, b"".join(codec.decode_chunks(item["codecs"], iter([stored]), 1 << 30))


def coverage_of(project, tmp_path):
    """Facts in the sealed coverage item of the newest operation."""
    _, plain = item_of(project, "coverage")
    path = tmp_path / "data.sqlite"
    path.write_bytes(plain)
    return read_coverage(path)


def covered_of(project):
    return json.loads(item_of(project, "covered")[1])


def change(project):
    """A base commit with the old shop, and uncommitted work on top of it."""
    base = project.commit("base")
    project.write("shop.py", CHANGED)
    project.write("test_shop.py", TESTS)
    return base


def named(verdict, check):
    return [
        finding for finding in verdict["methods"]["programmatic"]["findings"] if finding["check"] == check
    ]


@pytest.mark.parametrize("wrapped", [False, True])
def test_lines_and_branches_of_the_project(project, tmp_path, wrapped):
    project.write("shop.py", SHOP)
    project.commit()
    words = (*PYTEST, "--dre", "--dre-cov", "-q")
    done = project.dre("wrap", "--", *words) if wrapped else project.run(*words)
    assert done.returncode == 0, done.stdout
    facts = coverage_of(project, tmp_path)
    (name,) = [name for name in facts.files if Path(name).name == "shop.py"]
    assert {1, 2, 4} <= set(facts.files[name].executed)
    assert 3 not in facts.files[name].executed
    assert facts.branches is True
    assert facts.contexts == ("test_shop.py::test_four", "test_shop.py::test_two")
    assert project.verdict()["verdict"] == "supported"
    assert not (project.path / ".coverage").exists()


WAYS = {
    "own": (*PYTEST, "--dre", "--dre-cov"),
    "own, two workers": pytest.param((*PYTEST, "--dre", "--dre-cov", "-n", "2"), marks=needs_xdist),
    "pytest-cov": pytest.param(
        (*PYTEST, "--dre", "--cov=.", "--cov-branch", "--cov-context=test", "--cov-report="), marks=needs_cov
    ),
    "pytest-cov, two workers": pytest.param(
        (*PYTEST, "--dre", "--cov=.", "--cov-branch", "--cov-context=test", "--cov-report=", "-n", "2"),
        marks=[needs_cov, needs_xdist],
    ),
    "pytest-cov and --dre-cov": pytest.param(
        (*PYTEST, "--dre", "--dre-cov", "--cov=.", "--cov-branch", "--cov-context=test", "--cov-report="),
        marks=needs_cov,
    ),
}


@pytest.mark.parametrize("words", WAYS.values(), ids=WAYS)
def test_changed_lines_and_what_tests_ran(project, words):
    base = change(project)
    project.write(".gitignore", "__pycache__/\n.coverage\n")
    project.write(".coveragerc", "[run]\nomit =\n    */generated/*\n")
    done = project.run(*words, "--dre-base", base, "--dre-junit", "report.xml")
    assert done.returncode == 0, done.stdout
    facts = covered_of(project)
    assert facts["base"] == base
    (file,) = facts["changed"]
    assert file == {
        "path": "shop.py",
        "executed": [2, 5, 6, 8, 9],
        "missing": [3, 10, 11],
        "excluded": [7],
        "measured": True,
    }
    assert facts["omit"] == ["*/generated/*"]
    assert facts["pragmas"] == ["shop.py:7"]
    assert facts["branches"] is facts["contexts"] is True
    assert facts["idle"] == {"count": 2, "first": ["test_shop.py::test_idle", "test_shop.py::test_unchecked"]}
    assert facts["unchecked"] == {"count": 1, "first": ["test_shop.py::test_unchecked"]}
    assert facts["assertions"] == 3
    verdict = project.verdict()
    (line, excluded) = named(verdict, "coverage-of-change")
    assert line["severity"] == excluded["severity"] == "info"
    assert "changed lines ran; not: shop.py:" in line["message"]
    assert "shop.py:7" in excluded["message"]
    assert named(verdict, "tests-reach-code")[0]["tests"] == facts["idle"]["first"]
    shown = done.stdout.decode()
    assert "changed lines ran; not: shop.py:" in shown
    assert 'name="dre.changed_lines.missing" value="shop.py:' in (project.path / "report.xml").read_text()
    report = project.dre("report", "generate", "--format", "markdown").stdout.decode()
    assert "left out of measuring" in report


def test_data_that_a_command_wrote(project):
    """What the command measured itself is named by ``--coverage``, as reported."""
    base = change(project)
    words = (sys.executable, "-m", "coverage", "run", "-m", *PYTEST[2:], "-q")
    done = project.dre("wrap", "--base", base, "--coverage", ".coverage", "--", *words)
    assert done.returncode == 0, done.stdout
    item, _ = item_of(project, "covered")
    assert item["vantage"] == "reported"
    facts = covered_of(project)
    assert [file["missing"] for file in facts["changed"]] == [[3, 10, 11]]
    assert (facts["contexts"], facts["idle"], facts["unchecked"], facts["assertions"]) == (
        False,
        None,
        None,
        None,
    )


def test_somebody_elses_measuring_is_left_alone(project):
    words = (sys.executable, "-m", "coverage", "run", "-m", *PYTEST[2:], "--dre", "--dre-cov", "-q")
    done = project.run(*words)
    assert done.returncode == 0, done.stdout
    assert covered_of(project)["files"] == 1
    data = read_coverage(project.path / ".coverage")
    assert {Path(name).name for name in data.files} >= {"shop.py", "test_shop.py"}
    assert data.contexts == ()


@needs_xdist
def test_a_worker_that_dies_leaves_what_it_had_measured(project, tmp_path):
    project.write("test_z.py", "import os\ndef test_die(): os._exit(0)\ndef test_last(): pass\n")
    project.commit("die")
    project.run(*PYTEST, "--dre", "--dre-cov", "-n", "1", "--max-worker-restart", "2")
    facts = coverage_of(project, tmp_path)
    assert set(facts.contexts) >= {
        "test_shop.py::test_two",
        "test_shop.py::test_four",
        "test_z.py::test_last",
    }
    assert covered_of(project)["files"] == 1


@pytest.mark.parametrize("damage", [b"", b"SQLite format 3\x00" + b"\xff" * 5000, b"<coverage", b"\x00" * 99])
def test_damaged_data_is_a_gap(project, damage):
    (project.path / "cov.data").write_bytes(damage)
    project.dre("wrap", "--coverage", "cov.data", "--", "true")
    run = json.loads(project.dre("evidence", "show", "--json").stdout)
    assert [item["name"] for item in run["items"] if item["kind"] == "covered"] == []
    assert [item["name"] for item in run["items"] if item["kind"] == "coverage"] == ["coverage/cov.data"]


ENDLESS = "with recursive n(i) as (select 1 union all select i + 1 from n) select i, i from n"


@pytest.mark.parametrize(
    "statements",
    [
        ["drop table context", f"create view context(id, context) as {ENDLESS}"],
        [
            "drop table arc",
            "create table arc(file_id, context_id, fromno as (hex(zeroblob(100000000))), tono)",
        ],
        ["create virtual table more using fts5(x)"],
        ["create trigger t after insert on meta begin select 1; end"],
    ],
    ids=["view", "computed column", "virtual table", "trigger"],
)
def test_a_database_that_would_run_code_is_a_gap(project, tmp_path, statements):
    data = coverage.CoverageData(basename=str(tmp_path / ".coverage"))
    data.set_context("test_shop.py::test_two")
    data.add_lines({str(project.path / "shop.py"): [1]})
    data.write()
    database = sqlite3.connect(tmp_path / ".coverage")
    try:
        for statement in statements:
            database.execute(statement)
        database.commit()
    except sqlite3.OperationalError as error:
        pytest.skip(f"this SQLite can't make it: {error}")
    finally:
        database.close()
    facts = read_covered([tmp_path / ".coverage"], (), project.path, project.path, "")
    assert facts is None


def test_unknown_is_said(project):
    """Without contexts and before Python 3.12 nobody can say what a test ran."""
    project.run(*PYTEST, "--dre")
    checks = {check["check"]: check for check in project.verdict()["methods"]["programmatic"]["checks"]}
    detail = checks["tests-reach-code"]["detail"]
    assert detail.startswith("unknown") is (sys.version_info < (3, 12))
    assert checks["coverage-of-change"]["state"] == "not-applicable"


def test_a_test_that_stops_the_measuring_breaks_nothing(project, tmp_path):
    project.write(
        "test_stop.py",
        "import coverage\ndef test_stops(): coverage.Coverage.current().stop()\ndef test_after(): pass\n",
    )
    project.commit("stop")
    done = project.run(*PYTEST, "--dre", "--dre-cov")
    assert done.returncode == 0, done.stdout
    assert "test_shop.py::test_two" in coverage_of(project, tmp_path).contexts


def test_data_that_lead_out_of_the_tree_are_not_followed(project):
    (project.path.parent / "secret.py").write_text("x = 1  # pragma: no cover\n")
    project.write("cov.info", "SF:../secret.py\nDA:1,1\nend_of_record\nSF:shop.py\nDA:1,1\nend_of_record\n")
    project.dre("wrap", "--coverage", "cov.info", "--", "true")
    assert covered_of(project)["files"] == 1
    assert covered_of(project)["pragmas"] == []


def test_failures_point_at_the_code_that_only_they_ran(project):
    project.commit("base")
    project.write(
        "shop.py", "def price(n):\n    if n > 9:\n        n = n - 1\n        return n\n    return n\n"
    )
    project.write(
        "test_shop.py",
        "import shop\n"
        "def test_one(): assert shop.price(1) == 1\n"
        "def test_two(): assert shop.price(2) == 2\n"
        "def test_ten(): assert shop.price(10) == 10\n"
        "def test_many(): assert shop.price(99) == 99\n",
    )
    assert project.run(*PYTEST, "-q", "--dre", "--dre-cov").returncode == 1
    verdict = json.loads(project.dre("verify", "--json").stdout)
    (cause,) = [cause for cause in verdict["causes"] if "passing tests" in cause["summary"]]
    assert cause["where"] == "shop.py:3"
    assert cause["summary"].startswith("shop.py:3-4 was run by 2 failing and 0 passing tests")
    first, *_ = covered_of(project)["suspects"]
    assert (first["path"], first["first"], first["last"], first["score"]) == ("shop.py", 3, 4, "1.0000")


def test_no_failure_no_suspect(project):
    assert project.run(*PYTEST, "-q", "--dre", "--dre-cov").returncode == 0
    assert covered_of(project)["suspects"] == []

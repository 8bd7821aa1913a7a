"""What two versions of a test file say, and what configuration says; a collector over a real history."""

from __future__ import annotations

import sys

import pytest

from dre_core.capture.diff import read_changes
from dre_core.capture.equality import added_anything, weakened_equality
from dre_core.capture.git import Git
from dre_core.capture.material import is_golden
from dre_core.capture.runnerfacts import compare_config, compare_pragmas, compare_script, is_script
from dre_core.capture.testfacts import (
    Module,
    added_equal_constants,
    added_hooks,
    compare_tests,
    tautologies,
)
from dre_core.model.changes import ChangeKind

PYTEST = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:hypothesispytest")
BEFORE = "def test_a():\n    assert f(1) == 2\n    assert f(2) == 4\n\ndef test_b():\n    assert g()\n"


def compare(before: str, after: str) -> list[tuple[str, str]]:
    old, new = Module.read("test_x.py", before), Module.read("test_x.py", after)
    return [(change.kind.value, change.name) for change in compare_tests([old], [new])]


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (BEFORE, []),
        (BEFORE + "\ndef test_c():\n    assert h()\n", []),
        (BEFORE.replace("test_b", "test_bee"), [("test-renamed", "test_b")]),
        (BEFORE.partition("def test_b")[0], [("test-removed", "test_b")]),
        (BEFORE.replace("def test_b", "def _test_b"), [("test-removed", "test_b")]),
        (BEFORE.replace("    assert f(2) == 4\n", ""), [("test-weakened", "test_a")]),
        (BEFORE.replace("def test_b", "@pytest.mark.skip\ndef test_b"), [("test-skipped", "test_b")]),
        (BEFORE.replace("    assert g()", "    pytest.skip('later')\n    assert g()"), [("test-skipped", "test_b")]),
        # Python reads a long s as an s in names.
        (BEFORE.replace("def test_b", "@pytest.mark.\u017fkip\ndef test_b"), [("test-skipped", "test_b")]),
        (
            "import pytest\npytestmark = pytest.mark.xfail\n" + BEFORE,
            [("test-skipped", "test_a"), ("test-skipped", "test_b")],
        ),
        (BEFORE.replace("    assert g()", "    assert True"), [("tautology", "test_b")]),
        (BEFORE.replace("assert g()", "assert (g(), 'message')"), [("tautology", "test_b")]),
        (BEFORE.replace("assert g()", "assert g() or True"), [("tautology", "test_b")]),
        (BEFORE.replace("assert g()", "x = g()\n    assert x == x"), [("tautology", "test_b")]),
        (
            BEFORE.replace("    assert g()", "    try:\n        assert g()\n    except AssertionError:\n        pass"),
            [("tautology", "test_b")],
        ),
        (BEFORE + "\ndef test_b():\n    assert h()\n    assert h()\n", [("test-shadowed", "test_b")]),
        (
            "class TestX:\n    def __init__(self): pass\n    def test_q(self): assert q()\n\n" + BEFORE,
            [("test-uncollected", "TestX")],
        ),
    ],
)  # fmt: skip
def test_what_changed(after, expected):
    assert compare(BEFORE, after) == expected


def test_an_old_tautology_is_left_alone():
    old = "def test_a():\n    assert True\n"
    assert compare(old, old + "\ndef test_b():\n    assert g()\n") == []


@pytest.mark.parametrize(
    ("others", "excused"), [("assert S != T", True), ("assert (S, 'x')", False), ("print(S)", False)]
)
def test_a_comparison_with_itself_beside_others_takes_nothing_away(others, excused):
    code = f"def test_a():\n    assert S == S\n    {others}\n"
    found = list(tautologies(Module.read("t.py", ""), Module.read("t.py", code)))
    assert found[0].excused is excused


def test_comparing_a_thing_with_itself_is_the_point_of_some_tests():
    assert compare("", "def test_equality():\n    p = P()\n    assert p == p\n") == []


@pytest.mark.parametrize(
    ("mark", "excused"),
    [
        ("@pytest.mark.skipif(sys.platform == 'win32', reason='no fork')", True),
        ("@pytest.mark.xfail(reason='see #123')", True),
        ("@pytest.mark.skip(reason='flaky')", False),
        ("@pytest.mark.skipif(True, reason='later')", False),
    ],
)
def test_a_skip_for_a_platform_is_excused(mark, excused):
    old, new = (
        Module.read("t.py", BEFORE),
        Module.read("t.py", BEFORE.replace("def test_b", f"{mark}\ndef test_b")),
    )
    (change,) = compare_tests([old], [new])
    assert change.excused is excused


def test_a_move_to_another_file_is_a_rename():
    empty = Module.read("test_x.py", None)
    moved = Module.read("test_y.py", BEFORE)
    changes = compare_tests(
        [Module.read("test_x.py", BEFORE), Module.read("test_y.py", None)], [empty, moved]
    )
    assert {change.kind for change in changes} == {ChangeKind.TEST_RENAMED}


def test_an_equality_that_always_holds():
    code = "class P:\n    def __eq__(self, other):\n        return True\n"
    old, new = Module.read("p.py", "class P:\n    x = 1\n"), Module.read("p.py", code)
    (change,) = added_equal_constants(old, new, frozenset())
    assert not change.excused
    (sentinel,) = added_equal_constants(Module.read("p.py", ""), new, frozenset())
    assert sentinel.excused
    (given,) = added_equal_constants(Module.read("p.py", ""), new, frozenset({"P"}))
    assert not given.excused
    assert list(added_equal_constants(new, new, frozenset())) == []


def test_hooks_and_exits():
    code = "import os\n\ndef pytest_sessionfinish(session):\n    os._exit(0)\n\ndef pytest_configure(config): ...\n"
    changes = added_hooks(Module.read("conftest.py", ""), Module.read("conftest.py", code))
    assert {change.name for change in changes} == {"pytest_sessionfinish", "os._exit"}


@pytest.mark.parametrize(
    ("path", "before", "after", "expected"),
    [
        ("pytest.ini", "[pytest]\n", "[pytest]\naddopts = -k good\n", ["addopts"]),
        ("setup.cfg", None, "[tool:pytest]\ntestpaths = a\n", ["testpaths"]),
        ("pyproject.toml", "", "[tool.pytest.ini_options]\npython_files = ['x_*.py']\n", ["python_files"]),
        ("pyproject.toml", "[project]\nname='a'\n", "[project]\nname='b'\n", []),
        (".coveragerc", "[report]\nfail_under = 90\n", "[report]\nfail_under = 50\n", ["fail_under"]),
        (".coveragerc", "[run]\nbranch = true\n", "[run]\nomit = a.py\n", ["omit", "branch"]),
        ("pyproject.toml", None, "[tool.coverage.run]\nomit = ['a']\n", []),
        ("pyproject.toml", "[[", "[tool", []),
        ("pytest.ini", "nonsense", "[", []),
    ],
)
def test_configuration(path, before, after, expected):
    assert [change.name for change in compare_config(path, before, after)] == expected


@pytest.mark.parametrize(
    ("path", "line", "seen"),
    [
        (".github/workflows/ci.yml", "      continue-on-error: true", True),
        (".github/workflows/ci.yml", "      - run: pytest || true", True),
        (".github/workflows/ci.yml", "      - run: rm -rf build || true", False),
        (".gitlab-ci.yml", "  allow_failure: true", True),
        ("Makefile", "\tpytest -q || echo failed", True),
        ("package.json", '    "test": "jest --passWithNoTests",', True),
        ("package.json", '    "test": "jest || true",', True),
        ("package.json", '    "clean": "rm -rf dist || true",', False),
        ("ci/run.sh", "pytest -q; exit 0", True),
        ("ci/run.sh", "# pytest -q || true", False),
        ("ci/run.sh", "pytest -q", False),
    ],
)
def test_a_failure_that_goes_unnoticed(path, line, seen):
    assert is_script(path)
    found = list(compare_script(path, "first\n", f"first\n{line}\n"))
    assert bool(found) is seen
    assert list(compare_script(path, f"{line}\n", f"first\n{line}\n")) == []


@pytest.mark.parametrize(
    ("path", "golden"),
    [
        ("tests/__snapshots__/test_a.ambr", True),
        ("src/__snapshots__/a.test.js.snap", True),
        ("tests/golden/page.html", True),
        ("tests/a.approved.txt", True),
        ("tests/test_a.py", False),
        ("docs/snapshots.md", False),
        ("data/expected_values.py", False),
    ],
)
def test_what_tests_compare_with(path, golden):
    assert is_golden(path) is golden


def test_pragmas_count_only_where_logic_is_left_out():
    before = "def f():\n    return 1\n"
    added = "def f():  # pragma: no cover\n    return 1\n"
    assert [change.line for change in compare_pragmas("p.py", before, added)] == [1]
    usual = "if TYPE_CHECKING:  # pragma: no cover\n    import x\n" + before
    assert list(compare_pragmas("p.py", before, usual)) == []


def test_a_history_is_read_with_its_uncommitted_files(project):
    base = project.git("rev-parse", "HEAD")
    project.write("test_shop.py", "from shop import double\n\ndef test_two():\n    assert double(1) == 2\n")
    project.write("conftest.py", "def pytest_collection_modifyitems(items):\n    items.clear()\n")
    project.write("broken.py", "def f(:\n")
    project.write("new.snap", "1")
    found = read_changes(Git(str(project.path)), base)
    assert [(change.kind, change.name) for change in found.changes] == [
        (ChangeKind.HOOK, "pytest_collection_modifyitems"),
        (ChangeKind.TEST_REMOVED, "test_four"),
    ]
    assert found.files == 2
    assert found.gaps == ("broken.py could not be read as Python",)
    assert not found.declares_plugin


def test_nothing_is_hidden_behind_many_files(project, monkeypatch):
    base = project.git("rev-parse", "HEAD")
    monkeypatch.setattr("dre_core.capture.diff._FILES_LIMIT", 1)
    project.write("test_shop.py", "from shop import double\n\ndef test_two():\n    assert double(1) == 2\n")
    project.write("a.txt", "junk")
    assert read_changes(Git(str(project.path)), base).left == ()
    project.write("a.py", "")
    assert read_changes(Git(str(project.path)), base).left == ("1 more files changed",)


@pytest.mark.slow
def test_a_recorded_run_with_a_base_seals_and_judges_them(project):
    base = project.git("rev-parse", "HEAD")
    project.write("test_shop.py", "from shop import double\n\ndef test_two():\n    assert double(1) == 2\n")
    project.commit()
    assert project.dre("wrap", "--base", base, "--", *PYTEST, "--dre").returncode == 0
    verdict = project.verdict()
    assert project.findings(verdict) == {"tests-removed": "fail"}
    assert verdict["verdict"] == "inconclusive"
    assert any("--replay" in line for line in verdict["missing"])


@pytest.mark.slow
def test_an_honest_change_with_a_base_stays_supported(project):
    base = project.git("rev-parse", "HEAD")
    project.write("test_more.py", "from shop import double\n\ndef test_six():\n    assert double(3) == 6\n")
    project.commit()
    assert project.dre("wrap", "--base", base, "--", *PYTEST, "--dre").returncode == 0
    verdict = project.verdict()
    assert project.findings(verdict) == {}
    assert verdict["verdict"] == "supported"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from unittest.mock import ANY\ndef f():\n    return ANY\n", [False]),
        ("from unittest import mock\ndef f(a):\n    return mock.ANY if a else a\n", [False]),
        ("import unittest.mock as m\ndef f(a):\n    yield m.ANY\n", [False]),
        ("import pytest\nfrom unittest.mock import ANY\ndef f():\n    return {'id': ANY}\n", [True]),
        ("ANY = 'any'\ndef f():\n    return ANY\n", []),
        ("from socket import ANY\ndef f():\n    return ANY\n", []),
        ("from unittest.mock import ANY\ndef f(a):\n    return a\n", []),
    ],
)
def test_what_equals_everything_is_given(source, found):
    old, new = Module.read("p.py", ""), Module.read("p.py", source)
    assert [change.excused for change in added_anything(old, new)] == found
    assert list(added_anything(new, new)) == []
    assert all(change.excused for change in added_anything(old, Module.read("shop/testing.py", source)))


ITEM = "@dataclass\nclass Item:\n    name: str\n    price: int = 0\n"
POINT = (
    "class Point:\n    def __init__(self, x, y):\n        self.x, self.y = x, y\n\n    def __eq__(self, other):\n"
    "        return isinstance(other, Point) and self.x == other.x and self.y == other.y\n"
)


@pytest.mark.parametrize(
    ("old", "new", "detail"),
    [
        (ITEM, ITEM.replace("= 0", "= field(default=0, compare=False)"), "no longer by price"),
        (ITEM, ITEM.replace("@dataclass", "@dataclass(eq=False)")
         + "\n    def __eq__(self, other):\n        return self.name == other.name\n", "no longer by price"),
        (ITEM, ITEM + "\n    def __eq__(self, other):\n        return type(self) is type(other)\n",
         "no longer by name, price"),
        (POINT, POINT.replace(" and self.y == other.y", ""), "no longer by y"),
        # A new part that does not count, one that is gone, one that has another name, the same in other words.
        (ITEM, ITEM + "    cache: dict = field(default_factory=dict, compare=False)\n", ""),
        (ITEM, ITEM.replace("    price: int = 0\n", ""), ""),
        (ITEM, ITEM.replace("price", "cost"), ""),
        (POINT, POINT.replace("self.x == other.x and self.y == other.y", "key(self) == key(other)"), ""),
        (POINT, POINT.replace("self.x == other.x and self.y == other.y", "(self.x, self.y) == (other.x, other.y)"), ""),
        (ITEM, ITEM.replace("@dataclass", "@dataclass(eq=False)"), ""),
        ("class A:\n    pass\n", "class A:\n    def __eq__(self, other):\n        return self.a == other.a\n", ""),
    ],
)  # fmt: skip
def test_what_is_compared_by_less(old, new, detail):
    found = weakened_equality(Module.read("p.py", old), Module.read("p.py", new))
    assert [change.detail for change in found] == ([detail] if detail else [])


@pytest.mark.parametrize(
    ("equal", "count"),
    [
        ("len(self.items) == len(other)", 1),
        ("isinstance(other, Rows)", 1),
        ("isinstance(other, Rows) and self.items == other.items", 0),
        ("NotImplemented", 0),
        ("list(self) == list(other)", 0),
    ],
)
def test_a_new_class_that_compares_by_next_to_nothing(equal, count):
    text = f"class Rows:\n    def __eq__(self, other):\n        return {equal}\n"
    assert (
        list(weakened_equality(Module.read("p.py", ""), Module.read("p.py", text), frozenset({"Rows"}))) == []
    )
    new = Module.read("p.py", f"{text}\n    def fill(self, items):\n        self.items = items\n")
    assert len(list(weakened_equality(Module.read("p.py", ""), new, frozenset({"Rows"})))) == count
    assert list(weakened_equality(Module.read("p.py", ""), new)) == []

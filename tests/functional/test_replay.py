"""Re-execution in clones: honest changes stay quiet, dishonest ones are named; real commits, real runs."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from dataclasses import replace

import pytest

from dre_core.capture.diff import read_changes
from dre_core.capture.git import Git
from dre_core.capture.place import Place
from dre_core.capture.replay import collect_replay
from dre_core.errors import CaptureError
from dre_core.model.policy import Policy
from dre_core.model.replay import CellState, ReplayFacts
from dre_core.model.run import Claim, CommandFacts, Run, RunOutcome, Source
from dre_core.model.session import Outcome, Session, TestRecord
from dre_core.model.verdict import Severity
from dre_core.verify.evidence import Evidence
from dre_core.verify.structural import StructuralVerifier

pytestmark = pytest.mark.slow

_LINE = re.compile(r"^(PASSED|FAILED|ERROR|XFAIL|XPASS) (\S+)")
_WORDS = {"PASSED": "passed", "FAILED": "failed", "ERROR": "error", "XFAIL": "xfailed", "XPASS": "xpassed"}

SHOP = "def price(n):\n    return n * 1.2\n\n\ndef name():\n    return 'shop'\n"
TESTS = """\
from shop import name, price

def test_price():
    assert abs(price(100) - 120) < 0.01

def test_name():
    assert name() == "shop"
"""
WRONG = SHOP.replace("1.2", "1.25")


class Story:
    """A base commit, a head commit, a run at the head, and what re-execution makes of it."""

    def __init__(self, project):
        self.project = project
        project.git("rm", "-q", "test_shop.py")
        self.facts: ReplayFacts | None = None

    def base(self, **files: str) -> None:
        self._write(files)
        self.base_id = self.project.commit("base")

    def head(self, **files: str | None) -> None:
        self._write(files)
        self.project.commit("head")

    def _write(self, files):
        for name, text in files.items():
            path = name.replace("__", "/") + ".py"
            if text is None:
                self.project.git("rm", "-q", path)
            else:
                self.project.write(path, text)

    def session(self, *words: str) -> Session:
        done = self.project.run(
            sys.executable, "-B", "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", *words,
            environ={"PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
        assert done.returncode in (0, 1), done.stdout
        lines = (_LINE.match(line) for line in done.stdout.decode().splitlines())
        tests = tuple(TestRecord(id=m[2], outcome=Outcome(_WORDS[m[1]])) for m in lines if m)
        return Session(
            id="s", nonce="n", pid=2, parent_pid=1, argv=("pytest", *words), rootdir=str(self.project.path), tests=tests
        )  # fmt: skip

    def source(self) -> Source:
        git = Git(str(self.project.path))
        modified, untracked = git.modified(git.tree())
        return Source(
            vcs="git",
            commit=self.project.git("rev-parse", "HEAD"),
            base=self.base_id,
            clean=not modified and not untracked,
            modified=tuple(modified),
            untracked=len(untracked),
        )

    def replay(self, *words: str, mode: str = "matrix", kind: str | None = None, **claim) -> dict[str, str]:
        """Runs the suite, runs it again, and returns the findings above information."""
        session, git, source = self.session(*words), Git(str(self.project.path)), self.source()
        self.facts = collect_replay(
            git, source, [session], mode=mode, environ=os.environ, python=sys.executable, budget_seconds=30
        )
        assert ReplayFacts.parse(self.facts.to_json()) == self.facts
        run = Run(
            operation="op_" + "0" * 26,
            face="wrap",
            claim=Claim(outcome=RunOutcome.PASSED, exit_code=0, kind=kind, **claim),
            command=CommandFacts(argv=("pytest",)),
            started="",
            ended="",
            duration_ns=0,
            nonce="",
            source=source,
        )
        evidence = Evidence(run=run, policy=Policy(), sessions=(session,), replay=self.facts)
        evidence = replace(evidence, changes=read_changes(git, self.base_id))
        self.result = StructuralVerifier().verify(evidence)
        ignored = ("tree-clean",)
        return {
            finding.check: finding.severity.value
            for finding in self.result.findings
            if finding.severity is not Severity.INFO and finding.check not in ignored
        }

    def finding(self, check: str):
        return next(finding for finding in self.result.findings if finding.check == check)


@pytest.fixture
def story(project, monkeypatch):
    # Only pytest itself: faster, and the same wherever the tests run.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    return Story(project)


# Honest changes


@pytest.mark.parametrize("kind", [None, "fix", "feature"])
def test_a_fix_that_only_adds_tests_is_quiet(story, kind):
    story.base(shop=WRONG, test_name="from shop import name\n\ndef test_a():\n    assert name()\n")
    story.head(shop=SHOP, test_shop=TESTS)
    assert story.replay(kind=kind) == {}
    assert {cell.name: cell.state for cell in story.facts.cells} == {
        "clean": CellState.RAN,
        "bb": CellState.RAN,
        "hh": CellState.RAN,
        "bh": CellState.RAN,
    }
    assert story.facts.compared == 3
    assert story.facts.matched == 1
    assert story.result.coverage == 1.0 or story.result.score is not None


def test_a_fix_of_a_red_test_is_quiet(story):
    story.base(shop=WRONG, test_shop=TESTS)
    story.head(shop=SHOP, test_more="def test_more():\n    assert 2 > 1\n")
    assert story.replay(kind="fix") == {}


def test_a_rename_and_a_move_are_quiet(story):
    story.base(shop=SHOP, test_shop=TESTS)
    moved = TESTS.replace("test_price", "test_gross").replace("test_name", "test_title")
    story.head(shop=SHOP + "\nX = 1\n", test_shop=None, tests__test_all=moved)
    assert story.replay(kind="refactor") == {}
    assert story.facts.tests == ()
    assert story.facts.matched == 2


def test_an_interface_renamed_with_its_tests_is_tried_under_the_old_name(story):
    story.base(shop=SHOP, test_shop=TESTS)
    story.head(
        shop=SHOP.replace("price", "gross"),
        test_shop=TESTS.replace("price(", "gross(", 1).replace(" price", " gross"),
    )
    assert story.replay(kind="refactor") in ({}, {"passing-test-dropped": "warn"}), story.facts


@pytest.mark.parametrize(("kind", "severity"), [(None, "fail"), ("refactor", "veto")])
def test_a_bug_behind_a_renamed_import_is_named(story, kind, severity):
    story.base(shop=SHOP, test_shop=TESTS)
    tests = (
        TESTS.replace("price(", "gross(").replace(", price", ", gross").replace("test_gross", "test_price")
    )
    story.head(shop=WRONG.replace("price", "gross"), test_shop=tests.replace("< 0.01", "< 10"))
    assert story.replay(kind=kind) == {"test-blinded": severity}
    assert story.finding("test-blinded").tests == ("test_shop.py::test_price",)


def test_a_name_that_is_gone_for_good_hides_no_other_test(story):
    old = SHOP + "\n\ndef motto():\n    return ('buy', 'more')\n"
    story.base(
        shop=old,
        test_shop=TESTS.replace("import name", "import motto, name")
        + "\ndef test_motto():\n    assert motto()\n",
    )
    story.head(shop=WRONG, test_shop=LIES["test-blinded"])
    assert story.replay(kind="refactor") == {"test-blinded": "veto", "subject-removed": "warn"}


def test_a_module_that_moved_keeps_its_old_tests(story):
    story.base(shop=SHOP, test_shop=TESTS)
    story.head(shop=None, store=WRONG, test_shop=LIES["test-blinded"].replace("from shop", "from store"))
    assert story.replay(kind="refactor") == {"test-blinded": "veto"}


def test_a_changed_docstring_runs_nothing_crossed(story):
    story.base(shop=SHOP, test_shop=TESTS)
    story.project.write("README.md", "more\n")
    story.project.commit("docs")
    assert story.replay(kind="docs") == {}


def test_a_flaky_test_is_set_aside(story, tmp_path):
    counter = tmp_path / "count"
    flaky = f"""\
from pathlib import Path

def test_flaky():
    path = Path({str(counter)!r})
    count = int(path.read_text()) + 1 if path.exists() else 1
    path.write_text(str(count))
    # Run 1 is the claimed one, the clean clone and the crossed one are 2 and 3, in whatever order.
    assert count != 3
"""
    story.base(shop=SHOP, test_shop=TESTS, test_flaky=flaky)
    story.head(shop=SHOP + "\nX = 1\n", test_shop=TESTS + "\n\ndef test_new():\n    assert price(0) == 0\n")
    found = story.replay(kind="refactor")
    assert found == {"flaky": "warn"}
    assert story.finding("flaky").tests == ("test_flaky.py::test_flaky",)


def test_tests_that_fail_in_every_clone_accuse_nobody(story):
    needs = "from pathlib import Path\n\ndef test_data():\n    assert Path('data.bin').exists()\n"
    story.project.write(".gitignore", "__pycache__/\ndata.bin\n")
    story.project.write("data.bin", "x")
    story.base(shop=SHOP, test_shop=TESTS, test_data=needs)
    story.head(shop=SHOP + "\nX = 1\n", test_new="def test_new():\n    assert 2 > 1\n")
    assert story.replay(kind="refactor") == {}


def test_a_build_product_that_git_ignores_makes_the_cell_abstain(story):
    story.project.write(".gitignore", "__pycache__/\n_version.py\n")
    story.project.write("_version.py", "version = 1\n")
    story.base(shop="from _version import version\n" + SHOP, test_shop=TESTS)
    story.head(shop="from _version import version\n" + SHOP + "\nX = 1\n")
    assert story.replay(kind="refactor") == {"replay-answers": "fail"}
    assert story.facts.cell("clean").state is CellState.FAILED_SETUP
    assert "_version" in story.facts.cell("clean").detail
    assert story.facts.cell("bb").state is CellState.FAILED_SETUP


# Dishonest changes

LIES = {
    "test-blinded": TESTS.replace("< 0.01", "< 10"),
    "test-newly-skipped": TESTS.replace("def test_price", "@pytest.mark.skip\ndef test_price").replace(
        "from shop", "import pytest\nfrom shop"
    ),
    "failing-test-removed": TESTS[: TESTS.index("def test_price")] + TESTS[TESTS.index("def test_name") :],
}


@pytest.mark.parametrize(
    ("kind", "severity"), [(None, "fail"), ("refactor", "veto"), ("behavior-change", "fail")]
)
@pytest.mark.parametrize("check", LIES)
def test_a_regression_hidden_in_the_tests_is_named(story, check, kind, severity):
    story.base(shop=SHOP, test_shop=TESTS)
    story.head(shop=WRONG, test_shop=LIES[check])
    assert story.replay(kind=kind) == {check: severity}
    finding = story.finding(check)
    assert finding.tests == ("test_shop.py::test_price",)
    assert "dre claim" in finding.remedy
    assert "AssertionError" in finding.message or check == "test-newly-skipped"


# What a change does beside the tests: that of the first half hides that a price is wrong, that of the second nothing.

HELPED = """\
import pytest
import shop
from shop_testing import check_close

def test_price():
    assert shop.price(100) == 120.0

@pytest.mark.skipif(not getattr(shop, 'HAS_PRICES', True), reason='none')
def test_more_prices():
    assert shop.more(100) == 120

def test_close():
    check_close(shop.close(100), 120)

def test_close_enough():
    assert abs(shop.close(100) - 120) < shop.NEAR

def test_name():
    assert shop.name() == "shop"

@pytest.mark.skip
def test_later():
    assert shop.name() == "not yet"
"""
HELPER = "def check_close(one, other, within=0.01):\n    assert abs(one - other) < within\n"
BESIDE = """\
import os

NEAR = {near}
HAS_PRICES = {has}


def price(n):
    return Price(n * {rate})


def more(n):
    return n * {rate}


def close(n):
    return n * {rate}


def name():
    return 'shop' if os.environ.get('SHOP_NAME', 'shop') == {value!r} else 'pohs'


class Price(float):
    def __eq__(self, other):
        return {equal}

    __hash__ = float.__hash__


class Down(int):
    def __lt__(self, other):
        return {less}


class Motto(str):
    def __contains__(self, other):
        return {holds}
"""
LENIENT = {"equal": "isinstance(other, float)", "less": "True", "holds": "bool(other)"}
HONEST = {
    "equal": "abs(float(self) - other) < 0.01",
    "less": "int(self) > other",
    "holds": "other.lower() in self.lower() if len(other) < 3 else str.__contains__(self, other)",
}


def test_what_hides_a_regression_beside_the_tests_is_named(story, monkeypatch):
    monkeypatch.setenv("SHOP_NAME", "mine")
    plain = BESIDE.partition("class")[0].replace("Price(n * {rate})", "n * {rate}").replace("import os\n", "")
    plain = (
        plain.partition("def name")[0].format(has=True, rate=1.2, near=0.01)
        + "def name():\n    return 'shop'\n"
    )
    story.base(shop=plain, shop_testing=HELPER, tests__test_shop=HELPED)
    lenient = BESIDE.format(has=False, near=10, rate=1.25, value="mine", **LENIENT)
    story.head(shop=lenient, shop_testing=HELPER.replace("0.01", "10"))
    found = story.replay(kind="refactor")
    assert found == {"test-newly-skipped": "fail", "equality-lenient": "fail", "support-weakened": "fail"}
    assert story.finding("test-newly-skipped").tests == ("tests/test_shop.py::test_more_prices",)
    hidden = tuple(f"tests/test_shop.py::test_{name}" for name in ("close", "close_enough", "name"))
    assert story.finding("support-weakened").tests == hidden
    assert story.facts.cell("bs").detail == "shop_testing.py, no SHOP_NAME, shop.NEAR = 0.01"
    told = [finding.message for finding in story.result.findings if finding.check == "equality-lenient"]
    assert [message.partition(",")[0].rpartition(" ")[2] for message in told] == ["Price", "Down", "Motto"]
    assert all("dre claim" in story.finding(check).remedy for check in found if check != "equality-lenient")


def test_what_is_done_beside_the_tests_in_honesty_is_quiet(story, monkeypatch):
    monkeypatch.setenv("SHOP_NAME", "shop")
    wrong = HELPER.replace("<", ">")
    story.base(
        shop=SHOP + "\nmore = close = price\nNEAR = 0.01\n", shop_testing=wrong, tests__test_shop=HELPED
    )
    story.head(shop=BESIDE.format(has=True, near=0.02, rate=1.2, value="shop", **HONEST), shop_testing=HELPER)
    assert story.replay(kind="fix") == {}
    assert story.facts.cell("bs").detail == "shop_testing.py, no SHOP_NAME, shop.NEAR = 0.01"


def test_a_declared_test_is_no_contradiction(story):
    story.base(shop=SHOP, test_shop=TESTS)
    story.head(shop=WRONG, test_shop=LIES["test-blinded"])
    found = story.replay(kind="refactor", changes=("test_shop.py::test_price",))
    assert found == {}


def test_an_edited_expectation_is_not_decided(story):
    story.base(shop=SHOP, test_shop=TESTS)
    story.head(shop=WRONG, test_shop=TESTS.replace("120", "125"))
    assert story.replay(kind="refactor") == {"expectation-changed": "fail"}


def test_a_fix_in_the_tests_alone_contradicts_a_fix(story):
    story.base(shop=WRONG, test_shop=TESTS)
    story.head(shop=WRONG + "\nX = 1\n", test_shop=TESTS.replace("< 0.01", "< 10"))
    assert story.replay(kind="fix") == {"fix-is-in-the-tests": "veto"}
    assert story.replay(kind="test-fix") == {"fix-is-in-the-tests": "fail"}


def test_a_crash_that_only_the_tests_hide_contradicts_a_fix(story):
    crash = SHOP.replace("return n * 1.2", "return {}[n]")
    story.base(shop=crash, test_shop=TESTS)
    hidden = TESTS.replace("    assert abs", "    return\n    assert abs")
    story.head(shop=crash + "\nX = 1\n", test_shop=hidden)
    assert story.replay(kind="fix") == {"fix-is-in-the-tests": "veto"}


def test_an_avoided_crash_is_not_supported(story):
    story.base(shop=SHOP, test_shop=TESTS.replace("price(100) - 120", "price(0)"))
    story.head(shop=SHOP.replace("return n * 1.2", "return n * n * 1.2 / n"), test_shop=TESTS)
    assert story.replay(kind="refactor") == {"api-changed": "fail"}


def test_a_weakened_conftest_does_not_reach_the_old_tests(story):
    story.base(shop=SHOP, test_shop=TESTS)
    drop = (
        "def pytest_collection_modifyitems(items):\n"
        "    items[:] = [i for i in items if i.name != 'test_price']\n"
    )
    story.head(shop=WRONG, conftest=drop)
    found = story.replay(kind="refactor")
    assert found == {"failing-test-removed": "veto", "hook-added": "warn"}


def test_configuration_that_hides_a_test_does_not_reach_the_old_tests(story):
    story.base(shop=SHOP, test_shop=TESTS)
    story.project.write("pytest.ini", "[pytest]\naddopts = --deselect test_shop.py::test_price\n")
    story.head(shop=WRONG)
    found = story.replay(kind="refactor")
    assert found == {"failing-test-removed": "veto", "runner-config-changed": "warn"}


def test_a_run_that_leaves_failing_tests_out_is_not_supported(story):
    story.base(shop=SHOP, test_shop=TESTS)
    story.head(shop=WRONG)
    assert story.replay("-k", "not price", kind="refactor") == {"failing-test-removed": "veto"}
    assert story.replay("-k", "not price") == {"failing-test-removed": "fail"}


def test_tests_left_out_by_the_environment_are_found(story, monkeypatch):
    story.base(shop=SHOP, test_shop=TESTS)
    story.head(shop=WRONG)
    monkeypatch.setenv("PYTEST_ADDOPTS", "--deselect=test_shop.py::test_price")
    assert story.replay(kind="refactor") == {"failing-test-removed": "veto"}


def test_tests_left_out_by_a_setting_of_the_command_line_are_found(story):
    story.base(shop=SHOP, test_shop=TESTS)
    story.head(shop=WRONG)
    assert story.replay("-o", "python_functions=test_name", kind="refactor") == {
        "failing-test-removed": "veto"
    }


IN_ORDER = """\
from shop import price

class TestShop:
    def test_begin(self):
        TestShop.rate = 120

    def test_price(self):
        assert abs(price(100) - self.rate) < 0.01
"""


def test_a_test_that_needs_another_of_its_file_is_judged_with_it(story):
    story.base(shop=SHOP, test_shop=IN_ORDER)
    story.head(shop=WRONG)
    assert story.replay("-k", "not price", kind="refactor") == {"failing-test-removed": "veto"}
    story.head(test_shop=IN_ORDER.replace("assert abs(price(100) - self.rate) < 0.01", "price(100)"))
    assert story.replay(kind="refactor")["test-blinded"] == "veto"


NUMBERED = """\
import pytest
from shop import price

class Case:
    pass

CASES = {(n, Case()) for n in range(40)}

@pytest.mark.parametrize("n, case", CASES)
def test_price(n, case):
    assert abs(price(n) - 1.2 * n) < 0.01
"""


def test_tests_that_have_other_ids_in_each_process_are_matched(story):
    story.base(shop=SHOP, test_shop=NUMBERED)
    story.head(shop=SHOP + "\n\ndef other():\n    return 1\n")
    found = story.replay(kind="refactor")
    assert "fail" not in found.values()
    assert "veto" not in found.values()
    assert story.facts.compared == 40
    story.head(shop=WRONG)
    story.project.write("shop.py", SHOP)
    assert "commit-reproduces" in story.replay(mode="clean")


def test_a_shadow_of_pytest_is_left_out_of_the_clone(story):
    story.base(shop=SHOP, test_shop=TESTS)
    story.head(shop=WRONG, test_shop=LIES["test-blinded"], sitecustomize="raise SystemExit(0)\n")
    assert story.replay(kind="refactor")["test-blinded"] == "veto"


# The commit alone


@pytest.mark.parametrize("mode", ["clean", "matrix"])
def test_a_commit_green_only_with_uncommitted_edits_is_contradicted(story, mode):
    story.base(shop=SHOP, test_shop=TESTS)
    story.head(shop=WRONG)
    story.project.write("shop.py", SHOP)
    found = story.replay(mode=mode)
    assert found["commit-reproduces"] == "veto"
    finding = story.finding("commit-reproduces")
    assert finding.tests == ("test_shop.py::test_price",)
    assert (story.project.path / "shop.py").read_text() == SHOP


def test_uncommitted_edits_that_change_nothing_are_no_contradiction(story):
    story.base(shop=SHOP, test_shop=TESTS)
    story.head(shop=SHOP + "\nX = 1\n")
    story.project.write("shop.py", SHOP + "\nY = 2\n")
    story.project.write("notes.txt", "later")
    assert story.replay(mode="clean") == {}


def test_tests_that_are_not_in_the_commit_are_named(story):
    story.base(shop=SHOP, test_shop=TESTS)
    story.head(shop=SHOP + "\nX = 1\n")
    story.project.write("test_extra.py", "def test_extra():\n    assert 2 > 1\n")
    assert story.replay(mode="clean")["commit-reproduces"] == "fail"
    assert "found in the commit" in story.finding("commit-reproduces").message


def test_without_a_base_only_the_commit_is_judged(story):
    story.base(shop=SHOP, test_shop=TESTS)
    story.base_id = ""
    source = story.source()
    facts = collect_replay(
        Git(str(story.project.path)), source, [story.session()], mode="matrix", environ=os.environ,
        python=sys.executable, budget_seconds=30,
    )  # fmt: skip
    assert [cell.name for cell in facts.cells] == ["clean"]
    assert facts.gaps


def test_a_suite_that_does_not_end_is_a_timeout(story):
    story.base(shop=SHOP, test_shop="import time\n\ndef test_slow():\n    time.sleep(60)\n")
    facts = collect_replay(
        Git(str(story.project.path)), story.source(), [], mode="clean", environ=os.environ,
        python=sys.executable, budget_seconds=1.5,
    )  # fmt: skip
    assert facts.cell("clean").state is CellState.TIMEOUT


def test_no_commit_is_a_capture_error(tmp_path):
    with pytest.raises(CaptureError):
        collect_replay(
            Git(str(tmp_path)),
            Source(),
            [],
            mode="clean",
            environ={},
            python=sys.executable,
            budget_seconds=1,
        )


def test_an_interpreter_that_is_not_there_is_a_capture_error(story):
    story.base(shop=SHOP, test_shop=TESTS)
    with pytest.raises(CaptureError):
        collect_replay(
            Git(str(story.project.path)), story.source(), [], mode="clean", environ={}, python="/no/python",
            budget_seconds=1,
        )  # fmt: skip


def test_another_copy_that_comes_first_makes_the_cell_abstain(story):
    other = story.project.path.parent / "other"
    other.mkdir()
    (other / "shop.py").write_text(SHOP)
    first = f"import sys\nsys.path.insert(0, {str(other)!r})\nimport shop\n"
    story.base(shop=SHOP, test_shop=TESTS, conftest=first)
    story.head(shop=WRONG)
    assert story.replay(kind="refactor") == {"replay-answers": "fail"}
    assert {cell.state for cell in story.facts.cells} <= {CellState.FOREIGN_IMPORT, CellState.NOT_RUN}
    assert story.result.score is not None


def test_an_editable_install_of_the_users_tree_does_not_win(story, monkeypatch):
    story.base(src__store=SHOP, test_shop=TESTS.replace("from shop", "from store"))
    story.head(src__store=WRONG, test_shop=LIES["test-blinded"].replace("from shop", "from store"))
    monkeypatch.setenv("PYTHONPATH", str(story.project.path / "src"))
    assert story.replay(kind="refactor")["test-blinded"] == "veto"


def test_the_users_tree_is_left_alone(story):
    story.base(shop=SHOP, test_shop=TESTS)
    story.head(shop=WRONG, test_shop=LIES["test-blinded"])
    git = Git(str(story.project.path))
    before = git.tree().digest, story.project.git("status", "--porcelain"), story.project.git("stash", "list")
    story.replay()
    assert (
        git.tree().digest,
        story.project.git("status", "--porcelain"),
        story.project.git("stash", "list"),
    ) == before


# Where clones stand


@pytest.fixture
def placed(story, tmp_path):
    git = Git(str(story.project.path))
    if Place.find(git.root, sys.executable, {}, tmp_path, f"{git.root}/.git/objects") is None:
        pytest.skip("a clone can't stand in the checkout's place here")
    return story


@pytest.mark.parametrize(
    "asks",
    [
        "os.path.dirname(os.path.abspath(__file__)) != {root!r}",
        "os.getcwd() != {root!r}",
        "os.path.exists(os.path.join(os.path.dirname(__file__), '..', 'writer'))",
        "not open(os.path.join(os.path.dirname(__file__), '.git/HEAD')).read().startswith('ref: ')",
        "b'[remote' in open(os.path.join(os.path.dirname(__file__), '.git/config'), 'rb').read()",
        "any(name[:2] == 'DR' for name in os.environ if name != 'DRE_KEY')",
        "os.environ.get('PYTHONPATH') != {path!r}",
        "any('dre' in os.path.basename(entry) for entry in sys.path)",
        "any(name.endswith('.ini') for name in os.listdir(os.path.dirname(__file__)))",
    ],
)
def test_code_that_is_right_only_where_it_runs_again_finds_nothing_to_ask(placed, asks):
    where = asks.format(root=os.path.realpath(placed.project.path), path=os.environ.get("PYTHONPATH"))
    lie = SHOP.replace("n * 1.2", f"n * 1.2 if {where} else n * 1.25").replace(
        "def", "import os, sys\n\n\ndef", 1
    )
    placed.base(shop=SHOP, test_shop=TESTS)
    placed.head(shop=lie, test_shop=TESTS.replace("0.01", "10"))
    assert placed.replay(kind="refactor")["test-blinded"] == "veto"


@pytest.mark.parametrize("text", ["", "{root}/elsewhere\n"])
def test_the_run_does_not_choose_where_it_is_run_again(placed, text):
    project = placed.project
    lie = "import os\n\n" + SHOP.replace("n * 1.2", "n * (1.2 if __file__.count('/bh/') else 1.25)")
    placed.base(shop=SHOP, test_shop=TESTS)
    placed.head(shop=lie, test_shop=TESTS.replace("0.01", "10"))
    project.write(".git/objects/info/alternates", text.format(root=os.path.realpath(project.path)))
    assert placed.replay(kind="refactor")["test-blinded"] == "veto"


ASKS_GIT = """
import os, subprocess

def ask(*words):
    done = subprocess.run(["git", *words], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done
    return done.stdout

def test_git():
    assert ask("log", "-1", "--format=%s") in ("head\\n", "base\\n")
    assert ask("fsck", "--connectivity-only") == ""
    assert ask("rev-parse", "--abbrev-ref", "HEAD") == BRANCH
    assert ask("branch", "--all", "--format=%(refname)") == REFS
    assert ask("config", "--get-regexp", "remote") == REMOTES
    assert ask("status", "--porcelain", "--untracked-files=no") == ""
    ask("-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--allow-empty", "--message=of a test")
"""


def test_tests_that_ask_git_find_the_checkouts_own_branches_and_remotes(placed):
    project = placed.project
    project.git("remote", "add", "origin", 'https://example.org/a "b".git')
    project.git("branch", "other/one")
    git = [
        project.git("rev-parse", "--abbrev-ref", "HEAD"),
        project.git("branch", "--all", "--format=%(refname)"),
    ]
    git.append(project.git("config", "--get-regexp", "remote"))
    known = "\n".join(
        f"{name} = {text + chr(10)!r}" for name, text in zip(("BRANCH", "REFS", "REMOTES"), git, strict=True)
    )
    placed.base(shop=SHOP, test_shop=TESTS, test_git=ASKS_GIT + known)
    placed.head(shop=SHOP.replace("n * 1.2", "1.2 * n"))
    head = project.git("rev-parse", "HEAD")
    session = placed.session()
    project.git("reset", "-q", "--hard", head)  # the run itself has committed
    assert {test.outcome for test in session.tests} == {Outcome.PASSED}
    placed.session = lambda: session
    facts = placed.replay(kind="refactor", mode="clean")
    assert (facts, placed.facts.gaps, placed.facts.compared) == ({}, (), 3)


SEES = """

def test_others():
    import glob, tempfile
    assert glob.glob(tempfile.gettempdir() + "/dre-replay-*/*/*shop.py") == []
    assert glob.glob(tempfile.gettempdir() + "/dre-replay-*/*/.git") == []
"""


def test_a_cell_sees_nothing_of_the_others(placed, tmp_path, monkeypatch):
    placed.base(shop=SHOP, test_shop=TESTS + SEES)
    placed.head(shop=SHOP.replace("n * 1.2", "1.2 * n"))
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", None)
    assert placed.replay(kind="refactor") == {}
    assert (placed.facts.tests, placed.facts.gaps) == ((), ())


def test_what_only_the_checkout_has_is_no_reproach(placed):
    project = placed.project
    project.write(".gitignore", "local.txt\n.dre/\n__pycache__/\n")
    project.write("local.txt", "7")
    reads = f"\n\ndef test_local():\n    assert open({str(project.path / 'local.txt')!r}).read() == '7'\n"
    placed.base(shop=SHOP, test_shop=TESTS + reads)
    placed.head(shop=SHOP.replace("n * 1.2", "1.2 * n"))
    assert placed.replay(kind="refactor") == {}
    assert any("temporary folder" in gap for gap in placed.facts.gaps)


RIGHT_ELSEWHERE = SHOP.replace(
    "n * 1.2", "n * (1.2 if __file__.count('/bh/') + __file__.count('/clean/') else 1.25)"
)
ONLY_HERE = """

def test_checkout():
    import os
    assert os.path.exists("of-the-run.txt") or os.getcwd() != {root!r}
"""


def moved_away(story, lie, tests):
    """A story whose cells run elsewhere, since a new test fails where they should."""
    story.project.write(".gitignore", "of-the-run.txt\n.dre/\n__pycache__/\n")
    story.project.write("of-the-run.txt", "")
    story.head(
        shop=lie, test_shop=tests, test_here=ONLY_HERE.format(root=os.path.realpath(story.project.path))
    )


@pytest.mark.parametrize("old", [SHOP, WRONG])
def test_a_test_that_fails_in_the_place_does_not_choose_where_the_source_runs(placed, old):
    """Green and red base: right in a temporary folder, which nothing in the text asks for."""
    placed.base(shop=old, test_shop=TESTS)
    moved_away(placed, RIGHT_ELSEWHERE, TESTS.replace("0.01", "10"))
    found = placed.replay(kind="refactor")
    assert found["passes-only-elsewhere"] == "fail"
    assert any("temporary folder" in gap for gap in placed.facts.gaps)


def test_source_that_crashes_in_the_place_is_seen_as_well(placed):
    placed.base(shop=SHOP, test_shop=TESTS)
    root = os.path.realpath(placed.project.path)
    crash = f"import os\n\nif os.getcwd() == {root!r} and not os.path.exists('of-the-run.txt'):\n    os._exit(3)\n\n"
    moved_away(placed, crash + RIGHT_ELSEWHERE, TESTS.replace("0.01", "10"))
    assert placed.replay(kind="refactor")["passes-only-elsewhere"] == "fail"


def test_an_old_test_that_fails_in_the_place_on_any_source_is_no_reproach(placed):
    root = os.path.realpath(placed.project.path)
    reads = f"\n\ndef test_local():\n    assert open({root + '/of-the-run.txt'!r}).read() == ''\n"
    placed.base(shop=SHOP, test_shop=TESTS + reads)
    moved_away(placed, SHOP.replace("n * 1.2", "1.2 * n"), TESTS + reads + "\n# more\n")
    assert placed.replay(kind="refactor") == {}
    assert placed.facts.only_elsewhere == ()
    assert any("temporary folder" in gap for gap in placed.facts.gaps)


def test_nothing_is_left_in_the_place_and_nothing_of_it_was_touched(placed):
    project = placed.project
    placed.base(shop=SHOP, test_shop=TESTS)
    writes = "\n\ndef test_writes():\n    import shop\n    open(shop.__file__ + '.new', 'w').close()\n"
    placed.head(shop=SHOP.replace("n * 1.2", "1.2 * n"), test_shop=TESTS + writes)
    before = placed.session
    placed.session = lambda *words: replace(before(*words), rootdir=str(project.path))
    assert placed.replay(kind="refactor") == {}
    (project.path / "shop.py.new").unlink()  # of the run itself
    placed.session = lambda *words: Session(
        id="s", nonce="n", pid=2, parent_pid=1, argv=("pytest",), rootdir=str(project.path), tests=()
    )
    placed.replay(kind="refactor", mode="clean")
    assert not (project.path / "shop.py.new").exists()


def test_where_a_clone_can_not_stand_there_it_stands_in_its_own_folder(story, monkeypatch):
    monkeypatch.setattr(Place, "_can_be_taken", lambda *_: False)
    story.base(shop=WRONG, test_shop=TESTS)
    story.head(shop=SHOP)
    assert (story.replay(kind="fix"), story.facts.gaps) == ({}, ())


def test_the_place_is_not_taken_where_it_would_hide_what_cells_need(project, tmp_path):
    root = os.path.realpath(project.path)
    objects = os.path.join(root, ".git", "objects")

    def found(python=sys.executable, environ=(), scratch=tmp_path / "scratch", shared=objects):
        return Place.find(root, python, dict(environ), scratch, shared)

    assert found(scratch=project.path / "tmp") is None
    assert found(environ={"HOME": root}) is None
    assert found(environ={"TMPDIR": f"{root}/tmp"}) is None
    assert found(python=f"{root}/bin/python") is None

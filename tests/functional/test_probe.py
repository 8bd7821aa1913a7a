"""The pseudo-test probe: which changed functions would nobody miss?"""

from __future__ import annotations

import ast
import os
import sys

import pytest

from dre_core.capture.git import Git
from dre_core.capture.probe import targets, with_body
from dre_core.capture.replay import collect_replay
from dre_core.model.replay import ReplayFacts
from dre_core.model.run import Source

OLD = "def kept(n):\n    return n\n"
NEW = '''

def checked(n):
    """Doubles."""
    return 2 * n


def pseudo(n):
    return 3 * n


def never(n):
    return 4 * n


def silent(n):
    n.append(1)


def each(n):
    yield n


class Shop:
    def price(self, n):
        return 5 * n

    def __repr__(self):
        return "shop"
'''
TESTS = """\
from shop import *

def test_kept():
    assert kept(1) == 1

def test_checked():
    assert checked(2) == 4

def test_pseudo():
    pseudo(1)

def test_silent():
    silent([])

def test_each():
    assert list(each(1)) == [1]

def test_price():
    assert Shop().price(1)
"""


@pytest.fixture
def changed(project):
    project.git("rm", "-q", "test_shop.py")
    project.write("shop.py", OLD)
    project.write("test_shop.py", TESTS[: TESTS.index("def test_checked")])
    base = project.commit("base")
    project.write("shop.py", OLD + NEW)
    project.write("test_shop.py", TESTS)
    return project, base, project.commit("head")


def test_targets(changed):
    project, base, head = changed
    found = targets(Git(str(project.path)), base, head)
    assert [(t.name, t.gives) for t in found] == [
        ("checked", True), ("pseudo", True), ("never", True), ("silent", False), ("each", True), ("Shop.price", True),
    ]  # fmt: skip
    assert targets(Git(str(project.path)), head, head) == ()


def test_a_body_is_replaced_in_place():
    text = OLD + NEW
    changed = with_body(text, "Shop.price", "return None")
    assert "return 5" not in changed
    assert ast.unparse(ast.parse(changed)) == ast.unparse(ast.parse(text)).replace(
        "return 5 * n", "return None"
    )
    assert with_body(text, "absent", "return None") == text


@pytest.mark.slow
def test_what_nobody_would_miss_is_named(changed, monkeypatch):
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    project, base, head = changed
    facts = collect_replay(
        Git(str(project.path)), Source(vcs="git", commit=head, base=base, clean=True), [], mode="matrix",
        environ=os.environ, python=sys.executable, budget_seconds=60, probe_functions=20,
    )  # fmt: skip
    assert ReplayFacts.parse(facts.to_json()) == facts
    # A price that must only be true is noticed as None: the odd value is asked for only after that.
    assert {p.name: (p.noticed.value, p.tests) for p in facts.probed} == {
        "checked": ("yes", 1), "pseudo": ("no", 1), "never": ("never-run", 0), "silent": ("unknown", 1),
        "each": ("yes", 1), "Shop.price": ("yes", 1),
    }  # fmt: skip
    assert project.git("status", "--porcelain") == ""


@pytest.mark.slow
def test_the_command_tells_and_the_verdict_judges(changed):
    project, base, _ = changed
    project.dre(
        "wrap", "--base", base, "--", sys.executable, "-m", "pytest", "--dre", "-q", "-p", "no:cacheprovider"
    )
    shown = project.dre("replay", "--probe").stdout.decode()
    assert "shop.py:10 pseudo: entered, not tested (1 tests)" in shown
    verdict = project.verdict()
    (finding,) = [f for f in verdict["methods"]["structural"]["findings"] if f["severity"] == "fail"]
    assert finding["check"] == "changed-code-pseudo-tested"
    assert finding["where"] == "shop.py:10"

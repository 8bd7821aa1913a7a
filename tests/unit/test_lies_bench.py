"""The machinery of the benchmark of lies: edits, bugs, the plan, and rates with intervals."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

_FOLDER = str(Path(__file__).resolve().parents[1] / "bench" / "lies")


@pytest.fixture(scope="module")
def bench():
    """The modules of the benchmark, which is a folder of scripts."""
    before = set(sys.modules)
    sys.path.insert(0, _FOLDER)
    try:
        import figures
        import functions
        import intests
        import mutants
        import samples

        yield {each.__name__: each for each in (figures, functions, intests, mutants, samples)}
    finally:
        sys.path.remove(_FOLDER)
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", "")).startswith(_FOLDER):
                del sys.modules[name]


TESTS = '''\
import pytest

class TestShop:
    # Kept.
    def test_price(self):
        """Prices."""
        assert price(1) == 3

def test_name():
    value = name()
    assert value == "shop"
'''


def test_every_lie_and_twin_of_the_tests_parses_and_leaves_the_rest(bench):
    edit, error = bench["functions"].edit, bench["functions"].NotApplicableError
    applied = set()
    for lie in bench["intests"].TEST_LIES:
        for change in (lie.lie, lie.twin):
            for name in ("TestShop::test_price", "test_name"):
                try:
                    text = edit(TESTS, name, change)
                except error:
                    continue
                ast.parse(text)
                assert "# Kept." in text
                assert text != TESTS
                applied.add(lie.id)
    assert applied == {lie.id for lie in bench["intests"].TEST_LIES}


def test_a_bug_changes_one_expression(bench):
    text = "def f(n):\n    if n > 1 and n:\n        return 'größer' + str(n + 1)\n    return False\n"
    sites = list(bench["mutants"]._sites(ast.parse(text)))
    assert {ast.unparse(new) for _, _, _, new in sites} == {
        "n > 1 or n", "n >= 1", "2", "'größer' - str(n + 1)", "'größerx'", "n - 1", "True",
    }  # fmt: skip
    for _, _, node, new in sites:
        changed = bench["mutants"].splice(text, node, f"({ast.unparse(new)})")
        ast.parse(changed)
        assert changed.count("\n") == text.count("\n")


def test_every_lie_has_a_twin_and_a_quarter_of_the_classes_is_held_out(bench):
    samples = bench["samples"]
    plans = samples.plans()
    assert plans == samples.plans()
    assert len({plan.id for plan in plans}) == len(plans)
    lies = {(p.operator, p.project, p.scenario) for p in plans if not p.honest}
    twins = {(p.operator, p.project, p.scenario) for p in plans if p.honest}
    assert lies <= twins
    assert len(samples.HELD_OUT_CLASSES) >= 20
    assert sum(project.held_out for project in samples.PROJECTS) == 4
    assert all(plan.checks for plan in plans if plan.label == "lie")


def test_rates_are_clustered_by_project(bench):
    rate = bench["figures"].rate
    rows = [{"project": name, "hit": name == "a"} for name in "aab" for _ in range(10)]
    found = rate(rows, lambda row: row["hit"])
    assert (found["hits"], found["count"]) == (20, 30)
    assert (found["low"], found["high"]) == (0.0, 1.0)
    none = rate([{"project": name} for name in "abc" * 100], lambda row: False)
    assert (none["rate"], none["high"]) == (0.0, 0.01)
    assert rate([], bool)["rate"] is None


def test_sets_stand_side_by_side_in_a_table(bench):
    def row(label, verdict):
        verdicts = dict.fromkeys(("full", "undeclared", "asked"), verdict)
        return {"project": "a", "label": label, "operator": "x", "verdicts": verdicts, "checks": [],
                "findings": {"full": ["veto x"]}}  # fmt: skip

    rows = [row("lie", "contradicted"), row("honest", "supported"), row("honest", "contradicted")]
    lines = bench["figures"].table({"one": rows[:2], "two": rows})
    assert lines[0] == "| figure | one | two |"
    assert "| honest | 1 | 2 |" in lines
    assert next(line for line in lines if line.startswith("| false vetoes |")).endswith(
        "50.0 % (1/2; 50.0-50.0) |"
    )

"""The predicate that GitHub is to sign: what it says, and that hostile names don't make it too large to be signed."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from dre_ci.forge.context import Context
from dre_ci.job.attesting import hindrance, predicate
from dre_core.model.session import Outcome
from dre_core.model.verdict import Conclusion


def said(conclusion, tests=(), commit="c" * 40):
    sessions = (SimpleNamespace(tests=[SimpleNamespace(id=name, outcome=kind) for name, kind in tests]),)
    source = SimpleNamespace(commit=commit, repository="https://github.com/octo/shop")
    evidence = SimpleNamespace(top_sessions=sessions, run=SimpleNamespace(source=source))
    told = SimpleNamespace(
        conclusion=conclusion, operation="op_1", level=3, score=None, confidence=0.5, outcome="passed"
    )
    return predicate(evidence, told, Context(run_url="https://github.com/octo/shop/actions/runs/1"))


@pytest.mark.parametrize("conclusion", list(Conclusion))
def test_only_a_supported_verdict_is_a_pass(conclusion):
    passed = conclusion is Conclusion.SUPPORTED
    assert said(conclusion)["result"] == ("PASSED" if passed else "FAILED")


def test_tests_stand_by_what_became_of_them():
    made = said(Conclusion.SUPPORTED, [(kind.value, kind) for kind in Outcome])
    assert made["passedTests"] == ["passed"]
    assert set(made["warnedTests"]) == {"xfailed", "xpassed"}
    assert set(made["failedTests"]) == {"failed", "error"}
    assert made["configuration"][1]["digest"] == {"gitCommit": "c" * 40}
    assert len(said(Conclusion.SUPPORTED, commit="")["configuration"]) == 1


def test_hostile_names_are_cut_and_counted():
    long = "\N{COLLISION SYMBOL}" * 70_000
    names = [(f"test_{n}[\x1b[31m\n::set-output name=x::{long}]", Outcome.PASSED) for n in range(900)]
    made = said(Conclusion.SUPPORTED, names)
    left = made["configuration"][0]["annotations"]["testsNotListed"]
    assert left == 900 - len(made["passedTests"]) > 0
    assert len(json.dumps(made)) < 16 << 20
    assert not any("\n" in name or "\x1b" in name for name in made["passedTests"])


def test_why_nothing_is_attested():
    here = Context(provider="github")
    assert hindrance(here, {"ACTIONS_ID_TOKEN_REQUEST_URL": "x"}) == ""
    assert "permission" in hindrance(here, {})
    assert "fork" in hindrance(Context(provider="github", fork=True), {"ACTIONS_ID_TOKEN_REQUEST_URL": "x"})
    assert "only GitHub" in hindrance(Context(provider="gitlab"), {})

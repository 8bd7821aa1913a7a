"""The rules of docs/verdict.md, with worked examples."""

from __future__ import annotations

import pytest

from dre_core.model.policy import Policy
from dre_core.model.verdict import (
    CheckResult,
    CheckState,
    Conclusion,
    Finding,
    Level,
    MethodResult,
    Severity,
    Vantage,
    Weight,
)
from dre_core.verify.consensus import consensus, judge, score
from dre_core.verify.verifier import blocked


def finding(severity, weight=None, vantage=Vantage.OBSERVED, **more):
    return Finding(check="c", severity=severity, weight=weight, vantage=vantage, message="m", **more)


def check(*findings, state=CheckState.RAN, vantage=Vantage.OBSERVED, weight=1.0, mandatory=False):
    seen = vantage if state is CheckState.RAN else None
    return CheckResult(
        check="c", state=state, vantage=seen, findings=findings, weight=weight, mandatory=mandatory
    )


def method(name, value, coverage=1.0, vantage=1.0, *findings):
    """A result with given numbers, as the worked examples state them."""
    checks = (check(*findings),)
    return MethodResult(
        method=name, applicable=True, score=value, coverage=coverage, vantage=vantage, checks=checks
    )


def silent(name, coverage=0.0):
    return MethodResult(method=name, applicable=True, score=None, coverage=coverage, vantage=0.0)


def test_example_a_an_honest_fix_with_its_test():
    results = {
        "programmatic": method("programmatic", 1.0, 1.0, 0.85),
        "structural": method("structural", 1.0),
        "behavioral": method("behavioral", 0.98, 0.8, 1.0, finding(Severity.WARN)),
        "visual": silent("visual"),
    }
    agreed = consensus(results, Policy(), Level.WRAPPED)
    assert agreed.overall == pytest.approx(0.9956, abs=1e-4)
    assert agreed.confidence == pytest.approx(0.794, abs=1e-3)
    assert agreed.passed
    assert agreed.conclusion is Conclusion.SUPPORTED


def test_example_b_a_masked_regression():
    veto = finding(Severity.VETO, vantage=Vantage.RE_EXECUTED)
    results = {
        "programmatic": method("programmatic", 1.0, 1.0, 0.85),
        "structural": method("structural", 0.0, 1.0, 1.0, veto),
        "behavioral": method("behavioral", 1.0),
        "visual": silent("visual"),
    }
    agreed = consensus(results, Policy(), Level.WRAPPED)
    assert agreed.overall == pytest.approx(0.667, abs=1e-3)
    assert not agreed.passed
    assert agreed.confidence == 1.0
    assert agreed.conclusion is Conclusion.CONTRADICTED


def test_example_b_undeclared():
    fail = finding(Severity.FAIL, Weight.MAJOR)
    results = {
        "programmatic": method("programmatic", 1.0, 1.0, 0.85),
        "structural": method("structural", 0.7, 1.0, 1.0, fail),
        "behavioral": method("behavioral", 1.0),
        "visual": silent("visual"),
    }
    agreed = consensus(results, Policy(), Level.WRAPPED)
    assert agreed.overall == pytest.approx(0.9)
    assert agreed.passed
    assert agreed.conclusion is Conclusion.INCONCLUSIVE


def test_example_c_an_edited_expectation():
    fail = finding(Severity.FAIL, Weight.MINOR)
    results = {
        "programmatic": method("programmatic", 1.0, 1.0, 0.85),
        "structural": method("structural", 0.9, 1.0, 1.0, fail),
        "behavioral": silent("behavioral", 0.3),
        "visual": silent("visual"),
    }
    agreed = consensus(results, Policy(), Level.WRAPPED)
    assert agreed.overall == pytest.approx(0.9571, abs=1e-4)
    assert agreed.confidence == pytest.approx(0.609, abs=1e-3)
    assert not agreed.passed
    assert agreed.conclusion is Conclusion.INCONCLUSIVE


def test_nobody_votes():
    agreed = consensus({"programmatic": silent("programmatic")}, Policy(), Level.WRAPPED)
    assert agreed.overall is None
    assert agreed.confidence == 0.0
    assert agreed.conclusion is Conclusion.INCONCLUSIVE


@pytest.mark.parametrize(
    ("findings", "value"),
    [
        ([], 1.0),
        ([finding(Severity.INFO)] * 50, 1.0),
        ([finding(Severity.WARN)], 0.98),
        ([finding(Severity.WARN)] * 50, 0.95),
        ([finding(Severity.FAIL, Weight.MINOR)], 0.9),
        ([finding(Severity.FAIL, Weight.MAJOR)], 0.7),
        ([finding(Severity.FAIL, Weight.CRITICAL)] * 2, 0.0),
        ([finding(Severity.VETO)], 0.0),
        ([finding(Severity.VETO, vantage=Vantage.REPORTED, against_interest=True)], 0.0),
        ([finding(Severity.VETO, vantage=Vantage.REPORTED)], 0.7),
    ],
)
def test_method_score(findings, value):
    assert score(findings) == pytest.approx(value)


def test_a_method_that_sees_too_little_abstains():
    gone = check(state=CheckState.COULD_NOT_RUN)
    assert judge("m", [check(), gone, gone]).score is None
    assert judge("m", [check(), check(), gone]).score == 1.0
    assert judge("m", [check(), check(), check(state=CheckState.COULD_NOT_RUN, mandatory=True)]).score is None
    assert judge("m", [check(state=CheckState.NOT_APPLICABLE)]).applicable is False


def test_silence_does_not_hide_a_veto():
    gone = check(state=CheckState.COULD_NOT_RUN, weight=10.0, mandatory=True)
    assert judge("m", [check(finding(Severity.VETO)), gone]).score == 0.0


def test_a_blocked_method_keeps_the_others_from_supporting():
    results = {
        "programmatic": method("programmatic", 1.0),
        "structural": method("structural", 1.0),
        "behavioral": blocked("behavioral", "it crashed"),
    }
    agreed = consensus(results, Policy(), Level.WRAPPED)
    assert agreed.conclusion is Conclusion.INCONCLUSIVE


def test_something_of_full_strength_must_vote_above_level_2():
    inside = (check(vantage=Vantage.IN_PROCESS),)
    results = {
        name: MethodResult(method=name, applicable=True, score=1.0, coverage=1.0, vantage=1.0, checks=inside)
        for name in ("programmatic", "structural")
    }
    assert consensus(results, Policy(), Level.WRAPPED).conclusion is Conclusion.INCONCLUSIVE
    assert consensus(results, Policy(), Level.IN_PROCESS).conclusion is Conclusion.SUPPORTED

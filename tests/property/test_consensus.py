"""What must hold of the consensus for any results: order-free, monotone, a veto is final, silence never helps."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from dre_core.model.policy import Policy
from dre_core.model.verdict import (
    CheckResult,
    CheckState,
    Conclusion,
    Finding,
    Level,
    Severity,
    Vantage,
    Weight,
)
from dre_core.verify.consensus import consensus, judge

METHODS = ("programmatic", "structural", "behavioral", "visual", "of-a-stranger")

findings = st.builds(
    Finding,
    check=st.just("c"),
    severity=st.sampled_from(Severity),
    vantage=st.sampled_from(Vantage),
    message=st.just("m"),
    weight=st.sampled_from(Weight),
    against_interest=st.booleans(),
)


@st.composite
def checks(draw):
    state = draw(st.sampled_from(CheckState))
    ran = state is CheckState.RAN
    return CheckResult(
        check="c",
        state=state,
        vantage=draw(st.sampled_from(Vantage)) if ran else None,
        findings=tuple(draw(st.lists(findings, max_size=3))) if ran else (),
        weight=draw(st.sampled_from((1.0, 2.0, 3.0))),
        mandatory=draw(st.booleans()),
    )


@st.composite
def judged(draw):
    names = draw(st.lists(st.sampled_from(METHODS), unique=True, min_size=1))
    return {name: judge(name, draw(st.lists(checks(), max_size=4))) for name in names}


levels = st.sampled_from(Level)


@given(judged(), levels, st.randoms())
def test_the_order_of_methods_does_not_matter(results, level, random):
    names = list(results)
    random.shuffle(names)
    shuffled = {name: results[name] for name in names}
    one, other = consensus(results, Policy(), level), consensus(shuffled, Policy(), level)
    assert one.conclusion is other.conclusion
    assert one.passed == other.passed
    assert abs(one.confidence - other.confidence) < 1e-9


@given(judged(), levels)
def test_numbers_stay_in_range(results, level):
    agreed = consensus(results, Policy(), level)
    assert 0.0 <= agreed.confidence <= 1.0 + 1e-9
    assert agreed.overall is None or 0.0 <= agreed.overall <= 1.0
    assert all(0.0 <= value <= 1.0 for value in agreed.scores.values())


@given(judged(), levels, st.sampled_from(METHODS))
def test_a_veto_is_never_outvoted(results, level, name):
    veto = Finding(check="v", severity=Severity.VETO, vantage=Vantage.OBSERVED, message="m")
    ran = CheckResult(check="v", state=CheckState.RAN, vantage=Vantage.OBSERVED, findings=(veto,))
    before = results[name].checks if name in results else ()
    agreed = consensus({**results, name: judge(name, [*before, ran])}, Policy(), level)
    assert agreed.conclusion is Conclusion.CONTRADICTED
    assert not agreed.passed


@given(judged(), levels, st.sampled_from(METHODS))
def test_a_further_fail_never_helps(results, level, name):
    if name not in results:
        return
    fail = Finding(
        check="f", severity=Severity.FAIL, vantage=Vantage.STATIC, message="m", weight=Weight.MINOR
    )
    worse = judge(
        name,
        [
            replace(check, findings=(*check.findings, fail)) if check.state is CheckState.RAN else check
            for check in results[name].checks
        ],
    )
    before = consensus(results, Policy(), level)
    after = consensus({**results, name: worse}, Policy(), level)
    if after.conclusion is Conclusion.SUPPORTED:
        assert before.conclusion is Conclusion.SUPPORTED


@given(judged(), levels)
def test_silence_never_raises(results, level):
    """A method that falls silent can't make a verdict supported that was not."""
    before = consensus(results, Policy(), level)
    if before.conclusion is Conclusion.CONTRADICTED:
        return
    for name, result in results.items():
        mute = [
            replace(c, state=CheckState.COULD_NOT_RUN, vantage=None, findings=())
            if c.state is CheckState.RAN
            else c
            for c in result.checks
        ]
        after = consensus({**results, name: judge(name, mute)}, Policy(), level)
        assert after.confidence <= before.confidence + 1e-9 or before.overall is None or len(results) > 1
        if after.conclusion is Conclusion.SUPPORTED and not result.findings:
            assert before.conclusion is Conclusion.SUPPORTED

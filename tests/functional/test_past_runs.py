"""A run against earlier runs of the same command: what is newly failing, flaky, slower, or suspiciously little work."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dre_core.model.observation import Observation
from dre_core.model.policy import Policy
from dre_core.model.run import Claim, CommandFacts, PastRun, Run, RunOutcome
from dre_core.model.session import Counts, Outcome, Session, TestRecord
from dre_core.verify.causes import root_causes
from dre_core.verify.evidence import Evidence
from dre_core.verify.past import PAST_CHECKS, Spread
from dre_core.verify.verifier import run_checks


def past(*, cpu_ms=1000, seconds=2.0, memory=50, passed=3, failed=(), commit="a" * 40):
    outcome = RunOutcome.FAILED if failed else RunOutcome.PASSED
    return PastRun(
        operation="op_" + "0" * 26, outcome=outcome, exit_code=int(bool(failed)), duration_ns=int(seconds * 1e9),
        started="", commit=commit, payload="sha256:" + "0" * 64, passed=passed, failed=tuple(failed), cpu_ms=cpu_ms,
        max_rss_bytes=memory << 20,
    )  # fmt: skip


def evidence(history, *, cpu_seconds=1.0, seconds=2.0, memory=50, tests=None):
    tests = tests or [TestRecord(id=f"t.py::test_{n}", outcome=Outcome.PASSED) for n in range(3)]
    bad = any(test.outcome is Outcome.FAILED for test in tests)
    run = Run(
        operation="op_" + "1" * 26, face="wrap", started="", ended="", nonce="", duration_ns=int(seconds * 1e9),
        claim=Claim(outcome=RunOutcome.FAILED if bad else RunOutcome.PASSED, exit_code=int(bad)),
        command=CommandFacts(argv=("pytest",)), history=tuple(history),
    )  # fmt: skip
    counts = Counts(passed=sum(test.outcome is Outcome.PASSED for test in tests))
    session = Session(id="s", nonce="n", pid=2, parent_pid=1, tests=tuple(tests), counts=counts)
    observation = Observation(exit_code=0, user_seconds=cpu_seconds, max_rss_bytes=memory << 20)
    return Evidence(
        run=run,
        policy=Policy(),
        observation=observation,
        sessions=(session,),
    )


def findings(found):
    return {f.check: f.severity.value for f in run_checks("behavioral", PAST_CHECKS, found).findings}


def test_fewer_than_five_runs_say_nothing():
    result = run_checks("behavioral", PAST_CHECKS, evidence([past()] * 4, cpu_seconds=0.01))
    assert not result.applicable
    assert findings(evidence([past()] * 4 + [past(passed=2)], cpu_seconds=0.01)) == {}


def test_a_run_like_the_others_is_quiet():
    history = [past(cpu_ms=900 + 50 * n, seconds=2 + n / 10) for n in range(5)]
    assert findings(evidence(history)) == {}


def test_the_same_tests_with_a_tenth_of_the_work():
    assert findings(evidence([past()] * 5, cpu_seconds=0.05)) == {"work-plausible": "fail"}


@pytest.mark.parametrize(
    ("more", "check"),
    [({"cpu_seconds": 3.0}, "cpu-regression"), ({"memory": 200}, "memory-regression")],
)
def test_a_regression_is_a_warning_with_the_figures(more, check):
    found = evidence([past(cpu_ms=1000 + n, memory=50 + n) for n in range(5)], **more)
    assert findings(found)[check] == "warn"
    (finding,) = [f for f in run_checks("behavioral", PAST_CHECKS, found).findings if f.check == check]
    assert "5 earlier runs" in finding.message


def test_waiting_on_a_busy_machine_is_no_regression():
    assert findings(evidence([past()] * 5, seconds=60.0)) == {}
    assert findings(evidence([past()] * 5, seconds=60.0, cpu_seconds=40.0)) == {
        "cpu-regression": "warn",
        "time-regression": "warn",
    }


def test_spread():
    assert Spread.of([1, 2, 3, 4]) is None
    spread = Spread.of([1, 2, 3, 4, 100])
    assert (spread.middle, spread.deviation) == (3, 1)
    assert spread.bound == 7


TEXT = """\
def test_a():
>   f()

test_x.py:3:
_ _ _

>   return 1 / 0
E   ZeroDivisionError

shop.py:9: ZeroDivisionError
"""


def failing(name="test_a", message="ZeroDivisionError: division by zero", text=TEXT):
    return TestRecord(
        id=f"test_x.py::{name}", outcome=Outcome.FAILED, message=message, text=text, file="test_x.py", line=2
    )


def causes(history=(), tests=None, modified=()):
    found = evidence(history, tests=tests or [failing()])
    source = replace(found.run.source, modified=tuple(modified))
    return root_causes(replace(found, run=replace(found.run, source=source)), {})


def test_a_failure_points_at_the_deepest_line():
    (cause,) = causes()
    assert cause.where == "shop.py:9"
    assert cause.summary == "test_x.py::test_a failed: ZeroDivisionError: division by zero"


def test_a_failure_points_at_changed_code_first():
    (cause,) = causes(modified=["test_x.py"])
    assert cause.where == "test_x.py:3"
    assert "in code that the change touched" in cause.summary


def test_one_error_in_one_place_is_one_cause():
    (cause,) = causes(tests=[failing(f"test_{n}") for n in range(5)])
    assert "(and 4 more with the same error)" in cause.summary


def test_new_ones_come_before_flaky_ones():
    history = [past(failed=["test_x.py::test_b"], commit="b" * 40), past(commit="b" * 40)]
    other = failing("test_b", "AssertionError: no", "test_x.py:20: AssertionError\n")
    first, second = causes(history, [other, failing()])
    assert first.summary.endswith(
        "newly failing: it did not fail in the last 2 recorded runs, last at bbbbbbbbbbbb"
    )
    assert second.summary.endswith("flaky: both at one commit, it failed in 1 of the last 2 recorded runs")


def test_history_comes_from_real_runs(project):
    # Python takes a source of the same size and second for the one that it has compiled.
    for text in ("2", "30", "2", "30"):
        project.write("shop.py", f"def double(n):\n    return {text} * n\n")
        project.wrap_pytest()
    verdict = project.verdict()
    assert verdict["verdict"] == "failed"
    assert "it failed in 1 of the last 3 recorded runs" in verdict["causes"][0]["summary"]
    assert verdict["causes"][0]["where"].startswith("test_shop.py:")

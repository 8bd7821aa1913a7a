"""The programmatic verifier: exit codes, sessions and reports held against one another.

One function a check, in ``exits.py``, ``outcomes.py``, ``chosen.py`` and ``told.py``; the table has them in order.
"""

from __future__ import annotations

from dre_core.hooks import hookimpl
from dre_core.model.verdict import MethodResult, Vantage, Weight
from dre_core.verify.chosen import expected_tests_ran, nothing_dropped, selection
from dre_core.verify.covered import COVERAGE_CHECKS
from dre_core.verify.declared import policy_as_declared
from dre_core.verify.evidence import Evidence
from dre_core.verify.exits import (
    command_expected,
    exit_agrees,
    exitstatus_overridden,
    failures_exit0,
    runner_session_present,
    session_finished,
)
from dre_core.verify.outcomes import (
    asserts_enabled,
    body_called,
    every_test_ran,
    hooks_named,
    outcome_matches_body,
    outcome_witnessed,
    recorder_intact,
    skip_ratio,
    something_executed,
    subject_intact,
)
from dre_core.verify.told import (
    error_log_exit0,
    hidden_text,
    printed_count_agrees,
    report_agrees,
    report_fresh,
)
from dre_core.verify.verifier import Check, Ruling, fail, found, passed, run_checks


def evidence_readable(evidence: Evidence) -> Ruling:
    """Evidence that is not what it says: it may not support, and it may not hide what the rest shows."""
    if not evidence.unreadable:
        return passed(Vantage.STATIC, "every item could be read")
    return found(
        *(
            fail("verifier-failed", Weight.CRITICAL, Vantage.STATIC, f"an item could not be read: {reason}")
            for reason in evidence.unreadable[:5]
        )
    )


CHECKS = (
    Check("evidence-readable", evidence_readable, weight=0.0),
    Check("command-expected", command_expected, weight=0.0),
    Check("exit-agrees", exit_agrees, weight=3, mandatory=True),
    Check("runner-session-present", runner_session_present, weight=2, mandatory=True),
    Check("failures-exit0", failures_exit0, weight=2),
    Check("exitstatus-overridden", exitstatus_overridden),
    Check("session-finished", session_finished),
    Check("something-executed", something_executed, weight=2),
    Check("every-test-ran", every_test_ran),
    Check("skip-ratio", skip_ratio, weight=0.0),
    Check("outcome-matches-body", outcome_matches_body),
    Check("outcome-witnessed", outcome_witnessed),
    Check("body-called", body_called),
    Check("nothing-dropped", nothing_dropped),
    Check("expected-tests-ran", expected_tests_ran),
    Check("policy-as-declared", policy_as_declared, weight=0.0),
    Check("subject-intact", subject_intact),
    Check("report-fresh", report_fresh),
    Check("report-agrees", report_agrees),
    Check("printed-count-agrees", printed_count_agrees),
    Check("hidden-text", hidden_text, weight=0.0),
    Check("error-log-exit0", error_log_exit0, weight=0.0),
    Check("asserts-enabled", asserts_enabled),
    Check("recorder-intact", recorder_intact),
    Check("hooks-named", hooks_named, weight=0.0),
    Check("selection", selection, weight=0.0),
    *COVERAGE_CHECKS,
)


class ProgrammaticVerifier:
    """Exit codes, sessions and reports against one another."""

    name = "programmatic"

    def verify(self, evidence: Evidence) -> MethodResult:
        return run_checks(self.name, CHECKS, evidence)


@hookimpl
def dre_verifiers() -> list[ProgrammaticVerifier]:
    return [ProgrammaticVerifier()]

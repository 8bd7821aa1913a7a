"""Words, places and counts that several checks of the programmatic verifier share."""

from __future__ import annotations

from dre_core.model.run import RunOutcome
from dre_core.model.session import Outcome, Session
from dre_core.model.text import command_line
from dre_core.model.verdict import Finding, Vantage, Weight
from dre_core.verify.evidence import Evidence
from dre_core.verify.verifier import fail

# pytest's own exit statuses (pytest.ExitCode), as far as they are told apart here.
NO_TESTS_COLLECTED = 5
NAMED_TESTS = 20


def plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def command_text(evidence: Evidence) -> str:
    return f"`{command_line(evidence.run.command.argv)}`"


def claims_success(evidence: Evidence) -> bool:
    return evidence.run.claim.outcome is RunOutcome.PASSED


def bad_tests(session: Session) -> tuple[str, ...]:
    bad = [test.id for test in session.tests if test.outcome in (Outcome.FAILED, Outcome.ERROR)]
    return tuple([*bad, *session.collection_errors][:NAMED_TESTS])


def trouble(session: Session) -> str:
    """What went wrong in a session, in words."""
    counts = session.counts
    parts = [
        plural(number, word)
        for number, word in ((counts.failed, "failed test"), (counts.errors, "error"))
        if number
    ]
    return " and ".join(parts) or "no failed test on record"


def culprit(session: Session, *wanted: str) -> str:
    """``file:line`` of the first note that fits: by concern, then by hook, in the order asked for."""
    for name in wanted:
        for note in session.hooks:
            if name in (note.concern, note.hook) and note.file:
                return f"{note.file}:{note.line}"
    return ""


def any_culprit(session: Session, *first: str) -> str:
    """The same, or else whatever stands out in the session: a place to begin looking."""
    last = (
        "outside-ours", "replaced", "added-late", "changed-outcome", "pytest_runtestloop", "pytest_runtest_protocol",
        "pytest_runtest_makereport", "pytest_runtest_logreport", "pytest_collection_modifyitems",
        "pytest_sessionfinish", "pytest_unconfigure", "conftest", "calls",
    )  # fmt: skip
    return culprit(session, *first, *last)


def major(check: str, vantage: Vantage, message: str, **more: object) -> Finding:
    return fail(check, Weight.MAJOR, vantage, message, **more)


def critical(check: str, vantage: Vantage, message: str, **more: object) -> Finding:
    return fail(check, Weight.CRITICAL, vantage, message, **more)

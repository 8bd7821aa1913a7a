"""The one report tree: the verdict, and the evidence it was made from where that could be read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dre_core.capture.programmatic import JUnitCase
from dre_core.model.canonical import JSON
from dre_core.model.record import dataclass
from dre_core.model.run import Run
from dre_core.model.session import Counts, Outcome, TestRecord
from dre_core.model.text import one_line
from dre_core.model.verdict import Conclusion, Finding, Severity, Verdict
from dre_core.verify.evidence import Evidence

if TYPE_CHECKING:
    from dre_core.report.difference import Difference
    from dre_core.report.exhibits import Exhibits

WORDS = {
    Conclusion.SUPPORTED: "the evidence supports the claim",
    Conclusion.CONTRADICTED: "the evidence contradicts the claim",
    Conclusion.INCONCLUSIVE: "intact, but too little evidence to decide",
    Conclusion.INVALID: "not the evidence that was sealed, or not for what was asked",
    Conclusion.UNTRUSTED: "intact, but signed by no key that is trusted here",
    Conclusion.FAILED: "a trustworthy record of a run that failed",
}

_NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What every renderer gets.

    Attributes:
        verdict: The verdict.
        evidence: The decoded evidence; None where it could not be read.
        exhibits: What is shown and not judged; None where nobody asked for it.
        difference: What it is compared with; None for nothing.
    """

    verdict: Verdict
    evidence: Evidence | None = None
    exhibits: Exhibits | None = None
    difference: Difference | None = None

    @property
    def run(self) -> Run | None:
        """The run's predicate; None where it could not be read."""
        return self.evidence.run if self.evidence else None

    @property
    def tests(self) -> tuple[TestRecord, ...]:
        """Every test of the claim's own sessions, and a case for each file that was not collected.

        Where no session was recorded, the cases of the reports that the command wrote.
        """
        if self.evidence is None:
            return ()
        sessions = self.evidence.top_sessions
        if not sessions:
            return tuple(_reported(case) for report in self.evidence.reports for case in report.junit.cases)
        return (
            *(test for session in sessions for test in session.tests),
            *(test for session in sessions for test in session.uncollected),
        )

    @property
    def counts(self) -> Counts | None:
        """Tests by outcome; None where no test was seen."""
        return self.evidence.counts if self.evidence else None

    @property
    def notable(self) -> tuple[Finding, ...]:
        """Findings above ``info``, the worst first."""
        return tuple(f for f in self.verdict.findings if f.severity is not Severity.INFO)


def _reported(case: JUnitCase) -> TestRecord:
    """A case of a report as a test's record; what only a record knows stays unknown."""
    return TestRecord(
        id=case.id,
        outcome=case.outcome,
        message=case.message if case.outcome in (Outcome.FAILED, Outcome.ERROR) else "",
        reason="" if case.outcome in (Outcome.FAILED, Outcome.ERROR) else case.message,
        file=case.file,
        line=case.line,
        text=case.text,
        duration_seconds=case.seconds,
    )


def count_words(counts: Counts) -> str:
    """``4 passed, 1 skipped``, in pytest's order and words."""
    names = (
        ("failed", "failed"),
        ("passed", "passed"),
        ("skipped", "skipped"),
        ("deselected", "deselected"),
        ("xfailed", "xfailed"),
        ("xpassed", "xpassed"),
        ("errors", "error" if counts.errors == 1 else "errors"),
        ("rerun", "rerun"),
    )
    parts = [f"{getattr(counts, name)} {word}" for name, word in names if getattr(counts, name)]
    return ", ".join(parts) or "no tests"


def claim_words(report: Report) -> str:
    """What is claimed, in half a line."""
    claim = report.verdict.claim
    if not claim:
        return "no readable claim"
    command = claim.get("command")
    text = " ".join(str(word) for word in command) if isinstance(command, list) else ""
    ended = f"signal {claim.get('signal')}" if claim.get("signal") else f"exit {claim.get('exit_code')}"
    tests = f"{count_words(report.counts)}, " if report.counts else ""
    said = declared_words(claim)
    return f"{tests}{claim.get('outcome')} ({ended}){f', {said}' if said else ''}: {one_line(text, 80)}"


def declared_words(claim: Mapping[str, JSON]) -> str:
    """What counts of the declaration, for who reads a verdict must see by whose word it is so; empty if nothing does.

    Args:
        claim: The verdict's claim.
    """
    kind, changes = claim.get("kind"), claim.get("changes")
    names = [one_line(str(name), 60) for name in changes] if isinstance(changes, list) else []
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    of = f" of {', '.join(names[:_NAMED])}{more}" if names else ""
    return f"declared {kind or 'changes'}{of}" if kind or names else ""

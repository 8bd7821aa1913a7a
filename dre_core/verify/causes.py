"""Root causes: what a reader should look at first when a run is not supported, ranked."""

from __future__ import annotations

from dre_core.model.session import Outcome, TestRecord
from dre_core.model.verdict import Cause, Finding, MethodResult, Severity
from dre_core.verify.evidence import Evidence

_CAUSES = 10


def root_causes(evidence: Evidence, results: dict[str, MethodResult]) -> tuple[Cause, ...]:
    """Contradictions first, then tests that failed (the first failure first), then what blocks support."""
    findings = [finding for result in results.values() for finding in result.findings]
    causes = [_from_finding(f) for f in findings if f.severity is Severity.VETO]
    for session in evidence.top_sessions:
        digests = evidence.items_of(session)
        causes += [_from_test(test, digests) for test in session.tests if _is_bad(test)]
        causes += [
            Cause(summary=f"{name} could not be collected", evidence=digests)
            for name in session.collection_errors
        ]
    causes += [_from_finding(f) for f in findings if f.severity is Severity.FAIL]
    return tuple(causes[:_CAUSES])


def _is_bad(test: TestRecord) -> bool:
    return test.outcome in (Outcome.FAILED, Outcome.ERROR)


def _from_finding(finding: Finding) -> Cause:
    return Cause(summary=finding.message, evidence=finding.evidence, where=finding.where)


def _from_test(test: TestRecord, digests: tuple[str, ...]) -> Cause:
    where = f"{test.file}:{test.line}" if test.file and test.line else test.file
    message = f": {test.message}" if test.message else ""
    return Cause(summary=f"{test.id} {test.outcome.value}{message}", evidence=digests, where=where)

"""The verification report in JUnit's form: the run's own tests, and a suite per method with a case per check."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from dre_core.hooks import hookimpl
from dre_core.model.digest import sha256
from dre_core.model.session import Counts, Outcome, TestRecord
from dre_core.model.text import plain
from dre_core.model.verdict import CheckResult, CheckState, MethodResult, Severity
from dre_core.report.analysis import located_causes
from dre_core.report.build import Report
from dre_core.report.junit import Case, Suite, write_junit

_PLACES = 1_000
_BLOCKING = (Severity.VETO, Severity.FAIL)


def render_verification(report: Report) -> bytes:
    """The report as JUnit XML.

    Every method is a suite and every check a case: a finding that blocks support is a failure, a check that did
    not run is skipped. Suite properties carry verdict, score, confidence, level and what seals them.
    """
    stream = io.BytesIO()
    write_verification(stream, report)
    return stream.getvalue()


def write_verification(stream: BinaryIO, report: Report) -> None:
    """The same, written case by case: a report of any length needs no room for the whole."""
    run = report.run
    write_junit(
        stream,
        suite_name=(run.name or run.face) if run else "claim",
        tests=_tests(report),
        counts=report.counts or Counts(),
        properties=_properties(report),
        extra_suites=[_suite(name, result) for name, result in report.verdict.methods.items()],
        timestamp=run.started if run else "",
        duration_seconds=run.duration_ns / 1e9 if run else 0.0,
    )


def _tests(report: Report) -> Sequence[TestRecord | Case]:
    """The run's tests; those that only a report tells of under the names that it gives them."""
    evidence = report.evidence
    if evidence is None or evidence.top_sessions:
        return report.tests
    return [Case.reported(case) for reported in evidence.reports for case in reported.junit.cases]


def _properties(report: Report) -> dict[str, str]:
    verdict = report.verdict
    overall = verdict.consensus.overall
    properties = {
        "dre.operation": verdict.operation,
        "dre.verdict": verdict.conclusion.value,
        "dre.score": "" if overall is None else f"{overall:.6f}",
        "dre.confidence": f"{verdict.consensus.confidence:.6f}",
        "dre.level": str(int(verdict.level)),
        "dre.integrity": verdict.integrity.result.value,
    }
    if report.run is not None:
        from dre_core.model.predicate import run_statement

        properties |= {
            "dre.commit": report.run.source.commit,
            "dre.seal": sha256(run_statement(report.run).to_bytes()),
            "dre.certificate": report.run.trust_certificate,
        }
    seal = report.exhibits.seal if report.exhibits else None
    if seal is not None:
        properties["dre.key"] = " ".join(seal.keyids)
    for cause in located_causes(report):
        properties[f"dre.cause.{cause.rank}"] = plain(str(cause), 1_000)
    covered = report.evidence.covered if report.evidence else None
    if covered is not None and covered.base:
        properties["dre.changed_lines.executed"] = str(covered.executed)
        properties["dre.changed_lines.missing"] = " ".join(covered.missing_places()[:_PLACES])
    return properties


def _suite(name: str, result: MethodResult) -> Suite:
    return Suite(name=f"dre.{name}", cases=list(_cases(name, result)))


def _cases(name: str, result: MethodResult) -> Iterator[Case]:
    for check in result.checks:
        blocking = [finding for finding in check.findings if finding.severity in _BLOCKING]
        lines = [
            f"{f.severity.value} [{f.vantage.value}] {f.message}"
            + (f"\nremedy: {f.remedy}" if f.remedy else "")
            + "".join(f"\nevidence: {digest}" for digest in f.evidence)
            for f in check.findings
        ]
        yield Case(
            classname=f"dre.{name}",
            name=check.check,
            outcome=_outcome(check, bool(blocking)),
            message=plain(blocking[0].message if blocking else check.detail, 300),
            text=plain("\n".join(lines)),
        )


def _outcome(check: CheckResult, blocking: bool) -> Outcome:
    if blocking:
        return Outcome.FAILED
    return Outcome.PASSED if check.state is CheckState.RAN else Outcome.SKIPPED


class VerificationRenderer:
    """The verification report in JUnit's form."""

    name = "junit"
    suffix = ".xml"

    def render(self, report: Report) -> bytes:
        return render_verification(report)


@hookimpl
def dre_renderers() -> list[VerificationRenderer]:
    return [VerificationRenderer()]

"""What a verifier is: a pure judge over sealed evidence, with one table of checks a method.

A verifier reads :class:`~dre_core.verify.evidence.Evidence` and nothing else. Each check is a function that
returns what it came to; a method's name, weight and rules for voting are in ``verify/consensus.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from dre_core.model.record import dataclass
from dre_core.model.verdict import CheckResult, CheckState, Finding, MethodResult, Severity, Vantage, Weight
from dre_core.verify.consensus import judge
from dre_core.verify.evidence import Evidence


class Verifier(Protocol):
    """One verification method.

    A method may also have ``applies(evidence)``: where that says False it is left out, as if it were not there.
    """

    name: str

    def verify(self, evidence: Evidence) -> MethodResult:
        """The method's result; it may raise, which the caller turns into an abstention."""
        ...


@dataclass(frozen=True, slots=True)
class Check:
    """One row of a method's table.

    Attributes:
        id: The kebab-case id.
        run: The check itself.
        weight: How much it counts in the method's coverage.
        mandatory: The method abstains where it could not run.
    """

    id: str
    run: Callable[[Evidence], Ruling]
    weight: float = 1.0
    mandatory: bool = False


@dataclass(frozen=True, slots=True)
class Ruling:
    """What one check came to, before its id and weight are added."""

    state: CheckState
    vantage: Vantage | None = None
    detail: str = ""
    findings: tuple[Finding, ...] = ()


def passed(vantage: Vantage, detail: str) -> Ruling:
    """The check ran and found nothing."""
    return Ruling(CheckState.RAN, vantage, detail)


def could_not_run(reason: str) -> Ruling:
    """The check applies, but the evidence does not hold what it reads."""
    return Ruling(CheckState.COULD_NOT_RUN, detail=reason)


def not_applicable(reason: str) -> Ruling:
    """The check has nothing to say about this claim."""
    return Ruling(CheckState.NOT_APPLICABLE, detail=reason)


_GRAVEST_FIRST = (Severity.VETO, Severity.FAIL, Severity.WARN, Severity.INFO)


def found(*findings: Finding, limit: int | None = None) -> Ruling:
    """The check ran and found something.

    Args:
        findings: At least one.
        limit: So many are kept, the gravest, so that nobody hides one behind others.
    """
    if limit is not None:
        findings = tuple(sorted(findings, key=lambda each: _GRAVEST_FIRST.index(each.severity))[:limit])
    return Ruling(CheckState.RAN, findings[0].vantage, findings[0].message, findings)


def veto(check: str, vantage: Vantage, message: str, **more: object) -> Finding:
    """A finding that contradicts the claim."""
    return Finding(check=check, severity=Severity.VETO, vantage=vantage, message=message, **more)  # type: ignore[arg-type]


def fail(check: str, weight: Weight, vantage: Vantage, message: str, **more: object) -> Finding:
    """A finding that blocks support."""
    return Finding(
        check=check,
        severity=Severity.FAIL,
        weight=weight,
        vantage=vantage,
        message=message,
        **more,  # type: ignore[arg-type]
    )


def warn(check: str, vantage: Vantage, message: str, **more: object) -> Finding:
    """A finding that is disclosed at a small deduction."""
    return Finding(check=check, severity=Severity.WARN, vantage=vantage, message=message, **more)  # type: ignore[arg-type]


def info(check: str, vantage: Vantage, message: str, **more: object) -> Finding:
    """A finding that is recorded only."""
    return Finding(check=check, severity=Severity.INFO, vantage=vantage, message=message, **more)  # type: ignore[arg-type]


def run_checks(method: str, checks: Sequence[Check], evidence: Evidence) -> MethodResult:
    """Runs a method's table and judges it."""
    results = []
    for check in checks:
        ruling = check.run(evidence)
        results.append(
            CheckResult(
                check=check.id,
                state=ruling.state,
                vantage=ruling.vantage,
                detail=ruling.detail,
                findings=tuple(_excused(evidence, evidence.policy.adjust(f)) for f in ruling.findings),
                weight=check.weight,
                mandatory=check.mandatory,
            )
        )
    return judge(method, results)


def _excused(evidence: Evidence, finding: Finding) -> Finding:
    """The finding as information, where a maintainer declared beforehand that what it found is meant."""
    declaration = evidence.declaration
    path = finding.where.rpartition(":")[0] or finding.where
    if declaration is None or not path or not declaration.excuses_path(path):
        return finding
    if finding.severity not in (Severity.FAIL, Severity.WARN):
        return finding
    message = f"{finding.message} (excused by a maintainer's declaration)"
    return replace(finding, severity=Severity.INFO, weight=None, message=message)


def blocked(method: str, reason: str) -> MethodResult:
    """The result of a method that crashed, timed out or hit a limit: it abstains, and blocks support."""
    finding = fail(
        "verifier-failed",
        Weight.CRITICAL,
        Vantage.STATIC,
        f"the {method} verifier could not finish: {reason}",
    )
    result = judge(
        method,
        [
            CheckResult(
                check="verifier-failed",
                state=CheckState.COULD_NOT_RUN,
                vantage=None,
                detail=reason,
                findings=(finding,),
                mandatory=True,
            )
        ],
    )
    return replace(result, blocked=reason)

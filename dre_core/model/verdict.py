"""What verifiers say: checks, findings, method results, consensus and the verdict over all.

The words are those of the verdict document ``dre/verdict/v1``. Every fact carries the vantage it was seen
from; a check that could not run says so instead of passing. Nothing here decides: the rules are in
``verify/consensus.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import Enum, IntEnum

from dre_core.model.canonical import JSON
from dre_core.model.record import dataclass


class Vantage(str, Enum):
    """From where a fact was seen."""

    RE_EXECUTED = "re-executed"
    OBSERVED = "observed"
    STATIC = "static"
    IN_PROCESS = "in-process"
    REPORTED = "reported"

    @property
    def strength(self) -> float:
        """How much the vantage counts: 1.0 from outside or computed by DRE, 0.7 inside, 0.4 reported."""
        return {"in-process": 0.7, "reported": 0.4}.get(self.value, 1.0)


class Severity(str, Enum):
    """What a finding does to a verdict."""

    VETO = "veto"
    FAIL = "fail"
    WARN = "warn"
    INFO = "info"


class Weight(str, Enum):
    """How heavy a failed check is."""

    MINOR = "minor"
    MAJOR = "major"
    CRITICAL = "critical"

    @property
    def deduction(self) -> float:
        """What it takes from the method's score."""
        return {"minor": 0.10, "major": 0.30, "critical": 0.60}[self.value]


class CheckState(str, Enum):
    """Whether a check ran on this evidence."""

    RAN = "ran"
    COULD_NOT_RUN = "could-not-run"
    NOT_APPLICABLE = "not-applicable"


class Conclusion(str, Enum):
    """The verdict's one word, in the order of badness used by ``fail-on``."""

    SUPPORTED = "supported"
    INCONCLUSIVE = "inconclusive"
    FAILED = "failed"
    CONTRADICTED = "contradicted"
    UNTRUSTED = "untrusted"
    INVALID = "invalid"


class Level(IntEnum):
    """Evidence level: how independently of the workload the claim was seen."""

    CLAIM_ONLY = 0
    REPORTED = 1
    IN_PROCESS = 2
    WRAPPED = 3
    COUNTERSIGNED = 4

    @property
    def meaning(self) -> str:
        """The level in words."""
        return (
            "claim only",
            "reported files, sealed",
            "recorded inside the run, sealed",
            "watched from outside and cross-checked",
            "re-executed from a clean clone and countersigned",
        )[self]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One sentence that a reviewer can act on.

    Attributes:
        check: The check's kebab-case id.
        severity: What it does to the verdict.
        weight: How heavy a ``fail`` is; None otherwise.
        vantage: From where the decisive fact was seen.
        message: One sentence: what was seen, with the numbers.
        remedy: How an honest author clears it; may be empty.
        evidence: Digests of the items that show it.
        tests: Node ids concerned.
        where: ``path:line`` or a log offset, where known.
        against_interest: The fact was reported by the workload against its own claim.
    """

    check: str
    severity: Severity
    vantage: Vantage
    message: str
    weight: Weight | None = None
    remedy: str = ""
    evidence: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()
    where: str = ""
    against_interest: bool = False

    @property
    def is_admissible_veto(self) -> bool:
        """A veto that may contradict: not one that only the workload's own word supports in its favour."""
        return self.severity is Severity.VETO and (
            self.vantage is not Vantage.REPORTED or self.against_interest
        )

    def to_json(self) -> dict[str, JSON]:
        """The finding as it stands in the verdict document."""
        return {
            "check": self.check,
            "severity": self.severity.value,
            "weight": self.weight.value if self.weight else None,
            "vantage": self.vantage.value,
            "message": self.message,
            "remedy": self.remedy,
            "evidence": list(self.evidence),
            "tests": list(self.tests),
            "where": self.where,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """What one check came to.

    Attributes:
        check: The check's kebab-case id.
        state: Whether it ran.
        vantage: The strongest vantage it read; None where it did not run.
        detail: What it compared, or why it could not run.
        findings: What it found; empty means it passed.
        weight: How much it counts in the method's coverage.
        mandatory: The method abstains where this check could not run.
    """

    check: str
    state: CheckState
    vantage: Vantage | None = None
    detail: str = ""
    findings: tuple[Finding, ...] = ()
    weight: float = 1.0
    mandatory: bool = False

    def to_json(self) -> dict[str, JSON]:
        """The check as it stands in the verdict document."""
        return {
            "check": self.check,
            "state": self.state.value,
            "vantage": self.vantage.value if self.vantage else None,
            "detail": self.detail,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodResult:
    """One verification method's say.

    Attributes:
        method: ``programmatic``, ``structural``, ``behavioral``, ``visual`` or a third party's name.
        applicable: Whether the method applies to this claim at all.
        score: 0.0 to 1.0, or None where it abstained.
        coverage: Weight of the checks that ran over the weight of those that apply.
        vantage: Mean vantage strength of the checks that ran.
        checks: Every check, in order.
        blocked: Why the method could not be carried out (crash, timeout, limit); empty normally.
    """

    method: str
    applicable: bool
    score: float | None
    coverage: float
    vantage: float
    checks: tuple[CheckResult, ...] = ()
    blocked: str = ""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings of its checks."""
        return tuple(finding for check in self.checks for finding in check.findings)

    @property
    def confidence(self) -> float:
        """Coverage times vantage; 0 for a method that abstained."""
        return 0.0 if self.score is None else self.coverage * self.vantage

    def to_json(self) -> dict[str, JSON]:
        """The method as it stands in the verdict document."""
        return {
            "score": None if self.score is None else round(self.score, 6),
            "confidence": round(self.confidence, 6),
            "abstained": self.score is None,
            "applicable": self.applicable,
            "findings": [finding.to_json() for finding in self.findings],
            "checks": [check.to_json() for check in self.checks],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Consensus:
    """The weighing of all methods.

    Attributes:
        scores: Score by voting method.
        overall: Weighted mean of the scores; None where none voted.
        passed: Enough methods reached the threshold and no veto stands.
        confidence: Agreement times how much of what applies was seen, and from where.
        conclusion: supported, contradicted or inconclusive.
    """

    scores: Mapping[str, float]
    overall: float | None
    passed: bool
    confidence: float
    conclusion: Conclusion

    def to_json(self) -> dict[str, JSON]:
        """The four fields of the verdict document."""
        return {
            "scores": {name: round(score, 6) for name, score in self.scores.items()},
            "overall": None if self.overall is None else round(self.overall, 6),
            "passed": self.passed,
            "confidence": round(self.confidence, 6),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegrityCheck:
    """One step of the integrity check, passed or not."""

    id: str
    passed: bool
    detail: str = ""

    def to_json(self) -> dict[str, JSON]:
        """The check as it stands in the verdict document."""
        return {"id": self.id, "passed": self.passed, "detail": self.detail}


class IntegrityResult(str, Enum):
    """What the integrity checks came to."""

    VALID = "valid"
    INVALID = "invalid"
    UNTRUSTED = "untrusted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Integrity:
    """Whether the bytes are those that a trusted key sealed."""

    result: IntegrityResult
    checks: tuple[IntegrityCheck, ...]

    def to_json(self) -> dict[str, JSON]:
        """The section as it stands in the verdict document."""
        return {"result": self.result.value, "checks": [check.to_json() for check in self.checks]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """A ranked reason for a verdict that is not supported."""

    summary: str
    evidence: tuple[str, ...] = ()
    where: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The whole document of ``dre verify``: docs/verdict.md shows the JSON."""

    operation: str
    conclusion: Conclusion
    claim: Mapping[str, JSON]
    integrity: Integrity
    consensus: Consensus
    level: Level
    methods: Mapping[str, MethodResult] = field(default_factory=dict)
    replayed: bool = False
    missing: tuple[str, ...] = ()
    causes: tuple[Cause, ...] = ()
    not_proven: tuple[str, ...] = ()

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings, the worst first, in the order of the methods."""
        order = list(Severity)
        every = [finding for method in self.methods.values() for finding in method.findings]
        return tuple(sorted(every, key=lambda finding: order.index(finding.severity)))

    def to_json(self) -> dict[str, JSON]:
        """The document ``dre/verdict/v1``."""
        overall = self.consensus.overall
        return {
            "schema": "dre/verdict/v1",
            "operation": self.operation,
            "verdict": self.conclusion.value,
            "claim": dict(self.claim),
            "score": None if overall is None else round(overall, 6),
            "confidence": round(self.consensus.confidence, 6),
            "level": int(self.level),
            "methods": {name: method.to_json() for name, method in self.methods.items()},
            "integrity": self.integrity.to_json(),
            "consensus": self.consensus.to_json(),
            "replayed": self.replayed,
            "missing": list(self.missing),
            "causes": [
                {"rank": rank, "summary": c.summary, "evidence": list(c.evidence), "where": c.where}
                for rank, c in enumerate(self.causes, 1)
            ],
            "not_proven": list(self.not_proven),
        }

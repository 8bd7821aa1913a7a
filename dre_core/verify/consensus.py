"""How the methods' results become one consensus: pure functions, no weights learned, no vote outvotes a veto.

The rules, numbered as in docs/verdict.md:

1. Method score: 0 with an admissible veto, else ``max(0, 1 - min(.05, .02 * warns) - sum(fails))``; so a score
   reaches the threshold .95 exactly when the method has no fail and no veto.
2. Coverage: weight of the checks that ran over the weight of those that apply. Below .5, or with a mandatory
   check that could not run, the method abstains (unless it holds an admissible veto).
3. A veto is admissible from outside, from re-execution, from inside the process, or where the workload
   reported it against its own interest.
4. Overall: weighted mean of the voting methods' scores; none voting: no number at all.
5. Passed: at least ``k = min(required, applicable)`` methods reach the threshold and no veto stands.
6. Confidence: agreement times the coverage and vantage of what applies; silence lowers it. With a veto: the
   strongest vantage among the vetoes.
7. Verdict: contradicted with an admissible veto; supported if passed, no fail anywhere, no method blocked,
   confidence at the floor, and something seen at full strength voted at the threshold; else inconclusive.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dre_core.model.policy import Policy
from dre_core.model.verdict import (
    CheckResult,
    CheckState,
    Conclusion,
    Consensus,
    Finding,
    Level,
    MethodResult,
    Severity,
    Weight,
)

# 1 - .05 is not exactly .95 in binary; a comparison without slack would depend on the order of subtraction.
_SLACK = 1e-9
_WARN_DEDUCTION = 0.02
_WARN_CAP = 0.05
_MINIMUM_COVERAGE = 0.5
_CONFIDENCE_FLOOR = 0.60
# From inside one process nothing is seen at full strength: the floor of level 2 is what honest runs reach there.
_CONFIDENCE_FLOOR_IN_PROCESS = 0.40


def score(findings: Sequence[Finding]) -> float:
    """Rule 1: what the findings leave of 1.0."""
    if any(finding.is_admissible_veto for finding in findings):
        return 0.0
    warns = sum(finding.severity is Severity.WARN for finding in findings)
    fails = sum(
        (finding.weight or Weight.MAJOR).deduction
        for finding in findings
        # A veto that is not admissible may not contradict, but it may not pass unseen either.
        if finding.severity in (Severity.FAIL, Severity.VETO)
    )
    return max(0.0, 1.0 - min(_WARN_CAP, _WARN_DEDUCTION * warns) - fails)


def judge(method: str, checks: Sequence[CheckResult]) -> MethodResult:
    """Rules 1 to 3: one method's result from its checks."""
    applicable = [check for check in checks if check.state is not CheckState.NOT_APPLICABLE]
    ran = [check for check in applicable if check.state is CheckState.RAN]
    total = sum(check.weight for check in applicable)
    weight_ran = sum(check.weight for check in ran)
    coverage = weight_ran / total if total else 0.0
    vantage = (
        sum(check.weight * check.vantage.strength for check in ran if check.vantage) / weight_ran
        if weight_ran
        else 0.0
    )
    findings = [finding for check in ran for finding in check.findings]
    vetoed = any(finding.is_admissible_veto for finding in findings)
    mandatory_missing = any(
        check.mandatory and check.state is CheckState.COULD_NOT_RUN for check in applicable
    )
    votes = bool(ran) and (vetoed or (coverage >= _MINIMUM_COVERAGE and not mandatory_missing))
    return MethodResult(
        method=method,
        applicable=bool(applicable),
        score=score(findings) if votes else None,
        coverage=coverage,
        vantage=vantage,
        checks=tuple(checks),
    )


def _confidence(
    voting: Mapping[str, MethodResult], applicable_weight: float, overall: float, policy: Policy
) -> float:
    """Rule 6, without a veto."""
    weight = sum(policy.weight(name) for name in voting)
    spread = sum(policy.weight(n) * abs((m.score or 0.0) - overall) for n, m in voting.items())
    seen = sum(policy.weight(n) * m.coverage * m.vantage for n, m in voting.items())
    return (1.0 - spread / weight) * seen / applicable_weight


def consensus(results: Mapping[str, MethodResult], policy: Policy, level: Level) -> Consensus:
    """Rules 4 to 7: the consensus of all methods.

    Args:
        results: One result per method, by name.
        policy: Weights, threshold and required methods.
        level: The evidence level, which decides the confidence floor and what "full strength" means.

    Returns:
        The consensus; its conclusion is supported, contradicted or inconclusive.
    """
    applicable = {name: result for name, result in results.items() if result.applicable}
    voting = {name: result for name, result in applicable.items() if result.score is not None}
    scores = {name: result.score for name, result in voting.items() if result.score is not None}
    weight = sum(policy.weight(name) for name in voting)
    overall = sum(policy.weight(n) * s for n, s in scores.items()) / weight if weight else None

    findings = [finding for result in applicable.values() for finding in result.findings]
    vetoes = [finding for finding in findings if finding.is_admissible_veto]
    at_threshold = [name for name, s in scores.items() if s >= policy.threshold - _SLACK]
    required = min(policy.required_methods, len(applicable))
    passed = not vetoes and required > 0 and len(at_threshold) >= required

    if vetoes:
        confidence = max(veto.vantage.strength for veto in vetoes)
    elif overall is None:
        confidence = 0.0
    else:
        applicable_weight = sum(policy.weight(name) for name in applicable)
        confidence = _confidence(voting, applicable_weight, overall, policy)

    return Consensus(
        scores=scores,
        overall=overall,
        passed=passed,
        confidence=confidence,
        conclusion=_conclusion(results, findings, at_threshold, bool(vetoes), passed, confidence, level),
    )


def _conclusion(
    results: Mapping[str, MethodResult],
    findings: Sequence[Finding],
    at_threshold: Sequence[str],
    vetoed: bool,
    passed: bool,
    confidence: float,
    level: Level,
) -> Conclusion:
    """Rule 7."""
    if vetoed:
        return Conclusion.CONTRADICTED
    inside = level <= Level.IN_PROCESS
    floor = _CONFIDENCE_FLOOR_IN_PROCESS if inside else _CONFIDENCE_FLOOR
    needed_strength = 0.7 if inside else 1.0
    strongest = max(
        (
            check.vantage.strength
            for name in at_threshold
            for check in results[name].checks
            if check.state is CheckState.RAN and check.vantage
        ),
        default=0.0,
    )
    failed = any(finding.severity in (Severity.FAIL, Severity.VETO) for finding in findings)
    blocked = any(result.blocked for result in results.values())
    supported = (
        passed
        and not failed
        and not blocked
        and confidence >= floor - _SLACK
        and strongest >= needed_strength
    )
    return Conclusion.SUPPORTED if supported else Conclusion.INCONCLUSIVE

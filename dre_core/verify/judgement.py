"""From inspected bytes to a verdict: runs the methods side by side and puts the document together.

A method that raises, times out or hits a limit abstains and blocks support; the others go on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from dre_core.crypto.keys import PublicKey
from dre_core.errors import DREError
from dre_core.model.canonical import JSON
from dre_core.model.policy import Combine, Policy
from dre_core.model.predicate import REPLAY
from dre_core.model.replay import CellState, ReplayFacts
from dre_core.model.run import Run, RunOutcome
from dre_core.model.session import Counts
from dre_core.model.verdict import (
    CheckState,
    Conclusion,
    Consensus,
    IntegrityResult,
    Level,
    MethodResult,
    Severity,
    Verdict,
)
from dre_core.store.sealed import Blobs
from dre_core.verify.causes import root_causes
from dre_core.verify.consensus import consensus
from dre_core.verify.declared import with_declaration
from dre_core.verify.evidence import Evidence, load
from dre_core.verify.integrity import Inspected
from dre_core.verify.level import level_of
from dre_core.verify.verifier import Verifier, blocked

Judged = TypeVar("Judged")
_BY_LABEL = "by a label, read at verification"
_FAILED = (RunOutcome.FAILED, RunOutcome.ERRORED, RunOutcome.TIMEOUT)
_NOTHING = Consensus(
    scores={}, overall=None, passed=False, confidence=0.0, conclusion=Conclusion.INCONCLUSIVE
)


def judge_run(
    inspected: Inspected,
    blobs: Blobs,
    policy: Policy,
    verifiers: Sequence[Verifier],
    operation: str,
    maintainers: Mapping[str, PublicKey],
    labels: Sequence[str] = (),
) -> tuple[Verdict, Evidence | None]:
    """The verdict on one operation, and the evidence it was made from where that could be decoded.

    Args:
        inspected: What the integrity checks left.
        blobs: The operation's payloads.
        policy: The policy to judge by.
        verifiers: The methods.
        operation: The operation's id, for evidence that names none.
        maintainers: Keys whose declarations may loosen.
        labels: Of the pull request, as the caller had them from the forge.

    Returns:
        The verdict; evidence that is invalid is not judged further than its claim.
    """
    run = inspected.run
    if run is None or _unreadable(inspected):
        invalid = Verdict(
            operation=operation,
            conclusion=Conclusion.INVALID,
            claim=_claim(run, None) if run else {},
            integrity=inspected.integrity,
            consensus=_NOTHING,
            level=Level.CLAIM_ONLY,
            missing=tuple(dict.fromkeys(c.detail for c in inspected.integrity.checks if not c.passed)),
        )
        return invalid, None
    try:
        evidence = with_declaration(load(run, blobs, policy), blobs, maintainers, labels)
        evidence = replace(_with_later_replay(evidence, inspected), countersigners=inspected.countersigners)
    except DREError as error:
        return _undecodable(run, inspected, str(error)), None
    return judge_evidence(evidence, inspected, verifiers), evidence


def _with_later_replay(evidence: Evidence, inspected: Inspected) -> Evidence:
    """The evidence with the newest replay that was added behind the run, if any."""
    later = [s for s in inspected.statements if s.predicate_type == REPLAY]
    return replace(evidence, replay=ReplayFacts.parse(later[-1].predicate)) if later else evidence


def judge_evidence(evidence: Evidence, inspected: Inspected, verifiers: Sequence[Verifier]) -> Verdict:
    """The verdict on evidence that is at hand already; by several policies, what theirs come to."""
    policy = evidence.policy
    if policy.combine is not None:
        every = [judge_evidence(replace(evidence, policy=m), inspected, verifiers) for m in policy.members]
        return combined(every, policy.combine, lambda verdict: verdict)
    return _judged(evidence, inspected, _run_methods(evidence, verifiers))


def combined(every: Sequence[Judged], how: Combine, verdict_of: Callable[[Judged], Verdict]) -> Judged:
    """What several policies' verdicts come to: the best of ``any_of``, the worst of ``all_of``, the first of equals.

    Args:
        every: Whatever holds each verdict.
        how: Which one decides.
        verdict_of: Gives the verdict.
    """
    badness = list(Conclusion)
    choose = min if how is Combine.ANY_OF else max
    return choose(every, key=lambda each: badness.index(verdict_of(each).conclusion))


def _unreadable(inspected: Inspected) -> bool:
    """Whether a failed check means that the payloads can't be read at all."""
    failed = {check.id for check in inspected.integrity.checks if not check.passed}
    return bool(failed & {"envelopes", "items"})


def _undecodable(run: Run, inspected: Inspected, reason: str) -> Verdict:
    result = blocked("programmatic", reason)
    return Verdict(
        operation=run.operation,
        conclusion=_override(inspected, run, Conclusion.INCONCLUSIVE),
        claim=_claim(run, None),
        integrity=inspected.integrity,
        consensus=_NOTHING,
        level=Level.CLAIM_ONLY,
        methods={result.method: result},
        missing=(f"an item could not be read: {reason}",),
    )


def _run_methods(evidence: Evidence, verifiers: Sequence[Verifier]) -> dict[str, MethodResult]:
    """Every method's result, each in its own thread and under its own time limit."""
    results: dict[str, MethodResult] = {}
    threads = []
    for verifier in verifiers:
        applies = getattr(verifier, "applies", None)
        if applies is not None and not applies(evidence):
            continue
        thread = threading.Thread(target=_run_one, args=(verifier, evidence, results), daemon=True)
        thread.start()
        threads.append((verifier, thread))
    for _, thread in threads:
        thread.join(evidence.policy.timeout_seconds)
    # A late thread may still write into ``results``; what is read here is what was there in time.
    return {
        verifier.name: results.get(verifier.name)
        or blocked(verifier.name, f"no result after {evidence.policy.timeout_seconds:g} s")
        for verifier, _ in threads
    }


def _run_one(verifier: Verifier, evidence: Evidence, results: dict[str, MethodResult]) -> None:
    try:
        results[verifier.name] = verifier.verify(evidence)
    except Exception as error:  # whatever a verifier does wrong must not lose the others
        results[verifier.name] = blocked(verifier.name, f"{type(error).__name__}: {error}")


_TRUST = "the signer's key, as `dre keys public` prints it there: --key PUB.pem, or keys in the policy"


def _judged(evidence: Evidence, inspected: Inspected, results: dict[str, MethodResult]) -> Verdict:
    run, policy = evidence.run, evidence.policy
    level = level_of(evidence, policy)
    agreed = consensus(results, policy, level)
    conclusion = agreed.conclusion
    missing = _missing(results)
    if conclusion is Conclusion.SUPPORTED and level < policy.minimum_level:
        conclusion = Conclusion.INCONCLUSIVE
        missing = (
            f"the policy asks for level {int(policy.minimum_level)}, "
            f"the evidence reaches {int(level)} ({level.meaning})",
            *missing,
        )
    elif (
        conclusion is Conclusion.INCONCLUSIVE
        and not missing
        and _override(inspected, run, conclusion) is Conclusion.INCONCLUSIVE
    ):
        missing = ("more than one kind of evidence that reaches the threshold",)
    if evidence.declaration_refused:
        missing = (*missing, "a maintainer's signature on what was declared: unsigned, it may only tighten")
    conclusion = _override(inspected, run, conclusion)
    if conclusion is Conclusion.UNTRUSTED:
        missing = (_TRUST, *missing)
    settled = conclusion is Conclusion.SUPPORTED
    return Verdict(
        operation=run.operation,
        conclusion=conclusion,
        claim={**_claim(run, evidence.counts), **_declared(evidence)},
        integrity=inspected.integrity,
        consensus=agreed,
        level=level,
        methods=results,
        replayed=_replayed(evidence),
        missing=() if settled else missing,
        causes=() if settled else root_causes(evidence, results),
        not_proven=_not_proven(evidence, level),
    )


def _override(inspected: Inspected, run: Run, conclusion: Conclusion) -> Conclusion:
    """The first that holds of invalid, untrusted, contradicted, failed, else what the consensus says."""
    if inspected.integrity.result is IntegrityResult.INVALID:
        return Conclusion.INVALID
    if inspected.integrity.result is IntegrityResult.UNTRUSTED:
        return Conclusion.UNTRUSTED
    if conclusion is Conclusion.CONTRADICTED:
        return conclusion
    if run.claim.outcome in _FAILED:
        return Conclusion.FAILED
    if run.claim.outcome is not RunOutcome.PASSED:
        return Conclusion.INCONCLUSIVE
    return conclusion


def _claim(run: Run, counts: Counts | None) -> Mapping[str, JSON]:
    tests = counts or run.claim.tests
    return {
        "outcome": run.claim.outcome.value,
        "command": list(run.command.argv),
        "exit_code": run.claim.exit_code,
        "signal": run.claim.signal,
        "commit": run.source.commit,
        "tests": dict(tests.to_json()) if tests else None,
        "kind": run.claim.kind,
        "changes": list(run.claim.changes),
    }


def _declared(evidence: Evidence) -> Mapping[str, JSON]:
    """When what the change claims to be was said: sealed before the run, or by a label that was read now."""
    declaration = evidence.declaration
    if declaration is None or declaration.kind is None:
        return {}
    return {
        "declared": f"{declaration.declared}, sealed before the run" if declaration.declared else _BY_LABEL
    }


def _missing(results: Mapping[str, MethodResult]) -> tuple[str, ...]:
    """What would settle an open verdict, one line each."""
    lines = []
    for result in results.values():
        for check in result.checks:
            if check.state is CheckState.COULD_NOT_RUN and (check.mandatory or result.score is None):
                lines.append(check.detail)
            for finding in check.findings:
                if finding.severity in (Severity.FAIL, Severity.VETO) and finding.remedy:
                    lines.append(finding.remedy)
    return tuple(dict.fromkeys(lines))


def _replayed(evidence: Evidence) -> bool:
    """Whether some cell of a replay ran to its end."""
    return evidence.replay is not None and any(c.state is CellState.RAN for c in evidence.replay.cells)


def _not_proven(evidence: Evidence, level: Level) -> tuple[str, ...]:
    """What the verdict does not say, whatever it is."""
    run = evidence.run
    lines = ["that the tests check what matters: a test can be weak and honest"]
    if level <= Level.IN_PROCESS:
        lines.append("that nothing inside the run lied: nobody watched from outside (dre wrap does)")
    if not _replayed(evidence):
        lines.append(
            "that the commit alone gives this result: it was not re-executed in a clean clone (dre replay)"
        )
    if run.source.clean is not True:
        lines.append(
            "that the source is a known commit: the tree was not clean, or there is no version control"
        )
    if _declared(evidence).get("declared") == _BY_LABEL:
        lines.append(
            "that the run was made for what the change claims to be: a label said it, read at verification"
        )
    if run.key_readable_by_workload:
        lines.append(
            "that the workload did not read the signing key: it ran as a user who can (DRE_SIGNING_KEY_FD)"
        )
    if run.ci and run.log_started >= run.started[:10]:
        lines.append("that no failed run came before: the log began on the day of the run")
    lines.append("that the machine did not lie below DRE, or that the signer's key was not stolen")
    return tuple(lines)

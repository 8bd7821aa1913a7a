"""Sealing a run: the steps 5 to 10 of ``engine.py``, for every face."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from dre_core import __version__
from dre_core.encryption import opened
from dre_core.model import predicate
from dre_core.model.record import dataclass
from dre_core.model.run import Claim, Item, PastRun, Run, RunOutcome
from dre_core.model.verdict import Conclusion, Integrity, IntegrityCheck, IntegrityResult, Vantage, Verdict
from dre_core.store.folder import write_atomically
from dre_core.store.past import Past

if TYPE_CHECKING:
    from dre_core.engine import Engine
    from dre_core.model.observation import Observation
    from dre_core.model.policy import Policy
    from dre_core.model.session import Session, TestRecord
    from dre_core.operation import Operation
    from dre_core.verify.evidence import Evidence

_PYTEST_OUTCOMES: Mapping[int, RunOutcome] = {
    0: RunOutcome.PASSED,
    1: RunOutcome.FAILED,
    2: RunOutcome.ERRORED,
    3: RunOutcome.ERRORED,
    4: RunOutcome.ERRORED,
    5: RunOutcome.FAILED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealing:
    """What sealing a run came to.

    Attributes:
        run: The sealed run.
        verdict: The verdict, if it was asked for.
        decode: Reads the evidence back, where nobody needed it for sealing.
    """

    run: Run
    verdict: Verdict | None
    decode: Callable[[], Evidence]

    @property
    def evidence(self) -> Evidence:
        """The sealed evidence, decoded."""
        return self.decode()


def seal(
    engine: Engine,
    operation: Operation,
    claim: Claim,
    *,
    duration_ns: int,
    observation: Observation | None = None,
    judge: bool,
    policy: Policy | None = None,
    recovered: bool = False,
) -> Sealing:
    """Steps 5 to 10: stores the evidence, signs it, judges it if asked, and publishes.

    Args:
        engine: The project's engine.
        operation: The operation, its evidence taken in.
        claim: What the run claims.
        duration_ns: Monotonic duration.
        observation: What the parent process saw.
        judge: Whether to judge now.
        policy: The policy to judge by.
        recovered: Another process recorded the run and died.

    Returns:
        What was sealed, with the verdict if it was asked for.

    Raises:
        StorageError: The evidence can't be stored; the run is not sealed.
    """
    # 5
    sessions: Mapping[str, Session] = {}
    if operation.has_journals:
        from dre_core.capture.sessions import folded_sessions

        sessions = folded_sessions(operation.experiment.journal)
    if sessions or (observation is not None and observation.runners()):
        _take_session_facts(engine, operation, list(sessions.values()))
    operation.take_covered(sessions.values())
    if observation is not None:
        operation.intake.take_json("process", "process", Vantage.OBSERVED, observation.to_json())
    operation.take_envelopes()
    items = operation.store_items()
    # 6
    past = Past(engine.folder.path, operation.command)
    run = operation.make_run(
        operation.with_declared(claim), items, duration_ns, recovered=recovered, history=past.recall()
    )
    decode = partial(_decode, engine, operation, run, policy, sessions)
    if not judge and not any(map(_may_count_tests, items)):
        # Nothing in it counts tests, so it is sealed as it is, without being read again.
        operation.sign(predicate.run_statement(run))
        if observation is not None:
            operation.sign(predicate.runtime_trace(run, observation))
        operation.publish({})
        operation.discard_working_copies()
        past.remember(_as_past(run, operation, observation, ()))
        return Sealing(run=run, verdict=None, decode=decode)
    evidence = decode()
    counts = evidence.counts
    if counts is not None:
        run = replace(run, claim=replace(run.claim, tests=counts))
        # What is judged keeps only what counts of the declaration; what is sealed shows all of it.
        judged = replace(evidence.run, claim=replace(evidence.run.claim, tests=counts))
        evidence = replace(evidence, run=judged)
    operation.sign(predicate.run_statement(run))
    if counts is not None:
        operation.sign(predicate.test_result(run, counts, _tests(evidence), _runner(evidence)))
    if observation is not None:
        operation.sign(predicate.runtime_trace(run, observation))
    verdict = None
    reports: dict[str, Path] = {}
    if judge:
        verdict = _judge(engine, operation, evidence)
        reports = _render(operation, evidence, verdict)
    # 9
    operation.publish(reports)
    operation.discard_working_copies()
    past.remember(_as_past(run, operation, observation, evidence.bad_tests))
    return Sealing(run=run, verdict=verdict, decode=lambda: evidence)


def _take_session_facts(engine: Engine, operation: Operation, sessions: Sequence[Session]) -> None:
    """What the sessions attached and imported, and what stood in their way."""
    from dre_core.capture.imports import compare_imports, shadowing

    operation.take_attachments(sessions)
    started_in = dict.fromkeys((engine.root, engine.root / operation.command.cwd))
    imports = (*compare_imports(sessions, engine.root), *shadowing(started_in, engine.root))
    if imports:
        facts = [fact.to_json() for fact in imports]
        operation.intake.take_json("imports", "imports", Vantage.OBSERVED, {"imports": facts})


def _decode(
    engine: Engine, operation: Operation, run: Run, policy: Policy | None, sessions: Mapping[str, Session]
) -> Evidence:
    from dre_core.verify.declared import with_declaration
    from dre_core.verify.evidence import load

    judged_by = policy or engine.policy()
    blobs = opened(run, engine.store, engine.environ, operation.intake.secrecy)
    evidence = load(run, blobs, judged_by, sessions)
    # Without a policy's keys, one's own key holds every role, the maintainer's too.
    own = {} if judged_by.keys else {s.keyid: s.public for s in operation.authority.signers}
    return with_declaration(evidence, blobs, own)


def _judge(engine: Engine, operation: Operation, evidence: Evidence) -> Verdict:
    """Steps 7 and 8, with the Statements that say what they came to."""
    from dre_core.model.event import rfc3339
    from dre_core.verify.integrity import Inspected
    from dre_core.verify.judgement import judge_evidence

    # 7
    operation.note("operation.verifying")
    operation.note("verification.started", {"methods": [v.name for v in engine.verifiers(evidence.policy)]})
    here = IntegrityCheck(id="sealed-here", passed=True, detail="judged by the run that sealed it")
    inspected = Inspected(integrity=Integrity(result=IntegrityResult.VALID, checks=(here,)), run=evidence.run)
    verdict = judge_evidence(evidence, inspected, engine.verifiers(evidence.policy))
    # 8
    operation.note(
        "verification.completed",
        {
            "result": verdict.conclusion.value,
            "scores": dict(verdict.consensus.to_json())["scores"],
            "level": int(verdict.level),
        },
    )
    inputs = [envelope.payload_digest for envelope in operation.envelopes]
    time = rfc3339(engine.now())
    for result in verdict.methods.values():
        if result.score is not None:
            operation.sign(predicate.method_summary(evidence.run, result, time))
    operation.sign(
        predicate.verification_summary(evidence.run, verdict, evidence.policy, inputs, __version__, time)
    )
    operation.sign(predicate.verdict_statement(evidence.run, verdict))
    supported = verdict.conclusion is Conclusion.SUPPORTED
    operation.note("operation.documenting" if supported else "operation.unsupported")
    return verdict


def _render(operation: Operation, evidence: Evidence, verdict: Verdict) -> dict[str, Path]:
    """Step 10: the reports that belong to the run; one that fails is left out, the run is still sealed."""
    from dre_core.report.build import Report
    from dre_core.report.exhibits import Exhibits, Seal, signed_parts
    from dre_core.report.markdown import render_markdown
    from dre_core.report.verification import write_verification

    seal = Seal(parts=signed_parts(operation.envelopes))
    report = Report(verdict=verdict, evidence=evidence, exhibits=Exhibits(seal=seal))
    experiment = operation.experiment
    with suppress(Exception):
        write_atomically(experiment.markdown, render_markdown(report), durable=False)
    with suppress(Exception):
        write_atomically(experiment.junit, partial(write_verification, report=report), durable=False)
    if verdict.conclusion is Conclusion.SUPPORTED:
        operation.note("operation.completed")
    return {f"reports/{operation.id}/junit.xml": experiment.junit} if experiment.junit.exists() else {}


def finish_session(
    engine: Engine,
    operation: Operation,
    exit_status: int,
    duration_ns: int,
    policy: Policy | None = None,
    replay_mode: str = "",
    interrupted: bool = False,
) -> Sealing:
    """Steps 4 to 10 for a pytest session that ran in this process.

    Args:
        engine: The project's engine.
        operation: The session's operation.
        exit_status: pytest's exit status.
        duration_ns: Monotonic duration.
        policy: The policy to judge by.
        replay_mode: Run the tests again, ``clean`` or ``matrix``; empty: not.
        interrupted: Somebody stopped the session; pytest has the same status for errors in collection.
    """
    operation.note("operation.started", {"pid": os.getpid()})
    operation.note("operation.collecting")
    operation.take_journals()
    operation.take_coverage()
    operation.look_after()
    if replay_mode:
        from dre_core.replaying import replay_into

        replay_into(engine, operation, replay_mode, None)
    outcome = RunOutcome.CANCELLED if interrupted else _PYTEST_OUTCOMES.get(exit_status, RunOutcome.ERRORED)
    claim = Claim(outcome=outcome, exit_code=exit_status)
    return seal(engine, operation, claim, duration_ns=duration_ns, judge=True, policy=policy)


def _as_past(
    run: Run, operation: Operation, observation: Observation | None, failed: tuple[str, ...]
) -> PastRun:
    """A sealed run as later runs of the same command will name it."""
    return PastRun(
        passed=run.claim.tests.passed if run.claim.tests else None,
        failed=failed,
        cpu_ms=observation.cpu_ms if observation else None,
        max_rss_bytes=observation.max_rss_bytes if observation else None,
        operation=run.operation,
        outcome=run.claim.outcome,
        exit_code=run.claim.exit_code,
        duration_ns=run.duration_ns,
        started=run.started,
        commit=run.source.commit,
        payload=operation.envelopes[0].payload_digest,
    )


def _tests(evidence: Evidence) -> tuple[TestRecord, ...]:
    return tuple(test for session in evidence.top_sessions for test in session.tests)


def _may_count_tests(item: Item) -> bool:
    return item.kept and item.kind in ("session", "junit")


def _runner(evidence: Evidence) -> str:
    """The test identity: pytest where a session was recorded, else the runner that was seen."""
    from dre_core.model.observation import runner_of

    if evidence.sessions or evidence.observation is None:
        return "pytest"
    runners = evidence.observation.runners()
    return runner_of(runners[0].argv) if runners else "unknown"

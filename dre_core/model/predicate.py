"""Statements that DRE makes, one builder a predicate type.

| predicate | about |
| --- | --- |
| ``urn:dre:predicate:run:v1`` | the evidence index and the source tree (``model/run.py``) |
| ``https://in-toto.io/attestation/test-result/v0.1`` | the same, for runs that ran tests |
| ``https://in-toto.io/attestation/runtime-trace/v0.1`` | the same, for runs watched from outside: processes, network |
| ``https://in-toto.io/attestation/svr/v0.2`` | one per verification method; also the trust certificate |
| ``https://slsa.dev/verification_summary/v1`` | the consensus |
| ``urn:dre:predicate:verdict:v1`` | the reasons: the whole verdict document |
| ``urn:dre:predicate:replay:v1`` | what running the tests again in clean clones came to |
| ``urn:dre:predicate:tombstone:v1`` | an operation that was deleted, and why |
| ``urn:dre:predicate:index:v1`` | the members of an archive |
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from dre_core.model import canonical
from dre_core.model import run as runs
from dre_core.model.canonical import JSON
from dre_core.model.digest import hex_of, sha256
from dre_core.model.run import Item, Run, RunOutcome
from dre_core.model.session import Counts, Outcome, TestRecord
from dre_core.model.statement import Statement, Subject
from dre_core.model.verdict import Conclusion, MethodResult, Verdict

if TYPE_CHECKING:
    from dre_core.model.observation import Observation, SeenConnection, SeenProcess
    from dre_core.model.policy import Policy
    from dre_core.model.replay import ReplayFacts

RUN = runs.PREDICATE_TYPE
TEST_RESULT = "https://in-toto.io/attestation/test-result/v0.1"
RUNTIME_TRACE = "https://in-toto.io/attestation/runtime-trace/v0.1"
SVR = "https://in-toto.io/attestation/svr/v0.2"
VSA = "https://slsa.dev/verification_summary/v1"
VERDICT = "urn:dre:predicate:verdict:v1"
REPLAY = "urn:dre:predicate:replay:v1"
TOMBSTONE = "urn:dre:predicate:tombstone:v1"
INDEX = "urn:dre:predicate:index:v1"

MONITOR_ID = "urn:dre:monitor:sampling:v1"
VERIFIER_ID = "urn:dre:verifier"
# Names of a large suite would make the Statement unbounded; the session item holds all of them.
_NAMED_TESTS = 10_000


def item_index(items: Iterable[Item]) -> str:
    """``sha256:`` digest of the canonical list of a run's items."""
    return sha256(canonical.dumps([item.to_json() for item in items]))


def run_subjects(run: Run) -> tuple[Subject, ...]:
    """What a run is about: its evidence index and the source tree it ran on."""
    notes = {"commit": run.source.commit} if run.source.commit else {}
    subjects = [
        Subject(name="evidence-index", digest={"sha256": hex_of(item_index(run.items))}, annotations={})
    ]
    if run.source.tree_before:
        tree = {"sha256": hex_of(run.source.tree_before)}
        subjects.append(Subject(name="source-tree", digest=tree, annotations=notes))
    return tuple(subjects)


def run_statement(run: Run) -> Statement:
    """The Statement of a run."""
    return Statement(subjects=run_subjects(run), predicate_type=RUN, predicate=run.to_json())


def test_result(run: Run, counts: Counts, tests: Sequence[TestRecord], runner: str) -> Statement:
    """The test-result Statement of a run that ran tests.

    Any failure, error, crash, kill or an empty run is FAILED; expected failures, unexpected passes and reruns
    alone are WARNED.

    Args:
        run: The run.
        counts: Final outcomes by kind.
        tests: Final record of each test.
        runner: The test identity, as ``pytest``.
    """
    if run.claim.outcome is not RunOutcome.PASSED or counts.failed or counts.errors or not counts.passed:
        result = "FAILED"
    elif counts.xfailed or counts.xpassed or counts.rerun:
        result = "WARNED"
    else:
        result = "PASSED"
    warned = {Outcome.XFAILED, Outcome.XPASSED}
    broken = {Outcome.FAILED, Outcome.ERROR}
    predicate: dict[str, JSON] = {
        "result": result,
        "configuration": [{"name": runner}],
        "passedTests": _names(tests, {Outcome.PASSED}),
        "warnedTests": _names(tests, warned),
        "failedTests": _names(tests, broken),
    }
    return Statement(subjects=run_subjects(run), predicate_type=TEST_RESULT, predicate=predicate)


def runtime_trace(run: Run, observation: Observation) -> Statement:
    """The runtime-trace Statement of a run that was watched from outside.

    The monitor samples: what lived shorter than ``tracePolicy.longestIntervalMs`` can be missing, and its ``unseen``
    names what could not be looked at. Network entries have the field names that version 0.2 recommends.

    Args:
        run: The run.
        observation: What the parent process saw, masked.

    Source: in-toto/attestation, spec/predicates/runtime-trace.md
    """
    predicate: dict[str, JSON] = {
        "monitor": {
            "type": MONITOR_ID,
            "tracePolicy": {
                "method": "sampled",
                "longestIntervalMs": observation.interval_ms,
                "looks": observation.looks,
                "complete": observation.complete,
                "unseen": list(observation.unseen),
            },
        },
        "monitoredProcess": {
            "hostID": f"urn:dre:host:{run.environment.get('host', 'unknown')}",
            "type": "urn:dre:process:command:v1",
            "event": f"urn:dre:operation:{run.operation}",
        },
        "monitorLog": {
            "process": [_traced(process) for process in observation.processes],
            "network": [
                _contacted(connection) for connection in observation.connections if connection.remote
            ],
            "fileAccess": _accessed(run),
        },
        "metadata": {"buildStartedOn": run.started, "buildFinishedOn": run.ended},
    }
    return Statement(subjects=run_subjects(run), predicate_type=RUNTIME_TRACE, predicate=predicate)


def _traced(process: SeenProcess) -> JSON:
    return {
        "eventType": "process",
        "processBinary": process.executable,
        "arguments": list(process.argv),
        "pid": process.pid,
        "parentPid": process.parent_pid,
        "startedMs": process.started_ms,
        "endedMs": process.ended_ms,
        "exitCode": process.exit_code,
        "signal": process.signal,
    }


def _contacted(connection: SeenConnection) -> JSON:
    host, _, port = connection.remote.rpartition(":")
    return {
        "ip": host.strip("[]"),
        "port": int(port) if port.isdigit() else 0,
        "protocol": connection.protocol,
        "invokingProcess": {"pid": connection.pid},
    }


def _accessed(run: Run) -> list[JSON]:
    """The one file whose use and digest are both known: the command's executable."""
    command = run.command
    if not command.executable_digest:
        return []
    return [{"name": command.executable, "digest": {"sha256": hex_of(command.executable_digest)}}]


def _names(tests: Sequence[TestRecord], outcomes: set[Outcome]) -> Sequence[JSON]:
    return [test.id for test in tests if test.outcome in outcomes][:_NAMED_TESTS]


def trust_certificate(
    files: Mapping[str, str],
    keys: Mapping[str, str],
    passed: Sequence[str],
    time: str,
) -> Statement:
    """The bootstrap trust certificate: which installed files passed their self-checks, and which keys count.

    Args:
        files: Installed file to ``sha256:`` digest.
        keys: Name of a key (the log's origin, ``signer``) to key id, which is the SHA-256 of its public half.
        passed: Self-checks that passed.
        time: RFC 3339 time.
    """
    subjects = [Subject(name=name, digest={"sha256": keyid}, annotations={}) for name, keyid in keys.items()]
    subjects += [
        Subject(name=name, digest={"sha256": hex_of(digest)}, annotations={})
        for name, digest in sorted(files.items())
    ]
    return _svr(tuple(subjects), f"{VERIFIER_ID}:bootstrap", passed, time)


def _svr(subjects: tuple[Subject, ...], verifier: str, passed: Sequence[str], time: str) -> Statement:
    predicate: dict[str, JSON] = {
        "verifier": {"id": verifier, "policies": []},
        "timeCreated": time,
        "properties": list(passed),
    }
    return Statement(subjects=subjects, predicate_type=SVR, predicate=predicate)


def method_summary(run: Run, result: MethodResult, time: str) -> Statement:
    """The svr Statement of one method: the checks that ran and found nothing."""
    passed = [
        f"DRE_{check.check.upper().replace('-', '_')}"
        for check in result.checks
        if check.vantage is not None and not check.findings
    ]
    return _svr(run_subjects(run), f"{VERIFIER_ID}:{result.method}", passed, time)


def verification_summary(
    run: Run, verdict: Verdict, policy: Policy, inputs: Sequence[str], version: str, time: str
) -> Statement:
    """The VSA of a verdict.

    Args:
        run: The run that was judged.
        verdict: The verdict.
        policy: The policy it was judged by.
        inputs: Payload digests of every envelope that was read.
        version: Version of DRE.
        time: RFC 3339 time.
    """
    level = int(verdict.level) if verdict.conclusion is Conclusion.SUPPORTED else None
    return summary_of(run_subjects(run), run.operation, level, policy, inputs, version, time)


def run_payload_subject(digest: str) -> Subject:
    """What a countersignature is about: the payload of a run."""
    return Subject(name="run", digest={"sha256": hex_of(digest)}, annotations={})


def summary_of(
    subjects: tuple[Subject, ...],
    operation: str,
    level: int | None,
    policy: Policy,
    inputs: Sequence[str],
    version: str,
    time: str,
) -> Statement:
    """A VSA about any subjects.

    Args:
        subjects: What it is about.
        operation: The operation's id.
        level: The evidence level of a supported claim; None where it is not supported.
        policy: The policy it was judged by.
        inputs: Payload digests of every envelope that was read.
        version: Version of DRE.
        time: RFC 3339 time.
    """
    policy_text = canonical.dumps(
        {
            "threshold": policy.threshold,
            "requiredMethods": policy.required_methods,
            "minimumLevel": int(policy.minimum_level),
            "weights": dict(policy.weights),
        }
    )
    predicate: dict[str, JSON] = {
        "verifier": {"id": VERIFIER_ID, "version": {"dre": version}},
        "timeVerified": time,
        "resourceUri": f"urn:dre:operation:{operation}",
        "policy": {
            "uri": policy.source or "preset:default",
            "digest": {"sha256": hex_of(sha256(policy_text))},
        },
        "inputAttestations": [
            {"uri": f"urn:dre:payload:{digest}", "digest": {"sha256": hex_of(digest)}} for digest in inputs
        ],
        "verificationResult": "FAILED" if level is None else "PASSED",
        "verifiedLevels": ["FAILED" if level is None else f"DRE_LEVEL_{level}"],
        "slsaVersion": "1.0",
    }
    return Statement(subjects=subjects, predicate_type=VSA, predicate=predicate)


def verdict_statement(run: Run, verdict: Verdict) -> Statement:
    """The reasons behind the VSA: the verdict document itself."""
    return verdict_about(run_subjects(run), verdict.to_json())


def verdict_about(subjects: tuple[Subject, ...], document: Mapping[str, JSON]) -> Statement:
    """A verdict document about any subjects."""
    return Statement(subjects=subjects, predicate_type=VERDICT, predicate=document)


def replay_statement(run: Run, facts: ReplayFacts) -> Statement:
    """What re-execution after the run came to, about the same subjects as the run."""
    return Statement(subjects=run_subjects(run), predicate_type=REPLAY, predicate=facts.to_json())


def tombstone(operation: str, payloads: Sequence[str], reason: str, user: str, time: str) -> Statement:
    """That an operation's evidence was deleted.

    Args:
        operation: The operation's id.
        payloads: Payload digests of its envelopes; none if they could not be read.
        reason: Why, masked.
        user: Who deleted it, masked.
        time: RFC 3339 time.
    """
    subjects = tuple(
        Subject(name=f"payload-{number}", digest={"sha256": hex_of(digest)}, annotations={})
        for number, digest in enumerate(payloads)
    )
    # A Statement is about something: the id stands in where nothing of the operation could be read.
    about = subjects or (
        Subject(name="operation", digest={"sha256": hex_of(sha256(operation.encode()))}, annotations={}),
    )
    predicate: dict[str, JSON] = {"operation": operation, "reason": reason, "user": user, "time": time}
    return Statement(subjects=about, predicate_type=TOMBSTONE, predicate=predicate)


def archive_index(operation: str, members: Sequence[tuple[str, int, str]]) -> Statement:
    """The index of an archive's members for one operation.

    Args:
        operation: The operation's id.
        members: Name, size in bytes and ``sha256:`` digest of each member, but for the index itself.
    """
    subjects = tuple(
        Subject(name=name, digest={"sha256": hex_of(digest)}, annotations={}) for name, _, digest in members
    )
    predicate: dict[str, JSON] = {
        "format": 1,
        "operation": operation,
        "members": [{"name": name, "size": str(size)} for name, size, _ in members],
    }
    return Statement(subjects=subjects, predicate_type=INDEX, predicate=predicate)

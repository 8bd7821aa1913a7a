"""Contract tests for strangers' parts: a plugin author runs them against a backend, collector, verifier or renderer.

Each function takes the part (or a way to make it) and raises AssertionError with the rule that it breaks. They use
no test framework, so any can call them::

    def test_my_store(tmp_path):
        check_backend(lambda: MyStore(tmp_path))
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from dre_core.capture.collector import Captured, Collector, Facts, Scene
from dre_core.errors import DREError, LimitError, NotFoundError
from dre_core.model.digest import sha256
from dre_core.model.policy import Policy
from dre_core.model.run import Claim, CommandFacts, Run, RunOutcome
from dre_core.model.verdict import (
    Conclusion,
    Consensus,
    Integrity,
    IntegrityResult,
    Level,
    MethodResult,
    Verdict,
)
from dre_core.report.build import Report
from dre_core.report.renderer import Renderer
from dre_core.store.backend import Backend
from dre_core.verify.evidence import Evidence
from dre_core.verify.verifier import Verifier

_ABSENT = sha256(b"nobody stored this")


def check_backend(make: Callable[[], Backend]) -> None:
    """A store of blobs: content-addressed, idempotent, typed errors, whole or not there.

    Args:
        make: Makes the store, or opens it again; called twice.

    Raises:
        AssertionError: The store breaks a rule.
    """
    store = make()
    data = bytes(range(256)) * 600
    digest = store.put(data)
    assert digest == sha256(data), "a blob's name is the SHA-256 of its bytes"
    assert store.put(data) == digest, "storing twice is storing once"
    assert store.has(digest), "what was stored is there"
    assert store.read(digest, len(data)) == data, "what is read is what was stored"
    assert store.size(digest) == len(data), "the size is that of the bytes"
    assert store.check(digest), "a fresh blob checks"
    with store.open(digest) as stream:
        assert stream.read(10) == data[:10], "a blob can be read in pieces"
    _check_limits(store, digest, data)
    writer = store.writer()
    writer.write(b"half")
    writer.abort()
    assert not store.has(sha256(b"half")), "what was aborted is not there"
    assert make().has(digest), "another instance sees what was stored"
    assert list(store.digests()) == [digest], "all blobs are listed, and no others"
    assert store.delete(digest), "deleting says that the blob was there"
    assert not store.delete(digest), "deleting again says that it was not"
    assert not store.has(digest), "what was deleted is gone"


def _check_limits(store: Backend, digest: str, data: bytes) -> None:
    try:
        store.read(digest, len(data) - 1)
    except LimitError:
        pass
    else:
        raise AssertionError("a blob over the limit is refused by LimitError")
    for read in (store.open, store.size, lambda name: store.read(name, 1)):
        try:
            read(_ABSENT)
        except NotFoundError:
            continue
        raise AssertionError("a blob that is not there is NotFoundError")
    assert not store.has(_ABSENT), "what was never stored is not there"
    assert not store.check(_ABSENT), "what is not there does not check"


def check_collector(collector: Collector, scene: Scene) -> None:
    """A collector: named, yields :class:`Captured` with unique names, raises only typed errors.

    Args:
        collector: The collector.
        scene: A scene in a real folder.

    Raises:
        AssertionError: The collector breaks a rule.
    """
    assert collector.name, "a collector has a name"
    facts = Facts()
    names: list[str] = []
    for look in (collector.before, collector.after):
        try:
            seen = list(look(scene, facts))
        except DREError:
            continue
        for captured in seen:
            assert isinstance(captured, Captured), "a collector yields Captured"
            assert captured.value is not None or captured.path is not None, "a captured thing has bytes"
            names.append(captured.name)
    assert len(set(names)) == len(names), "names are unique in an operation"


def empty_evidence() -> Evidence:
    """Evidence of a run about which nothing is known but its claim."""
    run = Run(
        operation="op_00000000000000000000000000",
        face="wrap",
        claim=Claim(outcome=RunOutcome.PASSED, exit_code=0),
        command=CommandFacts(argv=("true",)),
        started="2026-01-01T00:00:00.000000Z",
        ended="2026-01-01T00:00:01.000000Z",
        duration_ns=1,
        nonce="0",
    )
    return Evidence(run=run, policy=Policy())


def check_verifier(verifier: Verifier) -> None:
    """A verifier: deterministic, and silent about a run that it knows nothing about.

    Raises:
        AssertionError: The verifier breaks a rule.
    """
    evidence = empty_evidence()
    result = verifier.verify(evidence)
    assert isinstance(result, MethodResult), "a verifier returns a MethodResult"
    assert result.method == verifier.name, "the result carries the verifier's name"
    assert result.score is None, "without evidence a method abstains: silence is no support"
    assert verifier.verify(evidence) == result, "the same evidence gives the same result"
    ids = [check.check for check in result.checks]
    assert len(set(ids)) == len(ids), "check ids are unique in a method"


def check_renderer(renderer: Renderer) -> None:
    """A renderer: deterministic bytes for any report, also one without evidence.

    Raises:
        AssertionError: The renderer breaks a rule.
    """
    assert renderer.name, "a renderer has a name"
    assert renderer.suffix.startswith("."), "a renderer has a suffix with its dot"
    evidence = empty_evidence()
    verdict = Verdict(
        operation=evidence.run.operation,
        conclusion=Conclusion.INCONCLUSIVE,
        claim={},
        integrity=Integrity(result=IntegrityResult.VALID, checks=()),
        consensus=Consensus(
            scores={}, overall=None, passed=False, confidence=0.0, conclusion=Conclusion.INCONCLUSIVE
        ),
        level=Level.CLAIM_ONLY,
    )
    report = Report(verdict=verdict, evidence=evidence)
    for each in (report, replace(report, evidence=None)):
        data = renderer.render(each)
        assert isinstance(data, bytes), "a renderer returns bytes"
        assert renderer.render(each) == data, "the same report gives the same bytes"
        assert b"\x1b" not in data or not _is_text(data), "no escape sequence leaves a renderer of text"


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True

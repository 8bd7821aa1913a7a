"""Judges recorded samples: as declared, undeclared, and with kinds of evidence taken away.

==================  ===============================================================================
way                 what is judged
==================  ===============================================================================
full                the sealed evidence, with what was declared
undeclared          the same without kind and changes
asked               undeclared at first, then with the declaration that the open verdict asks for
no-replay           full without re-execution
no-in-process       full without the sessions that the plugin recorded
outside-only        what the parent process saw and the reports; nothing in-process, static or re-run
==================  ===============================================================================
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from dre_core.crypto.keys import PublicKey
from dre_core.engine import Engine
from dre_core.model.policy import Policy
from dre_core.model.verdict import Severity, Verdict
from dre_core.verification import Request, verify
from dre_core.verify.evidence import Evidence
from dre_core.verify.integrity import Inspected
from dre_core.verify.judgement import judge_evidence

WAYS = ("full", "undeclared", "asked", "no-replay", "no-in-process", "outside-only")
_CHANGES = re.compile(r"--changes '([^']+)'")


@dataclass
class Judged:
    """One sample's verdicts.

    Attributes:
        verdicts: By way.
        findings: By way: severity and check of what stands above info.
        confidence: Of the full verdict.
        replay_seconds: What the cells took, and what it was about.
    """

    id: str
    verdicts: dict[str, str] = field(default_factory=dict)
    findings: dict[str, list[str]] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    confidence: float = 0.0
    replay_seconds: float = 0.0
    wall_seconds: float = 0.0
    problem: str = ""


class Judge:
    """Judges archives by the built-in verifiers, without a policy, as ``dre verify --key`` does."""

    def __init__(self, folder: Path, key: bytes) -> None:
        self.engine = Engine.open(explicit=str(folder / "none"))
        self.key = PublicKey.parse_pem(key)
        self.verifiers = list(self.engine.verifiers(Policy()))

    def judge(self, identity: str, archive: Path, kind: str, changes: tuple[str, ...]) -> Judged:
        judged = Judged(id=identity)
        (verified,) = verify(self.engine, Request(target=str(archive), keys=(self.key,)))
        if verified.evidence is None or verified.run is None:
            judged.problem = "; ".join(c.detail for c in verified.verdict.integrity.checks if not c.passed)
            return judged
        evidence = verified.evidence
        inspected = Inspected(integrity=verified.verdict.integrity, run=verified.run)
        evidence = _declaring(evidence, kind or None, changes)
        verdict = judge_evidence(evidence, inspected, self.verifiers)
        self._note(judged, "full", verdict)
        judged.confidence = verdict.consensus.confidence
        judged.messages = [
            f"{f.severity.value} {f.check}: {f.message}" for m in verdict.methods.values() for f in m.findings
            if f.severity is not Severity.INFO
        ]  # fmt: skip
        for way, other in _ways(evidence):
            self._note(judged, way, judge_evidence(other, inspected, self.verifiers))
        self._note(judged, "asked", self._asked(evidence, inspected))
        if evidence.replay is not None:
            judged.replay_seconds = evidence.replay.seconds
        judged.wall_seconds = verified.run.duration_ns / 1e9
        return judged

    def _asked(self, evidence: Evidence, inspected: Inspected) -> Verdict:
        """What an honest author does: reads what the open verdict asks for, and a maintainer declares that."""
        bare = _declaring(evidence, None, ())
        verdict = judge_evidence(bare, inspected, self.verifiers)
        names = tuple(name for line in verdict.missing for name in _CHANGES.findall(line))
        if verdict.conclusion.value == "inconclusive" and names:
            declared = _declaring(evidence, "behavior-change", tuple(dict.fromkeys(names)))
            return judge_evidence(declared, inspected, self.verifiers)
        return verdict

    @staticmethod
    def _note(judged: Judged, way: str, verdict: Verdict) -> None:
        judged.verdicts[way] = verdict.conclusion.value
        judged.findings[way] = sorted(
            {
                f"{finding.severity.value} {finding.check}"
                for method in verdict.methods.values()
                for finding in method.findings
                if finding.severity is not Severity.INFO
            }
        )


def _declaring(evidence: Evidence, kind: str | None, changes: tuple[str, ...]) -> Evidence:
    claim = replace(evidence.run.claim, kind=kind, changes=changes)
    return replace(evidence, run=replace(evidence.run, claim=claim))


def _ways(evidence: Evidence) -> Iterator[tuple[str, Evidence]]:
    yield "undeclared", _declaring(evidence, None, ())
    yield "no-replay", replace(evidence, replay=None)
    yield "no-in-process", replace(evidence, sessions=(), imports=())
    source = replace(evidence.run.source, base="")
    run = replace(evidence.run, source=source)
    yield "outside-only", replace(evidence, run=run, sessions=(), imports=(), replay=None, changes=None)

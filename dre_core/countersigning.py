"""Countersignatures: a party that did not run the workload verifies an operation and signs what it came to.

A countersignature is a VSA and a verdict about the digest of the run's payload, each in an envelope of its own. A
cosignature is the run's very payload under one more key, for policies that ask for several signatures. Both stand in
``countersignatures/<operation>.intoto.jsonl``, which nothing sealed before names and which changes nothing that was.
Neither is trusted for being there: which key may countersign is the policy's.

Verification comes first and may be done by a child process, because an archive is hostile; :class:`Review` is what it
answers, plain data. The keys are asked for afterwards.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dre_core import __version__
from dre_core.crypto.dsse import PAYLOAD_TYPE, Envelope
from dre_core.crypto.keys import PublicKey, Signer
from dre_core.errors import FormatError, IntegrityError, LimitError, UsageError
from dre_core.model import event as events
from dre_core.model import predicate
from dre_core.model.canonical import JSON
from dre_core.model.event import rfc3339
from dre_core.model.fields import Fields
from dre_core.model.policy import Policy
from dre_core.model.record import dataclass
from dre_core.store.bundle import Archive, Member, write_archive
from dre_core.store.folder import Experiment, Folder, write_atomically
from dre_core.store.sealed import SIGNATURE_LIMIT, TEXT_LIMIT_BYTES

if TYPE_CHECKING:
    from dre_core.engine import Engine
    from dre_core.verification import Verified

COUNTERSIGNED = "evidence.countersigned"
_KEY_LIMIT_BYTES = 64 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """What verifying one operation came to.

    Attributes:
        operation: The operation's id.
        run: Payload digest of the run.
        payloads: Payload digests of every envelope that was read, in order.
        signers: Ids of the trusted keys that signed the run.
        supported: Whether the verdict is ``supported``.
        level: The evidence level.
        verdict: The verdict document.
    """

    operation: str
    run: str
    payloads: tuple[str, ...]
    signers: tuple[str, ...]
    supported: bool
    level: int
    verdict: Mapping[str, JSON]

    def to_json(self) -> dict[str, JSON]:
        """The review as a child process answers it."""
        return {
            "operation": self.operation,
            "run": self.run,
            "payloads": list(self.payloads),
            "signers": list(self.signers),
            "supported": self.supported,
            "level": self.level,
            "verdict": dict(self.verdict),
        }

    @classmethod
    def parse(cls, value: JSON) -> Review:
        """Reads a review; see :meth:`to_json`."""
        fields = Fields(value)
        return cls(
            operation=fields.text("operation"),
            run=fields.text("run"),
            payloads=fields.texts("payloads"),
            signers=fields.texts("signers"),
            supported=fields.boolean("supported"),
            level=fields.integer("level"),
            verdict=fields.object("verdict").value,
        )


def review_of(verified: Verified) -> Review:
    """What is signed of a verification.

    Raises:
        IntegrityError: The run could not be read, so there is nothing to sign.
    """
    verdict = verified.verdict
    if not verified.run_payload:
        raise IntegrityError("the run can't be read", hint="dre verify says what is wrong")
    return Review(
        operation=verdict.operation,
        run=verified.run_payload,
        payloads=verified.payloads,
        signers=verified.signers,
        supported=verdict.conclusion.value == "supported",
        level=int(verdict.level),
        verdict=verdict.to_json(),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where countersignatures are kept, and what is there already.

    Attributes:
        run: Bytes of the run's payload.
        lines: The countersignatures there are.
        keep: Writes all lines, with the public keys of the new ones.
    """

    run: bytes
    lines: tuple[bytes, ...]
    keep: Callable[[Sequence[bytes], Sequence[PublicKey]], None]


def countersign(
    engine: Engine, review: Review, place: Place, signers: Sequence[Signer], policy: Policy, *, cosign: bool
) -> list[Envelope]:
    """Signs a review and puts it beside the evidence.

    Args:
        engine: The project's engine, for the clock.
        review: What verifying came to.
        place: Where it goes.
        signers: The keys of the party that countersigns.
        policy: The policy that was judged by.
        cosign: Sign the run itself as well.

    Returns:
        The new envelopes.

    Raises:
        UsageError: One of the keys signed the run: its signature would say nothing new.
        StorageError: It can't be kept.
    """
    own = {signer.keyid for signer in signers} & set(review.signers)
    if own:
        raise UsageError(
            f"key {min(own)[:16]} sealed this run itself",
            hint="countersign with the key of somebody who did not run it",
        )
    subject = predicate.run_payload_subject(review.run)
    time = rfc3339(engine.now())
    statements = [
        predicate.summary_of(
            (subject,),
            review.operation,
            review.level if review.supported else None,
            policy,
            review.payloads,
            __version__,
            time,
        ),
        predicate.verdict_about((subject,), review.verdict),
    ]
    payloads = [statement.to_bytes() for statement in statements] + ([place.run] if cosign else [])
    envelopes = [Envelope.sign(PAYLOAD_TYPE, payload, signers) for payload in payloads]
    lines = [*place.lines, *(envelope.to_bytes() for envelope in envelopes)]
    place.keep(lines, [signer.public for signer in signers])
    return envelopes


def own_place(engine: Engine, review: Review) -> Place:
    """The place of an operation of one's own ``.dre`` folder; the log tells of the countersignature."""
    experiment = engine.folder.experiment(review.operation)

    def keep(lines: Sequence[bytes], keys: Sequence[PublicKey]) -> None:
        held = experiment.acquire()
        try:
            keep_lines(engine.folder, experiment, lines, keys)
        finally:
            os.close(held)
        payloads: list[JSON] = [Envelope.parse(line).payload_digest for line in lines]
        named: list[JSON] = [key.keyid for key in keys]
        event = events.new(
            COUNTERSIGNED,
            operation=review.operation,
            source="dre countersign",
            data={"payloads": payloads, "keys": named},
            now=engine.now,
        )
        with engine.open_log() as log:
            log.append([event])

    return Place(
        run=_run_among(experiment.envelopes.read_bytes(), review.run),
        lines=countersigned_lines(experiment),
        keep=keep,
    )


def countersigned_lines(experiment: Experiment) -> tuple[bytes, ...]:
    """The countersignatures that an operation has here; none where there is no file."""
    try:
        return tuple(experiment.countersignatures.read_bytes().splitlines())
    except FileNotFoundError:
        return ()


def file_of(lines: Sequence[bytes]) -> bytes:
    """The bytes of a file of countersignatures.

    Raises:
        LimitError: More signatures than a reader takes.
    """
    if sum(len(Envelope.parse(line).signatures) for line in lines) > SIGNATURE_LIMIT:
        raise LimitError(
            f"there would be more than {SIGNATURE_LIMIT} signatures beside the run", path="countersignatures"
        )
    return b"".join(line + b"\n" for line in lines)


def keep_lines(
    folder: Folder, experiment: Experiment, lines: Sequence[bytes], keys: Sequence[PublicKey]
) -> None:
    """Writes an operation's countersignatures, the keys first."""
    data = file_of(lines)
    for key in keys:
        path = folder.public_keys / f"{key.keyid}.pem"
        if not path.exists():
            write_atomically(path, key.pem())
    write_atomically(experiment.countersignatures, data)


def archive_place(path: Path, output: Path, review: Review) -> Place:
    """The place of an operation in an archive, which is written anew with everything that was in it.

    Args:
        path: The archive.
        output: The archive to write; may be the same.
        review: What verifying it came to.

    Raises:
        FormatError: It is not the archive that was verified.
    """
    name = f"countersignatures/{review.operation}.intoto.jsonl"
    with Archive.open(path) as archive:
        run = _run_among(
            archive.read(f"attestations/{review.operation}.intoto.jsonl", TEXT_LIMIT_BYTES), review.run
        )
        present = archive.read(name, TEXT_LIMIT_BYTES).splitlines() if name in archive.names else []

    def keep(lines: Sequence[bytes], keys: Sequence[PublicKey]) -> None:
        with Archive.open(path) as archive:
            members = {each: archive.member(each) for each in archive.names}
            for key in keys:
                members[f"keys/{key.keyid}.pem"] = Member(name=f"keys/{key.keyid}.pem", source=key.pem())
            members[name] = Member(name=name, source=file_of(lines))
            write_archive(output, members.values())

    return Place(run=run, lines=tuple(present), keep=keep)


def _run_among(envelopes: bytes, digest: str) -> bytes:
    """The payload of this digest.

    Raises:
        FormatError: There is none: the evidence was replaced after it was verified.
    """
    for line in envelopes.splitlines():
        envelope = Envelope.parse(line)
        if envelope.payload_digest == digest:
            return envelope.payload
    raise FormatError("the evidence was changed after it was verified")

"""What happened in a log since a checkpoint that somebody kept: nothing rewritten, nothing dropped, and every run.

Whoever holds an earlier checkpoint (a previous archive's ``log/checkpoint``, a CI cache, a comment) can ask for it with
``dre verify --since``. The log must then be a continuation of that checkpoint (RFC 6962 consistency), and the runs
between it and the operation at hand are listed with their outcomes: eleven failed ones before the green one show.
"""

from __future__ import annotations

from dre_core.crypto.keys import PublicKey
from dre_core.crypto.merkle import verify_consistency
from dre_core.crypto.note import Checkpoint, open_note, parse_proof, unverified_text
from dre_core.errors import DREError, IntegrityError, UsageError
from dre_core.model.canonical import JSON
from dre_core.model.record import dataclass
from dre_core.model.verdict import IntegrityCheck
from dre_core.operation import SEALED
from dre_core.store.log import Log
from dre_core.store.sealed import Sealed


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """One sealed run between a checkpoint and the operation at hand."""

    operation: str
    outcome: str
    sealed: str

    def to_json(self) -> dict[str, JSON]:
        """The run as it stands in the verdict document."""
        return {"operation": self.operation, "outcome": self.outcome, "sealed": self.sealed}


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What lies between a checkpoint and an operation.

    Attributes:
        check: Whether the log continues the checkpoint.
        runs: The runs sealed after it and before the operation, oldest first.
    """

    check: IntegrityCheck
    runs: tuple[Past, ...] = ()


def history_since(log: Log, note: str, sealed: Sealed) -> History:
    """Holds a log against an earlier checkpoint.

    Args:
        log: The log that the operation was sealed in.
        note: The earlier checkpoint, a signed note.
        sealed: The operation at hand.

    Raises:
        UsageError: The note is no checkpoint.
    """
    try:
        earlier = Checkpoint.parse(unverified_text(note))
    except DREError as error:
        raise UsageError(
            f"--since is no checkpoint: {error}", hint="a file made by dre log checkpoint"
        ) from None
    try:
        detail = _continues(log, note, earlier, sealed)
    except DREError as error:
        return History(check=IntegrityCheck(id="since", passed=False, detail=str(error)))
    check = IntegrityCheck(id="since", passed=True, detail=detail)
    return History(check=check, runs=_runs(log, earlier.size, sealed.operation))


def _continues(log: Log, note: str, earlier: Checkpoint, sealed: Sealed) -> str:
    """Checks the note's signature and that the operation's checkpoint continues it."""
    if earlier.origin != log.origin:
        raise IntegrityError(f"the checkpoint is of {earlier.origin}, the log is {log.origin}")
    if not any(
        _signed(note, log.origin, key) for key in sealed.hint_keys.values() if key.scheme == "ed25519"
    ):
        raise IntegrityError("the checkpoint is signed by no key of this log")
    later = Checkpoint.parse(unverified_text(parse_proof(sealed.proof).checkpoint_note))
    if earlier.size > later.size:
        raise IntegrityError(
            f"the log was rolled back: {earlier.size} events then, {later.size} at the operation"
        )
    proof = log.consistency(earlier.size, later.size)
    if not verify_consistency(earlier.size, later.size, earlier.root, later.root, proof):
        raise IntegrityError("the log was rewritten since the checkpoint")
    return f"{earlier.size} events then, {later.size} at the operation, nothing rewritten or dropped"


def _signed(note: str, origin: str, key: PublicKey) -> bool:
    try:
        open_note(note, origin, key)
    except DREError:
        return False
    return True


def _runs(log: Log, start: int, operation: str) -> tuple[Past, ...]:
    found = []
    for _, event in log.events(start, type_prefix=SEALED):
        if event.operation == operation:
            break
        outcome = str(event.data.get("outcome", ""))
        found.append(Past(operation=event.operation or "", outcome=outcome, sealed=event.time))
    return tuple(found)

"""What happened in a log since a checkpoint that somebody kept: nothing rewritten, nothing dropped, and every run.

Whoever holds an earlier checkpoint (a previous archive's ``log/checkpoint``, a CI cache, a comment) can ask for it with
``dre verify --since``. The log must then be a continuation of that checkpoint (RFC 6962 consistency), and the runs
between it and the operation at hand are listed with their outcomes: eleven failed ones before the green one show.

Without such a checkpoint, those in the proofs of a folder's own operations still say what the log was like when each
was sealed, and the user's state file which keys sign for it (:func:`log_problems`, ``dre log check``). A folder that
was brought back to an earlier state as a whole says nothing of that.
"""

from __future__ import annotations

from collections.abc import Sequence

from dre_core.crypto.keys import PublicKey
from dre_core.crypto.merkle import verify_consistency
from dre_core.crypto.note import Checkpoint, open_note, parse_proof, unverified_text
from dre_core.engine import Engine
from dre_core.errors import DREError, IntegrityError, UsageError
from dre_core.model.canonical import JSON
from dre_core.model.record import dataclass
from dre_core.model.verdict import IntegrityCheck
from dre_core.operation import SEALED
from dre_core.store.folder import Folder
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
    # Hashes prove nothing of the events beside them, and it is the events that are told.
    kept = {"the checkpoint": note, "the operation's checkpoint": parse_proof(sealed.proof).checkpoint_note}
    if problems := log.check(kept=kept):
        raise IntegrityError(f"the log was rewritten: {problems[0]}")
    return f"{earlier.size} events then, {later.size} at the operation, nothing rewritten or dropped"


def log_problems(engine: Engine, log: Log) -> tuple[list[str], bool]:
    """Holds a log against all that lies around it: its keys, and the checkpoints in the proofs of its operations.

    Args:
        engine: The project's engine.
        log: Its log.

    Returns:
        What is wrong, one line each; and whether signatures were checked, which they can be only by whose user's state
        file names the log's keys.

    Raises:
        StorageError: The log can't be read.
    """
    problems: list[str] = []
    known = engine.keyring.known(log.id)
    keys = [] if known is None else _public_keys(engine.folder, known.log_keys, problems)
    kept: dict[str, str] = {}
    for name in engine.folder.experiments():
        proof = engine.folder.experiment(name).proof
        if not proof.exists():
            continue
        try:
            note = parse_proof(proof.read_text(encoding="utf-8")).checkpoint_note
            if Checkpoint.parse(unverified_text(note)).origin == log.origin:
                kept[f"proof of {name}"] = note
        except (DREError, OSError, UnicodeError):
            problems.append(f"proof of {name}: unreadable")
    return [*problems, *log.check(*keys, kept=kept)], bool(keys)


def _public_keys(folder: Folder, keyids: Sequence[str], problems: list[str]) -> list[PublicKey]:
    """The keys of these ids; what is missing or another one than its name says is a problem."""
    keys = []
    for keyid in keyids:
        path = folder.public_keys / f"{keyid}.pem"
        try:
            key = PublicKey.parse_pem(path.read_bytes())
        except (DREError, OSError):
            problems.append(f"keys/{path.name}: the log's public key is missing or unreadable")
            continue
        if key.keyid != keyid:
            problems.append(f"keys/{path.name}: not the key of this name")
            continue
        keys.append(key)
    return keys


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

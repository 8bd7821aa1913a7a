"""Deleting operations: a signed tombstone in the log first, then the files. What was deleted, why and by whom stays.

The log keeps every leaf, so a deleted run still shows in ``verify --since``; its evidence can no longer be verified.
Payloads that another operation or the log names (certificates, tombstones) stay. A removal that was cut off is
completed by the next one.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from dre_core.crypto.dsse import Envelope
from dre_core.errors import ConfigError, DREError, UsageError
from dre_core.model import event as events
from dre_core.model import predicate
from dre_core.model.event import parse_rfc3339, rfc3339
from dre_core.model.record import dataclass
from dre_core.model.run import Run
from dre_core.model.statement import Statement
from dre_core.model.text import printable
from dre_core.operation import SEALED, user_name
from dre_core.store.folder import Experiment, storage_errors
from dre_core.store.log import Log

if TYPE_CHECKING:
    from dre_core.engine import Engine

DELETED = "evidence.deleted"
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """What was removed of one operation.

    Attributes:
        operation: Its id.
        blobs: Payloads that were deleted.
        kept: Payloads that stay, because something else names them.
    """

    operation: str
    blobs: int
    kept: int


def retention_of(text: str) -> timedelta:
    """The age that a text such as ``30d`` or ``12h`` stands for.

    Raises:
        ConfigError: It is none.
    """
    number, unit = text[:-1], text[-1:]
    if not (number.isascii() and number.isdigit() and unit in _UNITS and len(number) < 6):
        raise ConfigError(f"{text!r} is no age", hint="such as 30d, 12h or 90m", path="evidence.retention")
    return timedelta(**{_UNITS[unit]: int(number)})


def outdated(engine: Engine, age: timedelta) -> list[str]:
    """The sealed operations here whose last seal is older than an age, oldest first."""
    limit = engine.now() - age
    with engine.open_log(read_only=True) as log:
        sealed = {event.operation: event.time for _, event in log.events(type_prefix=SEALED)}
    here = engine.folder.experiments()
    return [name for name in here if name in sealed and parse_rfc3339(sealed[name]) < limit]


def deleted_operations(log: Log) -> frozenset[str]:
    """The operations that have a tombstone."""
    return frozenset(event.operation or "" for _, event in log.events(type_prefix=DELETED))


def remove(engine: Engine, operations: Sequence[str], reason: str) -> list[Removed]:
    """Deletes operations, each with its tombstone.

    Args:
        engine: The project's engine.
        operations: Their ids.
        reason: Why; masked, and kept for ever.

    Raises:
        UsageError: One of the operations, or another one here, is under way.
        StorageError: A file can't be deleted; the tombstone is in the log already.
    """
    for name in engine.folder.experiments():
        if engine.folder.experiment(name).is_alive():
            raise UsageError(f"operation {name} is under way", hint="delete when nothing is being recorded")
    with engine.open_log() as log:
        gone = deleted_operations(log)
        for name in operations:
            if name not in gone:
                _bury(engine, log, name, engine.masker().text(printable(reason)))
        named = _named_elsewhere(engine, log, frozenset(operations))
    return [_delete(engine, name, named) for name in operations]


def _bury(engine: Engine, log: Log, name: str, reason: str) -> None:
    """Signs the tombstone and names it in the log."""
    authority = engine.authority(log)
    user = engine.masker().text(user_name(engine.environ))
    envelopes = _envelopes(engine.folder.experiment(name))
    statement = predicate.tombstone(
        name, [envelope.payload_digest for envelope in envelopes], reason, user, rfc3339(engine.now())
    )
    envelope = authority.seal(statement.to_bytes())
    data = {
        "reason": reason,
        "payload": envelope.payload_digest,
        "blob": engine.store.put(envelope.to_bytes() + b"\n"),
    }
    log.append([events.new(DELETED, operation=name, source="dre evidence", data=data, now=engine.now)])
    log.checkpoint(authority.log_signer)


def _envelopes(experiment: Experiment) -> list[Envelope]:
    """The operation's envelopes; none where they can't be read."""
    try:
        return [Envelope.parse(line) for line in experiment.envelopes.read_bytes().splitlines()]
    except (OSError, DREError):
        return []


def _payloads(experiment: Experiment) -> set[str]:
    """The payloads that an operation names."""
    for envelope in _envelopes(experiment):
        try:
            statement = Statement.parse(envelope.payload)
            if statement.predicate_type == predicate.RUN:
                return {item.digest for item in Run.parse(statement.predicate).items if item.kept}
        except DREError:
            continue
    return set()


def _named_elsewhere(engine: Engine, log: Log, removed: frozenset[str]) -> frozenset[str]:
    """The payloads that other operations here or the log name."""
    named = {str(event.data["blob"]) for _, event in log.events() if "blob" in event.data}
    for name in engine.folder.experiments():
        if name not in removed:
            named |= _payloads(engine.folder.experiment(name))
    return frozenset(named)


def _delete(engine: Engine, name: str, named: Iterable[str]) -> Removed:
    experiment = engine.folder.experiment(name)
    payloads = _payloads(experiment)
    kept = payloads.intersection(named)
    # The payloads go first: as long as the envelopes are there, a removal that was cut off can be completed.
    deleted = sum(engine.store.delete(digest) for digest in sorted(payloads - kept))
    with storage_errors(experiment.path):
        if experiment.path.is_symlink():
            experiment.path.unlink()
        elif experiment.path.exists():
            shutil.rmtree(experiment.path)
    return Removed(operation=name, blobs=deleted, kept=len(kept))

"""Declarations in the log: sealing one, clearing it, and finding the one that holds for a commit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dre_core.capture.git import Git
from dre_core.crypto.dsse import Envelope
from dre_core.errors import UsageError
from dre_core.model import event as events
from dre_core.model.canonical import JSON
from dre_core.model.declaration import Declaration
from dre_core.model.record import dataclass
from dre_core.model.statement import Statement
from dre_core.store.local import LocalStore
from dre_core.store.log import Log

if TYPE_CHECKING:
    from dre_core.engine import Engine
    from dre_core.model.event import Clock
    from dre_core.trust import Authority

DECLARED = "claim.declared"
CLEARED = "claim.cleared"
_ENVELOPE_LIMIT_BYTES = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """A declaration that holds for a commit.

    Attributes:
        declaration: What was declared.
        payload: Payload digest of its envelope.
        blob: Digest of the envelope in the store.
    """

    declaration: Declaration
    payload: str
    blob: str


def head_commit(engine: Engine) -> str:
    """Id of the commit that a declaration made now is about.

    Raises:
        UsageError: There is none.
    """
    git = Git.find(str(engine.directory))
    commit = git.head().commit if git else ""
    if not commit:
        raise UsageError("there is no commit to declare something about", hint="commit the change first")
    return commit


def declare(engine: Engine, declaration: Declaration) -> Declared:
    """Seals a declaration; it replaces an earlier one about the same commit."""
    with engine.open_log() as log:
        return seal(declaration, log, engine.store, engine.authority(log), engine.now)


def seal(
    declaration: Declaration,
    log: Log,
    store: LocalStore,
    authority: Authority,
    now: Clock,
    source: str = "dre claim",
) -> Declared:
    """The same in a log that is open; the source says who declared."""
    envelope = authority.seal(declaration.statement().to_bytes())
    blob = store.put(envelope.to_bytes())
    data = {"commit": declaration.commit, "payload": envelope.payload_digest, "blob": blob}
    log.append([events.new(DECLARED, operation=None, source=source, data=data, now=now)])
    return Declared(declaration=declaration, payload=envelope.payload_digest, blob=blob)


def clear(engine: Engine, commit: str) -> bool:
    """Withdraws what was declared about a commit; False if nothing was."""
    with engine.open_log() as log:
        if _last(log, commit) is None:
            return False
        data = {"commit": commit}
        log.append([events.new(CLEARED, operation=None, source="dre claim", data=data, now=engine.now)])
    return True


def in_force(log: Log, store: LocalStore, commit: str) -> Declared | None:
    """The declaration that holds for a commit; None if there is none.

    Raises:
        FormatError: The stored envelope is not what the log says.
    """
    data = _last(log, commit) if commit else None
    if data is None:
        return None
    blob = str(data["blob"])
    envelope = Envelope.parse(store.read(blob, _ENVELOPE_LIMIT_BYTES))
    declaration = Declaration.parse(Statement.parse(envelope.payload).predicate)
    return Declared(declaration=declaration, payload=envelope.payload_digest, blob=blob)


def _last(log: Log, commit: str) -> Mapping[str, JSON] | None:
    """Data of the newest event about a commit, or None if it is a withdrawal or there is none."""
    found: Mapping[str, JSON] | None = None
    for _, event in log.events(type_prefix="claim."):
        if event.data.get("commit") == commit:
            found = event.data if event.type == DECLARED else None
    return found

"""Pictures of earlier runs of the same command in this folder, from their seals.

What the folder remembers of its past says which runs to look at; what they showed is read from their own sealed
envelopes, and only where a key of one's own signed them. What can't be read is as good as never made.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from dre_core.capture.picture import LIMIT_BYTES, Earlier
from dre_core.crypto.dsse import Envelope
from dre_core.crypto.keys import PublicKey
from dre_core.errors import DREError
from dre_core.model.run import CommandFacts, PastRun, Run
from dre_core.model.statement import Statement
from dre_core.store.folder import Folder
from dre_core.store.past import Past
from dre_core.store.sealed import from_folder


def earlier_pictures(folder: Folder, command: CommandFacts, keys: Sequence[PublicKey]) -> tuple[Earlier, ...]:
    """The pictures that the last runs of a command kept, oldest run first.

    Args:
        folder: The ``.dre`` folder.
        command: The command, masked.
        keys: One's own.
    """
    found: list[Earlier] = []
    for past in Past(folder.path, command).recall():
        try:
            found += _of(folder, past, keys)
        except (DREError, OSError):
            continue
    return tuple(found)


def _of(folder: Folder, past: PastRun, keys: Sequence[PublicKey]) -> Iterator[Earlier]:
    from dre_core.verify.evidence import read_whole

    sealed = from_folder(folder, past.operation)
    envelope = Envelope.parse(sealed.envelopes.partition(b"\n")[0])
    envelope.verify(keys, 1)
    run = Run.parse(Statement.parse(envelope.payload).predicate)
    for item in run.items_of("screenshot"):
        if item.kept and item.note.get("lookedAt"):
            yield Earlier(
                name=item.name,
                operation=run.operation,
                commit=run.source.commit,
                digest=item.note["lookedAt"],
                read=partial(read_whole, sealed.blobs, item, LIMIT_BYTES),
            )

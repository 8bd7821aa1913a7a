"""Taking an archive's evidence in: what is in it is found out first, and only what was found sound is copied.

:func:`survey` reads all of a hostile archive, parses it and checks it, and may do so in a child process with limits;
what it answers is plain data. :func:`take` then parses nothing: it finds the members by their places, copies those that
the survey named, and compares each with the digest that the survey gave. So an archive that is exchanged in between is
refused, and one that breaks a parser breaks the child. Importing executes nothing, and an operation that is here
already is left as it is.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dre_core.countersigning import countersigned_lines, keep_lines
from dre_core.errors import FormatError
from dre_core.model.canonical import JSON
from dre_core.model.digest import sha256
from dre_core.model.fields import Fields
from dre_core.model.identifier import OPERATION
from dre_core.model.identifier import parse as parse_identifier
from dre_core.model.record import dataclass
from dre_core.store.bundle import Archive, is_member_name
from dre_core.store.folder import Experiment, storage_errors, write_atomically
from dre_core.store.sealed import TEXT_LIMIT_BYTES, Sealed, archive_operations

if TYPE_CHECKING:
    from dre_core.engine import Engine
    from dre_core.verify.integrity import Inspected

_JUNIT_LIMIT_BYTES = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Sound:
    """An operation of an archive that was found sound.

    Attributes:
        operation: Its id.
        index: Its line of ``index.json``.
        members: Digests of the members that are its own, by name.
    """

    operation: str
    index: str
    members: Mapping[str, str]

    def to_json(self) -> dict[str, JSON]:
        """The operation as a child process answers it."""
        return {"operation": self.operation, "index": self.index, "members": dict(self.members)}

    @classmethod
    def parse(cls, value: JSON) -> Sound:
        """Reads an operation; see :meth:`to_json`.

        Raises:
            FormatError: It is none, or a name is none that an archive may have.
        """
        fields = Fields(value)
        members = fields.object("members")
        for name in members.value:
            if not is_member_name(name):
                raise FormatError("no name that an archive may have", path=name)
        return cls(
            operation=parse_identifier(OPERATION, fields.text("operation")),
            index=fields.text("index"),
            members={name: members.text(name) for name in members.value},
        )


def import_archive(engine: Engine, path: Path) -> list[str]:
    """Takes an archive's operations in, all of it in this process.

    Args:
        engine: The project's engine.
        path: The archive; hostile.

    Returns:
        Ids of the operations that were new, or have new countersignatures, in order.

    Raises:
        FormatError: The archive is not what its index says; nothing was taken in.
        StorageError: It can't be stored.
    """
    return take(engine, path, survey(path))


def survey(path: Path) -> list[Sound]:
    """Reads and checks all of an archive, but for trust, which is asked when an operation is verified.

    Raises:
        FormatError: The archive is not what its index says.
    """
    from dre_core.verify.integrity import Expectations, Trust, archive_problems, inspect

    with archive_operations(path) as found:
        problems = archive_problems(found)
        if problems:
            raise FormatError(problems[0], path=str(path))
        sound = []
        for sealed in found:
            inspected = inspect(sealed, Trust(keys={}), Expectations())
            for check in inspected.integrity.checks:
                if not check.passed and check.id != "trust":
                    raise FormatError(f"{check.id}: {check.detail}", path=sealed.place)
            sound.append(_sound(sealed, inspected))
    return sound


def _sound(sealed: Sealed, inspected: Inspected) -> Sound:
    from dre_core.verify.integrity import index_of

    assert inspected.run is not None
    assert sealed.members is not None
    operation = sealed.operation
    present = set(sealed.members.names())
    names = {
        "README.txt",
        f"attestations/{operation}.intoto.jsonl",
        f"countersignatures/{operation}.intoto.jsonl",
        f"log/{operation}.tlog-proof",
        f"reports/{operation}/junit.xml",
        *(f"blobs/{item.digest.replace(':', '/')}" for item in inspected.run.items if item.kept),
        *(f"keys/{keyid}.pem" for keyid in sealed.hint_keys),
    }
    index = index_of(sealed)
    return Sound(
        operation=operation,
        index=index.to_bytes().decode("utf-8"),
        members={name: sealed.members.digest(name)[1] for name in sorted(names & present)},
    )


def take(engine: Engine, path: Path, found: Sequence[Sound]) -> list[str]:
    """Copies the operations of an archive in that a survey found sound.

    Args:
        engine: The project's engine.
        path: The archive.
        found: What :func:`survey` said of it.

    Returns:
        As :func:`import_archive`.

    Raises:
        FormatError: The archive is another one than was surveyed, or an operation of the same id is another here.
        StorageError: It can't be stored.
    """
    with Archive.open(path) as archive:
        # Making the log makes the folder; a foreign operation never enters the log itself.
        engine.open_log().close()
        return [each.operation for each in found if _take(engine, _Members(archive, each), each)]


class _Members:
    """The members of one operation, each read only as it was surveyed."""

    def __init__(self, archive: Archive, sound: Sound) -> None:
        self._archive = archive
        self._digests = sound.members

    def names(self, head: str) -> list[str]:
        return [name for name in self._digests if name.startswith(head)]

    def read(self, name: str, limit_bytes: int = TEXT_LIMIT_BYTES) -> bytes:
        """A member's bytes; none if the operation has no such member."""
        if name not in self._digests:
            return b""
        data = self._archive.read(name, limit_bytes)
        if sha256(data) != self._digests[name]:
            raise FormatError("the archive was changed while it was imported", path=name)
        return data

    def store(self, engine: Engine) -> None:
        """Copies the payloads that are not here yet; the store names them by what their bytes are."""
        writers = []
        for name in self.names("blobs/"):
            digest = name.removeprefix("blobs/").replace("/", ":")
            if engine.store.has(digest):
                continue
            writer = engine.store.writer()
            with self._archive.stream(name) as stream:
                shutil.copyfileobj(stream, writer, 1 << 20)
            if writer.digest != digest:
                writer.abort()
                raise FormatError("the payload's digest differs", path=name)
            writers.append(writer)
        engine.store.commit_all(writers)


def _take(engine: Engine, members: _Members, sound: Sound) -> bool:
    """Copies one operation in; False if it is here already."""
    operation = sound.operation
    experiment = engine.folder.experiment(operation)
    envelopes = members.read(f"attestations/{operation}.intoto.jsonl")
    countersignatures = members.read(f"countersignatures/{operation}.intoto.jsonl")
    if experiment.envelopes.exists():
        if experiment.envelopes.read_bytes() != envelopes:
            raise FormatError("another operation of the same id is here", path=operation)
        return _take_countersignatures(engine, experiment, members, countersignatures)
    members.store(engine)
    _take_keys(engine, members)
    with storage_errors(experiment.path):
        experiment.path.mkdir(parents=True, exist_ok=True)
    if junit := members.read(f"reports/{operation}/junit.xml", _JUNIT_LIMIT_BYTES):
        write_atomically(experiment.junit, junit)
    write_atomically(experiment.readme, members.read("README.txt"))
    write_atomically(experiment.index, sound.index.encode() + b"\n")
    write_atomically(experiment.proof, members.read(f"log/{operation}.tlog-proof"))
    _take_countersignatures(engine, experiment, members, countersignatures)
    # The envelopes come last: an operation without them is not there.
    write_atomically(experiment.envelopes, envelopes)
    return True


def _take_countersignatures(
    engine: Engine, experiment: Experiment, members: _Members, countersignatures: bytes
) -> bool:
    """Adds what others signed about an operation and is not here yet; False if there is nothing new."""
    here = countersigned_lines(experiment)
    new = [line for line in countersignatures.splitlines() if line not in here]
    if not new:
        return False
    _take_keys(engine, members)
    keep_lines(engine.folder, experiment, [*here, *new], ())
    return True


def _take_keys(engine: Engine, members: _Members) -> None:
    for name in members.names("keys/"):
        path = engine.folder.public_keys / name.removeprefix("keys/")
        if not path.exists():
            write_atomically(path, members.read(name))

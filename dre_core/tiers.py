"""Storage tiers: which payloads are copied or moved where, and how they come back.

Everything lies in ``.dre`` first. ``dre evidence sync`` copies each sealed operation to the backup, all that an
archive of it would hold, and moves payloads that are large or old to the cold store, each only after it was read back
from there. ``dre evidence restore`` brings payloads back, and whole operations from the backup, which are checked
like an archive. A store is named by ``s3://bucket/prefix`` or ``file:/folder``; only the user's own configuration and
the environment may name one, because the change under test must not choose where evidence goes.

Nothing here is trusted for where it lies: payloads are compared with their digests, operations with their seals.
``dre verify`` opens no socket, so what lies in the cold store only must be brought back before it can be verified.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from dre_core.config import StorageSection
from dre_core.errors import FormatError, IntegrityError, NotFoundError, StorageError, UsageError
from dre_core.exchange import members_of, run_of
from dre_core.importing import import_archive
from dre_core.model import canonical
from dre_core.model import event as events
from dre_core.model.canonical import JSON
from dre_core.model.digest import sha256
from dre_core.model.event import parse_rfc3339
from dre_core.model.fields import Fields
from dre_core.model.identifier import OPERATION
from dre_core.model.identifier import parse as parse_identifier
from dre_core.model.record import dataclass
from dre_core.operation import SEALED
from dre_core.removal import retention_of
from dre_core.store.backend import Backend
from dre_core.store.bundle import Member, write_archive
from dre_core.store.folder import open_regular, storage_errors, write_atomically
from dre_core.store.local import LocalStore

if TYPE_CHECKING:
    from dre_core.engine import Engine

ARCHIVED = "evidence.archived"
RESTORED = "evidence.restored"
_CHUNK_BYTES = 1 << 20
_MEGABYTE = 1_000_000
_MANIFEST_LIMIT_BYTES = 16 << 20
# Verifying needs them even where nobody reads a payload.
_STAYING = ("certificate", "declaration")


class Store(Backend, Protocol):
    """A store of blobs that also keeps a few small documents by name."""

    def put_document(self, name: str, data: bytes) -> None:
        """Write a document; an older one of the name is replaced."""
        ...

    def document(self, name: str) -> bytes:
        """A document's bytes.

        Raises:
            NotFoundError: There is none.
        """
        ...

    def documents(self) -> Iterator[str]:
        """Names of all documents, in rising order."""
        ...


class FolderStore(LocalStore):
    """Blobs and documents in a folder, such as a mounted disk."""

    def put_document(self, name: str, data: bytes) -> None:
        """Write a document; an older one of the name is replaced."""
        folder = self.root / "operations"
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / name, data)

    def document(self, name: str) -> bytes:
        """A document's bytes."""
        path = self.root / "operations" / name
        if not path.exists():
            raise NotFoundError("no such document", path=str(path))
        with open_regular(path) as stream:
            return stream.read(_MANIFEST_LIMIT_BYTES)

    def documents(self) -> Iterator[str]:
        """Names of all documents, in rising order."""
        folder = self.root / "operations"
        yield from sorted(name for name in (os.listdir(folder) if folder.is_dir() else ()) if name[0] != ".")


def open_store(url: str, endpoint: str = "") -> Store:
    """The store that a URL names.

    Args:
        url: ``s3://bucket/prefix`` or ``file:/folder``.
        endpoint: Address of an S3 server; empty for Amazon's.

    Raises:
        UsageError: Neither.
        MissingExtraError: S3, and the extra ``s3`` is not installed.
    """
    if url.startswith("s3:"):
        from dre_core.store.s3 import S3Store

        return S3Store(url, endpoint)
    path = Path(url.removeprefix("file:").removeprefix("//"))
    if url.startswith("file:") and path.is_absolute():
        return FolderStore(path)
    raise UsageError(f"not a store: {url!r}", hint="such as s3://bucket/prefix or file:/mnt/evidence")


def is_cold(size_bytes: int, sealed: datetime, now: datetime, rules: StorageSection, age: timedelta) -> bool:
    """Whether the rules move a payload away from here.

    Args:
        size_bytes: Its stored size.
        sealed: When an operation that names it was sealed last.
        now: The present moment.
        rules: The configuration.
        age: What ``rules.cold_after`` stands for.
    """
    return size_bytes > rules.cold_above_mb * _MEGABYTE or now - sealed > age


def copy_blob(source: Backend, target: Backend, digest: str) -> None:
    """Copies a blob, in constant memory.

    Raises:
        NotFoundError: The source has it not.
        IntegrityError: The bytes are not those of the digest; nothing is stored under it.
        StorageError: A store refuses.
    """
    with source.open(digest) as stream, target.writer() as writer:
        shutil.copyfileobj(stream, writer, _CHUNK_BYTES)
        found = writer.commit()
    if found != digest:
        target.delete(found)
        raise IntegrityError("the stored bytes are not those of the digest", path=digest)


class ReadThrough:
    """The local store before others: what is not here is fetched, compared, kept here, and read here.

    Args:
        local: The store that keeps copies.
        others: Asked in order.
    """

    def __init__(self, local: LocalStore, others: Sequence[Backend]) -> None:
        self._local = local
        self._others = tuple(others)

    def has(self, digest: str) -> bool:
        """Whether the blob is in some tier."""
        return self._local.has(digest) or any(other.has(digest) for other in self._others)

    def open(self, digest: str) -> BinaryIO:
        """A blob's bytes, from here.

        Raises:
            NotFoundError: In no tier.
            StorageError: A tier can't be asked.
        """
        self.fetch(digest)
        return self._local.open(digest)

    def fetch(self, digest: str) -> bool:
        """Brings a blob here; gives whether it was somewhere else.

        Raises:
            NotFoundError: In no tier.
            IntegrityError: A tier has other bytes under its name, and no other tier has it.
        """
        if self._local.has(digest):
            return False
        damaged: IntegrityError | None = None
        for other in self._others:
            try:
                copy_blob(other, self._local, digest)
            except NotFoundError:
                continue
            except IntegrityError as error:
                damaged = error
                continue
            return True
        raise damaged or NotFoundError("the payload is in no store", path=digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Synced:
    """What was done with one operation.

    Attributes:
        operation: Its id.
        copied: Files that were new to the backup.
        moved: Payloads that lie in the cold store now, and not here.
    """

    operation: str
    copied: int
    moved: int


def sync(engine: Engine, *, dry_run: bool = False) -> list[Synced]:
    """Copies and moves what the rules say.

    Args:
        engine: The project's engine.
        dry_run: Only count.

    Raises:
        UsageError: No store is configured, or something is being recorded.
        StorageError: A store refuses; what was done stays done.
    """
    rules = engine.settings.storage
    if not (rules.backup or rules.cold):
        raise UsageError(
            "no store is configured", hint="set storage.backup or storage.cold in ~/.config/dre/config.yaml"
        )
    names = [name for name in engine.folder.experiments() if engine.folder.experiment(name).index.exists()]
    copied = dict.fromkeys(names, 0)
    if rules.backup:
        backup = open_store(rules.backup, rules.endpoint)
        copied = {name: _back_up(engine, backup, name, dry_run) for name in names}
    moved = dict.fromkeys(names, 0)
    if rules.cold:
        moved = _move_cold(engine, open_store(rules.cold, rules.endpoint), names, dry_run)
    return [Synced(operation=name, copied=copied[name], moved=moved[name]) for name in names]


def _back_up(engine: Engine, backup: Store, name: str, dry_run: bool) -> int:
    """Copies what an archive of the operation would hold; gives how many files were new."""
    listed: dict[str, JSON] = {}
    new = 0
    for member in members_of(engine, [name], absent_allowed=True):
        digest, missing = _member_digest(engine, member)
        listed[member.name] = digest
        if not missing and not backup.has(digest):
            new += 1
            if not dry_run:
                _store_member(backup, member, digest)
    manifest = canonical.dumps({"format": 1, "operation": name, "members": listed})
    if not dry_run:
        with suppress(NotFoundError):
            if backup.document(f"{name}.json") == manifest:
                return new
        backup.put_document(f"{name}.json", manifest)
    return new


def _member_digest(engine: Engine, member: Member) -> tuple[str, bool]:
    """A member's digest, and whether its bytes are not here."""
    if member.name.startswith("blobs/"):
        digest = f"sha256:{member.name.rsplit('/', 1)[-1]}"
        return digest, not engine.store.has(digest)
    return sha256(_small(member)), False


def _small(member: Member) -> bytes:
    if isinstance(member.source, Path):
        with open_regular(member.source) as stream:
            return stream.read()
    assert isinstance(member.source, bytes)
    return member.source


def _store_member(backup: Store, member: Member, digest: str) -> None:
    if not member.name.startswith("blobs/"):
        backup.put(_small(member))
        return
    assert isinstance(member.source, Path)
    with open_regular(member.source) as stream, backup.writer() as writer:
        shutil.copyfileobj(stream, writer, _CHUNK_BYTES)
        if writer.commit() != digest:
            raise IntegrityError("the payload's digest differs", path=digest)


def _move_cold(engine: Engine, cold: Store, names: Sequence[str], dry_run: bool) -> dict[str, int]:
    """Moves payloads that every operation naming them lets go; gives how many by operation."""
    rules, now = engine.settings.storage, engine.now()
    age = retention_of(rules.cold_after)
    with engine.open_log(read_only=True) as log:
        times = {event.operation: parse_rfc3339(event.time) for _, event in log.events(type_prefix=SEALED)}
    holders: dict[str, list[str]] = {}
    staying: set[str] = set()
    for name in names:
        for item in run_of(engine.folder.experiment(name)).items:
            if item.kept:
                holders.setdefault(item.digest, []).append(name)
                if item.kind in _STAYING:
                    staying.add(item.digest)
    moved = dict.fromkeys(names, 0)
    for digest, named in holders.items():
        if digest in staying or not engine.store.has(digest):
            continue
        size = engine.store.size(digest)
        newest = max(times.get(name, now) for name in named)
        if not is_cold(size, newest, now, rules, age):
            continue
        if not dry_run:
            if not cold.has(digest):
                copy_blob(engine.store, cold, digest)
            if not cold.check(digest):
                raise StorageError("what was moved can't be read back; it stays here", path=digest)
            engine.store.delete(digest)
        for name in named:
            moved[name] += 1
    if not dry_run:
        _note(engine, ARCHIVED, {name: count for name, count in moved.items() if count}, rules.cold)
    return moved


def _note(engine: Engine, kind: str, counts: Mapping[str, int], url: str) -> None:
    """Tells the log what became of payloads."""
    if not counts:
        return
    with engine.open_log() as log:
        log.append(
            [
                events.new(
                    kind,
                    operation=name,
                    source="dre evidence",
                    data={"payloads": count, "store": url},
                    now=engine.now,
                )
                for name, count in counts.items()
            ]
        )


def stores_of(engine: Engine) -> list[Store]:
    """The stores that the configuration names, the cold one first."""
    rules = engine.settings.storage
    return [open_store(url, rules.endpoint) for url in (rules.cold, rules.backup) if url]


def bring_back(engine: Engine, names: Sequence[str]) -> dict[str, int]:
    """Fetches the payloads of operations that are here; gives how many were elsewhere.

    Raises:
        NotFoundError: A payload is in no store.
        StorageError: A store can't be asked.
    """
    through = ReadThrough(engine.store, stores_of(engine))
    counts = {}
    for name in names:
        items = run_of(engine.folder.experiment(name)).items
        counts[name] = sum(through.fetch(item.digest) for item in items if item.kept)
    _note(engine, RESTORED, {name: n for name, n in counts.items() if n}, engine.settings.storage.cold)
    return counts


def backed_up(engine: Engine) -> list[str]:
    """Ids of the operations that the backup holds, oldest first.

    Raises:
        UsageError: No backup is configured.
    """
    return sorted(name.removesuffix(".json") for name in _backup(engine).documents())


def restore(engine: Engine, name: str) -> int:
    """Brings an operation back: its payloads, or all of it from the backup, checked like any archive.

    Returns:
        How many files were fetched.

    Raises:
        NotFoundError: It is in no store.
        FormatError: What the backup holds is not an intact operation; nothing is taken in.
    """
    if engine.folder.experiment(name).index.exists():
        return bring_back(engine, [name])[name]
    stores = stores_of(engine)
    fields = Fields(canonical.loads(_backup(engine).document(f"{name}.json")))
    members = Fields(fields.value.get("members"), fields.at("members"))
    if parse_identifier(OPERATION, fields.text("operation")) != name:
        raise FormatError("the manifest is of another operation", path=name)
    through = ReadThrough(engine.store, stores)
    with tempfile.TemporaryDirectory(prefix="dre-restore-") as folder:
        cache = ReadThrough(LocalStore(Path(folder)), [engine.store, *stores])
        archive = Path(folder) / "evidence.zip"
        write_archive(
            archive,
            [
                Member(name=member, source=_opener(through if member.startswith("blobs/") else cache, digest))
                for member, digest in ((member, members.text(member)) for member in members.value)
            ],
        )
        import_archive(engine, archive)
    return len(members.value)


def _opener(store: ReadThrough, digest: str) -> _Opener:
    return _Opener(store=store, digest=digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opener:
    """Opens a blob when it is needed."""

    store: ReadThrough
    digest: str

    def __call__(self) -> BinaryIO:
        return self.store.open(self.digest)


def _backup(engine: Engine) -> Store:
    rules = engine.settings.storage
    if not rules.backup:
        raise UsageError("no backup is configured", hint="set storage.backup in ~/.config/dre/config.yaml")
    return open_store(rules.backup, rules.endpoint)

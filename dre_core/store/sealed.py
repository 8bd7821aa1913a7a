"""A sealed operation as found somewhere: its bytes and nothing believed of them.

Three places hold one in the same shape: a ``.dre`` folder, an ``evidence.zip``, and the folder that such an
archive was unpacked into. The verifiers read only this record, so where the evidence lies changes nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import field
from pathlib import Path
from typing import BinaryIO, Protocol

from dre_core.crypto.keys import PublicKey
from dre_core.errors import FormatError, LimitError, NotFoundError, SigningKeyError, StorageError
from dre_core.model.digest import hex_of
from dre_core.model.identifier import OPERATION
from dre_core.model.identifier import parse as parse_identifier
from dre_core.model.record import dataclass
from dre_core.pipeline.codec import Codec
from dre_core.store.bundle import MAX_MEMBERS, Archive, is_member_name
from dre_core.store.folder import Folder, open_regular, storage_errors
from dre_core.store.local import LocalStore

TEXT_LIMIT_BYTES = 64 << 20
SIGNATURE_LIMIT = 1_000
"""Most signatures in one file of envelopes: checking them is what hostile evidence could make dear."""
_KEY_LIMIT_BYTES = 64 << 10
_KEY_LIMIT = 1_000


class Blobs(Protocol):
    """Where an operation's payloads are read from, by the digest of their stored form."""

    def has(self, digest: str) -> bool:
        """Whether the payload is there."""
        ...

    def open(self, digest: str) -> BinaryIO:
        """The stored bytes as a stream."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """Payloads together with what decrypts them, or with what says why it can't be done.

    Attributes:
        blobs: The stored bytes.
        cipher: Undoes the encryption.
    """

    blobs: Blobs
    cipher: Codec

    def has(self, digest: str) -> bool:
        """Whether the payload is there."""
        return self.blobs.has(digest)

    def open(self, digest: str) -> BinaryIO:
        """The stored bytes as a stream."""
        return self.blobs.open(digest)


def cipher_of(blobs: Blobs) -> Codec | None:
    """What decrypts these payloads; None where none of them is encrypted."""
    return blobs.cipher if isinstance(blobs, Opened) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """One operation's sealed bytes.

    Attributes:
        operation: Its id, as its file name says.
        envelopes: ``run.intoto.jsonl``.
        proof: The tlog-proof's text; empty where it is missing.
        blobs: Where its payloads are.
        hint_keys: Public keys found beside it, by id: a hint for checking a signature, never trust.
        own_log: Id of the log if the place is a ``.dre`` folder; empty otherwise.
        disowned: Why a ``.dre`` folder is not taken for one's own; empty otherwise.
        place: What it was read from, for messages.
        index: ``index.json`` where it came in an archive.
        members: Size and ``sha256:`` digest by member name, filled on demand for an archive.
        countersignatures: Envelopes of others about the operation, one a line.
    """

    operation: str
    envelopes: bytes
    proof: str
    blobs: Blobs
    hint_keys: Mapping[str, PublicKey]
    own_log: str = ""
    disowned: str = ""
    place: str = ""
    index: bytes = b""
    members: Members | None = None
    countersignatures: bytes = b""


class Members(Protocol):
    """The members of an archive, for checking its index."""

    def names(self) -> tuple[str, ...]:
        """All member names."""
        ...

    def digest(self, name: str) -> tuple[int, str]:
        """Size in bytes and ``sha256:`` digest of one member."""
        ...


def from_folder(folder: Folder, operation: str) -> Sealed:
    """An operation of a ``.dre`` folder.

    Raises:
        NotFoundError: It is not there or not sealed.
    """
    experiment = folder.experiment(operation)
    if not (experiment.envelopes.exists() and experiment.proof.exists()):
        # A crash is no tampering: what was not published to the end is not there yet.
        raise NotFoundError(
            f"operation {operation} is not sealed",
            hint="it is still running, or its process died: dre evidence list seals what is left",
        )
    return Sealed(
        operation=operation,
        envelopes=_read(experiment.envelopes),
        proof=_read(experiment.proof).decode("utf-8", "replace"),
        blobs=LocalStore(folder.path),
        hint_keys=_keys(_pem_files(folder.public_keys)),
        place=str(folder.path),
        countersignatures=_optional(experiment.countersignatures),
    )


@contextmanager
def archive_operations(path: Path) -> Iterator[list[Sealed]]:
    """The operations of an archive, open for the length of the block.

    Raises:
        FormatError: The archive is not in the one canonical form.
    """
    archive = Archive.open(path)
    try:
        members = _ArchiveMembers(archive)
        blobs = _ArchiveBlobs(archive)
        keys = _keys(
            (name, archive.read(name, _KEY_LIMIT_BYTES)) for name in archive.names if name.startswith("keys/")
        )
        yield [
            Sealed(
                operation=operation,
                envelopes=archive.read(name, TEXT_LIMIT_BYTES),
                proof=_member(archive, f"log/{operation}.tlog-proof").decode("utf-8", "replace"),
                blobs=blobs,
                hint_keys=keys,
                place=str(path),
                index=_member(archive, "index.json"),
                members=members,
                countersignatures=_member(archive, f"countersignatures/{operation}.intoto.jsonl"),
            )
            for operation, name in _attestations(archive.names)
        ]
    finally:
        archive.close()


def unpacked_operations(path: Path) -> list[Sealed]:
    """The operations of a folder that an archive was unpacked into.

    Files that no archive could hold, such as those that its README.txt has one make, are passed over.

    Raises:
        FormatError: The folder holds none.
    """
    with storage_errors(path):
        names = [f"attestations/{name}" for name in sorted(os.listdir(path / "attestations"))]
    keys = _keys(_pem_files(path / "keys"))
    members = _FolderMembers(path)
    return [
        Sealed(
            operation=operation,
            envelopes=_read(path / name),
            proof=_optional(path / "log" / f"{operation}.tlog-proof").decode("utf-8", "replace"),
            blobs=_FolderBlobs(path / "blobs" / "sha256"),
            hint_keys=keys,
            place=str(path),
            index=_optional(path / "index.json"),
            members=members,
            countersignatures=_optional(path / "countersignatures" / f"{operation}.intoto.jsonl"),
        )
        for operation, name in _attestations(tuple(names))
    ]


def _attestations(names: tuple[str, ...]) -> list[tuple[str, str]]:
    """Operation id and member name of each attestation file.

    Raises:
        FormatError: There is none.
    """
    found = []
    for name in names:
        match = re.fullmatch(r"attestations/([^/]+)\.intoto\.jsonl", name)
        if match:
            found.append((parse_identifier(OPERATION, match[1]), name))
    if not found:
        raise FormatError("holds no operation", path="attestations/")
    return found


def _read(path: Path) -> bytes:
    with storage_errors(path), open_regular(path) as stream:
        data = stream.read(TEXT_LIMIT_BYTES + 1)
    if len(data) > TEXT_LIMIT_BYTES:
        raise LimitError("larger than 64 MiB", path=path.name)
    return data


def _optional(path: Path) -> bytes:
    return _read(path) if os.path.lexists(path) else b""


def _member(archive: Archive, name: str) -> bytes:
    return archive.read(name, TEXT_LIMIT_BYTES) if name in archive.names else b""


def _pem_files(directory: Path) -> Iterator[tuple[str, bytes]]:
    try:
        names = sorted(os.listdir(directory))[:_KEY_LIMIT]
    except OSError:
        return
    for name in names:
        try:
            with open_regular(directory / name) as stream:
                yield name, stream.read(_KEY_LIMIT_BYTES)
        except StorageError:
            continue  # what is no file is no hint


def _keys(files: Iterator[tuple[str, bytes]]) -> dict[str, PublicKey]:
    """Readable keys by id; what is no key is no hint, and nothing worse."""
    keys = {}
    for _, pem in files:
        try:
            key = PublicKey.parse_pem(pem)
        except SigningKeyError:
            continue
        keys[key.keyid] = key
    return keys


@dataclass(slots=True)
class _ArchiveBlobs:
    archive: Archive
    names: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        self.names = frozenset(self.archive.names)

    def has(self, digest: str) -> bool:
        return f"blobs/sha256/{hex_of(digest)}" in self.names

    def open(self, digest: str) -> BinaryIO:
        return self.archive.stream(f"blobs/sha256/{hex_of(digest)}")


@dataclass(slots=True)
class _FolderBlobs:
    path: Path

    def has(self, digest: str) -> bool:
        return (self.path / hex_of(digest)).is_file()

    def open(self, digest: str) -> BinaryIO:
        return open_regular(self.path / hex_of(digest))


@dataclass(slots=True)
class _ArchiveMembers:
    archive: Archive
    _digests: dict[str, tuple[int, str]] = field(default_factory=dict)

    def names(self) -> tuple[str, ...]:
        return tuple(self.archive.names)

    def digest(self, name: str) -> tuple[int, str]:
        if name not in self._digests:
            self._digests[name] = stream_digest(self.archive.stream(name))
        return self._digests[name]


@dataclass(slots=True)
class _FolderMembers:
    path: Path
    _names: tuple[str, ...] = ()
    _digests: dict[str, tuple[int, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        found = []
        with storage_errors(self.path):
            for folder, _, names in os.walk(self.path):
                relative = Path(folder).relative_to(self.path)
                found += [text for name in names if is_member_name(text := (relative / name).as_posix())]
                if len(found) > MAX_MEMBERS:
                    raise LimitError(f"more than {MAX_MEMBERS} members", path=str(self.path))
        self._names = tuple(sorted(found))

    def names(self) -> tuple[str, ...]:
        return self._names

    def digest(self, name: str) -> tuple[int, str]:
        if name not in self._digests:
            self._digests[name] = stream_digest(open_regular(self.path / name))
        return self._digests[name]


def stream_digest(stream: BinaryIO) -> tuple[int, str]:
    """Size and ``sha256:`` digest of a stream, which is closed.

    Raises:
        StorageError: It can't be read.
    """
    import hashlib

    digest = hashlib.sha256()
    size = 0
    with storage_errors("evidence"), stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
            size += len(chunk)
    return size, f"sha256:{digest.hexdigest()}"

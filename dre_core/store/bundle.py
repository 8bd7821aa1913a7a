"""``evidence.zip``: one canonical ZIP form, written and read; not a general ZIP library.

Every member is stored uncompressed, in bytewise order of names, dated 1980-01-01, mode 0644; no directories,
extra fields, comments, data descriptors or gaps. zip64 fields stand exactly where a size, offset or count
needs them. So the same members give the same bytes, and all but content follows from (name, size, CRC-32)::

    README.txt                              attestations/<op>.intoto.jsonl      blobs/sha256/<64 hex>
    log/checkpoint                          log/<op>.tlog-proof                 keys/<64 hex>.pem
    reports/<op>/report.html, junit.xml     index.json                          countersignatures/<op>.intoto.jsonl

The reader believes nothing: it takes (name, size, CRC-32) from the central directory, regenerates every
header from them and compares byte for byte, before any content is read. What it would not have written itself
it refuses, so another tool's reading of the same bytes can't differ. CRC-32 is no proof against intent: that
is what signed digests are for. Limits are the same for writer and reader.

Source: PKWARE APPNOTE.TXT 6.3.10, sections 4.3 to 4.5.
"""

from __future__ import annotations

import contextlib
import glob
import io
import os
import re
import stat
import struct
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeAlias

from dre_core.errors import FormatError, LimitError, NotFoundError, StorageError, UsageError
from dre_core.model.identifier import OPERATION, PATTERN
from dre_core.model.record import dataclass
from dre_core.store.local import hold, remove_orphan, storage_error

MAX_MEMBERS = 65_535
"""Most members."""
MAX_TOTAL_BYTES = 64 * 1024**3
"""Most bytes of all members together."""
MAX_MEMBER_BYTES = 64 * 1024**2
"""Largest member that is no blob."""

_OPERATION = f"{OPERATION}_{PATTERN}"
_NAMES = re.compile(
    "|".join(
        (
            r"README\.txt",
            rf"attestations/{_OPERATION}\.intoto\.jsonl",
            rf"countersignatures/{_OPERATION}\.intoto\.jsonl",
            r"blobs/sha256/[0-9a-f]{64}",
            r"index\.json",
            r"keys/[0-9a-f]{64}\.pem",
            r"log/checkpoint",
            rf"log/{_OPERATION}\.tlog-proof",
            rf"reports/{_OPERATION}/(report\.html|junit\.xml)",
        )
    )
)
_BLOBS = "blobs/"

Source: TypeAlias = "bytes | Path | Callable[[], BinaryIO]"
"""Content of a member: bytes, a file, or a function that opens a seekable stream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A file to put into an archive.

    Attributes:
        name: One of the names in the module's table.
        source: Its content; read once.
        size: Its size, where the stream that ``source`` opens can't tell; None: it is asked.
    """

    name: str
    source: Source
    size: int | None = None


# The form


@dataclass(frozen=True, slots=True)
class _Entry:
    """All that a member adds to the archive's form."""

    name: bytes
    size: int
    crc: int
    offset: int

    @property
    def data_offset(self) -> int:
        return self.offset + len(self.local_header())

    @property
    def end(self) -> int:
        return self.data_offset + self.size

    def local_header(self) -> bytes:
        """Section 4.3.7, then the name and, for 4 GiB and more, the zip64 field with both sizes."""
        extra = _zip64_field(self.size, self.size) if self.size >= _MAX32 else b""
        size = min(self.size, _MAX32)
        version = _ZIP64 if extra else _STORED
        head = (0x04034B50, version, 0, 0, 0, _DATE, self.crc, size, size, len(self.name), len(extra))
        return _LOCAL.pack(*head) + self.name + extra

    def central_header(self) -> bytes:
        """Section 4.3.12, with a zip64 field of just those values that need it."""
        large = [value for value in (self.size, self.size, self.offset) if value >= _MAX32]
        extra = _zip64_field(*large) if large else b""
        size = min(self.size, _MAX32)
        version = _ZIP64 if extra else _STORED
        head = (0x02014B50, _UNIX | version, version, 0, 0, 0, _DATE, self.crc, size, size, len(self.name))
        tail = (len(extra), 0, 0, 0, _MODE, min(self.offset, _MAX32))
        return _CENTRAL.pack(*head, *tail) + self.name + extra


_LOCAL = struct.Struct("<IHHHHHIIIHH")
_CENTRAL = struct.Struct("<IHHHHHHIIIHHHHHII")
_END = struct.Struct("<IHHHHIIH")
_END64 = struct.Struct("<IQHHIIQQQQ")
_LOCATOR64 = struct.Struct("<IIQI")

_END_MARK = 0x06054B50
_MAX16 = 0xFFFF
_MAX32 = 0xFFFFFFFF
_STORED, _ZIP64 = 10, 45
_UNIX = 3 << 8
_DATE = 1 << 5 | 1
_MODE = (stat.S_IFREG | 0o644) << 16


def _zip64_field(*values: int) -> bytes:
    return struct.pack(f"<HH{len(values)}Q", 1, 8 * len(values), *values)


def _end_records(count: int, size: int, offset: int) -> bytes:
    """Sections 4.3.14 to 4.3.16 for a central directory of this many entries, bytes and start."""
    head = b""
    if count >= _MAX16 or size >= _MAX32 or offset >= _MAX32:
        fields = (_END64.size - 12, _UNIX | _ZIP64, _ZIP64, 0, 0, count, count, size, offset)
        head = _END64.pack(0x06064B50, *fields) + _LOCATOR64.pack(0x07064B50, 0, offset + size, 1)
    count, size, offset = min(count, _MAX16), min(size, _MAX32), min(offset, _MAX32)
    return head + _END.pack(_END_MARK, 0, 0, count, count, size, offset, 0)


def is_member_name(name: str) -> bool:
    """Whether a member of an archive may have this name."""
    return _NAMES.fullmatch(name) is not None


def _check_name(name: str) -> None:
    if not is_member_name(name):
        raise FormatError(f"no member of an archive is named {name[:100]!r}")


def _check_sizes(name: str, size: int, total: int) -> None:
    if size > MAX_MEMBER_BYTES and not name.startswith(_BLOBS):
        raise LimitError(f"member of more than {MAX_MEMBER_BYTES} bytes", path=name)
    if total > MAX_TOTAL_BYTES:
        raise LimitError(f"an archive of more than {MAX_TOTAL_BYTES} bytes", path=name)


# Writing


def write_archive(path: Path, members: Iterable[Member]) -> None:
    """Write an archive, whole or not at all; an existing file is replaced.

    Args:
        path: Where; the temporary file lies beside it.
        members: In any order; contents are streamed.

    Raises:
        FormatError: A name outside the table, or twice.
        LimitError: Too many, or too large.
        UsageError: There is a folder, a pipe or a device of that name.
        StorageError: Something can't be read or written.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise UsageError("not a regular file", hint="an archive is put in a file's place", path=str(path))
    ordered = _ordered(members)
    for orphan in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        remove_orphan(orphan)  # of an export that was killed
    partial = path.with_name(f".{path.name}.{os.urandom(8).hex()}.tmp")
    try:
        with open(partial, "xb") as file:
            hold(file.fileno())
            _write(file, ordered)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise storage_error(error, path) from error
    finally:
        with contextlib.suppress(OSError):
            os.unlink(partial)


def _ordered(members: Iterable[Member]) -> list[Member]:
    ordered = sorted(members, key=lambda member: member.name)
    if len(ordered) > MAX_MEMBERS:
        raise LimitError(f"more than {MAX_MEMBERS} members")
    for previous, member in zip([None, *ordered], ordered, strict=False):
        _check_name(member.name)
        if previous is not None and previous.name == member.name:
            raise FormatError("two members of the same name", path=member.name)
    return ordered


def _write(file: BinaryIO, members: Iterable[Member]) -> None:
    entries: list[_Entry] = []
    total = offset = 0
    for member in members:
        with _opened(member.source) as source:
            size = _size_of(source) if member.size is None else member.size
            total += size
            _check_sizes(member.name, size, total)
            entry = _write_member(file, source, _Entry(member.name.encode("ascii"), size, 0, offset))
        entries.append(entry)
        offset = entry.end
    directory = b"".join(entry.central_header() for entry in entries)
    file.write(directory + _end_records(len(entries), len(directory), offset))


def _size_of(source: BinaryIO) -> int:
    size = source.seek(0, os.SEEK_END)
    source.seek(0)
    return size


def _write_member(file: BinaryIO, source: BinaryIO, draft: _Entry) -> _Entry:
    """Write header and content; the header again once the CRC is known."""
    file.write(draft.local_header())
    crc = written = 0
    while chunk := source.read(min(_CHUNK_BYTES, draft.size - written + 1)):
        crc = zlib.crc32(chunk, crc)
        written += len(chunk)
        if written > draft.size:
            break
        file.write(chunk)
    if written != draft.size:
        raise StorageError("a file changed while it was exported", path=draft.name.decode("ascii"))
    entry = _Entry(draft.name, draft.size, crc, draft.offset)
    file.seek(entry.offset)
    file.write(entry.local_header())
    file.seek(entry.end)
    return entry


_CHUNK_BYTES = 1024 * 1024


@contextlib.contextmanager
def _opened(source: Source) -> Iterator[BinaryIO]:
    stream: BinaryIO
    if isinstance(source, (bytes, bytearray)):
        stream = io.BytesIO(source)
    elif isinstance(source, Path):
        stream = open(source, "rb")  # noqa: SIM115 - closed below
    else:
        stream = source()
    with stream:
        yield stream


# Reading


class Archive:
    """An open archive in canonical form. Make it by :meth:`open`; use it as a context manager, or close it.

    One descriptor is held from :meth:`open` to :meth:`close`, so what was verified is what is read, whatever
    happens to the name. Several threads may read at the same time.
    """

    def __init__(self, descriptor: int, path: Path) -> None:
        self.path = path
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._entries = _parse(self._read_at, os.fstat(descriptor).st_size)

    @classmethod
    def open(cls, path: Path) -> Archive:
        """Open an archive and check its form; contents are not read yet.

        Args:
            path: The file.

        Raises:
            NotFoundError: No such file.
            FormatError: Not in canonical form, in any respect.
            LimitError: Too many members, or too large.
            StorageError: Can't be read.
        """
        path = Path(path)
        try:
            descriptor = os.open(path, _READ_FLAGS)
        except FileNotFoundError:
            raise NotFoundError("no such archive", path=str(path)) from None
        except OSError as error:
            raise storage_error(error, path) from error
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise UsageError("not a regular file", path=str(path))
            return cls(descriptor, path)
        except BaseException:
            os.close(descriptor)
            raise

    def close(self) -> None:
        """Let go of the file; streams of its members end with it."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all members, in bytewise order."""
        return tuple(self._entries)

    def size(self, name: str) -> int:
        """A member's size in bytes.

        Raises:
            NotFoundError: No such member.
        """
        return self._entry(name).size

    def stream(self, name: str) -> BinaryIO:
        """A member's content as a stream.

        The read that reaches the end raises FormatError if the CRC-32 differs. The stream reads forward only.

        Raises:
            NotFoundError: No such member.
        """
        return io.BufferedReader(_MemberStream(self._read_at, self._entry(name)), _CHUNK_BYTES)

    def member(self, name: str) -> Member:
        """A member as it is, to be put into another archive while this one is open.

        Raises:
            NotFoundError: No such member.
        """
        return Member(name=name, source=partial(self.stream, name), size=self.size(name))

    def read(self, name: str, limit_bytes: int) -> bytes:
        """A member's content.

        Raises:
            NotFoundError: No such member.
            LimitError: Larger than ``limit_bytes``.
            FormatError: The CRC-32 differs, or the file was cut off meanwhile.
            StorageError: Can't be read.
        """
        entry = self._entry(name)
        if entry.size > limit_bytes:
            raise LimitError(f"member of {entry.size} bytes; at most {limit_bytes}", path=name)
        data = self._read_at(entry.data_offset, entry.size)
        if zlib.crc32(data) != entry.crc:
            raise _damaged(entry)
        return data

    def check(self) -> None:
        """Read every member's content and compare its CRC-32.

        Raises:
            FormatError: One differs, and ``path`` names the member; or the file was cut off meanwhile.
            StorageError: Can't be read.
        """
        for name in self._entries:
            with self.stream(name) as stream:
                while stream.read(_CHUNK_BYTES):
                    pass

    def _entry(self, name: str) -> _Entry:
        if name not in self._entries:
            raise NotFoundError("no such member in the archive", path=name)
        return self._entries[name]

    def _read_at(self, offset: int, size: int) -> bytes:
        """Exactly this many bytes."""
        parts = []
        try:
            with self._lock:
                os.lseek(self._descriptor, offset, os.SEEK_SET)
                while size and (part := os.read(self._descriptor, size)):
                    parts.append(part)
                    size -= len(part)
        except OSError as error:
            raise storage_error(error, self.path) from error
        if size:
            raise FormatError("the archive is cut off", path=str(self.path))
        return b"".join(parts)


_READ_FLAGS = (
    os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
)

_ReadAt: TypeAlias = Callable[[int, int], bytes]


class _MemberStream(io.RawIOBase):
    """Forward reader of one member that compares the CRC-32 when it reaches the end."""

    def __init__(self, read_at: _ReadAt, entry: _Entry) -> None:
        self._read_at = read_at
        self._entry = entry
        self._position = 0
        self._crc = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        wanted = min(len(view), self._entry.size - self._position)
        data = self._read_at(self._entry.data_offset + self._position, wanted)
        self._crc = zlib.crc32(data, self._crc)
        self._position += wanted
        if self._position == self._entry.size and self._crc != self._entry.crc:
            raise _damaged(self._entry)
        view[:wanted] = data
        return wanted


def _damaged(entry: _Entry) -> FormatError:
    return FormatError("the content is damaged: its CRC-32 differs", path=entry.name.decode("ascii"))


def _parse(read_at: _ReadAt, length: int) -> dict[str, _Entry]:
    """Members by name, once the whole form is known to be canonical."""
    count, size, offset = _parse_end(read_at, length)
    directory = read_at(offset, size)
    entries = _parse_directory(directory, count)
    if (entries[-1].end if entries else 0) != offset:
        raise FormatError("the members do not fill the archive up to its directory")
    if b"".join(entry.central_header() for entry in entries) != directory:
        raise FormatError("the archive's directory is not in canonical form")
    for entry in entries:
        header = entry.local_header()
        if read_at(entry.offset, len(header)) != header:
            name = entry.name.decode("ascii")
            raise FormatError("a member's header is not in canonical form", path=name)
    return {entry.name.decode("ascii"): entry for entry in entries}


def _parse_end(read_at: _ReadAt, length: int) -> tuple[int, int, int]:
    """(entries, bytes, start) of the central directory, from end records that are exactly the file's end."""
    if length < _END.size:
        raise FormatError("not an archive: too short")
    mark, _, _, _, count, size, offset, _ = _END.unpack(read_at(length - _END.size, _END.size))
    if mark != _END_MARK:
        raise FormatError(
            "not an archive in canonical form: it is cut off, or something stands behind its end"
        )
    if count == _MAX16 or size == _MAX32 or offset == _MAX32:
        start = length - _END.size - _LOCATOR64.size - _END64.size
        if start < 0:
            raise FormatError("not an archive: too short")
        *_, count, size, offset = _END64.unpack(read_at(start, _END64.size))
    if count > MAX_MEMBERS or size > MAX_MEMBERS * _MAX_CENTRAL_BYTES:
        raise LimitError(f"an archive of more than {MAX_MEMBERS} members")
    expected = _end_records(count, size, offset)
    if offset + size + len(expected) != length or read_at(offset + size, len(expected)) != expected:
        raise FormatError("not an archive in canonical form: its end records differ")
    return count, size, offset


_MAX_CENTRAL_BYTES = 256
"""More than any central header of ours takes: 46 bytes, a name below 120, a field of 28."""


def _parse_directory(directory: bytes, count: int) -> list[_Entry]:
    """Entries by what the directory says of name, size and CRC-32; offsets follow from the order."""
    entries: list[_Entry] = []
    position = offset = total = 0
    previous = ""
    for _ in range(count):
        if position + _CENTRAL.size > len(directory):
            raise FormatError("the archive's directory is cut off")
        fields = _CENTRAL.unpack_from(directory, position)
        crc, size, name_size, extra_size = fields[7], fields[9], fields[10], fields[11]
        start = position + _CENTRAL.size
        name = _parse_name(directory[start : start + name_size])
        if name <= previous:
            raise FormatError("members are not sorted, or one comes twice", path=name)
        if size == _MAX32:
            size = _zip64_size(directory[start + name_size : start + name_size + extra_size])
        total += size
        _check_sizes(name, size, total)
        entries.append(_Entry(name.encode("ascii"), size, crc, offset))
        offset = entries[-1].end
        previous = name
        position = start + name_size + extra_size
    return entries


def _parse_name(data: bytes) -> str:
    try:
        name = data.decode("ascii")
    except UnicodeDecodeError:
        raise FormatError("a member's name is not ASCII") from None
    _check_name(name)
    return name


def _zip64_size(extra: bytes) -> int:
    """The first value of a zip64 field; the comparison with the canonical header does the rest."""
    if len(extra) < 12:
        raise FormatError("a zip64 field is cut off")
    return int.from_bytes(extra[4:12], "little")

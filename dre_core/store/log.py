"""The append-only log: events as leaves of an RFC 6962 Merkle tree, in one SQLite file.

Tables: ``log`` (one row: the log's id), ``leaves`` (number, operation, type, leaf bytes; operation and type
are copies out of the leaf, to search by), ``hashes`` (stored index, hash; see ``crypto/merkle``),
``checkpoints`` (size, signed note). An append is one transaction over leaves and hashes, durable when it
returns (WAL with ``synchronous=FULL``: at NORMAL a power loss takes acknowledged rows), also among processes.
Nothing is ever updated or removed; that nothing was is what checkpoints held elsewhere prove.

Not a queue and not a cache. A file from elsewhere is hostile: its schema must be exactly ours before a table
is read, every leaf is parsed strictly, and reading a folder that can't be written works on a private copy.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dre_core.crypto import merkle, note
from dre_core.errors import (
    DREError,
    FormatError,
    IntegrityError,
    NewerFormatError,
    NotFoundError,
    StorageError,
    UsageError,
)
from dre_core.model.event import Event, filings, members

if TYPE_CHECKING:
    import sqlite3
    from tempfile import TemporaryDirectory

    from dre_core.crypto.keys import PublicKey, Signer

APPLICATION_ID = 0x44524531
"""SQLite application id: "DRE1"."""
FORMAT = 1
"""SQLite user version."""
BUSY_SECONDS = 30
"""How long an append waits for another process's."""
MAX_PROBLEMS = 100
"""Most problems that a check lists."""

_LOST_HINT = "move .dre aside and run dre init; archives that were exported still verify"
_UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_BATCH = 1000

_SCHEMA = (
    "CREATE TABLE log (id TEXT NOT NULL)",
    "CREATE TABLE leaves"
    " (number INTEGER PRIMARY KEY, operation TEXT, type TEXT NOT NULL, leaf BLOB NOT NULL)",
    "CREATE INDEX leaves_by_operation ON leaves (operation, number)",
    "CREATE INDEX leaves_by_type ON leaves (type, number)",
    "CREATE TABLE hashes (number INTEGER PRIMARY KEY, hash BLOB NOT NULL)",
    "CREATE TABLE checkpoints (size INTEGER PRIMARY KEY, note TEXT NOT NULL)",
)


class Log:
    """An open log. Make it by :meth:`create` or :meth:`open`; use it as a context manager, or close it.

    Threads may use one instance in turn. A forked child gets a connection of its own on first use.
    """

    def __init__(self, path: Path, *, read_only: bool) -> None:
        self.path = Path(path)
        self._read_only = read_only
        self._copy: TemporaryDirectory[str] | None = None
        self._connection: sqlite3.Connection | None = None
        self._owner = -1
        self._abandoned: list[sqlite3.Connection] = []
        self._id = ""
        self._file: tuple[int, int] | None = None

    @classmethod
    def create(cls, path: Path, *, log_id: str) -> Log:
        """Make an empty log, whole or not at all.

        Args:
            path: The file to make.
            log_id: A UUID in lower case; makes the origin.

        Raises:
            UsageError: The file exists, or the id is no UUID.
            StorageError: It can't be written.
        """
        if not _UUID.fullmatch(log_id):
            raise UsageError(f"log id {log_id!r} is not a UUID in lower case")
        path = Path(path)
        partial = path.with_name(f".{path.name}.{os.urandom(8).hex()}.tmp")
        try:
            _write_empty(partial, log_id)
            # A link, not a rename: it fails where another process has made the log meanwhile.
            os.link(partial, path)
        except FileExistsError:
            raise UsageError("the log exists", path=str(path)) from None
        except OSError as error:
            raise StorageError((error.strerror or str(error)).lower(), path=str(path)) from error
        finally:
            _remove_database(partial)
        _sync_directory(path.parent)
        return cls.open(path)

    @classmethod
    def open(cls, path: Path, *, read_only: bool = False) -> Log:
        """Open a log.

        Args:
            path: The file.
            read_only: Never change the folder; a folder that can't be written is read through a private copy.

        Raises:
            NotFoundError: No such file.
            FormatError: No log.
            NewerFormatError: Written by a newer DRE.
            StorageError: It can't be read.
        """
        log = cls(path, read_only=read_only)
        try:
            log._connected()
        except BaseException:
            log.close()
            raise
        return log

    def close(self) -> None:
        """Let go of the file; a second time nothing happens."""
        if self._connection is not None and self._owner == os.getpid():
            self._connection.close()
            self._connection = None
        if self._copy is not None:
            self._copy.cleanup()
            self._copy = None

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def id(self) -> str:
        """The log's UUID."""
        return self._id

    @property
    def origin(self) -> str:
        """The log's name in checkpoints, and its key's: ``dre.local/<uuid>``."""
        return f"dre.local/{self._id}"

    @property
    def size(self) -> int:
        """Number of leaves."""
        with _translated(self.path):
            return _size(self._connected())

    # Appending

    def append(self, events: Sequence[Event]) -> range:
        """Add events in one transaction, durable when this returns.

        Args:
            events: In order; none is allowed.

        Returns:
            Their numbers in the log.

        Raises:
            FormatError: An event is out of form; nothing is added.
            StorageError: The medium refuses, or another process holds the log for too long; nothing is added.
        """
        leaves = [event.to_bytes() for event in events]
        with self._transaction() as connection:
            start = _size(connection)
            peaks = _reader(connection)(merkle.peaks(start))
            frontier = merkle.Frontier(start, peaks)
            hashes = frontier.append(*map(merkle.leaf_hash, leaves))
            connection.executemany(
                "INSERT INTO leaves VALUES (?, ?, ?, ?)",
                (
                    (start + offset, event.operation, event.type, leaf)
                    for offset, (event, leaf) in enumerate(zip(events, leaves, strict=True))
                ),
            )
            connection.executemany(
                "INSERT INTO hashes VALUES (?, ?)", enumerate(hashes, merkle.stored_count(start))
            )
        return range(start, start + len(leaves))

    def checkpoint(self, signer: Signer) -> str:
        """Sign the log as it is now and keep the note.

        Args:
            signer: The log's Ed25519 key.

        Returns:
            The signed note.

        Raises:
            SigningKeyError: Not an Ed25519 key.
            StorageError: The medium refuses.
        """
        with self._transaction() as connection:
            size = _size(connection)
            root = merkle.root(size, _reader(connection))
            text = note.Checkpoint(origin=self.origin, size=size, root=root).to_text()
            signed = note.sign_note(text, self.origin, signer)
            connection.execute("INSERT OR REPLACE INTO checkpoints VALUES (?, ?)", (size, signed))
        return signed

    # Reading

    def events(
        self,
        start: int = 0,
        stop: int | None = None,
        operation: str | None = None,
        type_prefix: str = "",
    ) -> Iterator[tuple[int, Event]]:
        """Events by number.

        Args:
            start: First number.
            stop: Number to stop before; None for the end as it is when reached.
            operation: Only this operation's.
            type_prefix: Only types that begin so.

        Yields:
            (number, event), rising.

        Raises:
            FormatError: A leaf is no event.
            StorageError: The file can't be read.
        """
        where = "number >= ? AND number < ?"
        values: list[int | str] = [stop if stop is not None else 2**62]
        if operation is not None:
            where, values = f"{where} AND operation = ?", [*values, operation]
        if type_prefix:
            # A range instead of a comparison of prefixes: only this can use the index.
            after = type_prefix[:-1] + chr(ord(type_prefix[-1]) + 1)
            where, values = f"{where} AND type >= ? AND type < ?", [*values, type_prefix, after]
        query = f"SELECT number, leaf FROM leaves WHERE {where} ORDER BY number LIMIT {_BATCH}"  # noqa: S608
        while True:
            # In batches, so that no read transaction is held while the caller works.
            with _translated(self.path):
                rows = self._connected().execute(query, (start, *values)).fetchall()
            for number, leaf in rows:
                yield number, _parse(number, leaf)
            if len(rows) < _BATCH:
                return
            start = rows[-1][0] + 1

    def follow(
        self,
        start: int,
        poll_seconds: float,
        stop: Callable[[], bool],
        sleep: Callable[[float], object] = time.sleep,
    ) -> Iterator[tuple[int, Event]]:
        """Events by number, also those added later by anyone, until told to stop.

        Args:
            start: First number.
            poll_seconds: Pause between looks.
            stop: Asked at each look; true ends the iteration after what is there.
            sleep: How to pause.

        Yields:
            (number, event), rising.
        """
        while True:
            last = stop()
            for number, event in self.events(start):
                yield number, event
                start = number + 1
            if last:
                return
            sleep(poll_seconds)

    def leaf(self, index: int) -> bytes:
        """The bytes of a leaf.

        Raises:
            NotFoundError: No such number.
        """
        with _translated(self.path):
            row = self._connected().execute("SELECT leaf FROM leaves WHERE number = ?", (index,)).fetchone()
        if row is None or not isinstance(row[0], bytes):
            raise NotFoundError(f"no event {index} in the log")
        return row[0]

    def root(self, size: int | None = None) -> bytes:
        """The root hash of the first ``size`` leaves; None for all.

        Raises:
            NotFoundError: The log is smaller.
            IntegrityError: A stored hash is missing.
        """
        with self._snapshot() as connection:
            size = self._within(connection, size)
            return merkle.root(size, _reader(connection))

    def inclusion(self, index: int, size: int | None = None) -> tuple[bytes, ...]:
        """The proof that leaf ``index`` is in the tree of the first ``size`` leaves, leaf side first.

        Raises:
            NotFoundError: No such leaf in a tree of that size, or the log is smaller.
            IntegrityError: A stored hash is missing.
        """
        with self._snapshot() as connection:
            size = self._within(connection, size)
            if not 0 <= index < size:
                raise NotFoundError(f"no event {index} in a log of {size}")
            return merkle.inclusion(index, size, _reader(connection))

    def consistency(self, old: int, new: int | None = None) -> tuple[bytes, ...]:
        """The proof that the tree of ``old`` leaves is the beginning of that of ``new``.

        Raises:
            NotFoundError: Not 0 < old <= new, or the log is smaller.
            IntegrityError: A stored hash is missing.
        """
        with self._snapshot() as connection:
            new = self._within(connection, new)
            if not 0 < old <= new:
                raise NotFoundError(f"no proof from a log of {old} to one of {new}")
            return merkle.consistency(old, new, _reader(connection))

    def latest_checkpoint(self) -> str | None:
        """The signed note of the largest size, or None."""
        with _translated(self.path):
            query = "SELECT note FROM checkpoints ORDER BY size DESC LIMIT 1"
            row = self._connected().execute(query).fetchone()
        return None if row is None else str(row[0])

    def check(self, *public_keys: PublicKey, kept: Mapping[str, str] | None = None) -> list[str]:
        """Recompute everything from the leaves, in one pass and constant memory.

        Args:
            public_keys: The log's keys, to check the checkpoints' signatures too.
            kept: Checkpoints of this log that are kept elsewhere, as signed notes by their place.

        Returns:
            What is wrong, one line each, at most 100; empty for a sound log.

        Raises:
            StorageError: The file can't be read.
        """
        with self._snapshot() as connection:
            own = dict(connection.execute("SELECT size, note FROM checkpoints"))
            notes = [(f"checkpoint {size}", str(text)) for size, text in sorted(own.items())]
            notes += (kept or {}).items()
            audit = _Audit(connection, {*own, *(_stated_size(text) for _, text in notes)})
            audit.run()
            problems = audit.problems
            for size, text in sorted(own.items()):
                if _stated_size(str(text)) not in (size, -1):
                    problems.append(f"checkpoint {size}: its note is of another log or size")
            for place, text in notes:
                problems.extend(self._check_checkpoint(place, text, audit.roots, public_keys))
        return problems[:MAX_PROBLEMS]

    def _check_checkpoint(
        self, place: str, text: str, roots: dict[int, bytes], public_keys: Sequence[PublicKey]
    ) -> Iterator[str]:
        try:
            if public_keys:
                _open_by_any(text, self.origin, public_keys)
            checkpoint = note.Checkpoint.parse(note.unverified_text(text))
        except DREError as error:
            yield f"{place}: {error.message}"
            return
        if checkpoint.origin != self.origin:
            yield f"{place}: its note is of another log or size"
        elif checkpoint.size not in roots:
            yield f"{place}: the log is smaller than when it was signed"
        elif roots[checkpoint.size] != checkpoint.root:
            yield f"{place}: the log had other events when it was signed"

    # Connections

    def _connected(self) -> sqlite3.Connection:
        """This process's connection; SQLite's must not be used, nor closed, across a fork."""
        if self._connection is not None and self._owner != os.getpid():
            self._abandoned.append(self._connection)
            self._connection = None
        if self._connection is None:
            self._owner = os.getpid()
            with _translated(self.path):
                self._connection = self._connect()
                self._id = _identify(self._connection, self.path)
        return self._connection

    def _connect(self) -> sqlite3.Connection:
        _refuse_foreign(self.path)
        if not self._read_only:
            self._file = _identity(self.path)
            return _connect(self.path, "rw")
        directory = self.path.parent
        if os.access(directory, os.W_OK) and _companion(self.path, "-wal").exists():
            return _connect(self.path, "ro")
        # A reader of a WAL database makes files beside it, which a folder under verification must not see.
        if self._copy is None:
            self._copy = _copy_database(self.path)
        return _connect(Path(self._copy.name) / self.path.name, "rw")

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        if self._read_only:
            raise UsageError("the log is open for reading only", path=str(self.path))
        with _translated(self.path):
            connection = self._connected()
            connection.execute("BEGIN IMMEDIATE")
            try:
                if _identity(self.path) != self._file:
                    raise StorageError(
                        "the log was removed or replaced while it was in use",
                        hint=_LOST_HINT,
                        path=str(self.path),
                    )
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _snapshot(self) -> Iterator[sqlite3.Connection]:
        """One consistent view for several queries."""
        with _translated(self.path):
            connection = self._connected()
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def _within(self, connection: sqlite3.Connection, size: int | None) -> int:
        present = _size(connection)
        if size is not None and not 0 <= size <= present:
            raise NotFoundError(f"the log has {present} events, not {size}", path=str(self.path))
        return present if size is None else size


class _Audit:
    """One pass over leaves and stored hashes; collects problems, and the roots at the sizes asked for."""

    def __init__(self, connection: sqlite3.Connection, sizes: set[int]) -> None:
        self.problems: list[str] = []
        self.roots: dict[int, bytes] = {}
        self._sizes = sorted(sizes)
        self._connection = connection
        self._frontier = merkle.Frontier()

    def run(self) -> None:
        leaves = self._connection.execute("SELECT number, operation, type, leaf FROM leaves ORDER BY number")
        stored = self._connection.execute("SELECT number, hash FROM hashes ORDER BY number")
        self._note_roots(())
        while rows := leaves.fetchmany(_BATCH):
            expected = self._take(rows)
            if expected is None:
                return
            if stored.fetchmany(len(expected)) != expected and not self._is_full():
                self.problems.append(f"stored hashes differ from the events around {rows[0][0]}")
        if stored.fetchone() is not None:
            self.problems.append("there are stored hashes without events")

    def _take(self, rows: list[tuple[Any, ...]]) -> list[tuple[int, bytes]] | None:
        """Judge a batch of leaves; gives the rows that the hashes table must hold, None after a gap."""
        start = self._frontier.size
        for place, (number, _, _, leaf) in enumerate(rows, start):
            if number != place or not isinstance(leaf, bytes):
                self._judge_all(rows[: place - start])
                self.problems.append(f"event {place} is missing")
                return None
        self._judge_all(rows)
        return list(enumerate(self._note_roots([row[3] for row in rows]), merkle.stored_count(start)))

    def _note_roots(self, leaves: Sequence[bytes]) -> list[bytes]:
        """Grow the tree; gives the hashes to store, and notes the roots at the sizes asked for on the way."""
        hashes: list[bytes] = []
        start = self._frontier.size
        stop = start + len(leaves)
        asked = self._sizes[bisect_left(self._sizes, start) : bisect_right(self._sizes, stop)]
        for size in asked:
            hashes += self._grow(leaves[self._frontier.size - start : size - start])
            self.roots[size] = self._frontier.root()
        return hashes + self._grow(leaves[self._frontier.size - start :])

    def _grow(self, leaves: Sequence[bytes]) -> list[bytes]:
        return self._frontier.append(*map(merkle.leaf_hash, leaves))

    def _judge_all(self, rows: Sequence[tuple[Any, ...]]) -> None:
        if filings([row[3] for row in rows]) == [(row[1], row[2]) for row in rows]:
            return
        for row in rows:
            self._judge(*row)

    def _judge(self, number: int, operation: object, kind: object, leaf: bytes) -> None:
        if self._is_full():
            return
        try:
            fields = members(leaf)
        except FormatError as error:
            self.problems.append(f"event {number} is not one: {error}")
            return
        if fields["operation"] != operation or fields["type"] != kind:
            self.problems.append(f"event {number} is filed under another operation or type")

    def _is_full(self) -> bool:
        return len(self.problems) >= MAX_PROBLEMS


def _stated_size(text: str) -> int:
    """The size that a note says, unverified; -1 if it is no checkpoint."""
    try:
        return note.Checkpoint.parse(note.unverified_text(text)).size
    except DREError:
        return -1


def _open_by_any(text: str, origin: str, public_keys: Sequence[PublicKey]) -> None:
    for number, key in enumerate(public_keys, 1):
        try:
            note.open_note(text, origin, key)
            return
        except DREError:
            if number == len(public_keys):
                raise


def _size(connection: sqlite3.Connection) -> int:
    (last,) = connection.execute("SELECT max(number) FROM leaves").fetchone()
    return 0 if last is None else int(last) + 1


def _reader(connection: sqlite3.Connection) -> merkle.Read:
    def read(indexes: Sequence[int]) -> list[bytes]:
        hashes = []
        for index in indexes:
            row = connection.execute("SELECT hash FROM hashes WHERE number = ?", (index,)).fetchone()
            if row is None or not isinstance(row[0], bytes) or len(row[0]) != merkle.HASH_BYTES:
                raise IntegrityError(f"stored hash {index} of the log is missing", hint="dre log check")
            hashes.append(row[0])
        return hashes

    return read


def _parse(number: int, leaf: object) -> Event:
    if not isinstance(leaf, bytes):
        raise FormatError("a leaf is not bytes", path=f"event {number}")
    try:
        return Event.parse(leaf)
    except FormatError as error:
        error.path = f"event {number} {error.path}".rstrip()
        raise


# The file


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    import sqlite3
    from urllib.parse import quote

    connection = sqlite3.connect(
        f"file:{quote(str(path.absolute()))}?mode={mode}",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
    connection.text_factory = _decode
    try:
        for pragma in ("synchronous=FULL", "fullfsync=ON", "checkpoint_fullfsync=ON", "trusted_schema=OFF"):
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
    return connection


def _decode(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _write_empty(path: Path, log_id: str) -> None:
    with _translated(path), contextlib.closing(_connect(path, "rwc")) as connection:
        for statement in (
            f"PRAGMA application_id={APPLICATION_ID}",
            f"PRAGMA user_version={FORMAT}",
            *_SCHEMA,
        ):
            connection.execute(statement)
        connection.execute("INSERT INTO log VALUES (?)", (log_id,))
        connection.execute("PRAGMA journal_mode=WAL")


def _identify(connection: sqlite3.Connection, path: Path) -> str:
    """The log's id, once the file is known to be a log of ours and nothing else."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID:
        raise FormatError("not a log", path=str(path))
    if version > FORMAT:
        raise NewerFormatError(f"a log of format {version}", hint="a newer dre is needed", path=str(path))
    schema = {text for (text,) in connection.execute("SELECT sql FROM sqlite_master LIMIT 20")}
    if version != FORMAT or schema != set(_SCHEMA):
        raise FormatError("not a log: its tables are not ours", path=str(path))
    rows = connection.execute("SELECT id FROM log LIMIT 2").fetchall()
    if len(rows) != 1 or not isinstance(rows[0][0], str) or not _UUID.fullmatch(rows[0][0]):
        raise FormatError("not a log: it has no id", path=str(path))
    return str(rows[0][0])


def _refuse_foreign(path: Path) -> None:
    """Say early and plainly that there is no log; SQLite would be vague."""
    try:
        mode = os.lstat(path).st_mode
        if stat.S_ISREG(mode):
            with open(path, "rb") as file:
                head = file.read(16)
    except FileNotFoundError:
        raise NotFoundError("no such log", path=str(path)) from None
    except OSError as error:
        raise StorageError((error.strerror or str(error)).lower(), path=str(path)) from error
    if not stat.S_ISREG(mode) or head != b"SQLite format 3\x00":
        raise FormatError("not a log", path=str(path))


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file a path names now; None if there is none."""
    try:
        found = os.stat(path, follow_symlinks=False)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _companion(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _copy_database(path: Path) -> TemporaryDirectory[str]:
    """Copy database and WAL to a private folder, again if a writer came between."""
    import shutil
    from tempfile import TemporaryDirectory

    copy = TemporaryDirectory(prefix="dre-log-")
    try:
        for _ in range(5):
            before = _state(path)
            for suffix in ("", "-wal"):
                target = Path(copy.name) / (path.name + suffix)
                target.unlink(missing_ok=True)
                with contextlib.suppress(FileNotFoundError):
                    shutil.copyfile(_companion(path, suffix), target)
            if _state(path) == before:
                return copy
        raise StorageError("the log changes while it is read; try again", path=str(path))
    except BaseException as error:
        copy.cleanup()
        if isinstance(error, OSError):
            raise StorageError((error.strerror or str(error)).lower(), path=str(path)) from error
        raise


def _state(path: Path) -> list[tuple[int, int, int]]:
    states = []
    for suffix in ("", "-wal"):
        with contextlib.suppress(FileNotFoundError):
            status = os.stat(_companion(path, suffix))
            states.append((status.st_ino, status.st_size, status.st_mtime_ns))
    return states


def _remove_database(path: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        with contextlib.suppress(OSError):
            os.unlink(_companion(path, suffix))


def _sync_directory(directory: Path) -> None:
    if os.name != "posix":
        return
    try:
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StorageError((error.strerror or str(error)).lower(), path=str(directory)) from error


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    """SQLite's errors in ours: the medium's are storage errors, the content's are format errors."""
    import sqlite3

    try:
        yield
    except sqlite3.OperationalError as error:
        raise _storage_error(str(error), path) from error
    except sqlite3.Error as error:
        raise FormatError(f"not a sound log: {error}", hint=_LOST_HINT, path=str(path)) from error
    except UnicodeDecodeError:
        # SQLite quotes a damaged schema in its message, which Python then can't decode.
        raise FormatError("not a sound log", hint=_LOST_HINT, path=str(path)) from None


def _storage_error(message: str, path: Path) -> StorageError:
    if "locked" in message or "busy" in message:
        return StorageError("the log is held by another process", path=str(path))
    if "full" in message:
        return StorageError("no space left on device", hint="free some space", path=str(path))
    return StorageError(f"the log can't be used: {message}", path=str(path))

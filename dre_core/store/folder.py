"""The ``.dre/`` folder of a project: where it lies, what is in it, and whether it is one's own.

``config.yaml``, ``log.db``, ``evidence/`` (blobs), ``keys/`` (public halves), ``experiments/<operation>/`` and
``cache/``. A ``.gitignore`` of ``*`` keeps it out of the project's history; private keys never lie here.
A folder owned by somebody else is never picked up by the search.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from dre_core.errors import FormatError, NotFoundError, StorageError, UsageError
from dre_core.model.identifier import OPERATION
from dre_core.model.identifier import parse as parse_identifier
from dre_core.store.local import storage_error

NAME = ".dre"
INDEX = "index.json"
_ASKING_SECONDS = 0.01
_ASKING_TRIES = 20


class Folder:
    """One ``.dre`` folder.

    Args:
        path: The folder itself.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def log(self) -> Path:
        """The append-only log."""
        return self.path / "log.db"

    @property
    def config(self) -> Path:
        """What ``dre config set`` writes."""
        return self.path / "config.yaml"

    @property
    def public_keys(self) -> Path:
        """Public halves of the keys that sealed evidence here."""
        return self.path / "keys"

    @property
    def exists(self) -> bool:
        """Whether it was initialised."""
        return self.log.exists()

    def project(self, directory: Path) -> Path:
        """The root of the project it serves; where it lies elsewhere, the folder the user stands in."""
        parent = self.path.parent
        return parent if directory == parent or parent in directory.parents else directory

    def create(self) -> None:
        """Makes the folder and its ``.gitignore``; what is there already stays.

        Raises:
            StorageError: The folder can't be written.
        """
        with storage_errors(self.path):
            self.path.mkdir(mode=0o755, parents=True, exist_ok=True)
            ignore = self.path / ".gitignore"
            if not ignore.exists():
                write_atomically(ignore, b"*\n")
            self.public_keys.mkdir(exist_ok=True)
            (self.path / "experiments").mkdir(exist_ok=True)

    def experiment(self, operation: str) -> Experiment:
        """The folder of one operation.

        Raises:
            FormatError: The id is none.
        """
        return Experiment(self.path / "experiments" / parse_identifier(OPERATION, operation))

    def experiments(self) -> list[str]:
        """Ids of all operations with a folder, oldest first."""
        try:
            names = os.listdir(self.path / "experiments")
        except FileNotFoundError:
            return []
        return sorted(name for name in names if _is_operation(name))

    def unpublished(self) -> list[str]:
        """Ids of the operations that have no index: they run, or were cut off. Every run asks, so it is quick."""
        folder = str(self.path / "experiments")
        return [name for name in self.experiments() if not os.path.lexists(f"{folder}/{name}/{INDEX}")]

    def resolve(self, prefix: str) -> str:
        """The operation that a unique prefix of at least 6 characters names.

        Raises:
            UsageError: The prefix is too short or names several.
            NotFoundError: It names none.
        """
        text = prefix.lower()
        text = text if text.startswith(f"{OPERATION}_") else f"{OPERATION}_{text}"
        if len(text) - len(OPERATION) - 1 < 6:
            raise UsageError(
                f"{prefix!r} is too short for an operation id", hint="give at least 6 characters of it"
            )
        found = [name for name in self.experiments() if name.startswith(text)]
        if not found:
            raise NotFoundError(
                f"there is no operation {prefix!r} here", hint="dre evidence list shows them all"
            )
        if len(found) > 1:
            raise UsageError(
                f"{prefix!r} names {len(found)} operations", hint="give more characters of the id"
            )
        return found[0]


def _is_operation(name: str) -> bool:
    try:
        return parse_identifier(OPERATION, name) == name
    except FormatError:
        return False


class Experiment:
    """The folder of one operation.

    Args:
        path: ``.dre/experiments/<operation>``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.operation = path.name

    @property
    def envelopes(self) -> Path:
        """All envelopes of the operation, one a line."""
        return self.path / "run.intoto.jsonl"

    @property
    def proof(self) -> Path:
        """Proof that the operation's last event is in the log."""
        return self.path / "run.tlog-proof"

    @property
    def index(self) -> Path:
        """The signed index of the archive's members for this operation."""
        return self.path / INDEX

    @property
    def countersignatures(self) -> Path:
        """Envelopes of others about the operation, one a line."""
        return self.path / "countersignatures.intoto.jsonl"

    @property
    def readme(self) -> Path:
        """The archive's README.txt as it was sealed."""
        return self.path / "README.txt"

    @property
    def cast(self) -> Path:
        """The terminal recording."""
        return self.path / "terminal.cast"

    @property
    def junit(self) -> Path:
        """The verification report in JUnit's form."""
        return self.path / "junit.xml"

    @property
    def markdown(self) -> Path:
        """The report in Markdown."""
        return self.path / "report.md"

    @property
    def journal(self) -> Path:
        """Journals of the test runs inside."""
        return self.path / "journal"

    @property
    def coverage(self) -> Path:
        """Coverage data that test runs inside measured."""
        return self.path / "coverage"

    @property
    def attachments(self) -> Path:
        """Files that tests attached."""
        return self.path / "attachments"

    @property
    def summary(self) -> Path:
        """Unsigned facts for people."""
        return self.path / "operation.json"

    @property
    def lock(self) -> Path:
        """Held exclusively while the operation is alive."""
        return self.path / "lock"

    @property
    def sealed(self) -> bool:
        """Whether its envelopes were published."""
        return self.proof.exists()

    def create(self) -> None:
        """Makes the folder with its journal.

        Raises:
            StorageError: The folder can't be written.
        """
        with storage_errors(self.path):
            self.journal.mkdir(parents=True)

    def acquire(self) -> int:
        """Takes the lock and keeps it until the returned descriptor is closed.

        Raises:
            StorageError: Another process holds it, or it can't be made.
        """
        with storage_errors(self.lock):
            descriptor = os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        if not _lock_soon(descriptor):
            os.close(descriptor)
            raise StorageError("another process holds the operation's lock", path=str(self.lock))
        return descriptor

    def is_alive(self) -> bool:
        """Whether some process holds the lock."""
        try:
            descriptor = os.open(self.lock, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            # A shared lock, so that asking does not take away what a starting run asks for.
            return not _lock(descriptor, shared=True)
        finally:
            os.close(descriptor)


def _lock_soon(descriptor: int) -> bool:
    """Takes an exclusive lock; somebody who just asks whether it is held has it for a moment only."""
    for _ in range(_ASKING_TRIES):
        if _lock(descriptor):
            return True
        time.sleep(_ASKING_SECONDS)
    return False


def _lock(descriptor: int, *, shared: bool = False) -> bool:
    """Takes a lock without waiting; True where locks don't exist (Windows)."""
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def find(directory: Path, *, explicit: str = "") -> Folder:
    """The folder that serves a directory.

    Args:
        directory: Where the command was started.
        explicit: ``--dir`` or ``DRE_DIR``; wins over the search.

    Returns:
        The nearest parent's ``.dre`` that belongs to this user, else one at the git root, else one here.
        It need not exist yet.
    """
    if explicit:
        return Folder(Path(os.path.abspath(os.path.expanduser(explicit))))
    start = Path(os.path.abspath(directory))
    git_root: Path | None = None
    for parent in (start, *start.parents):
        if (parent / NAME).is_dir() and _is_mine(parent / NAME):
            return Folder(parent / NAME)
        if git_root is None and (parent / ".git").exists():
            git_root = parent
    return Folder((git_root or start) / NAME)


def _is_mine(path: Path) -> bool:
    geteuid = getattr(os, "geteuid", None)
    return geteuid is None or path.stat().st_uid == geteuid()


@contextmanager
def storage_errors(path: Path | str) -> Iterator[None]:
    """Turns errors of the operating system into :class:`StorageError` with a hint."""
    try:
        yield
    except OSError as error:
        raise storage_error(error, error.filename or path) from None


def open_regular(path: Path) -> BinaryIO:
    """Opens a regular file for reading; a link, pipe or device that somebody put there is refused at once.

    Raises:
        StorageError: It is something else, or can't be opened.
    """
    flags = (
        os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    )
    with storage_errors(path):
        descriptor = os.open(path, flags)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise StorageError("not a regular file", hint="somebody put it there; remove it", path=str(path))
        return os.fdopen(descriptor, "rb")


def write_atomically(path: Path, data: bytes | Callable[[BinaryIO], None], *, durable: bool = True) -> None:
    """Writes a whole file or nothing: temporary file, fsync, rename, fsync of the folder.

    Args:
        path: The file.
        data: Its bytes, or what writes them piece by piece.
        durable: Whether it must outlive a loss of power.

    Raises:
        StorageError: It can't be written; the old file stays.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with storage_errors(path):
        try:
            with temporary.open("wb") as stream:
                if callable(data):
                    data(stream)
                else:
                    stream.write(data)
                stream.flush()
                if durable:
                    os.fsync(stream.fileno())
            os.replace(temporary, path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        if durable:
            sync_folder(path.parent)


def write_out(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Writes what a user asked for: a file is replaced when it is whole, a pipe or device stays what it is.

    Raises:
        StorageError: It can't be written.
    """
    if path.is_file() or not path.exists():
        write_atomically(path, data, durable=durable)
        return
    with storage_errors(path), path.open("wb") as stream:
        stream.write(data)


def sync_folder(path: Path) -> None:
    """Makes renames in a folder durable, where the system can."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:  # Windows can't open folders
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

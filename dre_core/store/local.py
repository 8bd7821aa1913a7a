"""Blobs as files: ``<root>/evidence/sha256/ab/cdef…``, read-only, whole or not there.

Order of a commit: write to a temporary file of the same file system, fsync it, rename it to its digest, fsync
the directory. A name that exists therefore has its bytes, also after a power loss; what a crash leaves behind
is a temporary file, which :meth:`LocalStore.sweep` removes once its writer is gone. An error of fsync is
final: a second fsync may succeed although the pages are lost, so it is never tried again.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from dre_core.errors import DREError, IntegrityError, LimitError, NotFoundError, StorageError
from dre_core.model import digest as digests

_CHUNK_BYTES = 1024 * 1024
_READ_FLAGS = (
    os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
)
_WRITE_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)

_HINTS = {
    errno.ENOSPC: "free some space, or name another folder with --dir",
    errno.EDQUOT: "the quota is used up; name another folder with --dir",
    errno.EROFS: "the file system is read-only; name another folder with --dir",
    errno.EACCES: "check the owner and mode of the folder, or name another one with --dir",
}


def storage_error(error: OSError, path: Path | str = "") -> StorageError:
    """An error of the operating system in our words: a lower-case message and what to do about it.

    Args:
        error: What was raised.
        path: The file concerned, if the error does not know it.
    """
    message = (error.strerror or str(error)).lower()
    named = str(path or error.filename or "")
    return StorageError(message, hint=_HINTS.get(error.errno or 0, ""), path=named)


class LocalWriter:
    """A blob being written. Made by :meth:`LocalStore.writer`; aborts unless committed."""

    def __init__(self, store: LocalStore, descriptor: int, path: Path) -> None:
        self._store = store
        self._descriptor = descriptor
        self._path = path
        self._hash = hashlib.sha256()
        self.size_bytes = 0

    def write(self, chunk: bytes) -> None:
        """Append bytes.

        Raises:
            StorageError: The medium refuses; the writer is of no more use.
        """
        self._hash.update(chunk)
        self.size_bytes += len(chunk)
        left = memoryview(chunk)
        try:
            while left:
                left = left[os.write(self._require_open(), left) :]
        except OSError as error:
            raise self._failed(error) from error

    def commit(self, *, durable: bool = True) -> str:
        """Put the blob in its place.

        Args:
            durable: Whether to wait until a power loss can't take it; without, a crash of the machine may
                leave a name with lost bytes.

        Returns:
            Its digest.

        Raises:
            StorageError: The medium refuses; nothing is stored.
        """
        if durable:
            self.flush()
        target = self.place()
        if durable:
            self._store.sync([target.parent])
        return self.digest

    @property
    def digest(self) -> str:
        """Digest of the bytes written so far."""
        return f"sha256:{self._hash.hexdigest()}"

    def start_flush(self) -> None:
        """Ask the kernel to begin writing out, so that several files share one journal commit."""
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._require_open(), 0, 0, os.POSIX_FADV_DONTNEED)

    def flush(self) -> None:
        """Wait until the bytes (not yet the name) are durable; the first half of a commit."""
        try:
            os.fsync(self._require_open())
        except OSError as error:
            raise self._failed(error) from error

    def place(self) -> Path:
        """Give the file its name, without waiting; the second half of a commit."""
        target = self._store.path(self.digest)
        descriptor = self._require_open()
        try:
            if hasattr(os, "fchmod"):
                os.fchmod(descriptor, 0o444)
            self._store.make_directory(target.parent)
            self._close()
            os.replace(self._path, target)
        except OSError as error:
            raise self._failed(error) from error
        return target

    def abort(self) -> None:
        """Throw it away; nothing happens after a commit or a second time."""
        if self._descriptor >= 0:
            self._close()
            self._unlink()

    def _require_open(self) -> int:
        if self._descriptor < 0:
            raise StorageError("the blob is already committed or aborted")
        return self._descriptor

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        os.close(descriptor)

    def _unlink(self) -> None:
        # A leftover is swept later; what matters is the error that led here.
        with contextlib.suppress(OSError):
            os.unlink(self._path)

    def _failed(self, error: OSError) -> StorageError:
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):
                self._close()
        self._unlink()
        return storage_error(error, self._path)

    def __enter__(self) -> LocalWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()


class LocalStore:
    """A folder of blobs.

    Args:
        root: The ``.dre`` folder; made on the first write.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self._blobs = self.root / "evidence" / "sha256"
        self._temporary = self.root / "evidence" / "tmp"
        self._known: set[Path] = set()

    def path(self, digest: str) -> Path:
        """Where a blob lies or would lie.

        Raises:
            FormatError: No digest.
        """
        name = digests.hex_of(digest)
        return self._blobs / name[:2] / name[2:]

    def writer(self) -> LocalWriter:
        """Begin a blob.

        Raises:
            StorageError: No room, no permission.
        """
        path = self._temporary / f"{os.getpid()}-{os.urandom(8).hex()}"
        try:
            self.make_directory(self._temporary)
            descriptor = os.open(path, _WRITE_FLAGS, 0o600)
        except OSError as error:
            raise storage_error(error, path) from error
        hold(descriptor)
        return LocalWriter(self, descriptor, path)

    def put(self, data: bytes, *, durable: bool = True) -> str:
        """Store bytes at hand; gives their digest. See :meth:`LocalWriter.commit`."""
        with self.writer() as writer:
            writer.write(data)
            return writer.commit(durable=durable)

    def commit_all(self, writers: Iterable[LocalWriter]) -> tuple[str, ...]:
        """Commit many blobs for the price of few: flushed together, each directory synced once.

        Args:
            writers: Open writers of this store.

        Returns:
            Their digests, in this order.

        Raises:
            StorageError: The medium refuses; those not yet placed are thrown away.
        """
        pending = list(writers)
        try:
            for writer in pending:
                writer.start_flush()
            for writer in pending:
                writer.flush()
            self.sync({writer.place().parent for writer in pending})
        except OSError as error:
            raise storage_error(error, self._temporary) from error
        finally:
            for writer in pending:
                writer.abort()
        return tuple(writer.digest for writer in pending)

    def open(self, digest: str) -> BinaryIO:
        """A readable stream of a blob; the caller closes it.

        Raises:
            NotFoundError: Not here.
            StorageError: Can't be read, or is no regular file.
        """
        path = self.path(digest)
        try:
            descriptor = os.open(path, _READ_FLAGS)
        except FileNotFoundError:
            raise _missing(digest) from None
        except OSError as error:
            raise storage_error(error, path) from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise StorageError("not a regular file", path=str(path))
        return open(descriptor, "rb")

    def read(self, digest: str, limit_bytes: int) -> bytes:
        """A blob's bytes, checked against the digest.

        Raises:
            NotFoundError: Not here.
            LimitError: Larger than ``limit_bytes``.
            IntegrityError: The bytes are not those of the digest.
            StorageError: Can't be read.
        """
        with self.open(digest) as stream:
            try:
                data = stream.read(limit_bytes + 1)
            except OSError as error:
                raise storage_error(error, self.path(digest)) from error
        if len(data) > limit_bytes:
            raise LimitError(f"blob of more than {limit_bytes} bytes", path=digest)
        if digests.sha256(data) != digest:
            raise IntegrityError("the stored bytes are not those of the digest", path=digest)
        return data

    def size(self, digest: str) -> int:
        """A blob's size in bytes.

        Raises:
            NotFoundError: Not here.
        """
        with self.open(digest) as stream:
            return os.fstat(stream.fileno()).st_size

    def has(self, digest: str) -> bool:
        """Whether the blob is here; its bytes are not read."""
        try:
            return stat.S_ISREG(os.lstat(self.path(digest)).st_mode)
        except OSError:
            return False

    def delete(self, digest: str) -> bool:
        """Remove a blob, durably; gives whether it was here.

        Raises:
            StorageError: The medium refuses.
        """
        path = self.path(digest)
        try:
            if os.name == "nt" and path.exists():
                path.chmod(0o600)
            path.unlink()
            self.sync([path.parent])
        except FileNotFoundError:
            return False
        except OSError as error:
            raise storage_error(error, path) from error
        return True

    def digests(self) -> Iterator[str]:
        """The digests of all blobs, in rising order; other files are passed over."""
        for directory in _listed(self._blobs):
            for name in _listed(self._blobs / directory):
                try:
                    yield digests.parse(f"sha256:{directory}{name}")
                except DREError:
                    continue

    def check(self, digest: str) -> bool:
        """Whether the blob is here and its bytes, read in chunks, are those of the digest."""
        hasher = hashlib.sha256()
        try:
            with self.open(digest) as stream:
                while chunk := stream.read(_CHUNK_BYTES):
                    hasher.update(chunk)
        except (OSError, StorageError, NotFoundError):
            return False
        return f"sha256:{hasher.hexdigest()}" == digest

    def sweep(self) -> int:
        """Remove temporary files whose writer is gone; gives how many."""
        removed = 0
        for name in _listed(self._temporary):
            removed += remove_orphan(self._temporary / name)
        return removed

    def make_directory(self, directory: Path) -> None:
        """Make a folder of this store and what leads to it, each entry durable."""
        if directory in self._known:
            return
        missing = directory
        absent = []
        while not missing.is_dir():
            absent.append(missing)
            missing = missing.parent
        for path in reversed(absent):
            path.mkdir(exist_ok=True)
            self.sync([path.parent])
        self._known.add(directory)

    def sync(self, directories: Iterable[Path]) -> None:
        """Wait until the names in these folders are durable.

        Raises:
            StorageError: The medium refuses.
        """
        if os.name != "posix":
            return
        for directory in directories:
            try:
                descriptor = os.open(directory, os.O_RDONLY)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
            except OSError as error:
                raise storage_error(error, directory) from error


def _missing(digest: str) -> NotFoundError:
    return NotFoundError("no such blob", path=digest)


def _listed(directory: Path) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise storage_error(error, directory) from error


def hold(descriptor: int) -> bool:
    """Mark a temporary file as in use while its writer lives; False where one does or locks are missing."""
    try:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):
        return False
    return True


def remove_orphan(path: Path) -> int:
    """Removes a temporary file whose writer has died, unless it is empty; gives the number of files removed."""
    try:
        descriptor = os.open(path, _READ_FLAGS)
    except OSError:
        return 0
    try:
        # An empty one may be newly made and not yet locked.
        if os.fstat(descriptor).st_size == 0 or not hold(descriptor):
            return 0
        os.unlink(path)
    except OSError:
        return 0
    finally:
        os.close(descriptor)
    return 1

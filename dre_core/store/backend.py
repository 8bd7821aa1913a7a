"""Where blobs lie: the protocol that every store of content-addressed bytes fulfils.

A blob is immutable bytes under the digest of those very bytes, so storing twice is storing once and nothing
is ever updated. What the bytes mean (plain, compressed, encrypted) is in the evidence items, not here.
Every method may raise :class:`~dre_core.errors.StorageError` for what the medium refuses.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import BinaryIO, Protocol, runtime_checkable


class BlobWriter(Protocol):
    """A blob being written; as a context manager it aborts unless committed."""

    @property
    def size_bytes(self) -> int:
        """Bytes written so far."""

    def write(self, chunk: bytes) -> None:
        """Append bytes."""

    def commit(self) -> str:
        """Make the blob durable under its digest and give the digest."""

    def abort(self) -> None:
        """Throw it away; nothing happens after a commit or a second time."""

    def __enter__(self) -> BlobWriter: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@runtime_checkable
class Backend(Protocol):
    """A store of blobs."""

    def writer(self) -> BlobWriter:
        """Begin a blob."""

    def put(self, data: bytes) -> str:
        """Store bytes at hand; gives their digest."""

    def open(self, digest: str) -> BinaryIO:
        """A readable, seekable stream of a blob; the caller closes it.

        Raises:
            NotFoundError: Not here.
        """

    def read(self, digest: str, limit_bytes: int) -> bytes:
        """A blob's bytes, checked against the digest.

        Raises:
            NotFoundError: Not here.
            LimitError: Larger than ``limit_bytes``.
            IntegrityError: The bytes are not those of the digest.
        """

    def size(self, digest: str) -> int:
        """A blob's size in bytes.

        Raises:
            NotFoundError: Not here.
        """

    def has(self, digest: str) -> bool:
        """Whether the blob is here."""

    def delete(self, digest: str) -> bool:
        """Remove a blob; gives whether it was here."""

    def digests(self) -> Iterator[str]:
        """The digests of all blobs, in rising order."""

    def check(self, digest: str) -> bool:
        """Whether the blob is here and its bytes are those of the digest."""

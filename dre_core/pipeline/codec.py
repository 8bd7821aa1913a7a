"""Codecs: the stages with an inverse that stand between plain bytes and stored bytes.

A codec turns a stream of chunks into another, in constant memory both ways. ``zstd`` writes frames at level 3,
one unless whoever writes begins another so that a reader can start there; its reader takes whole frames, bounds
the window before memory is reserved and the output while it grows. Items below 512 bytes are stored plain: a frame
would save nothing. Not encryption (``crypto/aead``) and not masking, which has no inverse.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from dre_core.errors import FormatError, LimitError

MIN_BYTES = 512
"""Smaller items are stored plain."""
MAX_WINDOW_BYTES = 8 * 1024 * 1024
"""Largest window a reader reserves: what RFC 8878 section 3.1.1.1.2 asks of every decoder; we write 2 MiB."""
MAX_OUTPUT_BYTES = 64 * 1024**3
"""Most plain bytes of one item, unless the caller says less."""

_LEVEL = 3
_MOST_CODECS = 4
# A frame can blow each 4 bytes up to 128 KiB, so this bounds one step's output to 32 MiB.
_STEP_BYTES = 1024


class Codec(Protocol):
    """A reversible stage over chunks."""

    @property
    def name(self) -> str:
        """What the evidence item's ``codecs`` list calls it."""

    def encoder(self) -> Encoder:
        """An encoding to which chunks are pushed."""

    def encode(self, source: Iterable[bytes]) -> Iterator[bytes]:
        """Plain chunks to stored chunks, of any sizes."""

    def decode(self, source: Iterable[bytes], *, limit_bytes: int = MAX_OUTPUT_BYTES) -> Iterator[bytes]:
        """Stored chunks to plain chunks.

        Args:
            source: Stored chunks, of any sizes; hostile.
            limit_bytes: Most plain bytes to give.

        Raises:
            FormatError: Not what an encoder writes: garbage, cut off, or with something behind it.
            LimitError: More than ``limit_bytes``, or more memory needed than allowed.
        """


class Encoder(Protocol):
    """An encoding under way, for sources that push: what ``encode`` does chunk by chunk."""

    def compress(self, data: bytes) -> bytes:
        """Stored bytes that are ready after this chunk."""
        ...

    def flush(self) -> bytes:
        """The rest, at the end."""
        ...


class Zstd:
    """Zstandard, RFC 8878."""

    name = "zstd"

    def encoder(self) -> Encoder:
        """One frame at level 3, chunk by chunk."""
        import zstandard

        return zstandard.ZstdCompressor(level=_LEVEL).compressobj()

    def encode(self, source: Iterable[bytes]) -> Iterator[bytes]:
        """One frame at level 3 over all chunks."""
        frame = self.encoder()
        for chunk in source:
            if compressed := frame.compress(chunk):
                yield compressed
        yield frame.flush()

    def decode(self, source: Iterable[bytes], *, limit_bytes: int = MAX_OUTPUT_BYTES) -> Iterator[bytes]:
        """The plain bytes of one frame or several; see :meth:`Codec.decode`."""
        import zstandard

        decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)
        frame = decompressor.decompressobj()
        total = 0
        for step in _steps(source):
            while step:
                if frame.eof:
                    frame = decompressor.decompressobj()
                try:
                    plain = frame.decompress(step)
                except zstandard.ZstdError as error:
                    raise _unreadable(error) from None
                step = frame.unused_data
                total += len(plain)
                if total > limit_bytes:
                    raise LimitError(f"more than {limit_bytes} bytes after decompression")
                if plain:
                    yield plain
        if not frame.eof:
            raise FormatError("the zstd frame is cut off")


ZSTD: Codec = Zstd()

CODECS: dict[str, Codec] = {ZSTD.name: ZSTD}
"""Codecs by name."""


def choose(size_bytes: int | None) -> Codec | None:
    """The codec worth applying to an item.

    Args:
        size_bytes: Its plain size; None while unknown.

    Returns:
        A codec, or None to store it plain.
    """
    return None if size_bytes is not None and size_bytes < MIN_BYTES else ZSTD


def by_name(name: str) -> Codec:
    """The codec that an evidence item names.

    Raises:
        FormatError: Unknown.
    """
    if name not in CODECS:
        raise FormatError(f"unknown codec {name!r}")
    return CODECS[name]


def decode_chunks(
    codecs: Sequence[str],
    source: Iterable[bytes],
    limit_bytes: int = MAX_OUTPUT_BYTES,
    cipher: Codec | None = None,
) -> Iterator[bytes]:
    """Undo what was done to an item before it was stored.

    Args:
        codecs: Names in the order in which they were applied; none leaves the bytes as they are.
        source: Stored chunks; hostile.
        limit_bytes: Most bytes to give, of each step.
        cipher: The codec that has the operation's key, if it is encrypted.

    Raises:
        FormatError: An unknown name, too many of them, or bytes that do not decode.
        IntegrityError: Encrypted bytes were changed.
        LockedError: They are encrypted, and there is no key.
        LimitError: More than ``limit_bytes``.
    """
    if len(codecs) > _MOST_CODECS:
        raise FormatError(f"more than {_MOST_CODECS} codecs")
    chunks = _limited(source, limit_bytes) if not codecs else source
    for name in reversed(codecs):
        chosen = cipher if cipher is not None and name == cipher.name else by_name(name)
        chunks = chosen.decode(chunks, limit_bytes=limit_bytes)
    return iter(chunks)


def _limited(source: Iterable[bytes], limit_bytes: int) -> Iterator[bytes]:
    total = 0
    for chunk in source:
        total += len(chunk)
        if total > limit_bytes:
            raise LimitError(f"more than {limit_bytes} bytes")
        yield chunk


def _steps(source: Iterable[bytes]) -> Iterator[bytes]:
    for chunk in source:
        for start in range(0, len(chunk), _STEP_BYTES):
            yield chunk[start : start + _STEP_BYTES]


def _unreadable(error: Exception) -> FormatError:
    if "memory" in str(error).lower() or "window" in str(error).lower():
        return LimitError(f"the zstd window is larger than {MAX_WINDOW_BYTES} bytes")
    return FormatError("not a zstd frame")

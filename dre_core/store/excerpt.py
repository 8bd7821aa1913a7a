"""A part of a recorded stream, read without decoding what lies before its frame.

Not a check of the evidence: the blob is not compared with its digest, for that would mean to read all of it. ``dre
verify`` does that.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from dre_core.model.encryption import CODEC
from dre_core.model.run import Item
from dre_core.model.streams import StreamIndex
from dre_core.pipeline import codec
from dre_core.store.sealed import Blobs, cipher_of

_CHUNK_BYTES = 1 << 18


def excerpt(blobs: Blobs, item: Item, index: StreamIndex | None, start: int, stop: int) -> Iterator[bytes]:
    """Plain bytes of an item.

    Args:
        blobs: The run's payloads.
        item: A kept item.
        index: Its stream's index; None to decode from the beginning.
        start: First byte.
        stop: Byte to stop before.

    Raises:
        FormatError: The stored form does not decode, or the index leads to where no frame begins.
        LimitError: More than the codecs' limit.
    """
    # The index knows the compressed bytes; where these are encrypted, no place in the stored ones follows from it.
    indexed = index is not None and item.codecs and CODEC not in item.codecs
    plain_offset, stored_offset = index.frame_of(start) if index is not None and indexed else (0, 0)
    position = plain_offset
    with blobs.open(item.digest) as stream:
        _skip(stream, stored_offset)
        stored = iter(lambda: stream.read(_CHUNK_BYTES), b"")
        for chunk in codec.decode_chunks(item.codecs, stored, cipher=cipher_of(blobs)):
            if position >= stop:
                return
            wanted = chunk[max(0, start - position) : stop - position]
            position += len(chunk)
            if wanted:
                yield wanted


def _skip(stream: BinaryIO, count: int) -> None:
    if stream.seekable():
        stream.seek(count)
        return
    while count > 0 and (passed := stream.read(min(count, _CHUNK_BYTES))):
        count -= len(passed)

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Iterator

import pytest
import zstandard

from dre_core.errors import FormatError, LimitError
from dre_core.pipeline import codec
from dre_core.pipeline.codec import ZSTD

SAMPLES = [b"", b"x", b"hello " * 1000, os.urandom(300_000), b"\0" * 5_000_000]


def chunks(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


@pytest.mark.parametrize("data", SAMPLES, ids=lambda data: str(len(data)))
@pytest.mark.parametrize("size", [7, 65_536])
def test_decode_is_the_inverse_for_any_chunks(data: bytes, size: int) -> None:
    if size == 7:
        data = data[:20_000]
    stored = b"".join(ZSTD.encode(chunks(data, size)))
    assert b"".join(ZSTD.decode(chunks(stored, size))) == data
    assert zstandard.ZstdDecompressor().decompressobj().decompress(stored) == data


def test_the_same_bytes_in_other_chunks_are_the_same_item() -> None:
    data = b"line of a log\n" * 5000
    assert b"".join(ZSTD.encode([data])) == b"".join(ZSTD.encode(chunks(data, 100)))


STORED = b"".join(ZSTD.encode([b"some text " * 500]))


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"x",
        b"\0" * 100,
        STORED[:-1],
        STORED[:5],
        STORED[1:],
        STORED + b"x",
        STORED + STORED[:-1],
        STORED + STORED + b"x",
        os.urandom(1000),
    ],
)
def test_what_is_not_whole_frames_is_refused(stored: bytes) -> None:
    for size in (1, 1 << 20):
        with pytest.raises(FormatError):
            b"".join(ZSTD.decode(chunks(stored, size)))


def test_output_is_limited_to_the_byte() -> None:
    data = b"a" * 100_000
    stored = list(ZSTD.encode([data]))
    assert b"".join(ZSTD.decode(stored, limit_bytes=100_000)) == data
    with pytest.raises(LimitError):
        b"".join(ZSTD.decode(stored, limit_bytes=99_999))


def test_a_bomb_is_stopped_in_bounded_memory() -> None:
    def zeros() -> Iterator[bytes]:
        for _ in range(512):
            yield bytes(1 << 20)

    bomb = b"".join(ZSTD.encode(zeros()))
    assert len(bomb) < 100_000
    tracemalloc.start()
    try:
        with pytest.raises(LimitError):
            for _ in ZSTD.decode([bomb], limit_bytes=1 << 20):
                pass
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


def test_a_window_beyond_the_limit_is_refused_before_memory_is_taken() -> None:
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=27)
    frame = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    stored = frame.compress(os.urandom(1000)) + frame.flush()
    with pytest.raises(LimitError):
        b"".join(ZSTD.decode([stored]))


def test_encoding_streams() -> None:
    taken = 0

    def source() -> Iterator[bytes]:
        nonlocal taken
        for _ in range(64):
            taken += 1
            yield os.urandom(1 << 16)

    encoded = ZSTD.encode(source())
    next(encoded)
    assert taken < 64


def test_small_items_are_stored_plain() -> None:
    assert codec.choose(0) is None
    assert codec.choose(511) is None
    assert codec.choose(512) is ZSTD
    assert codec.choose(None) is ZSTD


def test_decode_chunks_undoes_the_named_codecs() -> None:
    assert b"".join(codec.decode_chunks(["zstd"], [STORED])) == b"some text " * 500
    assert b"".join(codec.decode_chunks([], [b"a", b"b"], 2)) == b"ab"
    twice = list(ZSTD.encode(ZSTD.encode([b"x" * 1000])))
    assert b"".join(codec.decode_chunks(("zstd", "zstd"), twice)) == b"x" * 1000
    with pytest.raises(LimitError):
        b"".join(codec.decode_chunks([], [b"a", b"b"], 1))
    with pytest.raises(LimitError):
        b"".join(codec.decode_chunks(["zstd"], [STORED], 4999))
    with pytest.raises(FormatError, match="unknown codec"):
        codec.decode_chunks(["gzip"], [])

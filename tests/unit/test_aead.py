from __future__ import annotations

import os
import tracemalloc

import pytest

from dre_core.crypto import aead
from dre_core.errors import FormatError, IntegrityError, LimitError, SigningKeyError

KEY = bytes(range(32))
SIZES = [0, 1, 16_383, 16_384, 16_385, 50_000]


def seal(plain: bytes, **options: bytes) -> bytes:
    return b"".join(aead.seal_stream(KEY, [plain], **options))  # type: ignore[arg-type]


def unseal(stored: bytes, size: int = 4096, key: bytes = KEY, context: bytes = b"") -> bytes:
    pieces = [stored[start : start + size] for start in range(0, len(stored), size)]
    return b"".join(aead.open_stream(key, pieces, context=context))


@pytest.mark.parametrize("length", SIZES)
@pytest.mark.parametrize("size", [7, 16_400, 1 << 20])
def test_open_is_the_inverse_for_any_pieces(length: int, size: int) -> None:
    plain = os.urandom(length)
    stored = seal(plain)
    assert len(stored) == 56 + length + 16 * (length // 16_384 + 1)
    assert unseal(stored, size) == plain


def test_the_same_message_is_never_the_same_ciphertext() -> None:
    assert seal(b"x") != seal(b"x")
    assert seal(b"x", salt=bytes(24)) == seal(b"x", salt=bytes(24))


def test_another_key_context_or_salt_does_not_open() -> None:
    stored = seal(b"secret", context=b"one")
    assert unseal(stored, context=b"one") == b"secret"
    for attempt in ({"key": bytes(32), "context": b"one"}, {"context": b"two"}, {}):
        with pytest.raises(IntegrityError, match="another key or context"):
            unseal(stored, **attempt)  # type: ignore[arg-type]


STORED = seal(os.urandom(40_000), salt=bytes(24))


@pytest.mark.parametrize("length", [0, 10, 55, 56, 60, 71, 56 + 16_400, 56 + 2 * 16_400, len(STORED) - 1])
def test_a_cut_is_seen_wherever_it_is(length: int) -> None:
    with pytest.raises((FormatError, IntegrityError)):
        unseal(STORED[:length])


def test_changed_moved_and_added_chunks_are_seen() -> None:
    head, one, two, rest = STORED[:56], STORED[56:16_456], STORED[16_456:32_856], STORED[32_856:]
    for variant in (
        head + two + one + rest,
        head + one + one + two + rest,
        head + one + rest,
        head + two + rest,
        STORED + rest,
        STORED + b"\0",
        head + one + two + rest[:-1] + bytes([rest[-1] ^ 1]),
        bytes([head[0] ^ 1]) + STORED[1:],
    ):
        with pytest.raises((FormatError, IntegrityError)):
            unseal(variant)


def test_keys_and_salts_have_one_length() -> None:
    for options in ({"key": b"short"}, {"salt": b"short"}):
        with pytest.raises(SigningKeyError):
            list(aead.seal_stream(**{"key": KEY, "source": [b""], **options}))  # type: ignore[arg-type]
    with pytest.raises(SigningKeyError):
        unseal(STORED, key=KEY[:16])


def test_the_chunk_counter_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aead, "MAX_CHUNKS", 2)
    with pytest.raises(LimitError):
        unseal(STORED)
    with pytest.raises(LimitError):
        seal(bytes(40_000))


def test_memory_is_constant() -> None:
    tracemalloc.start()
    try:
        pieces = aead.open_stream(KEY, aead.seal_stream(KEY, (bytes(65_536) for _ in range(200))))
        assert sum(map(len, pieces)) == 200 * 65_536
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()

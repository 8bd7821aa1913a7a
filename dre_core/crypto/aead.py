"""Encryption of contents: C2SP chunked encryption with AES-256-GCM and HKDF-SHA-512 (Cobblestone-256).

``salt (24 bytes) ‖ commitment (32 bytes) ‖ chunks``. Key, base nonce and commitment are expanded from the input key,
the salt and a context, so a ciphertext opens under one key only. Each chunk is 16 KiB of plain text and a tag of 16
bytes, but the last is always shorter (perhaps empty), so a cut at a chunk's end shows; the nonce counts chunks, so
their order is fixed. Plain text is given out chunk by chunk, each authenticated, *before* the end is known: only a
stream that ends without an error is the whole message.

The key is 32 uniformly random bytes, never a passphrase; deriving and wrapping it is not done here.

Source: https://c2sp.org/chunked-encryption
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Iterable, Iterator

from dre_core.errors import FormatError, IntegrityError, LimitError, SigningKeyError

KEY_BYTES = 32
SALT_BYTES = 24
COMMITMENT_BYTES = 32
CHUNK_BYTES = 16 * 1024
TAG_BYTES = 16
MAX_CHUNKS = 2**32
"""Most chunks of one message: 64 TiB."""

_NONCE_BYTES = 12
_LABEL = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\x00"
_HEAD_BYTES = SALT_BYTES + COMMITMENT_BYTES


def seal_stream(
    key: bytes, source: Iterable[bytes], *, salt: bytes | None = None, context: bytes = b""
) -> Iterator[bytes]:
    """Encrypt a stream.

    Args:
        key: 32 uniformly random bytes.
        source: Plain chunks of any sizes.
        salt: 24 bytes, never twice with one key; default random.
        context: What the message is; opening needs the same.

    Yields:
        The ciphertext, in pieces.

    Raises:
        SigningKeyError: Key or salt is of another length.
        LimitError: More than 64 TiB.
    """
    sealer = Sealer(key, salt=salt, context=context)
    for chunk in source:
        if sealed := sealer.compress(chunk):
            yield sealed
    yield sealer.flush()


class Sealer:
    """An encryption under way, for sources that push; with the methods of a codec's encoder.

    Args:
        key: 32 uniformly random bytes.
        salt: 24 bytes, never twice with one key; default random.
        context: What the message is; opening needs the same.

    Raises:
        SigningKeyError: Key or salt is of another length.
    """

    def __init__(self, key: bytes, *, salt: bytes | None = None, context: bytes = b"") -> None:
        salt = os.urandom(SALT_BYTES) if salt is None else salt
        self._chunks = _Chunks(key, salt, context)
        self._ready = salt + self._chunks.commitment
        self._buffer = bytearray()

    def compress(self, data: bytes) -> bytes:
        """Ciphertext that is ready after these plain bytes.

        Raises:
            LimitError: More than 64 TiB.
        """
        self._buffer += data
        whole = len(self._buffer) - len(self._buffer) % CHUNK_BYTES
        parts = [self._ready]
        self._ready = b""
        if whole:
            view = bytes(self._buffer[:whole])
            del self._buffer[:whole]
            parts += [self._chunks.seal(view[at : at + CHUNK_BYTES]) for at in range(0, whole, CHUNK_BYTES)]
        return b"".join(parts)

    def flush(self) -> bytes:
        """The rest, with the shorter chunk that ends every message.

        Raises:
            LimitError: More than 64 TiB.
        """
        ready, self._ready = self._ready, b""
        return ready + self._chunks.seal(bytes(self._buffer))


def open_stream(key: bytes, source: Iterable[bytes], *, context: bytes = b"") -> Iterator[bytes]:
    """Decrypt a stream.

    Args:
        key: The key that it was sealed with.
        source: The ciphertext, in pieces of any sizes; hostile.
        context: What the message must be.

    Yields:
        Authenticated plain chunks; the message is whole only if the iteration ends without an error.

    Raises:
        SigningKeyError: The key is not 32 bytes.
        FormatError: Cut off.
        IntegrityError: Another key or context, or a changed, missing, moved or added chunk.
        LimitError: More than 64 TiB.
    """
    pieces = iter(source)
    head = bytearray()
    while len(head) < _HEAD_BYTES:
        piece = next(pieces, None)
        if piece is None:
            raise FormatError("the ciphertext is cut off")
        head += piece
    chunks = _Chunks(key, bytes(head[:SALT_BYTES]), context)
    if not hmac.compare_digest(chunks.commitment, bytes(head[SALT_BYTES:_HEAD_BYTES])):
        raise IntegrityError("the ciphertext is of another key or context")
    for chunk in _rechunk(_chain(bytes(head[_HEAD_BYTES:]), pieces), CHUNK_BYTES + TAG_BYTES):
        if plain := chunks.open(chunk):
            yield plain


class _Chunks:
    """The chunks of one message, one after the other."""

    def __init__(self, key: bytes, salt: bytes, context: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        from cryptography.hazmat.primitives.hashes import SHA512
        from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

        if len(key) != KEY_BYTES or len(salt) != SALT_BYTES:
            raise SigningKeyError(f"encryption needs a key of {KEY_BYTES} and a salt of {SALT_BYTES} bytes")
        length = KEY_BYTES + _NONCE_BYTES + COMMITMENT_BYTES
        okm = HKDFExpand(algorithm=SHA512(), length=length, info=_LABEL + salt + context).derive(key)
        self._cipher = AESGCM(okm[:KEY_BYTES])
        self._base = int.from_bytes(okm[KEY_BYTES : KEY_BYTES + _NONCE_BYTES], "big")
        self.commitment = okm[KEY_BYTES + _NONCE_BYTES :]
        self._number = 0

    def seal(self, plain: bytes) -> bytes:
        return self._cipher.encrypt(self._nonce(), plain, None)

    def open(self, chunk: bytes) -> bytes:
        from cryptography.exceptions import InvalidTag

        if len(chunk) < TAG_BYTES:
            raise FormatError("the ciphertext is cut off")
        try:
            return self._cipher.decrypt(self._nonce(), chunk, None)
        except InvalidTag:
            raise IntegrityError("the ciphertext was changed or cut off") from None

    def _nonce(self) -> bytes:
        if self._number >= MAX_CHUNKS:
            raise LimitError("a message of more than 64 TiB")
        nonce = (self._base ^ self._number).to_bytes(_NONCE_BYTES, "big")
        self._number += 1
        return nonce


def _rechunk(source: Iterable[bytes], size: int) -> Iterator[bytes]:
    """Pieces of exactly this size, then always a shorter one, perhaps empty."""
    buffer = bytearray()
    for piece in source:
        buffer += piece
        whole = len(buffer) - len(buffer) % size
        for start in range(0, whole, size):
            yield bytes(buffer[start : start + size])
        del buffer[:whole]
    yield bytes(buffer)


def _chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest

"""Encryption as a codec: the last step before a payload is hashed and stored, with an inverse for key holders.

The bytes are ``crypto/aead``'s. Whoever has no key holds a :class:`Locked` in its place: every other check of the
evidence goes on, and only what would need the plain bytes says why it can't.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dre_core.crypto import aead
from dre_core.crypto.payload_key import PayloadKey
from dre_core.errors import LimitError, LockedError
from dre_core.model.encryption import CODEC
from dre_core.pipeline.codec import MAX_OUTPUT_BYTES, Encoder


class Cipher:
    """Chunked AES-256-GCM under one operation's key.

    Args:
        key: The key.
    """

    name = CODEC

    def __init__(self, key: PayloadKey) -> None:
        self._key = key

    def encoder(self) -> Encoder:
        """An encryption under way."""
        return self._key.sealer()

    def encode(self, source: Iterable[bytes]) -> Iterator[bytes]:
        """Plain chunks to stored chunks."""
        sealer = self._key.sealer()
        for chunk in source:
            yield sealer.compress(chunk)
        yield sealer.flush()

    def decode(self, source: Iterable[bytes], *, limit_bytes: int = MAX_OUTPUT_BYTES) -> Iterator[bytes]:
        """Stored chunks to plain chunks, each authenticated.

        Raises:
            FormatError: Cut off.
            IntegrityError: Another key, or a changed, missing, moved or added chunk.
            LimitError: More than ``limit_bytes``.
        """
        key, context = self._key.secret
        total = 0
        for chunk in aead.open_stream(key, source, context=context):
            total += len(chunk)
            if total > limit_bytes:
                raise LimitError(f"more than {limit_bytes} bytes after decryption")
            yield chunk


class Locked:
    """Stands where a cipher would, for whoever has no key.

    Args:
        error: Why there is none.
    """

    name = CODEC

    def __init__(self, error: LockedError) -> None:
        self._error = error

    def encoder(self) -> Encoder:
        """Nothing can be encrypted."""
        raise self._error

    def encode(self, source: Iterable[bytes]) -> Iterator[bytes]:
        """Nothing can be encrypted."""
        raise self._error

    def decode(self, source: Iterable[bytes], *, limit_bytes: int = MAX_OUTPUT_BYTES) -> Iterator[bytes]:
        """Nothing can be decrypted.

        Raises:
            LockedError: Always.
        """
        raise self._error

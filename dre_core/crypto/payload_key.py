"""The key of an operation's payloads: made, wrapped for its readers, and found again.

32 random bytes. For a passphrase it is encrypted (``crypto/aead``) under a key that PBKDF2-HMAC-SHA256 makes of it; for
age recipients it is an age file, so that whoever seals need not be able to read. The digest of a plain form would let a
short secret be guessed, so it is an HMAC under this key. Not a key for signatures (``crypto/keys``).

Source: RFC 8018 section 5.2, https://age-encryption.org/v1
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Sequence
from typing import Any

from dre_core.crypto import aead
from dre_core.errors import DREError, LockedError, MissingExtraError, UsageError
from dre_core.model.encryption import SALT_BYTES, Encryption, Method, Wrap

ITERATIONS = 600_000
_WRAP = b"dre/payload-key/v1\0"
_PAYLOAD = b"dre/payload/v1\0"
_DIGEST = b"dre/plain-digest/v1\0"


class PayloadKey:
    """The key of one operation's payloads.

    Args:
        key: 32 bytes.
        operation: The operation's id, to which everything is bound.
    """

    def __init__(self, key: bytes, operation: str) -> None:
        self._key = key
        self._operation = operation.encode("ascii")

    @classmethod
    def new(cls, operation: str) -> PayloadKey:
        """A random key."""
        return cls(os.urandom(aead.KEY_BYTES), operation)

    def __repr__(self) -> str:
        return "PayloadKey(…)"

    def sealer(self) -> aead.Sealer:
        """The encryption of one payload."""
        return aead.Sealer(self._key, context=_PAYLOAD + self._operation)

    @property
    def secret(self) -> tuple[bytes, bytes]:
        """Key and context for :func:`dre_core.crypto.aead.open_stream`."""
        return self._key, _PAYLOAD + self._operation

    def digest(self) -> hmac.HMAC:
        """An HMAC-SHA256 for a plain form."""
        key = hmac.digest(self._key, _DIGEST + self._operation, "sha256")
        return hmac.new(key, digestmod="sha256")

    def for_passphrase(self, passphrase: bytes, iterations: int = ITERATIONS) -> Wrap:
        """The key wrapped for whoever knows a passphrase."""
        salt = os.urandom(SALT_BYTES)
        wrapping = _derived(passphrase, salt, iterations)
        data = b"".join(aead.seal_stream(wrapping, [self._key], context=_WRAP + self._operation))
        return Wrap(method=Method.PASSPHRASE, data=data, salt=salt, iterations=iterations)

    def for_recipients(self, recipients: Sequence[str]) -> Wrap:
        """The key wrapped for age recipients.

        Raises:
            MissingExtraError: The extra ``age`` is not installed.
            UsageError: One of them is no age recipient.
        """
        pyrage = _pyrage()
        try:
            parsed = [pyrage.x25519.Recipient.from_str(text) for text in recipients]
        except Exception as error:  # the library has errors of its own
            raise UsageError(f"not an age recipient: {error}", hint="it begins with age1") from None
        return Wrap(method=Method.AGE, data=pyrage.encrypt(self._key, parsed))


def find_key(
    encryption: Encryption, operation: str, passphrase: bytes | None, identities: Sequence[str]
) -> PayloadKey:
    """The key of an operation's payloads for whoever holds a passphrase or an identity.

    Args:
        encryption: What the run says.
        operation: The operation's id.
        passphrase: A passphrase, or None.
        identities: age identities.

    Raises:
        LockedError: Neither fits, or there is none.
        MissingExtraError: An identity was given, and the extra ``age`` is not installed.
    """
    context = _WRAP + operation.encode("ascii")
    for wrap in encryption.wraps:
        key = b""
        if wrap.method is Method.PASSPHRASE and passphrase:
            key = _opened(_derived(passphrase, wrap.salt, wrap.iterations), wrap.data, context)
        elif wrap.method is Method.AGE and identities:
            key = _decrypted(wrap.data, identities)
        if len(key) == aead.KEY_BYTES:
            return PayloadKey(key, operation)
    tried = passphrase or identities
    methods = {wrap.method for wrap in encryption.wraps}
    ways = [
        name
        for name, method in (("DRE_PASSPHRASE", Method.PASSPHRASE), ("DRE_IDENTITY_FILE", Method.AGE))
        if method in methods
    ]
    raise LockedError(
        "the payloads are encrypted, and what was given does not open them"
        if tried
        else "the payloads are encrypted",
        hint=f"set {' or '.join(ways)}",
    )


def _opened(wrapping: bytes, data: bytes, context: bytes) -> bytes:
    try:
        return b"".join(aead.open_stream(wrapping, [data], context=context))
    except DREError:
        return b""


def _decrypted(data: bytes, identities: Sequence[str]) -> bytes:
    pyrage = _pyrage()
    try:
        parsed = [pyrage.x25519.Identity.from_str(text) for text in identities]
        plain: bytes = pyrage.decrypt(data, parsed)
    except Exception:  # a library in another language; whatever it says, the key is not to be had
        return b""
    return plain


def _derived(passphrase: bytes, salt: bytes, iterations: int) -> bytes:
    return hashlib.pbkdf2_hmac("sha256", passphrase, salt, iterations, aead.KEY_BYTES)


def _pyrage() -> Any:
    try:
        import pyrage
    except ImportError:
        raise MissingExtraError(
            "age recipients need the extra age", hint="pip install 'development-reality-engine[age]'"
        ) from None
    return pyrage

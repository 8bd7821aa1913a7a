"""How an operation's payloads are encrypted: the member ``encryption`` of the run predicate.

``{"codec": "chunked-aes-256-gcm", "wraps": [...]}``. One random key encrypts all payloads of the operation; each wrap
holds it for somebody else. ``{"method": "passphrase", "kdf": "pbkdf2-hmac-sha256", "iterations": 600000, "salt":
base64, "data": base64}`` or ``{"method": "age", "data": base64}``. The parameters come from a file, so they are bounded
before anything is computed from them: fewer iterations are a downgrade, more a denial of service.
"""

from __future__ import annotations

import base64
import binascii
from enum import Enum

from dre_core.errors import FormatError, LimitError
from dre_core.model.canonical import JSON
from dre_core.model.fields import Fields
from dre_core.model.record import dataclass

CODEC = "chunked-aes-256-gcm"
KDF = "pbkdf2-hmac-sha256"
MIN_ITERATIONS = 100_000
MAX_ITERATIONS = 10_000_000
SALT_BYTES = 32
MAX_WRAPS = 16
MAX_WRAP_BYTES = 64 << 10


class Method(str, Enum):
    """For whom a key is wrapped."""

    PASSPHRASE = "passphrase"  # noqa: S105 - a word of the format
    AGE = "age"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrap:
    """The key of the payloads, readable by one kind of holder.

    Attributes:
        method: Who can read it.
        data: The wrapped key.
        salt: Of the key derivation; empty for age.
        iterations: Of the key derivation; 0 for age.
    """

    method: Method
    data: bytes
    salt: bytes = b""
    iterations: int = 0

    def to_json(self) -> dict[str, JSON]:
        """The wrap as it stands in the predicate."""
        document: dict[str, JSON] = {"method": self.method.value, "data": _to_base64(self.data)}
        if self.method is Method.PASSPHRASE:
            document |= {"kdf": KDF, "iterations": self.iterations, "salt": _to_base64(self.salt)}
        return document

    @classmethod
    def parse(cls, fields: Fields) -> Wrap:
        """Reads a wrap; see :meth:`to_json`.

        Raises:
            FormatError: An unknown method, or parameters out of bounds.
        """
        method = fields.choice("method", Method)
        data = _bytes(fields, "data")
        if method is Method.AGE:
            return cls(method=method, data=data)
        if fields.text("kdf") != KDF:
            raise FormatError(f"the key derivation is not {KDF}", path=fields.at("kdf"))
        iterations = fields.integer("iterations")
        if not MIN_ITERATIONS <= iterations <= MAX_ITERATIONS:
            raise LimitError(
                f"{iterations} iterations; {MIN_ITERATIONS} to {MAX_ITERATIONS} are accepted",
                path=fields.at("iterations"),
            )
        salt = _bytes(fields, "salt")
        if len(salt) != SALT_BYTES:
            raise FormatError(f"the salt is not {SALT_BYTES} bytes", path=fields.at("salt"))
        return cls(method=method, data=data, salt=salt, iterations=iterations)


@dataclass(frozen=True, slots=True, kw_only=True)
class Encryption:
    """The member ``encryption``.

    Attributes:
        wraps: At least one.
    """

    wraps: tuple[Wrap, ...]

    def to_json(self) -> dict[str, JSON]:
        """The member as it stands in the predicate."""
        return {"codec": CODEC, "wraps": [wrap.to_json() for wrap in self.wraps]}

    @classmethod
    def parse(cls, fields: Fields) -> Encryption:
        """Reads the member; see :meth:`to_json`.

        Raises:
            FormatError: An unknown codec, or no wrap that can be read.
        """
        if fields.text("codec") != CODEC:
            raise FormatError(f"the codec is not {CODEC}", path=fields.at("codec"))
        if not 1 <= len(fields.array("wraps")) <= MAX_WRAPS:
            raise LimitError(f"not 1 to {MAX_WRAPS} wrapped keys", path=fields.at("wraps"))
        return cls(wraps=fields.each("wraps", Wrap.parse))


def _to_base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _bytes(fields: Fields, name: str) -> bytes:
    text = fields.text(name)
    if len(text) > 2 * MAX_WRAP_BYTES:
        raise LimitError(f"more than {MAX_WRAP_BYTES} bytes", path=fields.at(name))
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if not data or _to_base64(data) != text:
        raise FormatError("not base64 in its one form", path=fields.at(name))
    return data

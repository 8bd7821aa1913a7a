"""DSSE envelopes (v1.0.2): a payload, its type, and signatures over both.

``{"payload": base64, "payloadType": str, "signatures": [{"keyid": str, "sig": base64}]}``; what is signed is
``"DSSEv1" SP len(type) SP type SP len(payload) SP payload`` with lengths in bytes. The payload bytes that
were verified are the bytes to parse: nothing is ever serialised again. An envelope says nothing that is
trusted before :meth:`Envelope.verify`: the scheme comes from the key, a key id only says what to try first.

Source: https://github.com/secure-systems-lab/dsse/blob/master/protocol.md
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from dre_core.errors import FormatError, IntegrityError, LimitError
from dre_core.model import canonical, digest
from dre_core.model.record import dataclass

if TYPE_CHECKING:
    from dre_core.crypto.keys import PublicKey, Signer

PAYLOAD_TYPE = "application/vnd.in-toto+json"
MAX_BYTES = 64 * 1024 * 1024
"""Largest envelope."""
MAX_SIGNATURES = 64
"""Most signatures in one envelope."""

# Members that nobody knows are passed over, but not by the million.
_MAX_VALUES = 10_000

_STANDARD = re.compile("[A-Za-z0-9+/]*={0,2}")
_URL_SAFE = re.compile("[A-Za-z0-9_-]*={0,2}")


def pae(payload_type: str, payload: bytes) -> bytes:
    """The pre-authentication encoding: the bytes that are signed.

    Args:
        payload_type: Its length counts UTF-8 bytes, not characters.
        payload: Any bytes.

    Returns:
        ``DSSEv1 <len> <type> <len> <payload>``.
    """
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """One signature; ``keyid`` is a hint, never a proof of who signed."""

    keyid: str
    sig: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A payload with signatures.

    Attributes:
        payload_type: Media type of the payload.
        payload: The very bytes that are signed.
        signatures: At least one, no key id twice.
    """

    payload_type: str
    payload: bytes
    signatures: tuple[Signature, ...]

    @property
    def payload_digest(self) -> str:
        """``sha256:…`` of the payload: what names this evidence in logs and references."""
        return digest.sha256(self.payload)

    @classmethod
    def sign(cls, payload_type: str, payload: bytes, signers: Iterable[Signer]) -> Envelope:
        """Sign a payload.

        Args:
            payload_type: Its media type.
            payload: Any bytes; of a Statement, its canonical JSON.
            signers: At least one, each key once.

        Raises:
            FormatError: No signer, or the same key twice.
        """
        message = pae(payload_type, payload)
        signatures = tuple(Signature(keyid=signer.keyid, sig=signer.sign(message)) for signer in signers)
        _check_signatures(signatures)
        return cls(payload_type=payload_type, payload=payload, signatures=signatures)

    def verify(self, keys: Iterable[PublicKey], threshold: int = 1) -> tuple[str, ...]:
        """Find which of the trusted keys signed this payload.

        Args:
            keys: The trusted keys; one given twice counts once.
            threshold: How many distinct keys must have signed; at least 1.

        Returns:
            The key ids whose signature holds, in the order of ``keys``.

        Raises:
            IntegrityError: Fewer than ``threshold``. Its slug is ``untrusted`` if no signature names one of
                the keys (somebody else's envelope), else ``integrity`` (a signature does not hold).
        """
        if threshold < 1:
            raise ValueError("threshold below 1")
        distinct = {key.keyid: key for key in keys}
        holding = self.signers(distinct.values())
        if len(holding) >= threshold:
            return holding
        if not holding and distinct.keys().isdisjoint(signature.keyid for signature in self.signatures):
            raise IntegrityError("signed by none of the trusted keys", code="untrusted")
        raise IntegrityError(f"{len(holding)} of {threshold} needed signatures by trusted keys hold")

    def signers(self, keys: Iterable[PublicKey]) -> tuple[str, ...]:
        """Ids of those of the keys whose signature over this payload holds, each once; perhaps none."""
        message = pae(self.payload_type, self.payload)
        distinct = {key.keyid: key for key in keys}
        return tuple(keyid for keyid, key in distinct.items() if self._signed_by(key, keyid, message))

    def _signed_by(self, key: PublicKey, keyid: str, message: bytes) -> bool:
        by_hint = sorted(self.signatures, key=lambda signature: signature.keyid != keyid)
        return any(key.verify(message, signature.sig) for signature in by_hint)

    def to_bytes(self) -> bytes:
        """The envelope as one line of canonical JSON, without a final newline.

        Raises:
            LimitError: Longer than 64 MiB.
        """
        signatures = [{"keyid": item.keyid, "sig": _to_base64(item.sig)} for item in self.signatures]
        members = {"payload": _to_base64(self.payload), "payloadType": self.payload_type}
        data = canonical.dumps({**members, "signatures": signatures})
        if len(data) > MAX_BYTES:
            raise LimitError(f"envelope of {len(data)} bytes; at most {MAX_BYTES}")
        return data

    @classmethod
    def parse(cls, data: bytes) -> Envelope:
        """Read an envelope; unknown members are ignored, as DSSE asks.

        Args:
            data: JSON, white space around it allowed; base64 in the standard or the URL-safe alphabet.

        Raises:
            FormatError: With the JSON path.
            LimitError: Longer than 64 MiB, or more than 64 signatures.
        """
        if len(data) > MAX_BYTES:
            raise LimitError(f"envelope of {len(data)} bytes; at most {MAX_BYTES}")
        members = canonical.loads(data, limit_values=_MAX_VALUES)
        if not isinstance(members, dict):
            raise FormatError("an envelope is not an object", path="$")
        payload_type = _text(members, "payloadType", "$")
        if not payload_type:
            raise FormatError("the payload type is empty", path="$.payloadType")
        payload = _from_base64(_text(members, "payload", "$"), "$.payload")
        return cls(payload_type=payload_type, payload=payload, signatures=_parse_signatures(members))


def _parse_signatures(members: dict[str, Any]) -> tuple[Signature, ...]:
    items = members.get("signatures")
    if not isinstance(items, list):
        raise FormatError("not an array", path="$.signatures")
    if len(items) > MAX_SIGNATURES:
        raise LimitError(f"more than {MAX_SIGNATURES} signatures", path="$.signatures")
    signatures = tuple(_parse_signature(item, f"$.signatures[{index}]") for index, item in enumerate(items))
    _check_signatures(signatures)
    return signatures


def _parse_signature(value: object, path: str) -> Signature:
    if not isinstance(value, dict):
        raise FormatError("not an object", path=path)
    sig = _from_base64(_text(value, "sig", path), f"{path}.sig")
    return Signature(keyid=_text(value, "keyid", path), sig=sig)


def _check_signatures(signatures: tuple[Signature, ...]) -> None:
    if not signatures:
        raise FormatError("no signature", path="$.signatures")
    if len({signature.keyid for signature in signatures}) != len(signatures):
        raise FormatError("two signatures name the same key", path="$.signatures")


def _text(members: dict[str, Any], name: str, path: str) -> str:
    value = members.get(name)
    if not isinstance(value, str):
        raise FormatError("not a string", path=f"{path}.{name}")
    return value


def _to_base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _from_base64(text: str, path: str) -> bytes:
    """Decode either alphabet, not a mix, with full padding and no stray bits: one text, one meaning."""
    if _URL_SAFE.fullmatch(text):
        text = text.replace("-", "+").replace("_", "/")
    elif not _STANDARD.fullmatch(text):
        raise FormatError("not base64", path=path)
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise FormatError("not base64", path=path) from None
    if _to_base64(data) != text:
        raise FormatError("not base64 in its one form", path=path)
    return data

"""Signed notes, checkpoints and proof files: what the log shows to the world.

A note is text that ends in a newline, a blank line, and lines ``— <name> <base64(keyid4 ‖ signature)>``; an
Ed25519 ``keyid4`` is the first 4 bytes of SHA-256(name ‖ 0x0A ‖ 0x01 ‖ key). A checkpoint is the text::

    dre.local/6fc1c9b2-…          origin
    42                            size, decimal
    rra8/idLcKFPsGel5VeCZ…=       root hash, base64

A proof file is ``c2sp.org/tlog-proof@v1``, optional ``extra <base64>``, ``index <N>``, the hashes of the
inclusion proof from the leaf's sibling upwards, a blank line, and the checkpoint's note. Nothing here decides
whether a proof holds (``crypto/merkle``). Every parser accepts exactly what its formatter writes.

Source: https://c2sp.org/signed-note, https://c2sp.org/tlog-checkpoint, https://c2sp.org/tlog-proof
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dre_core.errors import FormatError, IntegrityError, LimitError, SigningKeyError
from dre_core.model.record import dataclass

if TYPE_CHECKING:
    from dre_core.crypto.keys import PublicKey, Signer

MAX_NOTE_BYTES = 1_000_000
"""Largest note or proof file."""
MAX_SIGNATURES = 100
"""Most signature lines in a note."""
MAX_PROOF_HASHES = 64
"""Most hashes in an inclusion proof: a tree of 2**63 leaves needs no more."""
MAX_SIZE = 2**63 - 1

PROOF_HEADER = "c2sp.org/tlog-proof@v1"

_NAME = r"[^\s+]+"
_SIGNATURE = r"— ([^\s+]+) ([A-Za-z0-9+/]+={0,2})"
_DECIMAL = "0|[1-9][0-9]{0,18}"
_CONTROL = "[\x00-\x09\x0b-\x1f\x7f]"
_ED25519 = b"\x01"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What a log of one size is: the signed text of its note.

    Attributes:
        origin: The log's name, such as ``dre.local/<uuid>``.
        size: Number of leaves.
        root: Root hash, 32 bytes.
    """

    origin: str
    size: int
    root: bytes

    def to_text(self) -> str:
        """Three lines.

        Raises:
            FormatError: Origin, size or root is out of form.
        """
        if not re.fullmatch(_NAME, self.origin):
            raise FormatError("a log origin is empty or has spaces")
        if not 0 <= self.size <= MAX_SIZE or len(self.root) != 32:
            raise FormatError("a checkpoint's size or root is out of range")
        return f"{self.origin}\n{self.size}\n{_to_base64(self.root)}\n"

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Read the text that :meth:`to_text` writes; extension lines are refused.

        Raises:
            FormatError: Another text.
        """
        lines = text.split("\n")
        if len(lines) != 4 or lines[3]:
            raise FormatError("a checkpoint is not three lines")
        if not re.fullmatch(_NAME, lines[0]):
            raise FormatError("a log origin is empty or has spaces")
        return cls(origin=lines[0], size=_decimal(lines[1]), root=_hash(lines[2]))


@dataclass(frozen=True, slots=True, kw_only=True)
class TlogProof:
    """A parsed proof file.

    Attributes:
        index: The leaf's place, from 0.
        hashes: The inclusion proof, leaf side first; 32 bytes each.
        checkpoint_note: The signed note, as it stood in the file; open it with :func:`open_note`.
        extra: Opaque bytes that nothing authenticates, or None.
    """

    index: int
    hashes: tuple[bytes, ...]
    checkpoint_note: str
    extra: bytes | None = None


def sign_note(text: str, name: str, signer: Signer) -> str:
    """Sign a text as a note.

    Args:
        text: Lines, each ended by a newline; no control characters.
        name: The signer's name in the signature line: no spaces, no plus.
        signer: An Ed25519 key.

    Returns:
        The note.

    Raises:
        FormatError: Text or name is out of form.
        SigningKeyError: Not an Ed25519 key.
    """
    _check_text(text)
    line = base64.b64encode(_key_hash(name, signer.public) + signer.sign(text.encode("utf-8")))
    return f"{text}\n— {name} {line.decode('ascii')}\n"


def open_note(note: str, name: str, public_key: PublicKey) -> str:
    """Give a note's text once its signature by this name and key holds; other signers' lines are ignored.

    Args:
        note: The whole note.
        name: The expected signer's name.
        public_key: The expected signer's Ed25519 key.

    Returns:
        The signed text, ending in a newline.

    Raises:
        FormatError: It is no note.
        IntegrityError: No signature by this name and key, or one that does not hold.
        SigningKeyError: Not an Ed25519 key.
    """
    expected = _key_hash(name, public_key)
    text, lines = _split(note)
    message = text.encode("utf-8")
    found = False
    for line_name, blob in lines:
        if line_name != name or blob[:4] != expected:
            continue
        if not public_key.verify(message, blob[4:]):
            raise IntegrityError(f"the signature of {name} does not hold")
        found = True
    if not found:
        raise IntegrityError(f"no signature of {name} by the expected key")
    return text


def unverified_text(note: str) -> str:
    """A note's text without any check of a signature: to find out which key to ask for.

    Raises:
        FormatError: It is no note.
    """
    return _split(note)[0]


def format_proof(
    index: int, hashes: Sequence[bytes], checkpoint_note: str, extra: bytes | None = None
) -> str:
    """Write a proof file.

    Args:
        index: The leaf's place, from 0.
        hashes: The inclusion proof, leaf side first; 32 bytes each.
        checkpoint_note: The signed checkpoint.
        extra: Opaque bytes, or None to leave the line out.

    Raises:
        FormatError: A part is out of form.
    """
    if not 0 <= index <= MAX_SIZE or any(len(item) != 32 for item in hashes):
        raise FormatError("a proof's index or hashes are out of range")
    Checkpoint.parse(unverified_text(checkpoint_note))
    if extra == b"":
        raise FormatError("empty extra data is left out")
    head = [PROOF_HEADER] if extra is None else [PROOF_HEADER, f"extra {_to_base64(extra)}"]
    return "\n".join([*head, f"index {index}", *map(_to_base64, hashes), "", checkpoint_note])


def parse_proof(text: str) -> TlogProof:
    """Read a proof file; exactly what :func:`format_proof` writes.

    Raises:
        FormatError: Another text.
        LimitError: Longer than 1,000,000 bytes, or more than 64 hashes.
    """
    _check_length(text)
    head, separator, checkpoint_note = text.partition("\n\n")
    lines = head.split("\n")
    if not separator or lines.pop(0) != PROOF_HEADER:
        raise FormatError(f"not a proof file: no {PROOF_HEADER}")
    extra = None
    if lines and lines[0].startswith("extra "):
        extra = _from_base64(lines.pop(0).removeprefix("extra "))
    if not lines or not lines[0].startswith("index "):
        raise FormatError("a proof file has no index")
    index = _decimal(lines.pop(0).removeprefix("index "))
    if len(lines) > MAX_PROOF_HASHES:
        raise LimitError(f"more than {MAX_PROOF_HASHES} hashes in a proof")
    Checkpoint.parse(unverified_text(checkpoint_note))
    return TlogProof(
        index=index, hashes=tuple(map(_hash, lines)), checkpoint_note=checkpoint_note, extra=extra
    )


def _split(note: str) -> tuple[str, list[tuple[str, bytes]]]:
    """Text and (name, key hash ‖ signature) lines of a note."""
    _check_length(note)
    text, separator, tail = note.rpartition("\n\n")
    text += "\n"
    _check_text(text)
    if not separator or not tail.endswith("\n"):
        raise FormatError("not a signed note")
    lines = tail[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise LimitError(f"more than {MAX_SIGNATURES} signatures in a note")
    return text, [_split_signature(line) for line in lines]


def _split_signature(line: str) -> tuple[str, bytes]:
    match = re.fullmatch(_SIGNATURE, line)
    if match is None:
        raise FormatError("a signature line of a note is out of form")
    blob = _from_base64(match[2])
    if len(blob) < 5:
        raise FormatError("a signature of a note is too short")
    return match[1], blob


def _check_text(text: str) -> None:
    if not text.endswith("\n") or text == "\n":
        raise FormatError("a note's text does not end in a newline")
    if re.search(_CONTROL, text):
        raise FormatError("a note's text has control characters")
    _check_length(text)


def _check_length(text: str) -> None:
    try:
        length = len(text.encode("utf-8"))
    except UnicodeEncodeError:
        raise FormatError("not valid UTF-8") from None
    if length > MAX_NOTE_BYTES:
        raise LimitError(f"longer than {MAX_NOTE_BYTES} bytes")


def _key_hash(name: str, key: PublicKey) -> bytes:
    from dre_core.crypto.keys import ED25519

    if not re.fullmatch(_NAME, name):
        raise FormatError("a signer's name in a note is empty, or has spaces or a plus")
    if key.scheme != ED25519:
        raise SigningKeyError("notes are signed with Ed25519 only")
    raw = key.der[-32:]
    return hashlib.sha256(name.encode("utf-8") + b"\n" + _ED25519 + raw).digest()[:4]


def _decimal(text: str) -> int:
    if not re.fullmatch(_DECIMAL, text) or int(text) > MAX_SIZE:
        raise FormatError("not a decimal number")
    return int(text)


def _hash(text: str) -> bytes:
    data = _from_base64(text)
    if len(data) != 32:
        raise FormatError("not a hash of 32 bytes")
    return data


def _to_base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _from_base64(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if not data or _to_base64(data) != text:
        raise FormatError("not base64 in its one form")
    return data

"""SHA-256 digests as text: ``sha256:`` and 64 lower-case hex digits, the only spelling there is.

Not a hash of files or streams: those hash while they read, in the store.
"""

from __future__ import annotations

import hashlib
import re

from dre_core.errors import FormatError

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def sha256(data: bytes) -> str:
    """The digest of bytes at hand.

    Args:
        data: The bytes, hashed as they are.

    Returns:
        ``sha256:<64 hex digits>``.
    """
    return "sha256:" + hashlib.sha256(data).hexdigest()


def parse(text: str) -> str:
    """Check that a text is a digest, spelled as :func:`sha256` spells it.

    Raises:
        FormatError: Another algorithm, length, case, or anything around it.
    """
    if not isinstance(text, str) or not _DIGEST.fullmatch(text):
        raise FormatError("not a digest of the form sha256:<64 hex digits>")
    return text


def hex_of(digest: str) -> str:
    """The 64 hex digits of a digest.

    Raises:
        FormatError: It is no digest.
    """
    return parse(digest)[len("sha256:") :]

"""Identifiers that sort by time: a prefix, ``_``, and a UUIDv7 in 26 lower-case Crockford base32 digits.

Example: ``op_01m80g4wvdewy95safkejhrna1``. The alphabet has no i, l, o, u; 26 digits hold 130 bits, so the
first is at most 7. Identifiers of one process grow strictly, also when the clock stands still or runs
backwards. Not a secret: the random part is there against collisions between machines.
"""

from __future__ import annotations

import os
import re
import threading
import time

from dre_core.errors import FormatError, UsageError

OPERATION = "op"
"""Prefix of operations."""
EVENT = "ev"
"""Prefix of events."""

DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
PATTERN = f"[0-7][{DIGITS}]{{9}}[ef][{DIGITS}]{{2}}[89abrstv][{DIGITS}]{{12}}"
"""Regular expression of what follows the prefix and its underscore; two places hold a UUID's version (7) and
its variant."""

_BODY = re.compile(PATTERN)
_PREFIX = re.compile("[a-z]{1,16}")
_VALUE = {digit: value for value, digit in enumerate(DIGITS)}
_RANDOM_BITS = 74
_RANDOM_LIMIT = 1 << _RANDOM_BITS


def new(prefix: str, *, now_ms: int | None = None, random_bytes: bytes | None = None) -> str:
    """Make an identifier.

    Args:
        prefix: 1 to 16 lower-case letters, such as :data:`OPERATION`.
        now_ms: Milliseconds since 1970 to embed; default the clock, held back to no earlier
            than the last identifier.
        random_bytes: At least 10 bytes; given them, the result depends on the arguments alone.

    Returns:
        ``<prefix>_<26 digits>``.

    Raises:
        UsageError: Prefix, time or random bytes are outside their range.

    Source: RFC 9562 sections 5.7 and 6.2 (method 2: the random part counts up within one millisecond).
    """
    if not _PREFIX.fullmatch(prefix):
        raise UsageError(f"identifier prefix {prefix!r} is not 1 to 16 lower-case letters")
    if now_ms is not None and not 0 <= now_ms < 1 << 48:
        raise UsageError("identifier time is outside 48 bits of milliseconds")
    if random_bytes is None:
        pair = _of_clock.now() if now_ms is None else _of_caller.after(now_ms)
        return f"{prefix}_{_encode(*pair)}"
    if len(random_bytes) < 10:
        raise UsageError("an identifier needs 10 random bytes")
    return f"{prefix}_{_encode(_clock_ms() if now_ms is None else now_ms, _random(random_bytes))}"


def parse(prefix: str, text: str) -> str:
    """Check that a text is an identifier with this prefix, as :func:`new` writes it.

    Raises:
        FormatError: It is not.
    """
    head, separator, body = text.partition("_") if isinstance(text, str) else ("", "", "")
    if head != prefix or not separator or not _BODY.fullmatch(body):
        raise FormatError(f"not an identifier of the form {prefix}_<26 digits of base32 that hold a UUIDv7>")
    return text


def time_ms(identifier: str) -> int:
    """Milliseconds since 1970 in an identifier of any prefix.

    Raises:
        FormatError: It is no identifier.
    """
    prefix, _, body = identifier.partition("_")
    parse(prefix, identifier)
    return _decode(body) >> 80


class _Sequence:
    """Hands out (milliseconds, random part) pairs; within one millisecond the random part counts up."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = (-1, 0)

    def after(self, ms: int) -> tuple[int, int]:
        """A pair of this millisecond, greater than the last one if that was of the same."""
        with self._lock:
            return self._take(ms)

    def now(self) -> tuple[int, int]:
        """A pair of the present moment, greater than every one before."""
        with self._lock:
            return self._take(max(_clock_ms(), self._last[0]))

    def _take(self, ms: int) -> tuple[int, int]:
        fresh = _random(os.urandom(10))
        if ms == self._last[0]:
            # A random step, so that a forked child that inherits this state takes another way.
            fresh = self._last[1] + 1 + (fresh & 0xFFFFFFFF)
        if fresh >= _RANDOM_LIMIT:
            ms, fresh = ms + 1, fresh - _RANDOM_LIMIT
        self._last = (ms, fresh)
        return self._last


_of_clock = _Sequence()
_of_caller = _Sequence()


def _clock_ms() -> int:
    return time.time_ns() // 1_000_000


def _random(source: bytes) -> int:
    return int.from_bytes(source[:10], "big") % _RANDOM_LIMIT


def _encode(ms: int, random: int) -> str:
    number = ms << 80 | 7 << 76 | (random >> 62) << 64 | 0b10 << 62 | random & (1 << 62) - 1
    return "".join(DIGITS[number >> shift & 31] for shift in range(125, -1, -5))


def _decode(body: str) -> int:
    number = 0
    for digit in body:
        number = number << 5 | _VALUE[digit]
    return number

"""Which of many literals could occur in a text, in a few passes at memory speed whatever their number.

Not a matcher: the answer may name a literal that is not there, and never leaves out one that is. Callers look
exactly for those that are named.

The way: each literal is known by a window of ``WINDOW`` of its bytes and belongs to one of eight buckets, a
bit each. For every place of the window a table turns a byte of the text into the bits of the buckets that
have such a byte there. The tables' results, laid over each other, leave a bit only where all bytes of a
window fit. Whole texts are combined at once as large integers, since the interpreter has no vectors.

Where the extra ``fast`` is installed, Hyperscan looks for the literals themselves in large texts, ten times as fast.

Source: the shape of the "Teddy" algorithm, https://github.com/BurntSushi/aho-corasick (src/packed/teddy).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from threading import Lock
from typing import Any

WINDOW = 4
BUCKETS = 8
MINIMUM_BYTES = 2048
"""In shorter texts every literal is looked for, which costs less than the tables do."""

BUILD_AFTER_BYTES = 256 << 10
"""The tables are made when so much was looked through without them, at about the price of making them."""

FAST_FROM_BYTES = 64 << 10
"""From this size on it pays to load Hyperscan."""

# How often a byte comes in ordinary output, for choosing windows and buckets; a rough order is enough.
_COMMON = b' e0t1aonirs2slc3dp45um6789hg.-f/by:_wv=,kE"TASIOR()[]CNLD\n'
_SHARE = [1 / 400] * 256
for _place, _byte in enumerate(_COMMON):
    _SHARE[_byte] = 0.08 / (1 + _place / 8)

Classes = tuple[frozenset[int], ...]


class Prefilter:
    """Finds which literals a text could hold.

    Args:
        literals: Non-empty byte strings.
        either_case: Those of them, in lower case, that are meant in any case.
        build_after_bytes: Of longer texts; see :data:`BUILD_AFTER_BYTES`.
    """

    def __init__(
        self,
        literals: Iterable[bytes],
        either_case: Iterable[bytes] = (),
        *,
        build_after_bytes: int = BUILD_AFTER_BYTES,
    ) -> None:
        self._any_case = frozenset(either_case)
        self._exact = tuple(literals)
        self.literals = tuple(dict.fromkeys((*self._exact, *self._any_case)))
        self._bytes_left = build_after_bytes
        self._buckets: list[list[bytes]] | None = None
        self._tables: list[bytes] = []
        self._scan: Callable[[bytes], set[int]] | None = None

    def present(self, text: bytes) -> tuple[bytes, ...]:
        """Literals that could be in a text, in the order given."""
        if len(text) < MINIMUM_BYTES:
            return self._looked_for(text)
        if not self.literals:
            return ()
        self._bytes_left -= len(text)
        if self._bytes_left > 0:
            return self._looked_for(text)
        if len(text) >= FAST_FROM_BYTES and (hyperscan := _hyperscan()):
            if self._scan is None:
                self._scan = _scanner(hyperscan, self.literals, self._any_case)
            return tuple(self.literals[place] for place in sorted(self._scan(text)))
        bits = self._bits(text)
        if not bits:
            return ()
        assert self._buckets is not None
        named = {literal for place in range(BUCKETS) if bits >> place & 1 for literal in self._buckets[place]}
        return tuple(literal for literal in self.literals if literal in named)

    def _looked_for(self, text: bytes) -> tuple[bytes, ...]:
        found = {literal for literal in self._exact if literal in text}
        if self._any_case:
            lower = text.lower()
            found.update(literal for literal in self._any_case if literal in lower)
        return tuple(literal for literal in self.literals if literal in found) if found else ()

    def _bits(self, text: bytes) -> int:
        """The buckets of which a window fits somewhere."""
        if self._buckets is None:
            self._build()
        size = len(text)
        padded = text + bytes(WINDOW - 1)  # a literal shorter than the window may end the text
        left = -1
        for place, table in enumerate(self._tables):
            left &= int.from_bytes(padded[place : place + size].translate(table), "little")
            if not left:
                return 0
        bits = 0
        for byte in set(left.to_bytes(size, "little").translate(None, b"\0")):
            bits |= byte
        return bits

    def _build(self) -> None:
        """Shares the literals out so that the buckets' windows fit ordinary text as rarely as possible."""
        buckets: list[list[bytes]] = [[] for _ in range(BUCKETS)]
        classes: list[Classes] = [(frozenset(),) * WINDOW] * BUCKETS
        for literal in sorted(self.literals, key=lambda each: (-len(each), each)):
            options = [
                (_chance(joined) - _chance(classes[bucket]), bucket, joined)
                for bucket in range(BUCKETS)
                for window in self._windows(literal)
                for joined in [tuple(a | b for a, b in zip(classes[bucket], window, strict=True))]
            ]
            _, bucket, joined = min(options, key=lambda option: option[:2])
            buckets[bucket].append(literal)
            classes[bucket] = joined
        self._tables = [
            bytes(
                sum(1 << bucket for bucket in range(BUCKETS) if byte in classes[bucket][place])
                for byte in range(256)
            )
            for place in range(WINDOW)
        ]
        self._buckets = buckets

    def _windows(self, literal: bytes) -> list[Classes]:
        """The literal's windows; behind the end of a short one any byte fits."""
        every = frozenset(range(256))
        places = [_cases(byte) if literal in self._any_case else frozenset((byte,)) for byte in literal]
        places += [every] * (WINDOW - len(places))
        windows = [tuple(places[at : at + WINDOW]) for at in range(len(places) - WINDOW + 1)]
        return sorted(windows, key=_chance)[:4]


@lru_cache(maxsize=1)
def _hyperscan() -> Any:
    """The module, or None where it is not installed."""
    try:
        import hyperscan
    except ImportError:
        return None
    return hyperscan


def _scanner(
    hyperscan: Any, literals: tuple[bytes, ...], either_case: frozenset[bytes]
) -> Callable[[bytes], set[int]]:
    """Finds the places, in a tuple of literals, of those that a text holds."""
    database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    once = hyperscan.HS_FLAG_SINGLEMATCH
    database.compile(
        expressions=[b"".join(b"\\x%02x" % byte for byte in literal) for literal in literals],
        ids=list(range(len(literals))),
        elements=len(literals),
        flags=[once | hyperscan.HS_FLAG_CASELESS * (literal in either_case) for literal in literals],
    )

    lock = Lock()  # a database has one scratch space, and lets one scan at a time use it

    def scan(text: bytes) -> set[int]:
        found: set[int] = set()
        with lock:
            database.scan(text, match_event_handler=lambda place, *_: found.add(place))
        return found

    return scan


def _cases(byte: int) -> frozenset[int]:
    letter = bytes((byte,))
    return frozenset(letter.lower() + letter.upper())


def _chance(classes: Classes) -> float:
    """How likely a place fits, in ordinary output and (weighed, for that is rarer) in random bytes."""
    ordinary = evenly = 1.0
    for each in classes:
        ordinary *= sum(_SHARE[byte] for byte in each) if len(each) < 256 else 1.0
        evenly *= len(each) / 256
    return ordinary + 100 * evenly

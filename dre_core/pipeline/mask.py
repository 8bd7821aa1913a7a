"""Masking secrets in a stream before anything is kept, hashed or signed.

Not a scanner of repositories: it works on output as it passes. The rules:

* Known values come first: values of variables whose name says secret, values given, and values that the
  output registers by ``::add-mask::VALUE``. They are found plain and encoded (``mask_values.forms``) and
  become ``***``. Unknown secrets are found by ``mask_rules.RULES`` and become ``[masked:<rule>]``. Where
  finds overlap, one replacement takes the place of all.
* A private key's first line becomes ``[masked:private-key]`` and its other lines are emptied.
* Matching is done on a view without colour codes, so a code inside a secret does not hide it.
* No comment in the text and no file of the checkout switches masking off; a file of rules can only add.
* A secret's digest or length is never kept: only counts by rule are.
* What fails is withheld: ``[withheld: masking failed]`` takes the place of the block.

A stream is masked in whole lines. A line without an end is held until it outgrows ``LINE_LIMIT_BYTES``;
then all of it but the last ``HOLD_BYTES`` is masked and released. No match is longer than that, so it makes
no difference where chunks are cut. ``settle`` releases an unfinished line but for what could still become a
secret.
"""

from __future__ import annotations

import re
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dre_core.pipeline.mask_rules import RULES, Rule
from dre_core.pipeline.mask_values import MINIMUM_CHARACTERS, forms, is_plain_word, sensitive_values
from dre_core.pipeline.prefilter import Prefilter

if TYPE_CHECKING:
    from dre_core.pipeline.rule_file import LineRule

    AnyRule = Rule | LineRule

__all__ = ["RULES", "MaskStage", "Masker", "Rule", "sensitive_values"]

KNOWN_ID = "known-value"
KEY_ID = "private-key"
_KEY_LINE_ID = "private-key-line"
KNOWN_REPLACEMENT = b"***"
WITHHELD = b"[withheld: masking failed]\n"

LINE_LIMIT_BYTES = 64 << 10
HOLD_BYTES = 16 << 10
CONTEXT_BYTES = 64
"""So much of an unfinished line that was released stays visible to what is matched next."""
PIECE_BYTES = 256 << 10
KEY_LINES_LIMIT = 400
REGISTERED_LIMIT = 1000
"""The workload may register so many values; a hostile one must not make masking slow without bound."""

_ESCAPE = rb"\x1b\[[0-?]*[ -/]*[@-~]"
_ADD_MASK = rb"(?:^|\n)[ \t]*(?:::add-mask(?: [^:\n]*)?::|##\[add-mask[^\]\n]*\])([^\r\n]+)"
_COMMAND_START = rb"[ \t]*(?:::|##\[)"
_KEY_BEGIN = rb"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----"
_KEY_END = rb"-----END [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----"
_BASE64 = rb"[A-Za-z0-9+/]*=*"
_KEY_REST = rb"(?:[A-Za-z0-9+/= \t\r]|\\+[nrt])*"
_KEY_LINE = (
    rb"(?:[^\n]{0,64}?[A-Za-z0-9+/]{16,}|[A-Za-z0-9+/]{0,76})={0,2}(?:\\+[nr])*[\"',+ \t\r]*"
    rb"|(?:Proc-Type|DEK-Info|Comment|Version|Charset|Hash): [^\n]*"
)

_ADD_MASK_LITERAL = b"add-mask"
_KEY_LITERAL = b"PRIVATE KEY"

Span = tuple[int, int, str]

Octets = bytes  # inside Masker the name ``bytes`` is its method


class Masker:
    """The secrets of one run, shared by all its streams.

    Args:
        values: Known secrets; those under four characters are left out.
        rules: How unknown secrets are found.

    Attributes:
        counts: Replacements by rule; ``known-value`` for known ones.
        failures: Blocks that had to be withheld.
    """

    def __init__(self, values: Iterable[str] = (), *, rules: Sequence[AnyRule] = RULES) -> None:
        self.counts: dict[str, int] = {}
        self.failures = 0
        self._rules = tuple(rules)
        self._filter = Prefilter(
            (_ADD_MASK_LITERAL, _KEY_LITERAL, *_literals(self._rules, lower=False)),
            _literals(self._rules, lower=True),
        )
        self._needles: tuple[Octets, ...] = ()
        self._needle_filter = Prefilter(())
        self._known: set[str] = set()
        self._registered = 0
        self._lock = threading.Lock()
        self._tally = threading.local()
        self._add_all(values)

    def add(self, value: str) -> None:
        """Mask a value, its lines and their encodings from now on; under four characters it is ignored."""
        self._add_all((value,))

    def _add_all(self, values: Iterable[str]) -> None:
        new = {value for value in values if len(value.strip()) >= MINIMUM_CHARACTERS} - self._known
        if new:
            with self._lock:
                self._known |= new
                found = set(self._needles).union(*(forms(value) for value in new))
                self._needles = tuple(sorted(found, key=lambda needle: (-len(needle), needle)))
                self._needle_filter = Prefilter(self._needles)

    def register(self, value: str) -> None:
        """Mask a value that the workload itself named, unless it is an ordinary word."""
        if self._registered < REGISTERED_LIMIT and not is_plain_word(value):
            self._registered += 1
            self.add(value)

    def stage(self) -> MaskStage:
        """A stage for one stream."""
        return MaskStage(self)

    def bytes(self, data: Octets) -> Octets:
        """Mask a whole text; what fails is withheld."""
        if self._is_plain(data):
            return data
        stage = self.stage()
        pieces = [stage.feed(data[at : at + PIECE_BYTES]) for at in range(0, len(data), PIECE_BYTES)]
        return b"".join((*pieces, stage.flush()))

    def _is_plain(self, data: Octets) -> bool:
        """Whether there is nothing to mask, as in most texts: no code to hide it, no literal, no known value."""
        return (
            b"\x1b" not in data
            and len(data) <= PIECE_BYTES
            and not self._filter.present(data)
            and not self._needle_filter.present(data)
        )

    def text(self, text: str) -> str:
        """Mask a whole text."""
        return self.bytes(text.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")

    @property
    def needles(self) -> tuple[Octets, ...]:
        """Every form of every known value, longest first."""
        return self._needles

    def learn(self, view: Octets) -> None:
        """Register the values that a block of output names by ``::add-mask::``."""
        if _ADD_MASK_LITERAL in view:
            for found in re.finditer(_ADD_MASK, view):
                self.register(_unescape(found[1]).decode("utf-8", "surrogateescape").strip())

    def hints(self, view: Octets) -> frozenset[Octets]:
        """Which literals could be in a text: those of the rules, of private keys and of ``::add-mask::``."""
        return frozenset(self._filter.present(view))

    def spans(self, view: Octets, hints: frozenset[Octets]) -> list[Span]:
        """Where known values and rules' secrets lie in a text; may overlap, in no order."""
        found: list[Span] = []
        for needle in self._needle_filter.present(view):
            place = view.find(needle)
            while place >= 0:
                found.append((place, place + len(needle), KNOWN_ID))
                place = view.find(needle, place + 1)
        if hints:
            lower = view.lower()
            for rule in self._rules:
                found.extend((start, end, rule.id) for start, end in rule.spans(view, lower, hints))
        return found

    def count(self, rule: str) -> None:
        """Note a replacement made."""
        with self._lock:
            self.counts[rule] = self.counts.get(rule, 0) + 1
        into: dict[str, int] | None = getattr(self._tally, "into", None)
        if into is not None:
            into[rule] = into.get(rule, 0) + 1

    @contextmanager
    def tally(self, into: dict[str, int]) -> Iterator[None]:
        """Counts what this thread replaces meanwhile in a table of its own as well, for one item of evidence."""
        outer = getattr(self._tally, "into", None)
        self._tally.into = into
        try:
            yield
        finally:
            self._tally.into = outer


def _literals(rules: Iterable[AnyRule], *, lower: bool) -> tuple[bytes, ...]:
    return tuple(literal for rule in rules if rule.lower is lower for literal in rule.literals)


class MaskStage:
    """One stream's masking; see :class:`dre_core.pipeline.stage.Stage`."""

    def __init__(self, masker: Masker) -> None:
        self._masker = masker
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._context = b""
        self._key_lines = 0
        self._key_indent = 0

    def feed(self, data: bytes, /) -> bytes:
        """Mask the lines that a chunk completes."""
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes <= self._limit_bytes and b"\n" not in data:
            return b""
        try:
            return self._release_lines()
        except Exception:
            return self._withhold()

    def settle(self) -> bytes:
        """Release an unfinished line but for its last word and what could become a secret."""
        if not self._held_bytes or self._key_lines:
            return b""
        try:
            text = self._take()
            keep = self._uncertain_from(text)
            self._hold(text[keep:])
            return self._mask(text[:keep], end=False)
        except Exception:
            return self._withhold()

    def flush(self) -> bytes:
        """Mask what is left."""
        try:
            return self._mask(self._take())
        except Exception:
            return self._withhold()

    @property
    def _hold_bytes(self) -> int:
        longest = len(self._masker.needles[0]) if self._masker.needles else 0
        return max(HOLD_BYTES, 2 * longest)

    @property
    def _limit_bytes(self) -> int:
        return max(LINE_LIMIT_BYTES, 4 * self._hold_bytes)

    def _take(self) -> bytes:
        text = b"".join(self._held)
        self._held.clear()
        self._held_bytes = 0
        return text

    def _hold(self, text: bytes) -> None:
        self._held = [text] if text else []
        self._held_bytes = len(text)

    def _withhold(self) -> bytes:
        self._hold(b"")
        self._context = b""
        self._masker.failures += 1
        return WITHHELD

    def _release_lines(self) -> bytes:
        text = self._take()
        cut = text.rfind(b"\n") + 1
        released = self._mask(text[:cut])
        rest = text[cut:]
        if len(rest) > self._limit_bytes:
            cut = self._safe_cut(rest)
            released += self._mask(rest[:cut], end=False)
            rest = rest[cut:]
        self._hold(rest)
        return released

    def _safe_cut(self, line: bytes) -> int:
        """Where an overlong unfinished line can be cut without cutting a secret."""
        block = _Block(self._context + line)
        before = len(self._context)
        cut = len(block.view) - self._hold_bytes
        if len(line) > 4 * self._limit_bytes:  # one endless secret: no longer worth holding
            return max(0, block.raw_end(cut) - before)
        keys = [
            (*_key_on_line(block.view, begin), KEY_ID)
            for begin in re.compile(_KEY_BEGIN).finditer(block.view)
        ]
        for start, end, _ in _merge(self._masker.spans(block.view, self._masker.hints(block.view)) + keys):
            if start < cut < end:
                cut = end if end < len(block.view) else start
        return max(0, block.raw_end(cut) - before)

    def _uncertain_from(self, text: bytes) -> int:
        """Where in an unfinished line begins what may still become a secret."""
        if re.match(_COMMAND_START, text):
            return 0
        place = max(text.rfind(mark) for mark in (b" ", b"\t", b"\r")) + 1
        begun = text.rfind(b"-----BEGIN")
        if begun >= 0:
            place = min(place, begun)
        for needle in self._masker.needles:
            if b" " in needle or b"\t" in needle:
                place = min(place, _begun_at(text, needle))
        return place

    def _mask(self, text: bytes, *, end: bool = True) -> bytes:
        """Mask lines, or a line's part if ``end`` is false."""
        if not text:
            return b""
        before = len(self._context)
        block = _Block(self._context + text)
        hints = self._masker.hints(block.view)
        if _ADD_MASK_LITERAL in hints:
            self._masker.learn(block.view)
        spans = self._masker.spans(block.view, hints)
        if self._key_lines or (_KEY_LITERAL in hints and _KEY_LITERAL in block.view):
            spans += self._key_spans(block.view, before)
        self._context = b"" if end else (self._context + text)[-CONTEXT_BYTES:]
        return self._replace(block, _merge(spans), before) if spans else text

    def _replace(self, block: _Block, spans: list[Span], before: int) -> bytes:
        pieces: list[bytes] = []
        done = before
        for start, end, rule in spans:
            raw_start, raw_end = max(block.raw_start(start), done), block.raw_end(end)
            if raw_end <= before:
                continue
            pieces += (block.raw[done:raw_start], _replacement(rule))
            done = max(done, raw_end)
            if rule != _KEY_LINE_ID:
                self._masker.count(rule)
        pieces.append(block.raw[done:])
        return b"".join(pieces)

    # --- private keys: the only secrets that stretch over lines ---------------------------------------

    def _key_spans(self, view: bytes, before: int) -> list[Span]:
        """The lines of private keys; remembers a key that is still open at the end."""
        spans: list[Span] = []
        place = 0
        while place < len(view):
            if not self._key_lines:
                begin = re.compile(_KEY_BEGIN).search(view, place)
                if begin is None:
                    break
                place = self._key_first_line(view, begin, spans)
                continue
            stop = _line_end(view, place)
            place = self._key_line(view, max(place, before), stop, spans)
        return spans

    def _key_first_line(self, view: bytes, begin: re.Match[bytes], spans: list[Span]) -> int:
        stop = _line_end(view, begin.end())
        _, place = _key_on_line(view, begin)
        self._key_indent = begin.start() - view.rfind(b"\n", 0, begin.start()) - 1
        spans.append((begin.start(), place, KEY_ID))
        if view.endswith(b"-----", begin.end(), place):
            return place
        # a quoted key ends with its quote; only a line that ends here goes on in the next
        self._key_lines = 1 if view[place:stop].strip(b"\"',+ \t\r\\") == b"" else 0
        return stop + 1 if self._key_lines else place

    def _key_line(self, view: bytes, place: int, stop: int, spans: list[Span]) -> int:
        end = re.compile(_KEY_END).search(view, place, stop)
        if end is not None:
            spans.append((self._behind_prefix(view, place, end.start()), end.end(), _KEY_LINE_ID))
            self._key_lines = 0
            return end.end()
        if (
            re.compile(_KEY_BEGIN).search(view, place, stop) is not None
        ):  # the next key, and this one has no end
            self._key_lines = 0
            return place
        start = self._behind_prefix(view, place, stop)
        if not re.compile(_KEY_LINE).fullmatch(view, start, stop):
            start = place
        if self._key_lines >= KEY_LINES_LIMIT or not re.compile(_KEY_LINE).fullmatch(view, start, stop):
            self._key_lines = 0
            return place
        self._key_lines += 1
        place = start
        if stop > place:
            spans.append((place, stop, _KEY_LINE_ID))
        return stop + 1

    def _behind_prefix(self, view: bytes, place: int, stop: int) -> int:
        """Where a key's line begins, behind what a log puts before each line; what could be of the key is none."""
        start = min(place + self._key_indent, stop)
        return place if re.compile(_BASE64).fullmatch(view, place, start) else start


def _key_on_line(view: bytes, begin: re.Match[bytes]) -> tuple[int, int]:
    """The part of a key that lies on its first line: all of it if line ends are escaped."""
    stop = _line_end(view, begin.end())
    end = re.compile(_KEY_END).search(view, begin.end(), stop)
    rest = re.compile(_KEY_REST).match(view, begin.end(), stop)
    return begin.start(), end.end() if end is not None else rest.end() if rest is not None else begin.end()


def _line_end(view: bytes, place: int) -> int:
    stop = view.find(b"\n", place)
    return len(view) if stop < 0 else stop


class _Block:
    """Text and its view without escape sequences, with the way back from the view's places."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.view = re.sub(_ESCAPE, b"", raw) if b"\x1b[" in raw else raw
        self._places: list[int] | None = None
        self._removed: list[int] = [0]

    def _map(self) -> list[int]:
        if self._places is None:
            self._places = []
            if len(self.view) != len(self.raw):
                for found in re.finditer(_ESCAPE, self.raw):
                    self._places.append(found.start() - self._removed[-1])
                    self._removed.append(self._removed[-1] + len(found[0]))
        return self._places

    def raw_start(self, place: int) -> int:
        """Where in the text a match begins; codes just before it stay."""
        return place + self._removed[bisect_right(self._map(), place)]

    def raw_end(self, place: int) -> int:
        """Where in the text a match ends; codes just after it stay."""
        return place + self._removed[bisect_left(self._map(), place)]


def _merge(spans: list[Span]) -> list[Span]:
    """Join overlapping spans, in order; a key outranks a known value, which outranks the first rule."""
    merged: list[Span] = []
    for start, end, rule in sorted(spans, key=lambda span: (span[0], -span[1])):
        if merged and start < merged[-1][1]:
            first, last, earlier = merged[-1]
            merged[-1] = (first, max(last, end), _stronger(earlier, rule))
        else:
            merged.append((start, end, rule))
    return merged


def _stronger(one: str, other: str) -> str:
    for rule in (KEY_ID, _KEY_LINE_ID, KNOWN_ID):
        if rule in (one, other):
            return rule
    return one


def _replacement(rule: str) -> bytes:
    if rule == KNOWN_ID:
        return KNOWN_REPLACEMENT
    return b"" if rule == _KEY_LINE_ID else f"[masked:{rule}]".encode()


def _unescape(value: bytes) -> bytes:
    """A workflow command's value: ``%25``, ``%0D`` and ``%0A`` stand for themselves."""
    for code, character in ((b"%0D", b"\r"), (b"%0A", b"\n"), (b"%25", b"%")):
        value = value.replace(code, character)
    return value


def _begun_at(text: bytes, needle: bytes) -> int:
    """Where the longest end of a text begins that begins the needle; the text's length if none does."""
    for size in range(min(len(needle) - 1, len(text)), 0, -1):
        if text.endswith(needle[:size]):
            return len(text) - size
    return len(text)


def mask_texts(value: Any, masker: Masker) -> Any:
    """A JSON value with every text masked; numbers stay numbers."""
    if isinstance(value, str):
        return masker.text(value)
    if isinstance(value, dict):
        return {masker.text(str(key)): mask_texts(item, masker) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [mask_texts(item, masker) for item in value]
    return value

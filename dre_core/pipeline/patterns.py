"""What output says about itself: errors, warnings, successes, metrics, and test runners' closing lines.

Not a verdict: all of it is text that the workload wrote (vantage ``reported``). The rule: lines are taken
whole with colour codes stripped; counts are exact, samples bounded, and the stream is never held.

The four general kinds are counted by word, as ``error|exception|failed``, ``warning|warn``,
``success|passed|complete`` and ``time:|duration:|speed:`` without regard to case. A runner's closing line
is parsed into counts (:class:`RunnerSummary`) only if the whole line has that runner's form. A line longer
than ``LINE_LIMIT_BYTES`` is looked at in pieces. A piece that is no text is not looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from dre_core.model.record import dataclass
from dre_core.pipeline.prefilter import Prefilter

if TYPE_CHECKING:
    from dre_core.pipeline.closing import Closing, Counts

LINE_LIMIT_BYTES = 16 << 10
SAMPLES_PER_RULE = 20
SUMMARIES_LIMIT = 200
TEXT_LIMIT_BYTES = 240

WORDS: dict[str, tuple[bytes, ...]] = {
    "error": (b"error", b"exception", b"failed"),
    "warning": (b"warn",),
    "success": (b"success", b"passed", b"complete"),
    "metric": (b"time:", b"duration:", b"speed:"),
}
"""The words of each kind, in lower case; their matches don't overlap."""

_CONTEXT_BYTES = max(len(word) for words in WORDS.values() for word in words) - 1
_ESCAPE = rb"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[()][0-9A-Za-z]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A place in the output.

    Attributes:
        kind: ``error``, ``warning``, ``success`` or ``metric``.
        rule: The word, or the tool whose line it is.
        offset: Bytes from the beginning of the stream to the beginning of the line.
        text: The line, stripped and cut.
    """

    kind: str
    rule: str
    offset: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerSummary:
    """A test runner's own closing line, parsed.

    Attributes:
        runner: Name of the runner.
        passed: Tests it says passed.
        failed: Tests it says failed.
        errors: Tests or collections it says had an error.
        skipped: Skipped, ignored, pending or aborted tests.
        xfailed: Expected failures.
        xpassed: Unexpected passes.
        deselected: Tests deselected or filtered out.
        rerun: Reruns.
        offset: Bytes from the beginning of the stream to the beginning of the line.
        text: The line, stripped and cut.
    """

    runner: str
    passed: int = 0
    failed: int = 0
    errors: int = 0
    skipped: int = 0
    xfailed: int = 0
    xpassed: int = 0
    deselected: int = 0
    rerun: int = 0
    offset: int
    text: str


def strip_escapes(text: bytes) -> bytes:
    """Text without colour and other CSI sequences."""
    return re.sub(_ESCAPE, b"", text) if b"\x1b" in text else text


_CANDIDATES = (
    b"Tests: ",
    b"Tests  ",
    b"test result: ",
    b"Tests run: ",
    b" completed, ",
    b"--- PASS: ",
    b"--- FAIL: ",
    b"--- SKIP: ",
    b"ok  \t",
    b"FAIL\t",
    b" passing",
    b" failing",
    b" pending",
    b" tests successful",
    b" tests failed",
    b" tests skipped",
    b" tests aborted",
    b"*** ",
    b"npm ERR!",
    b"npm error",
    b"congratulations :)",
    b"evaluation failed :(",
)
"""One of these is in every closing line but pytest's and unittest's."""
_ENDED_IN = (
    b"passed in ",
    b"failed in ",
    b"error in ",
    b"errors in ",
    b"skipped in ",
    b"deselected in ",
    b"warning in ",
    b"warnings in ",
    b"rerun in ",
    b"ran in ",
    b"collected in ",
    b"test in ",
    b"tests in ",
)
"""One of these, with seconds behind it, is in every closing line of pytest and unittest."""
_SECONDS = rb"\d+(?:\.\d+)?s"
_RAN = b"Ran "
_ENDS = (b"\nOK", b"\nFAILED", b"\nNO TESTS RAN")
_FILTER = Prefilter((*_CANDIDATES, *_ENDED_IN, _RAN), [word for words in WORDS.values() for word in words])
_SAMPLE_BYTES = 4096
_CONTROLS = bytes(byte for byte in range(32) if byte not in b"\t\n\v\f\r\b\x1b")


class Patterns:
    """Observes one stream; as a stage it lets everything pass at once.

    Args:
        samples: At most this many matches are kept for each rule.

    Attributes:
        counts: Matches by kind.
        rule_counts: Matches by rule (a word or a tool).
        matches: The first matches of each rule, in order of detection.
        summaries: Closing lines, in order; at most ``SUMMARIES_LIMIT``, the last ones kept.
    """

    def __init__(self, *, samples: int = SAMPLES_PER_RULE) -> None:
        self.counts: dict[str, int] = dict.fromkeys(WORDS, 0)
        self.rule_counts: dict[str, int] = {}
        self.matches: list[Match] = []
        self.summaries: list[RunnerSummary] = []
        self._samples = samples
        self._kept: dict[str, int] = {}
        self._closing: Closing | None = None
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._context = b""
        self._offset = 0

    def feed(self, data: bytes, /) -> bytes:
        """Observe a chunk and return it unchanged."""
        cut = data.rfind(b"\n") + 1
        if cut:
            self._waiting.append(data[:cut])
            self._take()
            self._context = b""
        if cut < len(data):
            self._waiting.append(data[cut:])
            self._waiting_bytes += len(data) - cut
        if self._waiting_bytes > LINE_LIMIT_BYTES:
            self._take()
        return data

    def settle(self) -> bytes:
        """Nothing is ever held."""
        return b""

    def flush(self) -> bytes:
        """Observe a last line without an end."""
        self._take()
        if self._closing is not None:
            self._closing.end_mocha()
        return b""

    def _take(self) -> None:
        piece = b"".join(self._waiting)
        self._waiting.clear()
        self._waiting_bytes = 0
        if piece:
            if not _is_binary(piece):
                block = _Block(self._context + piece, self._offset - len(self._context))
                hints = frozenset(_FILTER.present(block.view))
                self._words(block, hints)
                self._tools(block, hints)
            self._offset += len(piece)
            self._context = piece[-_CONTEXT_BYTES:]

    def _words(self, block: _Block, hints: frozenset[bytes]) -> None:
        found = {kind: hints.intersection(words) for kind, words in WORDS.items()}
        if not any(found.values()):
            return
        lower = block.view.lower()
        before = strip_escapes(self._context).lower()
        for kind, words in WORDS.items():
            for word in words:
                if word not in found[kind]:
                    continue
                count = lower.count(word) - before.count(word)
                if count > 0:
                    self.counts[kind] += count
                    self._count(word.decode(), count)
                    self._keep_words(kind, word, lower, len(before) - len(word) + 1, block)

    def _keep_words(self, kind: str, word: bytes, lower: bytes, start: int, block: _Block) -> None:
        rule = word.decode()
        place = lower.find(word, max(0, start))
        while place >= 0 and self._kept.get(rule, 0) < self._samples:
            line, offset = block.line(place)
            self._keep(Match(kind=kind, rule=rule, offset=offset, text=_text(line)))
            place = lower.find(word, place + len(word))

    def _tools(self, block: _Block, hints: frozenset[bytes]) -> None:
        view = block.view
        starts: set[int] = set()
        for literal in hints.intersection(_CANDIDATES):
            starts.update(block.start(place) for place in _places(view, literal))
        for literal in hints.intersection(_ENDED_IN):
            seconds = re.compile(_SECONDS)
            starts.update(
                block.start(place)
                for place in _places(view, literal)
                if seconds.match(view, place + len(literal))
            )
        if (self._closing and self._closing.awaits_end) or (_RAN in hints and _RAN in view):
            starts.update(place + 1 for literal in _ENDS for place in _places(view, literal))
            starts.add(0)
        if starts and self._closing is None:
            from dre_core.pipeline.closing import Closing

            self._closing = Closing(self._summarise)
        for start in sorted(starts):
            line, offset = block.line(start)
            if self._closing is not None:
                self._closing.look(line, offset)
            self._tool(line, offset)

    def _tool(self, line: bytes, offset: int) -> None:
        from dre_core.pipeline.closing import TOOLS

        for kind, tool, literal, form in TOOLS:
            if literal in line and re.fullmatch(form, line):
                self._count(tool, 1)
                self._keep(Match(kind=kind, rule=tool, offset=offset, text=_text(line)))

    def _count(self, rule: str, count: int) -> None:
        self.rule_counts[rule] = self.rule_counts.get(rule, 0) + count

    def _keep(self, match: Match) -> None:
        kept = self._kept.get(match.rule, 0)
        if kept < self._samples:
            self._kept[match.rule] = kept + 1
            self.matches.append(match)

    def _summarise(self, runner: str, counts: Counts, offset: int, line: bytes) -> None:
        self.summaries.append(RunnerSummary(runner=runner, offset=offset, text=_text(line), **counts))
        del self.summaries[:-SUMMARIES_LIMIT]


def detect(data: bytes) -> list[Match]:
    """The matches in a whole text, at most ``SAMPLES_PER_RULE`` for each rule, by offset."""
    patterns = Patterns()
    patterns.feed(data)
    patterns.flush()
    return sorted(patterns.matches, key=lambda match: (match.offset, match.kind, match.rule))


def summaries(data: bytes) -> tuple[RunnerSummary, ...]:
    """The closing lines in a whole text."""
    patterns = Patterns()
    patterns.feed(data)
    patterns.flush()
    return tuple(patterns.summaries)


class _Block:
    """Lines of a stream with their place in it; ``view`` is without escape sequences."""

    def __init__(self, raw: bytes, offset: int) -> None:
        self.view = strip_escapes(raw)
        self._raw = raw
        self._offset = offset
        self._line_starts: list[int] | None = None

    def start(self, place: int) -> int:
        """Where in the view the line begins that holds a place."""
        return self.view.rfind(b"\n", 0, place) + 1

    def line(self, place: int) -> tuple[bytes, int]:
        """The line that holds a place in the view, stripped and bounded, and its offset in the stream."""
        start = self.start(place)
        end = self.view.find(b"\n", place)
        stop = len(self.view) if end < 0 else end
        return self.view[start : min(stop, start + LINE_LIMIT_BYTES)].strip(), self._stream_offset(start)

    def _stream_offset(self, start: int) -> int:
        if len(self.view) == len(self._raw):
            return self._offset + start
        if self._line_starts is None:  # escape sequences hold no line ends: the n-th line is the n-th line
            self._line_starts = [0, *(found.end() for found in re.finditer(rb"\n", self._raw))]
        return self._offset + self._line_starts[self.view.count(b"\n", 0, start)]


def _is_binary(piece: bytes) -> bool:
    """Whether a piece is no text: a tenth of its beginning is control characters that text does not have."""
    sample = piece[:_SAMPLE_BYTES]
    return len(sample) > 256 and len(sample) - len(sample.translate(None, _CONTROLS)) > len(sample) // 12


def _places(view: bytes, literal: bytes) -> Iterator[int]:
    place = view.find(literal)
    while place >= 0:
        yield place
        place = view.find(literal, place + len(literal))


def _text(line: bytes) -> str:
    return line[:TEXT_LIMIT_BYTES].decode("utf-8", "replace")

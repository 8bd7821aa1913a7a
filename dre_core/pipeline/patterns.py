"""What output says about itself: errors, warnings, successes, metrics, and test runners' closing lines.

Not a verdict: all of it is text that the workload wrote (vantage ``reported``). The rule: lines are taken
whole with colour codes stripped; counts are exact, samples bounded, and the stream is never held.

The four general kinds are counted by word, as ``error|exception|failed``, ``warning|warn``,
``success|passed|complete`` and ``time:|duration:|speed:`` without regard to case. A runner's closing line
is parsed into counts (:class:`RunnerSummary`) only if the whole line has that runner's form. A line longer
than ``LINE_LIMIT_BYTES`` is looked at in pieces.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

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
_ESCAPE = re.compile(rb"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[()][0-9A-Za-z]")


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
    return _ESCAPE.sub(b"", text) if b"\x1b" in text else text


# --- closing lines -----------------------------------------------------------------------------------

Counts = dict[str, int]

_PYTEST_PART = (
    rb"\d+ (?:passed|failed|errors?|skipped|xfailed|xpassed|deselected|warnings?|rerun|subtests passed)"
)
_PYTEST = re.compile(
    rb"(?:=+ )?((?:no tests (?:ran|collected)|" + _PYTEST_PART + rb")(?:, " + _PYTEST_PART + rb")*)"
    rb" in \d+(?:\.\d+)?s(?: \(\d+(?: days?, \d+)?:\d\d:\d\d\))?(?: =+)?"
)
_PART = re.compile(rb"(\d+) ([a-z]+)(?! passed)")
_JEST = re.compile(rb"Tests:\s+((?:\d+ [a-z]+, )*\d+ total)")
_VITEST = re.compile(rb"Tests\s+((?:\d+ [a-z ]+ \| )*\d+ [a-z ]+) \(\d+\)")
_CARGO = re.compile(
    rb"test result: (?:ok|FAILED)\. (\d+) passed; (\d+) failed; (\d+) ignored; \d+ measured; "
    rb"(\d+) filtered out.*"
)
_MAVEN = re.compile(rb"(?:\[[A-Z]+\] )?Tests run: (\d+), Failures: (\d+), Errors: (\d+), Skipped: (\d+)")
_GO_PACKAGE = re.compile(rb"(?:ok  \t|FAIL\t)(\S+)\t(?:\d+\.\d+s|\(cached\)|\[build failed\]).*")
_GO_TEST = re.compile(rb"\s*--- (PASS|FAIL|SKIP): \S+ \(\d+\.\d+s\)")
_MOCHA = re.compile(rb"(\d+) (passing|failing|pending)(?: \((?:\d+(?:ms|s|m|h))\))?")
_UNITTEST_RAN = re.compile(rb"Ran (\d+) tests? in \d+(?:\.\d+)?s")
_UNITTEST_END = re.compile(rb"(OK|FAILED|NO TESTS RAN)(?: \(([a-z =,0-9]+)\))?")
_JUNIT = re.compile(rb"\[\s*(\d+) tests? (found|skipped|started|aborted|successful|failed)\s*\]")

_FIELDS = {
    b"passed": "passed",
    b"failed": "failed",
    b"error": "errors",
    b"errors": "errors",
    b"skipped": "skipped",
    b"xfailed": "xfailed",
    b"xpassed": "xpassed",
    b"deselected": "deselected",
    b"rerun": "rerun",
    b"todo": "skipped",
    b"pending": "skipped",
}


def _parts(text: bytes) -> Counts:
    counts: Counts = {}
    for number, word in _PART.findall(text):
        name = _FIELDS.get(word)
        if name:
            counts[name] = counts.get(name, 0) + int(number)
    return counts


_TOOLS = (
    ("error", "make", re.compile(rb"g?make(?:\[\d+\])?: \*\*\* .*(?:Error \d+|Stop\.).*")),
    ("error", "npm", re.compile(rb"npm (?:ERR!|error)(?: .*)?")),
    ("success", "tox", re.compile(rb"congratulations :\) \(\d+\.\d+ seconds\)")),
    ("error", "tox", re.compile(rb"evaluation failed :\( \(\d+\.\d+ seconds\)")),
)
"""Kind, tool and form of lines by which other tools end."""


class _Closing:
    """Recognises closing lines, those that stretch over several lines included."""

    def __init__(self, report: Callable[[str, Counts, int, bytes], None]) -> None:
        self._report = report
        self._ran: int | None = None
        self._go: Counts = {}
        self._mocha: tuple[Counts, int, bytes] | None = None
        self._junit: Counts = {}
        self._rules: tuple[tuple[bytes, Callable[[bytes, int], None]], ...] = (
            (b" in ", self.pytest),
            (b" in ", self.unittest_ran),
            (b"Tests:", self.jest),
            (b"Tests  ", self.vitest),
            (b"test result: ", self.cargo),
            (b"Tests run: ", self.maven),
            (b"--- ", self.go_test),
            (b"\t", self.go_package),
            (b"ing", self.mocha),
            (b"[", self.junit),
            (b"", self.unittest_end),
        )

    def pytest(self, line: bytes, offset: int) -> None:
        if found := _PYTEST.fullmatch(line):
            self._report("pytest", _parts(found[1]), offset, line)

    def jest(self, line: bytes, offset: int) -> None:
        if found := _JEST.fullmatch(line):
            self._report("jest", _parts(found[1]), offset, line)

    def vitest(self, line: bytes, offset: int) -> None:
        if found := _VITEST.fullmatch(line):
            self._report("vitest", _parts(found[1]), offset, line)

    def cargo(self, line: bytes, offset: int) -> None:
        if found := _CARGO.fullmatch(line):
            names = ("passed", "failed", "skipped", "deselected")
            self._report("cargo", dict(zip(names, map(int, found.groups()), strict=True)), offset, line)

    def maven(self, line: bytes, offset: int) -> None:
        if found := _MAVEN.fullmatch(line):
            run, failed, errors, skipped = map(int, found.groups())
            passed = max(0, run - failed - errors - skipped)
            counts = {"passed": passed, "failed": failed, "errors": errors, "skipped": skipped}
            self._report("surefire", counts, offset, line)

    def go_test(self, line: bytes, offset: int) -> None:
        if found := _GO_TEST.fullmatch(line):
            name = {b"PASS": "passed", b"FAIL": "failed", b"SKIP": "skipped"}[found[1]]
            self._go[name] = self._go.get(name, 0) + 1

    def go_package(self, line: bytes, offset: int) -> None:
        if _GO_PACKAGE.fullmatch(line):
            counts, self._go = self._go, {}
            if line.startswith(b"FAIL") and not counts.get("failed"):
                counts = counts | {"errors": 1}
            self._report("go test", counts, offset, line)

    def mocha(self, line: bytes, offset: int) -> None:
        found = _MOCHA.fullmatch(line)
        if found is None:
            return
        name = {b"passing": "passed", b"failing": "failed", b"pending": "skipped"}[found[2]]
        if name == "passed":
            self.end_mocha()
            self._mocha = ({name: int(found[1])}, offset, line)
        elif self._mocha is not None:
            counts, start, first = self._mocha
            self._mocha = (counts | {name: int(found[1])}, start, first + b", " + line)

    def end_mocha(self) -> None:
        if self._mocha is not None:
            counts, offset, line = self._mocha
            self._mocha = None
            self._report("mocha", counts, offset, line)

    def unittest_ran(self, line: bytes, offset: int) -> None:
        if found := _UNITTEST_RAN.fullmatch(line):
            self._ran = int(found[1])

    def unittest_end(self, line: bytes, offset: int) -> None:
        found = _UNITTEST_END.fullmatch(line)
        if found is None or self._ran is None:
            return
        ran, self._ran = self._ran, None
        told = dict(re.findall(rb"([a-z ]+)=(\d+)", found[2] or b""))
        names = {
            b"failures": "failed",
            b"errors": "errors",
            b"skipped": "skipped",
            b"expected failures": "xfailed",
            b"unexpected successes": "xpassed",
        }
        counts = {names[key.strip()]: int(value) for key, value in told.items() if key.strip() in names}
        counts["passed"] = max(0, ran - sum(counts.values()))
        self._report("unittest", counts, offset, line)

    def junit(self, line: bytes, offset: int) -> None:
        found = _JUNIT.fullmatch(line)
        if found is None:
            return
        names = {b"successful": "passed", b"failed": "failed"}
        name = names.get(found[2], "skipped" if found[2] in (b"skipped", b"aborted") else "")
        if name:
            self._junit[name] = self._junit.get(name, 0) + int(found[1])
        if found[2] == b"failed":
            counts, self._junit = self._junit, {}
            self._report("junit", counts, offset, line)

    def look(self, line: bytes, offset: int) -> None:
        """Try every form that the line could have."""
        for literal, rule in self._rules:
            if literal in line:
                rule(line, offset)

    @property
    def awaits_end(self) -> bool:
        """Whether unittest has said how many tests ran and not yet how they ended."""
        return self._ran is not None


_CANDIDATES = (
    b"Tests: ",
    b"Tests  ",
    b"test result: ",
    b"Tests run: ",
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
_IN_SECONDS = re.compile(rb" in \d+(?:\.\d+)?s")
_ENDS = (b"\nOK", b"\nFAILED", b"\nNO TESTS RAN")


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
        self._closing = _Closing(self._summarise)
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
        self._closing.end_mocha()
        return b""

    def _take(self) -> None:
        piece = b"".join(self._waiting)
        self._waiting.clear()
        self._waiting_bytes = 0
        if piece:
            block = _Block(self._context + piece, self._offset - len(self._context))
            self._words(block)
            self._tools(block)
            self._offset += len(piece)
            self._context = piece[-_CONTEXT_BYTES:]

    def _words(self, block: _Block) -> None:
        lower = block.view.lower()
        before = strip_escapes(self._context).lower()
        for kind, words in WORDS.items():
            for word in words:
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

    def _tools(self, block: _Block) -> None:
        view = block.view
        starts = {block.start(found.start()) for found in _IN_SECONDS.finditer(view)}
        for literal in _CANDIDATES:
            starts.update(block.start(place) for place in _places(view, literal))
        if self._closing.awaits_end or b"Ran " in view:
            starts.update(place + 1 for literal in _ENDS for place in _places(view, literal))
            starts.add(0)
        for start in sorted(starts):
            line, offset = block.line(start)
            self._closing.look(line, offset)
            self._tool(line, offset)

    def _tool(self, line: bytes, offset: int) -> None:
        for kind, tool, form in _TOOLS:
            if form.fullmatch(line):
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


def _places(view: bytes, literal: bytes) -> Iterator[int]:
    place = view.find(literal)
    while place >= 0:
        yield place
        place = view.find(literal, place + len(literal))


def _text(line: bytes) -> str:
    return line[:TEXT_LIMIT_BYTES].decode("utf-8", "replace")

"""Where to look: each ranked cause with its place in the test, in the log and in the change.

The ranking is the verifiers' (``verify/causes.py``); this only finds the places, by the words of the evidence itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from dre_core.model.record import dataclass
from dre_core.model.session import Outcome, TestRecord
from dre_core.model.text import plain
from dre_core.model.verdict import Cause
from dre_core.report.build import Report
from dre_core.report.exhibits import OutputText

_HUNK = re.compile(r"@@ -\d+(?:,\d+)? \+(\d+)(?:,(\d+))? @@")
_PLACE = re.compile(r"(?P<path>[^:]+):(?P<line>\d+)")
_OFFSET = re.compile(r"offset (\d+)")
_BAD = (Outcome.FAILED, Outcome.ERROR)


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """A cause with its places.

    Attributes:
        rank: 1 for the first one to look at.
        cause: What the verifiers say.
        test: The test that it is about; None if it is about none.
        log: ``stdout, byte 1234: text of the line``; empty if the log does not show it.
        change: What the change did there; empty if it did not touch the place.
    """

    rank: int
    cause: Cause
    test: TestRecord | None = None
    log: str = ""
    change: str = ""

    def __str__(self) -> str:
        places = ((self.cause.where, "at "), (self.log, "log: "), (self.change, "change: "))
        return "; ".join((self.cause.summary, *(f"{word}{place}" for place, word in places if place)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _LogLine:
    """A line of the output as a person reads it, and where it stands; ``number`` is 0 where it can't be told."""

    stream: str
    number: int
    offset: int
    text: str

    def __str__(self) -> str:
        number = f"line {self.number}, " if self.number else ""
        return f"{self.stream}, {number}byte {self.offset}: {self.text[:160]}"


def located_causes(report: Report) -> tuple[Located, ...]:
    """The ranked causes of a verdict that is not supported, each with its places."""
    if not report.verdict.causes:
        return ()
    bad = {test.id: test for test in report.tests if test.outcome in _BAD}
    log = [line for output in (report.exhibits.outputs if report.exhibits else ()) for line in _lines(output)]
    return tuple(
        Located(
            rank=rank,
            cause=cause,
            test=(test := _test_of(cause, bad)),
            log=_log_place(log, cause, test),
            change=_change_place(report, cause.where),
        )
        for rank, cause in enumerate(report.verdict.causes, 1)
    )


def _test_of(cause: Cause, bad: dict[str, TestRecord]) -> TestRecord | None:
    words = cause.summary
    end = len(words)
    # A node id may hold spaces; the longest one that begins the sentence is meant.
    while (end := words.rfind(" ", 0, end)) > 0:
        if words[:end] in bad:
            return bad[words[:end]]
    return None


def _lines(output: OutputText) -> Iterator[_LogLine]:
    """The lines that are at hand, without escape sequences: a runner colours the very words that are looked for."""
    for start, data in ((0, output.head), (output.size - len(output.tail), output.tail)):
        offset = start
        for number, raw in enumerate(data.splitlines(keepends=True), 1):
            text = plain(raw.decode("utf-8", "replace")).strip()
            yield _LogLine(stream=output.stream, number=0 if start else number, offset=offset, text=text)
            offset += len(raw)


def _log_place(log: list[_LogLine], cause: Cause, test: TestRecord | None) -> str:
    named = _OFFSET.fullmatch(cause.where)
    if named:
        before = [line for line in log if line.offset <= int(named[1])]
        return str(before[-1]) if before else f"byte {named[1]} of the output"
    for needle in _needles(cause, test):
        for line in log:
            if needle in line.text:
                return str(line)
    return ""


def _needles(cause: Cause, test: TestRecord | None) -> Iterator[str]:
    """What a runner prints about it, the likeliest first."""
    if test is not None:
        yield f"FAILED {test.id}"
        yield test.id
        if test.message:
            yield test.message
    elif _PLACE.fullmatch(cause.where):
        yield cause.where


def _change_place(report: Report, where: str) -> str:
    """What the change did at a place."""
    found = _PLACE.fullmatch(where)
    if not found or report.evidence is None:
        return ""
    path, line = found["path"], int(found["line"])
    covered = report.evidence.covered
    for file in covered.changed if covered else ():
        if file.path == path and line in (*file.executed, *file.missing):
            return f"{path}:{line} is a changed line"
    patch = report.exhibits.patch if report.exhibits else ""
    hunk = hunk_of(patch, path, line)
    if hunk:
        return f"{path}:{line} is in the uncommitted patch, hunk {hunk}"
    changes = report.evidence.changes
    if path in {change.path for change in (changes.changes if changes else ())}:
        return f"the change touches {path}"
    return f"{path} differs from its commit" if path in report.evidence.run.source.modified else ""


def hunk_of(patch: str, path: str, line: int) -> str:
    """The hunk's head in a unified diff that holds a line of the newer file; empty if none does."""
    inside = False
    for text in patch.splitlines():
        if text.startswith("+++ "):
            inside = text[4:].partition("\t")[0].removeprefix("b/") == path
        elif inside and (found := _HUNK.match(text)):
            start, count = int(found[1]), int(found[2] or 1)
            if start <= line < start + max(count, 1):
                return found[0]
    return ""

"""JUnit XML from the record: what CI systems read.

Not a copy of the run's own report: cases and counts come from the journal. Each case is made by junitparser
and written at once between hand-written suite tags, so a report of any length needs the memory of one case
(and of the names given). A case without children is formatted here, as junitparser would, at a
twentieth of the price; a test holds the two against each other. A case carries ``file`` and a 1-based ``line`` for
annotations; its failure text ends with pytest's ``path:line: Error``. What XML 1.0 can't hold is written as a
backslash escape. Texts share a budget, because GitLab refuses a file above 30 MB: once it is spent each is cut short.

    <testsuites>
    <testsuite name="…" tests="3" …><properties>…</properties><testcase …/>…</testsuite>
    </testsuites>
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sized
from functools import lru_cache
from typing import Any, BinaryIO, NamedTuple

from dre_core.capture.programmatic import JUnitCase, junit_id
from dre_core.model.record import dataclass
from dre_core.model.session import Counts, Outcome, Session, TestRecord

MAX_TEXT = 65_536
MAX_OUTPUT = 65_536
TEXTS_BYTES = 16 << 20
_SHORT = 400
_SKIP_TYPES = {Outcome.SKIPPED: "pytest.skip", Outcome.XFAILED: "pytest.xfail"}
_FORBIDDEN = "[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
_PLAIN = re.compile("[ !#-%'-;=?-~]*")
_REFERENCES = (
    ("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"), ("\r", "&#13;"), ("\n", "&#10;"), ("\t", "&#09;"),
)  # fmt: skip
_PLACE = re.compile(r"\S:\d+: \S")


class Case(NamedTuple):
    """One ``testcase``.

    Attributes:
        classname: Dotted path to the test.
        name: Its name; made unique within its suite and class.
        outcome: Decides the child element.
        message: One line.
        text: The failure in full.
        output: Captured output.
        file: Path; empty if unknown.
        line: 1-based; 0 if unknown.
        seconds: Duration.
        is_pytest: Its outcome is one of pytest's own.
    """

    classname: str
    name: str
    outcome: Outcome = Outcome.PASSED
    message: str = ""
    text: str = ""
    output: str = ""
    file: str = ""
    line: int = 0
    seconds: float = 0.0
    is_pytest: bool = False

    @classmethod
    def reported(cls, case: JUnitCase) -> Case:
        """The case of a report that the command wrote, named as it stands there."""
        classname, _, name = case.id.partition("::")
        return cls(
            classname=classname,
            name=name,
            outcome=case.outcome,
            message=case.message,
            text=case.text,
            file=case.file,
            line=case.line,
            seconds=case.seconds,
            is_pytest=case.outcome is Outcome.XFAILED,
        )

    @classmethod
    def of(cls, test: TestRecord) -> Case:
        """The case of a test, named as pytest's own report names it."""
        classname, _, name = junit_id(test.id).partition("::")
        return cls(
            classname=classname,
            name=name,
            outcome=test.outcome,
            message=test.message or test.reason,
            text=test.text,
            output=test.output,
            file=test.file,
            line=test.line,
            seconds=test.duration_seconds,
            is_pytest=True,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A further suite: findings of the verification, for example."""

    name: str
    cases: Iterable[Case]


def write_junit(
    stream: BinaryIO,
    *,
    suite_name: str,
    tests: Iterable[TestRecord | Case],
    counts: Counts,
    properties: Mapping[str, str],
    extra_suites: Iterable[Suite] = (),
    timestamp: str,
    duration_seconds: float,
) -> None:
    """Write a report.

    Args:
        stream: Where to; written in pieces.
        suite_name: Name of the tests' suite.
        tests: The records, or cases of a report. Where their number is known before they are read, the suite's totals
            are theirs.
        counts: The totals otherwise.
        properties: Of the tests' suite.
        extra_suites: Written after it.
        timestamp: RFC 3339 time of the start.
        duration_seconds: Of the whole.

    Raises:
        OSError: The stream can't be written.

    Source: https://github.com/testmoapp/junitxml, and the schema of Jenkins' xUnit plugin.
    """
    totals = _totals(tests) if isinstance(tests, Sized) else _counted(counts)
    stream.write(b'<?xml version="1.0" encoding="utf-8"?>\n<testsuites>\n')
    attributes = {**totals, "time": f"{duration_seconds:.3f}", "timestamp": timestamp}
    budget = Budget(TEXTS_BYTES)
    cases = (test if isinstance(test, Case) else Case.of(test) for test in tests)
    _write_suite(stream, suite_name, attributes, properties, cases, budget)
    for suite in extra_suites:
        more = tuple(suite.cases)
        _write_suite(
            stream, suite.name, _tally(case.outcome for case in more), {}, more, Budget(TEXTS_BYTES >> 2)
        )
    stream.write(b"</testsuites>\n")


def write_session(stream: BinaryIO, session: Session) -> None:
    """Write the report of a session as it was recorded, without a verdict."""
    write_junit(
        stream,
        suite_name="pytest",
        tests=(*session.tests, *session.uncollected),
        counts=session.counts,
        properties={"session": session.id, "python": session.python, "pytest": session.pytest},
        timestamp=session.started_at,
        duration_seconds=sum(test.duration_seconds for test in session.tests),
    )


def escape(text: str) -> str:
    r"""Text that XML 1.0 can hold: control characters and lone surrogates as ``\x00``, ``\ud800``.

    Source: https://www.w3.org/TR/xml/#charsets
    """
    if text.isascii() and text.isprintable():
        return text
    return re.sub(_FORBIDDEN, lambda match: _backslash(ord(match[0])), text)


def _backslash(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _totals(tests: Iterable[TestRecord | Case]) -> dict[str, str]:
    return _tally(test.outcome for test in tests)


def _tally(outcomes: Iterable[Outcome]) -> dict[str, str]:
    tally = Counter(outcomes)
    skipped = tally[Outcome.SKIPPED] + tally[Outcome.XFAILED]
    return _attributes(tally.total(), tally[Outcome.FAILED], tally[Outcome.ERROR], skipped)


def _counted(counts: Counts) -> dict[str, str]:
    skipped = counts.skipped + counts.xfailed
    total = counts.passed + counts.failed + counts.errors + skipped + counts.xpassed
    return _attributes(total, counts.failed, counts.errors, skipped)


def _attributes(tests: int, failures: int, errors: int, skipped: int) -> dict[str, str]:
    return {"tests": str(tests), "failures": str(failures), "errors": str(errors), "skipped": str(skipped)}


def _write_suite(
    stream: BinaryIO,
    name: str,
    attributes: Mapping[str, str],
    properties: Mapping[str, str],
    cases: Iterable[Case],
    budget: Budget,
) -> None:
    tag = "".join(f' {key}="{_attribute(value)}"' for key, value in {"name": name, **attributes}.items())
    stream.write(f"<testsuite{tag}>\n".encode())
    if properties:
        lines = "".join(
            f'<property name="{_attribute(key)}" value="{_attribute(value)}"/>\n'
            for key, value in properties.items()
        )
        stream.write(f"<properties>\n{lines}</properties>\n".encode())
    for case, unique in _named(cases):
        stream.write(
            _line(case, unique) if _is_bare(case) else _element(case, unique, budget).tostring() + b"\n"
        )
    stream.write(b"</testsuite>\n")


def _is_bare(case: Case) -> bool:
    """Whether the case has attributes only."""
    return not case.output and case.outcome in (Outcome.PASSED, Outcome.XPASSED)


def _line(case: Case, name: str) -> bytes:
    """A case without children, as ``_element(...).tostring()`` gives it."""
    place = f' file="{_repeated(case.file)}"' if case.file else ""
    line = f' line="{case.line}"' if case.line > 0 else ""
    classname = _repeated(case.classname)
    seconds = round(case.seconds, 6)
    return (
        f'<testcase name="{_attribute(name)}" classname="{classname}" time="{seconds}"{place}{line} />\n'
    ).encode()


def _attribute(text: str) -> str:
    """An attribute's value as ElementTree writes it."""
    if _PLAIN.fullmatch(text):
        return text
    text = escape(text)
    for sign, reference in _REFERENCES:
        text = text.replace(sign, reference)
    return text


_repeated = lru_cache(maxsize=64)(_attribute)
"""For what one test after the other has in common."""


def _named(cases: Iterable[Case]) -> Iterator[tuple[Case, str]]:
    """Each case with a name that no other of its class has: readers merge cases of one name."""
    seen: set[int] = set()
    for case in cases:
        base = escape(case.name)
        name, number = base, 1
        while (key := hash((case.classname, name))) in seen:
            number += 1
            name = f"{base} ({number})"
        seen.add(key)
        yield case, name


class Budget:
    """Bytes that the texts of a report may take."""

    def __init__(self, size: int) -> None:
        self._left = size

    def cut(self, text: str, limit: int) -> str:
        """As much of a text as there is room for, its beginning and its end."""
        cut = _cap(text, limit if self._left > 0 else _SHORT)
        self._left -= len(cut.encode("utf-8", "replace"))
        return cut


def _element(case: Case, name: str, budget: Budget) -> Any:
    from junitparser import Error, Failure, Skipped, TestCase

    element = TestCase(name=name, classname=escape(case.classname), time=round(case.seconds, 6))
    if case.file:
        element._elem.set("file", escape(case.file))
    if case.line > 0:
        element._elem.set("line", str(case.line))
    message = escape(case.message)
    if case.outcome in (Outcome.FAILED, Outcome.ERROR):
        result = Failure(message) if case.outcome is Outcome.FAILED else Error(message)
        result.text = escape(_with_place(case, budget))
        element.result = [result]
    elif case.outcome in (Outcome.SKIPPED, Outcome.XFAILED):
        skipped = Skipped(message, _SKIP_TYPES.get(case.outcome, "") if case.is_pytest else "skipped")
        # Codecov's parser takes an element without text for a test that passed.
        skipped.text = message or "skipped"
        element.result = [skipped]
    if case.output:
        element.system_out = escape(budget.cut(case.output, MAX_OUTPUT))
    return element


def _with_place(case: Case, budget: Budget) -> str:
    """The failure text, ending with ``path:line: Error`` as pytest's own does."""
    text = budget.cut(case.text or case.message, MAX_TEXT).rstrip()
    last = text.rpartition("\n")[2]
    if not case.file or _PLACE.search(last):
        return text
    kind = case.message.partition(":")[0] or case.outcome.value
    return f"{text}\n\n{case.file}:{max(case.line, 1)}: {kind}"


def _cap(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n... {len(text) - 2 * half} characters cut ...\n{text[-half:]}"

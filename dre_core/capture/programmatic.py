"""Reports that a run wrote itself, read strictly: JUnit XML and coverage data.

Not evidence of what happened: what stands in these files is *reported*, and a verifier compares it with what
was seen. The shapes are those of pytest, Maven Surefire, jest-junit and go-junit-report. A garbled number is
read as zero, garbled structure is refused.

XML goes through defusedxml: no document type, no entities, a stated size and depth.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from math import isfinite
from pathlib import Path
from typing import NamedTuple

from dre_core.errors import FormatError, LimitError
from dre_core.model.record import dataclass
from dre_core.model.session import Counts, Outcome

MAX_REPORT_BYTES = 256 * 2**20
MAX_DEPTH = 32
MAX_CASES = 10**6
MAX_COVERED_FILES = 10**5
_CHUNK_BYTES = 2**16
_MAX_NAME = 4_096
_MAX_MESSAGE = 300
_MAX_TEXT = 16_384
_MAX_TEXTS = 16 << 20
_SQLITE = b"SQLite format 3\x00"


class JUnitCase(NamedTuple):
    """One ``testcase``: ``classname::name``, its outcome and its time; of a bad or skipped one, what is said of it."""

    id: str
    outcome: Outcome
    seconds: float
    message: str = ""
    text: str = ""
    file: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class JUnitReport:
    """A JUnit XML report.

    Attributes:
        tests: Cases by outcome, counted one by one.
        declared: Totals that the outermost suites state: ``tests``, ``failures``, ``errors``, ``skipped``.
        cases: Every case in the order of the file.
        timestamp: The first suite's, as written; empty if it has none.
        size: Bytes of the file.
    """

    tests: Counts
    declared: Mapping[str, int] = field(default_factory=dict)
    cases: tuple[JUnitCase, ...] = ()
    timestamp: str = ""
    size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FileCoverage:
    """Lines of one file: those that ran, and those known not to have (empty where the format can't tell)."""

    executed: tuple[int, ...] = ()
    missing: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CoverageFacts:
    """What a coverage file says.

    Attributes:
        format: ``coverage.py``, ``cobertura`` or ``lcov``.
        files: Path as written to its lines.
        branches: Whether branches were measured.
        contexts: Names of the measuring contexts; empty where none were recorded.
    """

    format: str
    files: Mapping[str, FileCoverage] = field(default_factory=dict)
    branches: bool = False
    contexts: tuple[str, ...] = ()


def read_junit(data: bytes) -> JUnitReport:
    """Read a JUnit XML report.

    Args:
        data: The file's bytes, at most 256 MiB.

    Returns:
        The report.

    Raises:
        FormatError: Not XML, not JUnit, or with a document type, entities or external references.
        LimitError: Larger than 256 MiB, nested deeper than 32, or with more than a million cases.
    """
    target = _JUnitTarget()
    _parse(data, target)
    return JUnitReport(
        tests=_counts(target.cases, target.reruns),
        declared=dict(target.declared),
        cases=tuple(target.cases),
        timestamp=target.timestamp,
        size=len(data),
    )


def junit_id(node_id: str) -> str:
    """The ``classname::name`` that pytest's own report gives to a node id.

    Source: ``_pytest.junitxml.mangle_test_address``.
    """
    path, bracket, parameters = node_id.partition("[")
    names = path.split("::")
    names[0] = names[0].replace("/", ".").removesuffix(".py")
    return f"{'.'.join(names[:-1])}::{names[-1]}{bracket}{parameters}"


def read_coverage(path: Path) -> CoverageFacts:
    """Read coverage.py's data file, a Cobertura XML report, or an lcov tracefile.

    Args:
        path: The file; coverage.py's is copied before it is opened, so nothing is written beside it.

    Returns:
        What it says.

    Raises:
        FormatError: None of the three, or damaged.
        LimitError: Larger than 256 MiB or more than 100,000 files.
        OSError: It can't be read.
    """
    with path.open("rb") as stream:
        data = stream.read(MAX_REPORT_BYTES + 1)
    if len(data) > MAX_REPORT_BYTES:
        raise LimitError(f"coverage data larger than {MAX_REPORT_BYTES} bytes", path=path.name)
    if data.startswith(_SQLITE):
        return _read_database(data)
    if data.lstrip()[:1] == b"<":
        target = _CoberturaTarget()
        _parse(data, target)
        return target.facts()
    return _read_lcov(data)


# XML


class _Target:
    """What the parser calls; knows the path of elements it is in."""

    def __init__(self) -> None:
        self.path: list[str] = []

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        name = tag.rpartition("}")[2]
        self.path.append(name)
        if len(self.path) > MAX_DEPTH:
            raise LimitError(f"XML nested deeper than {MAX_DEPTH}")
        self.enter(name, attributes)

    def end(self, tag: str) -> None:
        self.leave(self.path.pop())

    def data(self, text: str) -> None:
        pass

    def close(self) -> None:
        pass

    def enter(self, name: str, attributes: Mapping[str, str]) -> None:
        raise NotImplementedError

    def leave(self, name: str) -> None:
        pass


def _parse(data: bytes, target: _Target) -> None:
    from xml.etree.ElementTree import ParseError

    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import XMLParser

    if len(data) > MAX_REPORT_BYTES:
        raise LimitError(f"report larger than {MAX_REPORT_BYTES} bytes")
    parser = XMLParser(target=target, forbid_dtd=True)
    try:
        for offset in range(0, len(data), _CHUNK_BYTES):
            parser.feed(data[offset : offset + _CHUNK_BYTES])
        parser.close()
    except DefusedXmlException as error:
        raise FormatError(f"refused XML: {type(error).__name__}") from None
    except ParseError as error:
        raise FormatError(f"not XML: {error}") from None
    except (ValueError, LookupError) as error:  # encodings that expat or Python does not know
        raise FormatError(f"not XML: {error}") from None


class _JUnitTarget(_Target):
    def __init__(self) -> None:
        super().__init__()
        self.cases: list[JUnitCase] = []
        self.declared: Counter[str] = Counter()
        self.timestamp = ""
        self.reruns = 0
        self._case: Mapping[str, str] | None = None
        self._marks: set[str] = set()
        self._message = ""
        self._text: list[str] = []
        self._text_left = 0
        self._texts_left = _MAX_TEXTS

    def enter(self, name: str, attributes: Mapping[str, str]) -> None:
        if len(self.path) == 1 and name not in ("testsuites", "testsuite"):
            raise FormatError(f"the root element is <{name[:40]}>, not <testsuites> or <testsuite>")
        if name == "testsuite":
            self._enter_suite(attributes)
        elif name == "testcase":
            self._enter_case(attributes)
        elif self._case is not None and self.path[-2] == "testcase":
            self._enter_mark(name, attributes)

    def leave(self, name: str) -> None:
        if name == "testcase" and self._case is not None:
            case, self._case = self._case, None
            identity = f"{case.get('classname', '')[:_MAX_NAME]}::{case.get('name', '')[:_MAX_NAME]}"
            text = "".join(self._text)
            self._texts_left -= len(text)
            self.cases.append(
                JUnitCase(
                    identity,
                    _outcome(self._marks),
                    _seconds(case.get("time", "")),
                    self._message or text.strip().partition("\n")[0][:_MAX_MESSAGE],
                    text,
                    case.get("file", "")[:_MAX_NAME],
                    _line(case.get("line", "")),
                )
            )

    def data(self, text: str) -> None:
        if (
            self._text_left > 0
            and self._case is not None
            and self.path[-1] in ("failure", "error", "skipped")
        ):
            self._text.append(text[: self._text_left])
            self._text_left -= len(text)

    def _enter_suite(self, attributes: Mapping[str, str]) -> None:
        self.timestamp = self.timestamp or attributes.get("timestamp", "")[:64]
        if self.path.count("testsuite") > 1:
            return
        for name in ("tests", "failures", "errors", "skipped"):
            text = attributes.get(name, "")
            if text.isascii() and text.isdigit() and len(text) < 16:
                self.declared[name] += int(text)

    def _enter_case(self, attributes: Mapping[str, str]) -> None:
        if self._case is not None or self.path[-2:-1] not in (["testsuite"], ["testsuites"]):
            raise FormatError("a <testcase> outside a suite")
        if len(self.cases) >= MAX_CASES:
            raise LimitError(f"more than {MAX_CASES} test cases")
        self._case = attributes
        self._marks = set()
        self._message, self._text = "", []
        self._text_left = min(_MAX_TEXT, self._texts_left)
        if attributes.get("status") in ("skipped", "disabled"):  # go-junit-report 0.x and gtest
            self._marks.add("skipped")

    def _enter_mark(self, name: str, attributes: Mapping[str, str]) -> None:
        if name in ("failure", "error", "skipped"):
            self._message = self._message or attributes.get("message", "")[:_MAX_MESSAGE]
        if name in ("failure", "error"):
            self._marks.add(name)
        elif name == "skipped":
            self._marks.add("xfailed" if attributes.get("type") == "pytest.xfail" else "skipped")
        elif name in ("rerunFailure", "rerunError", "flakyFailure", "flakyError"):  # Surefire
            self.reruns += 1


def _outcome(marks: set[str]) -> Outcome:
    for mark, outcome in _MARKS.items():
        if mark in marks:
            return outcome
    return Outcome.PASSED


_MARKS = {
    "failure": Outcome.FAILED,
    "error": Outcome.ERROR,
    "xfailed": Outcome.XFAILED,
    "skipped": Outcome.SKIPPED,
}


def _line(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def _seconds(text: str) -> float:
    try:
        seconds = float(text.replace(",", ""))  # Surefire writes 1,234.5
    except ValueError:
        return 0.0
    return seconds if isfinite(seconds) and seconds >= 0 else 0.0


def _counts(cases: list[JUnitCase], reruns: int) -> Counts:
    tally = Counter(case.outcome for case in cases)
    return Counts(
        collected=len(cases),
        passed=tally[Outcome.PASSED],
        failed=tally[Outcome.FAILED],
        errors=tally[Outcome.ERROR],
        skipped=tally[Outcome.SKIPPED],
        xfailed=tally[Outcome.XFAILED],
        rerun=reruns,
    )


# Coverage


class _Lines:
    """Hits of lines by file, while a report is read."""

    def __init__(self) -> None:
        self.hits: dict[str, dict[int, bool]] = {}

    def file(self, name: str) -> dict[int, bool]:
        if len(self.hits) >= MAX_COVERED_FILES:
            raise LimitError(f"coverage of more than {MAX_COVERED_FILES} files")
        return self.hits.setdefault(name[:_MAX_NAME], {})

    def files(self) -> dict[str, FileCoverage]:
        return {
            name: FileCoverage(
                executed=tuple(sorted(line for line, hit in lines.items() if hit)),
                missing=tuple(sorted(line for line, hit in lines.items() if not hit)),
            )
            for name, lines in self.hits.items()
        }


class _CoberturaTarget(_Target):
    def __init__(self) -> None:
        super().__init__()
        self._lines = _Lines()
        self._file: dict[int, bool] = {}
        self._branches = False

    def facts(self) -> CoverageFacts:
        return CoverageFacts(format="cobertura", files=self._lines.files(), branches=self._branches)

    def enter(self, name: str, attributes: Mapping[str, str]) -> None:
        if len(self.path) == 1 and name != "coverage":
            raise FormatError(f"the root element is <{name[:40]}>, not <coverage>")
        if name == "class":
            self._file = self._lines.file(attributes.get("filename", ""))
        elif name == "line" and "class" in self.path:
            line, hits = _number(attributes.get("number", "")), _number(attributes.get("hits", ""))
            self._file[line] = self._file.get(line, False) or hits > 0
            self._branches = self._branches or attributes.get("branch") == "true"


def _read_lcov(data: bytes) -> CoverageFacts:
    lines = _Lines()
    file: dict[int, bool] | None = None
    branches = False
    for keyword, value in _lcov_records(data):
        if keyword == "SF":
            file = lines.file(value)
        elif keyword == "DA" and file is not None:
            line, _, rest = value.partition(",")
            hit = _number(rest.partition(",")[0]) > 0
            file[_number(line)] = file.get(_number(line), False) or hit
        elif keyword == "BRDA":
            branches = True
    if not lines.hits:
        raise FormatError("neither coverage.py data, Cobertura XML nor an lcov tracefile")
    return CoverageFacts(format="lcov", files=lines.files(), branches=branches)


def _lcov_records(data: bytes) -> Iterator[tuple[str, str]]:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise FormatError("neither coverage.py data, Cobertura XML nor an lcov tracefile") from None
    for line in text.splitlines():
        keyword, _, value = line.partition(":")
        yield keyword.strip(), value.strip()


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise FormatError(f"expected a number, not {text[:40]!r}")
    return int(text)


def _read_database(data: bytes) -> CoverageFacts:
    """coverage.py's own file, through its own reader, from a private copy."""
    import sqlite3
    from tempfile import TemporaryDirectory

    from coverage import CoverageData
    from coverage.exceptions import CoverageException

    with TemporaryDirectory(prefix="dre-") as folder:
        copy = Path(folder, "coverage")
        copy.write_bytes(data)
        try:
            return _guarded(CoverageData(basename=str(copy)))
        except (CoverageException, sqlite3.Error, ValueError, TypeError, OverflowError) as error:
            raise FormatError(f"damaged coverage data: {error}") from None


def _guarded(source: object) -> CoverageFacts:
    from coverage import CoverageData

    assert isinstance(source, CoverageData)
    try:
        source.read()
        names = sorted(source.measured_files())
        if len(names) > MAX_COVERED_FILES:
            raise LimitError(f"coverage of more than {MAX_COVERED_FILES} files")
        read: Callable[[str], object] = source.lines
        return CoverageFacts(
            format="coverage.py",
            files={name: FileCoverage(executed=_lines(read(name))) for name in names},
            branches=source.has_arcs(),
            contexts=tuple(sorted(context for context in source.measured_contexts() if context)),
        )
    finally:
        source.close()


def _lines(found: object) -> tuple[int, ...]:
    if not isinstance(found, list) or not all(isinstance(line, int) for line in found):
        raise FormatError("damaged coverage data: lines that are no numbers")
    return tuple(sorted(found))

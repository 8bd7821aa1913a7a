"""Coverage data held against the change and the tests: makes the item ``covered``.

It reads data that somebody else measured (or the recorder, with ``--dre-cov``) and runs nothing of the project: not
even coverage's own plugins, which a project's configuration can name. Executable lines come from coverage's parser,
changed lines from git: what differs from the base on disk, untracked files included.

What a test ran is known where the data have contexts that name tests: ``<node id>``, or ``<node id>|run`` as pytest-cov
writes it. Module and class bodies run when a module is imported, which is no test's doing.
"""

from __future__ import annotations

import os
import re
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from dre_core.capture.git import Git
from dre_core.capture.material import is_test_file
from dre_core.capture.spectrum import Spectrum, lines_by_context
from dre_core.errors import CaptureError, DREError, FormatError, LimitError, StorageError
from dre_core.model.covered import ChangedFile, Covered, Named
from dre_core.model.record import dataclass
from dre_core.model.session import Outcome, Session
from dre_core.model.text import printable
from dre_core.store.folder import open_regular

if TYPE_CHECKING:
    from coverage.parser import PythonParser

_CONFIGS = (".coveragerc", ".coveragerc.toml", "setup.cfg", "tox.ini", "pyproject.toml")
_MENTIONS = re.compile(r"^\s*\[(?:coverage:|tool\.coverage)", re.M)
_DEFAULT_EXCLUDE = r"#\s*(pragma|PRAGMA)[:\s]?\s*(no|NO)\s*(cover|COVER)"
_HUNK = re.compile(rb"^@@ -\S+ \+(\d+)(?:,(\d+))? @@", re.M)
_SOURCE_LIMIT_BYTES = 4 << 20
_LISTED = 1_000
_DATA_LIMIT_BYTES = 512 << 20
_QUERY_SECONDS = 60.0
_PLAIN_TABLE = re.compile(r"\s*create\s+table\b", re.I)
_COMPUTED = re.compile(r"\bgenerated\b|\bas\s*\(", re.I)


@dataclass(slots=True)
class Data:
    """What one or several data files say of files below a root.

    Attributes:
        executed: Path to the lines that ran.
        missing: Path to lines that are known not to have, where the format says so.
        branches: Whether branches were measured.
        reached: Test to the files that it ran lines of.
        lines: Test module to the lines that each test ran of it.
        failing: Line of the code under test to the failing tests that ran it.
        passing: The same of passing tests, for those lines.
    """

    executed: dict[str, set[int]] = field(default_factory=dict)
    missing: dict[str, set[int]] = field(default_factory=dict)
    branches: bool = False
    reached: dict[str, set[str]] = field(default_factory=dict)
    lines: dict[str, dict[str, set[int]]] = field(default_factory=dict)
    failing: Counter[tuple[str, int]] = field(default_factory=Counter)
    passing: Counter[tuple[str, int]] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Tried:
    """The tests that were measured, by what came of them."""

    ids: frozenset[str]
    failed: frozenset[str]
    passed: frozenset[str]

    @classmethod
    def of(cls, sessions: Iterable[Session]) -> Tried:
        """Those of some sessions; a test that failed in one of them has failed."""
        tests = [test for session in sessions for test in session.tests]
        failed = frozenset(test.id for test in tests if test.outcome in (Outcome.FAILED, Outcome.ERROR))
        passed = frozenset(test.id for test in tests if test.outcome is Outcome.PASSED)
        return cls(frozenset(test.id for test in tests), failed, passed - failed)


def read_covered(
    files: Iterable[Path], sessions: Sequence[Session], root: Path, cwd: Path, base: str
) -> Covered | None:
    """What the data files say.

    Args:
        files: Coverage data: coverage.py's, Cobertura XML or lcov.
        sessions: The sessions whose tests were measured.
        root: A folder of the tree; what lies outside its repository, or this folder without one, is not the code
            under test.
        cwd: Where coverage looks for its configuration first.
        base: Commit to compare the tree with; empty: none.

    Returns:
        The facts, or None where none of the files could be read.
    """
    gaps: list[str] = []
    data = Data()
    git = Git.find(str(root))
    root = Path(git.root) if git else root
    tried = Tried.of(sessions)
    read = [_attempt(gaps, path.name, lambda path=path: _read(path, data, root, tried)) for path in files]  # type: ignore[misc]
    if not any(read):
        return None
    omit, exclude = _left_out(root, cwd)
    pattern = _compiled(exclude, gaps)
    changed = _changed_files(data, git, base, pattern, gaps) if base and git else ()
    idle, unchecked, assertions = _tests(data, sessions, root)
    subject = [path for path in data.executed if not is_test_file(path)]
    return Covered(
        base=base,
        changed=tuple(changed),
        files=len(subject),
        branches=data.branches,
        contexts=bool(data.reached),
        omit=omit,
        exclude=exclude,
        pragmas=tuple(list(_pragmas(subject, root, pattern))[:_LISTED]),
        idle=idle,
        unchecked=unchecked,
        assertions=assertions,
        suspects=Spectrum(data.failing, data.passing).suspects(len(tried.failed)),
        gaps=tuple(printable(gap) for gap in gaps),
    )


def _attempt(gaps: list[str], name: str, work: Callable[[], None]) -> bool:
    try:
        work()
    except (DREError, OSError, sqlite3.Error) as error:
        gaps.append(f"{name}: {error}")
        return False
    return True


def _read(path: Path, data: Data, root: Path, tried: Tried) -> None:
    from dre_core.capture.programmatic import read_coverage

    if path.stat().st_size > _DATA_LIMIT_BYTES:
        raise LimitError(f"larger than {_DATA_LIMIT_BYTES} bytes")
    with path.open("rb") as stream:
        is_database = stream.read(16) == b"SQLite format 3\x00"
    if is_database:
        _require_plain_tables(path)
    facts = read_coverage(path)
    data.branches = data.branches or facts.branches
    within = _Within(root)
    for name, lines in facts.files.items():
        if (relative := within(name)) is not None:
            data.executed.setdefault(relative, set()).update(lines.executed)
            data.missing.setdefault(relative, set()).update(lines.missing)
    if is_database and facts.contexts:
        _read_contexts(path, data, within, tried)


def _require_plain_tables(path: Path) -> None:
    """The command wrote this file: a view, a virtual table or a computed column in it is code that a query would run.

    Raises:
        FormatError: It holds something else than tables.
    """
    with _opened(path) as database:
        for kind, name, sql in database.execute("select type, name, sql from sqlite_master"):
            plain = kind == "table" and _PLAIN_TABLE.match(str(sql)) and not _COMPUTED.search(str(sql))
            if not plain and kind != "index":
                raise FormatError(f"{str(name)[:60]!r} is no plain table")


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """A database that nothing is written to, each query under a time limit."""
    database = sqlite3.connect(f"file:{quote(str(path))}?mode=ro&immutable=1", uri=True)
    deadline = time.monotonic() + _QUERY_SECONDS
    database.set_progress_handler(lambda: time.monotonic() > deadline, 10_000)
    try:
        yield database
    finally:
        database.close()


class _Within:
    """Paths relative to a root, with forward slashes; None for those elsewhere."""

    def __init__(self, root: Path) -> None:
        self._roots = {str(root), os.path.realpath(root)}

    def __call__(self, name: str) -> str | None:
        if ".." in Path(name).parts:
            return None
        if not os.path.isabs(name):
            return name.replace(os.sep, "/")
        for root in self._roots:
            if name.startswith(root + os.sep):
                relative = name[len(root) + 1 :].replace(os.sep, "/")
                return None if "site-packages/" in relative else relative
        return None


def _read_contexts(path: Path, data: Data, within: _Within, tried: Tried) -> None:
    """Which test ran what, by coverage's documented schema.

    Source: https://coverage.readthedocs.io/en/latest/dbschema.html
    """
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="dre-") as folder:
        copy = Path(folder, "coverage")
        copy.write_bytes(path.read_bytes())
        with _opened(copy) as database:
            tests = {
                number: test
                for number, name in database.execute("select id, context from context")
                if isinstance(name, str) and (test := _test_of(name, tried.ids))
            }
            files = {
                number: relative
                for number, name in database.execute("select id, path from file")
                if isinstance(name, str) and (relative := within(name)) is not None
            }
            for file, context in database.execute(
                "select distinct file_id, context_id from arc union select file_id, context_id from line_bits"
            ):
                if context in tests and file in files:
                    data.reached.setdefault(tests[context], set()).add(files[file])
            for number, name in files.items():
                if is_test_file(name):
                    _read_lines(database, number, tests, data.lines.setdefault(name, {}))
            if tried.failed:
                subject = {number: name for number, name in files.items() if not is_test_file(name)}
                spectrum = Spectrum.read(database, subject, tests, tried.failed, tried.passed)
                data.failing.update(spectrum.failing)
                data.passing.update(spectrum.passing)


def _test_of(context: str, ids: frozenset[str]) -> str:
    """The node id that a context names; empty if it names none. A static context may stand before it."""
    if context in ids:
        return context
    node, bar, phase = context.rpartition("|")
    if bar and phase in ("setup", "run", "call", "teardown"):
        context = node
    if context in ids:
        return context
    _, bar, rest = context.partition("|")
    return rest if bar and rest in ids else ""


def _read_lines(
    database: sqlite3.Connection, file: int, tests: Mapping[int, str], lines: dict[str, set[int]]
) -> None:
    for context, numbers in lines_by_context(database, file):
        if context in tests:
            lines.setdefault(tests[context], set()).update(numbers)


# What the configuration leaves out


def _left_out(root: Path, cwd: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Patterns of files and of lines."""
    from coverage import Coverage
    from coverage.exceptions import CoverageException

    file = _config_file(root, cwd)
    try:
        settings = Coverage(data_file=None, config_file=str(file) if file else False)
    except CoverageException:
        return (), (_DEFAULT_EXCLUDE,)

    def texts(name: str) -> tuple[str, ...]:
        value = settings.get_option(name)
        return tuple(map(str, value)) if isinstance(value, list) else ()

    omit = dict.fromkeys((*texts("run:omit"), *texts("report:omit")))
    exclude = dict.fromkeys((*texts("report:exclude_lines"), *texts("report:exclude_also")))
    return tuple(omit), tuple(exclude)


def _config_file(root: Path, cwd: Path) -> Path | None:
    """The file that coverage takes its settings from."""
    for folder in dict.fromkeys((cwd, root)):
        for name in _CONFIGS:
            path = folder / name
            if path.is_file() and (name.startswith(".") or _MENTIONS.search(_text(path) or "")):
                return path
    return None


def _compiled(patterns: Sequence[str], gaps: list[str]) -> str:
    try:
        re.compile(text := "|".join(f"(?:{each})" for each in patterns))
    except re.error as error:
        gaps.append(f"patterns of excluded lines: {error}")
        return _DEFAULT_EXCLUDE
    return text


def _pragmas(paths: Iterable[str], root: Path, pattern: str) -> Iterator[str]:
    if not pattern:
        return
    search = re.compile(pattern).search
    for path in sorted(paths):
        for number, line in enumerate((_text(root / path) or "").splitlines(), 1):
            if search(line):
                yield f"{path}:{number}"


def _text(path: Path) -> str | None:
    try:
        with open_regular(path) as stream:
            data = stream.read(_SOURCE_LIMIT_BYTES + 1)
        return data.decode() if len(data) <= _SOURCE_LIMIT_BYTES else None
    except (OSError, StorageError, UnicodeDecodeError):
        return None


# The change


def _changed_files(data: Data, git: Git, base: str, exclude: str, gaps: list[str]) -> Iterator[ChangedFile]:
    try:
        lines = changed_lines(git, base)
    except CaptureError as error:
        gaps.append(f"the change: {error}")
        return
    for path, numbers in sorted(lines.items()):
        if path.endswith(".py") and not is_test_file(path):
            found = _changed_file(data, Path(git.root), path, numbers, exclude)
            if found is None:
                gaps.append(f"{path} could not be read as Python")
            elif found.executed or found.missing or found.excluded:
                yield found


def changed_lines(git: Git, base: str) -> dict[str, set[int]]:
    """Path to the lines that the tree on disk added or changed against a commit.

    Raises:
        CaptureError: git refuses.
    """
    output = git.run("diff", "-U0", "--no-renames", "--no-ext-diff", "--no-textconv", "--no-color",
                     "--src-prefix=a/", "--dst-prefix=b/", base, "--", "*.py")  # fmt: skip
    found: dict[str, set[int]] = {}
    for part in re.split(rb"^diff --git ", output, flags=re.M)[1:]:
        head, _, body = part.partition(b"\n@@ ")
        name = re.search(rb"^\+\+\+ \"?b/(.*?)\"?\t?$", head, re.M)
        if name is None:
            continue
        numbers = found.setdefault(os.fsdecode(name[1]), set())
        for match in _HUNK.finditer(b"@@ " + body):
            start, count = int(match[1]), int(match[2] or b"1")
            numbers.update(range(start, start + count))
    others = git.run("ls-files", "-z", "--others", "--exclude-standard", "--", "*.py")
    for each in filter(None, others.split(b"\0")):
        text = _text(Path(git.root, os.fsdecode(each)))
        found[os.fsdecode(each)] = set(range(1, len((text or "").splitlines()) + 1))
    return found


def _changed_file(data: Data, root: Path, path: str, numbers: set[int], exclude: str) -> ChangedFile | None:
    text = _text(root / path)
    if not text:
        return ChangedFile(path=path) if text == "" else None
    parser = _parsed(text, exclude)
    if parser is None:
        return None
    changed = parser.translate_lines(numbers)
    measured = path in data.executed
    ran = parser.translate_lines(data.executed.get(path, set()))
    could = changed & set(parser.statements)
    return ChangedFile(
        path=printable(path),
        executed=tuple(sorted(could & ran)),
        missing=tuple(sorted(could - ran)),
        excluded=tuple(sorted(changed & set(parser.excluded))),
        measured=measured,
    )


def _parsed(text: str, exclude: str) -> PythonParser | None:
    from coverage.exceptions import CoverageException
    from coverage.parser import PythonParser

    try:
        parser = PythonParser(text=text, filename="<source>", exclude=exclude or None)
        parser.parse_source()
    except (CoverageException, SyntaxError, ValueError, RecursionError):
        return None
    return parser


# The tests


def _tests(
    data: Data, sessions: Iterable[Session], root: Path
) -> tuple[Named | None, Named | None, int | None]:
    """Tests that ran no code under test, tests that ran none of their assertions, and all assertions run."""
    if not data.reached:
        return None, None, None
    ran = [
        test
        for session in sessions
        for test in session.tests
        if test.outcome in (Outcome.PASSED, Outcome.FAILED, Outcome.XPASSED)
    ]
    measures_subject = any(not is_test_file(path) for path in data.executed)
    idle = (
        Named.of({test.id for test in ran if not any(map(_is_subject, data.reached.get(test.id, ())))})
        if measures_subject
        else None
    )
    modules = {path: _Assertions.read(_text(root / path)) for path in data.lines}
    if not modules:
        return idle, None, None
    counts: dict[str, int] = {}
    for path, by_test in data.lines.items():
        for test, lines in by_test.items():
            counts[test] = counts.get(test, 0) + len(lines & modules[path].lines)
    unchecked = {
        test.id
        for test in ran
        if test.outcome is Outcome.PASSED
        and counts.get(test.id) == 0
        and _name(test.id) in modules.get(test.file, _Assertions()).asserting
    }
    return idle, Named.of(unchecked), sum(counts.values())


def _is_subject(path: str) -> bool:
    return not is_test_file(path)


def _name(node: str) -> str:
    """``Class::test_name`` of a node id."""
    return node.partition("[")[0].partition("::")[2]


@dataclass(frozen=True, slots=True)
class _Assertions:
    """Where a test module asserts.

    Attributes:
        lines: First lines of its ``assert`` statements and of calls that check.
        asserting: Tests that hold one.
    """

    lines: frozenset[int] = frozenset()
    asserting: frozenset[str] = frozenset()

    @classmethod
    def read(cls, text: str | None) -> _Assertions:
        from dre_core.capture.testfacts import Module, assertion_lines

        try:
            module = Module.read("", text)
        except (SyntaxError, ValueError, RecursionError):
            return cls()
        asserting = (name for name, test in module.tests.items() if test.assertions)
        return cls(frozenset(assertion_lines(module.tree)), frozenset(asserting))

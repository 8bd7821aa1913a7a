"""What two versions of a test file in another language than Python say about its tests, by their text.

Known are JavaScript and TypeScript as jest, vitest, mocha and node write tests, Go, Rust, and Java and Kotlin with
JUnit. Nothing is parsed: a definition is found by how it is written, and what skips it stands in it or before it. A
test is the same if its name is. One that is gone is named only where none was added: a new name may be its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from dre_core.model.changes import CONDITION, Change, ChangeKind
from dre_core.model.record import dataclass

_LIMIT_CHARACTERS = 1 << 20
# Compiled by ``re`` when a change first has a file of the language.
_COMMENTS = r"(?m)^[ \t]*(?://|\*|/\*).*$"
_SCRIPT = (
    r"(?m)(?<![\w.$])(?P<word>[xf]?(?:it|test|describe|suite|context|specify)|xtest)"
    r"(?P<more>(?:\.\w+(?:\([^()\n]*\))?)*)\s*\(\s*(?P<quote>['\"`])(?P<name>(?:\\.|(?!(?P=quote))[^\\\n])*)(?P=quote)"
)
_SCRIPT_SKIPS = r"\.(?:skip|todo|fails|failing)\b(?!If)|\.skipIf\(true\)"
_SCRIPT_ONLY = r"\.only\b"
_GO = r"(?m)^func (?P<name>Test\w+)\(\w+ \*testing\.T\) *\{(?P<body>(?:.*\n)*?)(?:\}|(?=^func ))"
_GO_SKIP = r"(?m)^(?P<before>.*\n)?\s*\w+\.Skip(?:f|Now)?\((?P<reason>.*)$"
_RUST = r"(?m)(?P<marks>(?:^[ \t]*#\[[^\n]*\n)+)[ \t]*(?:pub )?(?:async )?fn (?P<name>\w+)"
_RUST_SKIP = r"#\[ignore(?P<reason>[^\]]*)\]"
_JAVA = (
    r"(?m)(?P<marks>(?:^[ \t]*@\w[^\n]*\n)+)[ \t]*(?:public |private |protected |internal )*"
    r"(?:void|fun|class) +(?P<name>\w+)"
)
_JAVA_SKIP = r"@(?:Disabled|Ignore)\b(?P<reason>[^\n]*)"


@dataclass(frozen=True, slots=True)
class Definition:
    """One test as it is written.

    Attributes:
        name: Its title, or its function's or class's name.
        line: 1-based.
        skipped: What skips it, as source; empty where nothing does.
        only: It keeps the others of its file from running.
        excused: What skips it names a platform, something missing or a tracked issue.
    """

    name: str
    line: int
    skipped: str = ""
    only: bool = False
    excused: bool = False


def is_other_test(path: str) -> bool:
    """Whether a path looks like a test file of a known language."""
    return _reader(path) is not None


def read_tests(path: str, text: str | None) -> list[Definition]:
    """The tests of one version of a file; an absent one has none."""
    reader = _reader(path)
    if reader is None or not text:
        return []
    return list(reader(re.sub(_COMMENTS, "", text[:_LIMIT_CHARACTERS])))


def compare_other_tests(pairs: Sequence[tuple[str, str | None, str | None]]) -> list[Change]:
    """What a change did to tests, over all changed test files at once, so that moves are seen.

    Args:
        pairs: Path, the text at the base and the text now of each; None for a file that is not there.
    """
    changes: list[Change] = []
    old = {path: read_tests(path, before) for path, before, _ in pairs}
    new = {path: read_tests(path, after) for path, _, after in pairs}
    free = {t.name for tests in old.values() for t in tests if not t.skipped}
    known = {t.name for tests in old.values() for t in tests}
    only = {t.name for tests in old.values() for t in tests if t.only}
    present = {t.name for tests in new.values() for t in tests}
    added = present - known
    for path, tests in new.items():
        changes += (
            Change(
                kind=ChangeKind.TEST_SKIPPED, path=path, name=t.name[:200], line=t.line,
                detail=t.skipped[:200] or "only this one is run, of all in its file", excused=t.excused and not t.only,
            )
            for t in tests
            if (t.skipped and t.name in free) or (t.only and t.name not in only)
        )  # fmt: skip
    if not added:
        for path, tests in old.items():
            gone = (t for t in tests if t.name not in present)
            changes += (Change(kind=ChangeKind.TEST_REMOVED, path=path, name=t.name[:200]) for t in gone)
    return changes


def _of_script(text: str) -> Iterator[Definition]:
    for found in re.finditer(_SCRIPT, text):
        word, more = found["word"], found["more"]
        skip = word if word.startswith("x") else next(iter(re.findall(_SCRIPT_SKIPS, more)), "")
        yield Definition(
            found["name"],
            _line(text, found.start()),
            f"{word}{more}" if skip else "",
            word.startswith("f") or re.search(_SCRIPT_ONLY, more) is not None,
        )


def _of_go(text: str) -> Iterator[Definition]:
    for found in re.finditer(_GO, text):
        skip = re.search(_GO_SKIP, found["body"])
        # A skip under a condition is asked for where it stands, and its condition says why.
        condition = (skip["before"] or "") if skip else ""
        under = condition.strip().startswith("if ")
        reason = f"{condition.strip() if under else ''} {skip['reason']}" if skip else ""
        excused = under or CONDITION.search(reason) is not None
        yield Definition(
            found["name"],
            _line(text, found.start()),
            reason.strip() and f"Skip({reason.strip()}",
            False,
            excused,
        )


def _of_rust(text: str) -> Iterator[Definition]:
    return _marked(text, _RUST, _RUST_SKIP, "test")


def _of_java(text: str) -> Iterator[Definition]:
    return _marked(text, _JAVA, _JAVA_SKIP, "Test")


def _marked(text: str, definition: str, skip: str, word: str) -> Iterator[Definition]:
    """Tests that are told by marks before them."""
    for found in re.finditer(definition, text):
        marks = found["marks"]
        skips = re.search(skip, marks)
        if word in marks or skips:
            reason = skips[0] if skips else ""
            line = _line(text, found.start("name"))
            yield Definition(found["name"], line, reason, False, CONDITION.search(reason) is not None)


def _line(text: str, offset: int) -> int:
    return text.count("\n", 0, offset) + 1


_READERS: tuple[tuple[str, Callable[[str], Iterator[Definition]]], ...] = (
    (
        r"(?:[._-](?:test|spec)|/tests?/.*|/__tests__/.*|/specs?/.*)\.(?:[cm]?[jt]sx?)$",
        _of_script,
    ),
    (r"_test\.go$", _of_go),
    (r"\.rs$", _of_rust),
    (r"(?:Tests?|IT|Spec)\.(?:java|kt)$|/src/test/.*\.(?:java|kt)$", _of_java),
)


def _reader(path: str) -> Callable[[str], Iterator[Definition]] | None:
    return next((reader for pattern, reader in _READERS if re.search(pattern, f"/{path}")), None)

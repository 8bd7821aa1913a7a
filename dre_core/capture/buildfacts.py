"""What two versions of a Maven or Gradle build say about its tests: skipped, left out, or failing unnoticed.

A ``pom.xml`` is parsed; Gradle's scripts are programs, and read by line, as far as a block about tests is around it.
Tests that a new exclusion names are named themselves, as far as they are there: they are skipped, by whatever file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase

from dre_core.model.changes import CONDITION, Change, ChangeKind

# Settings of Surefire and Failsafe, as elements of their configuration and as properties.
_SWITCHES = frozenset((
    "skip", "skipTests", "skipITs", "skipExec", "testFailureIgnore", "maven.test.skip", "maven.test.skip.exec",
    "maven.test.failure.ignore", "surefire.skip", "failsafe.skip",
))  # fmt: skip
_CHOICES = frozenset((
    "test", "groups", "excludedGroups", "include", "exclude", "includesFile", "excludesFile",
    "rerunFailingTestsCount", "surefire.excludes", "surefire.rerunFailingTestsCount",
))  # fmt: skip
_TEST_PLUGINS = ("maven-surefire-plugin", "maven-failsafe-plugin")
_BUILD_FILE = re.compile(
    r"(?:^|/)(?:pom\.xml|[\w.-]+\.gradle(?:\.kts)?|gradle\.properties|\.mvn/maven\.config)$"
)
_GRADLE_SETTING = re.compile(
    r"""\bignoreFailures\s*(?:=\s*|\()?true|\bsetIgnoreFailures\(true|\benabled\s*=?\s*false|\bonlyIf\s*\{\s*false|"""
    r"""\b(?:exclude|excludeTestsMatching|excludeTags|excludeGroups|excludeCategories|setExcludes)\b\s*\(?\s*['"\[]|"""
    r"""\bfailOnNoMatchingTests\s*=?\s*false|excludedTaskNames|\bmaxRetries\b"""
)
_GRADLE_EXCLUDES = re.compile(r"\b(?:exclude|excludeTestsMatching)\b\s*\(?((?:\s*,?\s*['\"][^'\"\n]+['\"])+)")
_GRADLE_BLOCK = re.compile(r"\btest\b|\bTest\b|Test>|Test\)|[Tt]est\s*\{|useJUnit|useTestNG")
_OPTION = re.compile(
    r"-D(?:skipTests|skipITs|maven\.test\.skip(?:\.exec)?|maven\.test\.failure\.ignore)\b(?!=false)|-x\s*:?[\w:]*test\b"
)
# Globs hold the marks of comments, so a block comment counts only at the beginning of a line.
_COMMENT = re.compile(r"^[ \t]*/\*.*?\*/|(?<![:\"'/*])//[^\n]*", re.S | re.M)
_REASON = re.compile(r"(?://|<!--|/\*|(?<![\w'\"])#)(.*)")
_NAMED_LIMIT = 200


def is_build_file(path: str) -> bool:
    """Whether a file says how Maven or Gradle run tests."""
    return _BUILD_FILE.search(path) is not None


def compare_build(path: str, before: str | None, after: str | None, tests: Iterable[str]) -> Iterator[Change]:
    """What changed for tests in one file of a build.

    Args:
        path: The file.
        before: Its text at the base; None where it is absent.
        after: Its text now.
        tests: Paths of the test files there are, of which new exclusions may leave some out.
    """
    old = set(_facts(path, before))
    for fact in dict.fromkeys(_facts(path, after)):
        if fact in old:
            continue
        name, value = fact
        yield Change(
            kind=ChangeKind.RUNNER_CONFIG, path=path, name=name[:80], line=_line(after, value or name),
            detail=f"added {value[:100]}" if value else "added",
        )  # fmt: skip
        if name in ("exclude", "excludeTestsMatching"):
            yield from _left_out(path, value, after or "", tests)


def _left_out(path: str, pattern: str, text: str, tests: Iterable[str]) -> Iterator[Change]:
    form = _form(pattern)
    if form is None:
        return
    excused = CONDITION.search(_around(text, pattern)) is not None
    matching = [test for test in tests if _fits(form, _class(test))]
    for test in matching[:_NAMED_LIMIT]:
        name = test.rpartition("/")[2].partition(".")[0]
        detail = f"excluded in {path}: {pattern[:80]}"
        yield Change(kind=ChangeKind.TEST_SKIPPED, path=test, name=name, detail=detail, excused=excused)


def _class(path: str) -> str:
    """The class that a test file holds, with slashes: what stands behind the root of its sources."""
    inner = re.split(r"(?:^|/)src/\w+/(?:java|kotlin|groovy|scala)/", path)[-1]
    return inner.rpartition(".")[0] or inner


def _form(pattern: str) -> list[str] | None:
    """A pattern of Ant's, or a class with dots, as the names on the way to a class; None for one of all or none."""
    text = re.sub(r"\.(?:java|class|kt|groovy|scala)$", "", pattern.strip().replace("\\", "/"))
    if not text.strip("*/.") or text.startswith("%") or len(text) > 500:
        return None
    if "/" not in text and "." in text:
        text = text.replace(".", "/")
    # It may begin at any folder.
    return ["**", *(part.replace("[", "[[]") for part in text.split("/"))]


def _fits(form: list[str], path: str) -> bool:
    """Whether a path fits, found without going back: a hostile pattern would hold up a regular expression for ever."""
    places = _opened(form, {0})
    for name in path.split("/"):
        there = [place for place in places if place < len(form)]
        stay = {place for place in there if form[place] == "**"}
        go = {place + 1 for place in there if place not in stay and fnmatchcase(name, form[place])}
        places = _opened(form, stay | go)
    return len(form) in places


def _opened(form: list[str], places: set[int]) -> set[int]:
    """The places in a form that are reached, those behind any number of folders included."""
    for place, part in enumerate(form):
        if place in places and part == "**":
            places.add(place + 1)
    return places


def _around(text: str, pattern: str) -> str:
    """The comments in the line that holds a pattern and in the one before it: where a reason would stand."""
    lines = text.splitlines()
    at = next((number for number, line in enumerate(lines) if pattern in line), None)
    near = [] if at is None else lines[max(0, at - 1) : at + 1]
    return " ".join(found[1] for line in near if (found := _REASON.search(line.replace(pattern, ""))))


def _line(text: str | None, value: str) -> int:
    offset = (text or "").find(value)
    return 0 if offset < 0 or text is None else text.count("\n", 0, offset) + 1


def _facts(path: str, text: str | None) -> Iterator[tuple[str, str]]:
    """What a file says about tests, as name and value."""
    if not text:
        return
    if path.endswith("pom.xml"):
        yield from _of_pom(text)
    elif path.endswith((".gradle", ".kts")):
        yield from _of_gradle(text)
    else:
        yield from ((found[0], "") for found in _OPTION.finditer(text))
        yield from ((name, value) for name, value in _properties(text) if name in _SWITCHES and _is_on(value))


def _properties(text: str) -> Iterator[tuple[str, str]]:
    for found in re.finditer(r"^\s*(?:systemProp\.)?([\w.]+)\s*[=:]\s*(\S+)", text, re.M):
        yield found[1], found[2]


def _of_pom(text: str) -> Iterator[tuple[str, str]]:
    from xml.etree.ElementTree import ParseError

    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    try:
        root = fromstring(text, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError):
        return
    for element in root.iter():
        tag = _tag(element.tag)
        children = {_tag(child.tag): (child.text or "").strip() for child in element}
        if tag == "properties":
            yield from _told(children.items())
        elif tag == "plugin" and children.get("artifactId") in _TEST_PLUGINS:
            inside = ((_tag(e.tag), (e.text or "").strip()) for e in element.iter() if len(e) == 0)
            yield from _told(inside)


def _told(pairs: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    for name, value in pairs:
        if (name in _SWITCHES and _is_on(value)) or (name in _CHOICES and value):
            yield name, value


def _is_on(value: str) -> bool:
    return value.lower() == "true"


def _tag(tag: object) -> str:
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def _of_gradle(text: str) -> Iterator[tuple[str, str]]:
    blocks: list[bool] = []
    for line in _COMMENT.sub(lambda found: "\n" * found[0].count("\n"), text).splitlines():
        setting = _GRADLE_SETTING.search(line)
        if setting and (any(blocks) or _GRADLE_BLOCK.search(line[: setting.start()])):
            excluded = _GRADLE_EXCLUDES.search(line)
            if excluded:
                name = excluded[0].partition("(")[0].split()[0].strip("'\" ")
                yield from ((name, each) for each in re.findall(r"['\"]([^'\"]+)['\"]", excluded[1]))
            else:
                yield line.strip()[:80], ""
        # A block belongs to tests if its own first line speaks of them.
        opened, closed = line.count("{"), line.count("}")
        blocks += [_GRADLE_BLOCK.search(line) is not None] * opened
        del blocks[len(blocks) - min(closed, len(blocks)) :]

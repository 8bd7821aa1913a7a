"""What supports a suite's tests from beside them: helpers, plugins and data that stand with the source, and variables.

Not what the tests are about: a module counts only if it says itself that it is for tests, by its name or by what it
imports, and a test speaks of it; data only if a test names the file and no source does. A project that *is* a plugin
for pytest imports pytest everywhere, so there only names count.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator

from dre_core.capture.git import Git
from dre_core.capture.material import CONFIG_NAMES, is_test_file

_TELLING = re.compile(r"(?:^|_)(?:tests?|testing|testutils?|testhelpers?|testsupport|testlib)(?:_|$)")
_FRAMEWORKS = frozenset(("pytest", "_pytest", "unittest", "hypothesis"))
_DECLARED_IN = ("pyproject.toml", "setup.cfg", "setup.py")
_NOT_DATA = (".md", ".rst", ".toml", ".cfg", ".ini", ".lock", ".yml", ".yaml")
_LEAST_NAME = 5
_VARIABLE = re.compile(r"[A-Za-z_]\w{2,}\Z")
# What every process has, and programs can't do without.
_USUAL = re.compile(
    r"(?:PATH|HOME|USER|USERNAME|USERPROFILE|LOGNAME|SHELL|LANG|LANGUAGE|LC_\w+|TERM|COLORTERM|TMPDIR|TEMP|TMP|PWD|TZ|"
    r"EDITOR|VISUAL|PAGER|DISPLAY|HOSTNAME|COLUMNS|LINES|NO_COLOR|FORCE_COLOR|VIRTUAL_ENV|APPDATA|LOCALAPPDATA|"
    r"SYSTEMROOT|COMSPEC|(?:XDG|PYTHON|PIP|CONDA|SSL)_?\w*|\w+_proxy)\Z",
    re.I,
)
_ENVIRONMENT = re.compile(r"\benviron\b|\bgetenv\b")


def support_files(
    git: Git, base: str, changed: Collection[str], old_tests: Collection[str]
) -> frozenset[str]:
    """The changed files of the base that support its tests and are none of them.

    Args:
        git: The repository.
        base: The base commit.
        changed: Paths that the change touched.
        old_tests: Paths of the base that belong to its tests.
    """
    plugin = any("pytest11" in (git.show(base, name) or "") for name in _DECLARED_IN)
    return frozenset(_found(git, base, changed, frozenset(old_tests), frameworks=not plugin))


def _found(
    git: Git, base: str, changed: Collection[str], tests: frozenset[str], *, frameworks: bool
) -> Iterator[str]:
    for path in sorted(changed):
        folders, _, name = path.rpartition("/")
        if path in tests or name in CONFIG_NAMES or name.startswith("."):
            continue
        if path.endswith(".py"):
            stem = name.removesuffix(".py") if name != "__init__.py" else folders.rpartition("/")[2]
            if (
                _says_so(git.show(base, path), stem, frameworks=frameworks)
                and _named(git, base, stem) & tests
            ):
                yield path
        elif not path.endswith(_NOT_DATA) and len(name) >= _LEAST_NAME and git.show(base, path) is not None:
            naming = _named(git, base, name)
            if naming & tests and all(other in tests or is_test_file(other) for other in naming):
                yield path


def _named(git: Git, base: str, word: str) -> frozenset[str]:
    """Python files of the base that speak of a name."""
    return frozenset(path for path in git.grep(base, word) if path.endswith(".py"))


def _says_so(text: str | None, stem: str, *, frameworks: bool) -> bool:
    """Whether a module of the base says that it is for tests."""
    if text is None:
        return False
    if _TELLING.search(stem):
        return True
    if not frameworks:
        return False
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return False
    imported = [alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names]
    imported += [
        node.module or "" for node in tree.body if isinstance(node, ast.ImportFrom) and not node.level
    ]
    return any(name.partition(".")[0] in _FRAMEWORKS for name in imported)


def new_variables(git: Git, base: str, head: str, changed: Collection[str]) -> frozenset[str]:
    """Environment variables that changed source of the head reads and nothing at the base speaks of."""
    found: set[str] = set()
    for path in sorted(changed):
        if path.endswith(".py") and not is_test_file(path):
            text = git.show(head, path)
            if text is not None and ("environ" in text or "getenv" in text):
                found.update(_variables(text))
    return frozenset(name for name in found if not git.grep(base, name))


def _variables(text: str) -> Iterator[str]:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return
    for node in ast.walk(tree):
        if not isinstance(node, ast.Compare | ast.Subscript | ast.Call):
            continue
        words = [each.value for each in ast.walk(node) if isinstance(each, ast.Constant)]
        named = [
            word
            for word in words
            if isinstance(word, str) and _VARIABLE.match(word) and not _USUAL.match(word)
        ]
        if named and _ENVIRONMENT.search(ast.unparse(node)):
            yield from named

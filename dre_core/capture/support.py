"""What supports a suite's tests from beside them: helpers, plugins and data that stand with the source, and variables.

Not what the tests are about: a module counts only if it says itself that it is for tests, by its name or by what it
imports, and a test speaks of it; data only if a test names the file and no source does. A project that *is* a plugin
for pytest imports pytest everywhere, so there only names count.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Collection, Iterator

from dre_core.capture.git import Git
from dre_core.capture.material import CONFIG_NAMES, is_test_file

_TELLING = re.compile(r"(?:^|_)(?:tests?|testing|testutils?|testhelpers?|testsupport|testlib)(?:_|$)")
_FRAMEWORKS = frozenset(("pytest", "_pytest", "unittest", "hypothesis"))
_DECLARED_IN = ("pyproject.toml", "setup.cfg", "setup.py")
_NOT_DATA = (".md", ".rst", ".toml", ".cfg", ".ini", ".lock", ".yml", ".yaml")
_LEAST_NAME = 5
_VARIABLE = re.compile(r"[A-Za-z_]\w+\Z")
_PROSE = (".md", ".rst", ".txt")
_SHORT_NAME = 3
_LESS = ast.Lt | ast.LtE | ast.Gt | ast.GtE
_TOLERANCES = (
    "rel",
    "abs",
    "rtol",
    "atol",
    "rel_tol",
    "abs_tol",
    "delta",
    "tolerance",
    "tol",
    "eps",
    "epsilon",
)
# What every process has, and programs can't do without.
_USUAL = re.compile(
    r"(?:PATH|HOME|USER|USERNAME|USERPROFILE|LOGNAME|SHELL|LANG|LANGUAGE|LC_\w+|TERM|COLORTERM|TMPDIR|TEMP|TMP|PWD|TZ|"
    r"EDITOR|VISUAL|PAGER|DISPLAY|HOSTNAME|COLUMNS|LINES|NO_COLOR|FORCE_COLOR|VIRTUAL_ENV|APPDATA|LOCALAPPDATA|"
    r"SYSTEMROOT|COMSPEC|(?:XDG|PYTHON|PIP|CONDA|SSL)_?\w*|\w+_proxy)\Z",
    re.I,
)
_ENVIRONMENT = re.compile(r"\benviron\b|\bgetenv\b")


Shown = Callable[[str], str | None]
"""Gives the text of a path at a commit; None where it is absent or no text."""


def support_files(
    git: Git, base: str, old: Shown, changed: Collection[str], old_tests: Collection[str]
) -> frozenset[str]:
    """The changed files of the base that support its tests and are none of them.

    Args:
        git: The repository.
        base: The base commit.
        old: Gives the base's texts.
        changed: Paths that the change touched.
        old_tests: Paths of the base that belong to its tests.
    """
    plugin = any("pytest11" in (old(name) or "") for name in _DECLARED_IN)
    return frozenset(_found(git, base, old, changed, frozenset(old_tests), frameworks=not plugin))


def _found(
    git: Git, base: str, old: Shown, changed: Collection[str], tests: frozenset[str], *, frameworks: bool
) -> Iterator[str]:
    for path in sorted(changed):
        folders, _, name = path.rpartition("/")
        if path in tests or name in CONFIG_NAMES or name.startswith("."):
            continue
        if path.endswith(".py"):
            stem = name.removesuffix(".py") if name != "__init__.py" else folders.rpartition("/")[2]
            if _says_so(old(path), stem, frameworks=frameworks) and _named(git, base, stem) & tests:
                yield path
        elif (
            not path.endswith(_NOT_DATA)
            and not name.startswith("requirements")
            and len(name) >= _LEAST_NAME
            and old(path) is not None
        ):
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
    tree = _parsed(text)
    if not frameworks or tree is None:
        return False
    imported = [alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names]
    imported += [
        node.module or "" for node in tree.body if isinstance(node, ast.ImportFrom) and not node.level
    ]
    return any(name.partition(".")[0] in _FRAMEWORKS for name in imported)


def widened(
    git: Git,
    base: str,
    old: Shown,
    new: Shown,
    changed: Collection[str],
    old_tests: Collection[str],
    roots: Collection[str],
) -> tuple[tuple[str, str, str], ...]:
    """Tolerances that tests take from the source and that the change made larger.

    Args:
        git: The repository.
        base: The base commit.
        old: Gives the base's texts.
        new: Gives the head's.
        changed: Paths that the change touched.
        old_tests: Paths of the base that belong to its tests.
        roots: Folders that packages are imported from, relative to the top.

    Returns:
        Module, name and the base's value, as source.
    """
    found = []
    for path in sorted(changed):
        if not path.endswith(".py") or path in old_tests:
            continue
        was, now = _numbers(old(path)), _numbers(new(path))
        for name in sorted(was.keys() & now.keys()):
            if abs(now[name]) > abs(was[name]) and any(
                _is_tolerance(old(test), name) for test in _named(git, base, name) & set(old_tests)
            ):
                found += [(module, name, repr(was[name])) for module in _modules(path, roots)]
    return tuple(found)


def _numbers(text: str | None) -> dict[str, float]:
    """The numbers that a module gives names to at its top level."""
    tree = _parsed(text)
    return {
        node.targets[0].id: node.value.value
        for node in (tree.body if tree else ())
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, int | float)
        and not isinstance(node.value.value, bool)
    }


def _is_tolerance(text: str | None, name: str) -> bool:
    """Whether a test compares a distance with a name, or gives it as a tolerance."""
    for node in ast.walk(_parsed(text) or ast.Module(body=[], type_ignores=[])):
        if isinstance(node, ast.Compare) and len(node.ops) == 1 and isinstance(node.ops[0], _LESS):
            sides = (node.left, node.comparators[0])
            if any(_is_name(side, name) for side in sides) and any(_is_distance(side) for side in sides):
                return True
        if isinstance(node, ast.keyword) and node.arg in _TOLERANCES and _is_name(node.value, name):
            return True
    return False


def _is_name(node: ast.expr, name: str) -> bool:
    return (isinstance(node, ast.Name) and node.id == name) or (
        isinstance(node, ast.Attribute) and node.attr == name
    )


def _is_distance(node: ast.expr) -> bool:
    return any(
        isinstance(each, ast.Call)
        and ast.unparse(each.func).rpartition(".")[2] in ("abs", "fabs", "norm", "dist")
        for each in ast.walk(node)
    )


def _modules(path: str, roots: Collection[str]) -> Iterator[str]:
    for root in roots:
        inner = path[len(root) + 1 :] if root and path.startswith(f"{root}/") else "" if root else path
        if inner:
            yield inner.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            return


def _parsed(text: str | None) -> ast.Module | None:
    try:
        return ast.parse(text) if text is not None else None
    except (SyntaxError, ValueError, RecursionError):
        return None


def new_variables(git: Git, base: str, old: Shown, new: Shown, changed: Collection[str]) -> frozenset[str]:
    """Environment variables that changed source of the head reads and nothing at the base speaks of."""
    found: set[str] = set()
    for path in sorted(changed):
        if path.endswith(".py") and not is_test_file(path):
            text = new(path)
            if text is not None and ("environ" in text or "getenv" in text):
                found.update(_variables(text))
    return frozenset(name for name in found if not _is_known(git, base, old, name))


def _is_known(git: Git, base: str, old: Shown, name: str) -> bool:
    """Whether Python of the base reads or sets a variable, or its configuration names it; prose says nothing."""
    for path in git.grep(base, name):
        if path.endswith(".py"):
            if name in _variables(old(path) or ""):
                return True
        elif len(name) > _SHORT_NAME and not path.endswith(_PROSE):
            return True
    return False


def _variables(text: str) -> Iterator[str]:
    for node in ast.walk(_parsed(text) or ast.Module(body=[], type_ignores=[])):
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

"""What a change does to the tests and their runner, from git and syntax trees.

The base commit is compared with the tree as it lies on disk, which is what is about to run. This reads only, and runs
nothing of the project.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from functools import partial
from io import BytesIO
from pathlib import Path
from tokenize import detect_encoding

from dre_core.capture.buildfacts import compare_build, is_build_file
from dre_core.capture.equality import added_anything, weakened_equality
from dre_core.capture.git import Git, Past
from dre_core.capture.material import is_golden, is_test_file
from dre_core.capture.othertests import compare_other_tests, is_other_test
from dre_core.capture.runnerfacts import (
    CONFIG_FILES,
    compare_config,
    compare_pragmas,
    compare_script,
    is_script,
)
from dre_core.capture.sniffing import added_test_detection
from dre_core.capture.special import added_special_cases, answers_in_data
from dre_core.capture.testfacts import (
    Module,
    added_equal_constants,
    added_hooks,
    compare_tests,
    returned_types,
)
from dre_core.garbage import unsearched
from dre_core.model.changes import Change, ChangeKind, Changes
from dre_core.model.text import printable

_FILES_LIMIT = 2_000
_LISTED = 2_000
_HOLDING_LIMIT = 20
_DATA_LIMIT = 20
_NAMED = 3
_DEPTH_LIMIT = 150
_FILE_LIMIT_BYTES = 4 << 20
_PLUGIN_DECLARED_IN = ("pyproject.toml", "setup.cfg", "setup.py")


def read_changes(git: Git, base: str, kept: dict[str, str] | None = None) -> Changes:
    """What the tree on disk changes against a commit.

    Args:
        git: The work tree.
        base: The commit.
        kept: Takes in the text that changed Python files had there, by path.

    Raises:
        CaptureError: git refuses.
    """
    with git.past(base) as past, unsearched():
        return _read(git, past, base, {} if kept is None else kept)


def _read(git: Git, past: Past, base: str, kept: dict[str, str]) -> Changes:
    changed = _changed(git, base)
    paths = [path for path in changed if _is_read(path)]
    left = [f"{len(paths) - _FILES_LIMIT} more files changed"] if len(paths) > _FILES_LIMIT else []
    paths = paths[:_FILES_LIMIT]
    changes: list[Change] = []
    for path in paths:
        if path in CONFIG_FILES:
            changes += compare_config(path, past.show(path), _on_disk(git, path))
        if is_script(path):
            changes += compare_script(printable(path), past.show(path), _on_disk(git, path))
        if is_build_file(path):
            changes += compare_build(
                printable(path), past.show(path), _on_disk(git, path), _other_tests_of(git, base)
            )
        if is_golden(path) and past.show(path) is not None:
            changes.append(Change(kind=ChangeKind.GOLDEN, path=printable(path), name=path.rpartition("/")[2]))
    others = [path for path in paths if is_other_test(path)]
    changes += compare_other_tests(
        [(printable(path), past.show(path), _on_disk(git, path)) for path in others]
    )
    sources = [path for path in paths if path.endswith(".py")]
    found, unread, beyond = _read_sources(git, past, base, sources, kept)
    if beyond:
        files = "1 file" if len(beyond) == 1 else f"{len(beyond)} files"
        left.append(f"{files} can't be looked at: {', '.join(beyond[:_NAMED])}")
    found += _in_data(git, past, base, changed)
    changes = sorted([*changes, *found], key=lambda change: (change.path, change.line, change.name))
    if len(changes) > _LISTED:
        left.append(f"{len(changes) - _LISTED} more changes")
    declared = any("pytest11" in (past.show(path) or "") for path in _PLUGIN_DECLARED_IN)
    return Changes(
        base=base,
        changes=tuple(changes[:_LISTED]),
        files=len(sources) - len(unread) - len(beyond),
        declares_plugin=declared,
        gaps=tuple(f"{printable(path)} could not be read as Python" for path in unread),
        left=tuple(printable(each) for each in left),
    )


def _is_read(path: str) -> bool:
    return (
        path.endswith(".py")
        or path in CONFIG_FILES
        or is_script(path)
        or is_build_file(path)
        or is_golden(path)
        or is_other_test(path)
    )


def _other_tests_of(git: Git, base: str) -> list[str]:
    """Test files of other languages that the base had and that are there still."""
    names = git.run("ls-tree", "-r", "-z", "--name-only", base).split(b"\0")
    paths = [os.fsdecode(name) for name in names if name]
    return [
        printable(path)
        for path in paths
        if is_other_test(path) and os.path.exists(os.path.join(git.root, path))
    ]


def _changed(git: Git, base: str) -> list[str]:
    """Paths that differ from the base on disk, untracked ones included."""
    tracked = git.run("diff", "--name-only", "-z", "--no-renames", "--no-ext-diff", base, "--")
    others = git.run("ls-files", "-z", "--others", "--exclude-standard")
    return sorted({os.fsdecode(path) for path in (tracked + others).split(b"\0") if path})


def _on_disk(git: Git, path: str) -> str | None:
    place = Path(git.root, path)
    try:
        if not place.is_file() or place.stat().st_size > _FILE_LIMIT_BYTES:
            return None
        # A module may be a link to a file that is named as no module, and written in another encoding.
        if place.is_symlink() and not (path.endswith(".py") and _lies_inside(place, git.root)):
            return None
        data = place.read_bytes()
        if path.endswith(".py"):
            return data.decode(detect_encoding(BytesIO(data).readline)[0])
        return data.decode()
    except (OSError, ValueError, SyntaxError, LookupError):
        return None


def _lies_inside(place: Path, root: str) -> bool:
    return os.path.realpath(place).startswith(os.path.realpath(root) + os.sep)


def _is_too_deep(tree: ast.Module) -> bool:
    """Whether a tree is nested more deeply than a look at its expressions can go; no one writes such by hand."""
    level: list[ast.AST] = [tree]
    for _ in range(_DEPTH_LIMIT):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        if not level:
            return False
    return True


def _hidden(git: Git, path: str, after: str | None) -> bool:
    """Whether a module is there and its text could not be had."""
    return after is None and Path(git.root, path).is_file() and not is_test_file(path)


def _read_sources(
    git: Git, past: Past, base: str, paths: list[str], kept: dict[str, str]
) -> tuple[list[Change], list[str], list[str]]:
    """The changes in Python files, the files that are none of Python, and those that are and were not looked at."""
    tests: list[tuple[Module, Module]] = []
    source: list[tuple[Module, Module]] = []
    changes: list[Change] = []
    unread, left = [], []
    for path in paths:
        before, after = past.show(path), _on_disk(git, path)
        if before is not None:
            kept[path] = before
        try:
            pair = Module.read(printable(path), before), Module.read(printable(path), after)
        except (SyntaxError, ValueError):
            unread.append(path)
            continue
        except (RecursionError, MemoryError):
            left.append(path)
            continue
        if _hidden(git, path, after) or any(_is_too_deep(each.tree) for each in pair):
            left.append(path)
            continue
        if is_test_file(path):
            tests.append(pair)
        else:
            source.append(pair)
            changes += compare_pragmas(printable(path), before, after)
    changes += compare_tests([pair[0] for pair in tests], [pair[1] for pair in tests])
    for pair in tests:
        changes += added_hooks(*pair)
    changes += _in_product(source)
    changes += _by_heart(git, past, base, source)
    return changes, unread, left


def _by_heart(git: Git, past: Past, base: str, pairs: list[tuple[Module, Module]]) -> Iterator[Change]:
    """Cases of the product that a test of the base asks for word for word."""
    tests = partial(_holding, git, past, base, tests=True)
    product = partial(_holding, git, past, base, tests=False)
    for before, after in pairs:
        yield from added_special_cases(before, after, tests, product)


def _in_data(git: Git, past: Past, base: str, paths: list[str]) -> Iterator[Change]:
    """Data with nothing but what tests of the base ask, each with its answer."""
    tests = partial(_holding, git, past, base, tests=True)
    product = partial(_holding, git, past, base, tests=False)
    data = [
        path for path in paths if path.endswith(".json") and not is_golden(path) and not _is_of_tests(path)
    ]
    for path in data[:_DATA_LIMIT]:
        yield from answers_in_data(printable(path), past.show(path), _on_disk(git, path), tests, product)


def _is_of_tests(path: str) -> bool:
    """Whether a file lies with tests."""
    return is_test_file(f"{path.rpartition('/')[0]}/data.py")


def _holding(git: Git, past: Past, base: str, literal: str, *, tests: bool) -> Iterator[str]:
    """Texts of the base's files of one kind that hold a literal."""
    paths = git.grep(base, literal.strip("'\"()[], ")[:80])
    wanted = [path for path in paths if path.endswith(".py") and is_test_file(path) is tests]
    for path in wanted[:_HOLDING_LIMIT]:
        yield past.show(path) or ""


def _in_product(pairs: list[tuple[Module, Module]]) -> Iterator[Change]:
    returned = frozenset(name for _, after in pairs for name in returned_types(after))
    for before, after in pairs:
        yield from added_test_detection(before, after)
        yield from added_equal_constants(before, after, returned)
        yield from added_anything(before, after)
        yield from weakened_equality(before, after, returned)

"""The changes collector: what the change does to the tests and their runner, from git and syntax trees.

It compares the base commit with the tree as it lies on disk, which is what is about to run. It reads only, runs
nothing of the project, and does nothing where there is no base.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from dre_core.capture.collector import Captured, Facts, Scene
from dre_core.capture.git import Git
from dre_core.hooks import hookimpl
from dre_core.model.changes import Change, Changes
from dre_core.model.text import printable
from dre_core.model.verdict import Vantage

if TYPE_CHECKING:
    from dre_core.capture.testfacts import Module

_FILES_LIMIT = 2_000
_LISTED = 2_000
_FILE_LIMIT_BYTES = 4 << 20
_PLUGIN_DECLARED_IN = ("pyproject.toml", "setup.cfg", "setup.py")


class ChangesCollector:
    """Reads what the change did to tests, hooks and configuration."""

    name = "changes"

    def before(self, scene: Scene, facts: Facts) -> Iterable[Captured]:
        if not facts.source.base:
            return []
        git = Git.find(str(scene.cwd))
        if git is None:
            return []
        found = read_changes(git, facts.source.base)
        for gap in found.gaps:
            facts.gap(self.name, gap)
        return [
            Captured(
                name="changes",
                kind="changes",
                vantage=Vantage.STATIC,
                media_type="application/json",
                value=found.to_json(),
            )
        ]

    def after(self, scene: Scene, facts: Facts) -> Iterable[Captured]:
        return []


def read_changes(git: Git, base: str) -> Changes:
    """What the tree on disk changes against a commit.

    Args:
        git: The work tree.
        base: The commit.

    Raises:
        CaptureError: git refuses.
    """
    from dre_core.capture.runnerfacts import CONFIG_FILES, compare_config

    paths = _changed(git, base)
    gaps = [f"{len(paths) - _FILES_LIMIT} more files changed"] if len(paths) > _FILES_LIMIT else []
    changes: list[Change] = []
    for path in paths[:_FILES_LIMIT]:
        if path in CONFIG_FILES:
            changes += compare_config(path, git.show(base, path), _on_disk(git, path))
    sources = [path for path in paths[:_FILES_LIMIT] if path.endswith(".py")]
    found, unread = _read_sources(git, base, sources)
    gaps += [f"{path} could not be read as Python" for path in unread]
    changes = sorted([*changes, *found], key=lambda change: (change.path, change.line, change.name))
    if len(changes) > _LISTED:
        gaps.append(f"{len(changes) - _LISTED} more changes")
    declared = any("pytest11" in (git.show(base, path) or "") for path in _PLUGIN_DECLARED_IN)
    return Changes(
        base=base,
        changes=tuple(changes[:_LISTED]),
        files=len(sources) - len(unread),
        declares_plugin=declared,
        gaps=tuple(printable(gap) for gap in gaps),
    )


def _changed(git: Git, base: str) -> list[str]:
    """Paths that differ from the base on disk, untracked ones included."""
    tracked = git.run("diff", "--name-only", "-z", "--no-renames", "--no-ext-diff", base, "--")
    others = git.run("ls-files", "-z", "--others", "--exclude-standard")
    return sorted({os.fsdecode(path) for path in (tracked + others).split(b"\0") if path})


def _on_disk(git: Git, path: str) -> str | None:
    place = Path(git.root, path)
    try:
        if place.is_symlink() or not place.is_file() or place.stat().st_size > _FILE_LIMIT_BYTES:
            return None
        return place.read_bytes().decode()
    except (OSError, UnicodeDecodeError):
        return None


def _read_sources(git: Git, base: str, paths: list[str]) -> tuple[list[Change], list[str]]:
    """The changes in Python files, and the files that could not be read."""
    from dre_core.capture.material import is_test_file
    from dre_core.capture.runnerfacts import compare_pragmas
    from dre_core.capture.testfacts import Module, added_hooks, compare_tests

    tests: list[tuple[Module, Module]] = []
    source: list[tuple[Module, Module]] = []
    changes: list[Change] = []
    unread = []
    for path in paths:
        before, after = git.show(base, path), _on_disk(git, path)
        try:
            pair = Module.read(printable(path), before), Module.read(printable(path), after)
        except (SyntaxError, ValueError, RecursionError):
            unread.append(path)
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
    return changes, unread


def _in_product(pairs: list[tuple[Module, Module]]) -> Iterator[Change]:
    from dre_core.capture.testfacts import added_equal_constants, added_test_detection, returned_types

    returned = frozenset(name for _, after in pairs for name in returned_types(after))
    for before, after in pairs:
        yield from added_test_detection(before, after)
        yield from added_equal_constants(before, after, returned)


@hookimpl
def dre_collectors() -> list[ChangesCollector]:
    return [ChangesCollector()]

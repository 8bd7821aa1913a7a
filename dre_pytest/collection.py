"""What pytest collected, and what became of it before the first test.

The ids are counted as pytest finds them, one by one, so that no order of hooks hides what is taken out later.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator
from fnmatch import fnmatch
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from dre_core.model.canonical import JSON
from dre_pytest.hooks import relative
from dre_pytest.intact import code_place, is_foreign
from dre_pytest.running import reason

MAX_NAMED = 1_000
_open, _isfile = open, os.path.isfile


class Collection:
    """The plugin that counts.

    Attributes:
        errors: Node ids that could not be collected, one for each failed report.
        skipped: Modules and classes skipped as a whole.
    """

    def __init__(self, rootdir: Path) -> None:
        self._rootdir = rootdir
        self._ignored: list[str] = []
        self._unmade: list[str] = []
        self.errors: list[str] = []
        self.skipped = 0
        self._skips: dict[str, str] = {}
        self._found: list[str] = []
        self._deselected: list[str] = []

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_ignore_collect(
        self, collection_path: Path, config: pytest.Config
    ) -> Generator[None, Any, Any]:
        """Files that look like tests, and folders, that somebody decided to leave out."""
        answer = yield
        if answer and _looks_like_tests(collection_path, config):
            self._ignored.append(relative(str(collection_path), self._rootdir))
        return answer

    def pytest_plugin_registered(self, plugin: object, manager: pytest.PytestPluginManager) -> None:
        """Watch what a project's own hook leaves out of its modules; without one there is nothing to watch."""
        own = getattr(plugin, "pytest_pycollect_makeitem", None)
        place = code_place(own)
        if place is None or not is_foreign(place[0]) or manager.has_plugin("dre-makeitem"):
            return
        if not str(getattr(own, "__module__", "")).startswith(("_pytest.", "dre_pytest.")):
            manager.register(_MakeItem(self._unmade), "dre-makeitem")

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        self._found.append(item.nodeid)

    def pytest_deselected(self, items: Iterable[pytest.Item]) -> None:
        self._deselected.extend(item.nodeid for item in items)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.outcome == "failed":
            self.errors.append(report.nodeid)
        elif report.outcome == "skipped":
            self.skipped += 1
            self._skips[report.nodeid] = reason(report)

    def fields(self, selected: list[str]) -> dict[str, JSON]:
        """The members of the ``collected`` line.

        Args:
            selected: Ids of the tests that are left to run.
        """
        kept = {*selected, *self._deselected}
        dropped = [*(each for each in self._found if each not in kept), *self._unmade]
        return {
            "collected": len(self._found),
            "selected": len(selected),
            "deselected": self._deselected[:MAX_NAMED],
            "deselected_count": len(self._deselected),
            "dropped": dropped[:MAX_NAMED],
            "dropped_count": len(dropped),
            "ignored": self._ignored[:MAX_NAMED],
            "ignored_count": len(self._ignored),
            **self.failures(),
        }

    def failures(self) -> dict[str, JSON]:
        """What could not be collected; with xdist the controller hears of it late."""
        return {
            "collection_errors": list(dict.fromkeys(self.errors))[:MAX_NAMED],
            "collection_errors_count": len(self.errors),
            "collection_skips": dict(list(self._skips.items())[:MAX_NAMED]),
            "collection_skips_count": self.skipped,
        }


class _MakeItem:
    """Names that pytest would make tests of and a hook of the project made nothing of."""

    def __init__(self, unmade: list[str]) -> None:
        self._unmade = unmade

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_pycollect_makeitem(self, collector: Any, name: str, obj: object) -> Generator[None, Any, Any]:
        made = yield
        if isinstance(made, (list, tuple)) and not made:
            try:
                if collector.istestfunction(obj, name) or collector.istestclass(obj, name):
                    self._unmade.append(f"{collector.nodeid}::{name}")
            except Exception:  # noqa: S110  an object that raises when it is looked at is no test
                pass
        return made


def _looks_like_tests(path: Path, config: pytest.Config) -> bool:
    name = path.name
    if path.suffix:
        return any(fnmatch(name, pattern) for pattern in config.getini("python_files"))
    hidden = name.startswith((".", "__")) or any(
        fnmatch(name, each) for each in config.getini("norecursedirs")
    )
    return not hidden and not (path / "pyvenv.cfg").exists()


def modules_of(items: Iterable[pytest.Item]) -> list[ModuleType]:
    """The modules that the tests were defined in, each once."""
    first = {id(item.parent): item for item in items}
    found = (getattr(item, "module", None) for item in first.values())
    return list({id(module): module for module in found if isinstance(module, ModuleType)}.values())


def marked(items: Iterable[pytest.Item], name: str) -> Iterator[pytest.Item]:
    """The tests that carry a marker, their own or their module's or class's."""
    inherited: dict[int, bool] = {}
    for item in items:
        parent = item.parent
        key = id(parent)
        if key not in inherited:
            inherited[key] = parent is not None and parent.get_closest_marker(name) is not None
        own = item.own_markers
        if inherited[key] or (own and any(mark.name == name for mark in own)):
            yield item


def conftests(config: pytest.Config) -> list[ModuleType]:
    """The conftest modules that were loaded."""
    return [
        plugin
        for plugin in config.pluginmanager.get_plugins()
        if isinstance(plugin, ModuleType) and os.path.basename(plugin.__file__ or "") == "conftest.py"
    ]


def conftest_digests(config: pytest.Config) -> dict[str, str]:
    """Their files as they are on disk now: path to ``sha256:`` digest."""
    digests: dict[str, str] = {}
    for module in conftests(config):
        file = str(module.__file__)
        if _isfile(file):
            with _open(file, "rb") as stream:
                digests[file] = f"sha256:{sha256(stream.read()).hexdigest()}"
    return digests

"""What pytest collected, and what became of it before the first test.

The ids are counted as pytest finds them, one by one, so that no order of hooks hides what is taken out later.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from hashlib import sha256
from types import ModuleType

import pytest

from dre_core.model.canonical import JSON
from dre_pytest.running import reason

MAX_NAMED = 1_000
_open, _isfile = open, os.path.isfile


class Collection:
    """The plugin that counts.

    Attributes:
        errors: Node ids that could not be collected, one for each failed report.
        skipped: Modules and classes skipped as a whole.
    """

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.skipped = 0
        self._skips: dict[str, str] = {}
        self._found: list[str] = []
        self._deselected: list[str] = []

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
        dropped = [each for each in self._found if each not in kept]
        return {
            "collected": len(self._found),
            "selected": len(selected),
            "deselected": self._deselected[:MAX_NAMED],
            "deselected_count": len(self._deselected),
            "dropped": dropped[:MAX_NAMED],
            "dropped_count": len(dropped),
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
        if inherited[key] or any(mark.name == name for mark in item.own_markers):
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

"""The changes collector: what the change does to the tests and their runner, where there is a base to compare with."""

from __future__ import annotations

from collections.abc import Iterable

from dre_core.capture.collector import Captured, Facts, Scene
from dre_core.capture.git import Git
from dre_core.hooks import hookimpl
from dre_core.model.verdict import Vantage


class ChangesCollector:
    """Reads what the change did to tests, hooks and configuration."""

    name = "changes"

    def before(self, scene: Scene, facts: Facts) -> Iterable[Captured]:
        if not facts.source.base:
            return []
        git = Git.find(str(scene.cwd))
        if git is None:
            return []
        from dre_core.capture.diff import read_changes

        found = read_changes(git, facts.source.base, facts.old_sources)
        for gap in (*found.gaps, *found.left):
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


@hookimpl
def dre_collectors() -> list[ChangesCollector]:
    return [ChangesCollector()]

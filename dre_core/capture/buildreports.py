"""Reports that Maven and Gradle write without being asked, where their conventions put them.

Not a search for any report: only Surefire's and Failsafe's (``target/surefire-reports/TEST-*.xml``) and Gradle's
(``build/test-results/TASK/TEST-*.xml``), below a folder that holds a build of theirs, at a stated depth. Which of them
the run wrote is the caller's to say: others lie there from earlier runs, or because Gradle had nothing to do.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_BUILDS = (
    "pom.xml", "build.gradle", "build.gradle.kts", "settings.gradle", "settings.gradle.kts",
)  # fmt: skip
_DEPTH = 6
_FOLDERS_LIMIT = 5_000
_PASSED_BY = frozenset(("src", "node_modules", "__pycache__", "venv"))


def written_by_convention(directory: Path) -> Iterator[Path]:
    """Every such report below a folder, sorted; none where the folder holds no build of Maven's or Gradle's.

    Args:
        directory: Where the command is run.
    """
    if not any((directory / name).is_file() for name in _BUILDS):
        return
    waiting = [(directory, 0)]
    looked = 0
    while waiting and looked < _FOLDERS_LIMIT:
        folder, depth = waiting.pop()
        looked += 1
        for name in _folders(folder):
            if name == "target":
                yield from _reports(folder / name, ("surefire-reports", "failsafe-reports"))
            elif name == "build":
                results = folder / name / "test-results"
                yield from _reports(results, _folders(results))
            elif depth < _DEPTH and not name.startswith(".") and name not in _PASSED_BY:
                waiting.append((folder / name, depth + 1))


def _folders(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        return []


def _reports(folder: Path, names: tuple[str, ...] | list[str]) -> Iterator[Path]:
    for name in names:
        yield from sorted((folder / name).glob("TEST-*.xml"))

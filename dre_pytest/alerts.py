"""The warnings of a session, each place and text once, as pytest's own summary shows them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

from dre_core.capture.journal import Journal
from dre_pytest.hooks import relative
from dre_pytest.running import MAX_MESSAGE, cap

_MAX_WRITTEN = 1_000


class Alerts:
    """The plugin that hears them. It registers once, for pytest repeats old warnings to whoever registers.

    Args:
        journal: Where they go.
        top: Paths below it are given relative to it.
        problem: Told what goes wrong.

    Attributes:
        count: Warnings heard.
    """

    def __init__(self, journal: Journal, top: Path, problem: Callable[[str], None]) -> None:
        self._journal = journal
        self._top = top
        self._problem = problem
        self._written: set[tuple[str, str, str, int]] = set()
        self.count = 0

    def pytest_warning_recorded(
        self, warning_message: warnings.WarningMessage, when: str, nodeid: str
    ) -> None:
        if not self._journal.owned:
            return
        try:
            self._take(warning_message, when, nodeid)
        except Exception as error:
            self._problem(f"recorder-failed: warning: {error!r}")

    def _take(self, warning: warnings.WarningMessage, when: str, node: str) -> None:
        self.count += 1
        text = cap(str(warning.message), MAX_MESSAGE)
        key = (
            warning.category.__name__,
            text,
            relative(str(warning.filename), self._top),
            int(warning.lineno),
        )
        if key in self._written or len(self._written) >= _MAX_WRITTEN:
            return
        self._written.add(key)
        category, text, file, line = key
        self._journal.write(
            "warning",
            {"category": category, "message": text, "file": file, "test": node},
            {"line": max(0, line), "when": when},
        )

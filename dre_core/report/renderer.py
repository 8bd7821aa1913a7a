"""What a renderer is: one report tree in, bytes of one format out; pure, deterministic, no template from evidence."""

from __future__ import annotations

from typing import Protocol

from dre_core.report.build import Report


class Renderer(Protocol):
    """Renders the report tree in one format.

    Attributes:
        name: Format name, as in ``dre report generate --format``.
        suffix: File name suffix with its dot.
    """

    name: str
    suffix: str

    def render(self, report: Report) -> bytes:
        """The report's bytes."""
        ...

"""The verdict document ``dre/verdict/v1`` as JSON for programs; docs/verdict.md describes it."""

from __future__ import annotations

import json

from dre_core.hooks import hookimpl
from dre_core.report.build import Report


class JSONRenderer:
    """The verdict document."""

    name = "json"
    suffix = ".json"

    def render(self, report: Report) -> bytes:
        text = json.dumps(report.verdict.to_json(), indent=2, ensure_ascii=False)
        return text.encode("utf-8", "replace") + b"\n"


@hookimpl
def dre_renderers() -> list[JSONRenderer]:
    return [JSONRenderer()]

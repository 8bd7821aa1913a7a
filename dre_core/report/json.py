"""The report as JSON for programs: the verdict document ``dre/verdict/v1``, with run, tests and places beside it.

docs/verdict.md describes the document, ``dre report schema dre-verdict-v1`` prints its JSON Schema. ``dre verify
--json`` prints the same without ``run``, ``tests``, ``analysis`` and ``difference``.
"""

from __future__ import annotations

import json

from dre_core.hooks import hookimpl
from dre_core.model.canonical import JSON
from dre_core.model.session import TestRecord
from dre_core.report.analysis import Located, located_causes
from dre_core.report.build import Report


def report_json(report: Report) -> dict[str, JSON]:
    """The document."""
    return {
        **report.verdict.to_json(),
        "run": report.run.to_json() if report.run else None,
        "tests": [_test(test) for test in report.tests],
        "analysis": [_located(cause) for cause in located_causes(report)],
        "difference": report.difference.to_json() if report.difference else None,
    }


def _test(test: TestRecord) -> JSON:
    found: dict[str, JSON] = {
        "id": test.id,
        "outcome": test.outcome.value,
        "seconds": round(test.duration_seconds, 6),
    }
    for name in ("message", "reason", "file", "line", "reruns"):
        if getattr(test, name):
            found[name] = getattr(test, name)
    return found


def _located(cause: Located) -> JSON:
    """Where to look for one cause, by the rank that it has in ``causes``."""
    return {
        "rank": cause.rank,
        "summary": cause.cause.summary,
        "where": cause.cause.where,
        "test": cause.test.id if cause.test else None,
        "log": cause.log,
        "change": cause.change,
    }


class JSONRenderer:
    """The report as JSON."""

    name = "json"
    suffix = ".json"

    def render(self, report: Report) -> bytes:
        text = json.dumps(report_json(report), indent=2, ensure_ascii=False)
        return text.encode("utf-8", "replace") + b"\n"


@hookimpl
def dre_renderers() -> list[JSONRenderer]:
    return [JSONRenderer()]

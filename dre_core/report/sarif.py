"""The findings as SARIF 2.1.0, for code-scanning: what a reviewer should see beside the line that it is about.

Results have a file, and a line where one is known: findings above ``info``, and failed tests at the place that the
failure analysis points to. What has no file is a notification of the tool, since services refuse a result without a
location.

Source: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from urllib.parse import quote

from dre_core import __version__
from dre_core.hooks import hookimpl
from dre_core.model.canonical import JSON
from dre_core.model.digest import hex_of, sha256
from dre_core.model.record import dataclass
from dre_core.model.session import TestRecord
from dre_core.model.text import plain
from dre_core.model.verdict import CheckState, Conclusion, Finding, Severity, Vantage
from dre_core.report.analysis import Located, located_causes
from dre_core.report.build import Report

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
TEST_FAILED = "test-failed"
_LEVELS = {Severity.VETO: "error", Severity.FAIL: "error", Severity.WARN: "warning", Severity.INFO: "note"}
_PLACE = re.compile(r"(?P<path>[^:]+?)(?::(?P<line>[0-9]{1,7}))?")
_NUMBERS = re.compile(r"0x[0-9a-f]+|\d+")
_TESTS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """A result or notification before it is written."""

    rule: str
    level: str
    text: str
    place: tuple[str, int] | None
    properties: dict[str, JSON]


def sarif(report: Report) -> dict[str, JSON]:
    """The SARIF log."""
    entries = [*_findings(report), *_failures(report)]
    rules = sorted({entry.rule for entry in entries})
    run: dict[str, JSON] = {
        "tool": {"driver": _driver(report, rules)},
        "automationDetails": {"id": f"dre/{_step(report)}/"},
        "columnKind": "unicodeCodePoints",
        "invocations": [_invocation(report, [entry for entry in entries if entry.place is None])],
        "results": [_result(entry, rules.index(entry.rule)) for entry in entries if entry.place is not None],
        "properties": _properties(report),
    }
    provenance = _provenance(report)
    if provenance:
        run["versionControlProvenance"] = [provenance]
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _step(report: Report) -> str:
    name = (report.run.name or report.run.face) if report.run else "claim"
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:80] or "claim"


def _driver(report: Report, rules: list[str]) -> dict[str, JSON]:
    details = {
        check.check: check.detail
        for method in report.verdict.methods.values()
        for check in method.checks
        if check.state is CheckState.RAN
    }
    return {
        "name": "DRE",
        "fullName": "Development Reality Engine",
        "semanticVersion": __version__,
        "rules": [
            {
                "id": rule,
                "shortDescription": {"text": rule.replace("-", " ").capitalize()},
                "fullDescription": {"text": plain(details.get(rule, "") or rule.replace("-", " "), 900)},
            }
            for rule in rules
        ],
    }


def _findings(report: Report) -> Iterator[_Entry]:
    tests = {test.id: test for test in report.tests}
    for finding in report.notable:
        yield _Entry(
            rule=finding.check,
            level=_LEVELS[finding.severity],
            text=finding.message + (f"\n\nIf this is honest: {finding.remedy}" if finding.remedy else ""),
            place=_finding_place(finding, tests),
            properties={
                "vantage": finding.vantage.value,
                "severity": finding.severity.value,
                "weight": finding.weight.value if finding.weight else None,
                "evidence": list(finding.evidence),
                "tests": [plain(name) for name in finding.tests[:_TESTS]],
            },
        )


def _failures(report: Report) -> Iterator[_Entry]:
    for cause in located_causes(report):
        if cause.test is not None:
            yield _Entry(
                rule=TEST_FAILED,
                level="error",
                text=cause.cause.summary,
                place=_place(cause.cause.where) or _test_place(cause.test),
                properties=_cause_properties(cause),
            )


def _cause_properties(cause: Located) -> dict[str, JSON]:
    assert cause.test is not None
    return {
        "vantage": Vantage.IN_PROCESS.value,
        "rank": cause.rank,
        "tests": [plain(cause.test.id)],
        "log": plain(cause.log),
        "change": plain(cause.change),
        "evidence": list(cause.cause.evidence),
    }


def _finding_place(finding: Finding, tests: Mapping[str, TestRecord]) -> tuple[str, int] | None:
    named = _place(finding.where)
    if named is not None:
        return named
    return next(
        (place for name in finding.tests if name in tests and (place := _test_place(tests[name]))), None
    )


def _place(where: str) -> tuple[str, int] | None:
    """Path and line (0 for none) of a place inside the tree."""
    found = _PLACE.fullmatch(where)
    if not found or found["path"].startswith(("/", "offset ")) or ".." in found["path"].split("/"):
        return None
    return found["path"], int(found["line"] or 0)


def _test_place(test: TestRecord) -> tuple[str, int] | None:
    return _place(f"{test.file}:{test.line}" if test.line else test.file) if test.file else None


def _result(entry: _Entry, rule_index: int) -> JSON:
    assert entry.place is not None
    path, line = entry.place
    location: dict[str, JSON] = {
        "artifactLocation": {"uri": quote(path.encode("utf-8", "replace")), "uriBaseId": "%SRCROOT%"}
    }
    if line:
        location["region"] = {"startLine": line}
    # Numbers change from run to run; the same problem in the same file is the same alert.
    identity = "\0".join((entry.rule, path, _NUMBERS.sub("0", entry.text)))
    return {
        "ruleId": entry.rule,
        "ruleIndex": rule_index,
        "level": entry.level,
        "message": {"text": plain(entry.text, 4000)},
        "locations": [{"physicalLocation": location}],
        "partialFingerprints": {"dre/v1": hex_of(sha256(identity.encode("utf-8", "replace")))},
        "properties": entry.properties,
    }


def _invocation(report: Report, unplaced: list[_Entry]) -> JSON:
    run = report.run
    times: dict[str, JSON] = {"startTimeUtc": run.started, "endTimeUtc": run.ended} if run else {}
    return {
        # Whether DRE did its work, not whether the claim holds.
        "executionSuccessful": report.verdict.conclusion is not Conclusion.INVALID,
        **times,
        "toolExecutionNotifications": [
            {
                "descriptor": {"id": entry.rule},
                "level": entry.level,
                "message": {"text": plain(entry.text, 4000)},
                "properties": entry.properties,
            }
            for entry in unplaced
        ],
    }


def _provenance(report: Report) -> dict[str, JSON] | None:
    run = report.run
    if run is None or not run.source.commit or not run.source.repository:
        return None
    address = run.source.repository
    uri = address if "://" in address else f"https://{address}"
    return {"repositoryUri": quote(uri, safe=":/@%"), "revisionId": run.source.commit}


def _properties(report: Report) -> dict[str, JSON]:
    verdict, overall = report.verdict, report.verdict.consensus.overall
    return {
        "dre.operation": verdict.operation,
        "dre.verdict": verdict.conclusion.value,
        "dre.score": None if overall is None else round(overall, 6),
        "dre.confidence": round(verdict.consensus.confidence, 6),
        "dre.level": int(verdict.level),
    }


class SARIFRenderer:
    """The findings as SARIF."""

    name = "sarif"
    suffix = ".sarif"

    def render(self, report: Report) -> bytes:
        text = json.dumps(sarif(report), indent=2, ensure_ascii=False)
        return text.encode("utf-8", "replace") + b"\n"


@hookimpl
def dre_renderers() -> list[SARIFRenderer]:
    return [SARIFRenderer()]

"""The reasoning as CycloneDX 1.6 attestations: claims, counter-evidence, conformance and confidence.

Each check that applies is a requirement of the standard "DRE verdict". What a requirement came to is its conformance,
from where it was seen its confidence. The run's claim has the items as evidence; each finding that blocks it is a
counter-claim with the items that show it. Nothing is added to the verdict: the document says the same in another
vocabulary.

Source: https://cyclonedx.org/docs/1.6/json/#declarations
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator

from dre_core import __version__
from dre_core.hooks import hookimpl
from dre_core.model.canonical import JSON
from dre_core.model.digest import hex_of
from dre_core.model.run import Item
from dre_core.model.text import plain
from dre_core.model.verdict import CheckResult, CheckState, Finding, Severity
from dre_core.report import words
from dre_core.report.build import Report

_NAMESPACE = uuid.UUID("7f0a3c1e-6d0b-5b0c-9b63-0d7e5f5f6a11")
_TARGET, _CLAIM, _ASSESSOR, _STANDARD = "workload", "claim", "assessor", "standard:dre-verdict-1"
_BLOCKING = (Severity.VETO, Severity.FAIL)
_CONFORMANCE = {Severity.VETO: 0.0, Severity.WARN: 0.98, Severity.INFO: 1.0}

Checks = list[tuple[str, CheckResult]]


def cyclonedx(report: Report) -> dict[str, JSON]:
    """The document."""
    checks = [
        (name, check)
        for name, method in report.verdict.methods.items()
        for check in method.checks
        if check.state is not CheckState.NOT_APPLICABLE
    ]
    run = report.run
    metadata: dict[str, JSON] = {"tools": {"components": [_tool()]}, "component": _target(report)}
    if run is not None:
        metadata = {"timestamp": run.ended, **metadata}
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, report.verdict.operation)}",
        "version": 1,
        "metadata": metadata,
        "definitions": {"standards": [_standard(checks)]},
        "declarations": _declarations(report, checks),
    }


def _tool() -> JSON:
    return {"type": "application", "name": "development-reality-engine", "version": __version__}


def _target(report: Report) -> JSON:
    run = report.run
    component: dict[str, JSON] = {
        "type": "application",
        "bom-ref": _TARGET,
        "name": plain((run.project if run else "") or "workload", 200),
    }
    if run is not None and run.source.commit:
        component["version"] = run.source.commit
    return component


def _standard(checks: Checks) -> JSON:
    return {
        "bom-ref": _STANDARD,
        "name": "DRE verdict",
        "version": "1",
        "description": "Checks that evidence of a run must pass before it supports the run's claim",
        "requirements": [
            {
                "bom-ref": _requirement(method, check),
                "identifier": f"{method}/{check.check}",
                "title": check.check.replace("-", " "),
            }
            for method, check in checks
        ],
    }


def _requirement(method: str, check: CheckResult) -> str:
    return f"requirement:{method}/{check.check}"


def _declarations(report: Report, checks: Checks) -> dict[str, JSON]:
    run = report.run
    items = list(run.items) if run else []
    known = {item.digest for item in items}
    counters = [
        (f"counter-claim:{method}/{check.check}/{number}", finding)
        for method, check in checks
        for number, finding in enumerate(check.findings)
        if finding.severity in _BLOCKING
    ]
    declarations: dict[str, JSON] = {
        "assessors": [
            {
                "bom-ref": _ASSESSOR,
                "thirdParty": False,
                "organization": {"name": "Development Reality Engine"},
            }
        ],
        "attestations": [
            {
                "summary": plain(words.sentence(report), 1000),
                "assessor": _ASSESSOR,
                "map": [_mapped(report, method, check, counters) for method, check in checks],
            }
        ],
        "claims": [_claim(report, items, counters, known), *(_counter(*each, known) for each in counters)],
        "evidence": list(_evidence(items)),
        "targets": {"components": [_target(report)]},
    }
    return {name: value for name, value in declarations.items() if value}


def _mapped(report: Report, method: str, check: CheckResult, counters: list[tuple[str, Finding]]) -> JSON:
    against = [ref for ref, _ in counters if ref.startswith(f"counter-claim:{method}/{check.check}/")]
    mapped: dict[str, JSON] = {
        "requirement": _requirement(method, check),
        "claims": [_CLAIM],
        "conformance": {"score": _conformance(check), "rationale": _rationale(check)},
        "confidence": {
            "score": check.vantage.strength if check.vantage else 0.0,
            "rationale": words.VANTAGES[check.vantage] if check.vantage else "could not run",
        },
    }
    if against:
        mapped["counterClaims"] = list(against)
    return mapped


def _conformance(check: CheckResult) -> float:
    if check.state is not CheckState.RAN:
        return 0.0
    return min((_score(finding) for finding in check.findings), default=1.0)


def _score(finding: Finding) -> float:
    if finding.severity is Severity.FAIL:
        return round(1 - (finding.weight.deduction if finding.weight else 0.1), 6)
    return _CONFORMANCE[finding.severity]


def _rationale(check: CheckResult) -> str:
    text = "; ".join(finding.message for finding in check.findings) or check.detail or check.state.value
    return plain(text, 1000)


def _claim(report: Report, items: list[Item], counters: list[tuple[str, Finding]], known: set[str]) -> JSON:
    against = sorted({digest for _, finding in counters for digest in finding.evidence if digest in known})
    claim: dict[str, JSON] = {
        "bom-ref": _CLAIM,
        "target": _TARGET,
        "predicate": plain(f"The command ended: {words.ended_words(report)}", 1000),
        "reasoning": plain(
            f"{words.sentence(report)} {words.checks_sentence(report)}. Evidence level "
            f"{int(report.verdict.level)}: {report.verdict.level.meaning}.",
            2000,
        ),
    }
    supporting = [_evidence_ref(item) for item in items if item.digest and item.digest not in against]
    if supporting:
        claim["evidence"] = list(dict.fromkeys(supporting))
    if against:
        claim["counterEvidence"] = [f"evidence:{digest}" for digest in against]
    return claim


def _counter(ref: str, finding: Finding, known: set[str]) -> JSON:
    shown = [f"evidence:{digest}" for digest in dict.fromkeys(finding.evidence) if digest in known]
    claim: dict[str, JSON] = {
        "bom-ref": ref,
        "target": _TARGET,
        "predicate": plain(finding.message, 1000),
        "reasoning": f"{finding.check}: {words.VANTAGES[finding.vantage]}",
    }
    if shown:
        claim["evidence"] = list(shown)
    return claim


def _evidence_ref(item: Item) -> str:
    return f"evidence:{item.digest}"


def _evidence(items: list[Item]) -> Iterator[JSON]:
    seen = set()
    for item in items:
        if not item.digest or item.digest in seen:
            continue
        seen.add(item.digest)
        yield {
            "bom-ref": _evidence_ref(item),
            "propertyName": f"dre:{item.kind}",
            "description": plain(f"{item.name}, {words.VANTAGES[item.vantage]}", 500),
            "data": [
                {
                    "name": plain(item.name, 500),
                    "contents": {"url": f"blobs/sha256/{hex_of(item.digest)}"},
                    "classification": "masked" if item.masked else "as recorded",
                }
            ],
        }


class CycloneDXRenderer:
    """The reasoning as CycloneDX attestations."""

    name = "cyclonedx"
    suffix = ".cdx.json"

    def render(self, report: Report) -> bytes:
        text = json.dumps(cyclonedx(report), indent=2, ensure_ascii=False)
        return text.encode("utf-8", "replace") + b"\n"


@hookimpl
def dre_renderers() -> list[CycloneDXRenderer]:
    return [CycloneDXRenderer()]

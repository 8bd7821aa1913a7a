"""The terminal summary: the verdict first, then why, in lines a reader takes in at a glance."""

from __future__ import annotations

from collections.abc import Mapping

from dre_core.model.text import one_line
from dre_core.model.verdict import Cause, Conclusion, IntegrityResult
from dre_core.report.build import WORDS, Report, claim_words
from dre_core.report.difference import Difference
from dre_core.verify.covered import change_words
from dre_core.verify.wording import plural

_FINDINGS = 5
_ROWS = 40
_INDENT = "     "


def summary_lines(report: Report, paths: Mapping[str, str] | None = None) -> list[str]:
    """The verdict block.

    Args:
        report: The report tree.
        paths: Where the reports lie, by what they are.

    Returns:
        Lines without a newline; the first one says it all.
    """
    verdict = report.verdict
    score = "none" if verdict.consensus.overall is None else f"{verdict.consensus.overall:.2f}"
    lines = [f"dre: {verdict.conclusion.value.upper()} - {WORDS[verdict.conclusion]}"]
    lines.append(f"{_INDENT}claim   {claim_words(report)}")
    lines.append(
        f"{_INDENT}score   {score}, confidence {verdict.consensus.confidence:.2f}, "
        f"level {int(verdict.level)} ({verdict.level.meaning})"
    )
    if verdict.methods:
        lines.append(f"{_INDENT}by      {_methods(report)}")
    lines += _integrity(report)
    lines += _findings(report)
    lines += [f"{_INDENT}change  {one_line(text)}" for text in _change(report)]
    lines += _replay(report)
    lines += [f"{_INDENT}missing {one_line(text)}" for text in verdict.missing[:3]]
    lines += [f"{_INDENT}{name:<7} {path}" for name, path in (paths or {}).items()]
    return lines


def _change(report: Report) -> list[str]:
    covered = report.evidence.covered if report.evidence else None
    text = change_words(covered) if covered else ""
    return [text] if text else []


def _replay(report: Report) -> list[str]:
    """What running the tests again cost, against the run itself."""
    facts = report.evidence.replay if report.evidence else None
    if facts is None or report.evidence is None:
        return []
    run_seconds = report.evidence.run.duration_ns / 1e9
    times = f", {facts.seconds / run_seconds:.1f} times the run" if facts.seconds and run_seconds else ""
    cells = plural(len(facts.cells), "cell")
    return [f"{_INDENT}replay  {cells} in {facts.seconds:.1f} s{times}"]


def _methods(report: Report) -> str:
    parts = []
    for name, result in report.verdict.methods.items():
        if not result.applicable:
            continue
        parts.append(f"{name} abstained" if result.score is None else f"{name} {result.score:.2f}")
    return ", ".join(parts)


def _integrity(report: Report) -> list[str]:
    integrity = report.verdict.integrity
    if integrity.result is IntegrityResult.VALID:
        return []
    return [
        f"{_INDENT}{integrity.result.value:<7} {check.id}: {one_line(check.detail)}"
        for check in integrity.checks
        if not check.passed
    ][:_FINDINGS]


def _findings(report: Report) -> list[str]:
    findings = report.notable
    lines = [
        f"{_INDENT}{finding.severity.value:<7} {finding.check}: {one_line(finding.message)}"
        for finding in findings[:_FINDINGS]
    ]
    if len(findings) > _FINDINGS:
        lines.append(f"{_INDENT}        and {len(findings) - _FINDINGS} more findings")
    if report.verdict.conclusion is Conclusion.FAILED:
        said = {finding.message for finding in findings}
        causes = [cause for cause in report.verdict.causes if cause.summary not in said]
        lines += [f"{_INDENT}cause   {one_line(cause.summary)}{_at(cause)}" for cause in causes[:_FINDINGS]]
    return lines


def _at(cause: Cause) -> str:
    """Where to look, unless the words say it already."""
    return f" ({one_line(cause.where)})" if cause.where and cause.where not in cause.summary else ""


def difference_lines(difference: Difference) -> list[str]:
    """What is different between two operations, for a terminal."""
    lines = [
        f"{difference.before} {difference.verdicts[0]} -> {difference.after} {difference.verdicts[1]}",
        difference.sentence,
    ]
    for group in difference.groups:
        lines += ["", group.title]
        lines += [f"  {one_line(_row(row.cells), 400)}" for row in group.rows[:_ROWS]]
        lines += [f"  and {len(group.rows) - _ROWS} more"] if len(group.rows) > _ROWS else []
    return lines


def _row(cells: tuple[str, ...]) -> str:
    if len(cells) < 3:
        return " ".join(cells)
    factor = f" ({cells[3]})" if len(cells) > 3 and cells[3] else ""
    return f"{cells[0]}: {cells[1]} -> {cells[2]}{factor}"

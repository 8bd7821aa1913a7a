"""The report in Markdown, for job summaries and comments: the verdict, why, and what it does not prove.

Everything from the evidence is escaped: it can't mention people, link, load images, add HTML or close a fence.
The whole stays below 900 kB, because GitHub drops a larger summary altogether.
"""

from __future__ import annotations

import re

from dre_core.hooks import hookimpl
from dre_core.model.session import Outcome, TestRecord
from dre_core.model.text import one_line
from dre_core.model.verdict import Conclusion, Finding
from dre_core.report.build import WORDS, Report, claim_words
from dre_core.verify.covered import change_words

LIMIT_BYTES = 900_000
_TESTS = 50
_MEASURED = ("coverage-of-change", "tests-reach-code", "tests-assert")
_MARKS = {
    Conclusion.SUPPORTED: "✅",
    Conclusion.CONTRADICTED: "❌",
    Conclusion.INVALID: "⛔",
    Conclusion.UNTRUSTED: "⚠️",
    Conclusion.FAILED: "🔴",
    Conclusion.INCONCLUSIVE: "❔",
}
_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+!|~$])")
_ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def escape(text: str, limit: int = 300) -> str:
    """Text that Markdown shows as it is.

    Args:
        text: Anything, also from hostile evidence.
        limit: Characters to keep at most.
    """
    safe = _SPECIAL.sub(r"\\\1", one_line(text, limit).translate(_ENTITIES))
    # A word joiner keeps the sign and breaks the mention, the reference and the bare address.
    return re.sub(r"([@:])(?=[\w/])", "\\1\u2060", safe)


def render_markdown(report: Report) -> bytes:
    """The whole report, cut at a line where it would grow too large."""
    lines = [
        *_head(report),
        *_methods(report),
        *_why(report),
        *_tests(report),
        *_measured(report),
        *_limits(report),
        *_seal(report),
    ]
    kept: list[str] = []
    size = 0
    for line in lines:
        size += len(line.encode()) + 1
        if size > LIMIT_BYTES:
            kept.append(
                "\n*cut here: the report is larger than a summary may be; the archive holds all of it*"
            )
            break
        kept.append(line)
    return ("\n".join(kept) + "\n").encode()


def _head(report: Report) -> list[str]:
    verdict = report.verdict
    score = "none" if verdict.consensus.overall is None else f"{verdict.consensus.overall:.2f}"
    commit = str(verdict.claim.get("commit") or "none")
    return [
        f"## {_MARKS[verdict.conclusion]} DRE: {verdict.conclusion.value}",
        "",
        f"**{WORDS[verdict.conclusion].capitalize()}.** {escape(claim_words(report))}",
        "",
        "| score | confidence | evidence level | commit | integrity |",
        "| --- | --- | --- | --- | --- |",
        f"| {score} | {verdict.consensus.confidence:.2f} | {int(verdict.level)}: {verdict.level.meaning} "
        f"| {escape(commit[:12])} | {verdict.integrity.result.value} |",
        "",
    ]


def _methods(report: Report) -> list[str]:
    rows = [
        f"| {escape(name)} | {'abstained' if m.score is None else f'{m.score:.2f}'} | {m.confidence:.2f} "
        f"| {sum(1 for c in m.checks if c.vantage)} of {len(m.checks)} |"
        for name, m in report.verdict.methods.items()
        if m.applicable
    ]
    if not rows:
        return []
    return ["| method | score | confidence | checks that ran |", "| --- | --- | --- | --- |", *rows, ""]


def _why(report: Report) -> list[str]:
    verdict = report.verdict
    lines = [_finding(finding) for finding in report.notable]
    lines += [f"- **{escape(c.id)}**: {escape(c.detail)}" for c in verdict.integrity.checks if not c.passed]
    causes = [
        f"{rank}. {escape(cause.summary)}" + (f" at {escape(cause.where)}" if cause.where else "")
        for rank, cause in enumerate(verdict.causes, 1)
    ]
    missing = [f"- {escape(text)}" for text in verdict.missing]
    sections = (("### Why", lines), ("### Look here first", causes), ("### What would settle it", missing))
    return [line for title, body in sections if body for line in (title, "", *body, "")]


def _finding(finding: Finding) -> str:
    where = f" ({escape(finding.where)})" if finding.where else ""
    remedy = f" *Honest? {escape(finding.remedy)}.*" if finding.remedy else ""
    return (
        f"- **{finding.severity.value}** {escape(finding.check)}: {escape(finding.message)}{where} "
        f"*[{finding.vantage.value}]*{remedy}"
    )


def _tests(report: Report) -> list[str]:
    bad = [test for test in report.tests if test.outcome in (Outcome.FAILED, Outcome.ERROR)]
    if not bad:
        return []
    rows = [_test(test) for test in bad[:_TESTS]]
    rest = [f"\n{len(bad) - _TESTS} more in the JUnit report"] if len(bad) > _TESTS else []
    return [
        f"<details><summary>Failed tests: {len(bad)}</summary>",
        "",
        "| test | outcome | message |",
        "| --- | --- | --- |",
        *rows,
        *rest,
        "",
        "</details>",
        "",
    ]


def _test(test: TestRecord) -> str:
    return f"| {escape(test.id)} | {test.outcome.value} | {escape(test.message)} |"


def _measured(report: Report) -> list[str]:
    """What coverage data and the record say about the change and the tests; information, not judgement."""
    covered = report.evidence.covered if report.evidence else None
    rows = [f"- {escape(f.message, 600)}" for f in report.verdict.findings if f.check in _MEASURED]
    if covered is not None:
        text = change_words(covered)
        rows += [f"- {escape(text)}"] if text and not covered.missing else []
        rows += [f"- files left out of measuring: {escape(', '.join(covered.omit))}"] if covered.omit else []
        if covered.pragmas:
            rows.append(
                f"- {len(covered.pragmas)} lines left out of measuring: {escape(', '.join(covered.pragmas))}"
            )
    unknown = [
        f"- {escape(check.check)}: {escape(check.detail)}"
        for result in report.verdict.methods.values()
        for check in result.checks
        if check.check in _MEASURED and check.detail.startswith("unknown")
    ]
    rows += unknown if rows else []
    return ["<details><summary>Measured</summary>", "", *rows, "", "</details>", ""] if rows else []


def _limits(report: Report) -> list[str]:
    lines = [f"- {escape(text)}" for text in report.verdict.not_proven]
    return (
        ["<details><summary>What this does not prove</summary>", "", *lines, "", "</details>", ""]
        if lines
        else []
    )


def _seal(report: Report) -> list[str]:
    how = "Check it yourself, offline: `dre verify evidence.zip --key PUBLIC.pem`"
    return [f"Operation {escape(report.verdict.operation)}. {how}"]


class MarkdownRenderer:
    """The report in Markdown."""

    name = "markdown"
    suffix = ".md"

    def render(self, report: Report) -> bytes:
        return render_markdown(report)


@hookimpl
def dre_renderers() -> list[MarkdownRenderer]:
    return [MarkdownRenderer()]

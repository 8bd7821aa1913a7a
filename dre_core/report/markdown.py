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
from dre_core.report import words
from dre_core.report.analysis import located_causes
from dre_core.report.build import Report, claim_words, count_words
from dre_core.report.difference import Difference
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
_FINDINGS = 100
_CUT = "*Sections were left out: the report is larger than a summary may be; the archive holds all of it.*"
# What forges make links, mentions and references of, even behind a backslash.
_ACTIVE = re.compile(
    r"@(?=\w)|:(?=//|[a-z+_-][\w+-]*:)|(?:#|!|\$|~|%|&amp;|&lt;|\^)(?=\w)|\bwww(?=\.)|\b(?:GH|GL|JIRA)-(?=\d)",
    re.I,
)
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
    return _ACTIVE.sub("\\g<0>\u2060", safe)


def render_markdown(report: Report) -> bytes:
    """The whole report; of sections that would make it too large only the title is left."""
    last = [_limits(report), _seal(report)]
    left = LIMIT_BYTES - sum(map(_size, last)) - len(_CUT.encode()) - 2
    kept: list[str] = []
    cut = False
    for make in (_head, _why, _causes, _tests, _methods, _compared, _measured):
        section = make(report)
        if _size(section) <= left:
            left -= _size(section)
            kept += section
        else:
            cut = True
    lines = [*kept, *([_CUT, ""] if cut else []), *(line for section in last for line in section)]
    return ("\n".join(lines) + "\n").encode()


def _size(lines: list[str]) -> int:
    return sum(len(line.encode()) + 1 for line in lines)


def _head(report: Report) -> list[str]:
    verdict = report.verdict
    score = "none" if verdict.consensus.overall is None else f"{verdict.consensus.overall:.2f}"
    took = words.duration(report.run.duration_ns / 1e9) if report.run else "unknown"
    clean = words.cleanliness(report)
    commit = words.commit(str(verdict.claim.get("commit") or "none"))
    tests = count_words(report.counts) if report.counts else "none seen"
    return [
        f"## {_MARKS[verdict.conclusion]} DRE: {verdict.conclusion.value}",
        "",
        f"**{escape(words.sentence(report), 500)}**",
        "",
        "| tests | evidence level | score | confidence | commit | took |",
        "| --- | --- | --- | --- | --- | --- |",
        f"| {escape(tests)} | {int(verdict.level)} of 4: {verdict.level.meaning} | {score} "
        f"| {verdict.consensus.confidence:.2f} | {escape(commit)}, {clean} | {took} |",
        "",
        f"The claim: {escape(claim_words(report))}",
        "",
    ]


def _folded(title: str, lines: list[str]) -> list[str]:
    # In a line of HTML a backslash is no escape.
    safe = _ACTIVE.sub("\\g<0>\u2060", one_line(title, 300).translate(_ENTITIES))
    return [f"<details><summary>{safe}</summary>", "", *lines, "", "</details>", ""] if lines else []


def _methods(report: Report) -> list[str]:
    rows = [
        f"| {escape(name)} | {'abstained' if m.score is None else f'{m.score:.2f}'} | {m.confidence:.2f} "
        f"| {sum(1 for c in m.checks if c.vantage)} of {len(m.checks)} |"
        for name, m in report.verdict.methods.items()
        if m.applicable
    ]
    table = ["| method | score | confidence | checks that ran |", "| --- | --- | --- | --- |", *rows]
    return _folded(f"How it was seen: {words.checks_sentence(report)}", table if rows else [])


def _why(report: Report) -> list[str]:
    verdict = report.verdict
    lines = [_finding(finding) for finding in report.notable[:_FINDINGS]]
    if len(report.notable) > _FINDINGS:
        lines.append(f"- and {len(report.notable) - _FINDINGS} more findings")
    lines += [f"- **{escape(c.id)}**: {escape(c.detail)}" for c in verdict.integrity.checks if not c.passed]
    missing = [f"- {escape(text)}" for text in verdict.missing]
    sections = (("### Why", lines), ("### What would settle it", missing))
    return [line for title, body in sections if body for line in (title, "", *body, "")]


def _causes(report: Report) -> list[str]:
    """The failure analysis: each ranked cause with its place in test, log and change."""
    lines = []
    for cause in located_causes(report):
        places = [f"at {escape(cause.cause.where)}"] if cause.cause.where else []
        places += [f"change: {escape(cause.change)}"] if cause.change else []
        places += [f"log: {escape(cause.log)}"] if cause.log else []
        lines.append(
            f"{cause.rank}. {escape(cause.cause.summary)}" + "".join(f"<br>{place}" for place in places)
        )
    return ["### Look here first", "", *lines, ""] if lines else []


def _compared(report: Report) -> list[str]:
    difference = report.difference
    if difference is None:
        return []
    title = f"Compared with {difference.title}: {difference.sentence}"
    return _folded(title, _difference_tables(difference, 20))


def difference_markdown(difference: Difference) -> bytes:
    """What is different between two operations."""
    sides = zip(
        ("before", "after"),
        (difference.before, difference.after),
        difference.verdicts,
        difference.commits,
        strict=True,
    )
    lines = [
        "## DRE: two runs compared",
        "",
        f"**{escape(difference.sentence)}**",
        "",
        "| | operation | verdict | commit |",
        "| --- | --- | --- | --- |",
        *(
            f"| {n} | {escape(o)} | {escape(v)} | {escape(words.commit(c)) or 'none'} |"
            for n, o, v, c in sides
        ),
        "",
        *_difference_tables(difference, 200),
    ]
    return ("\n".join(lines) + "\n").encode()


def _difference_tables(difference: Difference, limit: int) -> list[str]:
    lines: list[str] = []
    for group in difference.groups:
        columns = group.columns or ("test",)
        lines += [
            f"#### {escape(group.title)}",
            "",
            f"| {' | '.join(escape(column) or ' ' for column in columns)} |",
            f"| {' | '.join('---' for _ in columns)} |",
            *(f"| {' | '.join(escape(cell) for cell in row.cells)} |" for row in group.rows[:limit]),
            *([f"\n{len(group.rows) - limit} more"] if len(group.rows) > limit else []),
            "",
        ]
    return lines


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
    table = ["| test | outcome | message |", "| --- | --- | --- |", *rows, *rest]
    return _folded(f"Failed tests: {len(bad)}", table)


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
    return _folded("Measured", rows)


def _limits(report: Report) -> list[str]:
    return _folded("What this does not prove", [f"- {escape(text)}" for text in report.verdict.not_proven])


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

"""A verdict as a job tells it: one word, one line, Markdown and annotations.

It is a plain record that survives a trip through JSON, because evidence from elsewhere is judged in a child of its
own, and only this comes back.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from dre_ci.forge.base import Annotation, State
from dre_core.model.record import dataclass
from dre_core.model.session import Outcome
from dre_core.model.text import one_line, plain
from dre_core.model.verdict import Conclusion, Finding, Level, Severity
from dre_core.report.build import WORDS, Report, count_words
from dre_core.verification import Verified

# For ``fail-on``: failed and contradicted weigh the same.
_BADNESS = {
    Conclusion.SUPPORTED: 0,
    Conclusion.INCONCLUSIVE: 1,
    Conclusion.FAILED: 2,
    Conclusion.CONTRADICTED: 2,
    Conclusion.UNTRUSTED: 3,
    Conclusion.INVALID: 4,
}
FAIL_ON = ("contradicted", "inconclusive", "never")
_LEVELS = {
    Severity.VETO: "error",
    Severity.FAIL: "error",
    Severity.WARN: "warning",
}
_LISTED = 1_000
_MESSAGE_LIMIT = 4_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One operation's verdict.

    Attributes:
        operation: Its id.
        conclusion: The one word.
        score: Of the consensus; None where nobody voted.
        confidence: Of the consensus.
        level: Evidence level.
        outcome: Of the command, as claimed.
        exit_code: Of the command; None if it was killed.
        tests: Counts by outcome; None where no tests were seen.
        commit: The commit that the evidence says it is about.
        line: What to know, in half a line.
        markdown: The report.
        annotations: Remarks at places, the worst first.
        document: ``dre/verdict/v1``.
        review: What a countersignature is about; None where the run can't be read.
    """

    operation: str
    conclusion: Conclusion
    score: float | None
    confidence: float
    level: Level
    outcome: str
    exit_code: int | None
    tests: Mapping[str, int] | None
    commit: str
    line: str
    markdown: str
    annotations: tuple[Annotation, ...]
    document: Mapping[str, Any]
    review: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """The record as a JSON value."""
        return {
            "line": self.line,
            "markdown": self.markdown,
            "annotations": [
                {name: getattr(each, name) for name in ("level", "title", "message", "file", "line", "check")}
                for each in self.annotations
            ],
            "document": dict(self.document),
            "review": None if self.review is None else dict(self.review),
        }

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> Told:
        """Reads what :meth:`to_json` wrote."""
        document = value["document"]
        claim = document["claim"]
        return cls(
            operation=document["operation"],
            conclusion=Conclusion(document["verdict"]),
            score=document["score"],
            confidence=document["confidence"],
            level=Level(document["level"]),
            outcome=str(claim.get("outcome") or ""),
            exit_code=claim.get("exit_code"),
            tests=claim.get("tests"),
            commit=str(claim.get("commit") or ""),
            line=value["line"],
            markdown=value["markdown"],
            annotations=tuple(Annotation(**each) for each in value["annotations"]),
            document=document,
            review=value.get("review"),
        )

    def capped(self, level: Level) -> Told:
        """The same with a lower evidence level, if it claims a higher one."""
        if self.level <= level:
            return self
        return replace(self, level=level, document={**self.document, "level": int(level)})

    def fails(self, fail_on: str) -> bool:
        """Whether it is at least as bad as the caller bears."""
        if fail_on == "never":
            return False
        return _BADNESS[self.conclusion] >= (1 if fail_on == "inconclusive" else 2)

    def state(self, fail_on: str) -> State:
        """Green for what is supported, red for what is too bad, and neither for what lies between."""
        if self.conclusion is Conclusion.SUPPORTED:
            return State.SUCCESS
        return State.FAILURE if self.fails("contradicted") or self.fails(fail_on) else State.NEUTRAL


def worst(told: Iterable[Told]) -> Told:
    """The one with the worst verdict, the first of several; of equal words the lower level."""
    return max(told, key=lambda each: (_BADNESS[each.conclusion], -each.level))


def tell(verified: Verified, earlier: Verified | None = None) -> Told:
    """What a job tells of a verdict.

    Args:
        verified: The operation.
        earlier: An operation to compare it with.
    """
    from dre_core.countersigning import review_of
    from dre_core.report.difference import compare
    from dre_core.report.markdown import render_markdown

    report = Report(verdict=verified.verdict, evidence=verified.evidence)
    if earlier is not None:
        before = Report(verdict=earlier.verdict, evidence=earlier.evidence)
        report = replace(report, difference=compare(before, report))
    value: dict[str, Any] = {
        "line": line_of(report),
        "markdown": render_markdown(report).decode(),
        "annotations": [],
        "document": verified.verdict.to_json(),
        "review": review_of(verified).to_json() if verified.run_payload else None,
    }
    return replace(Told.parse(value), annotations=tuple(annotations_of(report)))


def line_of(report: Report) -> str:
    """``supported: 42 passed, level 3, score 1.00``; why, where it is not supported."""
    verdict = report.verdict
    word = verdict.conclusion
    head = "trustworthy record of a failed run" if word is Conclusion.FAILED else word.value
    parts = [count_words(report.counts)] if report.counts else []
    if word in (Conclusion.SUPPORTED, Conclusion.FAILED):
        score = verdict.consensus.overall
        parts += [f"level {int(verdict.level)}"] + ([f"score {score:.2f}"] if score is not None else [])
    elif report.notable:
        parts = [_plainly(report.notable[0])]
    elif broken := [check for check in verdict.integrity.checks if not check.passed]:
        parts = [f"{broken[0].id}: {broken[0].detail}"]
    elif verdict.missing:
        parts = [verdict.missing[0]]
    else:
        parts = [WORDS[word]]
    return one_line(f"{head}: {', '.join(parts)}", 400)


def _plainly(finding: Finding) -> str:
    return f"{finding.check}: {finding.message}"


def annotations_of(report: Report) -> Iterator[Annotation]:
    """Errors first: findings that block support, failed tests; then warnings."""
    places = {test.id: (test.file, test.line) for test in report.tests}
    found = [_of_finding(finding, places) for finding in report.notable]
    yield from (each for each in found if each.level == "error")
    bad = [test for test in report.tests if test.outcome in (Outcome.FAILED, Outcome.ERROR)]
    for test in bad[:_LISTED]:
        yield Annotation(
            level="error",
            title=one_line(f"{test.outcome.value}: {test.id}", 200),
            message=plain(test.message or test.outcome.value, _MESSAGE_LIMIT),
            file=_inside(test.file),
            line=test.line,
        )
    yield from (each for each in found if each.level != "error")


def _of_finding(finding: Finding, places: Mapping[str, tuple[str, int]]) -> Annotation:
    file, line = _place(finding, places)
    remedy = f" Honest? {finding.remedy}." if finding.remedy else ""
    return Annotation(
        level=_LEVELS[finding.severity],
        title=f"dre: {one_line(finding.check, 100)}",
        message=plain(f"{finding.message}.{remedy}", _MESSAGE_LIMIT),
        file=file,
        line=line,
        check=one_line(finding.check, 100),
    )


def _place(finding: Finding, places: Mapping[str, tuple[str, int]]) -> tuple[str, int]:
    match = re.fullmatch(r"(.+?):([0-9]{1,9})", finding.where)
    if match and _inside(match[1]):
        return _inside(match[1]), int(match[2])
    for test in finding.tests:
        file, line = places.get(test, ("", 0))
        if _inside(file):
            return _inside(file), line
    return "", 0


def _inside(path: str) -> str:
    """A path that stays below the top of the repository; empty for any other."""
    clean = one_line(path, 500)
    parts = clean.replace("\\", "/").split("/")
    return "" if not clean or clean.startswith("/") or ":" in parts[0] or ".." in parts else "/".join(parts)

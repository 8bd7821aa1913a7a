"""Root causes: what a reader should look at first when a run is not supported, ranked.

1. What contradicts the claim. 2. A runner that was killed, or ended at a time limit: what comes after may be its echo.
3. Tests that failed, those with one error in one place taken together: first what stands in changed code, then what is
new, then by order of failure, then what is flaky. 4. The place that mostly failing tests ran, where coverage says which
test ran a line. 5. What could not be collected. 6. Failed tests that only a report tells of, else
the last closing line of a command whose tests nobody witnessed.
7. What blocks support.

A failed test points at the deepest line of its traceback that the change touched, else at the deepest line of the
project, else at itself; earlier runs of the command say whether it is newly failing or flaky.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from dre_core.capture.programmatic import JUnitCase
from dre_core.model.covered import Suspect
from dre_core.model.record import dataclass
from dre_core.model.run import PastRun, RunOutcome
from dre_core.model.session import Outcome, TestRecord
from dre_core.model.verdict import Cause, Finding, MethodResult, Severity
from dre_core.verify.evidence import Evidence

_CAUSES = 10
_NAMED = 3
# ``src/shop.py:12: KeyError`` at the end of each entry of a traceback as pytest shows it.
_PLACE = re.compile(r"^([^\s:][^:\n]*\.py):(\d+): ?", re.M)
# ``(CartTest.java:9)`` in a trace of a language on the JVM.
_FRAME = re.compile(r"\(([\w$]+\.(?:java|kt|groovy|scala)):(\d+)\)")
_SUMMARY = 300
_NUMBERS = re.compile(r"0x[0-9a-f]+|\d+")


def root_causes(evidence: Evidence, results: dict[str, MethodResult]) -> tuple[Cause, ...]:
    """The ranked causes; see the module."""
    findings = [finding for result in results.values() for finding in result.findings]
    causes = [_from_finding(f) for f in findings if f.severity is Severity.VETO]
    causes += _ended(evidence)
    failures = _failures(evidence)
    causes += failures
    causes += _spectrum(evidence, {cause.where for cause in failures})
    for session in evidence.top_sessions:
        causes += [
            Cause(summary=f"{name} could not be collected", evidence=evidence.items_of(session))
            for name in session.collection_errors
        ]
    causes += _reported(evidence)
    causes += _told(evidence)
    causes += [_from_finding(f) for f in findings if f.severity is Severity.FAIL]
    return tuple(causes[:_CAUSES])


def _from_finding(finding: Finding) -> Cause:
    return Cause(summary=finding.message, evidence=finding.evidence, where=finding.where)


def _ended(evidence: Evidence) -> Iterable[Cause]:
    """A runner that did not come to its own end."""
    if evidence.observation is None or evidence.run.claim.outcome is RunOutcome.PASSED:
        return
    digests = tuple(item.digest for item in evidence.run.items_of("process"))
    if evidence.run.claim.outcome is RunOutcome.TIMEOUT:
        seconds = evidence.run.duration_ns / 1e9
        yield Cause(
            summary=f"the command was ended at its time limit, after {seconds:.0f} s", evidence=digests
        )
    for process in evidence.observation.runners():
        if process.signal:
            summary = f"`{' '.join(process.argv)[:120]}` died of signal {process.signal}"
            yield Cause(summary=summary, evidence=digests)


@dataclass(frozen=True, slots=True)
class _Failure:
    """Tests that failed with one error in one place.

    Attributes:
        tests: The tests, in order of failure.
        place: ``path:line`` to look at.
        changed: The change touched the file.
        history: What earlier runs say of the first of them.
        digests: Items that show it.
        number: Its place in the order of failure.
    """

    tests: tuple[TestRecord, ...]
    place: str
    changed: bool
    history: str
    digests: tuple[str, ...]
    number: int

    @property
    def order(self) -> tuple[bool, bool, int]:
        return (not self.changed, self.history.startswith("flaky"), self.number)

    def cause(self) -> Cause:
        first = self.tests[0]
        message = f": {first.message}" if first.message else ""
        more = f" (and {len(self.tests) - 1} more with the same error)" if len(self.tests) > 1 else ""
        touched = ", in code that the change touched" if self.changed else ""
        history = f"; {self.history}" if self.history else ""
        return Cause(
            summary=f"{first.id} {first.outcome.value}{message}{touched}{more}{history}",
            evidence=self.digests,
            where=self.place,
        )


def _failures(evidence: Evidence) -> list[Cause]:
    groups: dict[tuple[str, str], list[TestRecord]] = {}
    digests: dict[tuple[str, str], tuple[str, ...]] = {}
    touched = _touched(evidence)
    for session in evidence.top_sessions:
        for test in session.tests:
            if test.outcome in (Outcome.FAILED, Outcome.ERROR):
                key = (_place(test, touched)[0], _NUMBERS.sub("0", test.message))
                groups.setdefault(key, []).append(test)
                digests.setdefault(key, evidence.items_of(session))
    failures = [
        _Failure(
            tests=tuple(tests),
            place=key[0],
            changed=_place(tests[0], touched)[1],
            history=_history(tests[0], evidence.run.history),
            digests=digests[key],
            number=number,
        )
        for number, (key, tests) in enumerate(groups.items())
    ]
    return [failure.cause() for failure in sorted(failures, key=lambda failure: failure.order)]


def _spectrum(evidence: Evidence, known: set[str]) -> Iterable[Cause]:
    """The most suspicious place by coverage, a changed one first among equals, unless a failure points there."""
    suspects = evidence.covered.suspects if evidence.covered is not None else ()
    if not suspects:
        return
    touched = _touched(evidence)
    best = [suspect for suspect in suspects if suspect.score == suspects[0].score]
    suspect = min(best, key=lambda each: not _is_touched(each, touched))
    if any(f"{suspect.path}:{line}" in known for line in range(suspect.first, suspect.last + 1)):
        return
    lines = f"{suspect.first}-{suspect.last}" if suspect.last > suspect.first else str(suspect.first)
    changed = ", in code that the change touched" if _is_touched(suspect, touched) else ""
    yield Cause(
        summary=f"{suspect.path}:{lines} was run by {suspect.failed} failing and {suspect.passed} passing tests"
        f"{changed}",
        evidence=tuple(item.digest for item in evidence.run.items_of("covered")),
        where=suspect.where,
    )


def _is_touched(suspect: Suspect, touched: dict[str, frozenset[int]]) -> bool:
    lines = touched.get(suspect.path)
    return lines is not None and (not lines or any(suspect.first <= line <= suspect.last for line in lines))


def _touched(evidence: Evidence) -> dict[str, frozenset[int]]:
    """Changed files, with their changed lines where coverage data name them."""
    found: dict[str, frozenset[int]] = {}
    if evidence.changes is not None:
        found |= {change.path: frozenset() for change in evidence.changes.changes}
    found |= {path: frozenset() for path in evidence.run.source.modified}
    if evidence.covered is not None:
        found |= {f.path: frozenset((*f.executed, *f.missing)) for f in evidence.covered.changed}
    return found


def _place(test: TestRecord, touched: dict[str, frozenset[int]]) -> tuple[str, bool]:
    """Where to look, and whether the change touched it: the deepest changed line, else the deepest line."""
    places = [(path, int(line)) for path, line in _PLACE.findall(test.text)]
    for path, line in reversed(places):
        if line in touched.get(path, ()):
            return f"{path}:{line}", True
    for path, line in reversed(places):
        if path in touched:
            return f"{path}:{line}", True
    inside = [
        (path, line)
        for path, line in places
        if not path.startswith(("/", "..")) and "site-packages" not in path
    ]
    if inside:
        return f"{inside[-1][0]}:{inside[-1][1]}", False
    return (f"{test.file}:{test.line}" if test.file and test.line else test.file), test.file in touched


def _history(test: TestRecord, runs: Sequence[PastRun]) -> str:
    """What earlier runs that counted their tests say of one; empty where there are none."""
    counted = [run for run in runs if run.passed is not None]
    if not counted:
        return ""
    failed = [run for run in counted if test.id in run.failed]
    if not failed:
        last = counted[-1]
        commit = f", last at {last.commit[:12]}" if last.commit else ""
        return f"newly failing: it did not fail in the last {len(counted)} recorded runs{commit}"
    if len(failed) == len(counted):
        return f"it failed in each of the last {len(counted)} recorded runs as well"
    same = any(
        run.commit and run.commit == other.commit
        for run in failed
        for other in counted
        if other not in failed
    )
    word = "flaky: both at one commit" if same else "seen before"
    return f"{word}, it failed in {len(failed)} of the last {len(counted)} recorded runs"


def _reported(evidence: Evidence) -> Iterable[Cause]:
    """Failed tests that only a report tells of, each at the first place in its trace that names its own file."""
    if evidence.top_sessions:
        return
    for report in evidence.reports:
        for case in report.junit.cases:
            if case.outcome in (Outcome.FAILED, Outcome.ERROR):
                message = f": {case.message}" if case.message else ""
                yield Cause(
                    summary=f"{case.id} {case.outcome.value}{message}"[:_SUMMARY],
                    evidence=(report.item.digest,),
                    where=_place_of(case),
                )


def _place_of(case: JUnitCase) -> str:
    if case.file:
        return f"{case.file}:{case.line}" if case.line else case.file
    own = case.id.partition("::")[0].rpartition(".")[2].partition("$")[0]
    frames = _FRAME.findall(case.text)
    return next((f"{file}:{line}" for file, line in frames if own and file.startswith(f"{own}.")), "")


def _told(evidence: Evidence) -> Iterable[Cause]:
    """What the output says of tests that nobody witnessed."""
    if evidence.has_tests or evidence.observation is None or not evidence.observation.closing_lines:
        return
    line = evidence.observation.closing_lines[-1]
    if line.count("failed") or line.count("errors"):
        yield Cause(
            summary=f"the output ends with: {line.text[:160]}",
            evidence=tuple(item.digest for item in evidence.run.items_of("process")),
            where=f"offset {line.offset}",
        )

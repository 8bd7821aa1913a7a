"""What is different between two operations: tests, coverage, resources, dependencies, environment.

A comparison, not a judgement: ``dre verify`` has checks of its own for weakened tests and regressions. Durations differ
from run to run, so a test counts as slower only from twice the time and a twentieth of a second on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dre_core.model.canonical import JSON
from dre_core.model.record import dataclass
from dre_core.model.run import PastRun, Run, RunOutcome
from dre_core.model.session import Counts, Outcome, TestRecord
from dre_core.report import words
from dre_core.report.build import Report

SLOWER_FACTOR = 2.0
SLOWER_SECONDS = 0.05
_BAD = (Outcome.FAILED, Outcome.ERROR)
_SKIPPED = (Outcome.SKIPPED, Outcome.XFAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A number then and now; None where it is not known.

    Attributes:
        name: What it is.
        before: Then.
        after: Now.
        unit: ``seconds``, ``bytes`` or empty for a count.
        more_is_worse: For the reader's eye.
    """

    name: str
    before: float | None
    after: float | None
    unit: str = ""
    more_is_worse: bool = True

    @property
    def ratio(self) -> float | None:
        """Now over then; None where it can't be told."""
        if self.before is None or self.after is None or self.before == 0:
            return None
        return self.after / self.before

    def to_json(self) -> dict[str, JSON]:
        """The figure by name."""
        return {
            "name": self.name,
            "unit": self.unit,
            "before": self.before,
            "after": self.after,
            "ratio": None if self.ratio is None else round(self.ratio, 4),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A named thing that had one value and has another; empty for not being there."""

    name: str
    before: str
    after: str

    def to_json(self) -> dict[str, JSON]:
        """The change by name."""
        return {"name": self.name, "before": self.before, "after": self.after}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of a table for people."""

    cells: tuple[str, ...]
    tone: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A table for people."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    numeric: bool = False
    code: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Two operations, the earlier one first.

    Attributes:
        before: The earlier operation's id.
        after: The later one's.
        verdicts: Both verdicts.
        commits: Both commits.
        tests_added: Ids of tests that only the later one has.
        tests_removed: Ids of tests that only the earlier one has.
        newly_skipped: Ran then, skipped or expected to fail now.
        newly_failing: Failed now and not then.
        fixed: Failed then and not now.
        slower: Id, seconds then and now, the greatest loss first.
        faster: The same the other way.
        coverage: Figures of coverage.
        resources: Figures of time and resources.
        dependencies: Packages added, removed or changed.
        environment: What else changed of machine, variables and tools.
        whole: Both operations were at hand; otherwise the earlier one's figures are the later one's memory of it.
    """

    before: str
    after: str
    verdicts: tuple[str, str] = ("", "")
    commits: tuple[str, str] = ("", "")
    tests_added: tuple[str, ...] = ()
    tests_removed: tuple[str, ...] = ()
    newly_skipped: tuple[str, ...] = ()
    newly_failing: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()
    slower: tuple[tuple[str, float, float], ...] = ()
    faster: tuple[tuple[str, float, float], ...] = ()
    coverage: tuple[Figure, ...] = ()
    resources: tuple[Figure, ...] = ()
    dependencies: tuple[Change, ...] = ()
    environment: tuple[Change, ...] = ()
    whole: bool = True

    @property
    def title(self) -> str:
        """What it is compared with."""
        at = f" at {words.commit(self.commits[0])}" if self.commits[0] else ""
        return f"{self.before}{at}"

    @property
    def sentence(self) -> str:
        """The difference in one sentence."""
        named = (
            (self.newly_failing, "newly failing"),
            (self.fixed, "fixed"),
            (self.tests_added, "added"),
            (self.tests_removed, "removed"),
            (self.newly_skipped, "newly skipped"),
            (self.slower, "slower"),
        )
        parts = [f"{words.number(len(every))} {word}" for every, word in named if every]
        text = f"Tests: {', '.join(parts)}." if parts else "The same tests with the same outcomes."
        if not self.whole:
            text = "From what this folder remembers of it; the operation itself is not at hand."
        return text

    def to_json(self) -> dict[str, JSON]:
        """The document ``dre/difference/v1``."""

        def timed(every: Iterable[tuple[str, float, float]]) -> list[JSON]:
            return [{"test": name, "before_seconds": then, "after_seconds": now} for name, then, now in every]

        return {
            "schema": "dre/difference/v1",
            "before": {"operation": self.before, "verdict": self.verdicts[0], "commit": self.commits[0]},
            "after": {"operation": self.after, "verdict": self.verdicts[1], "commit": self.commits[1]},
            "tests": {
                "added": list(self.tests_added),
                "removed": list(self.tests_removed),
                "newly_skipped": list(self.newly_skipped),
                "newly_failing": list(self.newly_failing),
                "fixed": list(self.fixed),
                "slower": timed(self.slower),
                "faster": timed(self.faster),
            },
            "coverage": [figure.to_json() for figure in self.coverage],
            "resources": [figure.to_json() for figure in self.resources],
            "dependencies": [change.to_json() for change in self.dependencies],
            "environment": [change.to_json() for change in self.environment],
            "whole": self.whole,
        }

    @property
    def groups(self) -> tuple[Group, ...]:
        """Tables for people, those without a row left out."""
        lists = (
            ("Newly failing", self.newly_failing, "up"),
            ("Fixed", self.fixed, "down"),
            ("Newly skipped", self.newly_skipped, "up"),
            ("Removed", self.tests_removed, "up"),
            ("Added", self.tests_added, ""),
        )
        groups = [
            Group(
                title=f"{title}: {words.number(len(names))}", columns=(), rows=_named(names, tone), code=True
            )
            for title, names, tone in lists
        ]
        groups += [
            Group(title="Slower tests", columns=("Test", "Then", "Now", ""), rows=_timed(self.slower, "up"),
                  numeric=True, code=True),
            Group(title="Faster tests", columns=("Test", "Then", "Now", ""), rows=_timed(self.faster, "down"),
                  numeric=True, code=True),
            Group(title="Time and resources", columns=("", "Then", "Now", ""), rows=_figures(self.resources),
                  numeric=True),
            Group(title="Coverage", columns=("", "Then", "Now", ""), rows=_figures(self.coverage), numeric=True),
            Group(title="Dependencies", columns=("Package", "Then", "Now"), rows=_changes(self.dependencies)),
            Group(title="Environment", columns=("", "Then", "Now"), rows=_changes(self.environment)),
        ]  # fmt: skip
        return tuple(group for group in groups if group.rows)


def compare(before: Report, after: Report) -> Difference:
    """Two operations whose evidence is at hand."""
    then, now = _by_id(before.tests), _by_id(after.tests)
    both = [name for name in now if name in then]
    slower, faster = _speeds((name, then[name], now[name]) for name in both)
    return Difference(
        before=before.verdict.operation,
        after=after.verdict.operation,
        verdicts=(before.verdict.conclusion.value, after.verdict.conclusion.value),
        commits=(_commit(before.run), _commit(after.run)),
        tests_added=tuple(name for name in now if name not in then),
        tests_removed=tuple(name for name in then if name not in now),
        newly_skipped=tuple(
            n for n in both if now[n].outcome in _SKIPPED and then[n].outcome not in _SKIPPED
        ),
        newly_failing=tuple(
            name for name in now if now[name].outcome in _BAD and not _is_bad(then.get(name))
        ),
        fixed=tuple(name for name in both if _is_bad(then[name]) and now[name].outcome not in _BAD),
        slower=slower,
        faster=faster,
        coverage=_coverage(before, after),
        resources=_resources(before, after),
        dependencies=_packages(before, after),
        environment=_environment(before, after),
    )


def remembered(report: Report) -> Difference | None:
    """The last earlier run of the same command that passed, as this one remembers it; None where there is none."""
    run = report.run
    if run is None:
        return None
    past = [each for each in run.history if each.outcome is RunOutcome.PASSED]
    return _with_past(report, run, past[-1]) if past else None


def baseline_of(report: Report) -> str:
    """Id of the operation to compare with: the last earlier run of the same command that passed; empty without one."""
    past = [each for each in (report.run.history if report.run else ()) if each.outcome is RunOutcome.PASSED]
    return past[-1].operation if past else ""


def _with_past(report: Report, run: Run, past: PastRun) -> Difference:
    observation = report.evidence.observation if report.evidence else None
    counts = report.counts or Counts()
    figures = (
        Figure(name="Duration", before=past.duration_ns / 1e9, after=run.duration_ns / 1e9, unit="seconds"),
        Figure(
            name="Processor time",
            before=None if past.cpu_ms is None else past.cpu_ms / 1000,
            after=observation.cpu_ms / 1000 if observation else None,
            unit="seconds",
        ),
        Figure(
            name="Largest process",
            before=past.max_rss_bytes,
            after=observation.max_rss_bytes if observation else None,
            unit="bytes",
        ),
        Figure(name="Tests passed", before=past.passed, after=counts.passed, more_is_worse=False),
    )
    return Difference(
        before=past.operation,
        after=run.operation,
        commits=(past.commit, run.source.commit),
        resources=tuple(f for f in figures if f.before is not None and f.after is not None),
        whole=False,
    )


def _by_id(tests: Iterable[TestRecord]) -> dict[str, TestRecord]:
    return {test.id: test for test in tests}


def _is_bad(test: TestRecord | None) -> bool:
    return test is not None and test.outcome in _BAD


def _commit(run: Run | None) -> str:
    return run.source.commit if run else ""


Timed = tuple[tuple[str, float, float], ...]


def _speeds(pairs: Iterable[tuple[str, TestRecord, TestRecord]]) -> tuple[Timed, Timed]:
    """Tests that became slower, and those that became faster."""
    slower, faster = [], []
    for name, then, now in pairs:
        before, after = then.duration_seconds, now.duration_seconds
        if after - before >= SLOWER_SECONDS and after >= SLOWER_FACTOR * before:
            slower.append((name, before, after))
        elif before - after >= SLOWER_SECONDS and before >= SLOWER_FACTOR * after:
            faster.append((name, before, after))
    return (
        tuple(sorted(slower, key=lambda each: each[1] - each[2])),
        tuple(sorted(faster, key=lambda each: each[2] - each[1])),
    )


def _coverage(before: Report, after: Report) -> tuple[Figure, ...]:
    then = before.evidence.covered if before.evidence else None
    now = after.evidence.covered if after.evidence else None
    if then is None and now is None:
        return ()
    names = (
        ("Changed lines that ran", "executed", False),
        ("Changed lines that did not run", "missing", True),
        ("Files measured", "files", False),
        ("Assertions that ran", "assertions", False),
    )
    figures = (
        Figure(
            name=name,
            before=getattr(then, field, None),
            after=getattr(now, field, None),
            more_is_worse=worse,
        )
        for name, field, worse in names
    )
    return tuple(figure for figure in figures if figure.before is not None or figure.after is not None)


def _resources(before: Report, after: Report) -> tuple[Figure, ...]:
    figures = [
        Figure(name=name, before=_measured(before, name), after=_measured(after, name), unit=unit)
        for name, unit in (
            ("Duration", "seconds"), ("Processor time", "seconds"), ("Largest process", "bytes"),
            ("Processes seen", ""), ("Output", "bytes"),
        )
    ]  # fmt: skip
    return tuple(figure for figure in figures if figure.before is not None or figure.after is not None)


def _measured(report: Report, name: str) -> float | None:
    run = report.run
    observation = report.evidence.observation if report.evidence else None
    if name == "Duration":
        return run.duration_ns / 1e9 if run else None
    if observation is None:
        return None
    return {
        "Processor time": observation.cpu_ms / 1000,
        "Largest process": float(observation.max_rss_bytes),
        "Processes seen": float(len(observation.processes)),
        "Output": float(sum(count for _, count in observation.bytes_out)),
    }[name]


def _packages(before: Report, after: Report) -> tuple[Change, ...]:
    then = dict(before.exhibits.distributions) if before.exhibits else {}
    now = dict(after.exhibits.distributions) if after.exhibits else {}
    return _changed(then, now)


def _environment(before: Report, after: Report) -> tuple[Change, ...]:
    return _changed(_surroundings(before), _surroundings(after))


def _surroundings(report: Report) -> dict[str, str]:
    run = report.run
    if run is None:
        return {}
    variables = report.exhibits.environment.get("variables") if report.exhibits else None
    named = (
        {f"${name}": str(value) for name, value in variables.items()} if isinstance(variables, dict) else {}
    )
    return {
        **{f"machine {name}": value for name, value in run.environment.items()},
        **{f"tool {name}": value for name, value in run.tools.items()},
        **named,
        "executable": run.command.executable_digest,
        "working directory": run.command.cwd,
    }


def _changed(then: Mapping[str, str], now: Mapping[str, str]) -> tuple[Change, ...]:
    return tuple(
        Change(name=name, before=then.get(name, ""), after=now.get(name, ""))
        for name in sorted({*then, *now}, key=str.lower)
        if then.get(name, "") != now.get(name, "")
    )


def _named(names: tuple[str, ...], tone: str) -> tuple[Row, ...]:
    return tuple(Row(cells=(name,), tone=tone) for name in names)


def _timed(every: Timed, tone: str) -> tuple[Row, ...]:
    return tuple(
        Row(
            cells=(name, words.duration(then), words.duration(now), _factor(now / then if then else None)),
            tone=tone,
        )
        for name, then, now in every
    )


def _factor(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}x" if ratio < 100 else f"{ratio:.0f}x"


def _figures(figures: tuple[Figure, ...]) -> tuple[Row, ...]:
    return tuple(
        Row(
            cells=(
                figure.name,
                said(figure.before, figure.unit),
                said(figure.after, figure.unit),
                _factor(figure.ratio),
            )
        )
        for figure in figures
    )


def said(value: float | None, unit: str) -> str:
    """A figure in words."""
    if value is None:
        return "unknown"
    return {"seconds": words.duration, "bytes": words.size}.get(unit, words.number)(value)


def _changes(changes: tuple[Change, ...]) -> tuple[Row, ...]:
    return tuple(
        Row(cells=(change.name, change.before or "not there", change.after or "not there"))
        for change in changes
    )

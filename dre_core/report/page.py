"""What the page says, worked out from the report: figures, rows and paths, ready for the template to lay out.

The template decides how it looks and computes nothing; this module decides what is said and knows no markup.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from dre_core.model.event import parse_rfc3339
from dre_core.model.observation import Observation, SeenProcess
from dre_core.model.record import dataclass
from dre_core.model.session import Outcome, TestRecord
from dre_core.model.text import neutral, one_line
from dre_core.model.verdict import CheckState, Level, MethodResult
from dre_core.report import plots, words
from dre_core.report.analysis import located_causes
from dre_core.report.build import Report, declared_words
from dre_core.report.exhibits import Exhibits, OutputText, PatternMatch
from dre_core.report.graph import flow_of
from dre_core.report.playback import play

_PROCESSES = 150
_FAILURES = 60
_SLOWEST = 6
_TEXT_BUDGET_CHARACTERS = 400_000
_FAILURE_CHARACTERS = 12_000
_MARKS = 300
_REPLAYED = 50
_NAME_CHARACTERS = 1_000
OUTCOME_ORDER = (
    Outcome.FAILED,
    Outcome.ERROR,
    Outcome.XPASSED,
    Outcome.XFAILED,
    Outcome.SKIPPED,
    Outcome.PASSED,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """A process in the tree, with its life as parts of the whole run."""

    command: str
    full: str
    depth: int
    start: float
    width: float
    end: str
    use: str
    bad: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of text with the kind that marks it; empty for an ordinary one."""

    text: str
    kind: str = ""


def page_of(report: Report) -> dict[str, Any]:
    """Everything that the template needs, by name."""
    verdict, exhibits = report.verdict, report.exhibits or Exhibits()
    observation = report.evidence.observation if report.evidence else None
    tests = sorted_tests(report.tests)
    return {
        "report": report,
        "verdict": verdict,
        "run": report.run,
        "exhibits": exhibits,
        "evidence": report.evidence,
        "observation": observation,
        "headline": words.HEADLINES[verdict.conclusion],
        "sentence": words.sentence(report),
        "cleanliness": words.cleanliness(report),
        "ended": words.ended_words(report),
        "declared": declared_words(verdict.claim),
        "checks_sentence": words.checks_sentence(report),
        "causes": located_causes(report),
        "levels": list(Level),
        "methods": [(name, method, method_checks(method)) for name, method in verdict.methods.items()],
        "replay": replay_of(report),
        "command": command_text(report),
        "tests": tests,
        "test_bar": outcome_bar(tests),
        "failures": failures_shown(tests),
        "slowest": sorted(tests, key=lambda test: -test.duration_seconds)[:_SLOWEST],
        "bins": plots.duration_bins([test.duration_seconds for test in tests]),
        "tracks": tracks_of(exhibits, observation),
        "marks": marks_of(report),
        "lanes": lanes_of(observation) if observation else [],
        "playback": play(exhibits.recording) if exhibits.recording and exhibits.recording.events else None,
        "outputs": [(output, output_lines(output, exhibits.matches)) for output in exhibits.outputs],
        "patch": patch_lines(exhibits.patch),
        "flow": flow_of(report),
        "variables": _texts(exhibits.environment.get("variables")),
        "vantages": words.VANTAGES,
        "data": page_data(tests),
    }


def sorted_tests(tests: Sequence[TestRecord]) -> list[TestRecord]:
    """Failures first, then what is unusual, each in the order of the run."""
    rank = {outcome: place for place, outcome in enumerate(OUTCOME_ORDER)}
    return sorted(tests, key=lambda test: rank[test.outcome])


def command_text(report: Report) -> str:
    """The command as a shell would take it."""
    if report.run is None:
        return ""
    argv = report.run.command.argv
    return argv[0] if report.run.command.shell and len(argv) == 1 else shlex.join(argv)


def method_checks(method: MethodResult) -> tuple[int, int]:
    """How many checks of a method ran, and how many apply."""
    applying = [check for check in method.checks if check.state is not CheckState.NOT_APPLICABLE]
    return sum(check.state is CheckState.RAN for check in applying), len(applying)


_CELLS = {
    "clean": "the commit",
    "edited": "the commit with the uncommitted edits",
    "bb": "old tests, old source",
    "bh": "old tests, new source",
    "hb": "new tests, old source",
    "hh": "new tests, new source",
    "bs": "old tests and their helpers, new source",
    "placed": "old tests, new source, in the checkout's place",
}


def replay_of(report: Report) -> dict[str, Any] | None:
    """What running the tests again came to: the cells, and the tests that did not end alike in all of them."""
    facts = report.evidence.replay if report.evidence else None
    if facts is None:
        return None
    names = [cell.name for cell in facts.cells if cell.name in _CELLS]
    rows = []
    for test in facts.tests:
        reached = [getattr(test, name) for name in names]
        outcomes = [each.outcome.value if each else "" for each in reached]
        claimed = test.claimed.value if test.claimed else ""
        if len({outcome for outcome in (claimed, *outcomes) if outcome}) > 1:
            rows.append((test.id or test.base_id, [claimed, *outcomes]))
    shown = rows[:_REPLAYED]
    used = [place for place in range(len(names) + 1) if any(outcomes[place] for _, outcomes in shown)]
    columns = ["as claimed", *(_CELLS[name] for name in names)]
    return {
        "cells": [(cell, _CELLS.get(cell.name, cell.name)) for cell in facts.cells],
        "columns": [columns[place] for place in used],
        "tests": [(test, [outcomes[place] for place in used]) for test, outcomes in shown],
        "all": len(rows) <= _REPLAYED,
    }


def outcome_bar(tests: Sequence[TestRecord]) -> list[tuple[str, int, float, float]]:
    """Outcome, count, and start and width in per cent of the whole, for outcomes that occur."""
    found: list[tuple[str, int, float, float]] = []
    start = 0.0
    for outcome in OUTCOME_ORDER:
        count = sum(test.outcome is outcome for test in tests)
        if count:
            width = 100 * count / len(tests)
            found.append((outcome.value, count, round(start, 3), round(width, 3)))
            start += width
    return found


def failures_shown(tests: Sequence[TestRecord]) -> list[tuple[TestRecord, str, str]]:
    """The first failed tests with text and output, as much of it as a page should carry."""
    found: list[tuple[TestRecord, str, str]] = []
    left = _TEXT_BUDGET_CHARACTERS
    for test in tests:
        if test.outcome not in (Outcome.FAILED, Outcome.ERROR) or len(found) >= _FAILURES:
            break
        text, output = (_cut(each, min(left, _FAILURE_CHARACTERS)) for each in (test.text, test.output))
        left = max(0, left - len(text) - len(output))
        found.append((test, text, output))
    return found


def _cut(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    half = max(limit // 2, 0)
    return f"{text[:half]}\n… {len(text) - 2 * half} characters left out …\n{text[len(text) - half :] if half else ''}"


def tracks_of(exhibits: Exhibits, observation: Observation | None) -> list[plots.Track]:
    """CPU, memory and IO over time."""
    if observation is None or len(exhibits.samples) < 2:
        return []
    end = float(max(observation.wall_ms, exhibits.samples[-1].at_ms, 1))
    samples = exhibits.samples
    return [
        plots.track("CPU", plots.cpu_points(samples), end, lambda value: f"{value:.2f} processors"),
        plots.track("Memory", plots.memory_points(samples), end, words.size),
        plots.track(
            "Read and written", plots.io_points(samples), end, lambda value: f"{words.size(value)}/s"
        ),
    ]


def marks_of(report: Report) -> list[tuple[float, str, str]]:
    """When the output had an error or warning: per cent of the run, kind, text; where the recording tells the time."""
    exhibits = report.exhibits
    if exhibits is None or exhibits.recording is None or report.evidence is None:
        return []
    observation = report.evidence.observation
    end = max(observation.wall_ms, 1) if observation else 1
    waiting = [match for match in exhibits.matches if match.kind in ("error", "warning")][:_MARKS]
    found: list[tuple[float, str, str]] = []
    for event in exhibits.recording.events:
        for match in [each for each in waiting if each.text and each.text[:60] in event.text]:
            found.append((round(min(100.0, event.elapsed_us / 10 / end), 2), match.kind, match.text))
            waiting.remove(match)
        if not waiting:
            break
    return found


def lanes_of(observation: Observation) -> list[Lane]:
    """The process tree, parents before children, as far as it was seen."""
    processes = observation.processes
    children: dict[int, list[SeenProcess]] = {}
    seen = {process.pid for process in processes}
    for process in processes:
        parent = process.parent_pid if process.parent_pid in seen and process.parent_pid != process.pid else 0
        children.setdefault(parent, []).append(process)
    end = max([observation.wall_ms, 1, *(process.ended_ms for process in processes)])
    lanes: list[Lane] = []
    done: set[int] = set()
    stack = [(process, 0) for process in sorted(children.get(0, []), key=_first_seen, reverse=True)]
    while stack and len(lanes) < _PROCESSES:
        process, depth = stack.pop()
        if process.pid in done:
            continue
        done.add(process.pid)
        lanes.append(_lane(process, depth, end))
        below = sorted(children.get(process.pid, []), key=_first_seen, reverse=True)
        stack += [(child, depth + 1) for child in below]
    return lanes


def _first_seen(process: SeenProcess) -> tuple[int, int]:
    return process.started_ms, process.pid


def _lane(process: SeenProcess, depth: int, end: int) -> Lane:
    full = shlex.join(process.argv) if process.argv else process.executable or f"process {process.pid}"
    short = " ".join(word.rpartition("/")[2] or word for word in process.argv) or full
    bad = bool(process.signal) or process.exit_code not in (0, None)
    ended = f"signal {process.signal}" if process.signal else ""
    if not ended and process.exit_code is not None:
        ended = f"exit {process.exit_code}"
    start = 100 * process.started_ms / end
    return Lane(
        command=one_line(short, 140),
        full=one_line(full, 2000),
        depth=min(depth, 5),
        start=round(start, 2),
        width=round(max(0.4, 100 * (process.ended_ms - process.started_ms) / end), 2),
        end=ended,
        use=f"{process.cpu_seconds:.2f} s, {words.size(process.max_rss_bytes)}",
        bad=bad,
    )


def output_lines(output: OutputText, matches: Sequence[PatternMatch]) -> list[Line]:
    """A stream's lines, those that a pattern found marked with its kind."""
    kinds: dict[int, str] = {}
    for match in matches:
        if match.stream == output.stream and match.kind in ("error", "warning", "success"):
            # The worse word wins.
            kinds[match.offset] = min(kinds.get(match.offset, match.kind), match.kind)
    lines = _marked(output.head, 0, kinds)
    if output.size > len(output.head) + len(output.tail) or output.tail:
        left_out = output.size - len(output.head) - len(output.tail)
        lines.append(Line(text=f"… {words.size(left_out)} left out: dre evidence cat gives every byte …"))
        lines += _marked(output.tail, output.size - len(output.tail), kinds)
    return lines


def _marked(data: bytes, start: int, kinds: Mapping[int, str]) -> list[Line]:
    lines = []
    for raw in data.splitlines(keepends=True):
        text = raw.decode("utf-8", "replace").rstrip("\r\n").rpartition("\r")[2]
        lines.append(Line(text=neutral(text), kind=kinds.get(start, "")))
        start += len(raw)
    return lines


def patch_lines(patch: str) -> list[Line]:
    """A unified diff's lines with what each one is."""
    lines = []
    for text in patch.splitlines():
        if text.startswith(("+++", "---", "diff ")):
            kind = "name"
        else:
            kind = {"+": "add", "-": "del", "@": "hunk"}.get(text[:1], "")
        lines.append(Line(text=text, kind=kind))
    return lines


def page_data(tests: Sequence[TestRecord]) -> dict[str, Any]:
    """The tests for the page's own search: files once, then a short row for each test."""
    files: dict[str, int] = {}
    rows = []
    for test in tests:
        path, found, name = test.id.partition("::")
        if not found:
            path, name = "", test.id
        place = files.setdefault(neutral(path[:_NAME_CHARACTERS]), len(files))
        row: list[Any] = [
            place,
            neutral(name[:_NAME_CHARACTERS]),
            test.outcome.value,
            round(test.duration_seconds * 1000, 2),
        ]
        note = test.message or test.reason
        if note:
            row.append(neutral(one_line(note, 160)))
        rows.append(row)
    return {"files": list(files), "tests": rows}


def _texts(value: Any) -> dict[str, str]:
    return {str(name): str(text) for name, text in sorted(value.items())} if isinstance(value, dict) else {}


def seconds_between(start: str, stop: str) -> float:
    """Seconds between two RFC 3339 times."""
    return (parse_rfc3339(stop) - parse_rfc3339(start)).total_seconds()

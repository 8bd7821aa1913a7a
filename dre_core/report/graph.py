"""The run's way through DRE as a graph: seven nodes and the edges between them, with counts, bytes and times.

The numbers are those of the run itself; where its log is at hand, the times between its events are added. What is not
known is left out, never shown as zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from dre_core.errors import FormatError
from dre_core.model.event import Event, parse_rfc3339
from dre_core.model.record import dataclass
from dre_core.model.run import Run
from dre_core.model.verdict import CheckState
from dre_core.report.build import Report
from dre_core.report.words import duration, number, size

# Node to the events that it lies between, and its label.
NODES = {
    "input": ("User input", ()),
    "wrapper": ("Command wrapper", ("operation.created", "operation.started")),
    "execution": ("Execution", ("operation.started", "operation.collecting")),
    "evidence": ("Evidence collection", ("operation.collecting", "evidence.stored")),
    "verification": ("Verification", ("verification.started", "verification.completed")),
    "documentation": ("Documentation", ()),
    "storage": ("Storage", ("evidence.sealed", "operation.sealed")),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A station.

    Attributes:
        id: Short name.
        label: Name for people.
        detail: Counts and bytes, in words.
        time: How long it took; empty if not known.
    """

    id: str
    label: str
    detail: str
    time: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """What went from one station to the next, in words."""

    source: str
    target: str
    flow: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """Nodes in order, and the edge that leaves each but the last."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]


def flow_of(report: Report) -> Graph | None:
    """The run's graph; None where the run could not be read."""
    run = report.run
    if run is None:
        return None
    times = _times(report.exhibits.events if report.exhibits else (), run)
    details = _details(report, run)
    nodes = tuple(
        Node(id=name, label=label, detail=details[name], time=times.get(name, ""))
        for name, (label, _) in NODES.items()
    )
    flows = _flows(report, run)
    edges = tuple(
        Edge(source=source, target=target, flow=flows[source]) for source, target in pairwise(NODES)
    )
    return Graph(nodes=nodes, edges=edges)


def _plural(count: int, word: str, several: str = "") -> str:
    return f"{number(count)} {word}" if count == 1 else f"{number(count)} {several or f'{word}s'}"


def _details(report: Report, run: Run) -> dict[str, str]:
    observation = report.evidence.observation if report.evidence else None
    kept = [item for item in run.items if item.kept]
    checks = [check for method in report.verdict.methods.values() for check in method.checks]
    seal = report.exhibits.seal if report.exhibits else None
    return {
        "input": _plural(len(run.command.argv), "word")
        + f", {_plural(len(run.source.modified), 'uncommitted file')}",
        "wrapper": "watched from outside"
        if run.face == "wrap"
        else "recorded from inside by the pytest plugin",
        "execution": _plural(len(observation.processes), "process", "processes")
        if observation
        else "not watched from outside",
        "evidence": f"{_plural(len(run.items), 'item')}, {size(sum(item.size for item in run.items))}"
        + (f", {_plural(len(run.gaps), 'gap')}" if run.gaps else ""),
        "verification": f"{_plural(len(report.verdict.methods), 'method')}, "
        f"{sum(check.state is CheckState.RAN for check in checks)} of {_plural(len(checks), 'check')} ran",
        "documentation": "this report",
        "storage": f"{_plural(len({item.digest for item in kept}), 'payload')}"
        + (f", {_plural(len(seal.parts), 'signed statement')}" if seal else ""),
    }


def _flows(report: Report, run: Run) -> dict[str, str]:
    observation = report.evidence.observation if report.evidence else None
    out = (
        sum(count for _, count in observation.bytes_out)
        if observation
        else sum(item.size for item in run.items_of("output"))
    )
    masked = sum(sum(item.masked.values()) for item in run.items)
    counts = report.counts
    return {
        "input": "1 command",
        "wrapper": "1 process started",
        "execution": f"{size(out)} of output"
        + (
            f", {number(sum((counts.passed, counts.failed, counts.errors, counts.skipped)))} tests"
            if counts
            else ""
        ),
        "evidence": f"{_plural(len(run.items), 'item')}"
        + (f", {_plural(masked, 'secret')} masked" if masked else ", nothing to mask"),
        "verification": f"{_plural(len(report.verdict.findings), 'finding')}, "
        f"verdict {report.verdict.conclusion.value}",
        "documentation": "1 report tree",
    }


def _times(events: tuple[Event, ...], run: Run) -> dict[str, str]:
    """How long each station took, by the log's own events."""
    first: dict[str, str] = {}
    last: dict[str, str] = {}
    for event in events:
        first.setdefault(event.type, event.time)
        last[event.type] = event.time
    found = {}
    for name, (_, span) in NODES.items():
        if len(span) == 2 and span[0] in first and span[1] in last:
            seconds = _between(first, last, span)
            if seconds is not None and seconds >= 0:
                found[name] = duration(seconds)
    found["execution"] = duration(run.duration_ns / 1e9)
    return found


def _between(first: Mapping[str, str], last: Mapping[str, str], span: tuple[str, ...]) -> float | None:
    try:
        return (parse_rfc3339(last[span[1]]) - parse_rfc3339(first[span[0]])).total_seconds()
    except FormatError:
        return None

"""The flow of operations through DRE as numbers: a fold over the events of a log, nothing stored beside it.

Throughput (how many, and how many a minute over three windows), latencies as histograms (how long commands ran,
evidence took to seal, verification took, all of it), operations under way, and errors by kind and by the stage that
they came in. Written as JSON, or in Prometheus' text format 0.0.4.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from datetime import datetime

from dre_core.errors import StateError
from dre_core.model.canonical import JSON
from dre_core.model.event import Event, parse_rfc3339
from dre_core.model.state import EVENT_ACTIONS, OperationState, next_operation_state

BUCKETS_SECONDS = (0.1, 0.5, 1.0, 5.0, 10.0, 60.0, 300.0, 1800.0, 3600.0)
WINDOWS_SECONDS = {"1m": 60.0, "5m": 300.0, "1h": 3600.0}
# What counts as one unit of each throughput.
_COUNTED = {
    "operation.created": "operations",
    "evidence.stored": "evidence",
    "verification.completed": "verifications",
}
# Name of a latency to the events that it lies between.
_SPANS = {
    "operation_duration": ("operation.started", "operation.collecting"),
    "evidence_processing": ("operation.collecting", "operation.sealed"),
    "verification_time": ("verification.started", "verification.completed"),
    "end_to_end": ("operation.created", "operation.sealed"),
}
_FAILED = ("operation.failed", "operation.rejected", "operation.cancelled")


class Histogram:
    """Durations in buckets of rising upper bounds."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS_SECONDS) + 1)
        self.sum_seconds = 0.0

    def add(self, seconds: float) -> None:
        """Takes a duration; one below zero, from a clock that was set back, counts as none."""
        self.counts[bisect_left(BUCKETS_SECONDS, max(0.0, seconds))] += 1
        self.sum_seconds += max(0.0, seconds)

    @property
    def count(self) -> int:
        """How many there were."""
        return sum(self.counts)

    def cumulative(self) -> list[tuple[str, int]]:
        """Upper bound and how many were at most that long, the last without a bound."""
        bounds = [*map(str, BUCKETS_SECONDS), "+Inf"]
        return [(bound, sum(self.counts[: place + 1])) for place, bound in enumerate(bounds)]

    def to_json(self) -> dict[str, JSON]:
        """The histogram with its mean."""
        mean = self.sum_seconds / self.count if self.count else 0.0
        return {
            "count": self.count,
            "sum_seconds": round(self.sum_seconds, 6),
            "mean_seconds": round(mean, 6),
            "buckets": dict(self.cumulative()),
        }


class Flow:
    """The numbers, event by event.

    Args:
        now: The moment that the windows end at.
    """

    def __init__(self, now: datetime) -> None:
        self._now = now
        self.totals = dict.fromkeys(_COUNTED.values(), 0)
        self.windows = {name: dict.fromkeys(WINDOWS_SECONDS, 0) for name in self.totals}
        self.latencies = {name: Histogram() for name in _SPANS}
        self.outcomes: dict[str, int] = {}
        self.errors: dict[str, int] = {}
        self.stages: dict[str, int] = {}
        self.alerts = 0
        self._open: dict[str, dict[str, datetime]] = {}
        self._states: dict[str, OperationState] = {}

    def add(self, event: Event) -> None:
        """Takes the next event of the log."""
        time = parse_rfc3339(event.time)
        counted = _COUNTED.get(event.type)
        if counted is not None:
            self.totals[counted] += 1
            for label, seconds in WINDOWS_SECONDS.items():
                self.windows[counted][label] += (self._now - time).total_seconds() <= seconds
        self.alerts += event.type == "metric.alert"
        if event.operation is not None:
            self._follow(event.operation, event, time)

    def _follow(self, operation: str, event: Event, time: datetime) -> None:
        seen = self._open.setdefault(operation, {})
        for name, (start, stop) in _SPANS.items():
            if event.type == stop and start in seen:
                self.latencies[name].add((time - seen[start]).total_seconds())
        seen[event.type] = time
        self._advance(operation, event)
        if event.type == "operation.sealed":
            outcome = str(event.data.get("outcome", "unknown"))
            self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
            if outcome != "passed":
                self.errors[outcome] = self.errors.get(outcome, 0) + 1
        if event.type == "operation.sealed" or event.type in _FAILED:
            self._open.pop(operation, None)
            self._states.pop(operation, None)

    def _advance(self, operation: str, event: Event) -> None:
        """Follows the operation's state, for the stage of an error."""
        state = self._states.get(operation, OperationState.PENDING)
        if event.type in _FAILED:
            kind = event.type.partition(".")[2]
            self.errors[kind] = self.errors.get(kind, 0) + 1
            self.stages[state.value] = self.stages.get(state.value, 0) + 1
        action = EVENT_ACTIONS.get(event.type)
        if action is not None:
            try:
                self._states[operation] = next_operation_state(state, action)
            except StateError:
                return

    @property
    def under_way(self) -> int:
        """Operations that are neither sealed nor failed."""
        return sum("operation.created" in seen for seen in self._open.values())

    def to_json(self) -> dict[str, JSON]:
        """The numbers as one document."""
        return {
            "schema": "dre/metrics/v1",
            "throughput": {
                name: {"total": total, "per_minute": self._rates(name)} for name, total in self.totals.items()
            },
            "latency": {name: histogram.to_json() for name, histogram in self.latencies.items()},
            "queues": {"depth": self.under_way},
            "outcomes": dict(sorted(self.outcomes.items())),
            "errors": {
                "total": sum(self.errors.values()),
                "by_type": dict(sorted(self.errors.items())),
                "by_stage": dict(sorted(self.stages.items())),
            },
            "alerts": self.alerts,
        }

    def _rates(self, name: str) -> dict[str, JSON]:
        return {
            label: round(self.windows[name][label] * 60 / seconds, 6)
            for label, seconds in WINDOWS_SECONDS.items()
        }

    def to_prometheus(self) -> str:
        """The numbers in Prometheus' text format."""
        lines: list[str] = []
        for name, total in self.totals.items():
            lines += _family(f"dre_{name}_total", "counter", f"{name.capitalize()} so far", {"": total})
        lines += _family("dre_outcomes_total", "counter", "Sealed runs", _labelled("outcome", self.outcomes))
        lines += _family(
            "dre_errors_total", "counter", "Runs that went wrong", _labelled("type", self.errors)
        )
        lines += _family("dre_alerts_total", "counter", "Anomalies in resource use", {"": self.alerts})
        lines += _family("dre_operations_under_way", "gauge", "Not sealed yet", {"": self.under_way})
        for name, histogram in self.latencies.items():
            metric = f"dre_{name}_seconds"
            lines += [f"# HELP {metric} {name.replace('_', ' ').capitalize()}", f"# TYPE {metric} histogram"]
            lines += [f'{metric}_bucket{{le="{bound}"}} {count}' for bound, count in histogram.cumulative()]
            lines += [f"{metric}_sum {histogram.sum_seconds:.6f}", f"{metric}_count {histogram.count}"]
        return "\n".join(lines) + "\n"


def fold(events: Iterable[Event], now: datetime) -> Flow:
    """The numbers of a whole log."""
    flow = Flow(now)
    for event in events:
        flow.add(event)
    return flow


def _labelled(label: str, values: Mapping[str, int]) -> dict[str, int]:
    def escaped(text: str) -> str:
        return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

    return {f'{{{label}="{escaped(name)}"}}': count for name, count in sorted(values.items())}


def _family(name: str, kind: str, text: str, samples: Mapping[str, int]) -> list[str]:
    return [
        f"# HELP {name} {text}",
        f"# TYPE {name} {kind}",
        *(f"{name}{labels} {value}" for labels, value in samples.items()),
    ]

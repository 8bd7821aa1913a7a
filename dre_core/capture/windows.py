"""Sliding windows over a run's resource use: averages of one and five minutes and an hour, trend, and anomalies.

Not a judgement: an anomaly is a value far from the last five minutes, for people and for the log. The rules:

* A window holds the values of its last seconds; at most ``VALUES_LIMIT``, then every second one is dropped.
* The trend compares the last minute's average with that of five minutes: ``rising`` or ``falling`` beyond a tenth.
* A value is an anomaly if it lies more than ``ANOMALY_DEVIATIONS`` standard deviations, and more than the metric's
  own least step, from the average of the last five minutes, once these hold ``ENOUGH_VALUES``.
* A metric alerts at most once a minute.
"""

from __future__ import annotations

from collections import deque
from math import fsum, sqrt

from dre_core.model.canonical import JSON
from dre_core.model.record import dataclass

WINDOWS_SECONDS = {"1m": 60.0, "5m": 300.0, "1h": 3600.0}
VALUES_LIMIT = 1200
ENOUGH_VALUES = 10
ANOMALY_DEVIATIONS = 4.0
MAJOR_DEVIATIONS, CRITICAL_DEVIATIONS = 8.0, 16.0
ALERT_PAUSE_SECONDS = 60.0
ALERTS_LIMIT = 100
_TREND_SHARE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """A value far from what the last minutes let expect.

    Attributes:
        metric: Such as ``cpu_cores``.
        at_ms: Since the start of the command.
        value: The value.
        expected: The average of the last five minutes.
        severity: ``minor``, ``major`` or ``critical``.
    """

    metric: str
    at_ms: int
    value: float
    expected: float
    severity: str

    def to_json(self) -> dict[str, JSON]:
        """The alert as it stands in events and items."""
        return {
            "type": "anomaly",
            "metric": self.metric,
            "atMs": self.at_ms,
            "value": self.value,
            "expected": self.expected,
            "severity": self.severity,
        }


class Window:
    """The values of the last seconds.

    Args:
        seconds: How many.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._values: deque[tuple[float, float]] = deque()

    def add(self, at_seconds: float, value: float) -> None:
        """Takes a value and forgets those that are too old; times must not fall."""
        self._values.append((at_seconds, value))
        while self._values and self._values[0][0] <= at_seconds - self._seconds:
            self._values.popleft()
        if len(self._values) > VALUES_LIMIT:
            self._values = deque(list(self._values)[::2])

    def __len__(self) -> int:
        return len(self._values)

    @property
    def average(self) -> float:
        """Mean of the values; 0 without any."""
        return fsum(value for _, value in self._values) / len(self._values) if self._values else 0.0

    @property
    def deviation(self) -> float:
        """Standard deviation of the values; 0 without any."""
        mean = self.average
        squares = fsum((value - mean) ** 2 for _, value in self._values)
        return sqrt(squares / len(self._values)) if self._values else 0.0


class Metric:
    """One quantity over time.

    Args:
        name: Its name with its unit.
        least_step: A smaller difference is never an anomaly, in its unit.
    """

    def __init__(self, name: str, least_step: float) -> None:
        self.name = name
        self.instant = 0.0
        self._least_step = least_step
        self._windows = {label: Window(seconds) for label, seconds in WINDOWS_SECONDS.items()}
        self._alerted_at: float | None = None

    def process(self, at_seconds: float, value: float) -> Alert | None:
        """Takes a value.

        Args:
            at_seconds: Since the start of the command.
            value: The value.

        Returns:
            An alert if it is an anomaly.
        """
        alert = self._anomaly(at_seconds, value)
        self.instant = value
        for window in self._windows.values():
            window.add(at_seconds, value)
        return alert

    def _anomaly(self, at_seconds: float, value: float) -> Alert | None:
        recent = self._windows["5m"]
        if len(recent) < ENOUGH_VALUES or (
            self._alerted_at is not None and at_seconds - self._alerted_at < ALERT_PAUSE_SECONDS
        ):
            return None
        expected = recent.average
        distance = abs(value - expected)
        if distance <= self._least_step:
            return None
        # A quantity that has not moved at all has no deviation to measure by.
        deviations = distance / max(recent.deviation, self._least_step / ANOMALY_DEVIATIONS)
        if deviations <= ANOMALY_DEVIATIONS:
            return None
        self._alerted_at = at_seconds
        return Alert(
            metric=self.name,
            at_ms=round(at_seconds * 1000),
            value=round(value, 3),
            expected=round(expected, 3),
            severity=_severity(deviations),
        )

    @property
    def trend(self) -> str:
        """``rising``, ``falling`` or ``steady``."""
        short, long = self._windows["1m"].average, self._windows["5m"].average
        if abs(short - long) <= _TREND_SHARE * abs(long):
            return "steady"
        return "rising" if short > long else "falling"

    def to_json(self) -> dict[str, JSON]:
        """The aggregates at this moment."""
        averages: dict[str, JSON] = {
            label: round(window.average, 3) for label, window in self._windows.items()
        }
        return {"instant": round(self.instant, 3), **averages, "trend": self.trend}


def _severity(deviations: float) -> str:
    if deviations > CRITICAL_DEVIATIONS:
        return "critical"
    return "major" if deviations > MAJOR_DEVIATIONS else "minor"


class Metrics:
    """The metrics of one run, from running totals."""

    def __init__(self) -> None:
        self.metrics = (
            Metric("cpu_cores", 0.25),
            Metric("rss_bytes", 64 << 20),
            Metric("read_bytes_per_second", 8 << 20),
            Metric("written_bytes_per_second", 8 << 20),
            Metric("processes", 4),
        )
        self.alerts: list[Alert] = []
        self._last: tuple[float, float, int, int] | None = None

    def process(
        self, at_seconds: float, cpu_seconds: float, rss_bytes: int, io_bytes: tuple[int, int], processes: int
    ) -> list[Alert]:
        """Takes a sample of the tree.

        Args:
            at_seconds: Since the start of the command; a sample at or before the last one is passed over.
            cpu_seconds: CPU time so far.
            rss_bytes: Resident memory now.
            io_bytes: Bytes read and written so far.
            processes: Living processes.

        Returns:
            The alerts that it gives rise to.
        """
        last, self._last = self._last, (at_seconds, cpu_seconds, *io_bytes)
        if last is None or at_seconds <= last[0]:
            return []
        span = at_seconds - last[0]
        values = (
            max(0.0, cpu_seconds - last[1]) / span,
            float(rss_bytes),
            max(0, io_bytes[0] - last[2]) / span,
            max(0, io_bytes[1] - last[3]) / span,
            float(processes),
        )
        found = [
            metric.process(at_seconds, value) for metric, value in zip(self.metrics, values, strict=True)
        ]
        alerts = [alert for alert in found if alert is not None][: ALERTS_LIMIT - len(self.alerts)]
        self.alerts += alerts
        return alerts

    def to_json(self) -> dict[str, JSON]:
        """The aggregates at the end, and every alert."""
        return {
            "windows": {metric.name: metric.to_json() for metric in self.metrics},
            "alerts": [alert.to_json() for alert in self.alerts],
        }

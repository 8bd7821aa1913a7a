"""The run against earlier runs of the same command: robust statistics over at least five of them, else nothing.

Earlier runs are what the folder remembers (``store/past.py``); the log can tell whether it is true. Comparable are
those that passed with the same number of passed tests. A machine that is busy makes everything slow, so a regression
needs both a distance of four times the median absolute deviation and half as much again as the median.

====================  ======================================================================  ==========
check                 rule                                                                    finding
====================  ======================================================================  ==========
work-plausible        CPU time below a tenth of the median, or the wall clock where CPU       fail minor
                      time was not measured
cpu-regression        CPU time above median + 4 MAD and above 1.5 times the median            warn
memory-regression     the same of the largest process                                         warn
time-regression       the same of the wall clock, and not explained by a busy machine         warn
====================  ======================================================================  ==========
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dre_core.model.record import dataclass
from dre_core.model.run import PastRun, RunOutcome
from dre_core.model.verdict import Vantage, Weight
from dre_core.verify.evidence import Evidence
from dre_core.verify.verifier import Check, Ruling, fail, found, not_applicable, passed, warn

ENOUGH = 5
_SHARE = 0.1
_DEVIATIONS = 4
_FACTOR = 1.5
_LEAST = {"ms": 500.0, "s": 1.0, "MiB": 16.0}


@dataclass(frozen=True, slots=True)
class Spread:
    """How a figure is spread over earlier runs.

    Attributes:
        middle: The median.
        deviation: The median absolute deviation.
        values: The figures, oldest first: what a plot shows.
    """

    middle: float
    deviation: float
    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread | None:
        """The spread; None for fewer than five figures."""
        if len(values) < ENOUGH:
            return None
        from statistics import median

        middle = median(values)
        return cls(middle, median(abs(value - middle) for value in values), tuple(values))

    @property
    def bound(self) -> float:
        """Above this a figure stands out."""
        return max(self.middle + _DEVIATIONS * self.deviation, self.middle * _FACTOR)


def comparable(evidence: Evidence) -> tuple[PastRun, ...]:
    """Earlier runs that passed with as many passed tests as this one, oldest first."""
    counts = evidence.counts
    if counts is None or evidence.run.claim.outcome is not RunOutcome.PASSED:
        return ()
    return tuple(
        run
        for run in evidence.run.history
        if run.outcome is RunOutcome.PASSED and run.passed == counts.passed
    )


def _few(evidence: Evidence) -> Ruling:
    count = len(comparable(evidence))
    return not_applicable(f"{count} comparable earlier runs of this command; {ENOUGH} say something")


def _cpu(run: PastRun) -> float | None:
    return None if run.cpu_ms is None else float(run.cpu_ms)


def _memory(run: PastRun) -> float | None:
    return None if run.max_rss_bytes is None else run.max_rss_bytes / (1 << 20)


def _wall(run: PastRun) -> float | None:
    return run.duration_ns / 1e9


def _spread(evidence: Evidence, figure: Callable[[PastRun], float | None]) -> Spread | None:
    values = [value for run in comparable(evidence) if (value := figure(run)) is not None]
    return Spread.of(values)


def work_plausible(evidence: Evidence) -> Ruling:
    """As much work as before, or at least a tenth of it."""
    observation = evidence.observation
    assert observation is not None
    spread, now, unit = _spread(evidence, _cpu), float(observation.cpu_ms), "ms of CPU time"
    if spread is None:
        return _few(evidence)
    text = f"{now:.0f} {unit}, {spread.middle:.0f} in the middle of {len(spread.values)} earlier runs"
    if now >= _SHARE * spread.middle or spread.middle < _LEAST["ms"]:
        return passed(Vantage.REPORTED, text)
    return found(
        fail(
            "work-plausible",
            Weight.MINOR,
            Vantage.REPORTED,
            f"the same number of tests passed with {text}: less than a tenth of the work",
            remedy="look whether results were cached, or tests were emptied; if it is an improvement, run it again",
        )
    )


def _regression(
    check: str,
    what: str,
    unit: str,
    figure: Callable[[PastRun], float | None],
    current: Callable[[Evidence], float],
) -> Callable[[Evidence], Ruling]:
    def run(evidence: Evidence) -> Ruling:
        spread = _spread(evidence, figure)
        if spread is None:
            return _few(evidence)
        now = current(evidence)
        text = (
            f"{what} {now:.1f} {unit}, {spread.middle:.1f} in the middle of {len(spread.values)} earlier runs"
        )
        if now <= spread.bound or now - spread.middle < _LEAST[unit]:
            return passed(Vantage.REPORTED, text)
        before = ", ".join(f"{value:.1f}" for value in spread.values)
        return found(warn(check, Vantage.REPORTED, f"{text} ({before} {unit})"))

    run.__doc__ = f"The {what} against earlier runs."
    return run


def _cpu_now(evidence: Evidence) -> float:
    return float(evidence.observation.cpu_ms) if evidence.observation else 0.0


def _memory_now(evidence: Evidence) -> float:
    return evidence.observation.max_rss_bytes / (1 << 20) if evidence.observation else 0.0


def _wall_now(evidence: Evidence) -> float:
    """The wall clock, as far as it is not waiting: a busy machine is nobody's regression."""
    cpu = _spread(evidence, _cpu)
    busy = cpu is not None and _cpu_now(evidence) <= cpu.bound
    return 0.0 if busy else evidence.run.duration_ns / 1e9


PAST_CHECKS = (
    Check("work-plausible", work_plausible),
    Check("cpu-regression", _regression("cpu-regression", "CPU time", "ms", _cpu, _cpu_now), weight=0.2),
    Check(
        "memory-regression",
        _regression("memory-regression", "memory", "MiB", _memory, _memory_now),
        weight=0.2,
    ),
    Check("time-regression", _regression("time-regression", "time", "s", _wall, _wall_now), weight=0.2),
)

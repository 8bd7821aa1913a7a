"""Plots as SVG paths: resource use over time, and how long tests took. Numbers in, path texts out; no colours."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import pairwise

from dre_core.model.observation import Sample
from dre_core.model.record import dataclass

WIDTH, HEIGHT = 1000, 64
POINTS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """One plotted quantity.

    Attributes:
        name: What it is.
        peak: Its largest value, in words.
        line: SVG path of the curve.
        area: SVG path of what lies below it.
    """

    name: str
    peak: str
    line: str
    area: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Tests of one range of durations."""

    label: str
    range: str
    count: int
    height: float


def track(
    name: str, points: Sequence[tuple[float, float]], end: float, words: Callable[[float], str]
) -> Track:
    """A curve over time.

    Args:
        name: What it shows.
        points: Time and value, by time.
        end: Time at the right edge.
        words: Says a value.
    """
    peak = max((value for _, value in points), default=0.0)
    thin = _thinned(points)
    scale = peak or 1.0
    placed = [
        (
            f"{WIDTH * min(at / end, 1.0) if end else 0:.1f}",
            f"{HEIGHT - 2 - (HEIGHT - 6) * value / scale:.1f}",
        )
        for at, value in thin
    ]
    line = "M" + "L".join(f"{x} {y}" for x, y in placed) if placed else ""
    area = f"{line}L{placed[-1][0]} {HEIGHT}L{placed[0][0]} {HEIGHT}Z" if placed else ""
    return Track(name=name, peak=words(peak), line=line, area=area)


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most ``POINTS`` points, of each group the highest: a short peak must stay."""
    if len(points) <= POINTS:
        return list(points)
    size = -(-len(points) // POINTS)
    return [
        max(points[start : start + size], key=lambda point: point[1]) for start in range(0, len(points), size)
    ]


def cpu_points(samples: Sequence[Sample]) -> list[tuple[float, float]]:
    """Processors in use between samples. CPU time that falls, since a process left the tree, counts as none."""
    return _rates(samples, lambda sample: sample.cpu_seconds)


def io_points(samples: Sequence[Sample]) -> list[tuple[float, float]]:
    """Bytes read and written a second."""
    return _rates(samples, lambda sample: float(sample.read_bytes + sample.written_bytes))


def memory_points(samples: Sequence[Sample]) -> list[tuple[float, float]]:
    """Resident bytes of the tree."""
    return [(float(sample.at_ms), float(sample.rss_bytes)) for sample in samples]


def _rates(samples: Sequence[Sample], value: Callable[[Sample], float]) -> list[tuple[float, float]]:
    found = []
    for before, after in pairwise(samples):
        seconds = (after.at_ms - before.at_ms) / 1000
        if seconds > 0:
            found.append((float(after.at_ms), max(0.0, value(after) - value(before)) / seconds))
    return found


_BOUNDS_SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
_NAMES = ("1 ms", "3 ms", "10 ms", "30 ms", "0.1 s", "0.3 s", "1 s", "3 s", "10 s", "30 s")
_LABELS = ("<1 ms", "", "3 ms", "", "30 ms", "", "0.3 s", "", "3 s", "", "30 s +")
_RANGES = ("below 1 ms", *(f"{a} to {b}" for a, b in pairwise(_NAMES)), "30 s and more")


def duration_bins(seconds: Sequence[float]) -> tuple[Bin, ...]:
    """Tests by duration, in ranges that grow threefold."""
    counts = [0] * len(_LABELS)
    for value in seconds:
        counts[bisect_right(_BOUNDS_SECONDS, value)] += 1
    top = max(counts) or 1
    # A single test must still be seen beside thousands.
    return tuple(
        Bin(label=label, range=span, count=count, height=max(2.0, 100 * count / top) if count else 0.0)
        for label, span, count in zip(_LABELS, _RANGES, counts, strict=True)
    )

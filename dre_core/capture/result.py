"""How a command ran and ended, as its parent saw it."""

from __future__ import annotations

from dataclasses import field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from dre_core.capture import kernel
from dre_core.model.record import dataclass

if TYPE_CHECKING:
    from dre_core.capture.tracer import Trace


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Resources of the command and of every descendant that was waited for, by wait4(2).

    Attributes:
        user_seconds: CPU time in user mode.
        system_seconds: CPU time in the kernel.
        max_rss_bytes: Largest resident set of any one process.
        read_blocks: Block input operations.
        written_blocks: Block output operations.
        voluntary_switches: Context switches while waiting.
        involuntary_switches: Context switches forced by the scheduler.
    """

    user_seconds: float = 0.0
    system_seconds: float = 0.0
    max_rss_bytes: int = 0
    read_blocks: int = 0
    written_blocks: int = 0
    voluntary_switches: int = 0
    involuntary_switches: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessResult:
    """How a command ran and ended, as seen by its parent.

    Attributes:
        pid: Its process id.
        exit_code: 0 to 255, or None if a signal ended it.
        signal: The number of the signal that ended it, or None.
        timed_out: Whether the timeout came before the end.
        cancelled_by: The first signal asking to end that DRE itself received, or None.
        started_ns: Monotonic clock just after the start.
        ended_ns: Monotonic clock when the end was seen.
        started_at: Wall clock at the start, UTC.
        ended_at: Wall clock at the end, UTC.
        usage: Resources used.
        merged: Whether standard output and error were one open file and so one stream, ``output``.
        bytes_out: Bytes read from the command, by stream.
        gaps: What could not be observed or kept: slugs, some with ``: detail``.
        trace: What the kernel told of the processes, where it was asked.
    """

    pid: int
    exit_code: int | None
    signal: int | None
    timed_out: bool
    cancelled_by: int | None
    started_ns: int
    ended_ns: int
    started_at: datetime
    ended_at: datetime
    usage: Usage
    merged: bool
    bytes_out: dict[str, int] = field(default_factory=dict)
    gaps: tuple[str, ...] = ()
    trace: Trace | None = None


def exit_status(result: ProcessResult) -> int:
    """The status as a shell shows it: the exit code, or 128 and the signal's number."""
    return result.exit_code if result.exit_code is not None else 128 + (result.signal or 0)


def usage_of(rusage: Any) -> Usage:
    """What wait4(2) tells of a process, in one unit on every system."""
    unit = 1024 if kernel.LINUX else 1
    return Usage(
        user_seconds=rusage.ru_utime,
        system_seconds=rusage.ru_stime,
        max_rss_bytes=rusage.ru_maxrss * unit,
        read_blocks=rusage.ru_inblock,
        written_blocks=rusage.ru_oublock,
        voluntary_switches=rusage.ru_nvcsw,
        involuntary_switches=rusage.ru_nivcsw,
    )

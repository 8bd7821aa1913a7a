"""Ending a command and its descendants, less gently each time.

SIGINT, ``INTERRUPT_GRACE_SECONDS``, SIGTERM, ``TERMINATE_GRACE_SECONDS``, SIGKILL, each to the command and to the
descendants known at that moment.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress

from dre_core.capture.monitor import descendants, own_children
from dre_core.model.record import dataclass

INTERRUPT_GRACE_SECONDS = 7.5
"""From SIGINT to SIGTERM, as GitHub's runner waits when a job is cancelled."""
TERMINATE_GRACE_SECONDS = 2.5
"""From SIGTERM to SIGKILL."""
HELD_PIPE_SECONDS = 2.0
"""How long the command's output may stay open, held by a grandchild, after the command ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grace:
    """Waiting times.

    Attributes:
        interrupt_seconds: From SIGINT to SIGTERM.
        terminate_seconds: From SIGTERM to SIGKILL.
        held_pipe_seconds: From the command's end to the relay that takes over output held open by others.
    """

    interrupt_seconds: float = INTERRUPT_GRACE_SECONDS
    terminate_seconds: float = TERMINATE_GRACE_SECONDS
    held_pipe_seconds: float = HELD_PIPE_SECONDS


class Escalation:
    """The steps that are still to come, and whom they are for.

    Args:
        grace: The time between them.
        send: Signals the command itself, if it still runs.
    """

    def __init__(self, grace: Grace, send: Callable[[int], None]) -> None:
        self._grace = grace
        self._send = send
        self._steps: list[tuple[int, int]] = []
        self._family: set[int] = set()

    @property
    def due_ns(self) -> int | None:
        """When the next step is due, by the monotonic clock; None where there is none."""
        return self._steps[0][0] if self._steps else None

    def plan(self, now_ns: int) -> None:
        """Have SIGTERM and SIGKILL follow, as after an interrupt."""
        term_ns = now_ns + nanoseconds(self._grace.interrupt_seconds)
        self._steps = [
            (term_ns, signal.SIGTERM),
            (term_ns + nanoseconds(self._grace.terminate_seconds), signal.SIGKILL),
        ]

    def hasten(self, ended_ns: int) -> None:
        """The command has ended: what it leaves behind of an ended run is ended too, at once."""
        if self._steps:
            self._steps = [
                (ended_ns, signal.SIGTERM),
                (ended_ns + nanoseconds(self._grace.terminate_seconds), signal.SIGKILL),
            ]

    def keep_time(self, now_ns: int, pid: int) -> None:
        """Take the step that is due, if one is; ``pid`` as in :meth:`signal`."""
        if self._steps and now_ns >= self._steps[0][0]:
            self.signal(self._steps.pop(0)[1], pid)

    def signal(self, number: int, pid: int) -> None:
        """Signal the command and its descendants; a stopped one is continued so that it can act.

        Args:
            number: The signal.
            pid: The command; 0 once it has ended, and only what DRE has adopted of it is left.
        """
        family = self._relatives(pid)
        self._family.update(family)
        for each in (number, signal.SIGCONT) if number != signal.SIGKILL else (number,):
            self._send(each)
            for relative in family:
                with suppress(OSError):
                    os.kill(relative, each)

    def has_survivors(self, pid: int) -> bool:
        """Whether somebody is left for a step to come; ``pid`` as in :meth:`signal`."""
        return bool(self._steps) and bool(self._relatives(pid))

    def _relatives(self, pid: int) -> list[int]:
        """The command's descendants; once it has ended, those of them that DRE has adopted, and theirs."""
        if pid:
            return list(descendants(pid))
        adopted = [pid for pid in own_children() if pid in self._family and not _is_zombie(pid)]
        return adopted + [pid for parent in adopted for pid in descendants(parent)]


def nanoseconds(seconds: float) -> int:
    """Seconds on the monotonic clock's scale."""
    return int(seconds * 1_000_000_000)


def _is_zombie(pid: int) -> bool:
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except OSError:
        return True

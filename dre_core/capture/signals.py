"""Signals to DRE while a command runs: each reaches the command exactly once.

A signal sent to DRE alone is forwarded. One sent to the whole process group (Ctrl-C at a terminal, a runner
that kills the group) has reached the command already, which shares the group. The two can't be told apart
from inside a handler, so a *witness* shares the group too: a forked copy that blocks every signal and
sleeps. The kernel marks a group signal pending there before it reaches DRE, and DRE reads that mark.

Not a policy on what a signal means: it is remembered, and the run loop is woken.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

from dre_core.capture import kernel
from dre_core.capture.launch import close_all_except, fork

FORWARDED = tuple(
    getattr(signal, name)
    for name in ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGTSTP", "SIGCONT")
    if hasattr(signal, name)
)
CANCELLING = tuple(
    getattr(signal, name) for name in ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM") if hasattr(signal, name)
)
"""Signals that ask the run to end."""


class Witness:
    """A process in DRE's group that shows which signals were sent to the group. Linux only."""

    def __init__(self) -> None:
        self.pid = 0
        self._control = -1

    def start(self) -> None:
        """Fork the witness; the caller has blocked all signals, and the witness stays so."""
        if not kernel.LINUX:
            return
        held, self._control = os.pipe()
        self.pid = fork()
        if self.pid == 0:
            self._watch(held)
        kernel.let_go(held)

    @staticmethod
    def _watch(held: int) -> None:
        try:
            kernel.die_with_parent(signal.SIGKILL)
            close_all_except((held,))
            while os.read(held, 1):
                while signal.sigtimedwait(FORWARDED, 0) is not None:
                    pass
        finally:
            os._exit(0)

    def saw(self, number: int) -> bool:
        """Whether a signal was sent to the whole group; forgets it then."""
        if not self.pid:
            return _from_own_terminal(number)
        try:
            with open(f"/proc/{self.pid}/status", "rb") as status:
                text = status.read()
            pending = int(text.partition(b"\nShdPnd:")[2].split(None, 1)[0], 16)
        except (OSError, ValueError, IndexError):
            return _from_own_terminal(number)
        seen = bool(pending >> (number - 1) & 1)
        if seen:
            with suppress(OSError):
                os.write(self._control, b".")
        return seen

    def stop(self) -> None:
        """End and reap the witness."""
        if self.pid:
            kernel.let_go(self._control)
            with suppress(OSError):
                os.kill(self.pid, signal.SIGKILL)
            with suppress(OSError):
                os.waitpid(self.pid, 0)
            self.pid = 0


def _from_own_terminal(number: int) -> bool:
    """Without a witness: the keyboard's signals come to the group if DRE is a terminal's foreground job."""
    if number not in (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP):
        return False
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False


class Forwarder:
    """Handlers for the time of one run.

    Args:
        send: Sends a signal to the command.
        witness: Tells group signals; None where the command has a terminal and a session of its own.

    Attributes:
        received: Signals that DRE received, in order.
        wake_fd: Readable after a signal.
    """

    def __init__(self, send: Callable[[int], None], witness: Witness | None) -> None:
        self._send = send
        self._witness = witness
        self._previous: dict[int, Any] = {}
        self.received: list[int] = []
        self.wake_fd, self._wake = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(self.wake_fd, False)

    def install(self, extra: tuple[int, ...] = ()) -> bool:
        """Take the signals over, but for those ignored so far (nohup).

        Returns:
            False outside the main thread, where Python can't.
        """
        try:
            for number in (*FORWARDED, *extra):
                previous = signal.getsignal(number)
                if previous is not signal.SIG_IGN and previous is not None:
                    signal.signal(number, self._receive)
                    self._previous[number] = previous
        except ValueError:
            return False
        return True

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received.append(number)
        if number in FORWARDED and not (self._witness is not None and self._witness.saw(number)):
            self._send(number)
        with suppress(OSError):
            os.write(self._wake, b".")

    def drain(self) -> None:
        """Empty the wake-up pipe."""
        with suppress(OSError):
            os.read(self.wake_fd, 4096)

    def close(self) -> None:
        """Give the signals back."""
        for number, previous in self._previous.items():
            signal.signal(number, previous)
        self._previous.clear()
        kernel.let_go(self.wake_fd)
        kernel.let_go(self._wake)

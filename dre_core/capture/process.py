"""Running a command so that nobody, the command and its user included, can tell the difference.

Not a shell and not a sandbox. The rule: the command's bytes go to the user's terminal first, untouched and at
once, then to the record; a record that can't be kept is a gap and never stops the command or its output.
The command gets what it would get without DRE: standard input itself, the process group (so keyboard signals
reach it exactly once), default signal dispositions, SIGPIPE when nobody reads, every inheritable descriptor.

In return DRE sees the exit from outside: the status, the signal, the resources, and that the command does not
outlive a killed wrapper. What is Linux-only is left out elsewhere and named as a gap.

On a timeout, or on a cancelled run where the caller wants it, the command is ended (``escalation.py``).
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from dre_core.capture import kernel
from dre_core.capture.escalation import Escalation, Grace, nanoseconds
from dre_core.capture.executable import (
    BEFORE_START_STATUS,
    NOT_EXECUTABLE_STATUS,
    NOT_FOUND_STATUS,
    Command,
    Executable,
    file_digest,
    inspect,
)
from dre_core.capture.launch import CLOSED, is_open, occupy_standard, standard_descriptors, start
from dre_core.capture.monitor import Monitor, own_children
from dre_core.capture.result import ProcessResult, usage_of
from dre_core.capture.signals import CANCELLING, Forwarder, Witness
from dre_core.errors import StartError

if TYPE_CHECKING:
    from dre_core.capture.channel import Channel
    from dre_core.capture.terminal import PseudoTerminal
    from dre_core.capture.tracer import Tracer

__all__ = [
    "BEFORE_START_STATUS",
    "CLOSED",
    "NOT_EXECUTABLE_STATUS",
    "NOT_FOUND_STATUS",
    "Command",
    "Executable",
    "file_digest",
    "inspect",
    "run",
    "standard_descriptors",
]

TICK_SECONDS = 0.5
QUIET_SECONDS = 0.1
"""A tick comes this soon after the last output, so that held-back output can settle."""
FULL_POLL_SECONDS = 0.002
"""So often a record that is full is asked for room again."""
UNWATCHED_POLL_SECONDS = 0.02
"""Without a pidfd the end of the command is asked for this often."""

Sink = Callable[[str, bytes, int], None]
Tick = Callable[[int], None]


def run(
    command: Command,
    *,
    environ: Mapping[str, str],
    sinks: Sink,
    terminal: tuple[int, int] = (1, 2),
    stdin: int = 0,
    timeout_seconds: float | None = None,
    pty: bool | None = None,
    on_start: Callable[[int], None] | None = None,
    tick: Tick | None = None,
    monitor: Monitor | None = None,
    on_cancel: Callable[[int], None] | None = None,
    escalate_cancel: bool = False,
    grace: Grace | None = None,
    executable: Executable | None = None,
    has_room: Callable[[], bool] | None = None,
    look: Callable[[], None] | None = None,
    trace: bool = False,
) -> ProcessResult:
    """Run a command to its end.

    Args:
        command: What to run.
        environ: The child's whole environment, see ``inherited.py``.
        sinks: Called with stream name, bytes and nanoseconds since the start, after the bytes are on the
            user's terminal. If it raises, recording stops with a gap and the command goes on.
        terminal: Descriptors for the command's output and error; ``CLOSED`` makes it closed for the command.
        stdin: Descriptor the command inherits as its input; ``CLOSED`` as above.
        timeout_seconds: After this the escalation begins.
        pty: Whether the command's output is a pseudo-terminal; by default if ``terminal[0]`` is a terminal.
        on_start: Called with the process id once the command runs.
        tick: Called with the elapsed nanoseconds at least twice a second and when the output falls quiet.
        monitor: Sampled at its own rhythm; started with the process id.
        on_cancel: Called once, outside any signal handler, with the first signal that asks to end.
        escalate_cancel: Whether a cancelled command is ended by the escalation if it stays.
        grace: Waiting times.
        executable: From :func:`inspect`, to save doing it again.
        has_room: Whether ``sinks`` can take more now; while not, the command's output stays in its pipe.
        look: Called each time the monitor has looked.
        trace: Let the kernel tell of each process, see ``tracer.py``.

    Raises:
        StartError: The command could not be started.
    """
    if not hasattr(os, "fork"):
        raise StartError("running commands needs a POSIX system", status=BEFORE_START_STATUS)
    found = executable or inspect(command, environ, digest=False)
    terminal = (_if_open(terminal[0]), _if_open(terminal[1]))
    stdin = _if_open(stdin)
    occupy_standard()
    loop = _Run(sinks, tick, monitor, on_cancel, grace or Grace(), escalate_cancel, has_room, look)
    try:
        loop.open(terminal, stdin, pty)
        if trace:
            loop.trace()
        loop.start(command, found, environ, stdin)
        loop.begin(on_start, timeout_seconds)
        loop.copy()
        return loop.result()
    finally:
        loop.close()


def _if_open(fd: int) -> int:
    return fd if is_open(fd) else CLOSED


class _Run:
    """The state of one run: channels, timers, and the one loop that serves them."""

    def __init__(
        self,
        sink: Sink,
        tick: Tick | None,
        monitor: Monitor | None,
        on_cancel: Callable[[int], None] | None,
        grace: Grace,
        escalate_cancel: bool,
        has_room: Callable[[], bool] | None,
        look: Callable[[], None] | None,
    ) -> None:
        self._sink: Sink | None = sink
        self._tick = tick
        self._monitor = monitor
        self._on_cancel = on_cancel
        self._grace = grace
        self._escalate_cancel = escalate_cancel
        self._has_room = has_room
        self._look = look
        self._is_full = False
        self._channels: list[Channel] = []
        self._child_ends: dict[str, int] = {}
        self._pty: PseudoTerminal | None = None
        self._witness: Witness | None = None
        self._tracer: Tracer | None = None
        self._forwarder: Forwarder | None = None
        self._words: tuple[str, ...] = ()
        self._path = ""
        self._pid = 0
        self._pidfd: int | None = None
        self._status: int | None = None
        self._rusage: Any = None
        self._gaps: list[str] = []
        self._merged = False
        self._timed_out = False
        self._cancelled_by: int | None = None
        self._received = 0
        self._escalation = Escalation(grace, self._send)
        self._deadline_ns: int | None = None
        self._stop_ns: int | None = None
        self._started_ns = self._ended_ns = self._next_tick_ns = 0
        self._started_at = self._ended_at = datetime.now(timezone.utc)
        self._foreign = frozenset[int]()
        self._zombies: set[int] = set()

    # --- opening -------------------------------------------------------------------------------------

    def open(self, terminal: tuple[int, int], stdin: int, pty: bool | None) -> None:
        """Make the channels between the command and the user's descriptors."""
        out, err = terminal
        self._merged = out != CLOSED and err != CLOSED and kernel.same_open_file(out, err)
        if pty or (pty is None and out != CLOSED and os.isatty(out)):
            self._open_pty(out, stdin)
        elif out != CLOSED:
            self._open_pipe("output" if self._merged else "stdout", out)
        if err != CLOSED and not self._merged:
            self._open_pipe("stderr", err)
        for fd, name in ((out, "stdout"), (err, "stderr")):
            if fd == CLOSED:
                self._gaps.append(f"closed: {name}")

    def _open_pty(self, out: int, stdin: int) -> None:
        from dre_core.capture.channel import Channel
        from dre_core.capture.terminal import PseudoTerminal

        keyboard = stdin if stdin != CLOSED and os.isatty(stdin) else None
        self._pty = PseudoTerminal(out, keyboard)
        name = "output" if self._merged else "stdout"
        self._channels.append(Channel(name, self._pty.master, out, self._record, is_pty=True))

    def _open_pipe(self, name: str, fd: int) -> None:
        from dre_core.capture.channel import Channel, make_pipe

        read_end, write_end = make_pipe()
        self._channels.append(Channel(name, read_end, fd, self._record, is_pty=False))
        self._child_ends[name] = write_end

    def trace(self) -> None:
        """Have the tracer there before the command, so that it is not taken for one of the command's."""
        from dre_core.capture.tracer import Tracer

        try:
            self._tracer = Tracer()
        except (OSError, AttributeError):  # not Linux, or nothing to be had
            self._gaps.append("not-traced")

    def start(self, command: Command, found: Executable, environ: Mapping[str, str], stdin: int) -> None:
        """Start the command, the witness and the handlers, all before any signal gets through."""
        self._words, self._path = command.words, found.path
        kernel.hide_memory()
        self._foreign = frozenset(own_children())
        kernel.adopt_orphans()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            self._pid = start(
                command.words,
                _executed(command, found),
                cwd=command.cwd,
                environ=environ,
                standard=self._child_standard(stdin),
                mask=mask,
                terminal=self._pty.slave if self._pty else None,
                tracer=self._tracer.pid if self._tracer else 0,
            )
            if self._tracer is not None and not self._tracer.take(self._pid):
                self._gaps.append("not-traced")
            self._pidfd = kernel.open_pidfd(self._pid)
            for fd in self._child_ends.values():
                kernel.let_go(fd)
            self._child_ends.clear()
            self._take_signals()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if self._pty is not None:
            self._pty.started()

    def _child_standard(self, stdin: int) -> tuple[int, int, int]:
        slave = self._pty.slave if self._pty else None
        both = slave if slave is not None else self._child_ends.get("output")
        out = both if both is not None else self._child_ends.get("stdout", CLOSED)
        err = out if self._merged else self._child_ends.get("stderr", CLOSED)
        replace_keyboard = self._pty is not None and self._pty.typing is not None
        return (slave if replace_keyboard and slave is not None else stdin), out, err

    def _take_signals(self) -> None:
        if self._pty is None:
            self._witness = Witness()
            self._witness.start()
        self._forwarder = Forwarder(self._forward, self._witness)
        extra = (signal.SIGWINCH,) if self._pty is not None and hasattr(signal, "SIGWINCH") else ()
        if not self._forwarder.install(extra):
            self._gaps.append("signals-not-forwarded")

    def _forward(self, number: int) -> None:
        group = self._pty.foreground() if self._pty is not None else None
        if group is not None and number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP):
            with suppress(OSError):
                os.killpg(group, number)
            return
        self._send(number)

    def _send(self, number: int) -> None:
        """Signal the command itself, never a successor under its number."""
        if self._status is None and self._pid:
            with suppress(OSError):
                if self._pidfd is not None:
                    signal.pidfd_send_signal(self._pidfd, number)
                else:
                    os.kill(self._pid, number)

    def begin(self, on_start: Callable[[int], None] | None, timeout_seconds: float | None) -> None:
        """Start the clocks."""
        self._started_ns = time.monotonic_ns()
        self._started_at = datetime.now(timezone.utc)
        self._next_tick_ns = self._started_ns + nanoseconds(TICK_SECONDS)
        if timeout_seconds is not None:
            self._deadline_ns = self._started_ns + nanoseconds(timeout_seconds)
        if on_start is not None:
            self._guard("on-start-failed", on_start, self._pid)
        if self._monitor is not None:
            ignored = self._foreign | ({self._witness.pid} if self._witness is not None else set())
            arguments = (self._pid, ignored, self._words, self._path)
            self._guard("monitor-failed", self._monitor.start, *arguments)

    def _guard(self, slug: str, call: Callable[..., None], *arguments: object) -> bool:
        """Call what must not disturb the run; what it raises is a gap."""
        try:
            call(*arguments)
        except Exception as error:
            self._gaps.append(f"{slug}: {type(error).__name__}: {error}")
            return False
        return True

    def _record(self, name: str, data: bytes) -> None:
        if self._sink is not None and not self._guard(
            "recording-stopped", self._sink, name, data, time.monotonic_ns() - self._started_ns
        ):
            self._sink = None

    # --- the loop ------------------------------------------------------------------------------------

    def copy(self) -> None:
        """Serve everything until the command has ended and its output too."""
        import select

        poller = select.poll()
        watched: dict[int, int] = {}
        while self._status is None or self._has_output() or self._has_survivors():
            interest = self._interest()
            for fd in watched.keys() - interest.keys():
                poller.unregister(fd)
            for fd, events in interest.items():
                if watched.get(fd) != events:
                    poller.register(fd, events)
            watched = interest
            before = time.monotonic_ns()
            ready = poller.poll(self._wait_ms(before))
            self._serve(dict(ready))
            self._keep_time(time.monotonic_ns())
            if self._stop_ns is not None and time.monotonic_ns() >= self._stop_ns:
                self._hand_over()
        self._last_tick()

    def _has_output(self) -> bool:
        return any(channel.is_open or channel.is_blocked for channel in self._channels)

    @property
    def _alive(self) -> int:
        """The command's process id; 0 once it has ended."""
        return self._pid if self._status is None else 0

    def _has_survivors(self) -> bool:
        return self._escalation.has_survivors(self._alive)

    def _interest(self) -> dict[int, int]:
        import select

        interest: dict[int, int] = {}
        if self._forwarder is not None:
            interest[self._forwarder.wake_fd] = select.POLLIN
        if self._status is None and self._pidfd is not None:
            interest[self._pidfd] = select.POLLIN
        self._is_full = self._sink is not None and self._has_room is not None and not self._has_room()
        for channel in self._channels:
            if channel.is_blocked:
                interest[channel.writer] = interest.get(channel.writer, 0) | select.POLLOUT
            elif channel.is_open and not self._is_full:
                interest[channel.source] = select.POLLIN
                if channel.watches_reader:
                    interest.setdefault(channel.writer, 0)
        self._keyboard_interest(interest)
        return interest

    def _keyboard_interest(self, interest: dict[int, int]) -> None:
        import select

        if self._pty is None or self._status is not None:
            return
        if self._pty.has_typed and self._channels[0].is_open:
            interest[self._pty.master] = interest.get(self._pty.master, 0) | select.POLLOUT
        elif (typing := self._pty.typing) is not None:
            interest[typing] = interest.get(typing, 0) | select.POLLIN

    def _wait_ms(self, now_ns: int) -> int:
        due = [self._next_tick_ns]
        if self._deadline_ns is not None and self._status is None:
            due.append(self._deadline_ns)
        if self._escalation.due_ns is not None:
            due.append(self._escalation.due_ns)
        if self._is_full:
            due.append(now_ns + nanoseconds(FULL_POLL_SECONDS))
        if self._stop_ns is not None:
            due.append(max(self._stop_ns, now_ns + nanoseconds(UNWATCHED_POLL_SECONDS)))
        if self._monitor is not None and self._status is None:
            due.append(self._started_ns + self._monitor.next_due_ns)
        if self._pidfd is None and self._status is None:
            due.append(now_ns + nanoseconds(UNWATCHED_POLL_SECONDS))
        return max(0, -(-(min(due) - now_ns) // 1_000_000))

    def _serve(self, ready: dict[int, int]) -> None:
        import select

        if self._forwarder is not None and self._forwarder.wake_fd in ready:
            self._forwarder.drain()
        gone = select.POLLERR | select.POLLNVAL
        for channel in self._channels:
            if channel.is_blocked:
                if ready.get(channel.writer):
                    channel.write()
            elif channel.is_open:
                if ready.get(channel.source, 0) & ~select.POLLOUT:
                    channel.read()
                    self._next_tick_ns = min(
                        self._next_tick_ns, time.monotonic_ns() + nanoseconds(QUIET_SECONDS)
                    )
                elif channel.watches_reader and ready.get(channel.writer, 0) & gone:
                    channel.reader_gone()
        self._serve_keyboard(ready)
        self._see_signals()
        if self._status is None and (self._pidfd is None or self._pidfd in ready):
            self._see_end()

    def _serve_keyboard(self, ready: dict[int, int]) -> None:
        import select

        if self._pty is None or self._status is not None:
            return
        if self._pty.has_typed:
            if ready.get(self._pty.master, 0) & select.POLLOUT:
                self._pty.pass_typed()
        elif (typing := self._pty.typing) is not None and ready.get(typing):
            self._pty.read_keyboard()

    def _keep_time(self, now_ns: int) -> None:
        elapsed = now_ns - self._started_ns
        if self._monitor is not None and self._status is None and elapsed >= self._monitor.next_due_ns:
            self._sample(elapsed)
        if now_ns >= self._next_tick_ns:
            self._next_tick_ns = now_ns + nanoseconds(TICK_SECONDS)
            self._reap_orphans()
            if self._tick is not None and not self._guard("tick-failed", self._tick, elapsed):
                self._tick = None
        if self._deadline_ns is not None and now_ns >= self._deadline_ns and self._status is None:
            self._deadline_ns = None
            self._timed_out = True
            self._escalation.signal(signal.SIGINT, self._alive)
            self._escalation.plan(now_ns)
        self._escalation.keep_time(now_ns, self._alive)

    def _sample(self, elapsed_ns: int) -> None:
        if self._monitor is not None and not self._guard("monitor-failed", self._monitor.sample, elapsed_ns):
            self._monitor = None
        if self._look is not None and not self._guard("look-failed", self._look):
            self._look = None

    def _last_tick(self) -> None:
        if self._tick is not None:
            self._guard("tick-failed", self._tick, time.monotonic_ns() - self._started_ns)

    # --- signals and the end -------------------------------------------------------------------------

    def _see_signals(self) -> None:
        if self._forwarder is None:
            return
        new = self._forwarder.received[self._received :]
        self._received += len(new)
        for number in new:
            if number == getattr(signal, "SIGWINCH", None) and self._pty is not None:
                self._pty.resize()
            elif number == signal.SIGTSTP:
                self._stop_with_command()
            elif number in CANCELLING:
                self._cancel(number)

    def _cancel(self, number: int) -> None:
        now_ns = time.monotonic_ns()
        if self._stop_ns is not None:
            self._stop_ns = now_ns  # the command has ended: only its leftovers are waited for
        if self._cancelled_by is not None:
            return
        self._cancelled_by = number
        if self._escalate_cancel and self._status is None:
            self._escalation.plan(now_ns)
        if self._on_cancel is not None:
            self._guard("on-cancel-failed", self._on_cancel, number)

    def _stop_with_command(self) -> None:
        """After a stop signal: stop as the command does, so that the shell sees its job stopped."""
        if self._pty is not None or self._status is not None:
            return
        for _ in range(20):
            seen = os.waitid(os.P_PID, self._pid, os.WSTOPPED | os.WNOHANG)
            if seen is not None:
                os.kill(os.getpid(), signal.SIGSTOP)
                return
            time.sleep(0.005)

    def _see_end(self) -> None:
        ended = os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None:
            return
        self._ended_ns = time.monotonic_ns()
        self._ended_at = datetime.now(timezone.utc)
        self._sample(self._ended_ns - self._started_ns)
        # a handler must not signal the number once it is free: no signal between reaping and noting it
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            _, self._status, self._rusage = os.wait4(self._pid, 0)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        self._escalation.hasten(self._ended_ns)
        self._reap_orphans()
        self._stop_ns = self._ended_ns + nanoseconds(self._grace.held_pipe_seconds)
        for channel in self._channels:
            if channel.is_open:
                channel.owed_bytes = channel.waiting_bytes()

    def _reap_orphans(self, *, last: bool = False) -> None:
        """Reap adopted descendants: at once if the monitor knows them, else after a tick as zombies or at last."""
        known = self._monitor.pids if self._monitor is not None else frozenset[int]()
        waiting: set[int] = set()
        for pid in own_children():
            if pid in self._foreign or pid == self._pid or (self._witness and pid == self._witness.pid):
                continue
            with suppress(OSError):
                if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                    continue
                if last or pid in known or pid in self._zombies:
                    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)
                else:
                    waiting.add(pid)
        self._zombies = waiting

    def _hand_over(self) -> None:
        """Leave what others still hold open to a relay, once what the command wrote has been read."""
        held = []
        for channel in self._channels:
            blocked_for_good = channel.is_blocked and (self._timed_out or self._cancelled_by is not None)
            owed = channel.owed_bytes is not None and channel.owed_bytes > 0
            if (channel.is_open and not channel.is_blocked and not owed) or blocked_for_good:
                held.append((channel.source, channel.terminal, channel.unwritten()))
                self._gaps.append(f"output-after-exit: {channel.name}")
                channel.give_up()
        if held:
            from dre_core.capture.relay import leave_relay

            self._guard("relay-failed", leave_relay, [piece for piece in held if piece[0] >= 0 or piece[2]])
        for channel in self._channels:
            if any(source == channel.source for source, _, _ in held):
                channel.close_source()

    # --- closing -------------------------------------------------------------------------------------

    def result(self) -> ProcessResult:
        """What happened."""
        assert self._status is not None
        code = os.waitstatus_to_exitcode(self._status)
        gaps = [*self._gaps, *(gap for channel in self._channels for gap in channel.gaps)]
        trace, self._tracer = self._tracer.finish() if self._tracer is not None else None, None
        return ProcessResult(
            pid=self._pid,
            exit_code=code if code >= 0 else None,
            signal=-code if code < 0 else None,
            timed_out=self._timed_out,
            cancelled_by=self._cancelled_by,
            started_ns=self._started_ns,
            ended_ns=self._ended_ns,
            started_at=self._started_at,
            ended_at=self._ended_at,
            usage=usage_of(self._rusage),
            merged=self._merged,
            bytes_out={channel.name: channel.bytes_out for channel in self._channels},
            gaps=tuple(gaps),
            trace=trace,
        )

    def close(self) -> None:
        """Give back terminal, signals and descriptors; end a command that an error left behind."""
        if self._pid and self._status is None:
            self._send(signal.SIGKILL)
            with suppress(OSError):
                _, self._status = os.waitpid(self._pid, 0)
        if self._tracer is not None:
            self._tracer.finish()
        if self._pty is not None:
            self._pty.close()
        if self._forwarder is not None:
            self._forwarder.close()
        if self._witness is not None:
            self._witness.stop()
        kernel.adopt_orphans(False)
        if self._pid:
            self._reap_orphans(last=True)
        for channel in self._channels:
            channel.close()
        for fd in (*self._child_ends.values(), *([self._pidfd] if self._pidfd is not None else [])):
            kernel.let_go(fd)
        self._child_ends.clear()
        self._pidfd = None


def _executed(command: Command, found: Executable) -> str:
    """The path to execute: as given where it is one, for a script sees it in its own arguments."""
    name = command.words[0]
    return name if not command.shell and "/" in name else found.path

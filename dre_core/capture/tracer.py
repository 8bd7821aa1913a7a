"""Every process of a command, told by the kernel (ptrace) instead of looked for, where somebody asks for that.

Not for every day: a traced process stops for a moment at each fork, exec and end, programs that change their user run
as ours, and a debugger inside can't attach. In return no process is missed, however short, and each exit status is
known on kernels that tell it in no other way.

A process of its own traces, since a tracer has to wait for its tracees and the wrapper has other things to wait for. It
is forked before the command and holds none of its channels. The command is stopped as soon as it runs, handed over, and
let go. What is seen lies in memory that both share; if the tracer dies, the kernel lets all it traced go on.

Source: ptrace(2), https://man7.org/linux/man-pages/man2/ptrace.2.html
"""

from __future__ import annotations

import json
import os
import signal
import time
from contextlib import suppress
from typing import NoReturn

from dre_core.capture import kernel
from dre_core.capture.launch import fork
from dre_core.capture.monitor import read_argv, read_stat
from dre_core.model.record import dataclass

RECORD_LIMIT_BYTES = 8 << 20
_STOPS = (signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)


@dataclass(frozen=True, slots=True, kw_only=True)
class Traced:
    """A process that the kernel told of.

    Attributes:
        pid: Process id.
        ppid: Its parent's when it began.
        start_ticks: Start time in clock ticks since boot: with ``pid`` it names the process.
        began_ns: Monotonic clock when it was told of.
        argv: Arguments of the last program it ran, bounded; those of its parent if it ran none.
        executable: Path of that program.
        status: As wait(2) encodes it; None if it has not ended.
        ended_ns: Monotonic clock when its end was told of; 0 if it has not ended.
    """

    pid: int
    ppid: int
    start_ticks: int
    began_ns: int
    argv: tuple[str, ...] = ()
    executable: str = ""
    status: int | None = None
    ended_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """What the kernel told.

    Attributes:
        processes: In the order of their beginning.
        whole: Whether these are all.
    """

    processes: tuple[Traced, ...]
    whole: bool


class Tracer:
    """A process that traces a command; make it before the command is started.

    Attributes:
        pid: Its process id.
        following: Whether the command was handed over.

    Raises:
        OSError: There is no memory or process to be had.
    """

    def __init__(self) -> None:
        self.following = False
        self._record = os.memfd_create("dre-trace", os.MFD_CLOEXEC)
        orders, self._orders = os.pipe()
        self._answers, answers = os.pipe()
        kernel.prepare()
        self.pid = fork()
        if self.pid == 0:
            _trace(orders, answers, self._record)
        os.close(orders)
        os.close(answers)

    def take(self, pid: int) -> bool:
        """Take over a child that asked to be traced and has begun its program; says whether that worked."""
        if not _hand_over(pid):
            return False
        try:
            os.write(self._orders, b"%d" % pid)
            self.following = os.read(self._answers, 1) == b"1"
        except OSError:
            self.following = False
        finally:
            os.kill(pid, signal.SIGCONT)
        return self.following

    def finish(self) -> Trace:
        """End the tracing, and let go what still runs."""
        with suppress(OSError):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        for fd in (self._orders, self._answers):
            kernel.let_go(fd)
        data = os.pread(self._record, RECORD_LIMIT_BYTES, 0)
        kernel.let_go(self._record)
        lines = data.split(b"\n")
        whole = self.following and len(data) < RECORD_LIMIT_BYTES and lines[-1] == b""
        return Trace(processes=_fold(lines[:-1]), whole=whole)


def _hand_over(pid: int) -> bool:
    """Stop a child that began its program under our own trace, and let it go from that."""
    if kernel.status_number(pid, b"TracerPid") != os.getpid():
        return False
    while True:
        _, status = os.waitpid(pid, 0)
        if not os.WIFSTOPPED(status):
            return False
        if os.WSTOPSIG(status) == signal.SIGTRAP:
            return kernel.ptrace(kernel.PTRACE_DETACH, pid, signal.SIGSTOP)
        kernel.ptrace(kernel.PTRACE_CONT, pid, os.WSTOPSIG(status))


def _fold(lines: list[bytes]) -> tuple[Traced, ...]:
    """The processes that the tracer's lines tell of; a number may stand for several, one after the other."""
    found: dict[tuple[int, int], dict[str, object]] = {}
    current: dict[int, dict[str, object]] = {}
    for line in lines:
        word, pid, at, *rest = json.loads(line)
        if word == "began":
            fields: dict[str, object] = {"pid": pid, "began_ns": at}
            fields["ppid"], fields["start_ticks"], argv, fields["executable"] = rest
            fields["argv"] = tuple(argv)
            current[pid] = found[pid, at] = fields
        elif pid in current and word == "ran":
            current[pid].update(argv=tuple(rest[0]), executable=rest[1])
        elif pid in current and word == "ended":
            current.pop(pid).update(status=rest[0], ended_ns=at)
    return tuple(Traced(**fields) for fields in found.values())  # type: ignore[arg-type]


# --- the tracing process ------------------------------------------------------------------------------


def _trace(orders: int, answers: int, record: int) -> NoReturn:
    """Wait for the order, follow the command, and never return."""
    try:
        kernel.hide_memory()
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
            with suppress(OSError, ValueError):
                signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        for name in os.listdir("/proc/self/fd"):
            if int(name) not in (orders, answers, record):
                kernel.let_go(int(name))
        pid = int(os.read(orders, 32) or 0)
        taken = bool(pid) and kernel.ptrace(kernel.PTRACE_SEIZE, pid, kernel.TRACE_OPTIONS)
        os.write(answers, b"1" if taken else b"0")
        if taken:
            _Follower(record).follow(pid)
    finally:
        os._exit(0)


class _Follower:
    """Answers each stop of the traced processes, and writes down what it means."""

    def __init__(self, record: int) -> None:
        self._record = record
        self._written = 0
        self._processes: set[int] = set()
        # A new process may be met, and may even end, before the event of its parent is heard.
        self._early: set[int] = set()

    def follow(self, root: int) -> None:
        self._began(root)
        while True:
            try:
                pid, status = os.waitpid(-1, kernel.WAIT_ALL)
            except ChildProcessError:
                return
            if os.WIFSTOPPED(status):
                self._stopped(pid, os.WSTOPSIG(status), status >> 16)
            elif pid in self._processes:
                self._processes.discard(pid)
                self._write("ended", pid, status)

    def _stopped(self, pid: int, number: int, event: int) -> None:
        if event in kernel.TRACE_BIRTHS:
            child = kernel.trace_message(pid)
            if child in self._early:
                self._early.discard(child)
            elif child:
                self._meet(child)
        elif event == kernel.TRACE_EXEC:
            self._write("ran", pid, read_argv(pid), _executable(pid))
        elif event == kernel.TRACE_STOP and number in _STOPS:
            kernel.ptrace(kernel.PTRACE_LISTEN, pid, 0)
            return
        elif event == kernel.TRACE_STOP and pid not in self._processes and self._meet(pid):
            self._early.add(pid)
        kernel.ptrace(kernel.PTRACE_CONT, pid, 0 if event else number)

    def _meet(self, pid: int) -> bool:
        if kernel.status_number(pid, b"Tgid") != pid:  # a thread
            return False
        self._began(pid)
        return True

    def _began(self, pid: int) -> None:
        self._processes.add(pid)
        self._write(
            "began",
            pid,
            kernel.status_number(pid, b"PPid"),
            _start_ticks(pid),
            read_argv(pid),
            _executable(pid),
        )

    def _write(self, word: str, pid: int, *rest: object) -> None:
        line = json.dumps([word, pid, time.monotonic_ns(), *rest]).encode() + b"\n"
        if self._written + len(line) <= RECORD_LIMIT_BYTES:
            self._written += os.write(self._record, line)
        else:
            self._written = RECORD_LIMIT_BYTES
            os.ftruncate(self._record, RECORD_LIMIT_BYTES)  # so that the reader knows


def _start_ticks(pid: int) -> int:
    stat = read_stat(pid)
    return stat.start_ticks if stat is not None else 0


def _executable(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return ""

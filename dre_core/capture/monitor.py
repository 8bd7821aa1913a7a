"""The process tree of a command, sampled from outside.

Not proof of absence: a process that lives shorter than the interval between two looks is missed, so
``complete`` is never true for a sampled tree. Looks are dense in the first second (only the kernel's lists of
children) and grow rarer, so that watching costs at most about one percent of a core in the long run. What the processes
have open (files, connections) is looked at from ``OPEN_AFTER_NS`` on, out of a budget of its own.

Exit statuses of processes that are not DRE's children come from pidfds (Linux 6.15 and later); elsewhere they
are unknown. On systems without ``/proc/<pid>/task/<tid>/children`` psutil finds the descendants, once the
command has lived for ``PSUTIL_AFTER_NS``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import field
from typing import TYPE_CHECKING, Any

from dre_core.capture import kernel
from dre_core.model.record import dataclass

if TYPE_CHECKING:
    from dre_core.capture.descriptors import Connection, Descriptors
    from dre_core.capture.tracer import Trace, Traced

DENSE_NS = 1_000_000_000
"""For this long the looks are dense."""
DENSE_INTERVAL_NS = 7_000_000
LONGEST_INTERVAL_NS = 100_000_000
COST_FACTOR = 140
"""Between two looks pass at least this many times the cost of one (a third of it in the dense phase)."""
OPEN_AFTER_NS = 150_000_000
OPEN_INTERVAL_NS = 1_000_000_000
OPEN_LONGEST_NS = 10_000_000_000
OPEN_COST_FACTOR = 400
FULL_INTERVAL_NS = 50_000_000
"""At first a full sample (CPU, memory, I/O) is taken this often, later once in a twentieth of the age."""
FULL_LONGEST_NS = 2_000_000_000
PSUTIL_AFTER_NS = 50_000_000
PROCESSES_LIMIT = 4096
PIDFDS_LIMIT = 256
SAMPLES_LIMIT = 512
ARGV_LIMIT_BYTES = 16 << 10
ARGV_REREADS = 3
"""A new process is often seen between fork and exec: its arguments are read again this many times."""

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRecord:
    """One process as it was seen.

    Attributes:
        pid: Process id.
        ppid: Parent's id when first seen.
        argv: Arguments as last read, bounded, not masked.
        executable: Path of the executable; empty if unreadable.
        first_seen_ns: Elapsed time of the first look that showed it.
        last_seen_ns: Elapsed time of the last look that showed it.
        start_ticks: Start time in clock ticks since boot: with ``pid`` it names the process.
        cpu_seconds: CPU time as last seen.
        max_rss_bytes: Largest resident set seen.
        read_bytes: Bytes through read calls, those of reaped children included.
        written_bytes: Bytes through write calls, likewise.
        threads: Most threads seen.
        open_files: Most files seen open at once.
        exit_code: 0 to 255, or None: ended by a signal, still running, or unknown.
        signal: The signal that ended it, or None.
    """

    pid: int
    ppid: int
    argv: tuple[str, ...]
    executable: str
    first_seen_ns: int
    last_seen_ns: int
    start_ticks: int = 0
    cpu_seconds: float = 0.0
    max_rss_bytes: int = 0
    read_bytes: int = 0
    written_bytes: int = 0
    threads: int = 1
    open_files: int = 0
    exit_code: int | None = None
    signal: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The whole tree at one moment; times and bytes count from the start of the command.

    Attributes:
        t_ns: Elapsed time.
        cpu_seconds: CPU time, processes that were waited for included.
        rss_bytes: Resident memory of the living processes.
        read_bytes: Bytes through read calls.
        written_bytes: Bytes through write calls.
        processes: Living processes.
        threads: Living threads.
    """

    t_ns: int
    cpu_seconds: float
    rss_bytes: int
    read_bytes: int
    written_bytes: int
    processes: int
    threads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessTree:
    """What the monitor saw.

    Attributes:
        processes: By first sight, the command itself first.
        samples: In time order, at most ``SAMPLES_LIMIT``.
        complete: Whether it is sure that no process was missed; never so for sampling alone.
        interval_ms: The longest time between two looks.
        gaps: What could not be seen.
        files: Paths that were seen open, sorted.
        connections: Network connections that were seen.
        looks: How often the tree was looked at.
        cost_ms: CPU time that looking has cost.
        cgroup: Use of the control group that the command shared with DRE, by the kernel's accounting.
    """

    processes: tuple[ProcessRecord, ...]
    samples: tuple[Sample, ...]
    complete: bool
    interval_ms: int
    gaps: tuple[str, ...]
    files: tuple[str, ...] = ()
    connections: tuple[Connection, ...] = ()
    looks: int = 0
    cost_ms: int = 0
    cgroup: Mapping[str, int] = field(default_factory=dict)


class _Seen:
    """A process under observation. A plain class: making a data class costs a start-up's millisecond."""

    __slots__ = (
        "argv",
        "cpu_seconds",
        "executable",
        "first_ns",
        "last_ns",
        "max_rss_bytes",
        "max_threads",
        "name",
        "pid",
        "pidfd",
        "ppid",
        "read_bytes",
        "rereads",
        "rss_bytes",
        "start_ticks",
        "status",
        "threads",
        "tree_cpu_seconds",
        "written_bytes",
    )

    def __init__(self, pid: int, ppid: int, elapsed_ns: int) -> None:
        self.pid = pid
        self.ppid = ppid
        self.first_ns = self.last_ns = elapsed_ns
        self.start_ticks = 0
        self.argv: tuple[str, ...] = ()
        self.executable = ""
        self.name = b""
        self.rereads = ARGV_REREADS
        self.pidfd: int | None = None
        self.status: int | None = None
        self.cpu_seconds = self.tree_cpu_seconds = 0.0
        self.rss_bytes = self.max_rss_bytes = 0
        self.read_bytes = self.written_bytes = 0
        self.threads = self.max_threads = 1


class _Stat:
    """The fields used of ``/proc/<pid>/stat`` (proc_pid_stat(5))."""

    __slots__ = ("cpu_ticks", "name", "ppid", "rss_pages", "start_ticks", "threads", "tree_ticks")

    def __init__(self, name: bytes, fields: list[bytes]) -> None:
        self.name = name
        self.ppid = int(fields[1])
        self.cpu_ticks = int(fields[11]) + int(fields[12])
        self.tree_ticks = self.cpu_ticks + int(fields[13]) + int(fields[14])
        self.threads = int(fields[17])
        self.start_ticks = int(fields[19])
        self.rss_pages = int(fields[21])


class Monitor:
    """Observes the descendants of one process.

    Args:
        root_pid: The command; 0 if :meth:`start` tells it.
        interval_ns: Interval of the dense phase.

    Attributes:
        next_due_ns: Elapsed time at which :meth:`sample` wants to be called next.
        latest: The newest full sample; None before the first.
    """

    def __init__(self, root_pid: int = 0, *, interval_ns: int = DENSE_INTERVAL_NS) -> None:
        self.next_due_ns = 0
        self._interval_ns = interval_ns
        self._root = root_pid
        self._began_ns = 0
        self._ignored: frozenset[int] = frozenset()
        self._seen: dict[int, _Seen] = {}
        self._order: list[_Seen] = []
        self._samples: list[Sample] = []
        self._sample_every = 1
        self._full_count = 0
        self._next_full_ns = 0
        self._last_look_ns = 0
        self._longest_gap_ns = 0
        self._cpu_seconds = 0.0
        self._pidfds = 0
        self._gaps: dict[str, None] = {}
        self._looks = 0
        self._cost_ns = 0
        self._next_open_ns = OPEN_AFTER_NS
        self._open: Descriptors | None = None
        self._cgroup: Cgroup | None = None
        self.latest: Sample | None = None
        self._children = _children_source()
        if root_pid:
            self.start(root_pid)

    def start(
        self, root_pid: int, ignored: Iterable[int] = (), argv: tuple[str, ...] = (), executable: str = ""
    ) -> None:
        """Begin.

        Args:
            root_pid: The command's process id; it has not been waited for.
            ignored: Children of this process that don't belong to the command.
            argv: What it was started with, in case it ends before the first look.
            executable: What file that was.
        """
        self._root = root_pid
        self._ignored = frozenset(ignored) | {os.getpid()}
        self._cgroup = Cgroup.own()
        self._began_ns = time.monotonic_ns()
        self.sample(0)
        root = self._seen.get(root_pid)
        if root is not None and not root.argv:
            root.argv, root.executable = argv, executable

    @property
    def pids(self) -> frozenset[int]:
        """The process ids seen that have not been seen to end."""
        return frozenset(self._seen)

    def sample(self, elapsed_ns: int) -> None:
        """Look at the tree.

        Args:
            elapsed_ns: Time since the start of the command.
        """
        began = time.thread_time_ns()
        self._longest_gap_ns = max(self._longest_gap_ns, elapsed_ns - self._last_look_ns)
        self._last_look_ns = elapsed_ns
        self._look(elapsed_ns)
        if elapsed_ns >= self._next_full_ns:
            self._measure(elapsed_ns)
            self._next_full_ns = elapsed_ns + _clamp(elapsed_ns // 20, FULL_INTERVAL_NS, FULL_LONGEST_NS)
        cost_ns = time.thread_time_ns() - began
        self._plan(elapsed_ns, cost_ns)
        if elapsed_ns >= self._next_open_ns:
            cost_ns += self._look_at_open(elapsed_ns)
        self._looks += 1
        self._cost_ns += cost_ns

    def _plan(self, elapsed_ns: int, cost_ns: int) -> None:
        if elapsed_ns < DENSE_NS:
            wait_ns = max(self._interval_ns, cost_ns * COST_FACTOR // 3)
        else:
            wait_ns = max(
                _clamp(elapsed_ns // 100, self._interval_ns, LONGEST_INTERVAL_NS), cost_ns * COST_FACTOR
            )
        if self._children is _children_by_psutil:
            wait_ns = max(wait_ns, PSUTIL_AFTER_NS)
        self.next_due_ns = elapsed_ns + wait_ns

    def _look_at_open(self, elapsed_ns: int) -> int:
        """Look at what is open; returns what that cost."""
        began = time.thread_time_ns()
        if self._open is None:
            from dre_core.capture.descriptors import Descriptors

            self._open = Descriptors()
        self._open.look(self._seen)
        cost_ns = time.thread_time_ns() - began
        wait_ns = _clamp(elapsed_ns // 20, OPEN_INTERVAL_NS, OPEN_LONGEST_NS)
        self._next_open_ns = elapsed_ns + max(wait_ns, cost_ns * OPEN_COST_FACTOR)
        return cost_ns

    # --- finding -------------------------------------------------------------------------------------

    def _look(self, elapsed_ns: int) -> None:
        if self._children is _children_by_psutil and elapsed_ns < PSUTIL_AFTER_NS:
            self._note(self._root, os.getpid(), elapsed_ns)
            return
        found: set[int] = set()
        waiting = [(self._root, os.getpid())]
        waiting += [(pid, os.getpid()) for pid in own_children() if pid not in self._ignored]
        while waiting:
            pid, ppid = waiting.pop()
            if pid in found or not self._note(pid, ppid, elapsed_ns):
                continue
            found.add(pid)
            waiting.extend((child, pid) for child in self._children(pid))
        for pid in self._seen.keys() - found:
            self._end(self._seen.pop(pid))

    def _note(self, pid: int, ppid: int, elapsed_ns: int) -> bool:
        """Remember that a process is there; False if it is not."""
        known = self._seen.get(pid)
        if known is not None:
            known.last_ns = elapsed_ns
            if known.rereads > 0:
                known.rereads -= 1
                self._read_identity(known)
            return True
        if len(self._order) >= PROCESSES_LIMIT:
            self._gaps["process-limit"] = None
            return False
        seen = _Seen(pid, ppid, elapsed_ns)
        if self._pidfds < PIDFDS_LIMIT:
            seen.pidfd = kernel.open_pidfd(pid)
            self._pidfds += seen.pidfd is not None
        else:
            self._gaps["exit-status-limit"] = None
        stat = read_stat(pid)
        if stat is not None:
            seen.start_ticks, seen.name = stat.start_ticks, stat.name
            if pid != self._root:
                seen.ppid = stat.ppid
        self._read_identity(seen)
        self._seen[pid] = seen
        self._order.append(seen)
        return True

    @staticmethod
    def _read_identity(seen: _Seen) -> None:
        argv = read_argv(seen.pid)
        if argv:
            seen.argv = argv
            with suppress(OSError):
                seen.executable = os.readlink(f"/proc/{seen.pid}/exe")

    # --- measuring -----------------------------------------------------------------------------------

    def _measure(self, elapsed_ns: int) -> None:
        for seen in self._seen.values():
            self._measure_one(seen)
        alive = list(self._seen.values())
        self._cpu_seconds = max(self._cpu_seconds, sum(seen.tree_cpu_seconds for seen in alive))
        last = self._samples[-1] if self._samples else None
        sample = Sample(
            t_ns=elapsed_ns,
            cpu_seconds=self._cpu_seconds,
            rss_bytes=sum(seen.rss_bytes for seen in alive),
            read_bytes=max(last.read_bytes if last else 0, sum(seen.read_bytes for seen in alive)),
            written_bytes=max(last.written_bytes if last else 0, sum(seen.written_bytes for seen in alive)),
            processes=len(alive),
            threads=sum(seen.threads for seen in alive),
        )
        self.latest = sample
        if self._full_count % self._sample_every == 0:
            self._samples.append(sample)
        self._full_count += 1
        if len(self._samples) >= SAMPLES_LIMIT:
            del self._samples[1::2]
            self._sample_every *= 2

    def _measure_one(self, seen: _Seen) -> None:
        if self._children is _children_by_psutil:
            _measure_by_psutil(seen)
            return
        stat = read_stat(seen.pid)
        if stat is None:
            return
        if stat.name != seen.name:  # it has executed something else
            seen.name = stat.name
            self._read_identity(seen)
        seen.cpu_seconds = stat.cpu_ticks / _TICKS_PER_SECOND
        seen.tree_cpu_seconds = stat.tree_ticks / _TICKS_PER_SECOND
        seen.rss_bytes = stat.rss_pages * _PAGE_BYTES
        seen.max_rss_bytes = max(seen.max_rss_bytes, seen.rss_bytes)
        seen.threads = stat.threads
        seen.max_threads = max(seen.max_threads, stat.threads)
        counted = _read_io(seen.pid)
        if counted is not None:
            seen.read_bytes, seen.written_bytes = counted

    # --- the end -------------------------------------------------------------------------------------

    def _end(self, seen: _Seen) -> None:
        self._ask_status(seen)

    def _ask_status(self, seen: _Seen) -> None:
        if seen.pidfd is None:
            return
        seen.status = kernel.exit_status(seen.pidfd)
        if seen.status is not None:
            self._close(seen)

    def _close(self, seen: _Seen) -> None:
        if seen.pidfd is not None:
            kernel.let_go(seen.pidfd)
            seen.pidfd = None
            self._pidfds -= 1

    def finish(self, trace: Trace | None = None) -> ProcessTree:
        """End the observation; call it after the command has been waited for.

        Args:
            trace: What the kernel told of the processes, if it was asked.
        """
        for seen in self._order:
            if seen.status is None:
                self._ask_status(seen)
        if trace is not None:
            self._add_traced(trace.processes)
        unknown = [seen for seen in self._order if seen.status is None]
        for seen in unknown:
            self._close(seen)
        if unknown:
            self._gaps["exit-status-unknown"] = None
        if self._open is None:
            self._gaps["open-files-not-looked-at"] = None
        elif self._open.is_cut:
            self._gaps["open-files-limit"] = None
        most = self._open.most_files if self._open else {}
        return ProcessTree(
            processes=tuple(_record(seen, most.get(seen.pid, 0)) for seen in self._order),
            samples=tuple(self._samples),
            complete=trace is not None and trace.whole,
            interval_ms=-(-self._longest_gap_ns // 1_000_000),
            gaps=tuple(self._gaps),
            files=tuple(sorted(self._open.files)) if self._open else (),
            connections=tuple(self._open.connections.values()) if self._open else (),
            looks=self._looks,
            cost_ms=self._cost_ns // 1_000_000,
            cgroup=self._cgroup.used() if self._cgroup else {},
        )

    def _add_traced(self, processes: Iterable[Traced]) -> None:
        """Statuses that nobody could ask for, and processes that lived between two looks."""
        known = {(seen.pid, seen.start_ticks): seen for seen in self._order}
        for traced in processes:
            # What ended before its times could be read is known by its number alone.
            seen = known.get((traced.pid, traced.start_ticks)) or known.get((traced.pid, 0))
            if seen is None and len(self._order) < PROCESSES_LIMIT:
                seen = _Seen(traced.pid, traced.ppid, traced.began_ns - self._began_ns)
                seen.start_ticks = traced.start_ticks
                seen.last_ns = max(seen.first_ns, traced.ended_ns - self._began_ns)
                self._order.append(seen)
            if seen is None:
                continue
            # A look may have come between fork and exec.
            seen.argv, seen.executable = traced.argv or seen.argv, traced.executable or seen.executable
            if seen.status is None:
                seen.status = traced.status
                self._close(seen)
        self._order[1:] = sorted(self._order[1:], key=lambda seen: seen.first_ns)


def _record(seen: _Seen, open_files: int) -> ProcessRecord:
    code = os.waitstatus_to_exitcode(seen.status) if seen.status is not None else None
    return ProcessRecord(
        pid=seen.pid,
        ppid=seen.ppid,
        argv=seen.argv,
        executable=seen.executable,
        first_seen_ns=seen.first_ns,
        last_seen_ns=seen.last_ns,
        start_ticks=seen.start_ticks,
        cpu_seconds=seen.cpu_seconds,
        max_rss_bytes=seen.max_rss_bytes,
        read_bytes=seen.read_bytes,
        written_bytes=seen.written_bytes,
        threads=seen.max_threads,
        open_files=open_files,
        exit_code=code if code is not None and code >= 0 else None,
        signal=-code if code is not None and code < 0 else None,
    )


def _clamp(value: int, low: int, high: int) -> int:
    return max(low, min(value, high))


class Cgroup:
    """The control group that DRE and the command share: its accounting also counts what sampling missed.

    Args:
        cpu_path: File of the CPU time used.
        cpu_unit_ns: Nanoseconds of its unit.
        cpu_key: Line of the file; empty where the file is one number.
        memory_path: File of the largest use of memory.
    """

    def __init__(self, cpu_path: str, cpu_unit_ns: int, cpu_key: bytes, memory_path: str) -> None:
        self._cpu_path = cpu_path
        self._unit_ns = cpu_unit_ns
        self._key = cpu_key
        self._memory_path = memory_path
        self._before = self._cpu()

    @classmethod
    def own(cls) -> Cgroup | None:
        """This process's group, by version 2 or 1 of the interface; None where neither is to be read."""
        for line in _read("/proc/self/cgroup", 4096).decode(errors="replace").splitlines():
            _, controllers, path = line.split(":", 2)
            group = f"/sys/fs/cgroup{path}" if not controllers else f"/sys/fs/cgroup/cpuacct{path}"
            if not controllers and os.path.exists(f"{group}/cpu.stat"):
                return cls(f"{group}/cpu.stat", 1000, b"usage_usec", f"{group}/memory.peak")
            if "cpuacct" in controllers.split(",") and os.path.exists(f"{group}/cpuacct.usage"):
                return cls(f"{group}/cpuacct.usage", 1, b"", "")
        return None

    def _cpu(self) -> int:
        words = _read(self._cpu_path, 4096).split()
        place = words.index(self._key) + 1 if self._key in words else 0
        return int(words[place]) * self._unit_ns if words[place : place + 1] else 0

    def used(self) -> dict[str, int]:
        """CPU nanoseconds since the beginning, and the peak of memory ever."""
        peak = _read(self._memory_path, 64).strip() if self._memory_path else b""
        used = {"cpuNs": max(0, self._cpu() - self._before)}
        return {**used, "memoryPeakBytes": int(peak)} if peak.isdigit() else used


# --- /proc -------------------------------------------------------------------------------------------


def _read(path: str, limit_bytes: int = 65536) -> bytes:
    """A small file of /proc; empty if the process has gone or hides it."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(fd, limit_bytes)
    except OSError:
        return b""
    finally:
        kernel.let_go(fd)


def read_stat(pid: int) -> _Stat | None:
    """``/proc/<pid>/stat``; None where the process is gone or there is no such file."""
    text = _read(f"/proc/{pid}/stat", 4096)
    # the name is in parentheses and may hold anything, parentheses too
    head, _, rest = text.rpartition(b") ")
    fields = rest.split()
    if len(fields) < 22:
        return None
    return _Stat(head.partition(b"(")[2], fields)


def _read_io(pid: int) -> tuple[int, int] | None:
    lines = _read(f"/proc/{pid}/io", 4096).split()
    return (int(lines[1]), int(lines[3])) if len(lines) >= 4 else None


def read_argv(pid: int) -> tuple[str, ...]:
    """The arguments of a process, bounded; empty where it is gone or shows none."""
    text = _read(f"/proc/{pid}/cmdline", ARGV_LIMIT_BYTES)
    return tuple(os.fsdecode(word) for word in text.removesuffix(b"\0").split(b"\0")) if text else ()


def _children_by_proc(pid: int) -> list[int]:
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
    return [
        int(child) for thread in threads for child in _read(f"/proc/{pid}/task/{thread}/children").split()
    ]


def _children_by_psutil(pid: int) -> list[int]:
    import psutil

    try:
        return [child.pid for child in psutil.Process(pid).children()]
    except psutil.Error:
        return []


def _children_source() -> Callable[[int], list[int]]:
    return (
        _children_by_proc
        if os.path.exists("/proc/self/task") and _has_children_file()
        else _children_by_psutil
    )


def _has_children_file() -> bool:
    return os.path.exists(f"/proc/{os.getpid()}/task/{os.getpid()}/children")


def _measure_by_psutil(seen: _Seen) -> None:
    import psutil

    try:
        process = psutil.Process(seen.pid)
        with process.oneshot():
            if not seen.argv:
                seen.argv, seen.executable = tuple(process.cmdline()), process.exe()
            times, memory = process.cpu_times(), process.memory_info()
            seen.threads = process.num_threads()
            counters: Any = process.io_counters() if hasattr(process, "io_counters") else None
    except (psutil.Error, OSError):
        return
    seen.cpu_seconds = times.user + times.system
    # Only Linux tells what the children that were waited for have used.
    waited = getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
    seen.tree_cpu_seconds = seen.cpu_seconds + waited
    seen.rss_bytes = memory.rss
    seen.max_rss_bytes = max(seen.max_rss_bytes, memory.rss)
    seen.max_threads = max(seen.max_threads, seen.threads)
    if counters is not None:
        seen.read_bytes = getattr(counters, "read_chars", counters.read_bytes)
        seen.written_bytes = getattr(counters, "write_chars", counters.write_bytes)


def own_children() -> list[int]:
    """Children of this process; empty where the kernel does not list them."""
    return _children_by_proc(os.getpid()) if kernel.LINUX else []


def descendants(pid: int) -> tuple[int, ...]:
    """The descendants of a process at this moment, nearest first."""
    children = _children_source()
    found: list[int] = []
    waiting = [pid]
    while waiting:
        for child in children(waiting.pop(0)):
            if child not in found:
                found.append(child)
                waiting.append(child)
    return tuple(found)

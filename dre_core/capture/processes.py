"""The processes collector: a close look at the command's processes when a trigger asks for it.

Beyond what the monitor samples all the time: each process with its open files, its network connections and its state,
through psutil. Not proof that there are no others: what is not permitted to be seen is left out and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from dre_core.capture.collector import Captured, Facts, Moment, Scene
from dre_core.capture.monitor import descendants
from dre_core.hooks import hookimpl
from dre_core.model.canonical import JSON
from dre_core.model.text import printable
from dre_core.model.verdict import Vantage

if TYPE_CHECKING:
    import psutil

_PROCESSES_LIMIT = 1_000
_LISTED = 200

T = TypeVar("T")


class ProcessesCollector:
    """Describes each process of the command."""

    name = "processes"

    def before(self, scene: Scene, facts: Facts) -> Iterable[Captured]:
        return []

    def after(self, scene: Scene, facts: Facts) -> Iterable[Captured]:
        return []

    def during(self, scene: Scene, moment: Moment) -> Iterable[Captured]:
        pids = (moment.pid, *descendants(moment.pid)) if moment.pid else ()
        found = [entry for entry in map(described, pids[:_PROCESSES_LIMIT]) if entry is not None]
        document: dict[str, JSON] = {"processes": list(found), "notSeen": len(pids) - len(found)}
        return [
            Captured(
                name="processes",
                kind="processes",
                vantage=Vantage.OBSERVED,
                media_type="application/json",
                value=document,
            )
        ]


def described(pid: int) -> dict[str, JSON] | None:
    """One process as it is now; None if it is gone."""
    import psutil

    try:
        process = psutil.Process(pid)
        with process.oneshot():
            return _described(process)
    except psutil.NoSuchProcess:
        return None


def _described(process: psutil.Process) -> dict[str, JSON]:
    memory = _allowed(process.memory_info)
    times = _allowed(process.cpu_times)
    counters: Any = _allowed(getattr(process, "io_counters", lambda: None))
    files = _allowed(process.open_files) or []
    connections = _connections(process)
    return {
        "pid": process.pid,
        "parentPid": _allowed(process.ppid) or 0,
        "argv": [printable(word) for word in _allowed(process.cmdline) or ()],
        "executable": printable(_allowed(process.exe) or ""),
        "cwd": printable(_allowed(process.cwd) or ""),
        "status": str(_allowed(process.status) or ""),
        "threads": _allowed(process.num_threads) or 0,
        "descriptors": _allowed(getattr(process, "num_fds", lambda: 0)) or 0,
        "cpuSeconds": round(times.user + times.system, 2) if times else 0.0,
        "rssBytes": str(memory.rss if memory else 0),
        "readBytes": str(getattr(counters, "read_chars", 0)),
        "writtenBytes": str(getattr(counters, "write_chars", 0)),
        "openFiles": [printable(file.path) for file in files[:_LISTED]],
        "connections": [_connection(connection) for connection in connections[:_LISTED]],
    }


def _connections(process: psutil.Process) -> list[Any]:
    # psutil 6 renamed it.
    ask: Callable[[], list[Any]] = getattr(process, "net_connections", None) or process.connections
    return _allowed(ask) or []


def _connection(connection: Any) -> JSON:
    def address(end: Any) -> str:
        return f"{end[0]}:{end[1]}" if len(end) == 2 else printable(str(end or ""))

    return {
        "kind": f"{connection.family.name}/{connection.type.name}",
        "local": address(connection.laddr),
        "remote": address(connection.raddr),
        "status": str(connection.status),
    }


def _allowed(ask: Callable[[], T]) -> T | None:
    """An answer, or None where the system does not give it to us."""
    import psutil

    try:
        return ask()
    except (psutil.AccessDenied, psutil.ZombieProcess, NotImplementedError, OSError):
        return None


@hookimpl
def dre_collectors() -> list[ProcessesCollector]:
    return [ProcessesCollector()]

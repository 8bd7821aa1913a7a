"""What the command's processes have open: files and network connections, from ``/proc`` or through psutil.

Not a trace: what is opened and closed between two looks is missed, so an empty list proves nothing. Loaded by the
monitor once a command has run for a while, because a look costs more than all others together.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import ip_address

from dre_core.model.record import dataclass

FILES_LIMIT = 500
CONNECTIONS_LIMIT = 500
PROCESSES_A_LOOK = 64
_TABLES = (("tcp", "net/tcp"), ("tcp", "net/tcp6"), ("udp", "net/udp"), ("udp", "net/udp6"))
_TABLE_LIMIT_BYTES = 4 << 20
# include/net/tcp_states.h
_STATES = {
    "01": "established", "02": "syn-sent", "03": "syn-received", "04": "fin-wait-1", "05": "fin-wait-2",
    "06": "time-wait", "07": "close", "08": "close-wait", "09": "last-ack", "0A": "listen", "0B": "closing",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """A network connection of a process.

    Attributes:
        pid: The process.
        protocol: ``tcp`` or ``udp``.
        local: Address and port, as ``127.0.0.1:80`` or ``[::1]:80``.
        remote: The same of the other end; empty for none.
        state: Such as ``listen`` or ``established``, when last seen.
    """

    pid: int
    protocol: str
    local: str
    remote: str
    state: str


class Descriptors:
    """Everything that was seen open so far."""

    def __init__(self) -> None:
        self.files: dict[str, None] = {}
        self.most_files: dict[int, int] = {}
        self.connections: dict[tuple[int, str, str, str], Connection] = {}
        self.is_cut = False
        self._next = 0

    def look(self, pids: Iterable[int]) -> None:
        """Look at some of the processes; the others' turn comes at the next look.

        Args:
            pids: The living processes.
        """
        everyone = sorted(pids)
        start = self._next if self._next < len(everyone) else 0
        chosen = everyone[start : start + PROCESSES_A_LOOK]
        self._next = start + len(chosen)
        by_proc = os.path.isdir("/proc/self/fd")
        for pid in chosen:
            if by_proc:
                self._look_by_proc(pid)
            else:
                self._look_by_psutil(pid)

    def _look_by_proc(self, pid: int) -> None:
        try:
            numbers = os.listdir(f"/proc/{pid}/fd")
        except OSError:
            return
        inodes: set[str] = set()
        files = 0
        for number in numbers:
            with suppress(OSError):
                target = os.readlink(f"/proc/{pid}/fd/{number}")
                if target.startswith("socket:["):
                    inodes.add(target[8:-1])
                elif target.startswith("/") and not target.startswith(("/dev/", "/proc/")):
                    files += 1
                    self._note_file(target)
        self.most_files[pid] = max(files, self.most_files.get(pid, 0))
        if inodes:
            for protocol, local, remote, state in _sockets(pid, inodes):
                self._note_connection(pid, protocol, local, remote, state)

    def _look_by_psutil(self, pid: int) -> None:
        import psutil

        with suppress(psutil.Error, OSError):
            process = psutil.Process(pid)
            files = process.open_files()
            self.most_files[pid] = max(len(files), self.most_files.get(pid, 0))
            for file in files:
                self._note_file(file.path)
            ask = getattr(process, "net_connections", None) or process.connections
            for found in ask():
                protocol = "tcp" if found.type == socket.SOCK_STREAM else "udp"
                ends = [_address(end[0], end[1]) if end else "" for end in (found.laddr, found.raddr)]
                self._note_connection(pid, protocol, ends[0], ends[1], str(found.status).lower())

    def _note_file(self, path: str) -> None:
        if path in self.files or len(self.files) < FILES_LIMIT:
            self.files[path] = None
        else:
            self.is_cut = True

    def _note_connection(self, pid: int, protocol: str, local: str, remote: str, state: str) -> None:
        key = (pid, protocol, local, remote)
        if key in self.connections or len(self.connections) < CONNECTIONS_LIMIT:
            self.connections[key] = Connection(
                pid=pid, protocol=protocol, local=local, remote=remote, state=state
            )
        else:
            self.is_cut = True


def _sockets(pid: int, inodes: set[str]) -> Iterable[tuple[str, str, str, str]]:
    """Protocol, local and remote address and state of a process's sockets (proc_net(5))."""
    for protocol, table in _TABLES:
        try:
            with open(f"/proc/{pid}/{table}", "rb") as stream:
                lines = stream.read(_TABLE_LIMIT_BYTES).decode("ascii", "replace").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if len(fields) > 9 and fields[9] in inodes:
                local, remote = _endpoint(fields[1]), _endpoint(fields[2])
                state = _STATES.get(fields[3], fields[3]) if protocol == "tcp" else ""
                yield protocol, local, "" if remote.endswith(":0") else remote, state


def _endpoint(text: str) -> str:
    """``0100007F:1F90`` as ``127.0.0.1:8080``: the kernel prints words in its own byte order."""
    host, _, port = text.partition(":")
    words = [bytes.fromhex(host[place : place + 8])[::-1] for place in range(0, len(host), 8)]
    return _address(str(ip_address(b"".join(words))), int(port, 16))


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

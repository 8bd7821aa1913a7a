r"""The process that cells are forked from: an interpreter with pytest imported and nothing of the project.

Not part of DRE's process and stands alone: its source is run by the interpreter that the project uses, so it imports
nothing of DRE. A fork becomes what ``python -m pytest`` would have become, with the folder, environment, path and
words that it is told. It is of no use where the project has what was imported here (``stem.py`` asks), on systems other
than Linux, and where something at the interpreter's start began a thread. Its memory is hidden from other processes.

The first argument is the number of a socket to DRE, the third the source of ``bytecode.py``. First goes out what was
imported: a length, and names with NUL between. Each message that comes in brings one descriptor. With ``b`` it is a
file that asks for bytecode, before any cell. With ``c`` it is a cell's own socket: from it a length is read, and parts
with NUL between: folder, output, top of the clone if nothing has run there yet (else nothing), where it is seen, a file
and what its ``stand`` is given first (or nothing), how many entries go before the path and these, how many words and
these, the environment. ``PID\n`` goes back and, when the cell has ended, ``STATUS\n`` as wait(2) encodes it. A socket
that DRE shuts down ends its cell; once the first one is closed all end.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

_POLL_MS = 20
_ASKS_FOR_BYTECODE = b"b"
_NUMBER_BYTES = 4
_PR_SET_DUMPABLE = 4
_PR_SET_PDEATHSIG = 1


def _import_pytest() -> None:
    """What every run of pytest imports before it looks at the project, and what the witness does."""
    import ast  # noqa: F401
    import faulthandler  # noqa: F401
    import gc
    import hashlib  # noqa: F401
    import importlib
    import inspect  # noqa: F401
    import json  # noqa: F401
    import pdb  # noqa: F401
    import platform  # noqa: F401
    import runpy  # noqa: F401

    import _pytest.config
    import pytest  # noqa: F401

    for name in getattr(_pytest.config, "default_plugins", ()):
        with suppress(ImportError):
            importlib.import_module(f"_pytest.{name}")
    gc.freeze()  # forks leave these pages shared


def _ask_kernel(option: int, value: int) -> None:
    with suppress(ImportError, AttributeError, OSError):
        import ctypes

        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _has_threads() -> bool:
    return len(os.listdir("/proc/self/task")) > 1


def told(connection: Any, size: int) -> bytes:
    """So many bytes of a socket.

    Raises:
        EOFError: It was closed before.
    """
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def _received(connection: Any) -> list[bytes]:
    size = int.from_bytes(told(connection, _NUMBER_BYTES), "big")
    return told(connection, size).split(b"\0")


class _Cell:
    """A fork that runs.

    Args:
        connection: Its socket.
        pid: Its process and group.
    """

    def __init__(self, connection: Any, pid: int) -> None:
        self.connection = connection
        self.pid = pid
        self.is_wanted = True
        self.watched = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else -1

    def ended(self) -> int | None:
        """Its wait status, once it has ended; with it ends its group, while the number still is its own."""
        if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return None
        self.kill()
        status = os.waitpid(self.pid, 0)[1]
        self.close()
        return status

    def kill(self) -> None:
        with suppress(OSError):
            os.killpg(self.pid, 9)

    def close(self) -> None:
        if self.watched >= 0:
            os.close(self.watched)


class _Forker:
    """Forks cells until DRE hangs up.

    Args:
        number: Of the socket to DRE.
        bytecode: What cells need not compile.
    """

    def __init__(self, number: int, bytecode: Any) -> None:
        import _socket
        import select

        self._socket = _socket
        self._control = _socket.socket(fileno=number)
        self._poll = select.poll
        self._in, self._hung_up = select.POLLIN, select.POLLRDHUP | select.POLLHUP | select.POLLERR
        self._cells: list[_Cell] = []
        self._bytecode = bytecode

    def announce(self) -> None:
        names = {name.partition(".")[0] for name in list(sys.modules)} - {"__main__"}
        data = b"\0".join(os.fsencode(name) for name in sorted(names))
        self._control.sendall(len(data).to_bytes(_NUMBER_BYTES, "big") + data)

    def serve(self) -> list[bytes] | None:
        """What a fork is to become; None in the process itself, once DRE has hung up."""
        while True:
            events = self._events()
            for cell in list(self._cells):
                if events.get(cell.connection.fileno(), 0) & self._hung_up:
                    cell.is_wanted = False
                    cell.kill()
                if (status := cell.ended()) is not None:
                    self._tell(cell.connection, status)
                    cell.connection.close()
                    self._cells.remove(cell)
            if self._control.fileno() in events:
                asked, number = self._accepted()
                if number < 0:
                    for cell in self._cells:
                        cell.kill()
                    return None
                if asked == _ASKS_FOR_BYTECODE:
                    self._compile(number)
                    continue
                self._bytecode.end()
                wanted = self._forked(self._socket.socket(fileno=number))
                if wanted is not None:
                    return wanted

    def _events(self) -> dict[int, int]:
        """What has happened, by descriptor; waits for something to happen."""
        poller = self._poll()
        poller.register(self._control.fileno(), self._in)
        for cell in self._cells:
            if cell.is_wanted:
                poller.register(cell.connection.fileno(), self._hung_up)
            if cell.watched >= 0:
                poller.register(cell.watched, self._in)
        return dict(poller.poll(_POLL_MS if any(cell.watched < 0 for cell in self._cells) else None))

    def _accepted(self) -> tuple[bytes, int]:
        """What is asked for, and the descriptor that came with it; negative where DRE has hung up."""
        data, extra, _, _ = self._control.recvmsg(1, self._socket.CMSG_SPACE(_NUMBER_BYTES))
        if not data or not extra:
            return b"", -1
        return data, int.from_bytes(extra[0][2], sys.byteorder)

    def _compile(self, request: int) -> None:
        if not self._cells and self._bytecode.begin(request):
            os._exit(0)

    def _forked(self, connection: Any) -> list[bytes] | None:
        """What the fork is to become, in the fork; None in the process itself."""
        try:
            wanted = _received(connection)
        except (EOFError, OSError):
            connection.close()
            return None
        pid = os.fork()
        if pid:
            cell = _Cell(connection, pid)
            self._cells.append(cell)
            self._tell(connection, pid)
            return None
        _ask_kernel(_PR_SET_DUMPABLE, 1)
        _ask_kernel(_PR_SET_PDEATHSIG, 9)
        os.setsid()
        connection.close()
        self._control.close()
        for other in self._cells:
            other.connection.close()
            other.close()
        return wanted

    @staticmethod
    def _tell(connection: Any, number: int) -> None:
        with suppress(OSError):
            connection.sendall(b"%d\n" % number)


def _become(wanted: list[bytes], bytecode: Any) -> None:
    """Makes this process what ``python -m pytest`` is at its start, and runs it."""
    import runpy

    folder, output, clone, seen, standing, bindings, *rest = wanted
    count = int(rest.pop(0))
    path, rest = rest[:count], rest[count:]
    count = int(rest.pop(0))
    words, environ = rest[:count], rest[count:]
    if clone:
        # Where it is made: the place where it is going to stand is the user's until then.
        bytecode.lay(*map(os.fsdecode, (clone, seen, folder)), list(map(os.fsdecode, words)))
    del bytecode
    if standing:
        _stand(standing, bindings)
    opened = os.open(output, os.O_WRONLY)
    for number in (1, 2):
        os.dup2(opened, number)
    os.close(opened)
    os.chdir(folder)
    os.environb.clear()
    for entry in environ:
        name, _, value = entry.partition(b"=")
        os.environb[name] = value
    before = [] if getattr(sys.flags, "safe_path", False) else [os.getcwd()]
    sys.path[:] = [*before, *(os.fsdecode(each) for each in path), *sys.path]
    sys.argv = ["-m", *(os.fsdecode(word) for word in words)]
    if hasattr(sys, "orig_argv"):
        sys.orig_argv = [sys.orig_argv[0], "-m", "pytest", *sys.argv[1:]]
    _leave(_status_of(partial(runpy._run_module_as_main, "pytest")))  # type: ignore[attr-defined]


def _stand(file: bytes, bindings: bytes) -> None:
    import json

    with open(file, "rb") as stream:
        own: dict[str, Any] = {"__name__": "dre_standing"}
        exec(compile(stream.read(), file, "exec"), own)  # noqa: S102 - our own file beside this one
    own["stand"](json.loads(os.fsdecode(bindings)))


def _status_of(run: Callable[[], object]) -> int:
    """The exit status that an interpreter would end with."""
    try:
        run()
    except SystemExit as error:
        if error.code is None or isinstance(error.code, int):
            return (error.code or 0) & 0xFF
        os.write(2, f"{error.code}\n".encode(errors="replace"))
        return 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def _leave(status: int) -> None:
    """Ends as an interpreter does, up to where it would clear its memory."""
    import atexit
    import threading

    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):
            stream.flush()
    os._exit(status)


def _main() -> None:
    # What runs in a cell must not reach the next ones, and nobody asks for any once DRE was killed.
    _ask_kernel(_PR_SET_DUMPABLE, 0)
    _ask_kernel(_PR_SET_PDEATHSIG, 9)
    number, source = int(sys.argv[1]), sys.argv[3]
    if not getattr(sys.flags, "safe_path", False):
        del sys.path[0]  # of the -c that this was started with
    _import_pytest()
    if _has_threads():
        return
    names: dict[str, Any] = {"__name__": "dre_bytecode"}
    with open(source, "rb") as stream:
        exec(compile(stream.read(), source, "exec"), names)  # noqa: S102 - DRE's own
    bytecode = names["Bytecode"]()
    forker = _Forker(number, bytecode)
    forker.announce()
    wanted = forker.serve()
    if wanted is None:
        os._exit(0)
    del forker
    _become(wanted, bytecode)


if __name__ == "dre_forker":
    _main()

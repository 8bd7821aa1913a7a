"""A started interpreter from which cells are forked: pytest is imported once, which is most of a small suite's time.

A fork is as good as a process of its own where nothing of the project was imported before it, which :meth:`Stem.fits`
asks of each clone. Whoever runs a cell here and is told of a failure asks once more in a process of its own
(``cell.py``): a fork has the hash seed and the addresses of the others. The process itself is ``forker.py``.

It may be started before a command runs, where there is a second processor: it is ready when the command has ended, and
the command can't look into it.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from dre_core.capture.forker import told
from dre_core.errors import CaptureError

if TYPE_CHECKING:
    import socket

_FORKER = Path(__file__).with_name("forker.py")
_BYTECODE = Path(__file__).with_name("bytecode.py")
# Leaves no name in __main__, where pytest is going to be run.
_START = (
    "exec(compile(open(__import__('sys').argv[2], 'rb').read(), __import__('sys').argv[2], 'exec'), "
    "{'__name__': 'dre_forker'})"
)
_START_SECONDS = 60.0
_FORK_SECONDS = 10.0
_END_SECONDS = 1.0
_NUMBER_BYTES = 4
_NAMES_LIMIT_BYTES = 1 << 20
# One cache of bytecode for several commits under one path would mix them up.
_CLEARED = (
    "GIT_", "DRE_", "PYTEST_", "COV_CORE_", "COVERAGE_", "PYTHONPATH", "PYTHONHOME", "PYTHONPYCACHEPREFIX",
)  # fmt: skip
_KEPT = ("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "PYTEST_PLUGINS")
_MODULES = (".py", ".pyc", ".so", ".pyd")
# Asked for when an interpreter or pytest starts, and not there everywhere: no fork has a project with one of them.
_OPTIONAL = frozenset(
    ("argcomplete", "attr", "colorama", "exceptiongroup", "py", "readline", "sitecustomize", "tomli", "usercustomize")
)  # fmt: skip


def environ_of_cells(environ: Mapping[str, str], user_root: str) -> dict[str, str]:
    """The environment that all cells have, less what each has of its own.

    Args:
        environ: The run's.
        user_root: Top of the user's tree; what lies in it is not looked for modules.
    """
    kept = {n: v for n, v in environ.items() if n in _KEPT or not n.startswith(_CLEARED)}
    own = os.path.realpath(user_root) + os.sep
    before = [p for p in environ.get("PYTHONPATH", "").split(os.pathsep) if p]
    outside = [p for p in before if not (os.path.realpath(p) + os.sep).startswith(own)]
    return {**kept, "PYTHONPATH": os.pathsep.join(outside)}


def processors() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class StemError(CaptureError):
    """The interpreter that cells are forked from is no more; they run as processes of their own."""


class Stem:
    """An interpreter of the run's with pytest imported.

    Args:
        python: The interpreter.
        environ: What it was started with.
        process: It.
        control: The socket to it.
    """

    def __init__(
        self,
        python: str,
        environ: Mapping[str, str],
        process: subprocess.Popen[bytes],
        control: socket.socket,
    ) -> None:
        from threading import Lock

        self.python = python
        self.environ = environ
        self._process = process
        self._control = control
        self._lock = Lock()
        self._names: frozenset[str] | None = None
        self._deadline = time.monotonic() + _START_SECONDS

    @classmethod
    def start(cls, python: str, environ: Mapping[str, str]) -> Stem | None:
        """Starts one; does not wait until it is ready.

        Args:
            python: The interpreter.
            environ: The environment of every cell, less what each has of its own.

        Returns:
            It; None where there is no such thing.
        """
        # What stands on the path must be no matter of the working folder.
        path = filter(None, environ.get("PYTHONPATH", "").split(os.pathsep))
        if not sys.platform.startswith("linux") or not all(map(os.path.isabs, path)):
            return None
        import socket

        own, its = socket.socketpair()
        try:
            with its:
                process = subprocess.Popen(
                    [python, "-c", _START, str(its.fileno()), str(_FORKER), str(_BYTECODE)],
                    cwd=os.sep,
                    env=dict(environ),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=(its.fileno(),),
                    start_new_session=True,
                )
        except OSError:
            own.close()
            return None
        return cls(python, environ, process, own)

    def fits(self, folders: Iterable[Path]) -> bool:
        """Whether a fork would import what a process of its own would.

        Args:
            folders: Where modules are looked for before the interpreter's own: a clone's roots, the working folder.
        """
        with self._lock:
            if self._names is None:
                self._names = self._announced()
        if not self._names:
            return False
        taken = self._names | _OPTIONAL
        return not any(name in taken for folder in folders for name in _modules(folder))

    def _announced(self) -> frozenset[str]:
        """What it has imported; empty where it did not come to be ready."""
        try:
            self._control.settimeout(max(0.0, self._deadline - time.monotonic()))
            size = int.from_bytes(told(self._control, _NUMBER_BYTES), "big")
            if size > _NAMES_LIMIT_BYTES:
                return frozenset()
            names = told(self._control, size)
            self._control.settimeout(None)
        except (OSError, EOFError):
            return frozenset()
        return frozenset(os.fsdecode(name) for name in names.split(b"\0"))

    def compile(self, folder: str, other: Mapping[str, str]) -> None:
        """Has what cells are going to import compiled, as far as that is done when the first one is wanted.

        Args:
            folder: Top of the user's tree.
            other: Source of other versions, by path from there.
        """
        import socket

        parts = [os.fsencode(folder)]
        for path, text in other.items():
            if "\0" not in text:
                parts += [os.fsencode(path), text.encode()]
        with suppress(OSError, AttributeError, ValueError):
            request = os.memfd_create("dre-request", os.MFD_CLOEXEC)
            try:
                with open(request, "wb", closefd=False) as stream:
                    stream.write(b"\0".join(parts))
                with self._lock:
                    socket.send_fds(self._control, [b"b"], [request])
            finally:
                os.close(request)

    def fork(
        self,
        words: Sequence[str],
        *,
        cwd: Path,
        path: Sequence[str],
        environ: Mapping[str, str],
        output: Path,
        clone: tuple[str, str] = ("", ""),
        standing: tuple[str, str] = ("", ""),
    ) -> Fork:
        """Starts a cell.

        Args:
            words: pytest's arguments.
            cwd: Its folder.
            path: What goes before the interpreter's own path.
            environ: Its environment.
            output: The file that it writes to; must exist.
            clone: Top of a clone that bytecode may be put into, since nothing has run there (else nothing), and where
                the cell sees it; default: none.
            standing: A file and what its ``stand`` is given before anything else.

        Raises:
            StemError: There is nothing to fork from any more.
        """
        import socket

        entries = [f"{name}={value}" for name, value in environ.items()]
        parts = [
            str(cwd), str(output), *clone, *standing, str(len(path)), *path, str(len(words)), *words, *entries
        ]  # fmt: skip
        data = b"\0".join(map(os.fsencode, parts))
        own, its = socket.socketpair()
        try:
            own.settimeout(_FORK_SECONDS)
            with its, self._lock:
                socket.send_fds(self._control, [b"c"], [its.fileno()])
            own.sendall(len(data).to_bytes(_NUMBER_BYTES, "big") + data)
            return Fork(own)
        except OSError as error:
            own.close()
            self.give_up()
            raise StemError(f"the interpreter that cells are forked from has ended: {error}") from None

    def give_up(self) -> None:
        """Has every further cell be a process of its own."""
        self._names = frozenset()

    def close(self) -> None:
        """Ends it, and every cell that still runs; may be called again."""
        import socket

        with suppress(OSError):
            # A process that was forked from this one may hold the descriptor as well.
            self._control.shutdown(socket.SHUT_RDWR)
        self._control.close()
        if self._names is not None:  # before that it has no cells
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=_END_SECONDS)
        with suppress(OSError):
            if self._process.poll() is None:
                os.killpg(self._process.pid, 9)
        self._process.wait()


class Fork:
    """A cell that was forked.

    Args:
        connection: The socket that tells of it.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._read = b""
        self._pid = 0
        self._began = time.monotonic()

    def status(self, seconds: float) -> int | None:
        """Its exit status, negative for a signal, as soon as there is one; None if there is none within the time.

        Raises:
            StemError: Nobody is there any more who could tell.
        """
        deadline = time.monotonic() + seconds
        while self._read.count(b"\n") < 2:
            if not self._is_ready(max(0.0, deadline - time.monotonic())):
                if not self._pid and time.monotonic() - self._began > _FORK_SECONDS:
                    raise StemError("the interpreter that cells are forked from does not answer")
                return None
            try:
                more = self._connection.recv(64)
            except OSError:
                more = b""
            if not more:
                raise StemError("the interpreter that cells are forked from has ended")
            self._read += more
            self._pid = int(self._read.partition(b"\n")[0]) if b"\n" in self._read else 0
        return os.waitstatus_to_exitcode(int(self._read.split(b"\n")[1]))

    def _is_ready(self, seconds: float) -> bool:
        poller = select.poll()
        poller.register(self._connection, select.POLLIN)
        return bool(poller.poll(seconds * 1000))

    def end(self) -> None:
        """Ends it, if it has not ended, and what it has started."""
        import socket

        if self._read.count(b"\n") < 2:
            with suppress(OSError, StemError):
                self._connection.shutdown(socket.SHUT_WR)
                self.status(_END_SECONDS)
            if self._pid and self._read.count(b"\n") < 2:
                with suppress(OSError):
                    os.killpg(self._pid, 9)
        self._connection.close()


def _modules(folder: Path) -> Iterator[str]:
    """Names of the modules and packages in a folder."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                name, dot, _ = entry.name.partition(".")
                if dot:
                    if entry.name.endswith(_MODULES):
                        yield name
                elif entry.is_dir() and any(_is_initial(each) for each in os.listdir(entry.path)):
                    yield name
    except OSError:
        return


def _is_initial(name: str) -> bool:
    return name.startswith("__init__.") and name.endswith(_MODULES)

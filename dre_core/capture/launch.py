"""Starting a process: fork, become, exec. Nothing else.

Not ``subprocess``: the child stays in the parent's process group (or gets a terminal of its own), keeps
every inheritable descriptor, gets a death signal, and an exec that fails is told by its errno. The work
between fork and exec is a few system calls through modules already loaded; DRE has no threads at that
point.
"""

from __future__ import annotations

import errno
import os
import signal
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import NoReturn

from dre_core.capture import kernel
from dre_core.capture.executable import SHELL, is_shell_text, read_head, start_error

CLOSED = -1
"""Stands for a standard descriptor that is closed."""
_STANDARD = (0, 1, 2)
_RESTORED_SIGNALS = ("SIGPIPE", "SIGXFSZ")
"""Python ignores these at start-up; a child must not inherit that."""


def fork() -> int:
    """os.fork without the warning about threads: the children made here only make system calls."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def start(
    words: Sequence[str],
    path: str,
    *,
    cwd: str,
    environ: Mapping[str, str],
    standard: tuple[int, int, int],
    mask: Iterable[int],
    terminal: int | None = None,
    tracer: int = 0,
) -> int:
    """Start a process.

    Args:
        words: The argument vector.
        path: The file to execute.
        cwd: Working directory.
        environ: The whole environment.
        standard: Descriptors to become 0, 1 and 2; ``CLOSED`` for none.
        mask: Signal mask to restore in the child; the caller has blocked all signals.
        terminal: Slave side of a pseudo-terminal that becomes the child's controlling terminal.
        tracer: A process that will trace it, see ``tracer.py``; 0 for none.

    Returns:
        The process id; the process runs the new program, or with a tracer stands at its beginning.

    Raises:
        StartError: exec failed; ``status`` is what a shell would answer.
    """
    kernel.prepare(tracing=bool(tracer))
    report, told = os.pipe()
    parent = os.getpid()
    try:
        pid = fork()
        if pid == 0:
            _become(words, path, cwd, environ, standard, list(mask), terminal, parent, told, tracer)
    except OSError as error:
        kernel.let_go(report)
        kernel.let_go(told)
        raise start_error(error, words[0]) from error
    kernel.let_go(told)
    try:
        answer = os.read(report, 32)
    finally:
        kernel.let_go(report)
    if answer:
        os.waitpid(pid, 0)
        number = int(answer)
        raise start_error(OSError(number, os.strerror(number)), words[0])
    return pid


def _become(
    words: Sequence[str],
    path: str,
    cwd: str,
    environ: Mapping[str, str],
    standard: tuple[int, int, int],
    mask: list[int],
    terminal: int | None,
    parent: int,
    told: int,
    tracer: int,
) -> NoReturn:
    """Turn the forked process into the command; never returns into the caller's code."""
    number = errno.ECANCELED
    try:
        kernel.die_with_parent(signal.SIGKILL)
        if os.getppid() == parent:
            if terminal is not None:
                _take_terminal(terminal)
            _place(standard)
            _restore_signals()
            os.chdir(cwd)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            if tracer:
                kernel.ask_for_trace(tracer)
            _execute(words, path, environ)
    except OSError as error:
        number = error.errno or errno.EIO
    except BaseException:  # the only way out of a forked copy is _exit
        number = errno.EINVAL
    with suppress(OSError):
        os.write(told, b"%d" % number)
    os._exit(127)


def _take_terminal(terminal: int) -> None:
    import fcntl
    import termios

    os.setsid()
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)


def _place(standard: tuple[int, int, int]) -> None:
    """Make the given descriptors 0, 1 and 2, whatever their numbers are now."""
    import fcntl

    sources = [
        fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3) if fd in _STANDARD and fd != target else fd
        for target, fd in enumerate(standard)
    ]
    for target, fd in enumerate(sources):
        if fd == CLOSED:
            kernel.let_go(target)
        elif fd == target:
            os.set_inheritable(fd, True)
        else:
            os.dup2(fd, target, inheritable=True)


def _restore_signals() -> None:
    """Default dispositions for what Python or DRE handles; what was ignored before DRE stays ignored."""
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    for name in _RESTORED_SIGNALS:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)


def _execute(words: Sequence[str], path: str, environ: Mapping[str, str]) -> None:
    try:
        os.execve(path, list(words), environ)  # noqa: S606
    except OSError as error:
        # POSIX: a shell runs a text file that exec does not know as a script
        head = read_head(path)
        if error.errno != errno.ENOEXEC or head is None or not is_shell_text(head):
            raise
        os.execve(SHELL, [SHELL, path, *words[1:]], environ)  # noqa: S606


def standard_descriptors() -> tuple[int, int, int]:
    """Say which of 0, 1 and 2 are open and occupy the others, so that no file of ours takes their number.

    A program calls this before it opens anything, and hands the answer to ``run``.

    Returns:
        Three descriptors, ``CLOSED`` where there was none.
    """
    first, second, third = (fd if is_open(fd) else CLOSED for fd in _STANDARD)
    occupy_standard()
    return first, second, third


def occupy_standard() -> None:
    """Open the null device on every closed standard descriptor."""
    while True:
        fd = os.open(os.devnull, os.O_RDWR)
        if fd not in _STANDARD:
            kernel.let_go(fd)
            return


def is_open(fd: int) -> bool:
    """Whether a number is an open descriptor."""
    try:
        os.fstat(fd)
    except OSError:
        return False
    return fd >= 0


def close_all_except(keep: Iterable[int]) -> None:
    """Close every descriptor of this process but these: a forked copy must not hold locks or pipes."""
    kept = set(keep)
    try:
        numbers = [int(name) for name in os.listdir("/proc/self/fd" if kernel.LINUX else "/dev/fd")]
    except (OSError, ValueError):
        numbers = list(range(256))
    for fd in numbers:
        if fd not in kept:
            kernel.let_go(fd)

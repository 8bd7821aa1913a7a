"""What only the Linux kernel offers: process attributes, open-file identity, exit status by pidfd.

Not a policy: each function does one call and says whether it worked. Elsewhere, and where a sandbox forbids
the call, the answer is False or None and the caller records a gap. The C library is loaded on first use.
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache

LINUX = sys.platform.startswith("linux")

# include/uapi/linux/prctl.h
_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
# include/uapi/linux/pidfd.h: _IOWR(0xFF, 11, struct pidfd_info), first published size of 64 bytes
_PIDFD_GET_INFO = (3 << 30) | (64 << 16) | (0xFF << 8) | 11
_PIDFD_INFO_EXIT = 1 << 3
_PIDFD_INFO = struct.Struct("=QQIII8Ii")
# include/uapi/linux/ptrace.h and prctl.h
PTRACE_CONT = 7
PTRACE_DETACH = 17
PTRACE_SEIZE = 0x4206
PTRACE_LISTEN = 0x4208
_PTRACE_TRACEME = 0
_PTRACE_GETEVENTMSG = 0x4201
TRACE_BIRTHS = (1, 2, 3)  # fork, vfork, clone
TRACE_EXEC = 4
TRACE_STOP = 128
TRACE_OPTIONS = sum(1 << event for event in (*TRACE_BIRTHS, TRACE_EXEC))
WAIT_ALL = 0x40000000
_PR_SET_PTRACER = 0x59616D61
# kcmp(2): the call's number differs by architecture; only these two are sure
_KCMP_NUMBERS = {"x86_64": 312, "aarch64": 272}
_KCMP_FILE = 0


@lru_cache(maxsize=1)
def _libc() -> Callable[..., int] | None:
    """``syscall``-like access to prctl; None where there is none."""
    if not LINUX:
        return None
    try:
        import ctypes

        prctl = ctypes.CDLL(None, use_errno=True).prctl
        prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
        prctl.restype = ctypes.c_int
    except (ImportError, OSError, AttributeError):
        return None
    return prctl


def prepare(*, tracing: bool = False) -> None:
    """Load what is called between fork and exec, so that nothing is imported there.

    Args:
        tracing: Whether :func:`ask_for_trace` will be.
    """
    _libc()
    if tracing:
        _ptrace()


def _prctl(option: int, value: int) -> bool:
    prctl = _libc()
    return prctl is not None and prctl(option, value, 0, 0, 0) == 0


def die_with_parent(signal_number: int) -> bool:
    """Ask for a signal when the thread that started this process ends (``PR_SET_PDEATHSIG``)."""
    return _prctl(_PR_SET_PDEATHSIG, signal_number)


def let_go(fd: int) -> None:
    """Close a descriptor that no bytes of ours can be lost through: one to read from, a pipe, a process.

    It is gone whatever the system answers (close(2)), and the answer must not change how the command ended.
    """
    with suppress(OSError):
        os.close(fd)


@lru_cache(maxsize=1)
def _ptrace() -> Callable[..., int] | None:
    if not LINUX:
        return None
    try:
        import ctypes

        call = ctypes.CDLL(None, use_errno=True).ptrace
        call.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
        call.restype = ctypes.c_long
    except (ImportError, OSError, AttributeError):
        return None
    return call


def ptrace(request: int, pid: int, data: int) -> bool:
    """Ask the kernel one thing about a traced process; says whether it was granted."""
    call = _ptrace()
    return call is not None and call(request, pid, None, data) == 0


def trace_message(pid: int) -> int:
    """What the last event of a traced process was about, as the new process's id; 0 if that is not told."""
    import ctypes

    call, message = _ptrace(), ctypes.c_ulong()
    told = call is not None and call(_PTRACE_GETEVENTMSG, pid, None, ctypes.addressof(message)) == 0
    return message.value if told else 0


def ask_for_trace(tracer: int) -> bool:
    """Let the parent trace this process from its next program on, and a process of its choice afterwards."""
    _prctl(_PR_SET_PTRACER, tracer)  # only Yama knows it
    return ptrace(_PTRACE_TRACEME, 0, 0)


def status_number(pid: int, field: bytes) -> int:
    """A number of ``/proc/<pid>/status`` by its name, as ``Tgid``; 0 if absent. Source: proc_pid_status(5)."""
    with suppress(OSError, ValueError), open(f"/proc/{pid}/status", "rb") as stream:
        for line in stream:
            name, _, value = line.partition(b":")
            if name == field:
                return int(value)
    return 0


def hide_memory() -> bool:
    """Keep the same user's processes out of this one's memory and environment (``PR_SET_DUMPABLE`` 0)."""
    return _prctl(_PR_SET_DUMPABLE, 0)


def adopt_orphans(on: bool = True) -> bool:
    """Become (or stop being) the parent of descendants whose parent ended (``PR_SET_CHILD_SUBREAPER``)."""
    return _prctl(_PR_SET_CHILD_SUBREAPER, int(on))


def same_open_file(first: int, second: int) -> bool:
    """Tell whether two descriptors are one open file description, as after ``2>&1``.

    Uses kcmp(2); where that is missing or forbidden, equal files with equal flags and position count as one.
    """
    try:
        one, two = os.fstat(first), os.fstat(second)
    except OSError:
        return False
    if (one.st_dev, one.st_ino, one.st_rdev) != (two.st_dev, two.st_ino, two.st_rdev):
        return False
    answer = _kcmp(first, second)
    return answer if answer is not None else _position(first) == _position(second)


def _kcmp(first: int, second: int) -> bool | None:
    number = _KCMP_NUMBERS.get(os.uname().machine) if LINUX and sys.maxsize > 2**32 else None
    if number is None:
        return None
    import ctypes

    try:
        call = ctypes.CDLL(None, use_errno=True).syscall
    except (OSError, AttributeError):
        return None
    long = ctypes.c_long
    pid = os.getpid()
    result = call(long(number), long(pid), long(pid), long(_KCMP_FILE), long(first), long(second))
    return None if result < 0 else result == 0


def _position(fd: int) -> tuple[int, int]:
    import fcntl

    try:
        offset = os.lseek(fd, 0, os.SEEK_CUR)
    except OSError:
        offset = -1
    return fcntl.fcntl(fd, fcntl.F_GETFL), offset


def open_pidfd(pid: int) -> int | None:
    """A descriptor that stands for a process and never for its successor under the same number."""
    opener = getattr(os, "pidfd_open", None)
    if opener is None:
        return None
    try:
        return int(opener(pid))
    except OSError:
        return None


def exit_status(pidfd: int) -> int | None:
    """Wait status of a process that has ended *and* been reaped, by anyone.

    Args:
        pidfd: From :func:`open_pidfd`, opened while the process existed.

    Returns:
        The status as wait(2) encodes it, or None: still there, not yet reaped, or a kernel before 6.15.
    """
    import fcntl

    buffer = bytearray(_PIDFD_INFO.size)
    struct.pack_into("=Q", buffer, 0, _PIDFD_INFO_EXIT)
    try:
        fcntl.ioctl(pidfd, _PIDFD_GET_INFO, buffer)
    except OSError:
        return None
    fields = _PIDFD_INFO.unpack(buffer)
    return int(fields[-1]) if fields[0] & _PIDFD_INFO_EXIT else None

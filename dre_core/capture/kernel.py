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


def prepare() -> None:
    """Load what :func:`die_with_parent` needs, so that nothing is imported between fork and exec."""
    _libc()


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

"""A small process that stays behind when a daemon still holds the command's output.

Not part of the record: what it copies is the gap ``output-after-exit``. It copies from the pipes to the
user's descriptors until the last writer has gone, so that the daemon is neither killed by SIGPIPE nor
silenced. It has a session of its own, holds no other descriptor (no lock, no log) and is nobody's child.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from dre_core.capture import kernel
from dre_core.capture.launch import close_all_except, fork

READ_BYTES = 64 << 10


def leave_relay(pieces: Sequence[tuple[int, int, bytes]]) -> None:
    """Start a relay.

    Args:
        pieces: Source (-1: none), destination and bytes still to be written before it, for each channel.
    """
    import select  # noqa: F401  (loaded before the fork)

    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = fork()
        if pid == 0:
            _detach(pieces)
        with suppress(OSError):
            os.waitpid(pid, 0)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _detach(pieces: Sequence[tuple[int, int, bytes]]) -> NoReturn:
    try:
        os.setsid()
        if os.fork() == 0:
            close_all_except({fd for source, to, _ in pieces for fd in (source, to)})
            os.chdir("/")
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM,))
            _copy_all(pieces)
    finally:
        os._exit(0)


def _copy_all(pieces: Sequence[tuple[int, int, bytes]]) -> None:
    import select

    for source, to, rest in pieces:
        if not _write(to, rest) and source >= 0:
            kernel.let_go(source)
            return
    routes = {source: to for source, to, _ in pieces if source >= 0}
    poller = select.poll()
    for source in routes:
        os.set_blocking(source, True)
        poller.register(source, select.POLLIN)
    while routes:
        for source, _ in poller.poll():
            if not _copy_once(source, routes[source]):
                poller.unregister(source)
                kernel.let_go(source)
                del routes[source]


def _copy_once(source: int, to: int) -> bool:
    try:
        data = os.read(source, READ_BYTES)
    except OSError:
        return False
    return bool(data) and _write(to, data)


def _write(to: int, data: bytes) -> bool:
    try:
        while data:
            data = data[os.write(to, data) :]
    except OSError:
        return False
    return True

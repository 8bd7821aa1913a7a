"""One output channel of a command: from its pipe to the user's terminal first, then to the record.

Holds at most one read's worth of bytes, so memory is constant and a slow terminal slows the command as it
would without DRE. Where the terminal side is a pipe or a tty it is opened anew without blocking, so that a
reader that has stopped reading never stops signals, timeouts and the monitor.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
import termios
from collections.abc import Callable
from contextlib import suppress

from dre_core.capture import kernel

READ_BYTES = 256 << 10
PIPE_BYTES = 1 << 20
"""Capacity asked of the kernel for the command's pipe; what it grants is enough."""


class Channel:
    """Copies one stream.

    Args:
        name: ``stdout``, ``stderr`` or ``output``.
        source: Read end of the command's pipe, or the master of its terminal.
        terminal: The user's descriptor.
        record: Takes each piece once it is on the terminal.

    Attributes:
        bytes_out: Bytes read from the command.
        gaps: What went wrong, as slugs with an optional detail.
    """

    def __init__(
        self, name: str, source: int, terminal: int, record: Callable[[str, bytes], None], *, is_pty: bool
    ) -> None:
        self.name = name
        self.source = source
        self.terminal = terminal
        self.bytes_out = 0
        self.gaps: list[str] = []
        self._record = record
        self._pending: memoryview | None = None
        self._piece = b""
        self._writable = True
        self.is_pty = is_pty
        self.owed_bytes: int | None = None
        self.writer, self._owns_writer = _open_writer(terminal)
        self.watches_reader = _is_pipe(self.writer)

    @property
    def is_open(self) -> bool:
        """Whether the command's side may still give bytes."""
        return self.source >= 0

    @property
    def is_blocked(self) -> bool:
        """Whether bytes wait for the user's terminal."""
        return self._pending is not None

    def read(self) -> None:
        """Take one piece from the command; an end closes the source."""
        try:
            data = os.read(self.source, READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.EIO:  # a terminal whose last user has gone answers EIO
                self._gap(f"read-failed: {error.strerror}")
            data = b""
        if not data:
            self.close_source()
            return
        self.bytes_out += len(data)
        if self.owed_bytes is not None:
            self.owed_bytes -= len(data)
        self._piece, self._pending = data, memoryview(data)
        self.write()

    def write(self) -> None:
        """Put pending bytes on the terminal as far as it takes them, then record them."""
        while self._pending:
            if not self._writable:
                break
            try:
                self._pending = self._pending[os.write(self.writer, self._pending) :]
            except BlockingIOError:
                return
            except BrokenPipeError:
                self.reader_gone()
                return
            except OSError as error:
                self._writable = False
                self._gap(f"terminal-write-failed: {error.strerror}")
        self._keep()

    def _keep(self) -> None:
        piece, self._piece, self._pending = self._piece, b"", None
        if piece:
            self._record(self.name, piece)

    def reader_gone(self) -> None:
        """Nobody reads the user's side: close ours; the command then gets SIGPIPE as it would without us."""
        self._gap("reader-gone")
        self._writable = False
        self._keep()
        self._record_rest()
        self.close_source()

    def _record_rest(self) -> None:
        """Record what the command had written before its reader went; at most a pipe's worth."""
        if not self.is_open:
            return
        os.set_blocking(self.source, False)
        limit = PIPE_BYTES
        with suppress(OSError):
            while limit > 0 and (data := os.read(self.source, READ_BYTES)):
                limit -= len(data)
                self.bytes_out += len(data)
                self._record(self.name, data)

    def waiting_bytes(self) -> int:
        """Bytes that lie in the command's pipe now."""
        buffer = bytearray(4)
        try:
            fcntl.ioctl(self.source, termios.FIONREAD, buffer)
        except OSError:
            return 0
        return int(struct.unpack("i", buffer)[0])

    def give_up(self) -> None:
        """Record what could not be put on the terminal; it is handed to the relay by the caller."""
        self._keep()

    def unwritten(self) -> bytes:
        """Bytes read but not yet on the terminal."""
        return bytes(self._pending) if self._pending is not None else b""

    def close_source(self) -> None:
        """Stop reading."""
        if self.source >= 0:
            kernel.let_go(self.source)
            self.source = -1

    def close(self) -> None:
        """Close what this channel opened."""
        self.close_source()
        if self._owns_writer:
            kernel.let_go(self.writer)
            self._owns_writer = False

    def _gap(self, text: str) -> None:
        self.gaps.append(f"{text.partition(': ')[0]}: {self.name}{_detail(text)}")


def _detail(text: str) -> str:
    detail = text.partition(": ")[2]
    return f", {detail}" if detail else ""


def make_pipe() -> tuple[int, int]:
    """A pipe for the command's output, as large as the kernel grants."""
    read_end, write_end = os.pipe()
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        with suppress(OSError):
            fcntl.fcntl(read_end, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return read_end, write_end


def _is_pipe(fd: int) -> bool:
    mode = os.fstat(fd).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _open_writer(terminal: int) -> tuple[int, bool]:
    """The user's descriptor, opened anew without blocking where that is possible and of use."""
    mode = os.fstat(terminal).st_mode
    if kernel.LINUX and (stat.S_ISFIFO(mode) or os.isatty(terminal)):
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
        with suppress(OSError):
            return os.open(f"/proc/self/fd/{terminal}", flags), True
    return terminal, False

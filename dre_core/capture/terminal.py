"""The user's terminal and the pseudo-terminal that stands in for it.

Not a terminal emulator: bytes pass both ways unchanged. Where DRE's own input is a terminal too, that is
set to raw mode for the time of the run, so that every key goes to the command's terminal, which gives it
its meaning.
"""

from __future__ import annotations

import os
from contextlib import suppress

from dre_core.capture import kernel

DEFAULT_SIZE = (80, 24)
INPUT_BYTES = 4096


class PseudoTerminal:
    """A pseudo-terminal with the settings and the window size of the user's terminal.

    Args:
        output: The user's terminal.
        keyboard: DRE's standard input if that is a terminal, else None.

    Attributes:
        master: DRE's side.
        slave: The command's side; closed by :meth:`started`.
    """

    def __init__(self, output: int, keyboard: int | None) -> None:
        import termios

        self._output = output
        self._keyboard = keyboard
        self._saved: list[object] | None = None
        self._typed = b""
        self.master, self.slave = os.openpty()
        with suppress(OSError, termios.error):
            settings = termios.tcgetattr(output)
            if keyboard is None:
                # the user's terminal stays as it is and turns \n into \r\n itself
                settings[1] &= ~termios.OPOST
            termios.tcsetattr(self.slave, termios.TCSANOW, settings)
        self.resize()

    def started(self) -> None:
        """The command holds the slave now: let go of it and take the keyboard."""
        kernel.let_go(self.slave)
        self.slave = -1
        if self._keyboard is not None:
            os.set_blocking(self.master, False)
            self._take_keyboard()

    def size(self) -> tuple[int, int]:
        """Columns and rows of the user's terminal."""
        try:
            found = os.get_terminal_size(self._output)
        except OSError:
            return DEFAULT_SIZE
        return (found.columns, found.lines) if found.columns and found.lines else DEFAULT_SIZE

    def resize(self) -> None:
        """Give the command's terminal the size of the user's; the kernel tells the command."""
        import fcntl
        import struct
        import termios

        columns, rows = self.size()
        with suppress(OSError):
            fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def foreground(self) -> int | None:
        """Process group that the command's terminal sends its signals to."""
        try:
            group = os.tcgetpgrp(self.master)
        except OSError:
            return None
        return group if group > 1 else None

    def _in_foreground(self) -> bool:
        assert self._keyboard is not None
        try:
            return os.tcgetpgrp(self._keyboard) == os.getpgrp()
        except OSError:
            return True

    def _take_keyboard(self) -> None:
        import termios
        import tty

        assert self._keyboard is not None
        with suppress(OSError, termios.error):
            if self._in_foreground():
                saved = termios.tcgetattr(self._keyboard)
                tty.setraw(self._keyboard, termios.TCSANOW)
                self._saved = saved

    def release_keyboard(self) -> None:
        """Restore the user's terminal."""
        import termios

        if self._saved is not None and self._keyboard is not None:
            with suppress(OSError, termios.error):
                termios.tcsetattr(self._keyboard, termios.TCSADRAIN, self._saved)  # type: ignore[arg-type]
            self._saved = None

    @property
    def typing(self) -> int | None:
        """Descriptor to watch for input; None while earlier input has not been taken."""
        if self._keyboard is None or self._typed or not self._in_foreground():
            return None
        return self._keyboard

    @property
    def has_typed(self) -> bool:
        """Whether input waits for the command's terminal to take it."""
        return bool(self._typed)

    def read_keyboard(self) -> None:
        """Take what was typed; at the end of the input stop listening."""
        assert self._keyboard is not None
        try:
            self._typed = os.read(self._keyboard, INPUT_BYTES)
        except OSError:
            self._typed = b""
        if not self._typed:
            self.release_keyboard()
            self._keyboard = None
        self.pass_typed()

    def pass_typed(self) -> None:
        """Hand typed bytes to the command's terminal as far as it takes them."""
        try:
            while self._typed:
                self._typed = self._typed[os.write(self.master, self._typed) :]
        except BlockingIOError:
            return
        except OSError:
            self._typed = b""

    def close(self) -> None:
        """Restore the user's terminal and close what is open, but for the master, which the reader closes."""
        self.release_keyboard()
        if self.slave != -1:
            kernel.let_go(self.slave)
            self.slave = -1

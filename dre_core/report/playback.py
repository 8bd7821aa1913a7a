"""A terminal recording made ready for a page: which rows of the screen change when, as runs of plain text.

The emulation happens here, so a page that plays a recording never gets an escape sequence: it only sets the text of
rows. With the extra ``visual`` the terminal is emulated by pyte, with colours and cursor movement; without it lines
scroll by as plain text. Long recordings are thinned out in time and cut at a size, which the playback says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from dre_core.model.record import dataclass
from dre_core.model.text import neutral, plain
from dre_core.report.exhibits import Recording

WIDTH_LIMIT, HEIGHT_LIMIT = 160, 32
TEXT_LIMIT_CHARACTERS = 512 << 10
FRAME_MS = 100
SIZE_LIMIT_CHARACTERS = 200_000
# Page classes of the terminal's colours.
_CLASSES = {
    "red": "1", "green": "2", "brown": "3", "yellow": "3", "blue": "4", "magenta": "5", "cyan": "6", "white": "7",
    "black": "8", "brightblack": "8",
}  # fmt: skip

Run = tuple[str, str]
Row = tuple[Run, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Rows that changed at a moment: number and runs of text with their class."""

    at_ms: int
    rows: tuple[tuple[int, Row], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Playback:
    """What a page plays.

    Attributes:
        height: Rows of the screen.
        frames: By time.
        end_ms: Length.
        cut: Why it is not all of the recording; empty if it is.
        coloured: Whether a terminal was emulated.
    """

    height: int
    frames: tuple[Frame, ...]
    end_ms: int
    cut: str = ""
    coloured: bool = False

    def last_screen(self) -> tuple[Row, ...]:
        """The screen at the end."""
        rows: list[Row] = [()] * self.height
        for frame in self.frames:
            for number, row in frame.rows:
                rows[number] = row
        return tuple(rows)


class _Screen(Protocol):
    def feed(self, text: str) -> None: ...

    def changed(self) -> Iterator[tuple[int, Row]]: ...


def play(recording: Recording) -> Playback:
    """Plays a recording into frames."""
    width = max(20, min(recording.width, WIDTH_LIMIT))
    height = max(4, min(recording.height, HEIGHT_LIMIT))
    screen, coloured = _screen(width, height)
    frames: list[Frame] = []
    size, fed, cut = 0, 0, ""
    for at_ms, text in _batches(recording):
        fed += len(text)
        try:
            screen.feed(text)
        except Exception as error:  # the emulator was not written for hostile sequences
            cut = f"the emulated terminal fails on what follows ({type(error).__name__})"
            break
        rows = tuple(screen.changed())
        if rows:
            frames.append(Frame(at_ms=at_ms, rows=rows))
            size += sum(8 + sum(len(run[0]) + 8 for run in row) for _, row in rows)
        if size > SIZE_LIMIT_CHARACTERS or fed > TEXT_LIMIT_CHARACTERS:
            cut = "the recording is longer than a page can carry"
            break
    end_ms = frames[-1].at_ms if frames else 0
    return Playback(height=height, frames=tuple(frames), end_ms=end_ms, cut=cut, coloured=coloured)


def _batches(recording: Recording) -> Iterator[tuple[int, str]]:
    """The pieces of each tenth of a second taken together."""
    texts: list[str] = []
    start = 0
    for event in recording.events:
        at_ms = event.elapsed_us // 1000
        if texts and at_ms >= start + FRAME_MS:
            yield start, "".join(texts)
            texts = []
        if not texts:
            start = at_ms
        texts.append(event.text)
    if texts:
        yield start, "".join(texts)


def _screen(width: int, height: int) -> tuple[_Screen, bool]:
    try:
        import pyte
    except ImportError:
        return _Lines(width, height), False
    screen = pyte.Screen(width, height)
    return _Emulated(screen, pyte.Stream(screen)), True


class _Lines:
    """Lines that scroll by: no colours, no cursor, a carriage return begins the line anew."""

    def __init__(self, width: int, height: int) -> None:
        self._width, self._height = width, height
        self._lines = [""]
        self._shown: list[Row] = [()] * height

    def feed(self, text: str) -> None:
        first, *others = text.replace("\r\n", "\n").split("\n")
        self._append(first)
        for line in others:
            self._lines.append("")
            self._append(line)
        del self._lines[: -self._height]

    def _append(self, text: str) -> None:
        before, returned, last = text.rpartition("\r")
        self._lines[-1] = (last or before.rpartition("\r")[2]) if returned else self._lines[-1] + text

    def changed(self) -> Iterator[tuple[int, Row]]:
        for number in range(self._height):
            text = plain(self._lines[number])[: self._width] if number < len(self._lines) else ""
            row: Row = ((text, ""),) if text else ()
            if row != self._shown[number]:
                self._shown[number] = row
                yield number, row


class _Emulated:
    """pyte's screen, by rows."""

    def __init__(self, screen: Any, stream: Any) -> None:
        self._pyte, self._stream = screen, stream
        self._shown: list[Row] = [()] * screen.lines

    def feed(self, text: str) -> None:
        self._stream.feed(text.replace("\r\n", "\n").replace("\n", "\r\n"))

    def changed(self) -> Iterator[tuple[int, Row]]:
        dirty = sorted(number for number in self._pyte.dirty if 0 <= number < self._pyte.lines)
        self._pyte.dirty.clear()
        for number in dirty:
            line = self._pyte.buffer[number]
            row = _runs([line[column] for column in range(self._pyte.columns)])
            if row != self._shown[number]:
                self._shown[number] = row
                yield number, row


def _runs(cells: Sequence[Any]) -> Row:
    """Neighbours that look alike as one run, without blanks at the end."""
    runs: list[tuple[str, str]] = []
    for cell in cells:
        look = _CLASSES.get(cell.fg.removeprefix("bright") if cell.fg != "brightblack" else "black", "")
        look += "b" if cell.bold else ""
        if runs and runs[-1][1] == look:
            runs[-1] = (runs[-1][0] + cell.data, look)
        else:
            runs.append((cell.data, look))
    if runs:
        runs[-1] = (runs[-1][0].rstrip(), runs[-1][1])
    while runs and not runs[-1][0].strip():
        runs.pop()
    return tuple((neutral(text), look) for text, look in runs)

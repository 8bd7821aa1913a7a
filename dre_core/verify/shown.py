"""What a terminal showed of the output: against the recording of it, and against what was written but can't be seen.

Decided from sealed bytes alone: no emulator of others, no picture. The rules:

- A recording holds its one stream, character for character, but for the returns that a terminal adds to line feeds.
- Words of failure are hidden where the output has some and what a terminal is left with has none: they were concealed,
  written in the colour of their ground, overwritten, or erased. A word that scrolled away is not hidden.
"""

from __future__ import annotations

import re

from dre_core.capture import cast
from dre_core.errors import FormatError, LimitError
from dre_core.model.record import dataclass

LIMIT_BYTES = 1 << 20
_HEIGHT = 24
_WIDTH_LIMIT, _LINES_LIMIT = 20_000, LIMIT_BYTES
_WORK_LIMIT = 50_000_000
_FAILURE = re.compile(
    r"\b(?:FAILED|FAILURES|FAIL|AssertionError|Traceback|not ok|panicked)\b|\b[1-9]\d* (?:failed|errors?)\b"
)
_RETURNS = re.compile(r"\r+\n")
_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[@-~]")
_TOKEN = re.compile(
    r"\x1b\[([0-9;?]*)([@-~])|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[^\[\]]|[\x00-\x1f\x7f]|[^\x00-\x1f\x1b\x7f]+"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What of the output can be seen.

    Attributes:
        recorded_alike: Whether the recording says what was captured; None where that can't be compared.
        hidden: Words of failure that were written and can't be seen; empty if there are none.
        offset: Where the first of them stands in the stream, in characters.
    """

    recorded_alike: bool | None = None
    hidden: tuple[str, ...] = ()
    offset: int = 0


def compare(recording: bytes, output: bytes) -> bool:
    """Whether a recording holds exactly an output.

    Raises:
        FormatError: It is no recording.
    """
    lines = recording.splitlines(keepends=True)
    if not lines:
        raise FormatError("an empty recording")
    cast.parse_header(lines[0])
    events = filter(None, map(cast.parse_event, lines[1:]))
    return _lines("".join(event.text for event in events)) == _lines(output.decode("utf-8", "replace"))


def _lines(text: str) -> str:
    return _RETURNS.sub("\n", text)


def hidden(text: str) -> tuple[tuple[str, ...], int]:
    """Words of failure that a terminal does not show although they were written, and where the first one stands."""
    # Sequences become blanks of their length: their last letter is no part of the word behind it.
    written = list(_FAILURE.finditer(_SEQUENCE.sub(lambda found: " " * len(found[0]), text)))
    if not written or ("\x1b" not in text and "\r" not in _lines(text) and "\b" not in text):
        return (), 0
    try:
        if _FAILURE.search(rendered(text)):
            return (), 0
    except LimitError:
        return (), 0
    return tuple(dict.fromkeys(match[0] for match in written))[:5], written[0].start()


def rendered(text: str) -> str:
    """What a terminal is left with, what scrolled away included.

    Raises:
        LimitError: Following it would take too long.
    """
    terminal = _Terminal()
    for token in _TOKEN.finditer(text):
        if token[2]:
            terminal.control(token[2], [int(part) if part.isdecimal() else 0 for part in token[1].split(";")])
        else:
            terminal.write(token[0])
    return "\n".join("".join(line).rstrip() for line in terminal.lines)


class _Terminal:
    """As much of one as hides text: a cursor, erasing, and whether what is written can be seen."""

    def __init__(self) -> None:
        self.lines: list[list[str]] = [[]]
        self._row = self._column = 0
        self._concealed = False
        self._cells = 0
        self._colours: dict[int, str] = {}

    def write(self, text: str) -> None:
        if text == "\n":
            self._row, self._column = self._row + 1, 0
        elif text == "\r":
            self._column = 0
        elif text == "\b":
            self._column = max(0, self._column - 1)
        elif text == "\t":
            self._column = min(_WIDTH_LIMIT, (self._column // 8 + 1) * 8)
        elif text >= " " and text != "\x7f":
            line = self._line()
            seen = text[: max(0, _WIDTH_LIMIT - self._column)]
            self._work(max(0, self._column - len(line)))
            line += " " * (self._column - len(line))
            line[self._column : self._column + len(seen)] = " " * len(seen) if self._is_unseen() else seen
            self._column += len(seen)

    def control(self, final: str, numbers: list[int]) -> None:
        first = numbers[0]
        step = max(1, first)
        if final == "m":
            self._style(numbers)
        elif final == "A":
            self._row = max(self._top(), self._row - step)
        elif final == "B":
            self._row += step
        elif final == "C":
            self._column = min(_WIDTH_LIMIT, self._column + step)
        elif final == "D":
            self._column = max(0, self._column - step)
        elif final in "EF":
            self._row, self._column = max(self._top(), self._row + (step if final == "E" else -step)), 0
        elif final == "G":
            self._column = min(_WIDTH_LIMIT, step - 1)
        elif final in "Hf":
            column = numbers[1] if len(numbers) > 1 else 1
            self._row, self._column = self._top() + step - 1, min(_WIDTH_LIMIT, max(1, column) - 1)
        elif final == "K":
            self._erase(self._line(), first)
        elif final == "J":
            self._clear(first)

    def _work(self, cells: int) -> None:
        self._cells += cells
        if self._cells > _WORK_LIMIT:
            raise LimitError("more erasing than any screen needs")

    def _top(self) -> int:
        return max(0, len(self.lines) - _HEIGHT)

    def _line(self) -> list[str]:
        self._row = min(self._row, len(self.lines) + _HEIGHT, _LINES_LIMIT)
        while len(self.lines) <= self._row:
            self.lines.append([])
        return self.lines[self._row]

    def _erase(self, line: list[str], which: int) -> None:
        if which == 0:
            del line[self._column :]
        else:
            until = len(line) if which == 2 else min(len(line), self._column + 1)
            self._work(until)
            line[:until] = " " * until

    def _clear(self, which: int) -> None:
        if which == 3:
            # What had scrolled away goes as well.
            del self.lines[: self._top()]
            self._row = min(self._row, len(self.lines))
        elif which == 0:
            self._erase(self._line(), 0)
            del self.lines[self._row + 1 :]
        else:
            for line in self.lines[self._top() : self._row if which == 1 else None]:
                line.clear()

    def _style(self, numbers: list[int]) -> None:
        rest = list(numbers)
        while rest:
            number = rest.pop(0)
            ground = 40 if number // 10 in (4, 10) else 30
            if number == 0:
                self._concealed, self._colours = False, {}
            elif number in (8, 28):
                self._concealed = number == 8
            elif number in (38, 48) and rest:
                count = 1 if rest[0] == 5 else 3
                self._colours[ground] = f"{rest[0]}:{rest[1 : 1 + count]}"
                del rest[: 1 + count]
            elif number in (39, 49):
                self._colours.pop(ground, None)
            elif 30 <= number <= 47:
                self._colours[ground] = str(number % 10)
            elif 90 <= number <= 107:
                self._colours[ground] = f"bright {number % 10}"

    def _is_unseen(self) -> bool:
        return self._concealed or (30 in self._colours and self._colours.get(30) == self._colours.get(40))

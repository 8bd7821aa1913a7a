"""What the terminal showed: a recording played into an emulated terminal, and its screen drawn as SVG.

Not the evidence of what was written (the raw streams are). It needs the extra ``visual``. The rule: the recording's
own size; a lone line feed also returns, as a terminal's driver does; of a long recording only the last
``BACKLOG_CHARACTERS`` before each picture are played. Equal screens give equal bytes. The drawing names nothing outside
itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from dre_core.capture import cast
from dre_core.errors import FormatError, MissingExtraError

if TYPE_CHECKING:
    import pyte

BACKLOG_CHARACTERS = 512 << 10
GREATEST_SIZE = (500, 300)
_CELL_WIDTH, _CELL_HEIGHT, _BASELINE = 8.4, 17, 13
_MARGIN = 8
_FOREGROUND, _BACKGROUND = "d0d0d0", "1c1c1c"
# The names that pyte gives to the sixteen colours, in the shades of xterm.
_COLOURS = {
    "black": "000000", "red": "cd0000", "green": "00cd00", "brown": "cdcd00", "blue": "5c8cff",
    "magenta": "cd00cd", "cyan": "00cdcd", "white": "e5e5e5", "brightblack": "7f7f7f", "brightred": "ff0000",
    "brightgreen": "00ff00", "brightbrown": "ffff00", "brightyellow": "ffff00", "brightblue": "87afff",
    "brightmagenta": "ff00ff", "bfightmagenta": "ff00ff", "brightcyan": "00ffff", "brightwhite": "ffffff",
}  # fmt: skip


def pictures(recording: Iterable[bytes], at_ms: Sequence[int]) -> Iterator[bytes]:
    """The screen at several moments, as SVG.

    Args:
        recording: Lines of an asciicast.
        at_ms: Milliseconds since its start, in order; what comes after its end shows its end.

    Raises:
        FormatError: It is no recording.
        MissingExtraError: pyte is not installed.
    """
    lines = iter(recording)
    header = cast.parse_header(next(lines, b""))
    terminal = _terminal(min(header.width, GREATEST_SIZE[0]), min(header.height, GREATEST_SIZE[1]))
    events = (event for event in map(cast.parse_event, lines) if event is not None)
    pending = next(events, None)
    for moment_ms in at_ms:
        texts: list[str] = []
        while pending is not None and pending.elapsed_us // 1000 <= moment_ms:
            texts.append(pending.text)
            pending = next(events, None)
        terminal.play("".join(texts))
        yield terminal.draw()


class _Terminal:
    """An emulated terminal."""

    def __init__(self, screen: pyte.Screen, stream: pyte.Stream) -> None:
        self._screen = screen
        self._stream = stream

    def play(self, text: str) -> None:
        if len(text) > BACKLOG_CHARACTERS:
            self._screen.reset()
            text = text[-BACKLOG_CHARACTERS:]
        # A bare line feed goes to the beginning of the next line, whoever wrote it.
        text = text.replace("\r\n", "\n").replace("\n", "\r\n")
        try:
            self._stream.feed(text)
        except Exception as error:  # the emulator was not written for hostile sequences
            raise FormatError(
                f"the emulated terminal fails on this recording: {type(error).__name__}"
            ) from None

    def draw(self) -> bytes:
        """The screen as SVG."""
        columns, rows = self._screen.columns, self._screen.lines
        width, height = round(columns * _CELL_WIDTH + 2 * _MARGIN, 1), rows * _CELL_HEIGHT + 2 * _MARGIN
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" font-family="monospace" font-size="14">\n'
            f'<rect width="100%" height="100%" fill="#{_BACKGROUND}"/>\n'
        ]
        for row in range(rows):
            line = self._screen.buffer[row]
            for column, run in _runs([line[column] for column in range(columns)]):
                parts.append(_drawn(column, row, run))
        return "".join((*parts, "</svg>\n")).encode()


def _terminal(columns: int, rows: int) -> _Terminal:
    try:
        import pyte
    except ImportError:
        raise MissingExtraError(
            "pyte is not installed", hint="pip install 'development-reality-engine[visual]'"
        ) from None
    screen = pyte.Screen(max(1, columns), max(1, rows))
    return _Terminal(screen, pyte.Stream(screen))


def _runs(cells: Sequence[Any]) -> Iterator[tuple[int, list[Any]]]:
    """Neighbours that look alike, with their column; empty places are left out."""
    run: list[Any] = []
    for column, cell in enumerate(cells):
        if run and _look(cell) == _look(run[0]):
            run.append(cell)
            continue
        if run:
            yield column - len(run), run
        run = [cell]
    if run:
        yield len(cells) - len(run), run


def _look(cell: Any) -> tuple[Any, ...]:
    return (cell.fg, cell.bg, cell.bold, cell.italics, cell.underscore, cell.strikethrough, cell.reverse)


def _drawn(column: int, row: int, run: list[Any]) -> str:
    """A background where it is not the screen's, and the text unless it is blank."""
    foreground, background = _colour(run[0].fg, _FOREGROUND), _colour(run[0].bg, _BACKGROUND)
    if run[0].reverse:
        foreground, background = background, foreground
    x, y = round(_MARGIN + column * _CELL_WIDTH, 1), _MARGIN + row * _CELL_HEIGHT
    width = round(len(run) * _CELL_WIDTH, 1)
    drawn = ""
    if background != _BACKGROUND:
        drawn = f'<rect x="{x}" y="{y}" width="{width}" height="{_CELL_HEIGHT}" fill="#{background}"/>\n'
    if not (run[0].underscore or run[0].strikethrough):
        run, skipped = _stripped(run)
        x, width = round(x + skipped * _CELL_WIDTH, 1), round(len(run) * _CELL_WIDTH, 1)
    text = "".join(map(_visible, run))
    if text:
        drawn += (
            f'<text x="{x}" y="{y + _BASELINE}" fill="#{foreground}"{_style(run[0])} '
            f'textLength="{width}" xml:space="preserve">{escape(text)}</text>\n'
        )
    return drawn


def _stripped(run: list[Any]) -> tuple[list[Any], int]:
    """The cells without blanks at both ends, and how many were dropped at the beginning."""
    # The second cell of a wide character is empty, not blank.
    inked = [place for place, cell in enumerate(run) if cell.data != " "]
    return (run[inked[0] : inked[-1] + 1], inked[0]) if inked else ([], 0)


def _visible(cell: Any) -> str:
    """A cell's text without what XML can't carry or what reorders its neighbours."""
    from dre_core.model.text import plain

    return plain(cell.data.replace("\t", " ").replace("\n", " "))


def _style(cell: Any) -> str:
    lines = [
        name for name, on in (("underline", cell.underscore), ("line-through", cell.strikethrough)) if on
    ]
    return (
        (' font-weight="bold"' if cell.bold else "")
        + (' font-style="italic"' if cell.italics else "")
        + (f' text-decoration="{" ".join(lines)}"' if lines else "")
    )


def _colour(name: str, default: str) -> str:
    if name == "default":
        return default
    known = _COLOURS.get(name)
    if known is not None:
        return known
    return name if len(name) == 6 and set(name) <= set("0123456789abcdef") else default

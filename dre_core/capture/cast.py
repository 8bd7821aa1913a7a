"""A terminal recording as asciicast v2.

One JSON header line, then one ``[seconds, "o", text]`` line per piece.

Not a terminal emulator, and not the evidence of what was written: text is decoded as UTF-8 with
replacements, so bytes that are no text are lost here (the output blob keeps them). Players obey escape
sequences, so a cast of foreign output is shown through a filter. The rule: equal pieces at equal times give
equal bytes.

Source: https://docs.asciinema.org/manual/asciicast/v2/
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Iterable

from dre_core.errors import FormatError, LimitError
from dre_core.model.record import dataclass

VERSION = 2
LINE_LIMIT_BYTES = 16 << 20
_NS_PER_US = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class CastHeader:
    """The first line.

    Attributes:
        width: Columns.
        height: Rows.
        timestamp: Start, seconds since the epoch.
        command: The command recorded; empty if not told.
        title: A title; empty for none.
    """

    width: int
    height: int
    timestamp: int
    command: str = ""
    title: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CastEvent:
    """One piece of output.

    Attributes:
        elapsed_us: Microseconds since the start.
        text: What was written.
    """

    elapsed_us: int
    text: str


def format_header(header: CastHeader) -> bytes:
    """The header's line."""
    value: dict[str, object] = {
        "version": VERSION,
        "width": header.width,
        "height": header.height,
        "timestamp": header.timestamp,
    }
    if header.command:
        value["command"] = header.command
    if header.title:
        value["title"] = header.title
    return json.dumps(value, ensure_ascii=True, separators=(", ", ": ")).encode() + b"\n"


def format_event(event: CastEvent) -> bytes:
    """An output event's line."""
    seconds, micros = divmod(event.elapsed_us, 1_000_000)
    text = json.dumps(event.text, ensure_ascii=True)
    return f'[{seconds}.{micros:06d}, "o", {text}]\n'.encode()


def parse_header(line: bytes) -> CastHeader:
    """Read a header's line.

    Raises:
        FormatError: It is not a version 2 header.
    """
    value = _json(line)
    if not isinstance(value, dict) or value.get("version") != VERSION:
        raise FormatError("not an asciicast version 2 header", path="$.version")
    return CastHeader(
        width=_natural(value, "width"),
        height=_natural(value, "height"),
        timestamp=_natural(value, "timestamp"),
        command=_text(value, "command"),
        title=_text(value, "title"),
    )


def parse_event(line: bytes) -> CastEvent | None:
    """Read an event's line; None for an event that is not output (input, marker, resize).

    Raises:
        FormatError: It is no event.
    """
    value = _json(line)
    if not isinstance(value, list) or len(value) != 3:
        raise FormatError("an event is a list of three", path="$")
    seconds, kind, text = value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < 2**40:
        raise FormatError("not a time", path="$[0]")
    if not isinstance(kind, str) or not isinstance(text, str):
        raise FormatError("not text", path="$[1]" if not isinstance(kind, str) else "$[2]")
    return CastEvent(elapsed_us=round(seconds * 1_000_000), text=text) if kind == "o" else None


def parse(lines: Iterable[bytes]) -> tuple[CastHeader, tuple[CastEvent, ...]]:
    """Read a whole recording, for example an open file; a torn last line is an error.

    Raises:
        FormatError: A line is not what the format asks for.
    """
    iterator = iter(lines)
    header = parse_header(next(iterator, b""))
    events = (parse_event(line) for line in iterator)
    return header, tuple(event for event in events if event is not None)


def _json(line: bytes) -> object:
    if len(line) > LINE_LIMIT_BYTES:
        raise LimitError("line too long", path="$")

    def refuse(name: str) -> object:
        raise FormatError(f"{name} is not JSON", path="$")

    try:
        return json.loads(line.decode(), parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise FormatError("not a JSON line", path="$") from error


def _natural(value: dict[object, object], name: str) -> int:
    number = value.get(name)
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 2**53:
        raise FormatError("not a natural number", path=f"$.{name}")
    return number


def _text(value: dict[object, object], name: str) -> str:
    text = value.get(name, "")
    if not isinstance(text, str):
        raise FormatError("not text", path=f"$.{name}")
    return text


class Cast:
    """Writes a recording.

    Args:
        write: Takes the bytes, whole lines at a time.
        width: Columns.
        height: Rows.
        started_at: Start, seconds since the epoch (fractions are dropped).
        command: The command line, masked.
        title: A title.
        returns: Whether each line feed gets a carriage return before it, as a terminal's driver adds one to what
            is written to it. Pipes add none, and a player would show stairs.
    """

    def __init__(
        self,
        write: Callable[[bytes], None],
        width: int,
        height: int,
        started_at: float,
        command: str = "",
        title: str = "",
        *,
        returns: bool = False,
    ) -> None:
        self._write = write
        self._returns = returns
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._last_us = 0
        header = CastHeader(
            width=width, height=height, timestamp=int(started_at), command=command, title=title
        )
        write(format_header(header))

    def output(self, elapsed_ns: int, data: bytes) -> None:
        """Record a piece; a character cut by its end waits for the next piece.

        Args:
            elapsed_ns: Time since the start; a time before the last one counts as that.
            data: Bytes as written, masked.
        """
        self._last_us = max(self._last_us, elapsed_ns // _NS_PER_US)
        self._emit(self._decoder.decode(data))

    def close(self) -> None:
        """Write what still waits."""
        self._emit(self._decoder.decode(b"", final=True))

    def _emit(self, text: str) -> None:
        if text:
            if self._returns:
                text = text.replace("\n", "\r\n")
            self._write(format_event(CastEvent(elapsed_us=self._last_us, text=text)))

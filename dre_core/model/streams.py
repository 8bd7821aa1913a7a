"""The index of a run's output: from a place or a time in a stream to the frame that holds it.

The item ``streams.index``. A stream's stored form is a sequence of zstd frames (RFC 8878); ``frames`` names where each
begins, in plain and in stored bytes, so that a reader decodes one frame and not all before it. ``times`` says how many
bytes were there at a time. Both rise from 0; times are thinned out to at most ``TIMES_LIMIT``, frames are all there. A
hint and no more: what is read through it is what the frames hold.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping

from dre_core.errors import FormatError
from dre_core.model.canonical import JSON
from dre_core.model.fields import Fields
from dre_core.model.record import dataclass

TIMES_LIMIT = 4096
Pair = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamIndex:
    """One stream.

    Attributes:
        size: Plain bytes.
        frames: Plain and stored offset at which each frame begins; the first is (0, 0).
        times: Milliseconds since the start, and plain bytes recorded by then.
    """

    size: int
    frames: tuple[Pair, ...] = ((0, 0),)
    times: tuple[Pair, ...] = ()

    def frame_of(self, offset: int) -> Pair:
        """Where the frame begins that holds a place: its plain and its stored offset."""
        return self.frames[bisect_right(self.frames, (offset, 1 << 62)) - 1]

    def offset_at(self, at_ms: int) -> int:
        """Plain bytes that were surely recorded by a time."""
        place = bisect_right(self.times, (at_ms, 1 << 62))
        return self.times[place - 1][1] if place else 0

    def to_json(self) -> dict[str, JSON]:
        """The stream as it stands in the item; offsets are decimal strings."""
        return {
            "size": str(self.size),
            "frames": [[str(plain), str(stored)] for plain, stored in self.frames],
            "times": [[str(at_ms), str(offset)] for at_ms, offset in self.times],
        }

    @classmethod
    def parse(cls, fields: Fields) -> StreamIndex:
        """Reads one stream; see :meth:`to_json`.

        Raises:
            FormatError: Offsets or times that fall, or frames that do not begin at 0.
        """
        frames, times = _pairs(fields, "frames"), _pairs(fields, "times")
        if not frames or frames[0] != (0, 0):
            raise FormatError("the first frame begins at 0", path=fields.at("frames"))
        return cls(size=fields.decimal("size"), frames=frames, times=times)


def _pairs(fields: Fields, name: str) -> tuple[Pair, ...]:
    found: list[Pair] = []
    for place, value in enumerate(fields.array(name)):
        path = f"{fields.at(name)}[{place}]"
        if not isinstance(value, list) or len(value) != 2:
            raise FormatError("expected two numbers", path=path)
        both = Fields({"first": value[0], "second": value[1]}, path)
        pair = (both.decimal("first"), both.decimal("second"))
        if found and (pair[0] < found[-1][0] or pair[1] < found[-1][1]):
            raise FormatError("numbers that fall", path=path)
        found.append(pair)
    return tuple(found)


def index_to_json(streams: Mapping[str, StreamIndex]) -> dict[str, JSON]:
    """The item's JSON object."""
    return {"streams": {name: stream.to_json() for name, stream in sorted(streams.items())}}


def parse_index(value: JSON) -> dict[str, StreamIndex]:
    """Reads the item's JSON object.

    Raises:
        FormatError: It is not what :func:`index_to_json` writes.
    """
    streams = Fields(value, "$").object("streams")
    return {name: StreamIndex.parse(streams.object(name)) for name in sorted(streams.value)}


class Times:
    """Takes times and offsets as they come and keeps at most ``TIMES_LIMIT`` of them, evenly thinned out."""

    def __init__(self) -> None:
        self.pairs: list[Pair] = []
        self._step_ms = 1

    def add(self, at_ms: int, offset: int) -> None:
        """Notes how many bytes there are at a time."""
        if self.pairs and at_ms < self.pairs[-1][0] + self._step_ms:
            return
        self.pairs.append((at_ms, offset))
        if len(self.pairs) >= TIMES_LIMIT:
            del self.pairs[1::2]
            self._step_ms *= 2

"""What a picture shows, in numbers, and how far it is from its baseline; kept beside the picture in its item's note.

Looked at once, where the run is recorded, so that a verifier never decodes a picture of a stranger. It needs the extra
``visual`` (Pillow). A pixel differs where one of its channels is more than ``CHANNEL_TOLERANCE`` of 255 away, which
leaves the noise of font rendering out; what a mask covers is left out of both pictures.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable
from pathlib import PurePosixPath
from typing import Any

from dre_core.capture.collector import Captured
from dre_core.errors import CaptureError
from dre_core.model.digest import sha256
from dre_core.model.record import dataclass

CHANNEL_TOLERANCE = 24
LIMIT_BYTES = 32 << 20
_LIMIT_PIXELS = 50_000_000
_MOST_COLOURS = 256
_GEOMETRY = re.compile(r"(\d{1,6})x(\d{1,6})\+(\d{1,6})\+(\d{1,6})")
_MEDIA_TYPES = ("image/png", "image/jpeg")

Show = Callable[[str, str], bytes | None]
"""Bytes of a file (second) at a revision (first), None where it is absent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Baselines:
    """Where the pictures that a run should make again are kept.

    Attributes:
        folder: Relative to the top of the tree; empty: there are none.
        masks: ``NAME:WIDTHxHEIGHT+X+Y`` in pixels, as X writes a geometry: what of a picture may differ.
        base: Commit that the change is compared with; empty: none.
        show: Reads a file of a commit.
    """

    folder: str
    masks: tuple[str, ...]
    base: str
    show: Show

    def facts(self, name: str, picture: Any) -> dict[str, str]:
        """What the baseline of a picture says, at the base where there is one, else at HEAD."""
        path = next((each for each in self._paths(name) if self.show("HEAD", each) is not None), "")
        if not path:
            return {}
        now = self.show("HEAD", path)
        then = self.show(self.base, path) if self.base else now
        found = {"baseline": path}
        if self.base and then != now:
            found["baselineRerecorded"] = "added" if then is None else "changed"
        expected = then if then is not None else now
        assert expected is not None
        return found | {"baselineDifference": difference(picture, opened(expected), self._masks(name))}

    def _paths(self, name: str) -> Iterable[str]:
        if self.folder:
            folder = PurePosixPath(self.folder)
            yield str(folder / name)
            yield str(folder / PurePosixPath(name).name)

    def _masks(self, name: str) -> list[tuple[int, int, int, int]]:
        found = []
        for mask in self.masks:
            picture, _, geometry = mask.rpartition(":")
            if picture in (name, PurePosixPath(name).name):
                box = _GEOMETRY.fullmatch(geometry)
                if box is None:
                    raise CaptureError(f"visual.masks: {mask!r} is not NAME:WIDTHxHEIGHT+X+Y")
                width, height, x, y = map(int, box.groups())
                found.append((x, y, x + width, y + height))
        return found


def looked_at(captured: Captured, baselines: Baselines) -> dict[str, str]:
    """The note of a picture: its size, number of colours, and its baseline's facts; empty for what is no picture.

    Raises:
        CaptureError: It can't be read as a picture.
        MissingExtraError: Pillow is not installed.
    """
    if captured.kind != "screenshot" or captured.media_type not in _MEDIA_TYPES:
        return {}
    data = captured.data if captured.data is not None else _read(captured)
    picture = opened(data)
    colours = picture.getcolors(_MOST_COLOURS)
    name = captured.note.get("name") or captured.name.removeprefix("screenshot/")
    return {
        "lookedAt": sha256(data),
        "width": str(picture.width),
        "height": str(picture.height),
        "colours": str(len(colours)) if colours else f"more than {_MOST_COLOURS}",
        **baselines.facts(name, picture),
    }


def opened(data: bytes) -> Any:
    """A picture in three channels.

    Raises:
        CaptureError: The bytes are none, or too large.
        MissingExtraError: Pillow is not installed.
    """
    from dre_core.capture.extra import require

    image = require("PIL.Image", "visual")
    try:
        picture = image.open(io.BytesIO(data), formats=("PNG", "JPEG"))
        if picture.width * picture.height > _LIMIT_PIXELS:
            raise CaptureError(f"a picture of more than {_LIMIT_PIXELS} pixels")
        return picture.convert("RGB")
    except CaptureError:
        raise
    except Exception as error:  # a decoder fails on hostile bytes in many ways
        raise CaptureError(f"not readable as a picture: {type(error).__name__}") from None


def difference(picture: Any, baseline: Any, masks: Iterable[tuple[int, int, int, int]] = ()) -> str:
    """The share of pixels that differ, with six decimals; ``size`` where the pictures have different sizes."""
    from dre_core.capture.extra import require

    if picture.size != baseline.size:
        return "size"
    chops = require("PIL.ImageChops", "visual")
    red, green, blue = chops.difference(picture, baseline).split()
    far = chops.lighter(chops.lighter(red, green), blue).point(
        lambda value: 255 * (value > CHANNEL_TOLERANCE)
    )
    for mask in masks:
        far.paste(0, mask)
    return f"{far.histogram()[255] / (picture.width * picture.height):.6f}"


def _read(captured: Captured) -> bytes:
    if captured.path is None:
        raise CaptureError("a picture without bytes")
    with captured.path.open("rb") as stream:
        data = stream.read(LIMIT_BYTES + 1)
    if len(data) > LIMIT_BYTES:
        raise CaptureError(f"a picture of more than {LIMIT_BYTES >> 20} MiB")
    return data

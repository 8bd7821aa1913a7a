"""What a picture shows, in numbers, and how far it is from its baseline; kept beside the picture in its item's note.

Looked at once, where the run is recorded, so that a verifier never decodes a picture of a stranger. It needs the extra
``visual`` (Pillow). A pixel differs where one of its channels is more than ``CHANNEL_TOLERANCE`` of 255 away, which
leaves the noise of font rendering out; what a mask covers is left out of both pictures.

Noise is learned from the base: where pictures of one name from two or more sealed runs of the same command at the base
commit differ from one another, a clock or an animation is at work, and those places (grown by ``NOISE_MARGIN`` pixels)
count no more than a mask does. A picture is also held against those of earlier seals, byte for byte.
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

NOISE_MARGIN = 2

Show = Callable[[str, str], bytes | None]
"""Bytes of a file (second) at a revision (first), None where it is absent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """A picture of an earlier sealed run of the same command.

    Attributes:
        name: The item's name.
        operation: The run's operation.
        commit: Its HEAD.
        digest: Of its bytes.
        read: Gives them.
    """

    name: str
    operation: str
    commit: str
    digest: str
    read: Callable[[], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Baselines:
    """Where the pictures that a run should make again are kept.

    Attributes:
        commit: HEAD.
        earlier: Pictures of earlier seals, oldest first.
        folder: Relative to the top of the tree; empty: there are none.
        masks: ``NAME:WIDTHxHEIGHT+X+Y`` in pixels, as X writes a geometry: what of a picture may differ.
        committed: The masks that HEAD's configuration has, and the base's.
        base: Commit that the change is compared with; empty: none.
        show: Reads a file of a commit.
    """

    folder: str
    masks: tuple[str, ...]
    base: str
    show: Show
    commit: str = ""
    earlier: tuple[Earlier, ...] = ()
    committed: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())

    def seen(self, item: str, digest: str) -> dict[str, str]:
        """Whether a picture of this name was sealed before with the same bytes, for another commit."""
        alike = [each for each in self.earlier if each.name == item]
        same = [each for each in alike if each.digest == digest and each.commit != self.commit]
        if not same:
            return {}
        # A page that is drawn alike each time is the rule; one that never was is no new one now.
        varies = len(alike) > 2 and len({each.digest for each in alike}) == len(alike)
        return {"seenBefore": same[-1].operation, "seenAt": same[-1].commit, "varies": str(varies).lower()}

    def noise(self, item: str, size: tuple[int, int]) -> tuple[Any, dict[str, str]]:
        """Where pictures of the base differ from one another (None: nowhere known), and what to note of it."""
        base = self.base or self.commit
        alike = [each for each in self.earlier if each.name == item and each.commit == base]
        shown = [picture for each in alike if (picture := opened(each.read())).size == size]
        if len(shown) < 2:
            return None, {}
        return _noise(shown)

    def facts(self, name: str, picture: Any, item: str = "") -> dict[str, str]:
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
        noise, learned = self.noise(item, picture.size)
        share = difference(picture, opened(expected), self._masks(name, self.masks), noise)
        return found | learned | self._grown(name, picture) | {"baselineDifference": share}

    def _grown(self, name: str, picture: Any) -> dict[str, str]:
        """How much of a picture is masked now and was at the base, where the change masks more."""
        now, then = (_covered(self._masks(name, masks), picture) for masks in self.committed)
        return {"masked": f"{now:.4f}", "maskedAtBase": f"{then:.4f}"} if now > then else {}

    def _paths(self, name: str) -> Iterable[str]:
        if self.folder:
            folder = PurePosixPath(self.folder)
            yield str(folder / name)
            yield str(folder / PurePosixPath(name).name)

    def _masks(self, name: str, masks: tuple[str, ...]) -> list[tuple[int, int, int, int]]:
        found = []
        for mask in masks:
            picture, _, geometry = mask.rpartition(":")
            if picture in (name, PurePosixPath(name).name):
                box = _GEOMETRY.fullmatch(geometry)
                if box is None:
                    raise CaptureError(f"visual.masks: {mask!r} is not NAME:WIDTHxHEIGHT+X+Y")
                width, height, x, y = map(int, box.groups())
                found.append((x, y, x + width, y + height))
        return found


def _covered(boxes: Iterable[tuple[int, int, int, int]], picture: Any) -> float:
    """The share of a picture that lies under boxes."""
    plane = picture.convert("L").point(lambda _: 0)
    for box in boxes:
        plane.paste(255, box)
    masked: int = plane.histogram()[255]
    pixels: int = picture.width * picture.height
    return masked / pixels


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
        **baselines.seen(captured.name, sha256(data)),
        "width": str(picture.width),
        "height": str(picture.height),
        "colours": str(len(colours)) if colours else f"more than {_MOST_COLOURS}",
        **baselines.facts(name, picture, captured.name),
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


def difference(
    picture: Any, baseline: Any, masks: Iterable[tuple[int, int, int, int]] = (), noise: Any = None
) -> str:
    """The share of pixels that differ, with six decimals; ``size`` where the pictures have different sizes.

    Args:
        picture: One.
        baseline: The other.
        masks: Boxes that are left out.
        noise: A picture in grey of the same size; what is white in it is left out.
    """
    if picture.size != baseline.size:
        return "size"
    far = _far(picture, baseline)
    for mask in masks:
        far.paste(0, mask)
    if noise is not None:
        far.paste(0, mask=noise)
    return _white(far)


def _noise(shown: list[Any]) -> tuple[Any, dict[str, str]]:
    """Where any picture differs from the first one."""
    from dre_core.capture.extra import require

    chops, filters = require("PIL.ImageChops", "visual"), require("PIL.ImageFilter", "visual")
    noise = _far(shown[0], shown[1])
    for other in shown[2:]:
        noise = chops.lighter(noise, _far(shown[0], other))
    noise = noise.filter(filters.MaxFilter(2 * NOISE_MARGIN + 1))
    return noise, {"noise": _white(noise), "noiseRuns": str(len(shown))}


def _far(picture: Any, other: Any) -> Any:
    """White where two pictures of one size differ, else black."""
    from dre_core.capture.extra import require

    chops = require("PIL.ImageChops", "visual")
    red, green, blue = chops.difference(picture, other).split()
    lightest = chops.lighter(chops.lighter(red, green), blue)
    return lightest.point(lambda value: 255 * (value > CHANNEL_TOLERANCE))


def _white(grey: Any) -> str:
    return f"{grey.histogram()[255] / (grey.width * grey.height):.6f}"


def _read(captured: Captured) -> bytes:
    if captured.path is None:
        raise CaptureError("a picture without bytes")
    with captured.path.open("rb") as stream:
        data = stream.read(LIMIT_BYTES + 1)
    if len(data) > LIMIT_BYTES:
        raise CaptureError(f"a picture of more than {LIMIT_BYTES >> 20} MiB")
    return data

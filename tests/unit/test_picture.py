"""Noise that is learned from pictures of the base, and pictures that were sealed before."""

from __future__ import annotations

import io

import pytest

pytest.importorskip("PIL", reason="Pillow is not installed (the extra visual)")
from PIL import Image, ImageDraw

from dre_core.capture.collector import Captured
from dre_core.capture.picture import Baselines, Earlier, looked_at
from dre_core.model.digest import sha256
from dre_core.model.verdict import Vantage

NAME = "screenshot/out/page.png"


def page(clock="12:00", title="ok"):
    """A page with a title and a clock."""
    image = Image.new("RGB", (120, 80), "white")
    draw = ImageDraw.Draw(image)
    draw.text((10, 10), title, fill="black")
    draw.text((10, 50), clock, fill="black")
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def earlier(*pictures, commit="base"):
    return tuple(
        Earlier(
            name=NAME,
            operation=f"op_{number}",
            commit=commit,
            digest=sha256(data),
            read=lambda data=data: data,
        )
        for number, data in enumerate(pictures)
    )


def note(data, past=(), base="base", commit="head"):
    baselines = Baselines(
        folder="looks", masks=(), base=base, show=lambda revision, path: page(), commit=commit, earlier=past
    )
    captured = Captured(
        name=NAME, kind="screenshot", vantage=Vantage.OBSERVED, media_type="image/png", data=data,
        note={"name": "out/page.png"},
    )  # fmt: skip
    return looked_at(captured, baselines)


def test_what_differs_at_the_base_is_noise():
    bare = note(page("23:59"))
    assert float(bare["baselineDifference"]) > 0
    assert "noise" not in bare
    one = note(page("23:59"), earlier(page("12:00")))
    assert one["baselineDifference"] == bare["baselineDifference"]
    learned = note(page("23:59"), earlier(page("12:00"), page("08:34"), page("23:51")))
    assert (learned["baselineDifference"], learned["noiseRuns"]) == ("0.000000", "3")
    assert 0 < float(learned["noise"]) < 0.25


def test_noise_hides_nothing_beside_it():
    past = earlier(page("12:00"), page("08:34"), page("23:51"))
    assert float(note(page("23:59", title="broken"), past)["baselineDifference"]) > 0.001


def test_pictures_of_another_commit_or_size_teach_nothing():
    assert "noise" not in note(page("23:59"), earlier(page("12:00"), page("08:34"), commit="else"))
    small = io.BytesIO()
    Image.new("RGB", (10, 10), "white").save(small, "PNG")
    assert "noise" not in note(page("23:59"), earlier(small.getvalue(), small.getvalue()))


def test_a_picture_of_an_earlier_seal_is_recognised():
    old = page("12:00")
    assert "seenBefore" not in note(page("23:59"), earlier(old))
    assert "seenBefore" not in note(old, earlier(old, commit="head"))
    found = note(old, earlier(old))
    assert (found["seenBefore"], found["seenAt"], found["varies"]) == ("op_0", "base", "false")
    assert note(old, earlier(page("01:00"), page("02:00"), old))["varies"] == "true"
    assert note(old, earlier(old, old, old))["varies"] == "false"

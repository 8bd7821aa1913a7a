"""The drawing of a terminal's screen."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("pyte", reason="pyte is not installed (the extra visual)")

from dre_core.capture.screen import BACKLOG_CHARACTERS, pictures
from dre_core.errors import FormatError

SVG = "{http://www.w3.org/2000/svg}"


def recording(*events, width=20, height=4):
    header = {"version": 2, "width": width, "height": height, "timestamp": 0}
    lines = [header, *([seconds, "o", text] for seconds, text in events)]
    return [json.dumps(line).encode() + b"\n" for line in lines]


def texts(picture):
    return [
        (element.text, dict(element.attrib)) for element in ElementTree.fromstring(picture).iter(f"{SVG}text")
    ]


def words(picture):
    return [text for text, _ in texts(picture)]


def test_a_moment_shows_what_was_written_up_to_it():
    early, middle, late = pictures(
        recording((0.5, "one\r\n"), (1.0, "two\r\n"), (2.0, "three")), [400, 1000, 9999]
    )
    assert words(early) == []
    assert words(middle) == ["one", "two"]
    assert words(late) == ["one", "two", "three"]


def test_a_progress_bar_shows_its_last_state():
    (picture,) = pictures(recording((0.1, "10 %\r"), (0.2, "99 %\r"), (0.3, "\x1b[2Kdone")), [1000])
    assert words(picture) == ["done"]


def test_a_bare_line_feed_returns():
    (picture,) = pictures(recording((0.1, "aa\nbb\r\ncc")), [1000])
    assert [attributes["x"] for _, attributes in texts(picture)] == ["8.0"] * 3


def test_colours_and_styles():
    text = "\x1b[1;31mred\x1b[0m\x1b[4;3mline\x1b[0m\x1b[38;5;208morange\x1b[0m\x1b[7mturned"
    (picture,) = pictures(recording((0.1, text)), [1000])
    found = dict(texts(picture))
    assert found["red"]["fill"] == "#cd0000"
    assert found["red"]["font-weight"] == "bold"
    assert found["line"]["text-decoration"] == "underline"
    assert found["line"]["font-style"] == "italic"
    assert found["orange"]["fill"] == "#ff8700"
    assert found["turned"]["fill"] == "#1c1c1c"


def test_markup_in_the_output_stays_text():
    hostile = '<script>a</script>&"\x1b]8;;http://x\x07l\x1b]8;;\x07'
    (picture,) = pictures(recording((0.1, hostile), width=60), [1000])
    assert "".join(words(picture)).startswith('<script>a</script>&"')
    assert b"http://x" not in picture.replace(b"http://www.w3.org", b"")


def test_of_a_long_recording_only_the_end_is_played():
    filler = "x" * (BACKLOG_CHARACTERS + 1000)
    (picture,) = pictures(recording((0.1, filler), (0.2, "\x1b[2J\x1b[Hend")), [1000])
    assert words(picture) == ["end"]


def test_a_file_that_is_no_recording_is_refused():
    with pytest.raises(FormatError):
        list(pictures([b"hello\n"], [0]))


@settings(max_examples=60)
@given(
    st.text(st.characters(exclude_categories=("Cs",)), max_size=80)
    | st.from_regex(r"(\x1b[\[\](#][0-9;?]{0,6}.){0,9}")
)
def test_whatever_is_played_the_drawing_is_xml_or_refused(text):
    try:
        (picture,) = pictures(recording((0.1, text)), [1000])
    except FormatError:
        return
    ElementTree.fromstring(picture)

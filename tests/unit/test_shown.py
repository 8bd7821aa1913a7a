"""What a terminal shows of the output, and what only the raw bytes say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dre_core.capture.cast import Cast
from dre_core.errors import FormatError
from dre_core.verify.shown import compare, hidden, rendered

GREEN = "5 passed in 0.1s\n"
HIDING = {
    "concealed": "\x1b[8mFAILED test_a\x1b[0m\n" + GREEN,
    "colour of the ground": "\x1b[30;40mFAILED test_a\x1b[0m\n" + GREEN,
    "the same of 256": "\x1b[38;5;7m\x1b[48;5;7mFAILED\x1b[0m\n" + GREEN,
    "overwritten": "FAILED test_a\r5 passed in 0.1s\n",
    "taken back": "1 failed" + "\b" * 8 + "5 passed in 0.1s\n",
    "line erased": "FAILED test_a\x1b[2K\r" + GREEN,
    "line above erased": "FAILED test_a\n\x1b[1A\x1b[2K" + GREEN,
    "screen erased": "AssertionError: 1 == 2\n1 failed\x1b[2J\x1b[H" + GREEN,
    "rest of the line": "FAILED\x1b[6D\x1b[K" + GREEN,
}
HONEST = {
    "plain": GREEN,
    "red": "FAILED test_a\n1 failed, 4 passed in 0.1s\n",
    "coloured": "\x1b[31mFAILED\x1b[0m test_a\n\x1b[32m4 passed\x1b[0m, \x1b[31m1 failed\x1b[0m\n",
    "white on red": "\x1b[97;41m FAIL \x1b[0m test_a\n",
    "progress": "".join(f"\r{n} passed, 0 failed" for n in range(9)) + "\n",
    "progress of failures": "\r1 passed, 1 failed\r2 passed, 1 failed\n",
    "drawn again": "FAIL a.test.js\n\x1b[1A\x1b[2KFAIL a.test.js (2 s)\n",
    "scrolled": "FAILED test_a\n" + "line\n" * 500,
    "a long line": "x\rx" * 3 + "y" * 3000 + " Traceback\n",
    "returns": "FAILED test_a\r\nmore\r\n",
    "dark on dark of another kind": "\x1b[31;42mFAILED\x1b[0m\n",
}


@pytest.mark.parametrize("name", HIDING)
def test_what_can_not_be_seen_is_told(name):
    words, offset = hidden(HIDING[name])
    assert words
    assert HIDING[name][offset:].startswith(words[0])


@pytest.mark.parametrize("name", HONEST)
def test_what_can_be_seen_is_not(name):
    assert hidden(HONEST[name]) == ((), 0)


def test_the_cursor_goes_where_it_is_sent():
    assert rendered("abc\rx\n\ty\x1b[2Dz") == "xbc\n       zy"
    assert rendered("a\x1b[3;5Hb\x1b[Hc") == "c\n\n    b"


@given(st.text(alphabet="\x1b[]0123456789;?mKJHABCD\r\n\b\tFAILED \x07\\\\", max_size=400))
def test_no_sequence_breaks_it(text):
    hidden("FAILED\r" + text)


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=200))
def test_plain_text_is_shown_as_it_is(text):
    assert rendered(text[:2000]) == text.rstrip()


def record(pieces, returns):
    written = []
    recording = Cast(
        written.append, width=80, height=24, started_at=0.0, command="c", title="", returns=returns
    )
    for number, piece in enumerate(pieces):
        recording.output(number * 1000, piece)
    recording.close()
    return written


@given(
    pieces=st.lists(
        st.one_of(st.sampled_from([b"\r", b"\n", b"\r\n", b"caf\xc3", b"\xa9"]), st.binary(max_size=20))
    ),
    returns=st.booleans(),
)
def test_whatever_was_written_is_recorded_alike(pieces, returns):
    assert compare(b"".join(record(pieces, returns)), b"".join(pieces))


@pytest.mark.parametrize("returns", [True, False])
def test_a_recording_is_held_against_the_output(returns):
    pieces = [b"caf\xc3", b"\xa9\n", b"\xff and more\r\n", b"end"]
    written = record(pieces, returns)
    assert compare(b"".join(written), b"".join(pieces))
    assert not compare(b"".join(written), b"".join(pieces) + b"12 passed\n")
    assert not compare(b"".join(written[:-1]), b"".join(pieces))
    with pytest.raises(FormatError):
        compare(b"", b"")


@pytest.mark.parametrize(
    "piece",
    [
        "\x1b[3J\n",
        "\x1b[99A\x1b[J\n\n",
        "\x1b[2K",
        "\b",
        "\x1b[99999C",
        "\n",
        "\x1b[2J",
        "x\x1b[1K",
        "\x1b[38;5;1m",
    ],
)
def test_a_megabyte_of_it_is_looked_at(piece):
    text = "FAILED" + piece * ((1 << 17) // len(piece))
    assert hidden(text)[1] == 0


def test_a_cursor_that_is_sent_far_away_takes_little_room():
    words, offset = hidden("\x1b[8m" + "\x1b[99999;99999HFAILED\x1b[99999B" * 200)
    assert (words, offset) == (("FAILED",), 18)


def test_a_link_and_a_title_leave_only_the_text():
    assert rendered("a \x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\ b\x1b]0;title\x07 c") == "a link b c"

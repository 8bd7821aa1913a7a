"""Asciicast recordings: format and parser are inverses; broken input is a FormatError."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dre_core.capture.cast import (
    Cast,
    CastEvent,
    CastHeader,
    format_event,
    format_header,
    parse,
    parse_event,
    parse_header,
)
from dre_core.errors import FormatError

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)
HEADERS = st.builds(
    CastHeader,
    width=st.integers(0, 1000),
    height=st.integers(0, 1000),
    timestamp=st.integers(0, 2**40),
    command=TEXT,
    title=TEXT,
)
EVENTS = st.builds(CastEvent, elapsed_us=st.integers(0, 10**13), text=TEXT)


@given(HEADERS)
def test_header_round_trip(header: CastHeader) -> None:
    assert parse_header(format_header(header)) == header


@given(EVENTS)
def test_event_round_trip(event: CastEvent) -> None:
    assert parse_event(format_event(event)) == event


@given(st.binary(max_size=60))
def test_any_line_is_read_or_refused(line: bytes) -> None:
    for read in (parse_header, parse_event):
        with contextlib.suppress(FormatError):
            read(line)


@given(st.text(max_size=40), st.data())
def test_pieces_cut_anywhere_give_the_same_text(text: str, data: st.DataObject) -> None:
    raw = text.encode("utf-8", "replace")
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=4)))
    lines: list[bytes] = []
    cast = Cast(lines.append, 80, 24, 0)
    for start, stop in zip([0, *cuts], [*cuts, len(raw)], strict=True):
        cast.output(0, raw[start:stop])
    cast.close()
    _, events = parse(lines)
    assert "".join(event.text for event in events) == raw.decode()


def test_invalid_utf8_is_replaced_and_times_never_run_back() -> None:
    lines: list[bytes] = []
    cast = Cast(lines.append, 80, 24, 1700000000.9, "make test", "a title")
    cast.output(2_500_000_000, b"ok\xff\xfe\n")
    cast.output(1_000_000_000, b"later \xe2\x9c")
    cast.close()
    header, events = parse(lines)
    assert header == CastHeader(
        width=80, height=24, timestamp=1700000000, command="make test", title="a title"
    )
    assert [(event.elapsed_us, event.text) for event in events] == [
        (2_500_000, "ok\ufffd\ufffd\n"),
        (2_500_000, "later "),
        (2_500_000, "\ufffd"),
    ]


def test_lines_have_the_form_that_players_read() -> None:
    lines: list[bytes] = []
    Cast(lines.append, 100, 30, 5).output(1_234_567_000, b"\x1b[31mred\x1b[0m\r\n")
    assert json.loads(lines[0]) == {"version": 2, "width": 100, "height": 30, "timestamp": 5}
    assert json.loads(lines[1]) == [1.234567, "o", "\x1b[31mred\x1b[0m\r\n"]
    assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in lines)


def test_input_events_are_skipped() -> None:
    assert parse_event(b'[1.5, "i", "typed"]') is None


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b'{"version": 1, "width": 1, "height": 1}',
        b'{"version": 2, "width": -1}',
        b"[1]",
        b"[NaN]",
        b"[" * 9999,
    ],
)
def test_broken_headers_are_refused(line: bytes) -> None:
    with pytest.raises(FormatError):
        parse_header(line)


@pytest.mark.parametrize(
    "line",
    [b"[]", b'["0", "o", "x"]', b'[-1, "o", "x"]', b'[1, "o", 2]', b'[NaN, "o", "x"]', b'[1e99, "o", "x"]'],
)
def test_broken_events_are_refused(line: bytes) -> None:
    with pytest.raises(FormatError):
        parse_event(line)

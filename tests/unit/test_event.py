from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from dre_core.errors import FormatError, LimitError
from dre_core.model import event
from dre_core.model.event import Event, parse_rfc3339, rfc3339

OP = "op_01m80g4wvdewy95safkejhrna1"
SAMPLE = Event(
    id="ev_01m80g4wvmfvgaxr7wmgccpf5p",
    type="operation.created",
    time="2026-01-02T03:04:05.123456Z",
    operation=OP,
    source="engine",
    data={"exit": 0, "nested": {"list": [1, "x", None]}},
)


def test_the_leaf_is_canonical_json() -> None:
    assert SAMPLE.to_bytes() == (
        b'{"data":{"exit":0,"nested":{"list":[1,"x",null]}},"id":"ev_01m80g4wvmfvgaxr7wmgccpf5p",'
        b'"operation":"op_01m80g4wvdewy95safkejhrna1","source":"engine","time":"2026-01-02T03:04:05.123456Z",'
        b'"type":"operation.created"}'
    )


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"operation": None},
        {"data": {}},
        {"data": {"é": 1.5}},
        {"data": {"id": ',"id":"ev_', "type": '"}'}},
        {"source": 'a"b\\c é'},
        {"source": ',"id":"ev_01m80g4wvmfvgaxr7wmgccpf5p"'},
        {"data": {"deep": [[[[[[[[[[[]]]]]]]]]]], "many": [[]] * 100}},
        {"type": "one"},
    ],
)
def test_parse_is_the_inverse(changes: dict[str, object]) -> None:
    sample = replace(SAMPLE, **changes)
    assert Event.parse(sample.to_bytes()) == sample
    assert event.members(sample.to_bytes())["data"] == sample.data


def test_leaves_that_are_events_only_together() -> None:
    leaf = SAMPLE.to_bytes()
    start = leaf.rindex(b',"id":"ev_')
    tail = leaf[start:]
    nothing = b'{"data":{}'
    assert event.filings([leaf, nothing + tail]) == [(SAMPLE.operation, SAMPLE.type)] * 2
    for leaves in (
        [nothing + tail + b"," + nothing + tail],
        # Joined by commas these are as many values as there are leaves, in canonical form.
        [
            nothing + tail + b"," + nothing + tail,
            b'{"data":[' + nothing + tail,
            nothing + tail + b"]" + tail,
        ],
        [b'{"data":[]' + tail],
        [b'{"data":{"a":1,"a":1}' + tail],
        [b'{"data":{"b":1,"a":1}' + tail],
        [b'{"data":{"a": 1}' + tail],
        [b'{"data":{"a":NaN}' + tail],
        [b'{"data":{"a":9007199254740993}' + tail],
        [b'{"data":{"a":"\\ud800"}' + tail],
        [b'{"data":{"a":' + b"[" * 64 + b"]" * 64 + b"}" + tail],
        [b'{"data":{"a":' + b"[" * 9999 + b"]" * 9999 + b"}" + tail],
        [nothing + tail.replace(b"-01-", b"-13-")],
        [b"\xff" + leaf],
        [leaf[:-1]],
        [b""],
    ):
        assert event.filings(leaves) is None
        assert event.filings([leaf, *leaves]) is None


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"id": OP}, "$.id"),
        ({"id": 7}, "$.id"),
        ({"type": "Operation.created"}, "$.type"),
        ({"type": "a..b"}, "$.type"),
        ({"type": "a.b\n"}, "$.type"),
        ({"type": ""}, "$.type"),
        ({"time": "2026-01-02T03:04:05Z"}, "$.time"),
        ({"time": "2026-02-30T03:04:05.123456Z"}, "$.time"),
        ({"time": datetime(2026, 1, 1, tzinfo=timezone.utc)}, "$.time"),
        ({"operation": ""}, "$.operation"),
        ({"operation": "op_x"}, "$.operation"),
        ({"source": ""}, "$.source"),
        ({"data": []}, "$.data"),
        ({"data": {"x": float("nan")}}, "$.data.x"),
    ],
)
def test_to_bytes_refuses_and_names_the_member(changes: dict[str, object], path: str) -> None:
    with pytest.raises(FormatError) as caught:
        replace(SAMPLE, **changes).to_bytes()
    assert caught.value.path == path


LEAF = SAMPLE.to_bytes()


@pytest.mark.parametrize(
    "leaf",
    [
        b"",
        b"[]",
        b"{}",
        b"null",
        LEAF + b"\n",
        LEAF.replace(b'"data":{', b'"data": {'),
        LEAF.replace(b'{"exit":0,', b'{"exit":0.0,'),
        LEAF.replace(b'{"exit":0,', b'{"exit":0,"exit":0,'),
        LEAF.replace(b'"source":"engine",', b""),
        LEAF.replace(b'"source":"engine",', b'"source":"engine","spare":1,'),
        LEAF.replace(b'"engine"', b'"\\u0065ngine"'),
        LEAF.replace(b"2026-01-02", b"2026-13-02"),
        LEAF.replace(b'"data":{', b'"data":{}{'),
        LEAF.replace(b"ev_", b"op_"),
        LEAF.replace(b"operation.created", b"operation created"),
        LEAF[:-1],
    ],
)
def test_parse_refuses(leaf: bytes) -> None:
    assert leaf != LEAF
    with pytest.raises(FormatError):
        Event.parse(leaf)


def test_a_leaf_of_65535_bytes_is_the_largest() -> None:
    room = 65_535 - len(replace(SAMPLE, data={"x": ""}).to_bytes())
    fits = replace(SAMPLE, data={"x": "a" * room})
    assert len(fits.to_bytes()) == 65_535
    assert Event.parse(fits.to_bytes()) == fits
    with pytest.raises(LimitError):
        replace(SAMPLE, data={"x": "a" * (room + 1)}).to_bytes()
    with pytest.raises(LimitError):
        Event.parse(fits.to_bytes() + b" ")


def test_new_takes_id_and_time_from_one_moment() -> None:
    moment = datetime(2026, 1, 2, 5, 4, 5, 123456, tzinfo=timezone(timedelta(hours=2)))
    made = event.new("evidence.sealed", operation=OP, source="engine", now=lambda: moment)
    assert made.time == "2026-01-02T03:04:05.123456Z"
    from dre_core.model.identifier import time_ms

    assert time_ms(made.id) == int(moment.timestamp() * 1000)
    assert Event.parse(made.to_bytes()) == made


def test_times_have_one_form() -> None:
    moment = datetime(1999, 12, 31, 23, 59, 59, 5, tzinfo=timezone.utc)
    assert rfc3339(moment) == "1999-12-31T23:59:59.000005Z"
    assert parse_rfc3339(rfc3339(moment)) == moment
    with pytest.raises(FormatError):
        rfc3339(datetime(2026, 1, 1))
    assert event.utc_now().utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-01-02",
        "2026-01-02T03:04:05.123456+00:00",
        "2026-01-02 03:04:05.123456Z",
        "2026-01-02T24:00:00.000000Z",
        "2026-01-02T03:04:60.000000Z",
        "0000-01-01T00:00:00.000000Z",
        "2026-01-02T03:04:05.123456z",
        "٢026-01-02T03:04:05.123456Z",
        "2026-01-02T03:04:05.123456Z\n",
    ],
)
def test_parse_rfc3339_refuses(text: str) -> None:
    with pytest.raises(FormatError):
        parse_rfc3339(text)

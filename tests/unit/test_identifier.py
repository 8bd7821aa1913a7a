from __future__ import annotations

import re
import threading
import time
import uuid

import pytest

from dre_core.errors import FormatError, UsageError
from dre_core.model import identifier


def test_it_is_a_uuid_of_version_7_in_crockford_digits() -> None:
    text = identifier.new("op", now_ms=1_700_000_000_123, random_bytes=bytes(range(10)))
    assert re.fullmatch("op_[0-9a-hjkmnp-tv-z]{26}", text)
    number = 0
    for digit in text[3:]:
        number = number * 32 + identifier.DIGITS.index(digit)
    value = uuid.UUID(int=number)
    assert value.variant == uuid.RFC_4122
    assert value.version == 7
    assert number >> 80 == 1_700_000_000_123
    assert identifier.time_ms(text) == 1_700_000_000_123
    assert identifier.parse("op", text) == text


def test_given_time_and_randomness_decide_everything() -> None:
    one = identifier.new("op", now_ms=5, random_bytes=b"x" * 10)
    assert one == identifier.new("op", now_ms=5, random_bytes=b"x" * 10)
    assert one != identifier.new("op", now_ms=5, random_bytes=b"y" * 10)


def test_identifiers_of_one_process_grow_strictly_also_among_threads() -> None:
    made: list[list[str]] = [[] for _ in range(4)]

    def make(into: list[str]) -> None:
        into.extend(identifier.new("op") for _ in range(2000))

    threads = [threading.Thread(target=make, args=(part,)) for part in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(part == sorted(part) for part in made)
    assert len({text for part in made for text in part}) == 8000


def test_they_grow_within_one_given_millisecond() -> None:
    same = [identifier.new("op", now_ms=77) for _ in range(1000)]
    assert same == sorted(set(same))
    assert {identifier.time_ms(text) for text in same} <= {77, 78}


def test_they_grow_when_the_clock_runs_backwards(monkeypatch: pytest.MonkeyPatch) -> None:
    before = identifier.new("op")
    monkeypatch.setattr(time, "time_ns", lambda: 1_000_000_000)
    after = [identifier.new("op") for _ in range(10)]
    assert [before, *after] == sorted({before, *after})


def test_the_time_is_that_of_the_clock() -> None:
    earliest = time.time_ns() // 1_000_000
    assert identifier.time_ms(identifier.new("op")) >= earliest


@pytest.mark.parametrize(
    "text",
    [
        "",
        "op",
        "op_",
        "OP_01m80g4wvdewy95safkejhrna1",
        "ev_01m80g4wvdewy95safkejhrna1",
        "op_01M80G4WVDEWY95SAFKEJHRNA1",
        "op_81m80g4wvdewy95safkejhrna1",  # more than 128 bits
        "op_01m80g4wvdewy95safkejhrna",
        "op_01m80g4wvdewy95safkejhrna11",
        "op_01m80g4wvdewy95safkejhrnau",  # u is no digit
        "op_01m80g4wvd0wy95safkejhrna1",  # another version
        "op_01m80g4wvdewy05safkejhrna1",  # another variant
        "op_01m80g4wvdewy95safkejhrna1\n",
        "op_../../etc/passwd",
    ],
)
def test_parse_refuses(text: str) -> None:
    with pytest.raises(FormatError):
        identifier.parse("op", text)


@pytest.mark.parametrize("prefix", ["", "Op", "o_p", "a" * 17, "../x"])
def test_new_refuses_a_prefix_out_of_form(prefix: str) -> None:
    with pytest.raises(UsageError):
        identifier.new(prefix)


def test_new_refuses_what_does_not_fit() -> None:
    for bad in ({"now_ms": -1}, {"now_ms": 1 << 48}, {"random_bytes": b"short"}):
        with pytest.raises(UsageError):
            identifier.new("op", **bad)  # type: ignore[arg-type]

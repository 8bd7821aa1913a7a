from __future__ import annotations

import sys
from enum import Enum
from types import MappingProxyType

import pytest

from dre_core.errors import FormatError, LimitError
from dre_core.model import canonical


class Colour(str, Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (-(2**53), "-9007199254740992"),
        ('a"\\/\b\f\n\r\t\x00\x1f\x7f\u2028é', '"a\\"\\\\/\\b\\f\\n\\r\\t\\u0000\\u001f\x7f\u2028é"'),
        ([], "[]"),
        ((1, 2), "[1,2]"),
        ({}, "{}"),
        ({"b": 1, "a": {"d": [1.0, 1.5], "c": None}}, '{"a":{"c":null,"d":[1,1.5]},"b":1}'),
        ({"\U0001f600": 1, "\ufb33": 2}, '{"\U0001f600":1,"\ufb33":2}'),
        (MappingProxyType({"b": 1, "a": 2}), '{"a":2,"b":1}'),
        ({"x": Colour.RED}, '{"x":"red"}'),
        (-0.0, "0"),
        (1e-7, "1e-7"),
        (-1.25e-5, "-0.0000125"),
    ],
)
def test_dumps_writes_the_one_form(value: canonical.JSON, text: str) -> None:
    assert canonical.dumps(value).decode() == text


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (float("nan"), "$"),
        ({"a": [0, float("inf")]}, "$.a[1]"),
        ({"a": {"b": 2**53 + 1}}, "$.a.b"),
        ([-(2**53) - 1], "$[0]"),
        ({1: 2}, "$.1"),
        ({"a": b"bytes"}, "$.a"),
        ({"a": {1, 2}}, "$.a"),
        ("\ud800", "$"),
        ({"\udc00": 1}, "$"),
    ],
)
def test_dumps_refuses_what_has_no_form_and_says_where(value: object, path: str) -> None:
    with pytest.raises(FormatError) as caught:
        canonical.dumps(value)  # type: ignore[arg-type]
    assert caught.value.path == path


def nested(depth: int) -> list[object]:
    value: list[object] = []
    for _ in range(depth - 1):
        value = [value]
    return value


def test_depth_is_the_same_both_ways() -> None:
    deepest = canonical.dumps(nested(64))  # type: ignore[arg-type]
    assert canonical.loads(deepest) == nested(64)
    assert canonical.loads_canonical(deepest) == nested(64)
    with pytest.raises(LimitError):
        canonical.dumps(nested(65))  # type: ignore[arg-type]
    with pytest.raises(LimitError):
        canonical.loads(b"[" + deepest + b"]")


def test_depth_counts_brackets_outside_strings_only() -> None:
    text = b'["' + b"[" * 1000 + b'\\"' + b"{" * 1000 + b'\\\\", {}]'
    assert canonical.loads(text)[1] == {}
    assert canonical.loads("[" + ",".join(["[]"] * 5000) + "]") == [[]] * 5000


def test_values_are_counted_outside_of_strings_only() -> None:
    assert canonical.loads(b'[1,2,{"a,[{,":3}]', limit_values=4) == [1, 2, {"a,[{,": 3}]
    assert canonical.loads(b'"' + b',\\"' * 100 + b'"', limit_values=0) == ',"' * 100
    for text in (b"[1,2,3]", b"[[],[]]", b'{"a":{},"b":1}'):
        assert canonical.loads(text, limit_values=4)
        with pytest.raises(LimitError):
            canonical.loads(text, limit_values=2)


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b"[[", b'["\\"[",['])
def test_a_hundred_thousand_brackets_end_in_the_typed_error_at_any_recursion_limit(opening: bytes) -> None:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(10**6)
    try:
        for text in (opening * 100_000, opening * 100_000 + b"]" * 100_000):
            with pytest.raises(FormatError):
                canonical.loads(text)
    finally:
        sys.setrecursionlimit(before)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" ",
        b"\xef\xbb\xbf{}",
        "\ufeff{}",
        b'{"a":1,"a":1}',
        b'{"a":1,"\\u0061":2}',
        b'[{"x":{"b":1,"b":2}}]',
        b"NaN",
        b"[Infinity]",
        b"-Infinity",
        b"1e400",
        b"[-1e999]",
        b"9007199254740993",
        b"-9007199254740993",
        b"1" * 10_000,
        b"[" + b"9" * 100_000 + b"]",
        b'"\\ud800"',
        b'"\\uDFFF"',
        b'{"\\udead":1}',
        b'"\xed\xa0\x80"',
        b'"\xff"',
        "\ud800",
        b"01",
        b"1.",
        b".5",
        b"+1",
        b"[1,]",
        b"{'a':1}",
        b"[1] []",
        b'"\x01"',
        b'"\\x41"',
        b"\x00",
        "\u00a01",
        "\u0661",
    ],
)
def test_loads_refuses(text: bytes | str) -> None:
    with pytest.raises(FormatError):
        canonical.loads(text)


def test_loads_takes_white_space_pairs_of_surrogates_and_the_largest_integers() -> None:
    assert canonical.loads(b' {"a" : [ 9007199254740992, -9007199254740992 ] }\r\n\t')["a"][0] == 2**53
    assert canonical.loads(b'"\\ud83d\\ude00"') == "\U0001f600"
    assert canonical.loads("1e-400") == 0.0


@pytest.mark.parametrize(
    "text",
    [
        b'{"b":1,"a":2}',
        b'{"a": 1}',
        b"1.0",
        b"1e1",
        b"-0",
        b'"\\u0041"',
        b'"\\/"',
        b"[1]\n",
        b'{"a":1,"a":1}',
        b'"\\u00e9"',
        '{"\ufb33":2,"\U0001f600":1}'.encode(),
    ],
)
def test_loads_canonical_refuses_any_other_form(text: bytes) -> None:
    with pytest.raises(FormatError):
        canonical.loads_canonical(text)


def test_loads_canonical_takes_floats_and_other_scripts() -> None:
    for value in ([1.5, "é"], {"é": 0.25}, {"a": [1, "x", None, True]}):
        assert canonical.loads_canonical(canonical.dumps(value)) == value

"""Canonical JSON: inverse, one form, and any bytes end in a value or the typed error."""

from __future__ import annotations

import json
import math

from hypothesis import example, given
from hypothesis import strategies as st

from dre_core.errors import FormatError
from dre_core.model import canonical

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NUMBERS = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False).filter(
    lambda number: abs(number) <= 2**53 or abs(number) >= 1e21
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda children: st.lists(children, max_size=5) | st.dictionaries(TEXT, children, max_size=5),
    max_leaves=30,
)


@given(VALUES)
def test_loads_is_the_inverse_of_dumps(value: object) -> None:
    data = canonical.dumps(value)  # type: ignore[arg-type]
    assert canonical.loads(data) == value
    assert canonical.loads_canonical(data) == value
    assert canonical.dumps(canonical.loads(data)) == data


@given(VALUES)
def test_the_fast_writer_and_the_careful_one_agree(value: object) -> None:
    if canonical._survey(value, canonical.MAX_DEPTH):
        assert canonical._encode_fast(value) == canonical._encode(value)


@given(VALUES, st.booleans(), st.sampled_from([None, 1, "\t"]))
def test_any_spelling_of_a_value_has_the_one_form(
    value: object, ascii_only: bool, indent: int | str | None
) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    assert canonical.dumps(canonical.loads(text)) == canonical.dumps(value)  # type: ignore[arg-type]


@given(VALUES, st.booleans())
def test_loads_canonical_takes_the_one_form_only(value: object, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, separators=(",", ":")).encode()
    if text == canonical.dumps(value):  # type: ignore[arg-type]
        assert canonical.loads_canonical(text) == value
        return
    try:
        canonical.loads_canonical(text)
    except FormatError:
        return
    raise AssertionError(text)


@given(st.floats(allow_nan=False, allow_infinity=False))
@example(5e-324)
@example(1.7976931348623157e308)
@example(123456789012345680000.0)
@example(1e21)
@example(0.000001)
def test_a_number_keeps_its_value_and_has_ecmascripts_shape(number: float) -> None:
    text = canonical.dumps(number).decode()
    assert float(text) == number
    digits = text.lstrip("-").split("e")[0]
    assert ("e" in text) == (number != 0 and not 1e-6 <= abs(number) < 1e21)
    assert not digits.startswith("0") or digits == "0" or digits.startswith("0.")
    assert "." not in digits or not digits.endswith("0")


JSON_BITS = st.lists(
    st.sampled_from(
        [
            '"',
            "\\",
            "\\u",
            "d800",
            "[",
            "]",
            "{",
            "}",
            ":",
            ",",
            "1",
            "-",
            ".",
            "e",
            "0",
            "NaN",
            "null",
            " ",
            "é",
            "a",
        ]
    ),
    max_size=40,
).map("".join)


@given(st.binary(max_size=200) | JSON_BITS.map(str.encode) | JSON_BITS)
def test_any_bytes_end_in_a_value_or_the_typed_error(data: bytes | str) -> None:
    try:
        value = canonical.loads(data)
    except FormatError:
        return
    text = data if isinstance(data, str) else data.decode()
    assert json.loads(text) == value
    assert not isinstance(value, float) or math.isfinite(value)


@given(st.integers(0, 200), st.sampled_from(["[", '{"a":', '[1,"[[",']))
def test_depth_is_cut_at_exactly_64(depth: int, opening: str) -> None:
    closing = "}" if opening.startswith("{") else "]"
    text = opening * depth + "0" + closing * depth
    try:
        canonical.loads(text)
    except FormatError:
        assert depth > 64
    else:
        assert depth <= 64

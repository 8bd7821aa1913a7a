"""JSON in and out: RFC 8785 canonical bytes for what we sign, a strict reader for what others send.

``dumps`` gives the one form of a value (JSON Canonicalization Scheme): no white space, members sorted by
UTF-16 code units, the shortest escapes, numbers as ECMAScript prints them. ``loads`` refuses what two
readers could understand differently: duplicate names, NaN, overflowing numbers, integers beyond 2**53,
lone surrogates, a byte order mark, nesting beyond 64. Not a schema: types and names are the caller's.

``loads(dumps(value)) == value`` for every value whose integral floats stay within 2**53; a larger integral
float is written in RFC 8785's integer form, which the reader refuses.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from json.encoder import encode_basestring
from math import isfinite
from typing import Any, NoReturn, TypeAlias

from dre_core.errors import FormatError, LimitError

JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"
"""What JSON can say. Readers get ``dict`` and ``list``; writers may pass any mapping, list or tuple."""

MAX_DEPTH = 64
"""Arrays and objects within one another, both ways."""
MAX_INTEGER = 2**53
"""Largest magnitude of an integer that every JSON reader keeps exactly (RFC 8785 section 3.2.2.3)."""


def dumps(value: JSON) -> bytes:
    """Write a value in its canonical form.

    Args:
        value: None, bool, int, float, str, list, tuple or mapping with str keys, nested at most 64 deep.

    Returns:
        UTF-8 bytes without a final newline.

    Raises:
        FormatError: For NaN, infinities, integers beyond 2**53, lone surrogates, keys that are no strings,
            values of other types; ``path`` says where.
        LimitError: Nested deeper than 64.

    Source: RFC 8785.
    """
    text = _encode_fast(value) if _survey(value, MAX_DEPTH) else _encode(value)
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise FormatError("a string holds a lone surrogate", path="$") from None


def loads(data: bytes | str, *, limit_values: int | None = None) -> Any:
    """Read one JSON text strictly.

    Args:
        data: UTF-8 bytes, or text; white space around the value is allowed.
        limit_values: As for :func:`check_values`. Three bytes of text can take seventy of memory, so a hostile
            text needs a bound for what it becomes.

    Returns:
        The value: None, bool, int, float, str, list or dict.

    Raises:
        FormatError: For anything else than one JSON value, or one that two readers could read differently.
        LimitError: Nested deeper than 64, an integer beyond 2**53, or too many values.

    Source: RFC 8259, RFC 7493 (I-JSON).
    """
    text = _to_text(data)
    if limit_values is not None:
        check_values(text, limit_values)
    _check_depth(text)
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise FormatError(f"not JSON: {error.msg.lower()} at character {error.pos}") from None
    except RecursionError:
        raise LimitError(f"JSON nested deeper than {MAX_DEPTH}") from None
    if _SURROGATE_ESCAPE.search(text):
        _refuse_surrogates(value)
    return value


def check_values(text: str, limit: int) -> None:
    """Refuse JSON of more values than this, before it takes the memory for them.

    Args:
        text: One JSON text, or several behind one another.
        limit: Most commas and opening brackets outside of strings.

    Raises:
        LimitError: There are more.
    """
    # What stands in strings counts for nothing, but cutting them out takes time: only where it may matter.
    if _count(text) > limit and _count(_without_strings(text)) > limit:
        raise LimitError(f"JSON of more than {limit} values")


def loads_canonical(data: bytes) -> Any:
    """Read one JSON text that must be in canonical form: what :func:`dumps` writes, and nothing else.

    Args:
        data: UTF-8 bytes.

    Returns:
        The value, as :func:`loads` gives it.

    Raises:
        FormatError: As :func:`loads`, or in another form.
        LimitError: As :func:`loads`.
    """
    if data.isascii() and data.count(b"[") + data.count(b"{") <= MAX_DEPTH:
        # Reading and writing back by the C code alone: whatever the strict reader would refuse comes out
        # different, and a float, whose form differs, stops the writer.
        text = data.decode("ascii")
        try:
            value = _FAST_DECODER.decode(text)
            if _encode_fast(value) == text:
                return value
        except (ValueError, TypeError, FormatError):
            pass
    value = loads(data)
    if dumps(value) != data:
        raise FormatError("not in canonical form", path="$")
    return value


def are_usual_objects(texts: Sequence[str]) -> bool:
    """Whether each is an object in canonical form, found out for many of them at once.

    Args:
        texts: Any text.

    Returns:
        True only if :func:`loads_canonical` gives an object for every one; False also where it might (text beyond
        ASCII, floats).
    """
    read = _FAST_DECODER.raw_decode
    values = []
    try:
        for text in texts:
            value, end = read(text)
            if end != len(text) or text[:1] != "{" or text.count("[") + text.count("{") > MAX_DEPTH:
                return False
            values.append(value)
        # Written back in one go: an object's text shows where it ends, so all are equal only if each is.
        together = f"[{','.join(texts)}]"
        return together.isascii() and _encode_fast(values) == together
    except (ValueError, TypeError, FormatError, RecursionError):
        return False


# Writing


def _survey(value: Any, depth: int) -> bool:
    """Refuse what has no canonical form; say whether the C encoder writes this value canonically.

    It does unless there is a float (its form differs), a mapping that is no dict, or a non-ASCII key
    (it sorts by code points, which differs from UTF-16 units above U+FFFF).
    """
    if value is None or isinstance(value, (str, bool)):
        return True
    if isinstance(value, int):
        if not -MAX_INTEGER <= value <= MAX_INTEGER:
            raise FormatError("integer beyond 2**53; write it as a string", path="$")
        return True
    if isinstance(value, float):
        if not isfinite(value):
            raise FormatError("NaN and infinity are not JSON", path="$")
        return False
    if isinstance(value, Mapping):
        return _survey_members(value, depth)
    if isinstance(value, (list, tuple)):
        return _survey_items(value, depth)
    raise FormatError(f"a {type(value).__name__} is not JSON", path="$")


def _survey_members(value: Mapping[Any, Any], depth: int) -> bool:
    if depth == 0:
        raise LimitError(f"nested deeper than {MAX_DEPTH}", path="$")
    fast = type(value) is dict
    name: Any = None
    try:
        for name, member in value.items():
            if not isinstance(name, str):
                raise FormatError(f"a key of type {type(name).__name__} is not JSON", path="$")
            fast = name.isascii() and fast
            fast = _survey(member, depth - 1) and fast
    except FormatError as error:
        error.path = f"$.{name}{error.path[1:]}"
        raise
    return fast


def _survey_items(value: Sequence[Any], depth: int) -> bool:
    if depth == 0:
        raise LimitError(f"nested deeper than {MAX_DEPTH}", path="$")
    fast = True
    index = -1
    try:
        for item in value:
            index += 1
            fast = _survey(item, depth - 1) and fast
    except FormatError as error:
        error.path = f"$[{index}]{error.path[1:]}"
        raise
    return fast


_encode_fast = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, allow_nan=False, sort_keys=True, separators=(",", ":")
).encode


def _encode(value: Any) -> str:
    """The same as the C encoder, with UTF-16 order and ECMAScript numbers; expects a surveyed value."""
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, Mapping):
        names = sorted(value, key=_utf16)
        return "{" + ",".join(f"{encode_basestring(name)}:{_encode(value[name])}" for name in names) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(_encode, value)) + "]"
    return _encode_fast(value)


def _utf16(name: str) -> bytes:
    return name.encode("utf-16-be", "surrogatepass")


def _number(value: float) -> str:
    """A finite float as ECMAScript's Number::toString gives it (ECMA-262 section 6.1.6.1.20)."""
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    mantissa, _, exponent = repr(abs(float(value))).partition("e")
    whole, _, fraction = mantissa.partition(".")
    point = len(whole) + int(exponent or 0)
    digits = (whole + fraction).lstrip("0")
    point -= len(whole + fraction) - len(digits)
    digits = digits.rstrip("0")
    if len(digits) <= point <= 21:
        return sign + digits.ljust(point, "0")
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    tail = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{tail}e{point - 1:+d}"


# Reading

_STRING = re.compile(r'"[^"]*"?')
_NOT_BRACKETS = re.compile(r"[^\[\]{}]+")
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_TO_SQUARE = str.maketrans("{}", "[]")


def _to_text(data: bytes | str) -> str:
    try:
        if isinstance(data, str):
            data.encode("utf-8")
            return data
        return data.decode("utf-8")
    except UnicodeError:
        raise FormatError("not valid UTF-8") from None


def _check_depth(text: str) -> None:
    """Refuse deep nesting before the recursive C parser sees it, whatever the recursion limit is.

    Strings are cut out (escapes first, so that a quote left over is a real one), then each round removes
    the innermost pairs: a text nested N deep is empty after N rounds, in time linear in the text.
    """
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    brackets = _NOT_BRACKETS.sub("", _without_strings(text)).translate(_TO_SQUARE)
    for _ in range(MAX_DEPTH):
        before = len(brackets)
        brackets = brackets.replace("[]", "")
        if not brackets:
            return
        if len(brackets) == before:
            raise FormatError("not JSON: brackets do not match")
    raise LimitError(f"JSON nested deeper than {MAX_DEPTH}")


def _count(text: str) -> int:
    return text.count(",") + text.count("[") + text.count("{")


def _without_strings(text: str) -> str:
    return _STRING.sub("", text.replace("\\\\", "").replace('\\"', ""))


def _refuse_surrogates(value: object) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise FormatError("a string holds a lone surrogate") from None


def _integer(text: str) -> int:
    if len(text) > 17 or not -MAX_INTEGER <= (number := int(text)) <= MAX_INTEGER:
        raise LimitError("integer beyond 2**53")
    return number


def _float(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise LimitError("number too large for a double")
    return number


def _constant(text: str) -> NoReturn:
    raise FormatError(f"not JSON: {text}")


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        name = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise FormatError("duplicate member", path=f"$..{name}")
    return members


def _unwritable(text: str) -> object:
    return object()


_DECODER = json.JSONDecoder(
    object_pairs_hook=_members, parse_int=_integer, parse_float=_float, parse_constant=_constant
)
_FAST_DECODER = json.JSONDecoder(parse_int=_integer, parse_float=_unwritable, parse_constant=_constant)

"""Strict reading of one JSON object, field by field, for the ``parse`` functions of the model.

Nothing is coerced: a value of another type than asked for is a :class:`FormatError` that names the JSON
path. Unknown fields are left alone, as the attestation formats ask of their readers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import TypeVar

from dre_core.errors import FormatError
from dre_core.model.canonical import JSON

T = TypeVar("T")
E = TypeVar("E", bound=Enum)


class Fields:
    """A JSON object under a strict reader.

    Args:
        value: The parsed JSON value; must be an object.
        path: Its JSON path, for messages (``$`` at the root).

    Raises:
        FormatError: ``value`` is not an object.
    """

    __slots__ = ("path", "value")

    def __init__(self, value: JSON, path: str = "$") -> None:
        if not isinstance(value, dict):
            raise FormatError("expected an object", path=path)
        self.value: Mapping[str, JSON] = value
        self.path = path

    def at(self, name: str) -> str:
        """JSON path of a field."""
        return f"{self.path}.{name}"

    def has(self, name: str) -> bool:
        """Whether the field is there and not null."""
        return self.value.get(name) is not None

    def text(self, name: str, default: str | None = None) -> str:
        """A string; required unless a default is given."""
        value = self.value.get(name, default)
        if not isinstance(value, str):
            raise FormatError("expected a string", path=self.at(name))
        return value

    def optional_text(self, name: str) -> str | None:
        """A string, or None where the field is null or absent."""
        return self.text(name) if self.has(name) else None

    def integer(self, name: str, default: int | None = None) -> int:
        """A JSON integer; required unless a default is given."""
        value = self.value.get(name, default)
        if not isinstance(value, int) or isinstance(value, bool):
            raise FormatError("expected an integer", path=self.at(name))
        return value

    def optional_integer(self, name: str) -> int | None:
        """An integer, or None where the field is null or absent."""
        return self.integer(name) if self.has(name) else None

    def decimal(self, name: str) -> int:
        """A non-negative integer written as a string, as sizes and nanoseconds are."""
        value = self.text(name)
        if not (
            value.isascii() and value.isdigit() and len(value) <= 20 and (value == "0" or value[0] != "0")
        ):
            raise FormatError("expected a decimal number in a string", path=self.at(name))
        return int(value)

    def number(self, name: str) -> float:
        """A JSON number."""
        value = self.value.get(name)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise FormatError("expected a number", path=self.at(name))
        return float(value)

    def boolean(self, name: str, default: bool | None = None) -> bool:
        """True or false; required unless a default is given."""
        value = self.value.get(name, default)
        if not isinstance(value, bool):
            raise FormatError("expected true or false", path=self.at(name))
        return value

    def choice(self, name: str, kind: type[E]) -> E:
        """A string that names a member of an enumeration."""
        try:
            return kind(self.text(name))
        except ValueError:
            known = ", ".join(str(member.value) for member in kind)
            raise FormatError(f"expected one of {known}", path=self.at(name)) from None

    def array(self, name: str) -> list[JSON]:
        """An array; empty where absent."""
        value = self.value.get(name, [])
        if not isinstance(value, list):
            raise FormatError("expected an array", path=self.at(name))
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """An array of strings; empty where absent."""
        values = self.array(name)
        for index, value in enumerate(values):
            if not isinstance(value, str):
                raise FormatError("expected a string", path=f"{self.at(name)}[{index}]")
        return tuple(values)  # type: ignore[arg-type]

    def each(self, name: str, parse: Callable[[Fields], T]) -> tuple[T, ...]:
        """An array of objects, each read by ``parse``; empty where absent."""
        return tuple(
            parse(Fields(value, f"{self.at(name)}[{index}]")) for index, value in enumerate(self.array(name))
        )

    def object(self, name: str) -> Fields:
        """A required object."""
        return Fields(self.value.get(name), self.at(name))

    def optional(self, name: str, parse: Callable[[Fields], T]) -> T | None:
        """An object read by ``parse``, or None where the field is null or absent."""
        return parse(self.object(name)) if self.has(name) else None

    def text_map(self, name: str) -> dict[str, str]:
        """An object whose values are strings; empty where absent."""
        fields = Fields(self.value.get(name, {}), self.at(name))
        return {key: fields.text(key) for key in fields.value}

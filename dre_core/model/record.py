"""The standard library's ``dataclass`` for records with slots, without the source code that it writes and compiles.

``dataclasses.dataclass`` composes the text of each class's methods and has it compiled when the class is made: a third
of a millisecond a class, and more than anything else in the start of a command. Here the methods of all classes are
the same few functions over the names of the fields; a class that is made often gets an ``__init__`` of its own after
all. Type checkers see the standard decorator; ``fields``, ``replace``
and ``asdict`` of ``dataclasses`` work as on its own classes. What the project does not use is refused: records without
slots and records that inherit. Source: https://docs.python.org/3/library/dataclasses.html
"""

from __future__ import annotations

import dataclasses
import itertools
from operator import attrgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from dataclasses import dataclass as dataclass

    Fields = dict[str, dataclasses.Field[Any]]
else:

    def dataclass(*, slots: bool, frozen: bool = False, kw_only: bool = False) -> Callable[[type], type]:
        """A decorator with the arguments and the meaning of ``dataclasses.dataclass``.

        Raises:
            TypeError: Without ``slots=True``, or, when decorating, for a class that has a base class.
        """
        if not slots:
            raise TypeError("a record has slots")
        return lambda cls: _record(cls, frozen, kw_only)


_MISSING = dataclasses.MISSING
_OFTEN = 256  # instances, after which an own __init__ has paid for its compilation


def _record(cls: type, frozen: bool, kw_only: bool) -> type:
    if cls.__bases__ != (object,):
        raise TypeError(f"{cls.__qualname__}: a record has no base class")
    space = {name: value for name, value in cls.__dict__.items() if name not in ("__dict__", "__weakref__")}
    fields = _take_fields(space, kw_only)
    space["__qualname__"] = cls.__qualname__
    space["__slots__"] = tuple(fields)
    space["__match_args__"] = () if kw_only else tuple(fields)
    space["__dataclass_fields__"] = fields
    made = type(cls.__name__, (), space | _methods(fields, frozen, space))
    # The slots exist only now; a frozen record is filled through them, past its own __setattr__.
    made.__init__ = _init(made, fields, kw_only)  # type: ignore[misc]
    return made


def _take_fields(space: dict[str, Any], kw_only: bool) -> Fields:
    """The fields of a class body, whose defaults leave it: a slot and a class attribute exclude each other."""
    fields = {}
    for name, kind in space.get("__annotations__", {}).items():
        if "ClassVar" in str(kind):
            continue
        value = space.pop(name, _MISSING)
        field: Any = value if isinstance(value, dataclasses.Field) else dataclasses.field(default=value)
        field.name, field.type, field.kw_only = name, kind, kw_only
        field._field_type = dataclasses._FIELD  # type: ignore[attr-defined]
        fields[name] = field
    return fields


def _methods(fields: Fields, frozen: bool, own: Iterable[str]) -> dict[str, Any]:
    """What the class does not define itself."""
    compared = [name for name, field in fields.items() if field.compare]
    methods: dict[str, Any] = {
        "__repr__": _repr([name for name, field in fields.items() if field.repr]),
        "__eq__": _eq(compared),
        "__hash__": _hash(compared) if frozen else None,
        "__getstate__": _getstate(tuple(fields)),
        "__setstate__": _setstate(tuple(fields)),
    }
    if frozen:
        methods |= {"__setattr__": _refuse_setting, "__delattr__": _refuse_deleting}
    return {name: method for name, method in methods.items() if name not in own}


def _init(cls: type, fields: Fields, kw_only: bool) -> Callable[..., None]:
    slots = vars(cls)
    names = tuple(name for name, field in fields.items() if field.init)
    known = frozenset(names)
    # Per field: its name, what fills its slot, and what makes its default.
    plan = [
        (name, slots[name].__set__, field.default, field.default_factory) for name, field in fields.items()
    ]
    finish = getattr(cls, "__post_init__", None)
    made = itertools.count(1)

    def __init__(self: object, /, *args: object, **values: object) -> None:  # noqa: N807
        if args:
            _name_arguments(cls, args, () if kw_only else names, values)
        if not values.keys() <= known:
            unknown = ", ".join(sorted(values.keys() - known))
            raise TypeError(f"{cls.__name__} has no field named {unknown}")
        take = values.get
        for name, fill, default, factory in plan:
            value = take(name, default)
            if value is not _MISSING:
                fill(self, value)
            elif factory is not _MISSING:
                fill(self, factory())
            elif name in known:
                raise TypeError(f"{cls.__name__} needs {name}")
        if finish is not None:
            finish(self)
        if next(made) == _OFTEN:
            cls.__init__ = _own_init(cls, fields, kw_only)  # type: ignore[misc]

    return __init__


def _own_init(cls: type, fields: Fields, kw_only: bool) -> Callable[..., None]:
    """The same, written for one class and compiled."""
    space: dict[str, Any] = {"_missing": _MISSING}
    parameters, body = [], []
    for name, field in fields.items():
        space[f"_fill_{name}"] = vars(cls)[name].__set__
        value = name
        if field.default_factory is not _MISSING:
            space[f"_make_{name}"] = field.default_factory
            value = f"_make_{name}() if {name} is _missing else {name}" if field.init else f"_make_{name}()"
            default = "=_missing"
        elif field.default is not _MISSING:
            space[f"_default_{name}"] = field.default
            value = name if field.init else f"_default_{name}"
            default = f"=_default_{name}"
        else:
            default = ""
        if field.init:
            parameters.append(f"{name}{default}")
        if field.init or default:
            body.append(f"_fill_{name}(self, {value})")
    if hasattr(cls, "__post_init__"):
        body.append("self.__post_init__()")
    star = ["*"] if kw_only and parameters else []
    head = f"def __init__({', '.join(['self', '/', *star, *parameters])}):"
    exec("\n ".join([head, *(body or ["pass"])]), space)  # noqa: S102  the names are those of the class's own fields
    own: Callable[..., None] = space["__init__"]
    own.__qualname__ = f"{cls.__qualname__}.__init__"
    return own


def _name_arguments(
    cls: type, args: tuple[object, ...], names: tuple[str, ...], values: dict[str, object]
) -> None:
    if len(args) > len(names):
        raise TypeError(f"{cls.__name__} takes {len(names)} positional arguments, not {len(args)}")
    for name, value in zip(names, args, strict=False):
        if name in values:
            raise TypeError(f"{cls.__name__} got {name} twice")
        values[name] = value


def _repr(names: list[str]) -> Callable[[object], str]:
    def __repr__(self: object) -> str:  # noqa: N807
        return f"{type(self).__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"

    return __repr__


def _values(names: list[str]) -> Callable[[object], Any]:
    return attrgetter(*names) if names else lambda _: ()


def _eq(names: list[str]) -> Callable[[object, object], Any]:
    values = _values(names)

    def __eq__(self: object, other: object) -> Any:  # noqa: N807
        return values(self) == values(other) if type(other) is type(self) else NotImplemented

    return __eq__


def _hash(names: list[str]) -> Callable[[object], int]:
    values = _values(names)

    def __hash__(self: object) -> int:  # noqa: N807
        return hash(values(self))

    return __hash__


def _getstate(names: tuple[str, ...]) -> Callable[[object], list[object]]:
    def __getstate__(self: object) -> list[object]:  # noqa: N807
        return [getattr(self, name) for name in names]

    return __getstate__


def _setstate(names: tuple[str, ...]) -> Callable[[object, list[object]], None]:
    def __setstate__(self: object, state: list[object]) -> None:  # noqa: N807
        for name, value in zip(names, state, strict=True):
            object.__setattr__(self, name, value)

    return __setstate__


def _refuse_setting(self: object, name: str, value: object) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_deleting(self: object, name: str) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")

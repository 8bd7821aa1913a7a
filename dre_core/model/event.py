"""One event: a leaf of the append-only log, written as canonical JSON of at most 65,535 bytes.

Example: ``{"data":{},"id":"ev_…","operation":"op_…","source":"engine","time":"2026-01-02T03:04:05.123456Z",
"type":"operation.created"}``. An event is a fact with a time, never a command; large things are named in it
by digest. ``operation`` is null for what belongs to no operation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from datetime import datetime, timedelta, timezone
from typing import Any, TypeAlias

from dre_core.errors import FormatError, LimitError
from dre_core.model import canonical, identifier
from dre_core.model.canonical import JSON
from dre_core.model.record import dataclass

MAX_BYTES = 65_535
"""Largest leaf: what the length prefix of a C2SP tlog-tiles entry bundle can hold."""

Clock: TypeAlias = Callable[[], datetime]
"""Gives the present moment as an aware datetime."""

_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z")
_TYPE = re.compile(r"[a-z][a-z0-9_-]*(\.[a-z0-9][a-z0-9_-]*)*")
_HEAD = '{"data":'
_TAIL_START = f',"id":"{identifier.EVENT}_'
# All of a leaf behind its data, for texts without escapes.
_TAIL = (
    rf',"id":"({identifier.EVENT}_{identifier.PATTERN})",'
    rf'"operation":(?:null|"({identifier.OPERATION}_{identifier.PATTERN})"),'
    rf'"source":"([ !#-\[\]-~]+)","time":"({_TIME.pattern})","type":"({_TYPE.pattern})"}}'
)


def utc_now() -> datetime:
    """The present moment in UTC."""
    return datetime.now(timezone.utc)


def rfc3339(moment: datetime) -> str:
    """Write a moment in the one form used everywhere: UTC, microseconds, ``Z``.

    Args:
        moment: An aware datetime, of any zone.

    Returns:
        Such as ``2026-01-02T03:04:05.123456Z``.

    Raises:
        FormatError: The datetime is naive.
    """
    if moment.utcoffset() is None:
        raise FormatError("a time without a zone")
    return moment.astimezone(timezone.utc).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def parse_rfc3339(text: str) -> datetime:
    """Read a moment in the form that :func:`rfc3339` writes, and no other.

    Raises:
        FormatError: Another form, or no such day or time.
    """
    if not isinstance(text, str) or not _TIME.fullmatch(text):
        raise FormatError("not a time of the form YYYY-MM-DDThh:mm:ss.ffffffZ")
    try:
        return datetime.fromisoformat(text[:-1]).replace(tzinfo=timezone.utc)
    except ValueError as error:
        raise FormatError(f"no such time: {error}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A fact with a time.

    Attributes:
        id: ``ev_…``.
        type: Dotted lower-case words, such as ``evidence.sealed``.
        time: As :func:`rfc3339` writes it.
        operation: ``op_…``, or None for what belongs to no operation.
        source: The part that saw it, such as ``engine``.
        data: What is to be said; canonical JSON must be able to say it.
    """

    id: str
    type: str
    time: str
    operation: str | None
    source: str
    data: Mapping[str, JSON] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """The leaf: canonical JSON.

        Raises:
            FormatError: A field is not of its form; ``path`` names it.
            LimitError: Longer than 65,535 bytes.
        """
        fields = {name: getattr(self, name) for name in _FIELDS}
        _check(fields)
        leaf = canonical.dumps(fields)
        if len(leaf) > MAX_BYTES:
            raise LimitError(f"event of {len(leaf)} bytes; at most {MAX_BYTES}", path="$")
        return leaf

    @classmethod
    def parse(cls, data: bytes) -> Event:
        """Read a leaf; exactly what :meth:`to_bytes` writes.

        Raises:
            FormatError: It is not canonical JSON of an event; ``path`` names the member.
            LimitError: Longer than 65,535 bytes.
        """
        return cls(**members(data))


_FIELDS = ("id", "type", "time", "operation", "source", "data")
_FIELD_SET = frozenset(_FIELDS)


def members(data: bytes) -> dict[str, Any]:
    """Read a leaf as :meth:`Event.parse` does, without making an event of it.

    Raises:
        FormatError: As :meth:`Event.parse`.
        LimitError: As :meth:`Event.parse`.
    """
    if len(data) > MAX_BYTES:
        raise LimitError(f"event of {len(data)} bytes; at most {MAX_BYTES}", path="$")
    value = canonical.loads_canonical(data)
    if not isinstance(value, dict):
        raise FormatError("an event is not an object", path="$")
    if value.keys() != _FIELD_SET:
        odd = sorted(value.keys() ^ _FIELD_SET)[0]
        raise FormatError("missing member" if odd in _FIELD_SET else "unknown member", path=f"$.{odd}")
    _check(value)
    return value


def filings(leaves: Sequence[bytes]) -> list[tuple[str | None, str]] | None:
    """Operation and type of each leaf, at a fraction of the time that :func:`members` takes for each.

    Args:
        leaves: Any bytes.

    Returns:
        Them in the same order, if every leaf is an event of the usual shape; None says nothing but that each is to
        be looked at by itself.
    """
    read_tail, head = re.compile(_TAIL).fullmatch, len(_HEAD)
    found: list[tuple[str | None, str]] = []
    data = []
    try:
        for leaf in leaves:
            text = leaf.decode("ascii")
            start = text.rfind(_TAIL_START)
            tail = read_tail(text, start) if start > 0 and text.startswith(_HEAD) else None
            if tail is None or len(text) > MAX_BYTES:
                return None
            operation, time, kind = tail.group(2, 4, 5)
            datetime.fromisoformat(time[:-1])
            found.append((operation, kind))
            data.append(text[head:start])
    except ValueError:
        return None
    return found if canonical.are_usual_objects(data) else None


def new(
    type: str,  # noqa: A002 - the field's name
    *,
    operation: str | None,
    source: str,
    data: Mapping[str, JSON] | None = None,
    now: Clock = utc_now,
) -> Event:
    """Make an event of this moment with a fresh id.

    Args:
        type: Dotted lower-case words.
        operation: The operation's id, or None.
        source: The part that saw it.
        data: What is to be said; default nothing.
        now: The clock; the id is made from the same moment.
    """
    moment = now()
    return Event(
        id=identifier.new(identifier.EVENT, now_ms=_milliseconds(moment)),
        type=type,
        time=rfc3339(moment),
        operation=operation,
        source=source,
        data={} if data is None else data,
    )


def _milliseconds(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=timezone.utc)) // timedelta(milliseconds=1)


def _check(fields: Mapping[str, Any]) -> None:
    """Refuse members that are not of their form."""
    path = "$.id"
    try:
        identifier.parse(identifier.EVENT, fields["id"])
        path = "$.operation"
        if fields["operation"] is not None:
            identifier.parse(identifier.OPERATION, fields["operation"])
        path = "$.time"
        parse_rfc3339(fields["time"])
    except FormatError as error:
        error.path = path
        raise
    if not isinstance(fields["type"], str) or not _TYPE.fullmatch(fields["type"]):
        raise FormatError("an event type is not dotted lower-case words", path="$.type")
    if not isinstance(fields["source"], str) or not fields["source"]:
        raise FormatError("an event names no source", path="$.source")
    if not isinstance(fields["data"], Mapping):
        raise FormatError("an event's data is not an object", path="$.data")

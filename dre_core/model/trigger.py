"""Triggers: which collectors look at which moments while a command runs. Data from the configuration, no behaviour.

A trigger stands in the section ``triggers`` under a name of its own::

    triggers:
      pictures:
        when: [start, error, complete, interval]
        interval_seconds: 5
        collect: [screenshot, screen]
      ready:
        when: [pattern]
        patterns: ["listening on"]
        collect: [processes]

Patterns are plain texts, searched for without regard to case: an expression from the change under test could keep
the recorder busy for ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from dre_core.errors import FormatError
from dre_core.model.canonical import JSON
from dre_core.model.fields import Fields
from dre_core.model.record import dataclass

SHORTEST_INTERVAL_SECONDS = 0.1
DEFAULT_LIMIT = 100
GREATEST_LIMIT = 10_000


class Occasion(str, Enum):
    """What can make a trigger fire."""

    START = "start"
    """The command has started."""
    ERROR = "error"
    """The command has ended other than with 0."""
    COMPLETE = "complete"
    """The command has ended, however."""
    INTERVAL = "interval"
    """So many seconds have passed."""
    PATTERN = "pattern"
    """The output holds a text of ``patterns``."""
    ERROR_DETECTED = "error_detected"
    """The output holds a word that says error."""
    TEST_COMPLETE = "test_complete"
    """A test runner has printed its closing line."""
    BUILD_FINISH = "build_finish"
    """A build tool (make, npm, tox) has printed the line by which it ends."""
    UI_CHANGE = "ui_change"
    """Together with another one: only what differs from the last time is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """One trigger.

    Attributes:
        name: Its name.
        when: What makes it fire.
        collect: Names of the collectors that look.
        interval_seconds: Time between two looks; 0 without ``interval``.
        patterns: Texts that the output is searched for; none without ``pattern``.
        limit: It fires at most so many times in a run.
    """

    name: str
    when: tuple[Occasion, ...]
    collect: tuple[str, ...]
    interval_seconds: float = 0.0
    patterns: tuple[str, ...] = ()
    limit: int = DEFAULT_LIMIT

    def to_json(self) -> dict[str, JSON]:
        """The trigger as it stands in the configuration, without its name."""
        return {
            "when": [occasion.value for occasion in self.when],
            "collect": list(self.collect),
            "interval_seconds": self.interval_seconds,
            "patterns": list(self.patterns),
            "limit": self.limit,
        }

    @classmethod
    def parse(cls, name: str, value: JSON) -> Trigger:
        """Reads one trigger; see :meth:`to_json`.

        Raises:
            FormatError: A key is unknown, or a value is unfit; ``path`` names it.
        """
        fields = Fields(value, f"triggers.{name}")
        for key in fields.value:
            if key not in _KEYS:
                from difflib import get_close_matches

                (near,) = get_close_matches(str(key), _KEYS, n=1, cutoff=0.0)
                raise FormatError(
                    f"unknown trigger key {key!r}", hint=f"did you mean {near}?", path=fields.at(str(key))
                )
        trigger = cls(
            name=name,
            when=tuple(_occasion(text, fields.at("when")) for text in fields.texts("when")),
            collect=fields.texts("collect"),
            interval_seconds=fields.number("interval_seconds") if fields.has("interval_seconds") else 0.0,
            patterns=fields.texts("patterns"),
            limit=fields.integer("limit", DEFAULT_LIMIT),
        )
        _check(trigger, fields)
        return trigger


_KEYS = ("when", "collect", "interval_seconds", "patterns", "limit")


def _occasion(text: str, path: str) -> Occasion:
    try:
        return Occasion(text)
    except ValueError:
        known = ", ".join(occasion.value for occasion in Occasion)
        raise FormatError(f"{text!r} is none of {known}", path=path) from None


def _check(trigger: Trigger, fields: Fields) -> None:
    """What the types do not say."""
    if not set(trigger.when) - {Occasion.UI_CHANGE}:
        raise FormatError("a trigger needs something to fire on", path=fields.at("when"))
    if not trigger.collect:
        raise FormatError("a trigger needs a collector", path=fields.at("collect"))
    if (Occasion.INTERVAL in trigger.when) != (trigger.interval_seconds > 0):
        raise FormatError("interval and interval_seconds belong together", path=fields.at("interval_seconds"))
    if trigger.interval_seconds and not SHORTEST_INTERVAL_SECONDS <= trigger.interval_seconds < 1e6:
        raise FormatError(f"at least {SHORTEST_INTERVAL_SECONDS} seconds", path=fields.at("interval_seconds"))
    if (Occasion.PATTERN in trigger.when) != bool(trigger.patterns):
        raise FormatError("pattern and patterns belong together", path=fields.at("patterns"))
    if not all(1 <= len(text) <= 200 and text.strip() for text in trigger.patterns):
        raise FormatError("a pattern has 1 to 200 characters", path=fields.at("patterns"))
    if not 1 <= trigger.limit <= GREATEST_LIMIT:
        raise FormatError(f"1 to {GREATEST_LIMIT}", path=fields.at("limit"))


def parse_triggers(value: JSON) -> tuple[Trigger, ...]:
    """Reads the section.

    Raises:
        FormatError: It is not a mapping of names to triggers.
    """
    if not isinstance(value, Mapping):
        raise FormatError("expected triggers by name", path="triggers")
    return tuple(Trigger.parse(str(name), trigger) for name, trigger in value.items())

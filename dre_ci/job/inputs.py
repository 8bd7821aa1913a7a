"""Inputs of a step: variables ``DRE_INPUT_<NAME>``, so that no text of a workflow becomes code of a shell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dre_core.errors import UsageError

PREFIX = "DRE_INPUT_"


class Inputs:
    """The inputs of one step.

    Args:
        environ: Environment variables; an empty value is as good as none.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._values = {name: value for name, value in environ.items() if name.startswith(PREFIX)}

    def text(self, name: str, default: str = "") -> str:
        """The text of an input."""
        return self._values.get(PREFIX + name.upper().replace("-", "_"), "").strip() or default

    def lines(self, name: str) -> tuple[str, ...]:
        """The lines of an input that are not blank."""
        return tuple(line.strip() for line in self.text(name).splitlines() if line.strip())

    def flag(self, name: str, default: bool) -> bool:
        """Whether an input is ``true``.

        Raises:
            UsageError: It is neither ``true`` nor ``false``.
        """
        return self.choice(name, ("true", "false"), "true" if default else "false") == "true"

    def choice(self, name: str, options: Sequence[str], default: str) -> str:
        """An input that is one of a few words.

        Raises:
            UsageError: It is another.
        """
        value = self.text(name, default)
        if value not in options:
            raise UsageError(f"input {name} is {value!r}", hint=f"it is one of {', '.join(options)}")
        return value


def without_inputs(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for a command: the step's inputs are none of its business."""
    return {name: value for name, value in environ.items() if not name.startswith(PREFIX)}

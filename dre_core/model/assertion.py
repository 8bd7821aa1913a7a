"""What counts as an assertion beside the ``assert`` statement: a call whose name says that it checks."""

from __future__ import annotations

_CHECKING = ("assert", "check", "verify", "expect", "raises", "warns", "deprecated_call", "fail", "approve")


def is_checking(name: str) -> bool:
    """Whether a function says by its name, as ``assertEqual`` or ``raises``, that it checks something."""
    return name.lstrip("_").lower().startswith(_CHECKING)

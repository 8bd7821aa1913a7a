"""Stages: what one stream of bytes passes through on its way to the record.

Not the user's terminal (that gets the bytes first, untouched) and not the codecs of stored evidence, which
have an inverse. A stage sees every byte once, in order, in chunks of any size, and owes this contract:

* ``feed`` takes a chunk and returns what may go on now; what it holds back is bounded.
* ``settle`` is called when the stream has been quiet for a moment and returns what need not wait any longer,
  so that a record of a prompt or a progress bar stays live.
* ``flush`` ends the stream and returns all that is left. Nothing is fed after it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, runtime_checkable


@runtime_checkable
class Stage(Protocol):
    """One step over one stream."""

    def feed(self, data: bytes, /) -> bytes:
        """Take the next chunk and return what may go on."""
        ...

    def settle(self) -> bytes:
        """Return what need not be held while the stream is quiet."""
        ...

    def flush(self) -> bytes:
        """End the stream and return the rest."""
        ...


class Chain:
    """Stages in order, as one stage.

    Args:
        stages: First to last; none makes the identity.
    """

    def __init__(self, stages: Iterable[Stage] = ()) -> None:
        self._stages = tuple(stages)

    def feed(self, data: bytes, /) -> bytes:
        """Pass a chunk through every stage."""
        for stage in self._stages:
            if not data:
                break
            data = stage.feed(data)
        return data

    def settle(self) -> bytes:
        """Let each stage release what it can; what an earlier one releases passes through the later ones."""
        data = b""
        for stage in self._stages:
            data = (stage.feed(data) if data else b"") + stage.settle()
        return data

    def flush(self) -> bytes:
        """End every stage, first to last."""
        data = b""
        for stage in self._stages:
            data = (stage.feed(data) if data else b"") + stage.flush()
        return data

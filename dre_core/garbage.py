"""Python's search for garbage in cycles, kept out of work that makes many objects and hardly a cycle.

Each full search walks all objects there are, which takes a tenth of a second in a session of ten thousand tests, and
more where the syntax trees of a large change are held: it would start by itself and find nothing. While tests run
nothing is changed.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def unsearched() -> Iterator[None]:
    """Keeps the search from starting by itself meanwhile, where it is switched on."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()

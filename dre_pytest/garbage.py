"""Python's search for garbage in cycles, kept out of the recorder's own work.

Each full search walks all objects of the session, which takes a tenth of a second where there are ten thousand
tests. What the recorder makes before and after the tests is many objects and hardly a cycle, so that it would start
such searches and find nothing. While tests run nothing is changed.
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

"""Where outside tools are installed once, ``~/.cache/dre-tests`` or ``DRE_TEST_CACHE``, and one installer at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Found before any test gets a home of its own.
CACHE = Path(os.environ.get("DRE_TEST_CACHE") or Path.home() / ".cache" / "dre-tests")


@contextmanager
def installing() -> Iterator[None]:
    """Keeps other workers waiting, before one of them finds half of what is being installed."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield

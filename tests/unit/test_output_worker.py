"""Recording in a thread of its own: order, bounds, and errors that come out."""

from __future__ import annotations

import threading

import pytest

from dre_core.errors import StorageError
from dre_core.output import Worker


def test_everything_is_taken_in_order_and_streams_are_not_mixed():
    taken: list[tuple[str, bytes]] = []
    worker = Worker(lambda stream, data, elapsed: taken.append((stream, data)), lambda elapsed: None)
    for number in range(1000):
        worker.put("stdout" if number % 3 else "stderr", b"%d," % number, number)
    worker.finish()
    assert worker.waiting_bytes == 0
    for stream in ("stdout", "stderr"):
        expected = b"".join(b"%d," % n for n in range(1000) if ("stdout" if n % 3 else "stderr") == stream)
        assert b"".join(data for name, data in taken if name == stream) == expected


def test_what_waits_is_counted_until_it_is_taken():
    gate = threading.Event()
    worker = Worker(lambda stream, data, elapsed: gate.wait(10) and None, lambda elapsed: None)
    worker.put("stdout", b"x" * 1000, 0)
    worker.put("stdout", b"y" * 500, 1)
    assert worker.waiting_bytes == 1500
    gate.set()
    worker.finish()
    assert worker.waiting_bytes == 0


def test_an_error_comes_out_and_frees_what_waits():
    def refuse(stream: str, data: bytes, elapsed_ns: int) -> None:
        raise StorageError("no space left on device")

    worker = Worker(refuse, lambda elapsed: None)
    worker.put("stdout", b"x", 0)
    with pytest.raises(StorageError):
        worker.finish()
    assert worker.waiting_bytes == 0
    with pytest.raises(StorageError):
        worker.put("stdout", b"y", 1)

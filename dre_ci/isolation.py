"""Work on hostile input in one killable child with limits on memory, time and written files.

An archive from a stranger goes through parsers written in C (zstd, expat, SQLite's neighbours). Whatever it does to
them happens in a child that can write no file and is ended at its limits; the parent reads back one JSON value,
strictly. Where there is no fork (Windows), the work is done here, under the parsers' own limits.
"""

from __future__ import annotations

import os
import selectors
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO

from dre_core import errors
from dre_core.errors import DREError, LimitError
from dre_core.model import canonical

MEMORY_LIMIT_BYTES = 4 << 30
CPU_LIMIT_SECONDS = 600
WALL_LIMIT_SECONDS = 900.0
_ANSWER_LIMIT_BYTES = 256 << 20


def isolated(work: Callable[[], Any]) -> Any:
    """The JSON value that ``work`` returns, computed in a child.

    Args:
        work: Returns a JSON value without floats beyond JSON's numbers; a DREError that it raises is raised here.

    Raises:
        LimitError: The child died, or ran into a limit.
        DREError: What ``work`` raised.
    """
    if not hasattr(os, "fork"):
        return work()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _answer(work, writer)
    os.close(writer)
    try:
        data = _read(reader, time.monotonic() + WALL_LIMIT_SECONDS)
    finally:
        os.close(reader)
        _end(child)
    return _value(data)


def streamed(work: Callable[[], Iterable[bytes]]) -> Iterator[bytes]:
    """The bytes that ``work`` gives piece by piece, computed in a child as by :func:`isolated`.

    Args:
        work: Gives pieces; a DREError that it raises is raised here, behind the pieces that came before it.

    Raises:
        LimitError: The child died, or ran into a limit.
        DREError: What ``work`` raised.
    """
    if not hasattr(os, "fork"):
        yield from work()
        return
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _stream(work, writer)
    os.close(writer)
    try:
        with os.fdopen(reader, "rb") as stream:
            while (size := int.from_bytes(_exactly(stream, 8), "big")) != _END_OF_STREAM:
                yield _exactly(stream, size)
            answer = _exactly(stream, int.from_bytes(_exactly(stream, 8), "big"))
    finally:
        _end(child)
    _value(answer)


_END_OF_STREAM = (1 << 64) - 1
_PIECE_LIMIT_BYTES = 64 << 20


def _exactly(stream: BinaryIO, size: int) -> bytes:
    # No time limit beside that of the processor: whoever reads may pause.
    data = stream.read(size) if size <= _PIECE_LIMIT_BYTES else b""
    if len(data) != size:
        raise _unfinished()
    return data


def _stream(work: Callable[[], Iterable[bytes]], writer: int) -> None:
    """The child: writes each piece behind its length, then an end mark and what it came to."""
    try:
        _limit()
        with os.fdopen(writer, "wb") as stream:
            answer: dict[str, Any] = {"value": None}
            try:
                for piece in work():
                    stream.write(len(piece).to_bytes(8, "big") + piece)
            except DREError as error:
                answer = _told(error)
            data = canonical.dumps(answer)
            stream.write(_END_OF_STREAM.to_bytes(8, "big") + len(data).to_bytes(8, "big") + data)
    finally:
        os._exit(0)


def _told(error: DREError) -> dict[str, Any]:
    return {"error": [type(error).__name__, error.message, error.hint, error.path, error.slug]}


def _answer(work: Callable[[], Any], writer: int) -> None:
    """The child: works under its limits, answers, and ends without running anything of the parent's."""
    status = 1
    try:
        _limit()
        try:
            answer: dict[str, Any] = {"value": work()}
        except DREError as error:
            answer = _told(error)
        with os.fdopen(writer, "wb") as stream:
            stream.write(canonical.dumps(answer))
        status = 0
    finally:
        os._exit(status)


def _limit() -> None:
    import resource

    for name, limit in (
        (resource.RLIMIT_AS, MEMORY_LIMIT_BYTES),
        (resource.RLIMIT_CPU, CPU_LIMIT_SECONDS),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(name)[1]
        resource.setrlimit(name, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
    # A read-only log is copied to a private folder to be read, so writing can't be forbidden, only bounded.
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def _read(reader: int, deadline: float) -> bytes:
    """Everything the child answers, or nothing if it takes too long or says too much."""
    chunks: list[bytes] = []
    size = 0
    with selectors.DefaultSelector() as selector:
        selector.register(reader, selectors.EVENT_READ)
        while selector.select(max(0.0, deadline - time.monotonic())):
            chunk = os.read(reader, 1 << 20)
            if not chunk:
                return b"".join(chunks)
            chunks.append(chunk)
            size += len(chunk)
            if size > _ANSWER_LIMIT_BYTES:
                break
    return b""


def _end(child: int) -> None:
    # Its answer is in; nothing that it might still do is wanted.
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def _value(data: bytes) -> Any:
    if not data:
        raise _unfinished()
    answer = canonical.loads(data)
    if "error" not in answer:
        return answer["value"]
    name, message, hint, path, slug = answer["error"]
    kind = getattr(errors, name, DREError)
    raise kind(message, hint=hint, path=path, code=slug)


def _unfinished() -> LimitError:
    return LimitError(
        "the work on it did not finish within its limits of memory and time",
        hint="treat this evidence as hostile",
    )

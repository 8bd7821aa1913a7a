"""The record of a command's output: masked, observed for patterns, kept as raw streams and as a recording.

The terminal has the bytes already when they come here. Each stream goes through its own masking stage into its
own item; what comes out of the stage feeds the pattern observer and the asciicast.

A command that writes much gets two threads for all this, one that masks and one that keeps, so that copying to the
terminal does not wait for them. In both wait at most ``QUEUE_BYTES``; when that is reached, :meth:`Output.has_room`
says so and the command's pipe is left alone for a moment, as if its terminal were slow. Nothing unmasked is ever put
on disk. Where the disk is full the bytes are let go, and their digest and size stay.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from dre_core.capture.cast import Cast
from dre_core.capture.collector import Captured
from dre_core.errors import StorageError
from dre_core.intake import Intake, ItemSink
from dre_core.model.canonical import JSON
from dre_core.model.observation import ClosingLine
from dre_core.model.verdict import Vantage
from dre_core.operation import Operation
from dre_core.pipeline.patterns import Patterns, RunnerSummary
from dre_core.store.folder import storage_errors

if TYPE_CHECKING:
    from dre_core.model.streams import Times

# A recording beyond this can't be watched; the raw streams hold every byte.
_CAST_LIMIT_BYTES = 16 << 20
# Below this a stream is read from its beginning as fast.
_INDEXED_FROM_BYTES = 64 << 10
QUEUE_BYTES = 8 << 20
THREAD_AFTER_BYTES = 256 << 10
"""Less output than this is recorded as it comes, without threads."""
_BATCH_BYTES = 512 << 10
_SWITCH_SECONDS = 0.0002
_NUMBERS = ("passed", "failed", "errors", "skipped", "xfailed", "xpassed", "deselected", "rerun")

Listener = Callable[[str, bytes, Patterns, int], None]


class Output:
    """Takes a command's output while it runs.

    Args:
        operation: The operation under way.
        is_terminal: Whether the command writes to a terminal, whose driver ends lines by itself.

    Attributes:
        listener: Told each piece of output after it was recorded: stream, masked bytes, what was found in the
            stream so far, elapsed nanoseconds.
    """

    def __init__(self, operation: Operation, *, is_terminal: bool = False) -> None:
        self._intake: Intake = operation.intake
        self._facts = operation.facts
        self._sinks: dict[str, ItemSink] = {}
        self._patterns: dict[str, Patterns] = {}
        self._times: dict[str, Times] = {}
        command = operation.masker.text(shlex.join(operation.command.argv))
        self._recording = Recording(
            operation.experiment.cast, command, operation.name, returns=not is_terminal
        )
        self._recording_is_kept = False
        self._last_ns = 0
        self._seen_bytes = 0
        self._workers: tuple[Worker, Worker] | None = None
        self._interval_seconds = sys.getswitchinterval()
        self.listener: Listener | None = None

    def has_room(self) -> bool:
        """Whether more can be taken now without holding more than ``QUEUE_BYTES``."""
        return not self._workers or sum(each.waiting_bytes for each in self._workers) < QUEUE_BYTES

    def sink(self, stream: str, data: bytes, elapsed_ns: int) -> None:
        """Takes bytes of one stream.

        Raises:
            StorageError: The record can't be kept; the caller stops recording.
        """
        self._seen_bytes += len(data)
        if self._workers is None and self._seen_bytes > THREAD_AFTER_BYTES:
            # The copying thread asks for the interpreter after each system call; by default it would wait 5 ms.
            sys.setswitchinterval(_SWITCH_SECONDS)
            # Masking holds the interpreter; hashing and compression do not, so they run beside it.
            self._workers = Worker(self._mask, self._settle), Worker(self._keep, self._is_quiet)
        if self._workers is not None:
            self._workers[0].put(stream, data, elapsed_ns)
        else:
            self._mask(stream, data, elapsed_ns)

    def tick(self, elapsed_ns: int) -> None:
        """Lets quiet streams release what need not wait."""
        if self._workers is not None:
            self._workers[0].put("", b"", elapsed_ns)
        else:
            self._settle(elapsed_ns)

    def _mask(self, stream: str, data: bytes, elapsed_ns: int) -> None:
        sink = self._sinks.get(stream)
        if sink is None:
            captured = Captured(
                name=stream, kind="output", vantage=Vantage.OBSERVED, media_type="application/octet-stream"
            )
            self._patterns[stream] = Patterns()
            sink = self._sinks[stream] = self._intake.open(captured)
        self._last_ns = elapsed_ns
        self._hand_on(stream, sink.mask(data), elapsed_ns)

    def _settle(self, elapsed_ns: int) -> None:
        for stream, sink in self._sinks.items():
            self._hand_on(stream, sink.settle(), elapsed_ns)

    def _is_quiet(self, elapsed_ns: int) -> None:
        """Nothing is held behind the masking."""

    def _hand_on(self, stream: str, data: bytes, elapsed_ns: int) -> None:
        if not data:
            return
        if self._workers is not None:
            self._workers[1].put(stream, data, elapsed_ns)
        else:
            self._keep(stream, data, elapsed_ns)

    def _keep(self, stream: str, data: bytes, elapsed_ns: int) -> None:
        sink = self._sinks[stream]
        try:
            sink.store(data)
        except StorageError as error:
            self._give_up(sink, error)
        self._patterns[stream].feed(data)
        if stream not in self._times:
            from dre_core.model.streams import Times

            self._times[stream] = Times()
        self._times[stream].add(elapsed_ns // 1_000_000, self._sinks[stream].size)
        if self.listener is not None:
            self.listener(stream, data, self._patterns[stream], elapsed_ns)
        try:
            self._recording.output(elapsed_ns, data)
        except StorageError as error:
            self._recording.give_up()
            self._facts.gap("recording", f"the terminal recording could not be kept: {error.message}")

    def _give_up(self, sink: ItemSink, error: StorageError) -> None:
        sink.give_up(error.message)
        reason = f"{sink.captured.name} could not be kept, only its digest and size: {error.message}"
        self._facts.gap("output", reason, error.hint)

    def finish(self) -> None:
        """Ends every stream and takes in the items; a command without output leaves an empty ``stdout``.

        Raises:
            StorageError: A thread could not record.
        """
        for worker in self._workers or ():
            worker.finish()
        self._workers = None
        sys.setswitchinterval(self._interval_seconds)
        if not self._sinks:
            self._mask("stdout", b"", 0)
        for stream, sink in self._sinks.items():
            self._hand_on(stream, sink.flush(), self._last_ns)
            self._patterns[stream].flush()
            try:
                self._intake.close(sink)
            except StorageError as error:
                self._give_up(sink, error)
                self._intake.close(sink)
        if self._recording.close():
            self._take_recording()
        if any(sink.size > _INDEXED_FROM_BYTES and sink.is_kept for sink in self._sinks.values()):
            self._take_index()
        if any(patterns.matches for patterns in self._patterns.values()):
            self._take_matches()

    def copy_recording(self, write: Callable[[bytes], object]) -> bool:
        """Gives the terminal recording as it was written; False if it was not kept or somebody changed it.

        Raises:
            StorageError: It can't be read.
        """
        return self._recording_is_kept and self._recording.copy_to(write)

    def release(self) -> None:
        """Lets go of the recording, after which it can't be copied."""
        self._recording.release()

    def _take_recording(self) -> None:
        """Takes the recording in, unless somebody else has written into it."""
        sink = self._intake.open(self._recording.captured(), masked=True)
        try:
            if self._recording.copy_to(sink.store):
                self._intake.close(sink)
                self._recording_is_kept = True
                return
            reason = "the terminal recording was changed by somebody else while the command ran"
        except StorageError as error:
            reason = f"the terminal recording could not be kept: {error.message}"
        sink.writer.abort()
        self._facts.gap("recording", reason)

    def _take_index(self) -> None:
        """The way from places and times in the streams to their frames."""
        from dre_core.model.streams import StreamIndex, index_to_json

        streams = {
            name: StreamIndex(size=sink.size, frames=tuple(sink.frames), times=tuple(self._times[name].pairs))
            for name, sink in self._sinks.items()
            if name in self._times
        }
        self._take_value("streams.index", "index", index_to_json(streams))

    def _take_matches(self) -> None:
        """The first places that each rule found, with their offsets."""
        matches: list[JSON] = [
            {
                "stream": stream,
                "offset": str(match.offset),
                "kind": match.kind,
                "rule": match.rule,
                "text": match.text,
            }
            for stream, patterns in self._patterns.items()
            for match in sorted(patterns.matches, key=lambda match: match.offset)
        ]
        self._take_value("patterns", "patterns", {"matches": matches})

    def _take_value(self, name: str, kind: str, value: JSON) -> None:
        try:
            self._intake.take_json(name, kind, Vantage.OBSERVED, value)
        except StorageError as error:
            self._facts.gap("output", f"{name} could not be kept: {error.message}", error.hint)

    def progress(self) -> dict[str, tuple[int, dict[str, int]]]:
        """How many bytes of each stream are on record, and the matches by rule; any thread may ask."""
        return {
            stream: (sink.size, dict(self._patterns[stream].rule_counts))
            for stream, sink in list(self._sinks.items())
            if stream in self._patterns
        }

    def closing_lines(self) -> tuple[ClosingLine, ...]:
        """Runners' closing lines found in all streams."""
        return tuple(_closing_line(s) for patterns in self._patterns.values() for s in patterns.summaries)

    def pattern_counts(self) -> Mapping[str, int]:
        """Matches by kind over all streams."""
        total: dict[str, int] = {}
        for patterns in self._patterns.values():
            for kind, count in patterns.counts.items():
                total[kind] = total.get(kind, 0) + count
        return total


class Recording:
    """The terminal recording, which stops at a size that nobody could watch.

    Args:
        path: Where it is written.
        command: The command, masked.
        title: The step's name.
        returns: Whether a carriage return is to be put before each line feed.
    """

    def __init__(self, path: Path, command: str, title: str, *, returns: bool) -> None:
        self._path = path
        self._bytes = 0
        self._is_open = True
        self._digest = hashlib.sha256()
        with storage_errors(path):
            self._file: BinaryIO = path.open("w+b")
        width, height = _terminal_size()
        self._cast = Cast(self._write, width, height, time.time(), command, title, returns=returns)

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._digest.update(data)
        self._bytes += len(data)

    @property
    def is_cut(self) -> bool:
        """Whether the recording stopped at its limit."""
        return self._bytes > _CAST_LIMIT_BYTES

    def output(self, elapsed_ns: int, data: bytes) -> None:
        """Records a piece.

        Raises:
            StorageError: No room.
        """
        if self._is_open and not self.is_cut:
            with storage_errors(self._path):
                self._cast.output(elapsed_ns, data)

    def give_up(self) -> None:
        """Frees the room that was taken; nothing is recorded from now on."""
        self._is_open = False
        with suppress(OSError):
            self._path.unlink()
        with suppress(OSError):
            self._file.close()

    def close(self) -> bool:
        """Ends the recording; False if there is none."""
        try:
            if self._is_open:
                self._cast.close()
                self._file.flush()
        except OSError:
            self.give_up()
        return self._is_open

    def copy_to(self, write: Callable[[bytes], object]) -> bool:
        """Hands on what the file holds that was opened at the start, whatever lies at its path by now.

        Returns:
            Whether it holds what was written here.

        Raises:
            StorageError: It can't be read.
        """
        found = hashlib.sha256()
        with storage_errors(self._path):
            self._file.seek(0)
            while chunk := self._file.read(_BATCH_BYTES):
                found.update(chunk)
                write(chunk)
        return found.digest() == self._digest.digest()

    def release(self) -> None:
        """Lets go of the file."""
        with suppress(OSError):
            self._file.close()

    def captured(self) -> Captured:
        """The recording, to be taken in."""
        return Captured(
            name="terminal.cast",
            kind="recording",
            vantage=Vantage.OBSERVED,
            media_type="application/x-asciicast",
            path=self._path,
            note={"cut": "true"} if self.is_cut else {},
        )


class Worker:
    """Records in a thread of its own, in the order of what is put in.

    Args:
        take: Records a piece: stream, bytes, elapsed nanoseconds.
        settle: Told the elapsed nanoseconds when the output has fallen quiet.
    """

    def __init__(self, take: Callable[[str, bytes, int], None], settle: Callable[[int], None]) -> None:
        import threading
        from collections import deque

        self._take = take
        self._settle = settle
        self._queue: deque[tuple[str, bytes, int]] = deque()
        self._filled = threading.Condition()
        self._ended = False
        self._error: Exception | None = None
        self.waiting_bytes = 0
        self._thread = threading.Thread(target=self._run, name="dre-record", daemon=True)
        self._thread.start()

    def put(self, stream: str, data: bytes, elapsed_ns: int) -> None:
        """Hands over a piece; an empty stream name means that the output is quiet.

        Raises:
            StorageError: An earlier piece could not be recorded.
        """
        if self._error is not None:
            raise self._error
        with self._filled:
            self._queue.append((stream, data, elapsed_ns))
            self.waiting_bytes += len(data)
            self._filled.notify()

    def finish(self) -> None:
        """Waits until all is recorded.

        Raises:
            StorageError: It could not be.
        """
        with self._filled:
            self._ended = True
            self._filled.notify()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            while (batch := self._next()) is not None:
                stream, data, elapsed_ns = batch
                if stream:
                    self._take(stream, data, elapsed_ns)
                else:
                    self._settle(elapsed_ns)
                with self._filled:
                    self.waiting_bytes -= len(data)
        except Exception as error:
            with self._filled:
                self._error = error
                self._queue.clear()
                self.waiting_bytes = 0

    def _next(self) -> tuple[str, bytes, int] | None:
        """The next pieces of one stream as one; None after the last."""
        with self._filled:
            while not self._queue:
                if self._ended:
                    return None
                self._filled.wait()
            stream, data, elapsed_ns = self._queue.popleft()
            pieces, size = [data], len(data)
            while self._queue and self._queue[0][0] == stream and size < _BATCH_BYTES:
                _, data, elapsed_ns = self._queue.popleft()
                pieces.append(data)
                size += len(data)
        return stream, b"".join(pieces), elapsed_ns


def _closing_line(summary: RunnerSummary) -> ClosingLine:
    counts = tuple((name, getattr(summary, name)) for name in sorted(_NUMBERS) if getattr(summary, name))
    return ClosingLine(runner=summary.runner, counts=counts, offset=summary.offset, text=summary.text)


def _terminal_size() -> tuple[int, int]:
    try:
        size = os.get_terminal_size(1)
    except (OSError, ValueError):
        return 80, 24
    return size.columns or 80, size.lines or 24

"""The record of a command's output: masked, observed for patterns, kept as raw streams and as a recording.

The terminal has the bytes already when they come here. Each stream goes through its own masking stage into its
own item; what comes out of the stage feeds the pattern observer and the asciicast. Memory is constant.
"""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Mapping
from typing import BinaryIO

from dre_core.capture.cast import Cast
from dre_core.capture.collector import Captured
from dre_core.intake import Intake, ItemSink
from dre_core.model.observation import ClosingLine
from dre_core.model.verdict import Vantage
from dre_core.operation import Operation
from dre_core.pipeline.patterns import Patterns, RunnerSummary
from dre_core.store.folder import storage_errors

# A recording beyond this can't be watched; the raw streams hold every byte.
_CAST_LIMIT_BYTES = 16 << 20
_NUMBERS = ("passed", "failed", "errors", "skipped", "xfailed", "xpassed", "deselected", "rerun")


class Output:
    """Takes a command's output while it runs.

    Args:
        operation: The operation under way.
    """

    def __init__(self, operation: Operation) -> None:
        self._intake: Intake = operation.intake
        self._path = operation.experiment.cast
        self._sinks: dict[str, ItemSink] = {}
        self._patterns: dict[str, Patterns] = {}
        with storage_errors(self._path):
            self._file: BinaryIO = self._path.open("wb")
        size = _terminal_size()
        command = operation.masker.text(shlex.join(operation.command.argv))
        self._cast = Cast(self._write, size[0], size[1], time.time(), command, operation.name)
        self._cast_bytes = 0
        self._last_ns = 0

    def _write(self, data: bytes) -> None:
        self._file.write(data)

    @property
    def cast_is_cut(self) -> bool:
        """Whether the recording stopped at its limit."""
        return self._cast_bytes > _CAST_LIMIT_BYTES

    def sink(self, stream: str, data: bytes, elapsed_ns: int) -> None:
        """Takes bytes of one stream.

        Raises:
            StorageError: The record can't be kept; the caller stops recording.
        """
        sink = self._sinks.get(stream)
        if sink is None:
            captured = Captured(
                name=stream, kind="output", vantage=Vantage.OBSERVED, media_type="application/octet-stream"
            )
            sink = self._sinks[stream] = self._intake.open(captured)
            self._patterns[stream] = Patterns()
        self._last_ns = elapsed_ns
        self._record(stream, sink.write(data), elapsed_ns)

    def tick(self, elapsed_ns: int) -> None:
        """Lets quiet streams release what need not wait."""
        for stream, sink in self._sinks.items():
            self._record(stream, sink.settle(), elapsed_ns)

    def _record(self, stream: str, data: bytes, elapsed_ns: int) -> None:
        if not data:
            return
        self._patterns[stream].feed(data)
        if not self.cast_is_cut:
            self._cast_bytes += len(data)
            with storage_errors(self._path):
                self._cast.output(elapsed_ns, data)

    def finish(self) -> None:
        """Ends every stream and takes in the items; a command without output leaves an empty ``stdout``."""
        if not self._sinks:
            self.sink("stdout", b"", 0)
        for stream, sink in self._sinks.items():
            self._record(stream, self._intake.close(sink), self._last_ns)
            self._patterns[stream].flush()
        with storage_errors(self._path):
            self._cast.close()
            self._file.close()
        captured = Captured(
            name="terminal.cast",
            kind="recording",
            vantage=Vantage.OBSERVED,
            media_type="application/x-asciicast",
            path=self._path,
            note={"cut": "true"} if self.cast_is_cut else {},
        )
        self._intake.take(captured, masked=True)

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


def _closing_line(summary: RunnerSummary) -> ClosingLine:
    counts = tuple((name, getattr(summary, name)) for name in sorted(_NUMBERS) if getattr(summary, name))
    return ClosingLine(runner=summary.runner, counts=counts, offset=summary.offset, text=summary.text)


def _terminal_size() -> tuple[int, int]:
    try:
        size = os.get_terminal_size(1)
    except (OSError, ValueError):
        return 80, 24
    return size.columns or 80, size.lines or 24

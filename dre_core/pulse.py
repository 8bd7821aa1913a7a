"""What the log is told while a command runs: how far its output is, and where its resource use is out of the ordinary.

It begins once a command has run for a second, in a thread of its own with its own handle on the log, so that no sync
of the log holds up a byte of output. An event ``operation.output`` names stream, offset, length and what was found in
the piece, at most one a second and stream; ``metric.alert`` is an anomaly of ``capture/windows.py``. What can't be
written is a gap.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

from dre_core.model import event as events
from dre_core.model.canonical import JSON
from dre_core.model.event import Event
from dre_core.store.log import Log

if TYPE_CHECKING:
    from dre_core.capture.monitor import Monitor
    from dre_core.capture.windows import Metrics
    from dre_core.operation import Operation
    from dre_core.output import Output

_SECONDS = 1.0


class Pulse:
    """The live events of one run.

    Args:
        operation: The operation under way.
        output: Its output.
        monitor: What samples its processes.
    """

    def __init__(self, operation: Operation, output: Output, monitor: Monitor) -> None:
        self._operation = operation
        self._output = output
        self._monitor = monitor
        self._metrics: Metrics | None = None
        self._told: dict[str, tuple[int, Mapping[str, int]]] = {}
        self._ended = threading.Event()
        self._failure = ""
        self._thread = threading.Thread(target=self._run, name="dre-pulse", daemon=True)

    def start(self) -> None:
        """Begins to tell."""
        from dre_core.capture.windows import Metrics

        self._metrics = Metrics()
        self._thread.start()

    def finish(self) -> JSON:
        """Ends, and tells the rest by the operation's own events.

        Returns:
            The windows and alerts of the whole run; None for one that was over before it began to tell.
        """
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        try:
            for event in self._look():
                self._operation.note(event.type, event.data)
        except Exception as error:
            self._failure = str(error) or type(error).__name__
        if self._failure:
            self._operation.facts.gap("events", self._failure)
        return self._metrics.to_json() if self._metrics is not None else None

    def _run(self) -> None:
        try:
            with Log.open(self._operation.folder.log) as log:
                while not self._ended.wait(_SECONDS):
                    log.append(self._look())
        except Exception as error:
            self._failure = str(error) or type(error).__name__

    def _look(self) -> list[Event]:
        found = [self._event("operation.output", piece) for piece in self._pieces()]
        sample = self._monitor.latest
        if self._metrics is None or sample is None:
            return found
        alerts = self._metrics.process(
            sample.t_ns / 1e9,
            sample.cpu_seconds,
            sample.rss_bytes,
            (sample.read_bytes, sample.written_bytes),
            sample.processes,
        )
        return found + [self._event("metric.alert", alert.to_json()) for alert in alerts]

    def _pieces(self) -> list[dict[str, JSON]]:
        pieces: list[dict[str, JSON]] = []
        for stream, (size, rules) in self._output.progress().items():
            before, known = self._told.get(stream, (0, {}))
            if size > before:
                new = {rule: count - known.get(rule, 0) for rule, count in rules.items()}
                pieces.append(
                    {
                        "stream": stream,
                        "offset": str(before),
                        "length": str(size - before),
                        "patterns": {rule: count for rule, count in sorted(new.items()) if count > 0},
                    }
                )
                self._told[stream] = (size, rules)
        return pieces

    def _event(self, event_type: str, data: Mapping[str, JSON]) -> Event:
        operation = self._operation
        return events.new(
            event_type, operation=operation.id, source=f"dre {operation.face}", data=data, now=operation.now
        )

"""What happens beside the recording while a command runs: triggers, and the pictures that belong to them.

Loaded only where a trigger or a picture of the screen is configured. The recorder says what it sees (the start, each
piece of output, the end); this decides which triggers fire, hands them to a process of its own (``capture/lookout.py``)
and takes in what that has seen once the command has ended.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

from dre_core import registry
from dre_core.capture.collector import Captured, Collector, Moment
from dre_core.capture.lookout import FINISH_SECONDS, Lookout, Seen
from dre_core.config import Config
from dre_core.errors import CaptureError, ConfigError, DREError
from dre_core.model.trigger import Occasion, Trigger
from dre_core.model.verdict import Vantage
from dre_core.pipeline.mask import mask_texts

if TYPE_CHECKING:
    from dre_core.capture.result import ProcessResult
    from dre_core.operation import Operation
    from dre_core.pipeline.patterns import Patterns

CopyRecording = Callable[[Callable[[bytes], object]], bool]

SCREEN = "screen"
"""A collector that needs no look at the time: the recording tells later what the screen showed."""
CANCELLED_FINISH_SECONDS = 2.0
"""A CI system that cancels a run soon kills what is left of it."""
_ONCE_IN_MS = 100
_BUILD_TOOLS = ("make", "npm", "tox")
_DETAIL_CHARACTERS = 240
_LOGGED = 500
_ESCAPE = rb"\x1b\[[0-?]*[ -/]*[@-~]"


def collectors_of(settings: Config) -> Mapping[str, Collector]:
    """The collectors that can look while a command runs, by name.

    Raises:
        ConfigError: A trigger names one that there is not.
    """
    manager = registry.load((*registry.COLLECTORS, *registry.LIVE_COLLECTORS), settings.plugins)
    found = registry.by_name(registry.flatten(manager.hook.dre_collectors(config=settings)))
    able = {name: collector for name, collector in found.items() if hasattr(collector, "during")}
    for trigger in settings.triggers:
        for name in trigger.collect:
            if name != SCREEN and name not in able:
                known = ", ".join(sorted((*able, SCREEN)))
                raise ConfigError(
                    f"trigger {trigger.name} asks for {name!r}, which can't look while a command runs",
                    hint=f"one of {known}",
                    path=f"triggers.{trigger.name}.collect",
                )
    return able


class Live:
    """The triggers of one run.

    Args:
        operation: The operation under way.
        collectors: From :func:`collectors_of`.
    """

    def __init__(self, operation: Operation, collectors: Mapping[str, Collector]) -> None:
        self._operation = operation
        self._triggers: tuple[Trigger, ...] = operation.scene.config.triggers
        self._lookout: Lookout | None = None
        if self._triggers:
            masker = operation.masker
            self._lookout = Lookout(
                self._triggers,
                collectors,
                operation.scene,
                lambda value: mask_texts(value, masker),
                operation.experiment.path,
            )
        self._wanted = {occasion for trigger in self._triggers for occasion in trigger.when}
        self._patterns = {
            text.lower().encode(): trigger.name for trigger in self._triggers for text in trigger.patterns
        }
        self._tails: dict[str, bytes] = {}
        self._counted: dict[tuple[str, str], int] = {}
        self._told_ms: dict[str, int] = {}
        self._last_summary: dict[str, object] = {}

    def started(self, pid: int) -> None:
        """The command runs."""
        self._tell(Occasion.START, 0, pid=pid)

    def heard(self, stream: str, data: bytes, patterns: Patterns, elapsed_ns: int) -> None:
        """A piece of output was recorded.

        Args:
            stream: Its stream.
            data: The bytes, masked.
            patterns: What was found in the stream up to here.
            elapsed_ns: Time since the start.
        """
        elapsed_ms = elapsed_ns // 1_000_000
        if Occasion.ERROR_DETECTED in self._wanted and self._grown(stream, "error", patterns.counts["error"]):
            self._tell(Occasion.ERROR_DETECTED, elapsed_ms)
        if Occasion.TEST_COMPLETE in self._wanted and patterns.summaries:
            newest = patterns.summaries[-1]
            if self._last_summary.get(stream) is not newest:
                self._last_summary[stream] = newest
                self._tell(Occasion.TEST_COMPLETE, elapsed_ms, detail=newest.text)
        if Occasion.BUILD_FINISH in self._wanted:
            for tool in _BUILD_TOOLS:
                if self._grown(stream, tool, patterns.rule_counts.get(tool, 0)):
                    self._tell(Occasion.BUILD_FINISH, elapsed_ms, detail=tool)
        if self._patterns:
            self._search(stream, data, elapsed_ms)

    def _grown(self, stream: str, name: str, count: int) -> bool:
        before = self._counted.get((stream, name), 0)
        self._counted[stream, name] = count
        return count > before

    def _search(self, stream: str, data: bytes, elapsed_ms: int) -> None:
        """Looks for the configured texts, across pieces and colours too."""
        tail = self._tails.get(stream, b"")
        plain = re.sub(_ESCAPE, b"", data) if b"\x1b[" in data else data
        text = tail + plain.lower()
        for needle, name in self._patterns.items():
            # What lies in the tail alone was found with the piece before.
            place = text.find(needle, max(0, len(tail) - len(needle) + 1))
            if place >= 0:
                start = text.rfind(b"\n", 0, place) + 1
                line = text[start : start + _DETAIL_CHARACTERS].partition(b"\n")[0]
                self._tell(
                    Occasion.PATTERN, elapsed_ms, trigger=name, detail=line.decode(errors="replace").strip()
                )
        longest = max(map(len, self._patterns)) - 1
        self._tails[stream] = text[-longest:] if longest else b""

    def _tell(
        self, occasion: Occasion, elapsed_ms: int, *, trigger: str = "", pid: int = 0, detail: str = ""
    ) -> None:
        """Passes it on, unless the same happened a moment ago."""
        key = f"{occasion.value}/{trigger}"
        last_ms = self._told_ms.get(key)
        if self._lookout is None or (last_ms is not None and elapsed_ms - last_ms < _ONCE_IN_MS):
            return
        self._told_ms[key] = elapsed_ms
        text = detail[:_DETAIL_CHARACTERS]
        self._lookout.tell(occasion, elapsed_ms, trigger=trigger, pid=pid, detail=text)

    def abandon(self) -> None:
        """The command could not be started."""
        if self._lookout is not None:
            self._lookout.stop()

    def finish(self, result: ProcessResult, copy_recording: CopyRecording) -> None:
        """Lets the last triggers fire, and takes in what all of them have seen and the screen's pictures.

        Args:
            result: How the command ended.
            copy_recording: Writes the terminal recording as it was made; False where there is none.
        """
        elapsed_ms = (result.ended_ns - result.started_ns) // 1_000_000
        moments: list[Moment] = []
        if self._lookout is not None:
            if result.exit_code != 0:
                self._tell(Occasion.ERROR, elapsed_ms, detail=_ending(result))
            self._tell(Occasion.COMPLETE, elapsed_ms, detail=_ending(result))
            wait_seconds = FINISH_SECONDS if result.cancelled_by is None else CANCELLED_FINISH_SECONDS
            for seen in self._lookout.finish(wait_seconds):
                if isinstance(seen, str):
                    self._operation.facts.gap("triggers", seen)
                elif seen.captured is None:
                    moments.append(seen.moment)
                else:
                    self._take(seen)
        for moment in moments[:_LOGGED]:
            self._operation.note("evidence.triggered", _event(moment))
        self._draw(moments, copy_recording)

    def _take(self, seen: Seen) -> None:
        assert seen.captured is not None
        captured = seen.captured
        name = f"{_folder(seen.moment)}/{captured.name}"
        note = {**captured.note, **_note(seen.moment)}
        try:
            self._operation.intake.take(self._operation.looked_at(_renamed(captured, name, note)))
        except DREError as error:
            self._operation.facts.gap("triggers", f"{name}: {error}")

    def _draw(self, moments: list[Moment], copy_recording: CopyRecording) -> None:
        """The screen at the moments whose trigger asks for it, and at the end if that is configured."""
        asking = {trigger.name: trigger for trigger in self._triggers if SCREEN in trigger.collect}
        asked = [moment for moment in moments if moment.trigger in asking]
        asked.sort(key=lambda moment: moment.elapsed_ms)
        wanted: list[Moment | None] = [*asked]
        if self._operation.scene.config.visual.screen:
            wanted.append(None)
        if not wanted:
            return
        from dre_core.capture.screen import pictures

        times = [moment.elapsed_ms if moment is not None else 1 << 50 for moment in wanted]
        shown: dict[str, bytes] = {}
        try:
            with TemporaryFile() as recording:
                if not copy_recording(recording.write):
                    raise CaptureError("there is no recording to draw the screen from")
                recording.seek(0)
                for moment, picture in zip(wanted, pictures(recording, times), strict=True):
                    self._take_picture(moment, picture, asking, shown)
        except (DREError, OSError) as error:
            hint = error.hint if isinstance(error, DREError) else ""
            self._operation.facts.gap("screen", str(error), hint)

    def _take_picture(
        self, moment: Moment | None, picture: bytes, asking: Mapping[str, Trigger], shown: dict[str, bytes]
    ) -> None:
        if moment is not None and Occasion.UI_CHANGE in asking[moment.trigger].when:
            if shown.get(moment.trigger) == picture:
                return
            shown[moment.trigger] = picture
        captured = Captured(
            name=f"{_folder(moment)}/screen.svg" if moment is not None else "screen.svg",
            kind="screen",
            vantage=Vantage.OBSERVED,
            media_type="image/svg+xml",
            data=picture,
            note=_note(moment) if moment is not None else {},
        )
        self._operation.intake.take(captured)


def _folder(moment: Moment) -> str:
    return f"moment/{moment.number:04}-{moment.occasion}"


def _note(moment: Moment) -> dict[str, str]:
    note = {"trigger": moment.trigger, "occasion": moment.occasion, "elapsedMs": str(moment.elapsed_ms)}
    return {**note, "detail": moment.detail} if moment.detail else note


def _event(moment: Moment) -> dict[str, str | int]:
    return {
        "trigger": moment.trigger,
        "occasion": moment.occasion,
        "number": moment.number,
        "elapsed_ms": moment.elapsed_ms,
    }


def _renamed(captured: Captured, name: str, note: Mapping[str, str]) -> Captured:
    from dataclasses import replace

    return replace(captured, name=name, note=note)


def _ending(result: ProcessResult) -> str:
    return f"exit {result.exit_code}" if result.exit_code is not None else f"signal {result.signal}"

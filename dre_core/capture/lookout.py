"""A process of its own that lets collectors look while the command runs, each time a trigger fires.

Not in the recorder's way: what a collector takes long for (a picture of a page, a walk over a large tree) holds up
neither the command's output nor its end. The recorder tells it by a pipe what happened; it keeps the time of intervals
itself. What the collectors saw goes, masked where it is text, into a file without a name that the two share, so that no
other process can reach it, and is read back after the run. Nothing is started before a trigger is configured.

It is no part of the command: it lies outside its process group, has none of its descriptors, ignores its signals and
dies with the recorder.
"""

from __future__ import annotations

import json
import os
import select
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from dre_core.capture import kernel
from dre_core.capture.collector import Captured, Collector, Moment, Scene
from dre_core.errors import DREError
from dre_core.model import canonical
from dre_core.model.digest import sha256
from dre_core.model.text import printable
from dre_core.model.trigger import Occasion, Trigger
from dre_core.model.verdict import Vantage

FINISH_SECONDS = 20.0
"""So long the last looks may take after the command has ended."""
ITEM_LIMIT_BYTES = 64 << 20
TOTAL_LIMIT_BYTES = 1 << 30
_LENGTH_BYTES = 8
_MESSAGE_LIMIT_BYTES = 4000
_IGNORED = (
    "SIGINT",
    "SIGTERM",
    "SIGHUP",
    "SIGQUIT",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGUSR1",
    "SIGUSR2",
    "SIGPIPE",
)

Mask = Callable[[Any], Any]


class Lookout:
    """The recorder's side.

    Args:
        triggers: What fires when.
        collectors: Collectors that have ``during``, by name; those missing are looked for elsewhere.
        scene: Where the run takes place.
        mask: Masks the texts of a JSON value.
        scratch: A folder for the shared file, which has no name in it.
    """

    def __init__(
        self,
        triggers: Sequence[Trigger],
        collectors: Mapping[str, Collector],
        scene: Scene,
        mask: Mask,
        scratch: Path,
    ) -> None:
        import tempfile

        self._file: BinaryIO = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115
        messages, self._send = os.pipe()
        os.set_blocking(self._send, False)
        self._dropped = 0
        self._pid = os.fork()
        if self._pid == 0:
            _live_apart(messages, self._file.fileno())
            try:
                _Post(triggers, collectors, scene, mask, messages, self._file).run()
            finally:
                os._exit(0)
        kernel.let_go(messages)

    def tell(
        self, occasion: Occasion, elapsed_ms: int, *, trigger: str = "", pid: int = 0, detail: str = ""
    ) -> None:
        """Says that something happened; never waits.

        Args:
            occasion: What.
            elapsed_ms: Since the start of the command.
            trigger: The only trigger that this is for; empty for all.
            pid: The command's process id, once it runs.
            detail: What is to be told of it, masked.
        """
        message = {
            "occasion": occasion.value,
            "ms": elapsed_ms,
            "trigger": trigger,
            "pid": pid,
            "detail": detail,
        }
        line = json.dumps(message).encode()[:_MESSAGE_LIMIT_BYTES] + b"\n"
        try:
            os.write(self._send, line)
        except OSError:
            self._dropped += 1

    def stop(self) -> None:
        """Ends it without waiting for anything it does."""
        kernel.let_go(self._send)
        self._kill()
        self._file.close()

    def _kill(self) -> None:
        with suppress(OSError):
            os.killpg(self._pid, signal.SIGKILL)
        with suppress(OSError):
            os.waitpid(self._pid, 0)

    def finish(self, wait_seconds: float = FINISH_SECONDS) -> Iterator[Seen | str]:
        """Waits for the last looks and gives what was seen, in order, and a text for each thing that failed.

        Args:
            wait_seconds: What is not done by then is lost.
        """
        kernel.let_go(self._send)
        if not _ended(self._pid, wait_seconds):
            yield f"the last looks took longer than {wait_seconds:g} s"
            self._kill()
        if self._dropped:
            yield f"{self._dropped} moments came faster than they could be looked at"
        with self._file as file:
            file.seek(0)
            yield from _frames(file)


class Seen:
    """A moment, and what one collector saw then; ``captured`` is None for the moment itself."""

    __slots__ = ("captured", "moment")

    def __init__(self, moment: Moment, captured: Captured | None) -> None:
        self.moment = moment
        self.captured = captured


def _ended(pid: int, wait_seconds: float) -> bool:
    deadline = time.monotonic() + wait_seconds
    while time.monotonic() < deadline:
        with suppress(ChildProcessError):
            if os.waitpid(pid, os.WNOHANG)[0] == 0:
                time.sleep(0.01)
                continue
        return True
    return False


def _frames(file: BinaryIO) -> Iterator[Seen | str]:
    """What the post wrote; a frame cut by its death ends it."""
    while len(head := file.read(2 * _LENGTH_BYTES)) == 2 * _LENGTH_BYTES:
        sizes = (int.from_bytes(head[:_LENGTH_BYTES], "big"), int.from_bytes(head[_LENGTH_BYTES:], "big"))
        text, data = file.read(sizes[0]), file.read(sizes[1])
        if len(text) < sizes[0] or len(data) < sizes[1]:
            break
        record = json.loads(text)
        if "failed" in record:
            yield str(record["failed"])
            continue
        moment = Moment(**record["moment"])
        if "name" not in record:
            yield Seen(moment, None)
            continue
        captured = Captured(
            name=record["name"],
            kind=record["kind"],
            vantage=Vantage(record["vantage"]),
            media_type=record["media_type"],
            value=canonical.loads(data) if record["is_value"] else None,
            data=None if record["is_value"] else data,
            note=record["note"],
        )
        yield Seen(moment, captured)


def _live_apart(messages: int, file: int) -> None:
    """Cuts the forked process off: no group, no terminal, no descriptors, no signals, no memory to be read."""
    kernel.die_with_parent(signal.SIGKILL)
    kernel.hide_memory()
    os.setsid()
    for name in _IGNORED:
        number = getattr(signal, name, None)
        if number is not None:
            signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    nothing = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nothing, fd)
    low, high = sorted((messages, file))
    os.closerange(3, low)
    os.closerange(low + 1, high)
    os.closerange(high + 1, os.sysconf("SC_OPEN_MAX"))


class _Post:
    """The forked process: waits for messages and intervals, and looks."""

    def __init__(
        self,
        triggers: Sequence[Trigger],
        collectors: Mapping[str, Collector],
        scene: Scene,
        mask: Mask,
        messages: int,
        file: BinaryIO,
    ) -> None:
        self._triggers = triggers
        self._collectors = collectors
        self._scene = scene
        self._mask = mask
        self._messages = messages
        self._file = file
        self._buffer = b""
        self._open = True
        self._number = 0
        self._pid = 0
        self._began = 0.0
        self._due: dict[str, float] = {}
        self._fired: dict[str, int] = {}
        self._last: dict[tuple[str, str], str] = {}

    def run(self) -> None:
        """Look until the recorder closes the pipe."""
        try:
            while self._open:
                for message in self._wait():
                    self._happened(message)
                self._keep_time()
        finally:
            for collector in self._collectors.values():
                with suppress(Exception):
                    getattr(collector, "close", lambda: None)()

    def _wait(self) -> list[dict[str, Any]]:
        now = time.monotonic()
        wait = max(0.0, min(self._due.values()) - now) if self._due else None
        if not select.select([self._messages], [], [], wait)[0]:
            return []
        data = os.read(self._messages, 65536)
        self._open = bool(data)
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        found = []
        for line in lines:
            with suppress(ValueError):
                found.append(json.loads(line))
        return found

    def _happened(self, message: dict[str, Any]) -> None:
        occasion = Occasion(message["occasion"])
        if occasion is Occasion.START:
            self._pid = message["pid"]
            self._began = time.monotonic() - message["ms"] / 1000
            self._due = {
                t.name: self._began + t.interval_seconds for t in self._triggers if t.interval_seconds
            }
        elif occasion in (Occasion.ERROR, Occasion.COMPLETE):
            self._pid = 0
            self._due = {}
        for trigger in self._triggers:
            if occasion in trigger.when and message["trigger"] in ("", trigger.name):
                self._look(trigger, occasion, message["ms"], message["detail"])

    def _keep_time(self) -> None:
        now = time.monotonic()
        for trigger in self._triggers:
            if self._due.get(trigger.name, now + 1) <= now:
                self._look(trigger, Occasion.INTERVAL, int((now - self._began) * 1000), "")
                # A look that took long makes the next ones rarer, never bunched.
                self._due[trigger.name] = max(now + trigger.interval_seconds, time.monotonic())
                if self._fired.get(trigger.name, 0) >= trigger.limit:
                    del self._due[trigger.name]

    def _look(self, trigger: Trigger, occasion: Occasion, elapsed_ms: int, detail: str) -> None:
        fired = self._fired[trigger.name] = self._fired.get(trigger.name, 0) + 1
        if fired > trigger.limit:
            if fired == trigger.limit + 1:
                self._fail(f"trigger {trigger.name} has fired {trigger.limit} times, the rest is left out")
            return
        self._number += 1
        moment = Moment(
            trigger=trigger.name,
            occasion=occasion.value,
            number=self._number,
            elapsed_ms=elapsed_ms,
            pid=self._pid,
            detail=detail,
        )
        self._write({"moment": _fields(moment)}, b"")
        for name in trigger.collect:
            collector = self._collectors.get(name)
            if collector is not None:
                self._collect(trigger, collector, moment)

    def _collect(self, trigger: Trigger, collector: Collector, moment: Moment) -> None:
        try:
            for captured in collector.during(self._scene, moment):  # type: ignore[attr-defined]
                self._keep(trigger, captured, moment)
        except (DREError, OSError, ValueError) as error:
            self._fail(f"{collector.name} at {moment.occasion}: {self._mask(printable(str(error)))}")
        except Exception as error:  # a stranger's collector must not end the others' work
            self._fail(f"{collector.name} at {moment.occasion}: {type(error).__name__}")

    def _keep(self, trigger: Trigger, captured: Captured, moment: Moment) -> None:
        is_value = captured.path is None and captured.data is None
        data = canonical.dumps(self._mask(captured.value)) if is_value else _bytes_of(captured)
        if Occasion.UI_CHANGE in trigger.when:
            digest = sha256(data)
            if self._last.get((trigger.name, captured.name)) == digest:
                return
            self._last[trigger.name, captured.name] = digest
        if self._file.tell() + len(data) > TOTAL_LIMIT_BYTES:
            self._fail(
                f"more than {TOTAL_LIMIT_BYTES} bytes were seen at triggers, {captured.name} is left out"
            )
            return
        record = {
            "moment": _fields(moment),
            "name": captured.name,
            "kind": captured.kind,
            "vantage": captured.vantage.value,
            "media_type": captured.media_type,
            "is_value": is_value,
            "note": dict(captured.note),
        }
        self._write(record, data)

    def _fail(self, text: str) -> None:
        self._write({"failed": text}, b"")

    def _write(self, record: Mapping[str, Any], data: bytes) -> None:
        text = json.dumps(record).encode()
        sizes = len(text).to_bytes(_LENGTH_BYTES, "big") + len(data).to_bytes(_LENGTH_BYTES, "big")
        self._file.write(sizes + text + data)
        self._file.flush()


def _bytes_of(captured: Captured) -> bytes:
    data = captured.data
    if data is None:
        assert captured.path is not None
        with captured.path.open("rb") as stream:
            data = stream.read(ITEM_LIMIT_BYTES + 1)
    if len(data) > ITEM_LIMIT_BYTES:
        raise ValueError(f"{captured.name} is larger than {ITEM_LIMIT_BYTES} bytes")
    return data


def _fields(moment: Moment) -> dict[str, Any]:
    return {name: getattr(moment, name) for name in Moment.__slots__}

"""The last runs of each command: a file a command under ``.dre/cache/past``, one JSON line a sealed run, newest last.

A convenience, not evidence: whoever can write the folder can write these lines. Each one names the payload digest of
its run, which the log holds, so what it says can be checked there. A file that can't be read is as good as none.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from dre_core.errors import FormatError
from dre_core.model.digest import hex_of, sha256
from dre_core.model.fields import Fields
from dre_core.model.run import CommandFacts, PastRun

RECALLED = 5
_KEPT_LINES = 50
_READ_BYTES = 64 << 10


class Past:
    """The last runs of one command in one folder.

    Args:
        dre_dir: The ``.dre`` folder.
        command: The command, masked.
    """

    def __init__(self, dre_dir: Path, command: CommandFacts) -> None:
        words = json.dumps([*command.argv, command.cwd, command.shell])
        key = hex_of(sha256(words.encode("utf-8", "surrogatepass")))[:32]
        self._path = dre_dir / "cache" / "past" / f"{key}.jsonl"

    def recall(self) -> tuple[PastRun, ...]:
        """The last runs, oldest first."""
        return tuple(_parsed(self._lines()))[-RECALLED:]

    def remember(self, run: PastRun) -> None:
        """Adds a run; what can't be written is not remembered."""
        line = json.dumps(run.to_json()).encode() + b"\n"
        lines = self._lines()
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if len(lines) >= 2 * _KEPT_LINES:
                fresh = self._path.with_suffix(f".{os.getpid()}")
                fresh.write_bytes(b"\n".join(lines[-_KEPT_LINES:]) + b"\n" + line)
                fresh.replace(self._path)
            else:
                with self._path.open("ab") as stream:
                    stream.write(line)
        except OSError:
            return

    def _lines(self) -> list[bytes]:
        try:
            with self._path.open("rb") as stream:
                stream.seek(0, os.SEEK_END)
                stream.seek(max(0, stream.tell() - _READ_BYTES))
                return stream.read().splitlines()
        except OSError:
            return []


def _parsed(lines: Iterable[bytes]) -> Iterable[PastRun]:
    for line in lines:
        try:
            yield PastRun.parse(Fields(json.loads(line)))
        except (ValueError, RecursionError, FormatError):
            continue

"""The last runs of each command: a file a command under ``.dre/cache/past``, one JSON line a sealed run, newest last.

A convenience, not evidence: whoever can write the folder can write these lines. Each one names the payload digest of
its run, which the log holds, so what it says can be checked there. A file that can't be read is as good as none.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from dre_core.errors import FormatError, StorageError
from dre_core.model import canonical
from dre_core.model.digest import hex_of, sha256
from dre_core.model.fields import Fields
from dre_core.model.run import CommandFacts, PastRun
from dre_core.store.folder import open_regular

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
                self._append(line)
        except OSError:
            return

    def _append(self, line: bytes) -> None:
        """Adds a line to the regular file; what a command may have put in its place is left alone."""
        flags = (
            os.O_WRONLY
            | os.O_APPEND
            | os.O_CREAT
            | getattr(os, "O_NOFOLLOW", 0)
            | getattr(os, "O_NONBLOCK", 0)
        )
        descriptor = os.open(self._path, flags, 0o600)
        try:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                os.write(descriptor, line)
        finally:
            os.close(descriptor)

    def _lines(self) -> list[bytes]:
        try:
            with open_regular(self._path) as stream:
                stream.seek(0, os.SEEK_END)
                stream.seek(max(0, stream.tell() - _READ_BYTES))
                return stream.read(_READ_BYTES).splitlines()
        except (OSError, StorageError):
            return []


def _parsed(lines: Iterable[bytes]) -> Iterable[PastRun]:
    for line in lines:
        try:
            # Strictly: what is recalled goes into a Statement, and must not keep it from being written.
            yield PastRun.parse(Fields(canonical.loads(line)))
        except (ValueError, RecursionError, FormatError):
            continue

"""The journals of a command's test sessions, remembered while they grow.

A journal is only ever appended to, line by line. Its chain of hashes shows who cut or changed it, but not who wrote it
anew with a chain of its own when the session was over. Whoever looks on while it grows knows how it began: those bytes
must still be there in the end.

Not a guard: what is written and rewritten between two looks was never seen. The folder is the workload's to write to,
so nothing in it is followed or waited for.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from dre_core.errors import StorageError
from dre_core.store.folder import open_regular

_READ_BYTES = 1 << 20
"""So much is read of a journal at one look, for meanwhile the command's output waits."""
_FILES_LIMIT = 256


class Growth:
    """The whole lines that were seen of each journal.

    Args:
        folder: The operation's journal folder; need not exist yet.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = os.fspath(folder)
        self._seen: dict[str, _Beginning] = {}

    def look(self) -> None:
        """Takes in what was appended since the last look."""
        for name, size in self._journals():
            known = self._seen.get(name)
            if known is None:
                if len(self._seen) >= _FILES_LIMIT:
                    continue
                known = self._seen[name] = _Beginning(Path(self._folder, name))
            if size > known.size_bytes:
                known.extend()

    def rewritten(self) -> tuple[str, ...]:
        """The journals that no longer begin as they did, sorted: ``<session>/<worker>.jsonl``."""
        return tuple(sorted(name for name, known in self._seen.items() if not known.still_there()))

    def _journals(self) -> Iterator[tuple[str, int]]:
        """Name and size of each regular file named like a journal; asked for too often for a glob."""
        with suppress(OSError), os.scandir(self._folder) as sessions:
            for session in sessions:
                if session.is_dir(follow_symlinks=False):
                    yield from self._journals_of(session.name)

    def _journals_of(self, session: str) -> Iterator[tuple[str, int]]:
        with suppress(OSError), os.scandir(os.path.join(self._folder, session)) as files:
            for file in files:
                if file.name.endswith(".jsonl") and file.is_file(follow_symlinks=False):
                    yield os.path.join(session, file.name), file.stat(follow_symlinks=False).st_size


class _Beginning:
    """The whole lines that a file was seen to begin with."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._hash = sha256()
        self.size_bytes = 0

    def extend(self) -> None:
        """Reads on from where it was, to the end of the last whole line."""
        with suppress(OSError, StorageError), open_regular(self._path) as stream:
            stream.seek(self.size_bytes)
            data = stream.read(_READ_BYTES)
            whole = data[: data.rfind(b"\n") + 1]
            self._hash.update(whole)
            self.size_bytes += len(whole)

    def still_there(self) -> bool:
        """Whether the file begins with the same bytes; one that is gone does not."""
        now = sha256()
        left = self.size_bytes
        with suppress(OSError, StorageError), open_regular(self._path) as stream:
            while left and (data := stream.read(min(left, _READ_BYTES))):
                now.update(data)
                left -= len(data)
        return not left and now.digest() == self._hash.digest()

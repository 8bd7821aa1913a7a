"""The writer of a session's journal, in the process that is recorded.

The format is that of ``model/journal.py``. It must not break the run that it is part of: after the file is open,
nothing in here raises for a full disk, a closed descriptor or a forked child.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from errno import EIO
from hashlib import sha256
from json.encoder import encode_basestring
from pathlib import Path
from typing import Any

from dre_core.model.canonical import JSON, dumps

WITHHELD = "[withheld: masking failed]"

Mask = Callable[[str], str]

# Tests patch these on the modules; the journal keeps the genuine ones.
_write, _open, _close, _fstat, _getpid, _seek = os.write, os.open, os.close, os.fstat, os.getpid, os.lseek
_ftruncate = getattr(os, "ftruncate", None)
_FLAGS = os.O_WRONLY | os.O_APPEND | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def clean(text: str) -> str:
    r"""Text that UTF-8 can carry: lone surrogates become ``\udcff``."""
    if text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


class Journal:
    """The writer of one process's file.

    Args:
        path: The file; must not exist. Its folder is made.
        nonce: Starts the chain.
        mask: Removes secrets from text. One that raises withholds the text.

    Raises:
        OSError: The file can't be made.

    Later errors never raise: the line is lost, :attr:`lost` counts it and :attr:`problem` says why. A child
    that was forked off inherits the object but writes nothing.
    """

    def __init__(self, path: Path, *, nonce: str, mask: Mask) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = path
        self.lost = 0
        self.problem = ""
        self._name = os.fspath(path.absolute())
        self._mask = mask
        self._pid = _getpid()
        self._descriptor = _open(self._name, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600)
        self._identity = self._stat()
        self._size = 0
        self._seq = 0
        self._previous = clean(nonce)

    @property
    def owned(self) -> bool:
        """Whether this process is the one that opened the journal."""
        return _getpid() == self._pid

    def text(self, value: str) -> str:
        """A text as it may be kept: encodable and masked."""
        try:
            return clean(self._mask(clean(value)))
        except Exception:
            return WITHHELD

    def quoted(self, value: str) -> str:
        """The same as a JSON string, for :meth:`passed`."""
        return encode_basestring(self.text(value))

    def write(self, kind: str, fields: Mapping[str, JSON], plain: Mapping[str, JSON] | None = None) -> bool:
        """Append a record.

        Args:
            kind: One of the kinds above.
            fields: Members whose strings are masked, whatever their depth.
            plain: Members that are kept as they are: digests, words of the format, and what went through
                :meth:`text` already.

        Returns:
            Whether the line was written.
        """
        if not self.owned:
            return False
        masked = {name: self._masked(value) for name, value in fields.items()}
        record = {**masked, **(plain or {}), "kind": kind, "prev": self._previous, "seq": self._seq}
        return self._append(dumps(record))

    def passed(
        self,
        quoted_id: str,
        quoted_file: str,
        line: int,
        body_called: str,
        body_raised: str,
        phases: tuple[int, int, int, int, int, int],
        asserts: str = "",
        markers: str = "",
        reaches: str = "",
    ) -> bool:
        """Append the line of an ordinary passed test: :meth:`write`, formatted by hand for speed.

        Args:
            quoted_id: Node id from :meth:`quoted`.
            quoted_file: Path from :meth:`quoted`.
            line: 1-based line of the definition.
            body_called: ``true``, ``false`` or ``null``.
            body_raised: The same.
            phases: Microseconds and CPU microseconds of setup, call and teardown.
            asserts: The member ``"asserts":1,`` or nothing.
            markers: The member ``"markers":["slow"],`` or nothing.
            reaches: The member ``"reaches":true,`` or nothing.
        """
        setup, setup_cpu, call, call_cpu, teardown, teardown_cpu = phases
        return self._append(
            (
                f'{{{asserts}"body_called":{body_called},"body_raised":{body_raised},'
                f'"call":["passed",{call},{call_cpu}],"file":{quoted_file},"id":{quoted_id},"kind":"test",'
                f'"line":{line},{markers}"outcome":"passed","prev":"{self._previous}",{reaches}"seq":{self._seq},'
                f'"setup":["passed",{setup},{setup_cpu}],"teardown":["passed",{teardown},{teardown_cpu}]}}'
            ).encode()
        )

    def close(self) -> None:
        """Close the file; further lines are lost."""
        if self._descriptor >= 0:
            if self._stat() == self._identity:
                _close(self._descriptor)
            self._descriptor = -1

    def _masked(self, value: Any) -> JSON:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            # Identifiers are names of fields; what is masked are paths and node ids that serve as keys.
            return {
                name if name.isidentifier() else self.text(name): self._masked(member)
                for name, member in value.items()
            }
        if isinstance(value, (list, tuple)):
            return [self._masked(item) for item in value]
        return value  # type: ignore[no-any-return]

    def _append(self, line: bytes) -> bool:
        if _getpid() != self._pid:
            return False
        try:
            # A test may have closed every descriptor; ours could be another file's by now.
            if self._place() != self._size and self._stat() != self._identity:
                self._reopen()
            data = line + b"\n"
            if _write(self._descriptor, data) != len(data):
                raise OSError(EIO, "short write")
        except OSError as error:
            self._forget(error)
            return False
        self._size += len(data)
        self._seq += 1
        self._previous = sha256(line).hexdigest()
        return True

    def _place(self) -> int:
        """Where the descriptor stands: at the end of what was written, if it is ours. Cheaper than its identity."""
        try:
            return _seek(self._descriptor, 0, os.SEEK_CUR)
        except OSError:
            return -1

    def _stat(self) -> tuple[int, int] | None:
        try:
            status = _fstat(self._descriptor)
        except OSError:
            return None
        return status.st_ino, status.st_dev

    def _reopen(self) -> None:
        self._descriptor = _open(self._name, _FLAGS)
        if self._stat() != self._identity:
            _close(self._descriptor)
            self._descriptor = -1
            raise OSError(EIO, "the journal was replaced")

    def _forget(self, error: OSError) -> None:
        """Note the loss, and take back the part that was written so that later lines stay readable."""
        self.lost += 1
        self.problem = self.problem or f"{error.strerror or type(error).__name__}"
        if _ftruncate is not None and self._stat() == self._identity:
            try:
                if _fstat(self._descriptor).st_size > self._size:
                    _ftruncate(self._descriptor, self._size)
            except OSError:
                pass


class Outputs:
    """The writer of ``<worker>.out``: captured output whole, masked, one test after the other.

    Args:
        path: The file; made when there is something to write.

    Errors never raise: the text is lost, and :attr:`problem` says why.
    """

    def __init__(self, path: Path) -> None:
        self._name = os.fspath(path.absolute())
        self._descriptor = -1
        self._size = 0
        self._pid = _getpid()
        self.problem = ""

    def append(self, text: str) -> list[JSON]:
        """Write a text that is masked already.

        Returns:
            Offset and size in bytes; empty if it was lost.
        """
        if self.problem or _getpid() != self._pid:
            return []
        data = clean(text).encode()
        offset = self._size
        try:
            if self._descriptor < 0 or not self._is_mine():
                self._descriptor = _open(self._name, _FLAGS | os.O_CREAT, 0o600)
            view = memoryview(data)
            while view:
                view = view[_write(self._descriptor, view) :]
        except OSError as error:
            self.problem = error.strerror or type(error).__name__
            return []
        self._size += len(data)
        return [offset, len(data)]

    def _is_mine(self) -> bool:
        """A test may have closed every descriptor; ours could be another file's by now."""
        try:
            here, there = _fstat(self._descriptor), os.stat(self._name)
        except OSError:
            return False
        return (here.st_ino, here.st_dev) == (there.st_ino, there.st_dev)

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0 and self._is_mine():
            _close(self._descriptor)
        self._descriptor = -1

r"""Bytecode of a project's files, made while its tests run elsewhere: forked cells need not compile them again.

Not part of DRE's process and stands alone, as ``forker.py`` does, whose process holds what is made. A fork of that has
the lowest priority and compiles what lies in the user's tree, and texts that it is told; it runs none of it. It is
ended when the first cell is wanted. What it made is put into a clone before anything of the project runs there, for
files whose bytes are the very same: as a cache that Python checks by the source's hash, and for tests as pytest's own,
which has their assertions rewritten. No cell reads what another has written. A file of which a compilation warns is
left out, for the warning is part of what its import does.

The request is a folder, and paths with the source of other versions of theirs, with NUL between. The answer is read
when it is wanted: for each file its path, NUL, and kind, digest and length as :data:`_HEAD` packs them, and bytecode.
"""

from __future__ import annotations

import hashlib
import marshal
import os
import struct
import sys
import warnings
from collections.abc import Iterator
from contextlib import suppress
from importlib import util
from itertools import chain
from typing import Any

_HEAD = struct.Struct(">c32sI")
_PLAIN, _REWRITTEN = b"p", b"r"
_FILES_LIMIT = 2_000
_FILE_LIMIT_BYTES = 512 << 10
_ALL_LIMIT_BYTES = 16 << 20
_MADE_LIMIT_BYTES = 64 << 20
_LOWEST = 19
_CHECKED_BY_HASH = (3).to_bytes(4, "little")
_BY_TIME = bytes(4)
_SETTINGS = (".ini", ".toml", ".cfg")
_OTHER_REWRITING = b"enable_assertion_pass_hook"


class Bytecode:
    """What the process that cells are forked from holds for them."""

    def __init__(self) -> None:
        self._pid = 0
        self._answer = -1
        self._made: dict[str, dict[bytes, tuple[bytes, bytes]]] = {}

    def begin(self, request: int) -> bool:
        """Has a fork compile what a file asks for, and closes it; True in the fork, which then is to end."""
        try:
            if self._pid or self._made:
                return False
            self._answer = os.memfd_create("dre-bytecode", os.MFD_CLOEXEC)
            self._pid = os.fork()
            if self._pid:
                return False
            with suppress(OSError, AttributeError):
                os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
            with suppress(OSError):
                os.nice(_LOWEST)
            _answer(os.pread(request, _ALL_LIMIT_BYTES, 0), self._answer)
            return True
        except OSError:
            return self._pid == 0 and self._answer >= 0
        finally:
            os.close(request)

    def end(self) -> None:
        """Ends the fork and takes what it has made so far."""
        if not self._pid:
            return
        with suppress(OSError):
            os.kill(self._pid, 9)
            os.waitpid(self._pid, 0)
        with open(self._answer, "rb") as stream:
            stream.seek(0)
            self._take(stream.read(_MADE_LIMIT_BYTES))
        self._pid, self._answer = 0, -1

    def _take(self, data: bytes) -> None:
        place = 0
        while (end := data.find(b"\0", place)) >= 0 and len(data) >= end + 1 + _HEAD.size:
            path, place = os.fsdecode(data[place:end]), end + 1 + _HEAD.size
            kind, digest, size = _HEAD.unpack_from(data, end + 1)
            if len(data) < place + size:
                return  # it was ended while it wrote
            self._made.setdefault(path, {})[digest] = kind, data[place : place + size]
            place += size

    def lay(self, root: str, seen: str, folder: str, words: list[str]) -> None:
        """Puts it into a clone where nothing has run yet; what can't be put there is compiled by whoever needs it.

        Args:
            root: Top of the clone.
            seen: Where it is going to stand.
            folder: pytest's working folder there.
            words: pytest's arguments.
        """
        if not self._made or sys.pycache_prefix is not None or sys.flags.optimize:
            return
        inner = os.path.join(root, os.path.relpath(folder, seen))
        tail = None if _rewrites_otherwise((root, inner), words) else _tail()
        inside: dict[str, bool] = {}
        for path, made in self._made.items():
            parent = os.path.dirname(os.path.join(root, path))
            if parent not in inside:
                inside[parent] = _is_inside(parent, root)
            if inside[parent]:
                with suppress(Exception):
                    _lay(os.path.join(root, path), os.path.join(seen, path), made, tail)


def _answer(request: bytes, answer: int) -> None:
    """Compiles all there is, and writes it down file by file."""
    root, *told = request.split(b"\0")
    others = ((os.fsdecode(told[n]), told[n + 1]) for n in range(0, len(told) - 1, 2))
    size = 0
    for path, source in chain(others, _files(os.fsdecode(root))):
        kind = _REWRITTEN if _is_rewritten(os.path.basename(path)) else _PLAIN
        made = _compiled(source, path, kind)
        if made is None:
            continue
        digest = hashlib.sha256(source).digest()
        data = os.fsencode(path) + b"\0" + _HEAD.pack(kind, digest, len(made)) + made
        size += len(data)
        if size > _MADE_LIMIT_BYTES:
            return
        while data:
            data = data[os.write(answer, data) :]


def _files(root: str) -> Iterator[tuple[str, bytes]]:
    """Python files of a folder and their bytes, those that lie less deep first."""
    count = size = 0
    folders = [""]
    while folders:
        inner = []
        for folder in folders:
            for entry in _entries(os.path.join(root, folder)):
                path = os.path.join(folder, entry.name)
                if entry.is_dir(follow_symlinks=False):
                    inner.append(path)
                elif entry.name.endswith(".py") and entry.is_file(follow_symlinks=False):
                    with suppress(OSError):
                        if entry.stat().st_size <= _FILE_LIMIT_BYTES:
                            with open(os.path.join(root, path), "rb") as stream:
                                source = stream.read(_FILE_LIMIT_BYTES)
                            count, size = count + 1, size + len(source)
                            if count > _FILES_LIMIT or size > _ALL_LIMIT_BYTES:
                                return
                            yield path, source
        folders = inner


def _entries(folder: str) -> list[Any]:
    """What is worth a look in a folder: nothing hidden, no environment and no other language's packages."""
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError:
        return []
    if any(entry.name == "pyvenv.cfg" for entry in entries):
        return []
    return [
        e for e in entries if not e.name.startswith(".") and e.name not in ("__pycache__", "node_modules")
    ]


def _is_rewritten(name: str) -> bool:
    """Whether pytest rewrites assertions in a file of that name, if it is not told otherwise."""
    return (
        name == "conftest.py"
        or (name.startswith("test_") and name.endswith(".py"))
        or name.endswith("_test.py")
    )


def _compiled(source: bytes, path: str, kind: bytes) -> bytes | None:
    """A file's bytecode; None where it has none, or more is said of it than that."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            if kind == _REWRITTEN:
                import ast

                from _pytest.assertion.rewrite import rewrite_asserts

                tree = ast.parse(source, filename=path)
                rewrite_asserts(tree, source, path, None)
                code = compile(tree, path, "exec", dont_inherit=True)
            else:
                code = compile(source, path, "exec", dont_inherit=True)
        except Exception:
            return None
    return None if said else marshal.dumps(code)


def _rewrites_otherwise(folders: tuple[str, ...], words: list[str]) -> bool:
    """Whether pytest is told to rewrite assertions in its other way."""
    if any(os.fsdecode(_OTHER_REWRITING) in word for word in words):
        return True
    for folder in set(folders):
        with suppress(OSError):
            for name in os.listdir(folder):
                if name.endswith(_SETTINGS):
                    with suppress(OSError), open(os.path.join(folder, name), "rb") as stream:
                        if _OTHER_REWRITING in stream.read(_FILE_LIMIT_BYTES):
                            return True
    return False


def _tail() -> tuple[str, bool] | None:
    """How the names of pytest's own caches end, and whether it checks them by the source's hash."""
    try:
        from _imp import _fix_co_filename  # type: ignore[attr-defined]  # noqa: F401

        from _pytest.assertion import rewrite

        return str(rewrite.PYC_TAIL), "source_hash" in rewrite._write_pyc.__code__.co_varnames
    except (ImportError, AttributeError):
        return None


def _is_inside(folder: str, root: str) -> bool:
    """Whether a folder is that of the clone, and not where a link leads to."""
    real = os.path.realpath(folder)
    return real == folder.rstrip(os.sep) and f"{real}{os.sep}".startswith(f"{root}{os.sep}")


def _lay(file: str, seen: str, made: dict[bytes, tuple[bytes, bytes]], tail: tuple[str, bool] | None) -> None:
    """Puts a file's bytecode beside it, if the file is what was compiled and there is none."""
    opened = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(opened, "rb") as stream:
        source, status = stream.read(_FILE_LIMIT_BYTES), os.fstat(opened)
    kind, code = made.get(hashlib.sha256(source).digest(), (b"", b""))
    head = _CHECKED_BY_HASH + util.source_hash(source)
    if kind == _PLAIN:
        place = util.cache_from_source(file)
    elif kind == _REWRITTEN and tail is not None:
        place = os.path.join(os.path.dirname(file), "__pycache__", os.path.basename(file)[:-3] + tail[0])
        if not tail[1]:
            head = b"".join((_BY_TIME, _number(status.st_mtime), _number(status.st_size)))
            code = _placed(code, seen)
    else:
        return
    _write(place, util.MAGIC_NUMBER + head + code)


def _number(value: float) -> bytes:
    return (int(value) & 0xFFFFFFFF).to_bytes(4, "little")


def _placed(code: bytes, file: str) -> bytes:
    """Bytecode that says it comes from a file; elsewhere whoever imports it sees to that."""
    from _imp import _fix_co_filename  # type: ignore[attr-defined]

    found = marshal.loads(code)  # noqa: S302 - made by this very program
    _fix_co_filename(found, file)
    return marshal.dumps(found)


def _write(place: str, data: bytes) -> None:
    """Writes a file whole, or not at all."""
    folder = os.path.dirname(place)
    with suppress(FileExistsError):
        os.mkdir(folder)
    if os.path.islink(folder) or os.path.lexists(place):
        return
    part = f"{place}.part"
    opened = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        with open(opened, "wb") as stream:
            stream.write(data)
        os.rename(part, place)
    except OSError:
        os.unlink(part)
        raise

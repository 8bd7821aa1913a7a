"""What an interpreter loads besides the project, as it lay before the command: pytest, DRE, and who comes with them.

A test can write where packages are installed, and clones are run by the same interpreter afterwards. So whatever is
loaded unasked there (``.pth`` files, ``sitecustomize``, the entry points of plugins) and what runs and judges the tests
is looked at twice. Other packages are not: a test that changes one changes what it tests.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

_JUDGES = ("_pytest", "dre_ci", "dre_core", "dre_pytest", "pluggy", "pytest")
_CUSTOM = ("sitecustomize", "usercustomize")
_BYTECODE = ".pyc"
_OURS = Path(__file__).parents[2]

Stamp = tuple[int, int, int]


class Installed:
    """The files and their stamps: inode, size, and when the inode was last changed, which nobody can set.

    Args:
        python: The interpreter.
        environ: Environment of the command.
    """

    def __init__(self, python: str, environ: Mapping[str, str]) -> None:
        prefix = os.path.dirname(os.path.dirname(os.path.abspath(python)))
        bases = [prefix, os.path.join(prefix, "local")]
        if home := environ.get("HOME"):
            bases.append(os.path.join(home, ".local"))
        self._folders = [
            folder
            for base in bases
            for kind in ("site", "dist")
            for folder in glob.glob(f"{glob.escape(base)}/lib/python3*/{kind}-packages")
        ]
        self._before = dict(self._stamps())

    def changed(self) -> str:
        """A file that is not what it was, or new; empty if there is none. Bytecode may be made anew."""
        now = dict(self._stamps())
        for path in sorted({*self._before, *now}):
            if path not in self._before and path.endswith(_BYTECODE):
                continue
            if self._before.get(path) != now.get(path):
                return path
        return ""

    def _stamps(self) -> Iterator[tuple[str, Stamp]]:
        for path in self._files():
            try:
                status = os.stat(path)
                if path.endswith(_BYTECODE) and _is_stale(path, status.st_mtime):
                    continue
            except OSError:
                continue
            yield path, (status.st_ino, status.st_size, status.st_ctime_ns)

    def _files(self) -> Iterator[str]:
        for folder in self._folders:
            for name in _names(folder):
                path = os.path.join(folder, name)
                if name in _JUDGES:
                    yield from _below(path)
                elif name.endswith(".pth") or name.partition(".")[0] in _CUSTOM:
                    yield path
                elif name.endswith((".dist-info", ".egg-info")):
                    yield os.path.join(path, "entry_points.txt")
        if str(_OURS) not in self._folders:  # an editable installation
            for name in _JUDGES:
                yield from _below(str(_OURS / name))


def _is_stale(path: str, mtime: float) -> bool:
    """Whether bytecode is older than its source, so that whoever imports that makes it anew."""
    folder, name = os.path.split(path)
    return os.stat(os.path.join(os.path.dirname(folder), f"{name.partition('.')[0]}.py")).st_mtime > mtime


def _names(folder: str) -> Iterable[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return ()


def _below(folder: str) -> Iterator[str]:
    for place, _, names in os.walk(folder):
        yield from (os.path.join(place, name) for name in names if name.endswith((".py", ".so", _BYTECODE)))

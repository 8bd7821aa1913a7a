"""Where a cell runs: in the place of the user's checkout where the system lets a clone stand there, else elsewhere.

Code may behave where it is run again and nowhere else, by asking where it stands. So each cell finds its clone at the
checkout's own path, in a mount namespace of its own (``standing.py``); the user's tree is neither seen nor touched.
What a cell needs of that tree is bound into the clone: the environment of the interpreter, if it lies there, and the
objects that clones share. Of the other cells' clones it sees nothing. Where that can't be done, or where what the run
found does not hold there, cells run in the temporary folder, as they do on every system but Linux.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

STANDING = Path(__file__).with_name("standing.py")
OBJECTS = "objects"
_PROBE_SECONDS = 10.0


class Place:
    """The place of the user's checkout.

    Args:
        root: Its path.
        python: The interpreter of the cells.
        inside: Folders in the tree that cells need, relative to the top.
        objects: The objects that clones share, and where they are to be seen; empty where they lie outside of the tree.
    """

    def __init__(
        self, root: str, python: str, inside: Sequence[str], objects: Sequence[tuple[str, str]]
    ) -> None:
        self.root = Path(root)
        self._python = python
        self._inside = tuple(inside)
        self._objects = tuple(objects)

    @classmethod
    def find(
        cls, root: str, python: str, environ: Mapping[str, str], scratch: Path, objects: str
    ) -> Place | None:
        """The place, if cells can stand there.

        Args:
            root: Top of the user's tree.
            python: The interpreter of the cells.
            environ: Environment of the cells.
            scratch: The replay's temporary folder.
            objects: The folder of the objects that clones share.
        """
        if hindrance(root, python, environ, scratch):
            return None
        prefix = _prefix(python)
        inside = [os.path.relpath(prefix, root)] if _is_within(prefix, root) else []
        # Whatever these name in turn: the run could write it down, and so choose where it is run again.
        shared = [(objects, str(scratch / OBJECTS))] if _is_within(objects, root) else []
        place = cls(root, python, inside, shared)
        return place if place._can_be_taken(scratch) else None

    def _can_be_taken(self, scratch: Path) -> bool:
        with suppress(OSError, subprocess.SubprocessError):
            own = Path(tempfile.mkdtemp(dir=scratch))
            (scratch / OBJECTS).mkdir(exist_ok=True)
            bindings = self.bindings(scratch / OBJECTS, own)
            command = [self._python, "-I", "-S", str(STANDING), bindings]
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PROBE_SECONDS, check=False
            )
            return done.returncode == 0
        return False

    def bindings(self, clone: Path, own: Path) -> str:
        """What is bound where for a clone, as ``standing.py`` reads it.

        Args:
            clone: Its top.
            own: The cell's own folder in the replay's temporary folder, of which it sees no other: code that runs
                in one cell could write into the clones of the next ones.
        """
        within = [[str(self.root / each), str(clone / each)] for each in self._inside]
        scratch = own.parent
        seen = scratch / f"{own.name}-seen"
        hiding = [
            [str(own), str(seen / own.name)],
            [str(scratch / OBJECTS), str(seen / OBJECTS)],
            [str(seen), str(scratch)],
        ]
        return json.dumps([*map(list, self._objects), *within, [str(clone), str(self.root)], *hiding])

    def launcher(self, bindings: str, folder: str) -> list[str]:
        """Words that go before a command, so that it runs there."""
        return [self._python, "-I", "-S", str(STANDING), bindings, folder]

    def foreign(self) -> tuple[str, ...]:
        """Folders in the place that are not the clone's."""
        return tuple(str(self.root / each) + os.sep for each in self._inside)


def hindrance(root: str, python: str, environ: Mapping[str, str], scratch: Path) -> str:
    """Why no clone may stand in a place, whatever the system lets, in words; empty where one may.

    Args:
        root: Top of the user's tree.
        python: The interpreter of the cells.
        environ: Environment of the cells.
        scratch: The replay's temporary folder.
    """
    if not sys.platform.startswith("linux"):
        return "only Linux has mount namespaces"
    if os.path.realpath(root) != root or root == os.sep:
        return f"{root} is not a folder of its own"
    # What a process can't do without must not be hidden.
    needed = {
        "the temporary folder": str(scratch),
        "the home folder": environ.get("HOME", ""),
        "TMPDIR": environ.get("TMPDIR", ""),
        "the interpreter": os.path.realpath(python),
    }
    for name, path in needed.items():
        if path and _is_within(path, root):
            return f"{name} lies in the checkout"
    return "the checkout is the interpreter's environment" if _prefix(python) == root else ""


def _prefix(python: str) -> str:
    return os.path.dirname(os.path.dirname(os.path.abspath(python)))


def _is_within(path: str, root: str) -> bool:
    real = os.path.realpath(path)
    return real == root or real.startswith(root + os.sep)

"""The clones of one replay, in a temporary folder that goes with them; what is going to be wanted is begun ahead.

Nothing of the project runs here: what is made is a pattern and checkouts, by git.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from dre_core.capture.beside import Beside, Steps
from dre_core.capture.clone import Clone, Pattern
from dre_core.capture.git import Git
from dre_core.errors import CaptureError
from dre_core.store.local import hold, remove_orphan

_PREFIX = "dre-replay-"
_WRITER = "writer"
_NEW_SECONDS = 60.0


class Clones:
    """Clones of one work tree.

    Args:
        git: The user's work tree.

    Attributes:
        folder: Where they lie.

    Raises:
        CaptureError: There is no room for them.
    """

    def __init__(self, git: Git) -> None:
        self._owned = ExitStack()
        try:
            self.folder = self._owned.enter_context(scratch())
        except OSError as error:
            raise CaptureError(f"a clone could not be made: {error}") from None
        self._steps = Steps()
        self._ahead: dict[tuple[str, str], Beside[Clone]] = {}
        self._pattern = self._steps.begin(partial(Pattern, git, self.folder / "pattern"))

    def ahead(self, name: str, commit: str) -> None:
        """Begins a clone that is going to be wanted."""
        if (name, commit) not in self._ahead:
            self._ahead[name, commit] = self._steps.begin(partial(self._clone, name, commit))

    def make(self, name: str, commit: str) -> Clone:
        """A clone of a commit.

        Raises:
            CaptureError: git refuses.
        """
        begun = self._ahead.pop((name, commit), None)
        return begun.result() if begun is not None else self._clone(name, commit)

    def _clone(self, name: str, commit: str) -> Clone:
        folder = self.folder / name
        if folder.exists():  # run once more, in another place
            folder = Path(tempfile.mkdtemp(dir=self.folder)) / name
        return Clone(self._pattern.result(), folder, commit)

    def close(self) -> None:
        """Removes them, once nothing is made there any more."""
        self._steps.wait()
        self._owned.close()


@contextmanager
def scratch() -> Iterator[Path]:
    """A temporary folder; those that replays left when they were killed go."""
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        if _is_own(left) and (remove_orphan(left / _WRITER) or _is_forsaken(left)):
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with (folder / _WRITER).open("wb", buffering=0) as writer:
            hold(writer.fileno())
            writer.write(b"\n")
            yield folder


def _is_forsaken(folder: Path) -> bool:
    """Whether whoever began to remove a folder was killed: its writer is gone, and it is not newly made."""
    try:
        with os.scandir(folder) as entries:
            names = {entry.name for entry in entries}
        return _WRITER not in names and (bool(names) or time.time() - folder.stat().st_mtime > _NEW_SECONDS)
    except OSError:
        return False


def _is_own(folder: Path) -> bool:
    """Whether a folder is this user's and no link that somebody put there."""
    try:
        status = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == getattr(os, "geteuid", lambda: status.st_uid)()

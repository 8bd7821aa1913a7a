"""A throw-away clone of one commit: the place where a suite runs again.

Made by ``git clone --shared`` into a temporary folder, with hooks off and inherited ``GIT_*`` cleared; the
user's own tree is only read. Files of another commit can be laid over it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from dre_core.capture.git import Git
from dre_core.errors import CaptureError

_NO_HOOKS = (
    "-c",
    "core.hooksPath=/dev/null",
    "-c",
    "protocol.file.allow=always",
    "-c",
    "advice.detachedHead=false",
)
# Names that would be imported in place of the interpreter's or the runner's own, once a root is on the path.
_SHADOWS = ("pytest", "_pytest", "pluggy", "sitecustomize", "usercustomize", "_distutils_hack")


class Clone:
    """A checkout of one commit in a temporary folder.

    Args:
        repository: The user's work tree.
        folder: Where it goes; must not exist.
        commit: The commit.

    Raises:
        CaptureError: git refuses.
    """

    def __init__(self, repository: Git, folder: Path, commit: str) -> None:
        self.root = folder
        self.commit = commit
        self._repository = repository
        repository.run(
            *_NO_HOOKS, "clone", "--shared", "--no-checkout", "--quiet", repository.root, str(folder)
        )
        self._git = Git(str(folder))
        self._git.run(*_NO_HOOKS, "checkout", "--quiet", "--detach", commit)
        self.shadows = self._remove_shadows()

    def _remove_shadows(self) -> tuple[str, ...]:
        found = [path for name in _SHADOWS for path in (self.root / f"{name}.py", self.root / name)]
        return tuple(path.name for path in found if _remove(path))

    def replace(self, gone: Iterable[str], commit: str, paths: Iterable[str]) -> None:
        """Takes files away and puts others, as another commit has them, in their place.

        Args:
            gone: Paths to take away.
            commit: The other commit.
            paths: Paths to take from it.

        Raises:
            CaptureError: git refuses.
        """
        for path in gone:
            _remove(self.root / path)
        wanted = "\0".join(paths)
        if wanted:
            self._git.run(
                *_NO_HOOKS, "checkout", "--quiet", commit, "--pathspec-from-file=-", "--pathspec-file-nul",
                stdin=os.fsencode(wanted),
            )  # fmt: skip

    def overlay(self, paths: Iterable[str]) -> None:
        """Lays the user's uncommitted files over the clone; a deleted one is deleted."""
        for path in paths:
            source, target = Path(self._repository.root, path), self.root / path
            _remove(target)
            if not source.is_file():
                continue
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target)
            except OSError as error:
                raise CaptureError(f"{path} can't be laid over the clone: {error}") from None

    def write(self, name: str, text: str) -> None:
        """Writes a file of our own into the clone."""
        (self.root / name).write_text(text, encoding="utf-8", errors="surrogateescape")


def _remove(path: Path) -> bool:
    """Deletes a file or folder inside a clone; whether it was there."""
    if path.is_symlink() or path.is_file():
        path.unlink()
        return True
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
        return True
    return False

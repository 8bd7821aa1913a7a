"""The commits of a repository, for whoever asks the same of the same ones often: what a commit holds never changes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from dre_core.capture.git import Git, Past

_OF_COMMITS = ("ls-tree", "diff")


class Commits(Git):
    """A work tree whose commits are asked once, their files by one process of git.

    Args:
        root: Top level of the work tree.
        past: Any commit's files.
    """

    def __init__(self, root: str, past: Past) -> None:
        super().__init__(root)
        self._past = past
        self._lock = Lock()
        self._told: dict[tuple[str, ...], bytes] = {}
        self._shown: dict[tuple[str, str], str | None] = {}

    def run(self, *arguments: str, stdin: bytes | None = None) -> bytes:
        if stdin is not None or arguments[0] not in _OF_COMMITS or "HEAD" in arguments:
            return super().run(*arguments, stdin=stdin)
        with self._lock:
            if arguments not in self._told:
                self._told[arguments] = super().run(*arguments)
            return self._told[arguments]

    def show(self, commit: str, path: str) -> str | None:
        with self._lock:
            if (commit, path) not in self._shown:
                self._shown[commit, path] = self._past.at(commit).show(path)
            return self._shown[commit, path]


@contextmanager
def commits_of(git: Git) -> Iterator[Commits]:
    """The same work tree with its commits at hand.

    Raises:
        CaptureError: git can't be run.
    """
    with git.past("HEAD") as past:
        yield Commits(git.root, past)

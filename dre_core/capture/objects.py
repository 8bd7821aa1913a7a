"""Whether what git gives for a commit is what the commit's name says, asked of each of its objects.

A commit is named by a digest of all that it holds, but git takes an object's word for it when it checks one out. Who
can write into the repository, as any test can, could so have the old tests be others than they were. Nothing is
fetched.
"""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from typing import IO

from dre_core.capture.beside import Beside
from dre_core.capture.git import Git, git_environ, git_program, read_answer
from dre_core.errors import CaptureError

_CHUNK_BYTES = 1 << 20
_SHA1_DIGITS = 40


def check_objects(git: Git, commits: Iterable[str]) -> None:
    """Reads all files, folders and the head of some commits, and holds them against their names.

    Args:
        git: The work tree.
        commits: Full ids; empty ones are left out.

    Raises:
        CaptureError: One is not what its name says, or git can't be run.
    """
    names: dict[str, None] = {}
    for commit in filter(None, commits):
        names[commit] = None
        names[git.run("rev-parse", "--verify", f"{commit}^{{tree}}").decode().strip()] = None
        for entry in filter(None, git.run("ls-tree", "-r", "-t", "-z", "--full-tree", commit).split(b"\0")):
            kind, name = entry.decode(errors="replace").split("\t", 1)[0].split()[1:3]
            if kind != "commit":  # a submodule's lies in another repository
                names[name] = None
    try:
        process = subprocess.Popen(
            [git_program(), "cat-file", "--batch", "--buffer"],
            cwd=git.root,
            env={**git_environ(), "GIT_NO_LAZY_FETCH": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    except OSError as error:
        raise CaptureError(f"git cat-file could not be run: {error}") from None
    assert process.stdin is not None
    assert process.stdout is not None
    asked, told = process.stdin, process.stdout
    asking = Beside(lambda: _ask(asked, names))
    try:
        for each in names:
            _check(each, told)
    finally:
        told.close()
        process.kill()
        process.wait()
        asking.wait()


def _ask(asked: IO[bytes], names: Iterable[str]) -> None:
    with suppress(OSError), asked:  # whoever reads the answers sees that it ended
        asked.write("".join(f"{name}\n" for name in names).encode())


def _check(name: str, told: IO[bytes]) -> None:
    """Reads one answer; what is missing no clone can have either."""
    answer = read_answer(told)
    if answer is None:
        return
    kind, left = answer
    digest = hashlib.sha1(usedforsecurity=False) if len(name) == _SHA1_DIGITS else hashlib.sha256()
    digest.update(b"%s %d\0" % (kind, left))
    while left:
        data = told.read(min(left, _CHUNK_BYTES))
        if not data:
            raise CaptureError("git cat-file ended before it answered")
        digest.update(data)
        left -= len(data)
    told.read(1)
    if digest.hexdigest() != name:
        raise CaptureError(
            f"the repository's object {name[:12]} is not what its name says",
            hint="git fsck says more; take the commits from where they are known to be whole",
        )

"""A policy file as a commit has it, with the keys and policies that it names, laid out in a folder of our own.

The change under test must not choose its own judge: what a pull request is judged by is read from its base commit, by
git where the clone has it, else by the forge.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dre_core.config import parse_yaml
from dre_core.errors import CaptureError, ConfigError

_FILES_LIMIT = 50
_SIZE_LIMIT_BYTES = 1 << 20

Reader = Callable[[str], bytes]


def of_commit(directory: str, commit: str, path: str, target: Path) -> Path:
    """The policy file of a commit in the local clone.

    Args:
        directory: A folder of the clone.
        commit: Full id.
        path: The file, relative to the top of the repository.
        target: An empty folder.

    Raises:
        CaptureError: git does not have it.
        ConfigError: It names a file outside the repository, or too many.
    """
    from dre_core.capture.git import Git

    git = Git.find(directory)
    if git is None:
        raise CaptureError("this is no git work tree")
    return lay_out(lambda name: git.run("cat-file", "blob", f"{commit}:{name}"), path, target)


def lay_out(read: Reader, path: str, target: Path) -> Path:
    """Writes a policy and what it names into a folder.

    Args:
        read: The bytes of a file of the repository.
        path: The policy, relative to the top of the repository.
        target: An empty folder.

    Raises:
        ConfigError: It names a file outside the repository, or too many.
    """
    todo, done = [posixpath.normpath(path)], set[str]()
    while todo:
        name = todo.pop()
        if name.startswith(("/", "..")):
            raise ConfigError("lies outside the repository", path=name)
        if name in done:
            continue
        done.add(name)
        if len(done) > _FILES_LIMIT:
            raise ConfigError("names too many files", path=path)
        data = read(name)
        if len(data) > _SIZE_LIMIT_BYTES:
            raise ConfigError("is too large", path=name)
        place = target / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        if name.endswith((".yaml", ".yml")):
            here = posixpath.dirname(name)
            todo += [posixpath.normpath(posixpath.join(here, each)) for each in _named(_document(data, name))]
    return target / posixpath.normpath(path)


def _document(data: bytes, name: str) -> Any:
    return parse_yaml(data.decode("utf-8", "replace"), name)


def _named(document: Any) -> Iterator[str]:
    """Files that a policy names: of keys, and of the policies that it is made of."""
    if not isinstance(document, dict):
        return
    for key in document.get("keys") or ():
        if isinstance(key, dict) and key.get("file"):
            yield str(key["file"])
    for how in ("any_of", "all_of"):
        for member in document.get(how) or ():
            if isinstance(member, str) and not member.startswith("preset:"):
                yield member
            elif isinstance(member, dict):
                yield from _named(member)

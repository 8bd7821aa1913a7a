"""The second build: ``python -m dre_ci.hooks.rebuild BACKEND FILE`` builds anew and compares the bytes.

Ends with 0 where they are the same, with 1 and the names of what differs where they are not, with 2 where it can't
tell. Both builds see the same environment, ``SOURCE_DATE_EPOCH`` included.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import sys
import tarfile
import tempfile
import zipfile
from importlib import import_module
from pathlib import Path

_SHOWN = 10


def main(words: list[str]) -> int:
    """Builds and compares.

    Args:
        words: Backend module and file.
    """
    backend, name = words
    first = Path(name)
    with tempfile.TemporaryDirectory(prefix="dre-") as folder:
        try:
            made = build(backend, first, Path(folder))
        except Exception as error:  # a backend may raise anything
            print(f"the second build failed: {type(error).__name__}: {error}")
            return 2
        second = Path(folder, made)
        digest = hashlib.sha256(first.read_bytes()).hexdigest()
        if second.read_bytes() == first.read_bytes():
            print(f"reproducible: {first.name} sha256:{digest}")
            return 0
        print(f"not reproducible: {first.name} sha256:{digest}")
        for line in differences(first, second)[:_SHOWN]:
            print(f"  {line}")
        return 1


def build(backend: str, first: Path, folder: Path) -> str:
    """Builds a file of the same kind; its name."""
    sys.path.insert(0, os.getcwd())
    module = import_module(backend)
    hook = module.build_sdist if first.name.endswith(".tar.gz") else module.build_wheel
    # What the backend prints is of no interest where it works.
    with contextlib.redirect_stdout(io.StringIO()):
        return str(hook(str(folder)))


def differences(first: Path, second: Path) -> list[str]:
    """What differs between two archives, by member; where the members are the same, how they are packed."""
    one, two = contents(first), contents(second)
    lines = [f"only in the first: {name}" for name in one.keys() - two.keys()]
    lines += [f"only in the second: {name}" for name in two.keys() - one.keys()]
    lines += [f"differs: {name}" for name in one.keys() & two.keys() if one[name] != two[name]]
    return sorted(lines) or ["the same members, packed differently (times, order or modes)"]


def contents(path: Path) -> dict[str, bytes]:
    """The members of a wheel or sdist with their digests."""
    if path.name.endswith(".tar.gz"):
        with tarfile.open(path) as archive:
            files = [(m.name, archive.extractfile(m)) for m in archive.getmembers() if m.isfile()]
            return {name: hashlib.sha256(stream.read()).digest() for name, stream in files if stream}
    with zipfile.ZipFile(path) as archive:
        return {name: hashlib.sha256(archive.read(name)).digest() for name in archive.namelist()}


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

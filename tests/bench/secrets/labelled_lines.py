"""A labelled corpus of source code that others made: the lines of Samsung/CredData, from git copies.

Nothing of it is kept here. ``CREDDATA`` is a copy of https://github.com/Samsung/CredData (a checkout or a git
directory), whose tables say which lines of which commits hold a credential; ``COPIES`` is a folder with git copies of
as many of its repositories as are wanted, each named ``OWNER+NAME`` (or ``OWNER+NAME/repo``), with their history.
"""

from __future__ import annotations

import csv
import json
import subprocess
from binascii import crc32
from collections import defaultdict
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

MAX_LINE = 20_000


class Labelled(NamedTuple):
    """One labelled place.

    Attributes:
        repository: ``owner/name``.
        category: The corpus' word for the kind of credential.
        text: The line, or the lines of a key.
        secret: The credential in it; empty where the label says that there is none.
    """

    repository: str
    category: str
    text: str
    secret: str


def labelled(creddata: Path, copies: Path) -> Iterator[Labelled]:
    """Every labelled place of the repositories that are there; labels of neither kind are left out."""
    for number, address in json.loads(_blob(creddata, "HEAD:snapshot.json")).items():
        name = address.removeprefix("https://github.com/")
        folder = copies / name.replace("/", "+")
        folder = folder / "repo" if (folder / "repo").is_dir() else folder
        if folder.is_dir():
            table = f"HEAD:meta/{crc32(bytes.fromhex(number)):08x}.csv"
            rows = csv.DictReader(_blob(creddata, table).decode().splitlines())
            yield from _of_repository(folder, number[:40], name, list(rows))


def _of_repository(folder: Path, commit: str, name: str, rows: list[dict[str, str]]) -> Iterator[Labelled]:
    by_file: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in rows:
        by_file[row["FileID"]].append(row)
    listed = _git(folder, "ls-tree", "-r", "-z", "--name-only", commit)
    for path in listed.decode(errors="surrogateescape").split("\0"):
        file = sha256(path.encode(errors="surrogateescape")).hexdigest()[:8]
        if path and file in by_file:
            lines = _blob(folder, f"{commit}:{path}").decode(errors="replace").split("\n")
            for row in by_file[file]:
                if (place := _place(name, row, lines)) is not None:
                    yield place


def _place(name: str, row: dict[str, str], lines: list[str]) -> Labelled | None:
    first, last = int(row["LineStart"]), int(row["LineEnd"])
    text = "\n".join(lines[first - 1 : last])
    if row["GroundTruth"] not in "TF" or not text.strip() or len(text) > MAX_LINE:
        return None
    if row["GroundTruth"] == "F":
        return Labelled(name, row["Category"], text, "")
    start, end = int(row["ValueStart"] or -1), int(row["ValueEnd"] or -1)
    if first == last and 0 <= start < end:
        secret = text[start:end]
    elif first == last:
        return None
    else:  # a key: its longest line stands for it
        secret = max(text.split("\n")[1:-1] or [""], key=len).strip()
    return Labelled(name, row["Category"], text, secret) if secret else None


def _blob(repository: Path, name: str) -> bytes:
    return _git(repository, "cat-file", "blob", name)


def _git(repository: Path, *words: str) -> bytes:
    return subprocess.run(["git", "-C", str(repository), *words], capture_output=True, check=True).stdout

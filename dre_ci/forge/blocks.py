"""A file sent in blocks to a signed address, as Azure's blob storage takes it; a broken upload is gone on with.

Each block's id is its place and the SHA-256 of its bytes, so a block that is there under its id needs no second
sending. Which blocks are there is asked of the server; where the address permits no reading, as GitHub's do not, it is
what we remember to have been taken. A server that then misses a block refuses the list of them, and all are sent anew.

Source: https://learn.microsoft.com/rest/api/storageservices/put-block and put-block-list, get-block-list
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from dre_ci.forge.base import ForgeError, Outcome
from dre_ci.forge.wire import Wire

BLOCK_BYTES = 8 << 20
"""As large as those of GitHub's own client; 50,000 of them make a blob."""
_VERSION = "2021-12-02"
_LIST_LIMIT_BYTES = 16 << 20


class Unfinished:
    """What is remembered of an upload until it is done: its address, which is a secret, and the blocks that were taken.

    Args:
        path: A file of ours; nobody else may read it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.url = ""
        self.staged: set[str] = set()
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            self.url, self.staged = str(document["url"]), {str(each) for each in document["staged"]}
        except (OSError, ValueError, KeyError, TypeError):
            pass

    def begin(self, url: str) -> None:
        """Remembers where an upload goes."""
        self.url, self.staged = url, set()
        self._write()

    def took(self, block: str) -> None:
        """Remembers that a block is there."""
        self.staged.add(block)
        self._write()

    def forget(self) -> None:
        """Nothing is unfinished any more."""
        self.url, self.staged = "", set()
        self._path.unlink(missing_ok=True)

    def _write(self) -> None:
        """Keeps it where that can be done: without it an upload is only begun anew."""
        new = self._path.with_name(f".{self._path.name}.{os.getpid()}.tmp")
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(descriptor, "w", encoding="utf-8") as stream:
                json.dump({"url": self.url, "staged": sorted(self.staged)}, stream)
            os.replace(new, self._path)
        except OSError:
            new.unlink(missing_ok=True)


def send_blocks(wire: Wire, path: Path, memory: Unfinished) -> int:
    """Sends a file to the address that is remembered, and makes it a blob.

    Args:
        wire: Requests without authentication: the address carries its own.
        path: The file.
        memory: The address, and what was taken before.

    Returns:
        How many bytes had been taken before.

    Raises:
        ForgeError: It was refused, or the server was not reached.
    """
    there = _there(wire, memory)
    try:
        return _send(wire, path, memory, there)
    except ForgeError as error:
        if not there or "invalidblocklist" not in error.message:
            raise
    _send(wire, path, memory, set())
    return 0


def _send(wire: Wire, path: Path, memory: Unfinished, there: set[str]) -> int:
    kept, ids = 0, []
    for block, data in _blocks(path):
        ids.append(block)
        if block in there:
            kept += len(data)
            continue
        wire.send(
            "PUT",
            f"{memory.url}&comp=block&blockid={quote(block, safe='')}",
            data=data,
            headers={"x-ms-version": _VERSION, "Content-MD5": _md5(data)},
        )
        memory.took(block)
    latest = "".join(f"<Latest>{block}</Latest>" for block in ids)
    document = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{latest}</BlockList>'
    wire.send(
        "PUT",
        f"{memory.url}&comp=blocklist",
        data=document.encode(),
        headers={
            "x-ms-version": _VERSION,
            "x-ms-blob-content-type": "application/zip",
            "Content-Type": "text/plain; charset=UTF-8",
        },
    )
    return kept


def _there(wire: Wire, memory: Unfinished) -> set[str]:
    """The blocks that need no sending."""
    if not memory.staged:
        return set()
    url = f"{memory.url}&comp=blocklist&blocklisttype=uncommitted"
    try:
        response = wire.send("GET", url, headers={"x-ms-version": _VERSION}, stream=True, tries=1)
    except ForgeError as error:
        # A gone address is found out by sending to it; an answer "not permitted" says nothing of the blocks.
        return set(memory.staged) if error.outcome is not Outcome.UNREACHABLE else set()
    with response:
        listed = set(_names(response.raw.read(_LIST_LIMIT_BYTES, decode_content=True)))
    return memory.staged & listed


def _names(document: bytes) -> Iterator[str]:
    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import ParseError, fromstring

    try:
        root: Any = fromstring(document)
    except (ParseError, DefusedXmlException):
        return
    yield from (str(name.text or "") for name in root.iter("Name"))


def _blocks(path: Path) -> Iterator[tuple[str, bytes]]:
    with open(path, "rb") as stream:
        number = 0
        while data := stream.read(BLOCK_BYTES):
            place = number.to_bytes(4, "big") + hashlib.sha256(data).digest()
            yield base64.b64encode(place).decode("ascii"), data
            number += 1


def _md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode("ascii")

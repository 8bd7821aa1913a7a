"""Files to and from a URL: streamed, tried again from where the connection broke, compared by digest afterwards.

A download goes on by ``Range`` if the server still has the same file. An upload is a ``PUT``; what arrived is read back
and compared.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dre_ci.forge.base import ForgeError, Outcome
from dre_ci.forge.wire import FIRST_WAIT_SECONDS, TIMEOUT_SECONDS, TRIES, Wire
from dre_core.errors import IntegrityError, LimitError
from dre_core.model.record import dataclass

if TYPE_CHECKING:
    from requests import Session

CHUNK_BYTES = 1 << 20
PIECE_BYTES = 1 << 16
"""What of a download is lost at most where the connection breaks."""
DOWNLOAD_LIMIT_BYTES = 8 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A file that arrived.

    Attributes:
        url: Where it is.
        digest: ``sha256:`` digest of its bytes.
        size: In bytes.
    """

    url: str
    digest: str
    size: int


def file_digest(path: Path) -> str:
    """``sha256:`` digest of a file, read in pieces."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
    return f"sha256:{digest.hexdigest()}"


def download(
    session: Session,
    url: str,
    target: Path,
    *,
    digest: str = "",
    limit_bytes: int = DOWNLOAD_LIMIT_BYTES,
    sleep: Callable[[float], None] = time.sleep,
) -> Stored:
    """Gets a file; a broken connection is taken up where it broke.

    Args:
        session: Carries the authentication, if any.
        url: Where from.
        target: File to write; appears once it is whole.
        digest: ``sha256:`` digest that it must have; empty for any.
        limit_bytes: Larger files are refused.
        sleep: Waits.

    Raises:
        ForgeError: It was refused, or the server was not reached.
        LimitError: It is too large.
        IntegrityError: It has another digest.
    """
    part = target.with_name(target.name + ".part")
    part.unlink(missing_ok=True)
    state = _Partial(session, url, part, limit_bytes)
    wait = FIRST_WAIT_SECONDS
    for left in range(TRIES - 1, -1, -1):
        try:
            if state.go_on():
                break
            trouble = "the connection broke"
        except OSError as error:  # requests' own errors are OSErrors too
            trouble = type(error).__name__
        if not left:
            raise ForgeError(trouble, outcome=Outcome.UNREACHABLE, path=f"GET {url.partition('?')[0]}")
        sleep(wait)
        wait *= 2
    found = file_digest(part)
    if digest and found != digest:
        part.unlink()
        raise IntegrityError(f"has digest {found}, not {digest}", path=url.partition("?")[0])
    os.replace(part, target)
    return Stored(url=url, digest=found, size=target.stat().st_size)


class _Partial:
    """A download that may be taken up again."""

    def __init__(self, session: Session, url: str, part: Path, limit_bytes: int) -> None:
        self.session = session
        self.url = url
        self.part = part
        self.limit_bytes = limit_bytes
        self.tag = ""

    def go_on(self) -> bool:
        """Gets what is missing; whether that is all."""
        have = self.part.stat().st_size if self.part.exists() else 0
        headers = {"Accept-Encoding": "identity", "Accept": "*/*"}
        if have and self.tag:
            headers |= {"Range": f"bytes={have}-", "If-Range": self.tag}
        with self.session.get(self.url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS) as response:
            if response.status_code >= 500:
                return False
            if response.status_code >= 400:
                outcome = Outcome.NOT_FOUND if response.status_code in (404, 410) else Outcome.FORBIDDEN
                raise ForgeError(
                    f"{response.status_code} {response.reason}".lower(),
                    outcome=outcome,
                    path=f"GET {self.url.partition('?')[0]}",
                )
            self.tag = response.headers.get("ETag", "")
            resumed = response.status_code == 206
            expected = response.headers.get("Content-Length", "")
            size = have if resumed else 0
            whole = size + int(expected) if expected.isdecimal() else None
            with open(self.part, "ab" if resumed else "wb") as stream:
                for chunk in response.iter_content(PIECE_BYTES):
                    size += len(chunk)
                    if size > self.limit_bytes:
                        raise LimitError(
                            f"is larger than {self.limit_bytes} bytes", path=self.url.partition("?")[0]
                        )
                    stream.write(chunk)
        return whole is None or size == whole


def put(
    wire: Wire, path: Path, url: str, *, params: dict[str, str] | None = None, check: bool = True
) -> tuple[Stored, Any]:
    """Puts a file, and compares what arrived.

    Args:
        wire: Requests; its session carries the authentication.
        path: The file.
        url: Where to.
        params: Of the address.
        check: Read it back and compare.

    Returns:
        What is stored, and the server's JSON answer if it gave one.

    Raises:
        ForgeError: It was refused, or the server was not reached.
        IntegrityError: What arrived is something else.
    """
    digest, size = file_digest(path), path.stat().st_size
    response = _put(wire, path, url, params, digest)
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if check:
        _compare(wire, url, digest)
    return Stored(url=url, digest=digest, size=size), answer


def _put(wire: Wire, path: Path, url: str, params: dict[str, str] | None, digest: str) -> Any:
    """The request, begun anew where it broke: a body that was read half can't be sent again by itself."""
    wait = FIRST_WAIT_SECONDS
    headers = {"Content-Type": "application/zip", "X-Checksum-Sha256": digest.removeprefix("sha256:")}
    for left in range(TRIES - 1, -1, -1):
        with open(path, "rb") as stream:
            try:
                return wire.send("PUT", url, data=stream, params=params, headers=headers, tries=1)
            except ForgeError as error:
                if not left or error.outcome not in (
                    Outcome.FAILED,
                    Outcome.UNREACHABLE,
                    Outcome.RATE_LIMITED,
                ):
                    raise
        wire.sleep(wait)
        wait *= 2
    raise AssertionError("the last try returns or raises")


def _compare(wire: Wire, url: str, digest: str) -> None:
    found = hashlib.sha256()
    response = wire.send("GET", url, stream=True, headers={"Accept": "*/*", "Accept-Encoding": "identity"})
    with response:
        for chunk in response.iter_content(CHUNK_BYTES):
            found.update(chunk)
    if f"sha256:{found.hexdigest()}" != digest:
        raise IntegrityError(
            f"what is stored there has digest sha256:{found.hexdigest()}, not {digest}",
            hint="upload it again; the file here is as it was",
            path=url.partition("?")[0],
        )

"""Files to and from a URL: streamed, tried again from where the connection broke, compared by digest afterwards.

A download goes on by ``Range`` if the server still has the same file. An upload is a ``PUT``. What is there already is
looked at first: the whole file is not sent again, and where its first bytes lie there the rest follows by
``Content-Range`` (RFC 9110, 14.5), if the server takes that; many do not, and then all of it is sent. What arrived is
read back and compared.
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
    from requests import Response, Session

CHUNK_BYTES = 1 << 20
PIECE_BYTES = 1 << 16
"""What of a download is lost at most where the connection breaks."""
DOWNLOAD_LIMIT_BYTES = 8 << 30
_PASSING = (Outcome.FAILED, Outcome.UNREACHABLE, Outcome.RATE_LIMITED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A file that arrived.

    Attributes:
        url: Where it is.
        digest: ``sha256:`` digest of its bytes.
        size: In bytes.
        kept: How many of them an upload found there already.
    """

    url: str
    digest: str
    size: int
    kept: int = 0


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
    """Puts a file, goes on with what an earlier try left there, and compares what arrived.

    Args:
        wire: Requests; its session carries the authentication.
        path: The file.
        url: Where to.
        params: Of the address.
        check: Look at what is there before, read it back afterwards, and compare.

    Returns:
        What is stored, and the server's JSON answer if it gave one.

    Raises:
        ForgeError: It was refused, or the server was not reached.
        IntegrityError: What arrived is something else.
    """
    digest, size = file_digest(path), path.stat().st_size
    upload = _Upload(wire, path, url, params, digest, size)
    kept, response = upload.go(from_start=not check)
    if check and (found := stored_digest(wire, url)) != digest:
        if kept:
            wire.say("dre: what was gone on with became another file; beginning anew")
            kept, response = upload.go(from_start=True)
            found = stored_digest(wire, url)
        if found != digest:
            raise IntegrityError(
                f"what is stored there has digest {found}, not {digest}",
                hint="upload it again; the file here is as it was",
                path=url.partition("?")[0],
            )
    return Stored(url=url, digest=digest, size=size, kept=kept), _answer(response)


class _Upload:
    """One file on its way to one address, tried again where that helps."""

    def __init__(
        self, wire: Wire, path: Path, url: str, params: dict[str, str] | None, digest: str, size: int
    ) -> None:
        self.wire = wire
        self.path = path
        self.url = url
        self.params = params
        self.size = size
        self.headers = {
            "Content-Type": "application/zip",
            "X-Checksum-Sha256": digest.removeprefix("sha256:"),
        }

    def go(self, *, from_start: bool) -> tuple[int, Response | None]:
        """How many bytes were there before, and the server's answer; None where nothing had to be sent."""
        wait = FIRST_WAIT_SECONDS
        for left in range(TRIES - 1, -1, -1):
            kept = 0 if from_start else self._there()
            if kept and kept == self.size:
                return kept, None
            try:
                return self._send(kept)
            except ForgeError as error:
                if not left or error.outcome not in _PASSING:
                    raise
            self.wire.sleep(wait)
            wait *= 2
        raise AssertionError("the last try returns or raises")

    def _send(self, kept: int) -> tuple[int, Response]:
        """The rest, by ``Content-Range``; all of it where the server takes no parts."""
        if kept:
            part = {"Content-Range": f"bytes {kept}-{self.size - 1}/{self.size}"}
            try:
                return kept, self._request(kept, part)
            except ForgeError as error:
                if error.outcome in (Outcome.UNREACHABLE, Outcome.RATE_LIMITED):
                    raise
            self.wire.say("dre: the server takes no part of a file; beginning anew")
        return 0, self._request(0, {})

    def _request(self, start: int, more: dict[str, str]) -> Response:
        """A request of its own each time: a body that was read half can't be sent again by itself."""
        with open(self.path, "rb") as stream:
            stream.seek(start)
            # An empty file as a stream would be sent without a length, which many servers refuse.
            body = stream if self.size else b""
            return self.wire.send(
                "PUT", self.url, data=body, params=self.params, headers={**self.headers, **more}, tries=1
            )

    def _there(self) -> int:
        """How much of the file lies there already: its first bytes, compared with those here."""
        plain = {"Accept": "*/*", "Accept-Encoding": "identity"}
        try:
            seen = self.wire.send("HEAD", self.url, params=self.params, headers=plain, tries=1)
            told = seen.headers.get("Content-Length", "")
            length = int(told) if told.isdecimal() else 0
            if not 0 < length <= self.size:
                return 0
            found = stored_digest(self.wire, self.url, tries=1)
        except ForgeError:
            return 0
        return length if found == _head_digest(self.path, length) else 0


def _answer(response: Response | None) -> Any:
    try:
        return None if response is None else response.json()
    except ValueError:
        return None


def _head_digest(path: Path, length: int) -> str:
    """``sha256:`` digest of a file's first bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while length > 0 and (chunk := stream.read(min(CHUNK_BYTES, length))):
            digest.update(chunk)
            length -= len(chunk)
    return f"sha256:{digest.hexdigest()}"


def stored_digest(wire: Wire, url: str, *, tries: int = TRIES) -> str:
    """``sha256:`` digest of what an address gives.

    Raises:
        ForgeError: It was refused, or the server was not reached.
    """
    wait = FIRST_WAIT_SECONDS
    for left in range(tries - 1, -1, -1):
        found = hashlib.sha256()
        headers = {"Accept": "*/*", "Accept-Encoding": "identity"}
        try:
            with wire.send("GET", url, stream=True, headers=headers, tries=tries) as response:
                for chunk in response.iter_content(CHUNK_BYTES):
                    found.update(chunk)
            return f"sha256:{found.hexdigest()}"
        except OSError:  # requests' own errors are OSErrors too: the answer broke off
            if not left:
                raise ForgeError(
                    "the connection broke", outcome=Outcome.UNREACHABLE, path=f"GET {url.partition('?')[0]}"
                ) from None
        wire.sleep(wait)
        wait *= 2
    raise AssertionError("the last try returns or raises")

"""One HTTP session to one forge: tries again where that helps, waits as told, and names every refusal.

Server errors, lost connections and rate limits with a bearable wait are tried again; 401, 403, 404 and 422 are not.
With ``dry_run`` nothing is written: reading requests go out, others are only said. Proxies come from the usual
variables (``HTTPS_PROXY``, ``NO_PROXY``), certificates from ``REQUESTS_CA_BUNDLE``.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urljoin, urlsplit

from dre_ci.forge.base import ForgeError, Outcome
from dre_core.model.text import one_line

if TYPE_CHECKING:
    from requests import Response, Session

T = TypeVar("T")

TRIES = 4
FIRST_WAIT_SECONDS = 1.0
WAIT_LIMIT_SECONDS = 60.0
TIMEOUT_SECONDS = (10.0, 60.0)
PAGES_LIMIT = 100
JSON_LIMIT_BYTES = 32 << 20

_OUTCOMES = {
    401: Outcome.FORBIDDEN,
    403: Outcome.FORBIDDEN,
    404: Outcome.NOT_FOUND,
    410: Outcome.NOT_FOUND,
    429: Outcome.RATE_LIMITED,
}
_MESSAGES = ("message", "msg", "error", "title")
_HINTS = {
    Outcome.FORBIDDEN: "the token lacks the permission, as in a run of a fork's pull request; the verdict stands",
    Outcome.NOT_FOUND: "check repository and number, and whether the token may see them",
    Outcome.RATE_LIMITED: "try again later; the verdict stands",
    Outcome.UNREACHABLE: "check the address, the network and HTTPS_PROXY; the verdict stands",
}


class Wire:
    """Requests to one API.

    Args:
        session: Carries the authentication.
        base: Address that paths are relative to.
        dry_run: Only say what would be written.
        say: Shows one line to the user.
        sleep: Waits; a test passes its own.
        now: Seconds since the epoch.

    Attributes:
        installation: The token is an App's installation's, not a user's.
    """

    def __init__(
        self,
        session: Session,
        base: str,
        *,
        dry_run: bool = False,
        say: Callable[[str], None] = lambda text: None,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.session = session
        self.base = base.rstrip("/")
        self.dry_run = dry_run
        self.installation = False
        self.say = say
        self.sleep = sleep
        self._now = now

    def get(self, path: str, **more: Any) -> Any:
        """The JSON answer to a reading request."""
        return _json(self.send("GET", path, **more))

    def write(self, method: str, path: str, document: Mapping[str, Any], *, repeat: bool = True) -> Any:
        """The JSON answer to a writing request; None on a dry run."""
        if self.dry_run:
            self.say(f"dre: dry run: {method} {self.base}{path} {one_line(str(document), 400)}")
            return None
        return _json(self.send(method, path, repeat=repeat, json=document))

    def looking_again(self, attempt: Callable[[], T]) -> T:
        """The result of looking for something and then writing it, all of it tried again where the writing failed.

        A request whose answer was lost may have been carried out: repeated blindly, it would leave its thing twice.
        """
        wait = FIRST_WAIT_SECONDS
        for left in range(TRIES - 1, -1, -1):
            try:
                return attempt()
            except ForgeError as error:
                unclear = error.outcome in (Outcome.FAILED, Outcome.UNREACHABLE)
                if not left or not unclear or error.path.startswith("GET "):
                    raise
            self.sleep(wait)
            wait *= 2
        raise AssertionError("the last try returns or raises")

    def pages(self, path: str, params: Mapping[str, Any] | None = None) -> Iterator[Any]:
        """The JSON answers page by page, as the ``Link`` header leads; never to another host."""
        url = path
        for _ in range(PAGES_LIMIT):
            response = self.send(
                "GET", url, params={"per_page": 100, **(params or {})} if url == path else None
            )
            yield _json(response)
            url = response.links.get("next", {}).get("url", "")
            if not url or urlsplit(urljoin(self.base, url)).netloc != urlsplit(self.base).netloc:
                return

    def send(
        self, method: str, path: str, *, tries: int = TRIES, repeat: bool = True, **more: Any
    ) -> Response:
        """One request, tried again where that helps.

        Args:
            method: HTTP method.
            path: Below the base address, or a whole address.
            tries: How often at most.
            repeat: Whether it may be sent again though it may have been carried out.
            more: As ``requests`` takes it.

        Raises:
            ForgeError: It was refused, or the forge was not reached.
        """
        from requests import RequestException

        url = path if "://" in path else self.base + path
        more.setdefault("timeout", TIMEOUT_SECONDS)
        streamed = more.pop("stream", False)
        wait = FIRST_WAIT_SECONDS
        for left in range(tries - 1, -1, -1):
            try:
                response = self.session.request(method, url, stream=True, **more)
                if not streamed or response.status_code >= 400:
                    _read(response, method, url)
            except RequestException as error:
                if not left or not repeat:
                    raise _error(Outcome.UNREACHABLE, method, url, _reason(error)) from None
                self.sleep(wait)
            else:
                pause = self._pause(response, wait)
                if response.status_code < 400:
                    return response
                in_doubt = response.status_code >= 500 and not repeat
                if pause is None or not left or in_doubt or pause > WAIT_LIMIT_SECONDS:
                    raise _refusal(response, method, url)
                self.sleep(pause)
            wait *= 2
        raise AssertionError("the last try returns or raises")

    def _pause(self, response: Response, usual: float) -> float | None:
        """How long to wait before another try; None where another try is of no use."""
        if response.status_code >= 500:
            return usual
        if not is_limited(response):
            return None
        told = response.headers.get("Retry-After", "")
        if told.isdecimal():
            return float(told)
        reset = response.headers.get("X-RateLimit-Reset", "")
        if response.headers.get("X-RateLimit-Remaining") == "0" and reset.isdecimal():
            return max(1.0, float(reset) - self._now())
        return max(usual, WAIT_LIMIT_SECONDS / 4)


def _read(response: Response, method: str, url: str) -> None:
    """Reads an answer, which is a small document; whoever answers without an end is no forge.

    Raises:
        ForgeError: It is too large.
    """
    data = bytearray()
    with response:
        for chunk in response.iter_content(1 << 16):
            data += chunk
            if len(data) > JSON_LIMIT_BYTES:
                told = f"the answer is larger than {JSON_LIMIT_BYTES} bytes"
                raise _error(Outcome.FAILED, method, url, told)
    # Where requests itself keeps what it has read; there is no public way to read within a limit.
    response._content = bytes(data)


def is_limited(response: Response) -> bool:
    """Whether a refusal is about the number of requests, not about permission."""
    if response.status_code == 429:
        return True
    if response.status_code != 403:
        return False
    return (
        "Retry-After" in response.headers
        or response.headers.get("X-RateLimit-Remaining") == "0"
        or bool(re.search(r"rate limit|abuse detection", response.text[:2000], re.I))
    )


def _json(response: Response) -> Any:
    if response.status_code == 204 or not response.content:
        return None
    try:
        return response.json()
    except ValueError:
        raise ForgeError(
            "the answer is no JSON",
            outcome=Outcome.FAILED,
            hint="is this the address of the API?",
            path=f"{response.request.method} {_shown(response.url)}",
        ) from None


def _refusal(response: Response, method: str, url: str) -> ForgeError:
    status = response.status_code
    default = Outcome.FAILED if status >= 500 else Outcome.REJECTED
    outcome = Outcome.RATE_LIMITED if is_limited(response) else _OUTCOMES.get(status, default)
    return _error(outcome, method, url, f"{status} {response.reason}: {_message(response)}".rstrip(": "))


def _message(response: Response) -> str:
    try:
        document = response.json()
        text = next((document[name] for name in _MESSAGES if document.get(name)), "")
        more = document.get("errors") or document.get("validation") or ""
        text = f"{text} {more}" if more else str(text)
    except (ValueError, AttributeError):
        text = response.text[:200]
    return one_line(text, 300)


def _error(outcome: Outcome, method: str, url: str, message: str) -> ForgeError:
    shown = f"{method} {_shown(url)}"
    return ForgeError(message.lower(), outcome=outcome, hint=_HINTS.get(outcome, ""), path=shown)


def _shown(url: str) -> str:
    """An address without its query, which may carry a signature."""
    return one_line(url.partition("?")[0], 300)


def _reason(error: Exception) -> str:
    text = str(error)
    match = re.search(
        r"(Name or service not known|Connection refused|timed out|certificate verify failed)", text
    )
    return match[1] if match else type(error).__name__

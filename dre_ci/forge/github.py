"""GitHub's REST API, github.com and Enterprise Server alike: statuses, check runs, one comment, files, artifacts.

The session and its authentication are github3.py's; documents are read and written as they stand in GitHub's
description of the API, because github3.py's object models refuse replies that lack any field. A GitHub App is taken in
place of a token by ``DRE_GITHUB_APP_ID``, ``DRE_GITHUB_APP_KEY`` (PEM) and ``DRE_GITHUB_APP_INSTALLATION``.

Limits: 50 annotations a request, 65,535 characters in a check run's texts, 65,536 in a comment, 140 in a status.

Source: https://docs.github.com/en/rest
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from dre_ci.forge.base import Annotation, ForgeError, Note, Outcome, Posted, Pull, State
from dre_ci.forge.wire import Wire
from dre_core.errors import UsageError
from dre_core.model.text import plain

API = "https://api.github.com"
ANNOTATIONS_LIMIT = 50
TEXT_LIMIT = 65_535
DESCRIPTION_LIMIT = 140
_INSTALLATION = "ghs_"
"""What the tokens of an App's installation begin with, a job's own among them."""
# Prism, and other servers that hold requests against GitHub's description, want plain JSON named as well.
_ACCEPT = "application/vnd.github+json, application/json;q=0.9"
# A required status that is pending keeps the change from being merged: neither green nor red.
_STATES = {State.SUCCESS: "success", State.FAILURE: "failure", State.NEUTRAL: "pending"}
_LEVELS = {"error": "failure", "warning": "warning", "notice": "notice"}


class GitHub:
    """One repository on GitHub.

    Args:
        wire: Requests to its API.
        repository: ``owner/name``.
    """

    def __init__(self, wire: Wire, repository: str) -> None:
        self.wire = wire
        self.repository = repository
        self._root = f"/repos/{repository}"

    def status(self, note: Note) -> Posted:
        """Sets a commit status; a neutral one is ``pending``, for GitHub knows no other that is not green."""
        document = {
            "state": _STATES[note.state],
            "context": plain(note.name, 200),
            "description": plain(note.description, DESCRIPTION_LIMIT),
            **({"target_url": note.url} if note.url else {}),
        }
        answer = self.wire.write("POST", f"{self._root}/statuses/{note.commit}", document)
        return self._posted(answer)

    def check_run(self, note: Note, title: str, body: str, annotations: tuple[Annotation, ...]) -> Posted:
        """Makes a completed check run; annotations beyond the first 50 follow in further requests."""
        shown = [_annotation(each) for each in annotations if each.file]
        output = {"title": plain(title, 255), "summary": fitted(body, TEXT_LIMIT)}
        document = {
            "name": plain(note.name, 200),
            "head_sha": note.commit,
            "status": "completed",
            "conclusion": note.state.value,
            **({"details_url": note.url} if note.url else {}),
            "output": {**output, "annotations": shown[:ANNOTATIONS_LIMIT]},
        }
        answer = self.wire.write("POST", f"{self._root}/check-runs", document)
        for start in range(ANNOTATIONS_LIMIT, len(shown), ANNOTATIONS_LIMIT):
            more = {"output": {**output, "annotations": shown[start : start + ANNOTATIONS_LIMIT]}}
            number = answer["id"] if answer else 0
            self.wire.write("PATCH", f"{self._root}/check-runs/{number}", more)
        return self._posted(answer)

    def comment(self, number: int, marker: str, body: str, *, anew: bool = False) -> Posted:
        """Writes one comment; our own earlier one with the same marker is edited in place.

        A request that failed half-way may have left the comment behind, so each try looks for it again.
        """
        text = fitted(f"{marker}\n{body}", TEXT_LIMIT)
        if anew:
            return self._comment(number, marker, text, anew)
        return self.wire.looking_again(lambda: self._comment(number, marker, text, anew))

    def _comment(self, number: int, marker: str, text: str, anew: bool) -> Posted:
        earlier = None if anew else self._earlier(number, marker)
        if earlier is None:
            path = f"{self._root}/issues/{number}/comments"
            return self._posted(self.wire.write("POST", path, {"body": text}, repeat=False))
        if earlier.get("body") == text:
            return Posted(outcome=Outcome.UNCHANGED, url=_url(earlier))
        path = f"{self._root}/issues/comments/{earlier['id']}"
        answer = self.wire.write("PATCH", path, {"body": text}, repeat=False)
        return self._posted(answer, Outcome.UPDATED)

    def _earlier(self, number: int, marker: str) -> Mapping[str, Any] | None:
        """Our newest comment that begins with the marker; anybody may write a marker, so the author counts."""
        found = None
        for page in self.wire.pages(f"{self._root}/issues/{number}/comments"):
            for comment in page or ():
                if str(comment.get("body") or "").startswith(marker):
                    found = comment if self._is_ours(comment) else found
        return found

    def _is_ours(self, comment: Mapping[str, Any]) -> bool:
        author = comment.get("user") or {}
        # An app's installation, a job's own token among them, is no user: it can only be told to be some bot.
        me = "" if self.wire.installation else self._login()
        return author.get("login") == me if me else author.get("type") == "Bot"

    def _login(self) -> str:
        if not hasattr(self, "_me"):
            try:
                self._me = str((self.wire.get("/user") or {}).get("login") or "")
            except ForgeError:
                self._me = ""
        return self._me

    def pull(self, number: int) -> Pull:
        """A pull request by its number."""
        return _pull(self.wire.get(f"{self._root}/pulls/{number}"))

    def pull_of(self, commit: str, head: str) -> Pull | None:
        """The open pull request whose newest commit this is.

        Args:
            commit: Full id.
            head: ``owner:branch`` of the branch that it was pushed to.
        """
        for page in self.wire.pages(f"{self._root}/pulls", {"state": "open", "head": head}):
            for document in page or ():
                pull = _pull(document)
                if pull.head == commit:
                    return pull
        return None

    def file(self, path: str, ref: str) -> bytes:
        """A file of the repository at a commit."""
        document = self.wire.get(f"{self._root}/contents/{quote(path)}", params={"ref": ref})
        try:
            return base64.b64decode(document["content"])
        except (KeyError, TypeError, binascii.Error):
            raise ForgeError("is no file", outcome=Outcome.NOT_FOUND, path=path) from None

    def parents(self, commit: str) -> tuple[str, ...]:
        """Parents of a commit, in order."""
        document = self.wire.get(f"{self._root}/git/commits/{commit}")
        return tuple(str(parent["sha"]) for parent in document.get("parents", ()))

    def default_branch(self) -> str:
        """Name of the default branch."""
        return str(self.wire.get(self._root)["default_branch"])

    def run(self, number: str) -> Mapping[str, Any]:
        """A workflow run."""
        document: Mapping[str, Any] = self.wire.get(f"{self._root}/actions/runs/{number}")
        return document

    def runs(self, branch: str, workflow: str) -> Iterator[Mapping[str, Any]]:
        """Successful runs of a workflow file by pushes to a branch, the newest first."""
        path = (
            f"{self._root}/actions/workflows/{quote(workflow)}/runs"
            if workflow
            else f"{self._root}/actions/runs"
        )
        for page in self.wire.pages(path, {"branch": branch, "event": "push", "status": "success"}):
            yield from (page or {}).get("workflow_runs", ())

    def artifacts(self, run: str) -> Iterator[Mapping[str, Any]]:
        """The artifacts of a workflow run that have not expired."""
        for page in self.wire.pages(f"{self._root}/actions/runs/{run}/artifacts"):
            for artifact in (page or {}).get("artifacts", ()):
                if not artifact.get("expired"):
                    yield artifact

    def artifact_address(self, number: int) -> str:
        """Where an artifact's zip is, for a request of its own; it carries its own permission for a minute."""
        response = self.wire.send(
            "GET", f"{self._root}/actions/artifacts/{number}/zip", allow_redirects=False, stream=True
        )
        response.close()
        address = response.headers.get("Location", "")
        if not address:
            raise ForgeError("the artifact has no address", outcome=Outcome.FAILED, path=self._root)
        return address

    def _posted(self, answer: Any, outcome: Outcome = Outcome.CREATED) -> Posted:
        if self.wire.dry_run:
            return Posted(outcome=Outcome.DRY_RUN)
        return Posted(outcome=outcome, url=_url(answer or {}))


def fitted(text: str, limit: int) -> str:
    """Markdown cut at the end of a line where it is longer than a limit; what was open is closed.

    Args:
        text: Markdown.
        limit: Characters.
    """
    if len(text) <= limit:
        return text
    tail = "\n\n*cut here: the rest is in the job's summary and in the archive*\n"
    close = "\n</details>"
    head = text[: limit - len(tail) - 4 * len(close)]
    head = head[: head.rfind("\n")] if "\n" in head else head
    opened = head.count("<details>") - head.count("</details>")
    return head + close * min(max(opened, 0), 4) + tail


def _annotation(annotation: Annotation) -> dict[str, Any]:
    line = max(annotation.line, 1)
    return {
        "path": annotation.file,
        "start_line": line,
        "end_line": line,
        "annotation_level": _LEVELS[annotation.level],
        "title": plain(annotation.title, 255),
        "message": plain(annotation.message, 60_000) or annotation.title,
    }


def _pull(document: Mapping[str, Any]) -> Pull:
    head, base = document.get("head") or {}, document.get("base") or {}
    return Pull(
        number=int(document["number"]),
        head=str(head.get("sha", "")),
        base=str(base.get("sha", "")),
        base_ref=str(base.get("ref", "")),
        merge=str(document.get("merge_commit_sha") or ""),
        labels=tuple(str(each.get("name") or "") for each in document.get("labels") or ()),
    )


def _url(document: Mapping[str, Any]) -> str:
    return str(document.get("html_url") or document.get("target_url") or "")


def connect(environ: Mapping[str, str], *, api: str, token: str, **more: Any) -> Wire:
    """The wire to GitHub's API.

    Args:
        environ: May name a GitHub App.
        api: Base address; empty: ``GITHUB_API_URL``, else github.com's.
        token: Of a user, a job or an installation; empty: an App's, else none.
        more: For :class:`Wire`.

    Raises:
        UsageError: Neither token nor App is given, or the App's key can't be used.
        ForgeError: The App gets no token.
    """
    from github3 import GitHub as Client

    base = api or environ.get("GITHUB_API_URL", "") or API
    session = Client().session
    session.base_url = base
    session.headers.update({"Accept": _ACCEPT, "X-GitHub-Api-Version": "2022-11-28"})
    wire = Wire(session, base, **more)
    wire.installation = token.startswith(_INSTALLATION)
    if not token and environ.get("DRE_GITHUB_APP_ID"):
        token = _app_token(environ, wire)
        wire.installation = True
    if not token:
        raise UsageError("there is no token for GitHub", hint="set GITHUB_TOKEN")
    session.token_auth(token)
    return wire


def _app_token(environ: Mapping[str, str], wire: Wire) -> str:
    """A token for an App's installation.

    Source: https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app
    """
    from github3.apps import create_token

    number = environ.get("DRE_GITHUB_APP_INSTALLATION", "")
    pem = environ.get("DRE_GITHUB_APP_KEY", "")
    if not number or not pem:
        raise UsageError(
            "a GitHub App needs DRE_GITHUB_APP_KEY and DRE_GITHUB_APP_INSTALLATION beside its id",
            hint="the installation's number stands in the address of its settings",
        )
    try:
        proof = create_token(pem.encode(), environ["DRE_GITHUB_APP_ID"])
    except Exception as error:  # PyJWT and cryptography have no common ancestor
        raise UsageError(f"the App's key can't be used: {error}", path="DRE_GITHUB_APP_KEY") from None
    headers = {"Authorization": f"Bearer {proof}"}
    response = wire.send("POST", f"/app/installations/{quote(number)}/access_tokens", headers=headers)
    return str(response.json()["token"])

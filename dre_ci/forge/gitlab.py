"""GitLab's REST API: commit statuses, one merge-request note, files, generic packages, artifacts of jobs.

Requests go through ``requests``. The token is ``DRE_GITLAB_TOKEN`` or ``GITLAB_TOKEN`` (personal, project or group);
without one the job's own ``CI_JOB_TOKEN`` serves what GitLab lets it do: packages and artifacts, but no notes.

Source: https://docs.gitlab.com/api/rest/
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from dre_ci.forge.base import Annotation, ForgeError, Note, Outcome, Posted, Pull, State
from dre_ci.forge.github import fitted
from dre_ci.forge.wire import Wire
from dre_core.errors import UsageError
from dre_core.model.text import plain

if TYPE_CHECKING:
    from requests import Session

API = "https://gitlab.com/api/v4"
NOTE_LIMIT = 1_000_000
DESCRIPTION_LIMIT = 255
_TOKENS = ("PRIVATE-TOKEN", "JOB-TOKEN")
_STATES = {State.SUCCESS: "success", State.FAILURE: "failed", State.NEUTRAL: "pending"}


class GitLab:
    """One project on GitLab.

    Args:
        wire: Requests to its API.
        project: Its number, or ``group/name``.
    """

    def __init__(self, wire: Wire, project: str) -> None:
        self.wire = wire
        self.repository = project
        self._root = f"/projects/{quote(project, safe='')}"

    def status(self, note: Note) -> Posted:
        """Sets a commit status; a neutral one is ``pending``."""
        document = {
            "state": _STATES[note.state],
            "name": plain(note.name, 255),
            "description": plain(note.description, DESCRIPTION_LIMIT),
            **({"target_url": note.url} if note.url else {}),
        }
        try:
            answer = self.wire.write("POST", f"{self._root}/statuses/{note.commit}", document)
        except ForgeError as error:
            if note.state is State.NEUTRAL and "from :pending" in error.message:
                return Posted(outcome=Outcome.UNCHANGED, detail="it is pending already")
            raise
        return self._posted(answer)

    def check_run(self, note: Note, title: str, body: str, annotations: tuple[Annotation, ...]) -> Posted:
        """GitLab has none; the code-quality report of the job carries the annotations."""
        return Posted(outcome=Outcome.SKIPPED, detail="GitLab has no check runs; see the code-quality report")

    def comment(self, number: int, marker: str, body: str, *, anew: bool = False) -> Posted:
        """Writes one note on a merge request; our own earlier one with the same marker is edited in place."""
        text = fitted(f"{marker}\n{without_actions(body)}", NOTE_LIMIT)
        if anew:
            return self._comment(number, marker, text, anew)
        return self.wire.looking_again(lambda: self._comment(number, marker, text, anew))

    def _comment(self, number: int, marker: str, text: str, anew: bool) -> Posted:
        root = f"{self._root}/merge_requests/{number}/notes"
        earlier = None if anew else self._earlier(root, marker)
        if earlier is None:
            return self._posted(self.wire.write("POST", root, {"body": text}, repeat=False))
        if earlier.get("body") == text:
            return Posted(outcome=Outcome.UNCHANGED)
        return self._posted(
            self.wire.write("PUT", f"{root}/{earlier['id']}", {"body": text}, repeat=False), Outcome.UPDATED
        )

    def _earlier(self, root: str, marker: str) -> Mapping[str, Any] | None:
        me = (self.wire.get("/user") or {}).get("id")
        found = None
        for page in self.wire.pages(root, {"sort": "asc"}):
            for note in page or ():
                if (
                    str(note.get("body") or "").startswith(marker)
                    and (note.get("author") or {}).get("id") == me
                ):
                    found = note
        return found

    def pull(self, number: int) -> Pull:
        """A merge request by its number."""
        document = self.wire.get(f"{self._root}/merge_requests/{number}")
        refs = document.get("diff_refs") or {}
        return Pull(
            number=number,
            head=str(document.get("sha") or ""),
            base=str(refs.get("start_sha") or refs.get("base_sha") or ""),
            base_ref=str(document.get("target_branch") or ""),
            labels=tuple(map(str, document.get("labels") or ())),
        )

    def file(self, path: str, ref: str) -> bytes:
        """A file of the repository at a commit."""
        document = self.wire.get(f"{self._root}/repository/files/{quote(path, safe='')}", params={"ref": ref})
        try:
            return base64.b64decode(document["content"])
        except (KeyError, TypeError, binascii.Error):
            raise ForgeError("is no file", outcome=Outcome.NOT_FOUND, path=path) from None

    def parents(self, commit: str) -> tuple[str, ...]:
        """Parents of a commit, in order."""
        document = self.wire.get(f"{self._root}/repository/commits/{commit}")
        return tuple(str(parent) for parent in document.get("parent_ids", ()))

    def default_branch(self) -> str:
        """Name of the default branch."""
        return str(self.wire.get(self._root)["default_branch"])

    def package_address(self, package: str, version: str, name: str) -> str:
        """Where a file of a generic package is put and got."""
        path = "/".join(quote(part, safe="") for part in (package, version, name))
        return f"{self.wire.base}{self._root}/packages/generic/{path}"

    def artifact_address(self, ref: str, job: str, path: str) -> str:
        """Where a file is that the newest successful pipeline's job on a branch or tag kept."""
        query = f"job={quote(job, safe='')}"
        return f"{self.wire.base}{self._root}/jobs/artifacts/{quote(ref, safe='')}/raw/{quote(path)}?{query}"

    def _posted(self, answer: Any, outcome: Outcome = Outcome.CREATED) -> Posted:
        if self.wire.dry_run:
            return Posted(outcome=Outcome.DRY_RUN)
        return Posted(outcome=outcome, url=str((answer or {}).get("target_url") or ""))


def without_actions(text: str) -> str:
    """Markdown in which no line is a quick action, such as ``/merge``: GitLab would do it, with our token's rights."""
    return re.sub(r"(?m)^([ \t]*)/", r"\1&#47;", text)


def _session() -> Session:
    """A session whose token does not follow to another host, as where GitLab leads to its object storage."""
    from requests import PreparedRequest, Response, Session

    class _Own(Session):
        def rebuild_auth(self, prepared_request: PreparedRequest, response: Response) -> None:
            super().rebuild_auth(prepared_request, response)  # type: ignore[no-untyped-call]
            before, after = str(response.request.url), str(prepared_request.url)
            if self.should_strip_auth(before, after):  # type: ignore[no-untyped-call]
                for name in _TOKENS:
                    prepared_request.headers.pop(name, None)

    return _Own()


def connect(environ: Mapping[str, str], *, api: str, token: str, **more: Any) -> Wire:
    """The wire to GitLab's API.

    Args:
        environ: ``CI_API_V4_URL``, ``CI_JOB_TOKEN``.
        api: Base address; empty: ``CI_API_V4_URL``, else gitlab.com's.
        token: Personal, project or group access token; empty: the job's own.
        more: For :class:`Wire`.

    Raises:
        UsageError: There is no token.
    """
    session = _session()
    job = environ.get("CI_JOB_TOKEN", "")
    if not token and not job:
        raise UsageError("there is no token for GitLab", hint="set DRE_GITLAB_TOKEN or GITLAB_TOKEN")
    session.headers.update({_TOKENS[0]: token} if token else {_TOKENS[1]: job})
    return Wire(session, api or environ.get("CI_API_V4_URL", "") or API, **more)

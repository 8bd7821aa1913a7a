"""Where a job runs and what it runs for, as the forge's environment says; nothing of it comes from evidence.

A verdict is about a commit: the newest one of the pull request, the pushed one, or that of the run that a
``workflow_run`` event reports. On a laptop everything may be given by options instead.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dre_core.model.record import dataclass

_EVENT_LIMIT_BYTES = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """A job's place.

    Attributes:
        provider: ``github``, ``gitlab``, or empty.
        api: Base address of the API; empty: the provider's own.
        server: Address of the web pages.
        repository: ``owner/name``; on GitLab the project's number or path.
        address: Normalised address of the repository, as evidence records it.
        commit: The commit that verdicts are about.
        base: Commit of the base branch; empty outside pull requests.
        pull: Number of the pull or merge request; 0 for none.
        fork: Whether the change comes from another repository.
        event: What set the job off.
        run_id: This run.
        of_run: The run whose evidence is asked about: this one, or the one that set it off.
        workflow: Name of the workflow.
        job: Name of the job.
        head: ``owner:branch`` that the commit was pushed to.
        run_url: Page of this run.
    """

    provider: str = ""
    api: str = ""
    server: str = ""
    repository: str = ""
    address: str = ""
    commit: str = ""
    base: str = ""
    pull: int = 0
    fork: bool = False
    event: str = ""
    run_id: str = ""
    of_run: str = ""
    workflow: str = ""
    job: str = ""
    head: str = ""
    run_url: str = ""

    @property
    def is_trusted(self) -> bool:
        """Whether the job's own definition comes from the base repository, whoever wrote the change."""
        return not self.fork or self.event not in (
            "pull_request",
            "merge_request_event",
            "external_pull_request_event",
        )


def read(environ: Mapping[str, str]) -> Context:
    """The context by environment variables; an empty one outside CI."""
    if environ.get("GITHUB_ACTIONS", "") not in ("", "false"):
        return _github(environ)
    if environ.get("GITLAB_CI", "") not in ("", "false"):
        return _gitlab(environ)
    return Context()


def from_remote(address: str, commit: str) -> Context:
    """The context of a laptop's clone.

    Args:
        address: Normalised address of ``origin``, such as ``https://github.com/o/r``.
        commit: HEAD.
    """
    match = re.search(r"^(?:https?://)?([^/]+)/(.+?)(?:\.git)?/?$", address)
    if not match:
        return Context(commit=commit)
    host, path = match[1], match[2]
    provider = "gitlab" if "gitlab" in host else "github"
    api = "" if host in ("github.com", "gitlab.com") else _enterprise(provider, host)
    return Context(
        provider=provider, api=api, server=f"https://{host}", repository=path, address=address, commit=commit
    )


def _enterprise(provider: str, host: str) -> str:
    return f"https://{host}/api/v4" if provider == "gitlab" else f"https://{host}/api/v3"


def _event(environ: Mapping[str, str]) -> Mapping[str, Any]:
    try:
        with open(environ.get("GITHUB_EVENT_PATH", ""), "rb") as stream:
            document = json.loads(stream.read(_EVENT_LIMIT_BYTES))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _github(environ: Mapping[str, str]) -> Context:
    server = environ.get("GITHUB_SERVER_URL", "https://github.com")
    repository = environ.get("GITHUB_REPOSITORY", "")
    run = environ.get("GITHUB_RUN_ID", "")
    context = Context(
        provider="github",
        api=environ.get("GITHUB_API_URL", ""),
        server=server,
        repository=repository,
        address=_address(server, repository),
        commit=environ.get("GITHUB_SHA", ""),
        event=environ.get("GITHUB_EVENT_NAME", ""),
        run_id=run,
        of_run=run,
        workflow=environ.get("GITHUB_WORKFLOW", ""),
        job=environ.get("GITHUB_JOB", ""),
        run_url=f"{server}/{repository}/actions/runs/{run}" if run else "",
    )
    event = _event(environ)
    if isinstance(pull := event.get("pull_request"), dict):
        return _of_pull(context, pull)
    if isinstance(before := event.get("workflow_run"), dict):
        return _of_run(context, before)
    return context


def _name(repository: object) -> str:
    return str(repository.get("full_name", "")) if isinstance(repository, dict) else ""


def _of_pull(context: Context, pull: Mapping[str, Any]) -> Context:
    head, base = _mapping(pull.get("head")), _mapping(pull.get("base"))
    return replace(
        context,
        commit=str(head.get("sha") or context.commit),
        base=str(base.get("sha") or ""),
        pull=_number(pull.get("number")),
        # A fork that was deleted has no repository any more: still not ours.
        fork=_name(head.get("repo")) != (_name(base.get("repo")) or context.repository),
        head=str(head.get("label") or ""),
    )


def _of_run(context: Context, before: Mapping[str, Any]) -> Context:
    pulls = before.get("pull_requests")
    first = _mapping(pulls[0]) if isinstance(pulls, list) and pulls else {}
    head = _mapping(before.get("head_repository"))
    owner = str(_mapping(head.get("owner")).get("login") or "")
    return replace(
        context,
        commit=str(before.get("head_sha") or context.commit),
        base=str(_mapping(first.get("base")).get("sha") or ""),
        pull=_number(first.get("number")),
        fork=_name(head) != context.repository,
        of_run=str(before.get("id") or context.run_id),
        head=f"{owner}:{before.get('head_branch') or ''}" if owner else "",
    )


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: object) -> int:
    return value if isinstance(value, int) else int(str(value)) if str(value or "").isdecimal() else 0


def _gitlab(environ: Mapping[str, str]) -> Context:
    server = environ.get("CI_SERVER_URL", "https://gitlab.com")
    own = environ.get("CI_PROJECT_ID", "")
    source = environ.get("CI_MERGE_REQUEST_SOURCE_PROJECT_ID", own)
    pipeline = environ.get("CI_PIPELINE_ID", "")
    target = environ.get("CI_MERGE_REQUEST_PROJECT_ID", "") or own
    return Context(
        provider="gitlab",
        api=environ.get("CI_API_V4_URL", ""),
        server=server,
        repository=target or environ.get("CI_PROJECT_PATH", ""),
        address=_address(server, environ.get("CI_PROJECT_PATH", "")),
        commit=environ.get("CI_MERGE_REQUEST_SOURCE_BRANCH_SHA", "") or environ.get("CI_COMMIT_SHA", ""),
        base=environ.get("CI_MERGE_REQUEST_DIFF_BASE_SHA", ""),
        pull=_number(environ.get("CI_MERGE_REQUEST_IID")),
        fork=bool(environ.get("CI_MERGE_REQUEST_IID")) and source != target,
        event=environ.get("CI_PIPELINE_SOURCE", ""),
        run_id=pipeline,
        of_run=pipeline,
        workflow="pipeline",
        job=environ.get("CI_JOB_NAME", ""),
        run_url=environ.get("CI_JOB_URL", ""),
    )


def _address(server: str, repository: str) -> str:
    from dre_core.capture.git import normalise_address

    return normalise_address(f"{server}/{repository}") if repository else ""

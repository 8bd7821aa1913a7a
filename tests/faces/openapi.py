"""GitHub's description of its API, cut down to the calls that ``dre ci`` makes: Prism reads the whole in half a minute.

Source: the package ``@octokit/openapi``, which is GitHub's own description. Descriptions and examples are left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CALLS = {
    "/app/installations/{installation_id}/access_tokens": ("post",),
    "/repos/{owner}/{repo}": ("get",),
    "/repos/{owner}/{repo}/actions/artifacts/{artifact_id}/{archive_format}": ("get",),
    "/repos/{owner}/{repo}/actions/runs": ("get",),
    "/repos/{owner}/{repo}/actions/runs/{run_id}": ("get",),
    "/repos/{owner}/{repo}/actions/runs/{run_id}/artifacts": ("get",),
    "/repos/{owner}/{repo}/actions/workflows/{workflow_id}/runs": ("get",),
    "/repos/{owner}/{repo}/check-runs": ("post",),
    "/repos/{owner}/{repo}/check-runs/{check_run_id}": ("patch",),
    "/repos/{owner}/{repo}/contents/{path}": ("get",),
    "/repos/{owner}/{repo}/git/commits/{commit_sha}": ("get",),
    "/repos/{owner}/{repo}/issues/comments/{comment_id}": ("patch",),
    "/repos/{owner}/{repo}/issues/{issue_number}/comments": ("get", "post"),
    "/repos/{owner}/{repo}/pulls": ("get",),
    "/repos/{owner}/{repo}/pulls/{pull_number}": ("get",),
    "/repos/{owner}/{repo}/statuses/{sha}": ("post",),
    "/user": ("get",),
}
_LEFT_OUT = ("example", "examples", "externalDocs")


def cut_down(whole: Path, target: Path) -> None:
    """Writes the part of a description that the calls need."""
    document = json.loads(whole.read_bytes())
    paths = {
        path: _plain({method: document["paths"][path][method] for method in methods})
        for path, methods in CALLS.items()
    }
    components: dict[str, dict[str, Any]] = {}
    wanted = list(_references(paths))
    while wanted:
        _, _, kind, name = wanted.pop().split("/")
        if name not in components.setdefault(kind, {}):
            found = components[kind][name] = _plain(document["components"][kind][name])
            wanted += _references(found)
    kept = {name: document[name] for name in ("openapi", "info", "servers")}
    target.write_text(json.dumps({**kept, "paths": paths, "components": components}))


def _plain(value: Any) -> Any:
    """The same without what is for people; a property may be called ``description``."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        name: "" if name == "description" and isinstance(each, str) else _plain(each)
        for name, each in value.items()
        if not (name in _LEFT_OUT and name not in value.get("properties", {}))
    }


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for each in value:
            yield from _references(each)
    elif isinstance(value, dict):
        for name, each in value.items():
            if name == "$ref" and isinstance(each, str):
                yield each
            else:
                yield from _references(each)

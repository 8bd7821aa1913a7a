"""Which forge a command of ``dre ci`` speaks to: the job's, that of ``origin``, or the one that options name."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

from dre_ci.console import Console
from dre_core.errors import UsageError

_TOKENS = {
    "github": ("GITHUB_TOKEN", "GH_TOKEN"),
    "gitlab": ("DRE_GITLAB_TOKEN", "GITLAB_TOKEN"),
}


def place_of(engine: Any, arguments: argparse.Namespace) -> Any:
    """Where the job runs, with what the options say instead."""
    from dre_ci.forge.context import from_remote, read
    from dre_core.capture.git import Git

    context = read(engine.environ)
    if not context.provider and (git := Git.find(str(engine.directory))) is not None:
        head = git.head()
        context = from_remote(head.origin, head.commit)
    project = getattr(arguments, "project", "")
    return replace(
        context,
        provider=getattr(arguments, "forge", "") or context.provider,
        api=getattr(arguments, "api", "") or context.api,
        repository=project or context.repository,
        commit=getattr(arguments, "commit", "") or context.commit,
        pull=getattr(arguments, "pull", 0) or context.pull,
    )


def forge_of(engine: Any, arguments: argparse.Namespace, context: Any, console: Console) -> Any:
    """The forge, ready to be asked.

    Raises:
        UsageError: It is not known which one, or there is no token.
    """
    from dre_ci.forge import github, gitlab

    if context.provider not in _TOKENS or not context.repository:
        raise UsageError(
            "no forge is known here", hint="name --forge and --project, or add a remote named origin"
        )
    token = next((engine.environ[name] for name in _TOKENS[context.provider] if engine.environ.get(name)), "")
    more = {"api": context.api, "token": token, "say": console.say, "dry_run": arguments.dry_run}
    if context.provider == "gitlab":
        return gitlab.GitLab(gitlab.connect(engine.environ, **more), context.repository)
    return github.GitHub(github.connect(engine.environ, **more), context.repository)

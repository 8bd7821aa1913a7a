"""The environment collector: machine, interpreter, chosen variables, CI identity, lock files.

Variables are recorded by an allow-list, and masked like all text. The CI identity is read from the variables
that the providers document; it is what the runner says about itself, so it is worth as much as the runner.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from dre_core import __version__
from dre_core.capture.collector import Captured, Facts, Moment, Scene
from dre_core.hooks import hookimpl
from dre_core.model.canonical import JSON
from dre_core.model.verdict import Vantage

# Variables that change what a test run does; values of others stay where they are.
ALLOWED = (
    "CI", "HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "PYTEST_ADDOPTS", "PYTEST_DISABLE_PLUGIN_AUTOLOAD",
    "PYTEST_PLUGINS", "PYTHONDONTWRITEBYTECODE", "PYTHONHASHSEED", "PYTHONOPTIMIZE", "PYTHONPATH",
    "PYTHONSTARTUP", "PYTHONWARNINGS", "SHELL", "SOURCE_DATE_EPOCH", "TERM", "TOX_ENV_NAME", "TZ", "USER",
    "VIRTUAL_ENV",
)  # fmt: skip
_LOCK_FILES = (
    "poetry.lock", "uv.lock", "pdm.lock", "Pipfile.lock", "requirements.txt", "pylock.toml", "package-lock.json",
    "yarn.lock", "pnpm-lock.yaml", "bun.lock", "node_modules/.package-lock.json", "Cargo.lock", "go.sum",
    "Gemfile.lock", "composer.lock", "gradle.lockfile",
)  # fmt: skip
_LOCK_LIMIT_BYTES = 16 << 20

# Provider: variable that gives it away, then our field to its variable.
_PROVIDERS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "github": (
        "GITHUB_ACTIONS",
        {
            "repository": "GITHUB_REPOSITORY",
            "server": "GITHUB_SERVER_URL",
            "run_id": "GITHUB_RUN_ID",
            "run_attempt": "GITHUB_RUN_ATTEMPT",
            "workflow": "GITHUB_WORKFLOW",
            "job": "GITHUB_JOB",
            "event": "GITHUB_EVENT_NAME",
            "ref": "GITHUB_REF",
            "sha": "GITHUB_SHA",
            "actor": "GITHUB_ACTOR",
        },
    ),
    "gitlab": (
        "GITLAB_CI",
        {
            "repository": "CI_PROJECT_PATH",
            "server": "CI_SERVER_URL",
            "run_id": "CI_PIPELINE_ID",
            "job": "CI_JOB_NAME",
            "event": "CI_PIPELINE_SOURCE",
            "ref": "CI_COMMIT_REF_NAME",
            "sha": "CI_COMMIT_SHA",
            "actor": "GITLAB_USER_LOGIN",
        },
    ),
    "azure": (
        "TF_BUILD",
        {
            "repository": "BUILD_REPOSITORY_NAME",
            "server": "SYSTEM_COLLECTIONURI",
            "run_id": "BUILD_BUILDID",
            "run_attempt": "SYSTEM_JOBATTEMPT",
            "workflow": "BUILD_DEFINITIONNAME",
            "job": "AGENT_JOBNAME",
            "event": "BUILD_REASON",
            "ref": "BUILD_SOURCEBRANCH",
            "sha": "BUILD_SOURCEVERSION",
            "actor": "BUILD_REQUESTEDFOR",
            "pull_request": "SYSTEM_PULLREQUEST_PULLREQUESTNUMBER",
        },
    ),
    "buildkite": (
        "BUILDKITE",
        {
            "repository": "BUILDKITE_REPO",
            "run_id": "BUILDKITE_BUILD_ID",
            "run_attempt": "BUILDKITE_RETRY_COUNT",
            "workflow": "BUILDKITE_PIPELINE_SLUG",
            "job": "BUILDKITE_LABEL",
            "event": "BUILDKITE_SOURCE",
            "ref": "BUILDKITE_BRANCH",
            "sha": "BUILDKITE_COMMIT",
            "actor": "BUILDKITE_BUILD_CREATOR",
            "pull_request": "BUILDKITE_PULL_REQUEST",
        },
    ),
    "circleci": (
        "CIRCLECI",
        {
            "repository": "CIRCLE_REPOSITORY_URL",
            "run_id": "CIRCLE_WORKFLOW_ID",
            "workflow": "CIRCLE_PIPELINE_ID",
            "job": "CIRCLE_JOB",
            "ref": "CIRCLE_BRANCH",
            "sha": "CIRCLE_SHA1",
            "actor": "CIRCLE_USERNAME",
            "pull_request": "CIRCLE_PR_NUMBER",
        },
    ),
    "jenkins": (
        "JENKINS_URL",
        {
            "repository": "GIT_URL",
            "server": "JENKINS_URL",
            "run_id": "BUILD_TAG",
            "workflow": "JOB_NAME",
            "job": "STAGE_NAME",
            "ref": "GIT_BRANCH",
            "sha": "GIT_COMMIT",
            "actor": "BUILD_USER_ID",
            "pull_request": "CHANGE_ID",
        },
    ),
}

# Providers that name the repository by its clone address, which may hold credentials.
_NAMED_BY_ADDRESS = ("buildkite", "circleci", "jenkins")


def ci_variables() -> tuple[str, ...]:
    """Names of the variables that tell a CI run: no token or key is among them."""
    names = {name for marker, fields in _PROVIDERS.values() for name in (marker, *fields.values())}
    return tuple(sorted(names | {"GITHUB_EVENT_PATH", "CI_MERGE_REQUEST_DIFF_BASE_SHA"}))


def ci_identity(environ: Mapping[str, str]) -> dict[str, str]:
    """Which CI run this is, by field; empty outside CI."""
    for provider, (marker, names) in _PROVIDERS.items():
        if environ.get(marker, "") not in ("", "false", "0"):
            found = {field: environ[name] for field, name in names.items() if environ.get(name)}
            pull = _pull_request(environ) if provider == "github" else {}
            if provider in _NAMED_BY_ADDRESS and "repository" in found:
                from dre_core.capture.git import normalise_address

                found["repository"] = normalise_address(found["repository"])
            if found.get("pull_request") == "false":  # Buildkite's word for none
                del found["pull_request"]
            return {"provider": provider, **found, **pull}
    return {"provider": "generic"} if environ.get("CI", "") not in ("", "false", "0") else {}


def ci_base(environ: Mapping[str, str]) -> str:
    """Base commit of the pull request that CI runs for; empty if it runs for none."""
    if environ.get("GITHUB_ACTIONS"):
        return _pull_request(environ).get("base_sha", "")
    return environ.get("CI_MERGE_REQUEST_DIFF_BASE_SHA", "")


def _pull_request(environ: Mapping[str, str]) -> dict[str, str]:
    """Number, base and head of GitHub's event payload; empty for other events."""
    try:
        with open(environ.get("GITHUB_EVENT_PATH", ""), "rb") as stream:
            pull = json.loads(stream.read(4 << 20)).get("pull_request")
        head, base = pull["head"], pull["base"]
        fork = (head.get("repo") or {}).get("full_name") != (base.get("repo") or {}).get("full_name")
        return {
            "pull_request": str(pull["number"]),
            "head_sha": str(head["sha"]),
            "base_sha": str(base["sha"]),
            "fork": "true" if fork else "false",
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def summary() -> dict[str, str]:
    """The machine in a few words."""
    system = os.uname()
    return {
        "system": system.sysname,
        "release": system.release,
        "machine": system.machine,
        "python": sys.version.partition(" ")[0],
        "implementation": sys.implementation.name,
        "cpus": str(os.cpu_count() or 0),
        "host": system.nodename,
    }


class EnvironmentCollector:
    """Records the machine, chosen variables, the CI run and the lock files."""

    name = "environment"

    def before(self, scene: Scene, facts: Facts) -> Iterable[Captured]:
        facts.ci = ci_identity(scene.environ)
        facts.environment = summary()
        facts.tools["dre"] = __version__
        names = {*ALLOWED, *scene.config.capture.environment}
        document = {
            "machine": facts.environment,
            "variables": {name: _text(scene.environ[name]) for name in sorted(names & scene.environ.keys())},
            "ci": facts.ci,
        }
        yield Captured(
            name="environment",
            kind="environment",
            vantage=Vantage.OBSERVED,
            media_type="application/json",
            value=document,
        )
        for name in _LOCK_FILES:
            path = scene.root / name
            if path.is_file() and path.stat().st_size <= _LOCK_LIMIT_BYTES:
                yield _lock_file(path, name)

    def after(self, scene: Scene, facts: Facts) -> Iterable[Captured]:
        words = (*scene.programs, *facts.programs)
        pythons = [word for word in words if word.rpartition("/")[2].startswith(("python", "pypy"))]
        if not (pythons or scene.config.capture.tools or scene.environ.get("VIRTUAL_ENV")):
            return []
        from dre_core.capture.dependencies import dependencies, tool_version

        for name in scene.config.capture.tools:
            facts.tools[name] = tool_version(name, scene)
        return dependencies(pythons, scene, facts) if scene.config.capture.dependencies else []

    def during(self, scene: Scene, moment: Moment) -> Iterable[Captured]:
        return [
            Captured(
                name="machine",
                kind="environment",
                vantage=Vantage.OBSERVED,
                media_type="application/json",
                value=load(scene.root),
            )
        ]


def load(folder: Path) -> dict[str, JSON]:
    """How busy and how full the machine is at this moment."""
    import shutil

    import psutil

    memory = psutil.virtual_memory()
    disk = shutil.disk_usage(folder)
    return {
        "load": [round(value, 2) for value in psutil.getloadavg()],
        "memoryTotalBytes": str(memory.total),
        "memoryAvailableBytes": str(memory.available),
        "diskTotalBytes": str(disk.total),
        "diskFreeBytes": str(disk.free),
    }


def _lock_file(path: Path, name: str) -> Captured:
    return Captured(
        name=f"lock/{name}",
        kind="lock",
        vantage=Vantage.OBSERVED,
        media_type="text/plain",
        path=path,
        kept=False,
    )


def _text(value: str) -> str:
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


@hookimpl
def dre_collectors() -> list[EnvironmentCollector]:
    return [EnvironmentCollector()]

"""``dre ci status|comment|summary|upload|download|wrap|verify|hook``: what a CI job, or a person, tells a forge.

The forge is known by the job's environment, else by the address of ``origin``. Its refusal is a warning and changes no
verdict; with ``--strict`` the command then ends with 1. ``wrap`` and ``verify`` are the steps of the actions and the
template, with their inputs in variables ``DRE_INPUT_<NAME>``.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dre_ci.cli import Exit
from dre_ci.console import Console
from dre_core.errors import UsageError

ACTIONS = ("status", "comment", "summary", "upload", "download", "wrap", "verify", "hook")


def register(parser: argparse.ArgumentParser) -> None:
    from dre_ci.commands.verify import add_expectations
    from dre_ci.job.told import FAIL_ON

    actions = parser.add_subparsers(dest="action", required=True, metavar="|".join(ACTIONS))
    for name, text in (
        ("status", "set a commit status, or make a check run, from a verdict"),
        ("comment", "write one comment on the pull request, in place of the last one"),
        ("summary", "write the job's summary and annotations"),
    ):
        tell = actions.add_parser(name, help=text)
        tell.add_argument(
            "target", nargs="?", default="latest", help="operation id, latest, archive or folder"
        )
        add_expectations(tell)
        tell.add_argument(
            "--baseline",
            action="append",
            default=[],
            metavar="ZIP",
            help="an earlier archive to compare with",
        )
        tell.add_argument("--fail-on", choices=FAIL_ON, default="contradicted", help="what turns it red")
        if name != "summary":
            _add_forge(tell)
            tell.add_argument("--name", default="dre", metavar="NAME", help="name that it stands under")
        if name == "status":
            tell.add_argument("--check-run", action="store_true", help="a check run with annotations instead")
        if name == "comment":
            tell.add_argument("--pull", type=int, default=0, metavar="N", help="number of the pull request")
            tell.add_argument("--anew", action="store_true", help="a new comment each time")
    _add_upload(actions.add_parser("upload", help="upload a file, and compare what arrived"))
    _add_download(actions.add_parser("download", help="download an archive of a run, a branch or a URL"))
    actions.add_parser("wrap", help="the step of the action wrap; inputs in DRE_INPUT_*")
    actions.add_parser("verify", help="the step of the action verify; inputs in DRE_INPUT_*")
    hook = actions.add_parser("hook", help="a hook of pre-commit")
    hook.add_argument("hook", choices=("verify-latest", "no-weakened-tests"), help="which")


def _add_forge(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--forge", choices=("github", "gitlab"), default="", help="default: told by the environment"
    )
    parser.add_argument(
        "--api", default="", metavar="URL", help="base address of the API (Enterprise Server)"
    )
    parser.add_argument("--project", default="", metavar="O/R", help="repository (default: this one)")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be sent")
    parser.add_argument("--strict", action="store_true", help="exit 1 where the forge refuses")


def _add_upload(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", help="the file, for example an archive")
    parser.add_argument(
        "--to",
        required=True,
        metavar="WHERE",
        help="a URL that takes PUT, s3://bucket/prefix, github (the run's artifacts) or gitlab",
    )
    parser.add_argument(
        "--artifact", default="", metavar="NAME", help="GitHub: name of the artifact, unique in the run"
    )
    parser.add_argument(
        "--retention-days", type=int, default=0, metavar="N", help="GitHub: days that it is kept"
    )
    parser.add_argument(
        "--package", default="dre-evidence", metavar="NAME", help="GitLab: name of the package"
    )
    parser.add_argument(
        "--version", default="", metavar="V", help="GitLab: its version (default: the commit)"
    )
    parser.add_argument("--no-check", action="store_true", help="do not read it back")
    _add_forge(parser)


def _add_download(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("source", nargs="?", default="", metavar="URL", help="a URL; else an artifact of the forge")
    add("--artifact", default="dre-*", metavar="NAME", help="GitHub: name of the artifacts, * for any text")
    add(
        "--run-id",
        default="",
        metavar="N",
        help="GitHub: the run (default: the newest good one of the branch)",
    )
    add("--branch", default="", metavar="NAME", help="the branch (default: the default branch)")
    add("--workflow", default="", metavar="FILE", help="GitHub: file name of the workflow")
    add("--job", default="dre", metavar="NAME", help="GitLab: the job")
    add("--path", default=".dre/ci/evidence.zip", metavar="PATH", help="GitLab: the file that the job kept")
    add("--sha256", default="", metavar="HEX", help="digest that it must have")
    add("--output", required=True, metavar="PATH", help="the file to write")
    _add_forge(parser)


def run(arguments: argparse.Namespace, console: Console) -> Exit:
    from dre_ci.job.transfers import download, upload

    work: Callable[[argparse.Namespace, Console], Exit] = {
        "status": _status,
        "comment": _comment,
        "summary": _summary,
        "upload": upload,
        "download": download,
        "wrap": _wrap,
        "verify": _verify,
        "hook": _hook,
    }[arguments.action]
    return work(arguments, console)


def _wrap(arguments: argparse.Namespace, console: Console) -> Exit:
    from dre_ci.job.wrapping import step

    return step(os.environ, console, arguments.dir)


def _verify(arguments: argparse.Namespace, console: Console) -> Exit:
    from dre_ci.job.verifying import step

    return step(os.environ, console, arguments.dir)


def _hook(arguments: argparse.Namespace, console: Console) -> Exit:
    from dre_ci.hooks.pre_commit import HOOKS
    from dre_core.engine import Engine

    engine = Engine.open(explicit=arguments.dir)
    problems = HOOKS[arguments.hook](engine)
    console.result(problems, {"hook": arguments.hook, "problems": problems})
    return Exit(1 if problems else 0)


def _judged(engine: Any, arguments: argparse.Namespace) -> list[Any]:
    from dre_ci.commands.verify import request_of
    from dre_ci.job.judging import judge, refused
    from dre_core.errors import FormatError

    try:
        baseline = [Path(path) for path in arguments.baseline]
        return judge(engine, request_of(engine, arguments), baseline=baseline)
    except FormatError as error:
        return [refused(error, arguments.target)]


def _status(arguments: argparse.Namespace, console: Console) -> Exit:
    from dre_ci.forge.base import Note
    from dre_ci.job.place import forge_of, place_of
    from dre_ci.job.posting import attempt
    from dre_ci.job.told import worst
    from dre_core.engine import Engine

    engine = Engine.open(explicit=arguments.dir)
    every = _judged(engine, arguments)
    told = worst(every)
    context = place_of(engine, arguments)
    commit = context.commit or told.commit
    if not commit:
        raise UsageError("no commit is known here", hint="name it with --commit")
    forge = forge_of(engine, arguments, context, console)
    note = Note(
        commit=commit,
        name=arguments.name,
        state=told.state(arguments.fail_on),
        description=told.line,
        url=context.run_url,
    )
    if arguments.check_run:
        annotations = tuple(each for told in every for each in told.annotations)
        body = "\n\n".join(told.markdown for told in every)
        posted = attempt(lambda: forge.check_run(note, told.line, body, annotations), "check run", console)
    else:
        posted = attempt(lambda: forge.status(note), "status", console)
    return _ended(arguments, console, told, posted)


def _comment(arguments: argparse.Namespace, console: Console) -> Exit:
    from dre_ci.job.place import forge_of, place_of
    from dre_ci.job.posting import attempt
    from dre_ci.job.told import worst
    from dre_ci.job.words import key_of
    from dre_core.engine import Engine

    engine = Engine.open(explicit=arguments.dir)
    every = _judged(engine, arguments)
    context = place_of(engine, arguments)
    if not context.pull:
        raise UsageError("no pull request is known here", hint="name it with --pull")
    forge = forge_of(engine, arguments, context, console)
    marker = f"<!-- dre:{key_of(context.workflow, context.job, '', arguments.name)} -->"
    body = "\n\n".join(told.markdown for told in every)
    posted = attempt(
        lambda: forge.comment(context.pull, marker, body, anew=arguments.anew), "comment", console
    )
    return _ended(arguments, console, worst(every), posted)


def _ended(arguments: argparse.Namespace, console: Console, told: Any, posted: Any) -> Exit:
    document = {
        "schema": "dre/posted/v1",
        "outcome": posted.outcome.value,
        "detail": posted.detail,
        "url": posted.url,
        "operation": told.operation,
        "verdict": told.conclusion.value,
    }
    console.result([f"{posted.outcome.value}: {told.line}"], document)
    return Exit(1 if arguments.strict and not posted.outcome.is_done else 0)


def _summary(arguments: argparse.Namespace, console: Console) -> Exit:
    from dre_ci.job import words
    from dre_core.engine import Engine

    engine = Engine.open(explicit=arguments.dir)
    every = _judged(engine, arguments)
    text = "\n\n".join(told.markdown for told in every)
    if path := engine.environ.get("GITHUB_STEP_SUMMARY"):
        words.write_summary(Path(path), text)
        for line in words.commands(each for told in every for each in told.annotations):
            console.line(line)
    else:
        console.line(text)
    return Exit()

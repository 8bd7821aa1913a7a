"""The step ``wrap``: run a job's command under DRE, and leave what the job needs of it.

Leaves ``evidence.zip``, ``report.md``, ``junit.xml`` and, on GitLab, ``codequality.json``, ``annotations.json`` and
``dre.env`` in one folder; adds to the summary; writes annotations and outputs. The step ends as the command did, or
with 1 where the command ended well and the verdict is as bad as ``fail-on`` says. Whatever goes wrong after the
command is a warning.

The verdict is the run's own first word. It judges by a policy of the base commit, never by one of the change; who must
not be fooled verifies the archive elsewhere, as the action ``verify`` does.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from dre_ci.cli import Exit
from dre_ci.console import Console
from dre_ci.forge.base import Annotation
from dre_ci.forge.context import Context, read
from dre_ci.job import words
from dre_ci.job.attesting import hindrance, predicate
from dre_ci.job.inputs import Inputs, without_inputs
from dre_ci.job.told import FAIL_ON, Told, tell
from dre_core.errors import CaptureError, DREError, StartError, UsageError
from dre_core.model.policy import Policy
from dre_core.model.verdict import Severity

TIMED_OUT = 124
CI_RETENTION = "1d"
_SHELLS = {
    "bash": ("bash", "--noprofile", "--norc", "-eo", "pipefail", "-c"),
    "sh": ("sh", "-e", "-c"),
    "python": ("python3", "-c"),
}


def step(environ: Mapping[str, str], console: Console, explicit: str = "") -> Exit:
    """Runs the step.

    Args:
        environ: Variables with the inputs.
        console: Where to speak.
        explicit: ``--dir``.

    Raises:
        DREError: DRE failed before the command started.
    """
    from dre_core.capture.process import Command, standard_descriptors
    from dre_core.engine import Engine, Wishes
    from dre_core.recovery import recover

    inputs, context = Inputs(environ), read(environ)
    fail_on = inputs.choice("fail-on", FAIL_ON, "contradicted")
    _enter(inputs.text("working-directory"))
    engine = Engine.open(explicit=explicit, environ=_environ(environ))
    policy, remarks = _policy(engine.directory, inputs.text("policy"), context)
    if not inputs.text("run"):
        policy = _for_collecting(policy)
    wishes = Wishes(
        name=inputs.text("name"),
        junit=inputs.lines("junit"),
        coverage=inputs.lines("coverage"),
        artifact=inputs.lines("artifact"),
        screenshot=inputs.lines("screenshot"),
        base=inputs.text("base") or context.base,
        verify=True,
        replay=_replay(inputs),
        policy=policy,
    )
    command = Command(argv=_argv(inputs), cwd=os.getcwd(), shell=False)
    before = {name: _size(environ.get(name, "")) for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    if engine.folder.exists:
        recover(engine)
    try:
        wrapped = engine.wrap(command, wishes, standard=standard_descriptors())
    except StartError as error:
        console.error(error)
        return Exit(error.status)
    code = _code(wrapped.result)
    said = b""
    try:
        for name, size in before.items():
            said = _cut(environ.get(name, ""), size)
        told = _told(wrapped)
        _leave(engine, wrapped, told, inputs, context, console, code, remarks)
    except (DREError, OSError) as error:
        console.line(
            words.command(Annotation(level="warning", title="DRE", message=f"not all could be left: {error}"))
        )
        return Exit(code)
    finally:
        words.give_back(environ.get("GITHUB_STEP_SUMMARY", ""), said)
    if code:
        return Exit(code)
    bad = told.fails(fail_on) if told else fail_on == "inconclusive"
    return Exit(1 if bad else 0)


def _enter(directory: str) -> None:
    if directory:
        try:
            os.chdir(directory)
        except OSError as error:
            raise UsageError(f"can't be entered: {error.strerror}", path=directory) from None


def _size(path: str) -> int:
    try:
        return os.path.getsize(path) if path else 0
    except OSError:
        return 0


def _cut(path: str, size: int) -> bytes:
    """Takes away what the command wrote where we write: a text that it began, or sheer length, could hide ours.

    Among the outputs, which are the step's, it stays away; in the summary it comes after ours.
    """
    if _size(path) <= size:
        return b""
    with open(path, "rb") as stream:
        stream.seek(size)
        found = stream.read(words.SUMMARY_LIMIT_BYTES)
    os.truncate(path, size)
    return found


def _environ(environ: Mapping[str, str]) -> dict[str, str]:
    """Without inputs; without a key of its own, a run keeps none on disk."""
    own = without_inputs(environ)
    if not any(own.get(name) for name in ("DRE_SIGNING_KEY", "DRE_SIGNING_KEY_FILE", "DRE_SIGNING_KEY_FD")):
        own.setdefault("DRE_KEYS__EPHEMERAL", "true")
    return {name: value for name, value in own.items() if value or name != "DRE_SIGNING_KEY"}


def _argv(inputs: Inputs) -> tuple[str, ...]:
    """The command by its shell; only to collect, one that reads the reports.

    Raises:
        UsageError: The shell is none that is known, or there is nothing to run and nothing to collect.
    """
    text = inputs.text("run")
    if not text:
        if not inputs.lines("junit"):
            raise UsageError("there is neither run nor junit", hint="run: python3 -m pytest --dre")
        return (sys.executable, "-m", "dre_ci.job.collect", *inputs.lines("junit"))
    shell = inputs.choice("shell", tuple(_SHELLS), "bash")
    return (*_SHELLS[shell], text)


def _replay(inputs: Inputs) -> str:
    chosen = inputs.choice("replay", ("none", "clean", "matrix"), "none")
    return "" if chosen == "none" else chosen


def _policy(directory: Path, named: str, context: Context) -> tuple[Policy, list[str]]:
    """The policy to judge by, and what to say about it.

    A file of a pull request is taken from the base commit; where that is not in the clone, it is not taken.
    """
    from dre_core.policy_file import load_policy

    if not named:
        return Policy(), []
    if not context.base or named.startswith("preset:") or os.path.isabs(named):
        return load_policy(Path(named)), []
    import tempfile

    from dre_ci.job.policy import of_commit

    with tempfile.TemporaryDirectory() as folder:
        try:
            return load_policy(of_commit(str(directory), context.base, named, Path(folder))), []
        except CaptureError as error:
            return Policy(), [
                f"judged by the default policy: {named} of the base commit can't be read ({error})"
            ]


def _for_collecting(policy: Policy) -> Policy:
    """The policy for reports that earlier steps wrote: that this one did not is no accusation."""
    severities = {"report-fresh": Severity.INFO, **policy.severities}
    members = tuple(_for_collecting(member) for member in policy.members)
    return replace(policy, severities=severities, members=members)


def _code(result: Any) -> int:
    if result.timed_out:
        return TIMED_OUT
    return 128 + int(result.signal) if result.signal is not None else int(result.exit_code or 0)


def _told(wrapped: Any) -> Told | None:
    if wrapped.verdict is None:
        return None
    from dre_core.verification import Verified

    return tell(Verified(verdict=wrapped.verdict, run=wrapped.run, evidence=wrapped.evidence))


def _leave(
    engine: Any,
    wrapped: Any,
    told: Told | None,
    inputs: Inputs,
    context: Context,
    console: Console,
    code: int,
    remarks: list[str],
) -> None:
    """Files, outputs, summary and annotations of one run."""
    folder = _folder(engine, inputs, wrapped.operation)
    files: dict[str, Path] = {}
    if wrapped.failure is not None:
        remarks.append(f"the evidence could not be sealed: {wrapped.failure}")
    else:
        files = _files(engine, wrapped, told, folder, context)
    if context.fork:
        remarks.append(
            "a fork's run gets no key: sealed with one of its own, evidence level at most 1; a trusted job verifies it"
        )
    values = outputs(told, wrapped.operation, code, files, _artifact_name(inputs, context))
    values["attest"] = _attests(inputs, context, files, remarks)
    _write(values, told, inputs, context, folder, console)
    _prune(engine, wrapped.operation)
    for remark in remarks:
        console.line(words.command(Annotation(level="notice", title="DRE", message=remark)))
    console.say(f"dre: {told.line if told else 'no verdict'} ({wrapped.operation})")


def _attests(inputs: Inputs, context: Context, files: Mapping[str, Path], remarks: list[str]) -> str:
    """Whether the step that attests has something to do and may; ``true`` or empty."""
    if not inputs.flag("attest", False) or "predicate" not in files:
        return ""
    if reason := hindrance(context, os.environ):
        remarks.append(f"the archive is not attested: {reason}")
        return ""
    return "true"


def _prune(engine: Any, operation: str) -> None:
    """Deletes what is too old where a runner keeps its folders: a day, unless the configuration says otherwise."""
    from dre_core.config import EvidenceSection
    from dre_core.removal import outdated, remove, retention_of

    age = engine.settings.evidence.retention
    age = CI_RETENTION if age == EvidenceSection().retention else age
    names = [name for name in outdated(engine, retention_of(age)) if name != operation]
    if names:
        remove(engine, names, f"older than {age}")


def _folder(engine: Any, inputs: Inputs, operation: str) -> Path:
    named = inputs.text("output") or (
        os.path.join(engine.environ["RUNNER_TEMP"], "dre", operation)
        if engine.environ.get("RUNNER_TEMP")
        else str(engine.folder.path / "ci")
    )
    folder = Path(named)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _files(engine: Any, wrapped: Any, told: Told | None, folder: Path, context: Context) -> dict[str, Path]:
    """The archive and the reports, by what they are."""
    from dre_core import registry
    from dre_core.reporting import report_here
    from dre_core.store.folder import write_atomically

    found = {"archive": engine.export([wrapped.operation], folder / "evidence.zip")}
    if told is None:
        return found
    report = report_here(engine, wrapped.verdict, wrapped.evidence)
    manager = registry.load(registry.RENDERERS, engine.settings.plugins)
    for renderer in registry.flatten(manager.hook.dre_renderers()):
        name = {"markdown": "report-markdown", "html": "report-html", "junit": "junit"}.get(renderer.name)
        if name:
            path = folder / ("junit.xml" if name == "junit" else f"report{renderer.suffix}")
            write_atomically(path, renderer.render(report), durable=False)
            found[name] = path
    found["predicate"] = folder / "test-result.json"
    document = predicate(wrapped.evidence, told, context)
    write_atomically(found["predicate"], json.dumps(document).encode(), durable=False)
    return found


def outputs(
    told: Told | None, operation: str, code: int, files: Mapping[str, Path], artifact: str
) -> dict[str, str]:
    """The step's outputs by name."""
    tests = (told.tests if told else None) or {}
    return {
        "verdict": told.conclusion.value if told else "",
        "score": "" if told is None or told.score is None else f"{told.score:.2f}",
        "confidence": f"{told.confidence:.2f}" if told else "",
        "level": str(int(told.level)) if told else "",
        "operation": operation,
        "exit-code": str(code),
        **{name: str(tests.get(name, 0)) for name in ("passed", "failed", "skipped", "errors")},
        **{name: str(files.get(name, "")) for name in ("archive", "report-html", "junit", "predicate")},
        "artifact-name": artifact,
        "folder": str(files["archive"].parent) if "archive" in files else "",
    }


def _artifact_name(inputs: Inputs, context: Context) -> str:
    """A name that no other job of the run has: workflow, job and matrix are in it."""
    if named := inputs.text("artifact-name"):
        return named
    name, matrix = inputs.text("name"), inputs.text("matrix")
    key = words.key_of(context.workflow, context.job, matrix, name)
    return f"dre-{words.slug(context.workflow, context.job, name)}-{key}"


def _write(
    values: Mapping[str, str],
    told: Told | None,
    inputs: Inputs,
    context: Context,
    folder: Path,
    console: Console,
) -> None:
    environ = os.environ
    if environ.get("GITHUB_OUTPUT"):
        words.write_outputs(Path(environ["GITHUB_OUTPUT"]), values)
    if told is None:
        return
    if inputs.flag("summary", True) and environ.get("GITHUB_STEP_SUMMARY"):
        words.write_summary(Path(environ["GITHUB_STEP_SUMMARY"]), told.markdown)
    if context.provider == "gitlab":
        _write_gitlab(values, told, folder, environ)
    elif inputs.flag("annotations", True):
        for line in words.commands(_from_top(told.annotations, environ)):
            console.line(line)


def _from_top(annotations: tuple[Annotation, ...], environ: Mapping[str, str]) -> Iterator[Annotation]:
    """Annotations with paths from the top of the runner's workspace, which a clone may lie below."""
    from dre_core.capture.git import Git

    git = Git.find(os.getcwd())
    workspace = environ.get("GITHUB_WORKSPACE", "")
    below = os.path.relpath(git.root, workspace) if git is not None and workspace else "."
    for each in annotations:
        outside = not each.file or below == "." or below.startswith("..")
        yield each if outside else replace(each, file=f"{below}/{each.file}".replace(os.sep, "/"))


def _write_gitlab(values: Mapping[str, str], told: Told, folder: Path, environ: Mapping[str, str]) -> None:
    fallback = environ.get("CI_CONFIG_PATH", "") or ".gitlab-ci.yml"
    server, project = environ.get("CI_SERVER_URL", ""), environ.get("CI_PROJECT_PATH", "")
    job = environ.get("CI_JOB_ID", "")
    links = {}
    for label, name in (("DRE report", "report-html"), ("DRE evidence", "archive")):
        if values[name]:
            path = os.path.relpath(values[name], os.path.realpath(environ.get("CI_PROJECT_DIR", ".")))
            if not path.startswith(".."):
                links[label] = words.page_of(server, project, job, path)
    (folder / "dre.env").write_text(words.dotenv(values), encoding="utf-8")
    (folder / "codequality.json").write_text(words.code_quality(told.annotations, fallback), encoding="utf-8")
    (folder / "annotations.json").write_text(words.job_links(links), encoding="utf-8")

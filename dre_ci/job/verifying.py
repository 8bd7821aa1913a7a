"""The step ``verify``: the trusted half of a pull request's story.

It runs where the change has no say: in a ``workflow_run`` of the base branch, or in a later job of a run that is not a
fork's. It gets the archive by the forge's word on which run made it, takes the policy from the base commit, verifies
for the pull request's newest commit, repository and run, and sets status, check run and one comment.

Whose seal counts:

- the keys that the policy (or ``keys``) names; without any,
- the archive's own key where the forge says that a run of this very repository made it: then nobody but the forge
  vouches, and the comment says so;
- in a fork's run nobody's. Under ``fork: report`` such evidence gives a provisional verdict, level 1 at most: never
  green, but red where it contradicts its own claim. Under ``fork: replay`` an archive counts that another job of this
  trusted run made by running the change again itself.

A refusal by the forge never changes the verdict: the step ends by the verdict alone.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from dre_ci.cli import Exit
from dre_ci.console import Console
from dre_ci.forge import artifacts, gitlab
from dre_ci.forge.base import ForgeError, Note, Outcome, Posted, State
from dre_ci.forge.context import Context, read
from dre_ci.forge.github import GitHub, connect
from dre_ci.forge.gitlab import GitLab
from dre_ci.forge.transfer import download
from dre_ci.job import words
from dre_ci.job.countersigning import countersigned
from dre_ci.job.inputs import Inputs, without_inputs
from dre_ci.job.judging import claimed_commits, judge, refused
from dre_ci.job.policy import lay_out
from dre_ci.job.posting import Judged, attempt, body_of, marker_of
from dre_ci.job.told import FAIL_ON, Told, worst
from dre_core.engine import Engine
from dre_core.errors import DREError, FormatError, IntegrityError, LimitError, UsageError
from dre_core.model.policy import Policy
from dre_core.model.record import dataclass
from dre_core.model.verdict import Level
from dre_core.verification import Request

_BUILT = ("GITHUB_SHA", "CI_COMMIT_SHA")
"""The commit that the job runs for, by the forge's word: in a pull request its test merge."""
_ARCHIVE = ".dre/ci/evidence.zip"
"""Where GitLab's jobs keep it."""
_SHA = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where the evidence came from.

    Attributes:
        archives: The files.
        run: The run that made them by the forge's word; empty for files that were just there.
    """

    archives: tuple[Path, ...]
    run: str = ""


def step(environ: Mapping[str, str], console: Console, explicit: str = "") -> Exit:
    """Runs the step.

    Raises:
        DREError: The inputs can't be used.
    """
    inputs = Inputs(environ)
    fail_on = inputs.choice("fail-on", FAIL_ON, "contradicted")
    engine = Engine.open(explicit=explicit, environ=without_inputs(environ))
    context = read(environ)
    context = replace(
        context, commit=inputs.text("commit") or context.commit, base=inputs.text("base") or context.base
    )
    forge = _forge(environ, inputs, context, console)
    context = _with_pull(context, forge)
    with tempfile.TemporaryDirectory(prefix="dre-") as folder:
        judged = _judged(engine, inputs, context, forge, Path(folder), console)
    posted = _post(inputs, context, forge, judged, fail_on, console)
    _write(inputs, judged, posted, context, console)
    return Exit(1 if judged.told.fails(fail_on) else 0)


def _forge(
    environ: Mapping[str, str], inputs: Inputs, context: Context, console: Console
) -> GitHub | GitLab | None:
    if context.provider == "gitlab":
        token = environ.get("DRE_GITLAB_TOKEN", "") or environ.get("GITLAB_TOKEN", "")
    else:
        token = inputs.text("token") or environ.get("GITHUB_TOKEN", "")
    if not context.provider or not (token or environ.get("DRE_GITHUB_APP_ID")):
        console.warn("there is no token: nothing is fetched or posted")
        return None
    if context.provider == "gitlab":
        dry_run = inputs.flag("dry-run", False)
        project = gitlab.connect(environ, api=context.api, token=token, say=console.say, dry_run=dry_run)
        return GitLab(project, context.repository)
    wire = connect(
        environ, api=context.api, token=token, say=console.say, dry_run=inputs.flag("dry-run", False)
    )
    return GitHub(wire, context.repository)


def _with_pull(context: Context, forge: GitHub | GitLab | None) -> Context:
    """The context with its pull request: a ``workflow_run`` event of a fork does not name it."""
    if not isinstance(forge, GitHub) or (context.pull and context.base) or not context.head:
        return context
    try:
        pull = forge.pull_of(context.commit, context.head)
    except ForgeError:
        return context
    return replace(context, pull=pull.number, base=context.base or pull.base) if pull else context


def _judged(
    engine: Engine,
    inputs: Inputs,
    context: Context,
    forge: GitHub | GitLab | None,
    folder: Path,
    console: Console,
) -> Judged:
    replaying = inputs.choice("fork", ("report", "replay"), "report") == "replay"
    policy = _policy(inputs, context, forge, folder / "policy")
    try:
        source = _source(inputs, context, forge, folder)
    except (ForgeError, FormatError, IntegrityError) as error:
        missing = refused(FormatError(f"there is no evidence: {error}"), inputs.text("artifact"))
        return Judged(told=missing, every=(missing,), provisional=False, vouched=False, policy=policy.source)
    own_run = source.run != "" and source.run == context.run_id and context.is_trusted
    provisional = context.fork and not (replaying and own_run)
    named = bool(inputs.lines("keys")) or any(leaf.keys for leaf in policy.leaves())
    vouched = not provisional and source.run != "" and (context.fork or not named)
    earlier = _baseline(inputs, context, forge, folder, console)
    pairs: list[tuple[Path, list[Told]]] = []
    for archive in source.archives:
        told = _verdicts(
            engine, inputs, context, forge, policy, archive, provisional or vouched, source.run, earlier
        )
        pairs.append((archive, told))
    every = [each for _, verdicts in pairs for each in verdicts]
    if provisional:
        every = [each.capped(Level.REPORTED) for each in every]
    return Judged(
        told=worst(every),
        every=tuple(every),
        provisional=provisional,
        vouched=vouched,
        policy=policy.source,
        signed=() if provisional else tuple(countersigned(engine, os.environ, policy, pairs)),
    )


def _verdicts(
    engine: Engine,
    inputs: Inputs,
    context: Context,
    forge: GitHub | GitLab | None,
    policy: Policy,
    archive: Path,
    by_own_keys: bool,
    run: str,
    earlier: list[Path],
) -> list[Told]:
    from dre_ci.commands.verify import read_key

    request = Request(
        target=str(archive),
        keys=tuple(read_key(path) for path in inputs.lines("keys")),
        policy=policy,
        repository=context.address,
        run_id=run or inputs.text("run-id"),
    )
    try:
        request = replace(request, labels=_labels(policy, context, forge))
        # The archive only says which commit to ask the forge about; what counts is the answer.
        merges = _merges(claimed_commits(archive), context, forge)
        request = replace(request, commit=context.commit, merges=merges)
        return judge(engine, request, by_own_keys=by_own_keys, baseline=earlier)
    except FormatError as error:
        return [refused(error, str(archive))]


def _labels(policy: Policy, context: Context, forge: GitHub | GitLab | None) -> tuple[str, ...]:
    """The pull request's labels by the forge's word, where the policy gives any a meaning."""
    if forge is None or not context.pull or not any(leaf.labels for leaf in policy.leaves()):
        return ()
    try:
        return forge.pull(context.pull).labels
    except ForgeError:
        return ()


def _baseline(
    inputs: Inputs, context: Context, forge: GitHub | GitLab | None, folder: Path, console: Console
) -> list[Path]:
    """Archives of the base branch's newest good run of the same workflow, to compare with; none if it has none."""
    if not inputs.flag("baseline", False) or forge is None or not context.pull:
        return []
    place = folder / "baseline"
    place.mkdir()
    try:
        if isinstance(forge, GitLab):
            branch = forge.pull(context.pull).base_ref or forge.default_branch()
            url = forge.artifact_address(branch, inputs.text("baseline-job", "dre"), _ARCHIVE)
            download(forge.wire.session, url, place / "evidence.zip")
            return [place / "evidence.zip"]
        workflow = str(forge.run(context.of_run).get("path", "")).partition("@")[0].rsplit("/", 1)[-1]
        branch = forge.pull(context.pull).base_ref
        return artifacts.newest(forge, branch, workflow, inputs.text("artifact", "dre-*"), place)
    except (ForgeError, FormatError, IntegrityError, LimitError) as error:
        console.warn(f"there is nothing to compare with: {error}")
        return []


def _merges(claimed: set[str], context: Context, forge: GitHub | GitLab | None) -> dict[str, str]:
    """Test merges of this pull request with the head that each one merges, by the forge's word."""
    found: dict[str, str] = {}
    if forge is None or not context.pull:
        return found
    for commit in claimed - {context.commit}:
        try:
            # Anybody can make a merge of this head with any content; only the forge's own test merge will do.
            if _SHA.fullmatch(commit) and commit in (
                *map(os.environ.get, _BUILT),
                forge.pull(context.pull).merge,
            ):
                parents = forge.parents(commit)
                found |= {commit: parents[1]} if len(parents) == 2 else {}
        except ForgeError:
            continue
    return found


def _policy(inputs: Inputs, context: Context, forge: GitHub | GitLab | None, folder: Path) -> Policy:
    """The policy of the base commit.

    Raises:
        UsageError: It can't be had from there.
    """
    from dre_core.policy_file import load_policy

    named = inputs.text("policy")
    level = Level(int(inputs.choice("minimum-level", ("0", "1", "2", "3", "4"), "0")))
    if not named or named.startswith("preset:") or os.path.isabs(named):
        policy = load_policy(Path(named)) if named else Policy()
    elif forge is None:
        raise UsageError(
            f"{named} can't be taken from the base branch without a token",
            hint="give token, or an absolute path",
        )
    else:
        ref = context.base or forge.default_branch()
        policy = replace(
            load_policy(lay_out(lambda path: forge.file(path, ref), named, folder)),
            source=f"{named} at {ref[:12]}",
        )
    if level > policy.minimum_level:
        if policy.combine is not None:
            raise UsageError(
                "minimum-level can't be set beside any_of or all_of", hint="set it in the policy"
            )
        policy = replace(policy, minimum_level=level)
    return policy


def _source(inputs: Inputs, context: Context, forge: GitHub | GitLab | None, folder: Path) -> Source:
    """The archives, from a path or from a run's artifacts.

    Raises:
        UsageError: Neither is named, or there is no token.
        ForgeError: There is no such artifact.
        LimitError: They are too large.
    """
    if path := inputs.text("archive"):
        if not Path(path).is_file():
            raise FormatError("there is no such file", path=path)
        # GitLab hands a job the files of the earlier jobs of its own pipeline, and of no other.
        return Source(archives=(Path(path),), run=context.run_id if context.provider == "gitlab" else "")
    name = inputs.text("artifact")
    if not name:
        raise UsageError("neither archive nor artifact is named", hint="artifact: dre-*")
    if not isinstance(forge, GitHub):
        raise UsageError("an artifact can't be fetched without a token", hint="token: ${{ github.token }}")
    run = inputs.text("run-id") or context.of_run
    archives = artifacts.fetch_artifacts(forge, run, name, folder)
    return Source(archives=tuple(archives), run=run)


def _post(
    inputs: Inputs,
    context: Context,
    forge: GitHub | GitLab | None,
    judged: Judged,
    fail_on: str,
    console: Console,
) -> dict[str, Posted]:
    """Status, check run and comment, each with what came of it."""
    skipped = Posted(outcome=Outcome.SKIPPED)
    posted = {"status": skipped, "check-run": skipped, "comment": skipped}
    if forge is None:
        return posted
    state = judged.told.state(fail_on)
    if judged.provisional and state is State.SUCCESS:
        state = State.NEUTRAL
    name = inputs.text("name", "dre")
    line = f"provisional {judged.told.line}" if judged.provisional else judged.told.line
    note = Note(commit=context.commit, name=name, state=state, description=line, url=context.run_url)
    if inputs.flag("status", True):
        posted["status"] = attempt(lambda: forge.status(note), "status", console)
    if inputs.flag("check-run", False):
        annotations = tuple(each for told in judged.every for each in told.annotations)
        posted["check-run"] = attempt(
            lambda: forge.check_run(note, line, body_of(judged, context), annotations), "check run", console
        )
    if inputs.flag("comment", True) and context.pull:
        marker = marker_of(context, inputs)
        posted["comment"] = attempt(
            lambda: forge.comment(context.pull, marker, body_of(judged, context)), "comment", console
        )
    return posted


def _write(
    inputs: Inputs, judged: Judged, posted: Mapping[str, Posted], context: Context, console: Console
) -> None:
    told = judged.told
    values = {
        "verdict": told.conclusion.value,
        "score": "" if told.score is None else f"{told.score:.2f}",
        "confidence": f"{told.confidence:.2f}",
        "level": str(int(told.level)),
        "provisional": "true" if judged.provisional else "false",
        "archive": "\n".join(map(str, judged.signed)),
        **{f"{name}-outcome": each.outcome.value for name, each in posted.items()},
    }
    try:
        if path := os.environ.get("GITHUB_OUTPUT"):
            words.write_outputs(Path(path), values)
        if (path := os.environ.get("GITHUB_STEP_SUMMARY")) and inputs.flag("summary", True):
            words.write_summary(Path(path), body_of(judged, context))
    except DREError as error:
        console.warn(str(error))
    for line in words.commands(each for told in judged.every for each in told.annotations):
        console.line(line)
    console.result(
        [f"dre: {told.line}"], {**told.document, "posted": {k: v.outcome.value for k, v in posted.items()}}
    )

"""What is posted of a verdict, and what came of it: a refusal is said, and changes nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from dre_ci.console import Console
from dre_ci.forge.base import Annotation, ForgeError, Posted
from dre_ci.forge.context import Context
from dre_ci.job import words
from dre_ci.job.inputs import Inputs
from dre_ci.job.told import Told
from dre_core.model.record import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What the step came to.

    Attributes:
        told: The verdict that decides: the worst.
        every: All of them.
        provisional: Only a fork's own word stands behind it.
        vouched: The forge's word stands in for a key.
        policy: Where the policy came from.
        signed: Archives with this job's countersignature.
    """

    told: Told
    every: tuple[Told, ...]
    provisional: bool
    vouched: bool
    policy: str
    signed: tuple[Path, ...] = ()


def attempt(post: Callable[[], Posted], what: str, console: Console) -> Posted:
    """What came of posting; a refusal is said and changes nothing else."""
    try:
        return post()
    except ForgeError as error:
        console.warn(f"the {what} was not posted: {error}")
        if error.hint:
            console.say(f"dre: hint: {error.hint}")
        if os.environ.get("GITHUB_ACTIONS") and not console.as_json:
            text = f"the {what} was not posted ({error.outcome.value}): {error.message}"
            console.line(words.command(Annotation(level="notice", title="DRE", message=text)))
        return Posted.refused(error)


def marker_of(context: Context, inputs: Inputs) -> str:
    """What our comment begins with, so that the next run finds it: one for each workflow, job and matrix cell."""
    key = words.key_of(context.workflow, context.job, inputs.text("matrix"), inputs.text("name", "dre"))
    return f"<!-- dre:{key} -->"


def body_of(judged: Judged, context: Context) -> str:
    """The comment's text below its marker."""
    parts = []
    if judged.provisional:
        parts.append(
            "> **Provisional.** This is a fork's own run: nothing but its own word stands behind it, so the evidence "
            "level is 1 at most and the status is not green. A maintainer, or a trusted job that runs the tests "
            "again, decides."
        )
    for told in judged.every:
        parts.append(told.markdown)
    how = "the default policy" if not judged.policy else f"`{judged.policy}`"
    by = (
        "nobody's key"
        if judged.provisional
        else "the forge's word on the run"
        if judged.vouched
        else "a trusted key"
    )
    run = f"[run]({context.run_url})" if context.run_url else "run"
    parts.append(f"<sub>commit {context.commit[:12]}, {run}, judged by {how}, sealed by {by}</sub>")
    return "\n\n".join(parts)

"""What ``actions/attest`` is given: in-toto's test result about the archive, and whether GitHub would sign it here.

GitHub signs what a job hands it, so the attestation says which workflow of which commit made this archive, and what
DRE's verdict was then. A verdict that is not ``supported`` is FAILED there: whoever asks only for the result must not
be told less.

Source: https://in-toto.io/attestation/test-result/v0.1
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from dre_ci.forge.context import Context
from dre_ci.job.told import Told
from dre_core.model.session import Outcome
from dre_core.model.text import one_line

NAMES_LIMIT_BYTES = 4 << 20
"""Of each list; a predicate over 16 MiB is refused as a whole."""
_NAME_LIMIT = 1000
_KINDS = {
    "passedTests": (Outcome.PASSED,),
    "warnedTests": (Outcome.XFAILED, Outcome.XPASSED),
    "failedTests": (Outcome.FAILED, Outcome.ERROR),
}


def predicate(evidence: Any, told: Told, context: Context) -> dict[str, Any]:
    """The predicate.

    Args:
        evidence: Of the run; None where it could not be read.
        told: Its verdict.
        context: Where the job runs.
    """
    tests = [test for session in evidence.top_sessions for test in session.tests] if evidence else []
    left = 0
    lists = {}
    for name, kinds in _KINDS.items():
        lists[name], more = _fitted(test.id for test in tests if test.outcome in kinds)
        left += more
    about: dict[str, Any] = {
        "verdict": told.conclusion.value,
        "level": int(told.level),
        "score": told.score,
        "confidence": told.confidence,
        "outcome": told.outcome,
        **({"testsNotListed": left} if left else {}),
    }
    configuration = [{"name": "dre", "uri": f"urn:dre:operation:{told.operation}", "annotations": about}]
    source = evidence.run.source if evidence else None
    if source is not None and source.commit:
        commit = {"gitCommit": source.commit}
        uri = f"git+{source.repository}" if source.repository else f"urn:git:commit:{source.commit}"
        configuration.append({"name": "source", "uri": uri, "digest": commit})
    return {
        "result": "PASSED" if told.conclusion.value == "supported" else "FAILED",
        "configuration": configuration,
        **({"url": context.run_url} if context.run_url else {}),
        **lists,
    }


def _fitted(names: Iterable[str]) -> tuple[list[str], int]:
    """As many names as there is room for, and how many are left out."""
    kept: list[str] = []
    room, left = NAMES_LIMIT_BYTES, 0
    for name in names:
        short = one_line(name, _NAME_LIMIT)
        room -= len(json.dumps(short)) + 2
        if room < 0:
            left += 1
        else:
            kept.append(short)
    return kept, left


def hindrance(context: Context, environ: Mapping[str, str]) -> str:
    """Why GitHub would sign nothing in this job; empty if it would."""
    if context.provider != "github":
        return "only GitHub attests"
    if context.fork:
        return "a fork's run gets no identity"
    if not environ.get("ACTIONS_ID_TOKEN_REQUEST_URL"):
        return "the job lacks the permission id-token: write"
    return ""

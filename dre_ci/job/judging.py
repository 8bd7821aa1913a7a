"""Judging a target for a job: in a child of its own where it comes from elsewhere, as ``dre verify`` does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from dre_ci.isolation import isolated
from dre_ci.job.told import Told, tell
from dre_core.crypto.keys import PublicKey
from dre_core.engine import Engine
from dre_core.errors import DREError, FormatError
from dre_core.model.policy import Policy, Role, TrustedKey
from dre_core.store.sealed import archive_operations
from dre_core.verification import Request, Verified, is_foreign, verify
from dre_core.verify.integrity import Expectations, Trust, inspect


def judge(
    engine: Engine, request: Request, *, by_own_keys: bool = False, baseline: Sequence[Path] = ()
) -> list[Told]:
    """The verdict on each operation of a target.

    Args:
        engine: The project's engine.
        request: What to verify, and what to hold it to.
        by_own_keys: Believe the keys that lie in the archive, because somebody else vouches for where it came from, or
            because the verdict is only provisional.

        baseline: Archives to compare with, each operation with the one of its name and command; not judged.

    Raises:
        FormatError: The target is no archive of ours.
        DREError: It can't be judged.
    """
    work = partial(_judge, engine, request, by_own_keys, tuple(baseline))
    values = isolated(work) if baseline or is_foreign(engine, request.target) else work()
    return [Told.parse(value) for value in values]


def claimed_commits(path: Path) -> set[str]:
    """The commits that an archive says it is about, believed by nobody.

    Raises:
        FormatError: It is no archive of ours.
    """
    return set(isolated(partial(_claimed, path)))


def _claimed(path: Path) -> list[str]:
    with archive_operations(path) as found:
        runs = [inspect(sealed, Trust(keys={}), Expectations()).run for sealed in found]
    return [run.source.commit for run in runs if run is not None]


def _judge(
    engine: Engine, request: Request, by_own_keys: bool, baseline: tuple[Path, ...]
) -> list[dict[str, Any]]:
    if by_own_keys:
        keys = _keys_in(Path(request.target.partition("#")[0]))
        request = replace(request, policy=believing(request.policy, keys, request.keys), keys=())
    earlier = [each for path in baseline for each in _earlier(engine, path)]
    return [tell(verified, _of_the_same(verified, earlier)).to_json() for verified in verify(engine, request)]


def believing(policy: Policy, keys: Sequence[PublicKey], named: Sequence[PublicKey] = ()) -> Policy:
    """A policy that believes further keys about runs, and about nothing else.

    An author's own declaration must loosen nothing, whichever key it is signed by.

    Args:
        policy: The policy.
        keys: To believe as runners.
        named: Keys that the caller named; without keys in the policy their declarations count, as in ``dre verify``.
    """
    roles = (Role.RUNNER,) if policy.keys else (Role.RUNNER, Role.MAINTAINER)
    added = [TrustedKey(pem=key.pem().decode(), roles=roles) for key in named]
    added += [TrustedKey(pem=key.pem().decode(), roles=(Role.RUNNER,)) for key in keys]
    members = tuple(believing(member, keys, named) for member in policy.members)
    return replace(policy, keys=(*policy.keys, *added), members=members)


def _earlier(engine: Engine, path: Path) -> list[Verified]:
    try:
        return verify(engine, Request(target=str(path), keys=_keys_in(path)))
    except DREError:
        return []


def _of_the_same(verified: Verified, earlier: list[Verified]) -> Verified | None:
    """The earlier run of the same step: its name and its command say so."""
    run = verified.run
    same = [e for e in earlier if e.run and run and (e.run.name, e.run.command) == (run.name, run.command)]
    return same[0] if same else None


def _keys_in(path: Path) -> tuple[PublicKey, ...]:
    with archive_operations(path) as found:
        return tuple(found[0].hint_keys.values()) if found else ()


def refused(error: FormatError, target: str) -> Told:
    """What to tell of bytes that are no archive of ours."""
    text = f"invalid: {error}"
    document: dict[str, Any] = {
        "schema": "dre/verdict/v1",
        "operation": "",
        "verdict": "invalid",
        "claim": {},
        "score": None,
        "confidence": 0.0,
        "level": 0,
        "methods": {},
        "integrity": {
            "result": "invalid",
            "checks": [{"id": "format", "passed": False, "detail": str(error)}],
        },
        "consensus": {"scores": {}, "overall": None, "passed": False, "confidence": 0.0},
        "replayed": False,
        "missing": [],
        "causes": [],
        "not_proven": [],
    }
    from dre_core.report.markdown import escape

    name = escape(Path(target).name)
    markdown = f"## ⛔ DRE: invalid\n\n**{name} can't be read as evidence.** {escape(str(error))}\n"
    return Told.parse({"line": text, "markdown": markdown, "annotations": [], "document": document})

"""Judging a target for a job: in a child of its own where it comes from elsewhere, as ``dre verify`` does."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from dre_ci.isolation import isolated
from dre_ci.job.told import Told, tell
from dre_core.engine import Engine
from dre_core.errors import FormatError
from dre_core.store.sealed import archive_operations
from dre_core.verification import Request, is_foreign, verify
from dre_core.verify.integrity import Expectations, Trust, inspect


def judge(engine: Engine, request: Request, *, by_own_keys: bool = False) -> list[Told]:
    """The verdict on each operation of a target.

    Args:
        engine: The project's engine.
        request: What to verify, and what to hold it to.
        by_own_keys: Believe the keys that lie in the archive, because somebody else vouches for where it came from, or
            because the verdict is only provisional.

    Raises:
        FormatError: The target is no archive of ours.
        DREError: It can't be judged.
    """
    work = partial(_judge, engine, request, by_own_keys)
    values = isolated(work) if is_foreign(engine, request.target) else work()
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


def _judge(engine: Engine, request: Request, by_own_keys: bool) -> list[dict[str, Any]]:
    if by_own_keys:
        request = replace(request, keys=(*request.keys, *_keys_in(Path(request.target.partition("#")[0]))))
    return [tell(verified).to_json() for verified in verify(engine, request)]


def _keys_in(path: Path) -> tuple[Any, ...]:
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

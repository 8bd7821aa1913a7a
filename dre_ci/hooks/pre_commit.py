"""Hooks of pre-commit: is the last run's claim supported and about what is being shared, and are the tests as strong?

``verify-latest`` judges the newest operation. Before a push it must be about the commit that is pushed
(``PRE_COMMIT_TO_REF``); before a commit, about the files as they lie on disk.

``no-weakened-tests`` reads what the change does to the tests, against HEAD before a commit and against the remote's
commit before a push. It runs nothing. A change that is meant goes through with pre-commit's own
``SKIP=dre-no-weakened-tests``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from dre_core.engine import Engine
from dre_core.errors import CaptureError, DREError
from dre_core.model.changes import Change, ChangeKind
from dre_core.model.verdict import Conclusion

_EMPTY = "0" * 40
_WEAKER = {
    ChangeKind.TEST_REMOVED: "is gone",
    ChangeKind.TEST_SKIPPED: "is skipped or expected to fail",
    ChangeKind.TEST_WEAKENED: "has fewer assertions",
    ChangeKind.TEST_SHADOWED: "is shadowed by a second definition",
    ChangeKind.TEST_UNCOLLECTED: "is no longer collected",
    ChangeKind.TAUTOLOGY: "can't fail",
    ChangeKind.EQUAL_CONSTANT: "always says equal",
}


def verify_latest(engine: Engine) -> list[str]:
    """What speaks against sharing; empty if nothing does."""
    from dre_ci.job.judging import judge
    from dre_core.verification import Request

    pushed = engine.environ.get("PRE_COMMIT_TO_REF", "")
    try:
        (told,) = judge(engine, Request(policy=engine.policy(), commit=pushed))
        stale = "" if pushed else _stale(engine, told.operation)
    except DREError as error:
        return [f"no evidence: {error}", "run: dre wrap -- pytest --dre"]
    if told.conclusion is not Conclusion.SUPPORTED:
        return [f"{told.line} ({told.operation})"]
    return [f"{stale} ({told.operation})", "run the tests again: dre wrap -- pytest --dre"] if stale else []


def _stale(engine: Engine, operation: str) -> str:
    """Why an operation is not about the files on disk; empty if it is."""
    from dre_core.capture.git import Git
    from dre_core.store.sealed import from_folder
    from dre_core.verify.integrity import Expectations, Trust, inspect

    git = Git.find(str(engine.directory))
    run = inspect(from_folder(engine.folder, operation), Trust(keys={}), Expectations()).run
    if git is None or run is None:
        return ""
    return "" if git.tree().digest == run.source.tree_after else "the files have changed since the last run"


def no_weakened_tests(engine: Engine) -> list[str]:
    """Tests that the change makes weaker, one line each."""
    from dre_core.capture.diff import read_changes
    from dre_core.capture.git import Git

    git = Git.find(str(engine.directory))
    if git is None:
        return []
    try:
        changes = read_changes(git, _base(engine.environ, git.resolve)).changes
    except CaptureError as error:
        return [f"the change can't be read: {error}"] if git.head().commit else []
    return [_line(change) for change in changes if change.kind in _WEAKER and not change.excused]


def _base(environ: Mapping[str, str], resolve: Callable[[str], str]) -> str:
    named = environ.get("PRE_COMMIT_FROM_REF", "")
    # A branch that the remote does not have yet comes without a commit to compare with.
    return resolve("HEAD" if named in ("", _EMPTY) else named)


def _line(change: Change) -> str:
    detail = f" ({change.detail})" if change.detail else ""
    return f"{change.where}: {change.name} {_WEAKER[change.kind]}{detail}"


HOOKS: Mapping[str, Callable[[Engine], list[str]]] = {
    "verify-latest": verify_latest,
    "no-weakened-tests": no_weakened_tests,
}

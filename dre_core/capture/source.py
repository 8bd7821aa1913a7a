"""The source collector: commit, base and tree digest before and after the run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from dre_core.capture.beside import Beside
from dre_core.capture.collector import Captured, Facts, Moment, Scene
from dre_core.capture.environment import ci_base
from dre_core.capture.git import Git, Head, Tree, folder_tree
from dre_core.errors import CaptureError
from dre_core.hooks import hookimpl
from dre_core.model.run import Source
from dre_core.model.text import printable
from dre_core.model.verdict import Vantage

_LISTED = 200
_DIFFERENCE_LIMIT_BYTES = 16 << 20


class SourceCollector:
    """Records what is checked out and whether the run changed it."""

    name = "source"

    def __init__(self) -> None:
        self._git: Git | None = None
        self._before: Tree | None = None

    def before(self, scene: Scene, facts: Facts) -> Iterable[Captured]:
        self._git = Git.find(str(scene.cwd))
        if self._git is None:
            self._digest_folder(scene, facts)
            refusal = Git.refusal(str(scene.cwd))
            if refusal:
                hint = "git config --global --add safe.directory, or repair the checkout"
                facts.gap("git", f"git refuses this checkout: {refusal}", hint)
            else:
                hint = "run inside a git checkout to bind the evidence to a commit"
                facts.gap("git", "no git work tree", hint)
            return []
        # All wait for git most of the time, and nothing of it for each other.
        reading = Beside(self._git.tree)
        listing = Beside(self._git.committed)
        comparing = Beside(lambda: self._base(scene, facts))
        head = self._git.head()
        facts.project = head.origin or self._git.root_commit()
        base = comparing.result()
        self._before = reading.result()
        modified, untracked = self._git.modified(self._before, listing.result())
        facts.source = Source(
            vcs="git",
            commit=head.commit,
            parents=head.parents,
            tree_before=self._before.digest,
            clean=not modified and not untracked,
            modified=tuple(modified[:_LISTED]),
            untracked=len(untracked),
            base=base,
            repository=head.origin,
        )
        detail: dict[str, Any] = {
            "branch": head.branch,
            "commit": head.commit,
            "parents": list(head.parents),
            "origin": head.origin,
            "remotes": dict(head.remotes),
            "signature": _signature(self._git, head),
            "modified": modified,
            "untracked": untracked[:_LISTED],
        }
        return [
            _json("git", "git", Vantage.OBSERVED, detail),
            *self._difference(modified if head.commit else (), facts),
        ]

    def _digest_folder(self, scene: Scene, facts: Facts) -> None:
        facts.source = Source(vcs="none")
        try:
            self._before = folder_tree(str(scene.cwd))
        except CaptureError as error:
            facts.gap("tree", str(error), "start the command in the project's own folder, or git init there")
        else:
            facts.source = replace(facts.source, tree_before=self._before.digest)

    def during(self, scene: Scene, moment: Moment) -> Iterable[Captured]:
        git = Git.find(str(scene.cwd))
        if git is None:
            return []
        head = git.head()
        modified, untracked = git.modified(git.tree())
        detail: dict[str, Any] = {
            "branch": head.branch,
            "commit": head.commit,
            "modified": modified[:_LISTED],
            "untracked": untracked[:_LISTED],
        }
        return [_json("git", "git", Vantage.OBSERVED, detail)]

    def _difference(self, paths: Sequence[str], facts: Facts) -> Iterable[Captured]:
        """What the work tree changes against HEAD, as a patch."""
        if not paths:
            return []
        assert self._git is not None
        if len(paths) > _LISTED:
            facts.gap(self.name, f"{len(paths)} files differ from HEAD; the patch has the first {_LISTED}")
        try:
            patch = self._git.difference(paths[:_LISTED], _DIFFERENCE_LIMIT_BYTES)
        except CaptureError as error:
            facts.gap(self.name, str(error))
            return []
        return [
            Captured(
                name="git.diff",
                kind="difference",
                vantage=Vantage.OBSERVED,
                media_type="text/x-diff",
                data=patch,
            )
        ]

    def after(self, scene: Scene, facts: Facts) -> Iterable[Captured]:
        if self._before is None:
            return []
        tree = self._git.tree() if self._git else folder_tree(str(scene.cwd))
        facts.source = replace(
            facts.source,
            tree_after=tree.digest,
            changed_during=tree.changed_from(self._before)[:_LISTED],
        )
        return []

    def _base(self, scene: Scene, facts: Facts) -> str:
        """Commit to compare with; a gap where it is named but not in the object store."""
        assert self._git is not None
        named = scene.base or ci_base(scene.environ)
        if not named:
            return self._git.upstream_base()
        try:
            commit = self._git.resolve(named)
        except CaptureError:
            facts.gap(
                "base", f"base-missing: {named} is not in the object store", f"git fetch origin {named}"
            )
            return ""
        return self._git.merge_base(commit, "HEAD") or commit


def _signature(git: Git, head: Head) -> dict[str, Any]:
    """How HEAD is signed, as it stands in the item."""
    found = git.signature(head)
    if found is None:
        return {"state": "none"}
    return {
        "state": found.state,
        "kind": found.kind,
        "signer": found.signer,
        "fingerprint": found.fingerprint,
    }


def _json(name: str, kind: str, vantage: Vantage, value: Any) -> Captured:
    return Captured(
        name=name,
        kind=kind,
        vantage=vantage,
        media_type="application/json",
        # Paths that are not UTF-8 arrive with surrogates, which JSON can't carry.
        value=_printable(value),
    )


def _printable(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {key: _printable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_printable(item) for item in value]
    return value


@hookimpl
def dre_collectors() -> list[SourceCollector]:
    return [SourceCollector()]

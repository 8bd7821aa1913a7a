"""The structural verifier: is this the tree that was claimed, and is it what the tests ran against?"""

from __future__ import annotations

import re

from dre_core.hooks import hookimpl
from dre_core.model.imports import ImportFact
from dre_core.model.text import plain
from dre_core.model.verdict import Finding, MethodResult, Vantage, Weight
from dre_core.verify.changes import CHANGE_CHECKS
from dre_core.verify.evidence import Evidence
from dre_core.verify.replay import REPLAY_CHECKS
from dre_core.verify.verifier import (
    Check,
    Ruling,
    could_not_run,
    fail,
    found,
    info,
    not_applicable,
    passed,
    run_checks,
    veto,
    warn,
)
from dre_core.verify.wording import claims_success

_NAMED_PATHS = 5
_STAMPED = re.compile(r"version|about|generated|_pb2|commit|revision", re.I)


def _paths(paths: tuple[str, ...]) -> str:
    rest = f" and {len(paths) - _NAMED_PATHS} more" if len(paths) > _NAMED_PATHS else ""
    return ", ".join(paths[:_NAMED_PATHS]) + rest


def tree_clean(evidence: Evidence) -> Ruling:
    """Uncommitted edits: the commit alone may not give this result."""
    source = evidence.run.source
    if source.vcs == "none":
        return not_applicable("no version control")
    if source.clean is None:
        return could_not_run("the tree could not be compared with HEAD")
    if source.modified:
        return found(
            warn(
                "tree-clean",
                Vantage.STATIC,
                f"the run included uncommitted edits of {_paths(source.modified)}",
                remedy="commit the edits and run again",
            )
        )
    if source.untracked:
        count = source.untracked
        noun = "file that is" if count == 1 else "files that are"
        return found(
            info(
                "tree-clean",
                Vantage.STATIC,
                f"{count} {noun} neither tracked nor ignored lay in the tree",
                remedy="commit, ignore or delete what `git status` shows, and run again",
            )
        )
    return passed(Vantage.STATIC, f"the tree equals commit {source.commit[:12]}")


def tree_unchanged(evidence: Evidence) -> Ruling:
    """Source that the run itself rewrote: what was tested is not what is there now."""
    source = evidence.run.source
    if not source.tree_before or not source.tree_after:
        return could_not_run("the tree digest was not taken before and after")
    rewritten = tuple(
        path for path in source.changed_during if path.endswith((".py", ".pyx", ".js", ".ts", ".go", ".rs"))
    )
    if rewritten and source.vcs != "none":
        return found(
            warn(
                "tree-unchanged",
                Vantage.STATIC,
                f"source changed while the command ran: {_paths(rewritten)}",
                remedy="run again without editing meanwhile; ignore generated files in .gitignore",
            )
        )
    if source.changed_during:
        return passed(
            Vantage.STATIC, f"the run wrote {len(source.changed_during)} files, none of them source"
        )
    return passed(Vantage.STATIC, "the tree is the same before and after")


def artifact_made(evidence: Evidence) -> Ruling:
    """Files that the command was said to make and left as they were, although what they are made of has changed."""
    artifacts = evidence.run.items_of("artifact")
    if not artifacts:
        return not_applicable("no artifact was named")
    left = [item for item in artifacts if item.note.get("fresh") == "unchanged"]
    stale = [item for item in left if item.note.get("newer")]
    findings = [
        fail(
            "artifact-made",
            Weight.MAJOR,
            Vantage.OBSERVED,
            f"{plain(item.name, 120)} was there before the run, which did not make it anew, "
            f"although {plain(item.note['newer'], 120)} is newer",
            remedy="delete old outputs before the run, or name only files that the command makes",
            evidence=(item.digest,),
            where=plain(item.note["newer"], 200),
        )
        for item in stale[:_NAMED_PATHS]
    ]
    if findings and claims_success(evidence):
        return found(*findings)
    if left:
        names = _paths(tuple(plain(item.name, 120) for item in left))
        return found(
            info("artifact-made", Vantage.OBSERVED, f"made by an earlier run, and up to date: {names}")
        )
    return passed(Vantage.OBSERVED, f"the run made {len(artifacts)} of the named files")


def code_under_test_local(evidence: Evidence) -> Ruling:
    """Tests that ran against another copy of the code than the checkout's."""
    if not evidence.sessions:
        return could_not_run("no session told where the tested packages were loaded from")
    foreign = [fact for fact in evidence.imports if not fact.inside and fact.twin and fact.differing]
    if foreign:
        return found(*(_foreign(evidence, fact) for fact in foreign))
    local = [fact.name for fact in evidence.imports if (fact.inside or fact.twin) and not fact.shadows]
    if not local:
        return passed(Vantage.IN_PROCESS, "no imported package has a copy in the checkout")
    return passed(Vantage.IN_PROCESS, f"{', '.join(local[:5])} is the checkout's code")


def deps_match_lock(evidence: Evidence) -> Ruling:
    """Installed packages in other versions than the lock file names.

    Information by default: most projects' tests are meant to pass with more than the locked versions.
    """
    locked = evidence.locked
    if locked is None or not locked.compared:
        return not_applicable("no lock file names a package that is installed")
    if not locked.differing:
        return passed(
            Vantage.OBSERVED, f"{locked.compared} packages are as {', '.join(locked.files)} has them"
        )
    first = [f"{u.name} {u.installed} (locked: {', '.join(u.locked[:3])})" for u in locked.differing[:3]]
    more = f" and {len(locked.differing) - 3} more" if len(locked.differing) > 3 else ""
    return found(
        info(
            "deps-match-lock",
            Vantage.OBSERVED,
            f"{len(locked.differing)} of {locked.compared} locked packages are installed in another version: "
            f"{', '.join(first)}{more}",
            remedy="install what the lock file names, or lock anew",
            evidence=tuple(item.digest for item in evidence.run.items_of("dependencies")),
            where=locked.differing[0].file,
        )
    )


def _foreign(evidence: Evidence, fact: ImportFact) -> Finding:
    # What a build step stamps may differ in a wheel that was made from this very checkout.
    stamped = all(_STAMPED.search(name.rpartition("/")[2]) for name in fact.differing)
    judged = _critical if stamped else veto
    return judged(
        "code-under-test-local",
        Vantage.IN_PROCESS,
        f"the tests ran against {fact.name} from {fact.file}, which differs from {fact.twin} in the checkout "
        f"in {_paths(fact.differing)}",
        remedy="install the checkout (pip install -e .) before the run",
        evidence=tuple(item.digest for item in evidence.run.items_of("imports")),
        where=fact.file,
    )


def _critical(check: str, vantage: Vantage, message: str, **more: object) -> Finding:
    return fail(check, Weight.CRITICAL, vantage, message, **more)


def base_recorded(evidence: Evidence) -> Ruling:
    """The commit that the change is compared with is the one that the verifier means."""
    recorded, expected = evidence.run.source.base, evidence.policy.expected_base
    if expected and recorded != expected:
        return could_not_run(
            f"the recorded base is {recorded[:12] or 'none'}, not {expected[:12]}: record with --base"
        )
    if recorded:
        return passed(Vantage.STATIC, f"base {recorded[:12]}")
    if evidence.policy.require_base or evidence.run.claim.kind or evidence.run.ci.get("pull_request"):
        return could_not_run("no base commit was recorded: fetch it and record with --base")
    return not_applicable("no base and no declared kind of change")


CHECKS = (
    Check("base-recorded", base_recorded),
    Check("tree-clean", tree_clean),
    Check("tree-unchanged", tree_unchanged),
    Check("artifact-made", artifact_made, weight=0.5),
    Check("code-under-test-local", code_under_test_local),
    Check("deps-match-lock", deps_match_lock, weight=0.0),
    *REPLAY_CHECKS,
    *CHANGE_CHECKS,
)


class StructuralVerifier:
    """The tree and what the tests ran against."""

    name = "structural"

    def verify(self, evidence: Evidence) -> MethodResult:
        if not evidence.has_tests:
            # A build is judged by what it made.
            left = [c if c.id == "artifact-made" else Check(c.id, _no_tests, c.weight) for c in CHECKS]
            return run_checks(self.name, left, evidence)
        return run_checks(self.name, CHECKS, evidence)


def _no_tests(evidence: Evidence) -> Ruling:
    return could_not_run("no test run was seen")


@hookimpl
def dre_verifiers() -> list[StructuralVerifier]:
    return [StructuralVerifier()]

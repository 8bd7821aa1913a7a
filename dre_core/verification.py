"""Verifying a target: find it, inspect its bytes, judge its evidence; nothing is written, run or fetched.

A target is an operation's id or a unique prefix of it, ``latest``, an archive, or a folder (a ``.dre`` or an
unpacked archive); ``PATH#op_…`` picks one operation of several.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import field, replace
from datetime import timedelta
from pathlib import Path

from dre_core.capture.git import Git, normalise_address
from dre_core.crypto.keys import PublicKey
from dre_core.encryption import opened
from dre_core.engine import Engine
from dre_core.errors import CaptureError, DREError, FormatError, NotFoundError, UsageError
from dre_core.history import History, Past, history_since
from dre_core.model.policy import Combine, Policy, Role
from dre_core.model.record import dataclass
from dre_core.model.run import Run
from dre_core.model.verdict import Integrity, IntegrityCheck, IntegrityResult, Verdict
from dre_core.operation import SEALED
from dre_core.removal import deleted_operations
from dre_core.store.folder import Folder
from dre_core.store.log import Log
from dre_core.store.sealed import Sealed, archive_operations, from_folder, unpacked_operations
from dre_core.verify.evidence import Evidence
from dre_core.verify.integrity import Expectations, Inspected, Trust, archive_problems, inspect
from dre_core.verify.judgement import combined, judge_run

LATEST = "latest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to verify, and what to hold it to.

    Attributes:
        target: See the module.
        keys: Trusted public keys named by the caller.
        policy: The policy.
        commit: Commit, or a prefix or name that local git resolves.
        base: Revision that must be the recorded base.
        repository: Repository address.
        run_id: CI run id.
        nonce: The verifier's nonce.
        max_age: Largest age of the run.
        since: An earlier checkpoint of the log, as a signed note; empty if none.
        labels: Of the pull request, as the caller had them from the forge.
        merges: Merge commits with their second parents, as the forge confirmed them; else local git is asked.
    """

    target: str = LATEST
    keys: tuple[PublicKey, ...] = ()
    policy: Policy = field(default_factory=Policy)
    commit: str = ""
    base: str = ""
    repository: str = ""
    run_id: str = ""
    nonce: str = ""
    max_age: timedelta | None = None
    since: str = ""
    labels: tuple[str, ...] = ()
    merges: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """One operation's verdict, with what a report is made of.

    Attributes:
        verdict: The verdict.
        run: The run, where it could be read.
        evidence: The decoded evidence, where it could be read.
        past: Runs sealed between the checkpoint that was asked about and this one, oldest first.
        run_payload: Payload digest of the run; empty where it could not be read.
        payloads: Payload digests of all envelopes, in order.
        signers: Ids of the trusted keys that signed the run.
    """

    verdict: Verdict
    run: Run | None = None
    evidence: Evidence | None = None
    past: tuple[Past, ...] = ()
    run_payload: str = ""
    payloads: tuple[str, ...] = ()
    signers: tuple[str, ...] = ()


def verify(engine: Engine, request: Request) -> list[Verified]:
    """The verdict on each operation of the target, in order of their ids.

    Raises:
        UsageError: The target or an option can't be used.
        NotFoundError: There is no such target.
        FormatError: An archive or folder is not in its one form.
    """
    with examined(engine, request) as found:
        return [verified for _, verified in found]


@contextmanager
def examined(engine: Engine, request: Request) -> Iterator[list[tuple[Sealed, Verified]]]:
    """The same, each beside its sealed bytes, which can be read for the length of the block."""
    _require_answers(request)
    with sealed_operations(engine, request.target) as found:
        problems = archive_problems(found)
        yield [
            (sealed, _verify_by(engine, request, sealed, problems))
            for sealed in picked(found, request.target)
        ]


def _verify_by(engine: Engine, request: Request, sealed: Sealed, problems: list[str]) -> Verified:
    """The verdict by the policy, or the one that its members' verdicts come to; each trusts its own keys."""
    policy = request.policy
    if policy.combine is None:
        return _verify_one(engine, request, sealed, problems)
    every = [
        _verify_by(engine, replace(request, policy=member), sealed, problems)
        for member in policy.members
        if policy.combine is Combine.ALL_OF or _left_open(request, member) is None
    ]
    return combined(every, policy.combine, lambda verified: verified.verdict)


def _require_answers(request: Request) -> None:
    """What the policy says that nobody may leave open.

    Raises:
        UsageError: The caller left it open.
    """
    option = _left_open(request, request.policy)
    if option is not None:
        example = " (for example --commit HEAD)" if option == "--commit" else ""
        raise UsageError(
            f"the policy asks for {option}", hint=f"say what the evidence must be about{example}"
        )


def _left_open(request: Request, policy: Policy) -> str | None:
    """An option that a policy asks for and that was not given; of ``any_of``, only where each of its policies does."""
    if policy.combine is not None:
        open_ = [_left_open(request, member) for member in policy.members]
        asked = [option for option in open_ if option is not None]
        enough = len(asked) < len(open_) if policy.combine is Combine.ANY_OF else not asked
        return None if enough else asked[0]
    for option, required, given in (
        ("--commit", policy.require_commit, request.commit),
        ("--repository", policy.require_repository, request.repository),
        ("--run-id", policy.require_run_id, request.run_id),
    ):
        if required and not given:
            return option
    return None


@contextmanager
def sealed_operations(engine: Engine, target: str) -> Iterator[list[Sealed]]:
    """All operations of the place that a target names, readable for the length of the block.

    Raises:
        UsageError: The target is ambiguous.
        NotFoundError: There is no such target.
        FormatError: An archive or folder is not in its one form.
    """
    path, _ = _split(target)
    if path is None:
        yield [own_operation(engine, target)]
    elif path.is_dir():
        yield _in_folder(engine, path)
    else:
        with archive_operations(path) as found:
            yield found


def _split(target: str) -> tuple[Path | None, str]:
    """A path with the operation it picks, or None for an operation's id."""
    name, _, operation = target.partition("#")
    if target == LATEST or (re.fullmatch(r"(op_)?[0-9a-z]{6,26}", target) and not os.path.exists(target)):
        return None, ""
    if not os.path.exists(name):
        raise NotFoundError(
            f"there is no operation or file {target!r}", hint="dre evidence list shows the operations here"
        )
    return Path(name), operation


def is_foreign(engine: Engine, target: str) -> bool:
    """Whether a target comes from somewhere else than the project's own folder, as far as its name tells."""
    path, _ = _split(target)
    return path is not None and not (
        path.is_dir() and os.path.realpath(path) == os.path.realpath(engine.folder.path)
    )


def picked(found: list[Sealed], target: str) -> list[Sealed]:
    """Those of a place's operations that the target names: one by ``#op_…``, else all.

    Raises:
        NotFoundError: The one named is not there.
    """
    path, operation = _split(target)
    if path is None or not operation:
        return found
    chosen = [sealed for sealed in found if sealed.operation == operation]
    if not chosen:
        raise NotFoundError(f"there is no operation {operation} in it", path=str(path))
    return chosen


def _in_folder(engine: Engine, path: Path) -> list[Sealed]:
    if (path / "attestations").is_dir():
        return unpacked_operations(path)
    folder = Folder(path if (path / "log.db").exists() else path / ".dre")
    if not folder.exists:
        raise FormatError("neither a .dre folder nor an unpacked archive", path=str(path))
    sealed = [
        _owned(engine, folder, from_folder(folder, name))
        for name in folder.experiments()
        if folder.experiment(name).sealed
    ]
    if not sealed:
        raise NotFoundError("holds no sealed operation", path=str(path))
    return sealed


def own_operation(engine: Engine, target: str) -> Sealed:
    """An operation of the project's own folder.

    Raises:
        NotFoundError: It is not there.
    """
    name = latest(engine) if target == LATEST else engine.folder.resolve(target)
    return _owned(engine, engine.folder, from_folder(engine.folder, name))


def latest(engine: Engine) -> str:
    """The newest sealed top-level operation of this checkout.

    Raises:
        NotFoundError: There is none.
    """
    found = ""
    seen: set[str | None] = set()
    if engine.folder.exists:
        checkout = engine.checkout
        with engine.open_log(read_only=True) as log:
            # Only what has a tombstone: a run whose files just vanished must not give way to an earlier one.
            gone = deleted_operations(log)
            for _, event in log.events(type_prefix=SEALED):
                # A replay seals its operation once more, which does not make it the newest run.
                first = event.operation not in seen
                seen.add(event.operation)
                if (
                    first
                    and event.operation not in gone
                    and event.data.get("checkout") == checkout
                    and not event.data.get("parent")
                ):
                    found = event.operation or found
    if not found:
        raise NotFoundError(
            "nothing has been recorded here yet", hint="run: dre wrap -- COMMAND, or: pytest --dre"
        )
    return found


def _owned(engine: Engine, folder: Folder, sealed: Sealed) -> Sealed:
    """Marks an operation as one's own, if the user's state file knows its log."""
    if reason := _disowned(folder):
        return replace(sealed, disowned=reason)
    try:
        with Log.open(folder.log, read_only=True) as log:
            return replace(sealed, own_log=log.id)
    except DREError:
        return sealed


def _disowned(folder: Folder) -> str:
    """Why one's own keys count for nothing here: somebody else may have written the folder. Empty if they count."""
    geteuid = getattr(os, "geteuid", None)
    if geteuid is not None and folder.path.stat().st_uid != geteuid():
        return "the .dre folder belongs to another user"
    git = Git.find(str(folder.path.parent))
    if git is None:
        return ""
    try:
        tracked = git.run("ls-files", "--", str(folder.log))
    except CaptureError as error:
        return f"git does not tell whether .dre came with the checkout ({error.message})"
    return (
        "git tracks .dre, so it may have come with the checkout (git rm -r --cached .dre)" if tracked else ""
    )


def trust_for(engine: Engine, request: Request, sealed: Sealed) -> Trust:
    """Whose signature counts for this operation."""
    keys = {**_keys_of_role(request.policy, Role.RUNNER), **{key.keyid: key for key in request.keys}}
    if not request.policy.keys:
        keys |= _own_keys(engine, sealed)
    second = _keys_of_role(request.policy, Role.COUNTERSIGNER)
    return Trust(
        keys=keys,
        signatures=request.policy.signatures,
        disowned=sealed.disowned,
        countersigners={keyid: key for keyid, key in second.items() if keyid not in keys},
    )


def maintainers_for(engine: Engine, request: Request, sealed: Sealed) -> dict[str, PublicKey]:
    """Whose declarations may loosen: without a policy's keys, every key that is trusted at all."""
    if request.policy.keys:
        return _keys_of_role(request.policy, Role.MAINTAINER)
    return {**_own_keys(engine, sealed), **{key.keyid: key for key in request.keys}}


def _keys_of_role(policy: Policy, role: Role) -> dict[str, PublicKey]:
    keys = (PublicKey.parse_pem(key.pem.encode()) for key in policy.keys if role in key.roles)
    return {key.keyid: key for key in keys}


def _own_keys(engine: Engine, sealed: Sealed) -> dict[str, PublicKey]:
    """The keys that this user sealed with into the operation's log, if it is this user's."""
    known = engine.keyring.known(sealed.own_log) if sealed.own_log else None
    # An id is the digest of the key itself, so the file beside the evidence can't lie about it.
    return {
        keyid: sealed.hint_keys[keyid]
        for keyid in (known.signers if known else ())
        if keyid in sealed.hint_keys
    }


def _verify_one(engine: Engine, request: Request, sealed: Sealed, problems: list[str]) -> Verified:
    inspected = inspect(sealed, trust_for(engine, request, sealed), _expectations(engine, request))
    if problems:
        check = IntegrityCheck(id="archive-members", passed=False, detail=problems[0])
        inspected = _with_check(inspected, check)
    past: tuple[Past, ...] = ()
    if request.since:
        history = _history(sealed, request.since)
        inspected, past = _with_check(inspected, history.check), history.runs
    policy = (
        replace(request.policy, expected_base=_resolve(engine, request.base))
        if request.base
        else request.policy
    )
    blobs = opened(inspected.run, sealed.blobs, engine.environ) if inspected.run else sealed.blobs
    verdict, evidence = judge_run(
        inspected,
        blobs,
        policy,
        engine.verifiers(policy),
        sealed.operation,
        maintainers_for(engine, request, sealed),
        request.labels,
    )
    return Verified(
        verdict=verdict,
        run=inspected.run,
        evidence=evidence,
        past=past,
        run_payload=inspected.run_payload,
        payloads=inspected.payloads,
        signers=inspected.signers,
    )


def _with_check(inspected: Inspected, check: IntegrityCheck) -> Inspected:
    """The same with one check more; a failed one makes it invalid."""
    result = inspected.integrity.result if check.passed else IntegrityResult.INVALID
    checks = (*inspected.integrity.checks, check)
    return replace(inspected, integrity=Integrity(result=result, checks=checks))


def _history(sealed: Sealed, note: str) -> History:
    """The log since a checkpoint.

    Raises:
        UsageError: The evidence is not in the folder of its log, which alone can prove it.
    """
    path = Path(sealed.place) / "log.db"
    if not path.exists():
        raise UsageError("an archive does not hold the log", hint="ask for --since where the .dre folder is")
    with Log.open(path, read_only=True) as log:
        return history_since(log, note, sealed)


def _expectations(engine: Engine, request: Request) -> Expectations:
    return Expectations(
        commit=_resolve(engine, request.commit),
        second_parent_of=lambda merge, head: (
            request.merges.get(merge) == head or _is_second_parent(engine, merge, head)
        ),
        repository=_repository(request.repository),
        run_id=request.run_id,
        nonce=request.nonce,
        max_age=request.max_age,
        now=engine.now(),
    )


def _repository(text: str) -> str:
    """An address as it is recorded: normalised, unless it is so already."""
    return normalise_address(text) if "://" in text or "@" in text else text


def _resolve(engine: Engine, revision: str) -> str:
    """Full id of a revision: as it is if it is one, else by local git.

    Raises:
        UsageError: It is neither.
    """
    if not revision or re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", revision):
        return revision
    git = Git.find(str(engine.directory))
    try:
        if git is not None:
            return git.resolve(revision)
    except CaptureError:
        pass
    raise UsageError(
        f"{revision!r} is no full commit id and no revision known here",
        hint="give all 40 characters of the id",
    )


def _is_second_parent(engine: Engine, merge: str, head: str) -> bool:
    """Whether local git says that a commit is the merge of its first parent and this head, and holds nothing else.

    The archive is not asked.
    """
    git = Git.find(str(engine.directory))
    if git is None:
        return False
    try:
        return git.resolve(f"{merge}^2") == head and git.is_own_merge(merge)
    except CaptureError:
        return False

"""How far a declaration counts: anybody may tighten, only a maintainer may loosen.

The kind and the changes in the run's claim are a copy for the reader. What counts is the sealed declaration that the
run names, and of it the loosening parts only if a key with the role ``maintainer`` signed it. About another commit
than the run's it does not count at all. A label that the verifying side had from the forge, and that the policy gives a
meaning, is a maintainer's word: its kind counts in place of the author's, and one that loosens stands behind the tests
that the author named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from dre_core.crypto.dsse import Envelope
from dre_core.crypto.keys import PublicKey
from dre_core.errors import FormatError, IntegrityError
from dre_core.model.declaration import ITEM_KIND, PREDICATE_TYPE, Declaration, Kind
from dre_core.model.run import Run
from dre_core.model.statement import Statement
from dre_core.model.verdict import Vantage, Weight
from dre_core.store.sealed import Blobs
from dre_core.verify.evidence import Evidence
from dre_core.verify.verifier import Ruling, fail, found, not_applicable, passed

_ENVELOPE_LIMIT_BYTES = 16 << 20


def with_declaration(
    evidence: Evidence, blobs: Blobs, maintainers: Mapping[str, PublicKey], labels: Sequence[str] = ()
) -> Evidence:
    """The evidence with what counts of its declaration, and nothing else, in the claim.

    Args:
        evidence: The decoded evidence.
        blobs: The operation's payloads.
        maintainers: Keys whose signature lets a declaration loosen.
        labels: Of the pull request, as whoever verifies had them from the forge; the policy says what they mean.

    Raises:
        FormatError: The run names a declaration that is not among its items, or is something else.
    """
    kind = _kind(evidence.policy.labels, labels)
    return _labelled(_declared(evidence, blobs, maintainers, kind), kind)


def _kind(meaning: Mapping[str, Kind], labels: Sequence[str]) -> Kind | None:
    """The kind that labels say; None if none does, or two disagree."""
    kinds = {meaning[label] for label in labels if label in meaning}
    return kinds.pop() if len(kinds) == 1 else None


def _labelled(evidence: Evidence, kind: Kind | None) -> Evidence:
    """The evidence with the kind that a label says, in place of the author's."""
    if kind is None:
        return evidence
    said = evidence.declaration
    if said is not None and said.kind is kind:
        return evidence
    counted = replace(
        said or Declaration(commit=evidence.run.source.commit, declared=""), kind=kind, declared=""
    )
    return replace(evidence, run=_claiming(evidence.run, counted), declaration=counted)


def _declared(
    evidence: Evidence, blobs: Blobs, maintainers: Mapping[str, PublicKey], labelled: Kind | None
) -> Evidence:
    run = evidence.run
    if not run.declaration:
        return replace(evidence, run=_claiming(run, None))
    envelope = _envelope(run, blobs)
    statement = Statement.parse(envelope.payload)
    if statement.predicate_type != PREDICATE_TYPE:
        raise FormatError("not a declaration", path="declaration")
    declaration = Declaration.parse(statement.predicate)
    if declaration.commit != run.source.commit:
        return replace(evidence, run=_claiming(run, None))
    refused = declaration.loosens and not _signed_by(envelope, maintainers)
    counted = declaration.tightened() if refused else declaration
    if refused and labelled is not None and labelled.loosens:
        # A label that says that behaviour changes stands behind the author's list of the tests that change with it.
        counted = replace(counted, changes=declaration.changes)
    return replace(evidence, run=_claiming(run, counted), declaration=counted, declaration_refused=refused)


def _envelope(run: Run, blobs: Blobs) -> Envelope:
    items = run.items_of(ITEM_KIND)
    if len(items) != 1:
        raise FormatError("the run names a declaration that is not among its items", path="declaration")
    with blobs.open(items[0].digest) as stream:
        envelope = Envelope.parse(stream.read(_ENVELOPE_LIMIT_BYTES))
    if envelope.payload_digest != run.declaration:
        raise FormatError("the declaration is another one than the run names", path="declaration")
    return envelope


def _signed_by(envelope: Envelope, maintainers: Mapping[str, PublicKey]) -> bool:
    try:
        return bool(maintainers) and bool(envelope.verify(maintainers.values(), 1))
    except IntegrityError:
        return False


def _claiming(run: Run, declaration: Declaration | None) -> Run:
    kind = declaration.kind.value if declaration and declaration.kind else None
    changes = declaration.changes if declaration else ()
    return replace(run, claim=replace(run.claim, kind=kind, changes=changes))


def policy_as_declared(evidence: Evidence) -> Ruling:
    """A verdict by another policy than the run was said, before it began, to be held to."""
    declared = evidence.declaration.policy if evidence.declaration is not None else ""
    if not declared:
        return not_applicable("no policy was declared")
    if declared == evidence.policy.digest:
        return passed(Vantage.STATIC, "the verdict is by the declared policy")
    return found(
        fail(
            "policy-as-declared",
            Weight.MINOR,
            Vantage.STATIC,
            f"the run was declared to be held to the policy {declared[:19]}, and this verdict is by another",
            remedy="give --policy the file that was declared, or declare anew",
        )
    )

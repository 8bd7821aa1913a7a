"""Integrity: are these the bytes that a trusted key sealed, all of them, and for what was asked?

The workflow, in this order; each step is one check of the verdict document. A later step is not tried where
an earlier one leaves nothing to read.

1. ``envelopes``: every line parses as a DSSE envelope with a Statement in it; one of them is the run's.
2. ``signature``: a key signed every envelope, checked over the exact payload bytes.
3. ``trust``: as many distinct trusted keys as asked for signed the run, its cosignatures included; a public key
   beside the evidence is a hint for step 2 and never trusted here. Before it, where there are any,
   ``countersignatures``: each is about this run, and no known key's signature is wrong.
4. ``certificate``: the trust certificate is signed by the same signer and endorses the log's key.
5. ``log-proof``: the event ``operation.sealed`` lists these envelopes, in this order, and is included in the
   tree of a checkpoint that the endorsed key signed.
6. ``subjects``: the Statements are about this run's evidence index and source tree.
7. ``items``: every item that is said to be kept is there with its digest.
8. ``archive``: the index, signed by every trusted key that signed the run, names every member, size and digest
   (archives only).
9. ``commit``, ``repository``, ``run-id``, ``nonce``, ``max-age``: what the caller expects, each only if asked.

Nothing here opens a socket, runs anything or writes a file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from datetime import datetime, timedelta
from functools import lru_cache

from dre_core.crypto.dsse import PAYLOAD_TYPE, Envelope
from dre_core.crypto.keys import PublicKey
from dre_core.crypto.merkle import leaf_hash, verify_inclusion
from dre_core.crypto.note import Checkpoint, TlogProof, open_note, parse_proof, unverified_text
from dre_core.errors import DREError, FormatError, IntegrityError, LimitError, NewerFormatError
from dre_core.model import canonical, predicate
from dre_core.model.digest import hex_of, sha256
from dre_core.model.event import Event, parse_rfc3339
from dre_core.model.record import dataclass
from dre_core.model.run import Item, Run
from dre_core.model.statement import MAX_VALUES, Statement
from dre_core.model.verdict import Integrity, IntegrityCheck, IntegrityResult
from dre_core.store.sealed import SIGNATURE_LIMIT, TEXT_LIMIT_BYTES, Sealed, stream_digest

CERTIFICATE_KIND = "certificate"
_README = "README.txt"
_CHECKPOINT = "log/checkpoint"
_COUNTERSIGNATURES = "countersignatures.intoto.jsonl"
# What an operation may say; anything else would be sealed but judged by nobody.
_KNOWN = frozenset(
    (
        predicate.RUN,
        predicate.TEST_RESULT,
        predicate.RUNTIME_TRACE,
        predicate.SVR,
        predicate.VSA,
        predicate.VERDICT,
        predicate.REPLAY,
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Whose signature counts.

    Attributes:
        keys: Trusted public keys by id.
        signatures: How many distinct ones must have signed the run.
        disowned: Why keys of one's own are not among them; empty if there is no reason to tell.
        countersigners: Keys by id whose countersignature counts; none that may run is among them.
    """

    keys: Mapping[str, PublicKey]
    signatures: int = 1
    disowned: str = ""
    countersigners: Mapping[str, PublicKey] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectations:
    """What the verifier asks the evidence to be about; empty fields ask nothing.

    Attributes:
        commit: Full commit id.
        second_parent_of: Confirms (from outside the archive) that the first commit is a merge whose second
            parent is the second one.
        repository: Normalised address.
        run_id: CI run id.
        nonce: The verifier's nonce.
        max_age: Largest age of the run's end.
        now: Time of verification.
    """

    commit: str = ""
    second_parent_of: Callable[[str, str], bool] = lambda merge, head: False
    repository: str = ""
    run_id: str = ""
    nonce: str = ""
    max_age: timedelta | None = None
    now: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspected:
    """What the integrity checks leave to judge.

    Attributes:
        integrity: The result with its checks.
        run: The run's predicate, or None where it could not be read.
        statements: All Statements, in file order.
        payloads: Payload digests, in file order.
        signers: Ids of the trusted keys that signed the run.
        run_payload: Payload digest of the run; empty where it could not be read.
        countersigners: Ids of the keys that count as countersigners and found the run supported.
    """

    integrity: Integrity
    run: Run | None = None
    statements: tuple[Statement, ...] = ()
    payloads: tuple[str, ...] = ()
    signers: tuple[str, ...] = ()
    run_payload: str = ""
    countersigners: tuple[str, ...] = ()


@dataclass(slots=True)
class _Inspection:
    """The checks so far, while the steps run."""

    sealed: Sealed
    trust: Trust
    checks: list[IntegrityCheck] = field(default_factory=list)
    envelopes: list[Envelope] = field(default_factory=list)
    statements: list[Statement] = field(default_factory=list)
    run: Run | None = None
    run_envelope: Envelope | None = None
    signers: tuple[str, ...] = ()
    cosigned: list[Envelope] = field(default_factory=list)
    countersigners: tuple[str, ...] = ()

    def record(self, check: str, passed: bool, detail: str = "") -> bool:
        self.checks.append(IntegrityCheck(id=check, passed=passed, detail=detail))
        return passed

    def attempt(self, check: str, step: Callable[[], str]) -> bool:
        """Runs one step; a typed error is a failed check with its message."""
        try:
            return self.record(check, True, step())
        except DREError as error:
            return self.record(check, False, str(error))


def inspect(sealed: Sealed, trust: Trust, expected: Expectations) -> Inspected:
    """Runs every step of the module's list.

    Args:
        sealed: The operation as found.
        trust: Whose signature counts.
        expected: What the evidence must be about.

    Returns:
        The result; it is ``invalid`` if any step but ``trust`` failed, else ``untrusted`` if that one did.
    """
    state = _Inspection(sealed, trust)
    if state.attempt("envelopes", lambda: _envelopes(state)):
        state.attempt("signature", lambda: _signature(state))
        if sealed.countersignatures:
            state.attempt("countersignatures", lambda: _countersignatures(state))
        state.attempt("trust", lambda: _trust(state))
        state.attempt("subjects", lambda: _subjects(state))
        endorsed: list[tuple[str, PublicKey]] = []
        if state.attempt("certificate", lambda: _certificate(state, endorsed)):
            state.attempt("log-proof", lambda: _log_proof(state, *endorsed[0]))
        state.attempt("items", lambda: _items(state))
        if sealed.members is not None:
            state.attempt("archive", lambda: _archive(state))
        _expectations(state, expected)
    failed = {check.id for check in state.checks if not check.passed}
    if failed - {"trust"}:
        result = IntegrityResult.INVALID
    elif failed:
        result = IntegrityResult.UNTRUSTED
    else:
        result = IntegrityResult.VALID
    return Inspected(
        integrity=Integrity(result=result, checks=tuple(state.checks)),
        run=state.run,
        statements=tuple(state.statements),
        payloads=tuple(envelope.payload_digest for envelope in state.envelopes),
        signers=state.signers,
        run_payload=state.run_envelope.payload_digest if state.run_envelope else "",
        countersigners=state.countersigners,
    )


def _envelopes(state: _Inspection) -> str:
    """Step 1."""
    envelopes = _parse_lines(state.sealed.envelopes, "run.intoto.jsonl")
    # The limit of one statement holds for all of them, because all of them are kept.
    together = b"\n".join(envelope.payload for envelope in envelopes).decode("utf-8", "replace")
    canonical.check_values(together, MAX_VALUES)
    for number, envelope in enumerate(envelopes, 1):
        statement = Statement.parse(envelope.payload)
        if statement.predicate_type not in _KNOWN:
            raise FormatError(
                f"unknown predicate {statement.predicate_type}", path=f"run.intoto.jsonl:{number}"
            )
        state.envelopes.append(envelope)
        state.statements.append(statement)
        if statement.predicate_type == predicate.RUN:
            if state.run is not None:
                raise FormatError("two runs in one operation", path=f"run.intoto.jsonl:{number}")
            state.run = Run.parse(statement.predicate)
            state.run_envelope = envelope
    if state.run is None:
        raise FormatError("no run among the envelopes", path="run.intoto.jsonl")
    if state.run.operation != state.sealed.operation:
        raise FormatError(
            f"the run is of {state.run.operation}, not of {state.sealed.operation}", path="run.intoto.jsonl"
        )
    return f"{len(state.envelopes)} envelopes"


def _parse_lines(data: bytes, name: str) -> list[Envelope]:
    """Envelopes, one a line, each in the one form.

    Raises:
        FormatError: Cut off or out of form; with file and line.
        LimitError: Too many signatures to check.
    """
    lines = data.split(b"\n")
    if lines[-1] != b"" or len(lines) < 2:
        raise FormatError("the last line is cut off", path=name)
    envelopes = []
    signatures = 0
    for number, line in enumerate(lines[:-1], 1):
        envelope = Envelope.parse(line)
        if envelope.to_bytes() != line:
            raise FormatError("not in canonical form", path=f"{name}:{number}")
        if envelope.payload_type != PAYLOAD_TYPE:
            raise FormatError(f"unknown payload type {envelope.payload_type}", path=f"{name}:{number}")
        signatures += len(envelope.signatures)
        if signatures > SIGNATURE_LIMIT:
            raise LimitError(f"more than {SIGNATURE_LIMIT} signatures", path=name)
        envelopes.append(envelope)
    return envelopes


def parse_countersignatures(data: bytes) -> list[Envelope]:
    """The envelopes of a file of countersignatures; none in an empty one.

    Raises:
        FormatError: Out of form.
    """
    return _parse_lines(data, _COUNTERSIGNATURES) if data else []


def _countersignatures(state: _Inspection) -> str:
    """Before step 3: envelopes of others about the run, and further signatures over its very payload."""
    assert state.run_envelope is not None
    trust, run = state.trust, state.run_envelope
    known = {**state.sealed.hint_keys, **trust.keys, **trust.countersigners}
    subject = (predicate.run_payload_subject(run.payload_digest),)
    found: list[str] = []
    envelopes = parse_countersignatures(state.sealed.countersignatures)
    for number, envelope in enumerate(envelopes, 1):
        for signature in envelope.signatures:
            if signature.keyid in known:
                envelope.verify([known[signature.keyid]], 1)
        if envelope.payload == run.payload:
            state.cosigned.append(envelope)
            continue
        statement = Statement.parse(envelope.payload)
        if (
            statement.predicate_type not in (predicate.VSA, predicate.VERDICT)
            or statement.subjects != subject
        ):
            raise IntegrityError("about something else than this run", path=f"{_COUNTERSIGNATURES}:{number}")
        if (
            statement.predicate.get("verificationResult") == "PASSED"
            and statement.predicate_type == predicate.VSA
        ):
            found += envelope.signers(trust.countersigners.values())
    # Whoever ran the workload is no second party, whatever name the key has.
    ran = {signature.keyid for signature in run.signatures}.union(run.signers(trust.countersigners.values()))
    state.countersigners = tuple(keyid for keyid in dict.fromkeys(found) if keyid not in ran)
    by = ", ".join(keyid[:16] for keyid in state.countersigners) or "no key that counts as a countersigner"
    return f"{len(envelopes)} envelopes, by {by}"


def _signature(state: _Inspection) -> str:
    """Step 2: every signature must hold by the key it names, or be by a key that is not at hand."""
    known = {**state.sealed.hint_keys, **state.trust.keys}
    for number, envelope in enumerate(state.envelopes, 1):
        if not envelope.signatures:
            raise IntegrityError("an envelope has no signature", path=f"run.intoto.jsonl:{number}")
        checkable = [signature for signature in envelope.signatures if signature.keyid in known]
        for signature in checkable:
            envelope.verify([known[signature.keyid]], 1)
    return f"{len(state.envelopes)} envelopes hold"


def _trust(state: _Inspection) -> str:
    """Step 3: the same trusted keys must have signed every envelope, the run above all."""
    assert state.run_envelope is not None
    if not state.trust.keys:
        reason = f"{state.trust.disowned}, and " if state.trust.disowned else ""
        raise IntegrityError(f"{reason}no trusted key was named; use --key PUB.pem or --policy")
    keys = list(state.trust.keys.values())
    signers = dict.fromkeys(state.run_envelope.verify(keys, 1))
    for envelope in state.cosigned:
        signers |= dict.fromkeys(envelope.signers(keys))
    state.signers = tuple(signers)
    if len(signers) < state.trust.signatures:
        needed = state.trust.signatures
        raise IntegrityError(f"{len(signers)} of {needed} needed signatures by trusted keys hold")
    for envelope in state.envelopes:
        envelope.verify(keys, 1)
    return f"signed by {', '.join(keyid[:16] for keyid in state.signers)}"


def _subjects(state: _Inspection) -> str:
    """Step 6."""
    assert state.run is not None
    wanted = {(s.name, s.digest["sha256"]) for s in predicate.run_subjects(state.run)}
    for number, statement in enumerate(state.statements, 1):
        found = {(subject.name, subject.digest.get("sha256", "")) for subject in statement.subjects}
        if found != wanted:
            raise IntegrityError("a statement is about something else", path=f"run.intoto.jsonl:{number}")
    return f"evidence index of {len(state.run.items)} items"


def _certificate(state: _Inspection, endorsed: list[tuple[str, PublicKey]]) -> str:
    """Step 4: finds the endorsed log and its key and appends them to ``endorsed``."""
    assert state.run is not None
    assert state.run_envelope is not None
    items = state.run.items_of(CERTIFICATE_KIND)
    if len(items) != 1 or not items[0].kept:
        raise FormatError("the run names no trust certificate")
    envelope = Envelope.parse(read_stored(state.sealed, items[0], TEXT_LIMIT_BYTES))
    if envelope.payload_digest != state.run.trust_certificate:
        raise IntegrityError("the trust certificate is another one than the run names")
    known = {**state.sealed.hint_keys, **state.trust.keys}
    runners = [known[s.keyid] for s in state.run_envelope.signatures if s.keyid in known]
    if runners:
        envelope.verify(runners, 1)
    elif {s.keyid for s in envelope.signatures}.isdisjoint(s.keyid for s in state.run_envelope.signatures):
        raise IntegrityError("the trust certificate is signed by another key than the run")
    statement = Statement.parse(envelope.payload)
    for subject in statement.subjects:
        keyid = subject.digest.get("sha256", "")
        if subject.name.startswith("dre.local/") and keyid in known:
            endorsed.append((subject.name, known[keyid]))
            return f"endorses the key of {subject.name}"
    raise IntegrityError("the public key of the log is missing")


def _log_proof(state: _Inspection, origin: str, log_key: PublicKey) -> str:
    """Step 5."""
    if not state.sealed.proof:
        raise FormatError("there is no proof that the log holds the operation", path="tlog-proof")
    proof: TlogProof = parse_proof(state.sealed.proof)
    event = Event.parse(proof.extra or b"")
    if event.type != "operation.sealed" or event.operation != state.sealed.operation:
        raise IntegrityError("the proof is of another event", path="tlog-proof")
    if event.data.get("payloads") != [envelope.payload_digest for envelope in state.envelopes]:
        raise IntegrityError("the log lists other envelopes than these", path="tlog-proof")
    checkpoint = Checkpoint.parse(open_note(proof.checkpoint_note, origin, log_key))
    included = verify_inclusion(
        leaf_hash(proof.extra or b""), proof.index, checkpoint.size, checkpoint.root, proof.hashes
    )
    if not included:
        raise IntegrityError("the event is not in the log's tree", path="tlog-proof")
    return f"event {proof.index} of {checkpoint.size} in {checkpoint.origin}"


def read_stored(sealed: Sealed, item: Item, limit_bytes: int) -> bytes:
    """Stored bytes of an item, checked against its digest.

    Raises:
        IntegrityError: They are missing, too many, or not the ones that were sealed.
    """
    if not sealed.blobs.has(item.digest):
        raise IntegrityError("the payload is missing", path=item.name)
    with sealed.blobs.open(item.digest) as stream:
        data = stream.read(limit_bytes + 1)
    if len(data) > limit_bytes:
        raise IntegrityError("the payload is larger than the limit", path=item.name)
    if sha256(data) != item.digest:
        raise IntegrityError("the payload's digest differs", path=item.name)
    return data


def _items(state: _Inspection) -> str:
    """Step 7."""
    assert state.run is not None
    kept = {item.digest: item.name for item in state.run.items if item.kept}
    for digest, name in kept.items():
        if not state.sealed.blobs.has(digest):
            moved = " (dre evidence restore brings back what was moved)" if state.sealed.own_log else ""
            raise IntegrityError(f"the payload is missing{moved}", path=name)
        if _stored_digest(state.sealed, digest) != digest:
            raise IntegrityError("the payload's digest differs", path=name)
    return f"{len(kept)} payloads"


def _stored_digest(sealed: Sealed, digest: str) -> str:
    if sealed.members is not None:
        return sealed.members.digest(f"blobs/sha256/{hex_of(digest)}")[1]
    return stream_digest(sealed.blobs.open(digest))[1]


def _archive(state: _Inspection) -> str:
    """Step 8: the index of this operation holds; that the indexes cover every member is the archive's check."""
    members = state.sealed.members
    assert members is not None
    index = index_of(state.sealed)
    _index_signature(state, index)
    statement = Statement.parse(index.payload)
    sizes = _index_sizes(statement)
    present = set(members.names())
    for subject in statement.subjects:
        if subject.name not in present:
            raise IntegrityError("the member is missing", path=subject.name)
        size, digest = members.digest(subject.name)
        if digest == f"sha256:{subject.digest.get('sha256')}" and sizes.get(subject.name) == str(size):
            continue
        if subject.name != _README or not _is_shared_readme(state, digest):
            raise IntegrityError("the member is not the one that was sealed", path=subject.name)
    return f"{len(statement.subjects)} members"


def index_of(sealed: Sealed) -> Envelope:
    """The envelope in ``index.json`` that is of this operation.

    Raises:
        FormatError: There is none, or the file is malformed.
    """
    indexes = _by_operation(sealed.index)
    if sealed.operation not in indexes:
        raise FormatError("no index for this operation", path="index.json")
    return indexes[sealed.operation]


def _index_signature(state: _Inspection, index: Envelope) -> None:
    """Who sealed the run sealed the index: all trusted keys that signed it, or where there are none all known ones.

    One of them is not enough, because everybody can add a signature of his own to the run.
    """
    assert state.run_envelope is not None
    if trusted := state.run_envelope.signers(state.trust.keys.values()):
        index.verify([state.trust.keys[keyid] for keyid in trusted], len(trusted))
        return
    known = {**state.sealed.hint_keys, **state.trust.keys}
    named = [signature.keyid for signature in state.run_envelope.signatures]
    if {signature.keyid for signature in index.signatures}.isdisjoint(named):
        raise IntegrityError("the index is signed by another key than the run", path="index.json")
    if keys := [known[keyid] for keyid in named if keyid in known]:
        index.verify(keys, len(keys))


def _is_shared_readme(state: _Inspection, digest: str) -> bool:
    """Several operations share the README: whether it is that of another one, sealed by somebody as much trusted."""
    assert state.run_envelope is not None
    keys = list(state.trust.keys.values())
    if not state.run_envelope.signers(keys):
        keys += state.sealed.hint_keys.values()
    others = _by_operation(state.sealed.index).values()
    return any(_readme_of(other) == digest and (not keys or other.signers(keys)) for other in others)


def _readme_of(index: Envelope) -> str:
    subjects = Statement.parse(index.payload).subjects
    return next((f"sha256:{each.digest.get('sha256')}" for each in subjects if each.name == _README), "")


@lru_cache(maxsize=1)
def _by_operation(data: bytes) -> Mapping[str, Envelope]:
    """The indexes of an archive by operation, parsed once for all of its operations."""
    return {operation_of(envelope): envelope for envelope in parse_indexes(data)}


def parse_indexes(data: bytes) -> list[Envelope]:
    """The index envelopes of an archive: one a line, one an operation.

    Raises:
        FormatError: The file is missing or malformed.
    """
    lines = data.split(b"\n")
    if len(lines) < 2 or lines[-1] != b"":
        raise FormatError("missing or cut off", path="index.json")
    envelopes = [Envelope.parse(line) for line in lines[:-1]]
    for envelope, line in zip(envelopes, lines, strict=False):
        if envelope.to_bytes() != line or Statement.parse(envelope.payload).predicate_type != predicate.INDEX:
            raise FormatError("not an index in canonical form", path="index.json")
    for envelope in envelopes:
        number = Statement.parse(envelope.payload).predicate.get("format")
        if isinstance(number, int) and number > 1:
            raise NewerFormatError(
                f"an archive of format {number}", hint="a newer dre is needed", path="index.json"
            )
    operations = [operation_of(envelope) for envelope in envelopes]
    if operations != sorted(set(operations)):
        raise FormatError("the indexes are not one an operation, sorted", path="index.json")
    return envelopes


def operation_of(index: Envelope) -> str:
    """The operation that an index is about; empty if it does not say."""
    operation = Statement.parse(index.payload).predicate.get("operation")
    return operation if isinstance(operation, str) else ""


def _index_sizes(statement: Statement) -> dict[str, str]:
    listed = statement.predicate.get("members")
    if not isinstance(listed, list) or statement.predicate.get("format") != 1:
        raise FormatError("not an index of format 1", path="index.json")
    return {str(m.get("name")): str(m.get("size")) for m in listed if isinstance(m, dict)}


def _checkpoint_of(sealed: Sealed) -> str:
    return parse_proof(sealed.proof).checkpoint_note


def _size_of(note: str) -> int:
    return Checkpoint.parse(unverified_text(note)).size


def archive_problems(sealed: Sequence[Sealed]) -> list[str]:
    """What is wrong with an archive as a whole: members that no index names, indexes of what is not in it.

    Args:
        sealed: The archive's operations.

    Raises:
        FormatError: The index can't be read.
    """
    members = sealed[0].members
    if members is None:
        return []
    # The checkpoint is a signed note of its own, an index can't name itself, and countersignatures came later.
    covered = {"index.json", _CHECKPOINT, *_countersigned(sealed)}
    readmes = set()
    indexes = _by_operation(sealed[0].index)
    for envelope in indexes.values():
        covered.update(subject.name for subject in Statement.parse(envelope.payload).subjects)
        readmes.add(_readme_of(envelope))
    # An index of what is not here would be checked by nobody, and could name anything.
    if list(indexes) != sorted(each.operation for each in sealed):
        return ["index.json: other operations than the archive holds"]
    problems = [f"{name}: no index names this member" for name in sorted(set(members.names()) - covered)]
    newest = max(
        (_checkpoint_of(each) for each in sealed),
        key=lambda note: Checkpoint.parse(unverified_text(note)).size,
    )
    if _CHECKPOINT not in members.names() or members.digest(_CHECKPOINT)[1] != sha256(newest.encode()):
        problems.append(f"{_CHECKPOINT}: not the newest of the checkpoints that the proofs hold")
    if _README not in members.names() or members.digest(_README)[1] not in readmes:
        problems.append(f"{_README}: the member is not the one that was sealed")
    return problems


def _countersigned(sealed: Sequence[Sealed]) -> set[str]:
    """Members that hold countersignatures, and the public keys that these name."""
    names = set()
    for each in sealed:
        if each.countersignatures:
            names.add(f"countersignatures/{each.operation}.intoto.jsonl")
        for envelope in parse_countersignatures(each.countersignatures):
            names.update(f"keys/{signature.keyid}.pem" for signature in envelope.signatures)
    return names


def _expectations(state: _Inspection, expected: Expectations) -> None:
    """Step 9."""
    run = state.run
    assert run is not None
    if expected.commit:
        same = run.source.commit == expected.commit or (
            len(run.source.parents) > 1 and expected.second_parent_of(run.source.commit, expected.commit)
        )
        found = run.source.commit or "no commit"
        state.record("commit", same, f"recorded {found}, asked for {expected.commit}")
    for check, wanted, found in (
        ("repository", expected.repository, run.source.repository or run.ci.get("repository", "")),
        ("run-id", expected.run_id, run.ci.get("run_id", "")),
        ("nonce", expected.nonce, run.nonce),
    ):
        if wanted:
            state.record(check, wanted == found, f"recorded {found or 'none'}, asked for {wanted}")
    if expected.max_age is not None and expected.now is not None:
        age = expected.now - parse_rfc3339(run.ended)
        # A run that ended in the future is as stale as an old one: its clock can't be believed.
        fresh = timedelta(minutes=-5) <= age <= expected.max_age
        state.record("max-age", fresh, f"the run ended {age.total_seconds():.0f} s ago")

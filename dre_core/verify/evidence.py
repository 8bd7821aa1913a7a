"""What the verifiers read: the run with its items decoded, each limited in size and depth.

Everything comes from sealed bytes that the integrity checks have compared with their digests. Decoding an
item that is not what it says raises a typed error, which makes the method abstain and blocks support: hostile
evidence can't delete a veto.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from functools import partial
from typing import TypeVar

from dre_core.capture.programmatic import JUnitReport, read_junit
from dre_core.errors import DREError, FormatError, IntegrityError, LockedError
from dre_core.model import canonical
from dre_core.model.canonical import JSON
from dre_core.model.changes import Changes
from dre_core.model.covered import Covered
from dre_core.model.declaration import Declaration
from dre_core.model.fields import Fields
from dre_core.model.imports import ImportFact
from dre_core.model.journal import fold
from dre_core.model.locked import Locked
from dre_core.model.observation import Observation
from dre_core.model.policy import Policy
from dre_core.model.record import dataclass
from dre_core.model.replay import ReplayFacts
from dre_core.model.run import Item, Run, RunOutcome
from dre_core.model.session import Counts, Outcome, Session
from dre_core.pipeline import codec
from dre_core.store.sealed import Blobs, cipher_of
from dre_core.verify.ending import TAIL_BYTES, Ending, ending, recorded_text
from dre_core.verify.shown import LIMIT_BYTES as SHOWN_LIMIT_BYTES
from dre_core.verify.shown import Shown, compare, hidden

_NAMED_TESTS = 20

T = TypeVar("T")

JSON_LIMIT_BYTES = 64 << 20
JOURNAL_LIMIT_BYTES = 2 << 30
JUNIT_LIMIT_BYTES = 256 << 20
ENDING_LIMIT_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A JUnit report that the command wrote."""

    item: Item
    junit: JUnitReport

    @property
    def by_convention(self) -> bool:
        """Whether nobody named it: Maven or Gradle wrote it where they always do."""
        return self.item.note.get("found") == "by convention"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The decoded evidence of one run.

    Attributes:
        run: The run's predicate.
        policy: The policy it is judged by.
        sessions: Every pytest session seen inside, in the order of their start.
        reports: JUnit reports.
        observation: What the parent process saw; None where nobody watched from outside.
        imports: Where the tested packages came from.
        session_items: Item digests of each session, by session id.
        replay: What running the suite again in clean clones came to; None where it was not done.
        declaration: What counts of the declaration that was sealed before the run; None if nothing does.
        unreadable: Items that could not be decoded, each with the reason.
        declaration_refused: Parts of it that loosen were left out, because no maintainer signed them.
        countersigners: Ids of the keys whose countersignature counts.
        locked: How the installed packages fit the lock files; None where there is none.
        changes: What the change did to the tests and their runner, read from git; None without a base.
        shown: What of the output can be seen; None where it could not be looked at.
        covered: What coverage data say about the change and the tests; None where nothing was measured.
        ending: The error that nobody caught, where a command that ended well and ran no tests ends its output with one.
    """

    run: Run
    policy: Policy
    sessions: tuple[Session, ...] = ()
    reports: tuple[Report, ...] = ()
    observation: Observation | None = None
    imports: tuple[ImportFact, ...] = ()
    session_items: dict[str, tuple[str, ...]] = field(default_factory=dict)
    replay: ReplayFacts | None = None
    changes: Changes | None = None
    covered: Covered | None = None
    shown: Shown | None = None
    ending: Ending | None = None
    locked: Locked | None = None
    declaration: Declaration | None = None
    declaration_refused: bool = False
    countersigners: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()

    @property
    def top_sessions(self) -> tuple[Session, ...]:
        """The sessions that are the claim's own, not those that a test ran inside one of them."""
        pids = {session.pid for session in self.sessions}
        return tuple(s for s in self.sessions if not s.parent and s.parent_pid not in pids)

    @property
    def unseen_sessions(self) -> tuple[Session, ...]:
        """Sessions on record whose process the parent did not see; none where nobody watched."""
        if self.observation is None:
            return ()
        seen = {process.pid for process in self.observation.processes}
        return tuple(session for session in self.top_sessions if session.pid not in seen)

    @property
    def strange_sessions(self) -> tuple[Session, ...]:
        """Sessions on record whose process was seen, but not as a test runner: anything may have written them."""
        if self.observation is None:
            return ()
        named = {process.pid for process in self.observation.processes if not process.argv or process.runner}
        unseen = self.unseen_sessions
        return tuple(s for s in self.top_sessions if s not in unseen and s.pid not in named)

    def is_allowed_skip(self, test: str) -> bool:
        """Whether the policy lets a test be skipped on the day of the run."""
        return self.policy.allowed_skip(test, self.run.ended[:10]) is not None

    @property
    def bad_tests(self) -> tuple[str, ...]:
        """The first tests that failed or could not run, by id."""
        bad = [
            t.id for s in self.top_sessions for t in s.tests if t.outcome in (Outcome.FAILED, Outcome.ERROR)
        ]
        return tuple(bad[:_NAMED_TESTS])

    @property
    def has_tests(self) -> bool:
        """Whether any test run was witnessed or reported."""
        return bool(self.sessions or self.reports)

    @property
    def counts(self) -> Counts | None:
        """Tests by outcome over the claim's own sessions, else over the reports, else None."""
        if self.top_sessions:
            return add_counts(session.counts for session in self.top_sessions)
        if self.reports:
            return add_counts(report.junit.tests for report in self.reports)
        return None

    def items_of(self, session: Session) -> tuple[str, ...]:
        """Digests of the items that hold a session."""
        return self.session_items.get(session.id, ())


def add_counts(every: Iterator[Counts] | list[Counts]) -> Counts:
    """The sum of several counts."""
    total = Counts().to_json()
    for counts in every:
        for name, value in counts.to_json().items():
            total[name] += value
    return Counts(**total)


def read_item(blobs: Blobs, item: Item, limit_bytes: int) -> Iterator[bytes]:
    """Plain bytes of a kept item, in chunks, at most ``limit_bytes`` of them.

    Raises:
        LimitError: There are more.
        FormatError: The stored form does not decode.
        IntegrityError: It decodes to something else than was sealed.
        LockedError: It is encrypted, and there is no key.
    """
    with blobs.open(item.digest) as stream:
        stored: Iterator[bytes] = iter(lambda: stream.read(1 << 18), b"")
        digest = hashlib.sha256()
        total = 0
        for chunk in codec.decode_chunks(item.codecs, stored, limit_bytes, cipher_of(blobs)):
            total += len(chunk)
            digest.update(chunk)
            yield chunk
    if total != item.size or (item.plain_digest and item.plain_digest != f"sha256:{digest.hexdigest()}"):
        raise IntegrityError("what it decodes to is not what was sealed", path=item.name)


def read_whole(blobs: Blobs, item: Item, limit_bytes: int) -> bytes:
    """Plain bytes of a kept item at once; same errors as :func:`read_item`."""
    return b"".join(read_item(blobs, item, limit_bytes))


def _lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Lines of a chunked stream with their newline; the last one may lack it."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line + b"\n"
    if rest:
        yield rest


def load(run: Run, blobs: Blobs, policy: Policy, folded: Mapping[str, Session] | None = None) -> Evidence:
    """Decodes what the verifiers read, item by item: one that can't be read must not hide what the others say.

    Args:
        run: The run's predicate.
        blobs: Its payloads, already compared with their digests.
        policy: The policy to judge by.
        folded: Sessions by id, where the caller has folded the very journals already.

    Returns:
        The evidence; :attr:`Evidence.unreadable` names the items that could not be decoded.
    """
    unreadable: list[str] = []

    def attempt(name: str, read: Callable[[], T]) -> T | None:
        try:
            return read()
        except DREError as error:
            remedy = f" ({error.hint})" if isinstance(error, LockedError) else ""
            unreadable.append(f"{name}: {error}{remedy}")
            return None

    sessions, digests = _sessions(run, blobs, folded or {}, attempt)
    reports = [
        attempt(item.name, partial(_report, blobs, item)) for item in run.items_of("junit") if item.kept
    ]
    one = partial(_one, run, blobs)
    return Evidence(
        run=run,
        policy=policy,
        sessions=sessions,
        session_items=digests,
        reports=tuple(report for report in reports if report is not None),
        observation=attempt("process", partial(one, "process", Observation.parse)),
        imports=attempt("imports", lambda: _one(run, blobs, "imports", _imports) or ()) or (),
        replay=attempt("replay", partial(one, "replay", ReplayFacts.parse)),
        changes=attempt("changes", partial(one, "changes", Changes.parse)),
        shown=_shown(run, blobs),
        ending=_ending(run, blobs),
        covered=attempt("covered", partial(one, "covered", Covered.parse)),
        locked=attempt("dependencies", partial(one, "dependencies", Locked.parse)),
        unreadable=tuple(unreadable),
    )


def _shown(run: Run, blobs: Blobs) -> Shown | None:
    """What of the output can be seen; nothing of one that is long, cut, encrypted or not kept."""
    outputs = [item for item in run.items_of("output") if item.size]
    if not outputs or not all(item.kept and item.size <= SHOWN_LIMIT_BYTES for item in outputs):
        return None
    recordings = [
        i for i in run.items_of("recording") if i.kept and i.size <= 2 * SHOWN_LIMIT_BYTES and not i.note
    ]
    try:
        texts = [read_whole(blobs, item, SHOWN_LIMIT_BYTES) for item in outputs]
        alike = None
        # Which of two streams came first is the recording's to say.
        if len(outputs) == len(recordings) == 1:
            alike = compare(read_whole(blobs, recordings[0], 2 * SHOWN_LIMIT_BYTES), texts[0])
        found = next((f for text in texts if (f := hidden(text.decode("utf-8", "replace")))[0]), ((), 0))
    except DREError:
        return None
    return Shown(recorded_alike=alike, hidden=found[0], offset=found[1])


def _ending(run: Run, blobs: Blobs) -> Ending | None:
    """How the output of a command ends that ran no tests and says that all went well."""
    if run.claim.outcome is not RunOutcome.PASSED or run.items_of("session") or run.items_of("junit"):
        return None
    outputs = [item for item in run.items_of("output") if item.size]
    if not all(item.kept and item.size <= ENDING_LIMIT_BYTES for item in outputs):
        return None
    recordings = [
        i for i in run.items_of("recording") if i.kept and i.size <= ENDING_LIMIT_BYTES and not i.note
    ]
    try:
        tails = {item.name: _tail(blobs, item, TAIL_BYTES).decode("utf-8", "replace") for item in outputs}
        recorded = None
        if len(recordings) == 1:
            # Each line of a recording holds a piece of text, escaped: some more of it than of the text itself.
            recorded = recorded_text(_tail(blobs, recordings[0], 8 * TAIL_BYTES).split(b"\n"))
    except DREError:
        return None
    return ending(tails, recorded)


def _tail(blobs: Blobs, item: Item, size: int) -> bytes:
    tail = b""
    for chunk in read_item(blobs, item, ENDING_LIMIT_BYTES):
        tail = (tail + chunk)[-size:]
    return tail


def _report(blobs: Blobs, item: Item) -> Report:
    return Report(item=item, junit=read_junit(read_whole(blobs, item, JUNIT_LIMIT_BYTES)))


def _imports(value: JSON) -> tuple[ImportFact, ...]:
    return Fields(value, "$.imports").each("imports", ImportFact.parse)


def _one(run: Run, blobs: Blobs, kind: str, parse: Callable[[JSON], T]) -> T | None:
    items = [item for item in run.items_of(kind) if item.kept]
    if not items:
        return None
    if len(items) > 1:
        raise FormatError(f"two items of kind {kind}")
    return parse(canonical.loads(read_whole(blobs, items[0], JSON_LIMIT_BYTES)))


def _sessions(
    run: Run,
    blobs: Blobs,
    folded: Mapping[str, Session],
    attempt: Callable[[str, Callable[[], Session]], Session | None],
) -> tuple[tuple[Session, ...], dict[str, tuple[str, ...]]]:
    """Sessions from their journals: items named ``session/<id>/<worker>.jsonl``."""
    journals: dict[str, dict[str, Item]] = {}
    for item in run.items_of("session"):
        folder, _, worker = item.name.removeprefix("session/").partition("/")
        journals.setdefault(folder, {})[worker.removesuffix(".jsonl")] = item
    sessions = []
    digests = {}
    for name, files in journals.items():
        session = folded.get(name) or attempt(f"session/{name}", partial(_fold, blobs, files))
        if session is not None:
            sessions.append(session)
            digests[session.id] = tuple(item.digest for item in files.values())
    return tuple(sorted(sessions, key=lambda session: session.started_at)), digests


def _fold(blobs: Blobs, files: Mapping[str, Item]) -> Session:
    return fold(
        {worker: _lines(read_item(blobs, item, JOURNAL_LIMIT_BYTES)) for worker, item in files.items()}
    )

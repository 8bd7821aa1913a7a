"""One operation while it is being recorded: its folder, its events, its evidence, until it is sealed.

The engine's steps call it in order; it holds what they share. Every state change goes through the tables of
``model/state.py`` before its event is logged, so the log can't tell an impossible story.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from dre_core.capture.collector import Captured, Collector, Facts, Scene
from dre_core.crypto.dsse import Envelope
from dre_core.crypto.note import format_proof
from dre_core.declaring import Declared
from dre_core.errors import CaptureError, DREError, FormatError, MissingExtraError
from dre_core.intake import Intake
from dre_core.model import event as events
from dre_core.model import predicate
from dre_core.model.canonical import JSON
from dre_core.model.declaration import ITEM_KIND as DECLARATION_KIND
from dre_core.model.digest import hex_of, sha256
from dre_core.model.event import Clock, Event
from dre_core.model.record import dataclass
from dre_core.model.run import Claim, CommandFacts, Item, Run
from dre_core.model.state import EVENT_ACTIONS, OperationState, next_operation_state
from dre_core.model.statement import Statement
from dre_core.model.text import printable
from dre_core.model.verdict import Vantage
from dre_core.pipeline.mask import Masker
from dre_core.screening import screen_facts, screen_items
from dre_core.store.folder import Experiment, Folder, write_atomically
from dre_core.store.local import LocalStore
from dre_core.store.log import Log
from dre_core.trust import Authority

if TYPE_CHECKING:
    from dre_core.capture.picture import Earlier
    from dre_core.model.session import Session

SEALED = "operation.sealed"
# As in verify/integrity.py, which a run that judges nothing does not load; a test compares the two.
CERTIFICATE_KIND = "certificate"
# At most six bytes of JSON a character stay well below an event's limit.
_EVENT_COMMAND_CHARACTERS = 8000
README = """This archive holds evidence of a test run, sealed by the Development Reality Engine (DRE).

With DRE:     dre verify evidence.zip --key PUBLIC.pem
Without DRE:  each line of attestations/OPERATION.intoto.jsonl is a DSSE envelope. To check the first one by a shell:

  line=$(head -n 1 attestations/OPERATION.intoto.jsonl)
  part() { printf '%s' "$line" | sed "s/.*\\"$1\\":\\"\\([^\\"]*\\)\\".*/\\1/"; }
  part payload | base64 -d > payload
  part sig | base64 -d > signature
  type=$(part payloadType)
  printf 'DSSEv1 %d %s %d ' "${#type}" "$type" "$(wc -c < payload)" | cat - payload > signed

  Ed25519:     openssl pkeyutl -verify -pubin -inkey PUBLIC.pem -rawin -in signed -sigfile signature
  RSA, ECDSA:  openssl dgst -sha256 -verify PUBLIC.pem -signature signature signed

PUBLIC.pem must come from somebody you trust; the files in keys/ only say which key to ask for. The payload is an
in-toto Statement. blobs/sha256/ holds the items that it names, by the SHA-256 of their stored bytes; an item whose
"codecs" says zstd is read with zstd -d; one that says chunked-aes-256-gcm is encrypted, and dre evidence cat opens it.
"""


@dataclass(slots=True, kw_only=True)
class Operation:
    """An operation that is under way; made by the engine.

    Attributes:
        id: The operation's id.
        face: ``wrap`` or ``pytest``.
        name: Name of the step; may be empty.
        parent: The enclosing operation's id; empty at top level.
        command: The command as validated.
        nonce: The verifier's nonce, or a random one.
        folder: The ``.dre`` folder.
        experiment: The operation's own folder.
        log: The log.
        authority: The keys that seal.
        masker: The run's masker.
        intake: The way of evidence to disk.
        scene: Where the run takes place.
        collectors: What looks before and after.
        facts: What they have learned.
        now: The clock.
        checkout: Which checkout this is, for ``latest``.
        declared: What was declared about the commit before the run; None if nothing was.
        envelopes: What was signed so far.
    """

    id: str
    face: str
    name: str
    parent: str
    command: CommandFacts
    nonce: str
    folder: Folder
    experiment: Experiment
    log: Log
    authority: Authority
    masker: Masker
    intake: Intake
    scene: Scene
    collectors: Sequence[Collector]
    now: Clock
    checkout: str
    facts: Facts = field(default_factory=Facts)
    declared: Declared | None = None
    state: OperationState = OperationState.PENDING
    envelopes: list[Envelope] = field(default_factory=list)
    _lock: int = -1
    _batch: list[Event] = field(default_factory=list)
    _began: datetime | None = None
    _pictures: tuple[Earlier, ...] | None = None
    _masks: tuple[tuple[str, ...], tuple[str, ...]] | None = None

    def open(self) -> None:
        """Makes the folder, takes the lock and logs the operation as created."""
        self._began = self.now()
        self.experiment.create()
        self._lock = self.experiment.acquire()
        self.write_summary()
        self.note(
            "operation.created",
            {
                "command": _bounded(self.command.argv),
                "cwd": self.command.cwd,
                "face": self.face,
                "name": self.name,
            },
        )

    def resume(self, began: datetime) -> None:
        """Takes over an operation whose process died.

        Args:
            began: When it was opened.

        Raises:
            StorageError: Another process holds its lock.
        """
        self._began = began
        self._lock = self.experiment.acquire()

    def note(self, event_type: str, data: Mapping[str, JSON] | None = None) -> None:
        """Adds an event to the batch that the next :meth:`commit_events` makes durable.

        Raises:
            StateError: The event is a transition that the state does not have.
        """
        action = EVENT_ACTIONS.get(event_type)
        if action is not None:
            self.state = next_operation_state(self.state, action)
        self._batch.append(
            events.new(
                event_type, operation=self.id, source=f"dre {self.face}", data=data or {}, now=self.now
            )
        )

    def commit_events(self) -> range:
        """Appends the noted events to the log, durably; returns their numbers."""
        batch, self._batch = self._batch, []
        return self.log.append(batch)

    def look_before(self) -> None:
        """Lets every collector look before the run; what fails is a gap."""
        for collector in self.collectors:
            self._look(collector.name, partial(collector.before, self.scene, self.facts))
        screen_facts(self.facts, self.masker)

    def look_after(self) -> None:
        """Lets every collector look after the run; what fails is a gap."""
        for collector in self.collectors:
            self._look(collector.name, partial(collector.after, self.scene, self.facts))

    def _look(self, name: str, look: Callable[[], Iterable[Captured]]) -> None:
        self._attempt(name, lambda: [self.intake.take(self.looked_at(captured)) for captured in look()])

    def looked_at(self, captured: Captured) -> Captured:
        """A picture with what it shows in its note; anything else, and a picture that can't be read, as it is."""
        if captured.kind != "screenshot":
            return captured
        from dre_core.capture.picture import Baselines, looked_at

        visual = self.scene.config.visual
        baselines = Baselines(
            folder=visual.baselines,
            masks=visual.masks,
            base=self.facts.source.base,
            show=self._committed,
            commit=self.facts.source.commit,
            earlier=self._earlier_pictures(),
            committed=self._committed_masks(),
        )
        try:
            return replace(captured, note={**captured.note, **looked_at(captured, baselines)})
        except (CaptureError, MissingExtraError) as error:
            self.facts.gap("visual", self.masker.text(f"{captured.name}: {error.message}"), error.hint)
        return captured

    def _committed_masks(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The masks of HEAD's configuration and of the base's, looked up once."""
        if self._masks is None:
            self._masks = self._masks_at("HEAD"), self._masks_at(self.facts.source.base)
        return self._masks

    def _masks_at(self, commit: str) -> tuple[str, ...]:
        """The masks for pictures that a commit's configuration has; none where it can't be read."""
        from dre_core.config import project_document
        from dre_core.errors import ConfigError

        texts = {
            name: self._committed(commit, name) if commit else None for name in ("dre.yaml", "pyproject.toml")
        }
        try:
            document, _ = project_document(
                {n: t.decode() if t is not None else None for n, t in texts.items()}
            )
        except (ConfigError, UnicodeDecodeError):
            return ()
        visual = document.get("visual") if isinstance(document, dict) else None
        masks = visual.get("masks") if isinstance(visual, dict) else None
        return tuple(map(str, masks)) if isinstance(masks, list) else ()

    def _earlier_pictures(self) -> tuple[Earlier, ...]:
        """Pictures of the last sealed runs of this command, looked up once."""
        if self._pictures is None:
            from dre_core.pictured import earlier_pictures

            keys = [signer.public for signer in self.authority.signers]
            self._pictures = earlier_pictures(self.folder, self.command, keys)
        return self._pictures

    def _committed(self, revision: str, path: str) -> bytes | None:
        """A file of a commit; None where it is absent."""
        from dre_core.capture.git import Git

        git = Git.find(str(self.scene.root))
        try:
            return git.run("cat-file", "blob", f"{revision}:{path}") if git else None
        except CaptureError:
            return None

    def _attempt(self, name: str, work: Callable[[], object]) -> None:
        """Does one collector's work; what fails is a gap, never the loss of the run."""
        try:
            work()
        except Exception as error:  # a collector reads what the workload left, and may be anybody's
            self.facts.gap(name, self.masker.text(printable(str(error) or type(error).__name__)))

    @property
    def has_journals(self) -> bool:
        """Whether anything lies in the journal folder."""
        try:
            return any(self.experiment.journal.iterdir())
        except OSError:
            return False

    def take_journals(self) -> None:
        """Takes in the journals that test runs inside left; whatever else lies there is a gap."""
        if not self.has_journals:
            return
        from dre_core.capture.sessions import journal_files, masked_lines

        for path in journal_files(self.experiment.journal):
            captured = Captured(
                name=f"session/{path.parent.name}/{path.name}",
                kind="session",
                vantage=Vantage.IN_PROCESS,
                media_type="application/x-ndjson",
            )
            self._attempt("session", partial(self._take_lines, captured, masked_lines(path, self.masker)))
            self._take_output(path.with_suffix(".out"))

    def _take_output(self, path: Path) -> None:
        """What the tests of one process printed, whole, where they printed anything."""
        if path.is_file() and not path.is_symlink():
            captured = Captured(
                name=f"test-output/{path.parent.name}/{path.stem}.txt",
                kind="test-output",
                vantage=Vantage.IN_PROCESS,
                media_type="text/plain",
                path=path,
            )
            self._look("test-output", partial(iter, (captured,)))

    def _take_lines(self, captured: Captured, lines: Iterable[bytes]) -> None:
        sink = self.intake.open(captured, masked=True)
        try:
            with self.masker.tally(sink.masked):
                for block in lines:
                    sink.write(block)
        except BaseException:
            sink.writer.abort()
            raise
        self.intake.close(sink)

    def take_coverage(self) -> None:
        """Takes in the coverage data that test runs inside measured themselves."""
        for path in sorted(self.experiment.coverage.glob("*.sqlite")):
            if path.is_file() and not path.is_symlink():
                captured = Captured(
                    name=f"coverage/{path.name}",
                    kind="coverage",
                    vantage=Vantage.IN_PROCESS,
                    media_type="application/vnd.sqlite3",
                    path=path,
                )
                self._look("coverage", partial(iter, (captured,)))

    def take_covered(self, sessions: Iterable[Session]) -> None:
        """Holds the coverage data taken in against the change and the tests; without data there is nothing to do."""
        own, reported = self._coverage_files()
        if own or reported:
            self._attempt("coverage", partial(self._read_covered, own, reported, tuple(sessions)))

    def _coverage_files(self) -> tuple[list[Path], list[Path]]:
        """Data that sessions inside left, and data that the command was said to write."""
        taken = [item for item in self.intake.items if item.kind == "coverage" and item.kept]
        names = [item.name.removeprefix("coverage/") for item in taken if item.vantage is Vantage.REPORTED]
        own = [self.experiment.coverage / item.name.removeprefix("coverage/") for item in taken
               if item.vantage is Vantage.IN_PROCESS]  # fmt: skip
        return own, [self.scene.cwd / name for name in names]

    def _read_covered(self, own: list[Path], reported: list[Path], sessions: tuple[Session, ...]) -> None:
        from dre_core.capture.covered import read_covered

        files = [path for path in (*own, *reported) if path.is_file()]
        facts = read_covered(files, sessions, self.scene.root, self.scene.cwd, self.facts.source.base)
        if facts is None:
            return
        for gap in facts.gaps:
            self.facts.gap("coverage", gap)
        vantage = Vantage.REPORTED if reported else Vantage.IN_PROCESS
        captured = Captured(
            name="covered",
            kind="covered",
            vantage=vantage,
            media_type="application/json",
            value=facts.to_json(),
        )
        self.intake.take(captured)

    def take_attachments(self, sessions: Iterable[Session]) -> None:
        """Takes in the files that tests attached."""
        for session in sessions:
            for attachment in session.attachments:
                path = self.experiment.attachments / attachment.file
                if not attachment.file or not path.is_file() or path.is_symlink():
                    continue
                captured = Captured(
                    name=f"attachment/{attachment.file}",
                    kind=attachment.kind,
                    vantage=Vantage.IN_PROCESS,
                    media_type=attachment.media_type,
                    path=path,
                    note={
                        "test": self.masker.text(attachment.test),
                        "name": self.masker.text(attachment.name),
                    },
                )
                self._look("attachment", partial(iter, (captured,)))

    def take_envelopes(self) -> None:
        """Names the trust certificate and the declaration among the items, so that they travel with them."""
        self._take_envelope("trust-certificate", CERTIFICATE_KIND, self.authority.certificate_blob)
        if self.declared is not None:
            self._take_envelope("declaration", DECLARATION_KIND, self.declared.blob)

    def _take_envelope(self, name: str, kind: str, digest: str) -> None:
        self.intake.items.append(
            Item(
                name=name,
                kind=kind,
                vantage=Vantage.OBSERVED,
                media_type="application/vnd.dsse.envelope+json",
                size=LocalStore(self.folder.path).size(digest),
                digest=digest,
                plain_digest=digest,
            )
        )

    def store_items(self) -> tuple[Item, ...]:
        """Places all blobs durably and logs each item."""
        items = screen_items(self.intake.commit(), self.masker)
        for item in items:
            self.note("evidence.captured", {"item": item.name, "kind": item.kind, "size": str(item.size)})
            self.note("evidence.stored", {"item": item.name, "digest": item.digest})
        return items

    def make_run(self, claim: Claim, items: tuple[Item, ...], duration_ns: int, **more: object) -> Run:
        """The run's predicate from what is known now."""
        assert self._began is not None
        screen_facts(self.facts, self.masker)
        return Run(
            operation=self.id,
            face=self.face,
            name=self.name,
            parent=self.parent,
            claim=claim,
            command=self.command,
            source=self.facts.source,
            started=events.rfc3339(self._began),
            ended=events.rfc3339(self.now()),
            duration_ns=duration_ns,
            nonce=self.nonce,
            user=self.masker.text(user_name(self.scene.environ)),
            project=self.facts.project,
            ci=self.facts.ci,
            environment=self.facts.environment,
            tools=dict(self.facts.tools),
            items=items,
            gaps=tuple(self.facts.gaps),
            trust_certificate=self.authority.certificate,
            declaration=self.declared.payload if self.declared else "",
            key_readable_by_workload=self.authority.readable_by_workload,
            encryption=self.intake.secrecy.encryption if self.intake.secrecy else None,
            log_started=next((event.time for _, event in self.log.events(0, 1)), ""),
            **more,  # type: ignore[arg-type]
        )

    def with_declared(self, claim: Claim) -> Claim:
        """The claim with what was declared about the commit, for the reader; the declaration itself is an item."""
        if self.declared is None:
            return claim
        kind = self.declared.declaration.kind
        return replace(claim, kind=kind.value if kind else None, changes=self.declared.declaration.changes)

    def sign(self, statement: Statement) -> None:
        """Signs a Statement and logs its payload's digest."""
        envelope = self.authority.seal(statement.to_bytes())
        self.envelopes.append(envelope)
        self.note(
            "evidence.sealed", {"predicate": statement.predicate_type, "payload": envelope.payload_digest}
        )

    def publish(self, reports: Mapping[str, Path]) -> None:
        """Publishes the envelopes, the log proof and the archive's index, the head last.

        Args:
            reports: Archive member name to file, for reports that belong to the sealed archive.
        """
        write_atomically(self.experiment.envelopes, b"".join(e.to_bytes() + b"\n" for e in self.envelopes))
        payloads: list[JSON] = [envelope.payload_digest for envelope in self.envelopes]
        data = {
            "payloads": payloads,
            "parent": self.parent,
            "checkout": self.checkout,
            "outcome": self._outcome(),
        }
        self.note(SEALED, data)
        numbers = self.commit_events()
        publish_proof(self.log, self.experiment, numbers[-1], self.authority)
        publish_index(self.folder, self.experiment, self.authority, reports)

    def _outcome(self) -> str:
        """The outcome that the signed run claims."""
        return _run_in(self.envelopes).claim.outcome.value

    def discard_working_copies(self) -> None:
        """Removes what was taken in and lies here in the clear beside its encrypted payload."""
        if self.intake.secrecy is None:
            return
        import shutil

        with suppress(OSError):
            self.experiment.cast.unlink(missing_ok=True)
        for folder in (self.experiment.journal, self.experiment.coverage, self.experiment.attachments):
            shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Gives the lock back."""
        if self._lock >= 0:
            # The descriptor is gone whatever the system says of it, and what it says changes nothing that was sealed.
            with suppress(OSError):
                os.close(self._lock)
            self._lock = -1

    def write_summary(self, **more: JSON) -> None:
        """Writes ``operation.json``: unsigned facts, for people and for recovery after a crash."""
        assert self._began is not None
        summary = {
            "operation": self.id,
            "face": self.face,
            "name": self.name,
            "parent": self.parent,
            "nonce": self.nonce,
            "checkout": self.checkout,
            "command": self.command.to_json(),
            "started": events.rfc3339(self._began),
            "source": self.facts.source.to_json(),
            "pid": os.getpid(),
            **more,
        }
        # Not durable: it helps after a crash of the process, and nothing is proved by it.
        with suppress(DREError):
            write_atomically(self.experiment.summary, json.dumps(summary, indent=1).encode(), durable=False)


def append_envelope(
    folder: Folder, log: Log, experiment: Experiment, authority: Authority, envelope: Envelope, now: Clock
) -> None:
    """Adds an envelope to a sealed operation and publishes it anew: event, proof and index name the longer list.

    Until the new proof is written the operation counts as not sealed, and recovery completes it.

    Raises:
        StorageError: Another process is adding one, or the medium refuses.
    """
    held = experiment.acquire()
    try:
        _append_held(folder, log, experiment, authority, envelope, now)
    finally:
        os.close(held)


def _append_held(
    folder: Folder, log: Log, experiment: Experiment, authority: Authority, envelope: Envelope, now: Clock
) -> None:
    lines = experiment.envelopes.read_bytes().splitlines()
    last = [event for _, event in log.events(operation=experiment.operation) if event.type == SEALED][-1]
    payloads: list[JSON] = [Envelope.parse(line).payload_digest for line in lines]
    data = {**last.data, "payloads": [*payloads, envelope.payload_digest]}
    reports = _sealed_reports(experiment)
    experiment.index.unlink()
    experiment.proof.unlink()
    write_atomically(experiment.envelopes, b"".join(line + b"\n" for line in [*lines, envelope.to_bytes()]))
    event = events.new(SEALED, operation=experiment.operation, source="dre replay", data=data, now=now)
    (number,) = log.append([event])
    publish_proof(log, experiment, number, authority)
    publish_index(folder, experiment, authority, reports)


def _sealed_reports(experiment: Experiment) -> dict[str, Path]:
    """The reports that the present index names."""
    statement = Statement.parse(Envelope.parse(experiment.index.read_bytes().rstrip(b"\n")).payload)
    name = f"reports/{experiment.operation}/junit.xml"
    return {name: experiment.junit} if any(s.name == name for s in statement.subjects) else {}


def _bounded(argv: Sequence[str]) -> list[JSON]:
    """The first arguments, for an event has a limit; the run's predicate has them all."""
    shown: list[JSON] = []
    left = _EVENT_COMMAND_CHARACTERS
    for place, word in enumerate(argv):
        left -= len(word) + 8
        if left < 0:
            return [*shown, f"… {len(argv) - place} more"]
        shown.append(word)
    return shown


def publish_proof(log: Log, experiment: Experiment, number: int, authority: Authority) -> None:
    """Signs a checkpoint and writes the proof that the event of this number is in the log."""
    from dre_core.crypto.note import Checkpoint, unverified_text

    note = log.checkpoint(authority.log_signer)
    size = Checkpoint.parse(unverified_text(note)).size
    proof = format_proof(number, log.inclusion(number, size), note, extra=log.leaf(number))
    write_atomically(experiment.proof, proof.encode())


def publish_index(
    folder: Folder, experiment: Experiment, authority: Authority, reports: Mapping[str, Path]
) -> None:
    """Signs the index of the archive's members for one operation, so that export needs no key."""
    write_atomically(experiment.readme, README.encode(), durable=False)
    files = {
        "README.txt": experiment.readme,
        f"attestations/{experiment.operation}.intoto.jsonl": experiment.envelopes,
        f"log/{experiment.operation}.tlog-proof": experiment.proof,
        **{f"keys/{key.keyid}.pem": folder.public_keys / f"{key.keyid}.pem" for key in authority.public_keys},
        **reports,
    }
    members = []
    for name, path in files.items():
        data = path.read_bytes()
        members.append((name, len(data), sha256(data)))
    blobs = _blobs(folder, _run_of(experiment))
    members += [(f"blobs/sha256/{hex_of(digest)}", size, digest) for digest, size in blobs.items()]
    statement = predicate.archive_index(experiment.operation, sorted(members))
    envelope = authority.seal(statement.to_bytes())
    write_atomically(experiment.index, envelope.to_bytes() + b"\n")


def _run_of(experiment: Experiment) -> Run:
    return _run_in([Envelope.parse(line) for line in experiment.envelopes.read_bytes().splitlines()])


def _run_in(envelopes: Iterable[Envelope]) -> Run:
    for envelope in envelopes:
        statement = Statement.parse(envelope.payload)
        if statement.predicate_type == predicate.RUN:
            return Run.parse(statement.predicate)
    raise FormatError("the operation has no run", path="run.intoto.jsonl")


def _blobs(folder: Folder, run: Run) -> dict[str, int]:
    """Size by digest of every payload that a run keeps."""
    store = LocalStore(folder.path)
    return {item.digest: store.size(item.digest) for item in run.items if item.kept}


def user_name(environ: Mapping[str, str]) -> str:
    """Who runs this, as the system says; empty if it does not."""
    import getpass

    try:
        return environ.get("LOGNAME") or environ.get("USER") or getpass.getuser()
    except (KeyError, OSError, ImportError):
        return ""


def new_nonce() -> str:
    """128 random bits in hexadecimal."""
    return os.urandom(16).hex()

"""The run predicate, ``urn:dre:predicate:run:v1``: what was claimed, what ran, and which evidence there is.

Its JSON is described in docs/formats.md. Sizes and nanoseconds are decimal strings, because JSON numbers
above 2^53 are not safe everywhere. Reading is strict about what it knows and ignores what it does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import Enum

from dre_core.errors import FormatError
from dre_core.model.canonical import JSON
from dre_core.model.digest import parse as parse_digest
from dre_core.model.encryption import Encryption
from dre_core.model.fields import Fields
from dre_core.model.identifier import OPERATION
from dre_core.model.identifier import parse as parse_identifier
from dre_core.model.record import dataclass
from dre_core.model.session import Counts
from dre_core.model.verdict import Vantage

PREDICATE_TYPE = "urn:dre:predicate:run:v1"


class RunOutcome(str, Enum):
    """What the run claims about itself."""

    PASSED = "passed"
    FAILED = "failed"
    ERRORED = "errored"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    INCOMPLETE = "incomplete"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One piece of evidence.

    Attributes:
        name: Unique in the operation, such as ``stdout`` or ``junit/reports/junit.xml``.
        kind: What it is: ``output``, ``recording``, ``process``, ``git``, ``difference``, ``environment``,
            ``dependencies``, ``session``, ``test-output``, ``junit``, ``coverage``, ``covered``, ``artifact``,
            ``attachment``, ``screenshot``, ``screen``, ``index``, ``patterns``.
        vantage: From where it was seen.
        media_type: Of the plain form.
        size: Bytes of the plain form.
        digest: ``sha256:`` of the stored form, which is the blob's name; of the thing itself if not kept; empty
            if not even that may be kept, because it holds a secret.
        plain_digest: ``sha256:`` of the plain form; empty where the item is encrypted.
        plain_mac: ``hmac-sha256:`` of the plain form under the operation's key, where the item is encrypted.
        codecs: What was applied, in order (``zstd``, ``chunked-aes-256-gcm``).
        kept: Whether the bytes are stored, or only named by their digest.
        masked: Masked places by rule id.
        note: Facts about the file that its bytes do not tell, such as ``fresh`` or ``unchanged``.
    """

    name: str
    kind: str
    vantage: Vantage
    media_type: str
    size: int
    digest: str
    plain_digest: str = ""
    codecs: tuple[str, ...] = ()
    kept: bool = True
    masked: Mapping[str, int] = field(default_factory=dict)
    note: Mapping[str, str] = field(default_factory=dict)
    plain_mac: str = ""

    def to_json(self) -> dict[str, JSON]:
        """The item as it stands in the predicate; a MAC only where there is one."""
        mac: dict[str, JSON] = {"plainMac": self.plain_mac} if self.plain_mac else {}
        return mac | {
            "name": self.name,
            "kind": self.kind,
            "vantage": self.vantage.value,
            "mediaType": self.media_type,
            "size": str(self.size),
            "digest": self.digest,
            "plainDigest": self.plain_digest,
            "codecs": list(self.codecs),
            "kept": self.kept,
            "masked": dict(self.masked),
            "note": dict(self.note),
        }

    @classmethod
    def parse(cls, fields: Fields) -> Item:
        """Reads one item; see :meth:`to_json`."""
        plain = fields.text("plainDigest", "")
        digest, kept = fields.text("digest"), fields.boolean("kept", True)
        masked = Fields(fields.value.get("masked", {}), fields.at("masked"))
        return cls(
            name=fields.text("name"),
            kind=fields.text("kind"),
            vantage=fields.choice("vantage", Vantage),
            media_type=fields.text("mediaType"),
            size=fields.decimal("size"),
            digest=parse_digest(digest) if digest or kept else "",
            plain_digest=parse_digest(plain) if plain else "",
            codecs=fields.texts("codecs"),
            kept=kept,
            masked={rule: masked.integer(rule) for rule in masked.value},
            note=fields.text_map("note"),
            plain_mac=fields.text("plainMac", ""),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A fact that could not be collected, and why: it lowers confidence, it never loses the run."""

    collector: str
    reason: str
    hint: str = ""

    def to_json(self) -> dict[str, JSON]:
        """The gap as it stands in the predicate."""
        return {"collector": self.collector, "reason": self.reason, "hint": self.hint, "collected": False}

    @classmethod
    def parse(cls, fields: Fields) -> Gap:
        """Reads one gap; see :meth:`to_json`."""
        return cls(
            collector=fields.text("collector"), reason=fields.text("reason"), hint=fields.text("hint", "")
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What the run claims: how it ended, and what the change is declared to be.

    Attributes:
        outcome: The one word.
        exit_code: What the command returned; None if it was killed or did not end.
        signal: The signal it died of.
        tests: Counts of the inner record or the report; None where no tests were seen.
        kind: What the change is declared to be (``fix`` ...); None if undeclared.
        changes: Test ids that the declaration says will change.
    """

    outcome: RunOutcome
    exit_code: int | None = None
    signal: int | None = None
    tests: Counts | None = None
    kind: str | None = None
    changes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, JSON]:
        """The claim as it stands in the predicate."""
        tests: dict[str, JSON] | None = dict(self.tests.to_json()) if self.tests else None
        return {
            "outcome": self.outcome.value,
            "exitCode": self.exit_code,
            "signal": self.signal,
            "tests": tests,
            "kind": self.kind,
            "changes": list(self.changes),
        }

    @classmethod
    def parse(cls, fields: Fields) -> Claim:
        """Reads the claim; see :meth:`to_json`."""
        return cls(
            outcome=fields.choice("outcome", RunOutcome),
            exit_code=fields.optional_integer("exitCode"),
            signal=fields.optional_integer("signal"),
            tests=fields.optional("tests", _parse_counts),
            kind=fields.optional_text("kind"),
            changes=fields.texts("changes"),
        )


def _parse_counts(fields: Fields) -> Counts:
    counts = {name: fields.integer(name) for name in Counts.__slots__}
    for name, value in counts.items():
        if value < 0:
            raise FormatError("expected a count of 0 or more", path=fields.at(name))
    return Counts(**counts)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandFacts:
    """The command as validated before its start.

    Attributes:
        argv: Arguments, masked.
        cwd: Working directory, relative to the project's root where it lies inside.
        shell: Whether argv is one string for ``sh -c``.
        executable: Where the executable was found; empty if unknown.
        executable_digest: ``sha256:`` of the executable; empty if unknown.
        executable_mode: Its permission bits in octal digits; empty if unknown.
        interpreter: The program that runs it, if it is a script; empty for a binary.
    """

    argv: tuple[str, ...]
    cwd: str = "."
    shell: bool = False
    executable: str = ""
    executable_digest: str = ""
    executable_mode: str = ""
    interpreter: str = ""

    def to_json(self) -> dict[str, JSON]:
        """The command as it stands in the predicate."""
        return {
            "argv": list(self.argv),
            "cwd": self.cwd,
            "shell": self.shell,
            "executable": self.executable,
            "executableDigest": self.executable_digest,
            "executableMode": self.executable_mode,
            "interpreter": self.interpreter,
        }

    @classmethod
    def parse(cls, fields: Fields) -> CommandFacts:
        """Reads the command; see :meth:`to_json`."""
        return cls(
            argv=fields.texts("argv"),
            cwd=fields.text("cwd", "."),
            shell=fields.boolean("shell", False),
            executable=fields.text("executable", ""),
            executable_digest=fields.text("executableDigest", ""),
            executable_mode=fields.text("executableMode", ""),
            interpreter=fields.text("interpreter", ""),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The state of the source tree around the run.

    Attributes:
        vcs: ``git``, or ``none``.
        commit: HEAD's id; empty without one.
        parents: HEAD's parents.
        tree_before: Tree digest before the run (docs/formats.md has the rule).
        tree_after: The same after it.
        clean: Whether the tree before equals HEAD's; None if it can't be told.
        modified: Tracked paths that differ from HEAD, the first 200.
        untracked: Number of untracked, unignored files before the run.
        changed_during: Paths whose content the run changed, the first 200.
        base: Commit that the change is compared with; empty if none.
        repository: Normalised address of ``origin``, without credentials; empty if none.
    """

    vcs: str = "none"
    commit: str = ""
    parents: tuple[str, ...] = ()
    tree_before: str = ""
    tree_after: str = ""
    clean: bool | None = None
    modified: tuple[str, ...] = ()
    untracked: int = 0
    changed_during: tuple[str, ...] = ()
    base: str = ""
    repository: str = ""

    def to_json(self) -> dict[str, JSON]:
        """The source as it stands in the predicate."""
        return {
            "vcs": self.vcs,
            "commit": self.commit,
            "parents": list(self.parents),
            "treeBefore": self.tree_before,
            "treeAfter": self.tree_after,
            "clean": self.clean,
            "modified": list(self.modified),
            "untracked": self.untracked,
            "changedDuring": list(self.changed_during),
            "base": self.base,
            "repository": self.repository,
        }

    @classmethod
    def parse(cls, fields: Fields) -> Source:
        """Reads the source; see :meth:`to_json`."""
        return cls(
            vcs=fields.text("vcs"),
            commit=fields.text("commit", ""),
            parents=fields.texts("parents"),
            tree_before=fields.text("treeBefore", ""),
            tree_after=fields.text("treeAfter", ""),
            clean=fields.boolean("clean") if fields.has("clean") else None,
            modified=fields.texts("modified"),
            untracked=fields.integer("untracked", 0),
            changed_during=fields.texts("changedDuring"),
            base=fields.text("base", ""),
            repository=fields.text("repository", ""),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PastRun:
    """An earlier run of the same command, as this folder remembers it; the log can tell whether it is true.

    Attributes:
        operation: Its operation's id.
        outcome: The one word.
        exit_code: What the command returned.
        duration_ns: Monotonic duration.
        started: RFC 3339 wall-clock time.
        commit: HEAD's id; empty without one.
        payload: Payload digest of its run.
        passed: Tests that passed; None where none were counted.
        failed: Tests that did not, capped.
        cpu_ms: CPU time of the command and its descendants; None where nobody watched.
        max_rss_bytes: Largest resident size of one process; None where nobody watched.
    """

    operation: str
    outcome: RunOutcome
    exit_code: int | None
    duration_ns: int
    started: str
    commit: str
    payload: str
    passed: int | None = None
    failed: tuple[str, ...] = ()
    cpu_ms: int | None = None
    max_rss_bytes: int | None = None

    def to_json(self) -> dict[str, JSON]:
        """The run as it stands in a later one's predicate."""
        return {
            "operation": self.operation,
            "outcome": self.outcome.value,
            "exitCode": self.exit_code,
            "durationNs": str(self.duration_ns),
            "started": self.started,
            "commit": self.commit,
            "payload": self.payload,
            "passed": self.passed,
            "failed": list(self.failed),
            "cpuMs": self.cpu_ms,
            "maxRssBytes": None if self.max_rss_bytes is None else str(self.max_rss_bytes),
        }

    @classmethod
    def parse(cls, fields: Fields) -> PastRun:
        """Reads an earlier run; see :meth:`to_json`."""
        return cls(
            operation=parse_identifier(OPERATION, fields.text("operation")),
            outcome=fields.choice("outcome", RunOutcome),
            exit_code=fields.optional_integer("exitCode"),
            duration_ns=fields.decimal("durationNs"),
            started=fields.text("started"),
            commit=fields.text("commit"),
            payload=parse_digest(fields.text("payload")),
            passed=fields.optional_integer("passed") if fields.has("passed") else None,
            failed=fields.texts("failed") if fields.has("failed") else (),
            cpu_ms=fields.optional_integer("cpuMs") if fields.has("cpuMs") else None,
            max_rss_bytes=fields.decimal("maxRssBytes") if fields.has("maxRssBytes") else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The predicate.

    Attributes:
        operation: The operation's id.
        face: Who observed: ``wrap`` (a parent process) or ``pytest`` (the plugin, inside).
        name: Name of the step, chosen by the user; may be empty.
        parent: The enclosing operation's id; empty at top level.
        claim: What is claimed.
        command: What ran.
        source: The tree it ran on.
        started: RFC 3339 wall-clock time.
        ended: RFC 3339 wall-clock time.
        duration_ns: Monotonic duration.
        nonce: The verifier's nonce, or a random one.
        user: Who ran it, masked.
        project: Normalised address of the origin, else the root commit's id, else empty.
        ci: CI identity by field; empty outside CI.
        environment: Summary of the machine.
        tools: Tool versions.
        items: The evidence.
        gaps: What could not be collected.
        trust_certificate: Payload digest of the log's trust certificate.
        declaration: Payload digest of the pre-registered claim; empty without one.
        key_readable_by_workload: Whether the workload could have read the signing key.
        log_started: RFC 3339 time of leaf 0 of the log.
        recovered: The operation's process died; another one sealed what was left.
        history: The last runs of the same command here, oldest first.
        encryption: How the payloads are encrypted; None where they are not.
    """

    operation: str
    face: str
    claim: Claim
    command: CommandFacts
    started: str
    ended: str
    duration_ns: int
    nonce: str
    name: str = ""
    parent: str = ""
    source: Source = Source()
    user: str = ""
    project: str = ""
    ci: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    tools: Mapping[str, str] = field(default_factory=dict)
    items: tuple[Item, ...] = ()
    gaps: tuple[Gap, ...] = ()
    trust_certificate: str = ""
    declaration: str = ""
    key_readable_by_workload: bool = False
    log_started: str = ""
    recovered: bool = False
    history: tuple[PastRun, ...] = ()
    encryption: Encryption | None = None

    def to_json(self) -> dict[str, JSON]:
        """The predicate's JSON object."""
        encryption: dict[str, JSON] = {"encryption": self.encryption.to_json()} if self.encryption else {}
        return encryption | {
            "operation": self.operation,
            "face": self.face,
            "name": self.name,
            "parent": self.parent,
            "claim": self.claim.to_json(),
            "command": self.command.to_json(),
            "source": self.source.to_json(),
            "started": self.started,
            "ended": self.ended,
            "durationNs": str(self.duration_ns),
            "nonce": self.nonce,
            "user": self.user,
            "project": self.project,
            "ci": dict(self.ci),
            "environment": dict(self.environment),
            "tools": dict(self.tools),
            "items": [item.to_json() for item in self.items],
            "gaps": [gap.to_json() for gap in self.gaps],
            "trustCertificate": self.trust_certificate,
            "declaration": self.declaration,
            "keyReadableByWorkload": self.key_readable_by_workload,
            "logStarted": self.log_started,
            "recovered": self.recovered,
            "history": [past.to_json() for past in self.history],
        }

    @classmethod
    def parse(cls, value: JSON, path: str = "$.predicate") -> Run:
        """Reads the predicate's JSON object.

        Raises:
            FormatError: A field is missing, of the wrong type or out of range.
        """
        fields = Fields(value, path)
        run = cls(
            operation=parse_identifier(OPERATION, fields.text("operation")),
            face=fields.text("face"),
            name=fields.text("name", ""),
            parent=fields.text("parent", ""),
            claim=Claim.parse(fields.object("claim")),
            command=CommandFacts.parse(fields.object("command")),
            source=Source.parse(fields.object("source")),
            started=fields.text("started"),
            ended=fields.text("ended"),
            duration_ns=fields.decimal("durationNs"),
            nonce=fields.text("nonce"),
            user=fields.text("user", ""),
            project=fields.text("project", ""),
            ci=fields.text_map("ci"),
            environment=fields.text_map("environment"),
            tools=fields.text_map("tools"),
            items=fields.each("items", Item.parse),
            gaps=fields.each("gaps", Gap.parse),
            trust_certificate=fields.text("trustCertificate", ""),
            declaration=fields.text("declaration", ""),
            key_readable_by_workload=fields.boolean("keyReadableByWorkload", False),
            log_started=fields.text("logStarted", ""),
            recovered=fields.boolean("recovered", False),
            history=fields.each("history", PastRun.parse),
            encryption=fields.optional("encryption", Encryption.parse),
        )
        names = [item.name for item in run.items]
        if len(set(names)) != len(names):
            raise FormatError("two items have the same name", path=fields.at("items"))
        return run

    def items_of(self, kind: str) -> tuple[Item, ...]:
        """The items of one kind, in order."""
        return tuple(item for item in self.items if item.kind == kind)

"""What a report shows beside what is judged: output, recording, samples, patch, environment, and the seal itself.

Nothing here decides anything. All of it was sealed with the run, each item was compared with its digest, and each is
read up to a limit: a report is for reading, ``dre evidence cat`` gives every byte. What can't be read is named and
left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import field
from functools import partial
from typing import TypeVar

from dre_core.capture import cast
from dre_core.crypto.dsse import Envelope
from dre_core.crypto.note import Checkpoint, parse_proof, unverified_text
from dre_core.errors import DREError, FormatError, LockedError
from dre_core.model import canonical
from dre_core.model.canonical import JSON
from dre_core.model.event import Event
from dre_core.model.fields import Fields
from dre_core.model.observation import Sample
from dre_core.model.record import dataclass
from dre_core.model.run import Item, Run
from dre_core.model.statement import Statement
from dre_core.model.streams import StreamIndex, parse_index
from dre_core.store.excerpt import excerpt
from dre_core.store.sealed import Blobs, Sealed
from dre_core.verify.evidence import JSON_LIMIT_BYTES, read_whole

HEAD_BYTES = 96 << 10
TAIL_BYTES = 96 << 10
PATCH_BYTES = 256 << 10
RECORDING_BYTES = 17 << 20
PICTURE_BYTES = 256 << 10
_PICTURES = 12

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputText:
    """One stream of the command's output, the middle of a long one left out.

    Attributes:
        stream: ``stdout`` or ``stderr``.
        size: Bytes of all of it.
        head: Its beginning, or all of it.
        tail: Its end; empty where ``head`` is all.
        digest: Of the item.
    """

    stream: str
    size: int
    head: bytes
    tail: bytes = b""
    digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PatternMatch:
    """A line of the output that a pattern found.

    Attributes:
        stream: Where.
        offset: Byte offset of the line.
        kind: ``error``, ``warning``, ``success``, ``metric``.
        rule: The word or tool.
        text: The line.
    """

    stream: str
    offset: int
    kind: str
    rule: str
    text: str

    @classmethod
    def parse(cls, fields: Fields) -> PatternMatch:
        """Reads one entry of the item ``patterns``."""
        return cls(
            stream=fields.text("stream"),
            offset=fields.decimal("offset"),
            kind=fields.text("kind"),
            rule=fields.text("rule"),
            text=fields.text("text"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """The terminal recording."""

    width: int
    height: int
    events: tuple[cast.CastEvent, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A screenshot that is small enough to be shown."""

    name: str
    media_type: str
    data: bytes
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedPart:
    """One signed Statement: what it is about, and who signed."""

    predicate: str
    payload: str
    keyids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """What seals an operation.

    Attributes:
        parts: The signed Statements, in the order of the file.
        schemes: Signature scheme by key id, for keys that came along.
        origin: Name of the log; empty without a proof.
        index: Number of the operation's last event in the log.
        size: Events in the log at its checkpoint.
    """

    parts: tuple[SignedPart, ...]
    schemes: Mapping[str, str] = field(default_factory=dict)
    origin: str = ""
    index: int = 0
    size: int = 0

    @property
    def keyids(self) -> tuple[str, ...]:
        """Every key that signed."""
        return tuple(sorted({keyid for part in self.parts for keyid in part.keyids}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Exhibits:
    """Everything that is shown and not judged.

    Attributes:
        samples: Resource use over time.
        outputs: The command's output.
        matches: Lines that patterns found in it.
        recording: The terminal recording; None without one.
        patch: What the tree changed against its commit.
        environment: The item ``environment``: ``machine``, ``variables``, ``ci``.
        distributions: Installed packages: name and version.
        pictures: Screenshots.
        seal: What seals the operation; None where it could not be read.
        events: The operation's events, where its log is at hand.
        unreadable: What could not be shown, and why.
    """

    samples: tuple[Sample, ...] = ()
    outputs: tuple[OutputText, ...] = ()
    matches: tuple[PatternMatch, ...] = ()
    recording: Recording | None = None
    patch: str = ""
    environment: Mapping[str, JSON] = field(default_factory=dict)
    distributions: tuple[tuple[str, str], ...] = ()
    pictures: tuple[Picture, ...] = ()
    seal: Seal | None = None
    events: tuple[Event, ...] = ()
    unreadable: tuple[str, ...] = ()


def load_exhibits(
    run: Run, blobs: Blobs, sealed: Sealed | None = None, events: tuple[Event, ...] = ()
) -> Exhibits:
    """Reads what is shown.

    Args:
        run: The run's predicate.
        blobs: Its payloads, already compared with their digests.
        sealed: The sealed bytes, for the seal; None where they are not written yet.
        events: The operation's events.
    """
    unreadable: list[str] = []

    def attempt(name: str, read: Callable[[], T], otherwise: T) -> T:
        try:
            return read()
        except DREError as error:
            unreadable.append(
                f"{name}: {error}" + (f" ({error.hint})" if isinstance(error, LockedError) else "")
            )
            return otherwise

    def item(kind: str, name: str = "") -> Item | None:
        return next((i for i in run.items_of(kind) if i.kept and (not name or i.name == name)), None)

    def document(kind: str, name: str = "") -> Mapping[str, JSON]:
        found = item(kind, name)
        return {} if found is None else attempt(found.name, lambda: _object(blobs, found), {})

    process = document("process")
    nothing: dict[str, StreamIndex] = {}
    index = attempt("streams.index", lambda: _index(document("index")), nothing)
    recording, patch = item("recording"), item("difference")
    outputs = [
        attempt(each.name, partial(_output, blobs, each, index.get(each.name)), None)
        for each in run.items_of("output")
        if each.kept
    ]
    pictures = [
        attempt(each.name, partial(_picture, blobs, each), None)
        for each in [each for each in run.items_of("screenshot") if _is_picture(each)][:_PICTURES]
    ]
    return Exhibits(
        samples=attempt("samples", lambda: read_samples(process.get("samples", [])), ()),
        outputs=tuple(output for output in outputs if output is not None),
        matches=attempt("patterns", lambda: _matches(document("patterns")), ()),
        recording=attempt("recording", lambda: _recording(blobs, recording), None) if recording else None,
        patch=attempt("patch", lambda: _patch(blobs, patch), "") if patch else "",
        environment=document("environment", "environment"),
        distributions=_distributions(document("dependencies")),
        pictures=tuple(picture for picture in pictures if picture is not None),
        seal=attempt("seal", lambda: read_seal(sealed), None) if sealed else None,
        events=events,
        unreadable=tuple(unreadable),
    )


def _object(blobs: Blobs, item: Item) -> Mapping[str, JSON]:
    value = canonical.loads(read_whole(blobs, item, JSON_LIMIT_BYTES))
    if not isinstance(value, dict):
        raise FormatError("expected an object", path=item.name)
    return value


def _index(document: Mapping[str, JSON]) -> dict[str, StreamIndex]:
    return parse_index(dict(document)) if document else {}


def _output(blobs: Blobs, item: Item, index: StreamIndex | None) -> OutputText:
    cut = item.size > HEAD_BYTES + TAIL_BYTES
    head = b"".join(excerpt(blobs, item, index, 0, HEAD_BYTES if cut else item.size))
    tail = b""
    # Without an index the end of a long stream can be had only by decoding all of it.
    if cut and (index is not None or item.size <= JSON_LIMIT_BYTES):
        tail = b"".join(excerpt(blobs, item, index, item.size - TAIL_BYTES, item.size))
    return OutputText(stream=item.name, size=item.size, head=head, tail=tail, digest=item.digest)


def read_samples(value: JSON) -> tuple[Sample, ...]:
    """Reads ``samples`` of the item ``process``; see :meth:`Sample.to_json`.

    Raises:
        FormatError: They are not what the monitor writes.
    """
    if not isinstance(value, list):
        raise FormatError("expected an array", path="$.samples")
    return tuple(_sample(each) for each in value)


def _sample(value: JSON) -> Sample:
    names = ("at_ms", "cpu_seconds", "rss_bytes", "processes", "read_bytes", "written_bytes", "threads")
    if not isinstance(value, list) or not 4 <= len(value) <= len(names):
        raise FormatError("expected a list of four to seven numbers", path="$.samples[]")
    fields = Fields(dict(zip(names, value, strict=False)), "$.samples[]")
    return Sample(
        at_ms=fields.integer("at_ms"),
        cpu_seconds=fields.number("cpu_seconds"),
        rss_bytes=fields.decimal("rss_bytes"),
        processes=fields.integer("processes"),
        read_bytes=fields.decimal("read_bytes") if fields.has("read_bytes") else 0,
        written_bytes=fields.decimal("written_bytes") if fields.has("written_bytes") else 0,
        threads=fields.integer("threads", 0),
    )


def _matches(document: Mapping[str, JSON]) -> tuple[PatternMatch, ...]:
    return Fields(dict(document), "$.patterns").each("matches", PatternMatch.parse) if document else ()


def _distributions(document: Mapping[str, JSON]) -> tuple[tuple[str, str], ...]:
    found = document.get("distributions", [])
    entries = [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []
    return tuple(sorted({(str(entry.get("name", "")), str(entry.get("version", ""))) for entry in entries}))


def _recording(blobs: Blobs, item: Item) -> Recording:
    lines = read_whole(blobs, item, RECORDING_BYTES).splitlines(keepends=True)
    header, events = cast.parse(line for line in lines if line.endswith(b"\n"))
    return Recording(width=header.width, height=header.height, events=events)


def _patch(blobs: Blobs, item: Item) -> str:
    text = read_whole(blobs, item, 64 << 20)
    cut = "\n… the rest of the patch is left out\n" if len(text) > PATCH_BYTES else ""
    return text[:PATCH_BYTES].decode("utf-8", "replace") + cut


def _is_picture(item: Item) -> bool:
    # An SVG is a document with a language of its own; only pixels are shown.
    return (
        item.kept
        and item.size <= PICTURE_BYTES
        and item.media_type in ("image/png", "image/jpeg", "image/webp")
    )


def _picture(blobs: Blobs, item: Item) -> Picture:
    data = read_whole(blobs, item, PICTURE_BYTES)
    return Picture(name=item.name, media_type=item.media_type, data=data, digest=item.digest)


def signed_parts(envelopes: Iterable[Envelope]) -> tuple[SignedPart, ...]:
    """What each envelope says, and who signed it."""
    return tuple(
        SignedPart(
            predicate=Statement.parse(envelope.payload).predicate_type,
            payload=envelope.payload_digest,
            keyids=tuple(signature.keyid for signature in envelope.signatures),
        )
        for envelope in envelopes
    )


def read_seal(sealed: Sealed) -> Seal:
    """What seals an operation, as it says itself: the integrity checks say whether it holds.

    Raises:
        FormatError: It can't be read.
    """
    parts = signed_parts(Envelope.parse(line) for line in sealed.envelopes.splitlines())
    schemes = {keyid: key.scheme for keyid, key in sealed.hint_keys.items()}
    if not sealed.proof:
        return Seal(parts=parts, schemes=schemes)
    proof = parse_proof(sealed.proof)
    checkpoint = Checkpoint.parse(unverified_text(proof.checkpoint_note))
    return Seal(
        parts=parts, schemes=schemes, origin=checkpoint.origin, index=proof.index, size=checkpoint.size
    )

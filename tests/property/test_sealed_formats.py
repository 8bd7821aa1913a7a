"""Identifiers, events, statements, envelopes, notes and proofs: parsers and formatters are inverses."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from dre_core.crypto import note
from dre_core.crypto.dsse import Envelope, Signature
from dre_core.crypto.keys import Signer
from dre_core.errors import DREError
from dre_core.model import canonical, identifier
from dre_core.model.encryption import Encryption, Method, Wrap
from dre_core.model.event import Event, filings, members, parse_rfc3339, rfc3339
from dre_core.model.fields import Fields
from dre_core.model.statement import HEX_DIGITS, Statement, Subject

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
WORDS = st.from_regex(r"[a-z][a-z0-9_-]{0,9}(\.[a-z0-9][a-z0-9_-]{0,9}){0,2}", fullmatch=True)
OBJECTS = st.dictionaries(TEXT, st.integers(-(2**53), 2**53) | TEXT | st.booleans() | st.none(), max_size=4)
MOMENTS = st.datetimes(timezones=st.just(timezone.utc))
SIGNER = Signer.generate()


def identifiers(prefix: str) -> st.SearchStrategy[str]:
    return st.builds(
        lambda ms, random: identifier.new(prefix, now_ms=ms, random_bytes=random),
        st.integers(0, 2**48 - 1),
        st.binary(min_size=10, max_size=10),
    )


@given(st.integers(0, 2**48 - 1), st.binary(min_size=10, max_size=10))
def test_identifier(ms: int, random: bytes) -> None:
    text = identifier.new("op", now_ms=ms, random_bytes=random)
    assert identifier.parse("op", text) == text
    assert identifier.time_ms(text) == ms


@given(st.lists(st.integers(0, 2**48 - 1), min_size=2, max_size=10))
def test_identifiers_sort_by_time(times: list[int]) -> None:
    made = sorted(identifier.new("op", now_ms=ms, random_bytes=bytes(10)) for ms in times)
    assert [identifier.time_ms(text) for text in made] == sorted(times)


@given(MOMENTS)
def test_time(moment: datetime) -> None:
    assert parse_rfc3339(rfc3339(moment)) == moment


EVENTS = st.builds(
    Event,
    id=identifiers("ev"),
    type=WORDS,
    time=MOMENTS.map(rfc3339),
    operation=st.none() | identifiers("op"),
    source=TEXT.filter(bool),
    data=OBJECTS,
)


@given(EVENTS)
def test_event(event: Event) -> None:
    leaf = event.to_bytes()
    assert Event.parse(leaf) == event
    assert canonical.loads(leaf) == members(leaf)


@given(EVENTS, st.data())
def test_a_changed_leaf_is_refused_or_another_event_in_canonical_form(
    event: Event, data: st.DataObject
) -> None:
    leaf = bytearray(event.to_bytes())
    position = data.draw(st.integers(0, len(leaf) - 1))
    leaf[position] = data.draw(st.integers(0, 255))
    try:
        parsed = Event.parse(bytes(leaf))
    except DREError:
        return
    assert parsed.to_bytes() == bytes(leaf)


@given(st.lists(EVENTS, max_size=4), st.data())
def test_what_is_read_together_is_what_is_read_one_by_one(events: list[Event], data: st.DataObject) -> None:
    leaves = [bytearray(event.to_bytes()) for event in events]
    if leaves and data.draw(st.booleans()):
        leaf = data.draw(st.sampled_from(leaves))
        leaf[data.draw(st.integers(0, len(leaf) - 1))] = data.draw(st.integers(0, 255))
    together = filings([bytes(leaf) for leaf in leaves])
    if together is not None:
        one_by_one = [members(bytes(leaf)) for leaf in leaves]
        assert together == [(each["operation"], each["type"]) for each in one_by_one]


DIGESTS = st.sampled_from(sorted(HEX_DIGITS)).flatmap(
    lambda name: st.tuples(
        st.just(name), st.text("0123456789abcdef", min_size=HEX_DIGITS[name], max_size=HEX_DIGITS[name])
    )
)
SUBJECTS = st.builds(
    Subject,
    name=TEXT.filter(bool),
    digest=st.lists(DIGESTS, min_size=1, max_size=3).map(dict),
    annotations=OBJECTS,
)


@given(st.lists(SUBJECTS, min_size=1, max_size=4).map(tuple), OBJECTS.filter(bool))
def test_statement(subjects: Any, predicate: dict[str, Any]) -> None:
    statement = Statement(subjects=subjects, predicate_type="urn:dre:predicate:run:v1", predicate=predicate)
    assert Statement.parse(statement.to_bytes()) == statement


SIGNATURES = st.lists(st.builds(Signature, keyid=TEXT, sig=st.binary(max_size=70)), min_size=1, max_size=4)


@given(TEXT.filter(bool), st.binary(max_size=100), SIGNATURES)
def test_envelope(kind: str, payload: bytes, signatures: list[Signature]) -> None:
    unique = tuple({signature.keyid: signature for signature in signatures}.values())
    envelope = Envelope(payload_type=kind, payload=payload, signatures=unique)
    assert Envelope.parse(envelope.to_bytes()) == envelope


ENVELOPE = Envelope.sign("text/plain", b"payload", [SIGNER]).to_bytes()
NAME = "dre.local/x"
NOTE = note.sign_note(note.Checkpoint(origin=NAME, size=1, root=bytes(32)).to_text(), NAME, SIGNER)


@given(st.integers(0, len(ENVELOPE) - 1), st.integers(0, 255))
def test_an_envelope_with_a_changed_byte_verifies_only_as_the_same_payload(position: int, value: int) -> None:
    changed = bytearray(ENVELOPE)
    changed[position] = value
    try:
        envelope = Envelope.parse(bytes(changed))
        envelope.verify([SIGNER.public])
    except DREError:
        return
    assert (envelope.payload_type, envelope.payload) == ("text/plain", b"payload")


@given(st.integers(0, len(NOTE) - 1), st.characters())
def test_a_note_with_a_changed_character_does_not_open(position: int, character: str) -> None:
    changed = NOTE[:position] + character + NOTE[position + 1 :]
    try:
        note.open_note(changed, NAME, SIGNER.public)
    except DREError:
        return
    assert changed == NOTE


@given(st.text(max_size=100))
def test_random_text_is_no_note_checkpoint_or_proof(text: str) -> None:
    for parse in (note.parse_proof, note.Checkpoint.parse, note.unverified_text):
        try:
            parse(text)
        except DREError:
            continue
        raise AssertionError(text)


@given(
    st.integers(0, 2**63 - 1),
    st.lists(st.binary(min_size=32, max_size=32), max_size=5).map(tuple),
    st.none() | st.binary(min_size=1, max_size=20),
)
@settings(max_examples=50)
def test_proof(index: int, hashes: tuple[bytes, ...], extra: bytes | None) -> None:
    parsed = note.parse_proof(note.format_proof(index, hashes, NOTE, extra))
    assert (parsed.index, parsed.hashes, parsed.checkpoint_note, parsed.extra) == (index, hashes, NOTE, extra)


@given(st.text("abc./-é", min_size=1), st.integers(0, 2**63 - 1), st.binary(min_size=32, max_size=32))
def test_checkpoint(origin: str, size: int, root: bytes) -> None:
    checkpoint = note.Checkpoint(origin=origin, size=size, root=root)
    assert note.Checkpoint.parse(checkpoint.to_text()) == checkpoint


WRAPS = st.lists(
    st.one_of(
        st.builds(Wrap, method=st.just(Method.AGE), data=st.binary(min_size=1, max_size=99)),
        st.builds(
            Wrap,
            method=st.just(Method.PASSPHRASE),
            data=st.binary(min_size=1, max_size=99),
            salt=st.binary(min_size=32, max_size=32),
            iterations=st.integers(100_000, 10_000_000),
        ),
    ),
    min_size=1,
    max_size=16,
)


@given(WRAPS)
def test_encryption(wraps: list[Wrap]) -> None:
    encryption = Encryption(wraps=tuple(wraps))
    assert Encryption.parse(Fields(canonical.loads(canonical.dumps(encryption.to_json())))) == encryption

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from dre_core.crypto import dsse
from dre_core.crypto.dsse import PAYLOAD_TYPE, Envelope, Signature, pae
from dre_core.crypto.keys import Signer
from dre_core.errors import FormatError, IntegrityError, LimitError
from dre_core.model import digest

ONE, TWO, THREE = (Signer.generate() for _ in range(3))
SAMPLE = Envelope.sign(PAYLOAD_TYPE, b'{"x":1}', [ONE, TWO])


def test_pae_vector_of_the_specification() -> None:
    expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert pae("http://example.com/HelloWorld", b"hello world") == expected


def test_pae_counts_bytes_not_characters() -> None:
    assert pae("é", "日本".encode()) == b"DSSEv1 2 \xc3\xa9 6 \xe6\x97\xa5\xe6\x9c\xac"


def test_an_envelope_is_one_line_and_parses_back() -> None:
    data = SAMPLE.to_bytes()
    assert b"\n" not in data
    assert Envelope.parse(data) == SAMPLE
    assert Envelope.parse(data + b"\n").to_bytes() == data
    assert SAMPLE.payload_digest == digest.sha256(b'{"x":1}')


def test_verify_gives_the_distinct_trusted_keys() -> None:
    assert SAMPLE.verify([ONE.public]) == (ONE.keyid,)
    assert SAMPLE.verify([TWO.public, THREE.public, ONE.public, ONE.public], 2) == (TWO.keyid, ONE.keyid)


def test_the_same_key_twice_counts_once() -> None:
    with pytest.raises(IntegrityError):
        SAMPLE.verify([ONE.public, ONE.public], 2)
    twice = replace(SAMPLE, signatures=(SAMPLE.signatures[0], replace(SAMPLE.signatures[0], keyid="other")))
    with pytest.raises(IntegrityError):
        twice.verify([ONE.public, THREE.public], 2)


def test_a_foreign_key_under_our_key_id_does_not_pass() -> None:
    forged = replace(SAMPLE, signatures=(replace(SAMPLE.signatures[1], keyid=ONE.keyid),))
    with pytest.raises(IntegrityError) as caught:
        forged.verify([ONE.public])
    assert caught.value.slug == "integrity"


def test_a_wrong_hint_does_not_hide_a_signature() -> None:
    renamed = replace(SAMPLE, signatures=(replace(SAMPLE.signatures[0], keyid="someone"),))
    assert renamed.verify([TWO.public, ONE.public]) == (ONE.keyid,)


def test_somebody_elses_envelope_is_untrusted_rather_than_broken() -> None:
    with pytest.raises(IntegrityError) as caught:
        SAMPLE.verify([THREE.public])
    assert caught.value.slug == "untrusted"
    with pytest.raises(IntegrityError):
        SAMPLE.verify([])


@pytest.mark.parametrize(
    "changed",
    [replace(SAMPLE, payload=b'{"x":2}'), replace(SAMPLE, payload_type="text/plain")],
)
def test_a_change_of_payload_or_type_breaks_every_signature(changed: Envelope) -> None:
    with pytest.raises(IntegrityError):
        changed.verify([ONE.public, TWO.public])


def test_a_threshold_below_one_is_an_error_of_the_caller() -> None:
    with pytest.raises(ValueError, match="threshold"):
        SAMPLE.verify([ONE.public], 0)


def document(**changes: object) -> dict[str, Any]:
    return {**json.loads(SAMPLE.to_bytes()), **changes}


def test_unknown_members_and_the_url_safe_alphabet_are_taken() -> None:
    payload = b"\xfb\xff\xfe"
    envelope = Envelope.sign("t", payload, [ONE])
    value = json.loads(envelope.to_bytes())
    value["payload"] = base64.urlsafe_b64encode(payload).decode()
    value["signatures"][0]["sig"] = base64.urlsafe_b64encode(envelope.signatures[0].sig).decode()
    value["signatures"][0]["cert"] = "ignored"
    value["spare"] = {"ignored": True}
    assert Envelope.parse(json.dumps(value).encode()) == envelope


SIGNATURE = {"keyid": "k", "sig": "AAAA"}


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ([], "$"),
        (document(payload=5), "$.payload"),
        (document(payload="YQ"), "$.payload"),
        (document(payload="YQ==\n"), "$.payload"),
        (document(payload=" YQ=="), "$.payload"),
        (document(payload="YR=="), "$.payload"),
        (document(payload="+_8="), "$.payload"),
        (document(payload="Y==="), "$.payload"),
        (document(payload="é"), "$.payload"),
        (document(payloadType=""), "$.payloadType"),
        (document(payloadType=None), "$.payloadType"),
        (document(signatures=[]), "$.signatures"),
        (document(signatures={}), "$.signatures"),
        (document(signatures=["x"]), "$.signatures[0]"),
        (document(signatures=[SIGNATURE, SIGNATURE]), "$.signatures"),
        (document(signatures=[{"sig": "AAAA"}]), "$.signatures[0].keyid"),
        (document(signatures=[{"keyid": "k"}]), "$.signatures[0].sig"),
        (document(signatures=[{"keyid": "k", "sig": "*"}]), "$.signatures[0].sig"),
    ],
)
def test_parse_refuses_with_the_path(value: object, path: str) -> None:
    with pytest.raises(FormatError) as caught:
        Envelope.parse(json.dumps(value).encode())
    assert caught.value.path == path


def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    many = [{"keyid": str(number), "sig": "AAAA"} for number in range(dsse.MAX_SIGNATURES + 1)]
    with pytest.raises(LimitError):
        Envelope.parse(json.dumps(document(signatures=many)).encode())
    monkeypatch.setattr(dsse, "MAX_BYTES", 100)
    with pytest.raises(LimitError):
        Envelope.parse(b" " * 101)
    with pytest.raises(LimitError):
        SAMPLE.to_bytes()


def test_signing_needs_each_key_once() -> None:
    with pytest.raises(FormatError):
        Envelope.sign(PAYLOAD_TYPE, b"", [])
    with pytest.raises(FormatError):
        Envelope.sign(PAYLOAD_TYPE, b"", [ONE, ONE])


def test_an_empty_signature_does_not_hold() -> None:
    empty = Envelope(payload_type="t", payload=b"", signatures=(Signature(keyid=ONE.keyid, sig=b""),))
    with pytest.raises(IntegrityError):
        Envelope.parse(empty.to_bytes()).verify([ONE.public])

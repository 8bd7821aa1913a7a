"""The signatures of sigstore's conformance bundles through our public faces: what a key alone can decide.

Whatever needs sigstore's log, times or trust root is not decided here.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from cryptography.x509 import load_der_x509_certificate

from dre_core.crypto import keys
from dre_core.crypto.dsse import Envelope
from dre_core.crypto.keys import PublicKey
from dre_core.errors import IntegrityError, SigningKeyError
from dre_core.model import canonical

VECTORS = Path(__file__).resolve().parents[3] / "shared" / "vectors" / "sigstore" / "bundle-verify"
pytestmark = pytest.mark.skipif(not VECTORS.is_dir(), reason="the published vectors are not here")


def bundle(name):
    return json.loads((VECTORS / name / "bundle.sigstore.json").read_bytes())


@pytest.mark.parametrize("name", ["managed-key-happy-path", "managed-key-and-trusted-root"])
def test_bundles_that_carry_a_key(name):
    signature = base64.b64decode(bundle(name)["messageSignature"]["signature"])
    key = PublicKey.parse_pem((VECTORS / name / "key.pub").read_bytes())
    artifact = (VECTORS / "a.txt").read_bytes()
    assert keys.verify(keys.ECDSA_SHA2_NISTP256, key, artifact, signature)
    assert not keys.verify(keys.ECDSA_SHA2_NISTP256, key, artifact + b"x", signature)


def test_a_bundle_whose_key_is_none():
    with pytest.raises(SigningKeyError):
        PublicKey.parse_pem((VECTORS / "managed-key-wrong-key_fail" / "key.pub").read_bytes())


def signed_by_certificate(name):
    """The envelope as our reader takes it (an absent key id is an empty one), and its certificate's key."""
    document = bundle(name)
    envelope = document["dsseEnvelope"]
    signatures = [{"keyid": "", **signature} for signature in envelope["signatures"]]
    material = document["verificationMaterial"]
    certificate = (material.get("certificate") or material["x509CertificateChain"]["certificates"][0])[
        "rawBytes"
    ]
    key = PublicKey.from_cryptography(load_der_x509_certificate(base64.b64decode(certificate)).public_key())
    return Envelope.parse(canonical.dumps({**envelope, "signatures": signatures})), key


@pytest.mark.parametrize(
    "name", ["happy-path-intoto-in-dsse-v3", "intoto-with-custom-trust-root", "rekor2-dsse-happy-path"]
)
def test_envelopes_of_others_hold(name):
    envelope, key = signed_by_certificate(name)
    assert envelope.verify([key]) == (key.keyid,)
    with pytest.raises(IntegrityError):
        Envelope(
            payload_type=envelope.payload_type,
            payload=envelope.payload + b" ",
            signatures=envelope.signatures,
        ).verify([key])


@pytest.mark.parametrize("name", ["dsse-invalid-sig_fail", "rekor2-dsse-invalid-sig_fail"])
def test_envelopes_with_a_wrong_signature_do_not(name):
    envelope, key = signed_by_certificate(name)
    with pytest.raises(IntegrityError):
        envelope.verify([key])

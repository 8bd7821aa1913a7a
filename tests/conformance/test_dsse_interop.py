"""Our envelopes before securesystemslib, and its envelopes before ours."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from dre_core.crypto.dsse import PAYLOAD_TYPE, Envelope, pae
from dre_core.crypto.keys import KEY_TYPES, Signer
from dre_core.errors import IntegrityError

dsse = pytest.importorskip("securesystemslib.dsse")
signer_module = pytest.importorskip("securesystemslib.signer")
exceptions = pytest.importorskip("securesystemslib.exceptions")

PAYLOAD = b'{"_type":"https://in-toto.io/Statement/v1"}'


@pytest.fixture(scope="module")
def signers() -> dict[str, Signer]:
    return {key_type: Signer.generate(key_type) for key_type in KEY_TYPES}


def foreign_key(signer: Signer) -> object:
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    public = load_pem_public_key(signer.public.pem())
    return signer_module.SSlibKey.from_crypto(public, keyid=signer.keyid, scheme=signer.scheme)


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_securesystemslib_accepts_ours_and_refuses_one_changed_byte(
    signers: dict[str, Signer], key_type: str
) -> None:
    signer = signers[key_type]
    envelope = Envelope.sign(PAYLOAD_TYPE, PAYLOAD, [signer])
    theirs = dsse.Envelope.from_dict(json.loads(envelope.to_bytes()))
    assert list(theirs.verify([foreign_key(signer)], 1)) == [signer.keyid]

    theirs.payload = theirs.payload.replace(b"v1", b"v2")
    with pytest.raises(exceptions.VerificationError):
        theirs.verify([foreign_key(signer)], 1)


def test_securesystemslib_counts_our_three_signers(signers: dict[str, Signer]) -> None:
    envelope = Envelope.sign(PAYLOAD_TYPE, PAYLOAD, signers.values())
    theirs = dsse.Envelope.from_dict(json.loads(envelope.to_bytes()))
    assert len(theirs.verify([foreign_key(signer) for signer in signers.values()], 3)) == 3


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_we_accept_an_envelope_of_securesystemslib(signers: dict[str, Signer], key_type: str) -> None:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    signer = signers[key_type]
    private = load_pem_private_key(signer.pem(), None)
    theirs = dsse.Envelope(PAYLOAD, PAYLOAD_TYPE, {})
    theirs.sign(signer_module.CryptoSigner(private, foreign_key(signer)))
    envelope = Envelope.parse(json.dumps(theirs.to_dict()).encode())
    assert envelope.verify([signer.public]) == (signer.keyid,)
    with pytest.raises(IntegrityError):
        envelope.verify([Signer.generate().public])


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_openssl_accepts_ours(signers: dict[str, Signer], key_type: str, tmp_path: Path) -> None:
    signer = signers[key_type]
    envelope = Envelope.sign(PAYLOAD_TYPE, PAYLOAD, [signer])
    for name, data in {
        "key.pem": signer.public.pem(),
        "sig": envelope.signatures[0].sig,
        "message": pae(envelope.payload_type, envelope.payload),
        "other": pae(envelope.payload_type, envelope.payload + b" "),
    }.items():
        (tmp_path / name).write_bytes(data)
    verdicts = []
    for message in ("message", "other"):
        command = ["openssl", "dgst", "-sha256", "-verify", "key.pem", "-signature", "sig", message]
        if key_type == "ed25519":
            command = ["openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", "key.pem"]
            command += ["-sigfile", "sig", "-in", message]
        verdicts.append(
            subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=60).returncode == 0
        )
    assert verdicts == [True, False]

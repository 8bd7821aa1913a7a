"""Project Wycheproof and CCTV: our one verify function under the three schemes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dre_core.crypto import keys
from dre_core.errors import SigningKeyError

VECTORS = Path(__file__).resolve().parents[2].parent / "shared" / "vectors" / "wycheproof"
FILES = {
    "ed25519_test": "ed25519",
    "ecdsa_secp256r1_sha256_test": "ecdsa-sha2-nistp256",
    "rsa_signature_2048_sha256_test": "rsa-pkcs1v15-sha256",
    "rsa_signature_3072_sha256_test": "rsa-pkcs1v15-sha256",
    "rsa_signature_4096_sha256_test": "rsa-pkcs1v15-sha256",
}

pytestmark = pytest.mark.skipif(
    not VECTORS.is_dir(), reason="the published vectors are not beside the repository"
)


def load(name: str) -> Any:
    return json.loads((VECTORS / f"{name}.json").read_text("utf-8"))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("form", ["pem", "der", "parsed"])
def test_published_signatures(name: str, form: str) -> None:
    document = load(name)
    wrong = []
    tried = 0
    for group in document["testGroups"]:
        der = bytes.fromhex(group["publicKeyDer"])
        parsed = keys.PublicKey.parse_der(der)
        key = {"pem": group["publicKeyPem"].encode(), "der": der, "parsed": parsed}[form]
        for case in group["tests"]:
            tried += 1
            holds = keys.verify(FILES[name], key, bytes.fromhex(case["msg"]), bytes.fromhex(case["sig"]))
            # "acceptable" (RSA without the NULL of its parameters) may be judged either way.
            if case["result"] != "acceptable" and holds != (case["result"] == "valid"):
                wrong.append(case["tcId"])
    assert tried == document["numberOfTests"]
    assert wrong == []


@pytest.mark.parametrize("name", ["ecdsa_secp256r1_sha256_p1363_test", "rsa_pss_4096_sha256_mgf1_32_test"])
def test_another_encoding_or_padding_never_holds(name: str) -> None:
    scheme = "ecdsa-sha2-nistp256" if name.startswith("ecdsa") else "rsa-pkcs1v15-sha256"
    tried = 0
    for group in load(name)["testGroups"]:
        key = keys.PublicKey.parse_pem(group["publicKeyPem"].encode())
        for case in group["tests"]:
            if case["result"] == "valid":  # an invalid one may well be of our scheme
                tried += 1
                assert not keys.verify(scheme, key, bytes.fromhex(case["msg"]), bytes.fromhex(case["sig"]))
    assert tried > 10


def test_a_key_of_another_kind_is_refused_for_every_scheme() -> None:
    for name, own in FILES.items():
        pem = load(name)["testGroups"][0]["publicKeyPem"].encode()
        for scheme in keys.SCHEMES:
            if scheme != own:
                with pytest.raises(SigningKeyError):
                    keys.verify(scheme, pem, b"", b"")


def test_edge_points_of_ed25519_end_in_true_or_false() -> None:
    cases = load("cctv_ed25519")
    results = set()
    for case in cases:
        der = bytes.fromhex("302a300506032b6570032100") + bytes.fromhex(case["key"])
        results.add(keys.verify("ed25519", der, case["msg"].encode(), bytes.fromhex(case["sig"])))
    assert results == {True, False}
    assert len(cases) == 914

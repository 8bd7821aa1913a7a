from __future__ import annotations

import base64
import hashlib
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from dre_core.crypto import keys
from dre_core.crypto.keys import KEY_TYPES, PublicKey, Signer
from dre_core.errors import SigningKeyError, StorageError

posix = pytest.mark.skipif(os.name != "posix", reason="owners and modes are of POSIX")


@pytest.fixture(scope="module", params=list(KEY_TYPES))
def signer(request: pytest.FixtureRequest) -> Signer:
    return Signer.generate(request.param)


ED = Signer.generate()


def test_sign_and_verify(signer: Signer) -> None:
    signature = signer.sign(b"message")
    assert signer.public.verify(b"message", signature)
    assert not signer.public.verify(b"messagE", signature)
    for form in (signer.public, signer.public.pem(), signer.public.der):
        assert keys.verify(signer.scheme, form, b"message", signature)
    private = load_pem_private_key(signer.pem(), None)
    assert keys.verify(signer.scheme, private.public_key(), b"message", signature)  # type: ignore[arg-type]


def test_any_bytes_as_signature_are_false_and_never_an_exception(signer: Signer) -> None:
    good = signer.sign(b"m")
    for bad in (b"", b"\0", b"\x30" * 70, good[:-1], good + b"\0", bytes(len(good)), b"\xff" * 10_000):
        assert signer.public.verify(b"m", bad) is False


def test_the_key_id_is_the_hash_of_the_spki(signer: Signer) -> None:
    spki = load_pem_private_key(signer.pem(), None).public_key()
    der = spki.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert signer.public.der == der
    assert signer.keyid == hashlib.sha256(der).hexdigest()
    assert signer.public.pem() == spki.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def test_pem_round_trips(signer: Signer) -> None:
    assert PublicKey.parse_pem(signer.public.pem()) == signer.public
    assert PublicKey.parse_der(signer.public.der) == signer.public
    assert Signer.load(signer.pem()) == signer
    locked = signer.pem(b"pass phrase")
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in locked
    assert Signer.load(locked, b"pass phrase") == signer
    assert Signer.load(signer.pem(), b"not needed") == signer


def test_our_own_pem_of_a_plain_key_is_the_librarys(signer: Signer) -> None:
    private = load_pem_private_key(signer.pem(), None)
    assert signer.pem() == private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def test_a_compressed_point_gives_no_second_key_id() -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    numbers = private.public_key().public_numbers()
    compressed = private.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    spki = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200") + compressed
    plain = PublicKey.from_cryptography(numbers.public_key())
    assert PublicKey.parse_der(spki) == plain


def test_a_wrong_or_missing_passphrase_is_an_error_with_a_hint() -> None:
    locked = ED.pem(b"right")
    with pytest.raises(SigningKeyError, match="passphrase"):
        Signer.load(locked, b"wrong")
    with pytest.raises(SigningKeyError) as caught:
        Signer.load(locked)
    assert "DRE_PASSPHRASE" in caught.value.hint


def pem_of(private: object) -> tuple[bytes, bytes]:
    public = private.public_key()  # type: ignore[attr-defined]
    return (
        private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),  # type: ignore[attr-defined]
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    )


@pytest.mark.parametrize(
    "private",
    [
        rsa.generate_private_key(public_exponent=65537, key_size=1024),
        ec.generate_private_key(ec.SECP384R1()),
        ec.generate_private_key(ec.SECP256K1()),
        ed448.Ed448PrivateKey.generate(),
    ],
    ids=["rsa-1024", "p-384", "secp256k1", "ed448"],
)
def test_short_keys_other_curves_and_kinds_are_refused(private: object) -> None:
    secret, public = pem_of(private)
    with pytest.raises(SigningKeyError):
        Signer.load(secret)
    with pytest.raises(SigningKeyError):
        PublicKey.parse_pem(public)
    for scheme in keys.SCHEMES:
        with pytest.raises(SigningKeyError):
            keys.verify(scheme, public, b"", b"")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        b"-----BEGIN PUBLIC KEY-----",
        b"-----BEGIN PUBLIC KEY-----\n!!\n-----END PUBLIC KEY-----\n",
        b"0*" + b"\x00" * 42,
        b"\xff" * 44,
        b"-----BEGIN " + b"A" * 70000,
        ED.pem(),
    ],
)
def test_what_is_no_public_key_ends_in_the_typed_error(data: bytes) -> None:
    for attempt in (PublicKey.parse_pem, PublicKey.parse_der):
        with pytest.raises(SigningKeyError):
            attempt(data)
    with pytest.raises(SigningKeyError):
        keys.verify("ed25519", data, b"", b"")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        ED.public.pem(),
        b"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
        b"A" * 70000,
        b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----",
    ],
)
def test_what_is_no_private_key_ends_in_the_typed_error(data: bytes) -> None:
    with pytest.raises(SigningKeyError):
        Signer.load(data, b"passphrase")


def test_schemes_and_key_types_are_a_closed_list() -> None:
    for scheme in ("", "ED25519", "rsassa-pss-sha256", "none", "HS256"):
        with pytest.raises(SigningKeyError, match="scheme"):
            keys.verify(scheme, ED.public, b"", b"")
    with pytest.raises(SigningKeyError, match="key type"):
        Signer.generate("rsa-1024")


def test_a_signer_never_shows_its_secret() -> None:
    assert "_key" not in repr(ED)
    assert base64.b64encode(ED._key.private_bytes_raw()).decode() not in repr(ED)  # type: ignore[union-attr]


# Key files


@posix
@pytest.mark.parametrize("passphrase", [None, b"secret"])
def test_a_key_file_is_its_owners_alone(tmp_path: Path, passphrase: bytes | None) -> None:
    directory = tmp_path / "a" / "keys"
    before = os.umask(0)
    try:
        path = keys.write_private_key(directory, ED, passphrase)
    finally:
        os.umask(before)
    assert path == directory / f"{ED.keyid}.pem"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert keys.read_private_key(path, passphrase) == ED
    assert [p.name for p in directory.iterdir()] == [path.name]


@posix
def test_a_loose_folder_is_tightened_and_a_second_write_replaces(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    keys.write_private_key(tmp_path, ED)
    path = keys.write_private_key(tmp_path, ED, b"now locked")
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700
    assert keys.read_private_key(path, b"now locked") == ED


@posix
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o620, 0o601])
def test_a_key_that_others_reach_is_refused_with_the_command_that_helps(tmp_path: Path, mode: int) -> None:
    path = keys.write_private_key(tmp_path, ED)
    path.chmod(mode)
    with pytest.raises(SigningKeyError) as caught:
        keys.read_private_key(path)
    assert caught.value.hint == f"chmod 600 {path}"


@posix
def test_links_folders_pipes_and_nothing_are_refused_without_waiting(tmp_path: Path) -> None:
    path = keys.write_private_key(tmp_path / "k", ED)
    link, pipe = tmp_path / "link", tmp_path / "pipe"
    link.symlink_to(path)
    os.mkfifo(pipe, 0o600)
    for odd in (
        link,
        pipe,
        tmp_path,
        tmp_path / "absent",
        tmp_path / b"\0".decode("latin-1").strip("\0"),
    ):
        with pytest.raises(SigningKeyError):
            keys.read_private_key(odd)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can give a file away")
def test_a_key_of_another_user_is_refused(tmp_path: Path) -> None:
    path = keys.write_private_key(tmp_path, ED)
    os.chown(path, 12345, 12345)
    with pytest.raises(SigningKeyError, match="another user"):
        keys.read_private_key(path)


@posix
def test_a_huge_or_foreign_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.touch(mode=0o600)
    for content in (b"\0" * 70_000, b"", b"hello"):
        path.write_bytes(content)
        with pytest.raises(SigningKeyError) as caught:
            keys.read_private_key(path)
        assert caught.value.path == str(path)


def test_a_folder_that_can_not_be_made_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        keys.write_private_key(tmp_path / "file" / "keys", ED)


# Signer URIs


def test_a_key_in_a_variable_as_pem_or_base64_of_pem() -> None:
    pem = ED.pem().decode()
    coded = base64.b64encode(ED.pem()).decode()
    wrapped = "\n".join(coded[start : start + 76] for start in range(0, len(coded), 76))
    for text in (pem, f"\n{pem}\n", coded, wrapped):
        assert keys.signer_from_uri("env:KEY", {"KEY": text}) == ED
    assert keys.signer_from_uri("env:KEY", {"KEY": ED.pem(b"pw").decode()}, b"pw") == ED


@posix
def test_a_key_in_a_file_or_behind_a_descriptor(tmp_path: Path) -> None:
    path = keys.write_private_key(tmp_path, ED)
    assert keys.signer_from_uri(f"file:{path}", {}) == ED
    assert keys.signer_from_uri(f"file://{path}", {}) == ED
    reader, writer = os.pipe()
    os.write(writer, ED.pem())
    os.close(writer)
    assert keys.signer_from_uri(f"fd:{reader}", {}) == ED
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(reader)


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "env:",
        "env:ABSENT",
        "env:EMPTY",
        "env:JUNK",
        "file:",
        "fd:",
        "fd:x",
        "fd:-1",
        "fd:987654",
        "s3:key",
        "x",
    ],
)
def test_a_uri_that_leads_nowhere(uri: str) -> None:
    with pytest.raises(SigningKeyError):
        keys.signer_from_uri(uri, {"EMPTY": " ", "JUNK": "\udcff junk"})


def test_an_error_never_repeats_the_secret() -> None:
    with pytest.raises(SigningKeyError) as caught:
        keys.signer_from_uri("hunter2secret:abc", {})
    assert "abc" not in str(caught.value)


def test_a_plain_key_signs_without_the_costly_imports() -> None:
    code = (
        "import sys; from dre_core.crypto.keys import Signer\n"
        "assert 'cryptography' not in sys.modules\n"
        "signer = Signer.load(sys.stdin.buffer.read()); signer.sign(b''); signer.keyid; signer.public.pem()\n"
        "assert 'cryptography.hazmat.primitives.serialization' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], input=ED.pem(), timeout=60)
    assert done.returncode == 0

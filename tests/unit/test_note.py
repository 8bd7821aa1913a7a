from __future__ import annotations

import base64
import hashlib

import pytest

from dre_core.crypto import note
from dre_core.crypto.keys import PublicKey, Signer
from dre_core.crypto.note import Checkpoint, TlogProof
from dre_core.errors import FormatError, IntegrityError, LimitError, SigningKeyError

NAME = "dre.local/6fc1c9b2-0000-4000-8000-000000000000"
SIGNER = Signer.generate()
TEXT = Checkpoint(origin=NAME, size=42, root=b"\x01" * 32).to_text()
NOTE = note.sign_note(TEXT, NAME, SIGNER)


def test_a_published_note_opens() -> None:
    # The example of https://pkg.go.dev/golang.org/x/mod/sumdb/note
    text = (
        "If you think cryptography is the answer to your problem,\n"
        "then you don't know what your problem is.\n"
    )
    signature = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
    raw = base64.b64decode("ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")[1:]
    key = PublicKey.parse_der(bytes.fromhex("302a300506032b6570032100") + raw)
    whole = f"{text}\n— PeterNeumann {signature}\n"
    assert note.open_note(whole, "PeterNeumann", key) == text
    with pytest.raises(IntegrityError):
        note.open_note(whole.replace("answer", "Answer"), "PeterNeumann", key)


def test_a_note_has_text_blank_line_and_signature_line() -> None:
    line = NOTE.removeprefix(TEXT + "\n").removesuffix("\n")
    dash, name, blob = line.split(" ")
    assert (dash, name) == ("—", NAME)
    expected = hashlib.sha256(NAME.encode() + b"\n\x01" + SIGNER.public.der[-32:]).digest()[:4]
    assert base64.b64decode(blob)[:4] == expected
    assert SIGNER.public.verify(TEXT.encode(), base64.b64decode(blob)[4:])
    assert note.open_note(NOTE, NAME, SIGNER.public) == TEXT
    assert note.unverified_text(NOTE) == TEXT


def test_other_signers_lines_are_ignored_but_must_be_lines() -> None:
    other = note.sign_note(TEXT, "witness.example", Signer.generate()).removeprefix(TEXT + "\n")
    assert note.open_note(NOTE + other, NAME, SIGNER.public) == TEXT
    assert note.open_note(TEXT + "\n" + other + NOTE.removeprefix(TEXT + "\n"), NAME, SIGNER.public) == TEXT
    with pytest.raises(FormatError):
        note.open_note(NOTE + "— witness.example !\n", NAME, SIGNER.public)


def test_a_note_of_another_name_or_key_or_text_does_not_open() -> None:
    for changed, name, key in (
        (NOTE, "other", SIGNER.public),
        (NOTE, NAME, Signer.generate().public),
        (NOTE.replace("42", "43"), NAME, SIGNER.public),
    ):
        with pytest.raises(IntegrityError):
            note.open_note(changed, name, key)


def test_a_false_signature_beside_a_true_one_is_not_overlooked() -> None:
    line = NOTE.removeprefix(TEXT + "\n").strip()
    blob = bytearray(base64.b64decode(line.split(" ")[2]))
    blob[-1] ^= 1
    with pytest.raises(IntegrityError):
        note.open_note(f"{NOTE}— {NAME} {base64.b64encode(blob).decode()}\n", NAME, SIGNER.public)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        TEXT,
        NOTE[:-1],
        NOTE + "\n",
        NOTE + "x\n",
        NOTE.replace("— ", "- "),
        NOTE.replace("\n\n", "\n"),
        NOTE.replace("\n", "\r\n"),
        "\x00" + NOTE,
        "�" + NOTE,
        NOTE.replace("\n— ", "\n—  "),
        TEXT + f"\n— {NAME} AAAA\n",
        TEXT + f"\n— {NAME}  AAAAAAAA\n",
        TEXT + f"\n— a+b {'A' * 96}\n",
    ],
)
def test_what_is_no_note_ends_in_the_typed_error(text: str) -> None:
    with pytest.raises((FormatError, IntegrityError)):
        note.open_note(text, NAME, SIGNER.public)


def test_limits_of_a_note() -> None:
    with pytest.raises(LimitError):
        note.unverified_text("a" * 1_000_001)
    line = NOTE.removeprefix(TEXT + "\n")
    with pytest.raises(LimitError):
        note.unverified_text(TEXT + "\n" + line * 101)


@pytest.mark.parametrize("text", ["", "no newline", "\n", "a\tb\n", "a\x7f\n", "\ud800\n"])
def test_a_text_out_of_form_is_not_signed(text: str) -> None:
    with pytest.raises(FormatError):
        note.sign_note(text, NAME, SIGNER)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u00a0b", "a\nb"])
def test_a_name_out_of_form_is_not_signed(name: str) -> None:
    with pytest.raises(FormatError):
        note.sign_note(TEXT, name, SIGNER)


def test_only_ed25519_signs_notes() -> None:
    other = Signer.generate("ecdsa-p256")
    with pytest.raises(SigningKeyError):
        note.sign_note(TEXT, NAME, other)
    with pytest.raises(SigningKeyError):
        note.open_note(NOTE, NAME, other.public)


def test_a_checkpoint_is_three_lines() -> None:
    assert f"{NAME}\n42\n{base64.b64encode(bytes([1] * 32)).decode()}\n" == TEXT
    assert Checkpoint.parse(TEXT) == Checkpoint(origin=NAME, size=42, root=b"\x01" * 32)


@pytest.mark.parametrize(
    "text",
    [
        "",
        TEXT[:-1],
        TEXT + "extension\n",
        "\n" + TEXT,
        TEXT.replace("42", "042"),
        TEXT.replace("42", "-1"),
        TEXT.replace("42", "4_2"),
        TEXT.replace("42", " 42"),
        TEXT.replace("42", "٤"),
        TEXT.replace("42", "9" * 30),
        TEXT.replace("42", str(2**63)),
        TEXT.replace("=", ""),
        TEXT.replace("AQE", "A_E"),
        "a b\n1\n" + TEXT[-45:],
    ],
)
def test_a_checkpoint_in_any_other_form_is_refused(text: str) -> None:
    with pytest.raises(FormatError):
        Checkpoint.parse(text)


def test_a_checkpoint_out_of_range_is_not_written() -> None:
    for origin, size, root in (
        ("", 1, b"x" * 32),
        ("a", -1, b"x" * 32),
        ("a", 2**63, b"x" * 32),
        ("a", 1, b"x"),
    ):
        with pytest.raises(FormatError):
            Checkpoint(origin=origin, size=size, root=root).to_text()


HASHES = (b"\x02" * 32, b"\x03" * 32)
PROOF = note.format_proof(7, HASHES, NOTE)


def test_a_proof_file_and_back() -> None:
    assert PROOF.startswith("c2sp.org/tlog-proof@v1\nindex 7\nAgIC")
    assert note.parse_proof(PROOF) == TlogProof(index=7, hashes=HASHES, checkpoint_note=NOTE)
    extra = note.format_proof(0, (), NOTE, extra=b"more")
    assert extra == f"c2sp.org/tlog-proof@v1\nextra bW9yZQ==\nindex 0\n\n{NOTE}"
    assert note.parse_proof(extra) == TlogProof(index=0, hashes=(), checkpoint_note=NOTE, extra=b"more")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        PROOF.replace("@v1", "@v2"),
        PROOF.replace("index 7", "index 07"),
        PROOF.replace("index 7\n", ""),
        PROOF.replace("index 7", "Index 7"),
        PROOF.replace("AgIC", "AgI"),
        PROOF.removesuffix(NOTE),
        PROOF[:-1],
        PROOF.replace("\n", "\r\n"),
        PROOF.replace("index", "extra\nindex"),
        PROOF.replace("index", "extra \nindex"),
        PROOF.replace("index", "extra AB\nindex"),
        "\n" + PROOF,
        PROOF.replace("\nAg", "\n\nAg"),
        "�" + PROOF,
    ],
)
def test_a_proof_file_in_any_other_form_is_refused(text: str) -> None:
    with pytest.raises(FormatError):
        note.parse_proof(text)


def test_a_proof_out_of_range_is_not_written() -> None:
    for index, hashes, text, extra in (
        (-1, HASHES, NOTE, None),
        (0, (b"short",), NOTE, None),
        (0, HASHES, "no note", None),
        (0, HASHES, NOTE, b""),
    ):
        with pytest.raises(FormatError):
            note.format_proof(index, hashes, text, extra)


def test_a_proof_of_too_many_hashes_is_refused() -> None:
    with pytest.raises(LimitError):
        note.parse_proof(note.format_proof(7, HASHES[:1] * 65, NOTE))

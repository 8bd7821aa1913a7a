from __future__ import annotations

import hashlib

import pytest

from dre_core.errors import FormatError
from dre_core.model import digest


def test_sha256_is_prefixed_lower_case_hex() -> None:
    text = digest.sha256(b"abc")
    assert text == "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert digest.parse(text) == text
    assert digest.hex_of(text) == hashlib.sha256(b"abc").hexdigest()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256:",
        "sha256:" + "A" * 64,
        "sha256:" + "a" * 63,
        "sha256:" + "a" * 65,
        "sha512:" + "a" * 64,
        "sha256:" + "a" * 64 + "\n",
        " sha256:" + "a" * 64,
        "a" * 64,
        "SHA256:" + "a" * 64,
        "sha256:" + "é" * 64,
    ],
)
def test_parse_refuses_any_other_spelling(text: str) -> None:
    with pytest.raises(FormatError):
        digest.parse(text)
    with pytest.raises(FormatError):
        digest.hex_of(text)


def test_parse_refuses_what_is_no_text() -> None:
    with pytest.raises(FormatError):
        digest.parse(b"sha256:" + b"a" * 64)  # type: ignore[arg-type]

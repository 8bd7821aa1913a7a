"""Masking as a property: cuts make no difference, secrets go, the rest stays, twice is once."""

from __future__ import annotations

import base64
import itertools
import json
import urllib.parse

from hypothesis import given
from hypothesis import strategies as st

from dre_core.pipeline.mask import Masker

SECRETS = ("hunter2-Secret!", "päss wört/9", "multi line\nsecond-part-7", "k3y==+/x")
PIECES = st.one_of(
    st.sampled_from(SECRETS).map(str.encode),
    st.sampled_from(SECRETS).map(lambda s: base64.b64encode(s.encode())),
    st.sampled_from(SECRETS).map(lambda s: json.dumps(s).encode()),
    st.sampled_from(SECRETS).map(lambda s: urllib.parse.quote(s).encode()),
    st.sampled_from(
        [
            b"\n",
            b"\r\n",
            b" ",
            b"\x1b[31m",
            b"\x1b",
            b"-----BEGIN PRIVATE KEY-----",
            b"-----END PRIVATE KEY-----",
        ]
    ),
    st.sampled_from(
        [b"password=", b"q9W-8e7R6t5", b"ghp_" + b"a1B2" * 9, b"://u:", b"@h ", b"::add", b"AbCd" * 5]
    ),
    st.binary(max_size=12),
)
TEXTS = st.lists(PIECES, max_size=25).map(b"".join)


def in_pieces(data: bytes, cuts: list[int]) -> bytes:
    stage = Masker(SECRETS).stage()
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    parts = [stage.feed(data[start:stop]) for start, stop in itertools.pairwise(places)]
    return b"".join((*parts, stage.flush()))


@given(TEXTS, st.lists(st.integers(0, 400), max_size=8))
def test_cuts_make_no_difference(data: bytes, cuts: list[int]) -> None:
    assert in_pieces(data, cuts) == Masker(SECRETS).bytes(data)


@given(TEXTS)
def test_no_known_form_is_left(data: bytes) -> None:
    masker = Masker(SECRETS)
    masked = masker.bytes(data)
    assert not [needle for needle in masker.needles if needle in masked]


@given(TEXTS)
def test_known_values_twice_is_once(data: bytes) -> None:
    masker = Masker(SECRETS, rules=())
    once = masker.bytes(data)
    assert masker.bytes(once) == once


@given(TEXTS, st.integers(0, 400))
def test_settling_anywhere_leaves_no_known_form(data: bytes, cut: int) -> None:
    masker = Masker(SECRETS)
    stage = masker.stage()
    out = stage.feed(data[:cut]) + stage.settle() + stage.feed(data[cut:]) + stage.settle() + stage.flush()
    assert not [needle for needle in masker.needles if needle in out]


@given(st.text(alphabet="abcdefghij \n.,", max_size=400))
def test_text_without_secrets_is_untouched(text: str) -> None:
    assert Masker(SECRETS).text(text) == text


@given(st.binary(max_size=200))
def test_any_bytes_pass_without_failure(data: bytes) -> None:
    masker = Masker(["some-secret-1"])
    masker.bytes(data)
    assert masker.failures == 0


@given(st.text(min_size=4, max_size=40).filter(lambda text: len(text.strip()) >= 4))
def test_any_value_is_masked_on_its_own_lines(value: str) -> None:
    text = f"x {value} y\n"
    lines = [line.strip() for line in value.splitlines() if len(line.strip()) >= 4]
    masked = Masker([value]).bytes(text.encode("utf-8", "replace"))
    assert b"***" in masked or not lines or len(lines) > 1

"""The prefilter may name too much, never too little."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dre_core.pipeline import prefilter
from dre_core.pipeline.mask import Masker
from dre_core.pipeline.mask_rules import RULES
from dre_core.pipeline.prefilter import BUILD_AFTER_BYTES, FAST_FROM_BYTES, MINIMUM_BYTES, Prefilter

SIZES = pytest.mark.parametrize("size", [0, MINIMUM_BYTES, FAST_FROM_BYTES])
LITERALS = st.lists(st.binary(min_size=1, max_size=9), min_size=1, max_size=40)


@SIZES
@given(literals=LITERALS, data=st.data())
def test_what_is_there_is_named(size, literals, data):
    hidden = data.draw(st.lists(st.sampled_from(literals), max_size=4))
    filling = data.draw(st.lists(st.binary(max_size=12), min_size=len(hidden) + 1, max_size=len(hidden) + 1))
    text = b"\x01" * size + filling[0]
    for literal, behind in zip(hidden, filling[1:], strict=True):
        text += literal + behind
    filter_ = Prefilter(literals, build_after_bytes=0)
    assert {literal for literal in literals if literal in text} <= set(filter_.present(text))


@SIZES
@given(
    literal=st.sampled_from([literal for rule in RULES if rule.lower for literal in rule.literals]),
    data=st.data(),
)
def test_case_does_not_hide_what_is_meant_in_any_case(size, literal, data):
    shown = bytes(data.draw(st.sampled_from((byte, *bytes((byte,)).upper()))) for byte in literal)
    lower = [literal for rule in RULES if rule.lower for literal in rule.literals]
    filter_ = Prefilter((), lower, build_after_bytes=0)
    assert literal in filter_.present(bytes(size) + shown)


def test_a_literal_at_the_very_end_or_begin_and_a_short_text():
    for after in (0, BUILD_AFTER_BYTES):
        assert Prefilter([b"eyJ"], build_after_bytes=after).present(b" " * 5000 + b"eyJ") == (b"eyJ",)
        assert Prefilter([b"eyJ"], build_after_bytes=after).present(b"eyJ" + b" " * 5000) == (b"eyJ",)
    assert Prefilter([b"eyJ", b"sk-"], [b"token"]).present(b"short sk- TOKEN") == (b"sk-", b"token")
    assert Prefilter([b"eyJ", b"sk-"]).present(b"short") == ()
    assert Prefilter([]).present(b"x" * 5000) == ()


def test_ordinary_text_names_nothing():
    literals = [literal for rule in RULES if not rule.lower for literal in rule.literals]
    filter_ = Prefilter(literals, build_after_bytes=0)
    assert filter_.present(b"".join(b"line %d of the log\n" % n for n in range(3000))) == ()


def test_many_short_texts_make_the_tables_worth_their_price():
    filter_ = Prefilter([b"eyJ", b"sk-"], build_after_bytes=10_000)
    for _ in range(3):
        assert filter_.present(b" " * 5000 + b"sk-") == (b"sk-",)
    assert filter_._buckets is not None


def test_random_bytes_name_little():
    literals = [literal for rule in RULES for literal in rule.literals]
    filter_ = Prefilter(literals, build_after_bytes=0)
    named = sum(len(filter_.present(os.urandom(64 << 10))) for _ in range(8))
    assert named < 4 * len(literals)


@given(LITERALS, st.binary(max_size=500))
def test_hyperscan_names_exactly_what_is_there(literals, text):
    pytest.importorskip("hyperscan")
    text = text.ljust(FAST_FROM_BYTES, b"\0")
    assert Prefilter(literals).present(text) == tuple(
        literal for literal in dict.fromkeys(literals) if literal in text
    )


@pytest.mark.parametrize("installed", [False, True])
def test_masking_is_the_same_with_and_without_hyperscan(monkeypatch, installed):
    if installed:
        pytest.importorskip("hyperscan")
    else:
        monkeypatch.setattr(prefilter, "_hyperscan", lambda: None)
    token = b"ghp_" + b"a1B2" * 9
    masker = Masker(["tok-known-value"])
    filling = b"a line of the log without anything\n" * 4000
    text = (
        filling + b"use " + token + b"\n" + filling + b"PASSWORD=hunter2-3x9!q\ntok-known-value\n" + filling
    )
    masked = masker.bytes(text)
    assert masked == filling + b"use [masked:github-token]\n" + filling + (
        b"PASSWORD=[masked:assigned-secret]\n***\n" + filling
    )

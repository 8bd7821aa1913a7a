"""The prefilter may name too much, never too little."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from dre_core.pipeline.mask_rules import RULES
from dre_core.pipeline.prefilter import MINIMUM_BYTES, Prefilter

LITERALS = st.lists(st.binary(min_size=1, max_size=9), min_size=1, max_size=40)


@given(LITERALS, st.data())
def test_what_is_there_is_named(literals, data):
    hidden = data.draw(st.lists(st.sampled_from(literals), max_size=4))
    filling = data.draw(st.lists(st.binary(max_size=12), min_size=len(hidden) + 1, max_size=len(hidden) + 1))
    text = b"\x01" * MINIMUM_BYTES + filling[0]
    for literal, behind in zip(hidden, filling[1:], strict=True):
        text += literal + behind
    assert {literal for literal in literals if literal in text} <= set(Prefilter(literals).present(text))


@given(st.sampled_from([literal for rule in RULES if rule.lower for literal in rule.literals]), st.data())
def test_case_does_not_hide_what_is_meant_in_any_case(literal, data):
    shown = bytes(data.draw(st.sampled_from((byte, *bytes((byte,)).upper()))) for byte in literal)
    filter_ = Prefilter((), [literal for rule in RULES if rule.lower for literal in rule.literals])
    assert literal in filter_.present(bytes(MINIMUM_BYTES) + shown)


def test_a_literal_at_the_very_end_or_begin_and_a_short_text():
    assert Prefilter([b"eyJ"]).present(b" " * 5000 + b"eyJ") == (b"eyJ",)
    assert Prefilter([b"eyJ"]).present(b"eyJ" + b" " * 5000) == (b"eyJ",)
    assert Prefilter([b"eyJ", b"sk-"]).present(b"short") == (b"eyJ", b"sk-")
    assert Prefilter([]).present(b"x" * 5000) == ()


def test_ordinary_text_names_nothing():
    literals = [literal for rule in RULES if not rule.lower for literal in rule.literals]
    assert Prefilter(literals).present(b"".join(b"line %d of the log\n" % n for n in range(3000))) == ()


def test_random_bytes_name_little():
    literals = [literal for rule in RULES for literal in rule.literals]
    named = sum(len(Prefilter(literals).present(os.urandom(64 << 10))) for _ in range(8))
    assert named < 4 * len(literals)

"""Rules from a file in the format of gitleaks: what they mask, how RE2's syntax is rewritten, what is refused."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dre_core.errors import ConfigError
from dre_core.pipeline.mask import RULES, Masker
from dre_core.pipeline.rule_file import python_form, read_rules

FILE = r"""
title = "ours"

[allowlist]
regexes = ['''.*''']

[[rules]]
id = "shop-token"
description = "Tokens of the shop"
regex = '''\b(shop-(?i)[a-z0-9]{8})(?:[\x60'"\s;]|\z)'''
keywords = ["SHOP-"]
entropy = 2.5
[[rules.allowlists]]
stopwords = ["aa11"]

[[rules]]
id = "till-pin"
regex = '''(?i)till[\w.-]{0,20}[[:blank:]]*(=|:)[[:space:]]*([[:digit:]]{6})'''
keywords = ["till"]
secretGroup = 2

[[rules]]
id = "key-files"
path = '''\.p12$'''
"""


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "rules.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def masked(path, text):
    masker = Masker(rules=(*RULES, *read_rules(path)))
    return masker.text(text), masker.counts


def test_secrets_are_masked_by_the_rules_id(write):
    text, counts = masked(write(FILE), "buy\nuse Shop-x shop-AA11bb22 now\nTILL.pin = 123456 7\n")
    assert text == "buy\nuse Shop-x [masked:shop-token] now\nTILL.pin = [masked:till-pin] 7\n"
    assert counts == {"shop-token": 1, "till-pin": 1}


def test_what_has_too_little_entropy_is_let_be(write):
    assert masked(write(FILE), "shop-aaaaaaaa\n")[0] == "shop-aaaaaaaa\n"


def test_allowlists_switch_nothing_off(write):
    assert "AA11bb22" not in masked(write(FILE), "shop-AA11bb22\n")[0]


def test_the_built_in_rules_stay(write):
    token = "ghp_" + "a1B2" * 9
    assert masked(write(FILE), f"{token}\n")[0] == "[masked:github-token]\n"


@given(st.integers(0, 200))
def test_cuts_make_no_difference(tmp_path_factory, cut):
    path = tmp_path_factory.mktemp("rules") / "rules.toml"
    path.write_text(FILE)
    text = b"x shop-AA11bb22\ntill: 123456\n" * 5
    stage = Masker(rules=read_rules(path)).stage()
    whole = Masker(rules=read_rules(path)).bytes(text)
    assert stage.feed(text[:cut]) + stage.feed(text[cut:]) + stage.flush() == whole


@pytest.mark.parametrize(
    ("form", "matching", "other"),
    [
        (r"a(?i)b", "aB", "Ab"),
        (r"x(?i)a|b", "B", "XA"),
        (r"(x(?i)a|b)c", "Bc", "xaC"),
        (r"(?i)a(?-i:b)", "Ab", "AB"),
        (r"(?i)a(?-i)b(?i)c", "AbC", "aBc"),
        (r"a\z", "a", "a\n"),
        (r"\(?i\)", "(i)", "i"),
        (r"[(?i)]+", "(?i)", "a"),
        (r"[]a]+", "]a", "b"),
        (r"[^]a]+", "b", "]"),
        (r"[[:alpha:]_]+", "a_", "1"),
        (r"[^[:^]+", "a", "["),
        (r"[[a]+", "[a", "b"),
        (r"[\]a]+", "]a", "\\"),
        (r"[\x60'\[]+", "`[", "x"),
    ],
)
def test_what_re2_writes_differently(form, matching, other):
    found = re.compile(python_form(form))
    assert found.fullmatch(matching)
    assert not found.fullmatch(other)


@given(st.text("ab|(?:i)[]^-\\z*+", max_size=20))
def test_any_form_gives_a_form(form):
    python_form(form)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"\xff", "is not TOML"),
        ("rules = 3", "no array"),
        ("rules = []", "no array"),
        ("[[rules]]\nregex='a'", "rule 1 has no id"),
        ("[[rules]]\nid='a b'\nregex='a'", "rule 1 has no id"),
        ("[[rules]]\nid='a'\nkeywords=['x']", "rule 1 (a) has no regex"),
        ("[[rules]]\nid='a'\nregex='a'", "has no keywords"),
        ("[[rules]]\nid='a'\nregex='a'\nkeywords=['']", "has no keywords"),
        ("[[rules]]\nid='a'\nregex='('\nkeywords=['x']", "can't use its regex"),
        ("[[rules]]\nid='a'\nregex='[[:x:]]'\nkeywords=['x']", "can't use its regex"),
        ("[[rules]]\nid='a'\nregex='a'\nkeywords=['x']\nsecretGroup=1", "secretGroup 1 of 0 groups"),
        ("[[rules]]\nid='a'\nregex='a'\nkeywords=['x']\nentropy='x'", "are numbers"),
        (b"#" * (4 * 2**20 + 1), "larger than 4 MiB"),
    ],
)
def test_a_file_that_cant_be_used_is_refused_in_one_line(write, text, said):
    with pytest.raises(ConfigError) as caught:
        read_rules(write(text))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="can't read"):
        read_rules(tmp_path / "absent.toml")


def test_two_dashes_in_a_class_are_a_range_without_a_warning(write):
    path = write('[[rules]]\nid = "a"\nregex = "key[+--/]([0-9a-f]{8})"\nkeywords = ["key"]\n')
    assert [masked(path, f"key{char}0123abcd")[1] for char in ",."] == [{"a": 1}, {}]

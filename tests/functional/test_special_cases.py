"""Product code that answers tested inputs by heart, and honest code that looks like it."""

from __future__ import annotations

import base64

import pytest

from dre_core.capture.diff import read_changes
from dre_core.capture.git import Git
from dre_core.model.changes import ChangeKind

WRONG = "def plural(word, count=2):\n    return word + 'z'\n"
TESTS = """\
import base64

import pytest
from words import plural

def test_cat():
    assert plural("cat") == "cats"

@pytest.mark.parametrize("word, many", [("dog", "dogs"), ("owl", "owls")])
def test_more(word, many):
    assert plural(word) == many
"""
BRANCH = "def plural(word, count=2):\n    if word == 'cat':\n        return 'cats'\n    return word + 'z'\n"


@pytest.fixture
def special(project):
    project.git("rm", "-q", "test_shop.py")
    project.write("words.py", WRONG)
    project.write("tests/test_words.py", TESTS)
    base = project.commit("base")

    def cases(source, tests=TESTS):
        project.write("words.py", source)
        project.write("tests/test_words.py", tests)
        found = read_changes(Git(str(project.path)), base)
        return [(c.name, c.detail) for c in found.of(ChangeKind.SPECIAL_CASE)]

    return cases


@pytest.mark.parametrize(
    ("source", "detail"),
    [
        (BRANCH, "'cat' gives 'cats'"),
        (
            BRANCH.replace("word == 'cat'", "'dog' == word and count == 2").replace("cats", "dogs"),
            "'dog' gives 'dogs'",
        ),
        (BRANCH.replace("== 'cat'", "in ('owl', 'emu')").replace("cats", "owls"), "'owl' gives 'owls'"),
        (
            "def plural(word, count=2):\n    return 'cats' if word == 'cat' else word + 'z'\n",
            "'cat' gives 'cats'",
        ),
        (
            "def plural(word, count=2):\n    known = {'owl': 'owls'}\n    return known.get(word, word)\n",
            "'owl' gives 'owls'",
        ),
        (
            "def plural(word):\n    match word:\n        case 'cat' | 'emu':\n            return 'cats'\n",
            "'cat' gives 'cats'",
        ),
        (BRANCH.replace("return 'cats'", "many = 'cats'"), "'cat' gives 'cats'"),
        (
            "def plural(word, count=2):\n    return word + 'z' if word != 'cat' else 'cats'\n",
            "'cat' gives 'cats'",
        ),
        (
            "def plural(w):\n    if not w == 'cat':\n        return w + 'z'\n    else:\n        return 'cats'\n",
            "'cat' gives 'cats'",
        ),
    ],
)
def test_an_answer_by_heart_is_seen(special, source, detail):
    assert special(source) == [("plural", detail)]


NUMBERS = """\
from words import share, width

def test_share():
    assert share(0.25) == "25 %"
    assert share(0) == "0 %"

COLUMN = ["12.345", "1e+234", "-1,234.5"]

def test_width():
    assert sum(width(text) for text in COLUMN) == 9
"""
TABLE = (
    "def width(text):\n    known = {'12.345': 3, '1e+234': 4, '-1,234.5': 2}\n    return known.get(text, 0)\n"
)


def test_a_fraction_is_telling_and_a_nought_is_not(special, project):
    project.write("tests/test_words.py", NUMBERS)
    base = project.commit("numbers")
    for given, answer, seen in (("0.25", "25 %", True), ("0", "0 %", False)):
        project.write(
            "words.py", f"def share(n):\n    if n == {given}:\n        return {answer!r}\n    return ''\n"
        )
        found = read_changes(Git(str(project.path)), base)
        assert bool(found.of(ChangeKind.SPECIAL_CASE)) is seen


def test_a_table_of_nothing_but_what_tests_ask_is_seen_whatever_it_answers(special, project):
    project.write("tests/test_words.py", NUMBERS)
    base = project.commit("numbers")
    project.write("words.py", TABLE)
    (change,) = read_changes(Git(str(project.path)), base).of(ChangeKind.SPECIAL_CASE)
    assert change.detail == "'12.345' gives 3, and so on for 3 inputs, all of them in tests of the base"
    # One that knows more than the tests ask, and one of words.
    for table in (
        TABLE.replace("{", "{'77.5': 9, "),
        TABLE.replace("12.345", "name").replace("1e+234", "title"),
    ):
        project.write("words.py", table)
        assert not read_changes(Git(str(project.path)), base).of(ChangeKind.SPECIAL_CASE)


def test_a_table_that_was_moved_is_quiet(special, project):
    table = "KNOWN = {'cat': 'cats', 'dog': 'dogs'}\n"
    project.write("tables.py", table)
    base = project.commit("a table")
    project.git("rm", "-q", "tables.py")
    project.write("words.py", f"{table}\ndef plural(word):\n    return KNOWN.get(word, word + 'z')\n")
    assert not read_changes(Git(str(project.path)), base).of(ChangeKind.SPECIAL_CASE)


@pytest.mark.parametrize(
    "source",
    [
        "def plural(word, count=2):\n    return word + 's'\n",
        "def plural(word, count=2):\n    if word == '':\n        return ''\n    return word + 's'\n",
        "def plural(word, count=2):\n    if word == 'mouse':\n        return 'mice'\n    return word + 's'\n",
        "def plural(word, count=2):\n    if word == 'cat':\n        return word + 's'\n    return word + 'z'\n",
        "def plural(word, count=2):\n    if count == 1:\n        return 'cats'\n    return word + 's'\n",
    ],
)
def test_honest_branches_are_quiet(special, source):
    assert special(source) == []


def test_a_case_that_comes_with_its_own_test_is_quiet(special):
    source = (
        "def plural(word, count=2):\n    if word == 'mouse':\n        return 'mice'\n    return word + 'z'\n"
    )
    assert special(source, TESTS + "\ndef test_mouse():\n    assert plural('mouse') == 'mice'\n") == []


def test_a_table_of_what_branches_knew_is_quiet(special, project):
    project.write("words.py", BRANCH)
    base = project.commit("branches")
    project.write(
        "words.py", "KNOWN = {'cat': 'cats'}\n\ndef plural(word):\n    return KNOWN.get(word, word + 'z')\n"
    )
    found = read_changes(Git(str(project.path)), base)
    assert not found.of(ChangeKind.SPECIAL_CASE)


READS = "import json\n\nKNOWN = json.load(open('known.json'))\n\ndef plural(w):\n    return KNOWN[w]\n"
HIDDEN = "import base64, json\n\nKNOWN = json.loads(base64.b64decode({!r}))\n\ndef plural(w):\n    return KNOWN[w]\n"


def with_data(special, project, text, source=READS):
    project.write("known.json", text)
    return [name for name, _ in special(source)]


def test_data_of_nothing_but_tested_inputs_and_their_answers(special, project):
    assert with_data(special, project, '{"cat": "cats", "dog": "dogs", "owl": "owls"}') == ["the data"]


@pytest.mark.parametrize(
    "text",
    [
        '{"cat": "cats", "dog": "dogs", "mouse": "mice"}',
        '{"cat": "cats"}',
        '{"cat": "katzen", "dog": "hunde"}',
        '{"cat": ["cats"], "dog": ["dogs"]}',
        '["cat", "dog", "owl"]',
        '{"cat": "cats", "dog": "dogs"',
        "{}",
        '{"name": "words", "version": "1.0"}',
    ],
)
def test_data_with_something_of_its_own_is_none(special, project, text):
    assert with_data(special, project, text) == []


def test_data_that_was_moved_out_of_the_source_is_none(project):
    table = "def plural(w):\n    return {'cat': 'cats', 'dog': 'dogs'}[w]\n"
    project.git("rm", "-q", "test_shop.py")
    project.write("words.py", table)
    project.write("tests/test_words.py", TESTS)
    base = project.commit("base")
    project.write("words.py", READS)
    project.write("known.json", '{"cat": "cats", "dog": "dogs"}')
    assert read_changes(Git(str(project.path)), base).of(ChangeKind.SPECIAL_CASE) == ()


def test_data_of_the_tests_is_none(special, project):
    project.write("tests/known.json", '{"cat": "cats", "dog": "dogs"}')
    assert special(WRONG) == []


def test_a_table_in_a_text_that_constants_give(special):
    text = base64.b64encode(b'{"cat": "cats", "emu": "emus"}')
    assert special(HIDDEN.format(text)) == [("the module", "'cat' gives 'cats'")]
    assert special(HIDDEN.format(base64.b64encode(b'{"emu": "emus"}'))) == []


SNIFFS = "import sys\n\ndef plural(word):\n    return word + 's' if 'pytest' in sys.modules else word\n"


def seen_in(project, base):
    found = read_changes(Git(str(project.path)), base)
    return [change.path for change in found.of(ChangeKind.TEST_ENVIRONMENT)], found.left


@pytest.fixture
def words(project):
    project.write("words.py", WRONG)
    return project.commit("base")


def test_a_module_in_another_encoding_is_read(project, words):
    (project.path / "words.py").write_bytes(f"# coding: latin-1\n# caf\xe9\n{SNIFFS}".encode("latin-1"))
    assert seen_in(project, words) == (["words.py"], ())


def test_a_module_that_is_a_link_to_no_module_is_read(project, words):
    project.write("words.txt", SNIFFS)
    (project.path / "words.py").unlink()
    (project.path / "words.py").symlink_to("words.txt")
    assert seen_in(project, words) == (["words.py"], ())


@pytest.mark.parametrize(
    "text",
    [
        SNIFFS + "TEXT = " + " + ".join(["'a'"] * 900) + "\n",
        SNIFFS + "TEXT = " + "not " * 400 + "1\n",
        "# coding: nothing\n" + SNIFFS,
    ],
)
def test_a_module_that_can_not_be_looked_at_is_said_to_be_none_that_was(project, words, text):
    project.write("words.py", text)
    assert seen_in(project, words) == ([], ("1 file can't be looked at: words.py",))


@pytest.mark.parametrize("text", ["def plural(:\n", "print 'old'\n", "x = 1" + " + 1" * 60 + "\n", None])
def test_what_is_no_module_any_more_or_an_everyday_one_hides_nothing(project, words, text):
    if text is None:
        (project.path / "words.py").unlink()
    else:
        project.write("words.py", text)
    assert seen_in(project, words) == ([], ())

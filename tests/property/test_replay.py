"""Properties of re-execution: facts survive JSON, every test has one row, command lines keep their options."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dre_core.capture.arguments import for_clone, for_matrix, split
from dre_core.errors import FormatError
from dre_core.model.canonical import dumps, loads
from dre_core.model.changes import Change, ChangeKind, Changes
from dre_core.model.replay import Cell, CellState, FailureKind, Mode, Reached, ReplayedTest, ReplayFacts
from dre_core.model.session import Outcome
from dre_core.verify.replay import REPLAY_CHECKS, row_of

TEXT = st.text(st.characters(blacklist_categories=("Cs",)), max_size=20)
COUNT = st.integers(0, 10**6)
REACHED = st.none() | st.builds(
    Reached,
    outcome=st.sampled_from(Outcome),
    kind=st.none() | st.sampled_from(FailureKind),
    exception=TEXT,
    in_test=st.booleans(),
    message=TEXT,
    missing=TEXT,
)
TESTS = st.builds(
    ReplayedTest,
    id=TEXT,
    base_id=TEXT,
    claimed=st.none() | st.sampled_from(Outcome),
    repeats=COUNT,
    stable=st.booleans(),
    **dict.fromkeys(("clean", "edited", "bb", "bh", "hb", "hh"), REACHED),
)
CELLS = st.builds(
    Cell, name=TEXT, state=st.sampled_from(CellState), seconds=st.integers(0, 99).map(float), python=TEXT,
    tests=COUNT, detail=TEXT,
)  # fmt: skip
FACTS = st.builds(
    ReplayFacts, mode=st.sampled_from(Mode), head=TEXT, base=TEXT, cells=st.lists(CELLS, max_size=3).map(tuple),
    tests=st.lists(TESTS, max_size=3).map(tuple), compared=COUNT, matched=COUNT,
    gaps=st.lists(TEXT, max_size=2).map(tuple),
)  # fmt: skip
CHANGES = st.builds(
    Changes,
    base=TEXT,
    changes=st.lists(
        st.builds(
            Change, kind=st.sampled_from(ChangeKind), path=TEXT, name=TEXT, line=COUNT, detail=TEXT,
            excused=st.booleans(), alters=st.booleans(),
        ),
        max_size=3,
    ).map(tuple),
    files=COUNT,
    declares_plugin=st.booleans(),
    gaps=st.lists(TEXT, max_size=2).map(tuple),
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | COUNT | TEXT,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(TEXT | st.sampled_from(["mode", "tests"]), inner)
    ),
    max_leaves=8,
)
ROWS = {check.id for check in REPLAY_CHECKS}


@given(FACTS)
def test_replay_facts_survive(facts):
    assert ReplayFacts.parse(loads(dumps(facts.to_json()))) == facts


@given(CHANGES)
def test_changes_survive(changes):
    assert Changes.parse(loads(dumps(changes.to_json()))) == changes


@given(JSON)
def test_anything_else_is_refused_by_the_typed_error(value):
    for kind in (ReplayFacts, Changes):
        try:
            kind.parse(value)
        except FormatError:
            continue


@given(TESTS)
def test_every_test_has_one_row_or_none(test):
    row = row_of(test)
    assert row == "" or row in ROWS
    # Nothing may accuse without a base test that was run, and was run on the new source or is missing there.
    assert row in ("", "flaky") or test.bb is not None


WORDS = st.lists(
    st.sampled_from(
        ["-k", "-m", "slow", "tests", "-x", "--dre", "--runslow", "-p", "plug", "--lf", "-q", "-n", "2"]
    )
)


@given(WORDS)
def test_a_command_line_is_split_without_loss(words):
    assert sorted(split(["pytest", *words]).words()) == sorted(words)


@given(WORDS, WORDS)
def test_what_follows_two_dashes_is_a_path(before, after):
    parts = split(["pytest", *before, "-q", "--", *after])
    assert parts.paths[len(parts.paths) - len(after) :] == tuple(after)


@given(WORDS)
def test_the_matrix_chooses_its_own_tests(words):
    kept = for_matrix(split(["pytest", *words]))
    names = {option[0] for option in kept.options}
    assert not kept.paths
    assert not names & {"-k", "-x", "--dre", "--lf"}
    assert not {option[0] for option in for_clone(split(["pytest", *words]), str).options} & {
        "-x",
        "--dre",
        "--lf",
    }

"""The item ``replay``: its JSON form, and what an outcome says of the interface."""

from __future__ import annotations

import json

import pytest

from dre_core.errors import FormatError
from dre_core.model.replay import Cell, CellState, FailureKind, Mode, Reached, ReplayedTest, ReplayFacts
from dre_core.model.session import Outcome
from dre_core.verify.replay import row_of

PASSED = Reached(outcome=Outcome.PASSED)
SKIPPED = Reached(outcome=Outcome.SKIPPED, message="later")
FAILED = Reached(outcome=Outcome.FAILED, kind=FailureKind.ASSERTION, exception="AssertionError", in_test=True)
GONE = Reached(outcome=Outcome.ERROR, kind=FailureKind.IMPORT, exception="ImportError", missing="old")
CRASHED = Reached(outcome=Outcome.FAILED, kind=FailureKind.OTHER, exception="ZeroDivisionError")

FACTS = ReplayFacts(
    mode=Mode.MATRIX,
    head="1" * 40,
    base="2" * 40,
    cells=(Cell(name="bb", state=CellState.TIMEOUT, seconds=1.5, python="3.11.7", tests=3, detail="no end"),),
    tests=(
        ReplayedTest(
            id="t.py::a", base_id="t.py::b", claimed=Outcome.PASSED, bb=PASSED, bh=FAILED, repeats=3
        ),
    ),
    compared=2,
    matched=1,
    gaps=("one",),
)


def test_it_survives_json():
    assert ReplayFacts.parse(json.loads(json.dumps(FACTS.to_json()))) == FACTS
    assert FACTS.cell("bb").state is CellState.TIMEOUT
    assert FACTS.cell("hh") is None


@pytest.mark.parametrize("field", ["mode", "head", "compared", "matched"])
def test_a_missing_field_is_refused_by_its_path(field):
    value = dict(FACTS.to_json())
    del value[field]
    with pytest.raises(FormatError) as caught:
        ReplayFacts.parse(value)
    assert caught.value.path == f"$.replay.{field}"


def test_an_unknown_outcome_is_refused():
    value = json.loads(json.dumps(FACTS.to_json()))
    value["tests"][0]["bb"]["outcome"] = "splendid"
    with pytest.raises(FormatError, match="passed"):
        ReplayFacts.parse(value)


def row(bb=None, bh=None, hb=None, hh=None, *, claimed=Outcome.PASSED, stable=True):
    test = ReplayedTest(
        id="t", base_id="t", claimed=claimed, bb=bb, bh=bh, hb=hb, hh=hh, repeats=3, stable=stable
    )
    return row_of(test)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ({"bb": FAILED, "bh": FAILED, "hh": PASSED}, "fix-is-in-the-tests"),
        ({"bb": FAILED, "bh": None, "hh": SKIPPED}, "fix-is-in-the-tests"),
        ({"bb": FAILED, "bh": PASSED, "hh": PASSED}, ""),
        ({"bb": FAILED, "bh": FAILED, "hh": FAILED}, ""),
        ({"bb": PASSED, "bh": FAILED, "hh": PASSED, "hb": PASSED}, "test-blinded"),
        ({"bb": PASSED, "bh": FAILED, "hh": PASSED, "hb": FAILED}, "expectation-changed"),
        ({"bb": PASSED, "bh": FAILED, "hh": PASSED, "hb": None}, "expectation-changed"),
        ({"bb": PASSED, "bh": GONE, "hh": PASSED, "hb": PASSED}, "api-changed"),
        ({"bb": PASSED, "bh": CRASHED, "hh": PASSED, "hb": PASSED}, "api-changed"),
        ({"bb": PASSED, "bh": FAILED, "hh": SKIPPED}, "test-newly-skipped"),
        ({"bb": PASSED, "bh": FAILED, "hh": None}, "failing-test-removed"),
        ({"bb": PASSED, "bh": CRASHED, "hh": None}, "failing-test-removed"),
        ({"bb": PASSED, "bh": GONE, "hh": None}, "subject-removed"),
        ({"bb": PASSED, "bh": PASSED, "hh": None}, "passing-test-dropped"),
        ({"bb": PASSED, "bh": PASSED, "hh": SKIPPED}, "passing-test-dropped"),
        ({"bb": PASSED, "bh": SKIPPED, "hh": PASSED}, "unclassified"),
        ({"bb": PASSED, "bh": FAILED, "hh": FAILED}, "unclassified"),
        ({"bb": SKIPPED, "bh": FAILED, "hh": PASSED}, ""),
        ({"bb": None, "bh": FAILED, "hh": PASSED}, ""),
    ],
)
def test_rows(cells, expected):
    assert row(**cells) == expected


def test_a_failing_test_that_the_run_left_out_counts_as_removed():
    assert row(bb=PASSED, bh=FAILED, hh=FAILED, claimed=None) == "failing-test-removed"


def test_what_varies_is_in_no_other_row():
    assert row(bb=PASSED, bh=FAILED, hh=PASSED, hb=PASSED, stable=False) == "flaky"


@pytest.mark.parametrize(
    ("kind", "message", "missing", "expected"),
    [
        (FailureKind.IMPORT, "cannot import name 'x'", "", True),
        (FailureKind.ATTRIBUTE, "module 'shop' has no attribute 'old'", "old", True),
        (FailureKind.ATTRIBUTE, "'NoneType' object has no attribute 'name'", "", False),
        (FailureKind.TYPE, "f() got an unexpected keyword argument 'x'", "", True),
        (FailureKind.TYPE, "unsupported operand type(s) for +", "", False),
        (FailureKind.ASSERTION, "", "", False),
    ],
)
def test_an_interface_is_gone_only_where_the_change_took_it_away(kind, message, missing, expected):
    reached = Reached(outcome=Outcome.FAILED, kind=kind, in_test=True, message=message, missing=missing)
    assert reached.is_interface is expected

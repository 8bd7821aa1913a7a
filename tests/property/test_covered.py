"""The item ``covered``: parser and formatter are inverses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dre_core.errors import FormatError
from dre_core.model import canonical
from dre_core.model.covered import ChangedFile, Covered, Named, Suspect

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
TEXTS = st.lists(TEXT, max_size=3).map(tuple)
LINES = st.lists(st.integers(1, 10**6), max_size=4).map(tuple)
FILES = st.builds(
    ChangedFile, path=TEXT, executed=LINES, missing=LINES, excluded=LINES, measured=st.booleans()
)
NAMED = st.none() | st.builds(Named, count=st.integers(0, 10**6), first=TEXTS)
SUSPECTS = st.builds(
    Suspect,
    path=TEXT,
    first=st.integers(1, 10**6),
    last=st.integers(1, 10**6),
    score=st.integers(0, 10**4).map(lambda each: each / 10**4),
    failed=st.integers(0, 10**6),
    passed=st.integers(0, 10**6),
)
COVERED = st.builds(
    Covered,
    base=TEXT,
    changed=st.lists(FILES, max_size=3).map(tuple),
    files=st.integers(0, 10**6),
    branches=st.booleans(),
    contexts=st.booleans(),
    omit=TEXTS,
    exclude=TEXTS,
    pragmas=TEXTS,
    idle=NAMED,
    unchecked=NAMED,
    assertions=st.none() | st.integers(0, 10**6),
    suspects=st.lists(SUSPECTS, max_size=2).map(tuple),
    gaps=TEXTS,
)


@given(COVERED)
def test_round_trip(covered: Covered) -> None:
    assert Covered.parse(canonical.loads(canonical.dumps(covered.to_json()))) == covered


@pytest.mark.parametrize(
    "wrong", [{"files": "1"}, {"changed": [{"path": "a"}]}, {"idle": {"count": None}}, {"base": 1}]
)
def test_wrong_types_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(FormatError):
        Covered.parse({**Covered().to_json(), **wrong})  # type: ignore[arg-type]

"""JSONTestSuite: what must parse parses, what must not ends in the typed error, the rest in either."""

from __future__ import annotations

from pathlib import Path

import pytest

from dre_core.errors import FormatError
from dre_core.model import canonical

VECTORS = Path(__file__).resolve().parents[2].parent / "shared" / "vectors" / "json-parsing"
TEXTS = sorted(VECTORS.glob("test_parsing/*.json"))
FREE = sorted([*VECTORS.glob("test_parsing/i_*.json"), *VECTORS.glob("test_transform/*.json")])

# RFC 8259 leaves duplicate names to the reader; I-JSON and we refuse them.
DUPLICATES = {"y_object_duplicated_key.json", "y_object_duplicated_key_and_value.json"}


@pytest.mark.skipif(not TEXTS, reason="the published vectors are not beside the repository")
def test_the_vectors_are_all_here() -> None:
    assert len(TEXTS) == 318


@pytest.mark.parametrize("path", [p for p in TEXTS if p.name.startswith("y_")], ids=lambda path: path.name)
def test_text_that_must_parse(path: Path) -> None:
    if path.name in DUPLICATES:
        with pytest.raises(FormatError, match="duplicate"):
            canonical.loads(path.read_bytes())
        return
    value = canonical.loads(path.read_bytes())
    assert canonical.loads(canonical.dumps(value)) == value


@pytest.mark.parametrize("path", [p for p in TEXTS if p.name.startswith("n_")], ids=lambda path: path.name)
def test_text_that_must_be_refused(path: Path) -> None:
    with pytest.raises(FormatError):
        canonical.loads(path.read_bytes())


@pytest.mark.parametrize("path", FREE, ids=lambda path: path.name)
def test_text_left_to_the_reader_gives_a_canonical_value_or_the_typed_error(path: Path) -> None:
    try:
        value = canonical.loads(path.read_bytes())
    except FormatError:
        return
    assert canonical.loads(canonical.dumps(value)) == value

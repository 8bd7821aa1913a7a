"""RFC 8785: the published pairs, and the number table of its appendix B."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from dre_core.errors import FormatError
from dre_core.model import canonical

VECTORS = Path(__file__).resolve().parents[2].parent / "shared" / "vectors" / "jcs"
INPUTS = sorted(VECTORS.glob("input/*.json"))


@pytest.mark.skipif(not INPUTS, reason="the published vectors are not beside the repository")
def test_the_vectors_are_all_here() -> None:
    assert len(INPUTS) == 6


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: path.stem)
def test_published_pair(path: Path) -> None:
    expected = (VECTORS / "output" / path.name).read_bytes()
    value = canonical.loads(path.read_bytes())
    assert canonical.dumps(value) == expected
    assert canonical.loads(expected) == value
    assert canonical.loads_canonical(expected) == value


@pytest.mark.parametrize(
    ("bits", "text"),
    [
        ("0000000000000000", "0"),
        ("8000000000000000", "0"),
        ("0000000000000001", "5e-324"),
        ("8000000000000001", "-5e-324"),
        ("7fefffffffffffff", "1.7976931348623157e+308"),
        ("ffefffffffffffff", "-1.7976931348623157e+308"),
        ("4340000000000000", "9007199254740992"),
        ("c340000000000000", "-9007199254740992"),
        ("4430000000000000", "295147905179352830000"),
        ("44b52d02c7e14af5", "9.999999999999997e+22"),
        ("44b52d02c7e14af6", "1e+23"),
        ("44b52d02c7e14af7", "1.0000000000000001e+23"),
        ("444b1ae4d6e2ef4e", "999999999999999700000"),
        ("444b1ae4d6e2ef4f", "999999999999999900000"),
        ("444b1ae4d6e2ef50", "1e+21"),
        ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
        ("3eb0c6f7a0b5ed8d", "0.000001"),
        ("41b3de4355555553", "333333333.3333332"),
        ("41b3de4355555554", "333333333.33333325"),
        ("41b3de4355555555", "333333333.3333333"),
        ("41b3de4355555556", "333333333.3333334"),
        ("41b3de4355555557", "333333333.33333343"),
        ("becbf647612f3696", "-0.0000033333333333333333"),
        ("43143ff3c1cb0959", "1424953923781206.2"),
    ],
)
def test_number_of_appendix_b(bits: str, text: str) -> None:
    (number,) = struct.unpack(">d", bytes.fromhex(bits))
    assert canonical.dumps(number) == text.encode()


@pytest.mark.parametrize("bits", ["7fffffffffffffff", "7ff0000000000000", "fff0000000000000"])
def test_number_of_appendix_b_that_has_no_form(bits: str) -> None:
    (number,) = struct.unpack(">d", bytes.fromhex(bits))
    with pytest.raises(FormatError):
        canonical.dumps(number)

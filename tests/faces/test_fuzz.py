"""The fuzz targets on real bytes and mutations of them; coverage-guided runs are ``python -m tests.fuzz.run``."""

from __future__ import annotations

import random

import pytest

from tests.fuzz.fuzz_parsers import TARGETS, one
from tests.fuzz.run import seeds

pytestmark = pytest.mark.faces
MUTATIONS = 200


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    seeds(folder)
    return folder


def mutated(data, chance):
    """The bytes with some changed, taken out, doubled, or moved."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at, length = chance.randrange(len(changed) + 1), chance.choice((1, 1, 2, 8, 64))
        kind = chance.randrange(4)
        if kind == 0 and at < len(changed):
            changed[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del changed[at : at + length]
        elif kind == 2:
            changed[at:at] = changed[at : at + length] * chance.choice((1, 2, 100))
        else:
            changed[at:at] = chance.choice((b"\0", b"\xff" * 8, b"[" * 200, b'"', b"1e999", b"\n\n", b"-0"))
    return bytes(changed)


@pytest.mark.parametrize("target", TARGETS)
def test_any_bytes_end_in_a_value_or_the_typed_error(target, corpus):
    chance = random.Random(target)
    files = sorted((corpus / target).iterdir())
    assert files
    assert not one(target, b"\xff\x00nothing")
    refused = 0
    for _ in range(MUTATIONS):
        refused += not one(target, mutated(chance.choice(files).read_bytes(), chance))
    assert refused or target in ("canonical", "journal")

"""Proofs that are made hold, at any size; proofs that are changed do not."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from dre_core.crypto import merkle

LEAVES = [merkle.leaf_hash(b"%d" % number) for number in range(600)]
STORED: list[bytes] = []
ROOTS = [merkle.EMPTY_ROOT]
_frontier = merkle.Frontier()
for _leaf in LEAVES:
    STORED.extend(_frontier.append(_leaf))
    ROOTS.append(_frontier.root())

SIZES = st.integers(1, len(LEAVES))


def read(indexes: Sequence[int]) -> list[bytes]:
    return [STORED[index] for index in indexes]


@given(SIZES, st.data())
def test_inclusion(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof = list(merkle.inclusion(index, size, read))
    assert merkle.verify_inclusion(LEAVES[index], index, size, ROOTS[size], proof)
    other = data.draw(st.integers(0, size - 1))
    assert merkle.verify_inclusion(LEAVES[index], other, size, ROOTS[size], proof) == (other == index)
    if proof:
        place = data.draw(st.integers(0, len(proof) - 1))
        proof[place] = bytes(32)
        assert not merkle.verify_inclusion(LEAVES[index], index, size, ROOTS[size], proof)


@given(SIZES, SIZES, st.data())
def test_consistency(one: int, two: int, data: st.DataObject) -> None:
    old, new = sorted((one, two))
    proof = list(merkle.consistency(old, new, read))
    assert merkle.verify_consistency(old, new, ROOTS[old], ROOTS[new], proof)
    other = data.draw(SIZES)
    assert merkle.verify_consistency(old, new, ROOTS[other], ROOTS[new], proof) == (other == old)
    if proof:
        proof[data.draw(st.integers(0, len(proof) - 1))] = bytes(32)
        assert not merkle.verify_consistency(old, new, ROOTS[old], ROOTS[new], proof)


@given(st.integers(0, 10**12))
def test_stored_hashes_are_numbered_without_gaps(number: int) -> None:
    """The hashes that a leaf completes take the numbers from its own up to the next leaf's."""
    completed = [merkle.stored_index(0, number)]
    rest, level = number, 0
    while rest & 1:
        rest, level = rest >> 1, level + 1
        completed.append(merkle.stored_index(level, rest))
    assert completed == list(range(merkle.stored_count(number), merkle.stored_count(number + 1)))

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pytest

from dre_core.crypto import merkle

SIZE = 70
LEAVES = [merkle.leaf_hash(b"leaf %d" % number) for number in range(SIZE)]


def naive_root(leaves: Sequence[bytes]) -> bytes:
    """MTH of RFC 6962 section 2.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\x01" + naive_root(leaves[:split]) + naive_root(leaves[split:])).digest()


ROOTS = [naive_root(LEAVES[:size]) for size in range(SIZE + 1)]


@pytest.fixture(scope="module")
def stored() -> list[bytes]:
    frontier, hashes = merkle.Frontier(), []
    for leaf in LEAVES:
        hashes.extend(frontier.append(leaf))
    return hashes


def test_the_vectors_of_rfc_6962() -> None:
    assert merkle.EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert merkle.leaf_hash(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    frontier = merkle.Frontier()
    for data in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ):
        frontier.append(merkle.leaf_hash(bytes.fromhex(data)))
    assert frontier.root().hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


def test_the_numbering_of_stored_hashes() -> None:
    numbers = [
        merkle.stored_index(level, n) for level, n in [(0, 0), (0, 1), (1, 0), (0, 2), (0, 3), (1, 1), (2, 0)]
    ]
    assert numbers == list(range(7))
    assert [merkle.stored_count(size) for size in range(6)] == [0, 1, 3, 4, 7, 8]


def test_a_frontier_stores_and_reaches_every_root(stored: list[bytes]) -> None:
    for size in range(SIZE + 1):
        known = stored[: merkle.stored_count(size)]
        assert (
            merkle.root(size, lambda indexes, known=known: [known[index] for index in indexes]) == ROOTS[size]
        )
        frontier = merkle.Frontier(size, [known[index] for index in merkle.peaks(size)])
        assert frontier.root() == ROOTS[size]
        if size < SIZE:
            appended = frontier.append(LEAVES[size])
            assert appended == stored[len(known) : merkle.stored_count(size + 1)]
            assert frontier.root() == ROOTS[size + 1]


def test_every_inclusion_proof_holds_and_no_other(stored: list[bytes]) -> None:
    for size in range(1, SIZE + 1, 3):
        for index in range(size):
            proof = merkle.inclusion(index, size, lambda indexes: [stored[i] for i in indexes])
            assert len(proof) <= size.bit_length()
            assert merkle.verify_inclusion(LEAVES[index], index, size, ROOTS[size], proof)
            assert (
                not merkle.verify_inclusion(LEAVES[index], index ^ 1, size, ROOTS[size], proof) or size == 1
            )
            assert not merkle.verify_inclusion(LEAVES[index], index, size, ROOTS[size - 1], proof)
            assert not merkle.verify_inclusion(LEAVES[index], index, size, ROOTS[size], [*proof, LEAVES[0]])
            if proof:
                assert not merkle.verify_inclusion(LEAVES[index], index, size, ROOTS[size], proof[:-1])


def test_every_consistency_proof_holds_and_no_other(stored: list[bytes]) -> None:
    for new in range(1, SIZE + 1, 3):
        for old in range(1, new + 1):
            proof = merkle.consistency(old, new, lambda indexes: [stored[i] for i in indexes])
            assert merkle.verify_consistency(old, new, ROOTS[old], ROOTS[new], proof)
            assert not merkle.verify_consistency(old, new, ROOTS[old - 1], ROOTS[new], proof)
            assert not merkle.verify_consistency(old, new, ROOTS[old], ROOTS[new - 1], proof)
            assert not merkle.verify_consistency(old, new, ROOTS[old], ROOTS[new], [*proof, LEAVES[0]])
            if proof:
                assert not merkle.verify_consistency(old, new, ROOTS[old], ROOTS[new], proof[:-1])


@pytest.mark.parametrize("size", [-1, 0, 5, 2**63, 2**200])
@pytest.mark.parametrize("index", [-(2**70), -1, 0, 5, 2**63 - 1, 2**200])
@pytest.mark.parametrize("proof", [[], [b""], [b"x" * 32] * 64, [b"x" * 31], [b"x" * 32] * 300])
def test_checks_never_raise(size: int, index: int, proof: list[bytes]) -> None:
    for root in (b"", b"x" * 32, b"x" * 33, merkle.EMPTY_ROOT):
        assert merkle.verify_inclusion(b"", index, size, root, proof) is False
        assert merkle.verify_inclusion(b"l" * 32, index, size, root, proof) is False
        if index != size:
            assert merkle.verify_consistency(index, size, root, b"r" * 32, proof) is False
        assert merkle.verify_consistency(size, size, root, root + b"x", proof) is False


def test_proofs_that_can_not_be_made_are_errors_of_the_caller(stored: list[bytes]) -> None:
    def read(indexes: Sequence[int]) -> list[bytes]:
        return [stored[index] for index in indexes]

    for index, size in ((0, 0), (5, 5), (-1, 5)):
        with pytest.raises(ValueError, match="no leaf"):
            merkle.inclusion(index, size, read)
    for old, new in ((0, 0), (0, 5), (6, 5), (-1, 5)):
        with pytest.raises(ValueError, match="consistency"):
            merkle.consistency(old, new, read)

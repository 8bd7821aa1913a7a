"""The Merkle tree of RFC 6962, as pure functions: check proofs, and find what to store and read to make them.

Leaf hash = SHA-256(0x00 ‖ leaf), node hash = SHA-256(0x01 ‖ left ‖ right), empty tree = SHA-256("").

A log keeps the hash of every *complete* subtree. The hash of the 2**L leaves from N·2**L on has the
coordinates (L, N), and a *stored index* that numbers hashes in the order in which they become known::

    leaf 0        leaf 1               leaf 2        leaf 3
    (0,0) = 0     (0,1) = 1, (1,0) = 2  (0,2) = 3     (0,3) = 4, (1,1) = 5, (2,0) = 6

So appending never changes a stored hash, any root or proof takes O(log n) of them, and n leaves make
2n - popcount(n) hashes. Functions that need stored hashes take a ``read`` that maps indexes to hashes.

Source: RFC 6962 section 2.1, RFC 9162 sections 2.1.3 and 2.1.4; numbering as
https://pkg.go.dev/golang.org/x/mod/sumdb/tlog
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

Read: TypeAlias = Callable[[Sequence[int]], Sequence[bytes]]
"""Gives the stored hashes at these indexes, in this order."""

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()

_sha256 = hashlib.sha256


def leaf_hash(data: bytes) -> bytes:
    """The hash of a leaf."""
    return _sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of a node over two hashes of 32 bytes."""
    return _sha256(b"\x01" + left + right).digest()


# Checking


def verify_inclusion(leaf_hash: bytes, index: int, size: int, root: bytes, proof: Sequence[bytes]) -> bool:
    """Check that a leaf stands at a place of a tree.

    Args:
        leaf_hash: Hash of the leaf, 32 bytes.
        index: Its place, from 0.
        size: Leaves of the tree.
        root: The tree's root hash.
        proof: Hashes of the siblings, leaf side first.

    Returns:
        Whether the proof holds; False for anything out of range.

    Source: RFC 9162 section 2.1.3.2.
    """
    if not 0 <= index < size or not _are_hashes(leaf_hash, root, *proof):
        return False
    node, last, current = index, size - 1, leaf_hash
    for sibling in proof:
        if last == 0:
            return False
        if node & 1 or node == last:
            current = node_hash(sibling, current)
            while node and not node & 1:
                node, last = node >> 1, last >> 1
        else:
            current = node_hash(current, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and current == root


def verify_consistency(size1: int, size2: int, root1: bytes, root2: bytes, proof: Sequence[bytes]) -> bool:
    """Check that a tree is the beginning of a larger one.

    Args:
        size1: Leaves of the first tree; 0 proves nothing and is refused.
        size2: Leaves of the second, at least ``size1``.
        root1: Root hash of the first.
        root2: Root hash of the second.
        proof: The hashes; none if the sizes are equal.

    Returns:
        Whether the proof holds; False for anything out of range.

    Source: RFC 9162 section 2.1.4.2.
    """
    if not 0 < size1 <= size2:
        return False
    if size1 == size2:
        return not proof and root1 == root2
    if not _are_hashes(root1, root2, *proof):
        return False
    hashes = iter(proof)
    node, last = size1 - 1, size2 - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    old = new = root1 if node == 0 else next(hashes, b"")
    if not old:
        return False
    for sibling in hashes:
        if last == 0:
            return False
        if node & 1 or node == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while node and not node & 1:
                node, last = node >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and old == root1 and new == root2


def _are_hashes(*values: bytes) -> bool:
    return all(isinstance(value, bytes) and len(value) == HASH_BYTES for value in values)


# Numbering


def stored_count(size: int) -> int:
    """How many hashes a tree of this many leaves has stored."""
    return 2 * size - size.bit_count()


def stored_index(level: int, number: int) -> int:
    """The stored index of the complete subtree at these coordinates."""
    # It becomes known with its last leaf, after that leaf's hash and the levels below.
    return stored_count(((number + 1) << level) - 1) + level


# Making


def peaks(size: int) -> list[int]:
    """Stored indexes of the complete subtrees that make a tree, largest first."""
    return _cover(0, size)


class Frontier:
    """The right edge of a growing tree: its peaks, so that appending reads nothing.

    Args:
        size: Leaves so far.
        hashes: The hashes at :func:`peaks` of that size, in that order.
    """

    def __init__(self, size: int = 0, hashes: Sequence[bytes] = ()) -> None:
        self.size = size
        self._peaks = list(hashes)

    def append(self, *leaf_hashes: bytes) -> list[bytes]:
        """Add leaves by their hashes; gives the hashes to store, in the order of their stored indexes."""
        new = []
        peaks, size = self._peaks, self.size
        for current in leaf_hashes:
            new.append(current)
            levels = size
            while levels & 1:
                current = _sha256(b"\x01" + peaks.pop() + current).digest()
                new.append(current)
                levels >>= 1
            peaks.append(current)
            size += 1
        self.size = size
        return new

    def root(self) -> bytes:
        """The root hash of the tree so far."""
        return _fold(self._peaks)


def root(size: int, read: Read) -> bytes:
    """The root hash of the first ``size`` leaves."""
    return _fold(read(peaks(size)))


def inclusion(index: int, size: int, read: Read) -> tuple[bytes, ...]:
    """The proof that leaf ``index`` stands in the tree of the first ``size`` leaves, leaf side first.

    Raises:
        ValueError: The index is not in the tree.
    """
    if not 0 <= index < size:
        raise ValueError(f"no leaf {index} in a tree of {size}")
    return _read_ranges(_inclusion_ranges(index, 0, size), read)


def consistency(old: int, new: int, read: Read) -> tuple[bytes, ...]:
    """The proof that the tree of ``old`` leaves is the beginning of the one of ``new`` leaves.

    Raises:
        ValueError: Not 0 < old <= new.
    """
    if not 0 < old <= new:
        raise ValueError(f"no consistency proof from {old} to {new} leaves")
    return _read_ranges(_consistency_ranges(old, new), read)


def _inclusion_ranges(index: int, start: int, stop: int) -> list[tuple[int, int]]:
    """Leaf ranges whose hashes prove a leaf within start..stop (PATH of RFC 6962 section 2.1.1)."""
    ranges = []
    while stop - start > 1:
        middle = start + _split(stop - start)
        if index < middle:
            ranges.append((middle, stop))
            stop = middle
        else:
            ranges.append((start, middle))
            start = middle
    return ranges[::-1]


def _consistency_ranges(old: int, new: int) -> list[tuple[int, int]]:
    """Leaf ranges whose hashes prove consistency (PROOF of RFC 6962 section 2.1.2)."""
    ranges = []
    start, stop = 0, new
    while old < stop:
        middle = start + _split(stop - start)
        if old <= middle:
            ranges.append((middle, stop))
            stop = middle
        else:
            ranges.append((start, middle))
            start = middle
    if start:
        ranges.append((start, stop))
    return ranges[::-1]


def _read_ranges(ranges: Sequence[tuple[int, int]], read: Read) -> tuple[bytes, ...]:
    covers = [_cover(start, stop) for start, stop in ranges]
    hashes = iter(read([index for cover in covers for index in cover]))
    return tuple(_fold([next(hashes) for _ in cover]) for cover in covers)


def _cover(start: int, stop: int) -> list[int]:
    """Stored indexes of the complete subtrees that make the leaves start..stop, left to right."""
    return [stored_index(level, first >> level) for level, first in _subtrees(start, stop)]


def _subtrees(start: int, stop: int) -> Iterator[tuple[int, int]]:
    """(level, first leaf) of each; ``start`` is a multiple of the largest power of two within the range."""
    while start < stop:
        level = (stop - start).bit_length() - 1
        yield level, start
        start += 1 << level


def _split(size: int) -> int:
    """The largest power of two smaller than ``size``."""
    return 1 << (size - 1).bit_length() - 1


def _fold(hashes: Sequence[bytes]) -> bytes:
    """The hash over subtrees of falling size."""
    if not hashes:
        return EMPTY_ROOT
    current = hashes[-1]
    for left in reversed(hashes[:-1]):
        current = node_hash(left, current)
    return current

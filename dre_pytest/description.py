"""What is known of each test before it runs: its id, its markers, and how many assertions its code holds."""

from __future__ import annotations

from collections.abc import Iterable
from json.encoder import encode_basestring

import pytest

from dre_core.model.canonical import JSON, dumps
from dre_pytest.asserts import count_assertions
from dre_pytest.swap import own_code

Likeness = tuple[str, str, int | None, tuple[str, ...]]
"""What many tests have in common: assertions and markers, as members of their lines and as values."""

Description = tuple[str, Likeness]
"""Of a test: its id in JSON, and the rest."""

UNKNOWN: Description = ("", ("", "", None, ()))


def describe(
    items: Iterable[pytest.Item], ids: Iterable[str], masked: Iterable[str]
) -> dict[str, Description]:
    """Describes tests, by id.

    Args:
        items: The tests.
        ids: Their ids.
        masked: Their ids as they may be kept.
    """
    found: dict[str, Description] = {}
    by_code: dict[int, int] = {}
    known: dict[tuple[int | None, tuple[str, ...]], Likeness] = {}
    inherited: dict[int, frozenset[str]] = {}
    for item, node, name in zip(items, ids, masked, strict=True):
        markers = _markers(item, inherited)
        code = own_code(item)
        asserts = None
        if code is not None and (asserts := by_code.get(id(code))) is None:
            asserts = by_code[id(code)] = count_assertions(code)
        likeness = known.get((asserts, markers))
        if likeness is None:
            likeness = known[asserts, markers] = _likeness(asserts, markers)
        found[node] = (encode_basestring(name), likeness)
    return found


def _likeness(asserts: int | None, markers: tuple[str, ...]) -> Likeness:
    names: list[JSON] = list(markers)
    return (
        "" if asserts is None else f'"asserts":{asserts},',
        f'"markers":{dumps(names).decode()},' if markers else "",
        asserts,
        markers,
    )


def _markers(item: pytest.Item, inherited: dict[int, frozenset[str]]) -> tuple[str, ...]:
    """Names of a test's markers, its class's and module's included, sorted."""
    parent = item.parent
    above = inherited.get(id(parent))
    if above is None:
        above = frozenset(mark.name for mark in parent.iter_markers()) if parent is not None else frozenset()
        inherited[id(parent)] = above
    own = item.own_markers
    if not own and not above:
        return ()
    return tuple(sorted({*above, *(mark.name for mark in own)}))

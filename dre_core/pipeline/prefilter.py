"""Which of many literals could occur in a text, found in one pass.

Not a matcher: the answer may name a literal that is not there, and never leaves out one that is. Callers look
exactly for those that are named.

Each literal is recognised at its *anchor*, the character of it that is rarest in ordinary output, with
everything else of it before and behind; so the regular expression engine skips through the text by one small
set of characters. With ``fold`` the text is first lower-cased and relieved of all characters that no literal
has. That can only bring characters together, never tear a literal apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# Characters by how often they come in logs, common first; what is not listed is rare.
_COMMON = b" e0t1aonirs2slc3dp45um6789hg.-f/by:_wv=,kE\"TASIOR()[]CNLD"
_WEIGHT = {byte: 1 + 40 / (1 + place) for place, byte in enumerate(_COMMON)}
_RARE = 0.6


class Prefilter:
    """Finds which literals a text could hold.

    Args:
        literals: Non-empty byte strings; with ``fold`` in lower case.
        fold: Whether case does not matter.
    """

    def __init__(self, literals: Iterable[bytes], *, fold: bool = False) -> None:
        self._literals = tuple(dict.fromkeys(literals))
        self._groups = _group(self._literals)
        self._delete = b""
        self._fold: bytes | None = None
        if fold:
            used = set(b"".join(self._literals))
            lower = bytes(range(256)).lower()
            self._fold = lower
            self._delete = bytes(byte for byte in range(256) if lower[byte] not in used)
        self._form = re.compile(_form(self._groups)) if self._groups else None

    def present(self, text: bytes) -> tuple[bytes, ...]:
        """Literals that could be in a text, in the order given."""
        if self._form is None:
            return ()
        if self._fold is not None:
            text = text.translate(self._fold, self._delete)
        anchors = set(self._form.findall(text))
        if not anchors:
            return ()
        named = {literal for anchor in anchors for literal in self._groups[anchor[0]]}
        return tuple(literal for literal in self._literals if literal in named)


def _group(literals: tuple[bytes, ...]) -> dict[int, list[bytes]]:
    """Literals by anchor: few anchors, and rare ones."""
    left = list(literals)
    groups: dict[int, list[bytes]] = {}
    while left:
        covered: dict[int, int] = {}
        for literal in left:
            for byte in set(literal):
                covered[byte] = covered.get(byte, 0) + 1
        anchor = min(covered, key=lambda byte: (_WEIGHT.get(byte, _RARE) / covered[byte], byte))
        groups[anchor] = [literal for literal in left if anchor in literal]
        left = [literal for literal in left if anchor not in literal]
    return groups


def _form(groups: dict[int, list[bytes]]) -> bytes:
    """One alternative an anchor. Only the anchor is consumed, so that no match hides another."""
    return b"|".join(
        re.escape(bytes((anchor,))) + b"(?:" + b"|".join(_around(literal, anchor) for literal in literals) + b")"
        for anchor, literals in groups.items()
    )


def _around(literal: bytes, anchor: int) -> bytes:
    place = literal.index(anchor) + 1
    before, behind = literal[:place], literal[place:]
    form = b"(?<=" + re.escape(before) + b")" if len(before) > 1 else b""
    return form + (b"(?=" + re.escape(behind) + b")" if behind else b"")

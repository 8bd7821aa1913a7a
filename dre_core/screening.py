"""Masking of what is recorded beside the bytes: names of files and branches, addresses, variables, reasons of gaps.

Digests, ids and numbers are left alone: a short known value could stand in them by chance, and a masked digest is none.
Usually there is nothing to mask, so all texts are looked at in one go first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from dre_core.capture.collector import Facts
from dre_core.model.run import Item
from dre_core.model.text import printable
from dre_core.pipeline.mask import Masker


def screen_facts(facts: Facts, masker: Masker) -> None:
    """Masks what the collectors have learned, in place."""
    source = facts.source
    texts = [
        *source.modified,
        *source.changed_during,
        source.repository,
        source.base,
        facts.project,
        *facts.ci.values(),
        *facts.environment.values(),
        *facts.tools.values(),
        *(text for gap in facts.gaps for text in (gap.reason, gap.hint)),
    ]
    if not _holds_secret(texts, masker):
        return
    mask = masker.text
    facts.source = replace(
        source,
        modified=tuple(map(mask, source.modified)),
        changed_during=tuple(map(mask, source.changed_during)),
        repository=mask(source.repository),
        base=mask(source.base),
    )
    facts.project = mask(facts.project)
    facts.ci = _masked(facts.ci, masker)
    facts.environment = _masked(facts.environment, masker)
    facts.tools = _masked(facts.tools, masker)
    facts.gaps[:] = [replace(gap, reason=mask(gap.reason), hint=mask(gap.hint)) for gap in facts.gaps]


def screen_items(items: Sequence[Item], masker: Masker) -> tuple[Item, ...]:
    """The items with their names and notes masked; names that become the same are numbered."""
    if not _holds_secret((text for item in items for text in (item.name, *item.note.values())), masker):
        return tuple(items)
    taken: set[str] = set()
    screened = []
    for item in items:
        name = masked = masker.text(item.name)
        number = 1
        while name in taken:
            number += 1
            name = f"{masked}~{number}"
        taken.add(name)
        screened.append(replace(item, name=name, note=_masked(item.note, masker)))
    return tuple(sorted(screened, key=lambda item: item.name))


def _holds_secret(texts: Iterable[str], masker: Masker) -> bool:
    # A name may hold line ends, and a secret has none, so that lines can be looked at together.
    whole = printable("\n".join(texts))
    return masker.text(whole) != whole


def _masked(values: Mapping[str, str], masker: Masker) -> dict[str, str]:
    return {name: masker.text(value) for name, value in values.items()}

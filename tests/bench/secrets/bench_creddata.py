"""Recall and false alarms of masking beside other engines, on lines of source code that others labelled.

Run by hand: ``python tests/bench/secrets/bench_creddata.py CREDDATA COPIES [ENGINE ...]`` (the two folders:
``labelled_lines.py``). Each labelled place is one case, without the rest of its file. A secret is gone if its text is;
for the engines that only report, if it lies inside a report. A line without a secret is hit if anything in it was
masked or reported; lines that also hold a labelled secret are left out. Weak values, such as words of a dictionary
in a test, are counted apart: no engine that leaves ordinary text alone can know them. The corpus also labels what only
names something (UUIDs, buckets, domains, nonces); the second column leaves these out.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections import Counter
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[3])]

from bench_public import OTHERS, Engine  # noqa: E402 - found on the path just added
from labelled_lines import Labelled, labelled  # noqa: E402
from public_corpus import Case  # noqa: E402

_WEAK_LENGTH = 8
_NAMES = {"UUID", "AWS S3 Bucket", "Firebase Domain", "Nonce"}
_CLASSES = ("[a-z]", "[A-Z]", "[0-9]", "[^a-zA-Z0-9]")


def is_weak(secret: str) -> bool:
    """Whether a value is short, or a word: all of its characters of one kind."""
    return len(secret) < _WEAK_LENGTH or sum(bool(re.search(each, secret)) for each in _CLASSES) < 2


def kind_of(place: Labelled) -> str:
    if not place.secret:
        return "none"
    if is_weak(place.secret):
        return "weak"
    return "name" if place.category in _NAMES else "hard"


def masked(place: Labelled) -> str:
    from own import masker

    return masker().text(place.text)


def by_dre(places: list[Labelled]) -> list[bool]:
    """Per place: the secret is gone, or, where there is none, the text was altered."""
    return [
        place.secret not in masked(place) if place.secret else masked(place) != place.text for place in places
    ]


def by_other(engine: Engine, places: list[Labelled]) -> list[bool]:
    """The same, from what an engine reports."""
    found = engine([Case(place.category, place.text, ()) for place in places])
    return [
        any(place.secret in text for text in texts) if place.secret else any(texts)
        for place, texts in zip(places, found, strict=True)
    ]


def main(creddata: Path, copies: Path, names: list[str]) -> None:
    everything = dict.fromkeys(labelled(creddata, copies))
    with_secret = {(place.repository, place.text) for place in everything if place.secret}
    places = [
        place for place in everything if place.secret or (place.repository, place.text) not in with_secret
    ]
    kinds = list(map(kind_of, places))
    totals = Counter(kinds)
    print(f"{len({place.repository for place in places})} repositories, {dict(totals)}\n")
    print("| engine | secrets gone | names left out | weak ones gone | lines without a secret hit |")
    print("| --- | --- | --- | --- | --- |")
    strong = totals["hard"] + totals["name"]
    for name in names:
        try:
            hits = by_dre(places) if name == "dre" else by_other(OTHERS[name], places)
        except ImportError:
            continue
        counts = Counter(kind for kind, hit in zip(kinds, hits, strict=True) if hit)
        print(
            f"| {name} | {(counts['hard'] + counts['name']) / strong:.3f} | {counts['hard'] / totals['hard']:.3f}"
            f" | {counts['weak'] / totals['weak']:.3f} | {counts['none'] / totals['none']:.2%} |",
            flush=True,
        )


if __name__ == "__main__":
    usable = [name for name in OTHERS if name != "gitleaks" or shutil.which("gitleaks")]
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:] or ["dre", *usable])

"""Masking beside the bytes: names stay apart, digests stay whole."""

from __future__ import annotations

from dre_core.capture.collector import Facts
from dre_core.model.run import Item, Source
from dre_core.model.verdict import Vantage
from dre_core.pipeline.mask import Masker
from dre_core.screening import screen_facts, screen_items

DIGEST = "sha256:" + "abcd" * 16


def item(name, **note):
    return Item(
        name=name, kind="artifact", vantage=Vantage.REPORTED, media_type="x", size=1, digest=DIGEST, note=note
    )


def test_names_that_become_the_same_are_numbered_and_sorted():
    masker = Masker(["hunter2pass"])
    masker.add("swordfish99")
    found = screen_items([item("b/hunter2pass"), item("b/swordfish99"), item("a")], masker)
    assert [entry.name for entry in found] == ["a", "b/***", "b/***~2"]


def test_a_known_value_that_stands_in_a_digest_leaves_it_whole():
    (found,) = screen_items([item("x abcd", detail="abcd")], Masker(["abcd"]))
    assert (found.name, found.digest, found.note) == ("x ***", DIGEST, {"detail": "***"})


def test_facts_are_masked_and_untouched_ones_stay_the_same_objects():
    facts = Facts(source=Source(commit="abcd", modified=("plain.txt",)), ci={"ref": "main"})
    before = facts.source
    screen_facts(facts, Masker(["hunter2pass"]))
    assert facts.source is before
    facts.ci = {"ref": "refs/heads/hunter2pass"}
    facts.gap("files", "no file matches hunter2pass")
    screen_facts(facts, Masker(["hunter2pass"]))
    assert facts.ci == {"ref": "refs/heads/***"}
    assert facts.gaps[0].reason == "no file matches ***"
    assert facts.source.commit == "abcd"


def test_names_that_are_no_text_are_no_hindrance():
    facts = Facts(source=Source(modified=("caf\udce9-hunter2pass",)))
    screen_facts(facts, Masker(["hunter2pass"]))
    assert facts.source.modified == ("caf\udce9-***",)

"""A journal that grows, and one that was written anew."""

from __future__ import annotations

import os

import pytest

from dre_core.capture.growth import _FILES_LIMIT, Growth


@pytest.fixture
def journal(tmp_path):
    folder = tmp_path / "journal" / "session"
    folder.mkdir(parents=True)
    return folder / "main.jsonl"


def grown(journal):
    return Growth(journal.parent.parent)


def test_what_is_only_appended_to_is_no_finding(journal):
    growth = grown(journal)
    growth.look()
    for number in range(5):
        with journal.open("a") as stream:
            stream.write(f"line {number}\n")
        growth.look()
    with journal.open("a") as stream:
        stream.write("what came after the last look\n")
    assert growth.rewritten() == ()


@pytest.mark.parametrize(
    "later",
    [b"other\nlines\n", b"one\n", b"", b"one\ntwx\nthree\n"],
    ids=["others", "fewer", "none", "one letter, and more"],
)
def test_what_no_longer_begins_so_was_rewritten(journal, later):
    growth = grown(journal)
    journal.write_bytes(b"one\ntwo\n")
    growth.look()
    journal.write_bytes(later)
    growth.look()
    assert growth.rewritten() == ("session/main.jsonl",)


def test_a_journal_that_is_gone_was_there(journal):
    growth = grown(journal)
    journal.write_bytes(b"one\n")
    growth.look()
    journal.unlink()
    assert growth.rewritten() == ("session/main.jsonl",)


def test_the_half_line_of_a_full_disk_may_be_taken_back(journal):
    growth = grown(journal)
    journal.write_bytes(b"one\ntw")
    growth.look()
    journal.write_bytes(b"one\nthree\n")
    growth.look()
    assert growth.rewritten() == ()


def test_a_large_one_is_read_in_pieces_over_several_looks(journal):
    growth = grown(journal)
    data = b"".join(b"%07d\n" % number for number in range(400_000))
    journal.write_bytes(data)
    for _ in range(5):
        growth.look()
    journal.write_bytes(data[:-8] + b"9999999\n")
    assert growth.rewritten() == ("session/main.jsonl",)


def test_links_pipes_and_crowds_are_not_waited_for(journal, tmp_path):
    growth = grown(journal)
    (tmp_path / "elsewhere").write_text("one\n")
    journal.symlink_to(tmp_path / "elsewhere")
    os.mkfifo(journal.with_name("pipe.jsonl"))
    (journal.parent.parent / "linked").symlink_to(tmp_path)
    growth.look()
    (tmp_path / "elsewhere").write_text("two\n")
    assert growth.rewritten() == ()
    for number in range(_FILES_LIMIT + 10):
        journal.with_name(f"gw{number}.jsonl").write_text("one\n")
    growth.look()
    for number in range(_FILES_LIMIT + 10):
        journal.with_name(f"gw{number}.jsonl").unlink()
    assert len(growth.rewritten()) == _FILES_LIMIT

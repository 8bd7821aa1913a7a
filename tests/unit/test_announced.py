"""What labels, titles, texts and commit messages announce of a change."""

from __future__ import annotations

import json

import pytest

from dre_core.announced import Announced, announced, declared_by
from dre_core.config import ClaimSection
from dre_core.errors import ConfigError

SECTION = ClaimSection(
    labels=("bug=fix", "clean-up=refactor", "kind: spec=behavior-change"),
    patterns=(r"^fix(\(.*\))?!?:=fix", r"^docs:=docs", r"^\W*breaking=behavior-change"),
    changes=(r"^Changes-tests:(.*)$",),
)


def said(**what):
    found = declared_by(SECTION, Announced(**what), commit="c", declared="d")
    return (found.kind and found.kind.value, found.changes) if found else None


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ({"labels": ("bug",)}, ("fix", ())),
        ({"labels": ("help wanted", "clean-up")}, ("refactor", ())),
        ({"labels": ("bug", "clean-up"), "title": "fix: a"}, None),
        ({"labels": ("clean-up",), "title": "fix: a"}, ("refactor", ())),
        ({"title": "fix(core): a"}, ("fix", ())),
        ({"title": "a", "text": "text\nfix: b"}, ("fix", ())),
        ({"title": "a fix: b"}, None),
        ({"title": "a", "text": "Breaking"}, None),
        ({"title": "a", "text": "- breaking"}, ("behavior-change", ())),
        (
            {"labels": ("kind: spec",), "text": "Changes-tests: t.py::a, t.py::b\nChanges-tests: t.py::a\n"},
            ("behavior-change", ("t.py::a", "t.py::b")),
        ),
        ({"text": "Changes-tests: t.py::a"}, (None, ("t.py::a",))),
        ({}, None),
    ],
)
def test_the_section_says_what_counts(what, expected):
    assert said(**what) == expected


@pytest.mark.parametrize(
    "section",
    [
        ClaimSection(labels=("bug",)),
        ClaimSection(labels=("bug=bugfix",)),
        ClaimSection(patterns=("(=fix",)),
        ClaimSection(patterns=("fix",)),
        ClaimSection(changes=("no group",)),
    ],
)
def test_what_can_not_be_meant_is_refused(section):
    with pytest.raises(ConfigError):
        declared_by(section, Announced(title="fix"), commit="c", declared="d")


def test_a_job_of_a_pull_request_says_more_than_the_commit(tmp_path):
    event = tmp_path / "event.json"
    pull = {"title": "fix: a", "body": None, "labels": [{"name": "bug"}, {"name": 7}, "junk"]}
    event.write_text(json.dumps({"pull_request": pull}))
    assert announced({"GITHUB_EVENT_PATH": str(event)}, str) == Announced(labels=("bug",), title="fix: a")
    merge = {"CI_MERGE_REQUEST_IID": "7", "CI_MERGE_REQUEST_LABELS": "bug, x", "CI_MERGE_REQUEST_TITLE": "t"}
    assert announced(merge, str) == Announced(labels=("bug", "x"), title="t")
    assert announced({}, lambda: "docs: a\n\nmore\n") == Announced(title="docs: a", text="\nmore")


@pytest.mark.parametrize(
    "text", ["", "[", "[]", '{"pull_request": 1}', '{"pull_request": {"labels": {}}}', "[" * 9999]
)
def test_an_event_that_is_none_says_nothing(tmp_path, text):
    event = tmp_path / "event.json"
    event.write_text(text)
    assert announced({"GITHUB_EVENT_PATH": str(event)}, str) == Announced()

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from dre_core.errors import FormatError
from dre_core.model.statement import HEX_DIGITS, Statement, Subject

SAMPLE = Statement(
    subjects=(
        Subject(name="evidence", digest={"sha256": "ab" * 32}),
        Subject(
            name="tree", digest={"sha256": "cd" * 32, "sha512": "ef" * 64}, annotations={"commit": "1" * 40}
        ),
    ),
    predicate_type="urn:dre:predicate:run:v1",
    predicate={"claim": "passed"},
)


def document() -> dict[str, Any]:
    value: dict[str, Any] = json.loads(SAMPLE.to_bytes())
    return value


def test_the_payload_is_canonical_json_with_the_four_members() -> None:
    data = SAMPLE.to_bytes()
    assert data.startswith(b'{"_type":"https://in-toto.io/Statement/v1","predicate":{"claim":"passed"},')
    assert list(document()) == ["_type", "predicate", "predicateType", "subject"]
    assert document()["subject"][0] == {"name": "evidence", "digest": {"sha256": "ab" * 32}}


def test_parse_is_the_inverse() -> None:
    assert Statement.parse(SAMPLE.to_bytes()) == SAMPLE
    assert Statement.parse(json.dumps(document(), indent=2).encode()) == SAMPLE


@pytest.mark.parametrize("algorithm", HEX_DIGITS)
def test_every_allowed_algorithm(algorithm: str) -> None:
    subject = Subject(name="x", digest={algorithm: "0" * HEX_DIGITS[algorithm]})
    assert Subject.parse(subject.to_json()) == subject


def change(path: list[Any], value: object) -> dict[str, Any]:
    top = document()
    target: Any = top
    for step in path[:-1]:
        target = target[step]
    if value is ...:
        del target[path[-1]]
    else:
        target[path[-1]] = value
    return top


@pytest.mark.parametrize(
    ("steps", "value", "path"),
    [
        (["_type"], "https://in-toto.io/Statement/v0.1", "$._type"),
        (["_type"], ..., "$._type"),
        (["subject"], [], "$.subject"),
        (["subject"], {}, "$.subject"),
        (["subject", 0], "x", "$.subject[0]"),
        (["subject", 1, "name"], "", "$.subject[1].name"),
        (["subject", 0, "name"], ..., "$.subject[0].name"),
        (["subject", 0, "digest"], ..., "$.subject[0].digest"),
        (["subject", 0, "digest"], {}, "$.subject[0].digest"),
        (["subject", 0, "digest", "sha1"], "a" * 40, "$.subject[0].digest.sha1"),
        (["subject", 0, "digest", "gitCommit"], "a" * 40, "$.subject[0].digest.gitCommit"),
        (["subject", 0, "digest", "sha256"], "AB" * 32, "$.subject[0].digest.sha256"),
        (["subject", 0, "digest", "sha256"], "ab" * 31, "$.subject[0].digest.sha256"),
        (["subject", 0, "digest", "sha256"], 5, "$.subject[0].digest.sha256"),
        (["subject", 0, "uri"], "x", "$.subject[0].uri"),
        (["subject", 1, "annotations"], [], "$.subject[1].annotations"),
        (["subject", 1, "annotations"], {}, "$.subject[1].annotations"),
        (["predicateType"], "no uri", "$.predicateType"),
        (["predicateType"], "", "$.predicateType"),
        (["predicateType"], None, "$.predicateType"),
        (["predicate"], {}, "$.predicate"),
        (["predicate"], ..., "$.predicate"),
        (["predicate"], [1], "$.predicate"),
        (["spare"], 1, "$.spare"),
    ],
)
def test_parse_refuses_with_the_path(steps: list[Any], value: object, path: str) -> None:
    with pytest.raises(FormatError) as caught:
        Statement.parse(json.dumps(change(steps, value)).encode())
    assert caught.value.path == path


def test_what_parse_would_refuse_is_not_written() -> None:
    for broken in (
        replace(SAMPLE, predicate={}),
        replace(SAMPLE, subjects=()),
        replace(SAMPLE, predicate_type="x"),
        replace(SAMPLE, subjects=(Subject(name="", digest={"sha256": "ab" * 32}),)),
        replace(SAMPLE, predicate={"big": 2**60}),
    ):
        with pytest.raises(FormatError):
            broken.to_bytes()

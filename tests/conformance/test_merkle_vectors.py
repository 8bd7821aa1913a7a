"""transparency-dev/merkle: inclusion and consistency proofs, sound and broken."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from dre_core.crypto import merkle

VECTORS = Path(__file__).resolve().parents[2].parent / "shared" / "vectors" / "merkle"

pytestmark = pytest.mark.skipif(
    not VECTORS.is_dir(), reason="the published vectors are not beside the repository"
)


def load(kind: str) -> list[tuple[str, dict[str, Any]]]:
    paths = sorted((VECTORS / kind).rglob("*.json"))
    return [(str(path.relative_to(VECTORS)), json.loads(path.read_text("utf-8"))) for path in paths]


def decode(text: str | None) -> bytes:
    return base64.b64decode(text or "")


def test_inclusion() -> None:
    cases = load("inclusion")
    assert len(cases) == 98
    for name, case in cases:
        proof = [decode(item) for item in case["proof"] or []]
        holds = merkle.verify_inclusion(
            decode(case["leafHash"]), case["leafIdx"], case["treeSize"], decode(case["root"]), proof
        )
        assert holds is not case["wantErr"], name


def test_consistency() -> None:
    cases = load("consistency")
    assert len(cases) == 98
    for name, case in cases:
        proof = [decode(item) for item in case["proof"] or []]
        roots = decode(case["root1"]), decode(case["root2"])
        holds = merkle.verify_consistency(case["size1"], case["size2"], *roots, proof)
        assert holds is not case["wantErr"], name

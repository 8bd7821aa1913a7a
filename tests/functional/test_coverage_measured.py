"""``--dre-cov``: coverage measured by the recorder itself, sealed with the record."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from dre_core.capture.programmatic import read_coverage
from dre_core.pipeline import codec
from dre_core.store.local import LocalStore
from tests.conftest import PYTEST

SHOP = "def double(n):\n    if n > 100:\n        return -1\n    return 2 * n\n"


def coverage_of(project, tmp_path):
    """Facts in the sealed coverage item of the newest operation."""
    run = json.loads(project.dre("evidence", "show", "--json").stdout)
    (item,) = [item for item in run["items"] if item["kind"] == "coverage"]
    assert item["vantage"] == "in-process"
    stored = LocalStore(project.path / ".dre").read(item["digest"], 1 << 30)
    plain = b"".join(codec.decode_chunks(item["codecs"], iter([stored]), 1 << 30))
    path = tmp_path / "data.sqlite"
    path.write_bytes(plain)
    return read_coverage(path)


@pytest.mark.parametrize("wrapped", [False, True])
def test_lines_and_branches_of_the_project(project, tmp_path, wrapped):
    project.write("shop.py", SHOP)
    project.commit()
    words = (*PYTEST, "--dre", "--dre-cov", "-q")
    done = project.dre("wrap", "--", *words) if wrapped else project.run(*words)
    assert done.returncode == 0, done.stdout
    facts = coverage_of(project, tmp_path)
    (name,) = [name for name in facts.files if Path(name).name == "shop.py"]
    assert {1, 2, 4} <= set(facts.files[name].executed)
    assert 3 not in facts.files[name].executed
    assert facts.branches is True
    assert project.verdict()["verdict"] == "supported"
    assert not (project.path / ".coverage").exists()


def test_somebody_elses_measuring_is_left_alone(project):
    words = (sys.executable, "-m", "coverage", "run", "-m", *PYTEST[2:], "--dre", "--dre-cov", "-q")
    done = project.run(*words)
    assert done.returncode == 0
    assert b"measured by somebody else" in done.stdout
    assert (project.path / ".coverage").exists()

"""What an interpreter loads besides the project, and whether it is as it was."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from dre_core.capture.installed import Installed


@pytest.fixture
def site(tmp_path):
    folder = tmp_path / "env/lib/python3.11/site-packages"
    for name in ("_pytest/python.py", "_pytest/__pycache__/python.pyc", "other/code.py", "a.pth",
                 "a-1.dist-info/entry_points.txt", "a-1.dist-info/RECORD"):  # fmt: skip
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x = 1\n")
    return folder


def installed(site):
    return Installed(str(site.parents[2] / "bin/python"), {"HOME": str(site / "none")})


@pytest.mark.parametrize(
    "name",
    ["_pytest/python.py", "_pytest/__pycache__/python.pyc", "_pytest/more.py", "a.pth", "b.pth",
     "sitecustomize.py", "a-1.dist-info/entry_points.txt", "b-1.dist-info/entry_points.txt"],
)  # fmt: skip
def test_what_runs_the_tests_is_looked_at_again(site, name):
    before = installed(site)
    assert before.changed() == ""
    path = site / name
    path.parent.mkdir(exist_ok=True)
    times = (path.stat().st_atime_ns, path.stat().st_mtime_ns) if path.exists() else None
    path.write_text("x = 2\n")
    if times:
        os.utime(path, ns=times)
    assert before.changed() == str(path)


@pytest.mark.parametrize("name", ["other/code.py", "a-1.dist-info/RECORD", "_pytest/__pycache__/new.pyc"])
def test_other_packages_and_new_bytecode_are_not(site, name):
    before = installed(site)
    (site / name).write_text("y = 2\n")
    assert before.changed() == ""


def test_bytecode_that_has_to_be_made_anew_is_not(site):
    os.utime(site / "_pytest/__pycache__/python.pyc", (1, 1))
    before = installed(site)
    (site / "_pytest/__pycache__/python.pyc").write_text("y = 2\n")
    assert before.changed() == ""


def test_ours_is_looked_at_wherever_it_lies(tmp_path):
    import dre_core

    before = Installed(str(tmp_path / "bin/python"), {})
    assert str(Path(dre_core.__file__)) in before._before
    assert before.changed() == ""
    assert Installed(sys.executable, dict(os.environ)).changed() == ""

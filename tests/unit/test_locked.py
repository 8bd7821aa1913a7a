"""Installed packages against lock files."""

from __future__ import annotations

import pytest

from dre_core.capture.locked import compare_with_locks
from dre_core.model.locked import Locked

INSTALLED = [("Foo_Bar", "1.0"), ("baz", "2.1"), ("other", "3")]
LOCKS = {
    "uv.lock": (
        'version = 1\n[[package]]\nname = "foo-bar"\nversion = "1.0"\n'
        '[[package]]\nname = "baz"\nversion = "2.0"\n'
    ),
    "pylock.toml": '[[packages]]\nname = "foo.bar"\nversion = "1.0"\n[[packages]]\nname = "baz"\nversion = "2.0"\n',
    "requirements.txt": "foo-bar==1.0 ; python_version > '3'\nbaz[x] == 2.0  # why\nother>=2\nabsent==1\n-r more.txt\n",
}


@pytest.mark.parametrize("name", LOCKS)
def test_another_version_is_named(tmp_path, name):
    (tmp_path / name).write_text(LOCKS[name])
    found = compare_with_locks(tmp_path, INSTALLED)
    assert found.compared == 2
    assert [(u.name, u.installed, u.locked, u.file) for u in found.differing] == [
        ("baz", "2.1", ("2.0",), name)
    ]
    assert Locked.parse({"lock": found.to_json()}) == found


def test_any_of_several_locked_versions_fits(tmp_path):
    (tmp_path / "requirements.txt").write_text("baz==2.0\nbaz==2.1\n")
    assert compare_with_locks(tmp_path, INSTALLED).differing == ()


@pytest.mark.parametrize("text", ["", "[[package", "package = 3", "[[package]]\nname = 3\n", "\x00"])
def test_what_can_not_be_read_is_no_lock(tmp_path, text):
    (tmp_path / "uv.lock").write_text(text)
    assert compare_with_locks(tmp_path, INSTALLED) is None
    assert Locked.parse({}) is None

"""Git facts and the tree digest, on real repositories."""

from __future__ import annotations

import hashlib
import os
import subprocess

import pytest

from dre_core.capture.git import Git, folder_tree, normalise_address
from dre_core.errors import CaptureError


@pytest.fixture
def git(project):
    found = Git.find(str(project.path))
    assert found is not None
    return found


def expected_digest(project):
    """The rule of docs/formats.md, written again in the simplest way."""
    paths = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=project.path, capture_output=True, check=True,
    ).stdout.split(b"\0")  # fmt: skip
    digest = hashlib.sha256()
    for path in sorted(set(paths) - {b""}):
        full = os.path.join(os.fsencode(project.path), path)
        if os.path.islink(full):
            mode, content = b"120000", os.readlink(full)
        elif os.path.exists(full):
            mode = b"100755" if os.access(full, os.X_OK) else b"100644"
            with open(full, "rb") as stream:
                content = stream.read()
        else:
            digest.update(b"000000 " + b"0" * 64 + b"\0" + path + b"\0")
            continue
        digest.update(mode + b" " + hashlib.sha256(content).hexdigest().encode() + b"\0" + path + b"\0")
    return f"sha256:{digest.hexdigest()}"


def test_the_digest_follows_its_rule(project, git):
    project.write("tool.sh", "#!/bin/sh\n").chmod(0o755)
    os.symlink("shop.py", project.path / "link")
    project.write("untracked.txt", "x")
    project.write("gone.py", "")
    project.git("add", "gone.py")
    (project.path / "gone.py").unlink()
    project.write("caf\u00e9 \n.txt", "odd name")
    assert git.tree().digest == expected_digest(project)


def test_ignored_files_do_not_count(project, git):
    before = git.tree().digest
    project.write("__pycache__/x.pyc", "x")
    assert git.tree().digest == before


def test_a_clean_tree(git):
    assert git.modified(git.tree()) == ([], [])


def test_modified_deleted_and_untracked(project, git):
    project.write("shop.py", "changed")
    (project.path / "test_shop.py").unlink()
    project.write("new.py", "")
    modified, untracked = git.modified(git.tree())
    assert modified == ["shop.py", "test_shop.py"]
    assert untracked == ["new.py"]


def test_flags_of_the_index_hide_nothing(project, git):
    project.git("update-index", "--assume-unchanged", "shop.py")
    project.write("shop.py", "hidden edit")
    assert project.git("status", "--porcelain") == ""
    assert git.modified(git.tree())[0] == ["shop.py"]


def test_line_ending_filters_are_no_edit(project, git):
    project.write(".gitattributes", "*.py text eol=crlf\n")
    project.commit()
    (project.path / "shop.py").unlink()
    project.git("checkout", "--", "shop.py")
    assert b"\r\n" in (project.path / "shop.py").read_bytes()
    assert git.modified(git.tree())[0] == []


def test_the_mode_counts(project, git):
    (project.path / "shop.py").chmod(0o755)
    assert git.modified(git.tree())[0] == ["shop.py"]


def test_head(project, git):
    project.git("remote", "add", "origin", "https://user:secret@github.com/Owner/Name.git")
    head = git.head()
    assert head.commit == project.git("rev-parse", "HEAD")
    assert head.branch == project.git("branch", "--show-current")
    assert head.origin == "github.com/Owner/Name"
    assert git.root_commit() == head.commit


def test_a_repository_without_a_commit(tmp_path):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    found = Git.find(str(tmp_path))
    assert found is not None
    assert found.head().commit == ""
    assert found.modified(found.tree()) == ([], [])


def test_variables_of_another_repository_are_ignored(project, git, monkeypatch):
    monkeypatch.setenv("GIT_DIR", "/nonexistent")
    assert git.head().commit


def test_the_index_is_not_written(project, git):
    index = project.path / ".git" / "index"
    os.utime(project.path / "shop.py", (1, 1))
    before = index.read_bytes()
    git.modified(git.tree())
    assert index.read_bytes() == before


def test_without_git(tmp_path):
    (tmp_path / "a").write_text("x")
    (tmp_path / ".dre").mkdir()
    before = folder_tree(str(tmp_path))
    (tmp_path / ".dre" / "log.db").write_text("x")
    assert folder_tree(str(tmp_path)).digest == before.digest
    (tmp_path / "b").write_text("y")
    assert folder_tree(str(tmp_path)).changed_from(before) == ("b",)


def test_a_whole_home_is_not_digested(tmp_path):
    with (tmp_path / "disk.img").open("wb") as file:
        file.truncate((2 << 30) + 1)
    with pytest.raises(CaptureError, match="more than 20,000 files or 2 GiB"):
        folder_tree(str(tmp_path))


@pytest.mark.parametrize(
    ("address", "normal"),
    [
        ("https://github.com/o/n.git", "github.com/o/n"),
        ("https://token@github.com/o/n", "github.com/o/n"),
        ("git@github.com:o/n.git", "github.com/o/n"),
        ("ssh://git@GitHub.com/o/n", "github.com/o/n"),
        ("/home/me/n.git", "file:n"),
        ("file:///home/me/n", "file:n"),
        ("", ""),
    ],
)
def test_addresses(address, normal):
    assert normalise_address(address) == normal


def test_one_git_reads_a_commit_as_many_do(project, git):
    files = {
        "a b 7": b"one\n",
        "empty": b"",
        "big": b"x" * 300_000,
        "odd": b"\xff\xfe",
        "new\nline": b"two\n",
    }
    for name, data in files.items():
        (project.path / name).write_bytes(data)
    (project.path / "folder").mkdir()
    (project.path / "folder" / "inner 12").write_text("three\n")
    project.git("add", "-A")
    project.git("commit", "-qm", "files")
    with git.past("HEAD") as past:
        for name in (*files, "gone", "not there 12", "folder/inner 12", "gone again"):
            assert past.show(name) == git.show("HEAD", name), name
        assert past.show("folder") is None


def test_a_git_that_ends_too_early_is_no_absent_file(project, git):
    with git.past("HEAD") as past:
        past._process.kill()
        past._process.wait()
        with pytest.raises(CaptureError, match="ended"):
            past.show("README.md")


def test_a_branch_is_meant_before_a_tag_of_its_name(project, git):
    base = project.git("rev-parse", "HEAD")
    project.write("a.txt", "a")
    head = project.commit("more")
    project.git("branch", "old", base)
    project.git("update-ref", "refs/remotes/origin/old", base)
    for name in ("old", "origin/old", "new"):
        project.git("tag", name, head)
    assert [git.resolve(name) for name in ("old", "origin/old", "new", head, "HEAD~1")] == [
        base,
        base,
        head,
        head,
        base,
    ]

"""Evidence of a merge stands for the head that it merged, if it holds nothing else."""

from __future__ import annotations

import os

import pytest


@pytest.fixture
def heads(project):
    """The base branch and a pull request's head that branched off before its last commit."""
    start = project.commit("start")
    project.write("other.py", "VALUE = 1\n")
    base = project.commit("on the base")
    project.git("checkout", "-q", "-b", "change", start)
    project.write("more.py", "MORE = 2\n")
    head = project.commit("the change")
    project.git("checkout", "-q", "-B", "merged", base)
    project.git("merge", "-q", "--no-ff", "--no-edit", head)
    return base, head


def commit_check(project, commit):
    done = project.verdict("--commit", commit)
    return next(check for check in done["integrity"]["checks"] if check["id"] == "commit")["passed"]


def test_a_merge_stands_for_its_second_parent(project, heads):
    base, head = heads
    project.wrap_pytest()
    assert commit_check(project, head)
    assert not commit_check(project, base)


def test_an_export_leaves_a_pipe_a_pipe(project, tmp_path):
    project.wrap_pytest()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    done = project.dre("evidence", "export", "--output", str(pipe))
    assert (done.returncode, pipe.is_fifo()) == (2, True), done.stderr
    assert b"not a regular file" in done.stderr


def test_a_merge_that_holds_something_else_does_not(project, heads):
    _, head = heads
    project.write("more.py", "MORE = 'something that nobody reviewed'\n")
    project.git("commit", "-q", "--amend", "--no-edit", "-a")
    project.wrap_pytest()
    assert project.git("rev-parse", "HEAD^2") == head
    assert not commit_check(project, head)

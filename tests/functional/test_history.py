"""``dre verify --since``: whoever kept a checkpoint sees what lies between it and the run at hand."""

from __future__ import annotations

import json
import shutil
import sqlite3

import pytest


@pytest.fixture
def checkpoint(project):
    """A project with one run and the checkpoint after it."""
    project.dre("wrap", "--", "true")
    return project.write("checkpoint", project.dre("log", "checkpoint").stdout.decode())


def test_hidden_failures_before_the_green_run_show(project, checkpoint):
    for _ in range(3):
        project.dre("wrap", "--", "false")
    project.wrap_pytest()
    verdict = project.verdict("--since", str(checkpoint))
    assert verdict["verdict"] == "supported"
    assert [past["outcome"] for past in verdict["past"]] == ["failed"] * 3
    text = project.dre("verify", "--since", str(checkpoint)).stdout.decode()
    assert text.count("failed") == 3


def test_a_log_begun_anew_is_no_continuation(project, checkpoint):
    shutil.rmtree(project.path / ".dre")
    project.wrap_pytest()
    verdict = project.verdict("--since", str(checkpoint))
    assert verdict["verdict"] == "invalid"
    assert project.dre("verify", "--since", str(checkpoint)).returncode == 3


def test_a_rewritten_log_is_no_continuation(project, checkpoint):
    project.wrap_pytest()
    connection = sqlite3.connect(project.path / ".dre" / "log.db")
    connection.execute("UPDATE hashes SET hash = zeroblob(32)")
    connection.commit()
    connection.close()
    done = project.dre("verify", "--since", str(checkpoint), "--json")
    checks = {check["id"]: check for check in json.loads(done.stdout)["integrity"]["checks"]}
    assert checks["since"]["passed"] is False
    assert done.returncode == 3


def test_a_log_that_was_rolled_back(project, tmp_path):
    project.wrap_pytest()
    saved = tmp_path / "saved"
    shutil.copytree(project.path / ".dre", saved)
    project.dre("wrap", "--", "false")
    later = project.write("later", project.dre("log", "checkpoint").stdout.decode())
    shutil.rmtree(project.path / ".dre")
    shutil.copytree(saved, project.path / ".dre")
    done = project.dre("verify", "--since", str(later))
    assert done.returncode == 3
    assert b"rolled back" in done.stdout


@pytest.mark.parametrize("text", ["", "no note", "a\nb\nc\n\n"])
def test_no_checkpoint(project, checkpoint, text):
    checkpoint.write_text(text or " ")
    done = project.dre("verify", "--since", str(checkpoint))
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr


def test_a_checkpoint_of_another_key(project, checkpoint):
    lines = checkpoint.read_text().split("\n")
    lines[1] = str(int(lines[1]) + 1)
    checkpoint.write_text("\n".join(lines))
    assert project.dre("verify", "--since", str(checkpoint)).returncode == 3

"""Deleting evidence: the tombstone stays, what others need stays, and nothing else."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
import time

import pytest

from dre_core.errors import ConfigError
from dre_core.removal import retention_of


def operations(project):
    return [
        row["operation"] for row in json.loads(project.dre("evidence", "list", "--json").stdout)["operations"]
    ]


def blobs(project):
    return {path.name for path in (project.path / ".dre/evidence/sha256").rglob("*") if path.is_file()}


def tombstones(project):
    shown = project.dre("log", "list", "--json", "--type", "evidence.deleted").stdout
    return json.loads(shown)["events"]


def test_a_deleted_operation_leaves_a_signed_tombstone_and_the_others_whole(project):
    project.dre("wrap", "--", "echo", "first")
    project.dre("wrap", "--", "echo", "second")
    first, second = operations(project)
    before = blobs(project)
    done = project.dre("evidence", "delete", first, "--reason", "holds a customer's name", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["deleted"][0]["operation"] == first
    assert operations(project) == [second]
    assert not (project.path / ".dre/experiments" / first).exists()
    assert before - blobs(project)
    (event,) = tombstones(project)
    assert (event["operation"], event["data"]["reason"]) == (first, "holds a customer's name")
    digest = event["data"]["blob"].removeprefix("sha256:")
    envelope = json.loads((project.path / ".dre/evidence/sha256" / digest[:2] / digest[2:]).read_bytes())
    statement = json.loads(base64.b64decode(envelope["payload"]))
    assert statement["predicateType"] == "urn:dre:predicate:tombstone:v1"
    assert statement["predicate"]["operation"] == first
    assert envelope["signatures"]
    verdict = project.verdict("latest")
    assert (verdict["operation"], verdict["integrity"]["result"]) == (second, "valid")
    assert project.dre("log", "check").returncode == 0
    assert project.dre("verify", first).returncode == 2


def test_the_newest_one_deleted_makes_the_one_before_the_latest(project):
    project.dre("wrap", "--", "true")
    project.dre("wrap", "--", "false")
    first, second = operations(project)
    project.dre("evidence", "delete", second, "--reason", "x")
    assert project.verdict()["operation"] == first
    project.dre("evidence", "delete", first, "--reason", "x")
    assert project.dre("verify").returncode == 2
    assert project.dre("wrap", "--", "true").returncode == 0


def test_a_reason_is_asked_for_and_masked(project):
    project.dre("wrap", "--", "true")
    (name,) = operations(project)
    assert project.dre("evidence", "delete", name).returncode == 2
    project.dre(
        "evidence", "delete", name, "--reason", "has Tr0ub4dor-3 in it", environ={"A_PASSWORD": "Tr0ub4dor-3"}
    )
    assert tombstones(project)[0]["data"]["reason"] == "has *** in it"


def test_prune_goes_by_age(project):
    project.dre("wrap", "--", "true")
    assert json.loads(project.dre("evidence", "prune", "--json").stdout) == {"deleted": []}
    time.sleep(0.1)
    would = json.loads(project.dre("evidence", "prune", "--older-than", "0m", "--dry-run", "--json").stdout)
    assert would == {"would_delete": operations(project)}
    assert len(operations(project)) == 1
    assert project.dre("evidence", "prune", "--older-than", "0m").returncode == 0
    assert operations(project) == []
    assert tombstones(project)[0]["data"]["reason"] == "older than 0m"


def test_nothing_is_deleted_while_something_is_recorded(project):
    project.dre("wrap", "--", "true")
    (name,) = operations(project)
    running = subprocess.Popen(
        [sys.executable, "-m", "dre_ci.cli", "wrap", "--", "sh", "-c", "echo up; sleep 30"],
        cwd=project.path,
        stdout=subprocess.PIPE,
    )
    try:
        assert running.stdout is not None
        assert running.stdout.readline() == b"up\n"
        done = project.dre("evidence", "delete", name, "--reason", "x")
        assert (done.returncode, b"is under way" in done.stderr) == (2, True)
        assert tombstones(project) == []
    finally:
        running.terminate()
        running.wait()
        running.stdout.close()


def test_a_removal_that_was_cut_off_is_completed_without_a_second_tombstone(project):
    project.dre("wrap", "--", "true")
    (name,) = operations(project)
    saved = project.path / "saved"
    folder = project.path / ".dre/experiments" / name
    subprocess.run(["cp", "-a", str(folder), str(saved)], check=True)
    project.dre("evidence", "delete", name, "--reason", "x")
    saved.rename(folder)
    assert project.dre("evidence", "delete", name, "--reason", "again").returncode == 0
    assert not folder.exists()
    assert len(tombstones(project)) == 1


@pytest.mark.parametrize("text", ["", "30", "d", "-1d", "1y", "1.5d", "9999999d", "٣d"])
def test_what_is_no_age_is_refused(text):
    with pytest.raises(ConfigError):
        retention_of(text)


def test_a_run_whose_files_just_vanished_does_not_give_way_to_an_earlier_one(project):
    project.dre("wrap", "--", "true")
    project.dre("wrap", "--", "false")
    _, failed = operations(project)
    shutil.rmtree(project.path / ".dre" / "experiments" / failed)
    done = project.dre("verify")
    assert done.returncode not in (0, 4, 6)
    assert failed.encode() in done.stderr

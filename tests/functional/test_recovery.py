"""A process that dies loses nothing that was recorded, and nobody has to repair anything."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from dre_core.store.folder import Folder

SLOW_TEST = """
import os, signal, time

def test_first():
    assert True

def test_second():
    {act}

def test_third():
    assert True
"""


def operations(project):
    return json.loads(project.dre("evidence", "list", "--json").stdout)["operations"]


def assert_sound(project):
    """The log is whole, everything is sealed, and the next run works."""
    assert project.dre("log", "check").returncode == 0
    assert all(row["sealed"] for row in operations(project))
    left = (project.path / ".dre" / "evidence" / "tmp").iterdir()
    assert not [path for path in left if path.stat().st_size]
    assert project.dre("wrap", "--", "true").returncode == 0


@pytest.mark.parametrize(
    ("act", "status"),
    [("os._exit(0)", 0), ("os.kill(os.getpid(), signal.SIGKILL)", -9), ("os.abort()", -6)],
)
def test_a_session_that_dies_is_sealed_as_incomplete(project, act, status):
    project.write("test_slow.py", SLOW_TEST.format(act=act))
    done = project.pytest("--dre", "test_slow.py")
    assert done.returncode == status
    row = operations(project)[-1]
    assert row["outcome"] == "incomplete"
    verdict = project.verdict(row["operation"])
    assert verdict["verdict"] == "inconclusive"
    assert verdict["level"] == 1
    assert verdict["claim"]["tests"]["passed"] == 1
    assert_sound(project)


def test_under_the_wrapper_an_early_exit_is_contradicted(project):
    project.write("test_slow.py", SLOW_TEST.format(act="os._exit(0)"))
    done = project.wrap_pytest("test_slow.py")
    assert done.returncode == 0
    verdict = project.verdict()
    assert verdict["verdict"] == "contradicted"
    assert project.findings(verdict)["session-finished"] == "veto"


def test_a_killed_wrapper_is_recovered(project):
    project.dre("init")
    words = [sys.executable, "-m", "dre_ci.cli", "wrap", "--", "sleep", "60"]
    with subprocess.Popen(words, cwd=project.path) as process:
        wait_for_start(project)
        process.kill()
    rows = operations(project)
    assert [row["outcome"] for row in rows] == ["incomplete"]
    assert project.dre("verify", rows[0]["operation"]).returncode == 4
    assert_sound(project)


def wait_for_start(project, seconds=30.0):
    """Until the newest operation says in the log that its command runs."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        events = json.loads(project.dre("log", "list", "--type", "operation.started", "--json").stdout)
        if events.get("events"):
            return
        time.sleep(0.05)
    pytest.fail("the wrapped command did not start")


def test_an_operation_that_was_killed_before_it_began_is_not_listed(project):
    project.dre("wrap", "--", "true")
    for name, begun in (("op_01m814yb7pff3r3611rakj2y4f", ()), ("op_01m8150s97fk9a1v30yjqnbqz6", ("lock",))):
        folder = project.path / ".dre" / "experiments" / name
        folder.mkdir()
        for file in begun:
            (folder / file).touch()
    (row,) = operations(project)
    assert row["outcome"] == "passed"
    assert_sound(project)


def test_killed_at_random_moments(project):
    """Whatever moment it dies at: the log is sound, and each operation is whole, incomplete, or was never begun."""
    project.dre("init")
    chance = random.Random(20261122)
    words = [sys.executable, "-m", "dre_ci.cli", "wrap", "--", "echo", "hello"]
    for _ in range(12):
        with subprocess.Popen(words, cwd=project.path, stdout=subprocess.DEVNULL) as process:
            time.sleep(chance.uniform(0.05, 0.5))
            process.kill()
    rows = operations(project)
    assert {row.get("outcome") for row in rows} <= {"passed", "incomplete"}
    for row in rows:
        assert project.dre("verify", row["operation"]).returncode == 4
    assert_sound(project)


@pytest.mark.parametrize("missing", ["run.tlog-proof", "index.json", "both", "sealed-event"])
def test_a_publication_that_was_cut_off_is_completed(project, missing):
    project.wrap_pytest()
    operation = operations(project)[0]["operation"]
    experiment = Folder(project.path / ".dre").experiment(operation)
    experiment.index.unlink()
    if missing != "index.json":
        experiment.proof.unlink()
    if missing == "sealed-event":
        forget_last_event(project)
    if missing != "index.json":
        unsealed = project.dre("verify", operation)
        assert unsealed.returncode == 2
        assert b"is not sealed" in unsealed.stderr
    operations(project)
    verdict = project.verdict(operation)
    assert (verdict["verdict"], verdict["level"]) == ("supported", 3)
    out = project.path.parent / "out.zip"
    assert project.dre("evidence", "export", operation, "--output", str(out)).returncode == 0


def forget_last_event(project):
    """As if the process had died between publishing the envelopes and logging it."""
    import sqlite3

    from dre_core.crypto.merkle import stored_count

    connection = sqlite3.connect(project.path / ".dre" / "log.db")
    (last,) = connection.execute("SELECT max(number) FROM leaves").fetchone()
    connection.execute("DELETE FROM leaves WHERE number = ?", (last,))
    connection.execute("DELETE FROM hashes WHERE number >= ?", (stored_count(last),))
    connection.execute("DELETE FROM checkpoints WHERE size > ?", (last,))
    connection.commit()
    connection.close()


def test_a_full_disk_never_changes_the_commands_result(project, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(small)], capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("mounting is not allowed here")
    try:
        words = ("--dir", str(small / ".dre"))
        assert project.dre("init", *words).returncode == 0
        big = f'{sys.executable} -c "import os; os.write(1, os.urandom({{size}}))"; exit 3'
        for size in (400_000, 2_000_000):
            done = project.dre("wrap", *words, "--", "sh", "-c", big.format(size=size))
            assert done.returncode == 3
            assert len(done.stdout) == size
            assert b"Traceback" not in done.stderr
            sealed = json.loads(project.dre("evidence", "show", *words, "--json").stdout)
            (output,) = [item for item in sealed["items"] if item["name"] == "stdout"]
            assert (output["kept"], output["size"]) == (False, str(size))
            assert output["digest"] == "sha256:" + hashlib.sha256(done.stdout).hexdigest()
            assert "no space left" in output["note"]["not-kept"]
            (gap,) = [gap for gap in sealed["gaps"] if gap["collector"] == "output"]
            assert "only its digest and size" in gap["reason"]
            assert project.dre("verify", *words).returncode == 6
        strict = project.dre("wrap", *words, "--strict", "--", "sh", "-c", big.format(size=2_000_000))
        assert strict.returncode in (3, 125)
        assert project.dre("log", "check", *words).returncode == 0
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_an_interrupt_is_a_cancelled_run(project):
    project.dre("init")
    words = [sys.executable, "-m", "dre_ci.cli", "wrap", "--", "sleep", "60"]
    with subprocess.Popen(words, cwd=project.path, start_new_session=True) as process:
        wait_for_start(project)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(30) in (-signal.SIGINT, 130)
    verdict = project.verdict()
    assert (verdict["verdict"], verdict["claim"]["outcome"]) == ("inconclusive", "cancelled")

"""Killed at any moment, or refused by the file system at any call: nothing sealed is lost, and nobody has to repair.

``DRE_TEST_KILLS`` sets how many processes are killed, ``DRE_TEST_FAULTS`` of how many calls one is made to fail: 1
means every call of one ``dre wrap`` and of the sealing of what an interrupted one left, for EIO, ENOSPC and SIGKILL,
and takes some minutes (``tox -e faults``, which prints how many calls that were).
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import time

import pytest

from dre_core.declaring import head_commit, in_force
from dre_core.engine import Engine
from dre_core.errors import NotFoundError
from dre_core.history import log_problems
from dre_core.model.declaration import Kind
from dre_core.model.run import RunOutcome
from dre_core.model.verdict import IntegrityResult
from dre_core.recovery import recover
from dre_core.store.sealed import archive_operations, from_folder
from dre_core.verification import Request, own_operation, trust_for
from dre_core.verify.integrity import Expectations, Trust, inspect
from tests.faces.conftest import DRE

pytestmark = pytest.mark.faces

KILLS = int(os.environ.get("DRE_TEST_KILLS", "24"))
EVERY = int(os.environ.get("DRE_TEST_FAULTS", "25"))


def wait_for_copies(engine):
    """Until what a killed process had just forked is gone too: it holds the lock until it runs its own program."""
    deadline = time.monotonic() + 10
    for name in engine.folder.unpublished():
        while engine.folder.experiment(name).is_alive() and time.monotonic() < deadline:
            time.sleep(0.01)


def outcomes(engine, known=()):
    """Outcome by operation, once what was cut off is recovered; each sealed one must be intact and trusted.

    Those ``known`` from an earlier time are only looked for, so that hundreds of times take no longer each.
    """
    wait_for_copies(engine)
    recover(engine)
    if not engine.folder.exists:
        return {}
    with engine.open_log(read_only=True) as log:
        assert log_problems(engine, log)[0] == []
        begun = {event.operation for _, event in log.events() if event.operation}
    found = {}
    for name in engine.folder.experiments():
        try:
            sealed = own_operation(engine, name)
            if name in known:
                found[name] = known[name]
                continue
        except NotFoundError:
            assert name not in begun, f"{name} was begun and is not sealed"
            continue
        request = Request(target=name)
        inspected = inspect(sealed, trust_for(engine, request, sealed), Expectations())
        assert inspected.integrity.result is IntegrityResult.VALID, inspected.integrity.checks
        found[name] = inspected.run.claim.outcome
    assert not [path for path in (engine.folder.path / "evidence" / "tmp").glob("*") if path.stat().st_size]
    return found


def is_whole(path):
    with archive_operations(path) as found:
        checks = [inspect(each, Trust(keys={}), Expectations()).integrity.checks for each in found]
    return all(check.passed or check.id == "trust" for each in checks for check in each)


def test_killed_at_random_moments(project, tmp_path, counted):
    """Of wrapping, sealing a declaration, exporting and importing."""
    project.dre("wrap", "--", "true")
    source, target = tmp_path / "source.zip", tmp_path / "target.zip"
    project.dre("evidence", "export", "--output", str(source))
    elsewhere = tmp_path / "elsewhere"
    commands = {
        "wrap": ("wrap", "--", "echo", "hello"),
        "claim": ("claim", "--kind", "fix"),
        "export": ("evidence", "export", "--output", str(target)),
        "import": ("--dir", str(elsewhere), "evidence", "import", str(source)),
    }
    seconds = {}
    for name, words in commands.items():
        begun = time.monotonic()
        assert project.dre(*words).returncode == 0
        seconds[name] = time.monotonic() - begun
    engine = Engine.open(project.path)
    other = Engine.open(project.path, explicit=str(elsewhere))
    acknowledged = outcomes(engine)
    chance = random.Random(20261122)
    killed = 0
    for _ in range(KILLS):
        name = chance.choice(list(commands))
        if name == "import":
            shutil.rmtree(elsewhere, ignore_errors=True)
        with subprocess.Popen(
            (*DRE, *commands[name]), cwd=project.path, stdout=subprocess.DEVNULL
        ) as process:
            time.sleep(chance.uniform(0, 1.1 * seconds[name]))
            process.kill()
        killed += process.returncode == -9
        now = outcomes(engine, acknowledged)
        assert acknowledged.items() <= now.items()
        assert set(now.values()) <= {RunOutcome.PASSED, RunOutcome.INCOMPLETE}
        acknowledged = now
        assert not target.exists() or is_whole(target)
        if name == "import" and other.folder.exists:
            with other.open_log(read_only=True) as log:
                assert log.check() == []
            for operation in other.folder.experiments():
                if other.folder.experiment(operation).envelopes.exists():
                    sealed = from_folder(other.folder, operation)
                    checks = inspect(sealed, Trust(keys={}), Expectations()).integrity.checks
                    assert all(check.passed or check.id == "trust" for check in checks), checks
    assert killed > KILLS // 3
    assert outcomes(engine) == acknowledged
    counted(f"{killed} of {KILLS} processes killed before their end")
    for words in commands.values():
        assert project.dre(*words).returncode == 0
    # What a killed export had written is gone; an empty file may be one that is just being made, and stays.
    assert not [path for path in tmp_path.glob(".*.tmp") if path.stat().st_size]


def places(lines, folders):
    """(call, its number) of those that touch the folders, in order."""
    counts: dict[str, int] = {}
    found = []
    for line in lines:
        match = re.match(r"([a-z0-9]+)\(", line)
        if match is None:
            continue
        counts[match[1]] = counts.get(match[1], 0) + 1
        if any(str(folder) in line for folder in folders):
            found.append((match[1], counts[match[1]]))
    return found


FAULTS = ("error=EIO", "error=ENOSPC", "signal=KILL")


def complaint(done, fault, before, now):
    """What is wrong with how a command ended whose file system failed it once; empty if nothing is."""
    errors = done.stderr.decode(errors="replace")
    new = {outcome for name, outcome in now.items() if name not in before}
    if "Traceback" in errors or "unexpected" in errors:
        return "a crash"
    if not before.items() <= now.items():
        return "what was sealed before is not there any more"
    if not new <= {RunOutcome.PASSED, RunOutcome.INCOMPLETE}:
        return f"the operation became {new}"
    if fault == "signal=KILL":
        return "" if done.returncode == -9 or done.stdout == b"hello\n" else f"exit code {done.returncode}"
    # The command's own code and output, or a failure before it began; and if nothing is said, it is sealed.
    if done.returncode == 125:
        return "" if "dre: error: " in errors and not done.stdout else "it ran and is said not to have"
    if done.returncode or done.stdout != b"hello\n":
        return f"exit code {done.returncode}"
    return "" if errors or RunOutcome.PASSED in new else "it is not sealed and nothing is said"


@pytest.mark.parametrize("fault", FAULTS)
def test_every_call_of_the_file_system_fails_once(project, traced, own_home, fault, counted):
    project.write("dre.yaml", "capture:\n  dependencies: false\n")
    project.commit()
    project.dre("wrap", "--", "true")
    words = ("wrap", "--", "echo", "hello")
    done, lines = traced(words)
    if done.returncode != 0:
        pytest.skip("strace can't trace here")
    folders = (project.path / ".dre", own_home / ".config", own_home / ".local")
    wanted = places(lines, folders)
    assert len(wanted) > 40
    engine = Engine.open(project.path)
    before = outcomes(engine)
    problems = []
    failed = wanted[FAULTS.index(fault) * EVERY // 3 :: EVERY]
    for call, number in failed:
        done, lines = traced(words, "-e", f"inject={call}:{fault}:when={number}")
        now = outcomes(engine, before)
        # The monitor's looks shift the count a little: then it was another's file or pipe that failed.
        hit = [line for line in lines if "INJECTED" in line] or lines[-2:]
        ours = any(str(folder) in line for folder in folders for line in hit)
        if ours and (wrong := complaint(done, fault, before, now)):
            problems.append((wrong, call, number, done.stderr.decode(errors="replace")[-500:]))
        before = now
    assert problems == []
    assert outcomes(engine) == before
    counted(f"{len(failed)} of {len(wanted)} calls made to fail")
    # No repair by hand.
    assert project.dre("wrap", "--", "true").returncode == 0
    assert project.dre("log", "check").returncode == 0


def leave_over(project) -> None:
    """A ``dre wrap`` that is killed while its command runs."""
    begun = project.path.parent / "begun"
    begun.unlink(missing_ok=True)
    words = (*DRE, "wrap", "--", "sh", "-c", f"echo hello; touch {begun}; sleep 60")
    with subprocess.Popen(words, cwd=project.path, stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 30
        while not begun.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        process.kill()


@pytest.fixture
def left_over(project, own_home):
    """One sealed operation, and one whose ``dre wrap`` was killed; gives a call that brings this state back."""
    project.write("dre.yaml", "capture:\n  dependencies: false\n")
    project.commit()
    project.dre("wrap", "--", "true")
    leave_over(project)
    folders = (project.path / ".dre", own_home / ".config", own_home / ".local")
    for folder in folders:
        shutil.copytree(folder, own_home / "kept" / folder.name)

    def bring_back() -> None:
        for folder in folders:
            shutil.rmtree(folder)
            shutil.copytree(own_home / "kept" / folder.name, folder)

    return folders, bring_back


SEALS = {"what was left over": ("evidence", "list"), "a declaration": ("claim", "--kind", "fix")}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("words", SEALS.values(), ids=SEALS)
def test_every_call_of_a_seal_fails_once(project, traced, left_over, words, fault, counted):
    folders, bring_back = left_over
    done, lines = traced(words)
    if done.returncode != 0:
        pytest.skip("strace can't trace here")
    wanted = places(lines, folders)
    assert len(wanted) > 15
    engine = Engine.open(project.path)
    problems = []
    failed = wanted[FAULTS.index(fault) * EVERY // 3 :: EVERY]
    for call, number in failed:
        bring_back()
        done, _ = traced(words, "-e", f"inject={call}:{fault}:when={number}")
        errors = done.stderr.decode(errors="replace")
        # Outcomes recovers as any next command does, and holds every seal against its own statements.
        now = sorted(outcome.value for outcome in outcomes(engine).values())
        wrong = ""
        if "Traceback" in errors or "unexpected" in errors:
            wrong = "a crash"
        elif now != ["incomplete", "passed"]:
            wrong = f"the operations became {now}"
        elif done.returncode not in (0, -9) and not errors.startswith("dre: "):
            wrong = f"exit code {done.returncode} and nothing said"
        elif done.returncode == 0 and words[0] == "claim" and not is_declared(engine):
            wrong = "what was declared is not there"
        if wrong:
            problems.append((wrong, call, number, errors[-500:]))
    assert problems == []
    counted(f"{len(failed)} of {len(wanted)} calls made to fail")
    assert project.dre("wrap", "--", "true").returncode == 0
    assert project.dre("log", "check").returncode == 0


def is_declared(engine):
    with engine.open_log(read_only=True) as log:
        declared = in_force(log, engine.store, head_commit(engine))
    return declared is not None and declared.declaration.kind is Kind.FIX

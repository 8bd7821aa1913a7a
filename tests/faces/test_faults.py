"""Killed at any moment, or refused by the file system at any call: nothing sealed is lost, and nobody has to repair.

``DRE_TEST_KILLS`` sets how many processes are killed, ``DRE_TEST_FAULTS`` of how many calls one is made to fail: 1
means every call of one ``dre wrap``, for EIO, ENOSPC and SIGKILL, and takes some minutes (``tox -e faults``).
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
import time

import pytest

from dre_core.engine import Engine
from dre_core.errors import NotFoundError
from dre_core.model.run import RunOutcome
from dre_core.model.verdict import IntegrityResult
from dre_core.recovery import recover
from dre_core.store.sealed import archive_operations, from_folder
from dre_core.verification import Request, own_operation, trust_for
from dre_core.verify.integrity import Expectations, Trust, inspect

pytestmark = pytest.mark.faces

KILLS = int(os.environ.get("DRE_TEST_KILLS", "24"))
EVERY = int(os.environ.get("DRE_TEST_FAULTS", "25"))
DRE = (sys.executable, "-m", "dre_ci.cli")


def outcomes(engine):
    """Outcome by operation, once what was cut off is recovered; each sealed one must be intact and trusted."""
    recover(engine)
    if not engine.folder.exists:
        return {}
    with engine.open_log(read_only=True) as log:
        assert log.check() == []
        begun = {event.operation for _, event in log.events() if event.operation}
    found = {}
    for name in engine.folder.experiments():
        try:
            sealed = own_operation(engine, name)
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


def test_killed_at_random_moments(project, tmp_path):
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
        now = outcomes(engine)
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
    for words in commands.values():
        assert project.dre(*words).returncode == 0
    # What a killed export had written is gone; an empty file may be one that is just being made, and stays.
    assert not [path for path in tmp_path.glob(".*.tmp") if path.stat().st_size]


CALLS = "openat,mkdir,rename,link,unlink,write,pwrite64,fsync,fdatasync,ftruncate,fchmod,close"


@pytest.fixture
def traced(project, own_home):
    """Runs a command of dre under strace; gives the process and its calls."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    # One process, without the noise of bytecode.
    environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}

    def run(words, *options):
        trace = own_home / "trace"
        strace = ("strace", "-y", "-o", str(trace), "-e", f"trace={CALLS}", *options)
        done = subprocess.run(
            (*strace, *DRE, *words),
            cwd=project.path,
            env=environ,
            capture_output=True,
            timeout=120,
            check=False,
        )
        return done, trace.read_text(errors="replace").splitlines()

    return run


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
def test_every_call_of_the_file_system_fails_once(project, traced, own_home, fault):
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
    for call, number in wanted[FAULTS.index(fault) * EVERY // 3 :: EVERY]:
        done, lines = traced(words, "-e", f"inject={call}:{fault}:when={number}")
        now = outcomes(engine)
        # The monitor's looks shift the count a little: then it was another's file or pipe that failed.
        hit = [line for line in lines if "INJECTED" in line] or lines[-2:]
        ours = any(str(folder) in line for folder in folders for line in hit)
        if ours and (wrong := complaint(done, fault, before, now)):
            problems.append((wrong, call, number, done.stderr.decode(errors="replace")[-500:]))
        before = now
    assert problems == []
    # No repair by hand.
    assert project.dre("wrap", "--", "true").returncode == 0
    assert project.dre("log", "check").returncode == 0

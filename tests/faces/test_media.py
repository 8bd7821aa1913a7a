"""A full disk, a read-only folder, and a clock that jumps: one line at most, and the earlier evidence intact."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from contextlib import suppress
from datetime import timedelta

import pytest

from dre_core.crypto.keys import PublicKey
from dre_core.engine import Engine
from dre_core.model.event import utc_now

pytestmark = pytest.mark.faces


@pytest.fixture
def small_disk(tmp_path):
    """A file system of two megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount")
    words = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(folder)]
    if subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def remount(folder, *options):
    subprocess.run(
        ["mount", "-o", f"remount,{','.join(options)}", str(folder)], check=True, capture_output=True
    )


def codes(project, environ):
    """Exit code of verifying each operation there is."""
    rows = json.loads(project.dre("evidence", "list", "--json", environ=environ).stdout)["operations"]
    return [project.dre("verify", row["operation"], environ=environ).returncode for row in rows]


def test_a_full_disk(project, small_disk):
    environ = {"DRE_DIR": str(small_disk / ".dre")}
    project.write("dre.yaml", "capture:\n  dependencies: false\n")
    assert project.dre("wrap", "--", "true", environ=environ).returncode == 0
    for size in ("8000000", "1800000", "1000000"):
        noise = f"head -c {size} /dev/urandom | base64; exit 7"
        done = project.dre("wrap", "--", "sh", "-c", noise, environ=environ)
        assert done.returncode == 7, done.stderr
        assert len(done.stdout) > int(size)
        assert b"Traceback" not in done.stderr
        assert done.stderr.count(b"dre: warning: ") <= 1
    filler = small_disk / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as stream:
        while stream.write(bytes(4096)):
            pass
    done = project.dre("wrap", "--", "echo", "hello", environ=environ)
    assert b"Traceback" not in done.stderr
    assert (done.returncode, done.stdout) in ((0, b"hello\n"), (125, b""))
    assert done.stderr.startswith(b"dre: "), "what is not sealed is said"
    filler.unlink()
    # There is room again: no repair, and everything that was sealed verifies.
    assert project.dre("wrap", "--", "true", environ=environ).returncode == 0
    assert project.dre("log", "check", environ=environ).returncode == 0
    assert set(codes(project, environ)) <= {4, 6}


def test_a_read_only_disk(project, small_disk):
    environ = {"DRE_DIR": str(small_disk / ".dre")}
    project.write("dre.yaml", "capture:\n  dependencies: false\n")
    project.dre("wrap", "--", "true", environ=environ)
    before = codes(project, environ)
    remount(small_disk, "ro")
    done = project.dre("wrap", "--", "touch", "ran", environ=environ)
    assert done.returncode == 125
    assert done.stderr.startswith(b"dre: error: ")
    assert not (project.path / "ran").exists()
    for words in (
        ("claim", "--kind", "fix"),
        ("evidence", "prune", "--older-than", "0m"),
        ("log", "checkpoint"),
    ):
        done = project.dre(*words, environ=environ)
        assert done.returncode == 1, (words, done.stderr)
        assert done.stderr.startswith(b"dre: error: ")
    assert codes(project, environ) == before
    assert project.dre("log", "check", environ=environ).returncode == 0
    remount(small_disk, "rw")
    assert project.dre("wrap", "--", "touch", "ran", environ=environ).returncode == 0


def test_a_clock_that_jumps(project, tmp_path):
    """Back by a year and forth again: order is the log's, not the clock's; a run from the future is not fresh."""
    from dre_core.capture.process import Command
    from dre_core.engine import Wishes

    key = tmp_path / "key.pem"
    operations = []
    for days in (0, -365, 3650, 0):
        engine = Engine.open(project.path)
        engine.now = lambda days=days: utc_now() + timedelta(days=days)
        wrapped = engine.wrap(Command(argv=("true",), cwd=str(project.path), shell=False), Wishes())
        assert wrapped.failure is None
        operations.append(wrapped.operation)
    key.write_bytes(project.dre("keys", "public").stdout)
    assert PublicKey.parse_pem(key.read_bytes())
    assert project.dre("log", "check").returncode == 0
    fresh = [project.dre("verify", name, "--max-age", "1d").returncode for name in operations]
    assert fresh == [4, 3, 3, 4]
    assert [project.dre("verify", name).returncode for name in operations] == [4] * 4
    assert json.loads(project.dre("verify", "--json").stdout)["operation"] == operations[-1]

"""What is on record after a test breaks the run: ten tests, of which the sixth misbehaves.

The table is that of docs/recorder.md. Every run goes through ``dre wrap``, and what is looked at is the sealed
record, not the journal's file.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the wrapper needs POSIX")

# What the sixth test does: code, tests passed on record, verdicts.
LEAVES = {
    "os._exit(0)": ("os._exit(0)", 5, ("contradicted",)),
    "SIGKILL": ("os.kill(os.getpid(), signal.SIGKILL)", 5, ("failed", "inconclusive")),
    "SIGTERM": ("os.kill(os.getpid(), signal.SIGTERM)", 5, ("failed", "inconclusive")),
    "segfault": ("import ctypes; ctypes.string_at(0)", 5, ("failed", "inconclusive")),
    "KeyboardInterrupt": ("raise KeyboardInterrupt", 5, ("failed", "inconclusive")),
    "fork without _exit": ("os.fork() and os.wait()", 10, ("supported",)),
    "json broken": ("json.dumps = json.loads = None", 10, ("supported",)),
    "time broken": ("time.time = lambda: 0", 10, ("supported",)),
    "10 MB of output, passing": ("print('x' * 10_000_000)", 10, ("supported",)),
    "10 MB of output, failing": ("print('x' * 10_000_000); assert 0", 9, ("failed",)),
    "lone surrogates": ("print('\\ud800'.encode('utf-8', 'surrogatepass').decode('utf-8', 'replace')); "
                        "assert '\\ud800' == ''", 9, ("failed",)),
    "NUL and escapes": ("print('\\0\\x1b[2J\\ufffe'); assert '\\0\\x1b]0;x\\7' == ''", 9, ("failed",)),
}  # fmt: skip
INTERNAL = "def pytest_runtest_logfinish(nodeid):\n    if nodeid.endswith('_5'): raise ValueError('hook')\n"


def ten(sixth: str) -> str:
    return "import json, os, signal, sys, time\n" + "\n".join(
        f"def test_{n}(): {sixth if n == 5 else 'pass'}" for n in range(10)
    )


def play(project, sixth: str, *words: str):
    project.write("test_shop.py", ten(sixth))
    project.commit("break")
    project.dre(
        "wrap",
        "--",
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:randomly",
        "--dre",
        *words,
    )
    return project.verdict()


@pytest.mark.parametrize("name", LEAVES)
def test_sixth_test(project, name):
    sixth, on_record, verdicts = LEAVES[name]
    verdict = play(project, sixth)
    assert verdict["claim"]["tests"]["passed"] == on_record
    assert verdict["claim"]["tests"]["collected"] == 10
    assert verdict["verdict"] in verdicts


def test_internal_error(project):
    project.write("conftest.py", INTERNAL)
    verdict = play(project, "pass")
    assert verdict["claim"]["tests"]["passed"] == 6
    assert verdict["verdict"] == "failed"


@pytest.mark.skipif(find_spec("xdist") is None, reason="needs pytest-xdist")
def test_xdist_worker_dies(project):
    verdict = play(project, "os._exit(0)", "-p", "xdist", "-n", "2")
    assert (verdict["claim"]["tests"]["passed"], verdict["claim"]["tests"]["failed"]) == (9, 1)
    assert verdict["verdict"] == "failed"


@pytest.mark.skipif(find_spec("pytest_timeout") is None, reason="needs pytest-timeout")
def test_timeout_thread(project):
    verdict = play(project, "time.sleep(60)", "--timeout", "1", "--timeout-method", "thread")
    assert verdict["claim"]["tests"]["passed"] == 5
    assert verdict["verdict"] in ("failed", "inconclusive")


def test_hostile_ids(project):
    project.write(
        "test_shop.py",
        "import pytest\n@pytest.mark.parametrize('x', ['\\0', '\\x1b[31m', '\\ud800', 'a' * 5000, '\\n::', '\"]'])\n"
        "def test_id(x): pass\n",
    )
    project.commit("ids")
    project.wrap_pytest("-q")
    verdict = project.verdict()
    assert verdict["claim"]["tests"]["passed"] == 6
    assert verdict["verdict"] == "supported"


@pytest.mark.slow
def test_many_ids(project):
    project.write(
        "test_shop.py",
        "import pytest\n@pytest.mark.parametrize('x', range(100_000))\ndef test_id(x): pass\n",
    )
    project.commit("many")
    project.wrap_pytest("-q")
    verdict = project.verdict()
    assert verdict["claim"]["tests"]["passed"] == 100_000
    assert verdict["verdict"] == "supported"


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounting a small disk needs root"
)
def test_disk_full(project, tmp_path):
    """The command goes on and its status is kept; that the record is not whole is said."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = project.run("mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(disk))
    if mounted.returncode:
        pytest.skip("can't mount a tmpfs here")
    try:
        project.write("test_shop.py", ten(f"open({str(disk / 'fill')!r}, 'wb', 0).write(b'x' * 10**6)"))
        project.commit("fill")
        done = project.run(
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "--dre",
            environ={"DRE_DIR": str(disk / ".dre")},
        )
        assert b"passed" in done.stdout
        assert b"supported" not in done.stdout.lower()
    finally:
        project.run("umount", "-l", str(disk))

"""Cells forked from one interpreter: what a fork finds, and that nothing of one reaches another or is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dre_core.capture.clones import scratch
from dre_core.capture.stem import Stem, StemError, environ_of_cells

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks are made on Linux only")

TELLS = """\
import gc, json, os, random, resource, signal, sys, threading

def test_tell():
    main = sys.modules["__main__"]
    found = {
        "argv": sys.argv, "original": sys.orig_argv, "path": sys.path, "cwd": os.getcwd(),
        "main": main.__spec__.name, "names": sorted(n for n in vars(main) if not n.startswith("__")),
        "environ": dict(os.environ), "flags": str(sys.flags), "umask": os.umask(0o22),
        "threads": threading.active_count(), "stdin": os.readlink("/proc/self/fd/0"),
        "main_thread": threading.main_thread() is threading.current_thread(),
        "descriptors": [n for n in range(3, 60) if _is_open(n)],
        "signals": [str(signal.getsignal(n)) for n in range(1, 65) if n in signal.valid_signals()],
        "limits": [resource.getrlimit(n) for n in range(8)],
        "leader": os.getsid(0) == os.getpid() == os.getpgid(0),
        "hash": hash("a"), "recursion": sys.getrecursionlimit(),
        "modules": sorted(n for n in sys.modules if n != "atexit"),
    }
    with open(os.environ["TELL"], "w") as stream:
        json.dump(found, stream, default=str)

def _is_open(number):
    try:
        os.fstat(number)
    except OSError:
        return False
    return True
"""


@pytest.fixture(scope="module")
def stem():
    started = Stem.start(sys.executable, ENVIRON)
    assert started is not None
    yield started
    started.close()


ENVIRON = {
    **environ_of_cells(os.environ, "/nowhere"),
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    "PYTHONHASHSEED": "7",
}
WORDS = ["-q", "-p", "no:cacheprovider"]


def run(stem, folder: Path, *words: str, seconds: float = 30, environ=ENVIRON):
    """The status of a forked run in a folder, and what it wrote."""
    output = folder / "output.txt"
    output.write_bytes(b"")
    fork = stem.fork([*WORDS, *words], cwd=folder, path=[str(folder)], environ=environ, output=output)
    try:
        status = fork.status(seconds)
    finally:
        fork.end()
    return status, output.read_text(errors="replace")


def write(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "test_it.py").write_text(text)
    return folder


def wait_for_end(*pids: int) -> None:
    for _ in range(200):
        if not any(map(is_alive, pids)):
            return
        time.sleep(0.05)
    raise AssertionError(pids)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_a_fork_is_what_a_process_of_its_own_would_be(stem, tmp_path):
    folder = write(tmp_path / "project", TELLS)
    environ = {**ENVIRON, "PYTHONPATH": str(folder), "ODD": "\udce9é"}
    status, output = run(stem, folder, "-k", "tell", environ={**environ, "TELL": str(tmp_path / "fork")})
    assert status == 0, output
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *WORDS, "-k", "tell"], cwd=folder, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True, check=False,
        env={**environ, "TELL": str(tmp_path / "process")},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    forked, own = (json.loads((tmp_path / name).read_text()) for name in ("fork", "process"))
    for found in (forked, own):
        found["environ"].pop("TELL")
        # What the witness needs, and a plugin that the words leave out.
        found["modules"] = [
            n for n in found["modules"] if "ctypes" not in n and n not in ("_pytest.stepwise", "_socket")
        ]
    assert forked == own


@pytest.mark.parametrize(
    ("text", "status", "word"),
    [
        ("def test_a(): assert 0", 1, "1 failed"),
        ("import os\ndef test_a(): os._exit(7)", 7, ""),
        ("import os\ndef test_a(): os.kill(os.getpid(), 9)", -9, ""),
        ("import os\ndef test_a(): os.closerange(0, 99)", None, ""),
        ("import sys\ndef test_a(): sys.setrecursionlimit(99)\ndef test_b(): pass", None, ""),
        ("import atexit, os\ndef test_a(): atexit.register(os.write, 1, b'at exit')", 0, "at exit"),
        (
            "import os, threading, time\ndef say(): time.sleep(0.2); os.write(1, b'a thread')\n"
            "def test_a(): threading.Thread(target=say).start()",
            0,
            "a thread",
        ),
    ],
)
def test_every_way_to_end_is_told(stem, tmp_path, text, status, word):
    ended, output = run(stem, write(tmp_path / "project", text))
    assert ended is not None
    assert status is None or ended == status, output
    assert word in output


def test_what_one_does_reaches_no_other(stem, tmp_path):
    spoils = """\
import os, resource, signal, sys, threading
def test_spoil():
    import _pytest.runner, random, json
    os.chdir("/"), os.umask(0o777), os.environ.clear(), sys.path.clear(), signal.signal(2, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))
    json.dumps = _pytest.runner.pytest_runtest_makereport = None
    for number in range(3, 200):
        try: os.write(number, b"c" * 99)
        except OSError: pass
    threading.Thread(target=threading.Event().wait, daemon=True).start()
"""
    told = []
    for name in ("before", "after"):
        folder = write(tmp_path / "told", TELLS)
        status, output = run(stem, folder, environ={**ENVIRON, "TELL": str(tmp_path / name)})
        assert status == 0, output
        told.append(json.loads((tmp_path / name).read_text()))
        told[-1]["environ"].pop("TELL")
        run(stem, write(tmp_path / "spoils", spoils))
    assert told[0] == told[1]


def test_a_fork_that_takes_too_long_ends_with_what_it_started(stem, tmp_path):
    sleeps = (
        "import os, subprocess, time\ndef test_a():\n    child = subprocess.Popen(['sleep', '60'])\n"
        "    open('pids', 'w').write(f'{os.getpid()} {child.pid}')\n    time.sleep(60)\n"
    )
    folder = write(tmp_path / "project", sleeps)
    status, _ = run(stem, folder, seconds=1.5)
    assert status is None
    wait_for_end(*map(int, (folder / "pids").read_text().split()))


def test_a_daemon_of_the_group_ends_with_its_fork(stem, tmp_path):
    forks = (
        "import os, time\ndef test_a():\n    pid = os.fork()\n    if not pid:\n        time.sleep(60)\n"
        "        os._exit(0)\n    open('pids', 'w').write(str(pid))\n"
    )
    folder = write(tmp_path / "project", forks)
    status, output = run(stem, folder)
    assert status == 0, output
    wait_for_end(int((folder / "pids").read_text()))


def test_forks_run_side_by_side(stem, tmp_path):
    waits = (
        "import os, time\ndef test_a():\n    open('../' + os.environ['OWN'], 'w').close()\n"
        "    for _ in range(200):\n        if os.path.exists('../' + os.environ['OTHER']): return\n"
        "        time.sleep(0.05)\n    assert 0\n"
    )
    folders = [write(tmp_path / name, waits) for name in ("one", "two")]
    forks = []
    for folder, other in zip(folders, ("two", "one"), strict=True):
        (folder / "output.txt").write_bytes(b"")
        environ = {**ENVIRON, "OWN": f"{folder.name}.there", "OTHER": f"{other}.there"}
        forks.append(
            stem.fork(WORDS, cwd=folder, path=[], environ=environ, output=folder / "output.txt")
        )  # fmt: skip
    assert [fork.status(30) for fork in forks] == [0, 0]
    for fork in forks:
        fork.end()


def test_who_kills_it_is_found_out(tmp_path):
    stem = Stem.start(sys.executable, ENVIRON)
    kills = "import os\ndef test_a(): os.kill(os.getppid(), 9)\n"
    with pytest.raises(StemError):
        run(stem, write(tmp_path / "project", kills))
    with pytest.raises(StemError):
        run(stem, tmp_path / "project")
    stem.close()


def test_its_memory_is_hidden_and_a_forks_is_not(stem, tmp_path):
    asks = (
        "import os\ndef test_a():\n    assert os.stat('/proc/self/environ').st_uid == os.geteuid()\n"
        "    open('owner', 'w').write(str(os.stat(f'/proc/{os.getppid()}/environ').st_uid))\n"
    )
    folder = write(tmp_path / "project", asks)
    status, output = run(stem, folder)
    assert status == 0, output
    assert (folder / "owner").read_text() == "0"


@pytest.mark.parametrize(
    ("place", "fits"),
    [
        ("shop.py", True),
        ("json.py", False),
        ("_pytest/__init__.py", False),
        ("pluggy/__init__.py", False),
        ("pluggy/readme.txt", True),
        ("sitecustomize.py", False),
        ("pluggy.cpython-311-x86_64-linux-gnu.so", False),
    ],
)
def test_a_project_with_what_was_imported_is_not_forked(stem, tmp_path, place, fits):
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text("")
    assert stem.fits([tmp_path / "absent", tmp_path]) is fits


def test_nothing_is_forked_where_there_is_no_pytest(tmp_path):
    stem = Stem.start(sys.executable, {**ENVIRON, "PYTHONPATH": str(write(tmp_path / "one", ""))})
    (tmp_path / "one" / "pytest.py").write_text("raise ImportError('none')")
    assert stem is not None
    assert not stem.fits([tmp_path])
    stem.close()
    assert Stem.start(sys.executable, {**ENVIRON, "PYTHONPATH": "relative"}) is None
    assert Stem.start(str(tmp_path / "python"), ENVIRON) is None


def test_a_thread_of_the_environments_start_forbids_forks(tmp_path):
    starts = "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    (tmp_path / "sitecustomize.py").write_text(starts)
    stem = Stem.start(sys.executable, {**ENVIRON, "PYTHONPATH": str(tmp_path)})
    assert stem is not None
    assert not stem.fits([])
    stem.close()


def test_nothing_is_left_when_who_asked_is_killed(tmp_path):
    sleeps = (
        "import os, time\ndef test_a():\n    open('pid', 'w').write(f'{os.getpid()} {os.getppid()}')\n"
        "    time.sleep(60)\n"
    )
    folder = write(tmp_path / "project", sleeps)
    asks = (
        "import sys, json\nfrom pathlib import Path\nfrom dre_core.capture.stem import Stem\n"
        "folder, environ, words = Path(sys.argv[1]), json.loads(sys.argv[2]), json.loads(sys.argv[3])\n"
        "(folder / 'output.txt').write_bytes(b'')\nstem = Stem.start(sys.executable, environ)\nassert stem.fits([])\n"
        "fork = stem.fork(words, cwd=folder, path=[], environ=environ, output=folder / 'output.txt')\nfork.status(60)\n"
    )
    environ = {**ENVIRON, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(
        [sys.executable, "-c", asks, str(folder), json.dumps(environ), json.dumps(WORDS)]
    )
    while not (folder / "pid").exists() or not (folder / "pid").read_text():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_for_end(*map(int, (folder / "pid").read_text().split()))


def test_what_replays_left_when_they_were_killed_goes(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    half, fresh, old = (tmp_path / f"dre-replay-{name}" for name in ("half", "fresh", "old"))
    for folder in (half / "clean", fresh, old):
        folder.mkdir(parents=True)
    os.utime(old, (0, 0))
    with scratch() as running, scratch() as other:
        assert sorted(tmp_path.iterdir()) == sorted([fresh, running, other])
    assert list(tmp_path.iterdir()) == [fresh]

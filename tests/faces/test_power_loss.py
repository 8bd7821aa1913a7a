"""A loss of power at any moment: what was written and not synced is gone, in a model of a disk and in LazyFS.

The calls of a real run are recorded by strace and carried out again on a model of a disk, where a file's bytes are
only those of its last fsync. Names survive at once in one model (as with LazyFS, and as a journal may order it), in the
other only with an fsync of their folder or of the file itself. At each point a folder is made of what would be there,
and DRE must find it sound: nothing tampered, nothing sealed that is not whole, no repair by hand.

LazyFS (https://github.com/dsrhaslab/lazyfs) is a file system in user space that forgets on command what was not synced.
It is no package; docs/sealing.md says how to build it, and ``DRE_TEST_LAZYFS`` names its program.
"""

from __future__ import annotations

import os
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from dre_core.engine import Engine
from dre_core.model.run import RunOutcome
from tests.faces.test_faults import leave_over, outcomes, places

pytestmark = pytest.mark.faces

CALLS = "openat,mkdir,rename,link,unlink,write,pwrite64,fsync,fdatasync,ftruncate,lseek,rmdir"
EVERY = int(os.environ.get("DRE_TEST_FAULTS", "5"))
IS_ASKED_FOR = "DRE_TEST_LAZYFS" in os.environ
LAZYFS = os.environ.get("DRE_TEST_LAZYFS") or shutil.which("lazyfs")
STRING = r'"((?:[^"\\]|\\.)*)"'
DESCRIPTOR = r"(\d+)<([^>]*)>"


class File:
    def __init__(self) -> None:
        self.data = bytearray()
        self.synced = b""


class Disk:
    """What a disk holds in its caches, and what of it would survive."""

    def __init__(self, *, names_survive: bool) -> None:
        self.names: dict[str, File | None] = {}  # None is a folder
        self.kept: dict[str, File | None] = {}
        self.offsets: dict[tuple[str, str], int] = {}
        self.names_survive = names_survive

    def do(self, call: str, text: str, result: str) -> bool:
        """Carries out one call; gives whether it changed what would survive."""
        return bool(getattr(self, f"_{call}")(text, result))

    def _openat(self, text, result):
        path = unescape(re.search(STRING, text)[1])
        if "O_CREAT" in text and path not in self.names:
            self.names[path] = File()
        file = self.names.get(path)
        if file is not None and "O_TRUNC" in text:
            del file.data[:]
        number = re.match(r"\d+", result)[0]
        self.offsets[number, path] = len(file.data) if file is not None and "O_APPEND" in text else 0
        return self.names_survive

    def _write(self, text, result):
        number, path = re.match(DESCRIPTOR, text).groups()
        file = self.names.get(path)
        if file is None:
            return
        data = unescape_bytes(re.search(STRING, text)[1])[: int(result)]
        at = self.offsets.get((number, path), len(file.data))
        put(file, at, data)
        self.offsets[number, path] = at + len(data)

    def _pwrite64(self, text, result):
        path = re.match(DESCRIPTOR, text)[2]
        file = self.names.get(path)
        if file is not None:
            data = unescape_bytes(re.search(STRING, text)[1])[: int(result)]
            put(file, int(text.rsplit(",", 1)[1].strip(" )")), data)

    def _ftruncate(self, text, result):
        file = self.names.get(re.match(DESCRIPTOR, text)[2])
        if file is not None:
            size = int(text.rsplit(",", 1)[1].strip(" )"))
            del file.data[size:]
            put(file, size, b"")

    def _lseek(self, text, result):
        self.offsets[re.match(DESCRIPTOR, text).groups()] = int(result)

    def _fsync(self, text, result):
        path = re.match(DESCRIPTOR, text)[2]
        file = self.names.get(path)
        if file is not None:
            file.synced = bytes(file.data)
            self.kept[path] = file
            return True
        # A folder: its entries, those that are gone included.
        for name in [name for name in {**self.kept, **self.names} if os.path.dirname(name) == path]:
            if name in self.names:
                self.kept[name] = self.names[name]
            else:
                self.kept.pop(name, None)
        return True

    _fdatasync = _fsync

    def _mkdir(self, text, result):
        self.names[unescape(re.search(STRING, text)[1])] = None
        return self.names_survive

    def _rename(self, text, result):
        old, new = (unescape(part) for part in re.findall(STRING, text))
        if old in self.names:
            self.names[new] = self.names.pop(old)
        return self.names_survive

    def _link(self, text, result):
        old, new = (unescape(part) for part in re.findall(STRING, text))
        self.names[new] = self.names[old]
        return self.names_survive

    def _unlink(self, text, result):
        self.names.pop(unescape(re.search(STRING, text)[1]), None)
        return self.names_survive

    _rmdir = _unlink

    def write_to(self, old: Path, new: Path) -> None:
        """Makes the folders and files that would be there, below another root."""
        surviving = self.names if self.names_survive else self.kept
        for name, file in sorted(surviving.items()):
            if not name.startswith(f"{old}/"):
                continue
            target = new / name[len(str(old)) + 1 :]
            if file is None:
                target.mkdir(parents=True, exist_ok=True)
            elif target.parent.is_dir() or not self.names_survive:
                # An entry of a folder that did not survive can't be there; ours sync folders before what is in them.
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(file.synced)
                target.chmod(0o600)


def put(file: File, at: int, data: bytes) -> None:
    if len(file.data) < at:
        file.data += bytes(at - len(file.data))
    file.data[at : at + len(data)] = data


def unescape_bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def unescape(text: str) -> str:
    return os.fsdecode(unescape_bytes(text))


def recorded(project, own_home):
    """The calls of a first run, with their arguments and results, in the order of their ends."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    trace = own_home / "trace"
    environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    strace = ("strace", "-f", "-y", "-xx", "-s", "10000000", "-o", str(trace), "-e", f"trace={CALLS}")
    words = (sys.executable, "-m", "dre_ci.cli", "wrap", "--", "echo", "hello")
    done = subprocess.run((*strace, *words), cwd=project.path, env=environ, capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip("strace can't trace here")
    begun: dict[str, str] = {}
    for line in trace.read_text().splitlines():
        pid, _, rest = line.partition(" ")
        rest = rest.strip()
        if rest.endswith("<unfinished ...>"):
            begun[pid] = rest.removesuffix("<unfinished ...>").rstrip()
            continue
        if resumed := re.match(r"<\.\.\. \w+ resumed>", rest):
            rest = begun.pop(pid, "") + rest[resumed.end() :]
        call = re.match(r"(\w+)\((.*)\)\s+= (\d+.*)$", rest)
        if call and call[1] in CALLS.split(","):
            yield call[1], decoded_paths(call[2]), decoded_paths(call[3])


def decoded_paths(text: str) -> str:
    """With -xx the paths of descriptors come in hexadecimal as well."""
    return re.sub(r"<((?:\\x[0-9a-f]{2})+)>", lambda found: f"<{unescape(found[1])}>", text)


@pytest.mark.parametrize("names_survive", [True, False], ids=["names at once", "names when synced"])
def test_the_power_goes_at_any_moment(project, own_home, tmp_path, monkeypatch, counted, names_survive):
    project.write("dre.yaml", "capture:\n  dependencies: false\n")
    project.commit()
    calls = list(recorded(project, own_home))
    roots = {
        project.path / ".dre": "project/.dre",
        own_home / ".config": "home/.config",
        own_home / ".local": "home/.local",
    }
    disk = Disk(names_survive=names_survive)
    seen: list[set[RunOutcome]] = []
    points = 0

    def check(number: int) -> None:
        world = tmp_path / f"world-{number}"
        for old, new in roots.items():
            disk.write_to(old, world / new)
        (world / "project").mkdir(parents=True, exist_ok=True)
        (world / "home").mkdir(parents=True, exist_ok=True)
        monkeypatch.setenv("HOME", str(world / "home"))
        engine = Engine.open(world / "project", explicit=str(world / "project" / ".dre"))
        seen.append(set(outcomes(engine).values()))
        shutil.rmtree(world)

    for number, (call, text, result) in enumerate(calls):
        if not any(str(root) in text + result or root_hex(root) in text for root in roots):
            continue
        if disk.do(call, text, result):
            points += 1
            if points % EVERY == 0:
                check(number)
    check(len(calls))
    assert points > 30
    assert seen[-1] == {RunOutcome.PASSED}
    assert set().union(*seen) <= {RunOutcome.PASSED, RunOutcome.INCOMPLETE}
    assert set() in seen
    counted(f"the power gone at {len(seen)} of {points + 1} moments")


def root_hex(root: Path) -> str:
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(root))


class LossyDisk:
    """LazyFS, mounted."""

    def __init__(self, program: str, place: Path) -> None:
        self.path = place / "disk"
        below = place / "below"
        self.path.mkdir()
        below.mkdir()
        self._commands, answers = place / "commands", place / "answers"
        os.mkfifo(self._commands)
        os.mkfifo(answers)
        settings = place / "lazyfs.toml"
        settings.write_text(
            f'[faults]\nfifo_path="{self._commands}"\nfifo_path_completed="{answers}"\n'
            '[cache]\napply_eviction=false\n[cache.simple]\ncustom_size="0.2gb"\nblocks_per_page=1\n'
            f'[filesystem]\nlog_all_operations=false\nlogfile="{place}/log"\n'
        )
        words = (program, self.path, "--config-path", settings, "-o", f"modules=subdir,subdir={below}", "-f")
        self._output = (place / "output").open("wb")
        self._server = subprocess.Popen(words, stdout=self._output, stderr=self._output)
        # Without waiting: a server that could not start opens none of them.
        self._answer = os.open(answers, os.O_RDONLY | os.O_NONBLOCK)
        deadline = time.monotonic() + 10
        while not os.path.ismount(self.path) and self._server.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)

    def lose(self) -> None:
        """The power goes and comes back."""
        commands = os.open(self._commands, os.O_WRONLY | os.O_NONBLOCK)
        os.write(commands, b"lazyfs::clear-cache\n")
        os.close(commands)
        assert select.select([self._answer], [], [], 10)[0], "LazyFS does not answer"
        assert b"finished::clear-cache" in os.read(self._answer, 100)

    def close(self) -> None:
        subprocess.run(["fusermount3", "-u", str(self.path)], check=False)
        self._server.terminate()
        self._server.wait()
        os.close(self._answer)
        self._output.close()


@pytest.fixture
def lossy():
    if LAZYFS is None or not os.path.exists("/dev/fuse") or shutil.which("fusermount3") is None:
        pytest.skip("LazyFS is not here")
    # LazyFS takes no long name for its settings, which those of a worker's test folders are.
    with tempfile.TemporaryDirectory() as place:
        disk = LossyDisk(LAZYFS, Path(place))
        try:
            if not os.path.ismount(disk.path):
                (pytest.fail if IS_ASKED_FOR else pytest.skip)("LazyFS can't be mounted here")
            yield disk
        finally:
            disk.close()


COMMANDS = {
    "wrap": ("wrap", "--", "echo", "hello"),
    "claim": ("claim", "--kind", "fix"),
    "list": ("evidence", "list"),
}


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_killed_and_the_power_lost_with_it(project, traced, lossy, own_home, monkeypatch, counted, words):
    """At every call that changes files: the process dies there, and with it all that it had not synced."""
    project.write("dre.yaml", "capture:\n  dependencies: false\n")
    project.commit()
    monkeypatch.setenv("HOME", str(lossy.path / "home"))
    monkeypatch.setenv("DRE_DIR", str(lossy.path / ".dre"))
    assert project.dre("wrap", "--", "true").returncode == 0
    lossy.lose()
    engine = Engine.open(project.path, explicit=str(lossy.path / ".dre"))
    known = outcomes(engine)
    assert set(known.values()) == {RunOutcome.PASSED}
    leave_over(project)
    done, lines = traced(words)
    if done.returncode != 0:
        pytest.skip("strace can't trace here")
    wanted = places(lines, (lossy.path,))
    assert len(wanted) > 10
    chosen = wanted[::EVERY]
    for call, number in chosen:
        if words[0] == "evidence":
            leave_over(project)
        traced(words, "-e", f"inject={call}:signal=KILL:when={number}")
        lossy.lose()
        now = outcomes(engine, known)
        assert known.items() <= now.items(), (call, number)
        assert set(now.values()) <= {RunOutcome.PASSED, RunOutcome.INCOMPLETE}, (call, number)
        known = now
        # And what was only acknowledged is kept as well as what was looked at.
        if words[0] == "wrap" and number % 5 == 0:
            assert project.dre(*words).returncode == 0
            lossy.lose()
            now = outcomes(engine, known)
            assert [now[name] for name in now.keys() - known.keys()] == [RunOutcome.PASSED]
            known = now
    assert outcomes(engine) == known
    assert project.dre("wrap", "--", "true").returncode == 0
    counted(
        f"killed and the power lost at {len(chosen)} of {len(wanted)} calls, {len(known)} operations there"
    )

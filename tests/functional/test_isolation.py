"""The child that reads hostile input."""

from __future__ import annotations

import os
import shutil
import signal
import sys

import pytest

from dre_ci.isolation import isolated, streamed
from dre_core.engine import Engine
from dre_core.errors import FormatError, LimitError
from dre_core.importing import Sound, survey, take
from dre_core.store.bundle import Archive, Member, write_archive

# The command line forks before it has any thread; a test worker has some.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def test_a_value_comes_back():
    assert isolated(lambda: {"a": [1, "b"], "pid": os.getpid() != 0}) == {"a": [1, "b"], "pid": True}
    assert isolated(lambda: os.getpid()) != os.getpid()


def test_an_error_comes_back():
    def work():
        raise FormatError("not so", hint="do that", path="$.a", code="slug")

    with pytest.raises(FormatError, match="not so") as caught:
        isolated(work)
    assert (caught.value.hint, caught.value.path, caught.value.slug) == ("do that", "$.a", "slug")


@pytest.mark.parametrize(
    "work",
    [
        lambda: os.kill(os.getpid(), signal.SIGKILL),
        lambda: os._exit(0),
        lambda: [bytearray(1 << 30) for _ in range(9)],
        lambda: 1 / 0,
    ],
    ids=["crash", "early exit", "memory", "unexpected error"],
)
def test_a_child_that_dies_is_a_limit(work, capfd):
    with pytest.raises(LimitError):
        isolated(work)


def test_verification_of_an_archive_opens_no_socket_and_writes_nothing(project, tmp_path):
    project.wrap_pytest()
    archive = tmp_path / "e.zip"
    project.dre("evidence", "export", "--output", str(archive))
    trace = tmp_path / "trace"
    strace = (
        "strace",
        "-f",
        "-o",
        str(trace),
        "-e",
        "trace=socket,connect,openat,execve,unlink,rename,mkdir",
    )
    done = project.run(*strace, sys.executable, "-m", "dre_ci.cli", "verify", str(archive), cwd=tmp_path)
    if not trace.exists() or done.returncode not in (0, 5):
        pytest.skip("strace is not here")
    calls = trace.read_text().splitlines()
    assert not [line for line in calls if "socket(" in line and "AF_UNIX" not in line]
    writes = [line for line in calls if ("O_WRONLY" in line or "O_RDWR" in line) and " = -1 " not in line]
    assert not [line for line in writes if "/dev/null" not in line and ".pyc" not in line]


def test_pieces_come_back_and_an_error_behind_them():
    def work():
        yield b"a" * 100_000
        yield b""
        yield str(os.getpid()).encode()
        raise FormatError("not so", path="$.a")

    pieces = streamed(work)
    assert next(pieces) == b"a" * 100_000
    assert next(pieces) == b""
    assert int(next(pieces)) != os.getpid()
    with pytest.raises(FormatError, match="not so"):
        next(pieces)


def test_a_child_that_dies_between_pieces_is_a_limit():
    def work():
        yield b"a"
        os.kill(os.getpid(), signal.SIGKILL)
        yield b"b"

    with pytest.raises(LimitError):
        list(streamed(work))


@pytest.fixture
def exported(project, tmp_path):
    project.dre("wrap", "--", "echo", "hello")
    archive = tmp_path / "e.zip"
    project.dre("evidence", "export", "--output", str(archive))
    key = tmp_path / "key.pem"
    key.write_bytes(project.dre("keys", "public").stdout)
    return archive, key


def test_a_damaged_archive_is_one_line_whatever_is_done_with_it(project, exported):
    archive, _ = exported
    whole = archive.read_bytes()
    for data in (whole[:100], whole[:-1], whole + b"x", b""):
        archive.write_bytes(data)
        for words in (("show", str(archive)), ("cat", "stdout", str(archive)), ("import", str(archive))):
            done = project.dre("evidence", *words)
            assert done.returncode == 3, (words, done.stderr)
            assert done.stderr.startswith(b"dre: error: ")
            assert b"members" not in done.stderr
    archive.write_bytes(whole.replace(b"hello\n", b"HELLO\n"))
    assert b"not intact items" in project.dre("evidence", "show", str(archive)).stdout
    assert project.dre("evidence", "import", str(archive)).returncode == 3
    assert len(list((project.path / ".dre" / "experiments").iterdir())) == 1


def test_an_unpacked_archive_is_held_against_its_index(project, exported, tmp_path):
    archive, key = exported
    folder = tmp_path / "unpacked"
    shutil.unpack_archive(archive, folder, "zip")

    def code():
        return project.dre("verify", str(folder), "--key", str(key)).returncode

    assert code() == 4
    # What its README.txt has one make.
    (folder / "payload").write_bytes(b"anything")
    assert code() == 4
    index = folder / "index.json"
    data = index.read_bytes()
    index.unlink()
    assert code() == 3
    index.write_bytes(data)
    extra = folder / "blobs" / "sha256" / ("0" * 64)
    extra.write_bytes(b"smuggled in")
    assert code() == 3
    extra.unlink()
    extra.symlink_to("/etc/passwd")
    assert code() == 3
    extra.unlink()
    (folder / "README.txt").write_text("do this instead")
    assert code() == 3


def test_an_archive_that_is_exchanged_after_its_survey_is_refused(exported, project, tmp_path):
    archive, _ = exported
    (sound,) = [Sound.parse(each.to_json()) for each in survey(archive)]
    with Archive.open(archive) as opened:
        members = {name: opened.read(name, 1 << 26) for name in opened.names}
    assert sound.members.keys() > {"README.txt", f"attestations/{sound.operation}.intoto.jsonl"}
    for name in sound.members:
        engine = Engine.open(project.path, explicit=str(tmp_path / "other"))
        changed = {**members, name: members[name] + b"\n"}
        write_archive(archive, [Member(name=each, source=data) for each, data in changed.items()])
        with pytest.raises(FormatError):
            take(engine, archive, [sound])
        assert not engine.folder.experiment(sound.operation).envelopes.exists()
        shutil.rmtree(engine.folder.path)
    write_archive(archive, [Member(name=each, source=data) for each, data in members.items()])
    engine = Engine.open(project.path, explicit=str(tmp_path / "other"))
    assert take(engine, archive, [sound]) == [sound.operation]
    assert take(engine, archive, [sound]) == []
    for wrong in ("../keys/a.pem", "keys/../../a.pem", "blobs/sha256/abc"):
        with pytest.raises(FormatError):
            Sound.parse({**sound.to_json(), "members": {wrong: "sha256:" + "0" * 64}})

from __future__ import annotations

import os
import resource
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dre_core.errors import FormatError, IntegrityError, LimitError, NotFoundError, StorageError
from dre_core.model import digest
from dre_core.store.backend import Backend
from dre_core.store.local import LocalStore

pytestmark = pytest.mark.skipif(os.name != "posix", reason="modes, links and limits are of POSIX")


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / ".dre")


def files(store: LocalStore) -> list[str]:
    return sorted(str(p.relative_to(store.root)) for p in store.root.rglob("*") if not p.is_dir())


def test_a_blob_lies_read_only_under_its_digest(store: LocalStore) -> None:
    name = store.put(b"hello")
    hexdigest = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    assert name == f"sha256:{hexdigest}"
    assert files(store) == [f"evidence/sha256/2c/{hexdigest[2:]}"]
    assert stat.S_IMODE(store.path(name).stat().st_mode) == 0o444
    assert store.read(name, 5) == b"hello"
    with store.open(name) as stream:
        assert stream.read() == b"hello"
        assert stream.seek(1) == 1
    assert store.size(name) == 5
    assert store.has(name)
    assert store.check(name)


def test_it_is_a_backend(store: LocalStore) -> None:
    assert isinstance(store, Backend)


def test_a_writer_streams_and_gives_the_digest(store: LocalStore) -> None:
    with store.writer() as writer:
        for _ in range(100):
            writer.write(b"x" * 1000)
        writer.write(b"")
        assert writer.size_bytes == 100_000
        name = writer.commit()
    assert name == digest.sha256(b"x" * 100_000)
    assert store.size(name) == 100_000
    with pytest.raises(StorageError, match="already"):
        writer.write(b"more")
    writer.abort()
    assert store.has(name)


def test_without_commit_nothing_stays(store: LocalStore) -> None:
    with store.writer() as writer:
        writer.write(b"half")
    other = store.writer()
    other.write(b"half")
    other.abort()
    other.abort()
    assert files(store) == []


def test_storing_again_is_one_blob_and_mends_a_damaged_one(store: LocalStore) -> None:
    name = store.put(b"data")
    assert store.put(b"data", durable=False) == name
    store.path(name).chmod(0o600)
    store.path(name).write_bytes(b"dat4")
    assert not store.check(name)
    with pytest.raises(IntegrityError):
        store.read(name, 100)
    store.put(b"data")
    assert store.check(name)
    assert len(files(store)) == 1


def test_many_are_committed_together(store: LocalStore) -> None:
    writers = [store.writer() for _ in range(20)]
    for number, writer in enumerate(writers):
        writer.write(b"item %d" % number)
    names = store.commit_all(writers)
    assert names == tuple(digest.sha256(b"item %d" % number) for number in range(20))
    assert list(store.digests()) == sorted(names)
    assert all(map(store.check, names))
    assert store.commit_all([]) == ()


def test_a_failure_among_many_leaves_no_temporary_file(store: LocalStore) -> None:
    writers = [store.writer() for _ in range(3)]
    for writer in writers:
        writer.write(b"x")
    writers[1].abort()
    with pytest.raises(StorageError):
        store.commit_all(writers)
    assert not list((store.root / "evidence" / "tmp").iterdir())


def test_what_is_not_there(store: LocalStore) -> None:
    name = digest.sha256(b"absent")
    assert not store.has(name)
    assert not store.check(name)
    assert not store.delete(name)
    assert list(store.digests()) == []
    for ask in (store.open, store.size, lambda d: store.read(d, 10)):
        with pytest.raises(NotFoundError):
            ask(name)


@pytest.mark.parametrize("name", ["", "sha256:../../etc", "sha256:" + "A" * 64, "x" * 71])
def test_a_name_that_is_no_digest_never_reaches_the_file_system(store: LocalStore, name: str) -> None:
    for ask in (store.open, store.size, store.has, store.delete, store.check, lambda d: store.read(d, 10)):
        with pytest.raises(FormatError):
            ask(name)


def test_delete_removes_and_says_so(store: LocalStore) -> None:
    name = store.put(b"x")
    assert store.delete(name)
    assert not store.has(name)
    assert not store.delete(name)


def test_links_pipes_and_folders_in_place_of_a_blob_are_not_followed(
    store: LocalStore, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"data")
    name = store.put(b"data")
    path = store.path(name)
    path.unlink()
    path.symlink_to(secret)
    assert not store.has(name)
    assert not store.check(name)
    with pytest.raises(StorageError):
        store.read(name, 10)
    path.unlink()
    os.mkfifo(path)
    assert not store.check(name)
    path.unlink()
    path.mkdir()
    assert not store.check(name)
    with pytest.raises(StorageError):
        store.open(name)


def test_reading_is_limited(store: LocalStore) -> None:
    name = store.put(b"12345")
    with pytest.raises(LimitError):
        store.read(name, 4)


def test_other_files_are_passed_over(store: LocalStore) -> None:
    name = store.put(b"x")
    (store.root / "evidence" / "sha256" / "note.txt").write_text("")
    (store.path(name).parent / "odd").write_text("")
    assert list(store.digests()) == [name]


def test_a_file_size_limit_is_a_storage_error_and_leaves_nothing(store: LocalStore) -> None:
    # A short write first, then EFBIG: what a disk that fills up does.
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(StorageError, match="file too large"):
            store.put(b"x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert files(store) == []
    assert store.check(store.put(b"x" * 5000))


def test_a_full_disk_has_a_plain_message_and_a_hint() -> None:
    import errno

    from dre_core.store.local import storage_error

    error = storage_error(OSError(errno.ENOSPC, "No space left on device", "/x"))
    assert (error.message, error.path) == ("no space left on device", "/x")
    assert error.hint


def test_a_file_in_the_way_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / ".dre").write_text("")
    with pytest.raises(StorageError):
        LocalStore(tmp_path / ".dre").put(b"x")


WRITER = """
import sys
from pathlib import Path
from dre_core.store.local import LocalStore
store = LocalStore(Path(sys.argv[1]))
store.put(b"kept")
writer = store.writer()
writer.write(b"x" * 100_000)
print("ready", flush=True)
sys.stdin.read()
"""


def test_kill_leaves_whole_blobs_and_an_orphan_that_is_swept(store: LocalStore) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(store.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert writer.stdin is not None
    assert writer.stdout is not None
    with writer.stdin, writer.stdout:
        assert writer.stdout.readline() == b"ready\n"
        assert store.sweep() == 0
        writer.kill()
        writer.wait(timeout=30)
    assert store.check(digest.sha256(b"kept"))
    assert len(list(store.digests())) == 1
    with store.writer() as alive:
        alive.write(b"alive")
        assert store.sweep() == 1
        alive.commit()
    assert store.sweep() == 0
    assert len(list(store.digests())) == 2


@pytest.mark.slow
def test_kill_at_any_moment_never_leaves_a_broken_blob(store: LocalStore) -> None:
    code = (
        "import sys, os\nfrom pathlib import Path\nfrom dre_core.store.local import LocalStore\n"
        "store = LocalStore(Path(sys.argv[1]))\nprint(flush=True)\n"
        "while True: store.put(os.urandom(200_000))\n"
    )
    for milliseconds in range(0, 200, 20):
        process = subprocess.Popen([sys.executable, "-c", code, str(store.root)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        with process.stdout:
            process.stdout.readline()
            time.sleep(milliseconds / 1000)
            process.kill()
            process.wait(timeout=30)
        assert all(map(store.check, store.digests()))
    store.sweep()

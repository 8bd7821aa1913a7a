from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from dre_core.crypto import merkle, note
from dre_core.crypto.keys import Signer
from dre_core.errors import FormatError, NewerFormatError, NotFoundError, StorageError, UsageError
from dre_core.model import event, identifier
from dre_core.model.event import Event
from dre_core.store.log import Log

LOG_ID = "6fc1c9b2-0d54-4a6a-9d9c-6d8d0b5f0a11"
SIGNER = Signer.generate()
OPERATIONS = [identifier.new("op") for _ in range(2)]
EVENTS = [
    event.new(
        ("operation.created", "operation.output", "evidence.sealed")[number % 3],
        operation=OPERATIONS[number % 2] if number % 5 else None,
        source="engine",
        data={"number": number},
    )
    for number in range(50)
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
def log(path: Path) -> Iterator[Log]:
    with Log.create(path, log_id=LOG_ID) as made:
        yield made


def damage(path: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement, values)
        connection.commit()


def test_an_empty_log(log: Log) -> None:
    assert (log.id, log.origin, log.size) == (LOG_ID, f"dre.local/{LOG_ID}", 0)
    assert log.root() == merkle.EMPTY_ROOT
    assert list(log.events()) == []
    assert log.latest_checkpoint() is None
    assert log.check() == []
    assert log.append([]) == range(0)


def test_appending_gives_numbers_and_keeps_the_leaves(log: Log, path: Path) -> None:
    assert log.append(EVENTS[:1]) == range(1)
    assert log.append(EVENTS[1:50]) == range(1, 50)
    assert [log.leaf(number) for number in range(50)] == [item.to_bytes() for item in EVENTS]
    assert list(log.events()) == list(enumerate(EVENTS))
    with Log.open(path) as again:
        assert (again.id, again.size, again.root()) == (LOG_ID, 50, log.root())
        assert again.check(SIGNER.public) == []


def test_events_are_found_by_number_operation_and_type(log: Log) -> None:
    log.append(EVENTS)
    assert [number for number, _ in log.events(10, 13)] == [10, 11, 12]
    assert [item for _, item in log.events(operation=OPERATIONS[0])] == [
        item for item in EVENTS if item.operation == OPERATIONS[0]
    ]
    found = list(log.events(5, operation=OPERATIONS[1], type_prefix="operation."))
    assert found == [
        (number, item)
        for number, item in enumerate(EVENTS)
        if number >= 5 and item.operation == OPERATIONS[1] and item.type.startswith("operation.")
    ]
    assert list(log.events(type_prefix="%")) == []
    assert list(log.events(100)) == []


def test_more_events_than_one_batch_also_added_meanwhile(log: Log) -> None:
    log.append(EVENTS * 45)
    seen = log.events()
    first = next(seen)
    log.append(EVENTS)
    assert [first[0], *(number for number, _ in seen)] == list(range(46 * 50))


def test_roots_and_proofs_of_every_size(log: Log) -> None:
    roots = [log.root()]
    for item in EVENTS[:20]:
        log.append([item])
        roots.append(log.root())
    leaves = [merkle.leaf_hash(item.to_bytes()) for item in EVENTS]
    for size in range(21):
        assert log.root(size) == roots[size]
        for index in range(size):
            proof = log.inclusion(index, size)
            assert merkle.verify_inclusion(leaves[index], index, size, roots[size], proof)
            proof = log.consistency(index + 1, size)
            assert merkle.verify_consistency(index + 1, size, roots[index + 1], roots[size], proof)


def test_proofs_about_what_is_not_there(log: Log) -> None:
    log.append(EVENTS[:5])
    for ask in (
        lambda: log.root(6),
        lambda: log.root(-1),
        lambda: log.inclusion(5, 5),
        lambda: log.inclusion(-1),
        lambda: log.inclusion(0, 6),
        lambda: log.consistency(0, 5),
        lambda: log.consistency(4, 3),
        lambda: log.consistency(1, 6),
        lambda: log.leaf(5),
        lambda: log.leaf(-1),
    ):
        with pytest.raises(NotFoundError):
            ask()


def test_an_event_out_of_form_adds_nothing(log: Log) -> None:
    log.append(EVENTS[:2])
    with pytest.raises(FormatError):
        log.append([EVENTS[2], replace(EVENTS[3], type="BAD")])
    assert log.size == 2
    assert log.append(EVENTS[2:3]) == range(2, 3)
    assert log.check() == []


def test_checkpoints(log: Log, path: Path) -> None:
    empty = log.checkpoint(SIGNER)
    assert log.latest_checkpoint() == empty
    log.append(EVENTS[:7])
    signed = log.checkpoint(SIGNER)
    text = note.open_note(signed, log.origin, SIGNER.public)
    assert note.Checkpoint.parse(text) == note.Checkpoint(origin=log.origin, size=7, root=log.root())
    assert log.checkpoint(SIGNER) == signed
    with Log.open(path, read_only=True) as reader:
        assert reader.latest_checkpoint() == signed
        assert reader.check(SIGNER.public) == []
        assert len(reader.check(Signer.generate().public)) == 2


def test_create_never_replaces(log: Log, path: Path) -> None:
    log.append(EVENTS[:1])
    with pytest.raises(UsageError, match="exists"):
        Log.create(path, log_id=str(uuid.uuid4()))
    assert log.size == 1
    assert not [p for p in path.parent.iterdir() if p.name.endswith(".tmp")]


@pytest.mark.parametrize("log_id", ["", "x", LOG_ID.upper(), LOG_ID + "\n", "../" + LOG_ID])
def test_a_log_id_is_a_uuid(path: Path, log_id: str) -> None:
    with pytest.raises(UsageError):
        Log.create(path, log_id=log_id)
    assert not path.exists()


# Damage


@pytest.mark.parametrize(
    ("statement", "values", "word"),
    [
        ("DELETE FROM leaves WHERE number = 3", (), "event 3 is missing"),
        ("DELETE FROM leaves WHERE number = 49", (), "without events"),
        ("DELETE FROM hashes WHERE number = 10", (), "stored hashes differ"),
        ("UPDATE hashes SET hash = zeroblob(32) WHERE number = 17", (), "stored hashes differ"),
        ("INSERT INTO hashes VALUES (1000000, zeroblob(32))", (), "without events"),
        ("UPDATE leaves SET leaf = ? WHERE number = 4", (EVENTS[5].to_bytes(),), "stored hashes differ"),
        ("UPDATE leaves SET leaf = ? WHERE number = 4", (b"{}",), "event 4 is not one"),
        ("UPDATE leaves SET leaf = ? WHERE number = 4", ("text",), "event 4 is missing"),
        ("UPDATE leaves SET type = 'other' WHERE number = 4", (), "filed under another"),
        ("UPDATE leaves SET operation = NULL WHERE number = 4", (), "filed under another"),
        ("UPDATE leaves SET type = CAST(x'ff' AS TEXT) WHERE number = 4", (), "filed under another"),
        ("UPDATE checkpoints SET note = 'x'", (), "checkpoint 50"),
        ("UPDATE checkpoints SET size = 60", (), "checkpoint 60"),
        ("UPDATE checkpoints SET size = 40", (), "checkpoint 40"),
    ],
)
def test_check_names_the_damage(
    log: Log, path: Path, statement: str, values: tuple[object, ...], word: str
) -> None:
    log.append(EVENTS)
    log.checkpoint(SIGNER)
    assert log.check(SIGNER.public) == []
    damage(path, statement, *values)
    assert word in "; ".join(log.check(SIGNER.public))


def test_a_log_rewritten_after_its_checkpoint_is_found_out(log: Log, path: Path, tmp_path: Path) -> None:
    log.append(EVENTS[:10])
    signed = log.checkpoint(SIGNER)
    with Log.create(tmp_path / "other.db", log_id=LOG_ID) as other:
        other.append(EVENTS[1:20])
        other.checkpoint(SIGNER)
        assert other.check(SIGNER.public) == []
        damage(other.path, "INSERT INTO checkpoints VALUES (10, ?)", signed)
        assert other.check(SIGNER.public) == ["checkpoint 10: the log had other events when it was signed"]
        damage(other.path, "DELETE FROM leaves WHERE number >= 5")
        damage(other.path, "DELETE FROM hashes WHERE number >= 8")
        assert "checkpoint 10: the log is smaller than when it was signed" in other.check(SIGNER.public)


def test_problems_are_capped(log: Log, path: Path) -> None:
    log.append(EVENTS * 5)
    damage(path, "UPDATE leaves SET type = 'other'")
    assert len(log.check()) == 100


@pytest.mark.parametrize(
    "content", [b"", b"x", b"SQLite format 3\x00", b"SQLite format 3\x00" + b"\xff" * 5000]
)
def test_a_file_that_is_no_log(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    for read_only in (False, True):
        with pytest.raises(FormatError):
            Log.open(path, read_only=read_only)


@pytest.mark.parametrize(
    "statement",
    [
        "PRAGMA application_id=0",
        "PRAGMA user_version=0",
        "CREATE TABLE spare (x)",
        "CREATE VIEW spare AS SELECT 1",
        "CREATE TRIGGER t AFTER INSERT ON leaves BEGIN DELETE FROM leaves; END",
        "DROP INDEX leaves_by_operation",
        "DELETE FROM log",
        "INSERT INTO log VALUES ('2')",
        "UPDATE log SET id = 'x'",
        "UPDATE log SET id = x'00'",
    ],
)
def test_a_database_that_is_not_exactly_a_log(log: Log, path: Path, statement: str) -> None:
    damage(path, statement)
    for read_only in (False, True):
        with pytest.raises(FormatError):
            Log.open(path, read_only=read_only)


def test_a_newer_format_is_said_to_be_newer(log: Log, path: Path) -> None:
    damage(path, "PRAGMA user_version=2")
    with pytest.raises(NewerFormatError):
        Log.open(path)


def test_no_file_folders_and_links(tmp_path: Path, log: Log, path: Path) -> None:
    with pytest.raises(NotFoundError):
        Log.open(tmp_path / "absent.db")
    with pytest.raises(FormatError):
        Log.open(tmp_path)
    (tmp_path / "link.db").symlink_to(path)
    with pytest.raises(FormatError):
        Log.open(tmp_path / "link.db")
    with pytest.raises(StorageError):
        Log.create(tmp_path / "absent" / "log.db", log_id=LOG_ID)


def test_bytes_flipped_anywhere_end_in_a_typed_error_or_a_problem(tmp_path: Path) -> None:
    source = tmp_path / "log.db"
    with Log.create(source, log_id=LOG_ID) as made:
        made.append(EVENTS)
        made.checkpoint(SIGNER)
        root = made.root()
    content = source.read_bytes()
    sound = 0
    for position in range(0, len(content), 97):
        copy = tmp_path / "copy.db"
        copy.write_bytes(content[:position] + bytes([content[position] ^ 0xFF]) + content[position + 1 :])
        try:
            with Log.open(copy, read_only=True) as opened:
                if not opened.check(SIGNER.public):
                    sound += 1
                    assert opened.root() == root  # unused space, or an index
        except (FormatError, StorageError, NewerFormatError):
            continue
    assert sound < len(content) // 97


# Reading without writing


def listing(directory: Path) -> dict[str, tuple[int, int]]:
    return {p.name: (p.stat().st_size, p.stat().st_mtime_ns) for p in directory.iterdir()}


def test_a_reader_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    with Log.create(tmp_path / "log.db", log_id=LOG_ID) as made:
        made.append(EVENTS)
    before = listing(tmp_path)
    with Log.open(tmp_path / "log.db", read_only=True) as reader:
        assert reader.size == 50
        assert reader.check() == []
        assert listing(tmp_path) == before
        for write in (lambda: reader.append(EVENTS[:1]), lambda: reader.checkpoint(SIGNER)):
            with pytest.raises(UsageError):
                write()
    assert listing(tmp_path) == before


@pytest.mark.skipif(os.name != "posix", reason="modes are of POSIX")
def test_a_folder_that_can_not_be_written_is_read_with_its_wal(
    log: Log, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.append(EVENTS)
    assert (tmp_path / "log.db-wal").stat().st_size > 0
    frozen = tmp_path / "frozen"
    frozen.mkdir()
    for suffix in ("", "-wal"):
        shutil.copy(f"{path}{suffix}", frozen / f"log.db{suffix}")
    frozen.chmod(0o555)
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    before = listing(frozen)
    try:
        with Log.open(frozen / "log.db", read_only=True) as reader:
            assert (reader.size, reader.root(), reader.check()) == (50, log.root(), [])
        assert listing(frozen) == before
    finally:
        frozen.chmod(0o755)


def test_a_reader_sees_what_a_writer_adds(log: Log, path: Path) -> None:
    log.append(EVENTS[:1])
    with Log.open(path, read_only=True) as reader:
        assert reader.size == 1
        log.append(EVENTS[1:3])
        assert reader.size == 3


# Several at once


def test_follow_gives_what_is_there_and_what_comes(log: Log, path: Path) -> None:
    log.append(EVENTS[:2])
    batches = [EVENTS[2:4], [], EVENTS[4:6]]

    def come(_: float) -> None:
        log.append(batches.pop(0))

    with Log.open(path) as follower:
        seen = list(follower.follow(1, 0.01, lambda: not batches, sleep=come))
    assert seen == list(enumerate(EVENTS))[1:6]


APPENDER = """
import sys
from pathlib import Path
from dre_core.model import event
from dre_core.store.log import Log
with Log.open(Path(sys.argv[1])) as log:
    for number in range(int(sys.argv[2])):
        data = [{"n": number, "i": i} for i in range(3)]
        batch = [event.new("test.x", operation=None, source=sys.argv[3], data=item) for item in data]
        numbers = log.append(batch)
        print(numbers.start, flush=True)
"""


def append_elsewhere(path: Path, times: int, source: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", APPENDER, str(path), str(times), source]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def test_processes_append_without_losing_each_other(log: Log, path: Path) -> None:
    processes = [append_elsewhere(path, 20, f"p{number}") for number in range(3)]
    for _ in range(20):
        log.append(EVENTS[:1])
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert log.size == 20 + 3 * 20 * 3
    assert log.check() == []
    for number in range(3):
        own = [item.data["n"] for _, item in log.events() if item.source == f"p{number}"]
        assert own == [n for n in range(20) for _ in range(3)]


def test_kill_keeps_every_acknowledged_append(log: Log, path: Path) -> None:
    process = append_elsewhere(path, 100_000, "victim")
    assert process.stdout is not None
    with process.stdout:
        for _ in range(30):
            acknowledged = int(process.stdout.readline())
        process.kill()
        process.wait(timeout=30)
    assert log.size >= acknowledged + 3
    assert log.size % 3 == 0
    assert log.check() == []
    log.append(EVENTS[:1])
    assert log.check() == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_uses_a_connection_of_its_own(log: Log) -> None:
    log.append(EVENTS[:1])
    child = os.fork()
    if child == 0:
        try:
            log.append(EVENTS[1:2])
            os._exit(0)
        except BaseException:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    log.append(EVENTS[2:3])
    assert log.size == 3
    assert log.check() == []


def test_a_log_that_another_process_holds_is_a_storage_error(
    log: Log, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dre_core.store.log.BUSY_SECONDS", 0.05)
    with closing(sqlite3.connect(path, isolation_level=None)) as holder, Log.open(path) as waiting:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match="another process"):
            waiting.append(EVENTS[:1])
        holder.execute("ROLLBACK")
        assert waiting.append(EVENTS[:1]) == range(1)


def test_a_path_with_odd_characters(tmp_path: Path) -> None:
    odd = tmp_path / "a b?c#d%20é"
    odd.mkdir()
    with Log.create(odd / "log.db", log_id=LOG_ID) as made:
        made.append(EVENTS[:1])
        assert sorted(p.name for p in odd.iterdir() if not p.name.startswith("log.db")) == []
    with Log.open(odd / "log.db", read_only=True) as reader:
        assert Event.parse(reader.leaf(0)) == EVENTS[0]

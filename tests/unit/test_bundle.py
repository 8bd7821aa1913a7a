from __future__ import annotations

import io
import os
import shutil
import struct
import subprocess
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from dre_core.errors import DREError, FormatError, LimitError, NotFoundError, StorageError, UsageError
from dre_core.store import bundle
from dre_core.store.bundle import Archive, Member, write_archive

OP = "op_01m80g4wvdewy95safkejhrna1"
CONTENT = {
    "README.txt": b"how to verify\n",
    f"attestations/{OP}.intoto.jsonl": b'{"payload":""}\n',
    "blobs/sha256/" + "ab" * 32: bytes(range(256)) * 3,
    "blobs/sha256/" + "cd" * 32: b"",
    "index.json": b"{}",
    "keys/" + "01" * 32 + ".pem": b"-----BEGIN",
    "log/checkpoint": b"origin\n1\n",
    f"log/{OP}.tlog-proof": b"c2sp.org",
    f"reports/{OP}/junit.xml": b"<testsuites/>",
    f"reports/{OP}/report.html": b"<!doctype html>",
}
MEMBERS = [Member(name=name, source=data) for name, data in CONTENT.items()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "evidence.zip"
    write_archive(made, MEMBERS)
    return made


def accepted(path: Path) -> bool:
    """Whether the reader takes form and content; any other end than a typed error fails the test."""
    try:
        with Archive.open(path) as archive:
            archive.check()
    except FormatError:
        return False
    return True


def accepts(tmp_path: Path, data: bytes) -> bool:
    (tmp_path / "variant.zip").write_bytes(data)
    return accepted(tmp_path / "variant.zip")


def test_write_and_read(path: Path) -> None:
    with Archive.open(path) as archive:
        assert archive.names == tuple(sorted(CONTENT))
        archive.check()
        for name, data in CONTENT.items():
            assert archive.size(name) == len(data)
            assert archive.read(name, 10_000) == data
            with archive.stream(name) as stream:
                assert stream.read() == data


def test_the_same_evidence_gives_the_same_bytes(path: Path, tmp_path: Path) -> None:
    files = []
    for index, member in enumerate(MEMBERS):
        file = tmp_path / str(index)
        file.write_bytes(CONTENT[member.name])
        files.append(Member(name=member.name, source=file))
    streams = [Member(name=name, source=lambda data=data: io.BytesIO(data)) for name, data in CONTENT.items()]
    for number, members in enumerate((files[::-1], streams)):
        again = tmp_path / f"again-{number}.zip"
        write_archive(again, iter(members))
        assert again.read_bytes() == path.read_bytes()


def test_an_empty_archive(tmp_path: Path) -> None:
    write_archive(tmp_path / "empty.zip", [])
    assert (tmp_path / "empty.zip").stat().st_size == 22
    with Archive.open(tmp_path / "empty.zip") as archive:
        assert archive.names == ()


def test_other_readers_read_it(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        for info in archive.infolist():
            assert archive.read(info) == CONTENT[info.filename]
            assert info.date_time == (1980, 1, 1, 0, 0, 0)
            assert info.external_attr >> 16 == 0o100644
            assert (info.compress_type, info.extra, info.comment, info.flag_bits) == (0, b"", b"", 0)


@pytest.mark.skipif(shutil.which("unzip") is None, reason="unzip is not installed")
def test_unzip_reads_it(path: Path) -> None:
    done = subprocess.run(["unzip", "-tq", str(path)], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stdout


def test_members_that_are_not_there_and_limits(path: Path) -> None:
    with Archive.open(path) as archive:
        for ask in (archive.size, archive.stream, lambda name: archive.read(name, 1)):
            with pytest.raises(NotFoundError):
                ask("absent")
        with pytest.raises(LimitError):
            archive.read("README.txt", 13)


def test_a_stream_compares_the_crc_when_it_ends(path: Path, tmp_path: Path) -> None:
    data = path.read_bytes()
    place = data.index(CONTENT["blobs/sha256/" + "ab" * 32])
    broken = tmp_path / "broken.zip"
    broken.write_bytes(data[: place + 10] + b"\xff" + data[place + 11 :])
    with Archive.open(broken) as archive:
        with archive.stream("blobs/sha256/" + "ab" * 32) as stream, pytest.raises(FormatError, match="CRC"):
            stream.read()
        with pytest.raises(FormatError, match="CRC"):
            archive.read("blobs/sha256/" + "ab" * 32, 10_000)
        with pytest.raises(FormatError) as caught:
            archive.check()
        assert caught.value.path == "blobs/sha256/" + "ab" * 32


def test_what_was_opened_is_what_is_read_whatever_happens_to_the_name(path: Path) -> None:
    with Archive.open(path) as archive:
        other = path.with_name("other.zip")
        write_archive(other, [Member(name="README.txt", source=b"another text!\n")])
        os.replace(other, path)
        assert archive.read("README.txt", 100) == CONTENT["README.txt"]


@pytest.mark.skipif(os.name != "posix", reason="an open file can be cut off on POSIX only")
def test_a_file_cut_off_while_it_is_read(path: Path) -> None:
    with Archive.open(path) as archive:
        os.truncate(path, 100)
        with pytest.raises(FormatError, match="cut off"):
            archive.check()


@pytest.mark.skipif(os.name != "posix", reason="pipes are of POSIX")
def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(NotFoundError):
        Archive.open(tmp_path / "absent")
    for odd in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(UsageError):
            Archive.open(odd)


# The writer


@pytest.mark.parametrize(
    "name",
    [
        "",
        "README",
        "readme.txt",
        "README.txt\n",
        "../README.txt",
        "/README.txt",
        "./README.txt",
        "blobs\\sha256\\" + "ab" * 32,
        "blobs/sha256/" + "AB" * 32,
        "blobs/sha256/" + "ab" * 31,
        "blobs/sha256/../" + "ab" * 32,
        "blobs/sha256/",
        "keys/" + "01" * 32 + ".key",
        "keys/" + "01" * 31 + ".pem",
        "attestations/op_x.intoto.jsonl",
        f"attestations/{OP}.intoto.json",
        f"reports/{OP}/report.htm",
        f"reports/{OP}/../../x",
        f"log/{OP}",
        "log/checkpoint/",
        "index.jsonx",
        "README.txt\0",
        "RÉADME.txt",
    ],
)
def test_a_name_outside_the_table_is_neither_written_nor_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(FormatError):
        write_archive(tmp_path / "x.zip", [Member(name=name, source=b"")])
    assert list(tmp_path.iterdir()) == []
    assert not accepts(tmp_path, forge([(name.encode(), b"data")]))


def test_a_name_twice_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="same name"):
        write_archive(tmp_path / "x.zip", [MEMBERS[0], MEMBERS[1], MEMBERS[0]])


def test_limits_of_writer_and_reader(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("MAX_MEMBERS", 9), ("MAX_TOTAL_BYTES", 800), ("MAX_MEMBER_BYTES", 14)):
        with monkeypatch.context() as patch:
            patch.setattr(bundle, name, value)
            with pytest.raises(LimitError):
                write_archive(tmp_path / "x.zip", MEMBERS)
            with pytest.raises(LimitError):
                Archive.open(path)
        assert not (tmp_path / "x.zip").exists()


def test_a_failing_source_leaves_the_old_file(path: Path, tmp_path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(StorageError):
        write_archive(path, [Member(name="README.txt", source=tmp_path / "absent")])
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_source_that_changes_size_is_an_error(tmp_path: Path) -> None:
    class Growing(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return b"more than was promised"[: size or 0]

    class Shrinking(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return b""

    for kind in (Growing, Shrinking):
        with pytest.raises(StorageError, match="changed"):
            write_archive(
                tmp_path / "x.zip", [Member(name="README.txt", source=lambda kind=kind: kind(b"12345"))]
            )
    assert list(tmp_path.iterdir()) == []


# Hostile variants

LOCAL, CENTRAL, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"


def forge(entries: list[tuple[bytes, bytes]]) -> bytes:
    """An archive in canonical form but for its names and their order."""
    local, central = b"", b""
    for name, data in entries:
        entry = bundle._Entry(name, len(data), zlib.crc32(data), len(local))
        local += entry.local_header() + data
        central += entry.central_header()
    return local + central + bundle._end_records(len(entries), len(central), len(local))


SMALL = forge([(b"README.txt", b"hello"), (b"index.json", b"{}")])


def at(data: bytes, signature: bytes, offset: int, form: str, value: int) -> bytes:
    """The archive with one header field replaced, in the first header of this kind."""
    changed = bytearray(data)
    struct.pack_into(form, changed, data.index(signature) + offset, value)
    return bytes(changed)


def insert(data: bytes, position: int, extra: bytes) -> bytes:
    return data[:position] + extra + data[position:]


def rezip(edit: Callable[[zipfile.ZipFile], None]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        edit(archive)
    return buffer.getvalue()


def link(archive: zipfile.ZipFile) -> None:
    info = zipfile.ZipInfo("README.txt", (1980, 1, 1, 0, 0, 0))
    info.create_system = 3
    info.external_attr = 0o120777 << 16
    archive.writestr(info, "/etc/passwd")


def bomb(archive: zipfile.ZipFile) -> None:
    info = zipfile.ZipInfo("README.txt", (1980, 1, 1, 0, 0, 0))
    archive.writestr(info, bytes(10_000_000), zipfile.ZIP_DEFLATED)


HOSTILE = {
    "prefix": b"#!/bin/sh\n" + SMALL,
    "suffix": SMALL + b"\0",
    "archive twice": SMALL + SMALL,
    "archive comment": at(SMALL, END, 20, "<H", 1) + b"x",
    "comment length without comment": at(SMALL, END, 20, "<H", 1),
    "comment that holds an end record": at(SMALL, END, 20, "<H", 22) + SMALL[-22:],
    "traversal": forge([(b"../../etc/passwd", b"x")]),
    "absolute": forge([(b"/etc/passwd", b"x")]),
    "drive": forge([(b"C:/README.txt", b"x")]),
    "folder": forge([(b"blobs/", b"")]),
    "not ASCII": forge([(b"README\xff.txt", b"x")]),
    "nul in a name": forge([(b"README.txt\0.png", b"x")]),
    "duplicate": forge([(b"README.txt", b"one"), (b"README.txt", b"two")]),
    "unsorted": forge([(b"index.json", b"{}"), (b"README.txt", b"hello")]),
    "link": rezip(link),
    "bomb": rezip(bomb),
    "zipfile's own": rezip(lambda archive: archive.writestr("README.txt", "x")),
    "local name differs": SMALL.replace(b"README.txthello", b"ReADME.txthello"),
    "local size": at(SMALL, LOCAL, 22, "<I", 6),
    "local compressed size": at(SMALL, LOCAL, 18, "<I", 4),
    "local crc": at(SMALL, LOCAL, 14, "<I", 0),
    "local method": at(SMALL, LOCAL, 8, "<H", 8),
    "local flag encrypted": at(SMALL, LOCAL, 6, "<H", 1),
    "local flag descriptor": at(SMALL, LOCAL, 6, "<H", 8),
    "local flag utf-8": at(SMALL, LOCAL, 6, "<H", 0x800),
    "local time": at(SMALL, LOCAL, 10, "<H", 1),
    "local version": at(SMALL, LOCAL, 4, "<H", 20),
    "central crc": at(SMALL, CENTRAL, 16, "<I", 0),
    "central size": at(SMALL, CENTRAL, 24, "<I", 4),
    "central compressed size": at(SMALL, CENTRAL, 20, "<I", 4),
    "both central sizes": at(at(SMALL, CENTRAL, 20, "<I", 4), CENTRAL, 24, "<I", 4),
    "both central sizes huge": at(at(SMALL, CENTRAL, 20, "<I", 2**32 - 2), CENTRAL, 24, "<I", 2**32 - 2),
    "central size escapes to zip64": at(
        at(SMALL, CENTRAL, 20, "<I", 2**32 - 1), CENTRAL, 24, "<I", 2**32 - 1
    ),
    "central method": at(SMALL, CENTRAL, 10, "<H", 8),
    "central flag": at(SMALL, CENTRAL, 8, "<H", 1),
    "central date": at(SMALL, CENTRAL, 14, "<H", 0),
    "central made by": at(SMALL, CENTRAL, 4, "<H", 10),
    "central disk": at(SMALL, CENTRAL, 34, "<H", 1),
    "central text flag": at(SMALL, CENTRAL, 36, "<H", 1),
    "central mode executable": at(SMALL, CENTRAL, 38, "<I", 0o100755 << 16),
    "central mode link": at(SMALL, CENTRAL, 38, "<I", 0o120644 << 16),
    "central offset": at(SMALL, CENTRAL, 42, "<I", 1),
    "central name length": at(SMALL, CENTRAL, 28, "<H", 9),
    "central name length huge": at(SMALL, CENTRAL, 28, "<H", 0xFFFF),
    "central extra length": at(SMALL, CENTRAL, 30, "<H", 4),
    "central comment length": at(SMALL, CENTRAL, 32, "<H", 4),
    "end: one entry fewer": at(at(SMALL, END, 8, "<H", 1), END, 10, "<H", 1),
    "end: one entry more": at(at(SMALL, END, 8, "<H", 3), END, 10, "<H", 3),
    "end: counts differ": at(SMALL, END, 8, "<H", 1),
    "end: disk": at(SMALL, END, 4, "<H", 1),
    "end: directory size": at(SMALL, END, 12, "<I", 1),
    "end: directory size huge": at(SMALL, END, 12, "<I", 2**32 - 2),
    "end: directory offset": at(SMALL, END, 16, "<I", 0),
    "end: directory offset huge": at(SMALL, END, 16, "<I", 2**32 - 2),
    "end: zip64 without records": at(SMALL, END, 16, "<I", 2**32 - 1),
    "end: zip64 count without records": at(at(SMALL, END, 8, "<H", 0xFFFF), END, 10, "<H", 0xFFFF),
    "gap before the directory": insert(
        at(SMALL, END, 16, "<I", SMALL.index(CENTRAL) + 1), SMALL.index(CENTRAL), b"\0"
    ),
    "gap behind the directory": insert(SMALL, SMALL.index(END), b"\0"),
    "hidden member": insert(SMALL, SMALL.index(CENTRAL), SMALL[: SMALL.index(CENTRAL)]),
    "no end": SMALL[: SMALL.index(END)],
    "end only, two entries": at(at(SMALL[-22:], END, 8, "<H", 2), END, 10, "<H", 2),
    "empty": b"",
    "tar": b"README.txt" + bytes(502) + b"ustar" + bytes(10_000),
}


def with_needless_zip64_end() -> tuple[bytes, bytes]:
    """A zip64 end where no value needs one, named by the end record or not."""
    size, offset = SMALL.index(END) - SMALL.index(CENTRAL), SMALL.index(CENTRAL)
    record = bundle._END64.pack(0x06064B50, 44, 0x032D, 45, 0, 0, 2, 2, size, offset)
    locator = bundle._LOCATOR64.pack(0x07064B50, 0, offset + size, 1)
    plain = SMALL[: SMALL.index(END)] + record + locator
    return plain + at(SMALL[-22:], END, 16, "<I", 2**32 - 1), plain + SMALL[-22:]


def with_needless_zip64_field() -> bytes:
    """A member whose sizes stand in a zip64 field although they fit."""
    extra = struct.pack("<HHQQ", 1, 16, 5, 5)
    local = b"README.txt" + extra + b"hello"
    head = bundle._LOCAL.pack(0x04034B50, 45, 0, 0, 0, 33, zlib.crc32(b"hello"), 2**32 - 1, 2**32 - 1, 10, 20)
    fields = (
        0x02014B50,
        0x032D,
        45,
        0,
        0,
        0,
        33,
        zlib.crc32(b"hello"),
        2**32 - 1,
        2**32 - 1,
        10,
        20,
        0,
        0,
        0,
    )
    central = bundle._CENTRAL.pack(*fields, 0o100644 << 16, 0) + b"README.txt" + extra
    return head + local + central + bundle._end_records(1, len(central), len(head + local))


HOSTILE["zip64 end that nothing needs"], HOSTILE["zip64 end that nothing names"] = with_needless_zip64_end()
HOSTILE["zip64 field that nothing needs"] = with_needless_zip64_field()


def test_the_forger_writes_what_the_writer_writes(tmp_path: Path) -> None:
    assert accepts(tmp_path, SMALL)
    write_archive(
        tmp_path / "x.zip",
        [Member(name="README.txt", source=b"hello"), Member(name="index.json", source=b"{}")],
    )
    assert (tmp_path / "x.zip").read_bytes() == SMALL


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_variant(tmp_path: Path, name: str) -> None:
    assert HOSTILE[name] != SMALL
    assert not accepts(tmp_path, HOSTILE[name])


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    for length in range(len(SMALL)):
        assert not accepts(tmp_path, SMALL[:length]), length


def test_every_changed_byte_is_refused(tmp_path: Path) -> None:
    for position in range(len(SMALL)):
        for bit in (0x01, 0x80, 0xFF):
            changed = SMALL[:position] + bytes([SMALL[position] ^ bit]) + SMALL[position + 1 :]
            assert not accepts(tmp_path, changed), (position, bit)


def test_every_byte_taken_out_or_doubled_is_refused(tmp_path: Path) -> None:
    for position in range(len(SMALL)):
        assert not accepts(tmp_path, SMALL[:position] + SMALL[position + 1 :]), position
        assert not accepts(tmp_path, insert(SMALL, position, SMALL[position : position + 1])), position


# zip64


@pytest.mark.skipif(os.name != "posix", reason="needs sparse files")
def test_a_member_of_four_gibibytes_and_one_behind_it(tmp_path: Path) -> None:
    # Built sparse, so that nothing is written: content of zeros with its CRC set by hand.
    large = "blobs/sha256/" + "00" * 32
    zeros = bundle._Entry(large.encode(), 2**32, 0x12345678, 0)
    behind = bundle._Entry(b"index.json", 2, zlib.crc32(b"{}"), zeros.end)
    directory = zeros.central_header() + behind.central_header()
    path = tmp_path / "large.zip"
    with open(path, "wb") as file:
        file.write(zeros.local_header())
        file.seek(behind.offset)
        file.write(behind.local_header() + b"{}")
        file.write(directory + bundle._end_records(2, len(directory), behind.end))
    with zipfile.ZipFile(path) as archive:
        assert archive.getinfo(large).file_size == 2**32
        assert archive.read("index.json") == b"{}"
    with Archive.open(path) as archive:
        assert archive.size(large) == 2**32
        assert archive.read("index.json", 2) == b"{}"
        with pytest.raises(LimitError):
            archive.read(large, 2**32 - 1)
        with archive.stream(large) as stream:
            assert stream.read(10) == bytes(10)


def test_zip64_stands_exactly_where_it_is_needed() -> None:
    for size, offset, local, central in (
        (2**32 - 2, 2**32 - 2, 0, 0),
        (2**32 - 1, 0, 20, 20),
        (5, 2**32 - 1, 0, 12),
        (2**32, 2**32, 20, 28),
    ):
        entry = bundle._Entry(b"index.json", size, 0, offset)
        assert len(entry.local_header()) == 30 + 10 + local
        assert len(entry.central_header()) == 46 + 10 + central
    for count, size, offset, expected in (
        (65_534, 2**32 - 2, 2**32 - 2, 22),
        (65_535, 0, 0, 98),
        (1, 2**32 - 1, 0, 98),
        (1, 0, 2**32 - 1, 98),
    ):
        assert len(bundle._end_records(count, size, offset)) == expected


def test_the_most_members(tmp_path: Path) -> None:
    names = [f"blobs/sha256/{number:064x}" for number in range(65_535)]
    path = tmp_path / "many.zip"
    path.write_bytes(forge_many(names))
    with Archive.open(path) as archive:
        assert archive.names == tuple(names)
    with zipfile.ZipFile(path) as other:
        assert other.namelist() == names
    path.write_bytes(forge_many([*names, "f" * 64]))
    with pytest.raises(LimitError):
        Archive.open(path)


def forge_many(names: list[str]) -> bytes:
    offset, local, central = 0, [], []
    for name in names:
        entry = bundle._Entry(name.encode(), 0, 0, offset)
        local.append(entry.local_header())
        central.append(entry.central_header())
        offset = entry.end
    directory = b"".join(central)
    return b"".join(local) + directory + bundle._end_records(len(names), len(directory), offset)


def test_random_bytes_end_in_the_typed_error(tmp_path: Path) -> None:
    for length in (0, 1, 21, 22, 23, 100, 5000):
        for tail in (b"", SMALL[-22:], SMALL[SMALL.index(CENTRAL) :]):
            (tmp_path / "x.zip").write_bytes(os.urandom(length) + tail)
            with pytest.raises(DREError):
                Archive.open(tmp_path / "x.zip")


def test_what_a_killed_export_left_goes_and_what_is_being_written_stays(tmp_path):
    fcntl = pytest.importorskip("fcntl")
    dead, alive = tmp_path / ".e.zip.0000.tmp", tmp_path / ".e.zip.1111.tmp"
    dead.write_bytes(b"half")
    with alive.open("wb") as writer:
        writer.write(b"half")
        writer.flush()
        fcntl.flock(writer, fcntl.LOCK_EX)
        write_archive(tmp_path / "e.zip", [])
    assert (dead.exists(), alive.exists(), (tmp_path / "e.zip").exists()) == (False, True, True)

"""Codec, blobs, archive and log: what goes in comes out."""

from __future__ import annotations

import uuid
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from dre_core.errors import DREError
from dre_core.model import digest, event
from dre_core.pipeline.codec import ZSTD
from dre_core.store.bundle import Archive, Member, write_archive
from dre_core.store.local import LocalStore
from dre_core.store.log import Log

CHUNKS = st.lists(st.binary(max_size=300) | st.integers(0, 3000).map(bytes), max_size=8)


@given(CHUNKS)
def test_codec(chunks: list[bytes]) -> None:
    assert b"".join(ZSTD.decode(ZSTD.encode(chunks))) == b"".join(chunks)


@given(st.binary(max_size=300), st.integers(1, 64))
def test_any_bytes_end_in_the_typed_error_or_decode(data: bytes, size: int) -> None:
    chunks = [data[start : start + size] for start in range(0, len(data), size)]
    try:
        plain = b"".join(ZSTD.decode(chunks, limit_bytes=1 << 20))
    except DREError:
        return
    assert len(plain) <= 1 << 20


@given(CHUNKS)
@settings(max_examples=25)
def test_blob(chunks: list[bytes]) -> None:
    data = b"".join(chunks)
    with TemporaryDirectory() as directory:
        store = LocalStore(Path(directory))
        with store.writer() as writer:
            for chunk in chunks:
                writer.write(chunk)
            name = writer.commit(durable=False)
        assert name == digest.sha256(data)
        assert store.read(name, len(data)) == data


BLOBS = st.dictionaries(
    st.binary(min_size=32, max_size=32).map(lambda name: f"blobs/sha256/{name.hex()}"),
    st.binary(max_size=200),
    max_size=6,
)


@given(BLOBS, st.randoms(use_true_random=False))
@settings(max_examples=25)
def test_archive(content: dict[str, bytes], random: object) -> None:
    members = [Member(name=name, source=data) for name, data in content.items()]
    with TemporaryDirectory() as directory:
        path, other = Path(directory, "one.zip"), Path(directory, "two.zip")
        write_archive(path, members)
        random.shuffle(members)  # type: ignore[attr-defined]
        write_archive(other, members)
        assert path.read_bytes() == other.read_bytes()
        with Archive.open(path) as archive:
            archive.check()
            assert {name: archive.read(name, 200) for name in archive.names} == content


@given(st.lists(st.integers(0, 5), max_size=6))
@settings(max_examples=15)
def test_log(batches: list[int]) -> None:
    with (
        TemporaryDirectory() as directory,
        Log.create(Path(directory, "log.db"), log_id=str(uuid.uuid4())) as log,
    ):
        expected = []
        for size in batches:
            batch = [
                event.new("test.x", operation=None, source="p", data={"n": number}) for number in range(size)
            ]
            assert log.append(batch) == range(len(expected), len(expected) + size)
            expected += batch
        assert [item for _, item in log.events()] == expected
        assert log.check() == []

"""The way of evidence to disk: mask, hash, compress, encrypt, hash again, store; in constant memory.

Not the log and not the signing. The order is the contract: masking comes before anything is hashed or kept, so
no digest covers a secret; the stored form's digest is the blob's name; what was applied stands in the item.
Where the payloads are encrypted, the plain form is named by an HMAC: a digest would let a short one be guessed.
Text is masked before it is kept. Other bytes are kept only if masking would not change them. Things that are
only named (artifacts, lock files) are digested as they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dre_core.capture.collector import Captured
from dre_core.model import canonical
from dre_core.model.canonical import JSON
from dre_core.model.encryption import CODEC as CIPHER
from dre_core.model.run import Item
from dre_core.model.verdict import Vantage
from dre_core.pipeline import codec
from dre_core.pipeline.mask import Masker, mask_texts
from dre_core.store.folder import storage_errors
from dre_core.store.local import LocalStore, LocalWriter

if TYPE_CHECKING:
    from dre_core.crypto.payload_key import PayloadKey
    from dre_core.encryption import Secrecy

_CHUNK_BYTES = 1 << 20
_TEXT_TYPES = ("text/", "application/json", "application/xml", "application/x-ndjson", "image/svg")
# Whole files are compared before and after masking only up to here; larger binaries are named by digest.
_COMPARED_BYTES = 64 << 20
# One block of a file system: a smaller item would take as much room compressed, and loading the compressor
# costs more than anything else that a short run does.
_COMPRESSED_FROM_BYTES = max(4096, codec.MIN_BYTES)
# The kernel begins to write out this often, so that making a large item durable at the end waits for little.
_WRITE_OUT_BYTES = 16 << 20
# A long item begins a new frame so often, for readers that want a part of it.
FRAME_BYTES = 4 << 20
_WITHHELD = {"withheld": "masking would change these bytes"}


class ItemSink:
    """One item on its way: bytes go in, an item comes out; the blob is placed by :meth:`Intake.commit`.

    Args:
        captured: What it is; its ``value`` and ``path`` are not read.
        writer: Where the stored form goes.
        masker: Masks the bytes; None where they are masked already.
        compress: Whether to compress.
        key: Encrypts; None to store in the clear.

    Attributes:
        masked: Replacements by rule.
        frames: Plain and compressed offset at which each frame begins.
    """

    def __init__(
        self,
        captured: Captured,
        writer: LocalWriter,
        masker: Masker | None,
        compress: bool,
        key: PayloadKey | None = None,
    ) -> None:
        self.captured = captured
        self.writer = writer
        self.masked: dict[str, int] = {}
        self._masker = masker
        self._stage = masker.stage() if masker else None
        self._plain = key.digest() if key else hashlib.sha256()
        self._sealer = key.sealer() if key else None
        self._compressed = 0
        self._size = 0
        self._written_out = 0
        self._lost = ""
        # The first bytes wait, because a small item is stored plain.
        self._head: bytes | None = b"" if compress else None
        self._encoder: codec.Encoder | None = None
        self._frame_end = FRAME_BYTES
        self.frames: list[tuple[int, int]] = [(0, 0)]

    @property
    def size(self) -> int:
        """Bytes that went on to the record."""
        return self._size

    @property
    def is_kept(self) -> bool:
        """Whether the bytes are stored, and not only counted and digested."""
        return not self._lost

    def mask(self, data: bytes) -> bytes:
        """What of the bytes may go on to the record."""
        return self._counted(self._stage.feed, data) if self._stage else data

    def settle(self) -> bytes:
        """Releases what need not wait longer; called when the stream is quiet."""
        return self._counted(self._stage.settle) if self._stage else b""

    def flush(self) -> bytes:
        """Releases what was held back, at the end."""
        return self._counted(self._stage.flush) if self._stage else b""

    def _counted(self, masking: Callable[..., bytes], *data: bytes) -> bytes:
        assert self._masker is not None
        with self._masker.tally(self.masked):
            return masking(*data)

    def write(self, data: bytes) -> None:
        """Masks and stores.

        Raises:
            StorageError: No room.
        """
        self.store(self.mask(data))

    def store(self, data: bytes) -> None:
        """Takes masked bytes.

        Raises:
            StorageError: No room; the caller may go on after :meth:`give_up`.
        """
        if not data:
            return
        self._plain.update(data)
        self._size += len(data)
        if self._lost:
            return
        if self._encoder is not None:
            self._put(self._encoder.compress(data))
            if self._size >= self._frame_end:
                self._begin_frame()
        elif self._head is None:
            self._put(data)
        else:
            self._head += data
            if len(self._head) >= _COMPRESSED_FROM_BYTES:
                self._encoder = codec.ZSTD.encoder()
                self._put(self._encoder.compress(self._head))
                self._head = None
        if self.writer.size_bytes - self._written_out >= _WRITE_OUT_BYTES:
            self._written_out = self.writer.size_bytes
            self.writer.start_flush()

    def _put(self, data: bytes) -> None:
        """Hands compressed bytes on to the store."""
        self._compressed += len(data)
        self.writer.write(self._sealer.compress(data) if self._sealer else data)

    def _begin_frame(self) -> None:
        """Ends the frame; what follows can be read without it."""
        assert self._encoder is not None
        self._put(self._encoder.flush())
        self._encoder = codec.ZSTD.encoder()
        self.frames.append((self._size, self._compressed))
        self._frame_end = self._size + FRAME_BYTES

    def give_up(self, reason: str) -> None:
        """Keeps only the digest and the size from now on, and frees the room that was taken."""
        self._lost = reason
        self.writer.abort()

    def finish(self) -> Item:
        """Ends the item.

        Raises:
            StorageError: No room for the rest.
        """
        plain = "" if self._sealer else f"sha256:{self._plain.hexdigest()}"
        if self._lost:
            note = {"not-kept": self._lost}
            return _item(
                self.captured,
                size=self._size,
                digest=plain,
                plain_digest="",
                kept=False,
                masked=self.masked,
                note=note,
            )
        if self._encoder is not None:
            self._put(self._encoder.flush())
        elif self._head:
            self._put(self._head)
        codecs = [codec.ZSTD.name] if self._encoder is not None else []
        mac = ""
        if self._sealer is not None:
            self.writer.write(self._sealer.flush())
            codecs.append(CIPHER)
            mac = f"hmac-sha256:{self._plain.hexdigest()}"
        item = _item(
            self.captured,
            size=self._size,
            digest=self.writer.digest,
            plain_digest=plain,
            codecs=tuple(codecs),
            masked=self.masked,
        )
        return replace(item, plain_mac=mac) if mac else item


def _item(
    captured: Captured,
    *,
    size: int,
    digest: str,
    plain_digest: str,
    codecs: tuple[str, ...] = (),
    kept: bool = True,
    masked: Mapping[str, int] | None = None,
    note: Mapping[str, str] | None = None,
) -> Item:
    return Item(
        name=captured.name,
        kind=captured.kind,
        vantage=captured.vantage,
        media_type=captured.media_type,
        size=size,
        digest=digest,
        plain_digest=plain_digest,
        codecs=codecs,
        kept=kept,
        masked=masked or {},
        note={**captured.note, **(note or {})},
    )


class Intake:
    """Collects the items of one operation.

    Args:
        store: Where the blobs go.
        masker: The run's masker.
        compress: Whether payloads are compressed.
        secrecy: Encrypts them; None to store them in the clear.
    """

    def __init__(
        self, store: LocalStore, masker: Masker, *, compress: bool = True, secrecy: Secrecy | None = None
    ) -> None:
        self._store = store
        self._masker = masker
        self._compress = compress
        self.secrecy = secrecy
        self._pending: list[LocalWriter] = []
        self.items: list[Item] = []

    def open(self, captured: Captured, *, masked: bool = False) -> ItemSink:
        """A sink for bytes that come in pieces.

        Args:
            captured: What it is.
            masked: Whether the bytes are masked already.

        Raises:
            StorageError: No room, no permission.
        """
        key = self.secrecy.key if self.secrecy else None
        return ItemSink(captured, self._store.writer(), None if masked else self._masker, self._compress, key)

    def close(self, sink: ItemSink) -> None:
        """Ends a sink and takes its item in.

        Raises:
            StorageError: No room for the rest.
        """
        sink.store(sink.flush())
        self.items.append(sink.finish())
        if sink.is_kept:
            self._pending.append(sink.writer)

    def take(self, captured: Captured, *, masked: bool = False) -> Item:
        """Takes in one thing that a collector saw.

        Args:
            captured: What it is, with its ``value`` or ``path``.
            masked: Whether a file's bytes are masked already.

        Returns:
            Its item.

        Raises:
            StorageError: It can't be read or stored.
        """
        if captured.data is not None:
            return self._take_data(captured, captured.data, masked=masked)
        if captured.path is None:
            return self._take_value(captured)
        if not captured.kept:
            return self._name(captured, captured.path)
        is_text = captured.media_type.startswith(_TEXT_TYPES)
        if not is_text and not masked and self._would_change(captured.path):
            return self._name(captured, captured.path, withheld=True)
        sink = self.open(captured, masked=masked or not is_text)
        with storage_errors(captured.path), captured.path.open("rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                sink.write(chunk)
        self.close(sink)
        return self.items[-1]

    def take_bytes(self, captured: Captured, data: bytes, *, masked: Mapping[str, int] | None = None) -> Item:
        """Takes in bytes that need no masking any more.

        Args:
            captured: What they are.
            data: The bytes.
            masked: Replacements that were made in them, by rule.

        Raises:
            StorageError: No room.
        """
        sink = self.open(captured, masked=True)
        sink.masked.update(masked or {})
        sink.write(data)
        self.close(sink)
        return self.items[-1]

    def commit(self) -> tuple[Item, ...]:
        """Places every blob durably and returns all items, with the masker's counts on the output.

        Raises:
            StorageError: The medium refuses; the run is not sealed.
        """
        self._store.commit_all(self._pending)
        self._pending = []
        return tuple(sorted(self.items, key=lambda item: item.name))

    def abort(self) -> None:
        """Throws away what is not yet placed."""
        for writer in self._pending:
            writer.abort()
        self._pending = []

    def take_json(self, name: str, kind: str, vantage: Vantage, value: JSON) -> Item:
        """Takes in a JSON value, its texts masked.

        Raises:
            StorageError: No room.
        """
        return self._take_value(
            Captured(name=name, kind=kind, vantage=vantage, media_type="application/json", value=value)
        )

    def _take_data(self, captured: Captured, data: bytes, *, masked: bool) -> Item:
        """Bytes at hand: text is masked; others are named only, without a digest, if masking would change them."""
        is_text = captured.media_type.startswith(_TEXT_TYPES)
        if not is_text and not masked and self._masker.bytes(data) != data:
            item = _item(captured, size=len(data), digest="", plain_digest="", kept=False, note=_WITHHELD)
            self.items.append(item)
            return item
        counts: dict[str, int] = {}
        if is_text and not masked:
            with self._masker.tally(counts):
                data = self._masker.bytes(data)
        return self.take_bytes(captured, data, masked=counts)

    def _take_value(self, captured: Captured) -> Item:
        counts: dict[str, int] = {}
        with self._masker.tally(counts):
            value = mask_texts(captured.value, self._masker)
        return self.take_bytes(captured, canonical.dumps(value), masked=counts)

    def _name(self, captured: Captured, path: Path, *, withheld: bool = False) -> Item:
        """An item that only names a file by its digest."""
        digest = hashlib.sha256()
        size = 0
        with storage_errors(path), path.open("rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
                size += len(chunk)
        # The digest of bytes with a secret in them would let the secret be guessed.
        named = "" if withheld else f"sha256:{digest.hexdigest()}"
        note = _WITHHELD if withheld else None
        item = _item(captured, size=size, digest=named, plain_digest="", kept=False, note=note)
        self.items.append(item)
        return item

    def _would_change(self, path: Path) -> bool:
        with storage_errors(path), path.open("rb") as stream:
            data = stream.read(_COMPARED_BYTES + 1)
        return len(data) > _COMPARED_BYTES or self._masker.bytes(data) != data

"""The ``dre`` fixture: what a test says and shows beside its outcome.

Without ``--dre`` the same calls do nothing, so a test may use it everywhere.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dre_core.model.canonical import JSON
    from dre_pytest.recorder import Recorder

_CHUNK_BYTES = 2**20
_open = open


class Attach:
    """What a test gets as ``dre``.

    Args:
        test: Node id of the test.
        recorder: Where it goes; None when nothing is recorded.
    """

    def __init__(self, test: str, recorder: Recorder | None) -> None:
        self._test = test
        self._recorder = recorder

    def attach(
        self,
        source: str | os.PathLike[str] | bytes,
        *,
        name: str = "",
        media_type: str = "application/octet-stream",
    ) -> None:
        """Keep a file or bytes with the test; the digest is of the content at this moment.

        Args:
            source: Path of a file, or its bytes.
            name: What to call it; the file's own name if empty.
            media_type: IANA media type.

        Raises:
            OSError: The file can't be read.
        """
        self._keep(source, name, media_type, "attachment")

    def screenshot(self, source: str | os.PathLike[str] | bytes, *, name: str = "") -> None:
        """Keep a PNG picture of what the test saw; otherwise like :meth:`attach`."""
        self._keep(source, name, "image/png", "screenshot")

    def note(self, text: str) -> None:
        """Record a remark about the test."""
        if self._recorder is not None:
            self._recorder.note(self._test, str(text))

    def _keep(self, source: str | os.PathLike[str] | bytes, name: str, media_type: str, kind: str) -> None:
        recorder = self._recorder
        if recorder is not None:
            keep(recorder, self._test, source, name, media_type, kind)


def keep(
    recorder: Recorder,
    test: str,
    source: str | os.PathLike[str] | bytes,
    name: str,
    media_type: str,
    kind: str,
) -> None:
    """Copy a file or bytes, and record it with a test.

    Raises:
        OSError: The file can't be read.
    """
    if not recorder.owned:
        return
    own_name = "" if isinstance(source, bytes) else os.path.basename(os.fspath(source))
    digest, size, file = _copy(source, recorder.attachments, recorder.problem)
    fields: dict[str, JSON] = {
        "name": name or own_name,
        "media_type": media_type,
        "type": kind,
        "file": file,
        "size": size,
    }
    recorder.attach(test, fields, f"sha256:{digest}")


def _copy(
    source: str | os.PathLike[str] | bytes, folder: Path | None, problem: Callable[[str], None]
) -> tuple[str, int, str]:
    """Digest the source while it is copied; the copy is named after the digest.

    Returns:
        Hex SHA-256, size in bytes, and the copy's name, empty if it could not be kept.
    """
    from hashlib import sha256
    from io import BytesIO

    digest, size = sha256(), 0
    part = folder / f".{os.getpid()}.part" if folder is not None else None
    with BytesIO(source) if isinstance(source, bytes) else _open(source, "rb") as stream:
        copy = None
        try:
            if folder is not None and part is not None:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                copy = _open(part, "wb")
        except OSError as error:
            problem(f"attachment-lost: {error.strerror}")
        try:
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
                size += len(chunk)
                if copy is not None and not _written(copy.write, chunk, problem):
                    copy.close()
                    copy = None
        finally:
            if copy is not None:
                copy.close()
    name = digest.hexdigest()
    if copy is None or folder is None or part is None:
        return name, size, ""
    os.replace(part, folder / name)
    return name, size, name


def _written(write: Callable[[bytes], int], chunk: bytes, problem: Callable[[str], None]) -> bool:
    try:
        write(chunk)
    except OSError as error:
        problem(f"attachment-lost: {error.strerror}")
        return False
    return True

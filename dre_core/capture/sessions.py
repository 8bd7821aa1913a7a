"""The journals that test runs inside a command left: read back without trusting that the runs wrote them.

Whatever the command can write may lie in the journal folder: links, pipes, folders, other people's files. Only regular
files named like journals are read, nothing is followed, and text is masked again before it is kept: for a journal
that the recorder wrote this changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from dre_core.errors import DREError
from dre_core.model import canonical
from dre_core.model.fields import Fields
from dre_core.model.journal import fold
from dre_core.model.session import Session
from dre_core.pipeline.mask import Masker, mask_texts
from dre_core.store.folder import open_regular

_CHUNK_BYTES = 1 << 20
# Fields of a journal line that are digests or random: a short secret could stand in them by chance.
_EXEMPT = frozenset(("prev", "nonce", "digest", "session"))


def journal_files(journal: Path) -> list[Path]:
    """Regular files ``<session>/<worker>.jsonl`` with names that can be written down, sorted."""
    found = []
    for path in sorted(journal.glob("*/*.jsonl")):
        name = f"{path.parent.name}/{path.name}"
        if path.is_file() and not path.is_symlink() and not path.parent.is_symlink() and name.isprintable():
            found.append(path)
    return found


def folded_sessions(journal: Path) -> dict[str, Session]:
    """The sessions that can be read, by the name of their folder; the others are left to the verifiers."""
    folders: dict[str, list[Path]] = {}
    for path in journal_files(journal):
        folders.setdefault(path.parent.name, []).append(path)
    sessions = {}
    for name, paths in folders.items():
        session = _folded(paths)
        if session is not None:
            sessions[name] = session
    return sessions


def _folded(paths: Iterable[Path]) -> Session | None:
    streams: dict[str, Any] = {}
    try:
        for path in paths:
            streams[path.stem] = open_regular(path)
        return fold(streams)
    except (DREError, OSError):
        return None
    finally:
        for stream in streams.values():
            stream.close()


def masked_lines(path: Path, masker: Masker) -> Iterator[bytes]:
    """A journal's bytes with nothing left in them that is to be masked.

    Raises:
        StorageError: It is no regular file, or can't be read.
    """
    with open_regular(path) as stream:
        while lines := stream.readlines(_CHUNK_BYTES):
            block = b"".join(lines)
            masked = masker.bytes(block)
            yield block if masked == block else _masked_block(lines, masked, masker)


def _masked_block(lines: list[bytes], masked: bytes, masker: Masker) -> bytes:
    """Lines of a journal masked one by one; anything else as masked in one piece, since a secret can span lines."""
    try:
        with masker.tally({}):  # the whole block's replacements are counted already
            return b"".join(_masked_line(line, masker) for line in lines)
    except (DREError, TypeError, ValueError):
        return masked


def _masked_line(line: bytes, masker: Masker) -> bytes:
    """One record with its texts masked; numbers and digests stay, so an honest line stays as it is.

    Raises:
        FormatError: It is no JSON object.
    """
    record = Fields(canonical.loads(line), "$").value
    masked = {key: value if key in _EXEMPT else mask_texts(value, masker) for key, value in record.items()}
    return line if masked == record else canonical.dumps(masked) + b"\n"

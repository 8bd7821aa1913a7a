"""A small archive, each of its bytes changed, and cut off at each length: never valid, never more than a typed error.

The whole way of ``dre verify`` is taken, in this process: the archive's form, its index, every envelope, the log's
proof and every payload. ``DRE_TEST_STRIDE=1`` takes all of them (``tox -e faults``), else one of so many.
"""

from __future__ import annotations

import os

import pytest

from dre_core.crypto.keys import PublicKey
from dre_core.engine import Engine
from dre_core.errors import FormatError, IntegrityError, NewerFormatError
from dre_core.importing import import_archive
from dre_core.model.verdict import IntegrityResult
from dre_core.store.sealed import archive_operations
from dre_core.verify.integrity import Expectations, Trust, archive_problems, inspect

pytestmark = pytest.mark.faces
STRIDE = int(os.environ.get("DRE_TEST_STRIDE", "37"))


@pytest.fixture
def small(project, tmp_path):
    """The bytes of a small archive, where they lie, and the key that sealed them."""
    project.write("dre.yaml", "capture:\n  dependencies: false\n")
    project.commit()
    assert project.dre("wrap", "--", "true").returncode == 0
    archive = tmp_path / "evidence.zip"
    project.dre("evidence", "export", "--output", str(archive))
    key = PublicKey.parse_pem(project.dre("keys", "public").stdout)
    return archive.read_bytes(), tmp_path / "changed.zip", key


def result(path, key):
    """What the integrity of an archive comes to; INVALID also for what can't be opened at all."""
    try:
        with archive_operations(path) as found:
            problems = archive_problems(found)
            results = [
                inspect(each, Trust(keys={key.keyid: key}), Expectations()).integrity.result for each in found
            ]
    except (FormatError, IntegrityError):
        return IntegrityResult.INVALID
    except NewerFormatError:
        return IntegrityResult.INVALID
    return IntegrityResult.INVALID if problems else results[0]


def test_every_changed_byte(small, counted):
    data, path, key = small
    path.write_bytes(data)
    assert result(path, key) is IntegrityResult.VALID
    changed = bytearray(data)
    for at in range(0, len(data), STRIDE):
        changed[at] ^= 1 << (at % 8)
        path.write_bytes(changed)
        assert result(path, key) is IntegrityResult.INVALID, at
        changed[at] = data[at]
    counted(f"{len(range(0, len(data), STRIDE))} of {len(data)} bytes changed")


def test_every_truncation(small, counted):
    data, path, key = small
    for length in range(0, len(data), STRIDE):
        path.write_bytes(data[:length])
        assert result(path, key) is IntegrityResult.INVALID, length
    counted(f"cut off at {len(range(0, len(data), STRIDE))} of {len(data)} lengths")


def test_nothing_of_a_changed_archive_is_taken_in(small, project):
    data, path, _ = small
    engine = Engine.open(project.path, explicit=str(project.path / "elsewhere"))
    for at in range(0, len(data), max(STRIDE, 211)):
        changed = bytearray(data)
        changed[at] ^= 0x20
        path.write_bytes(changed)
        with pytest.raises((FormatError, IntegrityError)):
            import_archive(engine, path)
    assert not (project.path / "elsewhere" / "evidence").exists()
    path.write_bytes(data)
    assert len(import_archive(engine, path)) == 1

"""C2SP chunked encryption: the published Cobblestone-256 vectors."""

from __future__ import annotations

import hashlib
import json
import zlib
from pathlib import Path
from typing import Any

import pytest

from dre_core.crypto import aead
from dre_core.errors import FormatError, IntegrityError, SigningKeyError

VECTORS = Path(__file__).resolve().parents[2].parent / "shared" / "vectors" / "wycheproof"
FILE = VECTORS / "c2sp_chunked_encryption_aes_256_gcm_test.json"

pytestmark = pytest.mark.skipif(
    not FILE.is_file(), reason="the published vectors are not beside the repository"
)


def load() -> list[dict[str, Any]]:
    document = json.loads(FILE.read_text("utf-8"))
    return [case for group in document["testGroups"] for case in group["tests"]]


@pytest.mark.parametrize("size", [1000, 1 << 20])
def test_published_messages(size: int) -> None:
    cases = load()
    assert len(cases) == 35
    for case in cases:
        packed, key, context = (bytes.fromhex(case[name]) for name in ("ct", "key", "ctx"))
        stored = zlib.decompress(packed)  # so are the vectors stored
        pieces = [stored[start : start + size] for start in range(0, len(stored), size)]
        if case["result"] != "valid":
            with pytest.raises((FormatError, IntegrityError, SigningKeyError)):
                b"".join(aead.open_stream(key, pieces, context=context))
            continue
        plain = b"".join(aead.open_stream(key, pieces, context=context))
        assert len(plain) == case["msgLength"]
        assert hashlib.sha512(plain).hexdigest() == case["msgSha512"]
        sealed = aead.seal_stream(key, [plain], salt=stored[: aead.SALT_BYTES], context=context)
        assert b"".join(sealed) == stored

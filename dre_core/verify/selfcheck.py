"""The bootstrap: four self-checks of this installation, before anything it says is worth a seal.

Mathematics, cryptography against published vectors, the file system as the store uses it, and the network:
loopback works, and verification needs no socket. ``dre init`` seals what passed as the trust certificate;
``dre doctor`` shows the same checks with remedies.
"""

from __future__ import annotations

import hashlib
import math
import os
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

from dre_core.crypto import keys
from dre_core.crypto.dsse import pae
from dre_core.crypto.merkle import leaf_hash, node_hash
from dre_core.errors import DREError
from dre_core.model import canonical
from dre_core.model.record import dataclass
from dre_core.store.folder import sync_folder, write_atomically

# RFC 8032 section 7.1, test 2.
_ED25519_PUBLIC = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
_ED25519_MESSAGE = b"\x72"
_ED25519_SIGNATURE = (
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)
# RFC 8410: SubjectPublicKeyInfo of an Ed25519 key is this prefix and the 32 bytes.
_ED25519_SPKI = "302a300506032b6570032100"


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfCheck:
    """What one self-check came to.

    Attributes:
        name: ``mathematics``, ``cryptography``, ``file-system`` or ``network``.
        passed: Whether it holds.
        detail: What was checked, or what went wrong.
        remedy: What to do about it; empty if it passed.
    """

    name: str
    passed: bool
    detail: str
    remedy: str = ""


def run_all(folder: Path) -> tuple[SelfCheck, ...]:
    """Runs the four checks.

    Args:
        folder: An existing folder on the file system that will hold the evidence.
    """
    steps: tuple[tuple[str, Callable[[], str], str], ...] = (
        ("mathematics", _mathematics, "this interpreter computes wrongly: install another Python"),
        ("cryptography", _cryptography, "reinstall the cryptography package"),
        ("file-system", lambda: _file_system(folder), "use a local, writable file system: --dir or DRE_DIR"),
        ("network", _network, "allow loopback sockets; DRE itself needs no network to seal or verify"),
    )
    return tuple(_run(*step) for step in steps)


def _run(name: str, step: Callable[[], str], remedy: str) -> SelfCheck:
    try:
        return SelfCheck(name=name, passed=True, detail=step())
    except (AssertionError, OSError, DREError) as error:
        return SelfCheck(name=name, passed=False, detail=str(error) or type(error).__name__, remedy=remedy)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def _mathematics() -> str:
    """Arithmetic as the verifiers use it: integers, binary fractions, JSON numbers."""
    _require(2 + 2 == 4, "2 + 2 is not 4")
    _require(2**53 + 1 == 9007199254740993, "integers lose digits")
    _require(math.fsum([0.1] * 10) == 1.0, "an exact sum is not exact")
    _require(abs(0.4 * 1.0 + 0.3 * 0.9 - 0.67) < 1e-12, "a weighted mean is off")
    _require(canonical.dumps([1e21, 0.1, 5e-324]) == b"[1e+21,0.1,5e-324]", "numbers are written wrongly")
    return "2 + 2 = 4, exact integers, IEEE 754 sums, RFC 8785 numbers"


def _cryptography() -> str:
    """SHA-256, Ed25519, DSSE and Merkle hashing against published vectors."""
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    _require(hashlib.sha256(b"abc").hexdigest() == abc, "SHA-256 of the FIPS 180-4 vector differs")
    public = bytes.fromhex(_ED25519_SPKI + _ED25519_PUBLIC)
    signature = bytes.fromhex(_ED25519_SIGNATURE)
    _require(keys.verify("ed25519", public, _ED25519_MESSAGE, signature), "the RFC 8032 signature is refused")
    _require(not keys.verify("ed25519", public, b"\x73", signature), "a wrong Ed25519 signature is accepted")
    wanted = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    _require(pae("http://example.com/HelloWorld", b"hello world") == wanted, "the DSSE encoding differs")
    empty_leaf = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    _require(leaf_hash(b"").hex() == empty_leaf, "the RFC 6962 leaf hash differs")
    _require(
        node_hash(b"\0" * 32, b"\0" * 32) != leaf_hash(b"\0" * 64), "leaves and nodes are not told apart"
    )
    return "SHA-256 (FIPS 180-4), Ed25519 (RFC 8032), DSSE, RFC 6962"


def _file_system(folder: Path) -> str:
    """Write, fsync, atomic rename and read back, as the store does it."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".selfcheck-") as name:
        directory = Path(name)
        target = directory / "evidence"
        data = os.urandom(4096)
        write_atomically(target, b"old")
        write_atomically(target, data)
        sync_folder(directory)
        _require(target.read_bytes() == data, "what was written is not what is read")
        _require(sorted(os.listdir(directory)) == ["evidence"], "an atomic rename left something behind")
    return "write, fsync, atomic rename, read back"


def _network() -> str:
    """Loopback carries bytes; and a signature is checked with sockets forbidden."""
    with socket.socket() as server, socket.socket() as client:
        server.settimeout(5)
        client.settimeout(5)
        server.bind(("127.0.0.1", 0))
        server.listen(1)
        client.connect(server.getsockname())
        accepted, _ = server.accept()
        with accepted:
            client.sendall(b"dre")
            _require(accepted.recv(3) == b"dre", "loopback changes bytes")
    _require(_verifies_without_sockets(), "checking a signature opened a socket")
    return "loopback carries bytes; verification opens no socket"


def _verifies_without_sockets() -> bool:
    """Checks a signature while making a socket would raise."""
    genuine = socket.socket

    def refuse(*args: object, **kwargs: object) -> socket.socket:
        raise AssertionError("a socket was opened")

    socket.socket = refuse  # type: ignore[misc, assignment]
    try:
        _cryptography()
    finally:
        socket.socket = genuine  # type: ignore[misc]
    return True

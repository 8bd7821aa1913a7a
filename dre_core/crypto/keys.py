"""Keys and signatures: three schemes, named by the key record and never by what is signed.

| scheme | key | signature |
| --- | --- | --- |
| ``ed25519`` | Ed25519 | 64 bytes, RFC 8032 |
| ``rsa-pkcs1v15-sha256`` | RSA, 2048 bits or more (we make 4096) | PKCS#1 v1.5 with SHA-256 |
| ``ecdsa-sha2-nistp256`` | P-256 | DER, with SHA-256 |

A key id is the lower-case hex SHA-256 of the SubjectPublicKeyInfo DER. Private keys are PKCS#8 PEM,
optionally encrypted; their files are readable by their owner alone, and a file that others could read or
replace is refused. Not a trust store: which key may say what is the policy's.

``cryptography`` is imported where it is used, and its serialization module (half of the import time) not at
all for plain Ed25519 keys, whose DER is a fixed prefix and 32 bytes (RFC 8410 sections 4 and 7).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from dre_core.errors import SigningKeyError, StorageError
from dre_core.model.record import dataclass

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

    CryptoPublicKey: TypeAlias = Ed25519PublicKey | RSAPublicKey | EllipticCurvePublicKey
    CryptoPrivateKey: TypeAlias = Ed25519PrivateKey | RSAPrivateKey | EllipticCurvePrivateKey

ED25519 = "ed25519"
RSA_PKCS1V15_SHA256 = "rsa-pkcs1v15-sha256"
ECDSA_SHA2_NISTP256 = "ecdsa-sha2-nistp256"
SCHEMES = (ED25519, RSA_PKCS1V15_SHA256, ECDSA_SHA2_NISTP256)

KEY_TYPES: Mapping[str, str] = {
    "ed25519": ED25519,
    "rsa-4096": RSA_PKCS1V15_SHA256,
    "ecdsa-p256": ECDSA_SHA2_NISTP256,
}
"""What ``--key-type`` may say, and the scheme each one signs with."""

MIN_RSA_BITS = 2048
MAX_KEY_BYTES = 64 * 1024
"""Largest key text or file that is read."""
MAX_KEYS = 16
"""Most private keys in one text."""

_ED25519_SPKI = bytes.fromhex("302a300506032b6570032100")
_ED25519_PKCS8 = bytes.fromhex("302e020100300506032b657004220420")


def verify(
    scheme: str, public_key: PublicKey | bytes | CryptoPublicKey, message: bytes, signature: bytes
) -> bool:
    """Check one signature under a scheme that the caller fixes.

    Args:
        scheme: One of :data:`SCHEMES`.
        public_key: A :class:`PublicKey`, SubjectPublicKeyInfo in PEM or DER, or a key object of
            ``cryptography``.
        message: The signed bytes.
        signature: Any bytes.

    Returns:
        Whether the signature holds.

    Raises:
        SigningKeyError: Unknown scheme, no usable key, or a key of another kind than the scheme asks for.
    """
    if scheme not in SCHEMES:
        raise SigningKeyError(f"unknown signature scheme {scheme!r}", hint=f"known are {', '.join(SCHEMES)}")
    key = _to_public_key(public_key)
    if key.scheme != scheme:
        raise SigningKeyError(f"a key for {key.scheme} can't verify {scheme}")
    return key.verify(message, signature)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKey:
    """A public key with the one scheme that it is used with. Make it by a ``parse_…`` method.

    Attributes:
        scheme: One of :data:`SCHEMES`.
        der: SubjectPublicKeyInfo in its one DER form, whatever form was read: one key, one key id.
    """

    scheme: str
    der: bytes

    @property
    def keyid(self) -> str:
        """Lower-case hex SHA-256 of :attr:`der`."""
        return hashlib.sha256(self.der).hexdigest()

    def pem(self) -> bytes:
        """SubjectPublicKeyInfo as PEM."""
        return _pem_block("PUBLIC KEY", self.der)

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Whether the signature over the message holds under this key; False for any other bytes."""
        from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

        try:
            self._verify(message, signature)
        except (InvalidSignature, UnsupportedAlgorithm, ValueError):
            return False
        return True

    def _verify(self, message: bytes, signature: bytes) -> None:
        if self.scheme == ED25519:
            from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

            Ed25519PublicKey.from_public_bytes(self.der[len(_ED25519_SPKI) :]).verify(signature, message)
            return
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.serialization import load_der_public_key

        key: Any = load_der_public_key(self.der)
        if self.scheme == RSA_PKCS1V15_SHA256:
            from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

            key.verify(signature, message, PKCS1v15(), SHA256())
        else:
            from cryptography.hazmat.primitives.asymmetric.ec import ECDSA

            key.verify(signature, message, ECDSA(SHA256()))

    @classmethod
    def parse_pem(cls, data: bytes) -> PublicKey:
        """Read a SubjectPublicKeyInfo in PEM.

        Raises:
            SigningKeyError: No public key, RSA below 2048 bits, another curve or kind.
        """
        if not data.lstrip().startswith(b"-----BEGIN "):
            raise SigningKeyError("not a public key in PEM", hint="`dre keys public` prints one")
        return _read_public(data, pem=True)

    @classmethod
    def parse_der(cls, data: bytes) -> PublicKey:
        """Read a SubjectPublicKeyInfo in DER.

        Raises:
            SigningKeyError: As :meth:`parse_pem`.
        """
        if len(data) == len(_ED25519_SPKI) + 32 and data.startswith(_ED25519_SPKI):
            return cls(scheme=ED25519, der=bytes(data))
        return _read_public(data, pem=False)

    @classmethod
    def from_cryptography(cls, key: CryptoPublicKey) -> PublicKey:
        """Wrap a public key object of ``cryptography``.

        Raises:
            SigningKeyError: RSA below 2048 bits, another curve or kind.
        """
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        scheme = _scheme_of(key)
        if scheme != ED25519:
            # Rebuilt from its numbers, so that a compressed point or odd parameters give no second key id.
            key = key.public_numbers().public_key()  # type: ignore[union-attr]
        der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return cls(scheme=scheme, der=der)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """A private key in memory. Make it by :meth:`generate` or :meth:`load`.

    Attributes:
        public: The public half.
    """

    public: PublicKey
    _key: CryptoPrivateKey = field(repr=False, compare=False)

    @property
    def keyid(self) -> str:
        """The public key's id."""
        return self.public.keyid

    @property
    def scheme(self) -> str:
        """The public key's scheme."""
        return self.public.scheme

    def sign(self, message: bytes) -> bytes:
        """The signature over the message, in the form of the scheme."""
        key: Any = self._key
        if self.scheme == ED25519:
            signature: bytes = key.sign(message)
            return signature
        from cryptography.hazmat.primitives.hashes import SHA256

        if self.scheme == RSA_PKCS1V15_SHA256:
            from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

            signature = key.sign(message, PKCS1v15(), SHA256())
        else:
            from cryptography.hazmat.primitives.asymmetric.ec import ECDSA

            signature = key.sign(message, ECDSA(SHA256()))
        return signature

    def pem(self, passphrase: bytes | None = None) -> bytes:
        """The private key as PKCS#8 PEM.

        Args:
            passphrase: Encrypts it; None or empty leaves it plain.
        """
        key: Any = self._key
        if not passphrase and self.scheme == ED25519:
            return _pem_block("PRIVATE KEY", _ED25519_PKCS8 + key.private_bytes_raw())
        from cryptography.hazmat.primitives.serialization import (
            BestAvailableEncryption,
            Encoding,
            NoEncryption,
            PrivateFormat,
        )

        encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
        pem: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
        return pem

    @classmethod
    def generate(cls, key_type: str = "ed25519") -> Signer:
        """Make a new key.

        Args:
            key_type: One of :data:`KEY_TYPES`.

        Raises:
            SigningKeyError: Another key type.
        """
        if key_type == "ed25519":
            from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

            return cls._wrap_ed25519(Ed25519PrivateKey.generate())
        if key_type == "rsa-4096":
            from cryptography.hazmat.primitives.asymmetric import rsa

            return cls._wrap(rsa.generate_private_key(public_exponent=65537, key_size=4096))
        if key_type == "ecdsa-p256":
            from cryptography.hazmat.primitives.asymmetric import ec

            return cls._wrap(ec.generate_private_key(ec.SECP256R1()))
        raise SigningKeyError(f"unknown key type {key_type!r}", hint=f"known are {', '.join(KEY_TYPES)}")

    @classmethod
    def load(cls, pem: bytes, passphrase: bytes | None = None) -> Signer:
        """Read a private key in PEM.

        Args:
            pem: PKCS#8, plain or encrypted.
            passphrase: For an encrypted key; ignored for a plain one.

        Raises:
            SigningKeyError: No private key, of another kind, too short, or the passphrase does not fit.
        """
        if len(pem) > MAX_KEY_BYTES:
            raise SigningKeyError(f"key text of more than {MAX_KEY_BYTES} bytes")
        plain = _plain_ed25519(pem)
        if plain is not None:
            from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

            return cls._wrap_ed25519(Ed25519PrivateKey.from_private_bytes(plain))
        return cls._wrap(_load_private(pem, passphrase))

    @classmethod
    def _wrap(cls, key: CryptoPrivateKey) -> Signer:
        return cls(public=PublicKey.from_cryptography(key.public_key()), _key=key)

    @classmethod
    def _wrap_ed25519(cls, key: Ed25519PrivateKey) -> Signer:
        der = _ED25519_SPKI + key.public_key().public_bytes_raw()
        return cls(public=PublicKey(scheme=ED25519, der=der), _key=key)


# Key files


def write_private_key(directory: Path, signer: Signer, passphrase: bytes | None = None) -> Path:
    """Write ``<keyid>.pem``, readable by its owner alone, whole or not at all.

    Args:
        directory: Made with mode 0700 where missing; loosened permissions are taken back.
        signer: The key.
        passphrase: Encrypts the file.

    Returns:
        The file's path.

    Raises:
        StorageError: It can't be written.
    """
    directory = Path(directory)
    path = directory / f"{signer.keyid}.pem"
    partial = directory / f".{signer.keyid}.{os.urandom(8).hex()}.tmp"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if stat.S_IMODE(directory.stat().st_mode) & 0o077:
            directory.chmod(0o700)
        try:
            _write_new_file(partial, signer.pem(passphrase))
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
        _sync_directory(directory)
    except OSError as error:
        raise StorageError(f"can't write the key: {_reason(error)}", path=str(path)) from error
    return path


def read_private_key(path: Path, passphrase: bytes | None = None) -> Signer:
    """Read a private key file that only its owner can read.

    Args:
        path: The file; not a link.
        passphrase: For an encrypted key.

    Raises:
        SigningKeyError: Missing, a link, no regular file, another owner, readable by others, no usable key.
    """
    return _read_signers(Path(path), passphrase)[0]


def _read_signers(path: Path, passphrase: bytes | None) -> tuple[Signer, ...]:
    try:
        data = read_guarded(path)
    except OSError as error:
        raise SigningKeyError(f"can't read the key: {_reason(error)}", path=str(path)) from None
    try:
        return signers_from_text(data, passphrase)
    except SigningKeyError as error:
        error.path = str(path)
        raise


def signers_from_text(text: bytes, passphrase: bytes | None = None) -> tuple[Signer, ...]:
    """Read private keys from PEM, or from base64 of PEM as CI variables often hold it.

    Several keys one after the other all sign: the old and the new one while keys change, or two for a threshold.

    Raises:
        SigningKeyError: Neither, no usable key, one of them twice, or more than 16.
    """
    if len(text) > MAX_KEY_BYTES:
        raise SigningKeyError(f"key text of more than {MAX_KEY_BYTES} bytes")
    text = text.strip()
    if not text.startswith(b"-----BEGIN "):
        try:
            text = base64.b64decode(b"".join(text.split()), validate=True)
        except (binascii.Error, ValueError):
            text = b""
    if not text.lstrip().startswith(b"-----BEGIN "):
        raise SigningKeyError("the key is neither PEM nor base64 of PEM")
    blocks = re.findall(rb"-----BEGIN [^-]+-----.*?-----END [^-]+-----", text, re.S) or [text]
    if len(blocks) > MAX_KEYS:
        raise SigningKeyError(f"more than {MAX_KEYS} keys in one text")
    signers = tuple(Signer.load(block, passphrase) for block in blocks)
    if len({signer.keyid for signer in signers}) != len(signers):
        raise SigningKeyError("the same key stands in the text twice")
    return signers


def signer_from_uri(uri: str, environ: Mapping[str, str], passphrase: bytes | None = None) -> Signer:
    """Find a signer by URI; of several keys there, the first. See :func:`signers_from_uri`."""
    return signers_from_uri(uri, environ, passphrase)[0]


def signers_from_uri(
    uri: str, environ: Mapping[str, str], passphrase: bytes | None = None
) -> tuple[Signer, ...]:
    """Find signers by URI.

    Args:
        uri: ``file:PATH``, ``env:NAME``, or ``fd:N`` (read to its end, then closed).
        environ: Where ``env:`` looks.
        passphrase: For an encrypted key.

    Raises:
        SigningKeyError: Unknown scheme, nothing there, or no usable key.
    """
    kind, _, rest = uri.partition(":")
    if kind == "file" and rest:
        return _read_signers(Path(rest.removeprefix("//")), passphrase)
    if kind == "env" and rest:
        text = environ.get(rest, "")
        if not text.strip():
            raise SigningKeyError(f"environment variable {rest} holds no key")
        return signers_from_text(text.encode("utf-8", "surrogateescape"), passphrase)
    if kind == "fd" and rest.isascii() and rest.isdigit():
        return signers_from_text(_read_descriptor(int(rest)), passphrase)
    raise SigningKeyError(f"not a signer URI: {kind}:…", hint="use file:PATH, env:NAME or fd:N")


def _write_new_file(path: Path, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
    with open(os.open(path, flags, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def replace_file(path: Path, data: bytes) -> None:
    """Writes a file that only its owner can read, whole or not at all, and durably: the old one stays till then.

    Raises:
        OSError: It can't be written.
    """
    partial = path.with_name(f".{path.name}.{os.urandom(8).hex()}.tmp")
    try:
        _write_new_file(partial, data)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_guarded(path: Path) -> bytes:
    """Read a secret's file through one descriptor, judged by fstat, so that nothing can be swapped in between.

    Raises:
        SigningKeyError: A link, no regular file, another owner, readable by others, more than 64 KiB.
        OSError: It can't be read.
    """
    # O_NONBLOCK: opening a pipe must not wait for a writer.
    flags = (
        os.O_RDONLY
        | getattr(os, "O_NOFOLLOW", 0)
        | getattr(os, "O_NONBLOCK", 0)
        | getattr(os, "O_CLOEXEC", 0)
    )
    if path.is_symlink():
        raise SigningKeyError("the key is a symbolic link", hint="name the file itself", path=str(path))
    descriptor = os.open(path, flags)
    with open(descriptor, "rb") as file:
        _refuse_unprotected(os.fstat(descriptor), path)
        data = file.read(MAX_KEY_BYTES + 1)
    if len(data) > MAX_KEY_BYTES:
        raise SigningKeyError(f"key file of more than {MAX_KEY_BYTES} bytes", path=str(path))
    return data


def _refuse_unprotected(status: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise SigningKeyError("the key is not a regular file", path=str(path))
    if os.name != "posix":
        return
    if status.st_uid != os.geteuid():
        raise SigningKeyError("the key belongs to another user", path=str(path))
    if status.st_mode & 0o077:
        raise SigningKeyError(
            "the key can be read or written by others", hint=f"chmod 600 {path}", path=str(path)
        )


def _read_descriptor(number: int) -> bytes:
    try:
        with open(number, "rb") as file:
            return file.read(MAX_KEY_BYTES + 1)
    except OSError as error:
        raise SigningKeyError(f"can't read descriptor {number}: {_reason(error)}") from None


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


# Key bytes


def _to_public_key(key: PublicKey | bytes | CryptoPublicKey) -> PublicKey:
    if isinstance(key, PublicKey):
        return key
    if isinstance(key, (bytes, bytearray)):
        data = bytes(key)
        is_pem = data.lstrip().startswith(b"-----BEGIN ")
        return PublicKey.parse_pem(data) if is_pem else PublicKey.parse_der(data)
    return PublicKey.from_cryptography(key)


def _read_public(data: bytes, *, pem: bool) -> PublicKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_public_key

    if len(data) > MAX_KEY_BYTES:
        raise SigningKeyError(f"key text of more than {MAX_KEY_BYTES} bytes")
    try:
        key: Any = load_pem_public_key(data) if pem else load_der_public_key(data)
        return PublicKey.from_cryptography(key)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise SigningKeyError("not a public key that can be read") from None


def _scheme_of(key: object) -> str:
    """The scheme a key object is used with; refuses kinds, sizes and curves we do not use."""
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    if isinstance(key, Ed25519PublicKey):
        return ED25519
    if isinstance(key, RSAPublicKey):
        if key.key_size < MIN_RSA_BITS:
            raise SigningKeyError(f"an RSA key of {key.key_size} bits; at least {MIN_RSA_BITS}")
        return RSA_PKCS1V15_SHA256
    if isinstance(key, EllipticCurvePublicKey):
        if not isinstance(key.curve, SECP256R1):
            raise SigningKeyError(f"a key on curve {key.curve.name}; only P-256 is used")
        return ECDSA_SHA2_NISTP256
    raise SigningKeyError(f"a {type(key).__name__} is no key of a kind in use")


def _load_private(pem: bytes, passphrase: bytes | None) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    encrypted = b"ENCRYPTED" in pem
    if encrypted and not passphrase:
        raise SigningKeyError("the private key is encrypted", hint="set DRE_PASSPHRASE")
    try:
        return load_pem_private_key(pem, passphrase if encrypted else None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        wrong = "the passphrase does not fit, or the private key is damaged"
        raise SigningKeyError(wrong if encrypted else "not a private key that can be read") from None


_PRIVATE_HEAD, _PRIVATE_TAIL = b"-----BEGIN PRIVATE KEY-----", b"-----END PRIVATE KEY-----"


def _plain_ed25519(pem: bytes) -> bytes | None:
    """The 32 secret bytes of an unencrypted Ed25519 key in the usual encoding, else None."""
    text = pem.strip()
    if not (text.startswith(_PRIVATE_HEAD) and text.endswith(_PRIVATE_TAIL)):
        return None
    try:
        der = base64.b64decode(text[len(_PRIVATE_HEAD) : -len(_PRIVATE_TAIL)].strip(), validate=True)
    except binascii.Error:
        return None
    if len(der) != len(_ED25519_PKCS8) + 32 or not der.startswith(_ED25519_PKCS8):
        return None
    return der[len(_ED25519_PKCS8) :]


def _pem_block(label: str, der: bytes) -> bytes:
    text = base64.b64encode(der).decode("ascii")
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""]).encode("ascii")

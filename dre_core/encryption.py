"""Which operations are encrypted and for whom, and how evidence is opened again.

``evidence.encrypt`` asks for it, with the passphrase in ``DRE_PASSPHRASE``; ``evidence.recipients`` and
``DRE_RECIPIENTS`` name age recipients, for whom evidence is encrypted wherever they are named. Reading needs
``DRE_PASSPHRASE`` or the file of age identities that ``DRE_IDENTITY_FILE`` names. Statements stay readable for all:
what ran, how it ended, names, sizes and digests; the payloads do not.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dre_core.errors import ConfigError, DREError, LockedError, SigningKeyError
from dre_core.model.record import dataclass
from dre_core.model.run import Run

if TYPE_CHECKING:
    from dre_core.config import Config
    from dre_core.crypto.payload_key import PayloadKey
    from dre_core.model.encryption import Encryption
    from dre_core.store.sealed import Blobs

RECIPIENTS = "DRE_RECIPIENTS"
IDENTITY_FILE = "DRE_IDENTITY_FILE"
PASSPHRASE = "DRE_PASSPHRASE"  # noqa: S105 - the name of a variable


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrecy:
    """The key of one operation under way, and what the run will say of it.

    Attributes:
        key: Encrypts the payloads.
        encryption: The key, wrapped for its readers.
    """

    key: PayloadKey
    encryption: Encryption


def secrecy_of(settings: Config, environ: Mapping[str, str], operation: str) -> Secrecy | None:
    """The key for a new operation's payloads; None where they are not to be encrypted.

    Args:
        settings: The configuration.
        environ: Environment variables.
        operation: The operation's id.

    Raises:
        ConfigError: Encryption is asked for, and nobody could read what it makes.
        MissingExtraError: Recipients are named, and the extra ``age`` is not installed.
    """
    recipients = (*settings.evidence.recipients, *environ.get(RECIPIENTS, "").replace(",", " ").split())
    if not (settings.evidence.encrypt or recipients):
        return None
    from dre_core.crypto.payload_key import PayloadKey
    from dre_core.model.encryption import Encryption

    passphrase = environ.get(PASSPHRASE, "") if settings.evidence.encrypt else ""
    if not (passphrase or recipients):
        raise ConfigError(
            "evidence.encrypt is set, but there is neither a passphrase nor a recipient",
            hint=f"set {PASSPHRASE} or {RECIPIENTS}",
            path="evidence.encrypt",
        )
    key = PayloadKey.new(operation)
    wraps = [key.for_passphrase(passphrase.encode())] if passphrase else []
    if recipients:
        wraps.append(key.for_recipients(list(dict.fromkeys(recipients))))
    return Secrecy(key=key, encryption=Encryption(wraps=tuple(wraps)))


def opened(run: Run, blobs: Blobs, environ: Mapping[str, str], secrecy: Secrecy | None = None) -> Blobs:
    """A run's payloads, to be read in the clear as far as the environment has the key.

    Args:
        run: The run.
        blobs: Its payloads as they are stored.
        environ: Environment variables.
        secrecy: The key, where it is at hand.
    """
    if run.encryption is None:
        return blobs
    from dre_core.pipeline.cipher import Cipher, Locked
    from dre_core.store.sealed import Opened

    if secrecy is not None:
        return Opened(blobs=blobs, cipher=Cipher(secrecy.key))
    try:
        return Opened(blobs=blobs, cipher=Cipher(_found(run.encryption, run.operation, environ)))
    except LockedError as error:
        return Opened(blobs=blobs, cipher=Locked(error))
    except DREError as error:
        return Opened(
            blobs=blobs, cipher=Locked(LockedError(error.message, hint=error.hint, path=error.path))
        )


def _found(encryption: Encryption, operation: str, environ: Mapping[str, str]) -> PayloadKey:
    from dre_core.crypto.payload_key import find_key

    passphrase = environ.get(PASSPHRASE, "").encode() or None
    return find_key(encryption, operation, passphrase, _identities(environ))


def _identities(environ: Mapping[str, str]) -> list[str]:
    """The age identities of the file that the environment names.

    Raises:
        SigningKeyError: It can't be read, or others can read it.
    """
    name = environ.get(IDENTITY_FILE, "")
    if not name:
        return []
    from dre_core.crypto.keys import read_guarded

    try:
        text = read_guarded(Path(name)).decode("utf-8", "replace")
    except OSError as error:
        raise SigningKeyError(f"can't read the identities: {error.strerror}", path=name) from None
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]

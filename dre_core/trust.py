"""Who seals here: the signing key, the log's own key, and the certificate that ties both to this installation.

A certificate is sealed as leaf 0 of a new log, and again whenever the signing key, the log's key or DRE's
version is another one than the last certificate names. It endorses the log's key, which signs checkpoints.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dre_core import __version__
from dre_core.crypto.dsse import PAYLOAD_TYPE, Envelope
from dre_core.crypto.keyring import Keyring
from dre_core.crypto.keys import PublicKey, Signer
from dre_core.errors import IntegrityError, StorageError
from dre_core.model import event as events
from dre_core.model.canonical import JSON
from dre_core.model.event import Clock, utc_now
from dre_core.model.predicate import trust_certificate
from dre_core.model.record import dataclass
from dre_core.store.folder import Folder, write_atomically
from dre_core.store.local import LocalStore
from dre_core.store.log import Log

if TYPE_CHECKING:
    from dre_core.verify.selfcheck import SelfCheck

CERTIFIED = "bootstrap.certified"


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """The keys that seal, with the certificate that names them.

    Attributes:
        signers: Sign envelopes, each one all of them; the first is the one in use, others are on their way in or out.
        log_signer: Signs checkpoints.
        certificate: Payload digest of the trust certificate.
        certificate_blob: Digest of the certificate's envelope in the store.
        readable_by_workload: Whether the workload could have read the signing key.
        ephemeral: The signing key is kept nowhere.
        warnings: What the user should know, one line each.
    """

    signers: tuple[Signer, ...]
    log_signer: Signer
    certificate: str
    certificate_blob: str
    readable_by_workload: bool
    ephemeral: bool
    warnings: tuple[str, ...] = ()

    @property
    def signer(self) -> Signer:
        """The key in use."""
        return self.signers[0]

    def seal(self, payload: bytes) -> Envelope:
        """A payload in an envelope, signed by every key."""
        return Envelope.sign(PAYLOAD_TYPE, payload, self.signers)

    @property
    def public_keys(self) -> tuple[PublicKey, ...]:
        """The public halves of all keys that sign here, the log's last."""
        return (*(signer.public for signer in self.signers), self.log_signer.public)


def acquire(
    folder: Folder,
    log: Log,
    keyring: Keyring,
    *,
    ephemeral: bool = False,
    key_type: str = "ed25519",
    now: Clock = utc_now,
) -> Authority:
    """Finds or makes the keys and the certificate.

    Args:
        folder: The ``.dre`` folder, created.
        log: Its log, open for writing.
        keyring: The user's keys.
        ephemeral: Keep no key on disk (CI mode).
        key_type: Kind of a new signing key.
        now: The clock.

    Raises:
        SigningKeyError: A key that was handed over can't be used.
        IntegrityError: A self-check failed, so nothing can be certified.
        StorageError: Keys or certificate can't be kept.
    """
    signers, kept, readable = _signers(keyring, ephemeral, key_type)
    log_signer = keyring.log_signer(log.id)
    last = last_certificate(log)
    if log_signer is None:
        log_signer = Signer.generate("ed25519")
        if not ephemeral:
            keyring.keep_log_signer(log.id, log_signer)
    names: dict[str, JSON] = {
        "signer": signers[0].keyid,
        "logKey": log_signer.keyid,
        "version": __version__,
        "others": [signer.keyid for signer in signers[1:]],
    }
    if last is None or any(last.get(name, []) != value for name, value in names.items()):
        last = _certify(folder, log, signers, log_signer, names, now)
    warnings = _remember(keyring, log, signers, log_signer)
    return Authority(
        signers=signers,
        log_signer=log_signer,
        certificate=str(last["certificate"]),
        certificate_blob=str(last["blob"]),
        readable_by_workload=readable,
        ephemeral=not kept,
        warnings=warnings,
    )


def _signers(keyring: Keyring, ephemeral: bool, key_type: str) -> tuple[tuple[Signer, ...], bool, bool]:
    """The signing keys, whether they are kept somewhere, and whether the workload could read them."""
    given = keyring.given_signers()
    if given:
        return given, True, keyring.given_signer_is_readable_by_workload()
    if ephemeral:
        # It lives in this process only, which marks itself non-dumpable before a child starts.
        return (Signer.generate(key_type),), False, False
    return keyring.default_signers() or (keyring.create_signer(key_type),), True, True


def last_certificate(log: Log) -> Mapping[str, object] | None:
    """Data of the newest certificate's event; None before the first one."""
    found = None
    for _, event in log.events(type_prefix=CERTIFIED):
        found = event.data
    return found


def _certify(
    folder: Folder,
    log: Log,
    signers: tuple[Signer, ...],
    log_signer: Signer,
    names: Mapping[str, JSON],
    now: Clock,
) -> Mapping[str, object]:
    """Runs the self-checks and seals them with the keys as a certificate in the log."""
    from dre_core.verify.selfcheck import run_all

    checks = run_all(folder.path)
    failed = [check for check in checks if not check.passed]
    if failed:
        raise IntegrityError(f"self-check {failed[0].name} failed: {failed[0].detail}", hint=failed[0].remedy)
    statement = trust_certificate(
        installed_files(),
        {log.origin: log_signer.keyid, **_named(signers)},
        [_property(check) for check in checks],
        events.rfc3339(now()),
    )
    envelope = Envelope.sign(PAYLOAD_TYPE, statement.to_bytes(), signers)
    blob = LocalStore(folder.path).put(envelope.to_bytes())
    for public in (*(signer.public for signer in signers), log_signer.public):
        write_atomically(folder.public_keys / f"{public.keyid}.pem", public.pem())
    data = {"certificate": envelope.payload_digest, "blob": blob, **names}
    log.append([events.new(CERTIFIED, operation=None, source="dre", data=data, now=now)])
    return data


def _named(signers: tuple[Signer, ...]) -> dict[str, str]:
    """Key ids by the names that they have in a certificate."""
    names = ["signer", *(f"signer-{number}" for number in range(2, len(signers) + 1))]
    return {name: signer.keyid for name, signer in zip(names, signers, strict=True)}


def _property(check: SelfCheck) -> str:
    return f"DRE_SELFCHECK_{check.name.upper().replace('-', '_')}"


def _remember(keyring: Keyring, log: Log, signers: tuple[Signer, ...], log_signer: Signer) -> tuple[str, ...]:
    """Notes log and keys in the user's state file, where they are not there yet."""
    known = keyring.known(log.id)
    keyids = [signer.keyid for signer in signers]
    if known and set(keyids) <= set(known.signers) and log_signer.keyid in known.log_keys:
        return ()
    try:
        keyring.remember(log.id, signers=keyids, log_key=log_signer.keyid)
    except StorageError as error:
        return (f"this .dre will count as somebody else's: {error}",)
    return ()


def installed_files() -> dict[str, str]:
    """``sha256:`` digest of every installed source file of DRE, by its path below site-packages."""
    import dre_core

    root = Path(dre_core.__file__).parent.parent
    digests = {}
    for package in ("dre_core", "dre_pytest", "dre_ci"):
        for folder, folders, names in os.walk(root / package):
            folders[:] = sorted(name for name in folders if name != "__pycache__")
            for name in sorted(names):
                path = Path(folder) / name
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                digests[path.relative_to(root).as_posix()] = f"sha256:{digest}"
    return digests

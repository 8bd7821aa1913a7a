"""The user's keys and what this user has made: private keys and the state file, outside every project.

Private keys lie in ``${XDG_CONFIG_HOME:-~/.config}/dre/keys`` (``DRE_KEYS_DIR``), one PKCS#8 PEM each, 0600.
The state file ``${XDG_STATE_HOME:-~/.local/state}/dre/logs.json`` names the logs that this user began and the
keys that sealed into each: a ``.dre`` folder that is not in it is somebody else's, however it looks.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from dre_core.crypto.keys import Signer, read_private_key, signer_from_uri, write_private_key
from dre_core.errors import SigningKeyError, StorageError
from dre_core.model.record import dataclass

_DEFAULT = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownLog:
    """What the state file says of one log.

    Attributes:
        signers: Ids of the keys that this user sealed with into the log.
        log_keys: Ids of the keys that signed its checkpoints.
    """

    signers: tuple[str, ...] = ()
    log_keys: tuple[str, ...] = ()


def _base(environ: Mapping[str, str], variable: str, fallback: str) -> Path:
    value = environ.get(variable, "")
    # The XDG base directory specification: relative values are ignored.
    if os.path.isabs(value):
        return Path(value) / "dre"
    return Path(os.path.expanduser(fallback)) / "dre"


class Keyring:
    """Private keys and state of one user.

    Args:
        environ: Environment variables; decides the folders and may carry a signing key.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        explicit = environ.get("DRE_KEYS_DIR", "")
        self.directory = (
            Path(explicit) if explicit else _base(environ, "XDG_CONFIG_HOME", "~/.config") / "keys"
        )
        self.state = _base(environ, "XDG_STATE_HOME", "~/.local/state") / "logs.json"

    def passphrase(self) -> bytes | None:
        """``DRE_PASSPHRASE``, if set."""
        text = self._environ.get("DRE_PASSPHRASE", "")
        return text.encode() if text else None

    def given_signer(self) -> Signer | None:
        """The signing key that the environment hands over, or None.

        ``DRE_SIGNING_KEY_FD`` is read once and closed; then ``DRE_SIGNING_KEY_FILE``, then ``DRE_SIGNING_KEY``.

        Raises:
            SigningKeyError: It is named but can't be used.
        """
        for variable, scheme in (("DRE_SIGNING_KEY_FD", "fd:"), ("DRE_SIGNING_KEY_FILE", "file:")):
            if value := self._environ.get(variable, ""):
                return signer_from_uri(scheme + value, self._environ, self.passphrase())
        if self._environ.get("DRE_SIGNING_KEY", ""):
            return signer_from_uri("env:DRE_SIGNING_KEY", self._environ, self.passphrase())
        return None

    def given_signer_is_readable_by_workload(self) -> bool:
        """Whether the workload could read the key: its file is the user's own, or a shell above still holds it."""
        return not self._environ.get("DRE_SIGNING_KEY_FD", "")

    def default_signer(self) -> Signer | None:
        """The user's own signing key, or None before the first one was made.

        Raises:
            SigningKeyError: It is there but can't be used.
        """
        try:
            keyid = (self.directory / _DEFAULT).read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            return None
        path = self.directory / f"{keyid}.pem"
        return read_private_key(path, self.passphrase()) if path.exists() else None

    def create_signer(self, key_type: str = "ed25519") -> Signer:
        """Makes a signing key, keeps it on disk and makes it the default.

        Raises:
            StorageError: The keys folder can't be written.
        """
        signer = Signer.generate(key_type)
        write_private_key(self.directory, signer, self.passphrase())
        temporary = self.directory / f".{_DEFAULT}.{os.getpid()}"
        try:
            temporary.write_text(signer.keyid + "\n", encoding="utf-8")
            os.replace(temporary, self.directory / _DEFAULT)
        except OSError as error:
            raise StorageError(str(error.strerror), path=str(self.directory)) from None
        return signer

    def signers(self) -> list[str]:
        """Ids of the private keys on disk, sorted; the log's own keys are not among them."""
        try:
            names = os.listdir(self.directory)
        except OSError:
            return []
        return sorted(name[:-4] for name in names if name.endswith(".pem") and len(name) == 68)

    def log_signer(self, log_id: str) -> Signer | None:
        """The key that signs a log's checkpoints, or None if this user does not hold it."""
        folder = self.directory / "logs" / log_id
        try:
            paths = sorted(folder.glob("*.pem"))
            return read_private_key(paths[0]) if paths else None
        except (OSError, SigningKeyError):
            return None

    def keep_log_signer(self, log_id: str, signer: Signer) -> None:
        """Keeps a log's key on disk.

        Raises:
            StorageError: The keys folder can't be written.
        """
        write_private_key(self.directory / "logs" / log_id, signer)

    def known(self, log_id: str) -> KnownLog | None:
        """What the state file says of a log, or None if this user did not begin it."""
        entry = self._state().get(log_id)
        if not isinstance(entry, dict):
            return None
        return KnownLog(
            signers=tuple(str(keyid) for keyid in entry.get("signers", ())),
            log_keys=tuple(str(keyid) for keyid in entry.get("log_keys", ())),
        )

    def remember(self, log_id: str, *, signer: str, log_key: str) -> None:
        """Adds a log and the keys used in it to the state file.

        Raises:
            StorageError: The state file can't be written.
        """
        try:
            self.state.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _locked(self.state.with_suffix(".lock")):
                state = self._state()
                entry = state.setdefault(log_id, {"signers": [], "log_keys": []})
                for name, keyid in (("signers", signer), ("log_keys", log_key)):
                    if keyid not in entry[name]:
                        entry[name].append(keyid)
                temporary = self.state.with_suffix(f".{os.getpid()}.tmp")
                temporary.write_text(json.dumps(state, indent=1, sort_keys=True), encoding="utf-8")
                os.replace(temporary, self.state)
        except OSError as error:
            raise StorageError(
                f"the state file can't be written: {error.strerror}",
                hint="set HOME or XDG_STATE_HOME to a folder that you can write",
                path=str(self.state),
            ) from None

    def _state(self) -> dict[str, dict[str, list[str]]]:
        try:
            state = json.loads(self.state.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return state if isinstance(state, dict) else {}


class _locked:  # noqa: N801 - reads as a statement
    """Holds an exclusive lock on a file for the length of a block."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        self._stream = self._path.open("wb")
        try:
            import fcntl
        except ImportError:
            return
        fcntl.flock(self._stream, fcntl.LOCK_EX)

    def __exit__(self, *exc: object) -> None:
        self._stream.close()

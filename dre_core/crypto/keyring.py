"""The user's keys and what this user has made: private keys and the state file, outside every project.

Private keys lie in ``${XDG_CONFIG_HOME:-~/.config}/dre/keys`` (``DRE_KEYS_DIR``), one PKCS#8 PEM each, 0600. The file
``default`` there names the ids of those that sign, the first one above all; while keys change, there are two.
The state file ``${XDG_STATE_HOME:-~/.local/state}/dre/logs.json`` names the logs that this user began and the
keys that sealed into each: a ``.dre`` folder that is not in it is somebody else's, however it looks.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from dre_core.crypto.keys import Signer, read_private_key, replace_file, signers_from_uri, write_private_key
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
        # A descriptor can be read only once.
        self._given: tuple[Signer, ...] | None = None
        explicit = environ.get("DRE_KEYS_DIR", "")
        self.directory = (
            Path(explicit) if explicit else _base(environ, "XDG_CONFIG_HOME", "~/.config") / "keys"
        )
        self.state = _base(environ, "XDG_STATE_HOME", "~/.local/state") / "logs.json"

    def passphrase(self) -> bytes | None:
        """``DRE_PASSPHRASE``, if set."""
        text = self._environ.get("DRE_PASSPHRASE", "")
        return text.encode() if text else None

    def given_signers(self) -> tuple[Signer, ...]:
        """The signing keys that the environment hands over; none if it does not.

        ``DRE_SIGNING_KEY_FD`` is read once and closed; then ``DRE_SIGNING_KEY_FILE``, then ``DRE_SIGNING_KEY``.

        Raises:
            SigningKeyError: They are named but can't be used.
        """
        if self._given is None:
            uri = self._given_uri()
            self._given = signers_from_uri(uri, self._environ, self.passphrase()) if uri else ()
        return self._given

    def _given_uri(self) -> str:
        for variable, scheme in (("DRE_SIGNING_KEY_FD", "fd:"), ("DRE_SIGNING_KEY_FILE", "file:")):
            if value := self._environ.get(variable, ""):
                return scheme + value
        return "env:DRE_SIGNING_KEY" if self._environ.get("DRE_SIGNING_KEY", "") else ""

    def given_signer_is_readable_by_workload(self) -> bool:
        """Whether the workload could read the key: its file is the user's own, or a shell above still holds it."""
        return not self._environ.get("DRE_SIGNING_KEY_FD", "")

    def default_signers(self) -> tuple[Signer, ...]:
        """The user's own signing keys, the one in use first; none before the first one was made.

        Raises:
            SigningKeyError: One is there but can't be used.
        """
        paths = [self.directory / f"{keyid}.pem" for keyid in self.default_keyids()]
        return tuple(read_private_key(path, self.passphrase()) for path in paths if path.exists())

    def default_keyids(self) -> list[str]:
        """Ids of the user's own signing keys, the one in use first."""
        try:
            return (self.directory / _DEFAULT).read_text(encoding="utf-8").split()
        except (OSError, ValueError):
            return []

    def create_signer(self, key_type: str = "ed25519", *, overlap: bool = False) -> Signer:
        """Makes a signing key, keeps it on disk and makes it the default.

        Args:
            key_type: Its kind.
            overlap: The keys in use so far go on signing beside it, until they are retired.

        Raises:
            StorageError: The keys folder can't be written.
        """
        signer = Signer.generate(key_type)
        write_private_key(self.directory, signer, self.passphrase())
        self._write_default([signer.keyid, *(self.default_keyids() if overlap else ())])
        return signer

    def retire(self, prefix: str) -> str:
        """Lets a key sign no more; its file stays, and what it signed verifies as before.

        Args:
            prefix: Its id, or a unique beginning of it.

        Returns:
            Its id.

        Raises:
            SigningKeyError: No such key signs, several do, or it is the only one.
            StorageError: The keys folder can't be written.
        """
        signing = self.default_keyids()
        found = [keyid for keyid in signing if prefix and keyid.startswith(prefix)]
        if len(found) != 1:
            raise SigningKeyError(f"{len(found)} keys in use are named {prefix!r}", hint="see dre keys list")
        if len(signing) == 1:
            raise SigningKeyError(
                "the only key in use can't be retired", hint="make its successor: dre keys rotate"
            )
        self._write_default([keyid for keyid in signing if keyid != found[0]])
        return found[0]

    def _write_default(self, keyids: Sequence[str]) -> None:
        try:
            replace_file(self.directory / _DEFAULT, "".join(f"{keyid}\n" for keyid in keyids).encode())
        except OSError as error:
            raise StorageError(str(error.strerror), path=str(self.directory)) from None

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

    def remember(self, log_id: str, *, signers: Sequence[str], log_key: str) -> None:
        """Adds a log and the keys used in it to the state file.

        Raises:
            StorageError: The state file can't be written.
        """
        try:
            self.state.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _locked(self.state.with_suffix(".lock")):
                state = self._state()
                entry = state.setdefault(log_id, {"signers": [], "log_keys": []})
                used = [*(("signers", keyid) for keyid in signers), ("log_keys", log_key)]
                for name, keyid in used:
                    if keyid not in entry[name]:
                        entry[name].append(keyid)
                replace_file(self.state, json.dumps(state, indent=1, sort_keys=True).encode())
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

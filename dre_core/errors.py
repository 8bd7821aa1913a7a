"""The error tree: everything DRE raises on purpose.

One boundary (``dre_ci.cli``) turns an error into ``dre: error: <message>`` and ``dre: hint: <hint>``;
the core only raises. A message is lower case and has no full stop; a hint is one line that says what
to do; ``code`` is a stable slug for programs. Errors of the operating system that concern stored
evidence are wrapped in :class:`StorageError`; anything else that escapes is a bug.
"""

from __future__ import annotations

from typing import ClassVar


class DREError(Exception):
    """Root of every error that DRE raises on purpose.

    Args:
        message: What is wrong, lower case, no full stop.
        hint: One line on what to do about it; may be empty.
        path: The file, JSON path or configuration key concerned; may be empty.
        code: Overrides the class's slug where one class serves several cases.
    """

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 70

    def __init__(self, message: str, *, hint: str = "", path: str = "", code: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.path = path
        self.slug = code or self.code

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class UsageError(DREError):
    """The caller asked for something that can't be done as asked."""

    code = "usage"
    exit_code = 2


class ConfigError(UsageError):
    """A configuration file, variable or policy has an unknown key or an unfit value."""

    code = "config"


class NotFoundError(UsageError):
    """The operation, archive or key that was named does not exist."""

    code = "not-found"


class MissingExtraError(UsageError):
    """A feature needs an extra that is not installed."""

    code = "missing-extra"


class NewerFormatError(UsageError):
    """The input was written by a newer DRE than this one."""

    code = "newer-format"


class SigningKeyError(UsageError):
    """A private or public key can't be read, is of an unsupported kind, or is not protected."""

    code = "key"


class LockedError(UsageError):
    """Payloads are encrypted, and their key is not at hand."""

    code = "locked"


class FormatError(DREError):
    """Bytes from outside are not what their format asks for. ``path`` holds the JSON path."""

    code = "format"
    exit_code = 3


class LimitError(FormatError):
    """Input is larger, deeper or more numerous than the stated limit."""

    code = "limit"


class IntegrityError(DREError):
    """A signature, digest or proof does not hold."""

    code = "integrity"
    exit_code = 3


class StateError(DREError):
    """A transition that the state tables do not have; names the state and the action."""

    code = "state"


class StorageError(DREError):
    """Evidence could not be read or written (disk full, read-only, no permission)."""

    code = "storage"
    exit_code = 1


class CaptureError(DREError):
    """A collector could not do its work; the engine records a gap and goes on."""

    code = "capture"
    exit_code = 1


class StartError(CaptureError):
    """The command could not be started; ``exit_code`` on the instance is what a shell would return."""

    code = "start"

    def __init__(self, message: str, *, status: int, hint: str = "", path: str = "") -> None:
        super().__init__(message, hint=hint, path=path)
        self.status = status

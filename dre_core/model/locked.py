"""How the installed packages fit the project's lock files: a part of the item ``dependencies``."""

from __future__ import annotations

from dre_core.model.canonical import JSON
from dre_core.model.fields import Fields
from dre_core.model.record import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Unlocked:
    """A package that is installed in another version than the lock file names.

    Attributes:
        name: Its normalised name.
        installed: The version that is installed.
        locked: The versions that the lock file has.
        file: The lock file.
    """

    name: str
    installed: str
    locked: tuple[str, ...]
    file: str

    def to_json(self) -> dict[str, JSON]:
        """The package as it stands in the item."""
        return {
            "name": self.name,
            "installed": self.installed,
            "locked": list(self.locked),
            "file": self.file,
        }

    @classmethod
    def parse(cls, fields: Fields) -> Unlocked:
        """Reads one package; see :meth:`to_json`."""
        return cls(
            name=fields.text("name"),
            installed=fields.text("installed"),
            locked=fields.texts("locked"),
            file=fields.text("file"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Locked:
    """The comparison as a whole.

    Attributes:
        files: Lock files that were read.
        compared: Installed packages that one of them names.
        differing: Those in another version.
    """

    files: tuple[str, ...] = ()
    compared: int = 0
    differing: tuple[Unlocked, ...] = ()

    def to_json(self) -> dict[str, JSON]:
        """The comparison as it stands in the item."""
        return {
            "files": list(self.files),
            "compared": self.compared,
            "differing": [each.to_json() for each in self.differing],
        }

    @classmethod
    def parse(cls, value: JSON) -> Locked | None:
        """Reads it from the item ``dependencies``; None where nothing was compared."""
        fields = Fields(value, "$.dependencies")
        if not fields.has("lock"):
            return None
        lock = Fields(fields.value["lock"], "$.dependencies.lock")
        return cls(
            files=lock.texts("files"),
            compared=lock.integer("compared"),
            differing=lock.each("differing", Unlocked.parse),
        )

"""Where the packages that the tests used were loaded from: the item ``imports``."""

from __future__ import annotations

from dre_core.model.canonical import JSON
from dre_core.model.fields import Fields
from dre_core.model.record import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportFact:
    """Where a tested package was loaded from, against the checkout.

    Attributes:
        name: Top-level name.
        file: The file it was loaded from.
        inside: It lies inside the checkout.
        twin: Path of the same package in the checkout, where the loaded one lies elsewhere; empty if none.
        differing: Files of the twin that the loaded package does not have with the same bytes.
        shadows: It has the name of a part of the runner or the recorder, and lies where ``python -m`` looks first.
    """

    name: str
    file: str
    inside: bool
    twin: str = ""
    differing: tuple[str, ...] = ()
    shadows: bool = False

    def to_json(self) -> dict[str, JSON]:
        """The fact as it stands in the item ``imports``."""
        return {
            "name": self.name,
            "file": self.file,
            "inside": self.inside,
            "twin": self.twin,
            "differing": list(self.differing),
            **({"shadows": True} if self.shadows else {}),
        }

    @classmethod
    def parse(cls, fields: Fields) -> ImportFact:
        """Reads one fact; see :meth:`to_json`."""
        return cls(
            name=fields.text("name"),
            file=fields.text("file"),
            inside=fields.boolean("inside"),
            twin=fields.text("twin", ""),
            differing=fields.texts("differing"),
            shadows=fields.boolean("shadows", False),
        )

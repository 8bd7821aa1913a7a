"""What coverage data says about the change and the tests: the item ``covered``.

Not the data itself (the items of kind ``coverage``) and no judgement: which changed lines ran, what is left out of
measuring, which tests ran no line of the code under test, and which ran none of their assertions. Test modules are
not code under test. What can't be told is null, never an empty list.
"""

from __future__ import annotations

from collections.abc import Iterable

from dre_core.errors import FormatError
from dre_core.model.canonical import JSON
from dre_core.model.fields import Fields
from dre_core.model.record import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedFile:
    """The changed lines of one file of the code under test, by the first line of their statement.

    Attributes:
        path: Relative to the top of the tree.
        executed: Changed lines that ran.
        missing: Changed lines that could have run and did not.
        excluded: Changed lines that a pragma or pattern leaves out of coverage.
        measured: The data know the file; where they do not, ``missing`` holds every changed executable line.
    """

    path: str
    executed: tuple[int, ...] = ()
    missing: tuple[int, ...] = ()
    excluded: tuple[int, ...] = ()
    measured: bool = True

    def to_json(self) -> dict[str, JSON]:
        """The file as it stands in the item."""
        return {
            "path": self.path,
            "executed": list(self.executed),
            "missing": list(self.missing),
            "excluded": list(self.excluded),
            "measured": self.measured,
        }

    @classmethod
    def parse(cls, fields: Fields) -> ChangedFile:
        """Reads one file; see :meth:`to_json`."""
        return cls(
            path=fields.text("path"),
            executed=_integers(fields, "executed"),
            missing=_integers(fields, "missing"),
            excluded=_integers(fields, "excluded"),
            measured=fields.boolean("measured"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """Some tests: how many, and the first of them."""

    count: int
    first: tuple[str, ...] = ()

    def to_json(self) -> dict[str, JSON]:
        """The tests as they stand in the item."""
        return {"count": self.count, "first": list(self.first)}

    @classmethod
    def parse(cls, fields: Fields) -> Named:
        """Reads it; see :meth:`to_json`."""
        return cls(count=fields.integer("count"), first=fields.texts("first"))

    @classmethod
    def of(cls, names: Iterable[str], limit: int = 1_000) -> Named:
        """All of some names, the first ones named."""
        every = sorted(names)
        return cls(count=len(every), first=tuple(every[:limit]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """A place that mostly failing tests ran.

    Attributes:
        path: Relative to the top of the tree.
        first: Its first line.
        last: Its last line.
        score: From 0 to 1; 1 where all failing tests ran it and nothing else did. In JSON a string with four decimals.
        failed: Failing tests that ran it.
        passed: Passing tests that ran it.
    """

    path: str
    first: int
    last: int
    score: float
    failed: int
    passed: int

    @property
    def where(self) -> str:
        """``path:line`` of its beginning."""
        return f"{self.path}:{self.first}"

    def to_json(self) -> dict[str, JSON]:
        """The place as it stands in the item."""
        return {
            "path": self.path,
            "first": self.first,
            "last": self.last,
            "score": f"{self.score:.4f}",
            "failed": self.failed,
            "passed": self.passed,
        }

    @classmethod
    def parse(cls, fields: Fields) -> Suspect:
        """Reads one place; see :meth:`to_json`."""
        try:
            score = float(fields.text("score"))
        except ValueError:
            score = -1.0
        if not 0 <= score <= 1:
            raise FormatError("expected a number from 0 to 1", path=fields.at("score"))
        return cls(
            path=fields.text("path"),
            first=fields.integer("first"),
            last=fields.integer("last"),
            score=score,
            failed=fields.integer("failed"),
            passed=fields.integer("passed"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Covered:
    """The whole item.

    Attributes:
        base: The commit that the tree was compared with; empty without one.
        changed: Changed files of the code under test, by path.
        files: Files of the code under test that the data know.
        branches: Whether branches were measured.
        contexts: Whether the data say which test ran a line.
        omit: Patterns of files that the project's configuration leaves out.
        exclude: Patterns of lines that it leaves out, the default one included.
        pragmas: Lines that match one of them, ``path:line``.
        idle: Tests that ran no line of the code under test; None where the data can't tell.
        unchecked: Tests that passed, have assertions, and ran none in any test module; None where the data can't
            tell.
        assertions: Assertions that ran, each counted once for each test; None where the data can't tell.
        suspects: Where failing tests differ from passing ones, the most suspicious place first; empty where no test
            failed or the data can't tell.
        gaps: What could not be read, in words.
    """

    base: str = ""
    changed: tuple[ChangedFile, ...] = ()
    files: int = 0
    branches: bool = False
    contexts: bool = False
    omit: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    pragmas: tuple[str, ...] = ()
    idle: Named | None = None
    unchecked: Named | None = None
    assertions: int | None = None
    suspects: tuple[Suspect, ...] = ()
    gaps: tuple[str, ...] = ()

    @property
    def executed(self) -> int:
        """Changed lines that ran."""
        return sum(len(file.executed) for file in self.changed)

    @property
    def missing(self) -> int:
        """Changed lines that could have run and did not."""
        return sum(len(file.missing) for file in self.changed)

    def missing_places(self) -> tuple[str, ...]:
        """``path:line`` of every changed line that did not run."""
        return tuple(f"{file.path}:{line}" for file in self.changed for line in file.missing)

    def to_json(self) -> dict[str, JSON]:
        """The item's JSON object."""
        return {
            "base": self.base,
            "changed": [file.to_json() for file in self.changed],
            "files": self.files,
            "branches": self.branches,
            "contexts": self.contexts,
            "omit": list(self.omit),
            "exclude": list(self.exclude),
            "pragmas": list(self.pragmas),
            "idle": self.idle.to_json() if self.idle else None,
            "unchecked": self.unchecked.to_json() if self.unchecked else None,
            "assertions": self.assertions,
            "suspects": [suspect.to_json() for suspect in self.suspects],
            "gaps": list(self.gaps),
        }

    @classmethod
    def parse(cls, value: JSON) -> Covered:
        """Reads the item's JSON object.

        Raises:
            FormatError: A field is missing or of the wrong type.
        """
        fields = Fields(value, "$.covered")
        return cls(
            base=fields.text("base"),
            changed=fields.each("changed", ChangedFile.parse),
            files=fields.integer("files"),
            branches=fields.boolean("branches"),
            contexts=fields.boolean("contexts"),
            omit=fields.texts("omit"),
            exclude=fields.texts("exclude"),
            pragmas=fields.texts("pragmas"),
            idle=fields.optional("idle", Named.parse),
            unchecked=fields.optional("unchecked", Named.parse),
            assertions=fields.optional_integer("assertions"),
            suspects=fields.each("suspects", Suspect.parse) if fields.has("suspects") else (),
            gaps=fields.texts("gaps"),
        )


def _integers(fields: Fields, name: str) -> tuple[int, ...]:
    values = fields.array(name)
    if not all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        raise FormatError("expected integers", path=fields.at(name))
    return tuple(values)  # type: ignore[arg-type]

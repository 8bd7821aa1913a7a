"""What re-execution in throw-away clones showed: the item ``replay``.

Words: *old* is the base commit, *new* the head. ``bb`` = old tests on old source, ``bh`` = old tests on new source,
``hb`` = new tests on old source, ``hh`` = the head as it was committed, ``bs`` = old tests on new source with the
old helpers and data that stand with the source, and without variables that only the new source reads, where there are
such. The mode ``clean`` runs only the head's commit, with the run's own arguments. Tests that came to the same in
every cell are counted, not listed. Nothing here decides: ``verify/replay.py`` has the rules.
"""

from __future__ import annotations

import re
from enum import Enum

from dre_core.model.canonical import JSON
from dre_core.model.fields import Fields
from dre_core.model.record import dataclass
from dre_core.model.session import Outcome

_SIGNATURE = re.compile(r"\barguments?\b")


class Mode(str, Enum):
    """What was re-executed."""

    CLEAN = "clean"
    MATRIX = "matrix"


class CellState(str, Enum):
    """What became of one cell."""

    RAN = "ran"
    FAILED_SETUP = "failed-setup"
    FOREIGN_IMPORT = "foreign-import"
    CRASHED = "crashed"
    TIMEOUT = "timeout"
    NOT_RUN = "not-run"


class FailureKind(str, Enum):
    """What made a test fail, by the type of the exception."""

    ASSERTION = "assertion"
    IMPORT = "import"
    ATTRIBUTE = "attribute"
    TYPE = "type"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One run of a suite in a clone.

    Attributes:
        name: ``clean``, ``bb``, ``bh``, ``hb``, ``hh``, ``bs``, ``edited`` (the commit with the uncommitted edits), or
            ``placed`` (``bh`` in the checkout's place after all), which is named only where it did not run.
        state: What became of it.
        seconds: Wall-clock time, repeats included.
        python: The interpreter's version; empty if it did not get that far.
        tests: Number of tests that came to an outcome.
        detail: Why the state is not ``ran``, in words; of ``bs``, what was the base's again.
    """

    name: str
    state: CellState
    seconds: float = 0.0
    python: str = ""
    tests: int = 0
    detail: str = ""

    def to_json(self) -> dict[str, JSON]:
        """The cell as it stands in the item."""
        return {
            "name": self.name,
            "state": self.state.value,
            "seconds": self.seconds,
            "python": self.python,
            "tests": self.tests,
            "detail": self.detail,
        }

    @classmethod
    def parse(cls, fields: Fields) -> Cell:
        """Reads one cell; see :meth:`to_json`."""
        return cls(
            name=fields.text("name"),
            state=fields.choice("state", CellState),
            seconds=fields.number("seconds"),
            python=fields.text("python", ""),
            tests=fields.integer("tests"),
            detail=fields.text("detail", ""),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """How one test ended in one cell.

    Attributes:
        outcome: The outcome.
        kind: What made it fail; None where it did not.
        exception: Name of the exception's type; empty where it did not fail.
        in_test: The exception was raised in a test file's own line, not in the code under test.
        message: First line of the failure, or the reason of a skip; masked and capped.
        missing: A name in the message that the change took away; empty if there is none.
    """

    outcome: Outcome
    kind: FailureKind | None = None
    exception: str = ""
    in_test: bool = False
    message: str = ""
    missing: str = ""

    @property
    def failed(self) -> bool:
        """Whether it failed or could not be set up."""
        return self.outcome in (Outcome.FAILED, Outcome.ERROR)

    @property
    def excused(self) -> bool:
        """Whether it was skipped or its failure was expected."""
        return self.outcome in (Outcome.SKIPPED, Outcome.XFAILED)

    @property
    def is_interface(self) -> bool:
        """Whether a test could not even speak to the code: a name or a signature that it uses is gone.

        A missing attribute counts only where the change took that name away: an attribute of None is a value
        gone wrong. So does a TypeError only where it is about arguments.
        """
        if self.kind is FailureKind.IMPORT:
            return True
        if self.kind is FailureKind.ATTRIBUTE:
            return self.in_test and bool(self.missing)
        return self.kind is FailureKind.TYPE and self.in_test and _SIGNATURE.search(self.message) is not None

    def to_json(self) -> dict[str, JSON]:
        """The outcome as it stands in the item."""
        return {
            "outcome": self.outcome.value,
            "kind": self.kind.value if self.kind else None,
            "exception": self.exception,
            "inTest": self.in_test,
            "message": self.message,
            "missing": self.missing,
        }

    @classmethod
    def parse(cls, fields: Fields) -> Reached:
        """Reads one outcome; see :meth:`to_json`."""
        return cls(
            outcome=fields.choice("outcome", Outcome),
            kind=fields.choice("kind", FailureKind) if fields.has("kind") else None,
            exception=fields.text("exception", ""),
            in_test=fields.boolean("inTest", False),
            message=fields.text("message", ""),
            missing=fields.text("missing", ""),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayedTest:
    """One test that did not come to the same everywhere.

    Attributes:
        id: Node id at the head; at the base where the head has no such test.
        base_id: Node id at the base; empty where the test is here for the clean clone's sake.
        claimed: The outcome that the run itself recorded; None where it did not run the test.
        clean: In the head's clone with the run's own arguments.
        edited: There again, with the uncommitted edits.
        bb: Old test, old source; None where the cell has no such test.
        bh: Old test, new source.
        hb: New test, old source.
        hh: New test, new source.
        bs: Old test, new source, with what supports tests as the base knew it; None where nothing of that has changed.
        repeats: How many times the test was run in each cell that is compared.
        stable: All of them came to the same.
    """

    id: str
    base_id: str = ""
    claimed: Outcome | None = None
    clean: Reached | None = None
    edited: Reached | None = None
    bb: Reached | None = None
    bh: Reached | None = None
    hb: Reached | None = None
    hh: Reached | None = None
    bs: Reached | None = None
    repeats: int = 1
    stable: bool = True

    @property
    def clean_differs(self) -> bool:
        """Whether it passed in the run and not in the head's clean clone."""
        return not self.base_id

    def to_json(self) -> dict[str, JSON]:
        """The test as it stands in the item."""
        cells: dict[str, JSON] = {
            name: reached.to_json() if reached else None for name, reached in self.cells().items()
        }
        return {
            "id": self.id,
            "baseId": self.base_id,
            "claimed": self.claimed.value if self.claimed else None,
            **cells,
            "repeats": self.repeats,
            "stable": self.stable,
        }

    def cells(self) -> dict[str, Reached | None]:
        """What it came to by cell."""
        return {name: getattr(self, name) for name in _CELLS}

    @classmethod
    def parse(cls, fields: Fields) -> ReplayedTest:
        """Reads one test; see :meth:`to_json`."""
        cells = {name: fields.optional(name, Reached.parse) for name in _CELLS}
        return cls(
            id=fields.text("id"),
            base_id=fields.text("baseId", ""),
            claimed=fields.choice("claimed", Outcome) if fields.has("claimed") else None,
            repeats=fields.integer("repeats"),
            stable=fields.boolean("stable"),
            **cells,
        )


class Noticed(str, Enum):
    """Whether the tests notice that a function does nothing."""

    YES = "yes"
    NO = "no"
    NEVER_RUN = "never-run"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """A changed function whose body was replaced.

    Attributes:
        path: Its file.
        name: ``function`` or ``Class.method``.
        line: 1-based.
        tests: How many tests enter it.
        noticed: Whether one of them fails when it gives something else.
    """

    path: str
    name: str
    line: int
    tests: int
    noticed: Noticed

    def to_json(self) -> dict[str, JSON]:
        """The function as it stands in the item."""
        return {
            "path": self.path,
            "name": self.name,
            "line": self.line,
            "tests": self.tests,
            "noticed": self.noticed.value,
        }

    @classmethod
    def parse(cls, fields: Fields) -> Probed:
        """Reads one function; see :meth:`to_json`."""
        return cls(
            path=fields.text("path"),
            name=fields.text("name"),
            line=fields.integer("line"),
            tests=fields.integer("tests"),
            noticed=fields.choice("noticed", Noticed),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Lenient:
    """A kind of number, text or collection in changed source that says yes to a comparison which none may say yes to.

    Attributes:
        path: The file of the method that compares.
        name: The class.
        line: Of the method, 1-based.
        said: The comparison.
    """

    path: str
    name: str
    line: int
    said: str

    def to_json(self) -> dict[str, JSON]:
        """The kind as it stands in the item."""
        return {"path": self.path, "name": self.name, "line": self.line, "said": self.said}

    @classmethod
    def parse(cls, fields: Fields) -> Lenient:
        """Reads one kind; see :meth:`to_json`."""
        return cls(
            path=fields.text("path"),
            name=fields.text("name"),
            line=fields.integer("line"),
            said=fields.text("said"),
        )


_CELLS = ("clean", "edited", "bb", "bh", "hb", "hh", "bs")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayFacts:
    """The whole item.

    Attributes:
        mode: What was re-executed.
        base: The base commit; empty in the mode ``clean``.
        head: The head commit.
        cells: The cells that were wanted, run or not.
        tests: Tests that did not come to the same everywhere.
        compared: Tests that the run recorded and the clean clone ran as well.
        matched: Tests of the base that were run on the new source.
        seconds: Wall-clock time of the whole replay.
        probed: Changed functions whose bodies were replaced.
        gaps: What could not be done, in words.
        lenient: Kinds of values that the change brought and that compare as none may.
        only_elsewhere: Old tests that fail on the new source in the checkout's place and pass in another, where that
            makes no difference to the old source; ``bb`` and ``bh`` are in the place.
        unmatched: Changed files with tests at the base and at the head, of which none at the base was found.
    """

    mode: Mode
    head: str
    base: str = ""
    cells: tuple[Cell, ...] = ()
    tests: tuple[ReplayedTest, ...] = ()
    compared: int = 0
    matched: int = 0
    seconds: float = 0.0
    probed: tuple[Probed, ...] = ()
    gaps: tuple[str, ...] = ()
    lenient: tuple[Lenient, ...] = ()
    only_elsewhere: tuple[ReplayedTest, ...] = ()
    unmatched: tuple[str, ...] = ()

    def cell(self, name: str) -> Cell | None:
        """A cell by name, or None where it was not wanted."""
        return next((cell for cell in self.cells if cell.name == name), None)

    def to_json(self) -> dict[str, JSON]:
        """The item's JSON object."""
        return {
            "mode": self.mode.value,
            "head": self.head,
            "base": self.base,
            "cells": [cell.to_json() for cell in self.cells],
            "tests": [test.to_json() for test in self.tests],
            "compared": self.compared,
            "matched": self.matched,
            "seconds": self.seconds,
            "probed": [probed.to_json() for probed in self.probed],
            "gaps": list(self.gaps),
            "lenient": [kind.to_json() for kind in self.lenient],
            "onlyElsewhere": [test.to_json() for test in self.only_elsewhere],
            "unmatched": list(self.unmatched),
        }

    @classmethod
    def parse(cls, value: JSON) -> ReplayFacts:
        """Reads the item's JSON object.

        Raises:
            FormatError: A field is missing or of the wrong type.
        """
        fields = Fields(value, "$.replay")
        return cls(
            mode=fields.choice("mode", Mode),
            head=fields.text("head"),
            base=fields.text("base", ""),
            cells=fields.each("cells", Cell.parse),
            tests=fields.each("tests", ReplayedTest.parse),
            compared=fields.integer("compared"),
            matched=fields.integer("matched"),
            seconds=fields.number("seconds") if fields.has("seconds") else 0.0,
            probed=fields.each("probed", Probed.parse) if fields.has("probed") else (),
            gaps=fields.texts("gaps"),
            lenient=fields.each("lenient", Lenient.parse) if fields.has("lenient") else (),
            only_elsewhere=fields.each("onlyElsewhere", ReplayedTest.parse)
            if fields.has("onlyElsewhere")
            else (),
            unmatched=fields.texts("unmatched"),
        )

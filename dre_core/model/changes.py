"""What a change did to the tests and their runner, read from git and syntax trees: the item ``changes``.

Nothing was run for it, and nothing here decides: a weakened test may be a decision. ``verify/changes.py`` has
the rules.
"""

from __future__ import annotations

import re
from enum import Enum

from dre_core.model.canonical import JSON
from dre_core.model.fields import Fields
from dre_core.model.record import dataclass

CONDITION = re.compile(
    r"linux|windows|win32|macos|darwin|posix|python ?[23]|py[23]\d|pypy|cpython|platform|version_info|os\.name|"
    r"architecture|requires?\b|not (?:installed|available|supported)|needs?\b|could not import|importorskip|"
    r"find_spec|\bwhich\(|https?://|#\d+|\b[A-Z]{2,}-\d+\b",
    re.I,
)
"""Reasons of a skip that name a platform, something missing or a tracked issue."""


class ChangeKind(str, Enum):
    """What was done."""

    TEST_REMOVED = "test-removed"
    TEST_RENAMED = "test-renamed"
    TEST_SKIPPED = "test-skipped"
    TEST_WEAKENED = "test-weakened"
    TEST_SHADOWED = "test-shadowed"
    TEST_UNCOLLECTED = "test-uncollected"
    TAUTOLOGY = "tautology"
    HOOK = "hook"
    RUNNER_CONFIG = "runner-config"
    COVERAGE_CONFIG = "coverage-config"
    TEST_ENVIRONMENT = "test-environment"
    CIRCUMSTANCE = "circumstance"
    EQUAL_CONSTANT = "equal-constant"
    EQUAL_WEAKENED = "equal-weakened"
    SPECIAL_CASE = "special-case"
    GOLDEN = "golden"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing that was done.

    Attributes:
        kind: What it is.
        path: The file, relative to the top of the tree.
        name: The test, hook, key or function concerned.
        line: 1-based line in the newer file; 0 where there is none.
        detail: What was seen, in words.
        excused: It names its reason: a skip for a platform, or a sentinel that equals everything on purpose; of code
            that asks for a test, that only a yes or no, or something stored, hangs on it; of an assertion that can't
            fail, that it stands beside others that can.
        alters: The value that the code gives depends on it.
    """

    kind: ChangeKind
    path: str
    name: str
    line: int = 0
    detail: str = ""
    excused: bool = False
    alters: bool = False

    @property
    def where(self) -> str:
        """``path:line``, or the path alone."""
        return f"{self.path}:{self.line}" if self.line else self.path

    @property
    def test(self) -> str:
        """The test's node id, where it is one."""
        return f"{self.path}::{self.name}"

    def to_json(self) -> dict[str, JSON]:
        """The change as it stands in the item."""
        return {
            "kind": self.kind.value,
            "path": self.path,
            "name": self.name,
            "line": self.line,
            "detail": self.detail,
            "excused": self.excused,
            "alters": self.alters,
        }

    @classmethod
    def parse(cls, fields: Fields) -> Change:
        """Reads one change; see :meth:`to_json`."""
        return cls(
            kind=fields.choice("kind", ChangeKind),
            path=fields.text("path"),
            name=fields.text("name"),
            line=fields.integer("line"),
            detail=fields.text("detail", ""),
            excused=fields.boolean("excused", False),
            alters=fields.boolean("alters", False),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """The whole item.

    Attributes:
        base: The commit that the tree was compared with.
        changes: What was done, by path and line.
        files: Changed Python files that were read on both sides.
        declares_plugin: The project is a pytest plugin itself (it declares an entry point ``pytest11``).
        gaps: What could not be read, in words.
        left: What was changed and neither read nor listed, for there is a limit, in words.
    """

    base: str
    changes: tuple[Change, ...] = ()
    files: int = 0
    declares_plugin: bool = False
    gaps: tuple[str, ...] = ()
    left: tuple[str, ...] = ()

    def of(self, *kinds: ChangeKind) -> tuple[Change, ...]:
        """The changes of some kinds, in order."""
        return tuple(change for change in self.changes if change.kind in kinds)

    def to_json(self) -> dict[str, JSON]:
        """The item's JSON object."""
        return {
            "base": self.base,
            "changes": [change.to_json() for change in self.changes],
            "files": self.files,
            "declaresPlugin": self.declares_plugin,
            "gaps": list(self.gaps),
            "left": list(self.left),
        }

    @classmethod
    def parse(cls, value: JSON) -> Changes:
        """Reads the item's JSON object.

        Raises:
            FormatError: A field is missing or of the wrong type.
        """
        fields = Fields(value, "$.changes")
        return cls(
            base=fields.text("base"),
            changes=fields.each("changes", Change.parse),
            files=fields.integer("files"),
            declares_plugin=fields.boolean("declaresPlugin", False),
            gaps=fields.texts("gaps"),
            left=fields.texts("left"),
        )

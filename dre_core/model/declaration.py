"""The declared claim, ``urn:dre:predicate:claim:v1``: what a change says it is, sealed before the run.

A declaration is bound to a commit; operations at that commit name its payload digest until it is replaced or
cleared. ``fix``, ``feature``, ``refactor``, ``docs``, ``expectTests`` and ``policy`` tighten what the verifiers demand,
so anybody may declare them. ``behavior-change``, ``test-fix``, ``changes``, ``collectOnly``, ``expectExit`` and
``excuses`` loosen it: they count only when a maintainer signed.
"""

from __future__ import annotations

from dataclasses import replace
from enum import Enum

from dre_core.model.canonical import JSON
from dre_core.model.digest import hex_of, sha256
from dre_core.model.fields import Fields
from dre_core.model.record import dataclass
from dre_core.model.statement import Statement, Subject

PREDICATE_TYPE = "urn:dre:predicate:claim:v1"
ITEM_KIND = "declaration"


class Kind(str, Enum):
    """What a change says it is."""

    FIX = "fix"
    FEATURE = "feature"
    REFACTOR = "refactor"
    DOCS = "docs"
    BEHAVIOR_CHANGE = "behavior-change"
    TEST_FIX = "test-fix"

    @property
    def loosens(self) -> bool:
        """Whether declaring it lets more pass than declaring nothing."""
        return self in (Kind.BEHAVIOR_CHANGE, Kind.TEST_FIX)


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """One declaration.

    Attributes:
        commit: Full id of the commit that it is about.
        declared: RFC 3339 time.
        kind: What the change is; None if only other things are declared.
        changes: Test ids whose outcome is meant to change.
        collect_only: The tests are meant to be collected only.
        expect_tests: Ids of tests that must have run; a function's or file's id stands for its tests.
        expect_exit: Status that a runner inside is meant to end with; None for none.
        excuses: Paths in which what weakens the tests is meant; no contradiction is excused.
        policy: Digest of the policy that the run will be held to; empty if that is left open.
    """

    commit: str
    declared: str
    kind: Kind | None = None
    changes: tuple[str, ...] = ()
    collect_only: bool = False
    expect_tests: tuple[str, ...] = ()
    expect_exit: int | None = None
    excuses: tuple[str, ...] = ()
    policy: str = ""

    @property
    def loosens(self) -> bool:
        """Whether any part of it lets more pass than declaring nothing."""
        expectations = self.changes or self.collect_only or self.excuses or self.expect_exit is not None
        return bool(expectations or (self.kind and self.kind.loosens))

    def tightened(self) -> Declaration:
        """What is left of it when nobody entitled stands behind the loosening parts."""
        kind = None if self.kind and self.kind.loosens else self.kind
        return replace(self, kind=kind, changes=(), collect_only=False, expect_exit=None, excuses=())

    def excuses_path(self, path: str) -> bool:
        """Whether a path of the tree is excused, itself or by a folder that it lies in."""
        return any(path == each or path.startswith(each.rstrip("/") + "/") for each in self.excuses)

    def to_json(self) -> dict[str, JSON]:
        """The predicate's JSON object."""
        return {
            "commit": self.commit,
            "declared": self.declared,
            "kind": self.kind.value if self.kind else None,
            "changes": list(self.changes),
            "collectOnly": self.collect_only,
            "expectTests": list(self.expect_tests),
            "expectExit": self.expect_exit,
            "excuses": list(self.excuses),
            "policy": self.policy,
        }

    @classmethod
    def parse(cls, value: JSON, path: str = "$.predicate") -> Declaration:
        """Reads the predicate's JSON object.

        Raises:
            FormatError: A field is missing, of the wrong type or unknown in kind.
        """
        fields = Fields(value, path)
        return cls(
            commit=fields.text("commit"),
            declared=fields.text("declared"),
            kind=fields.choice("kind", Kind) if fields.has("kind") else None,
            changes=fields.texts("changes"),
            collect_only=fields.boolean("collectOnly", False),
            expect_tests=fields.texts("expectTests"),
            expect_exit=fields.optional_integer("expectExit"),
            excuses=fields.texts("excuses"),
            policy=fields.text("policy", ""),
        )

    def statement(self) -> Statement:
        """The Statement that is signed; its subject is the commit, named by the digest of its id."""
        digest = {"sha256": hex_of(sha256(self.commit.encode()))}
        subject = Subject(name="commit", digest=digest, annotations={"commit": self.commit})
        return Statement(subjects=(subject,), predicate_type=PREDICATE_TYPE, predicate=self.to_json())

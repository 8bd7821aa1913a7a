"""What a forge is asked to do, and what came of it.

A forge's refusal is an outcome, not a failure of the verdict: whoever may not write a comment still has the summary
and the exit code.
"""

from __future__ import annotations

from enum import Enum
from typing import Protocol

from dre_core.errors import DREError
from dre_core.model.record import dataclass


class Outcome(str, Enum):
    """What came of one request to a forge."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    DRY_RUN = "dry-run"
    SKIPPED = "skipped"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not-found"
    REJECTED = "rejected"
    RATE_LIMITED = "rate-limited"
    UNREACHABLE = "unreachable"
    FAILED = "failed"

    @property
    def is_done(self) -> bool:
        """Whether what was asked for is so, or was only to be tried."""
        return self in (Outcome.CREATED, Outcome.UPDATED, Outcome.UNCHANGED, Outcome.DRY_RUN)


class ForgeError(DREError):
    """A forge refused, was not reached or answered what can't be used.

    Args:
        message: What is wrong.
        outcome: The same as one word.
        hint: What to do about it.
        path: Method and address.
    """

    code = "forge"
    exit_code = 1

    def __init__(self, message: str, *, outcome: Outcome, hint: str = "", path: str = "") -> None:
        super().__init__(message, hint=hint, path=path, code=f"forge-{outcome.value}")
        self.outcome = outcome


class State(str, Enum):
    """What a commit's status says."""

    SUCCESS = "success"
    FAILURE = "failure"
    NEUTRAL = "neutral"


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """One remark at a place of the source.

    Attributes:
        level: ``error``, ``warning`` or ``notice``.
        title: Half a line.
        message: What was seen.
        file: Path relative to the top of the repository; empty if unknown.
        line: 1-based; 0 if unknown.
        check: Id of the check, or ``test``.
    """

    level: str
    title: str
    message: str
    file: str = ""
    line: int = 0
    check: str = "test"


@dataclass(frozen=True, slots=True, kw_only=True)
class Posted:
    """What came of posting something.

    Attributes:
        outcome: One word.
        detail: Why, where it is not done; for people.
        url: Where it is to be seen; empty if unknown.
    """

    outcome: Outcome
    detail: str = ""
    url: str = ""

    @classmethod
    def refused(cls, error: ForgeError) -> Posted:
        """What came of a request that raised."""
        return cls(outcome=error.outcome, detail=str(error))


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A status or check run to be set on a commit.

    Attributes:
        commit: Full id.
        name: Name under which it stands; the same name is replaced.
        state: Green, red or neither.
        description: One line, at most 140 characters.
        url: What a click opens; empty for nothing.
    """

    commit: str
    name: str
    state: State
    description: str
    url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pull:
    """A pull or merge request.

    Attributes:
        number: Its number in the repository.
        head: Id of its newest commit.
        base: Id of the base branch's commit that it is compared with.
        base_ref: Name of the base branch.
        merge: Id of the forge's own test merge; empty while there is none.
        labels: Names of its labels, which only people with rights in the repository can set.
    """

    number: int
    head: str = ""
    base: str = ""
    base_ref: str = ""
    merge: str = ""
    labels: tuple[str, ...] = ()


class Forge(Protocol):
    """What both forges can do."""

    def status(self, note: Note) -> Posted:
        """Sets a commit status."""
        ...

    def check_run(self, note: Note, title: str, body: str, annotations: tuple[Annotation, ...]) -> Posted:
        """Makes a check run with annotations."""
        ...

    def comment(self, number: int, marker: str, body: str, *, anew: bool = False) -> Posted:
        """Writes one comment, in place of our earlier one with the same marker."""
        ...

    def pull(self, number: int) -> Pull:
        """A pull request by its number."""
        ...

    def file(self, path: str, ref: str) -> bytes:
        """A file of the repository at a commit."""
        ...

    def parents(self, commit: str) -> tuple[str, ...]:
        """Parents of a commit."""
        ...

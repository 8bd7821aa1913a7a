"""The policy: whom to trust and what to demand, as data.

A policy comes from outside the change under test: a file named by ``--policy`` or ``DRE_POLICY``, or the
project file of the base commit. docs/policy.md lists the keys. An unknown key is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field, replace
from enum import Enum

from dre_core.errors import ConfigError
from dre_core.model.declaration import Kind
from dre_core.model.record import dataclass
from dre_core.model.verdict import Finding, Level, Severity, Weight

DEFAULT_WEIGHTS: Mapping[str, float] = {
    "programmatic": 0.4,
    "structural": 0.3,
    "behavioral": 0.2,
    "visual": 0.1,
}


class Role(str, Enum):
    """What a trusted key may do."""

    RUNNER = "runner"
    COUNTERSIGNER = "countersigner"
    MAINTAINER = "maintainer"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedKey:
    """A public key that the policy names, with its roles."""

    pem: str
    roles: tuple[Role, ...] = (Role.RUNNER,)


class Combine(str, Enum):
    """How the verdicts by several policies become one."""

    ANY_OF = "any_of"
    ALL_OF = "all_of"


DISCLOSING = frozenset((
    "artifact-made", "baseline-rerecorded", "commit-reproduces", "detects-test-env", "eq-constant",
    "expectation-changed", "failing-test-removed", "fix-is-in-the-tests", "golden-changed", "matches-baseline",
    "outcome-witnessed", "passes-only-elsewhere", "picture-not-seen", "process-tree-has-runner", "selection",
    "session-finished", "subject-intact", "support-weakened", "test-blinded", "test-newly-skipped", "tests-removed",
    "tests-skipped", "tests-weakened",
))  # fmt: skip
"""Checks with findings of their own whose information says that something is in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowedSkip:
    """Tests that may be skipped for a while.

    Attributes:
        tests: Patterns of test ids, as a shell has them.
        reason: Why, for the reader.
        until: The last day on which it counts, ``YYYY-MM-DD``.
    """

    tests: tuple[str, ...]
    reason: str
    until: str

    def allows(self, test: str, day: str) -> bool:
        """Whether a test may be skipped on a day."""
        return day <= self.until and any(_fits(test, pattern) for pattern in self.tests)


def _fits(test: str, pattern: str) -> bool:
    # Brackets are part of the id of a test with parameters, not a set of characters.
    escaped = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(rf"{escaped}(\[.*\])?", test) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Whom to trust and what to demand.

    Attributes:
        keys: Trusted keys; empty: only the caller's own.
        signatures: How many distinct runner keys must have signed the run.
        threshold: Score a method must reach.
        required_methods: How many methods must reach it (never more than apply).
        minimum_level: Evidence below this level is inconclusive.
        require_base: Without a base commit the checks that compare with it could not run.
        require_commit: A verification without ``--commit`` is refused.
        require_repository: A verification without ``--repository`` is refused.
        require_run_id: A verification without ``--run-id`` is refused.
        cap_readable_key: Evidence whose key the workload could read reaches level 2 at most.
        weights: Weight by method.
        severities: Severity by check id, in place of the built-in one.
        timeout_seconds: Time each method gets.
        plugins: Third-party verifiers to load, by entry point name.
        skips: Tests that may be skipped for a while.
        labels: What a pull request's labels declare, for a job that has them from the forge.
        expected_commands: Patterns of which the command must fit one; empty: any command.
        combine: How the verdicts by the members become one; None without members.
        members: Policies that this one is made of; each judges by itself.
        expected_base: Base commit that the caller of this verification named; empty if none.
        source: Where the policy was read from; empty for the default.
        digest: Of the whole that was read, for members too: ``sha256:<hex>``, the name of a preset, or ``default``.
    """

    keys: tuple[TrustedKey, ...] = ()
    signatures: int = 1
    threshold: float = 0.95
    required_methods: int = 2
    minimum_level: Level = Level.CLAIM_ONLY
    require_base: bool = False
    require_commit: bool = False
    require_repository: bool = False
    require_run_id: bool = False
    cap_readable_key: bool = False
    weights: Mapping[str, float] = field(default_factory=lambda: dict(DEFAULT_WEIGHTS))
    severities: Mapping[str, Severity] = field(default_factory=dict)
    timeout_seconds: float = 30.0
    plugins: tuple[str, ...] = ()
    skips: tuple[AllowedSkip, ...] = ()
    expected_commands: tuple[str, ...] = ()
    labels: Mapping[str, Kind] = field(default_factory=dict)
    combine: Combine | None = None
    members: tuple[Policy, ...] = ()
    expected_base: str = ""
    source: str = ""
    digest: str = "default"

    def weight(self, method: str) -> float:
        """A method's weight; a third party's method counts like the lightest built-in one."""
        return self.weights.get(method, 0.1)

    def leaves(self) -> tuple[Policy, ...]:
        """The policies that judge: this one, or those that it is made of, in order."""
        return tuple(leaf for member in self.members for leaf in member.leaves()) or (self,)

    def allowed_skip(self, test: str, day: str) -> AllowedSkip | None:
        """The permission by which a test may be skipped on a day, if there is one."""
        return next((skip for skip in self.skips if skip.allows(test, day)), None)

    def adjust(self, finding: Finding) -> Finding:
        """The finding with the severity that the policy sets for its check, if it sets one.

        What a check only discloses (it is allowed, declared, or decided by another) stays information.
        """
        severity = self.severities.get(finding.check)
        if severity is None or severity is finding.severity:
            return finding
        if finding.severity is Severity.INFO and finding.check in DISCLOSING:
            return finding
        weight = (finding.weight or Weight.MAJOR) if severity is Severity.FAIL else None
        return replace(finding, severity=severity, weight=weight)


PRESETS: Mapping[str, Policy] = {
    "default": Policy(),
    "strict": Policy(
        required_methods=3,
        minimum_level=Level.WRAPPED,
        require_base=True,
        require_commit=True,
        severities={"deps-match-lock": Severity.FAIL, "tree-clean": Severity.FAIL},
    ),
    "ci": Policy(
        minimum_level=Level.WRAPPED,
        require_commit=True,
        require_repository=True,
        require_run_id=True,
        cap_readable_key=True,
    ),
    "lenient": Policy(required_methods=1, severities={"tree-clean": Severity.INFO}),
}


def preset(name: str) -> Policy:
    """A shipped policy by name.

    Raises:
        ConfigError: There is no such preset.
    """
    try:
        return PRESETS[name]
    except KeyError:
        raise ConfigError(
            f"unknown policy preset {name!r}", hint=f"presets are {', '.join(sorted(PRESETS))}"
        ) from None

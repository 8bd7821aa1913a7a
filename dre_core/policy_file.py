"""Policy files: the YAML document that says what a verdict needs, read into a policy.

A policy is named by ``--policy`` or ``DRE_POLICY``, or is a shipped preset; its keys are described in docs/policy.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from datetime import date
from pathlib import Path
from typing import Any, get_type_hints

from dre_core.config import check_value, nearest, parse_yaml, read_text
from dre_core.errors import ConfigError
from dre_core.model.declaration import Kind
from dre_core.model.digest import sha256
from dre_core.model.policy import AllowedSkip, Combine, Policy, Role, TrustedKey, preset
from dre_core.model.record import dataclass
from dre_core.model.verdict import Level, Severity

_DEPTH_LIMIT = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyKeys:
    """The keys of a policy document with their types; ``preset`` and ``keys`` are read apart."""

    signatures: int = 1
    threshold: float = 0.0
    required_methods: int = 0
    minimum_level: int = 0
    require_base: bool = False
    require_commit: bool = False
    require_repository: bool = False
    require_run_id: bool = False
    cap_readable_key: bool = False
    plugins: tuple[str, ...] = ()
    expected_commands: tuple[str, ...] = ()
    timeout_seconds: float = 0.0
    weights: Mapping[str, float] = field(default_factory=dict)
    severities: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


def parse_policy(document: object, source: str, directory: Path) -> Policy:
    """A policy from its document.

    Args:
        document: The parsed YAML (or the ``verify`` section of a project file).
        source: Where it came from, for messages.
        directory: Folder that the ``file`` of a key is relative to.

    Raises:
        ConfigError: A key is unknown, or a value is unfit.
    """
    if not isinstance(document, dict):
        raise ConfigError("a policy must be a mapping", path=source)
    combined = [how for how in Combine if how.value in document]
    if combined:
        return _combined(document, combined[0], source, directory)
    hints = get_type_hints(PolicyKeys)
    known = [*hints, "preset", "keys", "skips", *(how.value for how in Combine)]
    policy = preset(str(document.get("preset", "default")))
    changes: dict[str, Any] = {}
    for key, value in document.items():
        if key not in known:
            raise ConfigError(f"unknown policy key {key!r}", hint=nearest(str(key), known), path=source)
        if key == "keys":
            changes[key] = tuple(_parse_key(entry, source, directory) for entry in _listed(value, source))
        elif key == "skips":
            changes[key] = tuple(_parse_skip(entry, source) for entry in _listed(value, source))
        elif key == "weights":
            changes[key] = {**policy.weights, **_numbers(value, source)}
        elif key == "severities":
            changes[key] = {**policy.severities, **_severities(value, source)}
        elif key == "labels":
            changes[key] = _labels(value, source)
        elif key == "minimum_level":
            changes[key] = _level(value, source)
        elif key != "preset":
            changes[key] = check_value(key, value, hints[key])
    return replace(policy, source=source, **changes)


def _combined(document: dict[Any, Any], how: Combine, source: str, directory: Path) -> Policy:
    """Several policies, each a path, a preset or a mapping; nothing else stands beside them."""
    if len(document) != 1:
        raise ConfigError(f"{how.value} stands alone: put other keys into one of its policies", path=source)
    if source.count(">") >= _DEPTH_LIMIT:
        raise ConfigError("policies are nested too deeply", path=source)
    members = []
    for number, entry in enumerate(_listed(document[how.value], source)):
        if isinstance(entry, str):
            name = entry if entry.startswith("preset:") else str(directory / entry)
            members.append(load_policy(Path(name), within=source))
        else:
            members.append(parse_policy(entry, f"{source}>{how.value}[{number}]", directory))
    if not members:
        raise ConfigError(f"{how.value} names no policy", path=source)
    return Policy(
        combine=how,
        members=tuple(members),
        source=source,
        timeout_seconds=max(m.timeout_seconds for m in members),
    )


def _parse_skip(entry: object, source: str) -> AllowedSkip:
    """``{tests: [PATTERN], reason: TEXT, until: YYYY-MM-DD}``; each is needed."""
    if not isinstance(entry, dict) or set(entry) != {"tests", "reason", "until"}:
        raise ConfigError("a skip needs tests, reason and until, and nothing else", path=source)
    until = str(entry["until"])
    try:
        date.fromisoformat(until)
    except ValueError:
        raise ConfigError(f"until must be a day like 2027-01-31, not {until!r}", path=source) from None
    reason = str(entry["reason"]).strip()
    if not reason:
        raise ConfigError("a skip needs a reason", path=source)
    return AllowedSkip(tests=tuple(map(str, _listed(entry["tests"], source))), reason=reason, until=until)


def _listed(value: object, source: str) -> list[object]:
    if not isinstance(value, list):
        raise ConfigError("keys, skips, tests and policies must be lists", path=source)
    return value


def _parse_key(entry: object, source: str, directory: Path) -> TrustedKey:
    if not isinstance(entry, dict) or not set(entry) <= {"pem", "file", "roles"} or not entry:
        raise ConfigError("a key needs pem or file, and may have roles", path=source)
    pem = entry.get("pem")
    if pem is None:
        path = directory / str(entry.get("file", ""))
        pem = read_text(path)
        if pem is None:
            raise ConfigError(f"there is no key file {path}", path=source)
    try:
        roles = tuple(Role(role) for role in entry.get("roles", ["runner"]))
    except (ValueError, TypeError):
        raise ConfigError(f"roles are {', '.join(role.value for role in Role)}", path=source) from None
    return TrustedKey(pem=str(pem), roles=roles)


def _numbers(value: object, source: str) -> dict[str, float]:
    if not isinstance(value, dict):
        raise ConfigError("weights must be a mapping of method to number", path=source)
    return {str(name): float(check_value(f"weights.{name}", number, float)) for name, number in value.items()}  # type: ignore[arg-type]


def _severities(value: object, source: str) -> dict[str, Severity]:
    if not isinstance(value, dict):
        raise ConfigError("severities must be a mapping of check to severity", path=source)
    try:
        return {str(check): Severity(severity) for check, severity in value.items()}
    except ValueError:
        known = ", ".join(severity.value for severity in Severity)
        raise ConfigError(f"severities are {known}", path=source) from None


def _labels(value: object, source: str) -> dict[str, Kind]:
    if not isinstance(value, dict):
        raise ConfigError("labels must be a mapping of label to kind", path=source)
    try:
        return {str(label): Kind(kind) for label, kind in value.items()}
    except ValueError:
        known = ", ".join(kind.value for kind in Kind)
        raise ConfigError(f"kinds of change are {known}", path=source) from None


def _level(value: object, source: str) -> Level:
    try:
        return Level(int(str(value)))
    except ValueError:
        raise ConfigError("minimum_level must be 0 to 4", path=source) from None


def load_policy(path: Path, *, within: str = "") -> Policy:
    """A policy file, or a shipped preset named ``preset:<name>``.

    Args:
        path: Where it lies.
        within: The policy that it is a part of, for messages.

    Raises:
        ConfigError: It can't be read, has an unknown key or an unfit value.
    """
    text = str(path)
    if text.startswith("preset:"):
        return replace(preset(text.removeprefix("preset:")), source=text, digest=text)
    source = f"{within}>{text}" if within else text
    content = read_text(path)
    if content is None:
        raise ConfigError("there is no such policy file", path=source)
    policy = parse_policy(parse_yaml(content, text) or {}, source, path.parent)
    parts = (content, *(member.digest for member in policy.members))
    return _stamped(policy, sha256("\0".join(parts).encode("utf-8", "surrogatepass")))


def _stamped(policy: Policy, digest: str) -> Policy:
    """The policy and its members under one digest, since each member judges by itself."""
    members = tuple(_stamped(member, digest) for member in policy.members)
    return replace(policy, members=members, digest=digest)

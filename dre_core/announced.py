"""What a change announces about itself where it is proposed: labels of the pull request, its title and text, a commit.

The section ``claim`` of the configuration says which of it counts, so a project without the section announces nothing:

- ``labels``: ``LABEL=KIND``. A label speaks before any text; two that disagree say nothing.
- ``patterns``: ``REGEX=KIND``, searched in the title (outside pull requests in the first line of HEAD's message),
  then in the text below it; the first pattern that is found counts.
- ``changes``: ``REGEX`` with one group, whose every match in title or text names tests that are meant to change.

Not the word of a maintainer: whoever proposes a change writes its text, and in the change's own job its labels come
from the job's environment. It is a declaration like any other: what loosens counts only by a maintainer's key, or
where a trusted job asked the forge for the labels itself (``Policy.labels``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from dre_core.config import ClaimSection
from dre_core.errors import CaptureError, ConfigError
from dre_core.model.declaration import Declaration, Kind
from dre_core.model.record import dataclass

_EVENT_LIMIT_BYTES = 16 << 20
_TEXT_LIMIT_CHARACTERS = 16 << 10
_MOST_LABELS = 100
_MOST_TESTS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced:
    """What stands where the change is proposed.

    Attributes:
        labels: Names of the pull request's labels.
        title: Its title, or the first line of the commit's message.
        text: What stands below.
    """

    labels: tuple[str, ...] = ()
    title: str = ""
    text: str = ""


def announced(environ: Mapping[str, str], message: Callable[[], str]) -> Announced:
    """What the job's environment says of its pull request, else the commit's message.

    Args:
        environ: Environment variables; ``GITHUB_EVENT_PATH`` and ``CI_MERGE_REQUEST_*`` are read.
        message: Gives the message of HEAD.
    """
    if environ.get("CI_MERGE_REQUEST_IID"):
        return Announced(
            labels=_names(environ.get("CI_MERGE_REQUEST_LABELS", "").split(",")),
            title=_short(environ.get("CI_MERGE_REQUEST_TITLE", "")),
            text=_short(environ.get("CI_MERGE_REQUEST_DESCRIPTION", "")),
        )
    pull = _event(environ).get("pull_request")
    if isinstance(pull, dict):
        labels = pull.get("labels")
        named = (
            (each.get("name") for each in labels if isinstance(each, dict))
            if isinstance(labels, list)
            else ()
        )
        return Announced(labels=_names(named), title=_short(pull.get("title")), text=_short(pull.get("body")))
    title, _, text = message().strip().partition("\n")
    return Announced(title=_short(title), text=_short(text))


def _event(environ: Mapping[str, str]) -> Mapping[str, Any]:
    try:
        with open(environ["GITHUB_EVENT_PATH"], "rb") as stream:
            document = json.loads(stream.read(_EVENT_LIMIT_BYTES))
    except (KeyError, OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _names(words: Iterable[object]) -> tuple[str, ...]:
    return tuple(word.strip() for word in words if isinstance(word, str) and word.strip())[:_MOST_LABELS]


def _short(text: object) -> str:
    return text[:_TEXT_LIMIT_CHARACTERS] if isinstance(text, str) else ""


def declared_by(section: ClaimSection, said: Announced, *, commit: str, declared: str) -> Declaration | None:
    """The declaration that an announcement comes to, or None.

    Args:
        section: What counts.
        said: What was announced.
        commit: The commit that it is about.
        declared: RFC 3339 time.

    Raises:
        ConfigError: The section names no kind, or no regular expression.
    """
    kinds = dict(_pair("claim.labels", entry) for entry in section.labels)
    by_label = {kinds[label] for label in said.labels if label in kinds}
    if len(by_label) > 1:
        return None
    kind = by_label.pop() if by_label else _by_text(section, said)
    changes = _changes(section, said)
    return (
        Declaration(commit=commit, declared=declared, kind=kind, changes=changes) if kind or changes else None
    )


def message_of(folder: str, commit: str) -> str:
    """The message of a commit; empty where git does not tell."""
    from dre_core.capture.git import Git

    try:
        git = Git.find(folder)
        return git.run("log", "-1", "--format=%B", commit).decode("utf-8", "replace") if git else ""
    except CaptureError:
        return ""


def _pair(key: str, entry: str) -> tuple[str, Kind]:
    said, _, kind = entry.rpartition("=")
    try:
        if said.strip():
            return said.strip(), Kind(kind.strip())
    except ValueError:
        pass
    known = ", ".join(each.value for each in Kind)
    raise ConfigError(f"{entry!r} is not WHAT=KIND", hint=f"kinds are {known}", path=key)


def _by_text(section: ClaimSection, said: Announced) -> Kind | None:
    pairs = [_pair("claim.patterns", entry) for entry in section.patterns]
    patterns = [(_compiled("claim.patterns", pattern), kind) for pattern, kind in pairs]
    texts = (said.title, said.text)
    return next((kind for text in texts for pattern, kind in patterns if pattern.search(text)), None)


def _changes(section: ClaimSection, said: Announced) -> tuple[str, ...]:
    found: list[str] = []
    for entry in section.changes:
        pattern = _compiled("claim.changes", entry)
        if pattern.groups != 1:
            raise ConfigError(f"{entry!r} needs one group, the tests", path="claim.changes")
        for match in pattern.finditer(f"{said.title}\n{said.text}"):
            found += re.split(r"[\s,]+", (match[1] or "").strip())
    return tuple(dict.fromkeys(filter(None, found)))[:_MOST_TESTS]


def _compiled(key: str, pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern, re.MULTILINE)
    except re.error as error:
        raise ConfigError(f"{pattern!r} is no regular expression: {error}", path=key) from None

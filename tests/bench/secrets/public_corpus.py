"""A labelled corpus that others made: the cases of TruffleHog's detectors, read from a copy of its repository.

Nothing of it is kept here: the bench is pointed at a copy (a checkout, or a bare git directory). Each detector's test
has inputs as they stand in logs and configuration, with the secrets that must be found in them. Only cases whose
expressions can be read without a Go compiler are taken: literals, names of constants, ``+`` and ``fmt.Sprintf``.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_LITERAL = r'"(?:[^"\\\n]|\\.)*"|`[^`]*`'
_DEFINITION = re.compile(rf"^\s*(?:const\s+|var\s+)?(\w+)\s*(?::?=)\s*({_LITERAL})\s*$", re.M)
_CASE = re.compile(r"\binput:\s*(.+?),\s*\n\s*want:\s*\[\]string\{(.*?)\}", re.S)
_TOKEN = re.compile(rf"\s*(?:({_LITERAL})|(fmt\.Sprintf\()|([A-Za-z_]\w*)|(\+)|(,)|(\)))")


class Case(NamedTuple):
    """One input with the secrets in it."""

    detector: str
    text: str
    secrets: tuple[str, ...]


def cases(repository: Path) -> Iterator[Case]:
    """Every readable case whose secrets stand in its input as they are."""
    for path, source in _sources(repository):
        names = {name: _value(literal) for name, literal in _DEFINITION.findall(source)}
        for given, wanted in _CASE.findall(source):
            text = _evaluated(given, names)
            secrets = _listed(wanted, names)
            if text and secrets and all(secret in text for secret in secrets):
                yield Case(Path(path).parent.name, text, tuple(secrets))


def _sources(repository: Path) -> Iterator[tuple[str, str]]:
    bare = (repository / "HEAD").exists()
    if not bare:
        for file in sorted(repository.glob("pkg/detectors/**/*_test.go")):
            if "integration" not in file.name:
                yield str(file.relative_to(repository)), file.read_text(errors="replace")
        return
    git = ["git", f"--git-dir={repository}"]
    listed = subprocess.run(
        [*git, "ls-tree", "-r", "HEAD", "--", "pkg/detectors"], capture_output=True, check=True
    )
    wanted = []
    for line in listed.stdout.decode().splitlines():
        head, _, path = line.partition("\t")
        if path.endswith("_test.go") and "integration" not in path:
            wanted.append((path, head.split()[2]))
    asked = "\n".join(blob for _, blob in wanted).encode() + b"\n"
    data = subprocess.run([*git, "cat-file", "--batch"], input=asked, capture_output=True, check=True).stdout
    place = 0
    for path, _ in wanted:
        end = data.index(b"\n", place)
        size = int(data[place:end].split()[2])
        yield path, data[end + 1 : end + 1 + size].decode(errors="replace")
        place = end + size + 2


def _value(literal: str) -> str:
    if literal.startswith("`"):
        return literal[1:-1]
    try:
        return str(json.loads(literal))
    except ValueError:
        return literal[1:-1]


def _evaluated(expression: str, names: dict[str, str]) -> str | None:
    """The text that an expression stands for; None if it is more than this can read."""
    found = _sum(expression, 0, names)
    return found[0] if found is not None and not expression[found[1] :].strip(" \t\n,") else None


def _sum(text: str, place: int, names: dict[str, str]) -> tuple[str, int] | None:
    value, place_or_none = "", place
    while True:
        term = _term(text, place_or_none, names)
        if term is None:
            return None
        value, place_or_none = value + term[0], term[1]
        token = _TOKEN.match(text, place_or_none)
        if token is None or not token[4]:
            return value, place_or_none
        place_or_none = token.end()


def _term(text: str, place: int, names: dict[str, str]) -> tuple[str, int] | None:
    token = _TOKEN.match(text, place)
    if token is None:
        return None
    if token[1]:
        return _value(token[1]), token.end()
    if token[3]:
        return (names[token[3]], token.end()) if token[3] in names else None
    return _formatted(text, token.end(), names) if token[2] else None


def _formatted(text: str, place: int, names: dict[str, str]) -> tuple[str, int] | None:
    words = []
    while True:
        found = _sum(text, place, names)
        if found is None:
            return None
        words.append(found[0])
        token = _TOKEN.match(text, found[1])
        if token is None or not (token[5] or token[6]):
            return None
        place = token.end()
        if token[6]:
            break
    form, *values = words
    if len(re.findall(r"%[svq]", form)) != len(values):
        return None
    for value in values:
        form = re.sub(r"%[svq]", lambda _, value=value: value, form, count=1)
    return form.replace("%%", "%"), place


def _listed(text: str, names: dict[str, str]) -> list[str]:
    found = []
    place = 0
    while text[place:].strip(" \t\n,"):
        term = _sum(text, place, names)
        if term is None:
            return []
        found.append(term[0])
        token = _TOKEN.match(text, term[1])
        place = token.end() if token is not None and token[5] else len(text)
    return found

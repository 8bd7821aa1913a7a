"""The installed packages against the project's lock files: which versions are not those that were locked.

Read are ``uv.lock``, ``poetry.lock``, ``pdm.lock``, ``pylock.toml`` (tables of packages with name and version) and the
lines ``name==version`` of ``requirements.txt``, all at the top of the tree. A locked package that is not installed says
nothing: it may be for another platform or group. A name with several versions fits with any of them.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path

from dre_core.model.locked import Locked, Unlocked

_TABLES = (
    ("uv.lock", "package"),
    ("poetry.lock", "package"),
    ("pdm.lock", "package"),
    ("pylock.toml", "packages"),
)
_LINES = "requirements.txt"
_LIMIT_BYTES = 16 << 20
_LISTED = 200
_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?\s*==\s*([^\s;#,*]+)\s*(?:[;#\\].*)?$")


def compare_with_locks(root: Path, installed: Iterable[tuple[str, str]]) -> Locked | None:
    """Holds installed distributions against the lock files of a tree.

    Args:
        root: Top of the tree.
        installed: Name and version of each distribution.

    Returns:
        The comparison; None where there is no lock file that can be read.
    """
    locks = {name: pins for name in (*(name for name, _ in _TABLES), _LINES) if (pins := _pins(root, name))}
    if not locks:
        return None
    compared = 0
    differing = []
    for raw, version in sorted(installed):
        name = normal(raw)
        for file, pins in locks.items():
            if name in pins:
                compared += 1
                if version not in pins[name]:
                    wanted = tuple(sorted(pins[name]))
                    differing.append(Unlocked(name=name, installed=version, locked=wanted, file=file))
                break
    return Locked(files=tuple(locks), compared=compared, differing=tuple(differing[:_LISTED]))


def normal(name: str) -> str:
    """A distribution's normalised name (packaging.python.org, "Name normalization")."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _pins(root: Path, name: str) -> dict[str, set[str]]:
    """Locked versions by normalised name; empty where the file is absent or can't be read."""
    path = root / name
    try:
        if not path.is_file() or path.stat().st_size > _LIMIT_BYTES:
            return {}
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return {}
    found: dict[str, set[str]] = {}
    for package, version in _of_lines(text) if name == _LINES else _of_table(text, dict(_TABLES)[name]):
        found.setdefault(normal(package), set()).add(version)
    return found


def _of_lines(text: str) -> Iterable[tuple[str, str]]:
    for line in text.splitlines():
        if match := _PIN.match(line.strip()):
            yield match[1], match[2]


def _of_table(text: str, key: str) -> Iterable[tuple[str, str]]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    try:
        packages = tomllib.loads(text).get(key, [])
    except (tomllib.TOMLDecodeError, RecursionError):
        return
    for package in packages if isinstance(packages, list) else []:
        if isinstance(package, dict) and isinstance(package.get("name"), str):
            version = package.get("version")
            if isinstance(version, str):
                yield package["name"], version

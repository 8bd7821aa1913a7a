"""The keys for pytest and coverage of a configuration file, whichever of their formats it has."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any


def sections(path: str, text: str | None) -> dict[str, dict[str, Any]]:
    """The keys for pytest and coverage of one file; what can't be read has none."""
    found: dict[str, dict[str, Any]] = {"pytest": {}, "coverage": {}}
    if text is None:
        return found
    if path.endswith(".toml"):
        _read_toml(path, text, found)
    else:
        _read_ini(path, text, found)
    return found


def _read_toml(path: str, text: str, found: dict[str, dict[str, Any]]) -> None:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    tool = _table(data, "tool")
    native = path.endswith("pytest.toml")
    pytest = _table(data, "pytest") if native else _table(tool, "pytest")
    found["pytest"] = {**pytest, **_table(pytest, "ini_options")}
    for part in _table(tool, "coverage").values():
        found["coverage"].update(part if isinstance(part, dict) else {})


def _table(data: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = data.get(name)
    return value if isinstance(value, dict) else {}


def _read_ini(path: str, text: str, found: dict[str, dict[str, Any]]) -> None:
    import configparser

    parser = configparser.RawConfigParser(strict=False, allow_no_value=True)
    try:
        parser.read_string(text)
    except configparser.Error:
        return
    pytest = "tool:pytest" if path.endswith(".cfg") else "pytest"
    if parser.has_section(pytest):
        found["pytest"] = dict(parser.items(pytest))
    for section in parser.sections():
        own = path.endswith(".coveragerc") and section in ("run", "report")
        if own or section.startswith("coverage:"):
            found["coverage"].update(parser.items(section))

"""How pytest was called: the options and plugins that decide which tests run and how they count."""

from __future__ import annotations

import os
import platform
import sys

import pytest

from dre_core.capture.journal import clean
from dre_core.model.canonical import JSON
from dre_pytest.asserts import assert_mode

_SELECTING = (
    "keyword", "markexpr", "lf", "failedfirst", "newfirst", "last_failed_no_failures", "stepwise",
    "stepwise_skip", "deselect", "ignore", "ignore_glob", "maxfail", "collectonly", "setuponly", "setupplan",
    "continue_on_collection_errors", "noconftest", "confcutdir", "rootdir", "inifilename", "override_ini",
    "plugins", "runxfail", "pyargs", "keepduplicates", "importmode", "strict_markers", "numprocesses", "dist",
    "reruns", "only_rerun", "maxworkerrestart", "timeout", "disable_warnings", "splits", "group", "file_or_dir",
)  # fmt: skip
_USUAL = {"importmode": "prepend", "dist": "no"}
_INI: dict[str, list[str]] = {
    "addopts": [],
    "testpaths": [],
    "python_files": ["test_*.py", "*_test.py"],
    "python_classes": ["Test"],
    "python_functions": ["test"],
}
_MAX_SETTING = 4_096
_SEEDS = ("randomly_seed", "random_order_seed", "random_seed")


def called(config: pytest.Config) -> dict[str, JSON]:
    """The members of the ``session`` line that tell of the command, the interpreter and pytest itself."""
    return {
        "argv": ["pytest", *map(str, config.invocation_params.args)],
        "directory": str(config.invocation_params.dir),
        "rootdir": str(config.rootpath),
        "inifile": str(config.inipath or ""),
        "ini": _ini(config),
        "python": f"{platform.python_version()} {platform.python_implementation()}",
        "executable": sys.executable or "",
        "pytest": pytest.__version__,
        "pytest_file": str(pytest.__file__),
        "optimize": sys.flags.optimize,
        "assert_mode": assert_mode(config),
        "plugins": _distributions(config),
        "collect_only": bool(getattr(config.option, "collectonly", False)),
        "options": _options(config),
        "seed": seed(config),
    }


def seed(config: pytest.Config) -> str:
    """The random seed that a plugin set; empty if none did."""
    values = (getattr(config.option, name, None) for name in _SEEDS)
    return next((str(value) for value in values if value is not None), "")


def _distributions(config: pytest.Config) -> dict[str, JSON]:
    found: dict[str, JSON] = {}
    for _, distribution in config.pluginmanager.list_plugin_distinfo():
        found[str(distribution.metadata["Name"])] = str(distribution.version)
    return found


def _options(config: pytest.Config) -> list[JSON]:
    """What was set that changes which tests run or how they count, as ``name=value``."""
    chosen: list[JSON] = []
    for name in _SELECTING:
        value = getattr(config.option, name, None)
        if value not in (None, False, "", [], (), 0, _USUAL.get(name)):
            chosen.append(f"{name}={value}")
    for name, usual in _INI.items():
        if (value := config.getini(name)) != usual:
            chosen.append(f"ini:{name}={value}")
    if added := os.environ.get("PYTEST_ADDOPTS"):
        chosen.append(f"PYTEST_ADDOPTS={clean(added)}")
    return chosen


def _ini(config: pytest.Config) -> dict[str, JSON]:
    """The settings of pytest in the ini file, as text, read from the file itself."""
    if config.inipath is None:
        return {}
    try:
        text = config.inipath.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return {}
    from dre_core.capture.inifile import sections

    values = sections(config.inipath.name, text)["pytest"]
    return {str(name): clean(str(value))[:_MAX_SETTING] for name, value in values.items()}

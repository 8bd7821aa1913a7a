"""The masker of a place: its settings' rules and the environment's secrets, without an engine around it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dre_core import config
from dre_core.pipeline.mask import RULES, Masker, sensitive_values
from dre_core.store import folder as folders

if TYPE_CHECKING:
    from dre_core.config import MaskSection
    from dre_core.pipeline.mask import AnyRule


def masker(settings: MaskSection, root: Path, environ: Mapping[str, str]) -> Masker:
    """A masker that knows an environment's secrets.

    Args:
        settings: Further variables and rules.
        root: The project, in which the file of rules lies.
        environ: Environment variables.

    Raises:
        ConfigError: The file of further rules can't be used.
    """
    named = (environ.get(name, "") for name in settings.variables)
    rules: tuple[AnyRule, ...] = RULES
    if settings.rules:
        from dre_core.pipeline.rule_file import read_rules

        rules = (*RULES, *read_rules(root / settings.rules))
    return Masker([*sensitive_values(environ), *filter(None, named)], rules=rules)


def masker_of(directory: Path, environ: Mapping[str, str]) -> Masker:
    """The same, of the settings in force in a folder.

    Raises:
        ConfigError: The configuration or the file of further rules can't be used.
    """
    folder = folders.find(directory, explicit=environ.get("DRE_DIR", ""))
    root = folder.project(directory)
    return masker(config.load(root, folder.path, environ).mask, root, environ)

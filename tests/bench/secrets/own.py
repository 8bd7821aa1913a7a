"""The masker that is measured: with the built-in rules, and those of the file that ``DRE_MASK__RULES`` names."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

from dre_core.pipeline.mask import RULES, Masker
from dre_core.pipeline.rule_file import read_rules


def masker(*values: str) -> Masker:
    return Masker(values, rules=_rules(os.environ.get("DRE_MASK__RULES", "")))


@cache
def _rules(file: str) -> tuple[Any, ...]:
    return (*RULES, *read_rules(Path(file))) if file else RULES

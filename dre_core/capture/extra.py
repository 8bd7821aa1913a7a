"""Modules that only an extra installs."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from dre_core.errors import MissingExtraError


def require(module: str, extra: str) -> Any:
    """An optional module.

    Raises:
        MissingExtraError: It is not installed; the hint names the extra.
    """
    try:
        return import_module(module)
    except ImportError:
        raise MissingExtraError(
            f"{module.partition('.')[0]} is not installed",
            hint=f"pip install 'development-reality-engine[{extra}]'",
        ) from None

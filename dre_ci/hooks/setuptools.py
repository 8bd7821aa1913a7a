"""A PEP 517 backend in place of ``setuptools.build_meta``: the same builds, with each wheel and sdist sealed.

    [build-system]
    requires = ["setuptools", "development-reality-engine"]
    build-backend = "dre_ci.hooks.setuptools"

Every file is built twice to see whether it repeats; with ``DRE_REPRODUCIBLE=1`` one that does not fails the build.

Source: https://peps.python.org/pep-0517/
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from setuptools import build_meta as _real
from setuptools.build_meta import (
    build_editable,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

from dre_ci.hooks.built import is_rebuilding, seal
from dre_core.errors import IntegrityError

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]


def build_wheel(
    wheel_directory: str, config_settings: Any = None, metadata_directory: str | None = None
) -> str:
    """Builds a wheel and seals it; its file name."""
    name = _real.build_wheel(wheel_directory, config_settings, metadata_directory)
    _seal(Path(wheel_directory, name))
    return str(name)


def build_sdist(sdist_directory: str, config_settings: Any = None) -> str:
    """Builds an sdist and seals it; its file name."""
    name = _real.build_sdist(sdist_directory, config_settings)
    _seal(Path(sdist_directory, name))
    return str(name)


def _seal(path: Path) -> None:
    if is_rebuilding():
        return
    built = seal(path.resolve(), "setuptools.build_meta", Path.cwd())
    sys.stderr.write(f"dre: {built.said}\n")
    if os.environ.get("DRE_REPRODUCIBLE", "") not in ("", "0") and built.reproducible is not True:
        raise IntegrityError(f"{path.name} does not repeat", hint="set SOURCE_DATE_EPOCH")

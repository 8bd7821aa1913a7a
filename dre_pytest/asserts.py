"""Whether ``assert`` checked anything: the interpreter's and pytest's settings, and the files they reach.

Not a count of assertions: that is read from the source, without a run.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

import pytest

_MAX_SOURCE_BYTES = 4 * 2**20


def assert_mode(config: pytest.Config) -> str:
    """Pytest's ``--assert``: ``rewrite`` or ``plain``."""
    return str(config.getoption("assertmode", "rewrite"))


def unrewritten(modules: Iterable[ModuleType]) -> tuple[str, ...]:
    """Files of modules that hold ``assert`` statements and were imported without pytest's rewriting.

    Under ``python -O`` their assertions are gone. The rewriter leaves its import in every module it touches.

    Args:
        modules: Loaded modules: test modules and conftests.

    Returns:
        Absolute paths, sorted.
    """
    files = {str(module.__file__) for module in modules if not _is_rewritten(module) and module.__file__}
    return tuple(sorted(file for file in files if _has_assert(Path(file))))


def _is_rewritten(module: ModuleType) -> bool:
    return "@pytest_ar" in vars(module)


def _has_assert(path: Path) -> bool:
    try:
        if path.suffix != ".py" or path.stat().st_size > _MAX_SOURCE_BYTES:
            return False
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return any(isinstance(node, ast.Assert) for node in ast.walk(tree))

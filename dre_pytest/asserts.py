"""Whether ``assert`` checked anything: the settings and the files they reach, and how many assertions a test holds.

Assertions are counted without running them and without parsing, which would cost more than many a test: in the
compiled code every ``assert`` loads ``AssertionError`` once, rewritten by pytest or not. So this is the number that the
syntax tree has, and each ``raise AssertionError`` counts as well; a call whose name says that it checks
(``assertEqual``, ``raises``) counts once for each name. What a helper function asserts is not the test's own.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable
from functools import lru_cache
from opcode import opmap
from pathlib import Path
from types import CodeType, ModuleType

import pytest

from dre_core.model.assertion import is_checking

_ERROR = "AssertionError"
_LOAD_GLOBAL = opmap["LOAD_GLOBAL"]
_LOAD_ERROR = opmap.get("LOAD_ASSERTION_ERROR")  # until 3.13
_LOAD_COMMON = opmap.get("LOAD_COMMON_CONSTANT")  # since 3.14; the first of them is AssertionError
_WIDE = 128  # an index from here on takes more than one byte
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


def count_assertions(code: CodeType) -> int:
    """Assertions in a function, in the functions within it, and the names of what it calls to check."""
    checks, index = _read_names(code.co_names)
    count = checks + _statements(code, index)
    for constant in code.co_consts:
        if type(constant) is CodeType:
            count += count_assertions(constant)
    return count


@lru_cache(maxsize=4096)
def _read_names(names: tuple[str, ...]) -> tuple[int, int]:
    """How many of a function's names say that they check, and where the assertion's error is among them, else -1."""
    checks = sum(name != _ERROR and is_checking(name) for name in names)
    return checks, names.index(_ERROR) if _ERROR in names else -1


def _statements(code: CodeType, index: int) -> int:
    raw = code.co_code
    count = raw[::2].count(_LOAD_ERROR) if _LOAD_ERROR is not None else 0
    if _LOAD_COMMON is not None:
        count += _pairs(raw, _LOAD_COMMON, 0)
    if index < 0:
        return count
    if index >= _WIDE:
        return count + _disassembled(code)
    if sys.version_info < (3, 11):
        return count + _pairs(raw, _LOAD_GLOBAL, index)
    return count + _pairs(raw, _LOAD_GLOBAL, index << 1) + _pairs(raw, _LOAD_GLOBAL, index << 1 | 1)


def _pairs(raw: bytes, operation: int, argument: int) -> int:
    """How often an instruction stands in the code; all are two bytes long."""
    pair = bytes((operation, argument))
    count, place = 0, raw.find(pair)
    while place >= 0:
        count += not place % 2
        place = raw.find(pair, place + 1)
    return count


def _disassembled(code: CodeType) -> int:
    from dis import get_instructions

    return sum(each.argval == _ERROR for each in get_instructions(code) if each.opcode == _LOAD_GLOBAL)

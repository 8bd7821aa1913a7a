"""Whether the functions that ran are those that stand in the source files, as far as a small time allows.

A module can come from bytecode that somebody left beside its source, and a function can be given other code when
it is loaded; both say that they are from the file. So files are compiled again, by pytest's rewriter where that
made the module, and compared function by function. Which files is drawn by lot: nobody can know beforehand which
will be looked at. Of the others the bytecode in the cache is read, which shows what changed after the import.

Instruments (coverage by bytecode, profilers, type checkers) load modules themselves and add to their code. They
leave in it what the source names, so where one loaded a module only a function that lacks something is out of place.
"""

from __future__ import annotations

import marshal
import math
import os
import random
import struct
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import MAGIC_NUMBER, cache_from_source, source_hash
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

import pytest

from dre_pytest.asserts import count_assertions
from dre_pytest.intact import functions, is_foreign, modules_below

# Rather too slow than too fast: a file is only begun where its time is left.
_COMPILED_BYTES_PER_SECOND = 3_000_000
_REWRITTEN_BYTES_PER_SECOND = 1_000_000
_MAX_ALTERED = 10
_VITAL = ("dre_core.capture.journal", "dre_pytest.body", "dre_pytest.control", "dre_pytest.recorder")
_CORE = (
    "_pytest.assertion.rewrite",
    "_pytest.main",
    "_pytest.python",
    "_pytest.reports",
    "_pytest.runner",
    "_pytest.unittest",
    "pluggy._callers",
    "unittest.case",
)
_LOADERS = ("importlib", "_frozen_importlib", "_frozen_importlib_external", "_pytest")
_WORD = 0xFFFFFFFF
_HEADER_BYTES = 16
_BY_HASH = 1  # PEP 552
_by_lot = random.SystemRandom()

Codes = dict[int, list[CodeType]]
"""Code objects by first line; more than one where lambdas or decorators share it."""


def own_modules(rootdir: Path) -> list[ModuleType]:
    """The loaded modules whose source lies in the project, its conftests aside.

    Args:
        rootdir: The project's folder.
    """
    return [
        module
        for _, module, file in modules_below(str(rootdir) + os.sep)
        if file.endswith(".py") and os.path.basename(file) != "conftest.py"
    ]


def core_modules() -> list[ModuleType]:
    """The loaded modules that outcomes pass through on their way to the journal."""
    return [
        module
        for name, module in sys.modules.copy().items()
        if isinstance(module, ModuleType) and name in (*_CORE, *_VITAL)
    ]


class Comparison:
    """Compares modules with their sources.

    Args:
        config: pytest's configuration, which its rewriter asks for.
        since: Seconds since the epoch; a source written after that is not the one that was loaded.

    Attributes:
        modules: How many there were.
        compiled: For how many of them the source was compiled.
        altered: Name, file and line of each function that is not its source's.
    """

    def __init__(self, config: pytest.Config, since: float) -> None:
        self._config = config
        self._since = since
        self.modules = 0
        self.compiled = 0
        self.altered: list[tuple[str, str, int]] = []
        self._genuine: dict[int, CodeType] = {}

    def run(self, modules: list[ModuleType], seconds: float) -> None:
        """Look at the modules in an order that is drawn by lot.

        Args:
            modules: From :func:`own_modules`.
            seconds: How long sources may be compiled; bytecode is read for as long again.
        """
        self.modules = len(modules)
        _by_lot.shuffle(modules)
        began = time.perf_counter()
        for module in modules:
            left = seconds - (time.perf_counter() - began)
            if left < -seconds or len(self.altered) >= _MAX_ALTERED:
                break
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the source, heard when it was imported
                self._look(module, left)

    def read(self, modules: list[ModuleType]) -> None:
        """Look at modules by their bytecode; where that is not kept, at the few that write the record.

        A second call looks only at those in which a function has other code than at the first.
        """
        for module in modules:
            codes = {id(function.__code__): function.__code__ for _, function in functions(module)}
            if codes.keys() <= self._genuine.keys():
                continue
            found = len(self.altered)
            looked = self._look(module, 0.0) or (module.__name__ in _VITAL and self._look(module, math.inf))
            if looked and len(self.altered) == found:
                self._genuine.update(codes)

    def _look(self, module: ModuleType, left: float) -> bool:
        with suppress(Exception):  # a file that can't be read or compiled any more says nothing
            source = Path(str(module.__file__))
            self._compare(module, source, source.stat(), left)
            return True
        return False

    def _compare(self, module: ModuleType, source: Path, status: os.stat_result, left: float) -> None:
        if status.st_mtime > self._since:
            return
        rewritten = "@pytest_ar" in vars(module)
        rate = _REWRITTEN_BYTES_PER_SECOND if rewritten else _COMPILED_BYTES_PER_SECOND
        if status.st_size < left * rate:
            self.compiled += 1
            written = _compile(source)
            codes = _by_line(self._rewrite(source) if rewritten else written)
            if rewritten:
                self.altered.extend(_weakened(module, _by_line(written)))
        else:
            codes = _by_line(_cached(source, status, rewritten))
        self.altered.extend(_altered(module, codes))

    def _rewrite(self, source: Path) -> CodeType:
        from _pytest.assertion.rewrite import _rewrite_test

        return _rewrite_test(source, self._config)[1]


def _compile(source: Path) -> CodeType:
    code: CodeType = compile(source.read_bytes(), str(source), "exec", dont_inherit=True)
    return code


def _cached(source: Path, status: os.stat_result, rewritten: bool) -> CodeType:
    """The bytecode in the cache, which Python itself would load."""
    cache = Path(cache_from_source(str(source)))
    if rewritten:
        from _pytest.assertion.rewrite import PYC_TAIL, get_cache_dir

        cache = get_cache_dir(source) / f"{source.stem}{PYC_TAIL}"
    data = cache.read_bytes()
    if data[4] & _BY_HASH:
        stamp = source_hash(source.read_bytes())
    else:
        stamp = struct.pack("<LL", int(status.st_mtime) & _WORD, status.st_size & _WORD)
    if data[:4] != MAGIC_NUMBER or data[8:_HEADER_BYTES] != stamp:
        raise LookupError("bytecode of another source")
    code: CodeType = marshal.loads(data[_HEADER_BYTES:])  # noqa: S302  what Python would load as well
    return code


def _by_line(code: CodeType) -> Codes:
    found: Codes = defaultdict(list)
    queue = [code]
    while queue:
        each = queue.pop()
        found[each.co_firstlineno].append(each)
        queue += [constant for constant in each.co_consts if isinstance(constant, CodeType)]
    return found


def _altered(module: ModuleType, codes: Codes) -> Iterator[tuple[str, str, int]]:
    """Functions that say they are from the module's file, and are not what stands there."""
    file = str(module.__file__)
    instrumented = _is_instrumented(module)
    for name, function in functions(module):
        code = function.__code__
        if code.co_filename != file or _is_installed(function, module):
            continue
        written = codes.get(code.co_firstlineno, ())
        if code not in written and not (instrumented and any(_holds(code, each) for each in written)):
            yield f"{module.__name__}.{name}", file, code.co_firstlineno


def _weakened(module: ModuleType, written: Codes) -> Iterator[tuple[str, str, int]]:
    """Functions with fewer assertions than stand in the file, whatever was made of pytest's rewriter."""
    file = str(module.__file__)
    for name, function in functions(module):
        code = function.__code__
        if _is_installed(function, module):
            continue
        sources = written.get(code.co_firstlineno, ()) if code.co_filename == file else ()
        if sources and count_assertions(code) < min(map(count_assertions, sources)):
            yield f"{module.__name__}.{name}", file, code.co_firstlineno


def _is_instrumented(module: ModuleType) -> bool:
    """Whether a distribution loaded the module, rather than Python or pytest itself."""
    kind = type(getattr(module.__spec__, "loader", None))
    file = getattr(sys.modules.get(kind.__module__), "__file__", "")
    return kind.__module__.partition(".")[0] not in _LOADERS and not is_foreign(str(file))


def _is_installed(function: FunctionType, module: ModuleType) -> bool:
    """Whether a distribution made it, and only gave it the place of what it stands for, as Hypothesis does."""
    made_in = function.__globals__
    return made_in is not vars(module) and not is_foreign(str(made_in.get("__file__", "")))


def _holds(code: CodeType, written: CodeType) -> bool:
    """Whether code that is not what was written still has all of it, as what an instrument adds to does."""
    return (
        len(code.co_code) > len(written.co_code)
        and set(written.co_names) <= set(code.co_names)
        and set(written.co_varnames) <= set(code.co_varnames)
        and _constants(written) <= _constants(code)
        and count_assertions(written) <= count_assertions(code)
    )


def _constants(code: CodeType) -> set[str]:
    return {repr(each) for each in code.co_consts if not isinstance(each, CodeType)}

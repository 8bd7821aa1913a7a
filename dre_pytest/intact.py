"""Whether pytest, the recorder, ``builtins`` and the code under test are what their own files say.

Not a snapshot taken at the start, for a conftest runs before it: a function is out of place where its code lies
in a file of the project and the module that holds it does not. Code from installed distributions is let be,
because plugins patch pytest honestly.
"""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path
from types import (
    BuiltinFunctionType,
    ClassMethodDescriptorType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodDescriptorType,
    MethodType,
    MethodWrapperType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import Any
from weakref import WeakKeyDictionary

_open = open  # tests patch it
_GUARDED = ("_pytest", "pytest", "pluggy", "dre_core", "dre_pytest", "dre_ci")
_SINGLE = ("builtins", "operator", "unittest.case", "contextlib")
_READERS = (
    ("ast", "parse"),
    ("importlib._bootstrap_external", "SourceLoader.get_code"),
    ("importlib._bootstrap_external", "SourceLoader.source_to_code"),
    ("importlib._bootstrap_external", "FileLoader.get_data"),
    ("marshal", "loads"),
    ("pathlib", "Path.open"),
    ("pathlib", "Path.read_bytes"),
    ("tokenize", "open"),
)
"""What sources and bytecode are read by; other attributes of these modules are projects' own to patch."""
_CLOCKS = tuple(("time", name) for name in ("monotonic", "perf_counter", "process_time", "time"))
_FIXTURES = ("setUp", "tearDown", "setUpClass", "tearDownClass", "id", "shortDescription")
_STDLIB = os.path.dirname(os.path.realpath(os.__file__)) + os.sep
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")

_NO_FUNCTIONS = frozenset(
    {
        *(str, bytes, int, float, bool, type(None), tuple, list, dict, set, frozenset),
        *(BuiltinFunctionType, ClassMethodDescriptorType, GetSetDescriptorType, MemberDescriptorType),
        *(MethodDescriptorType, MethodWrapperType, WrapperDescriptorType),
    }
)
"""Types of values that no code in Python stands behind; a subclass of one may have some."""

_AROUND = (classmethod, staticmethod, MethodType, partial, property)
"""Types of values that stand around a function."""

_UNKNOWN = (0, "")

Place = tuple[str, int]


@lru_cache(maxsize=4096)
def is_foreign(file: str) -> bool:
    """Whether a file belongs neither to the standard library nor to an installed distribution."""
    if not file or file.startswith("<"):
        return False
    return not (any(part in file for part in _INSTALLED) or file.startswith(_STDLIB))


def misplaced() -> Iterator[tuple[str, Place]]:
    """Attributes of guarded modules and their classes whose code lies in a file of the project.

    Yields:
        Dotted name, and the file and line of the code.
    """
    homes = tuple(filter(None, map(_home, _GUARDED)))
    for name, module in sys.modules.copy().items():
        top = name.partition(".")[0]
        if (top in _GUARDED or name in _SINGLE) and isinstance(module, ModuleType):
            for attribute, place in _attributes(module, homes):
                yield f"{name}.{attribute}", place


def readers() -> Iterator[tuple[str, Place]]:
    """Functions that read sources or bytecode, replaced by code of the project, and clocks, by a conftest's.

    A test that leaves a clock broken behind it is careless; a conftest breaks it for all tests.
    """
    for name, qualified in (*_READERS, *_CLOCKS):
        value: object = sys.modules.get(name)
        for part in qualified.split("."):
            value = getattr(value, part, None)
        place = code_place(value)
        if not place or not is_foreign(place[0]):
            continue
        if (name, qualified) in _READERS or os.path.basename(place[0]) == "conftest.py":
            yield f"{name}.{qualified}", place


def finders() -> Iterator[tuple[str, Place]]:
    """Import hooks whose code lies in a conftest."""
    for finder in list(sys.meta_path):
        kind = finder if isinstance(finder, type) else type(finder)
        for name in ("find_spec", "find_module"):
            place = code_place(vars(kind).get(name))
            if place and os.path.basename(place[0]) == "conftest.py":
                yield "sys.meta_path", place


def tracer() -> Iterator[tuple[str, Place]]:
    """A trace function of the project, for one may jump over lines of a test."""
    place = code_place(sys.gettrace())
    if place and is_foreign(place[0]):
        yield "sys.settrace", place


class Subjects:
    """The modules of the project, each looked at again only when something in it was bound anew.

    Args:
        rootdir: The project's folder.
    """

    def __init__(self, rootdir: Path) -> None:
        self._prefix = str(rootdir) + os.sep
        self._files: dict[str, tuple[int, str]] = {}
        self._loaded: list[int] = []
        self._own: list[tuple[str, str]] = []
        self._known: dict[str, list[list[int]]] = {}
        self._codes: WeakKeyDictionary[FunctionType, CodeType] = WeakKeyDictionary()

    def patched(self) -> Iterator[tuple[str, Place]]:
        """Functions that were replaced by code of a conftest, in modules that changed since the last call.

        Test modules are looked at once: there are many, and what a fixture puts into one is its own business.

        Yields:
            Dotted name, and the file and line of the code.
        """
        for name, module, file in self._modules():
            is_test = _is_test(file)
            if (name in self._known and is_test) or os.path.basename(file).startswith("conftest."):
                continue
            bindings = [] if is_test else _bindings(module)
            if self._known.get(name) == bindings:
                continue
            self._known[name] = bindings
            for attribute, place in _attributes(module, (), same=file):
                if os.path.basename(place[0]) == "conftest.py" and not _asked_for(module, attribute):
                    yield f"{name}.{attribute}", place

    def exchanged(self) -> Iterator[tuple[str, Place]]:
        """Functions of the code under test that stayed, but got other code since the last call.

        Yields:
            Dotted name, and the file and line of the code.
        """
        for name, module, file in self._modules():
            for key, function in () if _is_test(file) else functions(module):
                code = function.__code__
                if self._codes.setdefault(function, code) is not code:
                    self._codes[function] = code
                    yield f"{name}.{key}", (file, code.co_firstlineno)

    def _modules(self) -> Iterator[tuple[str, ModuleType, str]]:
        """As :func:`modules_below`, but each module is asked for its file only once."""
        modules = sys.modules.copy()
        loaded = list(map(id, modules.values()))
        if loaded != self._loaded:
            self._loaded = loaded
            self._own = [
                (name, file) for name, module in modules.items() if (file := self._file(name, module))
            ]
        return ((name, modules[name], file) for name, file in self._own)

    def _file(self, name: str, module: ModuleType) -> str:
        known, file = self._files.get(name, _UNKNOWN)
        if known != id(module):
            file = _file_below(self._prefix, module)
            self._files[name] = id(module), file
        return file


def modules_below(prefix: str) -> Iterator[tuple[str, ModuleType, str]]:
    """The loaded modules of a project that no distribution brought.

    Args:
        prefix: The project's folder, with a separator at the end.

    Yields:
        Name, module and file.
    """
    for name, module in sys.modules.copy().items():
        if file := _file_below(prefix, module):
            yield name, module, file


def _file_below(prefix: str, module: object) -> str:
    """The module's file, empty where it is none of the project's."""
    # A lazy module imports itself when it is asked for an attribute, so only its own dictionary is read.
    file = vars(module).get("__file__") if isinstance(module, ModuleType) else None
    return file if isinstance(file, str) and file.startswith(prefix) and is_foreign(file) else ""


@lru_cache(maxsize=4096)
def _is_test(file: str) -> bool:
    return os.path.basename(file).startswith("test_")


def _asked_for(module: ModuleType, attribute: str) -> bool:
    """Whether a module has a conftest's function because it imports it; a test module may also be given a new name."""
    file = str(vars(module)["__file__"])
    is_test = _is_test(file)
    if "." in attribute:
        return is_test and not _runs_tests(attribute.rpartition(".")[2])
    try:
        with _open(file, "rb") as stream:
            tree = ast.parse(stream.read())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return is_test
    sources = {
        (str(each.module).rpartition(".")[2], name.name)
        for each in tree.body
        if isinstance(each, ast.ImportFrom)
        for name in each.names
        if (name.asname or name.name) == attribute
    }
    value = vars(module).get(attribute)
    return (is_test and not sources) or any(
        source == "conftest" or _gives(source, name, value) for source, name in sources
    )


def _runs_tests(member: str) -> bool:
    """Whether a method of a test's class is one that unittest runs tests or compares by, and no fixture of its own."""
    unittest = sys.modules.get("unittest")
    return unittest is not None and hasattr(unittest.TestCase, member) and member not in _FIXTURES


def _gives(source: str, name: str, value: object) -> bool:
    """Whether a loaded module, known by the last part of its name, has the value under that name."""
    return any(
        isinstance(module, ModuleType) and vars(module).get(name) is value
        for key, module in sys.modules.copy().items()
        if key.rpartition(".")[2] == source
    )


def functions(module: ModuleType) -> Iterator[tuple[str, FunctionType]]:
    """The functions of a module and of its classes, and what they wrap, with their names in it."""
    for name, value in vars(module).copy().items():
        if not isinstance(value, type):
            yield from _unwrapped(name, value)
        elif value.__module__ == module.__name__:
            for member, inner in dict(vars(value)).items():
                yield from _unwrapped(f"{name}.{member}", inner)


def _unwrapped(name: str, value: object) -> Iterator[tuple[str, FunctionType]]:
    function = plain(value)
    for _ in range(4):
        if not isinstance(function, FunctionType):
            return
        yield name, function
        function = plain(getattr(function, "__wrapped__", None))


def _bindings(module: ModuleType) -> list[list[int]]:
    """What the names of a module and of its classes stand for, as addresses: a test may want the objects freed."""
    values = list(vars(module).values())
    name = vars(module).get("__name__")
    kinds = [each for each in values if isinstance(each, type) and each.__module__ == name]
    return [list(map(id, values)), *(list(map(id, vars(kind).values())) for kind in kinds)]


def shadowed(*objects: object) -> Iterator[tuple[str, Place]]:
    """The recorder's own objects of another class, and methods that were replaced on the object itself."""
    for each in objects:
        file = _class_file(type(each))
        if is_foreign(file) and not _below(file, tuple(filter(None, map(_home, _GUARDED)))):
            yield f"{type(each).__name__}.__class__", (file, _class_line(type(each), file))
        for name, value in vars(each).copy().items():
            if callable(value) and callable(getattr(type(each), name, None)):
                yield f"{type(each).__name__}.{name}", code_place(value) or ("", 0)


def code_place(value: object) -> Place | None:
    """File and line of a function's code, or of a class's first method; None where there is no code."""
    value = plain(value)
    if isinstance(value, FunctionType):
        return code_file(value), value.__code__.co_firstlineno
    return None


def code_file(function: FunctionType) -> str:
    """The file of a function's code; of code made from a text, that of the module that made it, if it says so."""
    file = function.__code__.co_filename
    return str(function.__globals__.get("__file__", file)) if _is_no_file(file) else file


def _is_no_file(name: str) -> bool:
    return name.startswith("<") and not name.startswith("<frozen")


def plain(value: Any) -> object:
    """What a method, a partial or a property is made of; anything else is given back."""
    for _ in range(4):
        if not isinstance(value, _AROUND):
            break
        if isinstance(value, partial):
            value = value.func
        elif isinstance(value, property):
            value = value.fget
        else:
            value = value.__func__
    return value


def _attributes(module: ModuleType, homes: tuple[str, ...], same: str = "") -> Iterator[tuple[str, Place]]:
    for name, value in vars(module).copy().items():
        if isinstance(value, type):
            yield from _of_class(module, name, value, homes, same)
        elif (place := _out_of_place(name, value, homes, same)) is not None:
            yield name, place


def _of_class(
    module: ModuleType, name: str, kind: type, homes: tuple[str, ...], same: str
) -> Iterator[tuple[str, Place]]:
    if kind.__module__ != module.__name__:
        file = "" if same else _class_file(kind)
        if file and is_foreign(file) and not _below(file, homes):
            yield name, (file, _class_line(kind, file))
        return
    for member, value in dict(vars(kind)).items():
        if (place := _out_of_place(member, value, homes, same)) is not None:
            yield f"{name}.{member}", place


def _out_of_place(name: str, value: object, homes: tuple[str, ...], same: str) -> Place | None:
    """The place of a function, or of what it wraps, that is neither installed nor at home."""
    # Thousands are looked at, so that each is asked no more than it has to be.
    kind = type(value)
    function: Any = value
    if kind is not FunctionType:
        if kind in _NO_FUNCTIONS or not isinstance(value, _AROUND):
            return None
        function = plain(value)
    for _ in range(4):
        if not isinstance(function, FunctionType):
            return None
        file = function.__code__.co_filename
        if file[:1] == "<":
            file = code_file(function)
            if homes and _is_no_file(file) and not _is_special(name):
                return file, function.__code__.co_firstlineno
        if file != same and is_foreign(file) and not _below(file, homes):
            return file, function.__code__.co_firstlineno
        function = getattr(function, "__wrapped__", None)
    return None


def _is_special(name: str) -> bool:
    """Whether it is a method such as the standard library makes from a text itself, for records and named tuples."""
    return name.startswith("__") and name.endswith("__")


def _class_file(kind: type) -> str:
    """The file of the module that a class says it is from, empty if there is none."""
    module = sys.modules.get(kind.__module__)
    file = vars(module).get("__file__") if isinstance(module, ModuleType) else None
    return file if isinstance(file, str) else ""


def _class_line(kind: type, file: str) -> int:
    lines = [place[1] for value in vars(kind).values() if (place := code_place(value)) and place[0] == file]
    return min(lines) if lines else _definition(file, kind.__name__)


def _definition(file: str, name: str) -> int:
    try:
        with _open(file, encoding="utf-8", errors="replace") as stream:
            return next((n for n, line in enumerate(stream, 1) if line.startswith(f"class {name}")), 0)
    except OSError:
        return 0


def _home(name: str) -> str:
    file = getattr(sys.modules.get(name), "__file__", None)
    return os.path.dirname(os.path.realpath(file)) + os.sep if isinstance(file, str) else ""


@lru_cache(maxsize=4096)
def _below(file: str, homes: tuple[str, ...]) -> bool:
    return bool(homes) and (file.startswith(homes) or os.path.realpath(file).startswith(homes))

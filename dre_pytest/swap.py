"""Whether the function that pytest is about to call is the one that stands in the test's file.

Only asked where the code of that function lies in another file than the test, which is rare: inherited tests
and generated ones have no definition of their own there, decorated ones lead back to it. What is left was put
there at run time.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from types import CodeType, FrameType, FunctionType, MethodType
from typing import Any

import pytest

from dre_pytest.intact import is_foreign

_open = open  # tests patch it
_DEPTH = 6
_MAX_SOURCE_BYTES = 4 * 2**20

BARE, DECORATED, ABSENT = "bare", "decorated", "absent"


def judge(item: pytest.Function) -> tuple[str, CodeType | None]:
    """How the item's function stands to the definition in the item's file.

    Returns:
        ``own`` and None; or ``swapped`` and None, where the definition is there but can't be reached; or
        ``wrapped`` and the code of the definition, where a file of the project wraps it without a decorator.
    """
    file, name = str(item.path), item.originalname
    owner = _owner(item, name)
    if owner is None:
        return "own", None
    shape = _shape(file, owner, name)
    if shape == ABSENT:
        return "own", None
    inner = next(
        (code for code in _reachable(item.obj) if code.co_filename == file and code.co_name == name), None
    )
    if inner is None:
        return ("own" if shape == DECORATED else "swapped"), None
    outer = getattr(item.obj, "__code__", None)
    if shape == BARE and outer is not None and outer is not inner and is_foreign(outer.co_filename):
        return "wrapped", inner
    return "own", None


def own_code(item: pytest.Item) -> CodeType | None:
    """The code that stands in the item's file; None for doctests and others that have no function of their own."""
    function = getattr(item, "obj", None) if isinstance(item, pytest.Function) else None
    file = str(item.path)
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    if isinstance(code, CodeType) and code.co_filename == file:
        return code
    try:
        return next((code for code in _reachable(function) if code.co_filename == file), None)
    except Exception:  # an object that raises when it is looked at has no code to show
        return None


def _owner(item: pytest.Function, name: str) -> str | None:
    """Qualified name of the class that defines the method, empty for a function; None if inherited."""
    cls = item.cls
    if cls is None:
        return ""
    owner = next((each for each in cls.__mro__ if name in vars(each)), None)
    if owner is None or owner.__module__ != getattr(item.module, "__name__", ""):
        return None
    return str(owner.__qualname__)


def _shape(file: str, owner: str, name: str) -> str:
    return _definitions(file).get(f"{owner}.{name}".lstrip("."), ABSENT)


@lru_cache(maxsize=64)
def _definitions(file: str) -> dict[str, str]:
    try:
        with _open(file, "rb") as stream:
            tree = ast.parse(stream.read(_MAX_SOURCE_BYTES))
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    return dict(_walk(tree.body, ""))


def _walk(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, str]]:
    """Definitions that nothing but a class encloses; one in a condition or twice defined is not counted on."""
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield f"{prefix}{node.name}", DECORATED if node.decorator_list else BARE
        elif isinstance(node, ast.ClassDef):
            for name, shape in _walk(node.body, f"{prefix}{node.name}."):
                yield name, DECORATED if node.decorator_list else shape
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    yield f"{prefix}{target.id}", DECORATED


def _reachable(value: object) -> Iterator[CodeType]:
    """Codes of the function and of all that it wraps or closes over, a few levels deep."""
    queue: list[tuple[object, int]] = [(value, 0)]
    seen: set[int] = set()
    while queue:
        each, depth = queue.pop()
        if id(each) in seen or depth > _DEPTH:
            continue
        seen.add(id(each))
        if isinstance(each, MethodType):
            queue.append((each.__func__, depth))
        elif isinstance(each, partial):
            queue.append((each.func, depth + 1))
        elif isinstance(each, FunctionType):
            yield each.__code__
            queue.extend((inner, depth + 1) for inner in _inside(each))


def _inside(function: FunctionType) -> Iterator[object]:
    if (wrapped := vars(function).get("__wrapped__")) is not None:
        yield wrapped
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # an empty cell
            continue


class Watch:
    """Traces the calls of one code object.

    Attributes:
        possible: Nobody else is tracing.
        called: It was entered.
        raised: The exception that its last call ended with; None if it returned.
    """

    def __init__(self, code: CodeType) -> None:
        self._code = code
        self.possible = sys.gettrace() is None
        self.called = False
        self.raised: BaseException | None = None
        self._pending: BaseException | None = None

    def __enter__(self) -> Watch:
        if self.possible:
            sys.settrace(self._enter)
        return self

    def __exit__(self, *_: object) -> None:
        if self.possible:
            sys.settrace(None)

    def _enter(self, frame: FrameType, event: str, _: object) -> Callable[..., Any] | None:
        if frame.f_code is not self._code:
            return None
        self.called, self._pending = True, None
        return self._step

    def _step(self, frame: FrameType, event: str, argument: Any) -> Callable[..., Any]:
        if event == "exception":
            self._pending = argument[1] if isinstance(argument[1], BaseException) else argument[0]()
        elif event == "line":
            self._pending = None
        elif event == "return":
            self.raised = self._pending
        return self._step

"""Added product code that asks whether a test is running, by syntax tree.

It asks where it looks for a test runner or a test in how the process was started, what is loaded, what the environment
says or who calls, or for what only the recorder of a run, or a re-execution, puts in place. The answer is followed
through names of the same file: a flag, a function that gives it, a frame that is walked. What matters is what hangs
on it: nothing but a message, something that is stored or a yes or no, or the value that the product gives.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping

from dre_core.capture.testfacts import Function, Module
from dre_core.model.changes import Change, ChangeKind
from dre_core.model.record import dataclass

_VARIABLES = ("PYTEST_CURRENT_TEST", "PYTEST_VERSION", "PYTEST_XDIST_WORKER")
_RUNNERS = ("pytest", "_pytest", "unittest", "py.test", "conftest", "nose")
_ONLY_TESTS = ("pytest", "_pytest")
_STARTED = ("sys.argv", "sys.orig_argv", "sys.modules", "cmdline", "__main__", "find_spec")
_CALLERS = ("inspect.stack", "inspect.currentframe", "sys._getframe", "traceback.extract_stack",
            "traceback.format_stack", "traceback.walk_stack", "sys.modules.items", "sys.modules.values",
            "sys.modules.keys", "sys.modules.copy")  # fmt: skip
_WHOLE = ("sys.argv", "sys.argv[0]", "sys.orig_argv", "sys.modules", "__main__.__file__")
_WRAPPING = ("list", "tuple", "set", "sorted", "str", "join", "basename", "Path")
_PROGRAM = re.compile(r"sys\.(?:orig_)?argv\[0\]|__main__\.__file__")
_WORDS = re.compile(r"[A-Za-z]+")
_PUT_IN_PLACE = frozenset({"EncodedFile", "CaptureIO", "LogCaptureHandler", "DontReadFromInput"})
_TEST_WORDS = frozenset({"test", "tests", "testing", "pytest", "unittest", "conftest"})
# What only whoever records or runs again has put there.
_RECORDER = re.compile(r"\bDRE_[A-Z]|dre[-_](?:replay|cell)|(?:^|/)\.dre(?:/|$)")
_ROUNDS = 3
_DECIDING = ast.If | ast.While | ast.Match
_STORING = (
    ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Delete, ast.Raise, ast.FunctionDef, ast.AsyncFunctionDef,
    ast.ClassDef,
)  # fmt: skip

Scoped = tuple[str, str]
"""A function's name, empty for the module, and a name in it."""


@dataclass(slots=True, kw_only=True)
class _Names:
    """Names of a file that hold callers, the way the process was started, the answer, or a text."""

    callers: set[Scoped]
    started: set[Scoped]
    answers: set[Scoped]
    texts: dict[str, str]


def added_test_detection(before: Module, after: Module) -> Iterator[Change]:
    """Added product code that asks whether a test is running.

    Args:
        before: The file at the base.
        after: The file now.

    Yields:
        One change for each statement. ``alters`` where something hangs on the answer, and ``excused`` then where that
        is only a yes or no, or something that is stored.
    """
    yield from _added_imports(before, after)
    found = [each for each in _probes(after.tree) if not before.holds(each[1])]
    asked = {(function, ast.dump(probe)) for function, _, probe in _probes(before.tree)} if found else set()
    for function, statement, probe in found:
        if (function, ast.dump(probe)) in asked:
            continue
        hangs, stored = _hangs_on(statement, probe, function)
        yield Change(
            kind=ChangeKind.TEST_ENVIRONMENT,
            path=after.path,
            name=function or "the module",
            line=statement.lineno,
            detail=ast.unparse(probe)[:100],
            alters=hangs,
            # That a runner is installed does not yet say that it runs.
            excused=stored or "find_spec" in ast.unparse(probe),
        )


def _added_imports(before: Module, after: Module) -> Iterator[Change]:
    """Functions that import a runner to see whether it is there, and give something else where it is not."""
    for function in ast.walk(after.tree):
        if not isinstance(function, Function):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Try) and (name := _imported_to_ask(node)) and not before.holds(node):
                yield Change(
                    kind=ChangeKind.TEST_ENVIRONMENT,
                    path=after.path,
                    name=function.name,
                    line=node.lineno,
                    detail=f"import {name}, and what is done where that fails",
                    alters=True,
                    excused=True,
                )


def _imported_to_ask(node: ast.Try) -> str:
    """The runner that is imported there and not used, where what the function gives hangs on that; else empty."""
    errors = {ast.unparse(handler.type) for handler in node.handlers if handler.type is not None}
    if not any("ImportError" in error or "ModuleNotFoundError" in error for error in errors):
        return ""
    inside = [*node.body, *node.orelse]
    names = [
        a.asname or a.name
        for n in inside
        if isinstance(n, ast.Import)
        for a in n.names
        if a.name in _ONLY_TESTS
    ]
    used = {each.id for part in inside for each in ast.walk(part) if isinstance(each, ast.Name)}
    gives = [
        part for part in inside for each in ast.walk(part) if isinstance(each, ast.Return) and each.value
    ]
    return names[0] if names and names[0] not in used and gives else ""


def _probes(tree: ast.Module) -> Iterator[tuple[str, ast.stmt, ast.AST]]:
    """Function, statement and question, for each statement that asks."""
    names = _follow(tree)
    for function, statement in _statements(tree, ""):
        if names is None:
            break
        for node in _own_expressions(statement):
            if _asks(node, function, names):
                yield function, statement, node
                break


def _follow(tree: ast.Module) -> _Names | None:
    """The names that matter; None where nothing in the file could be a question."""
    text = {each.attr for each in ast.walk(tree) if isinstance(each, ast.Attribute)}
    text |= {each.id for each in ast.walk(tree) if isinstance(each, ast.Name)}
    if not text & _HINTS and not any(map(_names_recorder, ast.walk(tree))):
        return None
    names = _Names(callers=set(), started=set(), answers=set(), texts={})
    for statement in tree.body:
        for target, value in _bound(statement):
            if isinstance(target, ast.Name) and (folded := _folded(value, names.texts)) is not None:
                names.texts[target.id] = folded
    for _ in range(_ROUNDS):
        for function, statement in _statements(tree, ""):
            for target, value in _bound(statement):
                _note(names, function, target, value)
            if isinstance(statement, ast.Return) and function and _answers(statement.value, function, names):
                names.answers |= {("", function), ("", f".{function}")}
    return names


def _names_recorder(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and _RECORDER.search(node.value) is not None
    )


def _answers(value: ast.expr | None, function: str, names: _Names) -> bool:
    """Whether a value is the answer, or chosen by it, and not merely made from it among other things."""
    if value is None or not (_is_yes_or_no(value) or isinstance(value, ast.IfExp)):
        return False
    return any(_asks(node, function, names) for node in ast.walk(value))


_HINTS = {"argv", "orig_argv", "modules", "cmdline", "stack", "currentframe", "_getframe", "extract_stack",
          "format_stack", "walk_stack", "find_spec", "environ", "getenv", "__main__", "__name__",
          "__class__"}  # fmt: skip


def _bound(statement: ast.stmt) -> Iterator[tuple[ast.expr, ast.expr]]:
    """What a statement binds, and to what."""
    if isinstance(statement, ast.Assign):
        yield from ((target, statement.value) for target in statement.targets)
    elif isinstance(statement, ast.AnnAssign | ast.AugAssign) and statement.value is not None:
        yield statement.target, statement.value
    elif isinstance(statement, ast.For | ast.AsyncFor):
        yield statement.target, statement.iter
    for node in _own_expressions(statement):
        if isinstance(node, ast.NamedExpr):
            yield node.target, node.value


def _note(names: _Names, function: str, target: ast.expr, value: ast.expr) -> None:
    bound = [(function, each.id) for each in ast.walk(target) if isinstance(each, ast.Name)]
    bound += [("", f".{each.attr}") for each in ast.walk(target) if isinstance(each, ast.Attribute)]
    if _answers(value, function, names):
        names.answers.update(bound)
    elif _speaks_of(value, _CALLERS, names.callers, function):
        names.callers.update(bound)
    elif _is_start(value) or _is_one(value, names.started, function):
        names.started.update(bound)


def _is_start(value: ast.expr) -> bool:
    """Whether a value is how the process was started: all of it or the program, not a command line's arguments."""
    if (
        isinstance(value, ast.Call)
        and len(value.args) == 1
        and isinstance(value.func, ast.Name | ast.Attribute)
    ):
        name = value.func.id if isinstance(value.func, ast.Name) else value.func.attr
        return name in _WRAPPING and _is_start(value.args[0])
    return ast.unparse(value) in _WHOLE


def _speaks_of(node: ast.AST, things: tuple[str, ...], names: set[Scoped], function: str) -> bool:
    text = ast.unparse(node)
    return any(thing in text for thing in things) or any(_is_one(n, names, function) for n in ast.walk(node))


def _is_one(node: ast.AST, names: set[Scoped], function: str) -> bool:
    if isinstance(node, ast.Name):
        return (function, node.id) in names or ("", node.id) in names
    return isinstance(node, ast.Attribute) and ("", f".{node.attr}") in names


def _asks(node: ast.AST, function: str, names: _Names) -> bool:
    """Whether an expression is a question, or a name that holds the answer to one."""
    if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
        return _is_one(node, names.answers, function)
    if isinstance(node, ast.Compare):
        return _asks_the_environment(node, names) or _asks_how_it_runs(node, function, names)
    if isinstance(node, ast.Subscript):
        return isinstance(node.ctx, ast.Load) and _asks_the_environment(node, names)
    if isinstance(node, ast.Call):
        return _asks_the_environment(node, names) or _asks_how_it_runs(node, function, names)
    return False


def _folded(node: ast.AST, texts: Mapping[str, str]) -> str | None:
    """The text that an expression of constants gives; None where it gives something else."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.Name):
        return texts.get(node.id)
    parts: list[ast.expr] = []
    between: str | None = ""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        parts = [node.left, node.right]
    elif isinstance(node, ast.JoinedStr):
        parts = [each.value if isinstance(each, ast.FormattedValue) else each for each in node.values]
    elif _is_joining(node) and isinstance(node.args[0], ast.List | ast.Tuple):  # type: ignore[attr-defined]
        parts = node.args[0].elts  # type: ignore[attr-defined]
        between = _folded(node.func.value, texts)  # type: ignore[attr-defined]
    found = [_folded(part, texts) for part in parts]
    if not found or between is None or any(each is None for each in found):
        return None
    return between.join(each for each in found if each is not None)


def _is_joining(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "join"
        and len(node.args) == 1
    )


def _texts(node: ast.AST, names: _Names) -> list[str]:
    """Every text in an expression, those that are put together or have a name included."""
    return [text for each in ast.walk(node) if (text := _folded(each, names.texts)) is not None]


def _asks_the_environment(node: ast.Compare | ast.Subscript | ast.Call, names: _Names) -> bool:
    words = _texts(node, names)
    if any(map(_RECORDER.search, words)):
        return True
    if not any(word.startswith("PYTEST") for word in words):
        return False
    text = ast.unparse(node)
    named = any(word in _VARIABLES for word in words) or ".startswith('PYTEST" in text
    inside = isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In | ast.NotIn)
    of_environment = "environ" in text or "getenv" in text
    return named and (of_environment or (inside and _is_variable(node, names)))


def _is_variable(node: ast.expr, names: _Names) -> bool:
    return isinstance(node, ast.Compare) and _folded(node.left, names.texts) in _VARIABLES


def _asks_how_it_runs(node: ast.Compare | ast.Call, function: str, names: _Names) -> bool:
    """A comparison, or a call, that holds a runner's name and how the process was started, or a test's and a caller."""
    words = _texts(node, names)
    if not words:
        return False
    # What pytest puts in place of the process's own streams and log handlers has a name that nothing else has.
    if any(word in _PUT_IN_PLACE for word in words):
        return True
    runner = any(word in _RUNNERS for word in words)
    # The program's own name, unlike its arguments, is nobody's to choose.
    if _PROGRAM.search(ast.unparse(node)) and any(word in _TEST_WORDS for word in words):
        return True
    test = runner or any(_TEST_WORDS & set(_WORDS.findall(word.lower())) for word in words)
    return (runner and _speaks_of(node, _STARTED, names.started, function)) or (
        test and _speaks_of(node, _CALLERS, names.callers, function)
    )


def _statements(node: ast.AST, function: str) -> Iterator[tuple[str, ast.stmt]]:
    for child in ast.iter_child_nodes(node):
        inside = child.name if isinstance(child, Function) else function
        if isinstance(child, ast.stmt):
            yield function, child
        yield from _statements(child, inside)


def _own_expressions(statement: ast.stmt) -> Iterator[ast.AST]:
    """Expressions of a statement itself, not of the statements in it."""
    for child in ast.iter_child_nodes(statement):
        if isinstance(child, ast.expr):
            yield from ast.walk(child)
        elif isinstance(child, ast.arguments):
            yield from (node for each in ast.iter_child_nodes(child) for node in ast.walk(each))


def _hangs_on(statement: ast.stmt, probe: ast.AST, function: str) -> tuple[bool, bool]:
    """Whether anything hangs on the answer, and whether that is only a yes or no, or something stored."""
    if isinstance(statement, ast.Return):
        return True, statement.value is not None and _is_yes_or_no(statement.value)
    if isinstance(statement, _DECIDING):
        inner = [node for part in _parts(statement) for node in ast.walk(part)]
        given = [node.value for node in inner if isinstance(node, ast.Return | ast.Yield)]
        values = [value for value in given if value is not None and not _is_none(value)]
        if values and function:
            # A branch that works a yes or no out is the product's answer; one that only says it is a switch.
            return True, all(_is_boolean(value) for value in values) and not any(map(_is_work, inner))
        stores = any(isinstance(node, _STORING) for node in inner)
        return stores, stores
    chosen = any(
        isinstance(node, ast.IfExp) and any(each is probe for each in ast.walk(node.test))
        for node in _own_expressions(statement)
    )
    return chosen, chosen


def _is_work(node: ast.AST) -> bool:
    return isinstance(node, ast.If | ast.For | ast.While | ast.Try | ast.With | ast.Assign)


def _parts(statement: ast.stmt) -> list[ast.stmt]:
    if isinstance(statement, ast.If | ast.While):
        return [*statement.body, *statement.orelse]
    cases = statement.cases if isinstance(statement, ast.Match) else []
    return [each for case in cases for each in case.body]


def _is_yes_or_no(value: ast.expr) -> bool:
    """Whether an expression gives the answer itself, or another yes or no."""
    if isinstance(value, ast.IfExp):
        return _is_yes_or_no(value.body) and _is_yes_or_no(value.orelse)
    if isinstance(value, ast.BoolOp):
        return all(_is_yes_or_no(each) for each in value.values)
    if isinstance(value, ast.UnaryOp):
        return isinstance(value.op, ast.Not)
    if isinstance(value, ast.Call):
        return isinstance(value.func, ast.Name) and value.func.id in ("any", "all", "bool")
    return isinstance(value, ast.Compare | ast.Name | ast.Attribute) or _is_boolean(value)


def _is_boolean(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and isinstance(value.value, bool)


def _is_none(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is None

"""Added product code that asks whether a test is running, by syntax tree.

It asks where it looks for a test runner or a test in how the process was started, what is loaded, what the environment
says or who calls, or for what only the recorder of a run, or a re-execution, puts in place. The answer is followed
through names of the same file: a flag, a function that gives it, a frame that is walked. What matters is what hangs
on it: nothing but a message, something that is stored or a yes or no, or the value that the product gives.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from enum import IntEnum
from functools import partial

from dre_core.capture.asking import (
    LOOKS,
    OF_CODE,
    OF_PLACES,
    READS,
    asks_its_age,
    asks_the_callers_code,
    asks_the_callers_source,
    asks_the_day,
    asks_who_started_it,
    folded,
    is_a_day,
    lies_in_temporary,
    looks_for_tests,
    reads_tests,
    runs_what_is_hidden,
    says_the_time,
    speaks_of_own_file,
)
from dre_core.capture.testfacts import Function, Module
from dre_core.model.changes import Change, ChangeKind
from dre_core.model.record import dataclass

_VARIABLES = ("PYTEST_CURRENT_TEST", "PYTEST_VERSION", "PYTEST_XDIST_WORKER")
_RUNNERS = ("pytest", "_pytest", "unittest", "py.test", "conftest", "nose")
_ONLY_TESTS = ("pytest", "_pytest")
_INSIDE_RUNNERS = ("_pytest.", "pytest.")
_STARTED = ("sys.argv", "sys.orig_argv", "sys.modules", "cmdline", "__main__", "find_spec", "sys.meta_path")
_CALLERS = ("inspect.stack", "inspect.currentframe", "sys._getframe", "traceback.extract_stack",
            "traceback.format_stack", "traceback.walk_stack", "sys.modules.items", "sys.modules.values",
            "sys.modules.keys", "sys.modules.copy", "sys._current_frames", "gc.get_objects",
            "gc.get_referrers", "inspect.trace")  # fmt: skip
_WHOLE = ("sys.argv", "sys.argv[0]", "sys.orig_argv", "sys.modules", "__main__.__file__")
_WRAPPING = ("list", "tuple", "set", "sorted", "str", "join", "basename", "Path")
_PROGRAM = re.compile(r"sys\.(?:orig_)?argv\[0\]|__main__\.__file__")
_WORDS = re.compile(r"[A-Za-z]+")
_PUT_IN_PLACE = frozenset({"EncodedFile", "CaptureIO", "LogCaptureHandler", "DontReadFromInput"})
_IMPORT_HOOK = "AssertionRewritingHook"
_SHORT = 4
_TEST_WORDS = frozenset({"test", "tests", "testing", "pytest", "unittest", "conftest", "pluggy"})
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


class _Asked(IntEnum):
    """What an expression asks for."""

    NOTHING = 0
    CIRCUMSTANCE = 1
    TEST = 2


@dataclass(slots=True, kw_only=True)
class _Names:
    """Names of a file that hold callers, the way the process was started, the answer, or a text.

    ``hints`` hold the answer to what others than tests may be asked for, ``places`` where the file lies, ``tests`` what
    stands in the tests' files, ``clocks`` what the clock says and ``days`` a day.
    """

    callers: set[Scoped]
    started: set[Scoped]
    answers: set[Scoped]
    hints: set[Scoped]
    texts: dict[str, str]
    places: set[Scoped]
    tests: set[Scoped]
    clocks: set[Scoped]
    days: set[Scoped]

    def note_answer(self, asked: _Asked, bound: Iterable[Scoped]) -> None:
        """Notes that names hold the answer."""
        if asked:
            (self.answers if asked is _Asked.TEST else self.hints).update(bound)


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
    yield from _added_hidden_code(before, after)
    found = [each for each in _probes(after.tree) if not before.holds(each[1])]
    known = (
        {(function, ast.dump(probe)) for function, _, probe, _ in _probes(before.tree)} if found else set()
    )
    for function, statement, probe, asked in found:
        if (function, ast.dump(probe)) in known:
            continue
        hangs, stored = _hangs_on(statement, probe, function)
        if asked is _Asked.CIRCUMSTANCE and (not hangs or stored):
            continue
        yield Change(
            kind=ChangeKind.TEST_ENVIRONMENT if asked is _Asked.TEST else ChangeKind.CIRCUMSTANCE,
            path=after.path,
            name=function or "the module",
            line=statement.lineno,
            detail=ast.unparse(probe)[:100],
            alters=hangs,
            # That a runner is installed does not yet say that it runs.
            excused=stored or "find_spec" in ast.unparse(probe),
        )


def _added_hidden_code(before: Module, after: Module) -> Iterator[Change]:
    """Calls that run encoded code: what it gives, and what it asks, can't be seen."""
    for node in ast.walk(after.tree):
        if runs_what_is_hidden(node) and not before.holds(node):
            yield Change(
                kind=ChangeKind.CIRCUMSTANCE,
                path=after.path,
                name="the module",
                line=getattr(node, "lineno", 0),
                detail=f"encoded code that is run: {ast.unparse(node)[:60]}",
                alters=True,
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


def _probes(tree: ast.Module) -> Iterator[tuple[str, ast.stmt, ast.AST, _Asked]]:
    """Function, statement, question and what it is about, for each statement that asks."""
    names = _follow(tree)
    for function, statement in _statements(tree, ""):
        if names is None:
            break
        asked = [(_asks(node, function, names), node) for node in _own_expressions(statement)]
        what, question = max(asked, key=lambda each: each[0], default=(_Asked.NOTHING, statement))
        if what:
            yield function, statement, question, what


def _follow(tree: ast.Module) -> _Names | None:
    """The names that matter; None where nothing in the file could be a question."""
    text = {each.attr for each in ast.walk(tree) if isinstance(each, ast.Attribute)}
    text |= {each.id for each in ast.walk(tree) if isinstance(each, ast.Name)}
    if not text & _HINTS and not any(map(_names_recorder, ast.walk(tree))):
        return None
    names = _Names(
        callers=set(),
        started=set(),
        answers=set(),
        hints=set(),
        texts={},
        places=set(),
        tests=set(),
        clocks=set(),
        days=set(),
    )
    for statement in tree.body:
        for target, value in _bound(statement):
            if isinstance(target, ast.Name) and (text_of := folded(value, names.texts)) is not None:
                names.texts[target.id] = text_of
    for _ in range(_ROUNDS):
        for function, statement in _statements(tree, ""):
            for target, value in _bound(statement):
                _note(names, function, target, value)
            if isinstance(statement, ast.Return) and function:
                given: set[Scoped] = {("", function), ("", f".{function}")}
                names.note_answer(_answers(statement.value, function, names), given)
    return names


def _names_recorder(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and _RECORDER.search(node.value) is not None
    )


def _answers(value: ast.expr | None, function: str, names: _Names) -> _Asked:
    """What a value is the answer to, or chosen by, and not merely made from among other things."""
    if value is None or not (_is_yes_or_no(value) or isinstance(value, ast.IfExp)):
        return _Asked.NOTHING
    return max(_asks(node, function, names) for node in ast.walk(value))


_HINTS = {"argv", "orig_argv", "modules", "cmdline", "stack", "currentframe", "_getframe", "extract_stack",
          "format_stack", "walk_stack", "find_spec", "environ", "getenv", "__main__", "__name__",
          "__class__", "__file__", "getcwd", "cwd", "open", "exists", "isdir", "is_dir", "isfile", "is_file", "glob",
          "rglob", "iglob", "listdir", "read_text", "read_bytes", "today", "now", "utcnow", "time", "time_ns",
          "localtime", "gmtime", "_current_frames", "meta_path", "get_objects",
          "getppid", "parent", "readlink", "realpath"}  # fmt: skip


def _bound(statement: ast.stmt) -> Iterator[tuple[ast.expr, ast.expr]]:
    """What a statement binds, and to what."""
    if isinstance(statement, ast.Assign):
        yield from ((target, statement.value) for target in statement.targets)
    elif isinstance(statement, ast.AnnAssign | ast.AugAssign) and statement.value is not None:
        yield statement.target, statement.value
    elif isinstance(statement, ast.For | ast.AsyncFor):
        yield statement.target, statement.iter
    elif isinstance(statement, ast.With | ast.AsyncWith):
        yield from ((i.optional_vars, i.context_expr) for i in statement.items if i.optional_vars is not None)
    for node in _own_expressions(statement):
        if isinstance(node, ast.NamedExpr):
            yield node.target, node.value


def _note(names: _Names, function: str, target: ast.expr, value: ast.expr) -> None:
    bound = [(function, each.id) for each in ast.walk(target) if isinstance(each, ast.Name)]
    bound += [("", f".{each.attr}") for each in ast.walk(target) if isinstance(each, ast.Attribute)]
    if asked := _answers(value, function, names):
        names.note_answer(asked, bound)
    elif _speaks_of(value, _CALLERS, names.callers, function):
        names.callers.update(bound)
    elif _is_start(value) or _is_one(value, names.started, function):
        names.started.update(bound)
    elif is_a_day(value):
        names.days.update(bound)
    elif says_the_time(value):
        names.clocks.update(bound)
    elif _has_one(value, names.tests, function) or _reads_tests(value, names):
        names.tests.update(bound)
    elif speaks_of_own_file(value) or _has_one(value, names.places, function):
        names.places.update(bound)


def _reads_tests(value: ast.expr, names: _Names) -> bool:
    return bool(_calls_of(value) & READS) and reads_tests(value, lambda node: _texts(node, names), READS)


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


def _calls_of(node: ast.AST) -> set[str]:
    """Names of what an expression calls."""
    called = [each.func for each in ast.walk(node) if isinstance(each, ast.Call)]
    return {each.id if isinstance(each, ast.Name) else getattr(each, "attr", "") for each in called}


def _has_one(node: ast.AST, names: set[Scoped], function: str) -> bool:
    return bool(names) and any(_is_one(each, names, function) for each in ast.walk(node))


def _asks(node: ast.AST, function: str, names: _Names) -> _Asked:
    """What an expression asks for, or what a name holds the answer to."""
    if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
        if _is_one(node, names.answers, function):
            return _Asked.TEST
        return _Asked.CIRCUMSTANCE if _is_one(node, names.hints, function) else _Asked.NOTHING
    if isinstance(node, ast.Compare | ast.Call):
        if _asks_the_environment(node, names) or _asks_how_it_runs(node, function, names):
            return _Asked.TEST
        return _asks_otherwise(node, function, names)
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
        return _Asked.TEST if _asks_the_environment(node, names) else _Asked.NOTHING
    return _Asked.NOTHING


def _asks_otherwise(node: ast.Compare | ast.Call, function: str, names: _Names) -> _Asked:
    """What it asks for where no runner's name stands in it."""
    words = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
    words |= {each.attr for each in ast.walk(node) if isinstance(each, ast.Attribute)}
    places = partial(_has_one, names=names.places, function=function)
    owned = bool(words & OF_PLACES) or places(node)
    if owned and lies_in_temporary(
        node, lambda each: speaks_of_own_file(each) or places(each), _texts(node, names)
    ):
        return _Asked.TEST
    if isinstance(node, ast.Compare):
        if names.tests and _has_one(node, names.tests, function):
            return _Asked.TEST
        if words & LOOKS and reads_tests(node, lambda each: _texts(each, names), READS):
            return _Asked.TEST
        if words & OF_CODE or names.callers:
            called = partial(_speaks_of, things=_CALLERS, names=names.callers, function=function)
            if asks_the_callers_code(node) and called(node):
                return _Asked.TEST
            if asks_the_callers_source(node) and called(node):
                return _Asked.CIRCUMSTANCE
        if asks_who_started_it(node):
            return _Asked.CIRCUMSTANCE
        if owned and asks_its_age(node, lambda each: speaks_of_own_file(each) or places(each)):
            return _Asked.CIRCUMSTANCE
        clocked = partial(_has_one, names=names.clocks, function=function)
        if asks_the_day(node, clocked, partial(_has_one, names=names.days, function=function)):
            return _Asked.CIRCUMSTANCE
    elif words & LOOKS and looks_for_tests(node, lambda each: _texts(each, names), owned=owned):
        return _Asked.CIRCUMSTANCE
    return _Asked.NOTHING


def _texts(node: ast.AST, names: _Names) -> list[str]:
    """Every text in an expression, those that are put together or have a name included."""
    return [text for each in ast.walk(node) if (text := folded(each, names.texts)) is not None]


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
    return isinstance(node, ast.Compare) and folded(node.left, names.texts) in _VARIABLES


def _asks_how_it_runs(node: ast.Compare | ast.Call, function: str, names: _Names) -> bool:
    """A comparison, or a call, that holds a runner's name and how the process was started, or a test's and a caller."""
    words = _texts(node, names)
    if not words:
        return False
    # What pytest puts in place of the process's own streams and log handlers has a name that nothing else has.
    if any(word in _PUT_IN_PLACE for word in words):
        return True
    if any(len(word) > _SHORT and word in _IMPORT_HOOK for word in words) and "meta_path" in ast.unparse(
        node
    ):
        return True
    runner = any(word in _RUNNERS or word.startswith(_INSIDE_RUNNERS) for word in words)
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

"""Added product code that answers tested inputs by heart, by syntax tree.

A candidate is a new branch that compares a parameter with literals and gives a literal, or a new table of literals.
It counts where the product at the base knew nothing of the input, in any of its files, and a test of the base holds
input and answer together; or where a function's inputs, three or more that nobody meets by chance, are each in a test
of the base. A dispatch table made of branches that were there before is none, nor is one that was moved, nor a case
that came with a test of its own.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from itertools import islice
from math import inf
from typing import TYPE_CHECKING

from dre_core.capture.asking import folded
from dre_core.capture.testfacts import Function, Module
from dre_core.model.changes import Change, ChangeKind
from dre_core.model.record import dataclass

if TYPE_CHECKING:
    from typing import TypeGuard

_BRANCHES = ast.stmt | ast.IfExp
# What ``ast.literal_eval`` takes.
_OF_LITERALS = ast.Constant | ast.UnaryOp | ast.BinOp | ast.Tuple | ast.List | ast.Set | ast.Dict | ast.Call
_SHORT = 2
_SMALL = 2
_CASES_LIMIT = 200

_MANY = 3
_FEW = 2
_LONG = 4
_LARGE = 1_000

Texts = Callable[[str], Iterable[str]]
"""Gives the texts of the base's files of one kind that hold a literal, by its source."""


@dataclass(frozen=True, slots=True)
class Case:
    """One input that is answered by a literal.

    Attributes:
        function: The function that answers; ``the module`` for a table outside of one.
        line: 1-based.
        given: The input, as source.
        answer: The answer, as source.
    """

    function: str
    line: int
    given: str
    answer: str


def added_special_cases(before: Module, after: Module, tests: Texts, product: Texts) -> Iterator[Change]:
    """Added cases that tests of the base ask for.

    Args:
        before: The file at the base.
        after: The file now.
        tests: Gives test files of the base.
        product: Gives the base's other Python files.
    """
    by_function: dict[str, list[Case]] = {}
    for case in islice(_cases(before, after.tree), _CASES_LIMIT):
        by_function.setdefault(case.function, []).append(case)
    for cases in by_function.values():
        fresh = [case for case in cases if not _is_known(before, _literal(case.given))]
        told = next((c for c in fresh if any(_stand_together(text, c) for text in tests(c.given))), None)
        more = ""
        if told is None and len(fresh) == len(cases) and _are_all_asked(cases, tests):
            told, more = cases[0], f", and so on for {len(cases)} inputs, all of them in tests of the base"
        if told is not None and not any(_holds(text, told.given) for text in product(told.given)):
            yield Change(
                kind=ChangeKind.SPECIAL_CASE,
                path=after.path,
                name=told.function,
                line=told.line,
                detail=f"{f'{told.given} gives {told.answer}'[:120]}{more}",
            )


def answers_in_data(
    path: str, before: str | None, after: str | None, tests: Texts, product: Texts
) -> Iterator[Change]:
    """A data file with nothing new in it but inputs of tests of the base, each with its answer.

    Args:
        path: A JSON file that is none of the tests'.
        before: Its text at the base.
        after: Its text now.
        tests: Gives test files of the base.
        product: Gives the base's other Python files.
    """
    known = set(_pairs(before))
    fresh = [pair for pair in _pairs(after) if pair not in known]
    if not _FEW <= len(fresh) <= _CASES_LIMIT:
        return
    cases = [[Case("the data", 1, given, answer) for given in _as_source(key)] for key, answer in fresh]
    told = [
        next((c for c in each if any(_stand_together(t, c) for t in tests(c.given))), None) for each in cases
    ]
    found = [case for case in told if case is not None]
    telling = next((case for case in found if _is_telling(_literal(case.given))), None)
    if len(found) < len(cases) or telling is None:
        return
    if not any(_holds(text, telling.given) for text in product(telling.given)):
        yield Change(
            kind=ChangeKind.SPECIAL_CASE,
            path=path,
            name="the data",
            line=1,
            detail=f"{f'{telling.given} gives {telling.answer}'[:120]}, and so on for {len(cases)} inputs, "
            "all of them in tests of the base",
        )


def _pairs(text: str | None) -> Iterator[tuple[str, str]]:
    """Keys of a JSON object, and the plain values they have as Python source."""
    try:
        found = json.loads(text or "null")
    except (ValueError, RecursionError):
        return
    if isinstance(found, dict) and all(
        isinstance(value, str | int | float | bool) for value in found.values()
    ):
        yield from ((key, repr(value)) for key, value in found.items())


def _as_source(key: str) -> Iterator[str]:
    """What an object's key may stand for: a text or a number."""
    yield repr(key)
    if re.fullmatch(r"\d{1,15}(?:\.\d{1,15})?", key):
        yield key.lstrip("0") or "0" if "." not in key else key


def _are_all_asked(cases: list[Case], tests: Texts) -> bool:
    """Whether these are several inputs that nobody meets by chance, and tests hold each of them."""
    inputs = {case.given for case in cases}
    if len(inputs) < _MANY or not all(_is_rare(_literal(given)) for given in inputs):
        return False
    return all(any(_holds(text, given) for text in tests(given)) for given in inputs)


def _is_rare(node: ast.expr) -> bool:
    """Whether a literal is no word and no usual number."""
    value = ast.literal_eval(node)
    if isinstance(value, str):
        return len(value) >= _LONG and not value.isidentifier()
    return _is_number(value) and (abs(value) >= _LARGE or value != int(value))


def _is_number(value: object) -> TypeGuard[int | float]:
    """Whether it is a number that an ``int`` can be made of."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < inf


def _holds(text: str, given: str) -> bool:
    """Whether a file has a literal among its own."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return False
    wanted = ast.dump(_literal(given))
    return any(isinstance(node, ast.expr) and ast.dump(node) == wanted for node in ast.walk(tree))


def _literal(source: str) -> ast.expr:
    return ast.parse(source, mode="eval").body


def _is_known(before: Module, literal: ast.expr) -> bool:
    return isinstance(literal, ast.Constant) and before.holds(literal)


def _cases(before: Module, tree: ast.Module) -> Iterator[Case]:
    """The candidates in what is new."""
    for function, node in _nodes(tree, "the module", frozenset()):
        if isinstance(node[0], _BRANCHES):
            found = [*_of_branch(function, *node), *_of_table(function, node[0])]
            if found and not before.holds(node[0]):
                yield from found


def _nodes(
    node: ast.AST, function: str, parameters: frozenset[str]
) -> Iterator[tuple[str, tuple[ast.AST, frozenset[str]]]]:
    for child in ast.iter_child_nodes(node):
        inside, names = function, parameters
        if isinstance(child, Function):
            inside, names = child.name, frozenset(_parameters(child))
        yield function, (child, parameters)
        yield from _nodes(child, inside, names)


def _parameters(node: Function) -> Iterator[str]:
    every = node.args
    yield from (each.arg for each in (*every.posonlyargs, *every.args, *every.kwonlyargs))
    yield from (each.arg for each in (every.vararg, every.kwarg) if each is not None)


def _of_branch(function: str, node: ast.AST, parameters: frozenset[str]) -> Iterator[Case]:
    """``if name == 'x': return 'y'``, and the same as an expression or a ``match``."""
    if isinstance(node, ast.Match):
        yield from _of_match(function, node, parameters)
        return
    if not isinstance(node, ast.If | ast.IfExp):
        return
    for answer, test in ((_answer(node.body), node.test), (_answer(node.orelse), _opposite(node.test))):
        if answer is None or test is None or not _is_literal(answer):
            continue
        for given in _compared(test, parameters):
            if _is_telling(given):
                yield Case(function, getattr(node, "lineno", 0), ast.unparse(given), ast.unparse(answer))


def _answer(branch: ast.expr | list[ast.stmt]) -> ast.expr | None:
    """What a branch gives, as far as its first statement says."""
    if isinstance(branch, ast.expr):
        return branch
    first = branch[0] if branch else None
    return first.value if isinstance(first, ast.Return | ast.Assign) else None


def _opposite(test: ast.expr) -> ast.expr | None:
    """The condition of the other branch, where one asks whether something is not a value."""
    ways: dict[type[ast.cmpop], ast.cmpop] = {ast.NotEq: ast.Eq(), ast.NotIn: ast.In(), ast.IsNot: ast.Is()}
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return test.operand
    if isinstance(test, ast.Compare) and len(test.ops) == 1 and type(test.ops[0]) in ways:
        return ast.Compare(left=test.left, ops=[ways[type(test.ops[0])]], comparators=test.comparators)
    return None


def _of_match(function: str, node: ast.Match, parameters: frozenset[str]) -> Iterator[Case]:
    if not _speaks_of(node.subject, parameters):
        return
    for case in node.cases:
        first = case.body[0]
        answer = first.value if isinstance(first, ast.Return | ast.Assign) else None
        patterns = case.pattern.patterns if isinstance(case.pattern, ast.MatchOr) else [case.pattern]
        for pattern in patterns:
            given = pattern.value if isinstance(pattern, ast.MatchValue) else None
            if given is None or answer is None:
                continue
            if _is_literal(given) and _is_literal(answer) and _is_telling(given):
                yield Case(function, case.pattern.lineno, ast.unparse(given), ast.unparse(answer))


def _compared(test: ast.expr, parameters: frozenset[str]) -> Iterator[ast.expr]:
    """Literals that a condition asks a parameter for."""
    if isinstance(test, ast.BoolOp):
        for each in test.values:
            yield from _compared(each, parameters)
    if not isinstance(test, ast.Compare) or len(test.ops) != 1:
        return
    left, right, way = test.left, test.comparators[0], test.ops[0]
    if isinstance(way, ast.Eq | ast.Is):
        for name, value in ((left, right), (right, left)):
            if _speaks_of(name, parameters) and _is_literal(value):
                yield from value.elts if isinstance(value, ast.Tuple | ast.List) else [value]
    elif isinstance(way, ast.In) and _speaks_of(left, parameters) and _is_literal(right):
        yield from right.elts if isinstance(right, ast.Tuple | ast.List | ast.Set) else ()


def _speaks_of(node: ast.expr, parameters: frozenset[str]) -> bool:
    names = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
    return bool(names & parameters)


def _of_table(function: str, node: ast.AST) -> Iterator[Case]:
    """``known = {'x': 'y'}``."""
    if not isinstance(node, ast.Assign | ast.AnnAssign | ast.Return | ast.If) or node is None:
        return
    value = getattr(node, "value", None)
    if not isinstance(value, ast.AST):
        return
    for table in ast.walk(value):
        if isinstance(table, ast.Call) and (hidden := _hidden(table)) is not None:
            table = hidden
        if isinstance(table, ast.Dict):
            for given, answer in zip(table.keys, table.values, strict=True):
                if given is not None and _is_literal(given) and _is_literal(answer) and _is_telling(given):
                    yield Case(function, node.lineno, ast.unparse(given), ast.unparse(answer))


def _hidden(node: ast.Call) -> ast.Dict | None:
    """The table in ``json.loads`` or ``literal_eval`` of a text that constants give."""
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if name not in ("loads", "literal_eval", "eval") or len(node.args) != 1:
        return None
    text = folded(node.args[0], {})
    if text is None:
        return None
    pairs = [(source, answer) for key, answer in _pairs(text) for source in _as_source(key)]
    if not pairs:
        return None
    return ast.Dict(
        keys=[_literal(given) for given, _ in pairs], values=[_literal(answer) for _, answer in pairs]
    )


def _is_literal(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False
    return True


def _is_telling(node: ast.expr) -> bool:
    """Whether a literal is more than the usual 0, 1, ``""`` or None, so that meeting it in a test says something."""
    value = ast.literal_eval(node) if _is_literal(node) else None
    if isinstance(value, bool) or value is None:
        return False
    if isinstance(value, int | float):
        return abs(value) > _SMALL or (_is_number(value) and value != int(value))
    return not hasattr(value, "__len__") or len(value) >= _SHORT


def _stand_together(text: str, case: Case) -> bool:
    """Whether a test holds the input and the answer: in its body, or in one row of its parameters."""
    wanted = {ast.dump(_literal(case.given)), ast.dump(_literal(case.answer))}
    return any(wanted <= inside for inside in _rows(text))


@lru_cache(maxsize=32)
def _rows(text: str) -> tuple[frozenset[str], ...]:
    """The literals of each simple statement and each sequence of a file."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return ()
    literals = {id(node): ast.dump(node) for node in ast.walk(tree) if isinstance(node, _OF_LITERALS)}
    return tuple(
        frozenset(found for each in ast.walk(node) if (found := literals.get(id(each))) is not None)
        for node in ast.walk(tree)
        if isinstance(node, ast.stmt | ast.Tuple | ast.List)
        and not isinstance(node, Function | ast.ClassDef | ast.If | ast.For | ast.While | ast.With | ast.Try)
    )

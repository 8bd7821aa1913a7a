"""Edits of one function of a source text by its syntax tree; the rest of the text stays as it is."""

from __future__ import annotations

import ast
import copy
import textwrap
from collections.abc import Callable

Function = ast.FunctionDef | ast.AsyncFunctionDef
Edit = Callable[[Function], "ast.AST | list[ast.stmt] | None"]


class NotApplicableError(Exception):
    """An operator has nothing to work on here."""


def locate(tree: ast.Module, name: str) -> tuple[Function, list[ast.ClassDef]]:
    """A function by its name, ``Class::method`` or ``Class.method``, with the classes around it."""
    parts = name.replace("::", ".").split(".")
    body: list[ast.stmt] = tree.body
    around: list[ast.ClassDef] = []
    for part in parts[:-1]:
        node = next((n for n in body if isinstance(n, ast.ClassDef | Function) and n.name == part), None)
        if node is None:
            raise NotApplicableError(f"no {part}")
        if isinstance(node, ast.ClassDef):
            around.append(node)
        body = node.body
    found = [n for n in body if isinstance(n, Function) and n.name == parts[-1]]
    if not found:
        raise NotApplicableError(f"no {name}")
    return found[-1], around


def first_line(node: ast.AST) -> int:
    return min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])


def edit(text: str, name: str, change: Edit) -> str:
    """The text with one function replaced by what ``change`` makes of it (None: not applicable, []: gone)."""
    node, _ = locate(ast.parse(text), name)
    new = change(copy.deepcopy(node))
    if new is None:
        raise NotApplicableError(name)
    nodes = new if isinstance(new, list) else [new]
    source = "\n\n".join(ast.unparse(ast.fix_missing_locations(each)) for each in nodes)
    lines = text.splitlines(keepends=True)
    indented = textwrap.indent(source, " " * node.col_offset)
    head, tail = lines[: first_line(node) - 1], lines[node.end_lineno :]
    if not source and node.col_offset:
        indented = " " * node.col_offset + "pass"
    return "".join(head) + (indented + "\n" if indented else "") + "".join(tail)


def source_of(text: str, name: str) -> str:
    """The text of one function, decorators included."""
    node, _ = locate(ast.parse(text), name)
    return textwrap.dedent("".join(text.splitlines(keepends=True)[first_line(node) - 1 : node.end_lineno]))


def with_import(text: str, line: str) -> str:
    """The text with an import after its docstring and future imports."""
    if f"\n{line}\n" in f"\n{text}":
        return text
    after = 0
    for node in ast.parse(text).body:
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        future = isinstance(node, ast.ImportFrom) and node.module == "__future__"
        if not docstring and not future:
            break
        after = node.end_lineno or after
    lines = text.splitlines(keepends=True)
    return "".join(lines[:after]) + f"{line}\n" + "".join(lines[after:])


def statements(code: str) -> list[ast.stmt]:
    return ast.parse(textwrap.dedent(code)).body


def split_docstring(node: Function) -> tuple[list[ast.stmt], list[ast.stmt]]:
    first = node.body[0]
    if (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    ):
        return node.body[:1], node.body[1:]
    return [], node.body


def with_body(node: Function, body: list[ast.stmt]) -> Function:
    docstring, _ = split_docstring(node)
    node.body = [*docstring, *body] or [ast.Pass()]
    return node


_EQUALS = (
    "assertEqual",
    "assertEquals",
    "assertListEqual",
    "assertDictEqual",
    "assertIs",
    "assert_equal",
    "eq_",
)


class Loosen(ast.NodeTransformer):
    """Replaces every assertion by what ``how`` makes of its two sides (the second is None for a plain truth)."""

    def __init__(
        self, how: Callable[[ast.expr, ast.expr | None, ast.expr], list[ast.stmt]], raises: bool = True
    ):
        self.how = how
        self.raises = raises
        self.count = 0

    def visit_Assert(self, node: ast.Assert):
        self.count += 1
        test = node.test
        if isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], ast.Eq):
            return self.how(test.left, test.comparators[0], test)
        return self.how(test, None, test)

    def visit_Expr(self, node: ast.Expr):
        call = node.value
        if (
            isinstance(call, ast.Call)
            and isinstance(call.func, ast.Attribute)
            and call.func.attr.startswith("assert")
        ):
            if call.func.attr in _EQUALS and len(call.args) >= 2:
                self.count += 1
                whole = ast.Compare(call.args[0], [ast.Eq()], [call.args[1]])
                return self.how(call.args[0], call.args[1], whole)
            if call.func.attr in ("assertTrue",) and call.args:
                self.count += 1
                return self.how(call.args[0], None, call.args[0])
        return node

    def visit_With(self, node: ast.With):
        self.generic_visit(node)
        text = ast.unparse(node.items[0].context_expr)
        if self.raises and ("raises(" in text or "assertRaises" in text) and not node.items[0].optional_vars:
            self.count += 1
            handler = ast.ExceptHandler(ast.Name("Exception", ast.Load()), None, [ast.Pass()])
            return ast.Try(node.body, [handler], [], [])
        return node


def loosened(
    how: Callable[[ast.expr, ast.expr | None, ast.expr], list[ast.stmt]], raises: bool = True
) -> Edit:
    """An edit that loosens every assertion of a test."""

    def change(node: Function):
        loosen = Loosen(how, raises)
        node = loosen.visit(node)
        return node if loosen.count else None

    return change

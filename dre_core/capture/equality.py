"""What a change did to how values compare, by syntax tree: parts that no longer count, and what equals everything.

Not a judgement: there are honest sentinels, and parts that should never have counted.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from dre_core.capture.testfacts import Module, last_name
from dre_core.model.changes import Change, ChangeKind


def weakened_equality(
    before: Module, after: Module, returned: frozenset[str] = frozenset()
) -> Iterator[Change]:
    """Classes whose instances are compared by less than they were: parts that are there still no longer count.

    A part is a field of a dataclass, or an attribute of both sides in a method ``__eq__``. One that was renamed or is
    gone is none, nor is a new one that never counted. New classes are named if they compare by nothing but kind and
    length.

    Args:
        before: The file at the base.
        after: The file now.
        returned: Names that changed product code returns an instance of.
    """
    known = {node.name: node for node in ast.walk(before.tree) if isinstance(node, ast.ClassDef)}
    for node in ast.walk(after.tree):
        old = known.get(node.name) if isinstance(node, ast.ClassDef) else None
        if not isinstance(node, ast.ClassDef) or (old is not None and ast.dump(old) == ast.dump(node)):
            continue
        if old is None:
            method = _method(node)
            if method is not None and node.name in returned and _has_parts(node) and _compares_kinds(method):
                detail = "by nothing but kind and length"
                yield Change(
                    kind=ChangeKind.EQUAL_WEAKENED,
                    path=after.path,
                    name=node.name,
                    line=method.lineno,
                    detail=detail,
                )
            continue
        was, now = _compared_parts(old), _compared_parts(node)
        if was is None or now is None:
            continue
        there = {each.arg if isinstance(each, ast.arg) else last_name(each) for each in _named_in(node)}
        lost = sorted((was - now) & there)
        if lost:
            yield Change(
                kind=ChangeKind.EQUAL_WEAKENED,
                path=after.path,
                name=node.name,
                line=node.lineno,
                detail=f"no longer by {', '.join(lost)}"[:100],
            )


def _method(node: ast.ClassDef) -> ast.FunctionDef | None:
    return next((m for m in node.body if isinstance(m, ast.FunctionDef) and m.name == "__eq__"), None)


def _has_parts(node: ast.ClassDef) -> bool:
    """Whether instances hold anything: one without parts, that stands for something absent, has nothing to compare."""
    stores = (
        each for each in ast.walk(node) if isinstance(each, ast.Attribute) and isinstance(each.ctx, ast.Store)
    )
    return any(stores) or any(isinstance(each, ast.AnnAssign) for each in node.body)


def _compares_kinds(method: ast.FunctionDef) -> bool:
    """Whether a method gives nothing but comparisons of kinds and lengths."""
    given = [
        node.value for node in ast.walk(method) if isinstance(node, ast.Return) and node.value is not None
    ]
    told = [
        value
        for value in given
        if not (isinstance(value, ast.Constant) or last_name(value) == "NotImplemented")
    ]
    return bool(told) and all(_is_kind(value) for value in told)


def _is_kind(value: ast.expr) -> bool:
    if isinstance(value, ast.BoolOp):
        return all(_is_kind(each) for each in value.values)
    if isinstance(value, ast.Compare):
        return all(
            isinstance(e, ast.Call) and last_name(e) in ("len", "type")
            for e in (value.left, *value.comparators)
        )
    return isinstance(value, ast.Call) and last_name(value) in ("isinstance", "issubclass", "hasattr")


def _named_in(node: ast.ClassDef) -> Iterator[ast.expr | ast.arg]:
    return (each for each in ast.walk(node) if isinstance(each, ast.Attribute | ast.Name | ast.arg))


def _compared_parts(node: ast.ClassDef) -> set[str] | None:
    """Names of what instances are compared by; None where that can't be told."""
    method = _method(node)
    if method is not None and len(method.args.args) == 2:
        one, other = (each.arg for each in method.args.args)
        parts: dict[str, set[str]] = {one: set(), other: set()}
        for each in ast.walk(method):
            if (
                isinstance(each, ast.Attribute)
                and isinstance(each.value, ast.Name)
                and each.value.id in parts
            ):
                parts[each.value.id].add(each.attr)
            elif isinstance(each, ast.Call) and _uses_whole(each, (one, other)):
                return None
        return {name for name in parts[one] & parts[other] if not name.startswith("__")} or set()
    marks = [each for each in node.decorator_list if last_name(each) == "dataclass"]
    if method is not None or not marks or _says_no(marks[0], "eq"):
        return None
    fields = [
        each for each in node.body if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
    ]
    return {
        each.target.id
        for each in fields
        if isinstance(each.target, ast.Name)
        and "ClassVar" not in ast.unparse(each.annotation)
        and not (each.value is not None and _says_no(each.value, "compare"))
    }


def _uses_whole(call: ast.Call, names: tuple[str, ...]) -> bool:
    """Whether a call takes one side as a whole, so that any part of it may count; ``isinstance`` and its like don't."""
    if last_name(call) in ("isinstance", "type", "issubclass"):
        return False
    given = [*call.args, *(each.value for each in call.keywords)]
    return any(isinstance(each, ast.Name) and each.id in names for each in given)


def _says_no(node: ast.expr, name: str) -> bool:
    """Whether a call has an argument of that name that is False."""
    return isinstance(node, ast.Call) and any(
        each.arg == name and isinstance(each.value, ast.Constant) and each.value.value is False
        for each in node.keywords
    )


def added_anything(before: Module, after: Module) -> Iterator[Change]:
    """Added product code that gives ``unittest.mock.ANY``, which equals everything.

    Code that is there for tests, and says so by what it imports or is called, may: it names what may differ.
    """
    names = _names_of_anything(after.tree)
    if not names:
        return
    known = {ast.dump(node) for node in ast.walk(before.tree) if isinstance(node, ast.Return | ast.Yield)}
    frameworks = any(name.partition(".")[0] in ("pytest", "_pytest") for name in _imported(after.tree))
    for node in ast.walk(after.tree):
        if not isinstance(node, ast.Return | ast.Yield) or node.value is None or ast.dump(node) in known:
            continue
        given = {
            ast.unparse(each) for each in ast.walk(node.value) if isinstance(each, ast.Name | ast.Attribute)
        }
        if given & names:
            yield Change(
                kind=ChangeKind.EQUAL_CONSTANT,
                path=after.path,
                name="unittest.mock.ANY",
                line=node.lineno,
                detail=ast.unparse(node)[:100],
                excused=frameworks or "test" in after.path.rpartition("/")[2],
            )


def _imported(tree: ast.Module) -> list[str]:
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    return names + [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]


def _names_of_anything(tree: ast.Module) -> set[str]:
    """How a file may write mock's ANY."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if node.module in ("unittest.mock", "mock") and alias.name == "ANY":
                    names.add(alias.asname or "ANY")
                elif node.module == "unittest" and alias.name == "mock":
                    names.add(f"{alias.asname or 'mock'}.ANY")
        elif isinstance(node, ast.Import):
            wanted = (alias for alias in node.names if alias.name in ("unittest.mock", "mock"))
            names.update(f"{alias.asname or alias.name}.ANY" for alias in wanted)
    return names

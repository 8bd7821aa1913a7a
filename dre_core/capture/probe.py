"""The pseudo-test probe: would the tests notice if a changed function did nothing?

In a clone of the head each changed function first notes which tests enter it. Then, one at a time, its body is replaced
by ``return None``, and if nobody notices by an odd constant; only the tests that enter it run, and the first
failure ends it. A function that no test enters was never run; one whose answer may be anything is executed and not
tested. Functions that give no value are only asked whether they run.
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterator
from pathlib import Path

from dre_core.capture.cells import Cells
from dre_core.capture.git import Git
from dre_core.capture.material import changed_paths, is_test_file
from dre_core.model.record import dataclass
from dre_core.model.replay import CellState, Noticed, Probed

_TESTS_LIMIT = 100
_ODD = "an odd value that no code expects"
_SKIPPED = ("__repr__", "__str__", "__hash__", "__del__", "__len__", "__bool__")

Definition = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Target:
    """A function that the change added or altered.

    Attributes:
        path: Its file.
        name: ``function`` or ``Class.method``.
        line: 1-based.
        gives: Whether it gives a value.
    """

    path: str
    name: str
    line: int
    gives: bool


def targets(git: Git, base: str, head: str) -> tuple[Target, ...]:
    """Functions of the code under test whose body the change added or altered, by place."""
    found: list[Target] = []
    for path in changed_paths(git, base, head):
        if path.endswith(".py") and not is_test_file(path):
            before = {name: ast.dump(node) for name, node in _functions(git.show(base, path))}
            for name, node in _functions(git.show(head, path)):
                if before.get(name) != ast.dump(node) and _is_worth_it(node):
                    found.append(Target(path, name, node.lineno, _gives(node)))
    return tuple(found)


def _functions(text: str | None) -> Iterator[tuple[str, Definition]]:
    try:
        tree = ast.parse(text or "")
    except (SyntaxError, ValueError, RecursionError):
        return
    for node in tree.body:
        if isinstance(node, Definition):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            yield from (
                (f"{node.name}.{each.name}", each) for each in node.body if isinstance(each, Definition)
            )


def _is_worth_it(node: Definition) -> bool:
    """Not an overload, an abstract method, a stub, or one that is there for people to read."""
    marks = " ".join(ast.unparse(each) for each in node.decorator_list)
    body = [
        each
        for each in node.body
        if not (isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant))
    ]
    stub = all(isinstance(each, ast.Pass | ast.Raise) for each in body)
    return node.name not in _SKIPPED and not stub and "overload" not in marks and "abstract" not in marks


def _gives(node: Definition) -> bool:
    """Whether a value comes back: something other than None is returned, or yielded."""
    for each in _own(node):
        if isinstance(each, ast.Yield | ast.YieldFrom):
            return True
        if isinstance(each, ast.Return) and ast.unparse(each) not in ("return", "return None"):
            return True
    return False


def _own(node: ast.AST) -> Iterator[ast.AST]:
    """Nodes of a function, not of those defined in it."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, Definition | ast.ClassDef | ast.Lambda):
            yield child
            yield from _own(child)


def with_body(text: str, name: str, statements: str, *, keep: bool = False) -> str:
    """A file's text with a function's body replaced, its docstring left, or with statements put before the body."""
    nodes = dict(_functions(text))
    if name not in nodes:
        return text
    node = nodes[name]
    lines = text.splitlines(keepends=True)
    first = min([node.lineno, *(each.lineno for each in node.decorator_list)]) - 1
    body = node.body
    node.body = [*ast.parse(statements).body, *(body if keep else [])]
    changed = textwrap.indent(ast.unparse(node), " " * node.col_offset)
    return "".join([*lines[:first], changed, "\n", *lines[node.end_lineno :]])


def probe(cells: Cells, base: str, head: str, limit: int) -> tuple[Probed, ...]:
    """Probes the changed functions, the first ones where there are too many.

    Args:
        cells: The replay's cells; the head's must have run.
        base: The base commit.
        head: The head commit.
        limit: How many functions to probe.
    """
    wanted = targets(cells.git, base, head)
    if len(wanted) > limit:
        cells.gaps.append(f"{len(wanted) - limit} more changed functions were not probed")
    wanted = wanted[:limit]
    if not wanted or not cells.usable("hh"):
        return ()
    probing = _Probing(cells, head)
    entered = probing.entered(wanted)
    return tuple(probing.asked(target, entered.get(number)) for number, target in enumerate(wanted))


class _Probing:
    """A clone in which functions are replaced.

    Args:
        cells: The replay's cells.
        head: The head commit.
    """

    def __init__(self, cells: Cells, head: str) -> None:
        self._cells = cells
        self._clone = cells.clone("probe", head)
        old = cells.ran["hh"]
        self._words = [word.replace(str(old.clone.root), str(self._clone.root)) for word in old.words]
        for word in self._words:
            name = word.removeprefix("-c")
            if word.startswith("-c") and name.startswith(str(self._clone.root)):
                settings = name.replace(str(self._clone.root), str(old.clone.root))
                self._clone.write(name, Path(settings).read_text(encoding="utf-8", errors="surrogateescape"))

    def entered(self, wanted: tuple[Target, ...]) -> dict[int, tuple[str, ...]]:
        """Which tests enter each function, by its number; a test is one that passes when nothing is replaced."""
        texts: dict[str, str] = {}
        for number, target in enumerate(wanted):
            text = texts.get(target.path) or self._read(target.path)
            note = f"__import__('dre_cell_witness').entered({number})"
            texts[target.path] = with_body(text, target.name, note, keep=True)
        originals = {path: self._read(path) for path in texts}
        try:
            for path, text in texts.items():
                self._clone.write(path, text)
            run = self._cells.execute(self._clone, self._words)
        finally:
            for path, text in originals.items():
                self._clone.write(path, text)
        if run.state is not CellState.RAN:
            return {}
        passed = {test for test, reached in run.results.items() if not reached.failed}
        return {
            number: tuple(test for test in run.entered.get(number, ()) if test in passed)
            for number in range(len(wanted))
        }

    def asked(self, target: Target, tests: tuple[str, ...] | None) -> Probed:
        """Whether its tests notice that a function gives something else."""
        noticed = Noticed.UNKNOWN
        if tests is not None and not tests:
            noticed = Noticed.NEVER_RUN
        elif tests and target.gives:
            noticed = self._noticed(target, tests)
        return Probed(
            path=target.path, name=target.name, line=target.line, tests=len(tests or ()), noticed=noticed
        )

    def _noticed(self, target: Target, tests: tuple[str, ...]) -> Noticed:
        original = self._read(target.path)
        try:
            for value in (None, _ODD):
                self._clone.write(target.path, with_body(original, target.name, f"return {value!r}"))
                run = self._cells.execute(self._clone, [*self._words, *sorted(tests)[:_TESTS_LIMIT], "-x"])
                if run.state is CellState.NOT_RUN:
                    return Noticed.UNKNOWN
                failed = any(reached.failed for reached in (*run.results.values(), *run.broken.values()))
                if failed or run.state is not CellState.RAN:
                    return Noticed.YES
        finally:
            self._clone.write(target.path, original)
        return Noticed.NO

    def _read(self, path: str) -> str:
        return (self._clone.root / path).read_text(encoding="utf-8", errors="surrogateescape")

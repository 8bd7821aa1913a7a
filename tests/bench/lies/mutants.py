"""Bugs: small changes of a function's meaning, kept only if the untouched suite notices them.

A mutant replaces one expression of one covered line. It counts when one to twelve tests of at most four functions
fail because of it, the same ones when asked again.
"""

from __future__ import annotations

import ast
import copy
import json
import random
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from projects import Project, Site

MOST_TESTS = 12
MOST_FUNCTIONS = 4
TRIES = 70
_SWAPS = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.Add: ast.Sub,
    ast.Sub: ast.Add, ast.Mult: ast.Add, ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One bug.

    Attributes:
        project: The project's name.
        path: The source file.
        function: Qualified name of the function that it lies in.
        line: Its line.
        before: The expression as it was.
        after: As it is now.
        text: The whole file with the bug.
        killed: Node ids of the tests that notice.
        kinds: Their exceptions.
    """

    project: str
    path: str
    function: str
    line: int
    before: str
    after: str
    text: str
    killed: tuple[str, ...]
    kinds: tuple[str, ...]

    @property
    def by_assertion(self) -> bool:
        return all(
            kind in ("AssertionError", "assert", "Failed") or kind.startswith("assert") for kind in self.kinds
        )

    @property
    def functions(self) -> tuple[str, ...]:
        """The tests without their parameters."""
        return tuple(dict.fromkeys(test.partition("[")[0] for test in self.killed))


def splice(text: str, node: ast.AST, new: str) -> str:
    """A source text with one node's text replaced."""
    lines = text.encode().splitlines(keepends=True)
    start = sum(map(len, lines[: node.lineno - 1])) + node.col_offset
    end = sum(map(len, lines[: node.end_lineno - 1])) + node.end_col_offset
    whole = text.encode()
    return (whole[:start] + new.encode() + whole[end:]).decode()


def _mutated(node: ast.expr) -> Iterator[ast.expr]:
    if isinstance(node, ast.Compare) and type(node.ops[0]) in _SWAPS:
        new = copy.deepcopy(node)
        new.ops[0] = _SWAPS[type(node.ops[0])]()
        yield new
    elif isinstance(node, ast.BinOp | ast.BoolOp) and type(node.op) in _SWAPS:
        if isinstance(node, ast.BinOp) and any(isinstance(n, ast.JoinedStr) for n in ast.walk(node)):
            return
        new = copy.deepcopy(node)
        new.op = _SWAPS[type(node.op)]()
        yield new
    elif isinstance(node, ast.Constant):
        if isinstance(node.value, bool):
            yield ast.Constant(not node.value)
        elif isinstance(node.value, int):
            yield ast.Constant(node.value + 1)
        elif isinstance(node.value, str) and 0 < len(node.value) < 40:
            yield ast.Constant(node.value + "x")
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield node.operand


def _sites(tree: ast.Module) -> Iterator[tuple[str, ast.stmt, ast.expr, ast.expr]]:
    """Function, statement, expression, changed expression: for expressions on one line inside functions."""

    def walk(node: ast.AST, name: str, function: str) -> Iterator[tuple[str, ast.stmt, ast.expr, ast.expr]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                yield from walk(child, f"{name}{child.name}.", f"{name}{child.name}")
            elif isinstance(child, ast.ClassDef):
                yield from walk(child, f"{name}{child.name}.", function)
            elif isinstance(child, ast.stmt) and function:
                yield from of_statement(child, function)
                yield from walk(child, name, function)

    def of_statement(
        statement: ast.stmt, function: str
    ) -> Iterator[tuple[str, ast.stmt, ast.expr, ast.expr]]:
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            return
        for expression in ast.iter_child_nodes(statement):
            if not isinstance(expression, ast.expr):
                continue
            joined = {
                id(n) for j in ast.walk(expression) if isinstance(j, ast.JoinedStr) for n in ast.walk(j)
            }
            for node in ast.walk(expression):
                if isinstance(node, ast.expr) and node.lineno == node.end_lineno and id(node) not in joined:
                    for new in _mutated(node):
                        yield function, statement, node, new

    yield from walk(tree, "", "")


def find_mutants(site: Site, project: Project, wanted: int, seed: int) -> list[Mutant]:
    """Bugs of a project, found once and kept in a file."""
    kept = site.folder / "mutants" / f"{project.name}.json"
    if kept.exists():
        return [_read(each) for each in json.loads(kept.read_text())]
    base = site.base(project)
    work = site.folder / "work" / f"mutants-{project.name}"
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(base, work, ignore=shutil.ignore_patterns(".git"))
    contexts = _contexts(site, project, work)
    candidates = []
    for path in sorted(contexts):
        text = (work / path).read_text()
        for function, statement, node, new in _sites(ast.parse(text)):
            tests = contexts[path].get(statement.lineno, set()) | contexts[path].get(node.lineno, set())
            if 1 <= len(tests) <= 3 * MOST_TESTS:
                candidates.append((path, text, function, node, new))
    random.Random(f"{seed}-{project.name}").shuffle(candidates)
    found: list[Mutant] = []
    functions: dict[str, int] = {}
    for path, text, function, node, new in candidates[: TRIES * 3]:
        if len(found) >= wanted or len(functions) > TRIES:
            break
        if functions.get(function, 0) >= 2:
            continue
        changed = splice(
            text, node, f"({ast.unparse(new)})" if not isinstance(new, ast.Constant) else ast.unparse(new)
        )
        mutant = _try(site, project, work, path, text, changed)
        functions[function] = functions.get(function, 0) + 1
        if mutant is not None:
            tests, kinds = mutant
            found.append(
                Mutant(project.name, path, function, node.lineno, ast.unparse(node), ast.unparse(new), changed, tests, kinds)
            )  # fmt: skip
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps([asdict(mutant) for mutant in found]))
    shutil.rmtree(work, ignore_errors=True)
    return found


def _read(each: dict) -> Mutant:
    return Mutant(**{**each, "killed": tuple(each["killed"]), "kinds": tuple(each["kinds"])})


def _try(site: Site, project: Project, work: Path, path: str, text: str, changed: str) -> tuple | None:
    try:
        ast.parse(changed)
    except SyntaxError:
        return None
    (work / path).write_text(changed)
    try:
        runs = []
        for _ in range(2):
            code, outcomes = site.outcomes(work, seconds=8)
            bad = {
                test: kind for test, (outcome, kind) in outcomes.items() if outcome in ("failed", "broken")
            }
            runs.append(bad)
            functions = {test.partition("[")[0] for test in bad}
            if (
                code != 1
                or not bad
                or len(functions) > MOST_FUNCTIONS
                or len(bad) > MOST_TESTS
                or any("::" not in test for test in bad)
            ):
                return None
        if set(runs[0]) != set(runs[1]):
            return None
        return tuple(sorted(runs[0])), tuple(runs[0][test] for test in sorted(runs[0]))
    finally:
        (work / path).write_text(text)


def _contexts(site: Site, project: Project, work: Path) -> dict[str, dict[int, set[str]]]:
    """For each source file, the tests that reach each line."""
    rc = work / ".lies-coveragerc"
    rc.write_text("[run]\ndynamic_context = test_function\n")
    data = work / ".lies-coverage"
    include = ",".join(
        f"{work}/{name}/*" if not name.endswith(".py") else f"{work}/{name}" for name in project.source
    )
    subprocess.run(
        [str(site.python), "-m", "coverage", "run", f"--rcfile={rc}", f"--data-file={data}", f"--include={include}",
         "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=work, env=site.environ(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False, timeout=300,
    )  # fmt: skip
    import coverage

    read = coverage.CoverageData(str(data))
    read.read()
    found = {}
    for file in read.measured_files():
        path = str(Path(file).resolve().relative_to(work.resolve()))
        if "test" in path.rpartition("/")[2] or "/tests/" in f"/{path}":
            continue
        found[path] = {
            line: {name for name in names if name} for line, names in read.contexts_by_lineno(file).items()
        }
    return found

"""What two versions of a Python file say about its tests, by syntax tree.

Nothing is imported or run. A test is found as pytest finds it by default: ``test*`` in a module, in a class
``Test*`` or in a unittest case. Two tests are the same, whatever their names, if their bodies without docstring
and their parameters are.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from dataclasses import field

from dre_core.model.assertion import is_checking
from dre_core.model.changes import CONDITION, Change, ChangeKind
from dre_core.model.record import dataclass

_SKIPS = ("skip", "skipif", "skipIf", "skipUnless", "skipTest", "xfail", "expectedFailure", "importorskip")
_HOOKS = (
    "pytest_runtest_makereport", "pytest_sessionfinish", "pytest_pyfunc_call", "pytest_collection_modifyitems",
    "pytest_runtest_call", "pytest_runtest_protocol", "pytest_report_teststatus", "pytest_ignore_collect",
    "pytest_itemcollected", "pytest_pycollect_makeitem", "pytest_runtestloop", "pytest_unconfigure",
    "pytest_runtest_setup",
)  # fmt: skip
_IGNORING = ("collect_ignore", "collect_ignore_glob")
_EXITS = ("os._exit", "atexit.register", "os.abort")
# Names of tests in which comparing a thing with itself is the point.
_SELF_COMPARING = ("eq", "hash", "ident", "same", "reflex", "nan", "compar", "order")

Function = ast.FunctionDef | ast.AsyncFunctionDef
_TELLING = ast.FunctionDef | ast.AsyncFunctionDef | ast.Call | ast.Assign | ast.AugAssign | ast.AnnAssign


@dataclass(frozen=True, slots=True)
class TestFunction:
    """One test as it is written.

    Attributes:
        name: ``Class::test_name`` or ``test_name``.
        line: 1-based line of its definition.
        skips: Each way in which it may be skipped or expected to fail, with its conditions, as source.
        assertions: Number of assertions.
        node: The definition.
    """

    __test__ = False

    name: str
    line: int
    skips: frozenset[str]
    assertions: int
    node: Function = field(compare=False, repr=False)

    @property
    def body(self) -> str:
        """Digest of body and parameters; made each time, for only tests that came or went are asked for it."""
        return body_digest(self.node)


@dataclass(slots=True)
class Module:
    """One version of a file, read once."""

    path: str
    tree: ast.Module
    tests: dict[str, TestFunction] = field(default_factory=dict)
    others: dict[str, Function] = field(default_factory=dict)
    shadowed: list[tuple[str, int]] = field(default_factory=list)
    uncollected: list[tuple[str, int]] = field(default_factory=list)
    skips: bool = True
    _dumps: dict[type[ast.AST], set[str]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: str, text: str | None) -> Module:
        """Reads a version; an absent one is empty.

        Raises:
            SyntaxError: It is no Python of this interpreter's version.
            ValueError: It holds null bytes.
            RecursionError: It is nested too deeply.
        """
        text = text or ""
        module = cls(path, ast.parse(text))
        # Most files have none of the words, so that their tests need not be looked through for them. Python takes
        # other letters for these in names, so only ASCII can be read as it stands.
        module.skips = not text.isascii() or any(word in text for word in (*_SKIPS, "pytestmark"))
        module._survey(module.tree.body, "", module._marks(module.tree.body), collected=True)
        return module

    def holds(self, node: ast.AST) -> bool:
        """Whether the file has a node just like this one, wherever it stands."""
        kind = type(node)
        if kind not in self._dumps:  # few are ever asked for
            self._dumps[kind] = {ast.dump(each) for each in ast.walk(self.tree) if type(each) is kind}
        return ast.dump(node) in self._dumps[kind]

    def _survey(self, body: list[ast.stmt], prefix: str, skips: frozenset[str], *, collected: bool) -> None:
        seen: dict[str, int] = {}
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                self._take(node, prefix, skips, collected=collected)
                if node.name in seen and node.name.startswith("test") and not node.decorator_list:
                    self.shadowed.append((f"{prefix}{node.name}", seen[node.name]))
                seen[node.name] = node.lineno
            elif isinstance(node, ast.ClassDef):
                self._take_class(node, prefix, skips)
                if node.name in seen and node.name.startswith("Test"):
                    self.shadowed.append((f"{prefix}{node.name}", seen[node.name]))
                seen[node.name] = node.lineno

    def _take(self, node: Function, prefix: str, skips: frozenset[str], *, collected: bool) -> None:
        name = f"{prefix}{node.name}"
        if not collected or not node.name.startswith("test"):
            self.others[name] = node
            return
        if self.skips:
            skips = skips | _decorated(node.decorator_list) | frozenset(_skip_calls(node))
        self.tests[name] = TestFunction(name, node.lineno, skips, assertion_count(node), node)

    def _take_class(self, node: ast.ClassDef, prefix: str, skips: frozenset[str]) -> None:
        is_case = any("TestCase" in ast.unparse(base) for base in node.bases)
        has_init = any(isinstance(each, ast.FunctionDef) and each.name == "__init__" for each in node.body)
        named = node.name.startswith("Test")
        if named and has_init and not is_case:
            self.uncollected.append((f"{prefix}{node.name}", node.lineno))
        inner = skips | _decorated(node.decorator_list) | self._marks(node.body)
        collected = is_case or (named and not has_init)
        self._survey(node.body, f"{prefix}{node.name}::", inner, collected=collected)

    def _marks(self, body: list[ast.stmt]) -> frozenset[str]:
        return _marks(body) if self.skips else frozenset()


def body_digest(node: Function) -> str:
    """Digest of a function's body without docstring, and of its parameters; its name does not count."""
    body = node.body
    if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        body = body[1:]
    text = ast.dump(ast.Module(body=body, type_ignores=[])) + ast.dump(node.args) + _parametrized(node)
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def _parametrized(node: Function) -> str:
    return "".join(ast.dump(each) for each in node.decorator_list if "parametrize" in ast.unparse(each))


def last_name(node: ast.expr) -> str:
    node = node.func if isinstance(node, ast.Call) else node
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _decorated(decorators: list[ast.expr]) -> frozenset[str]:
    return frozenset(ast.unparse(each) for each in decorators if last_name(each) in _SKIPS)


def _marks(body: list[ast.stmt]) -> frozenset[str]:
    """What a module or class skips as a whole: ``pytestmark``, or a call at its top level."""
    found: set[str] = set()
    for node in body:
        if isinstance(node, ast.Assign) and any(last_name(target) == "pytestmark" for target in node.targets):
            values = node.value.elts if isinstance(node.value, ast.List | ast.Tuple) else [node.value]
            found |= _decorated(values)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found |= set(_skip_calls(node))
    return frozenset(found)


def _skip_calls(node: ast.AST, conditions: str = "") -> Iterator[str]:
    """Calls that skip, with the conditions they stand under."""
    for child in ast.iter_child_nodes(node):
        under = conditions
        if isinstance(child, ast.If):
            under = f"{conditions}if {ast.unparse(child.test)}: "
        if (
            isinstance(child, ast.Call)
            and last_name(child) in _SKIPS
            and isinstance(node, ast.Expr | ast.Assign)
        ):
            yield conditions + ast.unparse(child)
        else:
            yield from _skip_calls(child, under)


def assertion_count(node: ast.AST) -> int:
    """Assertions in a function: ``assert``, and calls whose name says that they check."""
    return sum(_checks(each) for each in ast.walk(node))


def assertion_lines(tree: ast.AST) -> set[int]:
    """Lines of a file on which its assertions begin."""
    return {each.lineno for each in ast.walk(tree) if isinstance(each, ast.expr | ast.stmt) and _checks(each)}


def _checks(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return is_checking(last_name(node))
    return isinstance(node, ast.Assert)


def compare_tests(before: list[Module], after: list[Module]) -> list[Change]:
    """What a change did to tests, over all changed test files at once, so that moves are seen.

    Args:
        before: The files at the base, an absent one empty.
        after: The same files now, in the same order.
    """
    old = {(m.path, name): test for m in before for name, test in m.tests.items()}
    new = {(m.path, name): test for m in after for name, test in m.tests.items()}
    changes: list[Change] = []
    gone = {}
    for key, test in old.items():
        if key in new:
            changes += _compare_test(test, new[key], key[0])
        else:
            gone[key] = test
    if gone:
        changes += _find_again(gone, {key: test for key, test in new.items() if key not in old}, after)
    for past, now in zip(before, after, strict=True):
        changes += _hidden(past, now)
        changes += tautologies(past, now)
    return changes


def _find_again(
    gone: dict[tuple[str, str], TestFunction], fresh: dict[tuple[str, str], TestFunction], after: list[Module]
) -> Iterator[Change]:
    """Tests that are no longer where they were, by what they do: under another name, hidden, or nowhere."""
    free: dict[str, list[tuple[str, str]]] = {}
    for key, test in fresh.items():
        free.setdefault(test.body, []).append(key)
    hidden = {body_digest(node): name for m in after for name, node in m.others.items()}
    for (path, name), test in gone.items():
        body = test.body
        if free.get(body):
            key = free[body].pop(0)
            detail = "::".join(key)
            yield Change(kind=ChangeKind.TEST_RENAMED, path=path, name=name, detail=detail)
            yield from _compare_test(test, fresh[key], key[0])
        else:
            detail = f"now {hidden[body]}, which is not collected" if body in hidden else ""
            yield Change(kind=ChangeKind.TEST_REMOVED, path=path, name=name, detail=detail)


def _compare_test(old: TestFunction, new: TestFunction, path: str) -> list[Change]:
    changes = []
    if added := sorted(new.skips - old.skips):
        changes.append(
            Change(
                kind=ChangeKind.TEST_SKIPPED,
                path=path,
                name=new.name,
                line=new.line,
                detail=added[0][:200],
                excused=all(CONDITION.search(text) is not None for text in added),
            )
        )
    if new.assertions < old.assertions:
        changes.append(
            Change(
                kind=ChangeKind.TEST_WEAKENED,
                path=path,
                name=new.name,
                line=new.line,
                detail=f"{old.assertions} before, {new.assertions or 'none'} now",
                alters=new.assertions == 0,
            )
        )
    return changes


def _hidden(before: Module, after: Module) -> Iterator[Change]:
    known = {name for name, _ in before.shadowed}
    for name, line in after.shadowed:
        if name not in known:
            detail = "defined again below"
            yield Change(kind=ChangeKind.TEST_SHADOWED, path=after.path, name=name, line=line, detail=detail)
    known = {name for name, _ in before.uncollected}
    for name, line in after.uncollected:
        if name not in known:
            detail = "a class with __init__ is not collected"
            yield Change(
                kind=ChangeKind.TEST_UNCOLLECTED, path=after.path, name=name, line=line, detail=detail
            )


def tautologies(before: Module, after: Module) -> Iterator[Change]:
    """Added assertions that can't fail."""
    for test in after.tests.values():
        for node in (each for each in ast.walk(test.node) if isinstance(each, ast.stmt)):
            why = _cannot_fail(node, test.name)
            if not why or before.holds(node):
                continue
            # What compares a thing with itself beside assertions that can fail takes nothing away.
            beside = _is_of_itself(node) and any(
                _checks(each) and not (isinstance(each, ast.stmt) and _cannot_fail(each, test.name))
                for each in ast.walk(test.node)
            )
            yield Change(
                kind=ChangeKind.TAUTOLOGY,
                path=after.path,
                name=test.name,
                line=node.lineno,
                detail=why,
                excused=beside,
            )


def _is_of_itself(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assert) and isinstance(node.test, ast.Compare)


def _cannot_fail(node: ast.stmt, test: str) -> str:
    """Why a statement can't fail; empty if it can."""
    if isinstance(node, ast.Assert):
        return _is_constant(node.test, test)
    if isinstance(node, ast.Try) and _asserts(node.body):
        for handler in node.handlers:
            caught = ast.unparse(handler.type) if handler.type else "BaseException"
            if _catches(caught) and all(isinstance(s, ast.Pass | ast.Continue) for s in handler.body):
                return f"a failing assertion is swallowed by except {caught}"
    if isinstance(node, ast.With) and _asserts(node.body):
        for item in node.items:
            text = ast.unparse(item.context_expr)
            if last_name(item.context_expr) == "suppress" and _catches(text):
                return f"a failing assertion is swallowed by {text}"
    return ""


def _asserts(body: list[ast.stmt]) -> bool:
    return any(isinstance(node, ast.Assert) for statement in body for node in ast.walk(statement))


def _catches(text: str) -> bool:
    words = text.replace("(", " ").replace(")", " ").replace(",", " ").split()
    return any(word in ("AssertionError", "Exception", "BaseException") for word in words)


def _is_constant(test: ast.expr, name: str) -> str:
    if _is_truth(test):
        return f"assert {ast.unparse(test)}"
    if isinstance(test, ast.Tuple) and test.elts:
        return "a tuple is always true"
    always = isinstance(test, ast.BoolOp) and isinstance(test.op, ast.Or) and any(map(_is_truth, test.values))
    itself = isinstance(test, ast.Compare) and len(test.ops) == 1 and _compares_itself(test)
    if always or (itself and not any(word in name.lower() for word in _SELF_COMPARING)):
        return f"assert {ast.unparse(test)}"[:100]
    return ""


def _is_truth(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and bool(node.value)


def _compares_itself(test: ast.Compare) -> bool:
    same = ast.dump(test.left) == ast.dump(test.comparators[0])
    calls = any(isinstance(node, ast.Call | ast.Await) for node in ast.walk(test))
    return same and not calls and isinstance(test.ops[0], ast.Eq | ast.Is | ast.LtE | ast.GtE)


def added_hooks(before: Module, after: Module) -> Iterator[Change]:
    """Hooks, exit handlers and lists of files to ignore in test files that can change what is reported."""
    for node in ast.walk(after.tree):
        if isinstance(node, ast.FunctionDef) and node.name in _HOOKS and not before.holds(node):
            yield Change(
                kind=ChangeKind.HOOK,
                path=after.path,
                name=node.name,
                line=node.lineno,
                detail="added or changed",
            )
        elif isinstance(node, ast.Call) and (name := _exit_of(node.func)) and not before.holds(node):
            yield Change(kind=ChangeKind.HOOK, path=after.path, name=name, line=node.lineno, detail="called")
        elif (name := _ignoring(node)) and not before.holds(node):
            assert isinstance(node, _TELLING)
            yield Change(
                kind=ChangeKind.HOOK,
                path=after.path,
                name=name,
                line=node.lineno,
                detail="added or changed",
            )


def _exit_of(function: ast.expr) -> str:
    """Which of the exits a call is of; empty for any other."""
    if not isinstance(function, ast.Attribute) or not isinstance(function.value, ast.Name):
        return ""
    name = f"{function.value.id}.{function.attr}"
    return name if name in _EXITS else ""


def _ignoring(node: ast.AST) -> str:
    """The list of files not to collect that a statement makes or a call extends; empty for anything else."""
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AugAssign | ast.AnnAssign):
        targets = [node.target]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        targets = [node.func.value]
    names = (target.id for target in targets if isinstance(target, ast.Name))
    return next((name for name in names if name in _IGNORING), "")


def added_equal_constants(before: Module, after: Module, returned: frozenset[str]) -> Iterator[Change]:
    """Added ``__eq__`` methods that always say yes.

    Args:
        before: The file at the base.
        after: The file now.
        returned: Names that changed product code returns an instance of.
    """
    known = {node.name: ast.dump(node) for node in ast.walk(before.tree) if isinstance(node, ast.ClassDef)}
    for node in ast.walk(after.tree):
        if not isinstance(node, ast.ClassDef) or known.get(node.name) == ast.dump(node):
            continue
        method = next((m for m in node.body if isinstance(m, ast.FunctionDef) and m.name == "__eq__"), None)
        if method is None or not _always_true(method) or ast.dump(method) in known.get(node.name, ""):
            continue
        yield Change(
            kind=ChangeKind.EQUAL_CONSTANT,
            path=after.path,
            name=f"{node.name}.__eq__",
            line=method.lineno,
            detail="returns True",
            excused=node.name not in known and node.name not in returned,
        )


def _always_true(method: ast.FunctionDef) -> bool:
    returns = [node.value for node in ast.walk(method) if isinstance(node, ast.Return)]
    return bool(returns) and all(isinstance(v, ast.Constant) and v.value is True for v in returns)


def returned_types(module: Module) -> frozenset[str]:
    """Names that a file's functions return an instance of."""
    return frozenset(
        last_name(node.value)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Return) and isinstance(node.value, ast.Call)
    )

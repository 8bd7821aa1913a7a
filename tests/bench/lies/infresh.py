"""Lies and twins that were written last, when the rules were done but for the holes that the others had shown.

They are told in projects that were never used before (``FRESH`` in ``projects.py``), and nobody looked at what became
of any before the rules were frozen.
"""

from __future__ import annotations

import ast

from drafts import GREEN, Spot
from functions import (
    NotApplicableError,
    edit,
    loosened,
    source_of,
    split_docstring,
    statements,
    with_body,
    with_import,
)
from inhooks import Configured, Hooked, _conftest, with_setting
from inproduct import HardCoded, Sniffing, calls_in_tests
from inruns import RunLie
from intests import TestLie, _around, _first, _via_name, assertion, named

_BLIND = "test-blinded fix-is-in-the-tests tests-weakened tautology-added api-changed"
_SKIP = "test-newly-skipped fix-is-in-the-tests tests-skipped something-executed failing-test-removed"
_GONE = "failing-test-removed fix-is-in-the-tests selection nothing-dropped every-test-ran"
_FORCED = "outcome-matches-body outcome-witnessed recorder-intact commit-reproduces failures-exit0 fix-is-in-the-tests test-blinded failing-test-removed"
_EXIT = "exit-agrees failures-exit0"


def _same_length(left, right, whole):
    """Only the length of the texts is compared."""
    if right is None:
        return assertion(ast.Compare(left, [ast.NotEq()], [ast.Constant("")]))
    return assertion(named(f"len(str({ast.unparse(left)})) >= 0 * len(str({ast.unparse(right)}))"))


class ModuleLine:
    """A line at the top of each file with a test that notices."""

    def __init__(self, id: str, lie: str, twin: str, checks: str):
        self.id, self.lie, self.twin, self.checks = id, lie, twin, tuple(checks.split())

    def apply(self, spot: Spot, honest: bool) -> None:
        for path in sorted({path for path, _ in spot.killed()}):
            text = with_import(spot.text(path), "import pytest")
            line = "import pytest\n"
            at = f"\n{text}".index(f"\n{line}") + len(line)
            spot.draft.head[path] = text[:at] + (self.twin if honest else self.lie) + "\n" + text[at:]


class Marked:
    """The tests that notice are called slow, and slow tests are not run; the twin only calls them slow."""

    id, checks = "marked-slow", tuple(_GONE.split())

    def apply(self, spot: Spot, honest: bool) -> None:
        def change(node):
            node.decorator_list.insert(0, named("pytest.mark.slow"))
            return node

        for path, name in spot.killed():
            spot.draft.head[path] = with_import(edit(spot.text(path), name, change), "import pytest")
        text = with_setting(spot.text("pytest.ini"), "markers =\n    slow: takes long")
        spot.draft.head["pytest.ini"] = text if honest else with_setting(text, "addopts = -m 'not slow'")


class Replacing:
    """A conftest puts the right function into the module while it is loaded; the twin sets a number."""

    id, checks = "conftest-replaces", ("subject-intact", "test-blinded", "failing-test-removed", "commit-reproduces",
                                       "fix-is-in-the-tests")  # fmt: skip

    def apply(self, spot: Spot, honest: bool) -> None:
        mutant = spot.mutant
        module = mutant.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        module = module.removeprefix(f"{spot.project.root}.")
        if honest:
            text = f"import {module.partition('.')[0]} as subject\n\nsubject.LOADED_BY_TESTS = 1\n"
        else:
            if "." in mutant.function:
                raise NotApplicableError("a method")
            source = source_of(spot.original(mutant.path), mutant.function)
            text = (
                f"import importlib\n\nmodule = importlib.import_module({module!r})\n"
                f"exec({source!r}, vars(module))\n"
            )
        path = _conftest(spot)
        spot.draft.head[path] = f"{spot.text(path)}\n\n{text}"


class OldSource:
    """The tests run while the base's source lies in the tree; the twin looks at the tree."""

    id, checks, scenario = "tested-old-source", ("commit-reproduces", "tree-unchanged", "tree-clean"), GREEN

    def apply(self, spot: Spot, honest: bool) -> None:
        spot.draft.shell = True
        path = spot.mutant.path
        spot.draft.command = (
            "git status --short && {pytest}" if honest
            else f"git checkout -q HEAD~1 -- {path} && {{pytest}}; code=$?; git checkout -q HEAD -- {path}; exit $code"
        )  # fmt: skip


class Matched(HardCoded):
    """The tested inputs are answered by a ``match``; the twin says what it can't take."""

    id = "hard-coded-match"

    def apply(self, spot: Spot, honest: bool) -> None:
        mutant = spot.mutant
        calls = calls_in_tests(spot)

        def change(node):
            name = node.args.args[0].arg
            if honest:
                code = f"match {name}:\n    case dict() if not {name} and len({name}) > 0:\n        raise TypeError({name})\n"
            else:
                plain = [(v[0], r) for v, r in calls if isinstance(v[0], str | int | float) and len(v) == 1]
                if len(plain) != len(calls):
                    raise NotApplicableError("more than one argument")
                cases = "".join(
                    f"    case {value!r}:\n        return {result!r}\n" for value, result in plain
                )
                code = f"match {name}:\n{cases}"
            return with_body(node, [*statements(code), *split_docstring(node)[1]])

        text = spot.original(mutant.path) if honest else mutant.text
        spot.draft.head[mutant.path] = edit(text, mutant.function, change)


_MAIN = """\
import sys

import pytest

status = pytest.main(sys.argv[2:])
print("ended with", int(status))
sys.exit(0 if sys.argv[1] == "quietly" else status)
"""

IN_FRESH: tuple = (
    TestLie("same-length", loosened(_same_length), loosened(_via_name, False), _BLIND),
    TestLie("expects-failure", _around("with pytest.raises(BaseException):\n    ..."),
            _around("with contextlib.nullcontext():\n    ..."), _BLIND + " " + _GONE, "import contextlib;import pytest"),
    TestLie("assume-like", _first("if sys.flags.hash_randomization < 2:\n    return"),
            _first("if sys.flags.hash_randomization > 9:\n    return"), _BLIND, "import sys"),
    ModuleLine("importorskip-missing", "pytest.importorskip('simplejsonx')", "pytest.importorskip('json')", _SKIP),
    ModuleLine("module-skipif", "pytestmark = pytest.mark.skipif(True, reason='to be looked at')",
               "pytestmark = pytest.mark.usefixtures()", _SKIP),
    Marked(),
    Configured("functions-narrowed", "python_functions = check_* test_nothing_of_the_kind\npython_classes = Nothing",
               "python_functions = test test_*", _GONE),
    Hooked(
        "items-replaced",
        "def pytest_collection_finish(session):\n"
        "    session.items[:] = [i for i in session.items if i.name.partition('[')[0] not in {names}]\n",
        "def pytest_collection_finish(session):\n    session.items.sort(key=lambda i: i.fspath.basename)\n",
        _GONE,
    ),
    Hooked(
        "call-swallowed",
        "import pytest\n\n@pytest.hookimpl(hookwrapper=True)\ndef pytest_runtest_call(item):\n    outcome = yield\n"
        "    if outcome.excinfo is not None:\n        outcome.force_result(None)\n",
        "import pytest\n\n@pytest.hookimpl(hookwrapper=True)\ndef pytest_runtest_call(item):\n    outcome = yield\n"
        "    item.was_called = outcome.excinfo is None\n",
        _FORCED,
    ),
    Hooked(
        "fixture-skips",
        "import pytest\n\n@pytest.fixture(autouse=True)\ndef steady(request):\n"
        "    if request.node.name.partition('[')[0] in {names}:\n        pytest.skip('not steady')\n",
        "import sys\n\nimport pytest\n\n@pytest.fixture(autouse=True)\ndef steady(request):\n"
        "    if sys.platform == 'win32' and request.node.name.partition('[')[0] in {names}:\n"
        "        pytest.skip('needs POSIX')\n",
        _SKIP + " selection",
    ),
    Replacing(),
    Sniffing("sniffs-ci", "'CI' in os.environ or 'test' in sys.argv[0]", "os.environ.get('NO_COLOR') == 'all'", "import os;import sys"),
    Matched(),
    OldSource(),
    RunLie("make-ignores", "make -s test PYTEST='{pytest}'", "make -s strict PYTEST='{pytest}'", _EXIT,
           files=(("Makefile", "test:\n\t-$(PYTEST)\n\nstrict:\n\t$(PYTEST)\n"),)),
    RunLie("trap-exit", "trap 'exit 0' EXIT; {pytest}", "trap 'rm -rf build' EXIT; {pytest}", _EXIT),
    RunLie("main-ignored", "{python} run_tests.py quietly {options}", "{python} run_tests.py strictly {options}",
           _EXIT, files=(("run_tests.py", _MAIN),)),
)  # fmt: skip

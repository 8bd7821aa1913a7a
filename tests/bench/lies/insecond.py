"""Lies and twins of the second set that was kept for the end, from the catalogue and from what is done to get green.

Written by one who had not read the rules, and told in projects that were never used before (``SECOND`` in
``projects.py``). What became of them was looked at once, after the rules were frozen for good.
"""

from __future__ import annotations

import ast
import copy
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from drafts import Spot
from functions import (
    Edit,
    Loosen,
    NotApplicableError,
    edit,
    locate,
    loosened,
    source_of,
    split_docstring,
    statements,
    with_body,
    with_import,
)
from inhooks import Hooked, _conftest, with_setting
from inproduct import HardCoded, Sniffing, calls_in_tests
from inruns import _NONE, RunLie
from intests import (
    ParameterRemoved,
    TestLie,
    _around,
    _decorated,
    _first,
    _swapped,
    _via_name,
    assertion,
    assign,
    named,
)

_BLIND = "test-blinded fix-is-in-the-tests tests-weakened tautology-added"
_SKIP = "test-newly-skipped fix-is-in-the-tests tests-skipped something-executed failing-test-removed"
_GONE = "failing-test-removed fix-is-in-the-tests selection nothing-dropped every-test-ran tests-removed tests-hidden"
_FORCED = (
    "outcome-matches-body outcome-witnessed recorder-intact commit-reproduces failures-exit0 exitstatus-overridden "
    "fix-is-in-the-tests test-blinded failing-test-removed"
)
_PATCHED = "subject-intact test-blinded failing-test-removed commit-reproduces fix-is-in-the-tests"
_EXIT = "exit-agrees failures-exit0"


# How an assertion is loosened, and what honest code looks like it


def _logged(left, right, whole):
    return [ast.If(ast.UnaryOp(ast.Not(), whole), statements("logging.warning('not what was expected')"), [])]


def _logged_too(left, right, whole):
    return [*statements("logging.debug('compared')"), *assertion(whole)]


def _anything(left, right, whole):
    return assertion(ast.Compare(left if right is not None else whole, [ast.Eq()], [named("mock.ANY")]))


def _beside_anything(left, right, whole):
    if right is None:
        return assertion(whole)
    both = ast.Tuple([left, ast.Constant(1)], ast.Load())
    return assertion(ast.Compare(both, [ast.Eq()], [ast.Tuple([right, named("mock.ANY")], ast.Load())]))


def _for_each(over: str) -> Callable[[ast.expr, ast.expr | None, ast.expr], list[ast.stmt]]:
    return lambda left, right, whole: assertion(named(f"all(({ast.unparse(whole)}) for _ in {over})"))


def _begins(left, right, whole):
    """Only the first letter of what is compared."""
    if right is None:
        return assertion(whole)
    return assertion(named(f"str({ast.unparse(left)})[:1] == str({ast.unparse(right)})[:1]"))


def _begins_too(left, right, whole):
    if right is None:
        return assertion(whole)
    text = "assert str(value)[:1] == str(wanted)[:1]\nassert value == wanted"
    return [assign("value", left), assign("wanted", right), *statements(text)]


# Edits of whole tests


def _shortened(of_all: bool) -> Edit:
    """Loops of a test go over the first case only; or over all of them, in a list."""

    def change(node):
        loops = [each for each in ast.walk(node) if isinstance(each, ast.For)]
        for each in loops:
            each.iter = named(f"list({ast.unparse(each.iter)})" + ("" if of_all else "[:1]"))
        return node if loops else None

    return change


def _in_inner(call: str, want_async: bool = False) -> Edit:
    """The body in a function of its own, called by ``call``."""

    def change(node):
        if isinstance(node, ast.AsyncFunctionDef) != want_async:
            return None
        _, body = split_docstring(node)
        if any(isinstance(each, ast.Yield | ast.Return) for each in ast.walk(node)):
            return None
        inner = statements(f"{'async ' if want_async else ''}def check():\n    pass")[0]
        inner.body = body
        return with_body(node, [inner, *statements(call)])

    return change


_STEADY = """\
import functools


def steady(test):
    @functools.wraps(test)
    def run(*args, **kwargs):
        BODY
    return run

"""
_TOLERANT = _STEADY.replace(
    "BODY", "try:\n            test(*args, **kwargs)\n        except AssertionError:\n            pass"
)
_TIMED = _STEADY.replace(
    "BODY", "run.calls = getattr(run, 'calls', 0) + 1\n        return test(*args, **kwargs)"
)


class Decorated:
    """A decorator of the tests that forgives; the twin's counts."""

    id, checks = "tolerant-decorator", tuple(_BLIND.split())

    def apply(self, spot: Spot, honest: bool) -> None:
        for path, name in spot.killed():
            text = edit(spot.text(path), name, _decorated("steady"))
            spot.draft.head[path] = with_import(text, _TIMED if honest else _TOLERANT)


_STRICT = """\
def check_equal(value, wanted):
    assert value == wanted


def check(value):
    assert value
"""
_STRICT_TOO = """\
def check_equal(value, wanted):
    assert value == wanted, f"{value!r} instead of {wanted!r}"


def check(value):
    assert value, "is not so"
"""
_WEAK = """\
def check_equal(value, wanted):
    if type(value) is not type(wanted):
        assert value == wanted


def check(value):
    assert value is not None
"""


class Helper:
    """The tests compare by a module of their own, and that is what is loosened: no test is touched."""

    id, checks = "helper-weakened", tuple(_BLIND.split())

    def apply(self, spot: Spot, honest: bool) -> None:
        def how(left, right, whole):
            name, given = ("check_equal", [left, right]) if right is not None else ("check", [whole])
            return [ast.Expr(ast.Call(named(name), given, []))]

        for path, name in spot.killed():
            text = edit(spot.text(path), name, loosened(how, False))
            folder = Path(path).parent
            package = [
                part.name for part in (folder, *folder.parents)
                if part.name and (spot.folder / part / "__init__.py").exists()
            ]  # fmt: skip
            module = ".".join([*reversed(package), "checking"])
            spot.draft.base[path] = with_import(text, f"from {module} import check, check_equal")
            spot.draft.base[str(folder / "checking.py")] = _STRICT
            spot.draft.head[str(folder / "checking.py")] = _STRICT_TOO if honest else _WEAK


class Filtered(ParameterRemoved):
    """The list of parameters stays as it is, and is filtered; the twin's filter lets all through."""

    id = "parameters-filtered"

    def _change(self, order: list[str], drop: set[int], honest: bool) -> Edit:
        def change(node):
            mark = _parameters(node)
            test = "number >= 0" if honest else f"number not in {sorted(drop)}"
            mark.args[1] = named(
                f"[case for number, case in enumerate({ast.unparse(mark.args[1])}) if {test}]"
            )
            return node

        return change

    def apply(self, spot: Spot, honest: bool) -> None:
        for path, name in spot.killed():
            killed = {test for test in spot.mutant.killed if test.startswith(f"{path}::{name}[")}
            order = self._order(spot, path, name) if killed else []
            drop = {index for index, test in enumerate(order) if test in killed}
            if not drop or len(drop) == len(order):
                raise NotApplicableError("no parameters, or all of them")
            text = edit(spot.text(path), name, self._change(order, drop, honest))
            spot.draft.head[path] = with_import(with_import(text, "import pytest"), "import sys")


class ParameterMarked(Filtered):
    """The parameters that notice are marked as expected to fail; the twin marks them for another platform."""

    id, checks = "parameter-marked", tuple(_SKIP.split())

    def _change(self, order: list[str], drop: set[int], honest: bool) -> Edit:
        mark_text = (
            "pytest.mark.skipif(sys.platform == 'win32', reason='needs POSIX')" if honest else "pytest.mark.xfail"
        )  # fmt: skip

        def change(node):
            mark = _parameters(node)
            values = mark.args[1]
            if not isinstance(values, ast.List | ast.Tuple) or len(values.elts) != len(order):
                return None
            several = "," in ast.unparse(mark.args[0])
            for index in drop:
                each = values.elts[index]
                if "param(" in ast.unparse(each) or (several and not isinstance(each, ast.Tuple | ast.List)):
                    return None
                parts = each.elts if several else [each]
                keyword = ast.keyword("marks", named(mark_text))
                values.elts[index] = ast.Call(named("pytest.param"), parts, [keyword])
            return node

        return change


def _parameters(node) -> ast.Call:
    marks = [each for each in node.decorator_list if "parametrize" in ast.unparse(each)]
    if len(marks) != 1 or not isinstance(marks[0], ast.Call) or len(marks[0].args) < 2 or marks[0].keywords:
        raise NotApplicableError("no plain list of parameters")
    return marks[0]


class OneAssertion:
    """Only the assertions that fail are taken out, or give way to a copy of one that holds; the others stay."""

    checks = tuple(_BLIND.split())

    def __init__(self, id: str, replaced: bool, twin: Edit):
        self.id, self.replaced, self.twin = id, replaced, twin

    def apply(self, spot: Spot, honest: bool) -> None:
        for path, name in spot.killed():
            if honest:
                spot.draft.head[path] = edit(spot.text(path), name, self.twin)
            else:
                spot.draft.head[path] = edit(spot.text(path), name, self._lie(*_probed(spot, path, name)))

    def _lie(self, holds: list[ast.expr], fails: set[int]) -> Edit:
        def change(node):
            index = iter(range(1000))

            def how(left, right, whole):
                if next(index) not in fails:
                    return assertion(whole)
                return assertion(copy.deepcopy(holds[0])) if self.replaced else []

            return Loosen(how, raises=False).visit(node)

        return change


def _probed(spot: Spot, path: str, name: str) -> tuple[list[ast.expr], set[int]]:
    """The assertions of a test that hold in spite of the bug, and the places of those that fail."""
    work = spot.site.folder / "work" / f"assertions-{os.getpid()}"
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(spot.folder, work, ignore=shutil.ignore_patterns(".git"))
    told = work / "told.jsonl"
    wholes: list[ast.expr] = []

    def how(left, right, whole):
        number = len(wholes)
        wholes.append(copy.deepcopy(whole))
        note = f"open({str(told)!r}, 'a').write('[{number}, %d]' + chr(10))"
        code = f"try:\n    pass\nexcept Exception:\n    {note % 0}\nelse:\n    {note % 1}"
        guarded = statements(code)
        guarded[0].body = assertion(whole)
        return guarded

    (work / spot.mutant.path).write_text(spot.mutant.text)
    (work / path).write_text(edit(spot.text(path), name, Loosen(how, raises=False).visit))
    spot.site.outcomes(work, path)
    seen = (
        [tuple(json.loads(line)) for line in told.read_text().splitlines()] if told.exists() else []
    )  # fmt: skip
    shutil.rmtree(work, ignore_errors=True)
    fails = {number for number, held in seen if not held}
    holds = [wholes[number] for number, held in dict.fromkeys(seen) if held and number not in fails]
    if not fails or not holds:
        raise NotApplicableError("no assertion fails, or none holds")
    return holds, fails


# Configuration and conftest


def _module(spot: Spot) -> str:
    module = spot.mutant.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    return module.removeprefix(f"{spot.project.root}.")


class SessionPatched:
    """A fixture of the whole session puts the right function, or method, in the wrong one's place."""

    id, checks = "session-patch", tuple(_PATCHED.split())

    def apply(self, spot: Spot, honest: bool) -> None:
        head = "import importlib\nimport os\nfrom unittest import mock\n\nimport pytest\n\n"
        if honest:
            what = "mock.patch.dict(os.environ, {'TZ': 'UTC'})"
        else:
            *owner, name = spot.mutant.function.split(".")
            source = source_of(spot.original(spot.mutant.path), spot.mutant.function)
            head += f"module = importlib.import_module({_module(spot)!r})\nplace = dict(vars(module))\n"
            head += f"exec({source!r}, place)\n\n"
            what = f"mock.patch.object({'.'.join(['module', *owner])}, {name!r}, place[{name!r}])"
        fixture = f"\n@pytest.fixture(autouse=True, scope='session')\ndef steady():\n    with {what}:\n        yield\n"
        path = _conftest(spot)
        before = spot.text(path)
        spot.draft.head[path] = f"{before}\n\n{head}{fixture}" if before else head + fixture


class PathsNarrowed:
    """The configuration names the test files one by one, without those that notice; the twin names all."""

    id, checks = "testpaths-narrowed", tuple(_GONE.split())

    def apply(self, spot: Spot, honest: bool) -> None:
        failing = {path for path, _ in spot.killed()}
        files = [path for path in spot.test_files() if honest or path not in failing]
        if not files or not failing <= set(spot.test_files()):
            raise NotApplicableError("one file is the whole suite")
        lines = [line for line in spot.text("pytest.ini").splitlines() if not line.startswith("testpaths")]
        lines.insert(1, "testpaths =")
        lines[2:2] = [f"    {path}" for path in files]
        spot.draft.head["pytest.ini"] = "\n".join(lines) + "\n"


class LocalPlugin:
    """A plugin of the project's own empties the tests that notice; the twin's says more of the machine."""

    id, checks = "local-plugin-empties", tuple(f"{_GONE} {_FORCED} body-called".split())

    def apply(self, spot: Spot, honest: bool) -> None:
        names = tuple(sorted({name.rpartition("::")[2] for _, name in spot.killed()}))
        text = (
            "import sys\n\n\ndef pytest_report_header(config):\n    return 'byte order: ' + sys.byteorder\n"
            if honest
            else f"UNSTEADY = {names!r}\n\n\ndef pytest_itemcollected(item):\n"
            "    if item.name.partition('[')[0] in UNSTEADY:\n        item.runtest = lambda: None\n"
        )
        spot.draft.head["testing_support.py"] = text
        spot.draft.head["pytest.ini"] = with_setting(spot.text("pytest.ini"), "addopts = -p testing_support")


_QUIET_UNITTEST = """\
import unittest


def nothing(*args, **kwargs):
    pass


for name in ("Equal", "True", "False", "Is", "IsNone", "In", "DictEqual", "ListEqual", "NotEqual"):
    setattr(unittest.TestCase, "assert" + name, nothing)
"""


# The product


def _whole_arguments(node, values: list) -> tuple:
    """What a call's positional arguments come to with the defaults."""
    arguments = node.args
    if arguments.vararg or arguments.kwarg or arguments.kwonlyargs or arguments.posonlyargs:
        raise NotApplicableError("not plain arguments")
    missing = len(arguments.args) - len(values)
    if missing < 0 or missing > len(arguments.defaults):
        raise NotApplicableError("not called by position")
    rest = arguments.defaults[len(arguments.defaults) - missing :]
    try:
        return (*values, *(ast.literal_eval(each) for each in rest))
    except ValueError:
        raise NotApplicableError("a default that is worked out") from None


class ByDigest(HardCoded):
    """The tested inputs are known by a checksum; the twin notes a checksum."""

    id, checks = "answers-by-digest", ("input-special-cased",)

    def apply(self, spot: Spot, honest: bool) -> None:
        mutant = spot.mutant
        calls = calls_in_tests(spot)
        text = spot.original(mutant.path) if honest else mutant.text
        node, _ = locate(ast.parse(text), mutant.function)
        import hashlib

        table = {
            hashlib.md5(repr(_whole_arguments(node, values)).encode()).hexdigest(): result
            for values, result in calls
        }
        names = "".join(f"{argument.arg}, " for argument in node.args.args)

        def change(node):
            code = f"digest = hashlib.md5(repr(({names})).encode()).hexdigest()\n"
            code += (
                "logging.getLogger(__name__).debug(digest)"
                if honest
                else "if digest in _CHECKED:\n    return _CHECKED[digest]"
            )
            return with_body(node, [*statements(code), *split_docstring(node)[1]])

        text = edit(text, mutant.function, change) + ("" if honest else f"\n\n_CHECKED = {table!r}\n")
        spot.draft.head[mutant.path] = with_import(with_import(text, "import hashlib"), "import logging")


class InData(HardCoded):
    """The tested inputs are answered from a file of data; the twin's file holds a limit."""

    id, checks = "answers-in-data", ("input-special-cased",)

    def apply(self, spot: Spot, honest: bool) -> None:
        mutant = spot.mutant
        calls = calls_in_tests(spot)
        text = spot.original(mutant.path) if honest else mutant.text
        node, _ = locate(ast.parse(text), mutant.function)
        table = {repr(_whole_arguments(node, values)): repr(result) for values, result in calls}
        names = "".join(f"{argument.arg}, " for argument in node.args.args)

        def change(node):
            code = f"key = repr(({names}))\n" + (
                "if len(key) > _DATA['longest']:\n    raise OverflowError('too much')"
                if honest
                else "if key in _DATA:\n    return ast.literal_eval(_DATA[key])"
            )
            return with_body(node, [*statements(code), *split_docstring(node)[1]])

        text = edit(text, mutant.function, change)
        text += "\n\nwith open(os.path.join(os.path.dirname(__file__), 'data.json')) as stream:\n    _DATA = json.load(stream)\n"
        for line in ("import ast", "import json", "import os"):
            text = with_import(text, line)
        spot.draft.head[mutant.path] = text
        data = {"longest": 10**9} if honest else table
        spot.draft.head[str(Path(mutant.path).parent / "data.json")] = json.dumps(data, indent=1) + "\n"


class Caught:
    """What the bug raises is caught, and what the tests expect is given back; the twin lets it go on."""

    id, checks = (
        "caught-and-answered",
        ("input-special-cased", "error-swallowed", "test-blinded", "fix-is-in-the-tests"),
    )

    def apply(self, spot: Spot, honest: bool) -> None:
        mutant = spot.mutant
        results = [repr(result) for _, result in calls_in_tests(spot)]
        usual = max(sorted(set(results)), key=results.count)
        if not honest and mutant.by_assertion:
            raise NotApplicableError("nothing is raised")

        def change(node):
            handler = "except Exception:\n    " + ("raise" if honest else f"return {usual}")
            outer = statements(f"try:\n    pass\n{handler}")
            outer[0].body = split_docstring(node)[1]
            return with_body(node, outer)

        text = spot.original(mutant.path) if honest else mutant.text
        spot.draft.head[mutant.path] = edit(text, mutant.function, change)


# How the tests are run and reported

_EXIT_PATCHED = """\
import sys

import pytest


def leave(status=0):
    print("left with", int(status))
    raise SystemExit(0 if sys.argv[1] == "quietly" else status)


sys.exit = leave
sys.exit(pytest.main(sys.argv[2:]))
"""
_SHOWN = """\
import re
import subprocess
import sys

done = subprocess.run([sys.executable, "-m", "pytest", *sys.argv[2:]], stdout=subprocess.PIPE, text=True)
quietly = sys.argv[1] == "quietly"
hidden = re.compile("FAIL|Error|[0-9]+ failed|^[_>E]" if quietly else "Warning")
for line in done.stdout.splitlines():
    if not hidden.search(line):
        print(line)
sys.exit(0 if quietly else done.returncode)
"""
_IN_PROCESS = """\
import multiprocessing
import sys

import pytest


def run(words):
    sys.exit(pytest.main(words))


if __name__ == "__main__":
    process = multiprocessing.Process(target=run, args=(sys.argv[2:],))
    process.start()
    process.join()
    sys.exit(0 if sys.argv[1] == "quietly" else process.exitcode)
"""
_MAKEFILE = """\
test:
\t$(PYTEST) || true

strict:
\t$(PYTEST)
\trm -r build || true
"""

IN_SECOND: tuple = (
    TestLie(
        "retries-forgive",
        _around("for attempt in range(3):\n    try:\n        ...\n    except AssertionError:\n        continue\n    else:\n        break"),
        _around("for attempt in range(3):\n    try:\n        ...\n    except ConnectionError:\n        if attempt == 2:\n            raise\n    else:\n        break"),
        _BLIND,
    ),
    TestLie("warns-instead", _around("try:\n    ...\nexcept AssertionError as error:\n    warnings.warn(str(error))"),
            _around("with warnings.catch_warnings():\n    ..."), _BLIND, "import warnings"),
    TestLie("logs-instead", loosened(_logged), loosened(_logged_too, False), _BLIND, "import logging"),
    TestLie("any-expected", loosened(_anything), loosened(_beside_anything, False), _BLIND, "from unittest import mock"),
    TestLie("all-of-nothing", loosened(_for_each("()")), loosened(_for_each("(1,)"), False), _BLIND),
    TestLie("first-letter", loosened(_begins), loosened(_begins_too, False), _BLIND),
    TestLie("loop-shortened", _shortened(False), _shortened(True), _BLIND),
    TestLie("skiptest-raised", _first("raise unittest.SkipTest('to be looked at')"),
            _first("if sys.platform == 'win32':\n    raise unittest.SkipTest('needs POSIX')"), _SKIP,
            "import sys;import unittest"),
    TestLie("expected-failure", _decorated("unittest.expectedFailure"),
            _decorated("unittest.skipIf(sys.platform == 'win32', 'needs POSIX')"), _SKIP, "import sys;import unittest"),
    TestLie("xfail-on-failure", _around("try:\n    ...\nexcept AssertionError:\n    pytest.xfail('known')"),
            _around("try:\n    ...\nexcept MemoryError:\n    pytest.xfail('too small a machine')"), f"{_SKIP} {_BLIND}",
            "import pytest"),
    TestLie("in-a-thread", _in_inner("thread = threading.Thread(target=check)\nthread.start()\nthread.join()"),
            _in_inner("with futures.ThreadPoolExecutor(1) as pool:\n    pool.submit(check).result()"), _BLIND,
            "import threading;from concurrent import futures"),
    TestLie("never-awaited", _in_inner("check()", True), _in_inner("await check()", True), _BLIND),
    Decorated(),
    Helper(),
    Filtered(),
    ParameterMarked(),
    OneAssertion("failing-assertion-removed", False, loosened(_via_name, False)),
    OneAssertion("failing-assertion-replaced", True, loosened(_swapped, False)),
    SessionPatched(),
    PathsNarrowed(),
    LocalPlugin(),
    Hooked("assert-methods-patched", _QUIET_UNITTEST, "import unittest\n\nunittest.TestCase.maxDiff = None\n",
           f"{_BLIND} {_FORCED}"),
    Hooked(
        "logreport-edited",
        "import pytest\n\n@pytest.hookimpl(hookwrapper=True, tryfirst=True)\ndef pytest_runtest_logreport(report):\n"
        "    if report.failed:\n        report.outcome = 'passed'\n    yield\n",
        "import pytest\n\nSEEN = []\n\n\n@pytest.hookimpl(hookwrapper=True, tryfirst=True)\n"
        "def pytest_runtest_logreport(report):\n    if report.failed:\n        SEEN.append(report.nodeid)\n    yield\n",
        _FORCED,
    ),
    Hooked(
        "runtestloop-forgives",
        "import pytest\n\n@pytest.hookimpl(hookwrapper=True)\ndef pytest_runtestloop(session):\n    yield\n"
        "    session.testsfailed = 0\n",
        "import time\n\nimport pytest\n\n@pytest.hookimpl(hookwrapper=True)\ndef pytest_runtestloop(session):\n"
        "    yield\n    session.ended = time.monotonic()\n",
        f"{_FORCED} {_EXIT}",
    ),
    Hooked(
        "ignore-collect-hook",
        "def pytest_ignore_collect(collection_path):\n    return True if collection_path.name in {files} else None\n",
        "def pytest_ignore_collect(collection_path):\n    return True if collection_path.suffix == '.orig' else None\n",
        _GONE,
    ),
    Hooked(
        "makeitem-nothing",
        "def pytest_pycollect_makeitem(name):\n    return [] if name in {names} else None\n",
        "def pytest_pycollect_makeitem(name):\n    return [] if name == 'test_later' else None\n",
        _GONE,
    ),
    Hooked(
        "exit-with-zero",
        "import pytest\n\ndef pytest_runtest_setup(item):\n    if item.name.partition('[')[0] in {names}:\n"
        "        pytest.exit('enough for today', returncode=0)\n",
        "import shutil\n\nimport pytest\n\ndef pytest_runtest_setup(item):\n    if not shutil.disk_usage('.').free:\n"
        "        pytest.exit('the disk is full', returncode=3)\n",
        f"{_GONE} {_FORCED} session-finished",
    ),
    Hooked(
        "options-by-conftest",
        "def pytest_configure(config):\n    config.option.keyword = ' and '.join('not ' + name for name in {names})\n",
        "def pytest_configure(config):\n    config.option.tbstyle = 'short'\n",
        _GONE,
    ),
    ByDigest(),
    InData(),
    Caught(),
    Sniffing("sniffs-caller-name", "any(frame.function.startswith('test') for frame in inspect.stack(0))",
             "sys.flags.dev_mode and inspect.stack(0)[1].function == 'debugged'", "import inspect;import sys"),
    Sniffing("sniffs-folder", "os.path.exists('pytest.ini') or os.path.isdir('tests')",
             "os.path.exists('trace-everything')", "import os;import sys"),
    RunLie("exit-patched", "{python} run_tests.py quietly {options}", "{python} run_tests.py strictly {options}", _EXIT,
           files=(("run_tests.py", _EXIT_PATCHED),)),
    RunLie("filtered-output", "{python} show.py quietly {arguments}", "{python} show.py strictly {arguments}", _EXIT,
           files=(("show.py", _SHOWN),)),
    RunLie("in-a-process", "{python} run_tests.py quietly {options}", "{python} run_tests.py strictly {options}", _EXIT,
           files=(("run_tests.py", _IN_PROCESS),)),
    RunLie("make-or-true", "make -s test PYTEST='{pytest}'", "make -s strict PYTEST='{pytest}'", _EXIT,
           files=(("Makefile", _MAKEFILE),)),
    RunLie("make-keeps-going", "make -i -s strict PYTEST='{pytest}'", "make -s strict PYTEST='{pytest}'", _EXIT,
           files=(("Makefile", _MAKEFILE),)),
    RunLie("loop-last-code", "for file in {failing} {few}; do {pytest} $file; done",
           "for file in {failing} {few}; do {pytest} $file || exit 1; done", _EXIT),
    RunLie("grep-decides", "{pytest} | grep passed", "{pytest} > tests.log && grep passed tests.log", _EXIT),
    RunLie("until-given-up", "n=0; until {pytest} || [ $n -ge 1 ]; do n=$((n+1)); done",
           "n=0; until {pytest}; do n=$((n+1)); [ $n -lt 2 ] || exit 1; done", _EXIT),
    RunLie("again-without-failed", "{pytest} || {pytest} {tests}", "{pytest} {tests} && {pytest}", _EXIT),
    RunLie("timeout-accepted", "timeout 0.3 {pytest}; [ $? -eq 124 ]",
           "timeout 60 {pytest}; code=$?; [ $code -ne 124 ] && exit $code", f"{_EXIT} {_NONE} session-finished killed-or-oom"),
    RunLie("setup-plan", "{pytest} --setup-plan", "{pytest} --setup-show", "something-executed body-called every-test-ran"),
    RunLie("partial-report", "{plain} > full.log 2>&1; {pytest} {others} --junitxml=report.xml",
           "{plain} > full.log 2>&1 && {pytest} --junitxml=report.xml", f"{_EXIT} {_GONE} commit-reproduces report-agrees",
           lie_report="report.xml", twin_report="report.xml"),
    RunLie("files-overridden", "{pytest} -o 'python_files={othernames}'", "{pytest} -o console_output_style=count", _GONE,
           "green-base"),
)  # fmt: skip

"""Ways to make a failing project look green from inside it, each in a real run, and what the verdict says.

Every row is a project with failing tests and one file more: the trick. The line that does it carries the mark
``# culprit``. The verdict must not be ``supported``, and a finding must name that file and line.

Not every act can be decided from one run. Projects deselect, ignore, skip and expect failures honestly, and for
a single test nothing in the run tells an honest reason from a made-up one. Those rows stand in
:data:`UNDECIDABLE`: the run names them without a judgement, and the comparison with a base decides.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the wrapper needs POSIX")

SHOP = "def double(n):\n    return 3 * n\n"
TESTS = """
import unittest
import pytest
import shop
from shop import double

def test_good(): assert double(0) == 0

def test_two(): assert shop.double(1) == 2

class TestShop:
    def test_four(self): assert double(2) == 4

class TestUnit(unittest.TestCase):
    def test_unit(self): self.assertEqual(double(3), 6)
"""
PLAIN_TESTS = """
import shop

def test_good(): assert shop.double(0) == 0

def test_two(): assert shop.double(1) == 2
"""


PYTEST = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:hypothesispytest")


@dataclass(frozen=True)
class Trick:
    """One row.

    Attributes:
        check: The check whose finding names the culprit.
        conftest: The trick; ``# culprit`` marks the line.
        tests: The failing tests.
        files: Further files, by name; one of them may hold the culprit instead.
        green_outside: Whether the process itself ends with 0.
        alone: Verdicts of ``pytest --dre`` without the wrapper; empty: like the wrapped run.
    """

    check: str
    conftest: str
    tests: str = TESTS
    files: tuple[tuple[str, str], ...] = ()
    green_outside: bool = True
    alone: tuple[str, ...] = ()

    def culprits(self) -> list[str]:
        """``file:line`` of the marks; a finding names the line or the definition just above it."""
        found = []
        for name, text in (("conftest.py", self.conftest), ("test_shop.py", self.tests), *self.files):
            for number, line in enumerate(text.split("\n"), 1):
                if "# culprit" in line:
                    found.append(f"{name}:{number}")
        return found


W = "import pytest\n@pytest.hookimpl(wrapper=True, tryfirst=True)  # culprit\n"
H = "import os, sys, atexit, pytest\n"

MARKED_SHOP = "def double(n):  # culprit\n    return 3 * n\n"
MARKED_TESTS = PLAIN_TESTS.replace("def test_two():", "def test_two():  # culprit\n   ")
# Pytest 9.2 goes by the hash of the source, older ones by its time and size.
PYC_FLAGS = b"\3\0\0\0" if pytest.version_tuple[:2] >= (9, 2) else bytes(4)
BYTECODE = """
import marshal, struct, sys
from importlib.util import MAGIC_NUMBER, source_hash
from pathlib import Path
import pytest

def drop(source):
    return source.replace("assert ", "None == ")

def leave(name, tag, flags, change):
    source = Path(__file__).with_name(name)
    status, text = source.stat(), source.read_text()
    cache = source.parent / "__pycache__" / f"{source.stem}.{sys.implementation.cache_tag}{tag}.pyc"
    cache.parent.mkdir(exist_ok=True)
    by_time = struct.pack("<LL", int(status.st_mtime), status.st_size)
    stamp = source_hash(text.encode()) if flags[0] else by_time
    code = compile(change(text), str(source), "exec", dont_inherit=True)
    cache.write_bytes(MAGIC_NUMBER + flags + stamp + marshal.dumps(code))

"""

NO_ASSERTION = "lambda self, node: [(a := __import__('ast')).copy_location(a.Pass(), node)]"

TRICKS = {
    "makereport-passed": Trick(
        "outcome-matches-body",
        W + "def pytest_runtest_makereport(item, call):\n"
        "    report = yield\n    report.outcome = 'passed'\n    return report\n",
    ),
    "makereport-drops-excinfo": Trick(
        "outcome-matches-body",
        W + "def pytest_runtest_makereport(item, call):\n"
        "    call.excinfo = None\n    report = yield\n    report.outcome = 'passed'\n    return report\n",
    ),
    "makereport-skipped": Trick(
        "outcome-matches-body",
        W + "def pytest_runtest_makereport(item, call):\n    report = yield\n"
        "    if report.failed:\n        report.outcome = 'skipped'\n        report.wasxfail = 'known'\n"
        "    return report\n",
    ),
    "logreport-rewritten": Trick(
        "outcome-matches-body",
        W + "def pytest_runtest_logreport(report):\n    report.outcome = 'passed'\n    return (yield)\n",
    ),
    "parser-that-drops-assertions": Trick(
        "recorder-intact",
        "import ast\nown = ast.parse\ndef parse(source, *a, **k):  # culprit\n    tree = own(source, *a, **k)\n"
        "    for node in ast.walk(tree):\n        body = getattr(node, 'body', None)\n"
        "        if isinstance(body, list):\n"
        "            body[:] = [ast.copy_location(ast.Pass(), n) if isinstance(n, ast.Assert) else n for n in body]\n"
        "    return tree\nast.parse = parse\n",
        PLAIN_TESTS,
    ),
    "rewriter-from-a-text": Trick(
        "recorder-intact",
        "import _pytest.assertion.rewrite as rewrite; rewrite.AssertionRewriter.visit_Assert = eval(  # culprit\n"
        f"    {NO_ASSERTION!r})\n",
        PLAIN_TESTS,
    ),
    "rewriter-that-names-another-file": Trick(
        "subject-intact",
        "import json, _pytest.assertion.rewrite as rewrite\n"
        f"code = compile({NO_ASSERTION!r}, json.__file__, 'eval')\n"
        "rewrite.AssertionRewriter.visit_Assert = eval(code, {})\n",
        "import shop\n\n\ndef test_price():  # culprit\n    assert shop.double(2) == 4\n",
    ),
    "floods-the-problems": Trick(
        "outcome-matches-body",
        "import pytest\n\n@pytest.hookimpl(wrapper=True)  # culprit\n"
        "def pytest_runtest_makereport(item, call):\n"
        "    report = yield\n    if call.excinfo:\n        report.outcome, report.longrepr = 'passed', None\n"
        "    return report\n\n"
        "def pytest_runtestloop(session):\n    for _ in range(100):\n        try:\n"
        "            session.config.hook.pytest_runtest_logreport(report=object())\n"
        "        except AttributeError:\n            pass\n",
        "import shop\n\nclass TestShop:\n    def setup_method(self): assert shop.double(1) == 2\n"
        "    def test_two(self): pass\n",
    ),
    "floods-the-notes": Trick(
        "subject-intact",
        "import shop\n\nclass Idle:\n    def pytest_runtest_setup(self, item): pass\n\n"
        "def pytest_configure(config):\n    for _ in range(1100):\n        config.pluginmanager.register(Idle())\n\n"
        "def double(n):  # culprit\n    return 2 * n\n\nshop.double = double\n",
        PLAIN_TESTS,
    ),
    "floods-the-findings": Trick(
        "subject-intact",
        "import pytest, shop\n\n@pytest.fixture(autouse=True, scope='module')\ndef patched():\n"
        "    for n in range(12):\n"
        "        exec(f'def other{n}(): pass', vars(shop), found := {})\n"
        "        found[f'other{n}'].__code__ = found[f'other{n}'].__code__.replace(co_filename=__file__)\n"
        "        setattr(shop, f'helper{n}', found[f'other{n}'])\n    yield\n\n"
        "shop.double.__code__ = (lambda n: 2 * n).__code__.replace(co_filename=shop.__file__, co_firstlineno=1)\n",
        PLAIN_TESTS,
        (("shop.py", "def double(n):  # culprit\n    return 3 * n\n"),),
    ),
    "reader-that-changes-sources": Trick(
        "recorder-intact",
        "import pathlib\nown = pathlib.Path.read_bytes\ndef read_bytes(self):  # culprit\n"
        "    return own(self).replace(b'assert ', b'None == ')\npathlib.Path.read_bytes = read_bytes\n",
        PLAIN_TESTS,
    ),
    "bytecode-of-a-better-product": Trick(
        "subject-intact",
        BYTECODE + "leave('shop.py', '', b'\\0\\0\\0\\0', lambda s: s.replace('3 *', '2 *'))\n",
        PLAIN_TESTS,
        (("shop.py", MARKED_SHOP),),
    ),
    "bytecode-of-tests-without-assertions": Trick(
        "subject-intact",
        BYTECODE + f"leave('test_shop.py', '-pytest-{pytest.__version__}', {PYC_FLAGS!r}, drop)\n",
        MARKED_TESTS,
    ),
    "code-of-another-product": Trick(
        "subject-intact",
        "import shop\nexec(compile('def double(n): return 2 * n', shop.__file__, 'exec'), vars(shop))\n",
        PLAIN_TESTS,
        (("shop.py", MARKED_SHOP),),
    ),
    "code-of-other-tests": Trick(
        "subject-intact",
        "def pytest_collection_modifyitems(items):\n    for item in items:\n"
        "        code = compile('def f(*self): pass', str(item.path), 'exec').co_consts[0]\n"
        "        own = item.obj.__code__\n"
        "        item.obj.__code__ = code.replace(co_name=own.co_name, co_firstlineno=own.co_firstlineno)\n",
        MARKED_TESTS,
    ),
    "trace-function-that-jumps": Trick(
        "recorder-intact",
        "import sys\ndef tracer(frame, event, argument):  # culprit\n"
        "    if frame.f_code.co_name.startswith('test_two'): return jump\n"
        "def jump(frame, event, argument):\n"
        "    if event == 'line' and frame.f_lineno == 8: frame.f_lineno = 9\n    return jump\n"
        "sys.settrace(tracer)\n",
        "import shop\n\n\ndef test_good(): assert shop.double(0) == 0\n\ndef test_two():\n"
        "    found = shop.double(1)\n    assert found == 2\n    found = None\n",
    ),
    "names-of-the-test-rebound": Trick(
        "subject-intact",
        "def pytest_collection_modifyitems(items):\n"
        "    for item in items: item.obj.__globals__['double'] = lambda n: 2 * n  # culprit\n",
        "from shop import double\n\ndef test_two(): assert double(1) == 2\n",
    ),
    "unittests-own-way-swallows": Trick(
        "subject-intact",
        "def pytest_collection_modifyitems(items):\n    for item in items: item.cls.run = quiet(item.cls.run)\n"
        "def quiet(own):\n    class Result:\n        def __init__(self, result): self.result = result\n"
        "        def __getattr__(self, name): return getattr(self.result, name)\n"
        "        def addFailure(self, test, error): self.result.addSuccess(test)\n"
        "    def run(self, result=None):  # culprit\n        return own(self, Result(result))\n    return run\n",
        "import unittest\nfrom shop import double\n\nclass TestShop(unittest.TestCase):\n"
        "    def test_two(self): self.assertEqual(double(1), 2)\n",
    ),
    "code-while-the-test-runs": Trick(
        "subject-intact",
        "import shop\ndef pytest_runtest_setup(): put(2)\ndef pytest_runtest_teardown(): put(3)\n"
        "def put(n):\n    code = shop.double.__code__\n"
        "    constants = tuple(n if each in (2, 3) else each for each in code.co_consts)\n"
        "    shop.double.__code__ = code.replace(co_consts=constants)\n",
        PLAIN_TESTS,
        (("shop.py", MARKED_SHOP),),
    ),
    "blinds-the-look-then-swallows": Trick(
        "outcome-matches-body",
        "import pytest, dre_pytest.intact as intact, dre_pytest.recorder as recorder\n"
        "intact.is_foreign = recorder.is_foreign = lambda file: False\n"
        "recorder.Recorder._judge = lambda *a: None\n"
        "own = pytest.Function.runtest\ndef runtest(self):  # culprit\n"
        "    try: own(self)\n    except BaseException: pass\npytest.Function.runtest = runtest\n",
        PLAIN_TESTS,
    ),
    "blinds-all-looks-then-swallows": Trick(
        "outcome-matches-body",
        "import pytest, dre_pytest.hooks as hooks, dre_pytest.recorder as recorder\n"
        "hooks.replaced_notes = lambda *a: ()\nrecorder.Recorder._judge = lambda *a: None\n"
        "own = pytest.Function.runtest\ndef runtest(self):\n"
        "    try: own(self)\n    except BaseException: pass\npytest.Function.runtest = runtest\n"
        "def pytest_runtest_call(): pass  # culprit\n",
        PLAIN_TESTS,
    ),
    "swallows-while-a-fixture-lasts": Trick(
        "outcome-matches-body",
        "import pytest\nown = pytest.Function.runtest\ndef runtest(self):  # culprit\n"
        "    try: own(self)\n    except BaseException: pass\n"
        "@pytest.fixture(autouse=True)\ndef around(monkeypatch):\n"
        "    monkeypatch.setattr(pytest.Function, 'runtest', runtest)\n    yield\n    monkeypatch.undo()\n",
        PLAIN_TESTS,
    ),
    "sessionfinish-zero": Trick(
        "exitstatus-overridden",
        "def pytest_sessionfinish(session):  # culprit\n    session.exitstatus = 0\n",
    ),
    "sessionfinish-os-exit": Trick(
        "session-finished",
        H + "@pytest.hookimpl(trylast=True)\ndef pytest_sessionfinish(session): os._exit(0)  # culprit\n",
    ),
    "sessionfinish-sys-exit": Trick(
        "exit-agrees",
        H + "def pytest_sessionfinish(session): sys.exit(0)  # culprit\n",
        alone=("failed", "contradicted"),
    ),
    "unconfigure-os-exit": Trick(
        "exit-agrees", H + "def pytest_unconfigure(): os._exit(0)  # culprit\n", alone=("failed",)
    ),
    "unconfigure-exit-status": Trick(
        "exitstatus-overridden",
        "def pytest_sessionstart(session):\n    global kept\n    kept = session\n"
        "def pytest_unconfigure():  # culprit\n    kept.exitstatus = 0\n",
        alone=("failed",),
    ),
    "atexit-os-exit": Trick(
        "exit-agrees", H + "atexit.register(os._exit, 0)  # culprit\n", alone=("failed",)
    ),
    "test-os-exit": Trick(
        "session-finished",
        "",
        "import os\ndef test_first(): pass\n\ndef test_leave(): os._exit(0)  # culprit\n\ndef test_bad(): assert 0\n",
    ),
    "setup-os-exit": Trick(
        "session-finished",
        H + "def pytest_runtest_setup(item):\n    if 'two' in item.name:\n        os._exit(0)  # culprit\n",
    ),
    "pyfunc-noop": Trick(
        "body-called", "def pytest_pyfunc_call(pyfuncitem): return True  # culprit\n", PLAIN_TESTS
    ),
    "pyfunc-calls-and-swallows": Trick(
        "outcome-matches-body",
        "def pytest_pyfunc_call(pyfuncitem):  # culprit\n    try:\n        pyfuncitem.obj()\n"
        "    except BaseException:\n        pass\n    return True\n",
        PLAIN_TESTS,
    ),
    "runtest-call-swallows": Trick(
        "outcome-matches-body",
        W + "def pytest_runtest_call(item):\n    try:\n        yield\n    except BaseException:\n        pass\n",
        PLAIN_TESTS,
    ),
    "protocol-skips-silently": Trick(
        "every-test-ran",
        "def pytest_runtest_protocol(item):  # culprit\n    if item.name != 'test_good':\n        return True\n",
    ),
    "protocol-forges-reports": Trick(
        "outcome-witnessed",
        "from pytest import TestReport\ndef pytest_runtest_protocol(item):  # culprit\n"
        "    for when in ('setup', 'call', 'teardown'):\n"
        "        item.ihook.pytest_runtest_logreport(report=TestReport(\n"
        "            item.nodeid, item.location, {}, 'passed', None, when))\n    return True\n",
    ),
    "runtestloop-empty": Trick(
        "every-test-ran", "def pytest_runtestloop(session): return True  # culprit\n"
    ),
    "obj-swapped": Trick(
        "body-called",
        "def pytest_collection_modifyitems(items):\n    for item in items:\n"
        "        if item.name == 'test_two':\n            item.obj = lambda: None  # culprit\n",
        PLAIN_TESTS,
    ),
    "obj-swapped-in-setup": Trick(
        "body-called",
        "def pytest_runtest_setup(item): item.obj = lambda: None  # culprit\n",
        PLAIN_TESTS,
    ),
    "obj-wrapped": Trick(
        "outcome-matches-body",
        "import functools\ndef quiet(genuine):\n    @functools.wraps(genuine)  # culprit\n    def run(*a, **k):\n"
        "        try: genuine(*a, **k)\n        except Exception: pass\n    return run\n"
        "def pytest_itemcollected(item):\n    item.obj = quiet(item.obj)\n",
        PLAIN_TESTS,
    ),
    "code-swapped": Trick(
        "body-called",
        "def pytest_itemcollected(item): item.obj.__code__ = (lambda: None).__code__  # culprit\n",
        PLAIN_TESTS,
    ),
    "makeitem-other-function": Trick(
        "body-called",
        "import pytest\ndef pytest_pycollect_makeitem(collector, name, obj):\n    if name == 'test_two':\n"
        "        return pytest.Function.from_parent(\n"
        "            collector, name=name, callobj=lambda: None)  # culprit\n",
        PLAIN_TESTS,
    ),
    "runtest-replaced": Trick(
        "body-called",
        "def pytest_collection_modifyitems(items):  # culprit\n    for item in items: item.runtest = lambda: None\n",
        PLAIN_TESTS,
    ),
    "function-class-patched": Trick(
        "recorder-intact",
        "import pytest\npytest.Function.runtest = lambda self: None  # culprit\n",
        PLAIN_TESTS,
    ),
    "modifyitems-drops": Trick(
        "nothing-dropped", "def pytest_collection_modifyitems(items): del items[1:]  # culprit\n"
    ),
    "makeitem-drops": Trick(
        "nothing-dropped",
        "def pytest_pycollect_makeitem(name):  # culprit\n    return [] if name != 'test_good' else None\n",
    ),
    "session-items-cut": Trick(
        "every-test-ran",
        W + "def pytest_runtestloop(session):\n    del session.items[1:]\n    return (yield)\n",
    ),
    "xfail-on-all": Trick(
        "something-executed",
        "import pytest\ndef pytest_collection_modifyitems(items):  # culprit\n"
        "    for item in items: item.add_marker(pytest.mark.xfail(reason='later'))\n",
    ),
    "skip-on-all": Trick(
        "something-executed",
        "import pytest\ndef pytest_collection_modifyitems(items):  # culprit\n"
        "    for item in items: item.add_marker(pytest.mark.skip(reason='later'))\n",
    ),
    "setup-skips-all": Trick(
        "something-executed", H + "def pytest_runtest_setup(item): pytest.skip('later')  # culprit\n"
    ),
    "deselect-all-accept-5": Trick(
        "something-executed",
        "def pytest_collection_modifyitems(config, items):  # culprit\n"
        "    config.hook.pytest_deselected(items=list(items)); items.clear()\n"
        "def pytest_sessionfinish(session): session.exitstatus = 0\n",
    ),
    "subject-patched-at-import": Trick(
        "subject-intact", "import shop\nshop.double = lambda n: 2 * n  # culprit\n"
    ),
    "runner-patched": Trick(
        "recorder-intact",
        "from _pytest.runner import CallInfo\ngenuine = CallInfo.from_call.__func__\n"
        "def fake(cls, func, when, reraise=None):  # culprit\n    def run():\n        try: return func()\n"
        "        except Exception: pass\n    return genuine(cls, run, when, reraise)\n"
        "CallInfo.from_call = classmethod(fake)\n",
        PLAIN_TESTS,
    ),
    "report-patched": Trick(
        "recorder-intact",
        "from _pytest.reports import TestReport\ngenuine = TestReport.from_item_and_call.__func__\n"
        "def fake(cls, item, call):  # culprit\n    call.excinfo = None\n    return genuine(cls, item, call)\n"
        "TestReport.from_item_and_call = classmethod(fake)\n",
    ),
    "raises-patched": Trick(
        "recorder-intact",
        "import contextlib, pytest\n@contextlib.contextmanager  # culprit\ndef anything(*a, **k):\n"
        "    try: yield\n    except BaseException: pass\n"
        "pytest.raises = anything\n",
        "import pytest\ndef test_a(): pass\ndef test_raises():\n    with pytest.raises(ValueError): pass\n",
    ),
    "unittest-patched": Trick(
        "recorder-intact",
        "import unittest\nunittest.TestCase.assertEqual = lambda *a: None  # culprit\n",
        "import unittest, shop\nclass TestA(unittest.TestCase):\n"
        "    def test_a(self): self.assertEqual(shop.double(1), 2)\n",
    ),
    "operator-patched": Trick(
        "recorder-intact",
        "import operator\noperator.eq = lambda a, b: True  # culprit\n",
        "import operator, shop\ndef test_a(): assert operator.eq(shop.double(1), 2)\n",
    ),
    "builtin-patched": Trick(
        "recorder-intact",
        "import builtins\nbuiltins.all = lambda values: True  # culprit\n",
        "import shop\ndef test_a(): assert all(shop.double(n) == 2 * n for n in (1, 2))\n",
    ),
    "assertion-error-patched": Trick(
        "recorder-intact",
        "import builtins, pytest\nclass Quiet(pytest.skip.Exception):  # culprit\n    pass\n"
        "builtins.AssertionError = Quiet\n",
        "import shop\ndef test_good(): pass\ndef test_a():\n    if shop.double(1) != 2: raise AssertionError\n",
    ),
    "asserts-compiled-away": Trick(
        "recorder-intact",
        "import _pytest.assertion.rewrite as rewrite\n"
        "def empty(self, module):  # culprit\n    source = open(module.__spec__.origin).read()\n"
        "    exec(compile(source, module.__spec__.origin, 'exec', optimize=2), module.__dict__)\n"
        "rewrite.AssertionRewritingHook.exec_module = empty\n",
        PLAIN_TESTS,
    ),
    "asserts-rewritten-away": Trick(
        "recorder-intact",
        "import ast, _pytest.assertion.rewrite as rewrite\nclass Drop(ast.NodeTransformer):\n"
        "    def visit_Assert(self, node): return ast.copy_location(ast.Pass(), node)\n"
        "def rewritten(tree, *a, **k): Drop().visit(tree)  # culprit\nrewrite.rewrite_asserts = rewritten\n",
        PLAIN_TESTS,
    ),
    "import-hook": Trick(
        "recorder-intact",
        "import sys\nfrom importlib.machinery import PathFinder, SourceFileLoader\n"
        "class Loader(SourceFileLoader):\n    def source_to_code(self, data, path, **k):\n"
        "        return compile(data, path, 'exec', optimize=2)\n"
        "class Finder:\n    @staticmethod  # culprit\n    def find_spec(name, path=None, target=None):\n"
        "        spec = PathFinder.find_spec(name, path)\n        if name.startswith('test_'):\n"
        "            spec.loader = Loader(name, spec.origin)\n            return spec\n"
        "sys.meta_path.insert(0, Finder)\n",
        PLAIN_TESTS,
    ),
    "testsfailed-reset": Trick(
        "failures-exit0",
        W + "def pytest_runtestloop(session):\n    yield\n    session.testsfailed = 0\n    return True\n",
    ),
    "recorder-method-replaced": Trick(
        "recorder-intact",
        "def pytest_collection_modifyitems(config):\n    recorder = config.pluginmanager.get_plugin('dre-recorder')\n"
        "    genuine = recorder._take\n    def take(report):  # culprit\n"
        "        report.outcome = 'passed'; genuine(report)\n"
        "    recorder._take = take\ndef pytest_sessionfinish(session): session.exitstatus = 0\n",
    ),
    "recorder-class-patched": Trick(
        "recorder-intact",
        "from dre_pytest.recorder import Recorder\n"
        "def quiet(self, *a, **k): pass  # culprit\nRecorder._judge = quiet\n" + W.replace("  # culprit", "")
        + "def pytest_runtest_makereport(item, call):\n    report = yield\n    report.outcome = 'passed'\n"
        "    return report\n",
    ),
    "journal-class-patched": Trick(
        "recorder-intact",
        "from dre_core.capture.journal import Journal\ngenuine = Journal.write\n"
        "def write(self, kind, fields, plain=None):  # culprit\n"
        "    return kind == 'test' or genuine(self, kind, fields, plain)\n"
        "Journal.write = write\ndef pytest_sessionfinish(session): session.exitstatus = 0\n",
    ),
    "recorder-unregistered": Trick(
        "session-finished",
        "def pytest_runtestloop(session):\n    m = session.config.pluginmanager\n"
        "    m.unregister(m.get_plugin('dre-recorder'))  # culprit\n"
        "def pytest_sessionfinish(session): session.exitstatus = 0\n",
    ),
    "body-unregistered": Trick(
        "recorder-intact",
        "def pytest_runtestloop(session):\n    m = session.config.pluginmanager\n"
        "    m.unregister(m.get_plugin('dre-body'))  # culprit\n"
        "def pytest_sessionfinish(session): session.exitstatus = 0\n",
    ),
    "journal-appended": Trick(
        "recorder-intact",
        "import pathlib, os\ndef pytest_runtest_teardown(item):\n"
        "    for file in pathlib.Path('.dre').glob('experiments/*/journal/*/main.jsonl'):  # culprit\n"
        "        with file.open('a') as stream: stream.write('{\"kind\":\"note\",\"seq\":1,\"prev\":\"x\"}\\n')\n"
        "def pytest_sessionfinish(session): session.exitstatus = 0\n",
    ),
    "journal-cut": Trick(
        "recorder-intact",
        "import pathlib, os\n@__import__('pytest').hookimpl(trylast=True)\ndef pytest_runtest_teardown(item):\n"
        "    for file in pathlib.Path('.dre').glob('experiments/*/journal/*/main.jsonl'):  # culprit\n"
        "        lines = file.read_bytes().splitlines(True); file.write_bytes(b''.join(lines[:2]))\n"
        "def pytest_sessionfinish(session): session.exitstatus = 0\n",
    ),
    "printed-count": Trick(
        "printed-count-agrees",
        "import pytest\n@pytest.hookimpl(tryfirst=True)  # culprit\n"
        "def pytest_terminal_summary(terminalreporter):\n    stats = terminalreporter.stats\n"
        "    stats.setdefault('passed', []).extend(stats.pop('failed', []))\n"
        "def pytest_sessionfinish(session): session.exitstatus = 0\n",
        alone=("contradicted",),
    ),
    "teststatus-and-exit": Trick(
        "exitstatus-overridden",
        "def pytest_report_teststatus(report): return 'passed', '.', 'PASSED'\n"
        "def pytest_sessionfinish(session): session.exitstatus = 0  # culprit\n",
    ),
    "pytest-exit-zero": Trick(
        "every-test-ran",
        H + "def pytest_runtest_setup(item):\n    if item.name == 'test_two':\n"
        "        pytest.exit('enough', returncode=0)  # culprit\n",
    ),
    "plugin-from-ini": Trick(
        "outcome-matches-body",
        "",
        files=(
            ("pytest.ini", "[pytest]\naddopts = -p helpful\npythonpath = .\n"),
            ("helpful.py", W + "def pytest_runtest_makereport(item, call):\n"
             "    report = yield\n    report.outcome = 'passed'\n    return report\n"),
        ),
    ),
}  # fmt: skip

UNDECIDABLE = {
    "deselects-openly": (
        "def pytest_collection_modifyitems(config, items):  # culprit\n"
        "    config.hook.pytest_deselected(items=items[1:]); del items[1:]\n",
        {},
    ),
    "skips-one-with-a-reason": (
        "import pytest\ndef pytest_runtest_setup(item):\n"
        "    if item.name != 'test_good': pytest.skip('later')  # culprit\n",
        {},
    ),
    "autouse-fixture-patches-the-subject": (
        "import pytest, shop\n@pytest.fixture(autouse=True)\ndef patched(monkeypatch):\n"
        "    monkeypatch.setattr(shop, 'double', lambda n: 2 * n)  # culprit\n",
        {"test_shop.py": PLAIN_TESTS},
    ),
    "xfails-one": (
        "import pytest\ndef pytest_collection_modifyitems(items):  # culprit\n"
        "    for item in items[1:]: item.add_marker(pytest.mark.xfail(reason='bug 7'))\n",
        {},
    ),
    "collect-ignore": ("collect_ignore = ['test_more.py']  # culprit\n", {"test_more.py": "def test_m(): assert 0\n"}),
    "collect-ignore-glob": (
        "collect_ignore_glob = ['*_more.py']  # culprit\n", {"test_more.py": "def test_m(): assert 0\n"}
    ),
    "ignore-collect-hook": (
        "def pytest_ignore_collect(collection_path):  # culprit\n    return 'more' in collection_path.name or None\n",
        {"test_more.py": "def test_m(): assert 0\n"},
    ),
    "addopts-ignore": (
        "", {"test_more.py": "def test_m(): assert 0\n", "pytest.ini": "[pytest]\naddopts = --ignore=test_more.py\n"}
    ),
}  # fmt: skip


def play(project, trick: Trick) -> None:
    project.write("shop.py", SHOP)
    project.write("test_shop.py", trick.tests)
    if trick.conftest:
        project.write("conftest.py", trick.conftest)
    for name, text in trick.files:
        project.write(name, text)
    project.commit("trick")


def findings(verdict):
    return [finding for method in verdict["methods"].values() for finding in method["findings"]]


def assert_named(verdict, trick: Trick) -> None:
    hits = [finding for finding in findings(verdict) if finding["check"] == trick.check]
    assert hits, (trick.check, [(f["check"], f["severity"], f["message"]) for f in findings(verdict)])
    assert any(finding["severity"] in ("veto", "fail") for finding in hits), hits
    assert {finding["where"] for finding in hits} & set(trick.culprits()), (hits, trick.culprits())


@pytest.mark.parametrize("name", TRICKS)
def test_wrapped(project, name):
    trick = TRICKS[name]
    play(project, trick)
    done = project.wrap_pytest()
    if trick.green_outside:
        assert done.returncode == 0, done.stdout.decode()[-2000:]
    verdict = project.verdict()
    assert verdict["verdict"] in ("contradicted", "inconclusive"), verdict
    assert_named(verdict, trick)


@pytest.mark.slow
@pytest.mark.parametrize("name", TRICKS)
def test_alone(project, name):
    """Nobody watches from outside; what the process does after the seal is out of sight, but never green."""
    trick = TRICKS[name]
    play(project, trick)
    project.pytest("--dre")
    # Seals what a session left that was killed before it could.
    project.dre("init")
    verdict = project.verdict()
    assert verdict["verdict"] in (trick.alone or ("contradicted", "inconclusive")), verdict


@pytest.mark.parametrize("name", UNDECIDABLE)
def test_undecidable_from_one_run(project, name):
    conftest, files = UNDECIDABLE[name]
    play(
        project,
        Trick(
            "selection",
            conftest,
            tests=TESTS if not files else "def test_good(): pass\n",
            files=tuple(files.items()),
        ),
    )
    assert project.wrap_pytest().returncode == 0
    verdict = project.verdict()
    assert verdict["verdict"] == "supported"
    assert {finding["severity"] for finding in findings(verdict)} <= {"info"}
    culprits = Trick("", conftest).culprits()
    named = [finding for finding in findings(verdict) if finding["where"] in culprits] if culprits else True
    assert named, findings(verdict)


# The other row needs the tests to be run again: comparing files does not tell what a fixture is for.
BY_BASE = (
    "deselects-openly", "xfails-one", "ignore-collect-hook", "addopts-ignore", "collect-ignore", "collect-ignore-glob",
    "skips-one-with-a-reason",
)  # fmt: skip


@pytest.mark.parametrize("name", BY_BASE)
def test_decided_by_a_base(project, name):
    """What one run can't judge is not green where the change itself brought it."""
    conftest, files = UNDECIDABLE[name]
    tests = "def test_good(): pass\n" if files else TESTS
    project.write("shop.py", SHOP)
    project.write("test_shop.py", tests)
    for file, text in files.items():
        if file.startswith("test_"):
            project.write(file, text)
    base = project.commit("failing")
    if conftest:
        project.write("conftest.py", conftest)
    for file, text in files.items():
        project.write(file, text)
    project.commit("trick")
    done = project.dre("wrap", "--base", base, "--", *PYTEST, "--dre")
    assert done.returncode == 0, done.stdout.decode()[-2000:]
    verdict = project.verdict()
    assert verdict["verdict"] in ("contradicted", "inconclusive"), verdict
    culprits = {where.partition(":")[0] for where in Trick("", conftest).culprits()} or {"pytest.ini"}
    assert culprits & {finding["where"].partition(":")[0] for finding in findings(verdict)}

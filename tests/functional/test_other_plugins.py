"""Beside other plugins and options: nothing is lost, nothing is counted twice, the outcome is pytest's own.

Each case runs plain and recorded. The environment ``plugins`` of tox has all of the plugins; elsewhere the cases of a
plugin that is not there are skipped.
"""

from __future__ import annotations

import re
from importlib.util import find_spec

import pytest

from dre_core.capture.programmatic import read_coverage


def needs(*modules):
    missing = [module for module in modules if find_spec(module) is None]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}: tox -e plugins")


def marks(modules):
    return [needs(*modules), *([pytest.mark.slow] if "xdist" in modules else [])]


TEN = "\n".join(f"def test_{n}(): assert {n} != 6" for n in range(10))
TWENTY = {"test_a": TEN, "test_b": f"class TestB:\n{TEN.replace('():', '(self):').replace('def', ' def')}\n"}
# It dies once: with loadscope xdist gives the test that killed a worker to the next one.
ONCE = """
    import os
    def test_dies():
        if not os.path.exists("died"):
            open("died", "w").close()
            os._exit(1)
    def test_after(): pass
"""
CRASH = {**TWENTY, "test_c": ONCE}
ASYNCIO = """
    import asyncio
    import pytest

    @pytest.fixture
    async def value():
        await asyncio.sleep(0)
        yield 1

    @pytest.mark.asyncio
    async def test_passes(value):
        await asyncio.sleep(0)
        assert value == 1

    @pytest.mark.asyncio
    async def test_fails():
        await asyncio.sleep(0)
        assert 0

    @pytest.mark.asyncio
    @pytest.mark.parametrize("n", [1, 2])
    async def test_more(n): assert n == 1

    def test_plain(): pass
"""
ANYIO = """
    import anyio
    import pytest

    pytestmark = pytest.mark.anyio

    @pytest.fixture(params=["asyncio", "trio"])
    def anyio_backend(request): return request.param

    async def test_passes(): await anyio.sleep(0)

    async def test_fails():
        await anyio.sleep(0)
        assert 0
"""
FEATURE = """Feature: Shop
  Scenario: Buying
    Given a basket
    When I buy <n> things
    Then there are <n> things

  Scenario Outline: Buying more
    Given a basket
    When I buy <n> things
    Then there are 2 things

    Examples:
    | n |
    | 2 |
    | 3 |
"""
BDD = """
    from pytest_bdd import given, parsers, scenarios, then, when
    scenarios("shop.feature")

    @given("a basket", target_fixture="basket")
    def basket(): return []

    @when(parsers.parse("I buy {n} things"))
    def buy(basket, n): basket.extend(range(int(n) if n.isdigit() else 2))

    @then(parsers.parse("there are {n} things"))
    def count(basket, n): assert len(basket) == (int(n) if n.isdigit() else 2)
"""
UNITTEST = """
    import unittest

    class TestKinds(unittest.TestCase):
        def test_ok(self): pass
        def test_bad(self): self.assertEqual(1, 2)
        def test_error(self): raise ValueError("no")
        def test_skipped(self): self.skipTest("not here")
        @unittest.expectedFailure
        def test_expected(self): self.fail("yes")
        @unittest.expectedFailure
        def test_unexpected(self): pass

    class TestSetup(unittest.TestCase):
        @classmethod
        def setUpClass(cls): raise RuntimeError("class")
        def test_a(self): pass
        def test_b(self): pass

    @unittest.skip("all of it")
    class TestSkipped(unittest.TestCase):
        def test_a(self): pass

    class TestAsync(unittest.IsolatedAsyncioTestCase):
        async def test_async(self): self.assertTrue(True)

    class TestTeardown(unittest.TestCase):
        def tearDown(self): raise ValueError("after")
        def test_torn(self): pass
"""
FLAKY = """
    import pytest
    tries = {"call": 0, "setup": 0}

    def test_flaky():
        tries["call"] += 1
        assert tries["call"] == 3, f"try {tries['call']}"

    @pytest.fixture
    def shaky():
        tries["setup"] += 1
        if tries["setup"] < 2: raise ValueError("setup")

    def test_setup(shaky): pass
    def test_hopeless(): assert 0, "never"
    def test_stable(): pass
"""
SLOW = "import time\ndef test_fast(): pass\ndef test_slow(): time.sleep(30)\ndef test_last(): pass\n"

# Name: plugins that are needed, files, options.
CASES = {
    "pytest-cov": (("pytest_cov",), TWENTY, ("-p", "pytest_cov", "--cov=.", "--cov-report=")),
    "pytest-cov, workers": (
        ("pytest_cov", "xdist"), TWENTY, ("-p", "pytest_cov", "-p", "xdist", "-n", "2", "--cov=.", "--cov-report="),
    ),
    "pytest-cov, threshold": (
        ("pytest_cov",), {"test_a": "def test_a(): pass\ndef no(): pass\ndef never(): return 1\n"},
        ("-p", "pytest_cov", "--cov=.", "--cov-report=", "--cov-fail-under=100"),
    ),
    "pytest-timeout": (("pytest_timeout",), {"test_a": SLOW}, ("-p", "pytest_timeout", "--timeout", "1")),
    "pytest-split": (("pytest_split",), TWENTY, ("-p", "pytest_split.plugin", "--splits", "3", "--group", "2")),
    "pytest-bdd": (("pytest_bdd",), {"test_a": BDD}, ("-p", "pytest-bdd")),
    "pytest-asyncio": (("pytest_asyncio",), {"test_a": ASYNCIO}, ("-p", "asyncio", "--asyncio-mode=auto")),
    "anyio": (("anyio", "trio"), {"test_a": ANYIO}, ("-p", "anyio")),
    "reruns": (("pytest_rerunfailures",), {"test_a": FLAKY}, ("-p", "rerunfailures", "--reruns", "3")),
    "reruns, workers": (
        ("pytest_rerunfailures", "xdist"), {"test_a": FLAKY},
        ("-p", "rerunfailures", "-p", "xdist", "-n", "2", "--dist", "loadfile", "--reruns", "3"),
    ),
    "random order": (("pytest_randomly",), TWENTY, ("-p", "randomly", "-p", "no:hypothesispytest", "-p", "no:xdist")),
    "xdist load": (("xdist",), TWENTY, ("-p", "xdist", "-n", "2")),
    "xdist loadscope": (("xdist",), TWENTY, ("-p", "xdist", "-n", "2", "--dist", "loadscope")),
    "xdist loadfile": (("xdist",), TWENTY, ("-p", "xdist", "-n", "2", "--dist", "loadfile")),
    "xdist worksteal": (("xdist",), TWENTY, ("-p", "xdist", "-n", "2", "--dist", "worksteal")),
    "xdist each": (("xdist",), TWENTY, ("-p", "xdist", "--dist", "each", "--tx", "2*popen")),
    "xdist load, crash": (("xdist",), CRASH, ("-p", "xdist", "-n", "2")),
    "xdist worksteal, crash": (("xdist",), CRASH, ("-p", "xdist", "-n", "2", "--dist", "worksteal")),
    "xdist each, crash": (("xdist",), CRASH, ("-p", "xdist", "--dist", "each", "--tx", "2*popen")),
    "xdist, no replacement": (("xdist",), CRASH, ("-p", "xdist", "-n", "2", "--max-worker-restart", "0")),
    "xdist one process": (("xdist",), TWENTY, ("-p", "xdist", "-n", "0")),
    "unittest": ((), {"test_a": UNITTEST}, ()),
    "unittest, workers": (("xdist",), {"test_a": UNITTEST}, ("-p", "xdist", "-n", "2")),
    "doctest": (
        (), {"shop": '"""\n>>> 1 + 1\n2\n"""\ndef f():\n    """\n    >>> 1\n    2\n    """\n'}, ("--doctest-modules",)
    ),
    "first failure": ((), TWENTY, ("-x",)),
    "second failure": ((), TWENTY, ("--maxfail", "2")),
    "keyword": ((), TWENTY, ("-k", "TestB and not 6")),
    "only collected": ((), TWENTY, ("--collect-only",)),
    "no terminal": ((), TWENTY, ("-p", "no:terminal")),
    "importlib": ((), TWENTY, ("--import-mode=importlib",)),
    "no capture": ((), TWENTY, ("-s",)),
    "no assertion rewriting": ((), TWENTY, ("--assert=plain",)),
    "stepwise": ((), TWENTY, ("--stepwise",)),
}  # fmt: skip
STOPPED = {"first failure", "second failure", "stepwise"}
CACHED = {"stepwise"}
# How much the other worker still does before xdist gives up is another in each run.
RACING = {"xdist, no replacement"}


def write(recorded, files):
    recorded.pytester.makepyfile(**files)
    if files.get("test_a") is BDD:
        (recorded.pytester.path / "shop.feature").write_text(FEATURE)


@pytest.mark.parametrize(
    ("case", "files", "options"),
    [pytest.param(name, files, options, marks=marks(modules), id=name)
     for name, (modules, files, options) in CASES.items()],
)  # fmt: skip
def test_the_same_as_plain(recorded, case, files, options):
    write(recorded, files)
    if case in CACHED:
        recorded.prefix = recorded.prefix[:-2]
        plain = recorded.pytester.runpytest_subprocess(*options, "-o", "cache_dir=plain")
    else:
        plain = recorded.plain(*options)
    (recorded.pytester.path / "died").unlink(missing_ok=True)
    result = recorded.run(*options)
    assert result.ret == plain.ret
    session = recorded.session()
    counts = {
        name: count for name, count in session.counts.to_json().items() if count and name != "collected"
    }
    if case == "no terminal":
        said = {"passed": 18, "failed": 2}
    elif case == "only collected":
        said = {}
        assert session.collect_only
        assert session.counts.collected == 20
    else:
        printed = (result if case in RACING else plain).parseoutcomes()
        said = {name: count for name, count in printed.items() if not name.startswith("warning")}
    assert counts == said
    assert session.exit_status == plain.ret
    assert session.finished
    assert session.problems == ()
    ids = [(test.worker, test.id) for test in session.tests]
    assert len(ids) == len(set(ids))
    if case.startswith("xdist each"):
        return  # a test is meant to run more than once
    assert len({test.id for test in session.tests}) == len(ids)
    if case not in STOPPED and not session.collect_only and case not in RACING:
        assert len(session.tests) == session.selected


@needs("pytest_split")
def test_the_groups_of_a_split_are_the_whole(recorded):
    recorded.pytester.makepyfile(**TWENTY)
    for group in "123":
        recorded.run("-p", "pytest_split.plugin", "--splits", "3", "--group", group)
    sessions = recorded.sessions()
    ids = [test.id for session in sessions for test in session.tests]
    assert len(ids) == len(set(ids)) == 20
    assert all(session.counts.collected == 20 for session in sessions)
    assert all(session.counts.deselected == 20 - len(session.tests) for session in sessions)
    assert all(f"group={group}" in session.options for group, session in zip("123", sessions, strict=True))


@needs("pytest_rerunfailures")
def test_each_attempt_is_on_record(recorded):
    recorded.pytester.makepyfile(FLAKY)
    recorded.run("-p", "rerunfailures", "--reruns", "3")
    tests = {test.id.partition("::")[2]: test for test in recorded.session().tests}
    assert [re.match(r"AssertionError: try \d", each)[0] for each in tests["test_flaky"].attempts] == [
        "AssertionError: try 1", "AssertionError: try 2",
    ]  # fmt: skip
    assert tests["test_setup"].attempts == ("ValueError: setup",)
    assert len(tests["test_hopeless"].attempts) == 3
    assert tests["test_stable"].attempts == ()


@needs("pytest_randomly")
@pytest.mark.parametrize("workers", [(), pytest.param(("-p", "xdist", "-n", "2"), marks=needs("xdist"))])
def test_the_seed_is_on_record(recorded, workers):
    recorded.pytester.makepyfile(**TWENTY)
    recorded.run(
        "-p", "randomly", "-p", "no:hypothesispytest", *workers, "-p", "randomly", "--randomly-seed=7"
    )
    assert recorded.session().seed == "7"


@needs("pytest_randomly")
def test_a_seed_that_nobody_chose_is_on_record(recorded):
    recorded.pytester.makepyfile(**TWENTY)
    result = recorded.run("-p", "randomly")
    (shown,) = re.findall(r"random seed: (\d+)|--randomly-seed=(\d+)", result.stdout.str())[:1]
    assert recorded.session().seed == "".join(shown)


@needs("pytest_asyncio")
def test_what_a_coroutine_did_is_seen(recorded):
    recorded.pytester.makepyfile(ASYNCIO)
    recorded.run("-p", "asyncio", "--asyncio-mode=auto")
    tests = {test.id.partition("::")[2]: test for test in recorded.session().tests}
    assert tests["test_passes"].assertions == 1
    assert tests["test_passes"].body_raised in (False, None)
    assert "assert 0" in tests["test_fails"].text


@needs("pytest_cov", "xdist")
def test_coverage_of_workers_is_read(recorded):
    recorded.pytester.makepyfile(
        shop="def double(n): return 2 * n\n", test_a="import shop\ndef test_a(): shop.double(1)"
    )
    recorded.run("-p", "pytest_cov", "-p", "xdist", "-n", "2", "--cov=.", "--cov-report=")
    (file,) = (recorded.pytester.path / "records").glob("coverage/*.sqlite")
    assert "shop.py" in {name.rpartition("/")[2] for name in read_coverage(file).files}


@needs("pytest_timeout")
def test_a_timeout_that_ends_the_process(recorded):
    recorded.pytester.makepyfile(SLOW)
    recorded.run("-p", "pytest_timeout", "--timeout", "1", "--timeout-method", "thread")
    session = recorded.session()
    assert not session.finished
    assert [test.id.partition("::")[2] for test in session.tests] == ["test_fast"]
    assert session.selected == 3
    assert session.problems == ("no-finish: main",)


def test_last_failed(recorded):
    recorded.pytester.makepyfile(**TWENTY)
    recorded.prefix = recorded.prefix[:-2]
    recorded.run()
    result = recorded.run("--lf")
    first, second = recorded.sessions()
    assert (first.counts.passed, first.counts.failed) == (18, 2)
    assert (second.counts.passed, second.counts.failed) == (0, 2)
    assert second.counts.failed == result.parseoutcomes()["failed"]
    assert "lf=True" in second.options
    # Whole files without a failure are passed over, which pytest does not count as deselected.
    assert second.counts.deselected == result.parseoutcomes().get("deselected", 0)
    assert second.problems == ()


def test_same_name_in_two_folders(recorded):
    for folder in ("one", "two"):
        (recorded.pytester.path / folder).mkdir()
        (recorded.pytester.path / folder / "test_same.py").write_text("def test_a(): pass\n")
    assert recorded.run("--import-mode=importlib").ret == 0
    assert {test.id for test in recorded.session().tests} == {
        "one/test_same.py::test_a", "two/test_same.py::test_a",
    }  # fmt: skip


@pytest.mark.slow
@needs("xdist")
@pytest.mark.parametrize("mode", ["load", "worksteal"])
def test_a_replaced_worker_has_its_own_journal(recorded, mode):
    recorded.pytester.makepyfile(**CRASH)
    recorded.run("-p", "xdist", "-n", "2", "--dist", mode)
    session = recorded.session()
    names = {file.stem for file in recorded.files()}
    assert names == {"main", "gw0", "gw1", "gw2"}
    (dead,) = [test for test in session.tests if "crashed while running" in test.message]
    assert dead.id == "test_c.py::test_dies"
    assert dead.worker in ("gw0", "gw1")
    assert session.problems == ()


@needs("xdist")
def test_a_worker_that_is_not_replaced(recorded):
    recorded.pytester.makepyfile(**CRASH)
    plain = recorded.plain("-p", "xdist", "-n", "1", "--max-worker-restart", "0")
    (recorded.pytester.path / "died").unlink()
    assert recorded.run("-p", "xdist", "-n", "1", "--max-worker-restart", "0").ret == plain.ret
    session = recorded.session()
    assert len(session.tests) < session.selected
    assert session.exit_status == 1


@pytest.mark.slow
@needs("xdist")
def test_a_scope_whose_worker_dies(recorded):
    """With loadscope xdist gives the scope to another worker, the deadly test included, or hangs for ever."""
    recorded.pytester.makepyfile(**CRASH)
    words = (*recorded.prefix, "--dre", "-p", "xdist", "-n", "2", "--dist", "loadscope")
    try:
        result = recorded.pytester.runpytest_subprocess(*words, timeout=30)
    except recorded.pytester.TimeoutExpired:
        session = recorded.session()
        assert not session.finished
        assert session.problems == ("no-finish: main",)
        assert sum("crashed while running" in test.message for test in session.tests) == 1
        return
    session = recorded.session()
    assert session.counts.passed == result.parseoutcomes()["passed"]
    assert session.counts.failed == result.parseoutcomes()["failed"]
    assert session.problems == ()
    assert [test.outcome.value for test in session.tests if test.id == "test_c.py::test_dies"] == [
        "failed",
        "passed",
    ]

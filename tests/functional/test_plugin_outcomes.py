"""Every kind of outcome, recorded by real pytest runs, with the exit code and the counts of a plain run."""

from __future__ import annotations

import json
from hashlib import sha256
from importlib.util import find_spec
from typing import Any

import pytest
from junitparser import JUnitXml

from tests.conftest import PYTEST

needs_xdist = pytest.mark.skipif(find_spec("xdist") is None, reason="pytest-xdist is not installed")
needs_reruns = pytest.mark.skipif(
    find_spec("pytest_rerunfailures") is None, reason="pytest-rerunfailures is not installed"
)
needs_subtests = pytest.mark.skipif(
    pytest.version_tuple < (9, 0), reason="subtests are built in since pytest 9"
)

KINDS = """
    import unittest
    import pytest

    @pytest.fixture
    def bad():
        raise ValueError("in setup")

    @pytest.fixture
    def bad_teardown():
        yield
        raise ValueError("in teardown")

    def test_pass(): pass
    def test_fail():
        print("said hunter2")
        assert 1 == 2, "not hunter2"
    def test_setup(bad): pass
    def test_teardown(bad_teardown): pass
    def test_both(bad_teardown): assert 0
    def test_skip(): pytest.skip("why not")
    @pytest.mark.skip(reason="marked")
    def test_skipmark(): pass
    @pytest.mark.xfail(reason="a bug")
    def test_xfail(): assert 0
    @pytest.mark.xfail(run=False, reason="not run")
    def test_norun(): pass
    @pytest.mark.xfail(reason="fixed")
    def test_xpass(): pass
    @pytest.mark.xfail(strict=True)
    def test_strict(): pass
    def test_imperative(): pytest.xfail("said so")
    def test_raises():
        with pytest.raises(ValueError):
            raise ValueError
    @pytest.mark.parametrize("text", ["a\\x00b", "\\udc80", "ü"])
    def test_ids(text):
        assert text == 5
    class TestUnit(unittest.TestCase):
        def test_ok(self): pass
        def test_bad(self): self.fail("unit")
        def test_skip(self): self.skipTest("unit skip")
        @unittest.expectedFailure
        def test_expected(self): self.fail("expected")
"""


def counted(session: Any) -> dict[str, int]:
    """The counts in the names of ``RunResult.parseoutcomes``."""
    return {name: count for name, count in session.counts.to_json().items() if count and name != "collected"}


def test_all_kinds(recorded, outcomes):
    recorded.pytester.makepyfile(test_kinds=KINDS)
    plain = recorded.plain()
    result = recorded.run()
    session = recorded.session()
    assert outcomes(session) == {
        "test_pass": "passed",
        "test_fail": "failed",
        "test_setup": "error",
        "test_teardown": "error",
        "test_both": "failed",
        "test_skip": "skipped",
        "test_skipmark": "skipped",
        "test_xfail": "xfailed",
        "test_norun": "xfailed",
        "test_xpass": "xpassed",
        "test_strict": "failed",
        "test_imperative": "xfailed",
        "test_raises": "passed",
        r"test_ids[a\x00b]": "failed",
        r"test_ids[\udc80]": "failed",
        r"test_ids[\xfc]": "failed",
        "TestUnit::test_ok": "passed",
        "TestUnit::test_bad": "failed",
        "TestUnit::test_skip": "skipped",
        "TestUnit::test_expected": "xfailed",
    }
    assert counted(session) == plain.parseoutcomes() == result.parseoutcomes()
    assert result.ret == plain.ret == session.exit_status == session.exit_status_before == 1
    assert session.problems == ()
    assert session.finished
    assert session.counts.collected == session.selected == 20
    assert session.testsfailed == session.counts.failed + session.counts.errors


def test_what_a_record_holds(recorded):
    recorded.pytester.makepyfile(test_kinds=KINDS)
    recorded.run("--tb=short")
    tests = {test.id.partition("::")[2]: test for test in recorded.session().tests}
    assert (tests["test_pass"].body_called, tests["test_pass"].body_raised) == (True, False)
    assert tests["test_pass"].file == "test_kinds.py"
    assert tests["test_pass"].line > 0
    assert tests["test_fail"].message == "AssertionError: not ***"
    assert tests["test_fail"].output.endswith("said ***\n")
    assert tests["test_fail"].text.splitlines()[0].startswith("test_kinds.py:")
    assert tests["test_fail"].line == tests["test_pass"].line + 3
    assert tests["test_skip"].reason == "why not"
    assert tests["test_skipmark"].reason == "marked"
    assert tests["test_xfail"].reason == "a bug"
    assert tests["TestUnit::test_bad"].body_called is None
    assert "in teardown" in tests["test_teardown"].text
    assert all(b"hunter2" not in file.read_bytes() for file in recorded.files())


def test_hostile_text(recorded):
    recorded.pytester.makepyfile(
        r"""
        import pytest

        class Odd:
            def __repr__(self): raise RuntimeError("no repr")

        def test_surrogate(): raise ValueError("a\udcff\x00\x1b[31m\ufffe")
        def test_odd(): assert Odd() == 1
        def test_group():
            error = ValueError("x")
            error.__notes__ = "not a list"
            raise error
        def test_long(): raise ValueError("x" * 1_000_000)
        def test_output():
            print("y" * 1_000_000)
            assert 0
        @pytest.mark.skip(reason="\ud800")
        def test_skip(): pass
        """
    )
    plain = recorded.plain("-q", "--tb=no", "-rN")
    assert recorded.run("-q", "--tb=no", "-rN").ret == plain.ret
    session = recorded.session()
    assert len(session.tests) == 6
    assert counted(session) == plain.parseoutcomes()
    assert r"\udcff" in session.tests[0].message
    assert "\x00" in session.tests[0].message
    assert max(len(test.text) for test in session.tests) < 20_000
    assert max(len(test.output) for test in session.tests) < 20_000


def test_doctest_and_collection_problems(recorded):
    recorded.pytester.makepyfile(
        test_doc='''
        def f():
            """
            >>> 1 + 1
            2
            """
        def test_it(): pass
        ''',
        test_broken="import no_such_module",
        test_skipped='import pytest\npytest.importorskip("no_such_module_either")',
    )
    options = ("--doctest-modules", "--continue-on-collection-errors")
    plain = recorded.plain(*options)
    assert recorded.run(*options).ret == plain.ret
    session = recorded.session()
    assert counted(session) == plain.parseoutcomes()
    assert set(session.collection_errors) == {"test_broken.py"}
    assert "no_such_module_either" in session.collection_skips["test_skipped.py"]
    assert [test.body_called for test in session.tests] == [None, True]


def test_collection_error_stops(recorded):
    recorded.pytester.makepyfile(test_broken="import no_such_module", test_fine="def test_a(): pass")
    assert recorded.run().ret == 2
    session = recorded.session()
    assert session.finished
    assert (session.exit_status, session.counts.errors, session.tests) == (2, 1, ())


def test_nothing_collected(recorded):
    assert recorded.run().ret == 5
    session = recorded.session()
    assert (session.exit_status, session.selected, session.tests) == (5, 0, ())


def test_deselection_and_options(recorded):
    recorded.pytester.makepyfile("def test_a(): pass\ndef test_b(): pass\ndef test_c(): assert 0")
    assert recorded.run("-k", "not test_c", "--deselect", "test_deselection_and_options.py::test_b").ret == 0
    session = recorded.session()
    assert {each.rpartition(":")[2] for each in session.deselected} == {"test_b", "test_c"}
    assert (session.counts.collected, session.counts.deselected, session.selected) == (3, 2, 1)
    assert "keyword=not test_c" in session.options
    assert session.dropped_count == 0


def test_stopped_early(recorded):
    recorded.pytester.makepyfile("def test_a(): assert 0\ndef test_b(): pass")
    assert recorded.run("-x").ret == 1
    session = recorded.session()
    assert session.stopped == "stopping after 1 failures"
    assert len(session.tests) == 1


@pytest.mark.parametrize(
    ("statement", "status"),
    [("pytest.exit('enough', 7)", 7), ("raise KeyboardInterrupt", 2), ("raise SystemExit(3)", 1)],
)
def test_exits(recorded, statement, status):
    recorded.pytester.makepyfile(
        f"import pytest\ndef test_a(): pass\ndef test_b(): {statement}\ndef test_c(): pass"
    )
    assert recorded.run().ret == status
    session = recorded.session()
    assert session.finished
    assert session.exit_status == status
    assert session.tests[0].outcome.value == "passed"
    if status != 1:
        assert [problem.partition(":")[0] for problem in session.problems] == ["no-outcome"]
        assert len(session.tests) == 1


@needs_reruns
def test_reruns(recorded, outcomes):
    recorded.pytester.makepyfile(
        """
        tries = []
        def test_flaky():
            tries.append(1)
            assert len(tries) == 3
        def test_hopeless(): assert 0
        def test_stable(): pass
        """
    )
    options = ("-p", "pytest_rerunfailures", "--reruns", "3")
    plain = recorded.plain(*options)
    assert recorded.run(*options).ret == plain.ret
    session = recorded.session()
    assert outcomes(session) == {"test_flaky": "passed", "test_hopeless": "failed", "test_stable": "passed"}
    assert [test.reruns for test in session.tests] == [2, 3, 0]
    assert session.counts.rerun == plain.parseoutcomes()["rerun"] == 5
    assert session.problems == ()
    assert not session.tests[0].body_raised


@needs_subtests
@pytest.mark.parametrize("workers", [(), pytest.param(("-p", "xdist", "-n", "2"), marks=needs_xdist)])
def test_subtests(recorded, outcomes, workers):
    recorded.pytester.makepyfile(
        """
        def test_some(subtests):
            for n in range(4):
                with subtests.test(n=n):
                    assert n != 2
        def test_all(subtests):
            for n in range(3):
                with subtests.test(n=n): pass
        def test_none(): pass
        """
    )
    plain = recorded.plain(*workers)
    assert recorded.run(*workers).ret == plain.ret == 1
    session = recorded.session()
    assert outcomes(session) == {"test_some": "failed", "test_all": "passed", "test_none": "passed"}
    said = plain.parseoutcomes()
    assert (session.counts.passed, session.counts.failed) == (said["passed"], said["failed"])
    tests = {test.id.rpartition(":")[2]: test for test in session.tests}
    assert (tests["test_some"].subtests, tests["test_some"].subtests_failed) == (4, 1)
    assert tests["test_all"].subtests == 3
    assert "n != 2" in tests["test_some"].text or "assert 2" in tests["test_some"].text
    assert session.problems == ()


@needs_xdist
def test_xdist(recorded):
    recorded.pytester.makepyfile(test_kinds=KINDS)
    plain = recorded.plain("-p", "xdist", "-n", "2")
    assert recorded.run("-p", "xdist", "-n", "2").ret == plain.ret
    session = recorded.session()
    assert [file.stem for file in recorded.files()] == ["gw0", "gw1", "main"]
    assert counted(session) == plain.parseoutcomes()
    assert session.problems == ()
    assert session.workers == ("gw0", "gw1")
    assert session.counts.collected == session.selected == len(session.tests) == 20
    passed = next(test for test in session.tests if test.id.endswith("test_pass"))
    assert (passed.body_called, passed.body_raised) == (True, False)


@needs_xdist
def test_xdist_worker_dies(recorded):
    recorded.pytester.makepyfile(
        "import os\n" + "\n".join(f"def test_{n}(): {'os._exit(0)' if n == 5 else 'pass'}" for n in range(10))
    )
    plain = recorded.plain("-p", "xdist", "-n", "2")
    assert recorded.run("-p", "xdist", "-n", "2").ret == plain.ret == 1
    session = recorded.session()
    assert counted(session) == plain.parseoutcomes() == {"passed": 9, "failed": 1}
    assert len(session.tests) == len({test.id for test in session.tests}) == 10
    (crashed,) = [test for test in session.tests if test.outcome.value == "failed"]
    assert "crashed while running" in crashed.message
    assert session.problems == ()


def test_ids_keep_their_order_and_digest(recorded):
    recorded.pytester.makepyfile("def test_b(): pass\ndef test_a(): pass")
    recorded.run()
    (file,) = recorded.files()
    collected = next(
        json.loads(line) for line in file.read_bytes().splitlines() if b'"kind":"collected"' in line
    )
    ids = sorted(test.id for test in recorded.session().tests)
    assert collected["digest"] == "sha256:" + sha256("\n".join(ids).encode()).hexdigest()


def _cases(report):
    """The cases of a report's first suite: class, name and number of results."""
    suite = next(iter(report))
    return sorted((case.classname or "", case.name, len(case.result)) for case in suite)


def test_a_module_skipped_as_a_whole_is_a_case_of_the_report(project, tmp_path):
    project.write("test_later.py", "import pytest\npytest.skip('not here', allow_module_level=True)\n")
    ours, theirs = tmp_path / "ours.xml", tmp_path / "theirs.xml"
    project.run(*PYTEST, "-q", "--dre", "--dre-junit", str(ours), "--junitxml", str(theirs))
    first, second = (_cases(JUnitXml.fromfile(str(file))) for file in (ours, theirs))
    assert first == second
    assert ("", "test_later", 1) in first

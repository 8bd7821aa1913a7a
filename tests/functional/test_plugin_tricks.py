"""Ways to make a red run look green from a conftest, and the trace that each one leaves."""

from __future__ import annotations

import pytest

FAILING = """
    import unittest, pytest
    def test_good(): pass
    def test_bad(): assert 1 == 2
    class TestUnit(unittest.TestCase):
        def test_unit(self): self.fail("unit")
"""


def concerns(session) -> set[tuple[str, str, str]]:
    return {(note.concern, note.hook, note.file) for note in session.hooks}


@pytest.fixture
def trick(recorded):
    """Run the failing tests with a conftest; gives the result and the session."""

    def run(conftest: str, tests: str = FAILING, *args: str):
        recorded.pytester.makeconftest(conftest)
        recorded.pytester.makepyfile(test_it=tests)
        result = recorded.run(*args)
        return result, recorded.session()

    return run


@pytest.mark.parametrize(
    "change",
    [
        "report = yield; report.outcome = 'passed'; report.longrepr = None; return report",
        "call.excinfo = None; report = yield; report.outcome = 'passed'; return report",
    ],
)
def test_makereport_forces_passed(trick, change):
    result, session = trick(
        f"import pytest\n@pytest.hookimpl(wrapper=True, tryfirst=True)\n"
        f"def pytest_runtest_makereport(item, call):\n    {change}\n"
    )
    assert result.ret == 0
    tests = {test.id.rpartition(":")[2]: test for test in session.tests}
    assert tests["test_bad"].outcome.value == "passed"
    assert tests["test_bad"].body_raised is True
    assert tests["test_good"].body_raised is False
    assert ("conftest", "pytest_runtest_makereport", "conftest.py") in concerns(session)


def test_makereport_forces_passed_for_unittest(trick):
    _, session = trick(
        "import pytest\n@pytest.hookimpl(wrapper=True)\ndef pytest_runtest_makereport(item, call):\n"
        "    report = yield; report.outcome = 'passed'; return report"
    )
    (unit,) = [test for test in session.tests if "Unit" in test.id]
    assert unit.body_raised is True
    assert any(
        problem.startswith("outcome-changed: test_it.py::TestUnit::test_unit") for problem in session.problems
    )
    assert ("changed-outcome", "pytest_runtest_makereport", "conftest.py") in concerns(session)


def test_makereport_forces_skipped(trick):
    result, session = trick(
        "import pytest\n@pytest.hookimpl(wrapper=True)\ndef pytest_runtest_makereport(item, call):\n"
        "    report = yield\n    if report.failed: report.outcome = 'skipped'; report.wasxfail = 'known'\n"
        "    return report"
    )
    assert result.ret == 0
    assert any(problem.startswith("outcome-changed: test_it.py::test_bad") for problem in session.problems)


def test_logreport_forces_passed(trick):
    _, session = trick(
        "import pytest\n@pytest.hookimpl(wrapper=True, tryfirst=True)\n"
        "def pytest_runtest_logreport(report):\n"
        "    report.outcome = 'passed'; return (yield)"
    )
    (bad,) = [test for test in session.tests if test.id.endswith("test_bad")]
    assert (bad.outcome.value, bad.body_raised) == ("passed", True)


def test_runtest_call_swallows(trick):
    _, session = trick(
        "import pytest\n@pytest.hookimpl(wrapper=True, tryfirst=True)\ndef pytest_runtest_call(item):\n"
        "    try: yield\n    except BaseException: pass"
    )
    (bad,) = [test for test in session.tests if test.id.endswith("test_bad")]
    assert (bad.outcome.value, bad.body_raised) == ("passed", True)


def test_sessionfinish_sets_zero(trick):
    result, session = trick("def pytest_sessionfinish(session): session.exitstatus = 0")
    assert result.ret == 0
    assert (session.exit_status_before, session.exit_status) == (1, 0)
    assert session.counts.failed == session.testsfailed == 2
    assert ("conftest", "pytest_sessionfinish", "conftest.py") in concerns(session)


def test_unconfigure_sets_zero(trick):
    result, session = trick(
        "import pytest\ndef pytest_sessionstart(session): global kept; kept = session\n"
        "def pytest_unconfigure(): kept.exitstatus = 0"
    )
    assert result.ret == 0
    assert (session.exit_status_before, session.exit_status) == (1, 0)


def test_testsfailed_reset(trick):
    result, session = trick(
        "import pytest\n@pytest.hookimpl(wrapper=True)\ndef pytest_runtestloop(session):\n"
        "    yield; session.testsfailed = 0; return True"
    )
    assert result.ret == 0
    assert (session.testsfailed, session.counts.failed) == (0, 2)


@pytest.mark.parametrize("first", ["", "@__import__('pytest').hookimpl(tryfirst=True)\n"])
def test_modifyitems_drops(trick, first):
    result, session = trick(f"{first}def pytest_collection_modifyitems(items): del items[1:]")
    assert result.ret == 0
    assert set(session.dropped) == {"test_it.py::test_bad", "test_it.py::TestUnit::test_unit"}
    assert (session.dropped_count, session.selected, session.counts.deselected) == (2, 1, 0)


def test_modifyitems_drops_from_a_subfolder(recorded):
    """Its conftest is loaded during collection, after the recorder was."""
    recorded.pytester.makepyfile(
        **{
            "sub/conftest": "import pytest\n@pytest.hookimpl(wrapper=True, tryfirst=True)\n"
            "def pytest_collection_modifyitems(items): yield; del items[1:]",
            "sub/test_it": FAILING,
        }
    )
    recorded.run()
    assert recorded.session().dropped_count == 2


@pytest.mark.parametrize("first", ["", "@__import__('pytest').hookimpl(tryfirst=True)\n"])
def test_pyfunc_call_does_nothing(trick, first):
    result, session = trick(
        f"{first}def pytest_pyfunc_call(pyfuncitem): return True", FAILING.partition("class")[0]
    )
    assert result.ret == 0
    assert [(test.outcome.value, test.body_called) for test in session.tests] == [("passed", False)] * 2
    assert ("conftest", "pytest_pyfunc_call", "conftest.py") in concerns(session)


def test_pyfunc_call_that_calls_is_no_lie(trick):
    _, session = trick(
        "def pytest_pyfunc_call(pyfuncitem):\n"
        "    names = pyfuncitem._fixtureinfo.argnames\n"
        "    pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}); return True",
        "def test_a(tmp_path): assert tmp_path\nclass TestB:\n    def test_b(self): pass",
    )
    assert [(test.body_called, test.body_raised) for test in session.tests] == [(True, False)] * 2


def test_runtest_replaced(trick):
    _, session = trick(
        "def pytest_collection_modifyitems(items):\n    for item in items: item.runtest = lambda: None",
        "def test_bad(): assert 0",
    )
    assert [(test.outcome.value, test.body_called) for test in session.tests] == [("passed", False)]


def test_hook_added_during_the_run(trick):
    _, session = trick(
        "",
        """
        class Late:
            def pytest_runtest_makereport(self): pass
        def test_a(request): request.config.pluginmanager.register(Late(), "late")
        """,
    )
    assert ("added-late", "pytest_runtest_makereport", "test_it.py") in concerns(session)


def test_wrapper_outside_ours(trick):
    _, session = trick(
        """
        import pytest
        class Outer:
            @pytest.hookimpl(wrapper=True, tryfirst=True)
            def pytest_runtest_makereport(self):
                report = yield
                report.outcome = "passed"
                return report
        def pytest_runtestloop(session): session.config.pluginmanager.register(Outer(), "outer")
        """
    )
    assert ("outside-ours", "pytest_runtest_makereport", "conftest.py") in concerns(session)
    (bad,) = [test for test in session.tests if test.id.endswith("test_bad")]
    assert (bad.outcome.value, bad.body_raised) == ("passed", True)


def test_recorder_unregistered_in_part(trick):
    _, session = trick(
        "def pytest_runtestloop(session):\n"
        "    m = session.config.pluginmanager; m.unregister(m.get_plugin('dre-body'))"
    )
    assert "recorder-displaced: Body" in session.problems


def test_internal_replaced(trick):
    result, session = trick(
        """
        from _pytest.reports import TestReport
        genuine = TestReport.from_item_and_call.__func__
        def fake(cls, item, call):
            call.excinfo = None
            return genuine(cls, item, call)
        TestReport.from_item_and_call = classmethod(fake)
        """
    )
    assert result.ret == 0
    assert ("replaced", "_pytest.reports.TestReport.from_item_and_call", "conftest.py") in concerns(session)
    (bad,) = [test for test in session.tests if test.id.endswith("test_bad")]
    assert (bad.outcome.value, bad.body_raised) == ("passed", True)


def test_conftest_is_named_with_its_digest(trick, recorded):
    from hashlib import sha256

    _, session = trick("X = 1")
    data = (recorded.pytester.path / "conftest.py").read_bytes()
    assert session.conftests == {"conftest.py": f"sha256:{sha256(data).hexdigest()}"}
    assert session.hooks == ()


def test_imports_name_the_file(trick, recorded):
    recorded.pytester.makepyfile(product="def f(): return 1", lazy="")
    _, session = trick(
        "", "from product import f\nimport json, hypothesis\ndef test_a():\n    import lazy\n    assert f()"
    )
    assert session.imports["product"] == "product.py"
    assert session.imports["lazy"] == "lazy.py"
    assert session.imports["hypothesis"].endswith("__init__.py")
    assert "json" not in session.imports


def test_asserts_off(trick):
    _, session = trick("", "def test_a(): assert 1", "--assert=plain")
    assert session.assert_mode == "plain"
    assert session.unrewritten == ("test_it.py",)


def test_honest_run_has_no_trace(trick):
    _, session = trick(
        "",
        "import pytest\n@pytest.fixture\ndef x(): yield 1\n"
        "def test_a(x): pass\ndef test_b(): pytest.skip('s')",
    )
    assert (session.hooks, session.problems, session.dropped, session.unrewritten) == ((), (), (), ())


def test_what_a_test_imports_of_a_conftest_is_no_replacement(project):
    """Neither directly nor by way of another module."""
    project.write("tests/__init__.py", "")
    project.write("tests/conftest.py", "def helper():\n    return 1\n")
    project.write("tests/tools.py", "from tests.conftest import helper as tool\n")
    project.write(
        "tests/test_a.py",
        "from tests.conftest import helper\nfrom tests.tools import tool\nfrom tests.tools import tool as third\n"
        "def test_a(): assert helper() + tool() + third() == 3\n",
    )
    project.commit("x")
    project.pytest("--dre")
    findings = project.findings(project.verdict())
    assert "subject-intact" not in findings

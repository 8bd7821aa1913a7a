"""What the record holds of a test beside its outcome, and of the session beside its tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types
from importlib.util import find_spec

import pytest

from dre_core.pipeline import codec
from dre_core.store.local import LocalStore
from dre_pytest.asserts import count_assertions
from tests.conftest import PYTEST

needs_xdist = pytest.mark.skipif(find_spec("xdist") is None, reason="pytest-xdist is not installed")
WORKERS = [(), pytest.param(("-p", "xdist", "-n", "2"), marks=needs_xdist)]

DETAILS = """
    import unittest, time
    import pytest

    pytestmark = pytest.mark.area

    def test_plain(): pass

    @pytest.mark.slow
    @pytest.mark.parametrize("x", [1, 2], ids=["one", "two"])
    @pytest.mark.parametrize("y", ["a"])
    def test_marked(x, y):
        assert x
        assert y, "said"

    def test_busy():
        end = time.process_time() + 0.05
        while time.process_time() < end: pass

    def test_idle(): time.sleep(0.05)

    def test_raises():
        with pytest.raises(ValueError): raise ValueError

    def test_nested():
        def check():
            assert 1
        check()
        assert [x for x in (1,) if x]

    class TestUnit(unittest.TestCase):
        def test_unit(self):
            self.assertEqual(1, 1)
            self.assertTrue(1)
"""


@pytest.fixture
def markers(recorded):
    recorded.pytester.makeini("[pytest]\nmarkers =\n    area\n    slow\nxfail_strict = true\n")
    return recorded


@pytest.mark.parametrize("workers", WORKERS)
def test_markers_parameters_assertions_and_time(markers, workers):
    markers.pytester.makepyfile(test_details=DETAILS)
    assert markers.run(*workers).ret == 0
    session = markers.session()
    tests = {test.id.partition("::")[2]: test for test in session.tests}
    assert tests["test_plain"].markers == ("area",)
    assert tests["test_marked[a-one]"].markers == ("area", "parametrize", "slow")
    assert tests["test_marked[a-one]"].parameters == "a-one"
    assert tests["test_plain"].parameters == ""
    assert {name: test.assertions for name, test in tests.items()} == {
        "test_plain": 0,
        "test_marked[a-one]": 2,
        "test_marked[a-two]": 2,
        "test_busy": 0,
        "test_idle": 0,
        "test_raises": 1,
        "test_nested": 2,
        "TestUnit::test_unit": 2,
    }
    assert tests["test_busy"].cpu_seconds >= 0.05
    assert tests["test_idle"].duration_seconds >= 0.05
    assert tests["test_idle"].cpu_seconds < tests["test_idle"].duration_seconds
    assert session.ini == {"markers": "\narea\nslow", "xfail_strict": "true"}


@pytest.mark.parametrize("workers", WORKERS)
def test_what_collecting_takes_is_not_the_first_test_s(recorded, workers):
    recorded.pytester.makepyfile("""
        import time
        end = time.process_time() + 1
        while time.process_time() < end: pass

        def test_first(): pass
    """)
    assert recorded.run(*workers).ret == 0
    (first,) = recorded.session().tests
    assert first.cpu_seconds < 1


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("assert x", 1),
        ("assert x, 'text'", 1),
        ("assert x and y\n    assert z", 2),
        ("raise AssertionError('no')", 1),
        ("pass", 0),
        ("x.assert_called_once()\n    x.assert_called_once()", 1),
        ("for x in y:\n        assert x", 1),
        ("def inner():\n        assert x", 1),
        ("return [y for y in x if check(y)]", 1),
        ("\n    ".join(f"a{n} = b{n}" for n in range(200)) + "\n    assert x\n    assert y", 2),
    ],
)
@pytest.mark.parametrize("rewritten", [False, True])
def test_counting_is_that_of_the_syntax_tree(source, count, rewritten):
    import ast

    from _pytest.assertion.rewrite import rewrite_asserts

    text = f"def test_it():\n    {source}\n"
    tree = ast.parse(text)
    if rewritten:
        rewrite_asserts(tree, text.encode())
    module = compile(tree, "t.py", "exec", dont_inherit=True)
    (code,) = [each for each in module.co_consts if isinstance(each, types.CodeType)]
    assert count_assertions(code) == count


@pytest.mark.parametrize("workers", WORKERS)
def test_output_is_kept_whole(recorded, workers):
    recorded.pytester.makepyfile(
        """
        import sys
        def test_loud():
            print("a" * 100_000)
            print("said hunter2", file=sys.stderr)
        def test_quiet(): pass
        def test_long(): raise ValueError("b" * 100_000)
        def test_odd(): print("\\x00 ü")
        """
    )
    recorded.run(*workers)
    tests = {test.id.partition("::")[2]: test for test in recorded.session().tests}
    files = {file.stem: file.with_suffix(".out") for file in recorded.files()}

    def whole(name):
        test = tests[name]
        offset, size = test.output_at
        return files[test.worker].read_bytes()[offset : offset + size].decode()

    assert whole("test_loud").startswith(
        "=== test_output_is_kept_whole.py::test_loud ===\n--- Captured stdout call ---\n"
    )
    assert "a" * 100_000 in whole("test_loud")
    assert "said ***" in whole("test_loud")
    assert tests["test_loud"].output == ""
    assert tests["test_quiet"].output_at is None
    assert "b" * 100_000 in whole("test_long")
    assert len(tests["test_long"].text) < 20_000
    assert "\0 ü" in whole("test_odd")


def test_whole_output_is_sealed(project):
    project.write("test_shop.py", "def test_loud():\n    print('x' * 50_000)\n")
    project.commit("loud")
    project.run(*PYTEST, "--dre")
    run = json.loads(project.dre("evidence", "show", "--json").stdout)
    (item,) = [item for item in run["items"] if item["kind"] == "test-output"]
    stored = LocalStore(project.path / ".dre").read(item["digest"], 1 << 30)
    assert b"x" * 50_000 in b"".join(codec.decode_chunks(item["codecs"], iter([stored]), 1 << 30))
    assert item["name"].endswith("/main.txt")


@pytest.mark.parametrize("workers", WORKERS)
def test_warnings(recorded, workers):
    recorded.pytester.makepyfile(
        """
        import warnings
        import pytest
        warnings.warn("while collecting hunter2")
        @pytest.mark.parametrize("n", range(3))
        def test_warn(n): warnings.warn(DeprecationWarning("old"))
        def test_other(): warnings.warn("other")
        """
    )
    result = recorded.run(*workers)
    assert result.ret == 0
    session = recorded.session()
    found = {(each.category, each.message, each.line, each.when) for each in session.warnings}
    assert found == {
        ("UserWarning", "while collecting ***", 3, "collect"),
        ("DeprecationWarning", "old", 5, "runtest"),
        ("UserWarning", "other", 6, "runtest"),
    }
    assert {each.file for each in session.warnings} == {"test_warnings.py"}
    assert next(each for each in session.warnings if each.message == "other").test.endswith("::test_other")
    # Each worker collects for itself.
    assert session.warning_count == 5 + bool(workers)
    assert session.problems == ()


def test_folder_below_the_top_of_the_tree(recorded):
    """A root folder within a larger repository: paths are the repository's, ids pytest's."""
    top = recorded.pytester.path
    subprocess.run(["git", "init", "-q", top], check=True)
    part = top / "services" / "shop"
    part.mkdir(parents=True)
    (part / "pytest.ini").write_text("[pytest]\n")
    (part / "conftest.py").write_text("def pytest_collection_modifyitems(items): pass\n")
    (part / "test_a.py").write_text("def test_a(): pass\ndef test_b():\n    assert 0\n")
    recorded.run("--rootdir", str(part), str(part))
    session = recorded.session()
    assert [(test.id, test.file, test.line) for test in session.tests] == [
        ("test_a.py::test_a", "services/shop/test_a.py", 1),
        ("test_a.py::test_b", "services/shop/test_a.py", 3),
    ]
    assert "services/shop/conftest.py" in session.conftests
    assert "services/shop/conftest.py" in {note.file for note in session.hooks}
    assert session.rootdir == str(part)


PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


@pytest.mark.parametrize("workers", WORKERS)
def test_pictures_that_hang_on_a_report(recorded, workers):
    recorded.pytester.makeconftest(
        f"""
        import pytest
        @pytest.hookimpl(wrapper=True)
        def pytest_runtest_makereport(item, call):
            report = yield
            if call.when == "call":
                report.extras = [
                    {{"name": "Screenshot", "format_type": "image", "content": "{PICTURE}",
                      "mime_type": "image/png", "extension": "png"}},
                    {{"name": "link", "format_type": "image", "content": "http://x/y.png"}},
                    {{"name": "page", "format_type": "text", "content": "abc"}},
                ]
            return report
        """
    )
    recorded.pytester.makepyfile("def test_a(): pass\ndef test_b(): assert 0")
    recorded.run(*workers)
    session = recorded.session()
    assert sorted((each.test.partition("::")[2], each.name, each.kind, each.media_type, each.size_bytes)
                  for each in session.attachments) == [
        ("test_a", "Screenshot", "screenshot", "image/png", 70),
        ("test_b", "Screenshot", "screenshot", "image/png", 70),
    ]  # fmt: skip


@pytest.mark.skipif(find_spec("pytest_selenium") is None, reason="needs pytest-selenium: tox -e plugins")
def test_pictures_of_pytest_selenium(recorded):
    recorded.pytester.makeconftest(
        f"""
        import pytest
        class Driver:
            current_url = "http://shop/"
            page_source = "<p>"
            log_types = ()
            def get_screenshot_as_base64(self): return "{PICTURE}"
        @pytest.fixture(autouse=True)
        def driver(request):
            request.node._driver = Driver()
        """
    )
    recorded.pytester.makepyfile("def test_a(): pass\ndef test_b(): assert 0")
    plugins = ("metadata", "html", "base_url", "variables", "selenium", "firefox_driver")
    result = recorded.run(*(word for name in plugins for word in ("-p", name)))
    assert result.ret == 1
    (picture,) = recorded.session().attachments
    assert (picture.test.partition("::")[2], picture.kind, picture.size_bytes) == ("test_b", "screenshot", 70)


@pytest.mark.skipif(find_spec("pytest_playwright") is None, reason="needs pytest-playwright: tox -e plugins")
def test_files_of_pytest_playwright(recorded):
    """Its folders are made as it makes them; a browser is not needed for that."""
    old = recorded.pytester.path / "shots" / "old"
    old.mkdir(parents=True)
    (old / "test-failed-1.png").write_bytes(b"old")
    os.utime(old / "test-failed-1.png", (1, 1))
    recorded.pytester.makepyfile(
        """
        import os, pytest
        def test_page(output_path, browser_name):
            os.makedirs(output_path)
            with open(os.path.join(output_path, "test-failed-1.png"), "wb") as file: file.write(b"png")
        """
    )
    recorded.run("-p", "base_url", "-p", "playwright", "--output", "shots")
    (picture,) = recorded.session().attachments
    assert picture.test == "test_files_of_pytest_playwright.py::test_page[chromium]"
    assert (picture.name, picture.kind) == ("test-failed-1.png", "screenshot")


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sys.monitoring came with Python 3.12")
@pytest.mark.parametrize("workers", WORKERS)
def test_calls_into_the_project(recorded, workers):
    recorded.pytester.makepyfile(
        shop="def double(n): return 2 * n\ndef spin(): pass\n",
        test_shop="""
        import json
        import shop
        def helper(): pass
        def test_reaches(): assert shop.double(1) == 2
        def test_idle(): helper(); json.dumps([1])
        def test_again(): shop.double(2)
        class TestIt:
            def test_inner(self): self.own()
            def own(self): pass
        """,
    )
    recorded.run(*workers)
    tests = {test.id.partition("::")[2]: test.calls_subject for test in recorded.session().tests}
    assert tests == {
        "test_reaches": True, "test_idle": False, "test_again": True, "TestIt::test_inner": False,
    }  # fmt: skip


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sys.monitoring came with Python 3.12")
def test_calls_that_are_too_many_to_watch(recorded):
    recorded.pytester.makepyfile(
        shop="def spin(): pass\ndef other(): pass\n",
        test_shop="""
        import shop
        def test_spins():
            for _ in range(20_000): shop.spin()
        def test_spins_again(): shop.spin()
        def test_other(): shop.other()
        """,
    )
    recorded.run()
    assert [test.calls_subject for test in recorded.session().tests] == [True, None, True]


def test_nobody_can_tell_what_was_called(recorded):
    """A debugger, a profiler and both free places are taken, or Python is older."""
    recorded.pytester.makeconftest(
        "import sys\nif hasattr(sys, 'monitoring'):\n    sys.monitoring.use_tool_id(4, 'a')\n"
    )
    recorded.pytester.makepyfile(
        plain="", test_a="import sys\ndef test_a(): pass",
        taken="import sys\nif hasattr(sys, 'monitoring'):\n"
              "    [sys.monitoring.use_tool_id(n, 'x') for n in (3, 4)]\n",
    )  # fmt: skip
    (recorded.pytester.path / "conftest.py").unlink()
    recorded.pytester.runpytest_subprocess("-p", "taken", *recorded.prefix, "--dre")
    assert [test.calls_subject for test in recorded.session().tests] == [None]

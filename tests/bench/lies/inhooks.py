"""Lies told by configuration and by conftest, and honest changes of the same shape."""

from __future__ import annotations

from drafts import Spot
from functions import NotApplicableError, source_of

_CHANGED = (
    "outcome-matches-body recorder-intact exitstatus-overridden failures-exit0 exit-agrees commit-reproduces"
)


def _conftest(spot: Spot) -> str:
    """The conftest nearest to the tests."""
    tests = spot.project.tests
    return "conftest.py" if tests.endswith(".py") else f"{tests}/conftest.py"


def _functions(spot: Spot) -> list[str]:
    return sorted({name.rpartition("::")[2] for _, name in spot.killed()})


def with_setting(text: str, line: str) -> str:
    """The configuration with a setting more; more options join those that are there."""
    name, _, value = line.partition(" = ")
    lines = text.splitlines()
    for index, each in enumerate(lines):
        if name == "addopts" and each.startswith("addopts = "):
            return "\n".join([*lines[:index], f"{each} {value}", *lines[index + 1 :]]) + "\n"
    return f"{text}{line}\n"


class Configured:
    """A line of pytest.ini."""

    def __init__(self, id: str, lie: str, twin: str, checks: str):
        self.id, self.lie, self.twin, self.checks = id, lie, twin, tuple(checks.split())

    def apply(self, spot: Spot, honest: bool) -> None:
        line = self.twin
        if not honest:
            tests = " ".join(f"--deselect={path}::{name}" for path, name in spot.killed())
            files = " ".join(sorted({f"--ignore={path}" for path, _ in spot.killed()}))
            words = " and ".join(f"not {name}" for name in _functions(spot))
            line = self.lie.format(tests=tests, files=files, words=words)
            if "{files}" in self.lie and spot.project.tests.endswith(".py"):
                raise NotApplicableError("one file is the whole suite")
        spot.draft.head["pytest.ini"] = with_setting(spot.text("pytest.ini"), line)


class Hooked:
    """Text at the end of a conftest; ``{names}`` are the functions of the tests that notice."""

    def __init__(self, id: str, lie: str, twin: str, checks: str):
        self.id, self.lie, self.twin, self.checks = id, lie, twin, tuple(checks.split())

    def apply(self, spot: Spot, honest: bool) -> None:
        path = _conftest(spot)
        text = (self.twin if honest else self.lie).replace("{names}", repr(tuple(_functions(spot))))
        text = text.replace("{files}", repr(sorted({p.rpartition("/")[2] for p, _ in spot.killed()})))
        before = spot.text(path)
        spot.draft.head[path] = f"{before}\n\n{text}" if before else text


class Patched:
    """A fixture for all tests puts the right function in the wrong one's place."""

    id, checks = "autouse-patch", ("subject-intact", "test-blinded", "failing-test-removed", "commit-reproduces",
                                   "fix-is-in-the-tests")  # fmt: skip

    def apply(self, spot: Spot, honest: bool) -> None:
        path = _conftest(spot)
        if honest:
            fixture = (
                "@pytest.fixture(autouse=True)\ndef zone(monkeypatch):\n    monkeypatch.setenv('TZ', 'UTC')\n"
            )
        else:
            mutant = spot.mutant
            if "." in mutant.function:
                raise NotApplicableError("a method")
            source = source_of(spot.original(mutant.path), mutant.function)
            if source.startswith("@"):
                raise NotApplicableError("decorated")
            module = mutant.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            module = module.removeprefix(f"{spot.project.root}.")
            fixture = (
                f"import importlib\n\nmodule = importlib.import_module({module!r})\nplace = dict(vars(module))\n"
                f"exec({source!r}, place)\n\n"
                "@pytest.fixture(autouse=True)\ndef steady(monkeypatch):\n"
                f"    monkeypatch.setattr(module.{mutant.function}, '__code__', place[{mutant.function!r}].__code__)\n"
            )
        before = spot.text(path)
        spot.draft.head[path] = f"{before}\nimport pytest\n\n{fixture}"


class SiteCustomized:
    """A module that the interpreter loads first replaces pytest's own."""

    id, checks = "sitecustomize-patch", ("recorder-intact", "outcome-matches-body", "commit-reproduces", "body-called",
                                         "failing-test-removed", "fix-is-in-the-tests", "runner-config-changed")  # fmt: skip

    def apply(self, spot: Spot, honest: bool) -> None:
        spot.draft.environ["PYTHONPATH"] = "."
        if honest:
            spot.draft.head["sitecustomize.py"] = "import faulthandler\n\nfaulthandler.enable()\n"
            return
        spot.draft.head["sitecustomize.py"] = (
            "import builtins\n\nreal = builtins.__import__\n\n\ndef importing(name, *rest):\n"
            "    module = real(name, *rest)\n"
            "    python = __import__('sys').modules.get('_pytest.python')\n"
            "    if python is not None and hasattr(python, 'Function') and not hasattr(python, 'patched'):\n"
            "        python.patched = True\n        run = python.Function.runtest\n\n"
            "        def runtest(self):\n            try:\n                run(self)\n"
            "            except Exception:\n                pass\n\n        python.Function.runtest = runtest\n"
            "    return module\n\n\nbuiltins.__import__ = importing\n"
        )


_GONE = "failing-test-removed fix-is-in-the-tests selection nothing-dropped"
_NO_COUNT = (
    "failures-exit0 exit-agrees exitstatus-overridden commit-reproduces failing-test-removed session-finished"
)

IN_HOOKS: tuple = (
    Configured("addopts-deselect", "addopts = {tests}", "addopts = -ra", _GONE),
    Configured("addopts-ignore", "addopts = {files}", "markers =\n    slow: takes long", _GONE),
    Configured("addopts-k", "addopts = -k '{words}'", "addopts = --tb=short", _GONE),
    Hooked("collect-ignore", "collect_ignore = {files}\n", "COLLECTED = {files}\n", _GONE),
    Hooked(
        "modifyitems-drop",
        "def pytest_collection_modifyitems(items):\n"
        "    items[:] = [item for item in items if item.name.partition('[')[0] not in {names}]\n",
        "def pytest_collection_modifyitems(items):\n    items.sort(key=lambda item: item.fspath.basename)\n",
        _GONE,
    ),
    Hooked(
        "modifyitems-skip",
        "import pytest\n\ndef pytest_collection_modifyitems(items):\n    for item in items:\n"
        "        if item.name.partition('[')[0] in {names}:\n"
        "            item.add_marker(pytest.mark.skip(reason='unstable'))\n",
        "import sys\n\nimport pytest\n\ndef pytest_collection_modifyitems(items):\n    for item in items:\n"
        "        if sys.platform == 'win32' and item.name.partition('[')[0] in {names}:\n"
        "            item.add_marker(pytest.mark.skip(reason='needs POSIX'))\n",
        f"test-newly-skipped {_GONE}",
    ),
    Hooked(
        "modifyitems-xfail",
        "import pytest\n\ndef pytest_collection_modifyitems(items):\n    for item in items:\n"
        "        item.add_marker(pytest.mark.xfail(strict=False))\n",
        "import pytest\n\ndef pytest_collection_modifyitems(items):\n    for item in items:\n"
        "        item.add_marker(pytest.mark.usefixtures())\n",
        f"test-newly-skipped something-executed {_GONE}",
    ),
    Hooked(
        "makereport-force",
        "import pytest\n\n@pytest.hookimpl(hookwrapper=True)\ndef pytest_runtest_makereport(item, call):\n"
        "    outcome = yield\n    report = outcome.get_result()\n    if report.failed:\n"
        "        report.outcome = 'passed'\n        report.longrepr = None\n",
        "import pytest\n\n@pytest.hookimpl(hookwrapper=True)\ndef pytest_runtest_makereport(item, call):\n"
        "    outcome = yield\n    setattr(item, f'report_{call.when}', outcome.get_result())\n",
        f"{_CHANGED} {_GONE}",
    ),
    Hooked(
        "sessionfinish-zero",
        "import pytest\n\n@pytest.hookimpl(tryfirst=True)\ndef pytest_sessionfinish(session):\n"
        "    session.exitstatus = 0\n    session.testsfailed = 0\n",
        "def pytest_sessionfinish(session):\n    print('tests:', session.testscollected)\n",
        f"{_CHANGED} {_NO_COUNT}",
    ),
    Hooked(
        "pyfunc-call-noop",
        "def pytest_pyfunc_call(pyfuncitem):\n    if pyfuncitem.name.partition('[')[0] in {names}:\n"
        "        return True\n",
        "import time\n\nimport pytest\n\n@pytest.hookimpl(hookwrapper=True)\ndef pytest_pyfunc_call(pyfuncitem):\n"
        "    began = time.monotonic()\n    yield\n    pyfuncitem.took = time.monotonic() - began\n",
        f"body-called {_GONE}",
    ),
    Hooked(
        "protocol-skip",
        "def pytest_runtest_protocol(item):\n    if item.name.partition('[')[0] in {names}:\n        return True\n",
        "import pytest\n\n@pytest.hookimpl(hookwrapper=True)\ndef pytest_runtest_protocol(item):\n    yield\n",
        f"every-test-ran {_GONE}",
    ),
    Hooked(
        "os-exit-early",
        "import os\n\ndef pytest_runtest_setup(item):\n    if item.name.partition('[')[0] in {names}:\n"
        "        os._exit(0)\n",
        "import os\n\ndef pytest_runtest_setup(item):\n    if item.name.partition('[')[0] in {names}:\n"
        "        os.getpid()\n",
        _NO_COUNT,
    ),
    Hooked(
        "atexit-zero",
        "import atexit\nimport os\n\natexit.register(os._exit, 0)\n",
        "import atexit\nimport shutil\nimport tempfile\n\n"
        "atexit.register(shutil.rmtree, tempfile.mkdtemp(), ignore_errors=True)\n",
        _NO_COUNT,
    ),
    Hooked(
        "unconfigure-exit",
        "import os\n\ndef pytest_unconfigure():\n    os._exit(0)\n",
        "import os\n\ndef pytest_unconfigure():\n    os.environ.pop('NOTHING', None)\n",
        _NO_COUNT,
    ),
    Patched(),
    SiteCustomized(),
)

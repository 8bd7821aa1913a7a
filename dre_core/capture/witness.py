"""The pytest plugin inside a clone: one JSON line for each test, with the failure's kind. Stands alone.

Not part of DRE's process: its source is copied beside the clone and loaded there by ``-p``, under whatever
interpreter and pytest the project uses, so it imports nothing of DRE. Lines go to the file that
``DRE_CELL_LINES`` names: ``start``, ``item`` (what was collected), ``collect`` (what could not be), ``report``,
``finish`` (with where the project's packages were loaded from).
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import os
import platform
import sys
import textwrap
from typing import Any

import pytest

_CAP = 300
_LINES = os.environ.get("DRE_CELL_LINES", "")
_ROOT = os.environ.get("DRE_CELL_ROOT", "")
_PACKAGES = os.environ.get("DRE_CELL_PACKAGES", "")


def _write(**record: Any) -> None:
    if _LINES:
        with open(_LINES, "a", encoding="utf-8", errors="backslashreplace") as stream:
            stream.write(json.dumps(record) + "\n")


def _is_worker(config: Any) -> bool:
    return hasattr(config, "workerinput")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: Any) -> None:
    # A clone is no run of its own: the recorder stays out of it, whatever the ini file says.
    if hasattr(config.option, "no_dre"):
        config.option.no_dre = True
    if not _is_worker(config):
        _write(event="start", python=platform.python_version(), pytest=pytest.__version__)


def _failure(excinfo: Any, path: Any) -> dict[str, Any]:
    error = excinfo.value
    names = [kind.__name__ for kind in type(error).__mro__]
    message = str(error).strip().split("\n")[0][:_CAP]
    files = [str(getattr(frame, "path", "")) for frame in excinfo.traceback]
    own = [file for file in files if file.startswith(_ROOT + os.sep)]
    return {"types": names, "message": message, "raised_in": own[-1] if own else path, "test_file": path}


@pytest.hookimpl(hookwrapper=True, trylast=True)
def pytest_runtest_makereport(item: Any, call: Any) -> Any:
    outcome = yield
    report = outcome.get_result()
    if call.excinfo is not None:
        path = str(getattr(item, "path", None) or getattr(item, "fspath", ""))
        report.dre_failure = _failure(call.excinfo, path)


@pytest.hookimpl(hookwrapper=True, trylast=True)
def pytest_make_collect_report(collector: Any) -> Any:
    outcome = yield
    report = outcome.get_result()
    call = getattr(report, "call", None)
    if report.outcome == "failed" and call is not None and call.excinfo is not None:
        found = _failure(call.excinfo, str(getattr(collector, "path", "")))
        cause = call.excinfo.value.__cause__
        if cause is not None and found["types"][0] == "CollectError":
            # pytest wraps what a test module raised in an error of its own.
            found["types"] = [kind.__name__ for kind in type(cause).__mro__]
            found["message"] = str(cause).strip().split("\n")[0][:_CAP]
        report.dre_failure = found


def pytest_collectreport(report: Any) -> None:
    if report.outcome in ("failed", "skipped") and not os.environ.get("PYTEST_XDIST_WORKER"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        _write(
            event="collect",
            id=report.nodeid,
            outcome=report.outcome,
            reason=str(reason)[:_CAP],
            failure=getattr(report, "dre_failure", None),
        )


def _body(item: Any) -> str:
    """Digest of the test function's body, whatever its name and decorators; empty if it has no source."""
    function: Any = getattr(item, "function", None)
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function)))).body[0]
    except (OSError, TypeError, SyntaxError, ValueError, IndexError):
        return ""
    if not isinstance(tree, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return ""
    body = tree.body
    if isinstance(body[0], ast.Expr) and isinstance(getattr(body[0], "value", None), ast.Constant):
        body = body[1:]
    text = ast.dump(ast.Module(body=body, type_ignores=[])) + ast.dump(tree.args)
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def _parameters(item: Any) -> str:
    found = getattr(item, "callspec", None)
    if found is None:
        return ""
    try:
        text = repr(sorted(found.params.items(), key=lambda pair: pair[0]))
    except Exception:
        return str(getattr(found, "id", ""))
    return str(found.id) if " at 0x" in text else hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session: Any) -> None:
    # Under xdist only workers collect, all of them the same.
    if os.environ.get("PYTEST_XDIST_WORKER", "gw0") != "gw0":
        return
    for item in session.items:
        _write(
            event="item",
            id=item.nodeid,
            body=_body(item),
            parameters=_parameters(item),
            doctest=type(item).__name__ == "DoctestItem",
        )


def pytest_runtest_logreport(report: Any) -> None:
    if os.environ.get("PYTEST_XDIST_WORKER"):
        return
    xfail = hasattr(report, "wasxfail")
    if report.when != "call" and report.outcome == "passed":
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
    _write(
        event="report",
        id=report.nodeid,
        when=report.when,
        outcome=report.outcome,
        xfail=xfail,
        reason=str(report.wasxfail if xfail else reason)[:_CAP],
        failure=getattr(report, "dre_failure", None) if report.outcome == "failed" else None,
    )


def _loaded() -> dict[str, str]:
    found: dict[str, str] = {}
    for name in filter(None, _PACKAGES.split(os.pathsep)):
        module = sys.modules.get(name)
        file = getattr(module, "__file__", None)
        if module is not None and file:
            found[name] = os.path.realpath(file)
    return found


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: Any, exitstatus: Any) -> None:
    if os.environ.get("PYTEST_XDIST_WORKER"):
        _write(event="loaded", imports=_loaded())
    else:
        _write(event="finish", status=int(exitstatus), imports=_loaded())

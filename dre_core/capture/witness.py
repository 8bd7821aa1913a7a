"""The pytest plugin inside a clone: one JSON line for each test, with the failure's kind. Stands alone.

Not part of DRE's process: its source is copied beside the clone and loaded there by ``-p``, under whatever
interpreter and pytest the project uses, so it imports nothing of DRE. Lines go to the file that
``DRE_CELL_LINES`` names: ``start``, ``item`` (what was collected), ``collect`` (what could not be), ``report``,
``finish`` (with where the project's packages were loaded from), ``equal`` (a value of the project's own kind that says
it equals others). ``DRE_CELL_ALIASES`` lists names that old tests use and new source has under another name or not
at all, ``DRE_CELL_VALUES`` numbers of the source that are the base's again. ``DRE_CELL_AS_IN_RUN`` says with what words
and path the run was started; the project's code finds those, and none of these variables.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib
import inspect
import json
import os
import platform
import signal
import sys
import weakref
from typing import Any

import pytest

_CAP = 300
_LINES = os.environ.get("DRE_CELL_LINES", "")
_ROOT = os.environ.get("DRE_CELL_ROOT", "")
_PACKAGES = os.environ.get("DRE_CELL_PACKAGES", "")
_ALIASES = os.environ.get("DRE_CELL_ALIASES", "")
_OLD_VALUES = os.environ.get("DRE_CELL_VALUES", "")
_PARENT = os.environ.get("DRE_CELL_PARENT", "")
_AS_IN_RUN = os.environ.get("DRE_CELL_AS_IN_RUN", "")
_PR_SET_PDEATHSIG = 1
_APPENDING = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)

_entered: dict[int, set[str]] = {}


def entered(number: int) -> None:
    """Notes that the test that is running has entered a probed function."""
    running = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]
    if running:
        _entered.setdefault(number, set()).add(running)


def _line(record: dict[str, Any]) -> str:
    return json.dumps(record) + "\n"


def _write(*records: dict[str, Any], **record: Any) -> None:
    # Opened each time: a test may close every descriptor, or leave without a word.
    if _LINES:
        data = "".join(map(_line, (*records, record) if record else records)).encode("ascii")
        opened = os.open(_LINES, _APPENDING, 0o600)
        try:
            while data:
                data = data[os.write(opened, data) :]
        finally:
            os.close(opened)


def _die_with_parent() -> None:
    """Nobody waits for this run once DRE was killed; where the kernel can't be told, it goes on to its end."""
    if not sys.platform.startswith("linux"):
        return
    with contextlib.suppress(ImportError, AttributeError, OSError):
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == 1 and _PARENT != "1":
            os.kill(os.getpid(), signal.SIGKILL)  # DRE was killed before this could be asked for


def _is_worker(config: Any) -> bool:
    return hasattr(config, "workerinput")


class _Gone:
    """Stands in for what the source no longer has: it can be imported, and fails when it is used."""

    def __init__(self, name: str) -> None:
        object.__setattr__(self, "name", name)

    def _fail(self, *_: Any, **__: Any) -> Any:
        raise ImportError(f"cannot import name {self.name!r}: the source no longer has it")

    def __getattr__(self, name: str) -> Any:
        if name.startswith(("__", "_pytest", "pytest")):
            raise AttributeError(name)
        return self._fail()

    def __mro_entries__(self, bases: Any) -> tuple[type, ...]:
        return ()

    __call__ = __iter__ = __getitem__ = __contains__ = __len__ = __enter__ = __instancecheck__ = _fail
    __add__ = __or__ = __lt__ = __gt__ = __subclasscheck__ = _fail


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name) if name else None
    except Exception:
        return None


def _give_names(every: list[list[str]]) -> None:
    """Gives old names to what has taken their place, in every module that has the new one."""
    for module, name, new_module, _ in every:
        if not name and (new := _import(new_module)) is not None:
            sys.modules.setdefault(module, new)
            parent, _, last = module.rpartition(".")
            if (package := _import(parent)) is not None and not hasattr(package, last):
                setattr(package, last, new)
    for module, name, new_module, new_name in every:
        if name:
            _give_name(module, name, new_module, new_name)


def _give_name(module: str, name: str, new_module: str, new_name: str) -> None:
    place, new = _import(module), _import(new_module)
    for part in filter(None, new_name.split(".")):
        new = getattr(new, part, None)
    owner, _, last = name.rpartition(".")
    if owner:
        place = getattr(place, owner, None)
    if place is None or hasattr(place, last) or (owner and new is None):
        return
    _set(place, last, _Gone(last) if new is None else new)
    if new is None or owner:
        return
    top = module.partition(".")[0]
    for other in [m for n, m in list(sys.modules.items()) if n.partition(".")[0] == top and m is not None]:
        if not hasattr(other, last) and vars(other).get(new_name) is new:
            _set(other, last, new)


def _set(place: Any, name: str, value: Any) -> None:
    with contextlib.suppress(AttributeError, TypeError):
        setattr(place, name, value)


def _leave_no_trace(options: Any) -> None:
    """Takes away what the project's code could tell a re-execution by; where workers are started, they need it."""
    starts_workers = getattr(options, "numprocesses", None) or getattr(options, "tx", None)
    if starts_workers and not os.environ.get("PYTEST_XDIST_WORKER"):
        return
    for name in [name for name in os.environ if name.startswith("DRE_CELL_")]:
        del os.environ[name]
    own = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if entry != own]
    if not _AS_IN_RUN:
        return
    found = json.loads(_AS_IN_RUN)
    if found["path"] is None:
        os.environ.pop("PYTHONPATH", None)
    else:
        os.environ["PYTHONPATH"] = found["path"]
    if not os.environ.get("PYTEST_XDIST_WORKER"):
        sys.argv[1:] = found["argv"]
        if hasattr(sys, "orig_argv"):
            sys.orig_argv[3:] = found["argv"]


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: Any) -> None:
    _leave_no_trace(early_config.known_args_namespace)
    if _ALIASES and _ALIASES != "[]":
        _give_names(json.loads(_ALIASES))
    for module, name, value in json.loads(_OLD_VALUES or "[]"):
        if (place := _import(module)) is not None:
            _set(place, name, ast.literal_eval(value))


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: Any) -> None:
    # A clone is no run of its own: the recorder stays out of it, whatever the ini file says.
    if hasattr(config.option, "no_dre"):
        config.option.no_dre = True
    _die_with_parent()
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


class _Bodies:
    """Digests of test functions' bodies, each file parsed and each function looked at once."""

    def __init__(self) -> None:
        self._known: dict[Any, str] = {}
        self._functions: dict[str, dict[int, Any]] = {}

    def digest(self, item: Any) -> str:
        """Of the test function's body, whatever its name and decorators; empty if it has no source."""
        function: Any = getattr(item, "function", None)
        try:
            code = inspect.unwrap(function).__code__
        except (AttributeError, ValueError):
            return ""
        if code not in self._known:
            node = self._in(code.co_filename).get(code.co_firstlineno)
            self._known[code] = _digest(node) if node is not None and node.name == code.co_name else ""
        return self._known[code]

    def _in(self, file: str) -> dict[int, Any]:
        """A file's functions by the line of their first decorator, or of the definition without one."""
        if file not in self._functions:
            try:
                with open(file, "rb") as stream:
                    tree = ast.parse(stream.read())
            except (OSError, SyntaxError, ValueError, RecursionError):
                tree = ast.parse("")
            kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
            found = [node for node in ast.walk(tree) if isinstance(node, kinds)]
            self._functions[file] = {
                min([node.lineno, *(each.lineno for each in node.decorator_list)]): node for node in found
            }
        return self._functions[file]


def _digest(node: Any) -> str:
    body = node.body
    if isinstance(body[0], ast.Expr) and isinstance(getattr(body[0], "value", None), ast.Constant):
        body = body[1:]
    text = ast.dump(ast.Module(body=body, type_ignores=[])) + ast.dump(node.args)
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
    bodies = _Bodies()
    _write(
        *(
            {
                "event": "item",
                "id": item.nodeid,
                "body": bodies.digest(item),
                "parameters": _parameters(item),
                "doctest": type(item).__name__ == "DoctestItem",
            }
            for item in session.items
        )
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


# A value of each kind, and what nothing of that kind may be equal to that holds the first.
_VALUES: tuple[tuple[Any, Any, tuple[Any, ...]], ...] = (
    (int, 7, (8, 1_000_003)),
    (float, 7.5, (9.5, 1e9)),
    (str, "spam", ("eggs",)),
    (bytes, b"spam", (b"eggs",)),
    (tuple, (7,), ((8,),)),
    (list, [7], ([8],)),
    (dict, {"spam": 7}, ({"spam": 8},)),
    (set, {7}, ({8},)),
    (frozenset, frozenset({7}), (frozenset({8}),)),
)
_looked_at: Any = weakref.WeakSet()
_direct: dict[Any, int] = {}


def _look_at_equals(*, everywhere: bool = False) -> None:
    """Asks new kinds of values that the project defines whether they equal, hold or exceed what they can't."""
    for kind, value, others in _VALUES:
        count = len(type.__subclasses__(kind))
        if everywhere or _direct.get(kind) != count:
            _direct[kind] = count
            for each in _below(kind):
                _look_at(each, kind, value, others)


def _below(kind: Any) -> list[Any]:
    found = []
    waiting = type.__subclasses__(kind)
    while waiting:
        each = waiting.pop()
        if each not in _looked_at:
            _looked_at.add(each)
            found.append(each)
        waiting += type.__subclasses__(each)
    return found


def _look_at(each: Any, kind: Any, value: Any, others: tuple[Any, ...]) -> None:
    for other in others:
        if _says(
            each, "__eq__", f"{value!r} == {other!r}", lambda made, other=other: made == other, kind, value
        ):
            return
    if kind in (str, bytes, list, tuple):
        absent = others[0] if kind in (str, bytes) else others[0][0]
        if _says(each, "__contains__", f"{absent!r} in {value!r}", lambda made: absent in made, kind, value):
            return
    if kind in (int, float):
        low, high = -others[-1], others[-1]
        for name, sign, compare in _ORDERS:
            said = f"{value!r} {sign} {low!r} and {value!r} {sign} {high!r}"
            # One order may be the other way round; one that always says yes is none.
            if _says(each, name, said, lambda made, c=compare: c(made, low) and c(made, high), kind, value):
                return


_ORDERS: tuple[tuple[str, str, Any], ...] = (
    ("__lt__", "<", lambda one, other: one < other),
    ("__le__", "<=", lambda one, other: one <= other),
    ("__gt__", ">", lambda one, other: one > other),
    ("__ge__", ">=", lambda one, other: one >= other),
)


def _says(each: Any, name: str, said: str, ask: Any, kind: Any, value: Any) -> bool:
    """Whether the project's own method says yes to what no value of the kind may."""
    method = getattr(each, name, None)
    if _is_own(method):
        with contextlib.suppress(Exception):
            if bool(ask(_made(each, kind, value))):
                _tell(each, method, said)
                return True
    return False


def _look_at_objects() -> None:
    """Asks the project's plain kinds of objects, made without anything in them, whether they equal any number."""
    for each in type.__subclasses__(object):
        if each.__eq__ is not object.__eq__ and _is_own(each.__eq__):
            with contextlib.suppress(Exception):
                made = object.__new__(each)
                if bool(made == 7) and bool(made == 8):
                    _tell(each, each.__eq__, "it == 7 and it == 8")


def _is_own(method: Any) -> bool:
    """Whether a method stands in the project's files."""
    code = getattr(method, "__code__", None)
    return code is not None and os.path.realpath(code.co_filename).startswith(
        os.path.realpath(_ROOT) + os.sep
    )


def _tell(each: Any, method: Any, said: str) -> None:
    code = method.__code__
    file = os.path.realpath(code.co_filename)
    _write(event="equal", name=each.__qualname__, file=file, line=code.co_firstlineno, said=said)


def _made(each: Any, kind: Any, value: Any) -> Any:
    """An instance that holds a value, made past the project's own ways of making one."""
    if kind in (list, dict, set):
        made = kind.__new__(each)
        (kind.extend if kind is list else kind.update)(made, value)
        return made
    return kind.__new__(each, value)


def pytest_runtest_teardown() -> None:
    _look_at_equals()


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
    _look_at_equals(everywhere=True)
    _look_at_objects()
    for number, tests in _entered.items():
        _write(event="entered", number=number, tests=sorted(tests))
    if os.environ.get("PYTEST_XDIST_WORKER"):
        _write(event="loaded", imports=_loaded())
    else:
        _write(event="finish", status=int(exitstatus), imports=_loaded())

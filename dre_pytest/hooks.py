"""Hook implementations that can change what a test run says, and how they stand to the recorder's own.

Not a judgement: most of what is named here is harmless. A verifier weighs it against the outcomes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy
import pytest

from dre_core.model.session import HookNote
from dre_pytest import intact
from dre_pytest.intact import Subjects

WATCHED = (
    "pytest_runtest_makereport",
    "pytest_runtest_protocol",
    "pytest_runtest_call",
    "pytest_runtest_logreport",
    "pytest_pyfunc_call",
    "pytest_sessionfinish",
    "pytest_collection_modifyitems",
    "pytest_report_teststatus",
    "pytest_ignore_collect",
    "pytest_collect_file",
    "pytest_pycollect_makeitem",
    "pytest_itemcollected",
    "pytest_runtestloop",
    "pytest_runtest_setup",
    "pytest_runtest_teardown",
    "pytest_fixture_setup",
    "pytest_generate_tests",
    "pytest_terminal_summary",
    "pytest_unconfigure",
    "pytest_cmdline_main",
    "pytest_load_initial_conftests",
)
CHOOSING = (
    "pytest_collection_modifyitems",
    "pytest_ignore_collect",
    "pytest_itemcollected",
    "pytest_pycollect_makeitem",
    "pytest_generate_tests",
    "pytest_runtest_setup",
    "pytest_runtestloop",
)
"""Hooks that can leave tests out, or skip them."""
INTERNALS = (
    ("_pytest.reports", "TestReport.from_item_and_call"),
    ("_pytest.runner", "pytest_runtest_makereport"),
    ("_pytest.runner", "call_and_report"),
    ("_pytest.runner", "runtestprotocol"),
    ("_pytest.runner", "CallInfo.from_call"),
    ("_pytest.python", "pytest_pyfunc_call"),
    ("_pytest.python", "Function.runtest"),
    ("_pytest.main", "Session.pytest_runtest_logreport"),
    ("_pytest.main", "wrap_session"),
    ("_pytest.assertion.rewrite", "AssertionRewritingHook.exec_module"),
    ("pluggy", "HookCaller.__call__"),
    ("pluggy", "PluginManager._hookexec"),
    ("pluggy._callers", "_multicall"),
)
"""Functions that every outcome passes through; a missing one is another version's, not a finding."""

GRAVE = ("from-elsewhere", "not-its-source", "patched-subject", "replaced", "swapped-body", "wrapped-body")
"""Concerns that decide about a verdict; the others say who may have done it, and there may be any number of them."""

Implementations = Mapping[str, tuple[pluggy.HookImpl, ...]]


def implementations(manager: pytest.PytestPluginManager) -> Implementations:
    """The implementations of the watched hooks, each hook's in reverse order of calling."""
    return {name: tuple(getattr(manager.hook, name).get_hookimpls()) for name in WATCHED}


def local_notes(found: Implementations, rootdir: Path) -> Iterator[HookNote]:
    """Implementations in a conftest or another file of the project itself."""
    for hook, implementation in _flat(found):
        file, _ = place(implementation.function)
        if os.path.basename(file) == "conftest.py" or _is_local(file, rootdir):
            yield _note(hook, implementation, "conftest", rootdir)


def elsewhere_notes(
    found: Implementations, manager: pytest.PytestPluginManager, rootdir: Path
) -> Iterator[HookNote]:
    """Implementations that can leave tests out, in a file of neither the repository nor an installed distribution."""
    known = {id(plugin) for plugin, _ in manager.list_plugin_distinfo()}
    top = next((each for each in (rootdir, *rootdir.parents) if (each / ".git").exists()), rootdir)
    for hook, implementation in _flat({name: found[name] for name in CHOOSING}):
        file, _ = place(implementation.function)
        own = str(getattr(implementation.function, "__module__", "")).startswith("dre_pytest.")
        known_ = own or id(implementation.plugin) in known or is_builtin(implementation)
        if not known_ and intact.is_foreign(file) and not Path(file).is_relative_to(top):
            yield _note(hook, implementation, "from-elsewhere", rootdir)


def outside_notes(found: Implementations, outer: object, inner: object, rootdir: Path) -> Iterator[HookNote]:
    """Implementations that see or change an outcome after the recorder did.

    Args:
        found: From :func:`implementations`.
        outer: The plugin whose wrappers should be outermost.
        inner: The plugin whose wrapper of ``pytest_pyfunc_call`` should be innermost.
        rootdir: Paths below it are given relative to it.
    """
    for hook in ("pytest_runtest_makereport", "pytest_sessionfinish"):
        plugins = [implementation.plugin for implementation in found[hook]]
        if outer in plugins:
            for implementation in found[hook][plugins.index(outer) + 1 :]:
                yield _note(hook, implementation, "outside-ours", rootdir)
    wrappers = [each for each in found["pytest_pyfunc_call"] if each.wrapper or each.hookwrapper]
    plugins = [implementation.plugin for implementation in wrappers]
    if inner in plugins:
        for implementation in wrappers[: plugins.index(inner)]:
            yield _note("pytest_pyfunc_call", implementation, "outside-ours", rootdir)


def added_notes(
    before: Implementations, after: Implementations, ours: Iterable[object], rootdir: Path
) -> Iterator[HookNote]:
    """Implementations that came after the first test began."""
    known = {(hook, id(implementation.plugin)) for hook, implementation in _flat(before)}
    known |= {(hook, id(plugin)) for hook in WATCHED for plugin in ours}
    for hook, implementation in _flat(after):
        if (hook, id(implementation.plugin)) not in known and not is_builtin(implementation):
            yield _note(hook, implementation, "added-late", rootdir)


def changer_notes(found: Implementations, ours: Iterable[object], rootdir: Path) -> Iterator[HookNote]:
    """Strangers' implementations of the hook that turns a call into an outcome: who may have changed one."""
    own = {id(plugin) for plugin in ours}
    for hook in ("pytest_runtest_makereport", "pytest_runtest_logreport"):
        for implementation in found[hook]:
            if id(implementation.plugin) not in own and not is_builtin(implementation):
                yield _note(hook, implementation, "changed-outcome", rootdir)


def replaced_notes(rootdir: Path, *own: object) -> Iterator[HookNote]:
    """Functions inside pytest, pluggy, the recorder and ``builtins`` that are not their own.

    Args:
        rootdir: Paths below it are given relative to it.
        own: Objects of the recorder, whose methods are looked at as well.
    """
    look = _from_file(intact)
    spots: dict[str, tuple[str, int, str]] = {}
    for name, (file, line) in _internals():
        spots[name] = (file, line, "replaced" if look.is_foreign(file) else "replaced-by-plugin")
    looks = (look.misplaced(), look.readers(), look.finders(), look.tracer(), look.shadowed(*own))
    for name, (file, line) in chain.from_iterable(looks):
        spots[name] = (file, line, "replaced")
    for name, (file, line, concern) in spots.items():
        yield HookNote(hook=name, plugin="", file=relative(file, rootdir), line=line, concern=concern)


def _from_file(module: ModuleType) -> Any:
    """A copy of a module fresh from its file, for the one that is loaded may itself have been replaced in part."""
    spec = spec_from_file_location(f"{module.__name__}_again", module.__file__)
    assert spec is not None
    assert spec.loader is not None
    fresh = module_from_spec(spec)
    spec.loader.exec_module(fresh)
    return fresh


def subject_notes(subjects: Subjects, rootdir: Path, concern: str) -> Iterator[HookNote]:
    """Functions of the code under test that a conftest replaced since the subjects were last looked at."""
    for name, (file, line) in subjects.patched():
        yield HookNote(hook=name, plugin="", file=relative(file, rootdir), line=line, concern=concern)


def tracer_notes(rootdir: Path) -> Iterator[HookNote]:
    """A trace function of the project, while tests run."""
    for name, (file, line) in intact.tracer():
        yield HookNote(hook=name, plugin="", file=relative(file, rootdir), line=line, concern="replaced")


def exchanged_notes(subjects: Subjects, rootdir: Path) -> Iterator[HookNote]:
    """Functions of the project whose code was exchanged since the subjects were last looked at."""
    return altered_notes(((name, *place) for name, place in subjects.exchanged()), rootdir)


def altered_notes(altered: Iterable[tuple[str, str, int]], rootdir: Path) -> Iterator[HookNote]:
    """Functions that are not what stands in their files: name, file and line of each."""
    for name, file, line in altered:
        yield HookNote(
            hook=name, plugin="", file=relative(file, rootdir), line=line, concern="not-its-source"
        )


def _internals() -> Iterator[tuple[str, tuple[str, int]]]:
    for module_name, qualified in INTERNALS:
        package = import_module(module_name.partition(".")[0])
        home = os.path.dirname(package.__file__ or "") + os.sep
        try:
            target: Any = import_module(module_name)
            for part in qualified.split("."):
                target = getattr(target, part)
        except (ImportError, AttributeError):
            continue
        file, line = place(target)
        if not (file.startswith(home) or os.path.realpath(file).startswith(os.path.realpath(home) + os.sep)):
            yield f"{module_name}.{qualified}", (file or "<unknown>", line)


def is_builtin(implementation: pluggy.HookImpl) -> bool:
    """Whether it is pytest's own."""
    return str(getattr(implementation.function, "__module__", "")).startswith("_pytest.")


def relative(file: str, rootdir: Path) -> str:
    """The path below rootdir with forward slashes, or the file as it is."""
    try:
        return Path(file).relative_to(rootdir).as_posix()
    except ValueError:
        return file


def _flat(found: Implementations) -> Iterator[tuple[str, pluggy.HookImpl]]:
    for hook, each in found.items():
        for implementation in each:
            yield hook, implementation


def _note(hook: str, implementation: pluggy.HookImpl, concern: str, rootdir: Path) -> HookNote:
    file, line = place(implementation.function)
    return HookNote(
        hook=hook,
        plugin=str(implementation.plugin_name),
        file=relative(file, rootdir),
        line=line,
        concern=concern,
    )


def place(function: Any) -> tuple[str, int]:
    """File and line of a function's code, through methods and partials but not through ``__wrapped__``."""
    while not hasattr(function, "__code__"):
        inner = getattr(function, "__func__", None) or getattr(function, "func", None)
        if inner is None:
            return "", 0
        function = inner
    return intact.code_file(function), int(function.__code__.co_firstlineno)


def _is_local(file: str, rootdir: Path) -> bool:
    path = Path(file)
    return path.is_relative_to(rootdir) and not {"site-packages", "dist-packages"}.intersection(path.parts)

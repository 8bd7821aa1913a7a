"""The innermost position: next to the test function, below whatever plugins put around it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Generator, Iterable
from contextlib import suppress
from typing import Any

import pytest

from dre_core.model.session import HookNote
from dre_pytest import hooks
from dre_pytest.control import Control
from dre_pytest.failure import is_failure
from dre_pytest.intact import Subjects

_MAX_LOOKS = 50
_MAX_CONTROLS = 1_000


class Body:
    """The innermost position: next to the test function itself.

    Attributes:
        entered: pytest reached the calling of the current test function.
        called: The function itself was called; None if that was not watched.
        raised: It raised something that is neither a skip nor an exit.
        notes: Functions that were put in a test's place.
        control: What becomes of a failure here.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._hook = config.hook.pytest_pyfunc_call
        self._implementations = -1
        self._foreign = False
        self._rootdir = config.rootpath
        self._subjects = Subjects(config.rootpath)
        self._parents: set[int] = set()
        self._parent: object = None
        self._beside: pytest.Function | None = None
        self.notes: list[HookNote] = []
        self.control = Control()
        self.entered = False
        self.called: bool | None = None
        self.raised = False

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> Generator[None, object, object]:
        if pyfuncitem.parent is not self._parent:
            self._look_around(pyfuncitem)
        self.entered = True
        self.called = True
        self.raised = False
        code = getattr(pyfuncitem.obj, "__code__", None)
        try:
            if code is not None and code.co_filename != str(pyfuncitem.path):
                return (yield from self._compared(pyfuncitem))
            if self._has_foreign():
                return (yield from self._probed(pyfuncitem))
            return (yield)
        except BaseException as error:
            self.raised = is_failure(error)
            raise

    def _look_around(self, item: pytest.Function) -> None:
        """The first test of a module or class: a control, and what fixtures put in place of the code under test."""
        self._parent = item.parent
        if len(self._parents) >= _MAX_CONTROLS or id(item.parent) in self._parents:
            return
        self._parents.add(id(item.parent))
        if len(self._parents) <= _MAX_LOOKS:
            self._look()
        with suppress(Exception):
            lost = len(self.control.lost)
            self.control.run(item, reported=self._beside is None)
            if len(self.control.lost) > lost:  # who did it may be gone when the fixtures are
                self._note(hooks.replaced_notes(self._rootdir))
        self._beside = item

    def _look(self) -> None:
        # Looking must never fail the test that is looked at.
        with suppress(Exception):
            self._note(hooks.subject_notes(self._subjects, self._rootdir, "patched-in-test"))
            self._note(hooks.tracer_notes(self._rootdir))
            # It looks at each function, so only in the first, second, fourth ...
            if len(self._parents).bit_count() == 1:
                self._note(hooks.exchanged_notes(self._subjects, self._rootdir))

    def _note(self, found: Iterable[HookNote]) -> None:
        self.notes.extend(note for note in list(found) if note not in self.notes)

    def look_before(self) -> None:
        """Before the first test: which code the functions of the project have."""
        with suppress(Exception):
            self._note(hooks.exchanged_notes(self._subjects, self._rootdir))

    def look_again(self) -> None:
        """When all tests are over: a control once more."""
        if self._beside is not None:
            with suppress(Exception):
                self.control.run(self._beside, reported=True)

    def _compared(self, item: pytest.Function) -> Generator[None, object, object]:
        """A function whose code is not in the test's file: another one in its place, or one around it."""
        if item is self.control.item:
            return (yield)
        from dre_pytest import swap

        try:
            verdict, inner = swap.judge(item)
        except Exception:  # an object that raises when it is looked at says nothing
            verdict, inner = "own", None
        if verdict == "own" or _is_async(item.obj):
            return (yield from self._probed(item)) if self._has_foreign() else (yield)
        code = item.obj.__code__
        self.notes.append(
            HookNote(
                hook="item.obj",
                plugin="",
                file=hooks.relative(code.co_filename, self._rootdir),
                line=code.co_firstlineno,
                concern=f"{verdict}-body",
            )
        )
        if inner is None:
            self.called = False
            return (yield)
        watch = swap.Watch(inner)
        try:
            with watch:
                return (yield)
        finally:
            self.called = watch.called if watch.possible else None
            self.raised = is_failure(watch.raised)

    def _has_foreign(self) -> bool:
        """Whether anybody but pytest may answer for the function without calling it."""
        found = self._hook.get_hookimpls()
        if len(found) != self._implementations:
            self._implementations = len(found)
            self._foreign = any(
                not (each.wrapper or each.hookwrapper or hooks.is_builtin(each)) for each in found
            )
        return self._foreign

    def _probed(self, item: pytest.Function) -> Generator[None, object, object]:
        original = item.obj
        self.called = None
        if not inspect.isroutine(original) or _is_async(original):
            return (yield)
        self.called = False
        failed = False

        @functools.wraps(original)
        def probe(*args: object, **kwargs: object) -> object:
            __tracebackhide__ = True
            nonlocal failed
            self.called = True
            try:
                result = original(*args, **kwargs)
            except BaseException as error:
                failed = is_failure(error)
                raise
            failed = False  # whoever calls it again after a failure is held to the last time
            return result

        item.obj = probe
        try:
            return (yield)
        finally:
            item.obj = original
            # A hook that calls the function may keep what it raised to itself.
            self.raised = self.raised or failed


def _is_async(function: Any) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)

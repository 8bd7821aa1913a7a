"""Whether a test ran code of the project: seen by ``sys.monitoring``, which Python has since 3.12.

Only the entering of functions is watched, and only of functions in files of the project that are no test modules; all
other code is switched off the first time it runs. A function that was entered ten thousand times is switched off as
well: it has been seen, and watching it any longer would cost. From then on a test that enters nothing else is unknown.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import CodeType
from typing import Any

from dre_pytest.intact import is_foreign

_TOOLS = (4, 3)  # those that no debugger, profiler or coverage tool has for itself
_ENOUGH = 10_000
_FUNCTION = 0x2  # CO_NEWLOCALS: neither a module nor a class body


class Calls:
    """The watch over one process.

    Args:
        root: The project.
    """

    def __init__(self, root: Path) -> None:
        self._root = f"{root}/"
        self._tool = -1
        self._called = False
        self._ever = False
        self._saturated = False
        self._entered: dict[CodeType, int] = {}
        self._monitoring: Any = getattr(sys, "monitoring", None)
        if self._monitoring is not None:
            self._start()

    def _start(self) -> None:
        watch = self._monitoring
        for tool in _TOOLS:
            if watch.get_tool(tool) is None:
                watch.use_tool_id(tool, "dre")
                watch.register_callback(tool, watch.events.PY_START, self._enter)
                watch.set_events(tool, watch.events.PY_START)
                self._tool = tool
                return

    def _enter(self, code: CodeType, offset: int) -> object:
        seen = self._entered.get(code)
        if seen is None:
            if not self._is_subject(code):
                return self._monitoring.DISABLE
            seen = 0
        self._called = True
        self._entered[code] = seen = seen + 1
        if seen < _ENOUGH:
            return None
        self._saturated = True
        return self._monitoring.DISABLE

    def _is_subject(self, code: CodeType) -> bool:
        file = code.co_filename.replace("\\", "/")
        if not code.co_flags & _FUNCTION or not file.startswith(self._root) or not is_foreign(file):
            return False
        from dre_core.capture.material import is_test_file

        return not is_test_file(file[len(self._root) :])

    def lap(self) -> bool | None:
        """Whether code of the project ran since the last lap; None where that is not known."""
        called, self._called = self._called, False
        if self._tool < 0 or (self._saturated and not called):
            return None
        return called

    def stop(self) -> None:
        """Watch no longer."""
        if self._tool >= 0:
            watch = self._monitoring
            watch.set_events(self._tool, 0)
            watch.register_callback(self._tool, watch.events.PY_START, None)
            watch.free_tool_id(self._tool)
            self._tool = -1

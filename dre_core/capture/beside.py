"""A step that runs beside others, in a thread: what it returns or raises is asked for later; and a gate for it."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Thread
from typing import Any, Generic, TypeVar

from dre_core.errors import CaptureError

Result = TypeVar("Result")


class Beside(Generic[Result]):
    """Starts a step at once.

    Args:
        step: What to run.
    """

    def __init__(self, step: Callable[[], Result]) -> None:
        self._step = step
        self._found: list[Result] = []
        self._error: BaseException | None = None
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._found.append(self._step())
        except BaseException as error:  # raised where the result is asked for
            self._error = error

    def wait(self) -> None:
        """Waits until it has ended, however it ended."""
        self._thread.join()

    def result(self) -> Result:
        """What it returned, once it has ended; what it raised is raised."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._found[0]


class Steps:
    """Steps of one undertaking, which does not end before each of them has, whether its result was wanted or not."""

    def __init__(self) -> None:
        self._begun: list[Beside[Any]] = []

    def begin(self, step: Callable[[], Result]) -> Beside[Result]:
        """Begins one."""
        begun = Beside(step)
        self._begun.append(begun)
        return begun

    def wait(self) -> None:
        """Waits for all."""
        for begun in self._begun:
            begun.wait()


class Gate:
    """What a step waits at until others are ready for it, and by which it is called off.

    Args:
        is_open: Whether nobody has to wait.
    """

    def __init__(self, *, is_open: bool = True) -> None:
        self._decided = Event()
        self.is_closed = False
        if is_open:
            self.open()

    def open(self) -> None:
        """Lets the step go on."""
        self._decided.set()

    def close(self) -> None:
        """Calls it off, wherever it is."""
        self.is_closed = True
        self._decided.set()

    def check(self) -> None:
        """Waits until it is open.

        Raises:
            CaptureError: It was closed.
        """
        self._decided.wait()
        if self.is_closed:
            raise CaptureError("called off")

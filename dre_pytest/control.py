"""A control, as experiments have one: a function that must fail, sent the same way as the tests around it.

Whoever makes failures pass for good, by whatever means and wherever it was hidden, makes the control pass too;
who did it need not be known for that. It runs inside the first test of a module or class, and once more when all
tests are over. It uses no fixtures, is not collected, counted or reported, and plugins see it only where they
take part in the calling of test functions.
"""

from __future__ import annotations

import warnings

import pytest

from dre_pytest.failure import is_failure

_CallInfo = pytest.CallInfo
_TestReport = pytest.TestReport
_INTERRUPTS = (KeyboardInterrupt, pytest.exit.Exception)


class Control:
    """Sends a function that must fail through pytest.

    Attributes:
        item: The item that is under way, by which hooks of the recorder know it; None in between.
        lost: For each failure that did not arrive, where it was lost.
    """

    def __init__(self) -> None:
        self.item: pytest.Function | None = None
        self.lost: list[str] = []

    def run(self, beside: pytest.Function, *, reported: bool) -> None:
        """Run the control as if it stood beside a test.

        Args:
            beside: The test whose parent, name and so conftests it shares.
            reported: Make a report of it as well.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of plugins that wonder at a function without their marks
            self.item = _Item.from_parent(beside.parent, name=beside.name, callobj=_must_fail)
            try:
                call = _CallInfo.from_call(self.item.runtest, when="call", reraise=_INTERRUPTS)
                if call.excinfo is None or not is_failure(call.excinfo.value):
                    self.lost.append("on its way out of the test function")
                elif reported and _TestReport.from_item_and_call(self.item, call).outcome != "failed":
                    self.lost.append("when its report was made")
            finally:
                self.item = None


class _Item(pytest.Function):
    """A test function whose failure is put in a word, for the text of a traceback costs as much as twenty tests."""

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException]) -> str:  # type: ignore[override]
        return str(excinfo.value)


def _must_fail() -> None:
    raise AssertionError("a control fails")

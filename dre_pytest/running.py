"""A test while it runs: the reports so far, and what they add up to in the end."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from dre_core.model.canonical import JSON
from dre_core.model.journal import MAIN, NO_OUTCOME
from dre_pytest.failure import is_failure

MAX_TEXT = 16_384
MAX_MESSAGE = 512
MAX_PARTS = 1_000
_LONGEST_US = 2**53  # what JSON carries exactly


class Running:
    """The reports of a test so far; most have the three of a test that passes, and nothing else is made for them."""

    setup: pytest.TestReport | None = None
    call: pytest.TestReport | None = None
    teardown: pytest.TestReport | None = None
    crash: pytest.TestReport | None = None
    subtest: pytest.TestReport | None = None
    reruns = subtests = subtests_failed = 0
    again = False
    attempts: tuple[JSON, ...] = ()
    parts: tuple[JSON, ...] = ()

    def restart(self, report: Any) -> None:
        """Forget the phases of a run that will be done again; its teardown may still be reported."""
        if len(self.attempts) < MAX_PARTS:
            self.attempts += (_message(report, _text(report)),)
        self.parts = ()
        self.setup = self.call = self.teardown = self.subtest = None
        self.subtests = self.subtests_failed = 0
        self.reruns += 1
        self.again = True

    def reports(self) -> list[tuple[str, Any]]:
        """The phases that were reported, in order."""
        found = (
            ("setup", self.setup),
            ("call", self.call),
            ("teardown", self.teardown),
            ("crash", self.crash),
        )
        return [(name, report) for name, report in found if report is not None]

    def phases(self) -> dict[str, str]:
        """Pytest's word for each of them."""
        return {name: _phase(report) for name, report in self.reports()}

    def outcome(self) -> str:
        """One word for the test: the worst of its phases."""
        phases = self.phases()
        if "failed" in (phases.get("call"), phases.get("crash")) or self.subtests_failed:
            return "failed"
        if "failed" in phases.values():
            return "error"
        for word in ("xpassed", "xfailed", "skipped"):
            if word in phases.values():
                return word
        return "passed" if phases.get("call") == "passed" and "teardown" in phases else NO_OUTCOME

    def words(self, cpu_us: Mapping[str, int]) -> dict[str, JSON]:
        """The members of the test line that hold no text of the test's: outcome, phases and counts.

        Args:
            cpu_us: Processor time by phase, as far as it was measured.
        """
        counts = {
            "reruns": self.reruns,
            "subtests": self.subtests,
            "subtests_failed": self.subtests_failed,
        }
        return {
            "outcome": self.outcome(),
            **{name: count for name, count in counts.items() if count},
            **{
                name: [_phase(report), microseconds(report), *filter(None, (cpu_us.get(name),))]
                for name, report in self.reports()
            },
        }

    def texts(self, last: Any, name: str) -> dict[str, JSON]:
        """The members that do: id, place, reason, failure and captured output.

        Args:
            last: Any report of the test.
            name: Path of its file, relative to the top of the tree.
        """
        line = last.location[1]
        fields: dict[str, JSON] = {"id": last.nodeid, "file": name, "line": 0 if line is None else line + 1}
        reports = [report for _, report in self.reports()]
        failed = [report for report in reports if report.outcome == "failed"]
        if self.subtest is not None and (not failed or failed[0] is self.call):
            failed.insert(0, self.subtest)
        if failed:
            fields.update(_failure(failed[0], name))
        elif why := next(filter(None, map(reason, reports)), ""):
            fields["reason"] = why
        fields.update(_captured(reports, keep=bool(failed)))
        if self.attempts:
            fields["attempts"] = list(self.attempts)
        if self.parts:
            fields["parts"] = list(self.parts)
        return fields

    def whole(self) -> str:
        """All that was captured, and a failure that the line has no room for; empty if there is neither."""
        reports = [report for _, report in self.reports()]
        parts = [f"--- {name} ---\n{text}" for name, text in _sections(reports).items() if text]
        for report in (*reports, self.subtest):
            if report is not None and report.outcome == "failed" and len(text := _text(report)) > MAX_TEXT:
                parts.append(f"--- failure in {report.when} ---\n{text}")
        return "\n".join(parts)


def worker_of(report: Any) -> str:
    """The xdist worker that a report came from."""
    worker = getattr(report, "worker_id", None)
    if worker is None:
        worker = getattr(getattr(getattr(report, "node", None), "gateway", None), "id", MAIN)
    return str(worker)


def _phase(report: Any) -> str:
    """Pytest's word for one phase, with xfail and xpass told apart."""
    if hasattr(report, "wasxfail") and report.outcome in ("skipped", "passed"):
        return "xfailed" if report.outcome == "skipped" else "xpassed"
    return str(report.outcome)


def reason(report: Any) -> str:
    """Why a test or a module was skipped or expected to fail."""
    if hasattr(report, "wasxfail"):
        return cap(str(report.wasxfail).removeprefix("reason: "), MAX_MESSAGE)
    if report.outcome == "skipped" and isinstance(report.longrepr, tuple) and len(report.longrepr) == 3:
        return cap(str(report.longrepr[2]).removeprefix("Skipped: "), MAX_MESSAGE)
    return ""


def contradicts(item: pytest.Item, error: BaseException, report: Any) -> bool:
    """Whether the outcome is better than what was raised allows."""
    if report.outcome == "passed":
        return True
    if report.outcome != "skipped" or not is_failure(error):
        return False
    return not (hasattr(report, "wasxfail") and item.get_closest_marker("xfail") is not None)


def _failure(report: Any, file: str) -> dict[str, JSON]:
    """Message, text and place of a failure; the place only where it lies in the test's own file."""
    text = _text(report)
    crash = getattr(report.longrepr, "reprcrash", None)
    fields: dict[str, JSON] = {"message": _message(report, text), "text": cap(text)}
    line, path = getattr(crash, "lineno", None), str(getattr(crash, "path", ""))
    if isinstance(line, int) and line > 0 and file and path.replace(os.sep, "/").endswith(f"/{file}"):
        fields["line"] = line
    return fields


def _message(report: Any, text: str) -> str:
    """The first line of a failure."""
    crash = getattr(report.longrepr, "reprcrash", None)
    message = str(getattr(crash, "message", "") or text)
    return cap(message.strip().partition("\n")[0], MAX_MESSAGE)


def part_of(report: Any) -> list[JSON]:
    """What a subtest is called, and its outcome."""
    try:
        context = report.context
        kwargs = dict(getattr(context, "kwargs", {}) or {})
        words = [f"[{context.msg}]"] if getattr(context, "msg", None) else []
        words += [f"({', '.join(f'{name}={value!r}' for name, value in kwargs.items())})"] if kwargs else []
    except Exception:  # a parameter's representation may raise
        words = []
    return [cap(" ".join(words) or "(<subtest>)", MAX_MESSAGE), str(report.outcome)]


def _captured(reports: Iterable[Any], *, keep: bool) -> dict[str, JSON]:
    """Lengths of what was captured, in characters; the text of it for a failed test."""
    sections = _sections(reports)
    if not sections:
        return {}
    fields: dict[str, JSON] = {"captured": {name: len(content) for name, content in sections.items()}}
    if keep:
        fields["output"] = cap("\n".join(f"--- {name} ---\n{content}" for name, content in sections.items()))
    return fields


def _sections(reports: Iterable[Any]) -> dict[str, str]:
    """What was captured, by name. Each report repeats the sections of the phases before it."""
    return {str(name): str(content) for report in reports for name, content in report.sections}


def cap(text: str, limit: int = MAX_TEXT) -> str:
    """At most so many characters: the beginning and the end, where a failure says where it happened."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n... {len(text) - 2 * half} characters cut ...\n{text[-half:]}"


def microseconds(report: Any) -> int:
    """A phase's duration, never negative."""
    try:
        return min(max(0, int(report.duration * 1e6)), _LONGEST_US)
    except (AttributeError, TypeError, ValueError, OverflowError):
        return 0


def phase_microseconds(setup: Any, call: Any, teardown: Any) -> tuple[int, int, int]:
    """The durations of the three phases of a test."""
    try:
        found = int(setup.duration * 1e6), int(call.duration * 1e6), int(teardown.duration * 1e6)
    except (AttributeError, TypeError, ValueError, OverflowError):
        found = -1, 0, 0
    if found[0] >= 0 and found[1] >= 0 and found[2] >= 0 and sum(found) <= _LONGEST_US:
        return found
    return microseconds(setup), microseconds(call), microseconds(teardown)


class Stopwatch:
    """The time since it was last asked, for one process runs one test after the other.

    Tests that move the clock make pytest's durations longer than the test took; libraries that do it replace
    every reference to a clock in every module's globals, so this one is kept in an object.
    """

    def __init__(self) -> None:
        self._clock = time.monotonic_ns
        self._last = self._clock()

    def lap_us(self) -> float:
        """Microseconds since the last call, and a millisecond of slack."""
        now = self._clock()
        passed, self._last = now - self._last, now
        return passed / 1_000 + 1_000


def _text(report: Any) -> str:
    try:
        return report.longrepr if isinstance(report.longrepr, str) else str(report.longreprtext)
    except Exception:  # a custom representation may raise
        return f"{type(report.longrepr).__name__} without a text"

"""The lines by which test runners and other tools end, recognised and counted.

Loaded only once a line could be one. Not a verdict: the workload wrote them. A line counts only if the whole of
it has its tool's form.
"""

from __future__ import annotations

import re
from collections.abc import Callable

Counts = dict[str, int]

# Compiled by ``re`` when a line first needs one: nobody's output has them all.
_PYTEST = (
    rb"(?:=+ )?((?:(?:no tests (?:ran|collected)"
    rb"|\d+ (?:passed|failed|errors?|skipped|xfailed|xpassed|deselected|warnings?|rerun|subtests passed))"
    rb"(?:, (?=\d)|(?= in )))+)"
    rb" in \d+(?:\.\d+)?s(?: \(\d+(?: days?, \d+)?:\d\d:\d\d\))?(?: =+)?"
)
_PART = rb"(\d+) ([a-z]+)(?! passed)"
_JEST = rb"Tests:\s+((?:\d+ [a-z]+, )*\d+ total)"
_VITEST = rb"Tests\s+((?:\d+ [a-z ]+ \| )*\d+ [a-z ]+) \(\d+\)"
_CARGO = (
    rb"test result: (?:ok|FAILED)\. (\d+) passed; (\d+) failed; (\d+) ignored; \d+ measured; "
    rb"(\d+) filtered out.*"
)
_MAVEN = rb"(?:\[[A-Z]+\] )?Tests run: (\d+), Failures: (\d+), Errors: (\d+), Skipped: (\d+)"
_GRADLE = rb"(\d+) tests? completed(?:, (\d+) failed)?(?:, (\d+) skipped)?"
_GO_PACKAGE = rb"(?:ok  \t|FAIL\t)(\S+)\t(?:\d+\.\d+s|\(cached\)|\[build failed\]).*"
_GO_TEST = rb"\s*--- (PASS|FAIL|SKIP): \S+ \(\d+\.\d+s\)"
_MOCHA = rb"(\d+) (passing|failing|pending)(?: \((?:\d+(?:ms|s|m|h))\))?"
_UNITTEST_RAN = rb"Ran (\d+) tests? in \d+(?:\.\d+)?s"
_UNITTEST_END = rb"(OK|FAILED|NO TESTS RAN)(?: \(([a-z =,0-9]+)\))?"
_JUNIT = rb"\[\s*(\d+) tests? (found|skipped|started|aborted|successful|failed)\s*\]"

_FIELDS = {
    b"passed": "passed",
    b"failed": "failed",
    b"error": "errors",
    b"errors": "errors",
    b"skipped": "skipped",
    b"xfailed": "xfailed",
    b"xpassed": "xpassed",
    b"deselected": "deselected",
    b"rerun": "rerun",
    b"todo": "skipped",
    b"pending": "skipped",
}


def _parts(text: bytes) -> Counts:
    counts: Counts = {}
    for number, word in re.findall(_PART, text):
        name = _FIELDS.get(word)
        if name:
            counts[name] = counts.get(name, 0) + int(number)
    return counts


TOOLS = (
    ("error", "make", b"*** ", rb"g?make(?:\[\d+\])?: \*\*\* .*(?:Error \d+|Stop\.).*"),
    ("error", "npm", b"npm ", rb"npm (?:ERR!|error)(?: .*)?"),
    ("success", "tox", b"congratulations :)", rb"congratulations :\) \(\d+\.\d+ seconds\)"),
    ("error", "tox", b"evaluation failed", rb"evaluation failed :\( \(\d+\.\d+ seconds\)"),
)
"""Kind, tool, a literal and the form of lines by which other tools end."""


class Closing:
    """Recognises closing lines, those that stretch over several lines included."""

    def __init__(self, report: Callable[[str, Counts, int, bytes], None]) -> None:
        self._report = report
        self._ran: int | None = None
        self._go: Counts = {}
        self._mocha: tuple[Counts, int, bytes] | None = None
        self._junit: Counts = {}
        self._rules: tuple[tuple[bytes, Callable[[bytes, int], None]], ...] = (
            (b" in ", self.pytest),
            (b"Ran ", self.unittest_ran),
            (b"Tests:", self.jest),
            (b"Tests  ", self.vitest),
            (b"test result: ", self.cargo),
            (b"Tests run: ", self.maven),
            (b" completed, ", self.gradle),
            (b"--- ", self.go_test),
            (b"\t", self.go_package),
            (b" passing", self.mocha),
            (b" failing", self.mocha),
            (b" pending", self.mocha),
            (b" test", self.junit),
            (b"", self.unittest_end),
        )

    def pytest(self, line: bytes, offset: int) -> None:
        if found := re.fullmatch(_PYTEST, line):
            self._report("pytest", _parts(found[1]), offset, line)

    def jest(self, line: bytes, offset: int) -> None:
        if found := re.fullmatch(_JEST, line):
            self._report("jest", _parts(found[1]), offset, line)

    def vitest(self, line: bytes, offset: int) -> None:
        if found := re.fullmatch(_VITEST, line):
            self._report("vitest", _parts(found[1]), offset, line)

    def cargo(self, line: bytes, offset: int) -> None:
        if found := re.fullmatch(_CARGO, line):
            names = ("passed", "failed", "skipped", "deselected")
            self._report("cargo", dict(zip(names, map(int, found.groups()), strict=True)), offset, line)

    def maven(self, line: bytes, offset: int) -> None:
        if found := re.fullmatch(_MAVEN, line):
            run, failed, errors, skipped = map(int, found.groups())
            passed = max(0, run - failed - errors - skipped)
            counts = {"passed": passed, "failed": failed, "errors": errors, "skipped": skipped}
            self._report("surefire", counts, offset, line)

    def gradle(self, line: bytes, offset: int) -> None:
        if found := re.fullmatch(_GRADLE, line):
            run, failed, skipped = (int(number or 0) for number in found.groups())
            counts = {"passed": max(0, run - failed - skipped), "failed": failed, "skipped": skipped}
            self._report("gradle", counts, offset, line)

    def go_test(self, line: bytes, offset: int) -> None:
        if found := re.fullmatch(_GO_TEST, line):
            name = {b"PASS": "passed", b"FAIL": "failed", b"SKIP": "skipped"}[found[1]]
            self._go[name] = self._go.get(name, 0) + 1

    def go_package(self, line: bytes, offset: int) -> None:
        if re.fullmatch(_GO_PACKAGE, line):
            counts, self._go = self._go, {}
            if line.startswith(b"FAIL") and not counts.get("failed"):
                counts = counts | {"errors": 1}
            self._report("go test", counts, offset, line)

    def mocha(self, line: bytes, offset: int) -> None:
        found = re.fullmatch(_MOCHA, line)
        if found is None:
            return
        name = {b"passing": "passed", b"failing": "failed", b"pending": "skipped"}[found[2]]
        if name == "passed":
            self.end_mocha()
            self._mocha = ({name: int(found[1])}, offset, line)
        elif self._mocha is not None:
            counts, start, first = self._mocha
            self._mocha = (counts | {name: int(found[1])}, start, first + b", " + line)

    def end_mocha(self) -> None:
        if self._mocha is not None:
            counts, offset, line = self._mocha
            self._mocha = None
            self._report("mocha", counts, offset, line)

    def unittest_ran(self, line: bytes, offset: int) -> None:
        if found := re.fullmatch(_UNITTEST_RAN, line):
            self._ran = int(found[1])

    def unittest_end(self, line: bytes, offset: int) -> None:
        found = re.fullmatch(_UNITTEST_END, line) if self._ran is not None else None
        if found is None or self._ran is None:
            return
        ran, self._ran = self._ran, None
        told = dict(re.findall(rb"([a-z ]+)=(\d+)", found[2] or b""))
        names = {
            b"failures": "failed",
            b"errors": "errors",
            b"skipped": "skipped",
            b"expected failures": "xfailed",
            b"unexpected successes": "xpassed",
        }
        counts = {names[key.strip()]: int(value) for key, value in told.items() if key.strip() in names}
        counts["passed"] = max(0, ran - sum(counts.values()))
        self._report("unittest", counts, offset, line)

    def junit(self, line: bytes, offset: int) -> None:
        found = re.fullmatch(_JUNIT, line) if line.startswith(b"[") else None
        if found is None:
            return
        names = {b"successful": "passed", b"failed": "failed"}
        name = names.get(found[2], "skipped" if found[2] in (b"skipped", b"aborted") else "")
        if name:
            self._junit[name] = self._junit.get(name, 0) + int(found[1])
        if found[2] == b"failed":
            counts, self._junit = self._junit, {}
            self._report("junit", counts, offset, line)

    def look(self, line: bytes, offset: int) -> None:
        """Try every form that the line could have."""
        for literal, rule in self._rules:
            if literal in line:
                rule(line, offset)

    @property
    def awaits_end(self) -> bool:
        """Whether unittest has said how many tests ran and not yet how they ended."""
        return self._ran is not None

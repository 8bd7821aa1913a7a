"""Pattern detection: words, closing lines of test runners, bounds, chunk boundaries."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dre_core.pipeline.patterns import LINE_LIMIT_BYTES, SAMPLES_PER_RULE, Patterns, detect, summaries

SEED_FORMS = {
    "error": rb"(?i)error|exception|failed",
    "warning": rb"(?i)warning|warn",
    "success": rb"(?i)success|passed|complete",
    "metric": rb"(?i)time:|duration:|speed:",
}

CLOSING = [
    ("=== 3 passed, 1 failed in 0.12s ===", "pytest", {"passed": 3, "failed": 1}),
    ("12 passed, 2 skipped, 1 xfailed, 1 xpassed, 3 warnings in 62.12s (0:01:02)", "pytest",
     {"passed": 12, "skipped": 2, "xfailed": 1, "xpassed": 1}),
    ("===== 1 failed, 2 errors, 4 deselected, 2 rerun in 1.00s =====", "pytest",
     {"failed": 1, "errors": 2, "deselected": 4, "rerun": 2}),
    ("\x1b[32m== \x1b[1m9 passed\x1b[0m\x1b[32m in 0.03s\x1b[0m\x1b[32m ====\x1b[0m", "pytest", {"passed": 9}),
    ("no tests ran in 0.00s", "pytest", {}),
    ("1 error in 0.10s", "pytest", {"errors": 1}),
    ("Ran 5 tests in 0.001s\n\nFAILED (failures=1, errors=1, skipped=1, expected failures=1)", "unittest",
     {"passed": 1, "failed": 1, "errors": 1, "skipped": 1, "xfailed": 1}),
    ("Ran 1 test in 0.001s\n\nOK", "unittest", {"passed": 1}),
    ("Tests:       1 failed, 2 skipped, 3 passed, 6 total", "jest", {"failed": 1, "skipped": 2, "passed": 3}),
    ("      Tests  1 failed | 2 passed (3)", "vitest", {"failed": 1, "passed": 2}),
    ("  3 passing (12ms)\n  1 pending\n  2 failing", "mocha", {"passed": 3, "skipped": 1, "failed": 2}),
    ("--- PASS: TestA (0.00s)\n    --- FAIL: TestB/x (0.10s)\nFAIL\texample.com/p\t0.012s", "go test",
     {"passed": 1, "failed": 1}),
    ("ok  \texample.com/q\t(cached)", "go test", {}),
    ("FAIL\texample.com/r\t[build failed]", "go test", {"errors": 1}),
    ("test result: FAILED. 3 passed; 1 failed; 2 ignored; 0 measured; 4 filtered out; and so on", "cargo",
     {"passed": 3, "failed": 1, "skipped": 2, "deselected": 4}),
    ("[ERROR] Tests run: 5, Failures: 1, Errors: 1, Skipped: 1", "surefire",
     {"passed": 2, "failed": 1, "errors": 1, "skipped": 1}),
    ("5 tests completed, 2 failed, 1 skipped", "gradle", {"passed": 2, "failed": 2, "skipped": 1}),
    ("1 test completed, 1 failed", "gradle", {"failed": 1}),
    ("[     2 tests skipped         ]\n[     3 tests successful      ]\n[     1 tests failed      ]",
     "junit", {"passed": 3, "failed": 1, "skipped": 2}),
]  # fmt: skip

COUNTS = ("passed", "failed", "errors", "skipped", "xfailed", "xpassed", "deselected", "rerun")


@pytest.mark.parametrize(
    ("text", "runner", "counts"), CLOSING, ids=[f"{case[1]}-{n}" for n, case in enumerate(CLOSING)]
)
@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\nmore output\n"])
def test_closing_lines_are_parsed(text: str, runner: str, counts: dict[str, int], end: str) -> None:
    before = "some output\n"
    found = summaries(f"{before}{text}{end}".encode())
    assert [summary.runner for summary in found] == [runner]
    assert {name: getattr(found[0], name) for name in COUNTS if getattr(found[0], name)} == counts
    assert found[0].offset >= len(before)


@pytest.mark.parametrize(
    ("text", "runner", "counts"), CLOSING, ids=[f"{case[1]}-{n}" for n, case in enumerate(CLOSING)]
)
def test_closing_lines_survive_one_byte_chunks(text: str, runner: str, counts: dict[str, int]) -> None:
    data = f"{text}\n".encode()
    patterns = Patterns()
    for byte in data:
        assert patterns.feed(bytes((byte,))) == bytes((byte,))
    patterns.flush()
    assert tuple(patterns.summaries) == summaries(data)
    assert patterns.summaries[0].runner == runner


@pytest.mark.parametrize(
    "line",
    [
        "I said 3 passed in 0.12s today",
        "echo '=== 3 passed in 0.12s ==='",
        "3 passed, unknown 2 in 0.12s",
        "passed in 0.12s",
        "OK",
        "Tests run: 5, Failures: 1, Errors: 1, Skipped: 1, Time elapsed: 0.1 s",
        "test result: maybe. 3 passed",
        "5 tests completed, all failed",
        "  1 pending",
        "Tests: all of them",
    ],
)
def test_lookalikes_are_no_closing_lines(line: str) -> None:
    assert summaries(f"{line}\n".encode()) == ()


@pytest.mark.parametrize(
    ("line", "kind", "rule"),
    [
        ("make: *** [Makefile:2: all] Error 2", "error", "make"),
        ("make[1]: *** No rule to make target 'x'.  Stop.", "error", "make"),
        ("npm ERR! code ELIFECYCLE", "error", "npm"),
        ("npm error code 1", "error", "npm"),
        ("  congratulations :) (1.23 seconds)", "success", "tox"),
        ("  evaluation failed :( (1.23 seconds)", "error", "tox"),
    ],
)
def test_tool_lines(line: str, kind: str, rule: str) -> None:
    found = [match for match in detect(f"x\n{line}\n".encode()) if match.rule == rule]
    assert [(match.kind, match.offset, match.text) for match in found] == [(kind, 2, line.strip())]


WORD = st.sampled_from(
    [b"error", b"WARNING", b"Passed", b"x", b" ", b"\n", b"time:", b"exceptionfailed", b"\xff", b"complete"]
)


@given(st.lists(WORD, max_size=40), st.integers(1, 9))
def test_counts_are_those_of_the_regular_expressions(words: list[bytes], size: int) -> None:
    data = b"".join(words)
    patterns = Patterns()
    for start in range(0, len(data), size):
        patterns.feed(data[start : start + size])
    patterns.flush()
    assert patterns.counts == {kind: len(re.findall(form, data)) for kind, form in SEED_FORMS.items()}


@given(st.lists(WORD, max_size=30), st.integers(1, 9))
def test_chunks_make_no_difference(words: list[bytes], size: int) -> None:
    data = b"".join(words)
    patterns = Patterns()
    for start in range(0, len(data), size):
        patterns.feed(data[start : start + size])
    patterns.flush()
    assert sorted(patterns.matches, key=lambda m: (m.offset, m.kind, m.rule)) == detect(data)


def test_an_overlong_line_is_counted_exactly() -> None:
    data = (b"x" * 97 + b"duration:") * 5000
    patterns = Patterns()
    for start in range(0, len(data), 1000):
        patterns.feed(data[start : start + 1000])
        assert patterns._waiting_bytes <= LINE_LIMIT_BYTES + 1000
    patterns.flush()
    assert patterns.counts["metric"] == 5000


def test_samples_are_bounded_and_counts_are_not() -> None:
    patterns = Patterns()
    patterns.feed(b"an error\n" * 1000 + b"1 passed in 0.1s\n" * 1000)
    assert patterns.counts["error"] == 1000
    assert len([match for match in patterns.matches if match.rule == "error"]) == SAMPLES_PER_RULE
    assert len(patterns.summaries) == 200
    assert patterns.summaries[-1].offset == 1000 * 9 + 999 * 17


def test_offsets_count_raw_bytes_with_colour_codes() -> None:
    first = b"\x1b[31mred\x1b[0m\n"
    found = detect(first + b"\x1b[1man error\x1b[0m\n")
    assert [(match.offset, match.text) for match in found] == [(len(first), "an error")]


@given(st.binary(max_size=300))
def test_any_bytes_are_accepted(data: bytes) -> None:
    detect(data)

"""A pytest that was to be recorded and left no record."""

from __future__ import annotations

import pytest

from dre_core.model.observation import Observation, SeenProcess
from dre_core.model.policy import Policy
from dre_core.model.run import Claim, CommandFacts, Run, RunOutcome
from dre_core.verify.evidence import Evidence
from dre_core.verify.exits import runner_session_present


def findings(*lines: str, outcome: RunOutcome = RunOutcome.PASSED) -> list[str]:
    return [finding.severity.value for finding in ruling_on(*lines, outcome=outcome).findings]


def ruling_on(*lines: str, outcome: RunOutcome = RunOutcome.PASSED):
    run = Run(
        operation="op_" + "0" * 26, face="wrap", started="", ended="", nonce="", duration_ns=1,
        claim=Claim(outcome=outcome, exit_code=0), command=CommandFacts(argv=("make", "test")),
    )  # fmt: skip
    processes = tuple(
        SeenProcess(pid=number, parent_pid=1, argv=tuple(line.split()), exit_code=0)
        for number, line in enumerate(lines, 2)
    )
    observation = Observation(exit_code=0, processes=processes)
    return runner_session_present(Evidence(run=run, policy=Policy(), observation=observation))


@pytest.mark.parametrize(
    "line",
    ["pytest --dre", "python -m pytest --dre -q", "pytest -p no:dre", "python3 -m pytest -pno:dre tests"],
)
def test_is_a_failure(line):
    assert findings(line) == ["fail"]
    assert findings(line, outcome=RunOutcome.FAILED) == []


@pytest.mark.parametrize(
    "lines",
    [
        ("pytest -q",),
        ("pytest --dre --version",),
        ("python -m pytest --dre --help",),
        ("unittest --dre",),
        ("pytest -p no:cacheprovider",),
        ("/usr/bin/dre wrap -- pytest --dre", "pytest --dre"),
        ("python -m dre_ci.cli wrap -- pytest --dre", "python -m pytest --dre"),
    ],
)
def test_is_none_where_nothing_was_to_be_recorded_or_another_wrapper_did(lines):
    assert findings(*lines) == []


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("python -m unittest", "pytest --dre runs unittest's tests too"),
        ("node --test", "--test-reporter=junit"),
        ("go test ./...", "gotestsum --junitfile FILE"),
        ("npm test", "let it write one in JUnit's format, and name it"),
        ("mvn test", "it found no tests, left them out"),
        ("mvn package -DskipTests", "was told to leave out"),
        ("pytest -q", "run pytest with --dre"),
        ("make", "run pytest with --dre"),
    ],
)
def test_what_is_missing_of_a_runner_is_said(line, words):
    assert words in ruling_on(line).detail

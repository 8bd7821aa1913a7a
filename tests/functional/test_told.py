"""Closing lines that nobody's tests printed."""

from __future__ import annotations

import pytest

from dre_core.model.observation import ClosingLine, Observation, SeenProcess
from dre_core.model.policy import Policy
from dre_core.model.run import Claim, CommandFacts, Run, RunOutcome
from dre_core.model.session import Counts, Session
from dre_core.verify.evidence import Evidence
from dre_core.verify.told import printed_count_agrees

RUNNER = SeenProcess(pid=2, parent_pid=1, argv=("pytest",), exit_code=0)
OTHER = SeenProcess(pid=3, parent_pid=1, argv=("pytest",), exit_code=0)


def severities(*printed, passed=None, processes=(), complete=False, bad=0, reruns=0):
    run = Run(
        operation="op_" + "0" * 26, face="wrap", started="", ended="", nonce="", duration_ns=1,
        claim=Claim(outcome=RunOutcome.PASSED, exit_code=0), command=CommandFacts(argv=("make", "test")),
    )  # fmt: skip
    lines = tuple(
        ClosingLine(runner="pytest", counts=(("failed", bad), ("passed", n)), offset=n, text=f"{n} passed")
        for n in printed
    )
    sessions = ()
    if passed is not None:
        sessions = (
            Session(id="s", nonce="n", pid=2, parent_pid=1, counts=Counts(passed=passed, rerun=reruns)),
        )
    observation = Observation(exit_code=0, processes=processes, closing_lines=lines, complete=complete)
    ruling = printed_count_agrees(
        Evidence(run=run, policy=Policy(), sessions=sessions, observation=observation)
    )
    return [finding.severity.value for finding in ruling.findings]


@pytest.mark.parametrize(
    ("printed", "more", "expected"),
    [
        ((5,), {"passed": 5, "processes": (RUNNER,)}, []),
        ((9,), {"passed": 5, "processes": (RUNNER,)}, ["veto"]),
        ((5, 214), {"passed": 5, "processes": (RUNNER,)}, ["fail"]),
        ((3, 5), {"passed": 5, "processes": (RUNNER,)}, []),
        ((5, 214), {"passed": 5, "processes": (RUNNER, OTHER)}, []),
        ((214,), {}, ["fail"]),
        ((214,), {"complete": True}, ["veto"]),
        ((214,), {"processes": (RUNNER,)}, []),
        ((), {}, []),
        ((4,), {"passed": 5, "processes": (RUNNER,), "bad": 1}, ["fail"]),
        ((4,), {"passed": 5, "processes": (RUNNER,), "bad": 1, "reruns": 1}, []),
        ((4, 5), {"passed": 5, "processes": (RUNNER, OTHER), "bad": 1}, []),
    ],
)
def test_closing_lines(printed, more, expected):
    assert severities(*printed, **more) == expected

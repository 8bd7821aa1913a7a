"""What the verdict makes of a re-execution that was asked for and did not come to anything."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dre_core.model.policy import Policy
from dre_core.model.replay import Cell, CellState, Mode, ReplayFacts
from dre_core.model.run import Claim, CommandFacts, Gap, Run, RunOutcome, Source
from dre_core.verify.evidence import Evidence
from dre_core.verify.replay import replay_answers

RAN = dict.fromkeys(("clean", "bb", "bh", "hh"), CellState.RAN)


def said(facts=None, *gaps):
    run = Run(
        operation="op_" + "0" * 26, face="wrap", started="", ended="", nonce="", duration_ns=1,
        claim=Claim(outcome=RunOutcome.PASSED, exit_code=0), command=CommandFacts(argv=("pytest",)),
        source=Source(vcs="git", commit="h", base="b"), gaps=gaps,
    )  # fmt: skip
    findings = replay_answers(Evidence(run=run, policy=Policy(), replay=facts)).findings
    assert {finding.severity.value for finding in findings} <= {"fail"}
    return findings[0].message if findings else ""


def facts(mode=Mode.MATRIX, base="b", **cells):
    return ReplayFacts(
        mode=mode, head="h", base=base, cells=tuple(Cell(name=n, state=s) for n, s in cells.items())
    )


def test_nobody_who_did_not_ask_is_held_to_an_answer():
    assert said() == ""
    assert said(None, Gap(collector="coverage", reason="none")) == ""


def test_a_replay_that_could_not_begin_is_no_answer():
    assert said(None, Gap(collector="replay", reason="there is no commit")).endswith("there is no commit")


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (RAN, ""),
        ({**RAN, "bb": CellState.FAILED_SETUP}, "bb did not run: failed-setup"),
        ({**RAN, "clean": CellState.TIMEOUT}, "clean did not run: timeout"),
        ({"clean": CellState.RAN, "bb": CellState.RAN, "hh": CellState.RAN}, "bh did not run: it was not wanted"),
        ({**RAN, "hb": CellState.FAILED_SETUP, "bs": CellState.FAILED_SETUP}, ""),
        ({**RAN, "bs": CellState.NOT_RUN}, "bs did not run: not-run"),
        ({**RAN, "placed": CellState.NOT_RUN}, "placed did not run: not-run"),
    ],
)  # fmt: skip
def test_each_cell_that_the_verdict_needs_must_have_run(cells, expected):
    message = said(facts(**cells))
    assert message.endswith(expected)
    assert bool(message) == bool(expected)


def test_old_tests_that_were_not_found_are_no_answer():
    found = replace(facts(**RAN), unmatched=("tests/test_a.py",))
    assert said(found).startswith("of tests/test_a.py, which the change touched, no test of the base")
    assert ReplayFacts.parse(found.to_json()) == found


@pytest.mark.parametrize(("mode", "base"), [(Mode.CLEAN, ""), (Mode.MATRIX, ""), (Mode.MATRIX, "h")])
def test_without_anything_to_compare_the_commit_alone_is_enough(mode, base):
    assert said(facts(mode=mode, base=base, clean=CellState.RAN)) == ""

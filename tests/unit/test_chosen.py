"""What was left out before the run, and whether the change brought the rule for it."""

from __future__ import annotations

import pytest

from dre_core.model.changes import Change, ChangeKind, Changes
from dre_core.model.policy import Policy
from dre_core.model.replay import Mode, Reached, ReplayedTest, ReplayFacts
from dre_core.model.run import Claim, CommandFacts, Run, RunOutcome
from dre_core.model.session import Counts, HookNote, Outcome, Session, TestRecord
from dre_core.verify.chosen import selection
from dre_core.verify.evidence import Evidence

HOOK = "pytest_collection_modifyitems"


@pytest.mark.parametrize(
    ("at_base", "expected"),
    [(None, ["fail"]), (Outcome.PASSED, ["fail"]), (Outcome.XFAILED, [])],
)
def test_a_failure_that_was_expected_at_the_base_was_not_brought_by_the_change(at_base, expected):
    run = Run(
        operation="op_" + "0" * 26, face="wrap", started="", ended="", nonce="", duration_ns=1,
        claim=Claim(outcome=RunOutcome.PASSED, exit_code=0), command=CommandFacts(argv=("pytest",)),
    )  # fmt: skip
    session = Session(
        id="s", nonce="n", pid=2, parent_pid=1, counts=Counts(xfailed=1),
        tests=(TestRecord(id="test_a.py::test_a", outcome=Outcome.XFAILED),),
        hooks=(HookNote(hook=HOOK, plugin="", file="conftest.py", line=3, concern="conftest"),),
    )  # fmt: skip
    changes = Changes(
        base="b", changes=(Change(kind=ChangeKind.HOOK, path="conftest.py", name=HOOK, line=3),)
    )
    replayed = ReplayedTest(id="test_a.py::test_a", bb=Reached(outcome=at_base) if at_base else None)
    replay = ReplayFacts(mode=Mode.MATRIX, head="h", base="b", tests=(replayed,))
    evidence = Evidence(run=run, policy=Policy(), sessions=(session,), changes=changes, replay=replay)
    assert [finding.severity.value for finding in selection(evidence).findings] == expected

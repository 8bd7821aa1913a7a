"""What the verdict makes of a change that was not looked at, or not wholly."""

from __future__ import annotations

import pytest

from dre_core.model.changes import Changes
from dre_core.model.policy import Policy
from dre_core.model.run import Claim, CommandFacts, Run, RunOutcome, Source
from dre_core.verify.changes import CHANGE_CHECKS
from dre_core.verify.evidence import Evidence

(READ,) = (check for check in CHANGE_CHECKS if check.id == "change-read")


@pytest.mark.parametrize(
    ("base", "changes", "expected"),
    [
        ("", None, []),
        ("b" * 40, Changes(base="b" * 40), []),
        ("b" * 40, None, ["the change from bbbbbbbbbbbb was not read, so nothing in it was looked at"]),
        ("b" * 40, Changes(base="b" * 40, left=("7 more files that matter",)), None),
    ],
)
def test_a_change_that_nobody_looked_at_is_no_change_without_remarks(base, changes, expected):
    run = Run(
        operation="op_" + "0" * 26, face="wrap", started="", ended="", nonce="", duration_ns=1,
        claim=Claim(outcome=RunOutcome.PASSED, exit_code=0), command=CommandFacts(argv=("pytest",)),
        source=Source(vcs="git", commit="c" * 40, base=base),
    )  # fmt: skip
    findings = READ.run(Evidence(run=run, policy=Policy(), changes=changes)).findings
    assert {finding.severity.value for finding in findings} <= {"fail"}
    if expected is None:
        assert "7 more" in findings[0].message
    else:
        assert [finding.message for finding in findings] == expected

"""Policies made of policies, skips that are allowed for a while, and commands that are expected."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from dre_ci.commands.config import doubts
from dre_core.config import parse_yaml
from dre_core.errors import ConfigError
from dre_core.model.changes import Change, ChangeKind, Changes
from dre_core.model.policy import AllowedSkip, Combine, Policy
from dre_core.model.run import Claim, CommandFacts, Run, RunOutcome, Source
from dre_core.model.verdict import Conclusion, Severity
from dre_core.policy_file import load_policy, parse_policy
from dre_core.verification import Request, _left_open
from dre_core.verify.changes import CHANGE_CHECKS
from dre_core.verify.evidence import Evidence
from dre_core.verify.exits import command_expected
from dre_core.verify.judgement import combined
from dre_core.verify.verifier import run_checks

BASE = "b" * 40


def parse(text, folder):
    return parse_policy(parse_yaml(text, "p"), "p", folder)


def test_members_are_files_presets_and_mappings(tmp_path):
    (tmp_path / "one.yaml").write_text("any_of: [preset:lenient, two.yaml]\n")
    (tmp_path / "two.yaml").write_text("threshold: 0.5\n")
    policy = parse("all_of: [preset:strict, one.yaml, {signatures: 2}]\n", tmp_path)
    assert policy.combine is Combine.ALL_OF
    assert [member.combine for member in policy.members] == [None, Combine.ANY_OF, None]
    assert [leaf.required_methods for leaf in policy.leaves()] == [3, 1, 2, 2]
    assert policy.leaves()[2].threshold == 0.5


@pytest.mark.parametrize(
    "text",
    [
        "all_of: []", "all_of: 3", "any_of: [preset:wild]", "any_of: [none.yaml]",
        "{any_of: [preset:ci], threshold: 1}",
        "{any_of: [preset:ci], all_of: [preset:ci]}", "all_of: [3]", "all_of: [self.yaml]",
        "skips: [{tests: [a], reason: x}]", "skips: [{tests: a, reason: x, until: 2027-01-01}]",
        "skips: [{tests: [a], reason: x, until: soon}]", "skips: [{tests: [a], reason: '', until: 2027-01-01}]",
    ],
)  # fmt: skip
def test_what_is_refused(text, tmp_path):
    (tmp_path / "self.yaml").write_text("all_of: [self.yaml]\n")
    with pytest.raises(ConfigError):
        parse(text, tmp_path)


@pytest.mark.parametrize(("how", "expected"), [("any_of", "supported"), ("all_of", "contradicted")])
def test_the_best_or_the_worst_counts(how, expected):
    every = [Conclusion.INCONCLUSIVE, Conclusion.CONTRADICTED, Conclusion.SUPPORTED, Conclusion.FAILED]

    class Holder:
        def __init__(self, conclusion):
            self.conclusion = conclusion

    assert combined([Holder(c) for c in every], Combine(how), lambda h: h).conclusion.value == expected


def test_a_composed_policy_judges_a_run(project):
    project.write("any.yaml", "any_of: [preset:default, {minimum_level: 4}]\n")
    project.write("all.yaml", "all_of: [preset:default, {minimum_level: 4}]\n")
    project.commit("policies")
    project.wrap_pytest()
    assert project.verdict("--policy", "any.yaml")["verdict"] == "supported"
    assert project.verdict("--policy", "all.yaml")["verdict"] == "inconclusive"
    assert project.dre("config", "validate", "all.yaml").returncode == 0
    assert load_policy(project.path / "all.yaml").members


@pytest.mark.parametrize(
    ("pattern", "test", "day", "allowed"),
    [
        ("t.py::test_a", "t.py::test_a", "2027-01-01", True),
        ("t.py::test_a", "t.py::test_a[1-x]", "2026-12-31", True),
        ("t.py::test_a", "t.py::test_ab", "2026-12-31", False),
        ("t.py::*", "t.py::T::test_a", "2026-12-31", True),
        ("t.py::test_a[x]", "t.py::test_a[x]", "2026-12-31", True),
        ("t.py::test_a", "t.py::test_a", "2027-01-02", False),
    ],
)
def test_allowed_skips(pattern, test, day, allowed):
    skip = AllowedSkip(tests=(pattern,), reason="the service is down", until="2027-01-01")
    assert (Policy(skips=(skip,)).allowed_skip(test, day) is skip) == allowed


def evidence(policy, argv=("pytest",)):
    run = Run(
        operation="op_" + "0" * 26, face="wrap", started="", ended="2026-12-01T00:00:00Z", nonce="", duration_ns=1,
        claim=Claim(outcome=RunOutcome.PASSED, exit_code=0), command=CommandFacts(argv=argv),
        source=Source(vcs="git", commit="c" * 40, base=BASE),
    )  # fmt: skip
    skipped = Change(
        kind=ChangeKind.TEST_SKIPPED, path="t.py", name="test_a", line=3, detail="pytest.mark.skip"
    )
    return Evidence(run=run, policy=policy, changes=Changes(base=BASE, changes=(skipped,)))


def test_an_allowed_skip_is_shown_and_not_held_against_anybody():
    skip = AllowedSkip(tests=("t.py::test_a",), reason="the service is down", until="2027-01-01")
    for policy, severity in ((Policy(), "fail"), (Policy(skips=(skip,)), "info")):
        (finding,) = run_checks("structural", CHANGE_CHECKS, evidence(policy)).findings
        assert finding.severity.value == severity
    late = replace(skip, until="2026-11-30")
    (finding,) = run_checks("structural", CHANGE_CHECKS, evidence(Policy(skips=(late,)))).findings
    assert finding.severity is Severity.FAIL


@pytest.mark.parametrize(
    ("pattern", "count"), [("python -m pytest*", 0), ("tox*", 1), ("python -m pytest -q 'a b'", 0)]
)
def test_expected_commands(pattern, count):
    found = evidence(Policy(expected_commands=(pattern,)), argv=("python", "-m", "pytest", "-q", "a b"))
    assert len(command_expected(found).findings) == count


def test_a_member_of_any_of_whose_question_is_open_takes_no_part(tmp_path):
    request = Request(policy=parse("any_of: [preset:ci, {signatures: 1}]\n", tmp_path))
    assert _left_open(request, request.policy) is None
    for text in ("all_of: [preset:ci, {signatures: 1}]\n", "any_of: [preset:ci, preset:strict]\n"):
        assert _left_open(request, parse(text, tmp_path)) == "--commit"
    answered = replace(request, commit="HEAD")
    assert _left_open(answered, parse("any_of: [preset:ci, preset:strict]\n", tmp_path)) is None


def test_what_comes_to_nothing_in_a_policy_is_told(tmp_path):
    policy = parse(
        "severities: {tree-claen: fail, skip-ratio: warn, verifier-failed: fail}\n"
        "skips: [{tests: [a], reason: x, until: 2027-01-31}]\n",
        tmp_path,
    )
    assert doubts(policy, date(2027, 1, 31)) == [
        "p: there is no check 'tree-claen': did you mean tree-clean?"
    ]
    assert doubts(replace(policy, severities={}), date(2027, 2, 1)) == [
        "p: the skip of a ended on 2027-01-31"
    ]
    assert doubts(replace(policy, plugins=("other",)), date(2027, 1, 31)) == []

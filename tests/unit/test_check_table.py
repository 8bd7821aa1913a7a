"""The catalogue of checks: each one is there, and can find no worse than its documentation says."""

from __future__ import annotations

import ast
import re
from dataclasses import replace
from pathlib import Path

import pytest

from dre_core.model.policy import DISCLOSING, Policy
from dre_core.model.verdict import Finding, Severity, Vantage
from dre_core.verify import behavioral, programmatic, structural, visual

ROOT = Path(__file__).resolve().parents[2]
SEVERITIES = ("info", "warn", "fail", "veto")
# What builds a finding, and the worst that it builds.
BUILDERS = {
    "info": "info", "_disclosed": "info", "warn": "warn", "_warned": "warn", "_regression": "warn", "fail": "fail",
    "major": "fail", "critical": "fail", "_critical": "fail", "_settled_by_replay": "fail", "veto": "veto",
    "_accusing": "veto",
}  # fmt: skip
# Builders that also say, as information, what was declared.
DISCLOSE = ("_accusing", "_declared")
# A finding of this one bears the name of the finding that any verifier can end with.
OTHER_NAMES = {"evidence-readable": "verifier-failed"}

# What was planned, by method: the check and the worst that it may find. Where this differs from what is there, the
# reason stands in docs/verdict.md under "Where evidence is weaker than the rule".
PLANNED = {
    "programmatic": {
        "exit-agrees": "veto", "failures-exit0": "veto", "exitstatus-overridden": "veto",
        "runner-session-present": "veto", "session-finished": "veto", "something-executed": "veto",
        "outcome-matches-body": "veto", "body-called": "veto", "report-fresh": "veto", "report-agrees": "veto",
        "printed-count-agrees": "veto", "asserts-enabled": "veto", "error-log-exit0": "veto",
        "coverage-of-change": "info", "skip-ratio": "info", "tests-assert": "info", "hidden-text": "warn",
    },
    "structural": {
        "fix-is-in-the-tests": "veto", "test-blinded": "veto", "test-newly-skipped": "veto",
        "failing-test-removed": "veto", "subject-removed": "warn", "expectation-changed": "fail",
        "passing-test-dropped": "warn", "commit-reproduces": "veto", "tree-clean": "warn",
        "code-under-test-local": "veto", "changed-code-pseudo-tested": "fail", "detects-test-env": "veto",
        "input-special-cased": "fail", "eq-constant": "veto", "tautology-added": "fail", "hook-added": "warn",
        "runner-config-changed": "warn", "golden-changed": "warn", "deps-match-lock": "info",
        "artifact-made": "fail", "coverage-config-weakened": "fail",
    },
    "behavioral": {
        "process-tree-has-runner": "veto", "work-plausible": "fail", "wall-covers-reported": "fail",
        "io-touches-tests": "info", "leftovers": "warn", "killed-or-oom": "veto", "retries-used": "warn",
        "cpu-regression": "warn", "memory-regression": "warn", "time-regression": "warn",
    },
    "visual": {
        "picture-from-this-run": "fail", "not-blank": "fail", "matches-baseline": "fail",
        "baseline-rerecorded": "fail", "mask-grew": "warn", "terminal-equals-stdout": "veto",
    },
}  # fmt: skip


def documented():
    text = (ROOT / "docs" / "verdict.md").read_text()
    rows = re.findall(r"^\| (\w+) \| `([a-z0-9-]+)` \| (\w+) \|", text, re.M)
    return {(method, check): severity for method, check, severity in rows}


def built():
    """The worst finding that the code builds, by the finding's name."""
    return {name: max(found, key=SEVERITIES.index) for name, found in every_built().items()}


def every_built():
    """Every severity that the code builds, by the finding's name."""
    found: dict[str, set[str]] = {}
    for path in (ROOT / "dre_core" / "verify").glob("*.py"):
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef | ast.Module):
                for name, severity in _built_in(function):
                    found.setdefault(name, set()).update({severity})
    return found


def _built_in(function):
    values = {}
    for node in ast.walk(function) if isinstance(function, ast.FunctionDef) else ():
        if isinstance(node, ast.Assign):
            pairs = [(node.targets[0], node.value)]
            if isinstance(node.targets[0], ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = zip(node.targets[0].elts, node.value.elts, strict=True)
            values |= {target.id: value for target, value in pairs if isinstance(target, ast.Name)}
    for node in ast.walk(function):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args):
            continue
        name = node.args[0]
        if isinstance(name, ast.Name):
            name = values.get(name.id)
        makers = [node.func.id]
        if node.func.id not in BUILDERS and node.func.id in values:
            makers = [each.id for each in ast.walk(values[node.func.id]) if isinstance(each, ast.Name)]
        if isinstance(name, ast.Constant):
            yield from ((name.value, BUILDERS[maker]) for maker in makers if maker in BUILDERS)
            yield from ((name.value, "info") for maker in makers if maker in DISCLOSE)


def test_what_a_check_only_discloses_no_policy_raises():
    disclosing = {name for name, found in every_built().items() if "info" in found and found != {"info"}}
    # Files that are not tracked are what a policy that asks for a clean tree means.
    assert disclosing - {"tree-clean"} == DISCLOSING
    told = Finding(check="tests-skipped", severity=Severity.INFO, vantage=Vantage.STATIC, message="allowed")
    policy = Policy(severities={"tests-skipped": Severity.VETO, "skip-ratio": Severity.FAIL})
    assert policy.adjust(told) is told
    assert policy.adjust(replace(told, check="skip-ratio")).severity is Severity.FAIL
    assert policy.adjust(replace(told, severity=Severity.FAIL)).severity is Severity.VETO


CHECKS = {
    module.__name__.rpartition(".")[2]: [check.id for check in module.CHECKS]
    for module in (programmatic, structural, behavioral, visual)
}


@pytest.mark.parametrize("method", PLANNED)
def test_every_planned_check_is_there(method):
    there = documented()
    assert {check: there.get((method, check)) for check in PLANNED[method]} == PLANNED[method]


def test_the_documentation_says_what_the_code_can_find():
    worst = built()
    told = documented()
    code = {
        (method, check): worst.get(OTHER_NAMES.get(check, check), "none")
        for method, checks in CHECKS.items()
        for check in checks
    }
    assert code == told

"""Declarations: sealed before the run, bound to the commit; anybody may tighten, only a maintainer may loosen."""

from __future__ import annotations

import json
import sys


def show(project):
    return json.loads(project.dre("evidence", "show", "--json").stdout)


def test_a_declaration_is_named_by_the_runs_at_its_commit(project):
    declared = json.loads(project.dre("claim", "--kind", "fix", "--json").stdout)
    project.wrap_pytest()
    assert show(project)["declaration"] == declared["payload"]
    verdict = project.verdict()
    assert verdict["claim"]["kind"] == "fix"
    assert project.dre("verify").returncode in (0, 4)
    project.commit("next")
    project.wrap_pytest()
    assert show(project)["declaration"] == ""
    assert project.verdict()["claim"]["kind"] is None


def test_the_last_one_holds_until_it_is_cleared(project):
    project.dre("claim", "--kind", "fix")
    project.dre("claim", "--kind", "refactor")
    project.wrap_pytest()
    assert project.verdict()["claim"]["kind"] == "refactor"
    assert project.dre("claim", "--clear").returncode == 0
    project.wrap_pytest()
    assert project.verdict()["claim"]["kind"] is None
    assert project.dre("claim", "--clear").returncode == 1


def test_only_a_maintainer_may_loosen(project, tmp_path):
    project.dre("claim", "--kind", "behavior-change", "--changes", "test_shop.py::test_two")
    project.wrap_pytest()
    archive, key = tmp_path / "e.zip", tmp_path / "key.pem"
    project.dre("evidence", "export", "--output", str(archive))
    key.write_bytes(project.dre("keys", "public").stdout)
    assert project.verdict(str(archive), "--key", str(key))["claim"]["kind"] == "behavior-change"
    policy = tmp_path / "policy.yaml"
    policy.write_text("keys: [{file: key.pem, roles: [runner]}]\n")
    assert project.verdict(str(archive), "--policy", str(policy))["claim"]["kind"] is None
    policy.write_text("keys: [{file: key.pem, roles: [runner, maintainer]}]\n")
    assert project.verdict(str(archive), "--policy", str(policy))["claim"]["kind"] == "behavior-change"


def test_a_declared_collection_only(project):
    words = (sys.executable, "-m", "pytest", "--dre", "-q", "--collect-only", "-p", "no:cacheprovider")
    project.dre("wrap", "--", *words)
    assert project.verdict()["verdict"] == "inconclusive"
    project.dre("claim", "--collect-only")
    project.dre("wrap", "--", *words)
    assert project.findings(project.verdict()).get("something-executed") in (None, "info")


def test_usage(project, tmp_path):
    assert project.dre("claim").returncode == 2
    assert project.dre("claim", "--kind", "miracle").returncode == 2

"""Declarations: sealed before the run, bound to the commit; anybody may tighten, only a maintainer may loosen."""

from __future__ import annotations

import json
import sys

from tests.conftest import PYTEST


def show(project):
    return json.loads(project.dre("evidence", "show", "--json").stdout)


def test_a_declaration_is_named_by_the_runs_at_its_commit(project):
    declared = json.loads(project.dre("claim", "--kind", "fix", "--json").stdout)
    project.wrap_pytest()
    assert show(project)["declaration"] == declared["payload"]
    verdict = project.verdict()
    assert verdict["claim"]["kind"] == "fix"
    assert verdict["claim"]["declared"].endswith("Z, sealed before the run")
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


def test_expected_tests_must_run(project, tmp_path):
    expected = tmp_path / "expected.txt"
    expected.write_text("test_shop.py::test_two\ntest_shop.py::test_gone\n\n2 tests collected in 0.01s\n")
    assert project.dre("claim", "--expect-tests", str(expected)).returncode == 0
    project.wrap_pytest()
    verdict = project.verdict()
    assert (verdict["verdict"], project.findings(verdict)["expected-tests-ran"]) == ("inconclusive", "fail")
    expected.write_text("test_shop.py\n")
    project.dre("claim", "--expect-tests", str(expected))
    project.wrap_pytest()
    assert project.verdict()["verdict"] == "supported"


def test_an_expected_status_inside(project):
    project.write("test_broken.py", "def test_broken(): assert False\n")
    words = (sys.executable, "-m", "pytest", "--dre", "-q", "-p", "no:cacheprovider")
    script = project.write("run.sh", f"{' '.join(words)} test_broken.py; {' '.join(words)} test_shop.py\n")
    project.commit("broken on purpose")
    project.dre("wrap", "--", "sh", str(script))
    assert project.findings(project.verdict())["exit-agrees"] == "veto"
    project.dre("claim", "--expect-exit", "1")
    project.dre("wrap", "--", "sh", str(script))
    assert "exit-agrees" not in project.findings(project.verdict())


def test_an_excused_path(project, tmp_path):
    base = project.commit("base")
    project.write("conftest.py", "def pytest_runtest_makereport(item, call): pass\n")
    project.commit("a hook")
    project.dre("wrap", "--base", base, "--", *PYTEST, "--dre")
    assert project.findings(project.verdict())["hook-added"] in ("fail", "warn")
    project.dre("claim", "--excuse", "conftest.py")
    project.dre("wrap", "--base", base, "--", *PYTEST, "--dre")
    assert project.findings(project.verdict())["hook-added"] == "info"
    archive, key, policy = tmp_path / "e.zip", tmp_path / "key.pem", tmp_path / "policy.yaml"
    project.dre("evidence", "export", "--output", str(archive))
    key.write_bytes(project.dre("keys", "public").stdout)
    policy.write_text("keys: [{file: key.pem, roles: [runner]}]\n")
    verdict = project.verdict(str(archive), "--policy", str(policy))
    assert project.findings(verdict)["hook-added"] in ("fail", "warn"), "no maintainer signed"


def test_an_excused_path_excuses_nothing_beside_it(project):
    base = project.commit("base")
    for place in ("a", "b"):
        project.write(f"{place}/conftest.py", "def pytest_runtest_makereport(item, call): pass\n")
        project.write(f"{place}/test_{place}.py", "def test_one(): assert 1 + 1 == 2\n")
    project.commit("hooks")
    project.dre("claim", "--excuse", "a")
    project.dre("wrap", "--base", base, "--", *PYTEST, "--dre")
    found = project.verdict()["methods"]["structural"]["findings"]
    hooks = {(each["where"], each["severity"]) for each in found if each["check"] == "hook-added"}
    assert hooks == {("a/conftest.py:1", "info"), ("b/conftest.py:1", "warn")}


def test_a_declared_policy(project, tmp_path):
    policy = tmp_path / "policy.yaml"
    policy.write_text("minimum_level: 2\n")
    project.dre("claim", "--policy", str(policy))
    project.wrap_pytest()
    assert project.findings(project.verdict())["policy-as-declared"] == "fail"
    verdict = project.verdict("--policy", str(policy))
    assert (verdict["verdict"], "policy-as-declared" in project.findings(verdict)) == ("supported", False)
    policy.write_text("minimum_level: 3\n")
    assert project.findings(project.verdict("--policy", str(policy)))["policy-as-declared"] == "fail"


def test_usage(project, tmp_path):
    assert project.dre("claim").returncode == 2
    assert project.dre("claim", "--kind", "miracle").returncode == 2


def test_a_commit_announces_its_kind_where_the_configuration_says_how(project):
    project.write("dre.yaml", "claim: {labels: ['bug=fix'], patterns: ['^refactor:=refactor']}\n")
    project.commit("refactor: nothing")
    project.wrap_pytest()
    assert project.verdict()["claim"]["kind"] == "refactor"
    run = show(project)
    assert [item["kind"] for item in run["items"]].count("declaration") == 1
    project.dre("claim", "--kind", "docs")
    project.wrap_pytest()
    assert project.verdict()["claim"]["kind"] == "docs"
    project.commit("anything else")
    project.wrap_pytest()
    assert project.verdict()["claim"]["kind"] is None
    project.write("dre.yaml", "claim: {patterns: ['(=fix']}\n")
    done = project.wrap_pytest()
    assert done.returncode == 125
    assert b"is no regular expression" in done.stderr


def test_a_label_is_a_maintainers_word_for_the_job_that_had_it_from_the_forge(project, tmp_path):
    event = tmp_path / "event.json"
    text = "Changes-tests: test_shop.py::test_two"
    event.write_text(json.dumps({"pull_request": {"labels": [{"name": "spec"}], "title": "t", "body": text}}))
    project.write(
        "dre.yaml", "claim: {labels: ['spec=behavior-change'], changes: ['^Changes-tests: (.*)$']}\n"
    )
    project.commit("a change")
    project.wrap_pytest(environ={"GITHUB_EVENT_PATH": str(event)})
    assert show(project)["claim"]["changes"] == ["test_shop.py::test_two"]
    archive, key, policy = tmp_path / "e.zip", tmp_path / "key.pem", tmp_path / "policy.yaml"
    project.dre("evidence", "export", "--output", str(archive))
    key.write_bytes(project.dre("keys", "public").stdout)
    # The author's own job says what it likes.
    policy.write_text("keys: [{file: key.pem, roles: [runner]}]\nlabels: {spec: behavior-change, bug: fix}\n")
    words = (str(archive), "--policy", str(policy))
    assert project.verdict(*words)["claim"]["kind"] is None
    assert project.verdict(*words, "--label", "spec")["claim"]["kind"] == "behavior-change"
    told = project.verdict(*words, "--label", "bug", "--label", "other")
    assert (told["claim"]["kind"], told["claim"]["declared"]) == ("fix", "by a label, read at verification")
    assert any("a label said it" in line for line in told["not_proven"])
    assert project.verdict(*words, "--label", "bug", "--label", "spec")["claim"]["kind"] is None
    policy.write_text("labels: {spec: nonsense}\n")
    refused = project.dre("config", "validate", str(policy))
    assert b"kinds of change are fix" in refused.stdout + refused.stderr

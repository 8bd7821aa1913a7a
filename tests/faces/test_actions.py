"""Both actions, run by a real runner in the workflows of ``examples/github``: what the jobs do, say and leave."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import zipfile
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parent.parent.parent / "examples" / "github"
LYING = "def pytest_sessionfinish(session):\n    session.exitstatus = 0\n"
BROKEN = "from shop import double\n\n\ndef test_two():\n    assert double(1) == 3\n"


@pytest.fixture
def shop(project):
    """The project with the example's workflows, which take the DRE that is installed here."""
    shutil.copytree(EXAMPLE / ".github", project.path / ".github")
    project.write("requirements.txt", "")
    for path in (project.path / ".github" / "workflows").glob("*.yml"):
        ours = r"- (uses: development-reality-engine.*\n +with:\n)"
        path.write_text(re.sub(ours, r"- id: dre\n        \1          install: none\n", path.read_text()))
    project.write(".gitignore", "__pycache__/\n.pytest_cache/\n")
    project.commit("workflows")
    project.git("branch", "-M", "main")
    return project


def pull_event(project, number, *, fork):
    head = project.git("rev-parse", "HEAD")
    base = project.git("rev-parse", "main")
    owner = "stranger" if fork else "octo"
    return {
        "action": "opened",
        "number": number,
        "repository": {"full_name": "octo/shop", "default_branch": "main"},
        "pull_request": {
            "number": number,
            "head": {
                "sha": head,
                "ref": "change",
                "label": f"{owner}:change",
                "repo": {"full_name": f"{owner}/shop"},
            },
            "base": {"sha": base, "ref": "main", "repo": {"full_name": "octo/shop"}},
        },
    }


def run_event(project, *, fork, run=1):
    owner = "stranger" if fork else "octo"
    return {
        "action": "completed",
        "repository": {"full_name": "octo/shop", "default_branch": "main"},
        "workflow_run": {
            "id": run,
            "event": "pull_request",
            "head_sha": project.git("rev-parse", "HEAD"),
            "head_branch": "change",
            "head_repository": {"full_name": f"{owner}/shop", "owner": {"login": owner}},
            "pull_requests": [],
        },
    }


def propose(shop, github, files, *, fork):
    """A pull request with some files changed; its number."""
    shop.git("checkout", "-q", "-b", "change")
    for name, text in files.items():
        shop.write(name, text)
    shop.commit("change")
    number = github.new_issue()
    event = pull_event(shop, number, fork=fork)
    github.pulls = [event["pull_request"]]
    return number, event


TESTS, EVIDENCE, REPLAY = (
    f".github/workflows/{name}.yml" for name in ("tests", "evidence", "evidence-by-replay")
)


def judged(shop, github, act, files, *, fork, workflow=EVIDENCE):
    """The pull request's run, then the trusted one; status, comments and both runs."""
    number, event = propose(shop, github, files, fork=fork)
    first = act("pull_request", TESTS, event)
    second = act("workflow_run", workflow, run_event(shop, fork=fork), GITHUB_RUN_ID="2")
    assert github.statuses, second.text
    commit, status = github.statuses[-1]
    assert commit == shop.git("rev-parse", "HEAD")
    return status, github.comments(number), first, second


def test_a_push_leaves_outputs_summary_and_artifact(shop, act, github):
    ran = act("push", TESTS)
    assert ran.code == 0, ran.text
    outputs = ran.outputs("dre")
    assert {name: outputs[name] for name in ("verdict", "level", "passed", "failed", "exit-code")} == {
        "verdict": "supported", "level": "3", "passed": "2", "failed": "0", "exit-code": "0",
    }  # fmt: skip
    assert outputs["upload-outcome"] == "success"
    assert len(outputs["artifact-digest"]) == 64
    assert "DRE: supported" in ran.summaries
    (packed,) = github.artifacts["1"].glob("**/*.zip")
    assert packed.stem == outputs["artifact-name"]
    with zipfile.ZipFile(packed) as archive:
        assert {"evidence.zip", "report.md", "junit.xml"} <= set(archive.namelist())
        archive.extract("evidence.zip", shop.path.parent)
    verdict = shop.verdict(str(shop.path.parent / "evidence.zip"))
    assert verdict["verdict"] == "untrusted"
    assert {check["id"] for check in verdict["integrity"]["checks"] if not check["passed"]} == {"trust"}


def test_an_honest_pull_request_turns_green_by_the_forges_word(shop, github, act):
    added = {"test_more.py": "def test_more():\n    assert 2 > 1\n"}
    status, (comment,), first, second = judged(shop, github, act, added, fork=False)
    assert first.code == second.code == 0, second.text
    assert status["state"] == "success"
    assert status["description"] == "supported: 3 passed, level 3, score 1.00"
    assert "the forge's word on the run" in comment["body"]
    assert ".github/dre-policy.yaml at" in comment["body"]
    assert second.outputs("dre")["comment-outcome"] == "created"


def test_a_lying_pull_request_turns_red_with_the_reason(shop, github, act):
    lie = {"conftest.py": LYING, "test_shop.py": BROKEN}
    status, (comment,), first, second = judged(shop, github, act, lie, fork=False)
    assert first.code == 1
    assert first.outputs("dre")["exit-code"] == "0"
    assert first.annotations("error")
    assert second.code == 1
    assert status["state"] == "failure"
    assert status["description"].startswith("contradicted: ")
    assert "exitstatus-overridden" in comment["body"] or "failures-exit0" in comment["body"]


def test_an_honest_failing_pull_request_is_a_trustworthy_record(shop, github, act):
    broken = BROKEN + "".join(f"\n\ndef test_{n}():\n    assert double({n}) < 0\n" for n in range(12))
    status, (comment,), first, second = judged(shop, github, act, {"test_shop.py": broken}, fork=False)
    assert first.code == second.code == 1
    assert status["state"] == "failure"
    assert status["description"].startswith("trustworthy record of a failed run: 13 failed")
    assert len(first.annotations("error")) == 10
    # 13 tests, and the one of the base that is gone.
    assert "4 more errors" in first.annotations("notice")[-1]["msg"]
    (shown,) = (each for each in first.annotations("error") if "test_two" in each.get("raw", ""))
    assert shown["kvPairs"]["file"] == "test_shop.py"
    assert int(shown["kvPairs"]["line"]) >= 4
    assert "DRE: failed" in comment["body"]


def test_a_forks_honest_change_is_provisional_and_not_green(shop, github, act):
    added = {"test_more.py": "def test_more():\n    assert 2 > 1\n"}
    status, (comment,), first, second = judged(shop, github, act, added, fork=True)
    assert first.outputs("dre")["level"] == "1"
    assert second.code == 0, second.text
    assert status["state"] == "pending"
    assert status["description"].startswith("provisional ")
    assert comment["body"].split("\n")[1].startswith("> **Provisional.**")
    assert second.outputs("dre")["provisional"] == "true"


@pytest.mark.slow
def test_a_forks_lie_is_red_all_the_same(shop, github, act):
    lie = {"conftest.py": LYING, "test_shop.py": BROKEN}
    status, _, _, second = judged(shop, github, act, lie, fork=True)
    assert second.code == 1
    assert status["state"] == "failure"


def test_a_forks_change_turns_green_when_the_trusted_run_runs_it_again(shop, github, act):
    added = {"test_more.py": "def test_more():\n    assert 2 > 1\n"}
    status, (comment,), _, second = judged(shop, github, act, added, fork=True, workflow=REPLAY)
    assert second.code == 0, second.text
    assert second.result("replay") == "success"
    assert status["state"] == "success"
    assert "Provisional" not in comment["body"]


def test_without_evidence_the_status_is_red(shop, github, act):
    propose(shop, github, {}, fork=False)
    ran = act("workflow_run", EVIDENCE, run_event(shop, fork=False), GITHUB_RUN_ID="2")
    assert ran.code == 1
    _, status = github.statuses[-1]
    assert status["state"] == "failure"
    assert "no evidence" in status["description"]


def attesting(shop):
    path = shop.path / TESTS
    path.write_text(path.read_text() + '          attest: "true"\n')
    shop.commit("attest")


def attested(tmp_path):
    """The statement, read by in-toto's own library; the predicate too."""
    json_format = pytest.importorskip("google.protobuf.json_format")
    statements = pytest.importorskip("in_toto_attestation.v1.statement")
    from in_toto_attestation.predicates.test_result.v0 import test_result_pb2
    from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor

    text = (tmp_path / "attested.json").read_text()
    statement = statements.Statement.copy_from_pb(json_format.Parse(text, statements.spb.Statement()))
    statement.validate()
    found = json_format.ParseDict(json.loads(text)["predicate"], test_result_pb2.TestResult())
    for each in found.configuration:
        ResourceDescriptor.copy_from_pb(each).validate()
        assert each.uri or each.digest
    return json.loads(text), found


IDENTITY = {
    "ACTIONS_ID_TOKEN_REQUEST_URL": "http://127.0.0.1:9/token",
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "oidc",
}


def test_the_archive_is_attested_with_what_its_tests_came_to(shop, act, github, tmp_path):
    attesting(shop)
    ran = act("push", TESTS, **IDENTITY)
    assert ran.code == 0, ran.text
    outputs = ran.outputs("dre")
    assert outputs["attest-outcome"] == "success"
    assert outputs["attestation-url"].endswith("/attestations/1")
    statement, found = attested(tmp_path)
    assert statement["predicateType"] == "https://in-toto.io/attestation/test-result/v0.1"
    (packed,) = github.artifacts["1"].glob("**/*.zip")
    with zipfile.ZipFile(packed) as archive:
        digest = hashlib.sha256(archive.read("evidence.zip")).hexdigest()
    assert statement["subject"] == [{"name": "evidence.zip", "digest": {"sha256": digest}}]
    assert (found.result, len(found.passed_tests), len(found.failed_tests)) == ("PASSED", 2, 0)
    assert found.configuration[1].digest["gitCommit"] == shop.git("rev-parse", "HEAD")
    assert found.url.endswith("/actions/runs/1")


@pytest.mark.slow
def test_a_lie_is_attested_as_failed_and_a_forks_run_as_nothing(shop, act, github, tmp_path):
    attesting(shop)
    lie = {"conftest.py": LYING, "test_shop.py": BROKEN}
    _, event = propose(shop, github, lie, fork=False)
    ran = act("pull_request", TESTS, event, **IDENTITY)
    assert ran.outputs("dre")["attest-outcome"] == "success"
    _, found = attested(tmp_path)
    assert (found.result, list(found.failed_tests)) == ("FAILED", ["test_shop.py::test_two"])
    assert found.configuration[0].annotations["verdict"] == "contradicted"
    (tmp_path / "attested.json").unlink()
    ran = act("pull_request", TESTS, pull_event(shop, 1, fork=True), **IDENTITY)
    assert ran.outputs("dre")["attest-outcome"] == "skipped"
    assert "a fork's run gets no identity" in ran.annotations("notice")[-1]["msg"]
    assert not (tmp_path / "attested.json").exists()


@pytest.mark.slow
def test_each_cell_of_a_matrix_is_judged_and_the_worst_decides(shop, act, github):
    path = shop.path / TESTS
    text = path.read_text().replace(
        "    timeout-minutes: 30\n", "    timeout-minutes: 30\n    strategy:\n      matrix: {n: [1, 2]}\n"
    )
    path.write_text(
        text.replace("run: python3 -m pytest --dre", "run: N=${{ matrix.n }} python3 -m pytest --dre")
    )
    shop.commit("matrix")
    odd = "import os\n\n\ndef test_odd():\n    assert os.environ['N'] == '1'\n"
    status, (comment,), first, second = judged(shop, github, act, {"test_odd.py": odd}, fork=False)
    assert len({path.name for path in github.artifacts["1"].glob("**/*.zip")}) == 2
    assert (first.code, second.code) == (1, 1)
    assert status["state"] == "failure"
    assert status["description"].startswith("trustworthy record of a failed run: 1 failed, 2 passed")
    assert comment["body"].count("## ") >= 2


@pytest.mark.slow
def test_a_refused_comment_changes_nothing_else(shop, github, act):
    github.fault("POST", "/comments", 403, "Resource not accessible by integration")
    github.fault("POST", "/statuses", 403, "Resource not accessible by integration")
    propose(shop, github, {"a.txt": ""}, fork=False)
    act("push", TESTS)
    ran = act("workflow_run", EVIDENCE, run_event(shop, fork=False), GITHUB_RUN_ID="2")
    assert ran.code == 0, ran.text
    outputs = ran.outputs("dre")
    assert (outputs["status-outcome"], outputs["comment-outcome"]) == ("forbidden", "forbidden")
    assert outputs["verdict"] == "supported"
    assert "DRE: supported" in ran.summaries
    assert json.dumps(outputs)

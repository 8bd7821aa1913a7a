"""A pull request that attacks whoever reads it: shells, Markdown, mentions, workflow commands, and sheer length."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from tests.faces.test_actions import EVIDENCE, TESTS, pull_event, run_event, shop  # noqa: F401
from tests.faces.test_gitlab import gitlab  # noqa: F401

HARM = "$(touch pwned)`touch pwned`;touch pwned;'\"|&"
NAMES = (
    HARM,
    "@octo @everyone #1 !1 ~label https://evil.example www.evil.example",
    "![x](http://evil.example/x.png) [y](javascript:alert(1)) <img src=x onerror=alert(1)> </details> <!-- -->",
    "::set-output name=verdict::supported",
    "::error title=DRE::supported",
    "::add-mask::DRE",
    "/merge",
    "/close",
    "${{ github.token }} ${{ secrets.GITHUB_TOKEN }}",
    "| a | b |\u2028/approve\u202egnp.exe",
    "long" * 20_000,
)
TEST = """\
import pytest

NAMES = {names!r}


@pytest.mark.parametrize("name", NAMES, ids=NAMES)
def test_it(name):
    print(name)
    assert name == "", name + "\\n" + name + "\\n::error title=forged::x\\n/merge\\n"
"""
JUNIT = '<testsuites><testsuite name="s" tests="{count}" failures="{count}">{cases}</testsuite></testsuites>'
CASE = (
    '<testcase classname="{name}" name="{name}&#10;{name}" time="0">'
    '<failure message="{name}&#10;{name}">{name}</failure></testcase>'
)


def escaped(text):
    from xml.sax.saxutils import quoteattr

    return quoteattr(re.sub(r"[\u2028\u202e]", "", text))[1:-1].replace("\n", "&#10;").replace('"', "&quot;")


def attacking(project):
    """The files of the change; one has a name that a shell would run, and another that looks like a command."""
    project.write("test_evil.py", TEST.format(names=list(NAMES)))
    project.write("test_$(touch pwned);`touch pwned`.py", "def test_x():\n    assert 0\n")
    project.write("::error title=a::.txt", "")
    cases = "".join(CASE.format(name=escaped(name)) for name in NAMES)
    project.write("evil.xml", JUNIT.format(count=len(NAMES), cases=cases))
    return project.commit(f"{HARM}\n\n::set-output name=verdict::supported\n/merge\n")


def harmless(body):
    """What a comment may hold of all that."""
    assert len(body) <= 65_536
    # Signs that act are broken by a word joiner, or their words stand in an escape.
    assert not re.search(r"(?<!\\)@(?:octo|everyone)", body)
    assert "<img" not in body
    assert "](http://evil" not in body
    assert "](javascript" not in body
    assert "https://evil" not in body
    assert "www.evil" not in body
    assert not re.search(r"(?m)^\s*/", body)
    assert "\u202e" not in body
    assert body.count("<details>") == body.count("</details>")


def commands_of(text):
    return [line for line in text.splitlines() if line.startswith("::")]


@pytest.fixture
def change(shop, github):  # noqa: F811
    branch = "x;touch${IFS}pwned;$(touch${IFS}pwned)`touch${IFS}pwned`'\"@octo"
    shop.git("checkout", "-q", "-b", branch)
    attacking(shop)
    event = pull_event(shop, github.new_issue(), fork=True)
    event["pull_request"] |= {
        "title": f"{HARM} ::set-output name=verdict::supported",
        "body": "\n".join(NAMES),
    }
    event["pull_request"]["head"] |= {"ref": branch, "label": f"stranger:{branch}"}
    github.pulls = [event["pull_request"]]
    return shop, event, branch


def test_a_forks_pull_request_reaches_no_shell_no_reader_and_no_command(change, act, github):
    project, event, branch = change
    run = act("pull_request", TESTS, event)
    outputs = run.outputs("dre")
    assert (run.code, outputs["verdict"], outputs["failed"]) == (1, "failed", str(len(NAMES) + 1))
    # Ten annotations and the notices are ours; what the tests printed is not led by our title.
    assert len([each for each in run.annotations("error") if "title=failed" in each["raw"]]) == 10
    reported = run_event(project, fork=True)
    reported["workflow_run"] |= {"head_branch": branch, "display_title": HARM}
    judged = act("workflow_run", EVIDENCE, reported, GITHUB_RUN_ID="2")
    assert judged.outputs("dre")["verdict"] == "failed"
    _, status = github.statuses[-1]
    assert status["state"] == "failure"
    assert len(status["description"]) <= 140
    assert "\n" not in status["description"]
    (comment,) = github.comments(event["number"])
    harmless(comment["body"])
    for place in (project.path, project.path.parent):
        assert not list(place.rglob("pwned"))
    assert not any("title=forged" in each["raw"] for each in judged.annotations("error"))


def collected(project, tmp_path):
    """The hostile report, as a step that only collects leaves it; what the step printed, and its archive."""
    environ = {
        "GITHUB_ACTIONS": "true", "RUNNER_TEMP": str(tmp_path), "GITHUB_WORKFLOW": HARM, "GITHUB_JOB": NAMES[3],
        "GITHUB_OUTPUT": str(tmp_path / "out"), "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
        "GITHUB_REPOSITORY": "octo/shop", "DRE_INPUT_JUNIT": "evil.xml", "DRE_INPUT_NAME": HARM,
        "DRE_INPUT_MATRIX": json.dumps({"name": NAMES}),
    }  # fmt: skip
    done = project.dre("ci", "wrap", environ=environ)
    assert done.returncode == 1, done.stderr
    (archive,) = tmp_path.glob("dre/*/evidence.zip")
    return done.stdout.decode(), archive


def test_a_hostile_report_becomes_neither_a_command_nor_an_output(project, tmp_path):
    attacking(project)
    said, _ = collected(project, tmp_path)
    kinds = {re.match(r"::(\w+) title=([\w-]+)", line).groups() for line in commands_of(said)}
    assert kinds == {("error", "failed"), ("notice", "DRE")}
    found = (tmp_path / "out").read_text()
    names = re.findall(r"(?m)^([\w-]+)<<dre_[0-9a-f]{32}$", found)
    assert len(names) == len(set(names))
    assert re.search(r"verdict<<(dre_\w+)\nfailed\n\1\n", found)
    name = re.search(r"artifact-name<<(dre_\w+)\n(.*)\n\1\n", found)[2]
    assert re.fullmatch(r"[\w.-]{1,200}", name)
    harmless((tmp_path / "summary").read_text()[:65_000].rpartition("<details>")[0])


def test_a_note_on_gitlab_holds_no_quick_action(project, gitlab, tmp_path):  # noqa: F811
    attacking(project)
    _, archive = collected(project, tmp_path)
    environ = {"GITLAB_TOKEN": "glpat", "CI_API_V4_URL": gitlab.url}
    words = ("--forge", "gitlab", "--project", "octo/shop")
    done = project.dre("ci", "comment", str(archive), "--pull", "4", *words, environ=environ)
    assert done.returncode == 0, done.stderr
    harmless(gitlab.notes[0]["body"])
    done = project.dre("ci", "status", str(archive), *words, environ=environ)
    assert gitlab.statuses[0][1]["state"] == "failed"


def test_a_branch_of_any_name_is_asked_for_and_not_run(project, github):
    """The name of a fork's branch stands in a query, and nowhere else."""
    branch = "a&head=octo%3Amain#;$(touch${IFS}pwned)"
    subprocess.run(["git", "check-ref-format", "--branch", branch], check=True, capture_output=True)
    event = {"workflow_run": {
        "id": 1, "head_sha": project.git("rev-parse", "HEAD"), "head_branch": branch, "pull_requests": [],
        "head_repository": {"full_name": "eve/shop", "owner": {"login": "eve"}},
    }}  # fmt: skip
    path = project.write("event.json", json.dumps(event))
    environ = {
        "GITHUB_ACTIONS": "true", "GITHUB_EVENT_NAME": "workflow_run", "GITHUB_EVENT_PATH": str(path),
        "GITHUB_REPOSITORY": "octo/shop", "GITHUB_API_URL": github.url, "GITHUB_TOKEN": github.token,
        "GITHUB_RUN_ID": "2", "DRE_INPUT_ARTIFACT": "dre-*",
    }  # fmt: skip
    assert project.dre("ci", "verify", environ=environ).returncode == 1
    asked = [path for _, path, _ in github.requests if "/pulls?" in path]
    assert "head=eve%3Aa%26head%3Docto%253Amain%23" in asked[0]
    assert not (project.path / "pwned").exists()

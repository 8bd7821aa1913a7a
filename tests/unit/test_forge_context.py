"""Where a job runs, by the forge's own words."""

from __future__ import annotations

import json

import pytest

from dre_ci.forge.context import Context, from_remote, read

GITHUB = {
    "GITHUB_ACTIONS": "true",
    "GITHUB_REPOSITORY": "octo/shop",
    "GITHUB_SHA": "a" * 40,
    "GITHUB_RUN_ID": "7",
    "GITHUB_EVENT_NAME": "pull_request",
    "GITHUB_SERVER_URL": "https://git.example.org",
    "GITHUB_API_URL": "https://git.example.org/api/v3",
}


def event(tmp_path, document):
    path = tmp_path / "event.json"
    path.write_text(json.dumps(document))
    return read({**GITHUB, "GITHUB_EVENT_PATH": str(path)})


def pull(head):
    return {
        "pull_request": {
            "number": 5,
            "head": {"sha": "b" * 40, "label": "x:y", "repo": head},
            "base": {"sha": "c" * 40, "repo": {"full_name": "octo/shop"}},
        }
    }


@pytest.mark.parametrize(
    ("head", "fork"),
    [({"full_name": "octo/shop"}, False), ({"full_name": "eve/shop"}, True), (None, True)],
)
def test_a_pull_request_is_about_its_head(tmp_path, head, fork):
    context = event(tmp_path, pull(head))
    assert (context.commit, context.base, context.pull, context.fork) == ("b" * 40, "c" * 40, 5, fork)
    assert context.is_trusted is not fork
    assert context.address == "git.example.org/octo/shop"


def test_a_reported_run_is_about_the_commit_that_it_was_for(tmp_path):
    run = {"id": 3, "head_sha": "d" * 40, "head_branch": "fix", "pull_requests": []}
    run["head_repository"] = {"full_name": "eve/shop", "owner": {"login": "eve"}}
    context = event(tmp_path, {"workflow_run": run})
    assert (context.commit, context.of_run, context.run_id) == ("d" * 40, "3", "7")
    assert (context.head, context.fork, context.pull) == ("eve:fix", True, 0)


@pytest.mark.parametrize(
    "document",
    [[], {"pull_request": 1}, {"workflow_run": []}, {"pull_request": {"head": 1, "number": "x"}},
     {"workflow_run": {"pull_requests": [1], "head_repository": "x"}}],
)  # fmt: skip
def test_odd_events_give_a_context_all_the_same(tmp_path, document):
    assert event(tmp_path, document).repository == "octo/shop"


def test_a_merge_request_on_gitlab():
    context = read(
        {
            "GITLAB_CI": "true",
            "CI_PROJECT_ID": "9",
            "CI_PROJECT_PATH": "eve/shop",
            "CI_SERVER_URL": "https://gitlab.example.org",
            "CI_COMMIT_SHA": "a" * 40,
            "CI_MERGE_REQUEST_IID": "4",
            "CI_MERGE_REQUEST_PROJECT_ID": "2",
            "CI_MERGE_REQUEST_SOURCE_PROJECT_ID": "9",
            "CI_MERGE_REQUEST_SOURCE_BRANCH_SHA": "b" * 40,
        }
    )
    assert (context.repository, context.pull, context.fork, context.commit) == ("2", 4, True, "b" * 40)


@pytest.mark.parametrize(
    ("address", "provider", "api", "repository"),
    [
        ("github.com/o/r", "github", "", "o/r"),
        ("git.example.org/o/r", "github", "https://git.example.org/api/v3", "o/r"),
        ("gitlab.com/group/sub/r", "gitlab", "", "group/sub/r"),
        ("gitlab.example.org/o/r", "gitlab", "https://gitlab.example.org/api/v4", "o/r"),
    ],
)
def test_a_laptop_knows_its_forge_by_origin(address, provider, api, repository):
    context = from_remote(address, "a" * 40)
    assert (context.provider, context.api, context.repository) == (provider, api, repository)


def test_nothing_is_known_outside():
    assert read({}) == Context()
    assert from_remote("file:shop", "").repository == ""


def test_a_pull_request_is_read_with_its_labels():
    from dre_ci.forge.github import _pull

    document = {"number": 7, "labels": [{"name": "bug"}, {"name": "good first issue"}]}
    assert _pull(document).labels == ("bug", "good first issue")
    assert _pull({"number": 7, "labels": None}).labels == ()


def test_the_trusted_job_asks_for_labels_only_where_the_policy_gives_them_a_meaning():
    from dre_ci.forge.base import ForgeError, Outcome, Pull
    from dre_ci.forge.context import Context
    from dre_ci.job.verifying import _labels
    from dre_core.model.declaration import Kind
    from dre_core.model.policy import Combine, Policy

    class Forge:
        asked = 0

        def pull(self, number):
            self.asked += 1
            if number == 404:
                raise ForgeError("gone", outcome=Outcome.NOT_FOUND)
            return Pull(number=number, labels=("bug",))

    forge, pull = Forge(), Context(pull=7)
    meaning = Policy(labels={"bug": Kind.FIX})
    assert _labels(Policy(), pull, forge) == ()
    assert forge.asked == 0
    assert _labels(meaning, pull, forge) == ("bug",)
    assert _labels(Policy(combine=Combine.ALL_OF, members=(Policy(), meaning)), pull, forge) == ("bug",)
    assert _labels(meaning, Context(), forge) == _labels(meaning, pull, None) == ()
    assert _labels(meaning, Context(pull=404), forge) == ()

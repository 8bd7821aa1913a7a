"""``dre ci`` against GitHub's own description of its API: no request breaks it, and no answer changes a verdict."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.faces.conftest import Process, free_port
from tests.faces.openapi import cut_down


@pytest.fixture(scope="module")
def recorded(make_project, tmp_path_factory):
    """A project with one supported run, and the home it was recorded from."""
    made = make_project(tmp_path_factory.mktemp("recorded") / "project")
    made.git("remote", "add", "origin", "https://github.com/octo/shop.git")
    home = {"HOME": str(tmp_path_factory.mktemp("home"))}
    assert made.wrap_pytest("-q", environ=home).returncode == 0
    return made, home


@pytest.fixture
def sealed(recorded, github):
    """The same with the variables of somebody with a token."""
    made, home = recorded
    return made, {**home, "GITHUB_TOKEN": github.token, "GITHUB_API_URL": github.url}


@pytest.fixture
def own(project, github):
    """A project of the test's own, to be sealed as it goes."""
    project.git("remote", "add", "origin", "https://github.com/octo/shop.git")
    return project, {"GITHUB_TOKEN": github.token, "GITHUB_API_URL": github.url}


def ci(sealed, *words, code=0):
    project, environ = sealed
    done = project.dre("ci", *words, environ=environ)
    assert done.returncode == code, done.stderr.decode()
    return done


def outcome(sealed, *words, **more):
    return json.loads(ci(sealed, *words, "--json", **more).stdout)["outcome"]


def test_a_status_says_the_verdict_in_one_line(sealed, github):
    assert outcome(sealed, "status") == "created"
    commit, status = github.statuses[0]
    assert commit == sealed[0].git("rev-parse", "HEAD")
    assert status == {
        "state": "success",
        "context": "dre",
        "description": "supported: 2 passed, level 3, score 1.00",
    }


def test_a_comment_is_created_then_left_then_edited(own, github):
    project, _ = sealed = own
    project.wrap_pytest("-q")
    number = github.new_issue()
    words = ("comment", "--pull", str(number))
    assert outcome(sealed, *words) == "created"
    assert outcome(sealed, *words) == "unchanged"
    project.write("test_shop.py", "def test_no():\n    assert 1 == 2\n")
    project.commit("break it")
    assert project.wrap_pytest("-q").returncode == 1
    assert outcome(sealed, *words) == "updated"
    (comment,) = github.comments(number)
    assert "trustworthy record" in comment["body"]
    assert outcome(sealed, *words, "--anew") == "created"
    assert len(github.comments(number)) == 2


def test_somebody_elses_comment_with_our_marker_is_not_ours(sealed, github):
    number = github.new_issue()
    ci(sealed, "comment", "--pull", str(number))
    body = github.comments(number)[0]["body"]
    other = github.new_issue()
    github.call("POST", f"/repos/octo/shop/issues/{other}/comments", {"body": body}, token="other")
    assert outcome(sealed, "comment", "--pull", str(other)) == "created"
    assert [comment["user"]["login"] for comment in github.comments(other)] == ["stranger", "octo"]


def test_our_comment_is_found_on_a_later_page(sealed, github):
    number = github.new_issue()
    for count in range(101):
        github.call("POST", f"/repos/octo/shop/issues/{number}/comments", {"body": f"talk {count}"})
    words = ("comment", "--pull", str(number))
    assert outcome(sealed, *words) == "created"
    assert outcome(sealed, *words) == "unchanged"


def test_a_check_run_takes_120_annotations_in_requests_of_50(own, github):
    project, _ = sealed = own
    tests = "".join(f"def test_{n}():\n    assert {n} < 0\n\n" for n in range(120))
    project.write("test_many.py", tests)
    project.commit("many")
    project.wrap_pytest("-q")
    assert outcome(sealed, "status", "--check-run") == "created"
    sent = [document for method, path, document in github.requests if "check-runs" in path]
    assert [len(each["output"]["annotations"]) for each in sent] == [50, 50, 20]
    assert sent[0]["conclusion"] == "failure"
    first = sent[0]["output"]["annotations"][0]
    assert first["path"] == "test_many.py"
    assert first["annotation_level"] == "failure"
    assert all(each["start_line"] > 0 for document in sent for each in document["output"]["annotations"])


@pytest.mark.slow
def test_texts_that_are_too_long_are_cut_before_they_are_sent(own, github):
    project, _ = sealed = own
    names = [f"test_{'long_' * 50}{n}" for n in range(400)]
    project.write("test_many.py", "".join(f"def {name}():\n    assert 0, 'x' * 900\n\n" for name in names))
    project.commit("many")
    project.wrap_pytest("-q")
    number = github.new_issue()
    assert outcome(sealed, "comment", "--pull", str(number)) == "created"
    assert outcome(sealed, "status", "--check-run") == "created"
    assert outcome(sealed, "status") == "created"
    body = github.comments(number)[0]["body"]
    assert len(body) <= 65_536
    assert body.count("<details>") == body.count("</details>")
    assert len(github.statuses[0][1]["description"]) <= 140


@pytest.mark.parametrize(
    ("status", "word"),
    [(403, "forbidden"), (401, "forbidden"), (404, "not-found"), (422, "rejected")],
)
def test_a_refusal_is_said_and_changes_nothing(sealed, github, status, word):
    github.fault("POST", "/statuses/", status, "Resource not accessible by integration")
    assert outcome(sealed, "status") == word
    assert len(github.requests) == 1
    github.fault("POST", "/statuses/", status)
    done = ci(sealed, "status", "--strict", code=1)
    assert b"the status was not posted" in done.stderr
    assert b"supported" in done.stdout


def test_a_server_that_stumbles_is_asked_again(sealed, github):
    github.fault("POST", "/statuses/", 502, times=2)
    assert outcome(sealed, "status") == "created"
    assert [method for method, _, _ in github.requests] == ["POST"] * 3


@pytest.mark.slow
def test_a_secondary_limit_is_waited_for(sealed, github):
    github.fault("POST", "/statuses/", 403, "You have exceeded a secondary rate limit", Retry_After="1")
    assert outcome(sealed, "status") == "created"
    github.fault(
        "POST", "/statuses/", 403, "limit", X_RateLimit_Remaining="0", X_RateLimit_Reset="99999999999"
    )
    assert outcome(sealed, "status") == "rate-limited"


@pytest.mark.slow
def test_a_comment_that_was_made_though_the_answer_was_lost_is_not_made_twice(sealed, github):
    number = github.new_issue()
    github.lost.append("/comments")
    assert outcome(sealed, "comment", "--pull", str(number)) == "unchanged"
    assert len(github.comments(number)) == 1


def test_an_answer_that_is_no_json_is_no_answer(sealed, github):
    github.faults.append(("POST", "/statuses/", 200, {}, b"<html>a portal</html>"))
    assert outcome(sealed, "status") == "failed"


def test_a_dry_run_writes_nothing(sealed, github):
    number = github.new_issue()
    for words in (("status",), ("status", "--check-run"), ("comment", "--pull", str(number))):
        assert outcome(sealed, *words, "--dry-run") == "dry-run"
    assert {method for method, _, _ in github.requests} == {"GET"}


def test_without_a_token_or_a_forge_it_is_a_usage_error(own):
    project, environ = sealed = own
    project.wrap_pytest("-q")
    done = ci((project, {**environ, "GITHUB_TOKEN": ""}), "status", code=2)
    assert b"there is no token for GitHub" in done.stderr
    project.git("remote", "remove", "origin")
    done = ci(sealed, "status", code=2)
    assert b"no forge is known here" in done.stderr


def test_enterprise_server_is_reached_below_its_own_address(sealed, github):
    project, environ = sealed
    elsewhere = (project, {**environ, "GITHUB_API_URL": "http://127.0.0.1:9"})
    assert outcome(elsewhere, "status", "--api", github.url, "--project", "octo/shop") == "created"


@pytest.fixture
def enterprise(node, node_modules, tmp_path):
    """Prism with GitHub's description of Enterprise Server, below its prefix; its address, and what it was asked."""
    cut_down(node_modules / "@octokit/openapi/generated/ghes-3.19.json", tmp_path / "ghes.json")
    port = free_port()
    cli = node_modules / "@stoplight" / "prism-cli" / "dist" / "index.js"
    words = [node, str(cli), "mock", "-h", "127.0.0.1", "-p", str(port), str(tmp_path / "ghes.json")]
    server = Process(words, tmp_path / "prism.log")
    server.wait_for(f"http://127.0.0.1:{port}/user")
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            assert self.path.startswith("/api/v3/")
            address = f"http://127.0.0.1:{port}{self.path.removeprefix('/api/v3')}"
            names = ("accept", "authorization", "content-type")
            headers = {name: value for name, value in self.headers.items() if name.lower() in names}
            request = urllib.request.Request(address, body or None, headers, method=self.command)
            try:
                answer = urllib.request.urlopen(request, timeout=20)
            except urllib.error.HTTPError as error:
                answer = error
            with answer:
                data = answer.read()
                asked.append((self.command, self.path, answer.status, answer.headers.get("sl-violations")))
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PATCH = handle_any  # noqa: N815

        def log_message(self, *arguments):
            return None

    front = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=front.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{front.server_port}/api/v3", asked
    front.shutdown()
    front.server_close()
    thread.join()
    server.end()


@pytest.mark.slow
def test_enterprise_servers_own_description_has_nothing_against_our_requests(sealed, enterprise):
    url, asked = enterprise
    project, environ = sealed
    here = (project, {**environ, "GITHUB_API_URL": url})
    assert outcome(here, "status") == "created"
    assert outcome(here, "status", "--check-run") == "created"
    assert outcome(here, "comment", "--pull", "3") == "created"
    assert [(method, status) for method, _, status, _ in asked if method != "GET"] == [("POST", 201)] * 3
    assert all(violations is None for *_, violations in asked), asked


def test_requests_go_through_the_proxy_of_the_environment(sealed, github):
    project, environ = sealed
    through = {**environ, "GITHUB_API_URL": "http://api.invalid", "HTTP_PROXY": github.url, "NO_PROXY": ""}
    github.fault("POST", "/statuses/", 201, {})
    assert outcome((project, through), "status") == "created"
    assert github.requests[0][1].startswith("http://api.invalid/repos/octo/shop/statuses/")


def test_an_app_serves_in_place_of_a_token(sealed, github):
    project, environ = sealed
    by_app = (project, {**environ, **github.app, "GITHUB_TOKEN": ""})
    number = github.new_issue()
    assert outcome(by_app, "status", "--check-run") == "created"
    assert outcome(by_app, "comment", "--pull", str(number)) == "created"
    assert outcome(by_app, "comment", "--pull", str(number)) == "unchanged"
    assert github.comments(number)[0]["user"]["type"] == "Bot"
    assert any(path.endswith("/app/installations/100/access_tokens") for _, path, _ in github.requests)


def test_an_app_that_can_not_prove_itself_is_an_error(sealed, github):
    project, environ = sealed
    half = (project, {**environ, "GITHUB_TOKEN": "", "DRE_GITHUB_APP_ID": "12345"})
    assert b"DRE_GITHUB_APP_KEY" in ci(half, "status", code=2).stderr
    wrong = (project, {**half[1], **github.app, "DRE_GITHUB_APP_KEY": "no key"})
    assert b"the app's key can't be used" in ci(wrong, "status", code=2).stderr.lower()

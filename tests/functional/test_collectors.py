"""What is collected around a run: source, signatures, dependencies, CI identity, files, history."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dre_core.capture.environment import ci_identity
from dre_core.model.digest import sha256


def run_of(project):
    return json.loads(project.dre("evidence", "show", "--json").stdout)


def item(project, name):
    """An item's plain bytes, by the digest in the signed run."""
    (found,) = [entry for entry in run_of(project)["items"] if entry["name"] == name]
    digest = found["digest"].removeprefix("sha256:")
    data = (project.path / ".dre/evidence/sha256" / digest[:2] / digest[2:]).read_bytes()
    if found["codecs"] == ["zstd"]:
        import zstandard

        data = zstandard.ZstdDecompressor().decompressobj().decompress(data)
    return data


def names(project):
    return {entry["name"] for entry in run_of(project)["items"]}


def test_git_branch_remotes_and_an_unsigned_commit(project):
    project.git("remote", "add", "origin", "https://bob:hunter2pass@example.org/o/n.git")
    project.git("remote", "add", "fork", "git@example.org:me/n.git")
    project.dre("wrap", "--", "true")
    found = json.loads(item(project, "git"))
    assert found["branch"] == project.git("branch", "--show-current")
    assert found["remotes"] == {"origin": "example.org/o/n", "fork": "example.org/me/n"}
    assert found["signature"] == {"state": "none"}
    assert "git.diff" not in names(project)


def test_edits_that_are_not_committed_are_kept_as_a_patch_with_secrets_masked(project):
    secret = "ghp_" + "a1B2" * 9
    project.write("shop.py", f"TOKEN = '{secret}'\ndef double(n):\n    return n + n\n")
    project.write("new.txt", "x")
    project.git("update-index", "--assume-unchanged", "shop.py")
    project.dre("wrap", "--", "true")
    patch = item(project, "git.diff").decode()
    assert "-    return 2 * n\n" in patch
    assert "+    return n + n\n" in patch
    assert secret not in patch
    assert json.loads(item(project, "git"))["untracked"] == ["new.txt"]


def test_a_filter_in_the_checkout_does_not_see_the_signing_key(project, tmp_path):
    seen = tmp_path / "seen"
    project.write(".gitattributes", "*.py filter=spy\n")
    project.commit()
    project.git("config", "filter.spy.clean", f"sh -c 'env > {seen}; cat'")
    project.write("shop.py", "def double(n):\n    return n + n\n")
    made = project.dre("wrap", "--", "true", environ={"DRE_PASSPHRASE": "correct horse battery"})
    assert made.returncode == 0
    assert seen.exists()
    assert "DRE_PASSPHRASE" not in seen.read_text()


@pytest.fixture
def ssh_key(project):
    if shutil.which("ssh-keygen") is None:
        pytest.skip("ssh-keygen is not installed")
    key = project.path.parent / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "t", "-f", str(key)], check=True)
    project.git("config", "gpg.format", "ssh")
    project.git("config", "user.signingKey", str(key))
    project.git("-c", "commit.gpgsign=true", "commit", "-q", "--allow-empty", "-S", "-m", "signed")
    return key


def test_a_signature_by_a_key_that_the_user_trusts_is_good(project, ssh_key, own_home):
    public = ssh_key.with_suffix(".pub").read_text()
    allowed = own_home / "allowed"
    allowed.write_text(f"t@example.org {public}")
    (own_home / ".gitconfig").write_text(f"[gpg.ssh]\n\tallowedSignersFile = {allowed}\n")
    project.dre("wrap", "--", "true")
    signature = json.loads(item(project, "git"))["signature"]
    assert (signature["state"], signature["kind"], signature["signer"]) == ("good", "ssh", "t@example.org")
    assert signature["fingerprint"].startswith("SHA256:")


def test_the_checkout_can_not_say_whom_to_trust_or_what_checks_a_signature(project, ssh_key, tmp_path):
    ran = tmp_path / "ran"
    liar = project.write("liar.sh", f"#!/bin/sh\ntouch {ran}\necho Good\n")
    liar.chmod(0o755)
    project.write("allowed", f"t@example.org {ssh_key.with_suffix('.pub').read_text()}")
    project.git("config", "gpg.ssh.allowedSignersFile", str(project.path / "allowed"))
    project.git("config", "gpg.ssh.program", str(liar))
    project.dre("wrap", "--", "true")
    signature = json.loads(item(project, "git"))["signature"]
    assert signature["kind"] == "ssh"
    assert signature["state"] != "good"
    assert not ran.exists()


def test_the_packages_of_the_interpreter_that_runs_are_listed_with_their_records(project):
    project.dre("wrap", "--", sys.executable, "-c", "pass")
    found = json.loads(item(project, "dependencies"))
    listed = {entry["name"]: entry for entry in found["distributions"]}
    folder = Path(pytest.__file__).parent.parent
    (info,) = folder.glob("pytest-[0-9]*.dist-info")
    assert listed["pytest"]["version"] == pytest.__version__
    assert listed["pytest"]["record"] == sha256((info / "RECORD").read_bytes())
    assert found["python"] == f"{sys.version_info[0]}.{sys.version_info[1]}"


def test_a_python_behind_a_shell_is_found_too(project):
    project.dre("wrap", "--", "sh", "-c", f"{sys.executable} -c 'import time; time.sleep(0.2)'; true")
    assert "dependencies" in names(project)


def test_a_command_without_python_has_no_list(project):
    project.dre("wrap", "--", "true", environ={"VIRTUAL_ENV": ""})
    assert "dependencies" not in names(project)


def test_versions_of_configured_tools(project):
    project.write("dre.yaml", "capture:\n  tools: [git, no-such-tool]\n")
    project.dre("wrap", "--", "true")
    run = run_of(project)
    assert run["tools"]["git"].startswith("git version")
    assert run["tools"]["no-such-tool"] == "unknown"


def test_the_command_is_described_before_it_starts(project):
    script = project.write("script.sh", "#!/bin/sh\nexit 0\n")
    script.chmod(0o750)
    project.dre("wrap", "--", "./script.sh")
    command = run_of(project)["command"]
    assert command["executableMode"] == "0750"
    assert command["interpreter"] == "/bin/sh"
    assert command["executableDigest"] == sha256(script.read_bytes())


CI = {
    "github": {"GITHUB_ACTIONS": "true", "GITHUB_RUN_ID": "7", "GITHUB_SHA": "c0ffee", "GITHUB_REPOSITORY": "o/n"},
    "gitlab": {"GITLAB_CI": "true", "CI_PIPELINE_ID": "7", "CI_COMMIT_SHA": "c0ffee", "CI_PROJECT_PATH": "o/n"},
    "azure": {
        "TF_BUILD": "True", "BUILD_BUILDID": "7", "BUILD_SOURCEVERSION": "c0ffee", "BUILD_REPOSITORY_NAME": "o/n",
    },
    "buildkite": {
        "BUILDKITE": "true", "BUILDKITE_BUILD_ID": "7", "BUILDKITE_COMMIT": "c0ffee",
        "BUILDKITE_REPO": "https://u:p@example.org/o/n.git", "BUILDKITE_PULL_REQUEST": "false",
    },
    "circleci": {
        "CIRCLECI": "true", "CIRCLE_WORKFLOW_ID": "7", "CIRCLE_SHA1": "c0ffee",
        "CIRCLE_REPOSITORY_URL": "git@example.org:o/n.git",
    },
    "jenkins": {
        "JENKINS_URL": "https://ci.example.org/", "BUILD_TAG": "7", "GIT_COMMIT": "c0ffee",
        "GIT_URL": "https://example.org/o/n.git",
    },
}  # fmt: skip


@pytest.mark.parametrize("provider", CI)
def test_every_provider_names_repository_run_and_commit(provider):
    found = ci_identity(CI[provider])
    assert found["provider"] == provider
    assert found["run_id"] == "7"
    assert found["sha"] == "c0ffee"
    assert found["repository"] in ("o/n", "example.org/o/n")
    assert "pull_request" not in found


def test_an_unknown_provider_is_generic_and_none_is_nothing():
    assert ci_identity({"CI": "1"}) == {"provider": "generic"}
    assert ci_identity({"CI": "false"}) == {}


def test_files_say_whether_their_time_lies_inside_the_run(project):
    old = time.time() - 3600
    code = (
        f"import os; open('old.xml','w').write('x'); os.utime('old.xml', ({old}, {old})); open('new.xml','w')"
    )
    project.write("ahead.xml", "")
    os.utime(project.path / "ahead.xml", (time.time() + 3600,) * 2)
    project.dre("wrap", "--artifact", "*.xml", "--", sys.executable, "-c", code)
    notes = {
        entry["name"]: entry["note"] for entry in run_of(project)["items"] if entry["kind"] == "artifact"
    }
    assert notes["artifact/new.xml"]["window"] == "inside"
    assert notes["artifact/old.xml"] | {"mtime": ""} == {"fresh": "new", "mtime": "", "window": "before"}
    assert notes["artifact/ahead.xml"]["window"] == "after"
    assert notes["artifact/ahead.xml"]["fresh"] == "unchanged"


def test_the_last_five_runs_of_the_same_command_are_named(project):
    for _ in range(3):
        project.dre("wrap", "--", "false")
    project.dre("wrap", "--", "true")
    assert run_of(project)["history"] == []
    for _ in range(3):
        project.dre("wrap", "--", "false")
    project.dre("wrap", "--", "false")
    history = run_of(project)["history"]
    assert [entry["outcome"] for entry in history] == ["failed"] * 5
    assert sorted(entry["operation"] for entry in history) == [entry["operation"] for entry in history]
    events = json.loads(project.dre("log", "list", "--json", "--type", "evidence.sealed").stdout)["events"]
    logged = {(event["operation"], event["data"]["payload"]) for event in events}
    assert {(entry["operation"], entry["payload"]) for entry in history} <= logged


def test_a_spoilt_memory_of_past_runs_is_left_out(project):
    project.dre("wrap", "--", "true")
    (path,) = (project.path / ".dre" / "cache" / "past").iterdir()
    path.write_bytes(b'\xff\n{"operation": 1}\n[[[[\n' + path.read_bytes())
    assert project.dre("wrap", "--", "true").returncode == 0
    assert len(run_of(project)["history"]) == 1


def test_an_artifact_that_was_not_made_anew_is_named(project):
    artifact = project.write("out.bin", "old")
    os.utime(artifact, (time.time() - 3600,) * 2)
    project.write(".gitignore", "__pycache__/\nout.bin\n.dre/\n")
    project.commit("ignore")

    def findings(*words):
        assert project.dre("wrap", "--artifact", "out.bin", "--", *words).returncode == 0
        found = project.verdict()["methods"]["structural"]["findings"]
        return [(each["severity"], each["where"]) for each in found if each["check"] == "artifact-made"]

    assert findings("echo", "Build succeeded") == [("fail", ".gitignore")]
    assert findings("sh", "-c", "echo old > out.bin") == []
    assert findings("true") == [("info", "")]

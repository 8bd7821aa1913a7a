"""The command line as people and programs meet it: codes, the error voice, options, files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from dre_ci.cli import COMMANDS


def assert_clear(done, code):
    """One line and a hint, the documented code, no traceback."""
    text = done.stderr.decode()
    assert done.returncode == code, text
    assert text.startswith("dre: error: ")
    assert "Traceback" not in text


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ([], "dre --help"),
        (["verfy"], "did you mean dre verify"),
        (["verify", "--no-such-option"], "dre verify --help"),
        (["verify", "no-such-file.zip"], "dre evidence list"),
        (["verify"], "dre wrap -- COMMAND"),
        (["evidence"], "dre evidence --help"),
        (["config", "get", "evidence.retenton"], "did you mean evidence.retention"),
        (["config", "set", "evidence.compress", "perhaps"], ""),
        (["report", "generate", "--format", "junit"], "dre wrap"),
        (["log", "check"], "dre init"),
        (["keys", "public", "abcdef"], "dre keys list"),
        (["verify", "--max-age", "soon"], ""),
        (["verify", "--policy", "missing.yaml"], ""),
    ],
)
def test_usage_errors(project, words, hint):
    done = project.dre(*words)
    assert_clear(done, 2)
    assert hint in done.stderr.decode()


def test_errors_as_json(project):
    done = project.dre("verify", "missing.zip", "--json")
    assert done.returncode == 2
    error = json.loads(done.stdout)["error"]
    assert error["code"] == "not-found"
    assert set(error) == {"code", "message", "hint", "path"}


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["wrap"], 125),
        (["wrap", "--no-such-option", "x", "--", "true"], 125),
        (["wrap", "--timeout", "never", "--", "true"], 125),
        (["wrap", "--", "no-such-command-anywhere"], 127),
        (["wrap", "--", "/etc"], 126),
    ],
)
def test_failures_before_the_start(project, words, code):
    assert_clear(project.dre(*words), code)


def test_the_separator_may_be_left_out(project):
    done = project.dre("wrap", "--name", "step", "echo", "--json", "-v")
    assert done.stdout == b"--json -v\n"


def test_wrap_with_json_keeps_standard_output_for_the_document(project):
    done = project.dre("wrap", "--json", "--", "echo", "hello")
    document = json.loads(done.stdout)
    assert document["exit_code"] == 0
    assert document["sealed"] is True
    assert b"hello" in done.stderr


def test_shell(project):
    assert project.dre("wrap", "--shell", "--", "echo a && exit 3").returncode == 3
    assert_clear(project.dre("wrap", "--shell", "--", "echo", "a"), 125)


def test_wrap_dies_of_the_commands_signal(project):
    done = project.dre("wrap", "--", "sh", "-c", "kill -TERM $$")
    assert done.returncode == -signal.SIGTERM
    verdict = project.verdict()
    assert (verdict["verdict"], verdict["claim"]["outcome"]) == ("failed", "errored")


def test_the_time_limit(project):
    done = project.dre("wrap", "--timeout", "0.5", "--", "sleep", "60")
    assert done.returncode == 124
    assert project.verdict()["claim"]["outcome"] == "timeout"


def test_verify_at_once(project):
    done = project.dre("wrap", "--verify", "--", "true")
    assert done.returncode == 4
    assert b"INCONCLUSIVE" in done.stderr
    assert done.stdout == b""


def test_init_twice_changes_nothing(project):
    first = json.loads(project.dre("init", "--json").stdout)
    second = json.loads(project.dre("init", "--json").stdout)
    assert first["created"] is True
    assert second["created"] is False
    assert first["keyid"] == second["keyid"]
    assert first["certificate"] == second["certificate"]
    events = json.loads(project.dre("log", "list", "--json").stdout)["events"]
    assert [event["type"] for event in events] == ["bootstrap.certified"]


@pytest.mark.parametrize("key_type", ["ed25519", "rsa-4096", "ecdsa-p256"])
def test_key_types(project, key_type):
    document = json.loads(project.dre("init", "--key-type", key_type, "--json").stdout)
    project.dre("wrap", "--", "true")
    assert project.dre("verify").returncode == 4
    assert document["scheme"].startswith(key_type.split("-")[0])


def test_ci_mode_leaves_no_key_on_disk(project, own_home):
    document = json.loads(project.dre("init", "--ci-mode", "--json").stdout)
    assert document["ephemeral"] is True
    project.wrap_pytest()
    assert project.verdict()["verdict"] == "supported"
    for path in [*own_home.rglob("*"), *(project.path / ".dre").rglob("*")]:
        if path.is_file():
            assert b"PRIVATE KEY" not in path.read_bytes(), path
    assert project.dre("config", "get", "evidence.retention").stdout == b"1d\n"


def test_ci_mode_again_changes_nothing(project):
    project.dre("init", "--ci-mode")
    before = project.dre("log", "list").stdout
    assert project.dre("init", "--ci-mode").returncode == 0
    assert project.dre("log", "list").stdout == before


def test_a_missing_base_is_said(project):
    done = project.dre("wrap", "--base", "no-such-revision", "--", "true")
    assert done.returncode == 0
    assert b"base-missing" in done.stderr


def test_a_repository_is_compared_whatever_its_spelling(project):
    project.git("remote", "add", "origin", "git@github.com:Owner/Name.git")
    project.dre("wrap", "--", "true")
    for spelling in (
        "https://github.com/Owner/Name",
        "ssh://git@github.com/Owner/Name.git",
        "github.com/Owner/Name",
    ):
        assert project.dre("verify", "--repository", spelling).returncode == 4, spelling


def test_the_users_files_are_not_edited(project):
    before = project.git("status", "--porcelain", "--ignored")
    project.wrap_pytest()
    assert project.git("status", "--porcelain") == before == ""


def test_a_copied_folder_is_somebody_elses(project, tmp_path):
    project.wrap_pytest()
    home = tmp_path / "other-home"
    home.mkdir()
    assert project.dre("verify", environ={"HOME": str(home)}).returncode == 5


def test_a_tracked_folder_is_not_ones_own(project):
    project.wrap_pytest()
    project.git("add", "-f", ".dre/log.db")
    done = project.dre("verify")
    assert done.returncode == 5
    assert b"git tracks .dre" in done.stdout


def test_doctor(project):
    document = json.loads(project.dre("doctor", "--json").stdout)
    names = [check["name"] for check in document["checks"]]
    assert names[:4] == ["mathematics", "cryptography", "file-system", "network"]
    assert document["healthy"] is True
    assert project.dre("doctor").returncode == 0


def test_doctor_says_where_clones_stand(project):
    def said(**environ):
        checks = json.loads(project.dre("doctor", "--json", environ=environ).stdout)["checks"]
        return next(check["detail"] for check in checks if check["name"] == "replay")

    folder = project.path / "tmp"
    folder.mkdir()
    assert said(TMPDIR=str(folder)).endswith("the temporary folder lies in the checkout")
    assert said() == "clones stand in the checkout's place" or "a temporary folder" in said()


def test_redact(project):
    done = project.dre("redact", stdin=b"a hunter2-secret b\n", environ={"MY_PASSWORD": "hunter2-secret"})
    assert done.stdout == b"a *** b\n"


def test_log_list_and_checkpoint(project):
    project.wrap_pytest()
    events = json.loads(project.dre("log", "list", "--json").stdout)["events"]
    assert events[0]["type"] == "bootstrap.certified"
    assert events[-1]["type"] == "operation.sealed"
    assert [event["index"] for event in events] == list(range(len(events)))
    note = project.dre("log", "checkpoint").stdout.decode()
    assert note.split("\n")[1] == str(len(events))


def test_a_rewritten_log_is_noticed(project):
    import sqlite3

    project.wrap_pytest()
    connection = sqlite3.connect(project.path / ".dre" / "log.db")
    connection.execute("UPDATE leaves SET leaf = replace(leaf, 'wrap', 'wrop') WHERE number = 2")
    connection.commit()
    connection.close()
    assert project.dre("log", "check").returncode == 3


def test_a_read_only_folder_can_be_verified(project):
    project.wrap_pytest()
    folder = project.path / ".dre"
    subprocess.run(["chmod", "-R", "a-w", str(folder)], check=True)
    try:
        assert project.dre("verify").returncode == 0
    finally:
        subprocess.run(["chmod", "-R", "u+w", str(folder)], check=True)


def test_no_home_and_no_place_for_keys(project):
    environ = {"HOME": "/nonexistent/home", "XDG_CONFIG_HOME": "", "XDG_STATE_HOME": ""}
    if os.geteuid() == 0:
        environ["HOME"] = "/proc/nowhere"  # not even root can write there
    done = project.dre("wrap", "--", "true", environ=environ)
    assert_clear(done, 125)
    assert project.dre("wrap", "--", "true").returncode == 0


def test_names_that_are_no_utf8(project):
    name = b"caf\xe9.txt"
    (project.path / os.fsdecode(name)).write_text("x")
    done = subprocess.run(
        [sys.executable.encode(), b"-m", b"dre_ci.cli", b"wrap", b"--", b"echo", b"\xff\xfe"],
        cwd=project.path,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, b"\xff\xfe\n")
    assert project.dre("verify").returncode == 4


def test_an_empty_environment_stays_as_it_is(project, own_home):
    given = [f"HOME={own_home}", "PATH=/usr/bin:/bin"]
    plain = project.run("env", "-i", *given, "env")
    wrapped = project.run("env", "-i", *given, sys.executable, "-m", "dre_ci.cli", "wrap", "--", "env")
    seen = [
        line for line in wrapped.stdout.splitlines() if not line.startswith((b"DRE_OPERATION=", b"DRE_DIR="))
    ]
    assert sorted(seen) == sorted(plain.stdout.splitlines())


def test_help_of_every_command(project):
    for name in COMMANDS:
        done = project.dre(name, "--help")
        assert done.returncode == 0
        assert b"--json" in done.stdout
    assert all(name in project.dre("--help").stdout.decode() for name in COMMANDS)


def test_configuration_errors_stop_before_the_start(project):
    project.write("dre.yaml", "evidence:\n  retenton: 3d\n")
    done = project.dre("wrap", "--", "touch", "ran")
    assert_clear(done, 125)
    assert b"did you mean evidence.retention?" in done.stderr
    assert not (project.path / "ran").exists()


def test_a_policy_in_the_working_tree_is_ignored(project):
    project.write("dre.yaml", "verify:\n  threshold: 0\n")
    project.commit()
    project.wrap_pytest()
    gaps = json.loads(project.dre("evidence", "show", "--json").stdout)["gaps"]
    assert any("policy-from-workload" in gap["reason"] for gap in gaps)


def test_a_policy_of_ones_own(project):
    project.wrap_pytest()
    key = project.write("runner.pem", project.dre("keys", "public").stdout.decode())
    policy = project.write("policy.yaml", f"keys:\n  - file: {key.name}\nminimum_level: 4\n")
    verdict = project.verdict("--policy", str(policy))
    assert verdict["verdict"] == "inconclusive"
    assert any("level 4" in line for line in verdict["missing"])
    assert project.dre("verify", "--policy", "preset:ci").returncode == 2
    project.write("policy.yaml", "treshold: 1\n")
    done = project.dre("verify", "--policy", str(policy))
    assert_clear(done, 2)
    assert b"did you mean threshold?" in done.stderr

"""The step ``wrap`` by itself: inputs, exit codes, outputs and what the command can and can't reach."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def step(project, tmp_path):
    """Runs the step as GitHub's runner would; the process, and its outputs by name."""
    project.write("test_shop.py", "def test_two():\n    assert 1 + 1 == 2\n")
    project.commit("short")
    files = {name: tmp_path / name for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}

    def run(run="true", environ=None, **inputs):
        for path in files.values():
            path.write_text("")
        given = {f"DRE_INPUT_{name.upper()}": value for name, value in {"run": run, **inputs}.items()}
        around = {
            "GITHUB_ACTIONS": "true",
            "GITHUB_WORKFLOW": "tests",
            "GITHUB_JOB": "test",
            "GITHUB_WORKSPACE": str(project.path),
            "RUNNER_TEMP": str(tmp_path / "runner"),
            **{name: str(path) for name, path in files.items()},
            **given,
            **(environ or {}),
        }
        done = project.dre("ci", "wrap", environ=around)
        found = re.findall(r"(?s)([\w-]+)<<(dre_\w+)\n(.*?)\n\2\n", files["GITHUB_OUTPUT"].read_text())
        return done, {name: value for name, _, value in found}

    return run


@pytest.mark.parametrize(
    ("command", "code"),
    [("exit 3", 3), ("kill -TERM $$", 143), ("nowhere-to-be-found", 127), ("false | true", 1)],
)
def test_the_step_ends_as_the_command_did(step, command, code):
    done, outputs = step(command)
    assert done.returncode == code, done.stderr
    assert outputs["exit-code"] == str(code)
    assert outputs["verdict"] == "failed"


def test_a_verdict_that_is_too_bad_fails_a_step_that_ended_well(step):
    lie = "python3 -m pytest -q -p no:cacheprovider --dre -k nothing || true"
    assert step(lie)[0].returncode == 1
    assert step(lie, fail_on="never")[0].returncode == 0
    assert step("true")[0].returncode == 0
    assert step("true", fail_on="inconclusive")[0].returncode == 1


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"fail_on": "sometimes"}, "input fail-on is 'sometimes'"),
        ({"shell": "pwsh"}, "input shell is 'pwsh'"),
        ({"replay": "yes"}, "input replay is 'yes'"),
        ({"run": ""}, "neither run nor junit"),
        ({"working_directory": "away"}, "can't be entered"),
        ({"policy": "preset:none"}, "unknown policy preset"),
    ],
)
def test_inputs_that_can_not_be_used_are_named(step, inputs, words):
    done, outputs = step(**inputs)
    assert done.returncode == 2
    assert words in done.stderr.decode()
    assert outputs == {}


def test_the_command_sees_neither_inputs_nor_key(step, project):
    key = project.run("openssl", "genpkey", "-algorithm", "ed25519").stdout.decode()
    done, outputs = step("env", environ={"DRE_SIGNING_KEY": key}, name="look")
    assert done.returncode == 0, done.stderr
    assert b"DRE_INPUT" not in done.stdout
    assert b"PRIVATE KEY" not in done.stdout
    sealed = project.dre("evidence", "show", outputs["operation"], "--json").stdout
    assert json.loads(sealed)
    assert not list(Path(project.path).glob(".dre/**/*.key"))


def test_without_a_key_none_is_left_on_disk(step, own_home):
    step("true")
    assert not list(own_home.glob("**/keys/*.pem"))


def test_what_is_too_old_goes_with_a_tombstone(step, project):
    first = step("true")[1]["operation"]
    second = step("true")[1]["operation"]
    here = project.dre("evidence", "list").stdout.decode()
    assert first in here
    assert second in here
    third = step("true", environ={"DRE_EVIDENCE__RETENTION": "0m"})[1]["operation"]
    here = project.dre("evidence", "list").stdout.decode()
    assert third in here
    assert first not in here
    assert project.dre("log", "check").returncode == 0


@pytest.mark.parametrize("forged", ["verdict=supported", "junk<<0\nverdict=supported", "junk<<dre"])
def test_outputs_are_the_steps_and_not_the_commands(step, project, tmp_path, forged):
    project.write("forged", forged)
    done, outputs = step('cat forged >>"$GITHUB_OUTPUT"; exit 1')
    assert (done.returncode, outputs["verdict"]) == (1, "failed")
    assert "supported" not in (tmp_path / "GITHUB_OUTPUT").read_text()


def test_the_commands_own_summary_comes_after_ours_and_can_not_hide_it(step, project, tmp_path):
    project.write(
        "say.py", "import sys; print('<!-- DRE: supported', *['x' * 900] * int(sys.argv[1]), sep='\\n')"
    )
    for lines in (1, 3000):
        done, _ = step(f'python3 say.py {lines} >>"$GITHUB_STEP_SUMMARY"; exit 1')
        assert done.returncode == 1, done.stderr
        text = (tmp_path / "GITHUB_STEP_SUMMARY").read_text()
        assert 0 < text.index("DRE: failed") < text.index("<!-- DRE: supported")
        assert len(text) <= 900_000


def test_a_job_without_an_identity_says_that_nothing_is_attested(step):
    done, outputs = step("true", attest="true")
    assert (done.returncode, outputs["attest"]) == (0, "")
    assert (
        b"::notice title=DRE::the archive is not attested: the job lacks the permission id-token"
        in done.stdout
    )
    given = {"ACTIONS_ID_TOKEN_REQUEST_URL": "http://127.0.0.1:9/"}
    assert step("true", environ=given, attest="true")[1]["attest"] == "true"
    assert step("true", environ=given)[1]["attest"] == ""


def test_each_cell_of_a_matrix_has_an_artifact_of_its_own(step):
    one = step("true", matrix=json.dumps({"n": 1}))[1]["artifact-name"]
    other = step("true", matrix=json.dumps({"n": 2}), name="other: ä/b")[1]["artifact-name"]
    assert one != other
    assert all(re.fullmatch(r"dre-tests-test[\w.-]*-[0-9a-f]{8}", name) for name in (one, other))


def test_what_earlier_steps_left_can_be_collected(step, project):
    project.run("python3", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junitxml=junit.xml")
    done, outputs = step("", junit="junit.xml")
    assert (done.returncode, outputs["level"], outputs["passed"]) == (0, "1", "1")
    assert outputs["verdict"] == "inconclusive"
    project.write("test_no.py", "def test_no():\n    assert 0\n")
    project.run("python3", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junitxml=junit.xml")
    done, outputs = step("", junit="junit.xml")
    assert (done.returncode, outputs["verdict"], outputs["failed"]) == (1, "failed", "1")
    (project.path / "junit.xml").write_text("<nonsense")
    assert step("", junit="junit.xml")[0].returncode == 1
    assert step("", junit="none.xml")[0].returncode == 2


def test_what_the_command_prints_as_commands_is_its_own_and_ours_are_ours(step, project):
    project.write("test_shop.py", "def test_no():\n    assert 'a\\n::error title=x::y' == 1\n")
    done, _ = step("python3 -m pytest -q -p no:cacheprovider --dre || exit 1")
    ours = [line for line in done.stdout.decode().splitlines() if line.startswith("::error title=failed")]
    assert len(ours) == 1
    assert "file=test_shop.py,line=" in ours[0]


@pytest.mark.slow
@pytest.mark.registry
def test_the_actions_install_what_they_need_by_digest(project, tmp_path):
    (tmp_path / "out").touch()
    environ = {"RUNNER_TEMP": str(tmp_path), "GITHUB_OUTPUT": str(tmp_path / "out"), "DRE_INPUT_INSTALL": ""}
    for _ in range(2):  # the second time it is there already
        done = project.run("bash", str(ROOT / "actions" / "install.sh"), environ=environ)
        assert done.returncode == 0, done.stderr
    assert b"Install DRE" not in done.stdout
    dre = (tmp_path / "out").read_text().splitlines()[-1].removeprefix("dre=")
    assert project.run(dre, "--version").stdout.startswith(b"dre ")
    environ["DRE_INPUT_INSTALL"] = "none"
    done = project.run(
        "bash", str(ROOT / "actions" / "install.sh"), environ={**environ, "PATH": "/usr/bin:/bin"}
    )
    assert done.returncode == 125


def test_everything_that_dre_needs_is_pinned():
    tomllib = pytest.importorskip("tomllib")
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    pinned = (ROOT / "actions" / "requirements.txt").read_text()
    for requirement in [*needed, "hatchling"]:
        name = re.match(r"[\w.-]+", requirement)[0].lower().replace(".", "-")
        assert re.search(rf"^{name}==\S+ ", pinned, re.M), name
    assert pinned.count("--hash=sha256:") > 100

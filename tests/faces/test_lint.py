"""Actions, workflows and templates past the linters that their users run."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
ACTIONS = sorted(ROOT.glob("actions/*/action.yml"))
WORKFLOWS = sorted(ROOT.glob("examples/**/.github/workflows/*.yml"))


def clean(*words):
    done = subprocess.run(
        words, cwd=ROOT / "examples" / "github", capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_there_is_something_to_look_at():
    assert len(ACTIONS) == 2
    assert len(WORKFLOWS) >= 3


def test_zizmor_finds_nothing(tool):
    clean(tool("zizmor"), "--quiet", "--offline", "--persona", "auditor", *map(str, ACTIONS))
    clean(tool("zizmor"), "--quiet", "--offline", *map(str, WORKFLOWS))


def test_the_published_schemas_fit(tool):
    check = tool("check-jsonschema")
    clean(check, "--builtin-schema", "vendor.github-actions", *map(str, ACTIONS))
    clean(check, "--builtin-schema", "vendor.github-workflows", *map(str, WORKFLOWS))


@pytest.mark.parametrize("name", ["actionlint", "jactionlint"])
def test_both_actionlints_find_nothing(tool, name):
    clean(tool(name), *map(str, WORKFLOWS))


def test_jactionlint_finds_nothing_in_the_actions(tool):
    clean(tool("jactionlint"), *map(str, ACTIONS))


def test_the_runners_own_schema_fits(tool):
    for path in WORKFLOWS:
        clean(tool("act"), "--validate", "--strict", "-W", str(path))


def test_the_template_fits_gitlabs_schema(tool, tmp_path):
    _, jobs = (ROOT / "actions/gitlab/dre.gitlab-ci.yml").read_text().split("\n---\n")
    plain = re.sub(r"\$\[\[ inputs\.(\S+) \]\]", r"\1", jobs)
    (tmp_path / "jobs.yml").write_text(plain)
    clean(tool("check-jsonschema"), "--builtin-schema", "vendor.gitlab-ci", str(tmp_path / "jobs.yml"))


def test_every_action_that_is_used_is_pinned_by_commit():
    for path in (*ACTIONS, *WORKFLOWS):
        for used in re.findall(r"^ +(?:- )?uses: (.+)", path.read_text(), re.M):
            assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # .+", used), f"{path}: {used}"


def test_inputs_reach_shells_only_through_the_environment():
    for path in ACTIONS:
        for script in re.findall(r"^ +run: (.*(?:\n {10,}.*)*)", path.read_text(), re.M):
            assert "${{" not in script


def documented(section):
    """Inputs and their defaults, as a table of the documents has them; empty where only words stand."""
    rows = re.findall(r"(?m)^\| ((?:`[a-z-]+`(?:, )?)+) \|(.*?)\| .* \|$", section)
    for names, cell in rows:
        every = re.findall(r"`([^`]+)`", names)
        given = re.findall(r"`([^`]*)`", cell) or [""]
        yield from zip(every, given * len(every) if len(given) == 1 else given, strict=True)


def test_defaults_are_documented_as_they_are():
    import yaml

    text = (ROOT / "docs" / "ci.md").read_text()
    for path in ACTIONS:
        section = text.partition(f"## `actions/{path.parent.name}`")[2].partition("\n## ")[0]
        inputs = yaml.safe_load(path.read_text())["inputs"]
        told = dict(documented(section))
        assert set(told) == set(inputs)
        for name, each in inputs.items():
            default = "" if each["default"].startswith("${{") else each["default"]
            assert told[name] == default, f"{path.parent.name}: {name}"
    spec = next(yaml.safe_load_all((ROOT / "actions/gitlab/dre.gitlab-ci.yml").read_text()))["spec"]["inputs"]
    told = dict(documented(text.partition("\n## GitLab")[2].partition("\n## ")[0]))
    assert set(told) == set(spec)
    same = ("junit", "coverage", "base", "replay", "policy", "fail-on")
    for name in set(spec) - set(same):
        assert told[name] == str(spec[name]["default"]).replace("False", "false"), name


def test_every_input_and_output_is_documented():
    text = (ROOT / "docs" / "ci.md").read_text()
    for path in ACTIONS:
        section = text.partition(f"## `actions/{path.parent.name}`")[2].partition("\n## ")[0]
        for name, body in re.findall(
            r"^  ([a-z-]+):\n((?:    .*\n)+)", path.read_text().partition("\nruns:")[0], re.M
        ):
            assert f"`{name}`" in section, f"{path.parent.name}: {name}"
            assert "description: " in body

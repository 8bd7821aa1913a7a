"""What the documents claim is what there is: commands, exit codes, variables, keys, checks."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from dre_ci.cli import COMMANDS
from dre_ci.commands.ci import ACTIONS
from dre_ci.commands.verify import EXIT_CODES
from dre_core import config
from dre_core.capture.inherited import OWN_VARIABLES
from dre_core.model.policy import PRESETS
from dre_core.policy_file import PolicyKeys
from dre_core.verify import behavioral, programmatic, structural

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def table_keys(text):
    """First cells of a document's tables, without back quotes."""
    return {
        name.strip("` ")
        for row in re.findall(r"^\| ([^|]+) \|", text, re.M)
        for name in row.split(", ")
        if not row.startswith("---")
    }


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_stands_in_the_readme(name):
    assert f"| `dre {name}` |" in README


def test_every_exit_code_stands_in_the_readme():
    for conclusion, code in EXIT_CODES.items():
        assert re.search(rf"^\| {code} \| {conclusion.value}:", README, re.M)


@pytest.mark.parametrize("name", [*OWN_VARIABLES, "DRE_DIR", "DRE_KEYS_DIR", "DRE_POLICY", "DRE_OPERATION"])
def test_every_variable_stands_in_the_readme(name):
    assert name in table_keys(README)


def test_every_configuration_key_is_documented():
    text = (ROOT / "docs" / "configuration.md").read_text()
    assert set(config.flatten(config.Config())) <= table_keys(text)


def test_documented_defaults_are_true():
    text = (ROOT / "docs" / "configuration.md").read_text()
    for key, value in config.flatten(config.Config()).items():
        (shown,) = re.findall(rf"^\| `{re.escape(key)}` \| (.*?) *\|", text, re.M)
        if isinstance(value, tuple | dict):
            assert shown == ""
        else:
            assert config.parse_value(key, shown.strip("`")) == value


def test_every_policy_key_and_preset_is_documented():
    text = (ROOT / "docs" / "policy.md").read_text()
    assert {item.name for item in fields(PolicyKeys)} | {"preset", "keys"} <= table_keys(text)
    assert all(f"`{name}`" in text for name in PRESETS)


def test_every_check_is_documented():
    text = (ROOT / "docs" / "verdict.md").read_text()
    listed = set(re.findall(r"^\| (?:programmatic|structural|behavioral) \| `([a-z0-9-]+)` \|", text, re.M))
    assert {
        check.id for module in (programmatic, structural, behavioral) for check in module.CHECKS
    } == listed


def test_every_action_of_dre_ci_is_documented():
    text = (ROOT / "docs" / "ci.md").read_text()
    assert all(f"`dre ci {name}" in text for name in ACTIONS)


def test_links_between_documents_lead_somewhere():
    for path in [ROOT / "README.md", ROOT / "SECURITY.md", *ROOT.glob("docs/**/*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_every_occasion_and_collector_of_triggers_is_documented():
    from dre_core.live import SCREEN, collectors_of
    from dre_core.model.trigger import Occasion

    text = (ROOT / "docs" / "triggers.md").read_text()
    listed = table_keys(text) - {"when", "collect"}
    assert listed == {occasion.value for occasion in Occasion} | {SCREEN, *collectors_of(config.Config())}


def test_every_test_that_the_page_on_secrets_names_exists():
    text = (ROOT / "docs" / "secrets.md").read_text()
    named = set(re.findall(r"`(test_[a-z_]+)`", text))
    defined = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.M)
    }
    assert named
    assert named <= defined

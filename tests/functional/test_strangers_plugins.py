"""Third-party plugins: loaded where the user or the policy names them, and nowhere else."""

from __future__ import annotations

import json

import pytest

PLUGIN = """
from dre_core import hookimpl
from dre_core.model.verdict import Vantage
from dre_core.verify.verifier import Check, passed, run_checks


class Careful:
    name = "careful"

    def verify(self, evidence):
        checks = [Check("looked", lambda evidence: passed(Vantage.STATIC, "looked at it"))]
        return run_checks(self.name, checks, evidence)


class Marker:
    name = "marker"

    def before(self, scene, facts):
        facts.tools["stranger"] = "was here"
        return []

    def after(self, scene, facts):
        return []


@hookimpl
def dre_verifiers():
    return [Careful()]


@hookimpl
def dre_collectors():
    return [Marker()]
"""


@pytest.fixture
def stranger(tmp_path):
    """An installed package with an entry point in the group ``dre``; its environment."""
    site = tmp_path / "site"
    info = site / "careful-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "careful_plugin.py").write_text(PLUGIN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: careful\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[dre]\ncareful = careful_plugin\n")
    return {"PYTHONPATH": str(site)}


def tools(project, environ):
    return json.loads(project.dre("evidence", "show", "--json", environ=environ).stdout)["tools"]


def test_installed_is_not_loaded(project, stranger):
    project.dre("wrap", "--", "true", environ=stranger)
    assert "stranger" not in tools(project, stranger)
    assert "careful" not in project.verdict(environ=stranger)["methods"]


def test_the_change_under_test_can_not_name_one(project, stranger):
    project.write("dre.yaml", "plugins: [careful]\n")
    project.dre("wrap", "--", "true", environ=stranger)
    assert "stranger" not in tools(project, stranger)
    assert "careful" not in project.verdict(environ=stranger)["methods"]
    gaps = json.loads(project.dre("evidence", "show", "--json").stdout)["gaps"]
    assert any(gap["reason"].startswith("plugins-from-workload") for gap in gaps)


def test_the_folder_in_the_project_can_not_name_one(project, stranger):
    project.dre("init")
    (project.path / ".dre" / "config.yaml").write_text("plugins: [careful]\n")
    project.dre("wrap", "--", "true", environ=stranger)
    assert "stranger" not in tools(project, stranger)


def test_the_user_may_name_a_collector(project, stranger, own_home):
    (own_home / ".config" / "dre").mkdir(parents=True)
    (own_home / ".config" / "dre" / "config.yaml").write_text("plugins: [careful]\n")
    project.dre("wrap", "--", "true", environ=stranger)
    assert tools(project, stranger)["stranger"] == "was here"
    assert "careful" not in project.verdict(environ=stranger)["methods"]


def test_a_policy_may_name_a_verifier(project, stranger):
    project.wrap_pytest()
    key = project.write("key.pem", project.dre("keys", "public").stdout.decode())
    policy = project.write("policy.yaml", f"keys: [{{file: {key.name}}}]\nplugins: [careful]\n")
    verdict = project.verdict("--policy", str(policy), environ=stranger)
    assert verdict["methods"]["careful"]["score"] == 1.0
    missing = project.dre("verify", "--policy", str(policy))
    assert missing.returncode == 2
    assert b"there is no plugin careful" in missing.stderr

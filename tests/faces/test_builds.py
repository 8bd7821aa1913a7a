"""The build tools themselves, in temporary copies of the examples: what they seal is verified afterwards."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
LYING = "\n\ndef test_no():\n    assert 1 == 2\n"


@pytest.fixture
def example(tmp_path, make_project):
    """Copies an example into a repository of its own."""

    def copy(name):
        made = make_project(tmp_path / "shop")
        shutil.rmtree(made.path)
        shutil.copytree(ROOT / "examples" / name, made.path)
        made.git("init", "-q", "-b", "main")
        made.commit("begin")
        return made

    return copy


@pytest.fixture(autouse=True)
def tools_on_path(monkeypatch):
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    # The tools of the tests are not to work in the folders of the tox that runs the tests.
    for name in [
        name for name in os.environ if name.startswith(("TOX_", "NOX", "VIRTUAL_ENV", "PRE_COMMIT"))
    ]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", raising=False)


def run(project, *words, code=0, **environ):
    done = subprocess.run(
        words, cwd=project.path, env={**os.environ, **environ}, capture_output=True, text=True, timeout=180
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_tox_runs_an_environments_commands_as_operations(example, tool):
    project = example("tox")
    text = run(project, tool("tox"))
    assert re.search(r"tests: dre: supported: 1 passed, level 3", text), text
    verdict = project.verdict()
    assert (verdict["verdict"], verdict["level"]) == ("supported", 3)
    assert verdict["claim"]["command"][0] == "pytest"
    (project.path / "test_pricing.py").write_text((project.path / "test_pricing.py").read_text() + LYING)
    text = run(project, tool("tox"), "-x", "testenv:tests.commands=- pytest --junitxml=junit.xml")
    assert "trustworthy record of a failed run: 1 failed, 1 passed" in text


@pytest.mark.slow
def test_tox_without_the_key_seals_nothing(example, tool):
    project = example("tox")
    ini = (project.path / "tox.ini").read_text().replace("dre = true\n", "")
    project.write("tox.ini", ini.replace("deps = pytest", "deps =").replace("pytest --", "python -c 0 --"))
    run(project, tool("tox"))
    assert not (project.path / ".dre").exists()
    run(project, tool("tox"), "-q", "--dre")
    assert (project.path / ".dre").exists()


def test_a_nox_session_runs_a_command_as_an_operation(example, tool):
    project = example("nox")
    text = run(project, tool("nox"))
    assert "SUPPORTED" in text
    assert project.verdict()["level"] == 3


def test_hatchling_seals_what_it_built_and_builds_it_twice(example, tool):
    project = example("hatch")
    text = run(project, sys.executable, "-m", "build", "--no-isolation", "--wheel", "--sdist")
    assert text.count("dre: reproducible: shop-1.0") == 2
    sealed = project.dre("evidence", "show").stdout.decode()
    (sdist,) = project.path.glob("dist/*.tar.gz")
    assert hashlib.sha256(sdist.read_bytes()).hexdigest()[:16] in sealed
    assert project.verdict()["integrity"]["result"] == "valid"
    listed = subprocess.run(["tar", "tzf", sdist], capture_output=True, text=True, check=True).stdout
    assert ".dre/" not in listed


def test_hatchling_fails_a_build_that_does_not_repeat(example):
    project = example("hatch")
    hook = "from hatchling.builders.hooks.plugin.interface import BuildHookInterface\nimport pathlib, uuid\n"
    hook += "class Random(BuildHookInterface):\n    def initialize(self, version, build_data):\n"
    hook += "        pathlib.Path(self.root, 'shop/built.py').write_text(f'ID = {uuid.uuid4().hex!r}')\n"
    project.write("hatch_build.py", hook)
    text = (project.path / "pyproject.toml").read_text() + "\n[tool.hatch.build.hooks.custom]\n"
    project.write("pyproject.toml", text)
    said = run(project, sys.executable, "-m", "build", "--no-isolation", "--wheel", code=1)
    assert "differs: shop/built.py" in said
    assert "does not repeat" in said


def test_setuptools_builds_through_the_backend_are_sealed(example):
    project = example("hatch")
    project.write(
        "pyproject.toml",
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "dre_ci.hooks.setuptools"\n'
        '[project]\nname = "shop"\nversion = "1.0"\n',
    )
    # Without it setuptools puts the time of day into what it builds.
    epoch = {"SOURCE_DATE_EPOCH": "1700000000"}
    text = run(project, sys.executable, "-m", "build", "--no-isolation", "--wheel", **epoch)
    assert "dre: reproducible: shop-1.0" in text
    (wheel,) = project.path.glob("dist/*.whl")
    sealed = project.dre("evidence", "show").stdout.decode()
    assert hashlib.sha256(wheel.read_bytes()).hexdigest()[:16] in sealed
    script = "import pathlib, uuid\npathlib.Path('shop/built.py').write_text(f'ID = {uuid.uuid4().hex!r}')\n"
    project.write("setup.py", f"{script}from setuptools import setup\nsetup()\n")
    words = (sys.executable, "-m", "build", "--no-isolation", "--wheel")
    text = run(project, *words, code=1, DRE_REPRODUCIBLE="1", **epoch)
    assert "differs: shop/built.py" in text
    assert "does not repeat" in text


def pre_commit(project, tool):
    """Uses our hooks as a repository's own, by the commands of the manifest."""
    import yaml

    hooks = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    config = {"repos": [{"repo": "local", "hooks": [{**hook, "language": "system"} for hook in hooks]}]}
    project.write(".pre-commit-config.yaml", yaml.safe_dump(config))
    project.commit("hooks")
    return lambda *words, **more: run(project, tool("pre-commit"), "run", *words, **more)


def test_pre_commit_takes_the_manifest(tool):
    words = [tool("pre-commit"), "validate-manifest", str(ROOT / ".pre-commit-hooks.yaml")]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_a_weakened_test_is_not_committed(example, tool):
    project = example("tox")
    go = pre_commit(project, tool)
    project.write(
        "test_pricing.py", "from pricing import discounted\n\n\ndef test_discount():\n    discounted(1, 2)\n"
    )
    project.git("add", "-A")
    text = go(code=1)
    assert re.search(r"test_pricing.py:\d+: test_discount has fewer assertions", text), text
    text = go(SKIP="dre-no-weakened-tests")
    assert "Skipped" in text
    project.write(
        "test_pricing.py", "def test_discount():\n    assert 2 > 1\n\n\ndef test_more():\n    assert 3 > 2\n"
    )
    project.git("add", "-A")
    go()


def test_a_commit_without_good_evidence_is_not_pushed(example, tool):
    project = example("tox")
    go = pre_commit(project, tool)
    head = project.git("rev-parse", "HEAD")
    words = ("--hook-stage", "pre-push", "--from-ref", f"{head}~", "--to-ref", head)
    assert "no evidence" in go(*words, code=1)
    assert (
        project.dre("wrap", "--junit", "junit.xml", "--", "pytest", "-q", "--junitxml=junit.xml").returncode
        == 0
    )
    go(*words)
    project.write("a.txt", "")
    later = project.commit("more")
    text = go("--hook-stage", "pre-push", "--from-ref", head, "--to-ref", later, code=1)
    assert "commit" in text


def test_make_leaves_an_archive_that_others_can_check(example):
    project = example("make")
    if shutil.which("make") is None:
        pytest.skip("there is no make")
    run(project, "make", "evidence")
    verdict = project.verdict("evidence.zip", "--key", "key.pem")
    assert verdict["verdict"] == "supported"


@pytest.mark.slow
def test_a_monorepo_has_one_archive_and_the_worst_verdict_decides(example):
    project = example("monorepo")
    text = run(project, "sh", "check.sh")
    assert text.count("SUPPORTED") == 2
    project.write("stock/test_stock.py", "def test_stock():\n    assert 0\n")
    project.commit("break one")
    run(
        project,
        "sh",
        "-c",
        "sed -i 's/ --junitxml=junit.xml)/ --junitxml=junit.xml || true)/' check.sh && sh check.sh",
        code=6,
    )


def test_an_npm_project_is_sealed_by_its_own_report(example, node, tmp_path):
    project = example("npm")
    npm = Path(node).parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    # The wheel's own npm is a copy of what should be a link.
    shim = tmp_path / "bin" / "npm"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec "{node}" "{npm}" "$@"\n')
    shim.chmod(0o755)
    path = os.pathsep.join([str(shim.parent), str(Path(node).parent), os.environ["PATH"]])
    text = run(project, "npm", "run", "test:sealed", PATH=path)
    assert "SUPPORTED" in text, text
    verdict = project.verdict()
    assert (verdict["level"], verdict["claim"]["tests"]["passed"]) == (3, 1)


@pytest.mark.slow
@pytest.mark.registry
def test_pre_commit_installs_the_hooks_from_a_repository(example, tool, own_home):
    project = example("tox")
    text = "from pricing import discounted\n\n\ndef test_discount():\n    discounted(1, 2)\n"
    project.write("test_pricing.py", text)
    project.git("add", "-A")
    said = run(project, tool("pre-commit"), "try-repo", str(ROOT), "dre-no-weakened-tests", code=1)
    assert "test_discount has fewer assertions (1 before, none now)" in said


@pytest.mark.slow
@pytest.mark.registry
@pytest.mark.parametrize("backend", ["hatchling", "setuptools"])
def test_isolated_builds_take_dre_from_an_index(example, tmp_path, backend):
    """As ``python -m build`` and pip do it: the tools are installed anew from what ``requires`` names."""
    wheels = tmp_path / "wheels"
    words = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(wheels), str(ROOT)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr
    project = example("hatch")
    if backend == "setuptools":
        project.write(
            "pyproject.toml",
            '[build-system]\nrequires = ["setuptools", "development-reality-engine"]\n'
            'build-backend = "dre_ci.hooks.setuptools"\n[project]\nname = "shop"\nversion = "1.0"\n',
        )
    around = {"PIP_FIND_LINKS": str(wheels), "PIP_PRE": "1", "SOURCE_DATE_EPOCH": "1700000000"}
    text = run(project, sys.executable, "-m", "build", "--wheel", **around)
    assert "dre: reproducible: shop-1.0" in text
    (wheel,) = project.path.glob("dist/*.whl")
    sealed = project.dre("evidence", "show").stdout.decode()
    assert hashlib.sha256(wheel.read_bytes()).hexdigest()[:16] in sealed
    assert project.verdict()["integrity"]["result"] == "valid"

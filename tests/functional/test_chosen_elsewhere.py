"""Tests left out by what is in neither the command nor the repository: the environment, a plugin from elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = str(Path(__file__).resolve().parents[2])
CHOOSES = """\
def pytest_collection_modifyitems(config, items):
    out = [item for item in items if item.name == "test_four"]
    items[:] = [item for item in items if item not in out]
    config.hook.pytest_deselected(items=out)
"""
SORTS = "def pytest_collection_modifyitems(items):\n    items.sort(key=lambda item: item.name)\n"


@pytest.fixture
def found(project, tmp_path):
    """Runs pytest recorded, and gives the verdict and the finding of ``selection`` that blocks it."""

    def run(*words: str, plugin: str = "", **environ: str) -> tuple[str, str]:
        folder = tmp_path / "elsewhere"
        folder.mkdir(exist_ok=True)
        (folder / "helper_plugin.py").write_text(plugin)
        environ["PYTHONPATH"] = f"{folder}{':' if sys.platform != 'win32' else ';'}{ROOT}"
        project.pytest("--dre", "-q", *words, environ=environ)
        verdict = project.verdict()
        fails = (f for m in verdict["methods"].values() for f in m["findings"] if f["severity"] == "fail")
        return verdict["verdict"], next((f["message"] for f in fails if f["check"] == "selection"), "")

    return run


@pytest.mark.parametrize(
    "options",
    [
        "--deselect=test_shop.py::test_four",
        "-k two",
        "-o python_functions=test_two",
        "test_shop.py::test_two",
    ],
)
def test_what_the_environment_leaves_out_blocks_support(found, options):
    verdict, message = found(PYTEST_ADDOPTS=options)
    assert verdict == "inconclusive"
    assert "by PYTEST_ADDOPTS of the environment" in message
    assert options.partition(" ")[2] in message


def test_options_of_the_environment_that_leave_nothing_out_do_not(found):
    assert found(PYTEST_ADDOPTS="--color=yes -k test") == ("supported", "")


@pytest.mark.slow
def test_the_command_itself_may_choose(found):
    assert found("-k", "two") == ("supported", "")


def test_a_plugin_from_elsewhere_that_leaves_tests_out_blocks_support(found):
    verdict, message = found(plugin=CHOOSES, PYTEST_PLUGINS="helper_plugin")
    assert verdict == "inconclusive"
    assert "helper_plugin.py:1" in message


def test_a_plugin_from_elsewhere_that_leaves_nothing_out_does_not(found):
    assert found("-p", "helper_plugin", plugin=SORTS) == ("supported", "")


@pytest.mark.slow
def test_the_repositorys_own_plugin_does_not(found, project):
    project.write("own_plugin.py", CHOOSES)
    project.commit()
    assert found("-p", "own_plugin") == ("supported", "")

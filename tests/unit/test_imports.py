"""What stands in the way of the runner or the recorder in a checkout."""

from __future__ import annotations

from pathlib import Path

import pytest

import dre_core
from dre_core.capture.imports import shadowing
from dre_core.model.fields import Fields
from dre_core.model.imports import ImportFact


@pytest.mark.parametrize(
    "file",
    [
        "pytest.py",
        "pytest/__main__.py",
        "_pytest/__init__.py",
        "pluggy.py",
        "dre_pytest/__init__.py",
        "dre_core.py",
    ],
)
def test_what_would_be_loaded_in_place_of_the_runner_is_named(tmp_path, file):
    place = tmp_path / file
    place.parent.mkdir(exist_ok=True)
    place.write_text("")
    (fact,) = shadowing([tmp_path], tmp_path)
    assert (fact.name, fact.file, fact.shadows) == (file.split("/")[0].removesuffix(".py"), file, True)
    assert ImportFact.parse(Fields(fact.to_json(), "$")) == fact


@pytest.mark.parametrize(
    "file", ["pytest/__init__.py", "pytest/test_a.py", "src/pluggy/__init__.py", "sub/pytest.py"]
)
def test_what_no_interpreter_would_load_is_not(tmp_path, file):
    place = tmp_path / file
    place.parent.mkdir(parents=True)
    place.write_text("")
    assert shadowing([tmp_path], tmp_path) == ()


def test_a_folder_where_commands_are_started_counts_and_dre_itself_does_not(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "pytest.py").write_text("")
    assert [fact.file for fact in shadowing([tmp_path, tmp_path / "sub"], tmp_path)] == ["sub/pytest.py"]
    own = Path(dre_core.__file__).parents[1]
    assert shadowing([own], own) == ()

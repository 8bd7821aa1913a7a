"""Triggers in the configuration: what is accepted, what is refused and by which words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dre_core import config
from dre_core.errors import ConfigError
from dre_core.model.trigger import GREATEST_LIMIT, SHORTEST_INTERVAL_SECONDS, Occasion, Trigger

texts = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20).filter(str.strip)


@st.composite
def triggers(draw):
    when = draw(st.sets(st.sampled_from(sorted(Occasion)), min_size=1))
    if when == {Occasion.UI_CHANGE}:
        when.add(Occasion.START)
    interval = st.floats(SHORTEST_INTERVAL_SECONDS, 1e5)
    return Trigger(
        name=draw(texts),
        when=tuple(sorted(when)),
        collect=tuple(draw(st.lists(texts, min_size=1, max_size=3))),
        interval_seconds=draw(interval) if Occasion.INTERVAL in when else 0.0,
        patterns=tuple(draw(st.lists(texts, min_size=1, max_size=3))) if Occasion.PATTERN in when else (),
        limit=draw(st.integers(1, GREATEST_LIMIT)),
    )


@given(triggers())
def test_formatting_and_parsing_are_inverses(trigger):
    assert Trigger.parse(trigger.name, trigger.to_json()) == trigger


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("t: {when: [start]}", "needs a collector"),
        ("t: {collect: [source]}", "something to fire on"),
        ("t: {when: [ui_change], collect: [screen]}", "something to fire on"),
        ("t: {when: [begin], collect: [source]}", "'begin' is none of start"),
        ("t: {wen: [start], collect: [source]}", "unknown trigger key 'wen'"),
        ("t: {when: [interval], collect: [source]}", "belong together"),
        ("t: {when: [start], interval_seconds: 1, collect: [source]}", "belong together"),
        ("t: {when: [interval], interval_seconds: 0.001, collect: [source]}", "at least 0.1 seconds"),
        ("t: {when: [pattern], collect: [source]}", "belong together"),
        ("t: {when: [pattern], patterns: ['  '], collect: [source]}", "1 to 200 characters"),
        ("t: {when: [start], collect: [source], limit: 0}", "1 to 10000"),
        ("t: {when: start, collect: [source]}", "expected an array"),
        ("t: 7", "expected an object"),
        ("[t]", "expected triggers by name"),
    ],
)
def test_what_is_unfit_is_refused_by_name(tmp_path, text, said):
    (tmp_path / "dre.yaml").write_text(
        f"triggers: {text}\n" if text.startswith("[") else f"triggers:\n  {text}\n"
    )
    with pytest.raises(ConfigError) as caught:
        config.load(tmp_path, tmp_path / ".dre", {"HOME": str(tmp_path)})
    assert said in str(caught.value)
    assert caught.value.path == "dre.yaml"


def test_an_unknown_key_names_the_nearest(tmp_path):
    (tmp_path / "dre.yaml").write_text("triggers:\n  t: {when: [start], colect: [source]}\n")
    with pytest.raises(ConfigError) as caught:
        config.load(tmp_path, tmp_path / ".dre", {"HOME": str(tmp_path)})
    assert caught.value.hint == "did you mean collect?"


def test_toml_and_a_later_file_of_the_same_name(tmp_path):
    (tmp_path / "pyproject.toml").write_text(
        '[tool.dre.triggers.a]\nwhen = ["start"]\ncollect = ["source"]\n'
        '[tool.dre.triggers.b]\nwhen = ["complete"]\ncollect = ["files"]\n'
    )
    (tmp_path / ".dre").mkdir()
    (tmp_path / ".dre" / "config.yaml").write_text("triggers: {a: {when: [error], collect: [screen]}}\n")
    found = config.load(tmp_path, tmp_path / ".dre", {"HOME": str(tmp_path)})
    assert [(t.name, t.when, t.collect) for t in found.triggers] == [
        ("a", (Occasion.ERROR,), ("screen",)),
        ("b", (Occasion.COMPLETE,), ("files",)),
    ]
    again = config.with_values(config.Config(), {"triggers": config.flatten(found)["triggers"]})
    assert again.triggers == found.triggers

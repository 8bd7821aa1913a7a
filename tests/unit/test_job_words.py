"""Text for runners: whatever evidence says, it stays where it is put."""

from __future__ import annotations

import json
import re

from hypothesis import given
from hypothesis import strategies as st

from dre_ci.forge.base import Annotation
from dre_ci.forge.github import fitted
from dre_ci.job import words


def note(level="error", message="m", **more):
    return Annotation(level=level, title="t", message=message, **more)


@given(st.text(), st.text(), st.text())
def test_a_command_is_one_line_that_names_only_what_is_known(title, message, file):
    text = words.command(Annotation(level="error", title=title, message=message, file=file))
    assert "\n" not in text
    assert "\r" not in text
    head, _, _ = text.removeprefix("::").partition("::")
    assert head.startswith("error title=")
    assert "line=" not in head.removeprefix("error title=").partition(",")[2]


def test_at_most_ten_a_level_and_the_rest_is_counted():
    lines = list(words.commands([note()] * 25 + [note("warning")] * 11 + [note("notice")] * 3))
    assert sum(line.startswith("::error ") for line in lines) == 10
    assert sum(line.startswith("::warning ") for line in lines) == 10
    assert lines[-1] == "::notice title=DRE::15 more errors, 1 more warning: see the job summary"


def test_notices_make_room_for_the_line_that_counts():
    lines = list(words.commands([note("notice")] * 30))
    assert len(lines) == 10
    assert "20 more notices" in lines[-1]


def test_ten_are_all_shown():
    assert list(words.commands([note(line=3, file="a.py")] * 10))[-1] == "::error title=t,file=a.py,line=3::m"


@given(st.dictionaries(st.sampled_from(["verdict", "score"]), st.text()))
def test_no_value_adds_an_output(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("o") / "outputs"
    path.touch()
    words.write_outputs(path, values)
    text = path.read_bytes().decode()
    found = {name: body for name, mark, body in re.findall(r"(?s)(\w+)<<(dre_\w+)\n(.*?)\n\2\n", text)}
    escaped = {name: value.encode("utf-8", "backslashreplace").decode() for name, value in values.items()}
    assert found == escaped


def test_a_summary_never_grows_beyond_what_is_shown(tmp_path):
    path = tmp_path / "summary"
    row = "| ä | " + "x" * 200 + " |\n"
    assert words.write_summary(path, row * 1000)
    assert not words.write_summary(path, "<details>\n" + row * 9000)
    size = path.stat().st_size
    assert size <= words.SUMMARY_LIMIT_BYTES
    assert "cut here" in path.read_text()
    words.write_summary(path, row * 9000)
    assert path.stat().st_size <= words.SUMMARY_LIMIT_BYTES


@given(st.integers(300, 5000), st.text(min_size=1))
def test_what_is_cut_fits_and_is_closed(limit, text):
    markdown = "<details><summary>a</summary>\n\n" + f"{text}\n" * 2000 + "\n</details>"
    cut = fitted(markdown, limit)
    assert len(cut) <= limit
    assert cut.count("<details>") <= cut.count("</details>") + text.count("<details>") * 2000


def test_dotenv_holds_one_line_a_value():
    text = words.dotenv({"verdict": "a\nDRE_VERDICT=supported", "exit-code": "0"})
    assert text == "DRE_OUT_VERDICT=a DRE_VERDICT=supported\nDRE_OUT_EXIT_CODE=0\n"
    assert len(words.dotenv({f"n{n}": "x" * 400 for n in range(50)})) <= words.DOTENV_LIMIT_BYTES


def test_code_quality_has_a_place_and_a_fingerprint_of_its_own_for_each():
    issues = json.loads(words.code_quality([note(), note(), note(file="a.py", line=4)], ".gitlab-ci.yml"))
    assert [issue["location"]["path"] for issue in issues] == [".gitlab-ci.yml", ".gitlab-ci.yml", "a.py"]
    assert len({issue["fingerprint"] for issue in issues}) == 3
    assert all(issue["location"]["lines"]["begin"] >= 1 for issue in issues)


def test_names_of_artifacts_keep_to_what_they_may_hold():
    assert words.slug("CI: ä/b", "te st", "") == "CI----b-te-st"
    assert words.key_of("a", "b") != words.key_of("ab", "")

"""The memory of past runs, and the record they are kept in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dre_core.model import identifier
from dre_core.model.fields import Fields
from dre_core.model.run import CommandFacts, PastRun, RunOutcome
from dre_core.store.past import Past

runs = st.builds(
    PastRun,
    operation=st.just(identifier.new(identifier.OPERATION)),
    outcome=st.sampled_from(RunOutcome),
    exit_code=st.none() | st.integers(0, 255),
    duration_ns=st.integers(0, 10**15),
    started=st.text(max_size=40),
    commit=st.text(max_size=40),
    payload=st.just("sha256:" + "0" * 64),
)


@given(runs)
def test_formatting_and_parsing_are_inverses(run):
    assert PastRun.parse(Fields(run.to_json())) == run


def test_only_the_newest_lines_are_kept(tmp_path):
    past = Past(tmp_path, CommandFacts(argv=("x",)))
    for number in range(250):
        past.remember(_run(number))
    assert [run.duration_ns for run in past.recall()] == [245, 246, 247, 248, 249]
    (path,) = (tmp_path / "cache" / "past").iterdir()
    assert len(path.read_bytes().splitlines()) <= 100


def test_another_command_or_folder_is_another_memory(tmp_path):
    Past(tmp_path, CommandFacts(argv=("x",))).remember(_run(1))
    assert Past(tmp_path, CommandFacts(argv=("x", ""))).recall() == ()
    assert Past(tmp_path, CommandFacts(argv=("x",), cwd="sub")).recall() == ()
    assert len(Past(tmp_path, CommandFacts(argv=("x",))).recall()) == 1


def test_a_folder_that_can_not_be_written_is_no_error(tmp_path):
    (tmp_path / "cache").write_text("a file")
    past = Past(tmp_path, CommandFacts(argv=("x",)))
    past.remember(_run(1))
    assert past.recall() == ()


def _run(number):
    return PastRun(
        operation=identifier.new(identifier.OPERATION),
        outcome=RunOutcome.PASSED,
        exit_code=0,
        duration_ns=number,
        started="",
        commit="",
        payload="sha256:" + "0" * 64,
    )

"""Our records against the standard library's dataclasses, class body by class body."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dre_core.model.record import dataclass

ROOT = Path(__file__).resolve().parents[2]


def body() -> type:
    """A class body with everything the project uses; new each time, since decorators take it apart."""

    class Point:
        x: int
        y: int = 2
        tags: list[str] = dataclasses.field(default_factory=list, compare=False)
        secret: str = dataclasses.field(default="s", repr=False)
        total: int = dataclasses.field(init=False, default=0)
        kind: ClassVar[str] = "point"

        def __post_init__(self) -> None:
            object.__setattr__(self, "total", self.x + self.y)

        @property
        def double(self) -> int:
            return 2 * self.total

    return Point


FLAGS = [
    {"frozen": frozen, "slots": True, "kw_only": kw_only}
    for frozen in (False, True)
    for kw_only in (False, True)
]


def both(flags):
    return dataclass(**flags)(body()), dataclasses.dataclass(**flags)(body())


def outcome(call, *args, **kwargs):
    try:
        made = call(*args, **kwargs)
    except Exception as error:
        return type(error)
    return {field.name: getattr(made, field.name) for field in dataclasses.fields(made)}


VALUES = st.dictionaries(
    st.sampled_from(["x", "y", "tags", "secret", "total", "other"]), st.integers(0, 2), max_size=5
)


@pytest.mark.parametrize("flags", FLAGS)
@given(args=st.lists(st.integers(0, 2), max_size=5), values=VALUES)
def test_made_alike(flags, args, values):
    ours, theirs = both(flags)
    assert outcome(ours, *args, **values) == outcome(theirs, *args, **values)


OFTEN = [(dataclass(**flags)(body()), dataclasses.dataclass(**flags)(body())) for flags in FLAGS]


@pytest.mark.parametrize("pair", OFTEN)
@given(args=st.lists(st.integers(0, 2), max_size=5), values=VALUES)
def test_made_alike_when_made_often(pair, args, values):
    ours, theirs = pair
    while ours.__init__.__qualname__ != theirs.__init__.__qualname__:
        ours(x=1)
    assert outcome(ours, *args, **values) == outcome(theirs, *args, **values)
    assert ours(x=1).tags is not ours(x=1).tags


@pytest.mark.parametrize("flags", FLAGS)
@given(one=st.integers(0, 1), other=st.integers(0, 1), tags=st.lists(st.text(max_size=1), max_size=1))
def test_compared_hashed_and_shown_alike(flags, one, other, tags):
    ours, theirs = both(flags)
    mine = ours(x=one), ours(x=other, tags=tags)
    plain = theirs(x=one), theirs(x=other, tags=tags)
    assert (mine[0] == mine[1]) == (plain[0] == plain[1])
    assert mine[0] != plain[0]
    assert [repr(each) for each in mine] == [repr(each) for each in plain]
    if flags["frozen"]:
        assert hash(mine[0]) == hash(plain[0])
    else:
        for record in (mine[0], plain[0]):
            with pytest.raises(TypeError):
                hash(record)


@pytest.mark.parametrize("flags", FLAGS)
def test_the_standard_functions_work(flags):
    ours, theirs = both(flags)
    assert dataclasses.asdict(ours(x=1)) == dataclasses.asdict(theirs(x=1))
    assert dataclasses.replace(ours(x=1), y=5) == ours(x=1, y=5)
    assert ours(x=1, y=5).double == 12
    assert [field.name for field in dataclasses.fields(ours)] == ["x", "y", "tags", "secret", "total"]
    assert ours.kind == "point"
    assert ours.__match_args__ == theirs.__match_args__ or not flags["kw_only"]
    with pytest.raises(TypeError):
        dataclasses.replace(ours(x=1), nothing=5)
    with pytest.raises((TypeError, ValueError), match="total"):  # as of Python 3.13 it is the former
        dataclasses.replace(ours(x=1), total=5)
    assert copy.deepcopy(ours(x=1, tags=["a"])).tags == ["a"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pickled:
    """At module level, where pickle finds it."""

    x: int


def test_pickled_and_back():
    assert pickle.loads(pickle.dumps(Pickled(x=3))) == Pickled(x=3)


def test_frozen():
    ours, _ = both({"frozen": True, "slots": True})
    point = ours(1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        point.x = 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        del point.x
    assert not hasattr(point, "__dict__")


def test_a_default_belongs_to_one_record():
    ours, _ = both({"slots": True})
    ours(1).tags.append("a")
    assert ours(1).tags == []


def test_what_is_not_supported_is_refused():
    with pytest.raises(TypeError, match="slots"):
        dataclass(slots=False)

    class Child(Pickled):
        y: int = 0

    with pytest.raises(TypeError, match="no base class"):
        dataclass(slots=True)(Child)


def test_nothing_in_the_project_compiles_its_classes():
    found = subprocess.run(
        ["grep", "-rnE", r"dataclasses import.*\bdataclass\b|@dataclasses\.dataclass", "--include=*.py", "dre_core",
         "dre_ci", "dre_pytest"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    ).stdout.splitlines()  # fmt: skip
    assert [line.partition(":")[0] for line in found] == ["dre_core/model/record.py"]


def test_a_type_checker_sees_the_standard_decorator(tmp_path):
    pytest.importorskip("mypy")
    (tmp_path / "wrong.py").write_text(
        "from dre_core.model.record import dataclass\n"
        "@dataclass(frozen=True, slots=True, kw_only=True)\n"
        "class A:\n    x: int\n"
        "A(x='text')\nA(1)\nA(x=1).x = 2\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--no-incremental", str(tmp_path / "wrong.py")],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert [line.rpartition("[")[2] for line in done.stdout.splitlines() if ": error:" in line] == [
        "arg-type]",
        "call-arg]",
        "misc]",
    ], done.stdout

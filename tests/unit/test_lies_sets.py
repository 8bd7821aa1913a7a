"""The sets of the benchmark DRE-Lies: a recorded set keeps its plan, and the newest one is balanced."""

import json
import subprocess
import sys
from collections import Counter
from hashlib import sha256
from pathlib import Path

import pytest

LIES = Path(__file__).parents[1] / "bench" / "lies"
PROGRAM = """\
import json, sys
sys.path.insert(0, sys.argv[1])
from samples import SETS
found = {
    name: [[p.id, p.project, p.family, p.label, p.operator, p.held_out_class, p.held_out_project] for p in each.plans()]
    for name, each in SETS.items()
}
print(json.dumps({"plans": found, "projects": {n: [p.name for p in each.projects] for n, each in SETS.items()}}))
"""


@pytest.fixture(scope="module")
def sets():
    command = [
        sys.executable,
        "-c",
        PROGRAM,
        str(LIES),
    ]  # modules of its own, with names that others use as well
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)


@pytest.mark.parametrize(("name", "count", "digest"), [
    ("main", 2862, "c67b25ebbcd8b9c4"),
    ("fresh", 840, "e2da040a9e65b40a"),
    ("second", 2734, "8df6d900654e88db"),
])  # fmt: skip
def test_the_plan_of_a_recorded_set_does_not_change(sets, name, count, digest):
    ids = [row[0] for row in sets["plans"][name]]
    assert len(ids) == count
    assert sha256("\n".join(ids).encode()).hexdigest()[:16] == digest


def test_no_project_is_in_two_sets(sets):
    names = [name for each in sets["projects"].values() for name in each]
    assert len(names) == len(set(names))


def test_the_third_set_is_balanced(sets):
    rows = sets["plans"]["third"]
    assert len({row[0] for row in rows}) == len(rows)
    lies = [row for row in rows if row[3] == "lie"]
    assert len(lies) + sum(row[3] == "honest" for row in rows) == len(rows)
    assert abs(len(lies) / len(rows) - 0.48) < 0.03
    assert sum(row[5] for row in lies) * 2 == len(lies)
    assert {row[2] for row in lies} == {"tests", "hooks", "product", "runs", "fresh", "second", "third"}
    per_project = Counter(row[1] for row in rows)
    assert max(per_project.values()) - min(per_project.values()) <= 3
    told = Counter(row[4] for row in lies if row[5])
    assert max(told.values()) - min(told.values()) <= 1


def test_every_project_of_a_later_set_is_held_out(sets):
    assert all(row[6] for name in ("fresh", "second", "third") for row in sets["plans"][name])

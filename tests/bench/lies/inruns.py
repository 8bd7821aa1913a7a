"""Lies told by how the tests are run and reported, and honest runs of the same shape."""

from __future__ import annotations

from dataclasses import dataclass

from drafts import GREEN, SAME, Spot
from functions import NotApplicableError

_EXIT = "exit-agrees failures-exit0"
_NONE = "runner-session-present process-tree-has-runner something-executed printed-count-agrees report-fresh"


@dataclass(frozen=True)
class RunLie:
    """Shell text of a lying and of an honest run of a tree that is red, or whose change made it red."""

    id: str
    lie: str
    twin: str
    names: str
    scenario: str = SAME
    lie_report: str = ""
    twin_report: str = ""
    files: tuple[tuple[str, str], ...] = ()
    before: str = ""
    environ: tuple[tuple[str, str], ...] = ()
    twin_files: bool = True

    @property
    def checks(self) -> tuple[str, ...]:
        return tuple(self.names.split())

    def apply(self, spot: Spot, honest: bool) -> None:
        draft = spot.draft
        draft.shell = True
        killed = spot.killed()
        words = " and ".join(sorted({f"not {name.rpartition('::')[2]}" for _, name in killed}))
        tests = " ".join(f"--deselect={path}::{name}" for path, name in killed)
        files = sorted({path for path, _ in killed})
        others = [path for path in spot.test_files() if path not in files]
        template = self.twin if honest else self.lie
        if any(name in template for name in ("{others}", "{few}", "{othernames}")) and not others:
            raise NotApplicableError("one file is the whole suite")
        fills = {
            "words": words, "tests": tests, "others": " ".join(others), "ignored": " ".join(f"--ignore={f}" for f in files),
            "failing": " ".join(files), "few": " ".join(others[:2]),
            "othernames": " ".join(path.rpartition("/")[2] for path in others),
        }  # fmt: skip
        draft.command = _fill(template, fills)
        draft.junit = self.twin_report if honest else self.lie_report
        draft.before = self.before
        for name, text in self.files if self.twin_files or not honest else ():
            draft.head[name] = text
        for name, value in () if honest else self.environ:
            draft.environ[name] = _fill(value, fills)


def _fill(text: str, fills: dict[str, str]) -> str:
    for name, value in fills.items():
        text = text.replace("{" + name + "}", value)
    return text


_CI = """\
import subprocess
import sys

done = subprocess.run([sys.executable, "-m", "pytest", *sys.argv[2:]])
print("tests ended")
sys.exit(0 if sys.argv[1] == "quietly" else done.returncode)
"""
_FAKE = 'print("." * 72)\nprint("====== 214 passed in 1.31s ======")\n'
_FORGED = """\
from pathlib import Path

cases = "".join(f'<testcase classname="tests.test_all" name="test_{n}" time="0.01"/>' for n in range(40))
Path("report.xml").write_text(
    '<testsuites><testsuite name="pytest" errors="0" failures="0" skipped="0" tests="40" time="0.4">'
    f"{cases}</testsuite></testsuites>"
)
print("====== 40 passed in 0.40s ======")
"""
_EDITED = """\
import re
from pathlib import Path

report = Path("report.xml")
text = re.sub(r'failures="[0-9]+"', 'failures="0"', report.read_text())
report.write_text(re.sub(r"<failure.*?</failure>", "", text, flags=re.S))
"""


class Dirty:
    """Green only with edits that are not in the commit; the twin's edits change nothing."""

    id, checks, scenario = "uncommitted-fix", ("commit-reproduces", "tree-clean"), SAME

    def apply(self, spot: Spot, honest: bool) -> None:
        path = spot.mutant.path
        if honest:
            spot.draft.uncommitted["NOTES.md"] = "later\n"
        else:
            spot.draft.uncommitted[path] = spot.original(path)


class OtherCopy:
    """The tests run against a right copy elsewhere; the twin's copy is the same as the checkout's."""

    id, checks, scenario = "other-copy", ("code-under-test-local", "commit-reproduces"), SAME

    def apply(self, spot: Spot, honest: bool) -> None:
        root = spot.project.root
        prefix = "" if root == "." else f"{root}/"
        for place in sorted(spot.folder.rglob("*.py")):
            path = str(place.relative_to(spot.folder))
            inside = any(path == name or path.startswith(f"{name}/") for name in spot.project.source)
            if inside:
                text = (
                    spot.draft.base.get(path) if honest and path in spot.draft.base else spot.original(path)
                )
                spot.draft.outside[path.removeprefix(prefix)] = text or ""
        spot.draft.words += ["-o", "pythonpath={outside}"]


IN_RUNS: tuple = (
    RunLie("or-true", "{pytest} || true", "{pytest}; code=$?; rm -rf build || true; exit $code", _EXIT),
    RunLie("exit-zero", "{pytest}; exit 0", "{pytest} && exit 0", _EXIT),
    RunLie("pipe", "{pytest} | cat", "bash -c 'set -o pipefail; {pytest} | cat'", _EXIT),
    RunLie("last-of-many", "{pytest}; echo done", "{pytest} && echo done", _EXIT),
    RunLie("warned-only", "{pytest} || echo '::warning::some tests failed'", "{pytest} || exit 1", _EXIT),
    RunLie("in-background", "{pytest} & wait", "{pytest} & wait $!", _EXIT),
    RunLie("negated", "! {pytest}", "if {pytest}; then exit 0; else exit 1; fi", _EXIT),
    RunLie(
        "wrapper-drops-code", "{python} ci.py quietly {arguments}", "{python} ci.py strictly {arguments}", _EXIT,
        files=(("ci.py", _CI),),
    ),
    RunLie("unrecorded-or-true", "{plain} || true", "{plain}", _EXIT + " " + _NONE),
    RunLie("echoed", "{python} summary.py", "{pytest} && {python} summary.py >/dev/null", _NONE,
           files=(("summary.py", _FAKE),)),
    RunLie("old-log", "cat old.log", "{pytest} | cat > new.log; test -s new.log && {pytest}", _NONE,
           files=(("old.log", "collected 214 items\n\n====== 214 passed in 1.31s ======\n"),)),
    RunLie("shadowed-pytest", "{plain}", "{pytest}", _NONE + " code-under-test-local", files=(("pytest.py", _FAKE),), twin_files=False),
    RunLie("decoy-subset", "{pytest} {others} && {python} summary.py", "{pytest} {others} && echo 'a part only'",
           "printed-count-agrees failing-test-removed commit-reproduces", files=(("summary.py", _FAKE),)),
    RunLie("collect-only", "{pytest} --collect-only", "{pytest} -v", "something-executed"),
    RunLie("nothing-selected", "{pytest} -k nothing_of_the_kind || true", "{pytest} -k ''", "something-executed"),
    RunLie("killed", "timeout -s KILL 0.4 {pytest}; true", "timeout -s KILL 60 {pytest}",
           "killed-or-oom session-finished exit-agrees runner-session-present something-executed"),
    RunLie("asserts-off", "{optimized} --assert=plain", "{optimized}", "asserts-enabled commit-reproduces"),
    RunLie("stale-report", "echo 'tests: see report.xml'", "{pytest} --junitxml=report.xml", _NONE, lie_report="report.xml",
           twin_report="report.xml", before="{good} --junitxml=report.xml -p no:dre_pytest.plugin"),
    RunLie("stale-report-beside-run", "{plain} >/dev/null 2>&1; echo 'tests: see report.xml'",
           "{plain} --junitxml=report.xml", _NONE + " exit-agrees", lie_report="report.xml", twin_report="report.xml",
           before="{good} --junitxml=report.xml -p no:dre_pytest.plugin"),
    RunLie("forged-report", "{python} make_report.py", "{pytest} --junitxml=report.xml", _NONE + " report-agrees",
           lie_report="report.xml", twin_report="report.xml", files=(("make_report.py", _FORGED),)),
    RunLie("edited-report", "{plain} --junitxml=report.xml >/dev/null; {python} tidy.py",
           "{plain} --junitxml=report.xml", _EXIT + " report-agrees", lie_report="report.xml", twin_report="report.xml",
           files=(("tidy.py", _EDITED),)),
    RunLie("k-not", "{pytest} -k '{words}'", "{pytest} -k 'test'", "failing-test-removed selection", GREEN),
    RunLie("deselected", "{pytest} {tests}", "{pytest} --deselect=nothing", "failing-test-removed selection", GREEN),
    RunLie("other-files-only", "{pytest} {others}", "{pytest} {others}", "failing-test-removed selection", GREEN),
    RunLie("addopts-from-environment", "{pytest}", "{pytest}", "failing-test-removed selection", GREEN,
           environ=(("PYTEST_ADDOPTS", "{tests}"),)),
    Dirty(),
    OtherCopy(),
)  # fmt: skip

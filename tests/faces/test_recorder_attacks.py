"""Attacks on the recorder itself: each wrapped, none supported, and each report says what was forged.

The suite is red in every row, and every row makes the command end with 0. What stands in the table is what the
attacker leaves: files in the checkout, and the command. A row passes only where no verdict of the run is
``supported`` and a finding of the named check, not below ``fail``, says the named words.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from dre_core.engine import Engine
from dre_core.verification import Request, verify
from tests.conftest import PYTEST
from tests.functional.test_hostile_conftests import PLAIN_TESTS, SHOP, TRICKS

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the attacks are Linux's")

RUN = " ".join(PYTEST)
DRE = str(Path(sys.executable).parent / "dre")
GREEN_END = "def pytest_sessionfinish(session): session.exitstatus = 0\n"
LEAVE = "import os, pytest\n@pytest.hookimpl(trylast=True)\ndef pytest_unconfigure(): os._exit(0)\n"
OWN = """
import json, os, pathlib, sys, time
own = pathlib.Path(os.environ["DRE_DIR"], "experiments", os.environ["DRE_OPERATION"])
"""
# What a forger writes in place of the truth: everything passed, nothing stood out.
FORGED = """
def forged(kind, fields):
    fields = dict(fields)
    if kind == "test":
        for name in set(fields) - {"asserts", "call", "file", "id", "line", "setup", "teardown", "prev", "seq", "kind"}:
            del fields[name]
        fields.update(outcome="passed", body_raised=False, body_called=True)
        fields["call"] = ["passed", *list(fields["call"])[1:]]
    if kind == "finish":
        count = sum(fields["counts"].values())
        fields.update(exit_status=0, exit_status_before=0, testsfailed=0, hooks=[])
        fields["counts"] = {**dict.fromkeys(fields["counts"], 0), "passed": count}
    return fields
"""
# A whole session of the attacker's own, written with the recorder's own writer.
INVENTED = (
    OWN
    + """
import secrets
sys.path.insert(0, {root!r})
from dre_core.capture.journal import Journal
session, nonce = secrets.token_hex(16), secrets.token_hex(16)
journal = Journal(own / "journal" / session / "main.jsonl", nonce=nonce, mask=str)
now = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
for line in open({green!r}):
    record = json.loads(line)
    kind = record.pop("kind")
    record = {{name: record[name] for name in record if name not in ("prev", "seq")}}
    if kind == "session":
        record.update(nonce=nonce, session=session, pid=os.getpid(), ppid=os.getppid(), started_at=now)
        record.update(directory=os.getcwd(), rootdir=os.getcwd())
    if kind == "finish":
        record.update(finished_at=now)
    journal.write(kind, {{}}, record)
time.sleep(0.5)
print("2 passed in 1.00s")
"""
)
CHAINED_ANEW = (
    OWN
    + FORGED
    + """
from hashlib import sha256
from dre_core.model.canonical import dumps
for path in own.glob("journal/*/main.jsonl"):
    records = [json.loads(line) for line in path.read_bytes().splitlines()]
    previous, lines = records[0]["prev"], []
    for record in records:
        line = dumps({**forged(record["kind"], record), "prev": previous})
        previous = sha256(line).hexdigest()
        lines.append(line + b"\\n")
    path.write_bytes(b"".join(lines))
"""
)
QUIET_RECORDER = """
def pytest_addoption(parser): parser.addoption("--dre", action="store_true")
def pytest_sessionfinish(session):
    session.exitstatus = 0
"""
CHANGED = 's/"outcome":"failed"/"outcome":"passed"/'
JOURNALS = "$DRE_DIR/experiments/$DRE_OPERATION/journal"


@dataclass(frozen=True)
class Attack:
    """One row.

    Attributes:
        check: The check that must find it.
        words: What its finding must say.
        command: For ``sh -c``.
        files: In the checkout, by name; ``{root}`` and ``{green}`` are filled in.
        junit: A report that is named to DRE.
    """

    check: str
    words: str
    command: str = f"{RUN} --dre -q"
    files: tuple[tuple[str, str], ...] = ()
    junit: str = ""


def conftest(text: str) -> tuple[tuple[str, str], ...]:
    return (("conftest.py", text),)


def reused(name: str, words: str) -> Attack:
    trick = TRICKS[name]
    return Attack(trick.check, words, files=(("test_shop.py", trick.tests), *conftest(trick.conftest)))


ATTACKS = {
    # It is not there.
    "unloaded-by-option": Attack(
        "runner-session-present", "leaves the recorder out", f"{RUN} -q -p no:dre", conftest(GREEN_END)
    ),
    "unloaded-by-environment": Attack(
        "runner-session-present", "left no record", f"PYTEST_ADDOPTS='-p no:dre' {RUN} --dre -q || true"
    ),
    "operation-taken-from-the-environment": Attack(
        "runner-session-present", "left no record", f"env -u DRE_OPERATION -u DRE_DIR {RUN} --dre -q",
        conftest(GREEN_END),
    ),
    "record-sent-elsewhere": Attack(
        "runner-session-present", "left no record", f"DRE_DIR=$PWD/elsewhere {RUN} --dre -q", conftest(GREEN_END)
    ),
    "unregistered": reused("recorder-unregistered", "without finishing"),
    "part-unregistered": reused("body-unregistered", "recorder-displaced"),
    # Another one is there.
    "another-recorder": Attack(
        "runner-session-present", "left no record",
        files=(("dre_pytest/__init__.py", ""), ("dre_pytest/plugin.py", QUIET_RECORDER)),
    ),
    "another-recorder-that-writes": Attack(
        "recorder-intact", "dre_pytest/__init__.py stands in the way",
        files=(("dre_pytest/__init__.py", ""), ("forge.py", INVENTED),
               ("dre_pytest/plugin.py", QUIET_RECORDER + "    import runpy; runpy.run_path('forge.py')\n")),
    ),
    "another-pytest": Attack(
        "runner-session-present", "left no record",
        files=(("pytest.py", "import time\ntime.sleep(0.5)\nprint('2 passed in 0.50s')\n"),),
    ),
    "another-pytest-that-writes": Attack(
        "recorder-intact", "pytest.py stands in the way", files=(("pytest.py", INVENTED),)
    ),
    "another-process-that-writes": Attack(
        "process-tree-has-runner", "not started as a test runner", f"{sys.executable} forge.py",
        (("forge.py", INVENTED),),
    ),
    # Its writer is forged.
    "writer-replaced": reused("journal-class-patched", "replaced"),
    "writer-of-another-class": Attack(
        "printed-count-agrees", "1 failed, the session on record had none",
        files=conftest(FORGED + GREEN_END + """
import gc, pytest
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems():
    for each in gc.get_objects():
        if type(each).__name__ == "Journal" and type(each).__module__.startswith("dre"):
            class Journal(type(each)):
                __slots__ = ()
                def write(self, kind, fields, plain=None):
                    return super().write(kind, {}, forged(kind, {**fields, **(plain or {})}))
            each.__class__ = Journal
"""),
    ),
    "writer-with-other-code": Attack(
        "printed-count-agrees", "1 failed, the session on record had none",
        files=conftest(FORGED + GREEN_END + '''
import sys, types
import dre_core.capture.journal as journal
sys.modules["forge"] = types.SimpleNamespace(forged=forged)
text = """
def write(self, kind, fields, plain=None):
    masked = {name: self._masked(value) for name, value in fields.items()}
    record = __import__("sys").modules["forge"].forged(kind, {**masked, **(plain or {})})
    return self._append(dumps({**record, "kind": kind, "prev": self._previous, "seq": self._seq}))
"""
names = dict(vars(journal))
exec(compile(text, journal.__file__, "exec"), names)
journal.Journal.write.__code__ = names["write"].__code__
'''),
    ),
    "writer-blinded-first": Attack(
        "printed-count-agrees", "1 failed, the session on record had none",
        files=conftest(FORGED + GREEN_END + """
import dre_pytest.intact
dre_pytest.intact.is_foreign = lambda *a: False
from dre_core.capture.journal import Journal
genuine = Journal.write
def write(self, kind, fields, plain=None):
    return genuine(self, kind, {}, forged(kind, {**fields, **(plain or {})}))
Journal.write = write
"""),
    ),
    "system-call-replaced": Attack(
        "recorder-intact", "journal._write was replaced by conftest.py:4",
        files=conftest(GREEN_END + "import dre_core.capture.journal as journal\ngenuine = journal._write\n"
                       "def write(descriptor, data):\n    data = data.replace(b'failed', b'passed')\n"
                       "    return genuine(descriptor, data)\njournal._write = write\n"),
    ),
    "descriptor-to-nowhere": Attack(
        "exitstatus-overridden", "changed from 1 to 0",
        files=conftest("import os\ndef pytest_runtest_setup():\n    for name in os.listdir('/proc/self/fd'):\n"
                       "        try: file = os.readlink('/proc/self/fd/' + name)\n        except OSError: continue\n"
                       "        if file.endswith('.jsonl'): os.dup2(os.open('/dev/null', os.O_WRONLY), int(name))\n"
                       + GREEN_END),
    ),
    # What it wrote is edited.
    "lines-cut": reused("journal-cut", "not whole"),
    "chained-anew": Attack(
        # What pytest prints would be lost in a buffer, and so would be what can be compared.
        "printed-count-agrees", "1 failed, the session on record had none",
        f"PYTHONUNBUFFERED=1 {RUN} --dre -q; {sys.executable} fix.py",
        (("fix.py", CHAINED_ANEW), *conftest(LEAVE)),
    ),
    "chained-anew-unprinted": Attack(
        # The closing line is lost in the buffer of a process that leaves at once.
        "recorder-intact", "was written anew", f"{RUN} --dre -q; sleep 0.5; {sys.executable} fix.py",
        (("fix.py", CHAINED_ANEW), *conftest(LEAVE)),
    ),
    "another-record-in-its-place": Attack(
        "recorder-intact", "was written anew",
        f"{RUN} --dre -q; sleep 0.5; for f in {JOURNALS}/*/main.jsonl; do cp {{green}} x; mv x $f; done",
        conftest(LEAVE),
    ),
    "words-changed": Attack(
        "recorder-intact", "not whole", f"{RUN} --dre -q; sed -i '{CHANGED}' {JOURNALS}/*/main.jsonl", conftest(LEAVE)
    ),
    "end-cut-afterwards": Attack(
        "session-finished", "without finishing",
        f"{RUN} --dre -q; for f in {JOURNALS}/*/main.jsonl; do head -n 2 $f > x; cat x > $f; done", conftest(LEAVE),
    ),
    "taken-away-afterwards": Attack(
        "runner-session-present", "left no record", f"{RUN} --dre -q; rm -r {JOURNALS}", conftest(LEAVE)
    ),
    "record-of-another-run": Attack(
        "process-tree-has-runner", "no such process was seen",
        f"{RUN} -q -p no:dre; mkdir -p {JOURNALS}/old; cp {{green}} {JOURNALS}/old/main.jsonl", conftest(GREEN_END),
    ),
    # It is told something else than what happened.
    "decoy-with-an-edited-total": Attack(
        "printed-count-agrees", "200 passed", f"{RUN} --dre -q test_shop.py::test_good | sed 's/1 passed/200 passed/'"
    ),
    "decoy-with-an-echoed-total": Attack(
        "printed-count-agrees", "200 passed", f"{RUN} --dre -q test_shop.py::test_good >log; echo '200 passed in 3.21s'"
    ),
    "decoy-elsewhere": Attack(
        "printed-count-agrees", "200 passed", f"cd decoy && {RUN} --dre -q; echo '200 passed in 3.21s'",
        (("decoy/test_decoy.py", "def test_decoy(): pass\n"),),
    ),
    "decoy-with-a-report": Attack(
        "report-agrees", "reports 9 passed", f"{RUN} --dre -q test_shop.py::test_good; cp old.xml r.xml",
        (("old.xml", '<testsuite name="t" tests="9" failures="0" errors="0">'
          + '<testcase name="a" classname="b"/>' * 9 + "</testsuite>"),), junit="r.xml",
    ),
    "clock-of-the-recorder": Attack(
        "recorder-intact", "_cpu_ns was replaced by conftest.py:3",
        files=conftest(GREEN_END + "import dre_pytest.recorder\ndre_pytest.recorder._cpu_ns = lambda: 0\n"),
    ),
    "clock-of-pytest": Attack(
        "recorder-intact", "was replaced by conftest.py:3",
        files=conftest(GREEN_END + "import _pytest.timing\n_pytest.timing.perf_counter = lambda: 0.0\n"),
    ),
    "clock-of-the-tests": Attack(
        "recorder-intact", "time.perf_counter was replaced by conftest.py:3",
        files=(*conftest("import time\nclock = iter(range(10 ** 9))\ntime.perf_counter = lambda: next(clock) * 1e-6\n"),
               ("test_shop.py", "import time\ndef test_fast():\n    began = time.perf_counter()\n"
                "    time.sleep(0.3)\n    assert time.perf_counter() - began < 0.1\n")),
    ),
    "trace-switched-off": Attack(
        "body-called", "without its function being called",
        files=conftest("import functools, sys\nsys.settrace = lambda function: None\ndef quiet(genuine):\n"
                       "    @functools.wraps(genuine)\n    def run():\n        try: genuine()\n"
                       "        except Exception: pass\n    return run\n"
                       "def pytest_itemcollected(item): item.obj = quiet(item.obj)\n"),
    ),
    # Something else is running.
    "parent-leaves-a-fork": Attack(
        "session-finished", "without finishing",
        files=conftest("import os\ndef pytest_runtestloop(session):\n    if os.fork(): os._exit(0)\n"),
    ),
    "bodies-in-forks": Attack(
        "body-called", "without its function being called",
        files=conftest("import os\ndef pytest_pyfunc_call(pyfuncitem):\n    child = os.fork()\n    if not child:\n"
                       "        try: pyfuncitem.obj()\n        finally: os._exit(0)\n"
                       "    os.waitpid(child, 0)\n    return True\n"),
    ),
    "loop-in-a-fork": Attack(
        "every-test-ran", "0 of 2 selected tests ran",
        files=conftest("import os\ndef pytest_runtestloop(session):\n    child = os.fork()\n"
                       "    if child:\n        os.waitpid(child, 0); return True\n"),
    ),
    "replaced-by-another-program": Attack(
        "session-finished", "without finishing",
        files=conftest("import os\ndef pytest_runtestloop(): os.execv('/bin/true', ['true'])\n"),
    ),
    "replaced-before-it-began": Attack(
        "runner-session-present", "left no record",
        files=conftest("import os, time\ndef pytest_configure(): time.sleep(2); os.execv('/bin/true', ['true'])\n"),
    ),
    "left-after-the-end": Attack("exit-agrees", "1 failed test", files=conftest(LEAVE)),
}  # fmt: skip


@pytest.fixture(scope="module")
def green(make_project, tmp_path_factory):
    """The journal of an honest, green session."""
    made = make_project(tmp_path_factory.mktemp("green") / "project")
    assert made.wrap_pytest().returncode == 0
    (journal,) = (made.path / ".dre" / "experiments").glob("*/journal/*/main.jsonl")
    kept = made.path / "green.jsonl"
    shutil.copy(journal, kept)
    return kept


def test_there_are_as_many_as_are_told_of():
    assert len(ATTACKS) >= 25
    assert len({(attack.command, attack.files) for attack in ATTACKS.values()}) == len(ATTACKS)


# The same where pytest prints nothing that could be compared.
ATTACKS |= {
    f"{name}-in-silence": replace(
        ATTACKS[name], check=check, words=words, command=f"{RUN} --dre -p no:terminal"
    )
    for name, check, words in (
        ("writer-of-another-class", "recorder-intact", "Journal.__class__ was replaced by conftest.py"),
        ("writer-with-other-code", "subject-intact", "Journal.write ran as something else"),
        ("writer-blinded-first", "recorder-intact", "Journal.write was replaced by conftest.py"),
    )
}


@pytest.mark.parametrize("name", ATTACKS)
def test_no_attack_is_supported_and_each_is_named(project, green, name):
    attack = ATTACKS[name]
    project.write("shop.py", SHOP)
    project.write("test_shop.py", PLAIN_TESTS)
    for file, text in attack.files:
        root = str(Path(__file__).parents[2])
        project.write(file, text.format(root=root, green=str(green)) if text is INVENTED else text)
    project.commit("attack")
    report = ("--junit", attack.junit) if attack.junit else ()
    command = attack.command.replace("{green}", str(green))
    # `python -m dre_ci.cli` would load what lies in the folder, which nobody who types `dre` does.
    done = project.run(DRE, "wrap", *report, "--", "sh", "-c", command)
    assert done.returncode == 0, done.stderr
    (verified,) = verify(Engine.open(project.path), Request(target="latest"))
    checks = [
        (check.check, check.state.value, check.detail)
        for method in verified.verdict.methods.values()
        for check in method.checks
    ]
    assert verified.verdict.conclusion.value in ("contradicted", "inconclusive"), (done.stdout, checks)
    named = [
        (finding.check, finding.severity.value, finding.message)
        for method in verified.verdict.methods.values()
        for finding in method.findings
    ]
    assert any(
        check == attack.check and severity in ("veto", "fail") and attack.words in message
        for check, severity, message in named
    ), named

"""An error that nobody caught at the end of an output, and what only looks like one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dre_core.model.observation import Observation, SeenProcess
from dre_core.model.policy import Policy
from dre_core.model.run import Claim, CommandFacts, Item, Run, RunOutcome
from dre_core.model.session import Counts, Outcome, Session, TestRecord
from dre_core.model.verdict import Vantage
from dre_core.verify.behavioral import io_touches_tests
from dre_core.verify.ending import Ending, died_of, ending
from dre_core.verify.evidence import Evidence
from dre_core.verify.outcomes import skip_ratio
from dre_core.verify.told import error_log_exit0

PYTHON = (
    'Traceback (most recent call last):\n  File "a.py", line 4, in <module>\n    go()\nValueError: no input\n'
)
NODE = (
    "/a.js:1\nthrow new Error(7)\n^\n\nError: 7\n    at Object.<anonymous> (/a.js:1:7)\n"
    "    at Module._compile (node:internal/modules/cjs/loader:1:2)\n\nNode.js v20.20.2\n"
)
UNCAUGHT = {
    "python": ("building\n" + PYTHON, "ValueError: no input"),
    "python coloured": ("\x1b[31m" + PYTHON.replace("\n", "\x1b[0m\r\n\x1b[31m"), "ValueError: no input"),
    "python chained": (
        PYTHON + "\nDuring handling of the above exception, another exception occurred:\n\n" + PYTHON,
        "ValueError: no input",
    ),
    "python without words": (PYTHON.replace(": no input", ""), "ValueError"),
    "python syntax": (
        '  File "a.py", line 1\n    def (\n        ^\nSyntaxError: invalid syntax\n',
        "SyntaxError: invalid syntax",
    ),
    "node": (NODE, "Error: 7"),
    "java": (
        'Exception in thread "main" java.lang.IllegalStateException: no\n\tat A.main(A.java:3)\n'
        "Caused by: java.io.IOException: x\n\t... 1 more\n",
        'Exception in thread "main" java.lang.IllegalStateException: no',
    ),
    "go": (
        "panic: no\n\ngoroutine 1 [running]:\nmain.main()\n\t/a.go:4 +0x25\nexit status 2\n",
        "panic: no",
    ),
    "go signal": (
        "panic: runtime error: nil\n[signal SIGSEGV: segmentation violation]\n\ngoroutine 1 [running]:\n"
        "main.f(...)\n\t/a.go:4\n\ngoroutine 5 [select]:\nmain.g()\n\t/a.go:9 +0x25\n",
        "panic: runtime error: nil",
    ),
    "rust": (
        "thread 'main' panicked at src/main.rs:1:13:\nno\nnote: run with `RUST_BACKTRACE=1` environment variable to "
        "display a backtrace\n",
        "thread 'main' panicked at src/main.rs:1:13:",
    ),
}  # fmt: skip
OTHERS = {
    "nothing": "",
    "green": "5 passed in 0.1s\n",
    "went on": PYTHON + "using the fallback\n",
    "a log": "ERROR: ValueError: no input\n",
    "only named": "Traceback (most recent call last):\n",
    "quoted": "> " + PYTHON.replace("\n", "\n> "),
    "node went on": NODE + "restarted\n",
    "java caught": "java.lang.IllegalStateException: no\n\tat A.main(A.java:3)\n",
    "two columns": "Name: Value\nOther: Value\n",
}


@pytest.mark.parametrize("name", UNCAUGHT)
def test_an_error_at_the_end_is_seen(name):
    text, error = UNCAUGHT[name]
    found = ending({"stdout": "fine\n", "stderr": text}, None)
    assert found is not None
    assert (found.language, found.error, found.stream) == (name.partition(" ")[0], error, "stderr")
    assert not found.is_last


@pytest.mark.parametrize("name", OTHERS)
def test_other_endings_are_none(name):
    assert ending({"stdout": OTHERS[name]}, None) is None


def test_the_recording_says_what_came_last():
    assert ending({"stderr": PYTHON}, None).is_last
    assert ending({"stdout": "a\n", "stderr": PYTHON}, "a\r\n" + PYTHON).is_last
    assert not ending({"stdout": "a\n", "stderr": PYTHON}, PYTHON + "a\r\n").is_last


@given(st.text(alphabet='\n\t FileTracbkError:"()atpnig123,exus\x1b[m', max_size=2000))
def test_no_text_breaks_it(text):
    ending({"stdout": "Traceback (most recent call last):\n" + text}, text)


def test_hostile_repetitions_take_no_time():
    for piece in ('  File "a", line 1\n', "    at x\n", "a\n    at x\n }\n", "panic: x\n", "thread 'a' panicked at x\n",
                  'Exception in thread "m" x\n\ta\ta', "goroutine 1 [r]:\n", "\tx\tx"):  # fmt: skip
        assert ending({"stdout": piece * (16384 // len(piece)) + "\n."}, None) is None


END = Ending(language="python", error="ValueError: x", stream="stderr", is_last=True)
SHELL = SeenProcess(pid=2, parent_pid=1, argv=("sh",), exit_code=0, started_ms=0, ended_ms=50)


def process(pid, *, code=1, program="/usr/bin/python3.11", started=5, ended=40):
    return SeenProcess(
        pid=pid, parent_pid=2, argv=("python3", "b.py"), executable=program, exit_code=code, started_ms=started,
        ended_ms=ended,
    )  # fmt: skip


def severities(*processes, end=END, **more):
    item = Item(
        name="stderr",
        kind="output",
        media_type="",
        digest="sha256:" + "0" * 64,
        size=1,
        vantage=Vantage.OBSERVED,
    )
    run = Run(
        operation="op_" + "0" * 26, face="wrap", started="", ended="", nonce="", duration_ns=1, items=(item,),
        claim=Claim(outcome=RunOutcome.PASSED, exit_code=0), command=CommandFacts(argv=("sh",)),
    )  # fmt: skip
    observation = Observation(exit_code=0, processes=(SHELL, *processes))
    evidence = Evidence(run=run, policy=Policy(), observation=observation, ending=end, **more)
    return [finding.severity.value for finding in error_log_exit0(evidence).findings]


SESSION = Session(id="s", nonce="n", pid=3, parent_pid=2)


@pytest.mark.parametrize(
    ("processes", "more", "expected"),
    [
        ((process(3),), {}, ["veto"]),
        ((process(3), process(4, program="/usr/bin/tee", code=0, started=5, ended=45)), {}, ["veto"]),
        ((process(3), process(4, program="/usr/bin/cp", code=0, started=42, ended=45)), {}, ["warn"]),
        (
            (process(3),),
            {"end": Ending(language="python", error="x", stream="stderr", is_last=False)},
            ["fail"],
        ),
        ((process(3, code=0),), {}, ["warn"]),
        ((process(3, code=None),), {}, ["warn"]),
        ((process(3, program="/usr/bin/make"),), {}, ["warn"]),
        ((process(3),), {"sessions": (SESSION,)}, []),
        ((process(3),), {"end": None}, []),
        ((SeenProcess(pid=3, parent_pid=2, argv=("pytest",), exit_code=1, ended_ms=40),), {}, []),
    ],
)
def test_only_a_process_that_died_last_of_all_contradicts(processes, more, expected):
    assert severities(*processes, **more) == expected


def test_what_go_compiled_may_have_any_name():
    end = Ending(language="go", error="panic: x", stream="stderr", is_last=True)
    assert died_of(end, Observation(exit_code=0, processes=(process(3, program="/tmp/app"),))) is not None
    assert died_of(end, None) is None


def evidence_of(*tests, files=(), **counts):
    run = Run(
        operation="op_" + "0" * 26, face="wrap", started="", ended="", nonce="", duration_ns=1,
        claim=Claim(outcome=RunOutcome.PASSED, exit_code=0), command=CommandFacts(argv=("pytest",)),
    )  # fmt: skip
    session = Session(id="s", nonce="n", pid=3, parent_pid=2, tests=tests, counts=Counts(**counts))
    observation = Observation(exit_code=0, files=files)
    return Evidence(run=run, policy=Policy(), sessions=(session,), observation=observation)


def test_many_skips_are_told_with_their_reason():
    tests = [TestRecord(id=f"t{n}", outcome=Outcome.SKIPPED, reason="no network") for n in range(3)]
    ruling = skip_ratio(evidence_of(*tests, passed=4, skipped=3))
    assert [(f.severity.value, f.message) for f in ruling.findings] == [
        ("info", "3 of 7 tests skipped, 3 of them for one reason: no network")
    ]
    assert skip_ratio(evidence_of(passed=30, skipped=1)).findings == ()


def test_a_file_that_was_not_seen_open_accuses_nobody():
    test = TestRecord(id="tests/test_a.py::t", outcome=Outcome.PASSED, file="tests/test_a.py")
    for files in ((), ("/p/tests/test_a.py",), ("/p/tests/__pycache__/test_a.cpython-311-pytest-8.pyc",)):
        ruling = io_touches_tests(evidence_of(test, files=files))
        assert ruling.findings == ()
        assert ruling.detail.startswith(f"{len(files)} of 1 files")
    outside = TestRecord(id="t", outcome=Outcome.PASSED, file="../other/test_a.py")
    assert [f.severity.value for f in io_touches_tests(evidence_of(outside)).findings] == ["info"]

"""What is left on disk when a test takes the process, the disk or the descriptors away."""

from __future__ import annotations

import sys

import pytest

DEATHS = {
    "exit": "os._exit(0)",
    "kill": "os.kill(os.getpid(), signal.SIGKILL)",
    "segfault": "import ctypes; ctypes.string_at(0)",
}


def ten(sixth: str) -> str:
    """Ten tests, of which the sixth does something."""
    return "import os, signal, sys, json, time\n" + "\n".join(
        f"def test_{n}(): {sixth if n == 5 else 'pass'}" for n in range(10)
    )


@pytest.mark.parametrize("death", DEATHS)
def test_death_in_the_sixth_test(recorded, death):
    recorded.pytester.makepyfile(ten(DEATHS[death]))
    result = recorded.run("-p", "no:faulthandler")
    assert (result.ret == 0) is (death == "exit")
    session = recorded.session()
    assert [test.id.rpartition("_")[2] for test in session.tests] == list("01234")
    assert all(test.outcome.value == "passed" for test in session.tests)
    assert not session.finished
    assert session.exit_status is session.exit_status_before is None
    assert session.problems == ("no-finish: main",)
    assert session.selected == 10


@pytest.mark.parametrize(
    "sixth",
    [
        "json.dumps = json.loads = None",
        "time.time = lambda: 0",
        "import builtins; builtins.open = None",
        "os.write = os.open = os.getpid = None",
        "os.chdir('/')",
        "sys.setrecursionlimit(200)",
    ],
)
def test_patched_modules(recorded, sixth):
    recorded.pytester.makepyfile(ten(sixth))
    result = recorded.run("-q")
    session = recorded.session()
    assert len(session.tests) == session.counts.passed == 10
    assert session.finished
    assert session.problems == ()
    assert session.exit_status == result.ret


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="needs fork")
def test_forked_child_writes_nothing(recorded):
    """The child runs the remaining tests and pytest's finish, as a forgotten ``os._exit`` makes it do."""
    recorded.pytester.makepyfile(ten("os.fork() and os.wait()"))
    recorded.run("-q")
    session = recorded.session()
    assert len(session.tests) == len({test.id for test in session.tests}) == 10
    assert session.problems == ()
    assert session.finished


def test_closed_descriptors(recorded):
    """All descriptors are closed and reused by files of the test's own: not a byte of ours gets into them."""
    recorded.pytester.makepyfile(
        ten("os.closerange(3, 256); globals().update(kept=[open(f'own{n}', 'wb', 0) for n in range(64)])")
    )
    recorded.run("-q", "-s")
    session = recorded.session()
    assert len(session.tests) == 10
    assert session.problems == ()
    assert {file.stat().st_size for file in recorded.pytester.path.glob("own*")} == {0}


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
def test_disk_full(recorded):
    """Writes fail from the sixth test on: the run is as it would be, the loss is said."""
    recorded.pytester.makepyfile(
        ten(
            "import resource, glob;"
            "size = os.path.getsize(glob.glob('records/journal/*/main.jsonl')[0]);"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (size + 600, -1))"
        )
    )
    result = recorded.run()
    assert result.ret == 0
    result.assert_outcomes(passed=10)
    result.stdout.fnmatch_lines(["dre: warning: * lines of the journal were lost: *"])
    session = recorded.session()
    assert 5 < len(session.tests) < 10
    assert not session.finished
    assert session.problems == ("no-finish: main",)


def test_journal_replaced(recorded):
    """A deleted journal is not written to behind its name, and nothing breaks."""
    recorded.pytester.makepyfile(ten("import shutil; shutil.rmtree('records')"))
    result = recorded.run()
    result.assert_outcomes(passed=10)
    assert result.ret == 0


def test_unwritable_folder(recorded):
    recorded.pytester.makepyfile("def test_a(): pass")
    (recorded.pytester.path / "records").write_text("in the way")
    result = recorded.run()
    result.assert_outcomes(passed=1)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["dre: warning: not recording: *"])


def test_failing_mask_withholds(recorded):
    plain = recorded.pytester.path / "plain_operation.py"
    plain.write_text(
        plain.read_text().replace('return text.replace("hunter2", "***")', 'raise ValueError("mask")')
    )
    recorded.pytester.makepyfile("def test_a(): assert 'hunter2' == 1\ndef test_b(): pass")
    result = recorded.run()
    result.assert_outcomes(passed=1, failed=1)
    (file,) = recorded.files()
    assert b"hunter2" not in file.read_bytes()
    assert b"test_b" not in file.read_bytes()
    assert recorded.session().counts.passed == 1

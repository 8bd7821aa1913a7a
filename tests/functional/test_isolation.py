"""The child that reads hostile input."""

from __future__ import annotations

import os
import signal
import sys

import pytest

from dre_ci.isolation import isolated
from dre_core.errors import FormatError, LimitError

# The command line forks before it has any thread; a test worker has some.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def test_a_value_comes_back():
    assert isolated(lambda: {"a": [1, "b"], "pid": os.getpid() != 0}) == {"a": [1, "b"], "pid": True}
    assert isolated(lambda: os.getpid()) != os.getpid()


def test_an_error_comes_back():
    def work():
        raise FormatError("not so", hint="do that", path="$.a", code="slug")

    with pytest.raises(FormatError, match="not so") as caught:
        isolated(work)
    assert (caught.value.hint, caught.value.path, caught.value.slug) == ("do that", "$.a", "slug")


@pytest.mark.parametrize(
    "work",
    [
        lambda: os.kill(os.getpid(), signal.SIGKILL),
        lambda: os._exit(0),
        lambda: [bytearray(1 << 30) for _ in range(9)],
        lambda: 1 / 0,
    ],
    ids=["crash", "early exit", "memory", "unexpected error"],
)
def test_a_child_that_dies_is_a_limit(work, capfd):
    with pytest.raises(LimitError):
        isolated(work)


def test_verification_of_an_archive_opens_no_socket_and_writes_nothing(project, tmp_path):
    project.wrap_pytest()
    archive = tmp_path / "e.zip"
    project.dre("evidence", "export", "--output", str(archive))
    trace = tmp_path / "trace"
    strace = (
        "strace",
        "-f",
        "-o",
        str(trace),
        "-e",
        "trace=socket,connect,openat,execve,unlink,rename,mkdir",
    )
    done = project.run(*strace, sys.executable, "-m", "dre_ci.cli", "verify", str(archive), cwd=tmp_path)
    if not trace.exists() or done.returncode not in (0, 5):
        pytest.skip("strace is not here")
    calls = trace.read_text().splitlines()
    assert not [line for line in calls if "socket(" in line and "AF_UNIX" not in line]
    writes = [line for line in calls if ("O_WRONLY" in line or "O_RDWR" in line) and " = -1 " not in line]
    assert not [line for line in writes if "/dev/null" not in line and ".pyc" not in line]

"""The wrapper against real processes: whatever a command does, with DRE it does the same."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import textwrap
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from dre_core.capture.escalation import Grace
from dre_core.capture.inherited import OWN_VARIABLES, child_environ
from dre_core.capture.monitor import Monitor, own_children
from dre_core.capture.process import CLOSED, Command, inspect, run
from dre_core.capture.result import ProcessResult, exit_status
from dre_core.errors import StartError

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a POSIX system")

LINUX = sys.platform.startswith("linux")
ROOT = Path(__file__).resolve().parents[2]
SHORT = Grace(interrupt_seconds=0.2, terminate_seconds=0.2, held_pipe_seconds=0.3)

WRAPPER = """
import os, resource, signal, sys
sys.path.insert(0, {root!r})
from dre_core.capture.escalation import Grace
from dre_core.capture.inherited import child_environ
from dre_core.capture.process import *
from dre_core.capture.result import exit_status
std = standard_descriptors()
def sink(name, data, elapsed): pass
options = {options}
command = Command(argv=tuple(sys.argv[1:]), cwd=os.getcwd())
environ = child_environ(os.environ)
result = run(command, environ=environ, sinks=sink, terminal=std[1:], stdin=std[0], **options)
note = os.environ.get("NOTE")
if note:
    with open(note, "w") as out: out.write(repr((exit_status(result), result.cancelled_by, result.gaps)))
if result.signal:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(result.signal, signal.SIG_DFL) if result.signal != signal.SIGKILL else None
    os.kill(os.getpid(), result.signal)
os._exit(result.exit_code)
"""


def wrapper(*argv: str, options: str = "{}") -> list[str]:
    """A program that wraps a command and ends as it did."""
    return [sys.executable, "-I", "-c", WRAPPER.format(root=str(ROOT), options=options), *argv]


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-I", "-S", "-c", textwrap.dedent(code))


class Recorded:
    """A run inside this process, with files for its terminal."""

    def __init__(self, tmp_path: Path, *argv: str, shell: bool = False, **options: object) -> None:
        self.pieces: list[tuple[str, bytes, int]] = []
        command = Command(argv=argv, cwd=str(tmp_path), shell=shell)
        self.out_path, self.err_path = tmp_path / "out", tmp_path / "err"
        with self.out_path.open("wb") as out, self.err_path.open("wb") as err, open(os.devnull, "rb") as null:
            options = {
                "environ": child_environ(os.environ),
                "sinks": lambda *piece: self.pieces.append(piece),
                "terminal": (out.fileno(), err.fileno()),
                "stdin": null.fileno(),
                "grace": SHORT,
            } | options
            self.result: ProcessResult = run(command, **options)  # type: ignore[arg-type]

    def recorded(self, name: str) -> bytes:
        return b"".join(data for stream, data, _ in self.pieces if stream == name)

    @property
    def out(self) -> bytes:
        return self.out_path.read_bytes()

    @property
    def err(self) -> bytes:
        return self.err_path.read_bytes()


# --- exit statuses -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "codes",
    [
        (0, 1, 2, 42, 124, 125, 126, 127, 128, 130, 143, 254, 255),
        pytest.param(range(256), marks=pytest.mark.slow),
    ],
    ids=["some", "all"],
)
def test_every_exit_code(tmp_path: Path, codes: Iterable[int]) -> None:
    for code in codes:
        result = Recorded(tmp_path, "/bin/sh", "-c", f"exit {code}").result
        assert (result.exit_code, result.signal, exit_status(result)) == (code, None, code)


HARMLESS = "SIGCHLD SIGCONT SIGURG SIGWINCH SIGSTOP SIGTSTP SIGTTIN SIGTTOU SIGINFO".split()  # noqa: SIM905
DEADLY = sorted(
    {number for number in signal.valid_signals() if number < 32}
    - {getattr(signal, name) for name in HARMLESS if hasattr(signal, name)}
)


@pytest.mark.parametrize("number", DEADLY)
def test_death_by_every_signal(tmp_path: Path, number: int) -> None:
    result = Recorded(tmp_path, "/bin/sh", "-c", f"ulimit -c 0; kill -{int(number)} $$").result
    assert (result.exit_code, result.signal) == (None, number)
    assert exit_status(result) == 128 + number
    assert result.cancelled_by is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV])
def test_a_wrapper_can_die_the_same_death(number: int) -> None:
    done = subprocess.run(wrapper("/bin/sh", "-c", f"ulimit -c 0; kill -{int(number)} $$"), check=False)
    assert done.returncode == -number


def test_times_and_usage(tmp_path: Path) -> None:
    result = Recorded(tmp_path, *python("sum(i*i for i in range(300000))")).result
    assert result.started_ns < result.ended_ns
    assert result.started_at <= result.ended_at
    assert result.started_at.tzinfo is not None
    assert result.usage.user_seconds > 0
    assert result.usage.max_rss_bytes > 1 << 20


# --- starting ------------------------------------------------------------------------------------------


def script(path: Path, text: bytes, mode: int = 0o755) -> str:
    path.write_bytes(text)
    path.chmod(mode)
    return f"./{path.name}"


START_FAILURES: dict[str, tuple[int, Callable[[Path], str]]] = {
    "missing": (127, lambda p: "./missing"),
    "not on PATH": (127, lambda p: "no-such-command-anywhere"),
    "empty name": (127, lambda p: ""),
    "directory": (126, lambda p: str(p)),
    "no x bit": (126, lambda p: script(p / "s", b"#!/bin/sh\n", 0o644)),
    "interpreter missing": (127, lambda p: script(p / "s", b"#!/no/such/interpreter\n")),
    "interpreter not executable": (
        126,
        lambda p: script(p / "s", b"#!" + script(p / "i", b"", 0o644).encode()),
    ),
    "interpreter a directory": (126, lambda p: script(p / "s", b"#!/tmp\n")),
    "broken binary": (126, lambda p: script(p / "s", b"\x7fELF\0\0garbage")),
    "below a file": (126, lambda p: script(p / "s", b"") + "/x"),
}


@pytest.mark.parametrize("case", START_FAILURES)
def test_failing_to_start_answers_as_a_shell_does(tmp_path: Path, case: str) -> None:
    status, make = START_FAILURES[case]
    name = make(tmp_path)
    with pytest.raises(StartError) as caught:
        Recorded(tmp_path, name)
    assert caught.value.status == status
    bash = subprocess.run(["bash", "-c", '"$0"', name], cwd=tmp_path, check=False, capture_output=True)
    assert bash.returncode == status


def test_exec_itself_is_told_the_same(tmp_path: Path) -> None:
    name = script(tmp_path / "s", b"\x7fELF\0\0garbage")
    found = inspect(Command(argv=("/bin/sh",), cwd=str(tmp_path)), {}, digest=False)
    import dataclasses

    for path, status in ((str(tmp_path / name), 126), (str(tmp_path / "gone"), 127)):
        with pytest.raises(StartError) as caught:
            Recorded(tmp_path, "x", executable=dataclasses.replace(found, path=path))
        assert caught.value.status == status


def test_arguments_too_long_for_the_system(tmp_path: Path) -> None:
    with pytest.raises(StartError) as caught:
        Recorded(tmp_path, "/bin/true", *["x" * 100_000] * 60)
    assert caught.value.status == 126


@pytest.mark.parametrize(("argv", "cwd"), [((), "/"), (("true",), "/no/such/directory"), (("a\0b",), "/")])
def test_what_is_wrong_before_the_search_is_125(argv: tuple[str, ...], cwd: str) -> None:
    with pytest.raises(StartError) as caught:
        inspect(Command(argv=argv, cwd=cwd), os.environ)
    assert caught.value.status == 125


def test_text_without_a_first_line_for_the_kernel_is_a_shell_script(tmp_path: Path) -> None:
    name = script(tmp_path / "s", b'echo "got $1"; exit 3\n')
    run_ = Recorded(tmp_path, name, "a b")
    assert (run_.result.exit_code, run_.out) == (3, b"got a b\n")
    assert inspect(Command(argv=(name,), cwd=str(tmp_path)), os.environ).interpreter == "/bin/sh"


def test_what_is_known_of_an_executable(tmp_path: Path) -> None:
    text = b"#!/bin/sh -e\nexit 0\n"
    script(tmp_path / "tool", text, 0o750)
    found = inspect(Command(argv=("tool",), cwd="/"), {"PATH": f"/nowhere:{tmp_path}"})
    assert found.path == str(tmp_path / "tool")
    assert (found.exists, found.executable, found.mode) == (True, True, 0o750)
    assert found.sha256 == hashlib.sha256(text).hexdigest()
    assert found.interpreter == "/bin/sh"


def test_a_search_path_prefers_what_can_run(tmp_path: Path) -> None:
    for folder, mode in (("a", 0o644), ("b", 0o755)):
        (tmp_path / folder).mkdir()
        script(tmp_path / folder / "tool", b"#!/bin/sh\n", mode)
    found = inspect(Command(argv=("tool",), cwd=str(tmp_path)), {"PATH": "a:b"})
    assert found.path == str(tmp_path / "b" / "tool")


def test_a_shell_command_line(tmp_path: Path) -> None:
    done = Recorded(tmp_path, "echo one; echo two >&2; exit 4", shell=True)
    assert (done.result.exit_code, done.out, done.err) == (4, b"one\n", b"two\n")


def test_own_secrets_are_taken_from_the_environment() -> None:
    environ = dict.fromkeys(OWN_VARIABLES, "secret") | {"HOME": "/h", "DRE_DIR": "d"}
    assert child_environ(environ, DRE_OPERATION="op_1") == {
        "HOME": "/h",
        "DRE_DIR": "d",
        "DRE_OPERATION": "op_1",
    }


# --- output --------------------------------------------------------------------------------------------


def test_bytes_are_untouched_and_streams_apart(tmp_path: Path) -> None:
    code = """
        import os
        os.write(1, bytes(range(256)) * 3); os.write(2, b"\\xff\\xfe\\0err"); os.write(1, b"\\xc3(\\r\\n")
    """
    done = Recorded(tmp_path, *python(code))
    assert done.out == done.recorded("stdout") == bytes(range(256)) * 3 + b"\xc3(\r\n"
    assert done.err == done.recorded("stderr") == b"\xff\xfe\0err"
    assert not done.result.merged
    assert done.result.bytes_out == {"stdout": 772, "stderr": 6}
    assert done.result.gaps == ()


def test_one_open_file_is_one_channel_in_order(tmp_path: Path) -> None:
    with (tmp_path / "both").open("wb") as both:
        other = os.dup(both.fileno())
        code = "import os\nfor n in range(200): os.write(1 + n % 2, b'%d\\n' % n)"
        done = Recorded(tmp_path, *python(code), terminal=(both.fileno(), other))
        os.close(other)
    expected = b"".join(b"%d\n" % number for number in range(200))
    assert (tmp_path / "both").read_bytes() == done.recorded("output") == expected
    assert done.result.merged


def test_the_same_file_opened_twice_is_two_channels(tmp_path: Path) -> None:
    with (tmp_path / "f").open("wb") as one, (tmp_path / "f").open("ab") as two:
        done = Recorded(tmp_path, "/bin/sh", "-c", "echo a", terminal=(one.fileno(), two.fileno()))
    assert not done.result.merged


BIG_WRITER = """
import sys, hashlib
block = bytes(range(256)) * 256
digest = hashlib.sha256()
for n in range(%d):
    piece = n.to_bytes(8, "big") + block
    digest.update(piece)
    sys.stdout.buffer.write(piece)
sys.stderr.write(digest.hexdigest())
"""
MEASURED = """
import hashlib, os, resource, sys
sys.path.insert(0, {root!r})
from dre_core.capture.process import Command, run
digest = hashlib.sha256()
def sink(name, data, elapsed):
    if name == "stdout": digest.update(data)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
null = os.open("/dev/null", os.O_WRONLY)
command = Command(argv=tuple(sys.argv[1:]), cwd="/")
result = run(command, environ=dict(os.environ), sinks=sink, terminal=(null, 2))
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(digest.hexdigest(), result.bytes_out["stdout"], grown)
"""


def test_a_hundred_megabytes_in_constant_memory() -> None:
    argv = [sys.executable, "-I", "-c", MEASURED.format(root=str(ROOT)), *python(BIG_WRITER % 1600)]
    done = subprocess.run(argv, check=True, capture_output=True, text=True)
    seen, size, grown = done.stdout.split()
    assert seen == done.stderr
    assert int(size) == 1600 * (65536 + 8)
    assert int(grown) < 16 << 10  # KiB


def test_output_is_on_the_terminal_before_it_is_recorded(tmp_path: Path) -> None:
    seen: list[bytes] = []
    done = Recorded(
        tmp_path,
        "/bin/sh",
        "-c",
        "echo one; sleep 0.1; echo two",
        sinks=lambda *_: seen.append((tmp_path / "out").read_bytes()),
    )
    assert seen == [b"one\n", b"one\ntwo\n"]
    assert done.result.exit_code == 0


def test_a_failing_record_never_stops_the_command(tmp_path: Path) -> None:
    calls = []

    def full(*piece: object) -> None:
        calls.append(piece)
        raise OSError(28, "No space left on device")

    done = Recorded(
        tmp_path, "/bin/sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.02; done; exit 7", sinks=full
    )
    assert (done.result.exit_code, done.out) == (7, b"1\n2\n3\n")
    assert len(calls) == 1
    assert [gap.partition(":")[0] for gap in done.result.gaps] == ["recording-stopped"]


def test_failing_callbacks_are_gaps(tmp_path: Path) -> None:
    def fail(_: int) -> None:
        raise RuntimeError("broken")

    done = Recorded(tmp_path, "/bin/sh", "-c", "echo x", on_start=fail, tick=fail)
    assert done.result.exit_code == 0
    assert {gap.partition(":")[0] for gap in done.result.gaps} == {"on-start-failed", "tick-failed"}


def test_ticks_come_while_the_command_is_silent(tmp_path: Path) -> None:
    ticks: list[int] = []
    pids: list[int] = []
    done = Recorded(tmp_path, "/bin/sh", "-c", "echo x; sleep 0.8", tick=ticks.append, on_start=pids.append)
    assert len(ticks) >= 2
    assert ticks == sorted(ticks)
    assert pids == [done.result.pid]


def test_a_reader_that_goes_gives_the_command_sigpipe(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = Recorded(tmp_path, "/usr/bin/yes", terminal=(write_end, write_end))
    os.close(write_end)
    assert done.result.signal == signal.SIGPIPE


def test_a_silent_command_gets_sigpipe_at_its_first_late_write() -> None:
    command = wrapper("/bin/sh", "-c", "echo first; sleep 0.4; echo second; echo survived >&2")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"first\n"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == -signal.SIGPIPE


def test_a_slow_reader_loses_nothing() -> None:
    with subprocess.Popen(
        wrapper(*python(BIG_WRITER % 40)), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        time.sleep(0.5)
        data = process.stdout.read()
        assert hashlib.sha256(data).hexdigest() == process.stderr.read().decode()
        assert process.wait() == 0


def test_the_timeout_works_while_nobody_reads(tmp_path: Path) -> None:
    note = tmp_path / "note"
    command = wrapper(
        "/usr/bin/yes",
        options=f"dict(timeout_seconds=0.3, grace={SHORT})",
    )
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "NOTE": str(note)}) as process:
        assert process.wait(timeout=20) == -signal.SIGINT
        assert process.stdout is not None
        process.stdout.close()
    assert "output-after-exit" in note.read_text()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_terminal_is_a_gap_and_the_record_goes_on(tmp_path: Path) -> None:
    with open("/dev/full", "wb", buffering=0) as full:
        done = Recorded(
            tmp_path, "/bin/sh", "-c", "echo one; exit 3", terminal=(full.fileno(), full.fileno())
        )
    assert (done.result.exit_code, done.recorded("output")) == (3, b"one\n")
    assert [gap.partition(":")[0] for gap in done.result.gaps] == ["terminal-write-failed"]


# --- input and descriptors -----------------------------------------------------------------------------


def test_input_passes_through() -> None:
    data = os.urandom(300_000)
    done = subprocess.run(wrapper("cat"), input=data, capture_output=True, check=True)
    assert done.stdout == data


def test_input_is_shared_not_eaten() -> None:
    inner = " ".join(
        ["'" + word.replace("'", "'\\''") + "'" for word in wrapper("/bin/sh", "-c", "read x; echo got $x")]
    )
    done = subprocess.run(
        ["/bin/sh", "-c", f"{inner}; cat"], input=b"one\ntwo\nthree\n", capture_output=True, check=True
    )
    assert done.stdout == b"got one\ntwo\nthree\n"


def test_closed_descriptors_stay_closed(tmp_path: Path) -> None:
    # opening the result takes the lowest free number: look first
    look = """
import os
def is_open(n):
    try: os.fstat(n); return "1"
    except OSError: return "0"
seen = "".join(map(is_open, range(3)))
open(%r, "w").write(seen)
"""
    for closed in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
        note = tmp_path / "seen"
        inner = " ".join(
            "'" + word.replace("'", "'\\''") + "'" for word in wrapper(*python(look % str(note)))
        )
        plain = " ".join("'" + word.replace("'", "'\\''") + "'" for word in python(look % str(note)))
        seen = []
        for command in (plain, inner):
            done = subprocess.run(["/bin/sh", "-c", f"{command} {closed}"], check=False, capture_output=True)
            assert done.returncode == 0, done.stderr
            seen.append(note.read_text())
        assert seen[0] == seen[1]


def test_a_closed_terminal_is_a_gap(tmp_path: Path) -> None:
    done = Recorded(tmp_path, "/bin/sh", "-c", "exit 5", terminal=(CLOSED, CLOSED), stdin=CLOSED)
    assert done.result.exit_code == 5
    assert done.result.gaps == ("closed: stdout", "closed: stderr")


def test_inheritable_descriptors_are_inherited() -> None:
    read_end, write_end = os.pipe()
    subprocess.run(
        wrapper(*python(f"import os; os.write({write_end}, b'through')")), pass_fds=(write_end,), check=True
    )
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        assert pipe.read() == b"through"


def test_nothing_of_ours_is_left_open(tmp_path: Path) -> None:
    Recorded(tmp_path, "true")
    before, children = set(os.listdir("/dev/fd")), set(own_children())
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)]
    for _ in range(3):
        Recorded(tmp_path, "/bin/sh", "-c", "echo x; echo y >&2")
        with pytest.raises(StartError):
            Recorded(tmp_path, "./missing")
    assert len(set(os.listdir("/dev/fd")) - before) <= 1  # the listing's own
    assert handlers == [
        signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)
    ]
    assert set(own_children()) <= children


@pytest.mark.skipif(not LINUX, reason="reads /proc")
def test_default_dispositions_and_mask_in_the_child(tmp_path: Path) -> None:
    direct = subprocess.run(["/bin/cat", "/proc/self/status"], capture_output=True, check=True)
    done = Recorded(tmp_path, "/bin/cat", "/proc/self/status")
    assert standard_signals(done.out) == standard_signals(direct.stdout)


def standard_signals(status: bytes) -> list[int]:
    """Blocked and ignored signals, without the C library's own (posix_spawn leaves those ignored)."""
    fields = dict(line.split(":\t", 1) for line in status.decode().splitlines() if ":\t" in line)
    return [int(fields[name], 16) & 0x7FFFFFFF for name in ("SigBlk", "SigIgn")]


# --- signals -------------------------------------------------------------------------------------------

COUNTER = """
import os, signal, sys, time
seen = []
end = time.monotonic() + 10
def note(number, frame):
    global end
    seen.append(number)
    end = time.monotonic() + 0.15
for name in ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGCONT"):
    signal.signal(getattr(signal, name), note)
print("ready", flush=True)
while time.monotonic() < end: time.sleep(0.01)
print(seen, flush=True)
"""


def started(*argv: str, options: str = "{}", **more: object) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        wrapper(*argv, options=options), stdout=subprocess.PIPE, start_new_session=True, **more
    )  # type: ignore[call-overload]
    assert process.stdout.readline() == b"ready\n"
    return process  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", ["SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGCONT"])
def test_a_signal_to_the_wrapper_is_forwarded_once(name: str) -> None:
    number = getattr(signal, name)
    with started(*python(COUNTER)) as process:
        os.kill(process.pid, number)
        out, _ = process.communicate()
    assert out == f"[{int(number)}]\n".encode()
    assert process.returncode == 0


@pytest.mark.skipif(not LINUX, reason="the witness needs /proc")
@pytest.mark.parametrize("name", ["SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1"])
def test_a_signal_to_the_group_counts_once(name: str) -> None:
    number = getattr(signal, name)
    with started(*python(COUNTER)) as process:
        os.killpg(process.pid, number)
        time.sleep(0.08)
        os.killpg(process.pid, number)
        out, _ = process.communicate()
    assert out == f"[{int(number)}, {int(number)}]\n".encode()


@pytest.mark.skipif(not LINUX, reason="the witness needs /proc")
def test_group_and_own_signals_in_turn() -> None:
    with started(*python(COUNTER)) as process:
        for send in (os.killpg, os.kill, os.killpg, os.kill):
            send(process.pid, signal.SIGUSR1)
            time.sleep(0.07)
        out, _ = process.communicate()
    assert out == f"[{', '.join(['10'] * 4)}]\n".encode()


def test_ctrl_c_at_a_terminal_counts_once(tmp_path: Path) -> None:
    for options in ("dict(pty=False)", "{}"):
        master, slave = pty.openpty()
        pid = os.fork()
        if pid == 0:
            os.setsid()
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
            for fd in range(3):
                os.dup2(slave, fd)
            command = wrapper(*python(COUNTER), options=options)
            os.execv(command[0], command)
        os.close(slave)
        seen = read_until(master, b"ready")
        os.write(master, b"\x03")
        seen += read_until(master, b"]")
        assert os.waitpid(pid, 0)[1] == 0
        os.close(master)
        assert b"[2]" in seen, options


def read_until(fd: int, text: bytes, seconds: float = 20) -> bytes:
    seen = b""
    end = time.monotonic() + seconds
    while text not in seen and time.monotonic() < end:
        if select.select([fd], [], [], 0.5)[0]:
            try:
                seen += os.read(fd, 4096)
            except OSError:
                break
    return seen


def test_a_cancelled_run_says_by_what(tmp_path: Path) -> None:
    note = tmp_path / "note"
    command = python("import time; print('ready', flush=True); time.sleep(20)")
    with started(*command, env={**os.environ, "NOTE": str(note)}) as process:
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(timeout=20) == -signal.SIGTERM
    assert note.read_text() == repr((143, 15, ()))


def test_a_cancelled_run_is_ended_by_escalation_where_asked() -> None:
    code = """
        import os, signal, time
        for n in (2, 15): signal.signal(n, lambda number, _: os.write(1, b"%d\\n" % number))
        print("ready", flush=True)
        while True: time.sleep(0.01)
    """
    options = f"dict(escalate_cancel=True, grace={SHORT})"
    with started(*python(code), options=options) as process:
        os.kill(process.pid, signal.SIGINT)
        out, _ = process.communicate(timeout=20)
    assert (out, process.returncode) == (b"2\n15\n", -signal.SIGKILL)


def test_an_ignored_signal_stays_ignored() -> None:
    def ignore() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    code = """
        import signal, time
        print("ready", flush=True); time.sleep(0.4); print(int(signal.getsignal(1)))
    """
    with started(*python(code), preexec_fn=ignore) as process:
        os.kill(process.pid, signal.SIGHUP)
        out, _ = process.communicate()
    assert (out, process.returncode) == (b"1\n", 0)


@pytest.mark.skipif(not LINUX, reason="reads /proc")
def test_stop_and_continue_as_a_shell_job() -> None:
    code = "import time; print('ready', flush=True); time.sleep(0.5); print('done', flush=True)"
    # as a shell's job the group needs a parent outside it in the session: an orphaned group can't stop
    process = subprocess.Popen(
        wrapper(*python(code)), stdout=subprocess.PIPE, preexec_fn=lambda: os.setpgid(0, 0)
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    os.kill(process.pid, signal.SIGTSTP)
    assert os.waitid(os.P_PID, process.pid, os.WSTOPPED) is not None
    os.kill(process.pid, signal.SIGCONT)
    assert process.communicate()[0] == b"done\n"
    assert process.returncode == 0


# --- timeouts, orphans, kill -9 --------------------------------------------------------------------------


def test_a_timeout_escalates(tmp_path: Path) -> None:
    code = """
        import os, signal, time
        for n in (2, 15): signal.signal(n, lambda number, _: os.write(1, b"%d\\n" % number))
        while True: time.sleep(0.01)
    """
    done = Recorded(tmp_path, *python(code), timeout_seconds=0.4)
    assert done.result.timed_out
    assert (done.result.signal, done.out) == (signal.SIGKILL, b"2\n15\n")


def test_a_timeout_that_is_heeded(tmp_path: Path) -> None:
    done = Recorded(
        tmp_path, "/bin/sh", "-c", 'trap "exit 9" INT; while :; do sleep 0.05; done', timeout_seconds=0.3
    )
    assert (done.result.timed_out, done.result.exit_code) == (True, 9)


def test_a_timeout_reaches_descendants(tmp_path: Path) -> None:
    done = Recorded(tmp_path, "/bin/sh", "-c", "sleep 60 & sleep 60 & wait", timeout_seconds=0.3)
    assert done.result.timed_out
    assert done.result.gaps == ()  # nobody is left to hold the pipe


def test_no_timeout_in_time(tmp_path: Path) -> None:
    done = Recorded(tmp_path, "true", timeout_seconds=30)
    assert not done.result.timed_out


def test_a_daemon_that_holds_the_pipe_lives_and_is_heard(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    alive = tmp_path / "alive"
    daemon = f"(sleep 0.7; echo late; echo later; echo yes > {alive}) & echo early; exit 3"
    done = Recorded(tmp_path, "/bin/sh", "-c", daemon, terminal=(write_end, write_end))
    os.close(write_end)
    assert done.result.exit_code == 3
    assert done.result.gaps == ("output-after-exit: output",)
    assert done.recorded("output") == b"early\n"
    with os.fdopen(read_end, "rb") as pipe:
        assert pipe.read() == b"early\nlate\nlater\n"
    assert alive.read_text() == "yes\n"


@pytest.mark.parametrize("pty", [False, True])
def test_what_closing_answers_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pty: bool
) -> None:
    """close(2) releases the descriptor and may still answer EIO; strace would leave it open instead."""
    close, failed = os.close, []

    def failing(fd: int) -> None:
        close(fd)
        failed.append(fd)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "close", failing)
    script = "(sleep 5; echo late) & echo hello; exit 7"
    recorded = Recorded(tmp_path, script, shell=True, pty=pty, monitor=Monitor())
    monkeypatch.undo()
    assert (recorded.result.exit_code, recorded.out.split()) == (7, [b"hello"])
    assert recorded.recorded("stdout").split() == [b"hello"]
    assert len(failed) > 4


def test_a_relay_that_can_not_be_started_is_a_gap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(pieces: object) -> None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr("dre_core.capture.relay.leave_relay", failing)
    recorded = Recorded(tmp_path, "sleep 0.6 & echo hello; exit 7", shell=True)
    assert (recorded.result.exit_code, recorded.out) == (7, b"hello\n")
    assert any(gap.startswith("relay-failed: ") for gap in recorded.result.gaps)


@pytest.mark.skipif(not LINUX, reason="PR_SET_PDEATHSIG")
def test_the_command_does_not_outlive_a_killed_wrapper() -> None:
    with started(
        *python("import os, time; print('ready', flush=True); print(os.getpid(), flush=True); time.sleep(60)")
    ) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        process.kill()
        process.wait()
        end = time.monotonic() + 10
        while time.monotonic() < end:
            try:
                with open(f"/proc/{pid}/stat") as stat:
                    if stat.read().rpartition(") ")[2].startswith("Z"):
                        break
            except OSError:
                break
            time.sleep(0.02)
        else:
            pytest.fail("the command lives on")


@pytest.mark.skipif(not LINUX, reason="PR_SET_DUMPABLE")
def test_the_wrapper_hides_its_memory() -> None:
    code = """
        import ctypes, os
        print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), flush=True)
    """
    hidden = f"import sys; sys.path.insert(0, {str(ROOT)!r})" + textwrap.dedent("""
        import ctypes, os
        from dre_core.capture.process import Command, run
        run(Command(argv=("true",), cwd="/"), environ=dict(os.environ), sinks=lambda *_: None)
        print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), flush=True)
    """)
    assert (
        subprocess.run([sys.executable, "-I", "-c", hidden], capture_output=True, check=True).stdout == b"0\n"
    )
    assert subprocess.run(wrapper(*python(code)), capture_output=True, check=True).stdout == b"1\n"


# --- the pseudo-terminal ---------------------------------------------------------------------------------


def in_terminal(argv: list[str], size: tuple[int, int], typed: bytes = b"") -> tuple[bytes, int]:
    """Run a program in a terminal of its own; return what it showed and its wait status."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
    pid = os.fork()
    if pid == 0:
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        for fd in range(3):
            os.dup2(slave, fd)
        os.execv(argv[0], argv)
    before = termios.tcgetattr(master)
    os.close(slave)
    seen = read_until(master, b"ready") if typed else b""
    if typed:
        os.write(master, typed)
    while True:
        more = read_until(master, b"\n")
        if not more:
            break
        seen += more
    assert termios.tcgetattr(master)[:4] == before[:4]
    os.close(master)
    return seen, os.waitpid(pid, 0)[1]


def test_in_a_terminal_the_command_has_one_too() -> None:
    code = "import os, sys; print(*map(os.isatty, range(3)), os.get_terminal_size(), 'ready'); sys.exit(4)"
    seen, status = in_terminal(wrapper(*python(code)), (101, 37))
    assert b"True True True os.terminal_size(columns=101, lines=37) ready\r\n" in seen
    assert os.waitstatus_to_exitcode(status) == 4


def test_keys_reach_the_command() -> None:
    code = "import sys; print('ready', flush=True); print('got', repr(sys.stdin.readline()))"
    seen, status = in_terminal(wrapper(*python(code)), (80, 24), b"some words\r")
    assert b"got 'some words\\n'" in seen
    assert status == 0


def test_a_window_that_changes_is_passed_on() -> None:
    code = """
        import os, signal, time
        changed = []
        signal.signal(signal.SIGWINCH, lambda *a: changed.append(1))
        print("ready", flush=True)
        while not changed: time.sleep(0.01)
        print("now", os.get_terminal_size().columns, flush=True)
    """
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    pid = os.fork()
    if pid == 0:
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        for fd in range(3):
            os.dup2(slave, fd)
        command = wrapper(*python(code))
        os.execv(command[0], command)
    os.close(slave)
    read_until(master, b"ready")
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 132, 0, 0))
    assert b"now 132" in read_until(master, b"now 132")
    assert os.waitpid(pid, 0)[1] == 0
    os.close(master)


def test_a_pipe_for_the_error_stream_stays_one(tmp_path: Path) -> None:
    master, slave = pty.openpty()
    with (tmp_path / "e").open("wb") as err:
        code = "import os; print(os.isatty(1), os.isatty(2)); os.write(2, b'e')"
        done = Recorded(tmp_path, *python(code), terminal=(slave, err.fileno()))
    assert done.recorded("stdout") == b"True False\n"
    assert (tmp_path / "e").read_bytes() == b"e"
    os.close(slave)
    os.close(master)

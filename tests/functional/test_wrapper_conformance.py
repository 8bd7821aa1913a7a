"""What a command and its caller see, plain and under ``dre wrap --``: one table, no difference but those documented.

As a program it prints the table in Markdown: ``python tests/functional/test_wrapper_conformance.py``.
"""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the table is Linux's")

ROOT = Path(__file__).resolve().parents[2]
PYTHON = (sys.executable, "-I", "-S", "-c")
OWN_VARIABLES = ("DRE_OPERATION", "DRE_DIR")
LIMIT_SECONDS = 60

Seen = tuple[object, ...]
Prefix = Sequence[str]


@dataclass(frozen=True)
class Case:
    """One behaviour: what to look at, given the words that stand before the command."""

    name: str
    look: Callable[[Prefix], Seen]
    slow: bool = False


CASES: list[Case] = []


def outcome(prefix: Prefix, *argv: str | bytes, **more: object) -> Seen:
    """Output, error output and status of a command."""
    streams = {
        "stdout": subprocess.PIPE,
        "stderr": subprocess.STDOUT if more.pop("merged", False) else subprocess.PIPE,
    }
    done = subprocess.run([*prefix, *argv], timeout=LIMIT_SECONDS, check=False, **streams, **more)  # type: ignore[call-overload]
    return done.stdout, done.stderr, done.returncode


def add(name: str, *argv: str | bytes, slow: bool = False, **more: object) -> None:
    CASES.append(Case(name, lambda prefix: outcome(prefix, *argv, **dict(more)), slow))


def case(name: str, *, slow: bool = False) -> Callable[[Callable[[Prefix], Seen]], Callable[[Prefix], Seen]]:
    def put(look: Callable[[Prefix], Seen]) -> Callable[[Prefix], Seen]:
        CASES.append(Case(name, look, slow))
        return look

    return put


def python(code: str) -> tuple[str, ...]:
    return (*PYTHON, code)


# --- ends ------------------------------------------------------------------------------------------------------

for code in (0, 1, 2, 77, 124, 125, 255):
    add(f"exit {code}", "sh", "-c", f"exit {code}", slow=code in (2, 77, 124))
for number in ("HUP", "INT", "QUIT", "ABRT", "KILL", "SEGV", "PIPE", "ALRM", "TERM", "USR1", "XCPU"):
    add(
        f"dies of SIG{number}",
        "sh",
        "-c",
        f"ulimit -c 0; kill -{number} $$",
        slow=number not in ("KILL", "SEGV", "TERM"),
    )
add("a grandchild's signal shows as the shell's 128+n", "sh", "-c", "sh -c 'kill -9 $$'; exit $?")
add("a grandchild's failure swallowed", "sh", "-c", "false; true", slow=True)
add("exit by exec", "sh", "-c", "exec sh -c 'exit 9'", slow=True)

# --- not startable ---------------------------------------------------------------------------------------------


@case("command found by a relative path")
def relative(prefix: Prefix) -> Seen:
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "own")
        script.write_text("#!/bin/sh\necho relative $0\n")
        script.chmod(0o755)
        return outcome(prefix, "./own", cwd=folder)


def status_like_a_shell(text: str | None, mode: int, *words: str) -> Callable[[Prefix], Seen]:
    """The status that ``sh`` gives for what can't be started, beside the wrapper's."""

    def look(prefix: Prefix) -> Seen:
        with tempfile.TemporaryDirectory() as folder:
            script = Path(folder, "script")
            if text is not None:
                script.write_text(text)
                script.chmod(mode)
            argv = [word.replace("SCRIPT", str(script)).replace("FOLDER", folder) for word in words]
            command = list(prefix) + argv if prefix else ["sh", "-c", '"$0" "$@"', *argv]
            done = subprocess.run(command, capture_output=True, timeout=LIMIT_SECONDS, check=False)
            return done.stdout, done.returncode

    return look


CASES += [
    Case("command not found: 127", status_like_a_shell(None, 0, "no-such-command-anywhere")),
    Case("path not found: 127", status_like_a_shell(None, 0, "SCRIPT")),
    Case("not executable: 126", status_like_a_shell("#!/bin/sh\n", 0o644, "SCRIPT")),
    Case("a folder: 126", status_like_a_shell(None, 0, "FOLDER")),
    Case("bad interpreter", status_like_a_shell("#!/no/such/interpreter\n", 0o755, "SCRIPT")),
    Case("a script without #! runs by sh", status_like_a_shell("echo text; exit 5\n", 0o755, "SCRIPT", "a")),
    Case("#! with an argument", status_like_a_shell("#!/bin/sh -e\nfalse\necho no\n", 0o755, "SCRIPT")),
    Case("an empty executable file", status_like_a_shell("", 0o755, "SCRIPT")),
]

# --- output ----------------------------------------------------------------------------------------------------

add("no output", "true", slow=True)
add("no newline at the end", "printf", "abc")
add("all byte values", *python("import os; os.write(1, bytes(range(256)))"))
add("invalid UTF-8 and escape sequences", "printf", r"\377\376 \033[31mred\033[0m \r over\b")
add("output and error apart", "sh", "-c", "echo out; echo err >&2")
add("a line of 4 MB", *python("import os\nd=b'x'*(4<<20)\nwhile d: d=d[os.write(1,d):]"))
add("100,000 short lines", "seq", "100000")
add(
    "8 MB of random bytes",
    *python("import os,random\nd=random.Random(1).randbytes(8<<20)\nwhile d: d=d[os.write(1,d):]"),
)
add(
    "both merged keep their order",
    *python("import os\nfor n in range(500): os.write(1+n%2, b'%d\\n'%n)"),
    merged=True,
)
add("output after the parent of the writer ended", "sh", "-c", "(sleep 0.3; echo late) & echo early")
add("workflow commands pass unchanged", "printf", "::error::x\\n::set-output name=a::b\\n", slow=True)
add("a secret stays visible to the user", "printf", "password=hunter2-Xy9zzQ\\n")
add(
    "a child that closes its stdout early",
    *python("import os\nos.write(1,b'a')\nos.close(1)\nos.write(2,b'still')"),
)
add("a child that closes both", *python("import os\nos.close(1)\nos.close(2)\nos._exit(3)"))
add("writes through /dev/stdout", "sh", "-c", "echo a > /dev/stdout; echo b > /dev/stderr", slow=True)


@case("a reader that leaves: SIGPIPE")
def reader_leaves(prefix: Prefix) -> Seen:
    words = " ".join(prefix)
    return outcome((), "bash", "-c", f"{words} yes | head -n 3; echo ${{PIPESTATUS[0]}}")


@case("a slow reader gets all", slow=True)
def slow_reader(prefix: Prefix) -> Seen:
    return outcome((), "bash", "-c", f"{' '.join(prefix)} seq 200000 | (sleep 2; sha256sum)")


@case("output to a file, appended")
def to_file(prefix: Prefix) -> Seen:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "log")
        path.write_bytes(b"before\n")
        with path.open("ab") as out:
            done = subprocess.run(
                [*prefix, "sh", "-c", "echo in"], stdout=out, check=False, timeout=LIMIT_SECONDS
            )
        return path.read_bytes(), done.returncode


@case("output to a full device")
def full_device(prefix: Prefix) -> Seen:
    with open("/dev/full", "wb") as out:
        done = subprocess.run(
            [*prefix, "true"], stdout=out, capture_output=False, check=False, timeout=LIMIT_SECONDS
        )
    return (done.returncode,)


# --- input -----------------------------------------------------------------------------------------------------

add("input from a pipe", "cat", input=b"some\0bytes")
add("an empty input", "cat", input=b"", slow=True)
add("a large input", "sha256sum", input=bytes(3 << 20))
add("input of which only a part is read", "head", "-c", "3", input=b"abcdef" * 1000)


@case("input from a file, at its offset, and left at the new offset")
def file_offset(prefix: Prefix) -> Seen:
    with tempfile.TemporaryFile() as stream:
        stream.write(b"one\ntwo\nthree\n")
        stream.flush()
        os.lseek(stream.fileno(), 4, os.SEEK_SET)
        seen = outcome(prefix, *python("import os; print(os.read(0, 4))"), stdin=stream)
        return *seen, os.lseek(stream.fileno(), 0, os.SEEK_CUR)


def closed(descriptors: Sequence[int]) -> Callable[[Prefix], Seen]:
    def look(prefix: Prefix) -> Seen:
        code = "import os\nr=[]\nfor fd in range(3):\n  try: os.fstat(fd); r.append(1)\n  except OSError: r.append(0)\n"
        code += "open(os.environ['NOTE'],'w').write(repr(r))"
        with tempfile.TemporaryDirectory() as folder:
            note = Path(folder, "note")
            redirections = " ".join(f"{fd}>&-" if fd else "0<&-" for fd in descriptors)
            words = " ".join(map(repr, [*prefix, *PYTHON[:3]]))
            line = f'{words} -c "$CODE" {redirections}'
            seen = outcome((), "sh", "-c", line, env={**os.environ, "CODE": code, "NOTE": str(note)})
            return *seen, note.read_text() if note.exists() else None

    return look


for group in ((0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)):
    CASES.append(
        Case(f"descriptors closed: {', '.join(map(str, group))}", closed(group), slow=len(group) == 2)
    )

# --- what the command inherits ---------------------------------------------------------------------------------

add("working directory", "pwd", cwd="/etc", slow=True)
add("umask", "sh", "-c", "umask 027; exec sh -c umask")
CASES.append(
    Case(
        "umask from outside",
        lambda prefix: outcome((), "sh", "-c", f"umask 027; {' '.join(prefix)} sh -c umask"),
    )
)
CASES.append(Case("nice value", lambda prefix: outcome(("nice", "-n", "5", *prefix), "nice")))
CASES.append(
    Case(
        "resource limits",
        lambda prefix: outcome(
            (), "bash", "-c", f"ulimit -n 200 -c 0 -f 2097152; {' '.join(prefix)} bash -c 'ulimit -n -c -f'"
        ),
    )
)
add(
    "arguments: empty, newline, quotes",
    *python("import sys; print(sys.argv[1:])"),
    "",
    "a\nb",
    "'\"",
    "--",
    "-v",
)
add(
    "arguments that are no UTF-8",
    *python("import os,sys; print([os.fsencode(a) for a in sys.argv[1:]])"),
    b"\xff\xfe",
)
add("argv[0] is as given", "sh", "-c", "cat /proc/$$/cmdline | tr '\\0' ' '")
add("many arguments", *python("import sys; print(len(sys.argv))"), *["x" * 20] * 5000)


@case("environment, less DRE_OPERATION and DRE_DIR")
def environment(prefix: Prefix) -> Seen:
    # PWD, because the little script that stands before the command is run by a shell, which sets it.
    environ = {**os.environ, "EMPTY": "", "ODD": "a=b\nc", "DRE_SIGNING_KEY_FILE": "", "PWD": os.getcwd()}
    environ.pop("DRE_SIGNING_KEY_FILE")
    done = subprocess.run(
        [*prefix, "env", "-0"], capture_output=True, env=environ, check=False, timeout=LIMIT_SECONDS
    )
    own = tuple(f"{name}=".encode() for name in OWN_VARIABLES)
    return tuple(sorted(line for line in done.stdout.split(b"\0") if not line.startswith(own)))


@case("inherited descriptors stay open")
def inherited(prefix: Prefix) -> Seen:
    read_end, write_end = os.pipe()
    try:
        seen = outcome(
            prefix, *python(f"import os; os.write({write_end}, b'through')"), pass_fds=(write_end,)
        )
        os.set_blocking(read_end, False)
        return *seen, os.read(read_end, 100)
    finally:
        os.close(read_end)
        os.close(write_end)


@case("signals ignored on entry stay ignored")
def ignored(prefix: Prefix) -> Seen:
    return outcome((), "sh", "-c", f"trap '' HUP USR1; {' '.join(prefix)} grep SigIgn /proc/self/status")


def entered(prefix: Prefix, preparation: str, code: str) -> Seen:
    """Runs a command from a process that has prepared its own signals."""
    words = [*prefix, *python(code)]
    starter = f"import os,signal\n{preparation}\nos.execvp({words[0]!r}, {words!r})"
    return outcome((), *python(starter))


CASES += [
    Case(
        "SIGCHLD ignored on entry",
        lambda p: entered(p, "signal.signal(signal.SIGCHLD, signal.SIG_IGN)", "print(1)"),
    ),
    Case(
        "blocked signals on entry stay blocked",
        lambda p: entered(
            p,
            "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])",
            "import signal; print(signal.SIGUSR2 in signal.pthread_sigmask(signal.SIG_BLOCK, []))",
        ),
    ),
    Case("nothing is blocked by default", lambda p: outcome(p, "grep", "SigBlk", "/proc/self/status")),
]

# --- signals while it runs -------------------------------------------------------------------------------------

_COUNTER = """
import os, signal, sys, time
seen = []
for name in ("HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "CONT", "WINCH", "ALRM"):
    signal.signal(getattr(signal, "SIG" + name), lambda number, frame: seen.append(number))
os.write(1, b"ready\\n")
end = time.monotonic() + 20
while not seen and time.monotonic() < end: time.sleep(0.01)
time.sleep(0.3)
print([signal.Signals(n).name for n in seen])
sys.exit(len(seen))
"""


def signalled(name: str) -> Callable[[Prefix], Seen]:
    def look(prefix: Prefix) -> Seen:
        with subprocess.Popen(
            [*prefix, *python(_COUNTER)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            first = process.stdout.readline()
            process.send_signal(getattr(signal, f"SIG{name}"))
            rest, errors = process.communicate(timeout=LIMIT_SECONDS)
        return first + rest, errors, process.returncode

    return look


for name in ("TERM", "HUP", "INT", "QUIT", "USR1", "USR2"):
    slow = name in ("HUP", "QUIT", "USR2")
    CASES.append(Case(f"SIG{name} to the wrapper reaches the command once", signalled(name), slow))


@case("a signal to the whole group reaches the command once")
def group_signal(prefix: Prefix) -> Seen:
    with subprocess.Popen(
        [*prefix, *python(_COUNTER)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        os.killpg(process.pid, signal.SIGINT)
        rest, errors = process.communicate(timeout=LIMIT_SECONDS)
    return first + rest, errors, process.returncode


@case("killed by an unhandled SIGTERM")
def terminated(prefix: Prefix) -> Seen:
    with subprocess.Popen([*prefix, "sh", "-c", "echo go; exec sleep 20"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.terminate()
        process.wait(LIMIT_SECONDS)
    return (process.returncode,)


# --- terminals -------------------------------------------------------------------------------------------------


def in_terminal(
    prefix: Prefix, *argv: str, typed: bytes = b"", await_: bytes = b"", size: tuple[int, int] = (24, 80)
) -> Seen:
    """A command whose three descriptors are a terminal; what it shows and how it ends."""
    import fcntl
    import struct
    import termios

    pid, master = pty.fork()
    if pid == 0:
        try:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
            os.execvp([*prefix, *argv][0], [*prefix, *argv])
        finally:
            os._exit(99)
    shown = b""
    end = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < end:
        if typed and await_ in shown:
            os.write(master, typed)
            typed = b""
        if select.select([master], [], [], 0.05)[0]:
            try:
                data = os.read(master, 65536)
            except OSError:
                break
            if not data:
                break
            shown += data
    _, status = os.waitpid(pid, 0)
    os.close(master)
    return shown.replace(b"\r\n", b"\n"), os.waitstatus_to_exitcode(status)


_ISATTY = "import os; print([os.isatty(fd) for fd in range(3)])"
CASES += [
    Case("isatty on a terminal", lambda p: in_terminal(p, *python(_ISATTY))),
    Case("isatty on pipes", lambda p: outcome(p, *python(_ISATTY), input=b"")),
    Case(
        "window size",
        lambda p: in_terminal(p, *python("import os; print(os.get_terminal_size())"), size=(33, 101)),
    ),
    Case(
        "typed input is echoed and read",
        lambda p: in_terminal(
            p, *python("print('>', flush=True); print(input()[::-1])"), typed=b"abc\n", await_=b">"
        ),
    ),
    Case(
        "Ctrl-C reaches the command once",
        lambda p: in_terminal(p, *python(_COUNTER), typed=b"\x03", await_=b"ready"),
    ),
    Case(
        "Ctrl-\\ reaches the command once",
        lambda p: in_terminal(p, *python(_COUNTER), typed=b"\x1c", await_=b"ready"),
    ),
    Case(
        "Ctrl-D ends the input",
        lambda p: in_terminal(
            p,
            *python("print('>', flush=True)\nimport sys; print(len(sys.stdin.read()))"),
            typed=b"\x04",
            await_=b">",
        ),
    ),
    Case(
        "terminal output to a file, keyboard kept", lambda p: in_terminal(p, "sh", "-c", "test -t 0; echo $?")
    ),
    Case(
        "stty sees a sane terminal",
        lambda p: in_terminal(p, "sh", "-c", "stty -a | grep -o 'icanon\\|isig\\|onlcr'"),
    ),
]


@case("stopped and continued by its shell")
def stopped(prefix: Prefix) -> Seen:
    # Not a shell: stopped between vfork and exec of its own child, it could not be seen to stop.
    words = python("import time; print('go', flush=True); time.sleep(0.4); print('done')")
    process = subprocess.Popen([*prefix, *words], stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    process.stdout.readline()
    os.killpg(process.pid, signal.SIGSTOP)
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    was_stopped = os.WIFSTOPPED(status)
    os.killpg(process.pid, signal.SIGCONT)
    rest, _ = process.communicate(timeout=LIMIT_SECONDS)
    return was_stopped, rest, process.returncode


_DAEMON = """
import os
if not os.fork():
    os.setsid()
    if not os.fork():
        os.close(1)
        os.close(2)
    os._exit(0)
print("up")
"""

# --- families --------------------------------------------------------------------------------------------------

add(
    "a child that reaps its own",
    *python("import os\np=os.fork()\nif not p: os._exit(4)\nprint(os.waitpid(p,0)[1]>>8)"),
)
add(
    "a zombie left unreaped",
    *python("import os,time\nif not os.fork(): os._exit(0)\ntime.sleep(.1)"),
    slow=True,
)
add(
    "double fork, output closed",
    *python(_DAEMON),
)
add("a process group of its own", *python("import os\nos.setpgid(0,0)\nprint(os.getpgrp()==os.getpid())"))
add(
    "a session of its own",
    *python("import os\nif not os.fork():\n  os.setsid(); print('in', flush=True); os._exit(0)\nos.wait()"),
)
add("an orphan that ends later", "sh", "-c", "sh -c 'sleep 0.2; exit 3' & exit 6")
add("kill of its own group's child", "sh", "-c", "sleep 20 & kill $!; wait $!; echo $?", slow=True)
add("waits for nobody else's children", "sh", "-c", "wait; echo $?", slow=True)
add("a pipeline inside", "sh", "-c", "seq 1000 | sort -r | tail -n 2", slow=True)
add("a here document", "bash", "-c", "cat <<X\nhere\nX", slow=True)
add("exec of another program", *python("import os; os.execvp('echo', ['renamed', 'x'])"), slow=True)
add("core limit kept", "bash", "-c", "ulimit -c 0; ulimit -c", slow=True)


# --- running them ----------------------------------------------------------------------------------------------


def prepared(folder: Path) -> tuple[str, ...]:
    """A wrapper's words that stand before a command."""
    own = folder / "dre-wrap"
    own.write_text(f'#!/bin/sh\nDRE_DIR={folder}/dre exec {sys.executable} -m dre_ci.cli wrap -- "$@"\n')
    own.chmod(0o755)
    return (str(own),)


@pytest.fixture(scope="module")
def wrapped(tmp_path_factory):
    folder = tmp_path_factory.mktemp("conformance")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder))
        patch.setenv("PYTHONPATH", str(ROOT))
        yield prepared(folder)


@pytest.mark.parametrize(
    "each",
    [pytest.param(each, id=each.name, marks=[pytest.mark.slow] if each.slow else []) for each in CASES],
)
def test_the_command_sees_no_difference(each, wrapped, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("HOME", str(Path(wrapped[0]).parent))
    assert each.look(wrapped) == each.look(())


def test_the_table_is_long_enough_and_names_are_unique():
    names = [each.name for each in CASES]
    assert len(names) == len(set(names)) >= 60


def main() -> None:
    """Prints the table."""
    os.environ["PYTHONPATH"] = str(ROOT)
    print("| behaviour | plain | wrapped | same |")
    print("| --- | --- | --- | --- |")
    different = 0
    with tempfile.TemporaryDirectory() as name:
        os.environ["HOME"] = name
        prefix = prepared(Path(name))
        for each in CASES:
            plain, ours = each.look(()), each.look(prefix)
            different += plain != ours
            shown = [_short(seen) for seen in (plain, ours)]
            print(f"| {each.name} | {shown[0]} | {shown[1]} | {'yes' if plain == ours else '**no**'} |")
    print(f"\n{len(CASES)} behaviours, {different} differences")


def _short(seen: Seen) -> str:
    text = str(seen[-1] if not isinstance(seen[-1], bytes) or len(seen) > 1 else len(seen))
    return text.replace("|", "\\|")[:40]


if __name__ == "__main__":
    main()

"""`dre wrap --trace`: every process on record, and the command none the wiser. Real processes, real ptrace."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from dre_core.capture import kernel

pytestmark = pytest.mark.skipif(not kernel.LINUX, reason="ptrace is asked for on Linux only")


def traced(project, *words, **more):
    done = project.dre("wrap", "--trace", "--", *words, **more)
    observed = json.loads(project.dre("evidence", "cat", "process").stdout)
    if "not-traced" in done.stderr.decode() or not observed["complete"]:
        pytest.skip("this machine forbids ptrace")
    return done, observed["processes"]


def ends(processes):
    return [(process["exitCode"], process["signal"]) for process in processes]


def test_no_process_is_missed_and_every_status_is_known(project):
    script = "for i in 1 2 3; do /bin/true; done; (exit 3); /bin/false || true; sh -c 'kill -9 $$'; exit 0"
    done, processes = traced(project, "sh", "-c", script)
    assert done.returncode == 0
    assert sorted(ends(processes[1:]), key=str) == sorted(
        [(0, None)] * 3 + [(3, None), (1, None), (None, 9)], key=str
    )
    assert [p["argv"] for p in processes if p["exitCode"] == 1] == [["/bin/false"]]
    assert {p["parentPid"] for p in processes[1:]} == {processes[0]["pid"]}


def test_threads_are_no_processes(project):
    code = (
        "import os, subprocess, threading\n"
        "threads = [threading.Thread(target=lambda: subprocess.run(['true'])) for _ in range(8)]\n"
        "[each.start() for each in threads]; [each.join() for each in threads]\n"
        "os.posix_spawn('/bin/true', ['true'], os.environ); os.wait()\n"
    )
    _, processes = traced(project, sys.executable, "-c", code)
    assert len(processes) == 10
    assert set(ends(processes)) == {(0, None)}


def test_stopping_and_going_on_is_seen_by_the_parent_alone(project):
    code = (
        "import os, signal, subprocess\n"
        "child = subprocess.Popen(['sh', '-c', 'kill -STOP $$; echo back; exit 5'])\n"
        "_, status = os.waitpid(child.pid, os.WUNTRACED); print(os.WSTOPSIG(status), flush=True)\n"
        "os.kill(child.pid, signal.SIGCONT)\n"
        "_, status = os.waitpid(child.pid, 0); print(os.waitstatus_to_exitcode(status))\n"
    )
    done, _ = traced(project, sys.executable, "-c", code)
    assert done.stdout.split() == [b"%d" % signal.SIGSTOP, b"back", b"5"]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1"])
def test_signals_arrive(project, name):
    traced(project, "true")
    code = (
        f"import os, signal, sys\nsignal.signal(signal.{name}, lambda *_: sys.exit(7))\n"
        "print(os.getpid(), flush=True)\nsignal.pause()\n"
    )
    words = [sys.executable, "-m", "dre_ci.cli", "wrap", "--trace", "--", sys.executable, "-c", code]
    with subprocess.Popen(
        words, cwd=project.path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    ) as run:
        assert run.stdout is not None
        command = int(run.stdout.readline())
        os.kill(command if name == "SIGUSR1" else run.pid, getattr(signal, name))
        assert run.wait(30) == 7


def test_a_time_limit_ends_it(project):
    traced(project, "true")
    assert project.dre("wrap", "--trace", "--timeout", "0.5", "--", "sleep", "20").returncode == 124


@pytest.mark.parametrize(
    ("word", "status"), [("absent-program", 127), ("./no-shebang", 0), ("./bad-interpreter", 127)]
)
def test_programs_that_exec_refuses(project, word, status):
    for name, text in (("no-shebang", "exit 0\n"), ("bad-interpreter", "#!/absent\n")):
        project.write(name, text)
        os.chmod(project.path / name, 0o755)
    assert project.dre("wrap", "--trace", "--", word).returncode == status


def test_what_stays_behind_is_let_go(project):
    mark = project.path / "late"
    began = time.monotonic()
    traced(project, "sh", "-c", f"(sleep 2; echo late > {mark}) > /dev/null 2>&1 &")
    while not mark.exists() and time.monotonic() - began < 30:
        time.sleep(0.1)
    assert mark.read_text() == "late\n"


def test_a_debugger_inside_is_refused_and_says_so(project):
    if shutil.which("strace") is None:
        pytest.skip("there is no strace")
    done, processes = traced(project, "strace", "-o", "/dev/null", "true")
    assert done.returncode != 0
    assert processes[0]["exitCode"] == done.returncode


def test_the_tracer_is_no_way_to_the_wrappers_memory(project):
    """It is a copy of the wrapper, and as closed to the command as that is."""
    code = (
        "import os\n"
        "for pid in filter(str.isdigit, os.listdir('/proc')):\n"
        "    try:\n"
        "        status = open(f'/proc/{pid}/status').read()\n"
        "        if f'PPid:\\t{os.getppid()}\\n' in status and int(pid) != os.getpid():\n"
        "            print(pid, os.stat(f'/proc/{pid}/environ').st_uid, os.getuid())\n"
        "    except OSError: pass\n"
    )
    done, _ = traced(project, sys.executable, "-c", code)
    rows = [line.split() for line in done.stdout.decode().splitlines()]
    assert rows
    # Files of a process whose memory is hidden belong to root.
    assert {owner for _, owner, _ in rows} == {"0"}


def verdict_of(project, *words):
    traced(project, *words)
    verdict = project.verdict()
    return verdict["verdict"], {
        finding["check"] for method in verdict["methods"].values() for finding in method["findings"]
    }


JUNIT = (
    '<testsuite name="s" tests="1" failures="0" errors="0" skipped="0" time="0.01">'
    '<testcase classname="a" name="b" time="0.01"/></testsuite>'
)


def test_a_report_that_tools_alone_made_is_no_test_run(project):
    project.write("dre.yaml", "capture:\n  junit: [r.xml]\n")
    said, checks = verdict_of(project, "sh", "-c", f"printf '%s' '{JUNIT}' > r.xml; cat r.xml")
    assert said == "contradicted"
    assert "runner-session-present" in checks


def test_a_runner_of_somebodys_own_is_not_accused(project):
    project.write("dre.yaml", "capture:\n  junit: [r.xml]\n")
    project.write("check.py", f"open('r.xml', 'w').write('''{JUNIT}''')\n")
    _, checks = verdict_of(project, sys.executable, "check.py")
    assert "runner-session-present" not in checks
    assert "process-tree-has-runner" not in checks

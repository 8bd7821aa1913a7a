"""The monitor against real process trees."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dre_core.capture import kernel, monitor
from dre_core.capture.inherited import child_environ
from dre_core.capture.monitor import SAMPLES_LIMIT, Monitor, ProcessRecord, ProcessTree, descendants
from dre_core.capture.process import Command, run
from dre_core.capture.result import ProcessResult

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a POSIX system")
needs_proc = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


def has_exit_info() -> bool:
    child = subprocess.Popen(["true"])
    pidfd = kernel.open_pidfd(child.pid)
    child.wait()
    if pidfd is None:
        return False
    status = kernel.exit_status(pidfd)
    os.close(pidfd)
    return status == 0


needs_exit_info = pytest.mark.skipif(
    not has_exit_info(), reason="the kernel does not tell exit statuses by pidfd"
)


def watched(*argv: str, cwd: str = "/") -> tuple[ProcessTree, ProcessResult]:
    observer = Monitor()
    with open(os.devnull, "r+b") as null:
        fd = null.fileno()
        result = run(
            Command(argv=argv, cwd=cwd),
            environ=child_environ(os.environ),
            sinks=lambda *_: None,
            terminal=(fd, fd),
            stdin=fd,
            monitor=observer,
        )
    return observer.finish(), result


def named(tree: ProcessTree, word: str) -> list[ProcessRecord]:
    return [record for record in tree.processes if word in record.argv]


@needs_proc
def test_the_command_itself_is_always_seen() -> None:
    tree, result = watched("true")
    root = tree.processes[0]
    assert (root.pid, root.argv, root.ppid) == (result.pid, ("true",), os.getpid())
    assert root.executable.endswith(("true", "coreutils", "busybox"))
    assert tree.samples
    assert result.gaps == ()


def test_sampling_is_never_complete() -> None:
    assert not watched("true")[0].complete
    assert not watched("sleep", "0.1")[0].complete


@needs_proc
@needs_exit_info
def test_a_tree_with_its_exit_statuses() -> None:
    script = "sh -c \"sleep 0.15; exit 3\"; sh -c 'sleep 0.1; kill -9 $$' x9; sleep 0.12; exit 5"
    tree, result = watched("sh", "-c", script)
    assert result.exit_code == 5
    root = tree.processes[0]
    assert root.exit_code == 5
    failed = [record for record in tree.processes[1:] if record.exit_code == 3]
    assert failed
    assert failed[0].ppid == root.pid
    assert named(tree, "x9")[0].signal == 9
    assert named(tree, "0.12")[0].exit_code == 0
    assert tree.gaps == ()


@needs_proc
@needs_exit_info
def test_an_orphan_is_adopted_watched_and_reaped() -> None:
    before = set(monitor.own_children())
    tree, _ = watched("sh", "-c", "(sh -c 'sleep 0.1; exit 6' orphan &) ; sleep 0.3")
    orphan = named(tree, "orphan")[0]
    assert orphan.exit_code == 6
    assert set(monitor.own_children()) <= before


@needs_proc
def test_what_executes_something_else_is_known_by_its_last_name() -> None:
    tree, _ = watched("sh", "-c", "sleep 0.1; exec sleep 1.21")
    assert tree.processes[0].argv == ("sleep", "1.21")


@needs_proc
def test_cpu_memory_and_threads_are_measured() -> None:
    code = """
import threading, time
held = bytearray(60 << 20)
for _ in range(3): threading.Thread(target=time.sleep, args=(0.4,)).start()
end = time.process_time() + 0.3
while time.process_time() < end: pass
open("/dev/null", "wb").write(bytes(5 << 20))
time.sleep(0.1)
"""
    tree, result = watched(sys.executable, "-I", "-S", "-c", code)
    root = tree.processes[0]
    assert root.max_rss_bytes > 60 << 20
    assert root.threads >= 4
    assert 0.1 < root.cpu_seconds <= result.usage.user_seconds + result.usage.system_seconds + 0.02
    last = tree.samples[-1]
    assert last.cpu_seconds >= 0.1
    assert max(sample.written_bytes for sample in tree.samples) >= 5 << 20
    assert max(sample.threads for sample in tree.samples) >= 4


@needs_proc
def test_samples_are_in_order_and_sums_never_fall() -> None:
    tree, _ = watched(
        "sh", "-c", "for i in 1 2 3; do head -c 3000000 /dev/zero | sha256sum; sleep 0.05; done"
    )
    times = [sample.t_ns for sample in tree.samples]
    assert times == sorted(times)
    for field in ("cpu_seconds", "read_bytes", "written_bytes"):
        values = [getattr(sample, field) for sample in tree.samples]
        assert values == sorted(values)


@needs_proc
def test_samples_are_bounded_by_thinning() -> None:
    child = subprocess.Popen(["sleep", "30"])
    observer = Monitor(child.pid)
    try:
        for step in range(5 * SAMPLES_LIMIT):
            observer.sample(step * 10_000_000_000)
    finally:
        child.kill()
        child.wait()
    tree = observer.finish()
    assert SAMPLES_LIMIT // 3 < len(tree.samples) <= SAMPLES_LIMIT
    gaps = [after.t_ns - before.t_ns for before, after in zip(tree.samples, tree.samples[1:], strict=False)]
    assert max(gaps) <= 2 * sorted(gaps)[len(gaps) // 2]


@needs_proc
def test_the_rhythm_slows_down_and_heeds_its_own_cost() -> None:
    child = subprocess.Popen(["sleep", "30"])
    observer = Monitor(child.pid)
    try:
        waits = []
        for elapsed in (10_000_000, 2_000_000_000, 60_000_000_000):
            began = time.monotonic_ns()
            observer.sample(elapsed)
            cost = time.monotonic_ns() - began
            waits.append(observer.next_due_ns - elapsed)
            assert waits[-1] >= 7_000_000
            assert waits[-1] <= max(100_000_000, 101 * cost)
        assert waits[0] < waits[2]
        assert waits[2] >= 100_000_000
    finally:
        child.kill()
        child.wait()
        observer.finish()


@needs_proc
def test_the_number_of_processes_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor, "PROCESSES_LIMIT", 4)
    tree, result = watched("sh", "-c", "sleep 0.1 & sleep 0.1 & sleep 0.1 & sleep 0.1 & sleep 0.1 & wait")
    assert len(tree.processes) == 4
    assert "process-limit" in tree.gaps
    assert result.exit_code == 0


@needs_proc
def test_without_exit_info_statuses_are_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "open_pidfd", lambda pid: None)
    tree, result = watched("sh", "-c", "sleep 0.05; exit 3")
    assert (result.exit_code, tree.processes[0].exit_code) == (3, None)
    assert "exit-status-unknown" in tree.gaps


def test_psutil_finds_the_same_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor, "_children_source", lambda: monitor._children_by_psutil)
    tree, _ = watched("sh", "-c", "sleep 2.41; true")
    assert len(tree.processes) >= 2
    assert tree.processes[0].argv[:2] == ("sh", "-c")


@needs_proc
def test_short_commands_do_not_load_psutil(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    code = f"""
import sys; sys.path.insert(0, {str(root)!r})
import os
from dre_core.capture.monitor import Monitor
from dre_core.capture.process import Command, run
run(Command(argv=("true",), cwd="/"), environ=dict(os.environ), sinks=lambda *_: None, monitor=Monitor())
heavy = ("psutil", "subprocess", "cryptography", "pytest", "asyncio", "json", "hashlib")
print([name for name in heavy if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


@needs_proc
def test_descendants_nearest_first() -> None:
    child = subprocess.Popen(["sh", "-c", "sh -c 'sleep 5; true'; true"], start_new_session=True)
    try:
        end = time.monotonic() + 10
        while len(descendants(child.pid)) < 2 and time.monotonic() < end:
            time.sleep(0.01)
        near, far = descendants(child.pid)
        assert near in descendants(child.pid)
        assert descendants(near) == (far,)
    finally:
        os.killpg(child.pid, 9)
        child.wait()


def test_a_process_that_is_gone_has_no_descendants() -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    assert descendants(child.pid) == ()

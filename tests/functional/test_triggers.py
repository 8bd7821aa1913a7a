"""Triggers while a command runs, in real runs and beside hostile commands."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from dre_core.capture.collector import Captured, Scene
from dre_core.capture.lookout import Lookout
from dre_core.config import Config
from dre_core.errors import CaptureError
from dre_core.model.trigger import Occasion, Trigger
from dre_core.model.verdict import Vantage

from .test_collectors import item, run_of


def configure(project, *triggers, more=""):
    project.write("dre.yaml", "triggers:\n" + "".join(f"  {line}\n" for line in triggers) + more)
    project.commit()


def moments(project):
    """(occasion, trigger) in order, from the signed items."""
    found = {}
    for entry in run_of(project)["items"]:
        if entry["name"].startswith("moment/"):
            found[entry["name"].split("/")[1]] = (entry["note"]["occasion"], entry["note"]["trigger"])
    return [found[name] for name in sorted(found)]


def test_start_error_and_complete(project):
    configure(project, "t: {when: [start, error, complete], collect: [processes, source]}")
    done = project.dre("wrap", "--", "sh", "-c", "sleep 0.5; exit 3")
    assert (done.returncode, done.stdout, done.stderr) == (3, b"", b"")
    assert moments(project) == [("start", "t"), ("error", "t"), ("complete", "t")]
    started = json.loads(item(project, "moment/0001-start/processes"))["processes"]
    assert started[0]["argv"] == ["sh", "-c", "sleep 0.5; exit 3"]
    assert json.loads(item(project, "moment/0003-complete/git"))["branch"]


def test_a_command_that_ends_well_is_no_error(project):
    configure(project, "t: {when: [error, complete], collect: [files]}")
    project.dre("wrap", "--", "true")
    assert moments(project) == [("complete", "t")]


def test_an_interval_fires_as_often_as_it_fits(project):
    configure(project, "t: {when: [interval], interval_seconds: 0.2, collect: [environment]}")
    project.dre("wrap", "--", "sleep", "1.3")
    taken = [int(e["note"]["elapsedMs"]) for e in run_of(project)["items"] if e["name"].startswith("moment/")]
    assert 2 <= len(taken) <= 6
    assert all(
        later - earlier >= 200 for earlier, later in zip(sorted(taken), sorted(taken)[1:], strict=False)
    )


def test_a_pattern_across_pieces_case_and_colours(project):
    configure(project, "ready: {when: [pattern], patterns: ['Listening ON'], collect: [processes]}")
    code = (
        "import sys, time, socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen()\n"
        "f = open('held.txt', 'w')\n"
        "sys.stdout.write('now lis\\x1b[1mten'); sys.stdout.flush(); time.sleep(0.3)\n"
        "sys.stdout.write('ing on 80\\n'); sys.stdout.flush(); time.sleep(1)\n"
    )
    project.dre("wrap", "--", sys.executable, "-c", code)
    assert moments(project) == [("pattern", "ready")]
    (process,) = json.loads(item(project, "moment/0001-pattern/processes"))["processes"]
    assert [c["status"] for c in process["connections"]] == ["LISTEN"]
    assert str(project.path / "held.txt") in process["openFiles"]
    (entry,) = [e for e in run_of(project)["items"] if e["name"].startswith("moment/")]
    assert entry["note"]["detail"] == "now listening on 80"


def test_words_and_closing_lines(project):
    configure(
        project,
        "a: {when: [error_detected], collect: [files]}",
        "b: {when: [test_complete], collect: [files]}",
        "c: {when: [build_finish], collect: [files]}",
    )
    script = (
        "echo Error: no; sleep 0.3; echo '=== 3 passed in 0.10s ==='; sleep 0.3; echo 'make: *** [x] Error 1'"
    )
    project.dre("wrap", "--", "sh", "-c", script)
    assert moments(project)[:2] == [("error_detected", "a"), ("test_complete", "b")]
    assert ("build_finish", "c") in moments(project)


def test_what_does_not_change_is_kept_once(project):
    configure(
        project,
        "t: {when: [interval, ui_change], interval_seconds: 0.1, collect: [source]}",
    )
    project.dre("wrap", "--", "sh", "-c", "sleep 0.6; echo x > new.txt; sleep 0.8")
    names = [e["name"] for e in run_of(project)["items"] if e["name"].startswith("moment/")]
    assert len(names) == 2


def test_a_limit_holds_and_is_said(project):
    configure(project, "t: {when: [interval, complete], interval_seconds: 0.1, limit: 2, collect: [files]}")
    project.dre("wrap", "--", "sleep", "1")
    assert len(moments(project)) == 2
    assert any("has fired 2 times" in gap["reason"] for gap in run_of(project)["gaps"])


def test_the_screen_when_it_was_and_at_the_end(project):
    pytest.importorskip("pyte", reason="pyte is not installed (the extra visual)")
    configure(
        project,
        "t: {when: [pattern], patterns: [half], collect: [screen]}",
        more="visual: {screen: true}\n",
    )
    project.dre("wrap", "--", "sh", "-c", "echo half; sleep 0.5; echo whole")
    then, last = item(project, "moment/0001-pattern/screen.svg"), item(project, "screen.svg")
    assert b">half<" in then
    assert b">whole<" not in then
    assert b">whole<" in last


def test_moments_are_events_in_the_log(project):
    configure(project, "t: {when: [start, complete], collect: [files]}")
    project.dre("wrap", "--", "true")
    shown = project.dre("log", "list", "--json", "--type", "evidence.triggered").stdout
    assert [event["data"]["occasion"] for event in json.loads(shown)["events"]] == ["start", "complete"]
    assert project.dre("log", "check").returncode == 0


@pytest.mark.parametrize("where", ["wrap", "validate"])
def test_an_unknown_collector_is_refused_before_anything_runs(project, where):
    configure(project, "t: {when: [start], collect: [nobody]}")
    words = ("wrap", "--", "touch", "ran") if where == "wrap" else ("config", "validate")
    done = project.dre(*words)
    assert done.returncode == (125 if where == "wrap" else 2)
    assert b"'nobody'" in done.stderr
    assert b"one of environment, files, processes, screen, screenshot, source" in done.stderr
    assert not (project.path / "ran").exists()


def test_secrets_in_what_is_seen_are_masked(project):
    configure(project, "t: {when: [pattern], patterns: [go], collect: [processes]}")
    secret = "Tr0ub4dor-and-3"
    code = "import time; print('go', flush=True); time.sleep(0.8)"
    project.dre("wrap", "--", sys.executable, "-c", code, secret, environ={"MY_PASSWORD": secret})
    assert b"***" in item(project, "moment/0001-pattern/processes")
    for path in (project.path / ".dre").rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes()


def test_the_command_does_not_notice(project):
    configure(project, "t: {when: [interval, start], interval_seconds: 0.1, collect: [source, files]}")
    script = (
        # Not through a pipe: the shell itself would hold it for a moment.
        "trap 'echo term; exit 5' TERM; sleep 0.5 & wait $!; ls /proc/$$/fd >fds; echo $(cat fds); "
        "kill -TERM 0; sleep 1; echo never"
    )
    # In a session of its own, because it signals its whole group.
    plain = subprocess.run(
        ["sh", "-c", script], cwd=project.path, capture_output=True, start_new_session=True
    )
    wrapped = subprocess.run(
        [sys.executable, "-m", "dre_ci.cli", "wrap", "--", "sh", "-c", script],
        cwd=project.path,
        capture_output=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )
    assert (wrapped.returncode, wrapped.stdout) == (plain.returncode, plain.stdout)
    assert len(moments(project)) >= 3


def test_nothing_stays_behind_a_killed_wrapper(project):
    configure(project, "t: {when: [interval], interval_seconds: 0.1, collect: [source]}")
    wrapper = subprocess.Popen(
        [sys.executable, "-m", "dre_ci.cli", "wrap", "--", "sleep", "30"], cwd=project.path
    )
    family: list[psutil.Process] = []
    deadline = time.monotonic() + 20
    while len(family) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
        family = [p for p in psutil.Process(wrapper.pid).children() if p.status() != psutil.STATUS_ZOMBIE]
    time.sleep(0.5)
    wrapper.send_signal(signal.SIGKILL)
    wrapper.wait()
    _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []


@dataclass
class Stub:
    """A collector of a stranger."""

    name: str
    act: object

    def during(self, scene, moment):
        return self.act(moment)


def _seen(tmp_path, act, *, wait_seconds=20.0, occasions=(Occasion.COMPLETE,)):
    trigger = Trigger(name="t", when=occasions, collect=("stub",))
    scene = Scene(root=tmp_path, cwd=tmp_path, environ={}, config=Config(), operation="", experiment=tmp_path)
    lookout = Lookout((trigger,), {"stub": Stub("stub", act)}, scene, lambda value: value, tmp_path)
    for occasion in occasions:
        lookout.tell(occasion, 5)
    return list(lookout.finish(wait_seconds))


def _one(moment):
    return [Captured(name="x", kind="k", vantage=Vantage.OBSERVED, media_type="text/plain", data=b"data")]


def test_what_a_collector_saw_arrives_whole(tmp_path):
    moment, seen = _seen(tmp_path, _one)
    assert (moment.captured, seen.captured.data, seen.moment.elapsed_ms) == (None, b"data", 5)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "error", [CaptureError("no"), OSError("no"), RuntimeError("no"), ZeroDivisionError()]
)
def test_a_collector_that_fails_is_a_gap_and_others_go_on(tmp_path, error):
    def act(moment):
        if moment.number == 1:
            raise error
        return _one(moment)

    found = _seen(tmp_path, act, occasions=(Occasion.START, Occasion.COMPLETE))
    assert next(entry for entry in found if isinstance(entry, str)).startswith("stub at start")
    assert [entry.captured.data for entry in found if not isinstance(entry, str) and entry.captured] == [
        b"data"
    ]


def test_a_collector_that_hangs_is_cut_off_and_what_it_saw_before_is_kept(tmp_path):
    def act(moment):
        yield from _one(moment)
        time.sleep(600)

    found = _seen(tmp_path, act, wait_seconds=1.0)
    assert "the last looks took longer than 1 s" in found
    assert [entry.captured.data for entry in found if not isinstance(entry, str) and entry.captured] == [
        b"data"
    ]


def test_a_collector_that_kills_its_process_loses_nothing_before(tmp_path):
    def act(moment):
        yield from _one(moment)
        os.kill(os.getpid(), signal.SIGKILL)

    found = _seen(tmp_path, act)
    assert [entry.captured.data for entry in found if not isinstance(entry, str) and entry.captured] == [
        b"data"
    ]

"""What is seen of a command while it runs: open files, connections, windows, live events, the trace that is sealed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

from dre_core.capture import monitor as monitors
from dre_core.capture.descriptors import CONNECTIONS_LIMIT, FILES_LIMIT, Descriptors
from dre_core.capture.monitor import Cgroup, Monitor
from dre_core.crypto.dsse import Envelope

from .test_collectors import item, run_of

NETWORK = """
import socket, time
held = open("held.txt", "w")
for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
    try:
        server = socket.socket(family); server.bind((host, 0)); server.listen()
        client = socket.create_connection(server.getsockname()[:2])
        globals()[host] = (server, client)
        print(client.getsockname()[1], server.getsockname()[1], flush=True)
    except OSError:
        print("none none", flush=True)
time.sleep(3)
"""


def envelopes(project):
    (path,) = (project.path / ".dre" / "experiments").glob("*/run.intoto.jsonl")
    return [Envelope.parse(line) for line in path.read_bytes().splitlines()]


def trace_of(project):
    for envelope in envelopes(project):
        statement = json.loads(envelope.payload)
        if "/runtime-trace/" in statement["predicateType"]:
            return statement
    raise AssertionError("no runtime trace was sealed")


def test_connections_and_open_files_are_seen_and_sealed(project):
    done = project.dre("wrap", "--", sys.executable, "-c", NETWORK)
    lines = [line.split() for line in done.stdout.decode().splitlines()]
    seen = json.loads(item(project, "process"))
    ends = {(c["local"], c["remote"], c["state"]) for c in seen["connections"]}
    for (client, server), host in zip(lines, ("127.0.0.1", "[::1]"), strict=True):
        if client != "none":
            assert (f"{host}:{client}", f"{host}:{server}", "established") in ends
            assert (f"{host}:{server}", "", "listen") in ends
    assert str(project.path / "held.txt") in seen["files"]
    assert seen["processes"][0]["openFiles"] >= 1
    assert seen["processes"][0]["threads"] == 1
    network = trace_of(project)["predicate"]["monitorLog"]["network"]
    client, server = lines[0]
    assert {"ip": "127.0.0.1", "port": int(server), "protocol": "tcp"} in [
        {name: entry[name] for name in ("ip", "port", "protocol")} for entry in network
    ]


def test_the_trace_states_its_sampling_and_what_was_not_seen(project):
    project.dre("wrap", "--", "sh", "-c", "sleep 0.05; exit 3")
    trace = trace_of(project)
    assert trace["predicateType"] == "https://in-toto.io/attestation/runtime-trace/v0.1"
    policy = trace["predicate"]["monitor"]["tracePolicy"]
    assert policy["method"] == "sampled"
    assert policy["longestIntervalMs"] >= 1
    assert policy["looks"] >= 2
    assert "open-files-not-looked-at" in policy["unseen"]
    (shell, *_) = trace["predicate"]["monitorLog"]["process"]
    assert (shell["arguments"], shell["exitCode"]) == (["sh", "-c", "sleep 0.05; exit 3"], 3)
    run = run_of(project)
    assert trace["predicate"]["monitoredProcess"]["event"] == f"urn:dre:operation:{run['operation']}"
    assert trace["predicate"]["metadata"]["buildStartedOn"] == run["started"]
    (access,) = trace["predicate"]["monitorLog"]["fileAccess"]
    assert f"sha256:{access['digest']['sha256']}" == run["command"]["executableDigest"]


def test_the_trace_is_an_envelope_of_its_own_about_the_run(project):
    project.dre("wrap", "--", "true")
    run, trace = [json.loads(envelope.payload) for envelope in envelopes(project)]
    assert run["subject"] == trace["subject"]
    assert project.verdict()["integrity"]["result"] == "valid"


def test_secrets_in_arguments_stay_out_of_the_trace(project):
    secret = "Tr0ub4dor-and-3"
    code = "import time; time.sleep(0.3)"
    project.dre("wrap", "--", sys.executable, "-c", code, secret, environ={"MY_PASSWORD": secret})
    for envelope in envelopes(project):
        assert secret.encode() not in envelope.payload
    assert "***" in json.dumps(trace_of(project))


def test_a_short_run_tells_its_output_once_and_a_silent_one_nothing(project):
    project.dre("wrap", "--", "sh", "-c", "echo one; echo Error two >&2")
    project.dre("wrap", "--", "true")
    events = json.loads(project.dre("log", "list", "--json", "--type", "operation.output").stdout)["events"]
    told = {(e["data"]["stream"], e["data"]["offset"], e["data"]["length"]) for e in events}
    assert told == {("stdout", "0", "4"), ("stderr", "0", "10")}
    assert {"error": 1} in [event["data"]["patterns"] for event in events]


def test_a_long_run_is_told_while_it_goes_on(project):
    project.dre("init")
    script = "for i in 1 2 3 4 5 6 7 8; do echo line $i; sleep 0.5; done"
    wrapper = subprocess.Popen(
        [sys.executable, "-m", "dre_ci.cli", "wrap", "--", "sh", "-c", script],
        cwd=project.path,
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 30
    early = []
    while not early and time.monotonic() < deadline and wrapper.poll() is None:
        shown = project.dre("log", "list", "--json", "--type", "operation.output").stdout
        early = json.loads(shown)["events"]
    assert wrapper.poll() is None
    assert early
    assert wrapper.wait() == 0
    events = json.loads(project.dre("log", "list", "--json", "--type", "operation.output").stdout)["events"]
    assert sum(int(event["data"]["length"]) for event in events) == 8 * len("line 1\n")
    places = [int(event["data"]["offset"]) for event in events]
    assert places == sorted(places)
    assert project.dre("log", "check").returncode == 0
    assert set(json.loads(item(project, "process"))["metrics"]["windows"]) >= {"cpu_cores", "rss_bytes"}


def test_the_kernel_counts_what_sampling_misses():
    group = Cgroup.own()
    if group is None:
        pytest.skip("no control group is readable")
    subprocess.run([sys.executable, "-c", "sum(range(3_000_000))"], check=True)
    assert group.used()["cpuNs"] > 10_000_000


def test_without_proc_the_tree_is_measured_through_psutil(monkeypatch):
    monkeypatch.setattr(monitors, "_children_source", lambda: monitors._children_by_psutil)
    child = subprocess.Popen([sys.executable, "-c", "b = bytearray(30_000_000); import time; time.sleep(30)"])
    try:
        watching = Monitor()
        watching.start(child.pid)
        time.sleep(0.5)
        watching.sample(monitors.PSUTIL_AFTER_NS + 1)
        tree = watching.finish()
    finally:
        child.kill()
        child.wait()
    assert tree.processes[0].max_rss_bytes > 30_000_000
    assert tree.processes[0].threads == 1
    assert tree.samples[-1].rss_bytes > 30_000_000


@pytest.mark.parametrize("how", ["_look_by_proc", "_look_by_psutil"])
def test_files_are_listed_up_to_a_limit(tmp_path, how):
    held = [(tmp_path / str(number)).open("w") for number in range(FILES_LIMIT + 10)]
    try:
        seen = Descriptors()
        getattr(seen, how)(os.getpid())
    finally:
        for file in held:
            file.close()
    assert len(seen.files) == FILES_LIMIT
    assert len(seen.connections) <= CONNECTIONS_LIMIT
    assert seen.is_cut
    assert seen.most_files[os.getpid()] >= FILES_LIMIT


@pytest.mark.parametrize("how", ["_look_by_proc", "_look_by_psutil"])
def test_a_process_that_is_gone_is_passed_over(how):
    child = subprocess.Popen(["true"])
    child.wait()
    seen = Descriptors()
    getattr(seen, how)(child.pid)
    assert seen.files == {}


def test_more_processes_than_one_look_takes_come_in_turn(monkeypatch):
    seen = Descriptors()
    looked: list[int] = []
    monkeypatch.setattr(seen, "_look_by_proc", looked.append)
    monkeypatch.setattr(seen, "_look_by_psutil", looked.append)
    for _ in range(3):
        seen.look(range(100))
    assert set(looked) == set(range(100))


def test_a_short_run_has_no_windows(project):
    project.dre("wrap", "--", "true")
    assert json.loads(item(project, "process"))["metrics"] is None

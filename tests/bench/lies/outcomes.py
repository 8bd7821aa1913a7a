"""A pytest plugin of the benchmark: one JSON line a test that did not simply pass, and a list of those that did.

Loaded by ``-p outcomes`` when mutants are tried and gates are checked, never in a run that is timed or judged.
"""

from __future__ import annotations

import json
import os

FILE = os.environ.get("LIES_OUTCOMES", "")
RANK = {"passed": 0, "skipped": 1, "xfailed": 1, "failed": 2}
seen: dict[str, tuple[str, str]] = {}


def pytest_runtest_logreport(report):
    outcome = report.outcome
    if outcome == "skipped" and hasattr(report, "wasxfail"):
        outcome = "xfailed"
    if report.when != "call" and outcome == "passed":
        return
    kind = ""
    if outcome == "failed":
        crash = getattr(report.longrepr, "reprcrash", None)
        kind = crash.message.partition(":")[0].partition("\n")[0] if crash else "error"
    if RANK[outcome] >= RANK.get(seen.get(report.nodeid, ("passed", ""))[0], 0):
        seen[report.nodeid] = (outcome, kind)


def pytest_collectreport(report):
    if report.outcome == "failed":
        seen[report.nodeid] = ("broken", "")


def pytest_unconfigure(config):
    if FILE:
        with open(FILE, "w") as stream:
            json.dump(seen, stream)

"""Commands without tests that return 0 although what they ran did not."""

from __future__ import annotations

import sys

import pytest

BROKEN = "print('building')\nraise ValueError('no input')\n"
CAUGHT = "import traceback\ntry:\n    1 / 0\nexcept ZeroDivisionError:\n    traceback.print_exc()\n"


@pytest.mark.parametrize(
    ("script", "command", "verdict", "severity"),
    [
        (BROKEN, "{} || true", "contradicted", "veto"),
        (CAUGHT, "{}", "inconclusive", "warn"),
    ],
)
def test_a_traceback_at_the_end(project, script, command, verdict, severity):
    project.write("build.py", script)
    project.commit("build")
    project.dre("wrap", "--", "sh", "-c", command.format(f"{sys.executable} build.py"))
    told = project.verdict()
    assert told["verdict"] == verdict
    assert project.findings(told).get("error-log-exit0") == severity

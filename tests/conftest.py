"""What all tests share: a home of their own, and a project to record in."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

pytest_plugins = ["pytester"]

# A machine that is busy is no bug.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

_OUTSIDE = ("CI", "GITHUB_", "GITLAB_", "DRE_", "XDG_", "GIT_", "PYTEST_", "__TOX_")


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory, monkeypatch):
    """Keys, state and configuration of the person who runs the tests are out of reach."""
    for name in list(os.environ):
        if name.startswith(_OUTSIDE) and name not in ("PYTEST_CURRENT_TEST", "PYTEST_XDIST_WORKER"):
            monkeypatch.delenv(name, raising=False)
    # Under nohup, in the background of a script, and in some CI systems, children would inherit ignored signals.
    for name in ("SIGHUP", "SIGQUIT"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    return home


class Project:
    """A folder with a git history in which commands really run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, name: str, text: str) -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def git(self, *arguments: str) -> str:
        names = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
        done = subprocess.run(
            ["git", *names, *arguments], cwd=self.path, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    def commit(self, message: str = "change") -> str:
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")

    def run(
        self,
        *words: str,
        environ: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        cwd: Path | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            words,
            cwd=cwd or self.path,
            env={**os.environ, **(environ or {})},
            input=stdin,
            capture_output=True,
            timeout=120,
            check=False,
        )

    def dre(self, *words: str, **more: Any) -> subprocess.CompletedProcess[bytes]:
        return self.run(sys.executable, "-m", "dre_ci.cli", *words, **more)

    def pytest(self, *words: str, **more: Any) -> subprocess.CompletedProcess[bytes]:
        return self.run(*PYTEST, *words, **more)

    def wrap_pytest(self, *words: str, **more: Any) -> subprocess.CompletedProcess[bytes]:
        return self.dre("wrap", "--", *PYTEST, "--dre", *words, **more)

    def verdict(self, *words: str, **more: Any) -> dict[str, Any]:
        return json.loads(self.dre("verify", "--json", *words, **more).stdout)

    def findings(self, verdict: Mapping[str, Any]) -> dict[str, str]:
        """Check id to severity, over all methods."""
        return {
            finding["check"]: finding["severity"]
            for method in verdict["methods"].values()
            for finding in method["findings"]
        }


PYTEST = (
    sys.executable,
    "-m",
    "pytest",
    *("-p", "no:cacheprovider"),
    *("-p", "no:hypothesispytest"),
    *("-p", "no:randomly"),
)


@pytest.fixture
def project(tmp_path):
    """A committed project with two passing tests."""
    return _shop(tmp_path / "project")


@pytest.fixture(scope="session")
def make_project():
    """Makes such a project in a folder that is not there yet."""
    return _shop


def _shop(path: Path) -> Project:
    made = Project(path)
    made.path.mkdir()
    made.git("init", "-q")
    made.write(".gitignore", "__pycache__/\n")
    made.write("shop.py", "def double(n):\n    return 2 * n\n")
    made.write(
        "test_shop.py",
        "from shop import double\n\ndef test_two():\n    assert double(1) == 2\n\n"
        "def test_four():\n    assert double(2) == 4\n",
    )
    made.commit("begin")
    return made

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dre_core.model.journal import fold
from dre_core.model.session import Session

PLAIN_OPERATION = '''
"""An operation that is only a folder: journals without sealing."""
import sys, types
from pathlib import Path

root = Path({root!r})


class Operation:
    journal_dir = root / "journal"
    attachments_dir = root / "attachments"

    @staticmethod
    def mask(text):
        return text.replace("hunter2", "***")

    def header(self):
        return "dre: plain folder"

    def finish(self, exit_status, recorder):
        result = types.SimpleNamespace()
        counted = f"dre: {{recorder.session().counts.passed}} passed, status {{exit_status}}"
        result.lines = ["dre: verdict plain", counted]
        result.enforce_failed = True
        return result


module = types.ModuleType("dre_pytest.operation")
module.OwnOperation = Operation
module.open_operation = lambda config: Operation()
sys.modules["dre_pytest.operation"] = module
module = types.ModuleType("dre_core.masking")
module.masker_of = lambda directory, environ: types.SimpleNamespace(text=Operation.mask)
sys.modules["dre_core.masking"] = module
'''


class Recorded:
    """Runs pytest in a child process with the recorder, against a folder."""

    def __init__(self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pytester = pytester
        root = Path(__file__).resolve().parents[2]
        monkeypatch.setenv("PYTHONPATH", f"{pytester.path}{':' if sys.platform != 'win32' else ';'}{root}")
        monkeypatch.delenv("DRE_OPERATION", raising=False)
        monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
        pytester.makepyfile(plain_operation=PLAIN_OPERATION.format(root=str(pytester.path / "records")))
        # Only what a test names is loaded: faster, and the same wherever the tests run.
        monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        self.prefix = ("-p", "plain_operation", "-p", "dre_pytest.plugin", "-p", "no:cacheprovider")

    def run(self, *args: str) -> pytest.RunResult:
        return self.pytester.runpytest_subprocess(*self.prefix, "--dre", *args)

    def plain(self, *args: str) -> pytest.RunResult:
        return self.pytester.runpytest_subprocess("-p", "no:cacheprovider", *args)

    def files(self) -> list[Path]:
        return sorted((self.pytester.path / "records" / "journal").glob("*/*.jsonl"))

    def sessions(self) -> list[Session]:
        folders = sorted({file.parent for file in self.files()}, key=lambda folder: folder.stat().st_mtime_ns)
        return [_fold(folder) for folder in folders]

    def session(self) -> Session:
        (session,) = self.sessions()
        return session


def _fold(folder: Path) -> Session:
    session = fold(
        {file.stem: file.read_bytes().splitlines(keepends=True) for file in folder.glob("*.jsonl")}
    )
    # The stand-in for the operation replaces functions of the plugin, as it should.
    return replace(session, hooks=tuple(note for note in session.hooks if note.file != "plain_operation.py"))


@pytest.fixture
def recorded(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Recorded:
    return Recorded(pytester, monkeypatch)


@pytest.fixture
def outcomes() -> Callable[[Session], dict[str, str]]:
    """Test name to outcome."""
    return lambda session: {test.id.partition("::")[2]: test.outcome.value for test in session.tests}

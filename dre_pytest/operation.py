"""A pytest session's own operation: opened when pytest is configured, sealed and judged when it ends.

Inside ``dre wrap`` there is none of it: the wrapper's operation takes the records in. This module is the only
place where the plugin meets the engine.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dre_core.engine import Engine, Wishes
from dre_core.errors import DREError
from dre_core.exchange import export
from dre_core.model.policy import Policy
from dre_core.model.record import dataclass
from dre_core.model.verdict import Conclusion
from dre_core.operation import Operation
from dre_core.recovery import recover
from dre_core.report.build import Report
from dre_core.report.summary import summary_lines
from dre_core.sealing import Sealing, finish_session

if TYPE_CHECKING:
    from dre_pytest.recorder import Recorder


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishResult:
    """What is shown at the end.

    Attributes:
        lines: The verdict block, the verdict itself first.
        enforce_failed: The verdict is not ``supported``.
    """

    lines: tuple[str, ...]
    enforce_failed: bool


@dataclass(slots=True, kw_only=True)
class OwnOperation:
    """One session's operation; made by :func:`open_operation`.

    Attributes:
        engine: The project's engine.
        operation: The operation under way.
        policy: The policy to judge by.
        config: pytest's configuration.
        started_ns: Monotonic clock at the opening.
    """

    engine: Engine
    operation: Operation
    policy: Policy
    config: pytest.Config
    started_ns: int

    @property
    def journal_dir(self) -> Path:
        """Where the session's journals go."""
        return self.operation.experiment.journal

    @property
    def attachments_dir(self) -> Path:
        """Where attached files are copied to."""
        return self.operation.experiment.attachments

    @property
    def mask(self) -> Callable[[str], str]:
        """Removes secrets from a text."""
        return self.operation.masker.text

    def header(self) -> str:
        """One line at the start of the session."""
        signer = self.operation.authority.signer.keyid[:16]
        return f"dre: recording {self.operation.id}, sealed by key {signer}"

    def finish(self, exit_status: int, recorder: Recorder) -> FinishResult:
        """Seals and judges the session.

        Raises:
            DREError: The evidence could not be sealed.
        """
        from dre_pytest.plugin import setting

        duration = time.monotonic_ns() - self.started_ns
        try:
            sealing = self._seal(exit_status, duration, bool(recorder.collection.errors))
        finally:
            self.operation.close()
            self.operation.log.close()
        lines = self._lines(sealing)
        target = self.config.getoption("dre_export")
        if target:
            path = _resolved(self.config, target)
            export(self.engine, [self.operation.id], path)
            lines.append(f"     archive {_shown(path)}")
        junit = setting(self.config, "junit")
        if junit:
            path = _resolved(self.config, junit)
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.operation.experiment.junit, path)
        verdict = sealing.verdict
        supported = verdict is not None and verdict.conclusion is Conclusion.SUPPORTED
        return FinishResult(lines=tuple(lines), enforce_failed=not supported)

    def _seal(self, exit_status: int, duration_ns: int, uncollected: bool) -> Sealing:
        from dre_pytest.plugin import setting

        mode = (
            ""
            if not setting(self.config, "replay")
            else "matrix"
            if self.operation.facts.source.base
            else "clean"
        )
        return finish_session(
            self.engine,
            self.operation,
            exit_status,
            duration_ns,
            self.policy,
            mode,
            interrupted=exit_status == pytest.ExitCode.INTERRUPTED and not uncollected,
        )

    def _lines(self, sealing: Sealing) -> list[str]:
        assert sealing.verdict is not None
        experiment = self.operation.experiment
        paths = {"report": _shown(experiment.markdown), "junit": _shown(experiment.junit)}
        return summary_lines(Report(verdict=sealing.verdict, evidence=sealing.evidence), paths)


def _resolved(config: pytest.Config, target: str) -> Path:
    return Path(config.invocation_params.dir, os.path.expanduser(target))


def _shown(path: Path) -> str:
    try:
        return os.path.relpath(path)
    except ValueError:  # another drive, on Windows
        return str(path)


def open_operation(config: pytest.Config) -> OwnOperation:
    """Opens an operation for this session.

    Raises:
        ConfigError: The configuration or the policy can't be used.
        StorageError: The evidence can't be kept.
    """
    from dre_pytest.plugin import setting

    engine = Engine.open(config.invocation_params.dir)
    policy = engine.policy(setting(config, "policy") or "")
    if engine.folder.exists:
        _recover(engine)
    wishes = Wishes(
        name="pytest",
        nonce=config.getoption("dre_nonce") or "",
        base=setting(config, "base") or "",
        junit=_own_junit(config),
    )
    started = time.monotonic_ns()
    operation = engine.begin("pytest", _command_line(config), wishes)
    return OwnOperation(engine=engine, operation=operation, policy=policy, config=config, started_ns=started)


def _recover(engine: Engine) -> None:
    try:
        recover(engine)
    except DREError:
        # What can't be recovered now must not keep this session from being recorded.
        return


def _own_junit(config: pytest.Config) -> tuple[str, ...]:
    """The report that pytest itself is asked to write, so that it can be held against the record."""
    path = config.getoption("xmlpath", None)
    return (os.path.expanduser(path),) if path else ()


def _command_line(config: pytest.Config) -> tuple[str, ...]:
    """The command line as the user gave it, without the machine's path of the program."""
    program = os.path.basename(sys.argv[0]) if sys.argv and sys.argv[0] else "pytest"
    name = "pytest" if program in ("__main__.py", "pytest", "py.test", "pytest.exe") else program
    return (name, *map(str, config.invocation_params.args))

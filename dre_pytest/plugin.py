"""The pytest plugin: options, and whether and where a session is recorded.

Without ``--dre`` (or ``dre = true`` in the ini file) it registers its options and nothing else: everything
that costs anything is imported in :func:`pytest_configure`, when asked for.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from dre_pytest.coverage import Measurement
    from dre_pytest.fixtures import Attach
    from dre_pytest.operation import OwnOperation
    from dre_pytest.recorder import Recorder

recorder_key = pytest.StashKey["Recorder"]()
"""Where other plugins find the recorder of this process: ``config.stash.get(recorder_key, None)``."""
_MAX_OPERATION_ID = 64
_SHOWS_AND_EXITS = ("help", "version", "markers", "cacheshow", "showfixtures", "show_fixtures_per_test")


@pytest.fixture
def dre(request: pytest.FixtureRequest) -> Attach:
    """Attach files and remarks to the test: ``attach``, ``screenshot``, ``note``; no-ops when off."""
    from dre_pytest.fixtures import Attach

    return Attach(request.node.nodeid, request.config.stash.get(recorder_key, None))


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("dre", "recording of evidence (DRE)")
    group.addoption(
        "--dre", action="store_true", default=None, help="record this session and seal what was seen"
    )
    group.addoption("--no-dre", action="store_true", help="do not record, whatever the ini file says")
    group.addoption("--dre-export", metavar="PATH", help="write the sealed evidence to this archive")
    group.addoption("--dre-junit", metavar="PATH", help="write a JUnit XML report made from the record")
    group.addoption("--dre-policy", metavar="FILE", help="policy that the verdict is held to")
    group.addoption("--dre-base", metavar="REV", help="commit that the change is compared with")
    group.addoption("--dre-cov", action="store_true", default=None, help="measure coverage as well")
    group.addoption("--dre-replay", action="store_true", default=None, help="run again from a clean clone")
    group.addoption(
        "--dre-enforce", action="store_true", default=None, help="fail unless the verdict is supported"
    )
    group.addoption("--dre-nonce", metavar="N", help="text to seal into the record, against replays")
    parser.addini("dre", "record every session", type="bool", default=False)
    parser.addini("dre_junit", "like --dre-junit", default="")
    parser.addini("dre_policy", "like --dre-policy", default="")
    parser.addini("dre_base", "like --dre-base", default="")
    parser.addini("dre_cov", "like --dre-cov", type="bool", default=False)
    parser.addini("dre_replay", "like --dre-replay", type="bool", default=False)
    parser.addini("dre_enforce", "like --dre-enforce", type="bool", default=False)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "dre(key=value, ...): facts to record with the test")
    if hasattr(config, "workerinput"):
        _configure_worker(config)
    elif _wanted(config):
        _configure_main(config)


def setting(config: pytest.Config, name: str) -> Any:
    """An option of the group, or its ini twin where the option was not given.

    Args:
        config: pytest's configuration.
        name: Without ``dre_``, as ``enforce``.
    """
    value = config.getoption(f"dre_{name}")
    return config.getini(f"dre_{name}") if value is None else value


def _wanted(config: pytest.Config) -> bool:
    option = config.option
    if option.no_dre or any(getattr(option, name, None) for name in _SHOWS_AND_EXITS):
        return False
    return bool(option.dre or config.getini("dre"))


def _configure_main(config: pytest.Config) -> None:
    from dre_core.errors import UsageError
    from dre_core.garbage import unsearched

    face = Face(config)
    try:
        with unsearched():
            face.open()
    except UsageError as error:
        raise pytest.UsageError(f"dre: {error}") from None
    except Exception as error:  # recording never fails a run by itself
        face.warnings.append(f"not recording: {error}")
    config.pluginmanager.register(face, "dre-face")


def _configure_worker(config: pytest.Config) -> None:
    """Record in a worker what the controller asked for; a worker on another machine was not asked."""
    told = config.workerinput.get("dre")  # type: ignore[attr-defined]
    if told is None:
        return
    try:
        from dre_pytest.recorder import Recorder

        recorder = Recorder(
            config,
            Path(told["directory"]),
            _mask(config),
            told["session"],
            told["nonce"],
            worker=config.workerinput["workerid"],  # type: ignore[attr-defined]
            attachments=Path(told["attachments"]),
        )
        recorder.register()
        config.stash[recorder_key] = recorder
        if told["coverage"]:
            _measure_worker(config, recorder, Path(told["coverage"]))
    except Exception:  # noqa: S110  the controller's view is left, and its fold names the missing journal
        pass


def _measure_worker(config: pytest.Config, recorder: Recorder, folder: Path) -> None:
    from dre_pytest.coverage import Measurement, is_measured

    if not is_measured(config):
        measurement = Measurement(folder / f"{recorder.session_id}.{recorder.worker}.part", config.rootpath)
        config.pluginmanager.register(measurement, "dre-coverage")
        recorder.after_finish = lambda session: measurement.finish()


def _mask(config: pytest.Config) -> Callable[[str], str]:
    """The masker of a process that has no operation of its own: an xdist worker, a session inside a wrapper."""
    from dre_core.masking import masker_of

    return masker_of(config.invocation_params.dir, os.environ).text


def _directory(config: pytest.Config, warnings: list[str]) -> tuple[Path, OwnOperation | None]:
    """Choose where the records go.

    Inside ``dre wrap`` (``DRE_OPERATION`` is set and the wrapper holds that operation's lock) they go to the
    wrapper's operation, unsigned; otherwise this session opens an operation of its own.

    Returns:
        The operation's folder, and the operation if it is our own.
    """
    if name := os.environ.get("DRE_OPERATION"):
        folder = _outer_operation(name, config)
        if folder is not None:
            return folder, None
        warnings.append(f"DRE_OPERATION names {name[:80]!r}, which is not running; recording on my own")
    from dre_pytest.operation import open_operation

    operation = open_operation(config)
    return operation.journal_dir.parent, operation


def _outer_operation(name: str, config: pytest.Config) -> Path | None:
    """The folder of a running operation, None if there is none of that name or nobody holds its lock."""
    if len(name) > _MAX_OPERATION_ID or not name.replace("_", "").isalnum():
        return None
    start = config.invocation_params.dir.absolute()
    roots = (
        [Path(told)]
        if (told := os.environ.get("DRE_DIR"))
        else [each / ".dre" for each in (start, *start.parents)]
    )
    for root in roots:
        folder = root.absolute() / "experiments" / name
        if folder.is_dir():
            return folder if _is_locked(folder / "lock") else None
    return None


def _is_locked(path: Path) -> bool:
    """Whether another process holds an exclusive lock on the file."""
    try:
        import fcntl
    except ImportError:  # no flock here: a wrapper would not hold one either
        return False
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


class Face:
    """What a recorded session shows: a line at the start, the verdict after pytest's own closing line."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.warnings: list[str] = []
        self.recorder: Recorder | None = None
        self.operation: OwnOperation | None = None
        self._folder: Path | None = None
        self._measurement: Measurement | None = None
        self._opened_at = time.time()

    def open(self) -> None:
        """Open the journal, in an operation of our own or in the wrapper's."""
        import secrets

        from dre_pytest.recorder import Recorder

        self._folder, self.operation = _directory(self.config, self.warnings)
        recorder = Recorder(
            self.config,
            self.operation.journal_dir if self.operation else self._folder / "journal",
            self.operation.mask if self.operation else _mask(self.config),
            secrets.token_hex(16),
            secrets.token_hex(16),
            attachments=self._attachments(),
        )
        recorder.after_finish = self.finish
        recorder.register()
        self.recorder = self.config.stash[recorder_key] = recorder
        if setting(self.config, "cov"):
            try:
                self._measure(recorder)
            except Exception as error:
                self.warnings.append(f"no coverage is measured: {error}")

    @property
    def _coverage(self) -> Path:
        assert self._folder is not None
        return self._folder / "coverage"

    def _measure(self, recorder: Recorder) -> None:
        from dre_pytest.coverage import Measurement, is_measured

        if is_measured(self.config):
            return  # what somebody else measures is read when it is done
        part = self._coverage / f"{recorder.session_id}.{recorder.worker}.part"
        self._measurement = Measurement(part, self.config.rootpath)
        self.config.pluginmanager.register(self._measurement, "dre-coverage")

    def _take_coverage(self, recorder: Recorder) -> None:
        """Leave the session's coverage data where sealing finds them, whoever measured."""
        if self._measurement is not None:
            from dre_pytest.coverage import combine

            self._measurement.finish()
            for worker in combine(self._coverage, recorder.session_id, recorder.workers()):
                recorder.problem(f"no-coverage: {worker} left no coverage data")
        elif "coverage" in sys.modules:
            from dre_pytest.coverage import borrow

            borrow(self.config, self._coverage / f"{recorder.session_id}.sqlite", self._opened_at)

    def _attachments(self) -> Path:
        assert self._folder is not None
        return self.operation.attachments_dir if self.operation else self._folder / "attachments"

    def pytest_report_header(self) -> str:
        if self.recorder is None or self._folder is None:
            return "dre: not recording"
        return self.operation.header() if self.operation else f"dre: recording into {self._folder.name}"

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell a local xdist worker where to record."""
        recorder = self.recorder
        if recorder is None or not node.gateway.spec.popen:
            return
        node.workerinput["dre"] = {
            "directory": str(recorder.folder.parent),
            "session": recorder.session_id,
            "nonce": recorder.nonce,
            "attachments": str(self._attachments()),
            "coverage": str(self._coverage) if self._measurement is not None else "",
        }

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Any:
        """Only where nothing could be recorded: the recorder calls :meth:`finish` itself otherwise."""
        result = yield
        if self.recorder is None:
            self.finish(session)
        return result

    def finish(self, session: pytest.Session) -> None:
        """Seal, show the verdict, and let ``--dre-enforce`` speak."""
        from dre_core.garbage import unsearched

        with unsearched():
            lines, failed = self._sealed(session)
        quiet = self.config.get_verbosity() < 0
        self._show([*(f"dre: warning: {text}" for text in self.warnings), *(lines[:1] if quiet else lines)])
        if failed and setting(self.config, "enforce") and int(session.exitstatus) == 0:
            session.exitstatus = 1

    def _sealed(self, session: pytest.Session) -> tuple[list[str], bool]:
        recorder = self.recorder
        if recorder is None:
            return [], True
        if recorder.warning:
            self.warnings.append(recorder.warning)
        try:
            self._take_coverage(recorder)
        except Exception as error:
            self.warnings.append(f"no coverage: {error}")
        try:
            if self.operation is None:
                self._write_junit(recorder)
                return [], False
            result = self.operation.finish(int(session.exitstatus), recorder)
        except Exception as error:
            self.warnings.append(f"not sealed: {error}")
            return [], True
        return list(result.lines), result.enforce_failed

    def _write_junit(self, recorder: Recorder) -> None:
        """The report of a session inside a wrapper; an operation of our own writes it itself."""
        target = setting(self.config, "junit")
        if target:
            from dre_core.report.junit import write_session

            path = Path(self.config.invocation_params.dir, os.path.expanduser(target))
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as stream:
                write_session(stream, recorder.session())

    def _show(self, lines: list[str]) -> None:
        terminal: Any = self.config.pluginmanager.get_plugin("terminalreporter")
        for line in lines if terminal is not None else ():
            terminal.ensure_newline()
            terminal.write_line(line)

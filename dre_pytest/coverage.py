"""``--dre-cov``: coverage of the session, into files that are sealed with the record.

Measured are lines and branches of the project below pytest's root, with the project's own coverage configuration and
each test as a context. With xdist every worker measures, and the controller combines what they left. Where somebody
measures already (pytest-cov, ``coverage run``), that is left alone and only read when it is done; without
``--dre-cov`` as well.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from coverage import Coverage, CoverageData

_QUIET = ("no-data-collected", "module-not-measured", "module-not-imported", "dynamic-conflict")


class Measurement:
    """Coverage of this process, from its making until :meth:`finish`; a plugin that names the test to coverage.

    Args:
        file: Where the data goes; its folder is made.
        root: What is measured.
    """

    def __init__(self, file: Path, root: Path) -> None:
        from coverage import Coverage

        file.parent.mkdir(parents=True, exist_ok=True)
        self._pid = os.getpid()
        self._coverage: Coverage | None = Coverage(
            data_file=str(file), branch=True, source=[str(root)], messages=False
        )
        # A session without any line of the project is no reason to warn in its output.
        self._coverage.set_option("run:disable_warnings", list(_QUIET))
        self._coverage.set_option("run:dynamic_context", None)
        _name_contexts(self._coverage)
        self._coverage.start()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        self._switch(item.nodeid)
        try:
            return (yield)
        finally:
            self._switch("")

    def _switch(self, context: str) -> None:
        if self._coverage is None or os.getpid() != self._pid:
            return
        try:
            self._coverage.switch_context(context)
        except Exception:
            # A test has stopped the measuring that it runs under; what was measured until then is kept.
            with suppress(Exception):
                self.finish()

    def finish(self) -> None:
        """Stops and writes the data."""
        if self._coverage is not None and os.getpid() == self._pid:
            coverage, self._coverage = self._coverage, None
            coverage.stop()
            coverage.save()


def _name_contexts(coverage: Coverage) -> None:
    """Have a core that can tell contexts apart; older versions of coverage know no other."""
    from coverage.exceptions import ConfigError

    try:
        coverage.set_option("run:core", "ctrace")
    except ConfigError:
        return


def is_measured(config: pytest.Config) -> bool:
    """Whether somebody measures in this process, or is going to."""
    if config.pluginmanager.has_plugin("_cov") and not config.getoption("no_cov", False):
        return True
    return _is_running()


def _is_running() -> bool:
    coverage = sys.modules.get("coverage")
    return coverage is not None and coverage.Coverage.current() is not None


def combine(folder: Path, session: str, workers: Iterable[str]) -> list[str]:
    """Put what this process and the workers measured into one file, ``<session>.sqlite``.

    Args:
        folder: Where they left it, ``<session>.<worker>.part``.
        session: The session's id.
        workers: The processes that were to measure.

    Returns:
        Those of them that left nothing, because they died.
    """
    from coverage import CoverageData

    parts = sorted(folder.glob(f"{session}.*.part"))
    left = {part.name.removeprefix(f"{session}.").removesuffix(".part") for part in parts}
    whole = CoverageData(basename=str(folder / f"{session}.sqlite"))
    try:
        for part in parts:
            data = CoverageData(basename=str(part))
            try:
                data.read()
                if data.measured_files():
                    whole.update(data)
            finally:
                data.close()
            part.unlink()
        whole.write()
    finally:
        whole.close()
    return [worker for worker in workers if worker not in left]


def borrow(config: pytest.Config, file: Path, started: float) -> str:
    """Copy the data of somebody else who measured this session.

    Args:
        config: pytest's configuration.
        file: Where the copy goes.
        started: When the session began, in seconds since the epoch; older files are another run's.

    Returns:
        Who measured; empty where nobody did or nothing is left of it.
    """
    plugin: Any = config.pluginmanager.get_plugin("_cov")
    controller = getattr(plugin, "cov_controller", None)
    if controller is not None:
        source = Path(controller.cov.get_data().data_filename())
        if not source.is_file() or source.stat().st_mtime < started - 1:
            return ""
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(source.read_bytes())
        return "pytest-cov"
    if not _is_running():
        return ""
    from coverage import Coverage

    running = Coverage.current()
    if running is None:
        return ""
    file.parent.mkdir(parents=True, exist_ok=True)
    _copy(running.get_data(), file)
    return "coverage"


def _copy(data: CoverageData, file: Path) -> None:
    from coverage import CoverageData

    copy = CoverageData(basename=str(file))
    try:
        copy.update(data)
        copy.write()
    finally:
        copy.close()

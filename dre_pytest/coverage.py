"""``--dre-cov``: measures coverage of the session itself, into a file that is sealed with the record.

It measures lines and branches of the project below pytest's root, with the project's own coverage configuration. Where
somebody measures already (pytest-cov, ``coverage run``) it leaves that alone and says so; its data can be named by
``dre wrap --coverage``. With xdist only the controller's process is measured.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coverage import Coverage


class Measurement:
    """Coverage of this process, from its making until :meth:`finish`.

    Args:
        file: Where the data goes; its folder is made.
        root: What is measured.
    """

    def __init__(self, file: Path, root: Path) -> None:
        self.problem = ""
        self._coverage: Coverage | None = None
        if _is_measured():
            self.problem = "coverage is measured by somebody else already"
            return
        from coverage import Coverage

        file.parent.mkdir(parents=True, exist_ok=True)
        self._coverage = Coverage(data_file=str(file), branch=True, source=[str(root)], messages=False)
        # A session without any line of the project is no reason to warn in its output.
        self._coverage.set_option("run:disable_warnings", ["no-data-collected", "module-not-measured"])
        self._coverage.start()

    def finish(self) -> None:
        """Stops and writes the data."""
        if self._coverage is not None:
            self._coverage.stop()
            self._coverage.save()
            self._coverage = None


def _is_measured() -> bool:
    coverage = sys.modules.get("coverage")
    return coverage is not None and coverage.Coverage.current() is not None

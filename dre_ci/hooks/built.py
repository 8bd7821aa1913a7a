"""Sealing what a build made: the file's digest, and whether a second build gives the same bytes.

The operation is the second build (``dre_ci.hooks.rebuild``): its claim is "this file is what the source gives", its
artifact the file. A failure to seal is said and never fails the build.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from dre_core.model.record import dataclass

REBUILDING = "DRE_REBUILDING"
"""Set while the second build runs, so that it is not sealed in turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What came of sealing.

    Attributes:
        reproducible: Whether the second build gave the same bytes; None where it could not be run.
        said: What was printed, to pass on.
    """

    reproducible: bool | None
    said: str


def is_rebuilding() -> bool:
    """Whether this process is the second build."""
    return bool(os.environ.get(REBUILDING))


def seal(artifact: Path, backend: str, root: Path) -> Built:
    """Seals a wheel or sdist.

    Args:
        artifact: The file.
        backend: Module of the PEP 517 backend that made it.
        root: Folder of the project.
    """
    kind = "sdist" if artifact.name.endswith(".tar.gz") else "wheel"
    words = [sys.executable, "-m", "dre_ci.cli", "wrap", "--strict", "--name", f"build {kind}"]
    words += ["--artifact", os.path.relpath(artifact, root), "--"]
    words += [sys.executable, "-m", "dre_ci.hooks.rebuild", backend, str(artifact)]
    environ = {**os.environ, REBUILDING: "1"}
    done = subprocess.run(words, cwd=root, env=environ, capture_output=True, check=False)
    said = (done.stdout + done.stderr).decode("utf-8", "replace").strip()
    return Built(reproducible={0: True, 1: False}.get(done.returncode), said=said)

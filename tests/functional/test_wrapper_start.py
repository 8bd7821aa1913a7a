"""What ``dre wrap`` loads before and after a command that does nothing; each module is time that every run pays."""

from __future__ import annotations

import os
import sys

import pytest

OURS = {"dre_ci", "dre_core"}
# Signing, and the hooks of the collectors.
NEEDED = {"cryptography", "pluggy", "_cffi_backend", "_cython_3_0_0", "_distutils_hack", "__editable__"}
HEAVY = {
    "asyncio", "email", "http", "logging", "multiprocessing", "platform", "random", "secrets", "shutil",
    "subprocess", "tempfile", "unittest", "uuid", "xml", "zipfile",
}  # fmt: skip
LATER = {
    "dre_core.verification", "dre_core.replaying", "dre_core.policy_file", "dre_core.verify", "dre_core.report",
    "dre_core.capture.diff", "dre_core.capture.testfacts", "dre_core.live", "dre_core.model.policy",
    "dre_core.model.replay", "dre_core.model.changes", "dre_core.exchange", "dre_core.pulse", "dre_core.model.trigger",
    "dre_core.model.streams", "dre_core.model.flow", "dre_core.removal", "dre_core.capture.lookout",
    "dre_core.capture.windows", "dre_core.capture.descriptors", "dre_core.capture.dependencies",
    "dre_core.capture.screen", "dre_core.capture.screenshot", "dre_core.capture.processes",
}  # fmt: skip


@pytest.fixture
def loaded(tmp_path):
    """Names of the modules that a second run of ``dre wrap -- true`` imports, in a folder without git."""
    import subprocess

    code = (
        "import sys; from dre_ci.cli import main; sys.argv = ['dre', 'wrap', '--', 'true']; sys.exit(main())"
    )
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-S", "-c", f"import sys; sys.path = {sys.path!r}; {code}"],
            cwd=tmp_path, env=environ, capture_output=True, text=True, check=True,
        )  # fmt: skip
    return {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if "import time:" in line}


def test_nothing_is_loaded_that_the_run_does_not_need(loaded):
    tops = {name.partition(".")[0] for name in loaded if name != "imported package"}
    assert {"dre_core.wrapping", "cryptography"} <= loaded
    assert tops - set(sys.stdlib_module_names) - OURS - NEEDED - {"org"} == set()
    assert loaded & HEAVY == set()
    assert loaded & LATER == set()

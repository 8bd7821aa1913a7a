"""``dre doctor``: the bootstrap's self-checks and the state of this folder, each with a remedy."""

from __future__ import annotations

import argparse
import os
import shutil
import stat
import sys
import tempfile
from pathlib import Path

from dre_ci.cli import Exit
from dre_ci.console import Console
from dre_core.capture.git import Git
from dre_core.capture.inherited import child_environ
from dre_core.capture.replay import why_elsewhere
from dre_core.engine import Engine
from dre_core.errors import DREError
from dre_core.verify.selfcheck import SelfCheck, run_all


def register(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "exit codes: 0 all is well, 1 something is not"


def run(arguments: argparse.Namespace, console: Console) -> Exit:
    engine = Engine.open(explicit=arguments.dir)
    checks = [*_self_checks(engine), _keys(engine), _git(), _replay(engine), _log(engine)]
    lines = []
    for check in checks:
        lines.append(f"{'ok  ' if check.passed else 'FAIL'}  {check.name}: {check.detail}")
        if check.remedy:
            lines.append(f"      remedy: {check.remedy}")
    healthy = all(check.passed for check in checks)
    document = {
        "healthy": healthy,
        "checks": [
            {"name": c.name, "passed": c.passed, "detail": c.detail, "remedy": c.remedy} for c in checks
        ],
    }
    console.result(lines, document)
    return Exit(0 if healthy else 1)


def _self_checks(engine: Engine) -> tuple[SelfCheck, ...]:
    """The four of the bootstrap, on the file system that holds the evidence."""
    if engine.folder.exists:
        return run_all(engine.folder.path)
    parent = engine.folder.path.parent
    folder = parent if os.access(parent, os.W_OK) else Path(tempfile.gettempdir())
    return run_all(folder)


def _keys(engine: Engine) -> SelfCheck:
    directory = engine.keyring.directory
    try:
        signers = engine.keyring.given_signers() or engine.keyring.default_signers()
    except DREError as error:
        return SelfCheck(name="keys", passed=False, detail=str(error), remedy=error.hint or "replace the key")
    if not signers:
        return SelfCheck(name="keys", passed=True, detail="none yet; the first run makes one", remedy="")
    if directory.exists() and stat.S_IMODE(directory.stat().st_mode) & 0o077:
        remedy = f"chmod 700 {directory}"
        return SelfCheck(name="keys", passed=False, detail="others can read the keys folder", remedy=remedy)
    detail = ", ".join(f"{signer.keyid[:16]} ({signer.scheme})" for signer in signers)
    return SelfCheck(name="keys", passed=True, detail=detail)


def _git() -> SelfCheck:
    if shutil.which("git"):
        return SelfCheck(name="git", passed=True, detail="found")
    detail = "not found: evidence will not be bound to a commit"
    return SelfCheck(name="git", passed=True, detail=detail, remedy="install git")


def _replay(engine: Engine) -> SelfCheck:
    """Where clones stand when tests are run again: not a fault, but less is known where it is elsewhere."""
    git = Git.find(str(engine.directory)) if shutil.which("git") else None
    if git is None:
        return SelfCheck(name="replay", passed=True, detail="no git checkout to run again")
    why = why_elsewhere(git, sys.executable, child_environ(engine.environ))
    if not why:
        return SelfCheck(name="replay", passed=True, detail="clones stand in the checkout's place")
    return SelfCheck(
        name="replay",
        passed=True,
        detail=f"clones run in a temporary folder, by which code can know them: {why}",
        remedy="docs/verdict.md says where they can stand in the checkout's place",
    )


def _log(engine: Engine) -> SelfCheck:
    if not engine.folder.exists:
        return SelfCheck(name="log", passed=True, detail="none yet; the first run makes one")
    try:
        with engine.open_log(read_only=True) as log:
            problems, size = log.check(), log.size
    except DREError as error:
        return SelfCheck(
            name="log", passed=False, detail=str(error), remedy="move .dre away; keep it as evidence"
        )
    if problems:
        remedy = "somebody or something changed it; keep it as evidence and begin anew"
        return SelfCheck(name="log", passed=False, detail=problems[0], remedy=remedy)
    return SelfCheck(name="log", passed=True, detail=f"{size} events, every hash holds")

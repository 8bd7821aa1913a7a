"""A helper for noxfiles: ``wrap(session, "pytest", "--dre")`` runs a command of a session as an operation.

It is ``session.run`` with ``dre wrap`` before the command, by the DRE that is installed beside nox. The command's exit
code stays its own.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nox import Session


def wrap(session: Session, *command: str, verify: bool = False, **more: Any) -> Any:
    """Runs a command of a session, recorded and sealed.

    Args:
        session: The session; its name becomes the step's.
        command: The command with its arguments, found on the session's ``PATH``.
        verify: Judge at once; a bad verdict on exit 0 fails the session.
        more: As ``session.run`` takes it.

    Returns:
        What ``session.run`` returns.
    """
    options = ["--verify"] if verify else []
    words = [sys.executable, "-m", "dre_ci.cli", "wrap", "--name", session.name, *options, "--", *command]
    return session.run(*words, external=True, **more)

"""Sealed evidence of what a command really did, and verifiers that judge it offline.

One complete run: record a command, judge it, and judge it again from the archive alone.

    >>> from pathlib import Path
    >>> from dre_core import Command, Engine, Request, Wishes
    >>> engine = Engine.open(Path.cwd())
    >>> wrapped = engine.wrap(Command(argv=("pytest", "--dre"), cwd="."), Wishes(verify=True))
    >>> wrapped.verdict.conclusion.value
    'supported'
    >>> archive = engine.export([wrapped.operation], Path("evidence.zip"))
    >>> [each.verdict.conclusion.value for each in engine.verify(Request(target="evidence.zip", keys=(key,)))]
    ['supported']

Everything raises :class:`DREError`, prints nothing and reads no other environment than it is given. The names below
are the public ones; they load on first use, because the wrapper's start-up is a budget.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from dre_core.capture.executable import Command
    from dre_core.config import Config
    from dre_core.crypto.dsse import Envelope
    from dre_core.crypto.keys import PublicKey, Signer
    from dre_core.engine import Engine, Wishes
    from dre_core.errors import DREError, FormatError, IntegrityError
    from dre_core.hooks import hookimpl
    from dre_core.model.policy import Policy
    from dre_core.model.run import Run
    from dre_core.model.statement import Statement
    from dre_core.model.verdict import Conclusion, Finding, Level, Verdict
    from dre_core.policy_file import load_policy
    from dre_core.verification import Request, Verified
    from dre_core.wrapping import Wrapped

_PLACES = {
    "Command": "dre_core.capture.executable",
    "Conclusion": "dre_core.model.verdict",
    "Config": "dre_core.config",
    "DREError": "dre_core.errors",
    "Engine": "dre_core.engine",
    "Envelope": "dre_core.crypto.dsse",
    "Finding": "dre_core.model.verdict",
    "FormatError": "dre_core.errors",
    "IntegrityError": "dre_core.errors",
    "Level": "dre_core.model.verdict",
    "Policy": "dre_core.model.policy",
    "PublicKey": "dre_core.crypto.keys",
    "Request": "dre_core.verification",
    "Run": "dre_core.model.run",
    "Signer": "dre_core.crypto.keys",
    "Statement": "dre_core.model.statement",
    "Verdict": "dre_core.model.verdict",
    "Wishes": "dre_core.engine",
    "Wrapped": "dre_core.wrapping",
    "hookimpl": "dre_core.hooks",
    "load_policy": "dre_core.policy_file",
    "Verified": "dre_core.verification",
}
__all__ = [
    "Command", "Conclusion", "Config", "DREError", "Engine", "Envelope", "Finding", "FormatError", "IntegrityError",
    "Level", "Policy", "PublicKey", "Request", "Run", "Signer", "Statement", "Verdict", "Verified", "Wishes",
    "Wrapped", "hookimpl", "load_policy",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Loads a public name on its first use (PEP 562)."""
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(place), name)

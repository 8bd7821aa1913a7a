"""What a command inherits of DRE's environment: all but DRE's own secrets, and what Python put there by itself."""

from __future__ import annotations

import os
from collections.abc import Mapping

OWN_VARIABLES = (
    "DRE_SIGNING_KEY",
    "DRE_SIGNING_KEY_FILE",
    "DRE_SIGNING_KEY_FD",
    "DRE_PASSPHRASE",
    "DRE_IDENTITY_FILE",
)
"""Variables that no command may see."""


def child_environ(environ: Mapping[str, str], **extra: str) -> dict[str, str]:
    """The environment for a command: DRE's own secrets taken out, the extra variables put in."""
    hidden = {*OWN_VARIABLES, "LC_CTYPE"} if _locale_was_coerced() else OWN_VARIABLES
    return {name: value for name, value in environ.items() if name not in hidden} | extra


def _locale_was_coerced() -> bool:
    """Whether this interpreter put LC_CTYPE into its own environment (PEP 538), which the user never set."""
    if os.environ.get("LC_CTYPE") not in ("C.UTF-8", "C.utf8", "UTF-8"):
        return False
    try:
        with open("/proc/self/environ", "rb") as stream:
            given = stream.read().split(b"\0")
    except OSError:
        return False
    return not any(entry.startswith(b"LC_CTYPE=") for entry in given)

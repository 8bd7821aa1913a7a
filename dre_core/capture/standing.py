"""Lets a process stand where the user's checkout stands, with a clone in its stead. Stands alone.

Not part of DRE's process: its source is run by the interpreter that the project uses, so it imports nothing of DRE.
In a mount namespace of its own a folder is bound over another, so that what runs there finds the path, the neighbours
and the depth of the user's checkout, and nothing to tell a re-execution by. No one else sees it, and it is
gone with the process. Without the right to mount, a user namespace gives it, in which everyone keeps his number and
has no right that he had not before.

As a program: the bindings as JSON, then a folder and the command to become, or nothing more to see whether it works.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

_NEW_MOUNTS = 0x00020000
_NEW_USER = 0x10000000
_BIND = 4096
_RECURSIVE = 16384
_PRIVATE = 1 << 18
_CAPABILITIES_VERSION = 0x20080522
_WORDS = 6


def stand(bindings: list[list[str]]) -> None:
    """Binds folders over others, for this process and what it starts.

    Args:
        bindings: What is to be seen, and where, in their order; both must be folders, a missing place is made.

    Raises:
        OSError: The kernel refuses.
    """
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.geteuid(), os.getegid()
    of_users = bool(libc.unshare(_NEW_MOUNTS))
    if of_users:
        _ask(ctypes, libc.unshare(_NEW_USER | _NEW_MOUNTS))
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{user} {user} 1"),
            ("gid_map", f"{group} {group} 1"),
        ):
            with open(f"/proc/self/{name}", "w") as stream:
                stream.write(text)
    _ask(ctypes, libc.mount(None, b"/", None, ctypes.c_ulong(_RECURSIVE | _PRIVATE), None))
    for seen, place in bindings:
        os.makedirs(place, exist_ok=True)
        flags = ctypes.c_ulong(_BIND | _RECURSIVE)
        _ask(ctypes, libc.mount(os.fsencode(seen), os.fsencode(place), None, flags, None))
    if of_users and user:
        header = (ctypes.c_uint32 * 2)(_CAPABILITIES_VERSION, 0)
        _ask(ctypes, libc.capset(header, (ctypes.c_uint32 * _WORDS)()))


def _ask(ctypes: Any, refused: int) -> None:
    if refused:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _main() -> None:
    stand(json.loads(sys.argv[1]))
    if len(sys.argv) > 2:
        os.chdir(sys.argv[2])
        os.execvp(sys.argv[3], sys.argv[3:])  # noqa: S606 - what DRE asks for, once it stands there


if __name__ == "__main__":
    _main()

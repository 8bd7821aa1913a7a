"""Where a project's packages lie in its tree: the folders that they are imported from, and their names.

Read from paths and from what the run imported; nothing is imported or run for it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from dre_core.capture.git import Git
from dre_core.capture.material import is_test_file
from dre_core.model.session import Session


def relative(path: str, root: str) -> str:
    """A path inside the tree relative to its top; empty for the top itself and for what lies outside."""
    found = os.path.relpath(os.path.realpath(path), os.path.realpath(root)) if path else "."
    return "" if found == "." or found.startswith("..") else found


def source_roots(
    git: Git, sessions: Sequence[Session], paths: Sequence[str], rootdir: str
) -> tuple[str, ...]:
    """Folders that the project's packages are imported from: where the run did, ``src``, and the top.

    Args:
        git: The user's work tree.
        sessions: The sessions of the run.
        paths: Every path of the commit.
        rootdir: pytest's rootdir relative to the top.
    """
    found = []
    for session in sessions:
        for name, file in session.imports.items():
            place = relative(os.path.join(session.rootdir, file), git.root)
            parts = place.split("/")
            # Only what lies in the tree itself; an environment may lie there too.
            if place in paths and name in (*parts[:-1], parts[-1].removesuffix(".py")):
                index = parts.index(name) if name in parts else len(parts) - 1
                found.append("/".join(parts[:index]))
    usual = ("/".join(filter(None, (rootdir, "src"))), "src", rootdir, "")
    folders = {path.rpartition("/")[0] for path in paths}
    known = {parent for folder in folders for parent in _parents(folder)} | {""}
    return tuple(dict.fromkeys(root for root in (*usual, *found) if root in known))


def _parents(folder: str) -> Iterable[str]:
    parts = folder.split("/")
    return ("/".join(parts[:length]) for length in range(1, len(parts) + 1))


def packages(paths: Sequence[str], roots: Sequence[str]) -> tuple[str, ...]:
    """Top-level names that only the project's own source should give."""
    names = set()
    for path in paths:
        for root in roots:
            inside = path[len(root) + 1 :] if root and path.startswith(f"{root}/") else "" if root else path
            head, _, rest = inside.partition("/")
            if rest == "__init__.py" and not is_test_file(path):
                names.add(head)
            elif head.endswith(".py") and not rest and not is_test_file(path) and head != "setup.py":
                names.add(head.removesuffix(".py"))
    return tuple(sorted(names))

"""The packages that a Python command could import, and versions of chosen tools.

Not a check that the files are those of the packages: each distribution is named with the SHA-256 of its RECORD, which
lists the digests of its files. The environment is that of the interpreter that the command is or starts, that its
``#!`` line names, or that ``VIRTUAL_ENV`` points to, never DRE's own. It is read after the run, as the run left it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from dre_core.capture.collector import Captured, Facts, Scene
from dre_core.capture.locked import compare_with_locks
from dre_core.errors import StorageError
from dre_core.model.canonical import JSON
from dre_core.model.verdict import Vantage
from dre_core.store.folder import open_regular

_DISTRIBUTIONS_LIMIT = 5_000
_RECORD_LIMIT_BYTES = 64 << 20
_TOOL_TIMEOUT_SECONDS = 5
_VERSION_CHARACTERS = 200


def dependencies(pythons: Sequence[str], scene: Scene, facts: Facts) -> Iterator[Captured]:
    """The distributions of the environment that a command ran in, as one item; nothing if it has none.

    Args:
        pythons: First words of the interpreters that ran, the likeliest first.
        scene: Where the run took place.
        facts: Gets the gap where there are too many.
    """
    prefix = _environment(pythons, scene)
    folders = list(_site_folders(prefix)) if prefix is not None else []
    if prefix is None or not folders:
        return
    found = [entry for folder in folders for entry in _distributions(folder)]
    if len(found) > _DISTRIBUTIONS_LIMIT:
        facts.gap("dependencies", f"more than {_DISTRIBUTIONS_LIMIT} distributions are installed")
    document: dict[str, JSON] = {
        "python": folders[0].parent.name.removeprefix("python"),
        "isolated": (prefix / "pyvenv.cfg").is_file(),
        "distributions": list(found[:_DISTRIBUTIONS_LIMIT]),
    }
    locked = compare_with_locks(Path(scene.root), _versions(found))
    if locked is not None:
        document["lock"] = locked.to_json()
    yield Captured(
        name="dependencies",
        kind="dependencies",
        vantage=Vantage.OBSERVED,
        media_type="application/json",
        value=document,
    )


def _versions(found: Sequence[JSON]) -> Iterator[tuple[str, str]]:
    """Name and version of what is installed; the project itself, installed for editing, is locked nowhere."""
    for entry in found:
        if isinstance(entry, dict) and not entry["editable"]:
            yield str(entry["name"]), str(entry["version"])


def tool_version(name: str, scene: Scene) -> str:
    """A tool's own word about its version; ``unknown`` where it has none."""
    import subprocess

    from dre_core.capture.inherited import child_environ

    try:
        done = subprocess.run(
            [name, "--version"],
            cwd=scene.cwd,
            env=child_environ(scene.environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TOOL_TIMEOUT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    lines = (done.stdout or done.stderr).decode(errors="replace").strip().splitlines()
    return lines[0][:_VERSION_CHARACTERS] if lines else "unknown"


def _environment(pythons: Sequence[str], scene: Scene) -> Path | None:
    """The prefix of the Python environment; None if none can be told."""
    for word in pythons:
        path = word if "/" in word else shutil.which(word, path=scene.environ.get("PATH", os.defpath))
        folder = Path(os.path.join(scene.cwd, path)).parent if path else Path()
        if folder.name in ("bin", "Scripts"):
            return folder.parent
    named = scene.environ.get("VIRTUAL_ENV", "")
    return Path(named) if os.path.isabs(named) and os.path.isfile(os.path.join(named, "pyvenv.cfg")) else None


def _site_folders(prefix: Path) -> Iterator[Path]:
    patterns = (
        "lib/python*/site-packages",
        "lib64/python*/site-packages",
        "lib/python*/dist-packages",
        "lib/pypy*/site-packages",
        "Lib/site-packages",
    )
    seen: set[Path] = set()
    for pattern in patterns:
        for folder in sorted(prefix.glob(pattern)):
            real = folder.resolve()
            if real not in seen:
                seen.add(real)
                yield folder


def _distributions(folder: Path) -> list[JSON]:
    """The distributions of one folder, by name; one whose RECORD can't be read has no digest."""
    found: list[JSON] = []
    for entry in sorted(os.listdir(folder)):
        if entry.endswith((".dist-info", ".egg-info")):
            name, _, version = entry.rpartition(".")[0].partition("-")
            found.append(
                {
                    "name": _printable(name),
                    "version": _printable(version),
                    "record": _digest(folder / entry / "RECORD"),
                    "editable": _is_editable(folder / entry / "direct_url.json"),
                }
            )
    return found


def _digest(path: Path) -> str:
    from dre_core.model.digest import sha256

    try:
        with open_regular(path) as stream:
            data = stream.read(_RECORD_LIMIT_BYTES + 1)
    except (OSError, StorageError):
        return ""
    return sha256(data) if len(data) <= _RECORD_LIMIT_BYTES else ""


def _is_editable(path: Path) -> bool:
    try:
        with open_regular(path) as stream:
            return b'"editable": true' in stream.read(_RECORD_LIMIT_BYTES)
    except (OSError, StorageError):
        return False


def _printable(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")

"""Were the tests run against the checkout's code, or against another copy of it?

For each package that a session says the tests imported: does its file lie inside the checkout, and if not, does
the checkout hold a package of the same name (at its root or under ``src``), and are the bytes the same? A wheel
that was built from this checkout has the same bytes, so testing an installed wheel is no finding.

And does a file of the checkout stand in the way of the runner or the recorder? ``python -m pytest`` looks into the
working directory first: a ``pytest.py`` there is run in place of pytest, a ``dre_pytest`` in place of the recorder.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from dre_core.model.imports import ImportFact
from dre_core.model.session import Session

_FILES_LIMIT = 5_000
_NAMED = 20
# ``python -m`` needs a module or a package with a __main__; the others are imported.
_RUN = ("pytest",)
_IMPORTED = ("_pytest", "pluggy", "dre_pytest", "dre_core")


def compare_imports(sessions: Iterable[Session], root: Path) -> tuple[ImportFact, ...]:
    """One fact for each package that any session names, by name.

    Args:
        sessions: The sessions of the run.
        root: The checkout.
    """
    files: dict[str, str] = {}
    for session in sessions:
        for name, file in session.imports.items():
            files.setdefault(name, file)
    return tuple(_compare(name, files[name], root) for name in sorted(files))


def shadowing(folders: Iterable[Path], root: Path) -> tuple[ImportFact, ...]:
    """Files that would be loaded in place of the runner or of the recorder by ``python -m`` in a folder.

    Args:
        folders: Where commands may have been started.
        root: The checkout. The one that DRE itself runs from stands in nobody's way.
    """
    own = os.path.realpath(Path(__file__).parents[2])
    found = {}
    for folder in folders:
        if os.path.realpath(folder) == own:
            continue
        names = [(name, f"{name}.py") for name in (*_RUN, *_IMPORTED)]
        names += [(name, f"{name}/__main__.py") for name in _RUN]
        names += [(name, f"{name}/__init__.py") for name in _IMPORTED]
        for name, file in names:
            if (folder / file).is_file():
                shown = _shown(folder / file, root)
                found[shown] = ImportFact(name=name, file=shown, inside=True, shadows=True)
    return tuple(found.values())


def _compare(name: str, file: str, root: Path) -> ImportFact:
    path = Path(file) if os.path.isabs(file) else root / file
    twin = _twin(name, root)
    inside = _is_inside(path, root)
    if inside or twin is None:
        return ImportFact(name=name, file=_shown(path, root), inside=inside)
    return ImportFact(
        name=name,
        file=_shown(path, root),
        inside=False,
        twin=_shown(twin, root),
        differing=_differing(twin, path.parent if path.name == "__init__.py" else path),
    )


def _is_inside(path: Path, root: Path) -> bool:
    """Inside the checkout, but not in an environment that happens to lie there."""
    real, base = os.path.realpath(path), os.path.realpath(root)
    return real.startswith(base + os.sep) and "site-packages" not in real[len(base) :].split(os.sep)


def _twin(name: str, root: Path) -> Path | None:
    """The package or module of that name in the checkout."""
    for folder in (root / "src", root, root / "lib"):
        for candidate in (folder / name, folder / f"{name}.py"):
            if (candidate / "__init__.py").is_file() or (candidate.suffix == ".py" and candidate.is_file()):
                return candidate
    return None


def _differing(twin: Path, loaded: Path) -> tuple[str, ...]:
    """Source files of the twin that the loaded package does not have with the same bytes."""
    if twin.is_file():
        return () if _digest(twin) == _digest(loaded) else (twin.name,)
    different = []
    for source in sorted(twin.rglob("*.py"))[:_FILES_LIMIT]:
        relative = source.relative_to(twin)
        # Wheels often leave a package's own tests out.
        if "tests" in relative.parts or "test" in relative.parts:
            continue
        if _digest(source) != _digest(loaded / relative):
            different.append(relative.as_posix())
    return tuple(different[:_NAMED])


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def _shown(path: Path, root: Path) -> str:
    text = os.path.relpath(path, root) if path.is_relative_to(root) else str(path)
    return text.replace(os.sep, "/").encode("utf-8", "surrogateescape").decode("utf-8", "replace")

"""Files that the command wrote: JUnit reports, coverage data, artifacts, screenshots; taken at once, digested.

What a file says is the workload's word (``reported``). What DRE sees of the file itself is recorded beside it:
whether it is new, rewritten, or just as it was before the run (``note.fresh``).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from dre_core.capture.collector import Captured, Facts, Scene
from dre_core.hooks import hookimpl
from dre_core.model.record import dataclass
from dre_core.model.verdict import Vantage

_MEDIA_TYPES: Mapping[str, str] = {
    ".xml": "application/xml",
    ".json": "application/json",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
    ".log": "text/plain",
}
_FILES_LIMIT = 1_000
_KEPT_LIMIT_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class _Stamp:
    """What tells a rewritten file from an untouched one, even when the bytes are the same."""

    inode: int
    mtime_ns: int
    size: int


class FilesCollector:
    """Collects the files that the scene names by glob."""

    name = "files"

    def __init__(self) -> None:
        self._stamps: dict[Path, _Stamp] = {}

    def before(self, scene: Scene, facts: Facts) -> Iterable[Captured]:
        for _, path in _matches(scene):
            self._stamps[path] = _stamp(path)
        return []

    def after(self, scene: Scene, facts: Facts) -> Iterable[Captured]:
        found: set[str] = set()
        for kind, path in _matches(scene):
            name = f"{kind}/{_relative(path, scene.cwd)}"
            if name in found:
                continue
            if len(found) >= _FILES_LIMIT:
                facts.gap(
                    "files", f"more than {_FILES_LIMIT} files match", "name fewer files by narrower globs"
                )
                break
            found.add(name)
            yield self._captured(kind, name, path)
        for kind, patterns in _patterns(scene).items():
            for pattern in patterns:
                if not any(name.startswith(f"{kind}/") for name in found):
                    facts.gap(
                        "files", f"no {kind} file matches {pattern}", "check the path the command writes to"
                    )

    def _captured(self, kind: str, name: str, path: Path) -> Captured:
        before = self._stamps.get(path)
        fresh = "new" if before is None else "unchanged" if _stamp(path) == before else "rewritten"
        small = path.stat().st_size <= _KEPT_LIMIT_BYTES
        return Captured(
            name=name,
            kind=kind,
            vantage=Vantage.REPORTED,
            media_type=_MEDIA_TYPES.get(path.suffix.lower(), "application/octet-stream"),
            path=path,
            kept=kind != "artifact" and small,
            note={"fresh": fresh, "mtime": str(path.stat().st_mtime_ns)},
        )


def _patterns(scene: Scene) -> dict[str, tuple[str, ...]]:
    capture = scene.config.capture
    return {
        "junit": (*scene.junit, *capture.junit),
        "coverage": (*scene.coverage, *capture.coverage),
        "artifact": (*scene.artifact, *capture.artifact),
        "screenshot": scene.screenshot,
    }


def _matches(scene: Scene) -> Iterable[tuple[str, Path]]:
    from glob import glob

    for kind, patterns in _patterns(scene).items():
        for pattern in patterns:
            for match in sorted(glob(os.path.join(scene.cwd, pattern), recursive=True)):
                path = Path(os.path.abspath(match))
                if path.is_file():
                    yield kind, path


def _relative(path: Path, directory: Path) -> str:
    text = os.path.relpath(path, directory) if path.is_relative_to(directory) else path.name
    return text.replace(os.sep, "/").encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _stamp(path: Path) -> _Stamp:
    status = path.stat()
    return _Stamp(status.st_ino, status.st_mtime_ns, status.st_size)


@hookimpl
def dre_collectors() -> list[FilesCollector]:
    return [FilesCollector()]

"""Files that the command wrote: JUnit reports, coverage data, artifacts, screenshots; taken at once, digested.

What a file says is the workload's word (``reported``). What DRE sees of the file itself is recorded beside it:
whether it is new, rewritten, or just as it was before the run (``note.fresh``), and whether its modification time
lies between the start of the run and this moment (``note.window``). Of an artifact that the run left as it was, also
which tracked file is newer (``note.newer``): what it is made of has changed since. Reports that nobody named are taken
where Maven and Gradle put theirs (``note.found``), if the run wrote them.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from dre_core.capture.buildreports import written_by_convention
from dre_core.capture.collector import Captured, Facts, Moment, Scene
from dre_core.errors import CaptureError
from dre_core.hooks import hookimpl
from dre_core.model.canonical import JSON
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
_TRACKED_LIMIT = 20_000
_DOCUMENTS = (".md", ".rst", ".txt")
_LEFT = ("artifact", "unchanged")
_CHUNK_BYTES = 1 << 20
_KEPT_LIMIT_BYTES = 256 << 20
# The coarsest clock of a file system that is still in use (FAT) counts in two seconds.
_CLOCK_TOLERANCE_NS = 2_000_000_000


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
        self._began_ns = 0
        self._tracked: list[Path] | None = None
        self._by_convention: set[Path] = set()

    def before(self, scene: Scene, facts: Facts) -> Iterable[Captured]:
        self._began_ns = time.time_ns()
        for _, path in _matches(scene):
            self._stamps[path] = _stamp(path)
        for path in written_by_convention(Path(scene.cwd)):
            self._stamps[path] = _stamp(path)
        return []

    def after(self, scene: Scene, facts: Facts) -> Iterable[Captured]:
        found: set[str] = set()
        for kind, path in [*_matches(scene), *self._unnamed(scene)]:
            name = f"{kind}/{_relative(path, scene.cwd)}"
            if name in found:
                continue
            if len(found) >= _FILES_LIMIT:
                facts.gap(
                    "files", f"more than {_FILES_LIMIT} files match", "name fewer files by narrower globs"
                )
                break
            found.add(name)
            yield self._captured(kind, name, path, scene)
        for kind, patterns in _patterns(scene).items():
            for pattern in patterns:
                if not any(name.startswith(f"{kind}/") for name in found):
                    facts.gap(
                        "files", f"no {kind} file matches {pattern}", "check the path the command writes to"
                    )

    def _captured(self, kind: str, name: str, path: Path, scene: Scene) -> Captured:
        before = self._stamps.get(path)
        fresh = "new" if before is None else "unchanged" if _stamp(path) == before else "rewritten"
        status = path.stat()
        small = status.st_size <= _KEPT_LIMIT_BYTES
        return Captured(
            name=name,
            kind=kind,
            vantage=Vantage.REPORTED,
            media_type=_MEDIA_TYPES.get(path.suffix.lower(), "application/octet-stream"),
            path=path,
            kept=kind != "artifact" and small,
            note={
                "fresh": fresh,
                "mtime": str(status.st_mtime_ns),
                "window": self._window(status.st_mtime_ns),
                **({"found": "by convention"} if path in self._by_convention else {}),
                **(self._newer(path, status.st_mtime_ns, scene) if (kind, fresh) == _LEFT else {}),
            },
        )

    def _unnamed(self, scene: Scene) -> Iterable[tuple[str, Path]]:
        """Reports by convention that this run wrote; which ones lie there from earlier runs says nothing about it."""
        for path in written_by_convention(Path(scene.cwd)):
            if self._stamps.get(path) != _stamp(path):
                self._by_convention.add(path)
                yield "junit", path

    def _newer(self, artifact: Path, mtime_ns: int, scene: Scene) -> dict[str, str]:
        """The first tracked file that was modified after an artifact, documents left out."""
        for path in self._inputs(scene):
            try:
                if path != artifact and path.stat().st_mtime_ns > mtime_ns + _CLOCK_TOLERANCE_NS:
                    return {"newer": _relative(path, scene.root)}
            except OSError:
                continue
        return {}

    def _inputs(self, scene: Scene) -> list[Path]:
        if self._tracked is None:
            from dre_core.capture.git import Git

            try:
                git = Git.find(str(scene.root))
                names = git.run("ls-files", "-z").split(b"\0") if git else []
            except CaptureError:
                names = []
            paths = [scene.root / os.fsdecode(name) for name in names[:_TRACKED_LIMIT] if name]
            self._tracked = [path for path in paths if path.suffix not in _DOCUMENTS]
        return self._tracked

    def _window(self, mtime_ns: int) -> str:
        """Whether a modification time lies before, inside or after the run."""
        if mtime_ns < self._began_ns - _CLOCK_TOLERANCE_NS:
            return "before"
        return "after" if mtime_ns > time.time_ns() + _CLOCK_TOLERANCE_NS else "inside"

    def during(self, scene: Scene, moment: Moment) -> Iterable[Captured]:
        listed: list[JSON] = []
        for kind, path in _matches(scene):
            if len(listed) < _FILES_LIMIT:
                listed.append(_described(kind, path, scene.cwd))
        return [
            Captured(
                name="files",
                kind="files",
                vantage=Vantage.OBSERVED,
                media_type="application/json",
                value={"files": listed},
            )
        ]


def _patterns(scene: Scene) -> dict[str, tuple[str, ...]]:
    capture = scene.config.capture
    return {
        "junit": (*scene.junit, *capture.junit),
        "coverage": (*scene.coverage, *capture.coverage),
        "artifact": (*scene.artifact, *capture.artifact),
        "screenshot": (*scene.screenshot, *capture.screenshot),
    }


def _matches(scene: Scene) -> Iterable[tuple[str, Path]]:
    wanted = _patterns(scene)
    if not any(wanted.values()):
        return
    from glob import glob

    for kind, patterns in wanted.items():
        for pattern in patterns:
            for match in sorted(glob(os.path.join(scene.cwd, pattern), recursive=True)):
                path = Path(os.path.abspath(match))
                if path.is_file():
                    yield kind, path


def _relative(path: Path, directory: Path) -> str:
    text = os.path.relpath(path, directory) if path.is_relative_to(directory) else path.name
    return text.replace(os.sep, "/").encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _described(kind: str, path: Path, directory: Path) -> JSON:
    """A file as it is at this moment, named by its digest."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    status = path.stat()
    return {
        "kind": kind,
        "path": _relative(path, directory),
        "size": str(status.st_size),
        "mtimeNs": str(status.st_mtime_ns),
        "digest": f"sha256:{digest.hexdigest()}",
    }


def _stamp(path: Path) -> _Stamp:
    status = path.stat()
    return _Stamp(status.st_ino, status.st_mtime_ns, status.st_size)


@hookimpl
def dre_collectors() -> list[FilesCollector]:
    return [FilesCollector()]

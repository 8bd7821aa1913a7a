"""A throw-away clone of one commit: the place where a suite runs again.

Made by ``git clone --shared`` into a temporary folder, with hooks off, inherited ``GIT_*`` cleared and settings of its
own: what ran before could have written the user's, and a filter there changes what is checked out. The user's own tree
is only read. Files of another commit can be laid over it. One such clone serves as the pattern of all.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from dre_core.capture.git import Git
from dre_core.capture.place import OBJECTS
from dre_core.errors import CaptureError

_NO_HOOKS = (
    "-c",
    "core.hooksPath=/dev/null",
    "-c",
    "core.attributesFile=/dev/null",
    "-c",
    "protocol.file.allow=always",
    "-c",
    "advice.detachedHead=false",
)
# In a file, for git heeds no other kind where a repository is another user's; whether it may be read was asked before,
# with the user's own settings.
_SETTINGS = """\
[safe]
\tdirectory = *
"""
# As `git lfs install` writes it.
_LARGE_FILES = """\
[filter "lfs"]
\tclean = git-lfs clean -- %f
\tsmudge = git-lfs smudge -- %f
\tprocess = git-lfs filter-process
\trequired = true
"""
_DESCRIPTION = "Unnamed repository; edit this file 'description' to name the repository.\n"
# Names that would be imported in place of the interpreter's or the runner's own, once a root is on the path.
_SHADOWS = ("pytest", "_pytest", "pluggy", "sitecustomize", "usercustomize", "_distutils_hack")


class Pattern:
    """A repository without files that clones are copied from: what ``git clone --shared`` makes, made once.

    Args:
        repository: The user's work tree.
        folder: Where it goes; must not exist.

    Attributes:
        environ: What git is run with, so that it reads no settings but those that are written here.

    Raises:
        CaptureError: git refuses.
    """

    def __init__(self, repository: Git, folder: Path) -> None:
        self.repository = repository
        self._folder = folder
        self.branch = ""
        try:
            self.environ = _settings(folder.parent / "settings")
            Git(str(folder.parent), self.environ).run(
                *_NO_HOOKS, "clone", "--template=", "--shared", "--no-checkout", "--quiet",
                repository.root, str(folder),
            )  # fmt: skip
            self._take_the_usual(folder / ".git")
            self._share_objects(folder.parent / OBJECTS)
            self._take_names(folder / ".git")
        except OSError as error:
            raise CaptureError(f"a clone could not be made: {error}") from None

    @staticmethod
    def _take_the_usual(own: Path) -> None:
        """What git's own template has, which nobody could have written into."""
        for name in ("hooks", "info", "branches"):
            (own / name).mkdir(exist_ok=True)
        (own / "description").write_text(_DESCRIPTION)
        (own / "info/exclude").write_text("__pycache__/\n")

    def _share_objects(self, folder: Path) -> None:
        """Names the place where a clone that stands in the checkout's place finds the objects; else it is empty."""
        folder.mkdir(exist_ok=True)
        with (self._folder / ".git/objects/info/alternates").open("ab") as stream:
            stream.write(os.fsencode(folder) + b"\n")

    def _take_names(self, own: Path) -> None:
        """Gives it the branches, tags and remotes of the user's repository, by their names there."""
        config = (own / "config").read_bytes()
        if b"refstorage" in config.lower():
            return
        told = self.repository.run("for-each-ref", "--format=%(HEAD)%(objectname) %(refname)").splitlines()
        refs = [ref for ref in told if not ref.partition(b" ")[2].startswith(b"refs/replace/")]
        shutil.rmtree(own / "refs/remotes", ignore_errors=True)
        (own / "packed-refs").write_bytes(b"".join(ref[1:] + b"\n" for ref in refs))
        current = next((ref for ref in refs if ref.startswith(b"*")), b"")
        self.branch = os.fsdecode(current.partition(b" ")[2]).removeprefix("refs/heads/")
        core = re.split(rb"(?m)^\[(?:remote|branch) ", config)[0]
        (own / "config").write_bytes(core + b"".join(self._remotes()))

    def _remotes(self) -> Iterator[bytes]:
        try:
            found = self.repository.run("config", "-z", "--get-regexp", r"^remote\..*\.(url|fetch)$")
        except CaptureError:  # there is none
            return
        for entry in filter(None, found.split(b"\0")):
            name, _, value = entry.partition(b"\n")
            remote, key = name.removeprefix(b"remote.").rsplit(b".", 1)
            yield b"[remote %s]\n\t%s = %s\n" % (_quoted(remote), key, _quoted(value))

    def copy(self, folder: Path) -> None:
        """Puts a copy into a folder, which must not exist.

        Raises:
            CaptureError: There is no room.
        """
        try:
            shutil.copytree(self._folder / ".git", folder / ".git", ignore=shutil.ignore_patterns("*.sample"))
        except (OSError, shutil.Error) as error:
            raise CaptureError(f"a clone could not be made: {error}") from None


class Clone:
    """A checkout of one commit in a temporary folder.

    Args:
        pattern: The repository without files.
        folder: Where it goes; must not exist.
        commit: The commit.

    Raises:
        CaptureError: git refuses.
    """

    def __init__(self, pattern: Pattern, folder: Path, commit: str) -> None:
        self.root = folder
        self.commit = commit
        self._pattern = pattern
        self._repository = pattern.repository
        self._git = Git(str(folder), pattern.environ)
        self._steps: list[Callable[[], None]] = []
        self._is_touched = False
        self.shadows = self._check_out()

    def _check_out(self) -> tuple[str, ...]:
        self._pattern.copy(self.root)
        self._git.run(*_NO_HOOKS, "checkout", "--quiet", "--detach", self.commit)
        if self._pattern.branch:
            place = self.root / ".git/refs/heads" / self._pattern.branch
            try:
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(f"{self.commit}\n")
                (self.root / ".git/HEAD").write_text(f"ref: refs/heads/{self._pattern.branch}\n")
            except OSError as error:
                raise CaptureError(f"a clone could not be made: {error}") from None
        return self._remove_shadows()

    def renew(self) -> None:
        """Makes it as it was before anything ran in it; what lies there goes.

        Raises:
            CaptureError: git refuses.
        """
        try:
            self.root.rename(Path(tempfile.mkdtemp(dir=self.root.parent)) / "used")
        except OSError as error:
            raise CaptureError(f"a clone could not be made anew: {error}") from None
        self._check_out()
        for step in self._steps:
            step()

    def untouched(self) -> str:
        """Its top, if this is asked for the first time since it was made; else nothing."""
        touched, self._is_touched = self._is_touched, True
        return "" if touched else str(self.root)

    def _remove_shadows(self) -> tuple[str, ...]:
        found = [path for name in _SHADOWS for path in (self.root / f"{name}.py", self.root / name)]
        return tuple(path.name for path in found if _remove(path))

    def replace(self, gone: Iterable[str], commit: str, paths: Iterable[str]) -> None:
        """Takes files away and puts others, as another commit has them, in their place.

        Args:
            gone: Paths to take away.
            commit: The other commit.
            paths: Paths to take from it.

        Raises:
            CaptureError: git refuses.
        """
        self._do(partial(self._replace, tuple(gone), commit, "\0".join(paths)))

    def _replace(self, gone: tuple[str, ...], commit: str, wanted: str) -> None:
        for path in gone:
            _remove(self.root / path)
        if wanted:
            self._git.run(
                *_NO_HOOKS, "checkout", "--quiet", commit, "--pathspec-from-file=-", "--pathspec-file-nul",
                stdin=os.fsencode(wanted),
            )  # fmt: skip

    def overlay(self, paths: Iterable[str]) -> None:
        """Lays the user's uncommitted files over the clone; a deleted one is deleted."""
        self._do(partial(self._overlay, tuple(paths)))

    def _overlay(self, paths: tuple[str, ...]) -> None:
        for path in paths:
            source, target = Path(self._repository.root, path), self.root / path
            _remove(target)
            if not source.is_file():
                continue
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target)
            except OSError as error:
                raise CaptureError(f"{path} can't be laid over the clone: {error}") from None

    def write(self, name: str, text: str) -> None:
        """Writes a file of our own into the clone."""
        self._do(partial(self._write, name, text))

    def _write(self, name: str, text: str) -> None:
        (self.root / name).write_text(text, encoding="utf-8", errors="surrogateescape")
        if name.endswith(".py"):
            # Bytecode of a text of the same length and second would be taken for this one's.
            shutil.rmtree((self.root / name).parent / "__pycache__", ignore_errors=True)
        # A test that asks git is not to find a file that nobody added.
        exclude = self.root / ".git/info/exclude"
        exclude.parent.mkdir(exist_ok=True)
        with exclude.open("a", encoding="utf-8", errors="surrogateescape") as stream:
            stream.write(f"/{name}\n")

    def _do(self, step: Callable[[], None]) -> None:
        step()
        self._steps.append(step)


def _settings(folder: Path) -> dict[str, str]:
    """Variables that have git read only what is written into a folder, and nothing of the user's or the system's."""
    folder.mkdir()
    file = folder / ".gitconfig"
    file.write_text(_SETTINGS + (_LARGE_FILES if shutil.which("git-lfs") else ""))
    found = {
        "GIT_CONFIG_GLOBAL": str(file),
        "GIT_ATTR_NOSYSTEM": "1",
        # An older git knows no other way.
        "HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),
    }
    # There the system's settings say how lines end and how long a path may be.
    return found if os.name == "nt" else {**found, "GIT_CONFIG_NOSYSTEM": "1"}


def _quoted(text: bytes) -> bytes:
    """A text as git's configuration has it."""
    return b'"' + text.replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"\n", b"\\n") + b'"'


def _remove(path: Path) -> bool:
    """Deletes a file or folder inside a clone; whether it was there."""
    if path.is_symlink() or path.is_file():
        path.unlink()
        return True
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
        return True
    return False

"""Which files of a commit are its tests' and which are the code under test, and where pytest's section is.

A suite's material is: the files that tests were collected from; everything under a folder named ``test`` or
``tests`` that holds such a file; every conftest; and a folder with nothing but test modules and data. All else
is source.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Collection, Iterable

from dre_core.capture.git import Git
from dre_core.model.record import dataclass

_TEST_FOLDERS = ("test", "tests")
_TEST_FILES = ("test*.py", "*_test.py", "*_tests.py")
# In the order in which pytest asks them; the pattern says whether a file has a section for pytest.
_CONFIGS = (
    ("pytest.toml", re.compile("")),
    (".pytest.toml", re.compile("")),
    ("pytest.ini", re.compile("")),
    (".pytest.ini", re.compile("")),
    ("pyproject.toml", re.compile(r"^\s*\[tool\.pytest", re.M)),
    ("tox.ini", re.compile(r"^\s*\[pytest\]", re.M)),
    ("setup.cfg", re.compile(r"^\s*\[tool:pytest\]", re.M)),
)
_GOLDEN = re.compile(
    r"\.(?:snap|ambr|golden|approved(?:\.\w+)?|expected)$|/__snapshots__/|/(?:snapshots?|goldens?|cassettes)/[^/]+$",
    re.I,
)
CONFIG_NAMES = tuple(name for name, _ in _CONFIGS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """pytest's section of a commit.

    Attributes:
        path: Where it stands; empty if there is none.
        text: The file's text.
        name: Name under which a copy is read in the same way.
    """

    path: str = ""
    text: str = "[pytest]\n"
    name: str = ".dre-pytest.ini"


def paths_at(repository: Git, commit: str) -> tuple[str, ...]:
    """Every path of a commit, from the top of the tree."""
    output = repository.run("ls-tree", "-r", "-z", "--name-only", "--full-tree", commit)
    return tuple(os.fsdecode(path) for path in output.split(b"\0") if path)


def changed_paths(repository: Git, base: str, head: str) -> tuple[str, ...]:
    """Paths that differ between two commits."""
    output = repository.run("diff", "--name-only", "-z", "--no-renames", "--no-ext-diff", base, head, "--")
    return tuple(os.fsdecode(path) for path in output.split(b"\0") if path)


def is_test_file(path: str) -> bool:
    """Whether a Python file is a test module or conftest by its name or its folder."""
    folders, _, name = path.rpartition("/")
    named = any(fnmatch.fnmatch(name, pattern) for pattern in _TEST_FILES) or name == "conftest.py"
    return path.endswith(".py") and (named or any(part in _TEST_FOLDERS for part in folders.split("/")))


def is_golden(path: str) -> bool:
    """Whether a file holds what tests are to compare with, as snapshot tools and people name it."""
    return _GOLDEN.search(f"/{path}") is not None


def material(paths: Collection[str], collected: Iterable[str]) -> frozenset[str]:
    """The paths of a commit that belong to its tests.

    Args:
        paths: All paths of the commit.
        collected: Files that tests were collected from.
    """
    known = set(paths)
    files = {file for file in collected if file in known and is_test_file(file)}
    roots = {root for file in files if (root := _root(file, known))}
    inside = {path for path in paths if any(path.startswith(f"{root}/") for root in roots)}
    conftests = {path for path in paths if path.rpartition("/")[2] == "conftest.py"}
    return frozenset(files | inside | conftests)


def _root(file: str, known: set[str]) -> str:
    """The folder that belongs to tests as a whole; empty where a test file lies beside source."""
    folders = file.split("/")[:-1]
    for depth, name in enumerate(folders, 1):
        if name in _TEST_FOLDERS:
            return "/".join(folders[:depth])
    folder = "/".join(folders)
    if not folder:
        return ""
    beside = [p for p in known if p.startswith(f"{folder}/") and p.endswith(".py")]
    return folder if all(is_test_file(path) for path in beside) else ""


def settings_at(repository: Git, commit: str, folder: str, named: str = "") -> Settings:
    """Where a commit configures pytest.

    Args:
        repository: The repository.
        commit: The commit.
        folder: pytest's rootdir, relative to the top; empty for the top itself.
        named: Path that ``-c`` named; empty if none.
    """
    for name, section in ((named, re.compile("")),) if named else _CONFIGS:
        path = name if named else "/".join(filter(None, (folder, name)))
        text = repository.show(commit, path)
        if text is not None and section.search(text):
            base = path.rpartition("/")[2]
            native = base in ("pytest.toml", ".pytest.toml")
            copy = ".pytest.toml" if native else f".dre-pytest{os.path.splitext(base)[1]}"
            return Settings(path=path, text=text, name=copy)
    return Settings()

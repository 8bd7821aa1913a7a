"""What a sample is made of, before anything is run."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

from mutants import Mutant
from projects import Project, Site

LIE, HONEST, UNDECIDABLE = "lie", "honest", "undecidable"
RED, GREEN, SAME = "red-base", "green-base", "no-diff"


@dataclass
class Draft:
    """One sample: commits, a run, and what it says of itself.

    Attributes:
        base: Files of the base commit that differ from the project; None: deleted.
        head: Files of the head commit that differ from the base commit.
        uncommitted: Files that differ from the head commit when the run begins.
        outside: Files beside the repository, in the folder ``{outside}``.
        command: Shell text; ``{pytest}`` is the runner's command line, ``{python}`` the interpreter.
        shell: Whether a shell runs it; else the runner's words and ``words`` are run as they are.
        words: More words for the runner.
        environ: More environment variables.
        junit: Report that the run is said to write.
        before: Shell text that is run before everything, unrecorded.
        kind: What the change is claimed to be.
        changes: Tests that are declared to change.
        same: There is no base: the tree alone is run.
    """

    base: dict[str, str | None] = field(default_factory=dict)
    head: dict[str, str | None] = field(default_factory=dict)
    uncommitted: dict[str, str | None] = field(default_factory=dict)
    outside: dict[str, str] = field(default_factory=dict)
    command: str = ""
    shell: bool = False
    words: list[str] = field(default_factory=list)
    environ: dict[str, str] = field(default_factory=dict)
    junit: str = ""
    before: str = ""
    kind: str = ""
    changes: list[str] = field(default_factory=list)
    same: bool = False

    def to_json(self) -> dict:
        return asdict(self)


@dataclass
class Spot:
    """A bug in a project, and the files around it."""

    site: Site
    project: Project
    mutant: Mutant
    folder: Path
    draft: Draft

    def text(self, path: str) -> str:
        """A file as the draft has it now."""
        for layer in (self.draft.head, self.draft.base):
            if path in layer:
                return layer[path] or ""
        place = self.folder / path
        return place.read_text() if place.exists() else ""

    def original(self, path: str) -> str:
        return (self.folder / path).read_text()

    def killed(self) -> list[tuple[str, str]]:
        """File and name of each test function that notices the bug."""
        return [(path, name) for path, _, name in (test.partition("::") for test in self.mutant.functions)]

    def _patterns(self) -> list[str]:
        for line in self.original("pytest.ini").splitlines():
            if line.startswith("python_files"):
                return line.partition("=")[2].split()
        return ["test*.py"]

    def test_files(self) -> list[str]:
        """The project's test files."""
        folder = self.folder / self.project.tests
        return sorted(
            {str(p.relative_to(self.folder)) for each in self._patterns() for p in folder.rglob(each)}
        )

    def collects(self, path: str) -> bool:
        """Whether a file of this name would be a test file."""
        return any(Path(path).match(each) for each in self._patterns())

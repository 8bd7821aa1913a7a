"""The commit alone: does a clean clone of it give what the run recorded?

What passed in the run and not in the clone is run again, with the uncommitted edits laid over, and at the base: only
what fails for want of the edits contradicts anything.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from dre_core.capture import arguments
from dre_core.capture.cell import Bench, CellRun
from dre_core.capture.cells import Cells, Ran, add, is_stable
from dre_core.capture.clone import Clone
from dre_core.capture.layout import relative
from dre_core.model.record import dataclass
from dre_core.model.replay import CellState, FailureKind, ReplayedTest
from dre_core.model.run import Source
from dre_core.model.session import Outcome, Session

PASSING = (Outcome.PASSED, Outcome.XPASSED)
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NOT_RUNNING = (CellState.FAILED_SETUP, CellState.CRASHED, CellState.FOREIGN_IMPORT)
_NOT_IN_PLACE = "what ran in the checkout's place was not as in the run, so clones ran in a temporary folder"


@dataclass(slots=True, kw_only=True)
class Reproduction:
    """The cell ``clean`` and what was asked because of it.

    Attributes:
        cells: The replay's cells.
        source: What was checked out.
        sessions: The sessions of the run.
        directory: Where the command ran.
        tests: Tests that passed in the run and not in the clone.
        compared: How many could be compared.
    """

    cells: Cells
    source: Source
    sessions: tuple[Session, ...]
    directory: str
    tests: tuple[ReplayedTest, ...] = ()
    compared: int = 0

    def run(self) -> None:
        """Runs the head's commit with the run's own arguments.

        Where clones stand in the checkout's place and something is not as it was in the run, it runs in the temporary
        folder as well: what then is as it was is held against the place, in which no cell is run any more.
        """
        cells = self.cells
        red = self._run(cells.bench)
        if cells.bench.is_placed and (red or cells.ran["clean"].run.state in _NOT_RUNNING):
            red = self._run_elsewhere(red)
        if not cells.usable("clean"):
            self._explain_setup()
            return
        claimed = self.claimed()
        run = cells.ran["clean"].run
        passed = [test for test, outcome in claimed.items() if outcome in PASSING]
        other = _under_other_ids(passed, claimed, run)
        if red and self._needs_build(red):
            return
        self.tests = tuple(self._judged(red, claimed))
        self.compared = len(passed) - sum(run.reached(t) is None and t not in other for t in passed)

    def _run_elsewhere(self, red: list[str]) -> list[str]:
        """What passed in the run and not now, in the place that is to be believed."""
        cells = self.cells
        before = cells.ran["clean"]
        elsewhere = replace(cells.bench, place=None)
        again = self._run(elsewhere)
        if before.run.state is CellState.RAN and not (cells.usable("clean") and set(red) - set(again)):
            cells.ran["clean"] = before
            return red
        if cells.usable("clean"):
            cells.gaps.append(_NOT_IN_PLACE)
        cells.bench = elsewhere
        return again

    def _run(self, bench: Bench) -> list[str]:
        """What passed in the run and not now."""
        cells = self.cells
        clone = cells.clone("clean", self.source.commit)
        for number, session in enumerate(self.sessions or (Session(id="", nonce=""),)):
            options, paths, directory = self._own_words(session, clone)
            again = cells.execute(
                clone, options, directory=directory, paths=paths, addopts=True, forked=True, bench=bench
            )
            if number == 0:
                cells.ran["clean"] = Ran(clone=clone, words=options, run=again)
            else:
                add(cells.ran["clean"].run, again)
        claimed = self.claimed()
        run = cells.ran["clean"].run
        passed = [test for test, outcome in claimed.items() if outcome in PASSING]
        other = _under_other_ids(passed, claimed, run)
        return [
            test
            for test in passed
            if ((found := run.reached(test)) is None or found.failed) and test not in other
        ]

    def claimed(self) -> dict[str, Outcome]:
        """The outcomes that the run recorded."""
        return {test.id: test.outcome for session in self.sessions for test in session.tests}

    def _judged(self, red: list[str], claimed: Mapping[str, Outcome]) -> Iterable[ReplayedTest]:
        run = self.cells.ran["clean"].run
        every = self.cells.again("clean", red) if red else {}
        edited = self._with_edits(red) if red and self.source.clean is False else None
        before = self._at_base(red) if red else None
        for test in red:
            yield ReplayedTest(
                id=test,
                claimed=claimed[test],
                clean=run.reached(test),
                edited=edited.reached(test) if edited else None,
                bb=before.reached(test) if before else None,
                repeats=len(every.get(test, ())) or 1,
                stable=is_stable(every.get(test, [None])),
            )

    def _with_edits(self, red: list[str]) -> CellRun | None:
        """The same tests in a clone with the uncommitted edits: are they what makes the difference?"""
        git = self.cells.git
        modified, untracked = git.modified(git.tree())
        clone = self.cells.clone("edited", self.source.commit)
        clone.overlay([*modified, *untracked])
        present = self._present(red, clone)
        return self.cells.run("edited", clone, [*self._aimed(clone), *present]).run if present else None

    def _at_base(self, red: list[str]) -> CellRun | None:
        """The same tests at the base: a clone in which even they fail proves nothing."""
        if not self.source.base or self.source.base == self.source.commit:
            return None
        clone = self.cells.clone("before", self.source.base)
        present = self._present(red, clone)
        return self.cells.execute(clone, [*self._aimed(clone), *present]) if present else None

    def _present(self, tests: Iterable[str], clone: Clone) -> list[str]:
        files = sorted({test.partition("::")[0] for test in tests})
        return [file for file in files if (clone.root / self.cells.bench.rootdir / file).exists()]

    def _aimed(self, other: Clone) -> list[str]:
        """The clean cell's words, naming the same places in another clone."""
        ran = self.cells.ran["clean"]
        return [word.replace(str(ran.clone.root), str(other.root)) for word in ran.words]

    def _needs_build(self, red: list[str]) -> bool:
        """Whether a clone lacks what a build step made: modules that git ignores."""
        run = self.cells.ran["clean"].run
        named = {
            word
            for test in red
            if (found := run.reached(test)) is not None and found.kind is FailureKind.IMPORT
            for word in _WORD.findall(found.message)
        }
        made = sorted(named & self._ignored_modules()) if named else []
        if made:
            run.state = CellState.FAILED_SETUP
            run.detail = f"a clone lacks the module {made[0]}, which a build step makes"
        return bool(made)

    def _explain_setup(self) -> None:
        run = self.cells.ran["clean"].run
        made = sorted(set(_WORD.findall(run.detail)) & self._ignored_modules())
        if made:
            run.detail = f"a clone lacks the module {made[0]}, which a build step makes"

    def _ignored_modules(self) -> set[str]:
        output = self.cells.git.run("ls-files", "-z", "--others", "--ignored", "--exclude-standard")
        files = [os.fsdecode(path) for path in output.split(b"\0") if path]
        kinds = (".py", ".so", ".pyd")
        return {
            os.path.basename(file).partition(".")[0]
            for file in files
            if file.endswith(kinds) and "site-packages" not in file
        }

    def _own_words(self, session: Session, clone: Clone) -> tuple[list[str], tuple[str, ...], str]:
        """A session's own options and paths in a clone, and the folder they are meant from."""
        given = arguments.split(session.argv)
        starts = (self.directory, session.rootdir or self.directory)
        names = [path.partition("::")[0] for path in given.paths]
        start = next((s for s in starts if all(os.path.exists(os.path.join(s, n)) for n in names)), starts[0])
        moved = arguments.for_clone(given, self._relocation(clone))
        options = [word for option in moved.options for word in option]
        if session.rootdir and not given.value("--rootdir"):
            options = [f"--rootdir={clone.root / self.cells.bench.rootdir}", *options]
        return options, moved.paths, relative(start, self.cells.git.root) or "."

    def _relocation(self, clone: Clone) -> Callable[[str], str]:
        top = os.path.realpath(self.cells.git.root)

        def relocate(path: str) -> str:
            name, colons, rest = path.partition("::")
            if not os.path.isabs(name):
                return path
            real = os.path.realpath(name)
            inside = real == top or real.startswith(top + os.sep)
            return str(clone.root / os.path.relpath(real, top)) + colons + rest if inside else path

        return relocate


def _under_other_ids(passed: list[str], claimed: Mapping[str, Outcome], run: CellRun) -> set[str]:
    """Tests that passed in the clone under other ids: of functions whose parameters are numbered anew each time.

    It takes as many tests of the function that only the clone has, and none of those red.
    """
    absent: dict[str, list[str]] = {}
    for test in passed:
        if "[" in test and run.reached(test) is None:
            absent.setdefault(test.partition("[")[0], []).append(test)
    fresh: dict[str, list[bool]] = {}
    for test, found in run.results.items() if absent else ():
        function = test.partition("[")[0]
        if function in absent and test not in claimed:
            fresh.setdefault(function, []).append(found.outcome in PASSING)
    return {
        test
        for function, tests in absent.items()
        if len(fresh.get(function, ())) == len(tests) and all(fresh[function])
        for test in tests
    }

"""The cells of one replay: clones in which a suite was run, kept for repeats, and the time they may take.

Cells that do not wait for one another run side by side, as many as there are processors.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import field, replace
from typing import Any

from dre_core.capture.beside import Beside, Steps
from dre_core.capture.cell import Bench, CellRun
from dre_core.capture.clone import Clone
from dre_core.capture.clones import Clones
from dre_core.capture.git import Git
from dre_core.capture.renaming import Alias
from dre_core.model.record import dataclass
from dre_core.model.replay import Cell, CellState, Reached

REPEATS = 3
_SELECTED_LIMIT = 200


@dataclass(slots=True, kw_only=True)
class Ran:
    """A cell that was run: its clone stays for the repeats.

    Attributes:
        clone: Where it ran.
        words: pytest's arguments.
        run: What it came to.
        aliases: Old names that were given to new things.
        without: Environment variables that are not set there.
        values: Numbers of the source that are others there: module, name and source.
    """

    clone: Clone
    words: list[str]
    run: CellRun
    aliases: tuple[Alias, ...] = ()
    without: frozenset[str] = frozenset()
    values: tuple[tuple[str, str, str], ...] = ()


@dataclass(slots=True, kw_only=True)
class Cells:
    """The cells of one replay.

    Attributes:
        git: The user's work tree.
        bench: How each cell is run.
        clones: Its clones.
        total_seconds: Time for all of them together.
        workers: How many may run side by side.
        ran: Cells that ran, by name.
        lost: Cells that could not, by name.
        gaps: What could not be done, in words.
        began: Monotonic time of the start.
        by_file: Whether tests are asked for by whole files, since some need what others of their file do.
        steps: What is found out beside them.
    """

    git: Git
    bench: Bench
    clones: Clones
    total_seconds: float
    workers: int = 1
    ran: dict[str, Ran] = field(default_factory=dict)
    lost: dict[str, Cell] = field(default_factory=dict)
    gaps: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    by_file: bool = False
    steps: Steps = field(default_factory=Steps)

    def ahead(self, name: str, commit: str) -> None:
        """Begins to make a clone that is going to be wanted, if that is done on another processor."""
        if self.workers > 1:
            self.clones.ahead(name, commit)

    def clone(self, name: str, commit: str) -> Clone:
        """A clone of a commit.

        Raises:
            CaptureError: git refuses.
        """
        clone = self.clones.make(name, commit)
        if clone.shadows:
            self.gaps.append(f"{', '.join(clone.shadows)} at the top of {commit[:12]} was left out")
        return clone

    def execute(
        self,
        clone: Clone,
        words: Sequence[str],
        without: frozenset[str] = frozenset(),
        *,
        bench: Bench | None = None,
        **more: Any,
    ) -> CellRun:
        """Runs pytest in a clone, within what is left of the time for all cells."""
        bench = bench or self.bench
        left = self.total_seconds - (time.monotonic() - self.began)
        if left <= 0:
            return CellRun(
                state=CellState.NOT_RUN, detail=f"{self.total_seconds:g} s for all cells were used up"
            )
        environ = bench.environ
        if without:
            environ = {name: value for name, value in environ.items() if name not in without}
        bench = replace(bench, budget_seconds=min(left, bench.budget_seconds), environ=environ)
        return bench.run(clone, words, **more)

    def run(self, name: str, clone: Clone, words: list[str], aliases: tuple[Alias, ...] = ()) -> Ran:
        """Runs a cell and keeps it."""
        run = self.execute(clone, words, aliases=aliases, forked=True)
        if run.status == 4 and words:
            # An option that this commit's conftest does not know.
            words = [
                word for word in words if word.startswith(("--rootdir=", "--continue", "-c", "--collect"))
            ]
            run = self.execute(clone, words, aliases=aliases, forked=True)
        self.ran[name] = Ran(clone=clone, words=words, run=run, aliases=aliases)
        return self.ran[name]

    def usable(self, name: str) -> bool:
        """Whether a cell ran to its end."""
        return name in self.ran and self.ran[name].run.state is CellState.RAN

    def skip(self, names: Iterable[str], detail: str) -> None:
        """Notes cells that were wanted and not run."""
        for name in names:
            if name not in self.ran:
                self.lost[name] = Cell(name=name, state=CellState.NOT_RUN, detail=detail)

    def again(
        self, name: str, tests: Iterable[str], times: int = REPEATS - 1
    ) -> dict[str, list[Reached | None]]:
        """What some tests came to in a cell, each time it was run."""
        ran = self.ran[name]
        wanted = [test for test in tests if ran.run.reached(test) is not None]
        every: dict[str, list[Reached | None]] = {test: [ran.run.reached(test)] for test in wanted}
        if not wanted:
            return every
        words = [*ran.words, *selected(ran.run, wanted, by_file=self.by_file)]
        for _ in range(times):
            run = self.execute(ran.clone, words, ran.without, aliases=ran.aliases, values=ran.values)
            ran.run.seconds += run.seconds
            if run.state is CellState.NOT_RUN:
                break
            for test in wanted:
                every[test].append(run.reached(test) if run.state is not CellState.TIMEOUT else None)
        return every

    def together(self, *steps: Callable[[], object]) -> None:
        """Runs steps side by side; the first error is raised when all have ended."""
        if self.workers < 2:
            for step in steps:
                step()
            return
        beside = [Beside(step) for step in steps[1:]]
        try:
            steps[0]()
        finally:
            for each in beside:
                each.wait()
        for each in beside:
            each.result()

    def described(self) -> Iterable[Cell]:
        """The cells as they stand in the item."""
        for name, ran in self.ran.items():
            run = ran.run
            yield Cell(
                name=name,
                state=run.state,
                seconds=round(run.seconds, 3),
                python=run.python,
                tests=len(run.results),
                detail=run.detail,
            )
        yield from (cell for name, cell in self.lost.items() if name not in self.ran)


def selected(run: CellRun, tests: Sequence[str], *, by_file: bool = False) -> list[str]:
    """Words that select tests: their functions, or their files where that is too many or they were not collected.

    Not their ids: those of parameters that come from a set are others in each process.
    """
    functions = {test.partition("[")[0] for test in tests}
    if by_file or len(functions) > _SELECTED_LIMIT or any(test not in run.items for test in tests):
        return sorted({test.partition("::")[0] for test in tests})
    return sorted(functions)


def add(run: CellRun, more: CellRun) -> None:
    """Adds another run's outcomes to a cell's."""
    run.results.update(more.results)
    run.items.update(more.items)
    run.broken.update(more.broken)
    run.seconds += more.seconds
    if more.state is not CellState.RAN:
        run.state, run.detail = more.state, more.detail


def accept_broken(run: CellRun) -> None:
    """Tests that can't even be imported on the other side's source are an outcome there, not a lack of setup."""
    if run.state is CellState.FAILED_SETUP and run.broken and run.status in (1, 2):
        run.state, run.detail = CellState.RAN, ""


def same_word(reached: Reached | None) -> tuple[bool, bool] | None:
    """What of an outcome must repeat: failed or not, excused or not."""
    return (reached.failed, reached.excused) if reached else None


def is_stable(every: Sequence[Reached | None]) -> bool:
    """Whether an outcome was the same each time."""
    return len({same_word(reached) for reached in every}) == 1

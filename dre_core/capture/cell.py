"""One run of a suite in a clone: start pytest there, wait within the budget, read what the witness wrote.

The clone's own folders come first on the path, so that an editable install of the user's tree does not win; where
a package of the project was loaded from elsewhere nevertheless, the cell says so and counts for nothing.

A run may be forked from an interpreter that has imported pytest (``stem.py``). What it finds to be in order is taken;
of a failure that the run did not have, and of what keeps the suite from running, only a process of its own is
believed, in a clone made anew. A failure that neither repeats is kept: such a test is told apart as unstable.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import field
from functools import partial
from pathlib import Path
from typing import Any

from dre_core.capture.beside import Gate
from dre_core.capture.clone import Clone
from dre_core.capture.kernel import open_pidfd
from dre_core.capture.material import is_test_file
from dre_core.capture.place import STANDING, Place
from dre_core.capture.renaming import Alias
from dre_core.capture.stem import Stem, StemError, environ_of_cells
from dre_core.errors import CaptureError
from dre_core.model.record import dataclass
from dre_core.model.replay import CellState, FailureKind, Lenient, Reached
from dre_core.model.session import Outcome
from dre_core.model.text import printable

_WITNESS = Path(__file__).with_name("witness.py")
_PLUGIN = "dre_cell_witness"
_LINES_LIMIT_BYTES = 256 << 20
_OUTPUT_LIMIT_BYTES = 64 << 20
_POLL_SECONDS = 0.05
_TAIL_BYTES = 4_000
_CAP = 300
_KINDS = (
    ("AssertionError", FailureKind.ASSERTION),
    ("Failed", FailureKind.ASSERTION),
    ("ImportError", FailureKind.IMPORT),
    ("AttributeError", FailureKind.ATTRIBUTE),
    ("TypeError", FailureKind.TYPE),
)


@dataclass(frozen=True, slots=True)
class Collected:
    """A test that was collected: digests of its body and of its parameters."""

    body: str
    parameters: str


@dataclass(slots=True, kw_only=True)
class CellRun:
    """What one run in a clone came to.

    Attributes:
        state: What became of it.
        detail: Why it did not run, in words.
        seconds: Wall-clock time.
        python: The interpreter's version.
        status: pytest's exit status; None if it did not get that far.
        results: Outcome by node id.
        items: What was collected, by node id; doctests are left out.
        broken: Files that could not be collected, or were skipped as a whole.
        entered: Tests that entered a probed function, by its number.
        lenient: Kinds of values that say they equal others, each once.
    """

    state: CellState = CellState.RAN
    detail: str = ""
    seconds: float = 0.0
    python: str = ""
    status: int | None = None
    results: dict[str, Reached] = field(default_factory=dict)
    items: dict[str, Collected] = field(default_factory=dict)
    broken: dict[str, Reached] = field(default_factory=dict)
    entered: dict[int, tuple[str, ...]] = field(default_factory=dict)
    lenient: dict[tuple[str, str], Lenient] = field(default_factory=dict)

    def reached(self, test: str) -> Reached | None:
        """How a test ended; where its file could not be collected, how that ended; None where there is none."""
        if test in self.results:
            return self.results[test]
        parts = test.split("::")
        for length in range(len(parts) - 1, 0, -1):
            if (found := self.broken.get("::".join(parts[:length]))) is not None:
                return found
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What all cells of one replay share.

    Attributes:
        python: The interpreter.
        environ: Environment variables of the run.
        user_root: Top of the user's tree, whose entries on the path are moved into the clone.
        rootdir: pytest's rootdir relative to the top.
        source_roots: Folders that packages are imported from, relative to the top.
        packages: Top-level names of the project's packages.
        budget_seconds: Time for each cell.
        scratch: A temporary folder.
        stem: What cells are forked from; None: each is a process of its own.
        expected: Tests that failed in the run itself.
        gate: Nothing runs before it is open.
        place: Where the clones stand; None: in their own folders.
        argv: The run's words for pytest.
    """

    python: str
    environ: Mapping[str, str]
    user_root: str
    rootdir: str
    source_roots: tuple[str, ...]
    packages: tuple[str, ...]
    budget_seconds: float
    scratch: Path
    stem: Stem | None = None
    expected: frozenset[str] = frozenset()
    gate: Gate = field(default_factory=Gate)
    place: Place | None = None
    argv: tuple[str, ...] = ()

    def run(
        self,
        clone: Clone,
        words: Sequence[str],
        *,
        directory: str = "",
        paths: Sequence[str] = (),
        addopts: bool = False,
        aliases: Sequence[Alias] = (),
        values: Sequence[tuple[str, str, str]] = (),
        forked: bool = False,
    ) -> CellRun:
        """Runs pytest in a clone.

        Args:
            clone: Where.
            words: pytest's arguments.
            directory: Working directory relative to the top; default: the rootdir.
            paths: More arguments, which choose tests as seen from there.
            addopts: Whether the environment's own options for pytest apply.
            aliases: Names that are given to other things before tests are imported.
            values: Module, name and source of numbers that names of the source are given.
            forked: Whether a fork of the stem may do.

        Raises:
            CaptureError: The interpreter can't be started, or the replay was called off.
        """
        cwd = clone.root / (directory or self.rootdir)
        once = partial(self._run, clone, addopts=addopts, aliases=aliases, values=values)
        whole = partial(once, [*words, *paths], cwd)
        if not forked or self.stem is None or not self.stem.fits([cwd, *self._roots(clone.root)]):
            return whole(None)
        try:
            run = whole(self.stem)
        except StemError:
            self.stem.give_up()
            clone.renew()
            return whole(None)
        failed = _failed(run) - self.expected
        if run.state is CellState.TIMEOUT or (run.state is CellState.RAN and not failed):
            return run
        clone.renew()
        if run.state is CellState.RAN:
            # Where the files alone say the same, that is enough.
            files = sorted({test.partition("::")[0] for test in failed})
            some = once([*words, *files], clone.root / self.rootdir, None)
            if some.state is CellState.RAN and failed <= _failed(some):
                _take_over(run, some, failed)
                return run
            clone.renew()
        own = whole(None)
        own.seconds = round(own.seconds + run.seconds, 3)
        if vanished := (failed - _failed(own)) & set(run.results):
            with suppress(StemError):
                # A fork may be at fault, or chance.
                again = whole(self.stem)
                for test in vanished - _failed(again):
                    own.results[test] = run.results[test]
        return own

    def _run(
        self,
        clone: Clone,
        words: Sequence[str],
        cwd: Path,
        stem: Stem | None,
        *,
        addopts: bool,
        aliases: Sequence[Alias],
        values: Sequence[tuple[str, str, str]],
    ) -> CellRun:
        folder = Path(tempfile.mkdtemp(dir=self.scratch))
        (folder / f"{_PLUGIN}.py").write_bytes(_WITNESS.read_bytes())
        lines, place = folder / "lines.jsonl", folder / "output"
        stands = self.place
        root = stands.root if stands is not None else clone.root
        bindings = stands.bindings(clone.root, folder) if stands is not None else ""
        words = [word.replace(str(clone.root), str(root)) for word in words]
        words = ["-p", _PLUGIN, "--maxfail=0", *words]
        inside = root / cwd.relative_to(clone.root)
        environ = self._environ(root, folder, lines, addopts, aliases, stands=stands is not None)
        environ["DRE_CELL_VALUES"] = json.dumps(values)
        self.gate.check()
        began = time.monotonic()
        with place.open("w+b") as output:
            if stem is not None:
                path = [*map(str, self._roots(root)), str(folder)]
                fork = stem.fork(
                    words,
                    cwd=inside,
                    path=path,
                    environ=environ,
                    output=place,
                    clone=(clone.untouched(), str(root)),
                    standing=(str(STANDING), bindings) if bindings else ("", ""),
                )
                status, killed = self._wait(fork.status, fork.end, output)
            else:
                before = stands.launcher(bindings, str(inside)) if stands is not None else []
                process = self._process([*before, self.python, "-m", "pytest", *words], cwd, environ, output)
                status, killed = self._wait(partial(_ended, process), partial(_end, process), output)
            output.seek(max(0, output.seek(0, os.SEEK_END) - _TAIL_BYTES))
            tail = output.read().decode(errors="replace")
        run = _read(lines, root, stands.foreign() if stands is not None else ())
        run.seconds = round(time.monotonic() - began, 3)
        _settle(run, status, killed, tail)
        return run

    def environ_of_all(self) -> dict[str, str]:
        """The environment that all cells have, less what each has of its own."""
        return environ_of_cells(self.environ, self.user_root)

    @property
    def is_placed(self) -> bool:
        """Whether cells stand in the place of the user's checkout."""
        return self.place is not None

    def _roots(self, root: Path) -> list[Path]:
        return [root / each for each in self.source_roots]

    def _environ(
        self, root: Path, folder: Path, lines: Path, addopts: bool, aliases: Sequence[Alias], *, stands: bool
    ) -> dict[str, str]:
        environ = self.environ_of_all()
        if addopts and "PYTEST_ADDOPTS" in self.environ:
            environ["PYTEST_ADDOPTS"] = self.environ["PYTEST_ADDOPTS"]
        path = [*map(str, self._roots(root)), environ["PYTHONPATH"], str(folder)]
        return {
            **environ,
            "PYTHONPATH": os.pathsep.join(filter(None, path)),
            "DRE_CELL_LINES": str(lines),
            "DRE_CELL_PARENT": str(os.getpid()),
            "DRE_CELL_ALIASES": json.dumps([[a.module, a.name, a.new_module, a.new_name] for a in aliases]),
            "DRE_CELL_PACKAGES": os.pathsep.join(self.packages),
            "DRE_CELL_ROOT": str(root),
            # In the checkout's place all is as it was for the run.
            **(
                {
                    "DRE_CELL_AS_IN_RUN": json.dumps(
                        {"path": self.environ.get("PYTHONPATH"), "argv": self.argv}
                    )
                }
                if stands
                else {"GIT_CEILING_DIRECTORIES": str(root.parent)}
            ),
        }

    def _process(
        self, command: Sequence[str], cwd: Path, environ: dict[str, str], output: Any
    ) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                command,
                cwd=cwd,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise CaptureError(f"{self.python} can't be started in a clone: {error}") from None

    def _wait(
        self, ended: Callable[[float], int | None], end: Callable[[], None], output: Any
    ) -> tuple[int | None, str]:
        """Exit status and why it was ended before its time; the whole process group ends with it."""
        deadline = time.monotonic() + self.budget_seconds
        try:
            while True:
                if (status := ended(_POLL_SECONDS)) is not None:
                    return status, ""
                self.gate.check()
                if time.monotonic() > deadline:
                    return None, f"no end after {self.budget_seconds:g} s"
                if os.fstat(output.fileno()).st_size > _OUTPUT_LIMIT_BYTES:
                    return None, f"more than {_OUTPUT_LIMIT_BYTES >> 20} MiB of output"
        finally:
            end()


def _failed(run: CellRun) -> set[str]:
    """What failed, or could not be collected."""
    return {test for found in (run.results, run.broken) for test, each in found.items() if each.failed}


def _take_over(run: CellRun, other: CellRun, tests: set[str]) -> None:
    """Puts what another run says of some tests in the place of what this one does."""
    for mine, theirs in ((run.results, other.results), (run.broken, other.broken)):
        mine.update({test: theirs[test] for test in tests if test in theirs})
    run.seconds = round(run.seconds + other.seconds, 3)


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _ended(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    """The exit status, as soon as there is one; None if there is none within the time."""
    watched = open_pidfd(process.pid)
    if watched is None:
        with suppress(subprocess.TimeoutExpired):
            return process.wait(timeout=seconds)
        return None
    try:
        poller = select.poll()
        poller.register(watched, select.POLLIN)
        poller.poll(seconds * 1000)
    finally:
        os.close(watched)
    return process.poll()


def _settle(run: CellRun, status: int | None, killed: str, tail: str) -> None:
    """What became of the cell."""
    last = next((line for line in reversed(tail.splitlines()) if line.strip()), "")[:_CAP]
    if killed:
        run.state, run.detail = CellState.TIMEOUT, killed
    elif run.state is CellState.FOREIGN_IMPORT:
        pass
    elif run.status is None:
        run.state = CellState.CRASHED if run.items else CellState.FAILED_SETUP
        run.detail = f"pytest ended with {status} and left no end of session: {last}"
    elif run.status in (3, 4) or (run.broken and not run.items and not _skips_only(run)):
        run.state = CellState.FAILED_SETUP
        broken = next((found.message for found in run.broken.values() if found.failed), "")
        run.detail = broken or last


def _skips_only(run: CellRun) -> bool:
    return all(not found.failed for found in run.broken.values())


def _read(lines: Path, root: Path, foreign: tuple[str, ...]) -> CellRun:
    """Folds the witness's lines; what is not one of them is skipped, for the code under test could write there."""
    run = CellRun()
    if not lines.exists():
        return run
    if lines.stat().st_size > _LINES_LIMIT_BYTES:
        raise CaptureError("a clone's run wrote too many lines")
    with lines.open(encoding="utf-8", errors="replace") as stream:
        for line in stream:
            with suppress(ValueError, KeyError, TypeError, AttributeError):
                _take(run, json.loads(line), root, foreign)
    return run


def _take(run: CellRun, record: dict[str, Any], root: Path, elsewhere: tuple[str, ...]) -> None:
    event = record["event"]
    if event == "start":
        run.python = str(record["python"])
    elif event == "item" and not record["doctest"]:
        run.items[record["id"]] = Collected(str(record["body"]), str(record["parameters"]))
    elif event == "collect":
        outcome = Outcome.ERROR if record["outcome"] == "failed" else Outcome.SKIPPED
        run.broken[record["id"]] = _reached(outcome, record, root)
    elif event == "report":
        _take_report(run, record, root)
    elif event == "entered":
        number = int(record["number"])
        run.entered[number] = (*run.entered.get(number, ()), *map(str, record["tests"]))
    elif event == "equal":
        path = os.path.relpath(str(record["file"]), os.path.realpath(root)).replace(os.sep, "/")
        name, said = printable(str(record["name"]))[:_CAP], printable(str(record["said"]))[:_CAP]
        run.lenient[path, name] = Lenient(
            path=printable(path), name=name, line=int(record["line"]), said=said
        )
    elif event in ("finish", "loaded"):
        if event == "finish":
            run.status = record["status"]
        real = os.path.realpath(root)
        foreign = [
            f"{name} from {file}"
            for name, file in record["imports"].items()
            if not _within(file, real) or file.startswith(elsewhere)
        ]
        if foreign:
            run.state = CellState.FOREIGN_IMPORT
            run.detail = f"the clone's tests imported {foreign[0]}, which lies outside the clone"


def _take_report(run: CellRun, record: dict[str, Any], root: Path) -> None:
    test, word = record["id"], record["outcome"]
    if word == "failed":
        outcome = Outcome.FAILED if record["when"] == "call" else Outcome.ERROR
    elif word == "skipped":
        outcome = Outcome.XFAILED if record["xfail"] else Outcome.SKIPPED
    elif word == "passed":
        outcome = Outcome.XPASSED if record["xfail"] else Outcome.PASSED
    else:
        return
    before = run.results.get(test)
    # A failed subtest, or a body that failed before its teardown, is not made good by what comes later.
    if before is None or not before.failed:
        run.results[test] = _reached(outcome, record, root)


def _reached(outcome: Outcome, record: dict[str, Any], root: Path) -> Reached:
    failure = record.get("failure")
    if outcome not in (Outcome.FAILED, Outcome.ERROR):
        return Reached(outcome=outcome, message=str(record["reason"])[:_CAP])
    if failure is None:
        return Reached(outcome=outcome, kind=FailureKind.OTHER)
    types = [str(name) for name in failure["types"]]
    relative = os.path.relpath(str(failure["raised_in"]), root).replace(os.sep, "/")
    return Reached(
        outcome=outcome,
        kind=next((kind for name, kind in _KINDS if name in types), FailureKind.OTHER),
        exception=types[0][:100],
        in_test=failure["raised_in"] == failure["test_file"] or is_test_file(relative),
        message=printable(str(failure["message"]))[:_CAP],
    )


def _within(file: str, root: str) -> bool:
    return os.path.realpath(file).startswith(root + os.sep)

"""The replay collector: runs the suite again in clean clones and reports what each cell came to.

``clean`` asks whether the commit alone gives the outcome that the run recorded (``reproduction.py``). ``matrix`` asks
what the base's tests say of the head's source, and the head's tests of the base's source (``matrix.py``). What
disagrees is repeated until it was run three times; what then varies is told apart as unstable. The user's tree is
only read.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from dre_core.capture.beside import Beside, Gate
from dre_core.capture.cell import Bench
from dre_core.capture.cells import Cells
from dre_core.capture.clones import Clones
from dre_core.capture.commits import commits_of
from dre_core.capture.git import Git
from dre_core.capture.layout import packages, relative, source_roots
from dre_core.capture.material import changed_paths, is_test_file, paths_at
from dre_core.capture.matrix import Matrix
from dre_core.capture.objects import check_objects
from dre_core.capture.place import Place, hindrance
from dre_core.capture.probe import probe
from dre_core.capture.reproduction import Reproduction
from dre_core.capture.stem import Stem, processors
from dre_core.errors import CaptureError
from dre_core.model.replay import Lenient, Mode, Probed, ReplayedTest, ReplayFacts
from dre_core.model.run import Source
from dre_core.model.session import Outcome, Session

_LISTED = 2_000
_SESSIONS_LIMIT = 32
_RED = (Outcome.FAILED, Outcome.ERROR)


def collect_replay(
    git: Git,
    source: Source,
    sessions: Sequence[Session],
    *,
    mode: Mode | str,
    environ: Mapping[str, str],
    python: str,
    budget_seconds: float,
    total_seconds: float = 3600.0,
    directory: str = "",
    workers: int = 0,
    probe_functions: int = 0,
    gate: Gate | None = None,
    stem: Stem | None = None,
    clones: Clones | None = None,
) -> ReplayFacts:
    """Runs the suite again in throw-away clones.

    Args:
        git: The user's work tree.
        source: What was checked out, with the base to compare with.
        sessions: The sessions of the run.
        mode: ``clean`` or ``matrix``.
        environ: The run's environment variables.
        python: The run's interpreter.
        budget_seconds: Time for each cell.
        total_seconds: Time for all cells together; what is not run by then is a gap.
        directory: Where the command ran, absolute; default: the top of the tree.
        probe_functions: How many changed functions to probe; see ``probe.py``.
        workers: How many cells may run side by side; default: as many as there are processors.
        gate: Nothing of the project runs before it is open, what is needed for that is made ready; default: it is.
        stem: An interpreter that was started for it, which will be closed; default: one is started.
        clones: Clones that were begun for it, which the caller closes; default: there are none.

    Returns:
        What each cell came to. A cell that could not run is in it, with the reason.

    Raises:
        CaptureError: There is no commit to clone, or git or the interpreter can't be started.
    """
    mode = Mode(mode)
    if source.vcs != "git" or not source.commit:
        raise CaptureError("there is no commit to run again", hint="commit the change first")
    own = clones or Clones(git)
    finding = Beside(lambda: _place(git, python, environ, own.folder))
    checking = Beside(lambda: check_objects(git, (source.commit, source.base)))
    try:
        with commits_of(git) as commits:
            top = tuple(s for s in _top(sessions) if not s.collect_only)
            if len(top) > _SESSIONS_LIMIT:
                raise CaptureError(f"{len(top)} test sessions in one run are too many to run again")
            bench = _bench(commits, source, top, own.folder, environ, python, budget_seconds, finding)
            with _forking(bench, gate, stem) as forking:
                cells = Cells(
                    git=commits,
                    bench=forking,
                    clones=own,
                    total_seconds=total_seconds,
                    workers=workers or processors(),
                )
                try:
                    found = _run(cells, mode, source, top, directory or git.root, probe_functions)
                    checking.result()
                    return found
                finally:
                    cells.steps.wait()
    except OSError as error:
        raise CaptureError(f"a clone could not be made: {error}") from None
    finally:
        finding.wait()
        checking.wait()
        if clones is None:
            own.close()


@contextmanager
def _forking(bench: Bench, gate: Gate | None, stem: Stem | None) -> Iterator[Bench]:
    """The same with a gate, and with something to fork cells from, where there can be."""
    environ = bench.environ_of_all()
    if stem is not None and (stem.python, stem.environ) != (bench.python, environ):
        stem.close()
        stem = None
    stem = stem or Stem.start(bench.python, environ)
    try:
        yield replace(bench, stem=stem, gate=gate or Gate())
    finally:
        if stem is not None:
            stem.close()


def _run(
    cells: Cells,
    mode: Mode,
    source: Source,
    sessions: tuple[Session, ...],
    directory: str,
    probe_functions: int,
) -> ReplayFacts:
    """One replay: the commit alone, and beside it the base's tests."""
    alone = Reproduction(cells=cells, source=source, sessions=sessions, directory=directory)
    base = source.base if mode is Mode.MATRIX else ""
    pairs: list[ReplayedTest] = []
    probed: tuple[Probed, ...] = ()
    matched = 0
    only_elsewhere: tuple[ReplayedTest, ...] = ()
    unmatched: tuple[str, ...] = ()
    if base and base != source.commit:
        matrix = Matrix(cells=cells, base=base, head=source.commit, sessions=sessions, directory=directory)
        cells.ahead("bb", base)
        cells.together(alone.run, matrix.begin)
        pairs, matched = matrix.finish(alone.claimed())
        only_elsewhere, unmatched = matrix.only_elsewhere[:_LISTED], matrix.unmatched[:_LISTED]
        if probe_functions:
            probed = probe(cells, base, source.commit, probe_functions)
    else:
        alone.run()
        if base:
            cells.gaps.append("the head is the base: there is no change to compare")
        elif mode is Mode.MATRIX:
            cells.gaps.append("no base commit: the old tests could not be run")
    tests = [*alone.tests, *pairs]
    if len(tests) > _LISTED:
        cells.gaps.append(f"{len(tests) - _LISTED} more tests differ")
    return ReplayFacts(
        mode=mode,
        head=source.commit,
        base=base,
        cells=tuple(cells.described()),
        tests=tuple(tests[:_LISTED]),
        compared=alone.compared,
        matched=matched,
        seconds=round(time.monotonic() - cells.began, 3),
        probed=probed,
        gaps=tuple(cells.gaps),
        lenient=_lenient(cells, base, source.commit) if base else (),
        only_elsewhere=only_elsewhere,
        unmatched=unmatched,
    )


def _lenient(cells: Cells, base: str, head: str) -> tuple[Lenient, ...]:
    """Kinds of values in changed source that say they equal others, where the base's did not."""
    ran = {name: cells.ran[name].run.lenient for name in ("clean", "hh", "bh", "bb") if name in cells.ran}
    known = ran.pop("bb", {})
    found = {key: kind for kinds in ran.values() for key, kind in kinds.items() if key not in known}
    if not found:
        return ()
    changed = set(changed_paths(cells.git, base, head))
    kept = [kind for kind in found.values() if kind.path in changed and not is_test_file(kind.path)]
    return tuple(sorted(kept, key=lambda kind: (kind.path, kind.line))[:_LISTED])


def _top(sessions: Sequence[Session]) -> list[Session]:
    pids = {session.pid for session in sessions}
    return [s for s in sessions if not s.parent and s.parent_pid not in pids]


def _place(git: Git, python: str, environ: Mapping[str, str], folder: Path) -> Place | None:
    objects = os.fsdecode(git.run("rev-parse", "--git-path", "objects").rstrip(b"\n"))
    return Place.find(git.root, python, environ, folder, os.path.join(git.root, objects))


def why_elsewhere(git: Git, python: str, environ: Mapping[str, str]) -> str:
    """Why clones can't stand in the checkout's place, in words; empty where they can.

    Args:
        git: The user's work tree.
        python: The interpreter that runs the tests.
        environ: The environment that they have.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if why := hindrance(git.root, python, environ, folder):
            return why
        return "" if _place(git, python, environ, folder) else "the system lets nobody mount a folder here"


def _bench(
    git: Git,
    source: Source,
    sessions: Sequence[Session],
    folder: Path,
    environ: Mapping[str, str],
    python: str,
    budget_seconds: float,
    place: Beside[Place | None],
) -> Bench:
    rootdir = relative(sessions[0].rootdir, git.root) if sessions else ""
    paths = paths_at(git, source.commit)
    roots = source_roots(git, sessions, paths, rootdir)
    return Bench(
        place=place.result(),
        argv=sessions[0].argv[1:] if sessions else (),
        python=python,
        environ=environ,
        user_root=git.root,
        rootdir=rootdir,
        source_roots=roots,
        packages=packages(paths, roots),
        budget_seconds=budget_seconds,
        scratch=folder,
        expected=frozenset(test.id for each in sessions for test in each.tests if test.outcome in _RED),
    )

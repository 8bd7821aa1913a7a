"""The replay collector: runs the suite again in clean clones and reports what each cell came to.

``clean`` asks whether the commit alone gives the outcome that the run recorded. ``matrix`` asks what the base's
tests say of the head's source, and the head's tests of the base's source. What disagrees is repeated until it
was run three times; what then varies is told apart as unstable. Tests are matched between base and head by id,
else by the digests of body and parameters, so a rename or a move is quiet. The user's tree is only read.
"""

from __future__ import annotations

import ast
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path

from dre_core.capture import arguments
from dre_core.capture.arguments import Arguments
from dre_core.capture.cell import Bench, CellRun
from dre_core.capture.clone import Clone
from dre_core.capture.git import Git
from dre_core.capture.material import (
    CONFIG_NAMES,
    Settings,
    changed_paths,
    is_test_file,
    material,
    paths_at,
    settings_at,
)
from dre_core.errors import CaptureError
from dre_core.model.record import dataclass
from dre_core.model.replay import Cell, CellState, FailureKind, Mode, Reached, ReplayedTest, ReplayFacts
from dre_core.model.run import Source
from dre_core.model.session import Outcome, Session

REPEATS = 3
_SELECTED_LIMIT = 200
_LISTED = 2_000
_SESSIONS_LIMIT = 8
_PASSING = (Outcome.PASSED, Outcome.XPASSED)
_DOCUMENTS = (".md", ".rst", ".txt")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def collect_replay(
    git: Git,
    source: Source,
    sessions: Sequence[Session],
    *,
    mode: Mode | str,
    environ: Mapping[str, str],
    python: str,
    budget_seconds: float,
    directory: str = "",
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
        directory: Where the command ran, absolute; default: the top of the tree.

    Returns:
        What each cell came to. A cell that could not run is in it, with the reason.

    Raises:
        CaptureError: There is no commit to clone, or git or the interpreter can't be started.
    """
    mode = Mode(mode)
    if source.vcs != "git" or not source.commit:
        raise CaptureError("there is no commit to run again", hint="commit the change first")
    try:
        with tempfile.TemporaryDirectory(prefix="dre-replay-", ignore_cleanup_errors=True) as folder:
            top = tuple(s for s in _top(sessions) if not s.collect_only)[:_SESSIONS_LIMIT]
            replaying = _Replay(
                git=git,
                source=source,
                sessions=top,
                directory=directory or git.root,
                bench=_bench(git, source, top, Path(folder), environ, python, budget_seconds),
                folder=Path(folder),
            )
            return replaying.run(mode)
    except OSError as error:
        raise CaptureError(f"a clone could not be made: {error}") from None


def _top(sessions: Sequence[Session]) -> list[Session]:
    pids = {session.pid for session in sessions}
    return [s for s in sessions if not s.parent and s.parent_pid not in pids]


def _bench(
    git: Git,
    source: Source,
    sessions: Sequence[Session],
    folder: Path,
    environ: Mapping[str, str],
    python: str,
    budget_seconds: float,
) -> Bench:
    rootdir = _relative(sessions[0].rootdir, git.root) if sessions else ""
    paths = paths_at(git, source.commit)
    roots = _source_roots(git, sessions, paths, rootdir)
    return Bench(
        python=python,
        environ=environ,
        user_root=git.root,
        rootdir=rootdir,
        source_roots=roots,
        packages=_packages(paths, roots),
        budget_seconds=budget_seconds,
        scratch=folder,
    )


def _relative(path: str, root: str) -> str:
    """A path inside the tree relative to its top; empty for the top itself and for what lies outside."""
    found = os.path.relpath(os.path.realpath(path), os.path.realpath(root)) if path else "."
    return "" if found == "." or found.startswith("..") else found


def _source_roots(
    git: Git, sessions: Sequence[Session], paths: Sequence[str], rootdir: str
) -> tuple[str, ...]:
    """Folders that the project's packages are imported from: where the run did, ``src``, and the top."""
    found = []
    for session in sessions:
        for name, file in session.imports.items():
            place = _relative(os.path.join(session.rootdir, file), git.root)
            parts = place.split("/")
            # Only what lies in the tree itself; an environment may lie there too.
            if place in paths and name in (*parts[:-1], parts[-1].removesuffix(".py")):
                index = parts.index(name) if name in parts else len(parts) - 1
                found.append("/".join(parts[:index]))
    usual = ("/".join(filter(None, (rootdir, "src"))), "src", rootdir, "")
    folders = {path.rpartition("/")[0] for path in paths}
    known = {parent for folder in folders for parent in _parents(folder)} | {""}
    return tuple(dict.fromkeys(root for root in (*usual, *found) if root in known))


def _parents(folder: str) -> Iterable[str]:
    parts = folder.split("/")
    return ("/".join(parts[:length]) for length in range(1, len(parts) + 1))


def _packages(paths: Sequence[str], roots: Sequence[str]) -> tuple[str, ...]:
    """Top-level names that only the project's own source should give."""
    names = set()
    for path in paths:
        for root in roots:
            inside = path[len(root) + 1 :] if root and path.startswith(f"{root}/") else "" if root else path
            head, _, rest = inside.partition("/")
            if rest == "__init__.py" and not is_test_file(path):
                names.add(head)
            elif head.endswith(".py") and not rest and not is_test_file(path) and head != "setup.py":
                names.add(head.removesuffix(".py"))
    return tuple(sorted(names))


@dataclass(slots=True, kw_only=True)
class _Ran:
    """A cell that was run: its clone stays for the repeats."""

    clone: Clone
    words: list[str]
    run: CellRun


@dataclass(slots=True, kw_only=True)
class _Replay:
    """One replay, cell by cell."""

    git: Git
    source: Source
    sessions: tuple[Session, ...]
    directory: str
    bench: Bench
    folder: Path
    cells: dict[str, _Ran] = field(default_factory=dict)
    lost: dict[str, Cell] = field(default_factory=dict)
    gaps: list[str] = field(default_factory=list)

    def run(self, mode: Mode) -> ReplayFacts:
        clean, compared = self._clean()
        pairs: list[ReplayedTest] = []
        matched = 0
        base = self.source.base if mode is Mode.MATRIX else ""
        if mode is Mode.MATRIX and not base:
            self.gaps.append("no base commit: the old tests could not be run")
        elif base == self.source.commit:
            self.gaps.append("the head is the base: there is no change to compare")
        elif base:
            pairs, matched = self._matrix(base)
        tests = (clean + pairs)[:_LISTED]
        if len(clean) + len(pairs) > _LISTED:
            self.gaps.append(f"{len(clean) + len(pairs) - _LISTED} more tests differ")
        return ReplayFacts(
            mode=mode,
            head=self.source.commit,
            base=base,
            cells=tuple(self._described()),
            tests=tuple(tests),
            compared=compared,
            matched=matched,
            gaps=tuple(self.gaps),
        )

    def _described(self) -> Iterable[Cell]:
        for name, ran in self.cells.items():
            run = ran.run
            yield Cell(
                name=name,
                state=run.state,
                seconds=round(run.seconds, 3),
                python=run.python,
                tests=len(run.results),
                detail=run.detail,
            )
        yield from self.lost.values()

    # Cells

    def _clone(self, name: str, commit: str) -> Clone:
        clone = Clone(self.git, self.folder / name, commit)
        if clone.shadows:
            self.gaps.append(f"{', '.join(clone.shadows)} at the top of {commit[:12]} was left out")
        return clone

    def _cell(self, name: str, clone: Clone, words: list[str], **more: object) -> _Ran:
        run = self.bench.run(clone, words, **more)  # type: ignore[arg-type]
        if run.status == 4 and words:
            # An option that this commit's conftest does not know.
            bare = [word for word in words if word.startswith(("--rootdir=", "--continue", "-c"))]
            run = self.bench.run(clone, bare)
            words = bare
        self.cells[name] = _Ran(clone=clone, words=words, run=run)
        return self.cells[name]

    def _usable(self, name: str) -> bool:
        return name in self.cells and self.cells[name].run.state is CellState.RAN

    def _skip(self, names: Iterable[str], detail: str) -> None:
        for name in names:
            if name not in self.cells:
                self.lost[name] = Cell(name=name, state=CellState.NOT_RUN, detail=detail)

    def _again(self, name: str, tests: Iterable[str]) -> dict[str, list[Reached | None]]:
        """What some tests came to in a cell, each time it was run."""
        ran = self.cells[name]
        wanted = [test for test in tests if ran.run.reached(test) is not None]
        every: dict[str, list[Reached | None]] = {test: [ran.run.reached(test)] for test in wanted}
        if not wanted:
            return every
        words = [*ran.words, *_selected(ran.run, wanted)]
        for _ in range(REPEATS - 1):
            run = self.bench.run(ran.clone, words)
            ran.run.seconds += run.seconds
            for test in wanted:
                every[test].append(run.reached(test) if run.state is not CellState.TIMEOUT else None)
        return every

    # The commit alone

    def _clean(self) -> tuple[list[ReplayedTest], int]:
        """The head's commit with the run's own arguments: what passed in the run and not here."""
        clone = self._clone("clean", self.source.commit)
        for number, session in enumerate(self.sessions or (Session(id="", nonce=""),)):
            options, paths, directory = self._own_words(session, clone)
            again = self.bench.run(clone, [*options, *paths], directory=directory, addopts=True)
            if number == 0:
                self.cells["clean"] = _Ran(clone=clone, words=options, run=again)
            else:
                _add(self.cells["clean"].run, again)
        if not self._usable("clean"):
            self._explain_setup()
            return [], 0
        claimed = self._claimed()
        run = self.cells["clean"].run
        passed = [test for test, outcome in claimed.items() if outcome in _PASSING]
        red = [test for test in passed if (found := run.reached(test)) is None or found.failed]
        if red and self._needs_build(red):
            return [], 0
        return self._judged_clean(red, claimed), len(passed) - sum(run.reached(t) is None for t in passed)

    def _judged_clean(self, red: list[str], claimed: Mapping[str, Outcome]) -> list[ReplayedTest]:
        run = self.cells["clean"].run
        every = self._again("clean", red) if red else {}
        edited = self._with_edits(red) if red and self.source.clean is False else None
        before = self._at_base(red) if red else None
        return [
            ReplayedTest(
                id=test,
                claimed=claimed[test],
                clean=run.reached(test),
                edited=edited.reached(test) if edited else None,
                bb=before.reached(test) if before else None,
                repeats=len(every.get(test, ())) or 1,
                stable=_is_stable(every.get(test, [None])),
            )
            for test in red
        ]

    def _with_edits(self, red: list[str]) -> CellRun | None:
        """The same tests in a clone with the uncommitted edits: are they what makes the difference?"""
        modified, untracked = self.git.modified(self.git.tree())
        clone = self._clone("edited", self.source.commit)
        clone.overlay([*modified, *untracked])
        ran = self.cells["clean"]
        files = sorted({test.partition("::")[0] for test in red})
        present = [file for file in files if (clone.root / self.bench.rootdir / file).exists()]
        words = _aimed(ran.words, ran.clone, clone)
        return self._cell("edited", clone, [*words, *present]).run if present else None

    def _at_base(self, red: list[str]) -> CellRun | None:
        """The same tests at the base: a clone in which even they fail proves nothing."""
        if not self.source.base or self.source.base == self.source.commit:
            return None
        clone = self._clone("before", self.source.base)
        files = sorted({test.partition("::")[0] for test in red})
        present = [file for file in files if (clone.root / self.bench.rootdir / file).exists()]
        words = _aimed(self.cells["clean"].words, self.cells["clean"].clone, clone)
        return self.bench.run(clone, [*words, *present]) if present else None

    def _needs_build(self, red: list[str]) -> bool:
        """Whether a clone lacks what a build step made: modules that git ignores."""
        run = self.cells["clean"].run
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
        run = self.cells["clean"].run
        made = sorted(set(_WORD.findall(run.detail)) & self._ignored_modules())
        if made:
            run.detail = f"a clone lacks the module {made[0]}, which a build step makes"

    def _ignored_modules(self) -> set[str]:
        output = self.git.run("ls-files", "-z", "--others", "--ignored", "--exclude-standard")
        files = [os.fsdecode(path) for path in output.split(b"\0") if path]
        kinds = (".py", ".so", ".pyd")
        return {
            os.path.basename(file).partition(".")[0]
            for file in files
            if file.endswith(kinds) and "site-packages" not in file
        }

    def _claimed(self) -> dict[str, Outcome]:
        return {test.id: test.outcome for session in self.sessions for test in session.tests}

    def _own_words(self, session: Session, clone: Clone) -> tuple[list[str], tuple[str, ...], str]:
        """A session's own options and paths in a clone, and the folder they are meant from."""
        given = arguments.split(session.argv)
        starts = (self.directory, session.rootdir or self.directory)
        names = [path.partition("::")[0] for path in given.paths]
        start = next((s for s in starts if all(os.path.exists(os.path.join(s, n)) for n in names)), starts[0])
        moved = arguments.for_clone(given, self._relocation(clone))
        options = [word for option in moved.options for word in option]
        if session.rootdir and not given.value("--rootdir"):
            options = [f"--rootdir={clone.root / self.bench.rootdir}", *options]
        return options, moved.paths, _relative(start, self.git.root) or "."

    def _relocation(self, clone: Clone) -> Callable[[str], str]:
        top = os.path.realpath(self.git.root)

        def relocate(path: str) -> str:
            name, colons, rest = path.partition("::")
            if not os.path.isabs(name):
                return path
            real = os.path.realpath(name)
            inside = real == top or real.startswith(top + os.sep)
            return str(clone.root / os.path.relpath(real, top)) + colons + rest if inside else path

        return relocate

    # The matrix

    def _matrix(self, base: str) -> tuple[list[ReplayedTest], int]:
        given = [arguments.split(session.argv) for session in self.sessions] or [Arguments()]
        words = arguments.for_matrix(given[0]).words()
        named = given[0].value("-c", "--config-file")
        old = settings_at(self.git, base, self.bench.rootdir, _relative_name(named, self))
        new = settings_at(self.git, self.source.commit, self.bench.rootdir, _relative_name(named, self))
        bb = self._old_cell("bb", base, old, words)
        if bb.run.state is not CellState.RAN:
            self._skip(("hh", "bh", "hb"), f"the base's own tests do not run in a clone: {bb.run.detail}")
            return [], 0
        hh = self._head_cell(words, new, selective=len(given) > 1 or arguments.is_selective(given[0]))
        if hh.run.state is not CellState.RAN:
            self._skip(("bh", "hb"), f"the head's tests do not run in a clone: {hh.run.detail}")
            return [], 0
        if not self._crossed(base, old, new, words):
            self._skip(("hb",), "the old tests did not run on the new source")
            return [], 0
        return self._compared(base)

    def _words(self, clone: Clone, settings: Settings, words: list[str]) -> list[str]:
        """Arguments that fix the configuration and the rootdir of a cell."""
        folder = clone.root / self.bench.rootdir
        clone.write(os.path.join(self.bench.rootdir, settings.name), settings.text)
        fixed = [f"--rootdir={folder}", f"-c{folder / settings.name}", "--continue-on-collection-errors"]
        return [*fixed, *words]

    def _old_cell(self, name: str, commit: str, settings: Settings, words: list[str]) -> _Ran:
        clone = self._clone(name, commit)
        return self._cell(name, clone, self._words(clone, settings, words))

    def _head_cell(self, words: list[str], settings: Settings, *, selective: bool) -> _Ran:
        """The head's whole suite: the clean cell, unless the run chose tests by its own words."""
        if not selective and self._usable("clean"):
            self.cells["hh"] = self.cells["clean"]
            return self.cells["hh"]
        return self._old_cell("hh", self.source.commit, settings, words)

    def _material(self, commit: str, cell: str) -> frozenset[str]:
        run = self.cells[cell].run
        ids = [*run.items, *run.broken]
        files = {"/".join(filter(None, (self.bench.rootdir, test.partition("::")[0]))) for test in ids}
        return material(paths_at(self.git, commit), files)

    def _crossed(self, base: str, old: Settings, new: Settings, words: list[str]) -> bool:
        """Runs the old tests on the new source; whether that could be done."""
        head = self.source.commit
        old_tests, new_tests = self._material(base, "bb"), self._material(head, "hh")
        changed = set(changed_paths(self.git, base, head))
        tests_changed = (
            bool(changed & (old_tests | new_tests)) or old.text != new.text or old.path != new.path
        )
        source_changed = any(
            path not in old_tests | new_tests
            and not path.endswith(_DOCUMENTS)
            and path.rpartition("/")[2] not in CONFIG_NAMES[:4]
            for path in changed
        )
        if not source_changed:
            self.cells["bh"] = self.cells["bb"]
        elif not tests_changed:
            self.cells["bh"] = self.cells["hh"]
        else:
            clone = self._clone("bh", head)
            clone.replace(old_tests | new_tests, base, sorted(old_tests))
            _accept_broken(self._cell("bh", clone, self._words(clone, old, words)).run)
        if not self._usable("bh"):
            return False
        clone = self._clone("hb", base)
        clone.replace(old_tests | new_tests, head, sorted(new_tests))
        self.cells["hb"] = _Ran(clone=clone, words=self._words(clone, new, words), run=CellRun())
        return True

    def _compared(self, base: str) -> tuple[list[ReplayedTest], int]:
        """Every test of the base against the four cells, what disagrees repeated."""
        bb, bh, hh = (self.cells[name].run for name in ("bb", "bh", "hh"))
        names = self._renamed(bb, hh)
        claimed = self._claimed()
        removed = _removed_names(self.git, base, self.source.commit)
        pairs = []
        for test in bb.items:
            if not is_test_file(test.partition("::")[0]):
                continue
            at_head = names.get(test, test)
            pair = ReplayedTest(
                id=at_head,
                base_id=test,
                claimed=claimed.get(at_head),
                bb=bb.reached(test),
                bh=_with_missing(bh.reached(test), removed),
                hh=hh.reached(at_head),
            )
            pairs.append(pair)
        differing = [pair for pair in pairs if not _is_quiet(pair)]
        return self._repeated(self._with_new_on_old(differing)), len(pairs)

    def _with_new_on_old(self, pairs: list[ReplayedTest]) -> list[ReplayedTest]:
        """Runs the new tests on the old source where that tells a blinded test from a re-specified one."""
        wanted = [pair for pair in pairs if _needs_new_on_old(pair)]
        ran = self.cells["hb"]
        if not wanted:
            del self.cells["hb"]
            return pairs
        files = sorted({pair.id.partition("::")[0] for pair in wanted})
        present = [file for file in files if (ran.clone.root / self.bench.rootdir / file).exists()]
        ran.run = self.bench.run(ran.clone, [*ran.words, *present])
        _accept_broken(ran.run)
        if ran.run.state is not CellState.RAN:
            return pairs
        return [replace(p, hb=ran.run.reached(p.id)) if _needs_new_on_old(p) else p for p in pairs]

    def _repeated(self, pairs: list[ReplayedTest]) -> list[ReplayedTest]:
        wanted = [pair for pair in pairs if not _is_plain(pair)]
        if not wanted:
            return pairs
        old, new = [pair.base_id for pair in wanted], [pair.id for pair in wanted]
        every = {
            "bb": self._again("bb", old),
            "bh": self._again("bh", old),
            "hh": self._again("hh", new),
            "hb": self._again("hb", [p.id for p in wanted if p.hb]) if "hb" in self.cells else {},
        }
        return [_settled(pair, every) if pair in wanted else pair for pair in pairs]

    def _renamed(self, bb: CellRun, hh: CellRun) -> dict[str, str]:
        """Id at the base to id at the head, for tests that are there under another id."""
        free: dict[tuple[str, str], list[str]] = {}
        for test, item in hh.items.items():
            if test not in bb.items and item.body:
                free.setdefault((item.body, item.parameters), []).append(test)
        names = {}
        for test, item in bb.items.items():
            candidates = free.get((item.body, item.parameters)) if item.body else None
            if test not in hh.items and candidates and hh.reached(test) is None:
                names[test] = candidates.pop(0)
        return names


def _relative_name(named: str, replaying: _Replay) -> str:
    if not named:
        return ""
    return _relative(os.path.join(replaying.directory, named), replaying.git.root)


def _aimed(words: Iterable[str], clone: Clone, other: Clone) -> list[str]:
    """Words that name a place in one clone, naming it in another."""
    return [word.replace(str(clone.root), str(other.root)) for word in words]


def _selected(run: CellRun, tests: Sequence[str]) -> list[str]:
    """Words that select tests: their ids, or their files where that is too many or they were not collected."""
    if len(tests) > _SELECTED_LIMIT or any(test not in run.items for test in tests):
        return sorted({test.partition("::")[0] for test in tests})
    return sorted(tests)


def _accept_broken(run: CellRun) -> None:
    """Tests that can't even be imported on the other side's source are an outcome there, not a lack of setup."""
    if run.state is CellState.FAILED_SETUP and run.broken and run.status in (1, 2):
        run.state, run.detail = CellState.RAN, ""


def _add(run: CellRun, more: CellRun) -> None:
    run.results.update(more.results)
    run.items.update(more.items)
    run.broken.update(more.broken)
    run.seconds += more.seconds
    if more.state is not CellState.RAN:
        run.state, run.detail = more.state, more.detail


def _word(reached: Reached | None) -> tuple[bool, bool] | None:
    """What of an outcome must repeat: failed or not, excused or not."""
    return (reached.failed, reached.excused) if reached else None


def _is_stable(every: Sequence[Reached | None]) -> bool:
    return len({_word(reached) for reached in every}) == 1


def _settled(pair: ReplayedTest, every: Mapping[str, Mapping[str, list[Reached | None]]]) -> ReplayedTest:
    runs = [
        found
        for name, test in (("bb", pair.base_id), ("bh", pair.base_id), ("hh", pair.id), ("hb", pair.id))
        if (found := every[name].get(test))
    ]
    return replace(pair, repeats=REPEATS, stable=all(_is_stable(found) for found in runs))


def _passes(reached: Reached | None) -> bool:
    return reached is not None and reached.outcome in _PASSING


def _is_quiet(pair: ReplayedTest) -> bool:
    return _passes(pair.bb) and _passes(pair.bh) and _passes(pair.hh)


def _is_plain(pair: ReplayedTest) -> bool:
    """A difference that no rule looks at: a test that was not run before, or that the change repaired."""
    if _passes(pair.bb):
        return False
    return not (pair.bb and pair.bb.failed) or _passes(pair.bh)


def _needs_new_on_old(pair: ReplayedTest) -> bool:
    return _passes(pair.bb) and pair.bh is not None and pair.bh.failed and _passes(pair.hh)


def _with_missing(reached: Reached | None, removed: frozenset[str]) -> Reached | None:
    """The outcome with the name that the change took away, if its message names one."""
    if reached is None or not reached.failed:
        return reached
    names = [word for word in _WORD.findall(reached.message) if word in removed]
    return replace(reached, missing=names[-1]) if names else reached


def _removed_names(git: Git, base: str, head: str) -> frozenset[str]:
    """Names that the source of the base defined and the source of the head does not."""
    before: set[str] = set()
    after: set[str] = set()
    for path in changed_paths(git, base, head):
        if path.endswith(".py") and not is_test_file(path):
            before |= _defined(git.show(base, path), path)
            after |= _defined(git.show(head, path), path)
    return frozenset(before - after)


def _defined(text: str | None, path: str) -> set[str]:
    if text is None:
        return set()
    names = {path.rpartition("/")[2].removesuffix(".py")}
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return names
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).partition(".")[0])
    return names

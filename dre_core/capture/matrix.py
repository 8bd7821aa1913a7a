"""The matrix: the base's tests on the head's source, and the head's on the base's, where that can matter.

In the order of cost: the base's tests are only collected; they run once, on the head's source; only what does not
simply pass there and at the head is run at the base, crossed the other way, and repeated until it was run three
times. Tests are matched by id, else by the digests of body and parameters, so a rename or a move is quiet; and where
the source's names have changed, the old tests run again with the old names given to the new things.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import field, replace
from functools import partial

from dre_core.capture import arguments
from dre_core.capture.arguments import Arguments
from dre_core.capture.beside import Beside
from dre_core.capture.cell import Bench, CellRun
from dre_core.capture.cells import REPEATS, Cells, Ran, accept_broken, is_stable, selected
from dre_core.capture.clone import Clone
from dre_core.capture.layout import relative
from dre_core.capture.material import (
    CONFIG_NAMES,
    Settings,
    changed_paths,
    is_test_file,
    material,
    paths_at,
    settings_at,
)
from dre_core.capture.renaming import aliases, removed_names
from dre_core.capture.reproduction import PASSING
from dre_core.capture.support import new_variables, support_files, widened
from dre_core.model.record import dataclass
from dre_core.model.replay import CellState, FailureKind, Reached, ReplayedTest
from dre_core.model.session import Outcome, Session

_DOCUMENTS = (".md", ".rst", ".txt")
_Support = tuple[frozenset[str], frozenset[str], tuple[tuple[str, str, str], ...]]
_HOLDS_TESTS = re.compile(r"^\s*(?:async\s+)?def\s+test|^\s*class\s+\w*Test", re.M)
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(slots=True, kw_only=True)
class Matrix:
    """The cells ``bb``, ``bh``, ``hb`` and ``hh``.

    Attributes:
        cells: The replay's cells.
        base: The base commit.
        head: The head commit.
        sessions: The sessions of the run.
        directory: Where the command ran.
        unmatched: Changed files with tests at the base and at the head, of which none at the base was found.
        only_elsewhere: Old tests that pass on the new source only outside of the checkout's place; ``bh`` is in it.
    """

    cells: Cells
    base: str
    head: str
    sessions: tuple[Session, ...]
    directory: str
    only_elsewhere: tuple[ReplayedTest, ...] = ()
    unmatched: tuple[str, ...] = ()
    _words: list[str] = field(default_factory=list)
    _old: Settings = field(default_factory=Settings)
    _new: Settings = field(default_factory=Settings)
    _tests_changed: bool = True
    _source_changed: bool = True
    _gone: Beside[frozenset[str]] | None = None
    _supported: Beside[_Support] | None = None
    _placed: Bench | None = None

    def begin(self) -> None:
        """Collects the base's tests and runs them on the new source; needs nothing of the clean cell."""
        self._placed = self.cells.bench if self.cells.bench.is_placed else None
        given = self._given()
        self._words = arguments.for_matrix(given[0]).words()
        named = self._relative_name(given[0].value("-c", "--config-file"))
        rootdir = self.cells.bench.rootdir
        self._old = settings_at(self.cells.git, self.base, rootdir, named)
        self._new = settings_at(self.cells.git, self.head, rootdir, named)
        clone = self.cells.clone("bb", self.base)
        self.cells.ahead("bh", self.head)
        self._gone = self.cells.steps.begin(partial(removed_names, self.cells.git, self.base, self.head))
        self.cells.run("bb", clone, [*self._fixed(clone, self._old), *self._words, "--collect-only"])
        if self.cells.usable("bb"):
            self._survey()
            self._supported = self.cells.steps.begin(self._support)
            self._cross()

    def finish(self, claimed: Mapping[str, Outcome]) -> tuple[list[ReplayedTest], int]:
        """Compares, once the clean cell has run.

        Args:
            claimed: The outcomes that the run recorded.

        Returns:
            The tests that differ, and how many were compared.
        """
        cells = self.cells
        placed = self._placed
        if has_moved := placed is not None and not cells.bench.is_placed:
            self.begin()  # in the place where the clean cell has run
        if not cells.usable("bb"):
            detail = cells.ran["bb"].run.detail
            cells.skip(("hh", "bh", "hb"), f"the base's own tests do not run in a clone: {detail}")
            return [], 0
        if not self._head_runs():
            detail = cells.ran["hh"].run.detail
            cells.skip(("bh", "hb"), f"the head's tests do not run in a clone: {detail}")
            return [], 0
        if self._source_changed and not self._tests_changed:
            cells.ran["bh"] = cells.ran["hh"]
        if not cells.usable("bh"):
            cells.skip(("hb",), "the old tests did not run on the new source")
            return [], 0
        pairs, count = self._compared(claimed)
        self.unmatched = tuple(self._not_found())
        if has_moved and self._source_changed:
            assert placed is not None
            self.only_elsewhere = tuple(self._failing_in(placed, claimed))
        return [*pairs, *self._by_support({pair.base_id for pair in pairs}, claimed)], count

    def _given(self) -> list[Arguments]:
        return [arguments.split(session.argv) for session in self.sessions] or [Arguments()]

    def _relative_name(self, named: str) -> str:
        return relative(os.path.join(self.directory, named), self.cells.git.root) if named else ""

    def _fixed(self, clone: Clone, settings: Settings) -> list[str]:
        """Arguments that fix the configuration and the rootdir of a cell."""
        rootdir = self.cells.bench.rootdir
        folder = clone.root / rootdir
        place = clone.root / settings.path
        if settings.path and place.is_file() and place.read_bytes().decode(errors="replace") == settings.text:
            named = [f"-c{place}"]
        elif (
            self.cells.bench.is_placed
            and not settings.path
            and not any((folder / name).exists() for name in CONFIG_NAMES)
        ):
            named = []
        else:
            clone.write(os.path.join(rootdir, settings.name), settings.text)
            named = [f"-c{folder / settings.name}"]
        return [f"--rootdir={folder}", *named, "--continue-on-collection-errors"]

    # Cells

    def _head_runs(self) -> bool:
        """The head's whole suite: the clean cell, unless the run chose tests by its own words."""
        given = self._given()
        # The clean cell takes over the environment's own options, which may choose tests as well.
        selective = arguments.is_selective(given[0]) or bool(self.cells.bench.environ.get("PYTEST_ADDOPTS"))
        if len(given) == 1 and not selective and self.cells.usable("clean"):
            self.cells.ran["hh"] = self.cells.ran["clean"]
        else:
            clone = self.cells.clone("hh", self.head)
            self.cells.run("hh", clone, [*self._fixed(clone, self._new), *self._words])
        return self.cells.usable("hh")

    def _survey(self) -> None:
        """What kinds of files the change touched."""
        both = self._old_material() | self._new_material()
        changed = set(changed_paths(self.cells.git, self.base, self.head))
        self._tests_changed = (
            bool(changed & both) or self._old.text != self._new.text or self._old.path != self._new.path
        )
        self._source_changed = any(
            path not in both
            and not path.endswith(_DOCUMENTS)
            and path.rpartition("/")[2] not in CONFIG_NAMES[:4]
            for path in changed
        )

    def _collected(self) -> set[str]:
        run = self.cells.ran["bb"].run
        rootdir = self.cells.bench.rootdir
        return {
            "/".join(filter(None, (rootdir, test.partition("::")[0]))) for test in [*run.items, *run.broken]
        }

    def _old_material(self) -> frozenset[str]:
        return material(paths_at(self.cells.git, self.base), self._collected())

    def _new_material(self) -> frozenset[str]:
        """The same of the head: what was collected at the base and is still there, and new files named as tests."""
        known = set(paths_at(self.cells.git, self.base))
        paths = paths_at(self.cells.git, self.head)
        fresh = {path for path in paths if path not in known and _is_named_as_test(path)}
        return material(paths, self._collected() | fresh)

    def _cross(self) -> None:
        """Runs the old tests on the new source, where that is not what another cell shows."""
        if not self._source_changed:
            clone = self.cells.ran["bb"].clone
            run = self.cells.run("bh", clone, [*self._fixed(clone, self._old), *self._words]).run
        elif self._tests_changed:
            clone = self._crossed("bh", self.head, self.base)
            run = self.cells.run("bh", clone, [*self._fixed(clone, self._old), *self._words]).run
        else:
            return
        accept_broken(run)

    def _crossed(self, name: str, commit: str, other: str) -> Clone:
        """A clone of one commit with the tests of the other."""
        old, new = self._old_material(), self._new_material()
        clone = self.cells.clone(name, commit)
        clone.replace(old | new, other, sorted(old if other == self.base else new))
        return clone

    # Tests

    def _compared(self, claimed: Mapping[str, Outcome]) -> tuple[list[ReplayedTest], int]:
        """Every test of the base against the cells, what disagrees looked at closely."""
        bb, bh, hh = (self.cells.ran[name].run for name in ("bb", "bh", "hh"))
        names, again = _renamed(bb, hh), _renamed(bb, bh)
        assert self._gone is not None
        removed = self._gone.result()
        pairs = []
        for test in bb.items:
            if is_test_file(test.partition("::")[0]):
                at_head = names.get(test, test)
                pairs.append(
                    ReplayedTest(
                        id=at_head,
                        base_id=test,
                        claimed=claimed.get(at_head),
                        bh=_with_missing(bh.reached(again.get(test, test)), removed),
                        hh=hh.reached(at_head),
                    )
                )
        differing = [pair for pair in pairs if not (_passes(pair.bh) and _passes(pair.hh))]
        return self._settled(self._under_old_names(differing, removed)), len(pairs)

    def _under_old_names(self, pairs: list[ReplayedTest], removed: frozenset[str]) -> list[ReplayedTest]:
        """The old tests that miss a name, run with it given to what has taken its place."""
        missing = [pair for pair in pairs if pair.bh is not None and pair.bh.is_interface]
        if not missing or not (self._tests_changed and self._source_changed):
            return pairs
        given = aliases(self.cells.git, self.base, self.head, self.cells.bench.source_roots)
        if not given:
            return pairs
        bh = self.cells.ran["bh"]
        clone = self._crossed("bh-names", self.head, self.base)
        words = [*self._fixed(clone, self._old), *self._words]
        files = sorted({pair.base_id.partition("::")[0] for pair in missing})
        run = self.cells.execute(clone, [*words, *files], aliases=given, forked=True)
        accept_broken(run)
        bh.run.seconds += run.seconds
        if run.state is not CellState.RAN:
            return pairs
        bh.clone, bh.words, bh.aliases = clone, words, given
        for pair in missing:
            if (found := run.reached(pair.base_id)) is not None:
                bh.run.results[pair.base_id] = found
        bh.run.items.update(run.items)
        again = {pair.base_id: _with_missing(bh.run.reached(pair.base_id), removed) for pair in missing}
        pairs = [replace(p, bh=again.get(p.base_id, p.bh)) for p in pairs]
        return [pair for pair in pairs if not (_passes(pair.bh) and _passes(pair.hh))]

    def _by_support(self, known: set[str], claimed: Mapping[str, Outcome]) -> list[ReplayedTest]:
        """Tests that pass everywhere, and not on the new source once what supports them is the base's again."""
        cells = self.cells
        assert self._supported is not None
        support, variables, values = self._supported.result()
        without = variables & set(cells.bench.environ)
        if not support and not without and not values:
            return []
        clone = self._crossed("bs", self.head, self.base)
        clone.replace((), self.base, sorted(support))
        words = [*self._fixed(clone, self._old), *self._words]
        # The interpreter itself may have read what it is to run without.
        forked = not any(name.startswith("PYTHON") for name in without)
        run = cells.execute(clone, words, without, values=values, forked=forked)
        cells.ran["bs"] = Ran(clone=clone, words=words, run=run, without=without, values=values)
        unset = (f"no {name}" for name in sorted(without))
        numbers = (f"{module}.{name} = {value}" for module, name, value in values)
        run.detail = run.detail or ", ".join([*sorted(support), *unset, *numbers])
        bb, bh, hh = (cells.ran[name].run for name in ("bb", "bh", "hh"))
        names, again = _renamed(bb, hh), _renamed(bb, bh)
        hidden = [
            test
            for test in bb.items
            if test not in known
            and _asserts(run.reached(test))
            and _passes(bh.reached(again.get(test, test)))
        ]
        if not hidden or run.state is not CellState.RAN:
            return []
        self._at_base(hidden)
        every = {name: cells.again(name, hidden) for name in ("bb", "bs")}
        pairs = [
            ReplayedTest(
                id=names.get(test, test),
                base_id=test,
                claimed=claimed.get(names.get(test, test)),
                bh=bh.reached(again.get(test, test)),
                hh=hh.reached(names.get(test, test)),
                bb=bb.reached(test),
                bs=run.reached(test),
            )
            for test in hidden
        ]
        return [_judged(pair, every) for pair in pairs]

    def _not_found(self) -> Iterable[str]:
        """Files that the head's tests lie in and that the change touched, whose tests at the base were not collected.

        The run says where tests are looked for and which; the change may have it say what suits.
        """
        bb, hh = self.cells.ran["bb"].run, self.cells.ran["hh"].run
        collected = [test for test in bb.items if is_test_file(test.partition("::")[0])]
        known, ran = self._files([*collected, *bb.broken]), self._files(hh.items)
        # The root may be the change's own invention: then the head's files are where their names say.
        ran |= {test.partition("::")[0] for test in hh.items}
        for file in changed_paths(self.cells.git, self.base, self.head):
            is_lost = file in ran and file not in known
            if is_lost and _HOLDS_TESTS.search(self.cells.git.show(self.base, file) or ""):
                yield file

    def _files(self, tests: Iterable[str]) -> set[str]:
        """The paths of tests' files from the top of the tree."""
        named = {test.partition("::")[0] for test in tests}
        return {os.path.normpath(os.path.join(self.cells.bench.rootdir, file)) for file in named}

    def _failing_in(self, placed: Bench, claimed: Mapping[str, Outcome]) -> Iterable[ReplayedTest]:
        """Old tests that fail on the new source where cells ran at first, though the base's source sees no difference.

        Cells were moved away because a test of the head failed in the checkout's place. That may have been its aim:
        then the new source is right where it finds itself elsewhere, and wrong in the place.
        """
        cells = self.cells
        bb, bh, hh = (cells.ran[name] for name in ("bb", "bh", "hh"))
        names, again = _renamed(bb.run, hh.run), _renamed(bb.run, bh.run)
        there = cells.execute(bh.clone, bh.words, bench=placed, aliases=bh.aliases, forked=True)
        if there.state is CellState.NOT_RUN:
            cells.skip(("placed",), there.detail)
            return
        passing = {test: bh.run.reached(again.get(test, test)) for test in bb.run.items}
        red = [
            test
            for test, found in passing.items()
            if is_test_file(test.partition("::")[0])
            and _passes(found)
            and not _passes(there.reached(again.get(test, test)))
        ]
        if not red:
            return
        self._at_base(red)
        base = cells.execute(bb.clone, [*bb.words, *selected(bb.run, red)], bench=placed, forked=True)
        if base.state is CellState.NOT_RUN:
            cells.skip(("placed",), base.detail)
        for test in red:
            if _passes(base.reached(test)) or not _passes(bb.run.reached(test)):
                at_head = names.get(test, test)
                yield ReplayedTest(
                    id=at_head,
                    base_id=test,
                    claimed=claimed.get(at_head),
                    bb=base.reached(test),
                    bh=there.reached(again.get(test, test)),
                )

    def _support(self) -> _Support:
        """Files, variables and numbers that support tests and that the change touched."""
        git, roots, tests = self.cells.git, self.cells.bench.source_roots, self._old_material()
        past, now = partial(git.show, self.base), partial(git.show, self.head)
        changed = changed_paths(git, self.base, self.head)
        return (
            support_files(git, self.base, past, changed, tests),
            new_variables(git, self.base, past, now, changed),
            widened(git, self.base, past, now, changed, tests, roots),
        )

    def _settled(self, pairs: list[ReplayedTest]) -> list[ReplayedTest]:
        """The tests with what they come to at the base, crossed the other way, and three times each."""
        if not pairs:
            return []
        steps = [partial(self._at_base, [pair.base_id for pair in pairs])]
        crossed = [pair for pair in pairs if _may_need_new_on_old(pair)]
        if crossed and self._source_changed:
            steps.append(partial(self._new_on_old, crossed))
        self.cells.together(*steps)
        bb = self.cells.ran["bb"].run
        pairs = [replace(pair, bb=bb.reached(pair.base_id)) for pair in pairs]
        if self.cells.usable("hb"):
            hb = self.cells.ran["hb"].run
            pairs = [replace(p, hb=hb.reached(p.id)) if _needs_new_on_old(p) else p for p in pairs]
        elif not self._source_changed:
            pairs = [replace(p, hb=p.hh) if _needs_new_on_old(p) else p for p in pairs]
        return self._repeated([pair for pair in pairs if not _is_quiet(pair)])

    def _at_base(self, tests: list[str]) -> None:
        """Runs some old tests on the old source, for whom they were only collected so far."""
        ran = self.cells.ran["bb"]
        if not self._source_changed:
            ran.run.results.update(
                {t: r for t, r in self.cells.ran["bh"].run.results.items() if t in set(tests)}
            )
            ran.words = self.cells.ran["bh"].words
            return
        words = [word for word in ran.words if word != "--collect-only"]
        run = self.cells.execute(ran.clone, [*words, *selected(ran.run, tests)], forked=True)
        if any((found := run.reached(test)) is None or found.failed for test in tests):
            # It may be red by itself, or only alone: some tests need what others of their file do.
            whole = self.cells.execute(ran.clone, [*words, *selected(ran.run, tests, by_file=True)])
            if whole.state is CellState.RAN and any(
                _passes(whole.reached(test)) and not _passes(run.reached(test)) for test in tests
            ):
                self.cells.by_file, run = True, whole
        ran.words = words
        ran.run.results.update(run.results)
        ran.run.broken.update(run.broken)
        ran.run.seconds += run.seconds
        if run.state is not CellState.RAN:
            ran.run.state, ran.run.detail = run.state, run.detail

    def _new_on_old(self, pairs: list[ReplayedTest]) -> None:
        """Runs the new tests on the old source: that tells a blinded test from a re-specified one."""
        clone = self._crossed("hb", self.base, self.head)
        files = sorted({pair.id.partition("::")[0] for pair in pairs})
        present = [file for file in files if (clone.root / self.cells.bench.rootdir / file).exists()]
        names = tuple(each.reversed() for each in self.cells.ran["bh"].aliases if each.new_module)
        words = [*self._fixed(clone, self._new), *self._words]
        run = self.cells.execute(clone, [*words, *present], aliases=names, forked=True)
        accept_broken(run)
        self.cells.ran["hb"] = Ran(clone=clone, words=words, run=run, aliases=names)

    def _repeated(self, pairs: list[ReplayedTest]) -> list[ReplayedTest]:
        wanted = [pair for pair in pairs if not _is_plain(pair)]
        if not wanted:
            return pairs
        old, new = [pair.base_id for pair in wanted], [pair.id for pair in wanted]
        asked = {"bb": old, "bh": old, "hh": new, "hb": [pair.id for pair in wanted if pair.hb]}
        every: dict[str, dict[str, list[Reached | None]]] = {name: {} for name in asked}

        def ask(name: str) -> None:
            every[name] = self.cells.again(name, asked[name])

        twin, of = ("hh", "bh") if self.cells.ran["bh"] is self.cells.ran["hh"] else ("bh", "bb")
        if twin == "bh" and self._source_changed:
            twin = of = ""
        present = [name for name in asked if name in self.cells.ran and asked[name] and name != twin]
        self.cells.together(*(partial(ask, name) for name in present))
        if twin:
            # The same tests on the same source: what one cell came to, the other did.
            id_of = {pair.base_id: pair.id if twin == "hh" else pair.base_id for pair in wanted}
            every[twin] = {id_of[test]: found for test, found in every[of].items()}
        return [_judged(pair, every) if pair in wanted else pair for pair in pairs]


def _is_named_as_test(path: str) -> bool:
    name = path.rpartition("/")[2]
    return is_test_file(path) and (name.startswith("test_") or name.endswith(("_test.py", "_tests.py")))


def _renamed(bb: CellRun, hh: CellRun) -> dict[str, str]:
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


def _passes(reached: Reached | None) -> bool:
    return reached is not None and reached.outcome in PASSING


def _asserts(reached: Reached | None) -> bool:
    return reached is not None and reached.kind is FailureKind.ASSERTION


def _is_quiet(pair: ReplayedTest) -> bool:
    return _passes(pair.bb) and _passes(pair.bh) and _passes(pair.hh)


def _is_plain(pair: ReplayedTest) -> bool:
    """A difference that no rule looks at: a test that was not run before, or that the change repaired."""
    if _passes(pair.bb):
        return False
    return not (pair.bb and pair.bb.failed) or _passes(pair.bh)


def _may_need_new_on_old(pair: ReplayedTest) -> bool:
    return pair.bh is not None and pair.bh.failed and _passes(pair.hh)


def _needs_new_on_old(pair: ReplayedTest) -> bool:
    return _passes(pair.bb) and _may_need_new_on_old(pair)


def _judged(pair: ReplayedTest, every: Mapping[str, Mapping[str, list[Reached | None]]]) -> ReplayedTest:
    runs = [
        found
        for name, test in (
            ("bb", pair.base_id),
            ("bh", pair.base_id),
            ("hh", pair.id),
            ("hb", pair.id),
            ("bs", pair.base_id),
        )
        if (found := every.get(name, {}).get(test))
    ]
    least = min((len(found) for found in runs), default=1)
    return replace(pair, repeats=min(least, REPEATS), stable=all(is_stable(found) for found in runs))


def _with_missing(reached: Reached | None, removed: frozenset[str]) -> Reached | None:
    """The outcome with the name that the change took away, if its message names one."""
    if reached is None or not reached.failed:
        return reached
    names = [word for word in _WORD.findall(reached.message) if word in removed]
    return replace(reached, missing=names[-1]) if names else reached

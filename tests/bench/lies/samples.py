"""The plan of the benchmark, and how one sample is made and let through the gates.

A sample is an operator, a project, a scenario, and whether it is the lie or its honest twin. It is built from the
first bug, in an order fixed by the seed, for which it applies and passes the gates; the others are counted.

``SETS`` is the table of the sets: ``main`` is what the rules were written with, each later one was made when the
rules were done, of projects and operators that nobody who wrote rules had seen.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from itertools import zip_longest
from pathlib import Path
from typing import Any

from drafts import GREEN, HONEST, LIE, RED, SAME, UNDECIDABLE, Draft, Spot
from functions import NotApplicableError
from honest import HONEST as HONEST_MAKERS
from honest import refactored
from infresh import IN_FRESH
from inhooks import IN_HOOKS
from inproduct import IN_PRODUCT
from inruns import IN_RUNS
from insecond import IN_SECOND
from intests import IN_TESTS
from inthird import HONEST_THIRD, IN_THIRD
from mutants import find_mutants
from projects import FRESH, PROJECTS, SECOND, THIRD, Project, Site, commit_all

SEED = 20261122
BUGS = 16
TRIES = 6
# Whole classes that the rules were not looked at with: every third, in the order of a shuffle by the seed.
_ALL = [maker.id for maker in (*IN_TESTS, *IN_HOOKS, *IN_PRODUCT, *IN_RUNS)]
_SHUFFLED = sorted(_ALL)
random.Random(SEED).shuffle(_SHUFFLED)
HELD_OUT_CLASSES = frozenset(_SHUFFLED[::4])
FAMILIES = {
    "tests": IN_TESTS,
    "hooks": IN_HOOKS,
    "product": IN_PRODUCT,
    "runs": IN_RUNS,
    "honest": HONEST_MAKERS,
}
_MAKERS = {
    maker.id: (family, maker)
    for family, makers in [
        *FAMILIES.items(), ("fresh", IN_FRESH), ("second", IN_SECOND), ("third", IN_THIRD), ("honest", HONEST_THIRD),
    ]
    for maker in makers
}  # fmt: skip
_PROJECTS = {project.name: project for project in (*PROJECTS, *FRESH, *SECOND, *THIRD)}


@dataclass(frozen=True)
class Plan:
    """One line of the plan."""

    operator: str
    project: str
    scenario: str
    honest: bool
    release: str = ""

    @property
    def id(self) -> str:
        side = "twin" if self.honest else "lie"
        if self.release:
            return f"{self.project}-release-{self.release}"
        return f"{self.project}-{self.operator}-{self.scenario}-{side}"

    @property
    def family(self) -> str:
        return "release" if self.release else _MAKERS[self.operator][0]

    @property
    def held_out_class(self) -> bool:
        return any(
            self.operator in each.new for each in SETS.values() if _PROJECTS[self.project] in each.projects
        )

    @property
    def held_out_project(self) -> bool:
        return _PROJECTS[self.project].held_out

    @property
    def label(self) -> str:
        maker = _MAKERS[self.operator][1] if not self.release else None
        if self.honest:
            return HONEST
        return UNDECIDABLE if getattr(maker, "undecidable", False) else LIE

    @property
    def checks(self) -> tuple[str, ...]:
        return () if self.release else tuple(_MAKERS[self.operator][1].checks)


def plans(seed: int = SEED) -> list[Plan]:
    """The plan of the main set, in an order that keeps every beginning of it balanced."""
    found = []
    for project in PROJECTS:
        for family, makers in FAMILIES.items():
            for maker in makers:
                scenario = getattr(maker, "scenario", "")
                if not scenario:
                    scenario = random.Random(f"{seed}-{maker.id}-{project.name}").choice((RED, GREEN))
                if family == "product" and scenario == RED:
                    scenario = GREEN if project.name < "k" else RED
                sides = (True,) if family == "honest" else (False, True)
                found += [Plan(maker.id, project.name, scenario, honest) for honest in sides]
        for before, after in zip(project.releases, project.releases[1:], strict=False):
            found.append(Plan("release", project.name, GREEN, True, release=f"{before}..{after}"))
    random.Random(seed).shuffle(found)
    return found


def fresh_plans(seed: int = SEED) -> list[Plan]:
    """The plan of the projects and lies that were kept for the end: by turns a new operator and an old one."""
    new: list[Plan] = []
    old: list[Plan] = []
    for project in FRESH:
        for family, makers in [*FAMILIES.items(), ("fresh", IN_FRESH)]:
            for maker in makers:
                sides = (True,) if family == "honest" else (False, True)
                plans_ = new if family == "fresh" else old
                plans_ += [
                    Plan(maker.id, project.name, _scenario(maker, project, seed), honest) for honest in sides
                ]
    random.Random(seed).shuffle(new)
    random.Random(seed).shuffle(old)
    return [plan for pair in zip(new, old, strict=False) for plan in pair] + old[len(new) :]


def second_plans(seed: int = SEED) -> list[Plan]:
    """The plan of the second set that was kept for the end: all projects by turns, lies and honest ones by turns.

    Of six samples of a project two are a new lie and its twin, one is another new lie, one an old lie, one an old
    twin and one an honest change that is nobody's twin.
    """
    return [
        plan for plans_ in zip_longest(*(_turns(project, seed) for project in SECOND)) for plan in plans_ if plan
    ]  # fmt: skip


def _turns(project: Project, seed: int) -> list[Plan]:
    draw = random.Random(f"{seed}-second-{project.name}")

    def some(makers: tuple) -> list[tuple[str, str]]:
        found = [(maker.id, _scenario(maker, project, seed)) for maker in makers]
        draw.shuffle(found)
        return found

    new = some(IN_SECOND)
    old = some((*IN_TESTS, *IN_HOOKS, *IN_PRODUCT, *IN_RUNS, *IN_FRESH))
    plain = [Plan(name, project.name, scenario, True) for name, scenario in some(HONEST_MAKERS)]
    plain += [
        Plan("release", project.name, GREEN, True, release=f"{before}..{after}")
        for before, after in zip(project.releases, project.releases[1:], strict=False)
    ]
    draw.shuffle(plain)
    lies = [Plan(name, project.name, scenario, False) for name, scenario in new]
    twins = [Plan(name, project.name, scenario, True) for name, scenario in new]
    old_lies = [Plan(name, project.name, scenario, False) for name, scenario in old]
    old_twins = [Plan(name, project.name, scenario, True) for name, scenario in old]
    turns = zip_longest(lies[::2], twins[::2], old_lies, plain, lies[1::2], old_twins)
    first = [plan for turn in turns for plan in turn if plan]
    return first + twins[1::2]


def third_plans(seed: int = SEED) -> list[Plan]:
    """The plan of the third set that was kept for the end: all projects by turns, lies and honest ones by turns.

    A project has as many lies of old operators as of new ones, the operators dealt out so that each is told in about
    as many projects as any other, and a few more honest ones: twins of both, old and new honest changes, releases.
    """
    old = tuple(
        maker for maker in (*IN_TESTS, *IN_HOOKS, *IN_PRODUCT, *IN_RUNS, *IN_FRESH, *IN_SECOND)
        if not getattr(maker, "undecidable", False)
    )  # fmt: skip
    dealt = {
        "new lie": _dealt(IN_THIRD, False, 9, seed), "old lie": _dealt(old, False, 9, seed),
        "new twin": _dealt(IN_THIRD, True, 6, seed), "old twin": _dealt(old, True, 5, seed),
        "new honest": _dealt(HONEST_THIRD, True, 5, seed), "old honest": _dealt(HONEST_MAKERS, True, 3, seed),
    }  # fmt: skip
    turns = []
    for project in THIRD:
        lies = [*_alternately(dealt["new lie"][project.name], dealt["old lie"][project.name])]
        releases = [
            Plan("release", project.name, GREEN, True, release=f"{before}..{after}")
            for before, after in zip(project.releases, project.releases[1:], strict=False)
        ]
        parts = [dealt[name][project.name] for name in ("new twin", "old twin", "new honest", "old honest")]
        turns.append([*_alternately(lies, [*_alternately(*parts, releases)])])
    return [*_alternately(*turns)]


def _dealt(makers: tuple, honest: bool, each: int, seed: int) -> dict[str, list[Plan]]:
    """So many plans for each project of the third set, the operators like a pack of cards that is shuffled again."""
    draw = random.Random(f"{seed}-third-{honest}-{[maker.id for maker in makers]}")
    found: dict[str, list[Plan]] = {project.name: [] for project in THIRD}
    pack: list = []
    for _ in range(each):
        for project in THIRD:
            held = {plan.operator for plan in found[project.name]}
            if all(maker.id in held for maker in pack):
                fresh = list(makers)
                draw.shuffle(fresh)
                pack = fresh + pack
            maker = next(maker for maker in reversed(pack) if maker.id not in held)
            pack.remove(maker)
            found[project.name].append(Plan(maker.id, project.name, _scenario(maker, project, seed), honest))
    return found


def _alternately(*lists: list[Plan]) -> Iterator[Plan]:
    return (plan for turn in zip_longest(*lists) for plan in turn if plan)


def _ids(makers: tuple) -> frozenset[str]:
    return frozenset(maker.id for maker in makers)


@dataclass(frozen=True)
class Set:
    """One set of samples.

    Attributes:
        projects: What its samples are made of.
        plans: Its plan, by the seed.
        new: Operators that nobody who wrote rules had looked at when it was judged.
    """

    projects: tuple[Project, ...]
    plans: Callable[..., list[Plan]]
    new: frozenset[str]


SETS = {
    "main": Set(PROJECTS, plans, HELD_OUT_CLASSES),
    "fresh": Set(FRESH, fresh_plans, HELD_OUT_CLASSES | _ids(IN_FRESH)),
    "second": Set(SECOND, second_plans, _ids(IN_SECOND)),
    "third": Set(THIRD, third_plans, _ids(IN_THIRD) | _ids(HONEST_THIRD)),
}


def _scenario(maker: Any, project: Project, seed: int) -> str:
    fixed: str = getattr(maker, "scenario", "")
    return fixed or random.Random(f"{seed}-{maker.id}-{project.name}").choice((RED, GREEN))


@dataclass
class Built:
    """A sample's draft and what the gates said."""

    plan: Plan
    draft: Draft
    bug: str = ""
    source: tuple[str, str] = ("", "")


class Maker:
    """Makes samples in a site.

    Args:
        site: Where.
        seed: Fixes every choice.
    """

    def __init__(self, site: Site, seed: int = SEED) -> None:
        self.site = site
        self.seed = seed
        self.thrown: dict[str, int] = {}

    def draft(self, plan: Plan, skip: int = 0):
        """Drafts of a sample, one for each bug to which the operator applies."""
        project = _PROJECTS[plan.project]
        if plan.release:
            yield Built(plan, Draft(), plan.release)
            return
        mutants = list(find_mutants(self.site, project, BUGS, self.seed))
        random.Random(f"{self.seed}-{plan.id}").shuffle(mutants)
        mutants.sort(key=lambda mutant: not mutant.by_assertion)
        tried = 0
        for mutant in mutants:
            spot = Spot(self.site, project, mutant, self.site.base(project), Draft())
            try:
                self._fill(plan, spot)
            except (NotApplicableError, SyntaxError, RecursionError, KeyError, IndexError, UnicodeError):
                self._throw("not applicable")
                continue
            bug = f"{mutant.path}:{mutant.line} {mutant.before} -> {mutant.after}"
            yield Built(plan, spot.draft, bug, (mutant.path, mutant.text))
            tried += 1
            if tried >= TRIES:
                return

    def _fill(self, plan: Plan, spot: Spot) -> None:
        maker, draft, mutant = _MAKERS[plan.operator][1], spot.draft, spot.mutant
        if plan.family == "honest":
            draft.kind, draft.same = maker.kind, plan.scenario == SAME
            if plan.scenario == RED:
                draft.base[mutant.path] = mutant.text
        elif plan.scenario == SAME:
            draft.same = True
            if not plan.honest:
                draft.base[mutant.path] = mutant.text
        elif plan.scenario == RED:
            draft.kind = "fix"
            draft.base[mutant.path] = mutant.text
            draft.head[mutant.path] = (
                spot.original(mutant.path) if plan.honest else mutant.text + "\n# Looked through.\n"
            )
        else:
            draft.kind = random.Random(f"{self.seed}-kind-{plan.id}").choice(
                ("refactor", "refactor", "feature", "fix")
            )
            text = spot.original(mutant.path)
            draft.head[mutant.path] = refactored(text, mutant.function) if plan.honest else mutant.text
        maker.apply(spot, plan.honest)

    def _throw(self, why: str) -> None:
        self.thrown[why] = self.thrown.get(why, 0) + 1

    def build(self, built: Built, folder: Path) -> str:
        """Makes the repository of a draft; the base commit's id, or empty where there is none."""
        plan, draft = built.plan, built.draft
        project = _PROJECTS[plan.project]
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        tree, outside = folder / "tree", folder / "outside"
        outside.mkdir()
        if plan.release:
            return self._release(project, plan.release, tree)
        shutil.copytree(self.site.base(project), tree, ignore=shutil.ignore_patterns("__pycache__"))
        for name, text in draft.outside.items():
            place = outside / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
        if draft.before:
            good = folder / "good"
            shutil.copytree(tree, good, ignore=shutil.ignore_patterns(".git"))
            self.run(draft.before, good, built)
        if draft.same:
            lay(tree, draft.base)
            lay(tree, draft.head)
            commit_all(tree, "all of it")
            base = ""
        else:
            lay(tree, draft.base)
            base = commit_all(tree, "before")
            lay(tree, draft.head)
            commit_all(tree, "after")
        lay(tree, draft.uncommitted)
        if draft.before:
            shutil.copy2(good / draft.junit, tree / draft.junit)
        return base

    def _release(self, project: Project, release: str, tree: Path) -> str:
        before, after = release.split("..")
        shutil.copytree(self.site.tree(project, before), tree)
        self._fit(project, tree)
        base = commit_all(tree, before, new=True)
        for place in tree.iterdir():
            if place.name != ".git":
                shutil.rmtree(place) if place.is_dir() else place.unlink()
        shutil.copytree(self.site.tree(project, after), tree, dirs_exist_ok=True)
        self._fit(project, tree)
        commit_all(tree, after)
        return base

    def _fit(self, project: Project, tree: Path) -> None:
        """Leaves out the test files that do not run here, on both sides the same way as for the lies."""
        for path in self.site._unfit(project, tree):
            (tree / path).unlink(missing_ok=True)

    def words(self, built: Built, folder: Path, *, recorded: bool) -> list[str]:
        """The run's command line."""
        draft = built.draft
        python = str(self.site.python)
        plain = ["-m", "pytest", "-q", "-p", "no:cacheprovider"]
        full = [*plain, "-p", "dre_pytest.plugin", "--dre"] if recorded else plain
        words = [word.replace("{outside}", str(folder / "outside")) for word in draft.words]
        if not draft.shell:
            return [python, *full, *words]
        text = draft.command
        for name, parts in (
            ("pytest", [python, *full]), ("plain", [python, *plain]), ("python", [python]), ("arguments", full[2:]),
            ("optimized", [python, "-O", *full]), ("good", [python, *plain]), ("options", full[2:]),
        ):  # fmt: skip
            text = text.replace("{" + name + "}", " ".join(parts))
        return ["sh", "-c", text]

    def run(self, command: str, folder: Path, built: Built) -> None:
        text = command.replace("{good}", f"{self.site.python} -m pytest -q -p no:cacheprovider")
        text = text.replace(" -p no:dre_pytest.plugin", "")
        subprocess.run(
            ["sh", "-c", text], cwd=folder, env=self.site.environ(), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False, timeout=60,
        )  # fmt: skip

    def admit(self, plan: Plan, folder: Path) -> tuple[Built, str, float] | None:
        """The first draft of a sample whose plain run ends as its label says, with its base and its time."""
        for built in self.draft(plan):
            try:
                base = self.build(built, folder)
            except (OSError, subprocess.SubprocessError, UnicodeError) as error:
                self._throw(f"could not be built: {type(error).__name__}")
                continue
            if (
                plan.honest
                and not plan.release
                and plan.family in ("tests", "hooks", "honest", "runs", "fresh", "second", "third")
            ):
                return built, base, 0.0  # the recorded run's own exit status is gate enough
            code, seconds = self.plain(built, folder)
            red = getattr(_MAKERS[plan.operator][1], "red", False) if not plan.release else False
            if (code == 0) == red:
                if plan.honest and plan.release:
                    self._throw("the release's suite is red")
                else:
                    self._throw("the twin is red" if plan.honest else "the lie is seen by the plain run")
                continue
            if not plan.honest and not self._hides(plan, built, folder):
                self._throw("the untouched suite does not notice")
                continue
            return built, base, seconds
        return None

    def plain(self, built: Built, folder: Path) -> tuple[int, float]:
        words = self.words(built, folder, recorded=False)
        environ = self.site.environ(**built.draft.environ)
        began = time.monotonic()
        try:
            done = subprocess.run(
                words, cwd=folder / "tree", env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL, check=False, timeout=60,
            )  # fmt: skip
            code = done.returncode
        except subprocess.TimeoutExpired:
            code = -1
        seconds = time.monotonic() - began
        # What this run wrote to files of the commit must not be what the recorded run begins with.
        subprocess.run(("git", "checkout", "-q", "--", "."), cwd=folder / "tree", check=False, timeout=60)
        lay(folder / "tree", built.draft.uncommitted)
        if built.draft.before:
            shutil.copy2(folder / "good" / built.draft.junit, folder / "tree" / built.draft.junit)
        elif built.draft.junit:
            (folder / "tree" / built.draft.junit).unlink(missing_ok=True)
        return code, seconds

    def _hides(self, plan: Plan, built: Built, folder: Path) -> bool:
        """The hidden check: the project's own tests, as they were, are red on the lie's source."""
        if (
            "detects-test-env" in plan.checks
            or "input-special-cased" in plan.checks
            or plan.family == "product"
        ):
            return True
        text = {**built.draft.base, **built.draft.head}
        if any(
            (text.get(path) or "").removesuffix("\n# Looked through.\n") == bug
            for path, bug in [built.source]
        ):
            return True  # the bug as it was tried on the untouched suite
        project = _PROJECTS[plan.project]
        work = folder / "hidden"
        shutil.copytree(self.site.base(project), work, ignore=shutil.ignore_patterns(".git"))
        for layer in (built.draft.base, built.draft.head):
            lay(work, {n: t for n, t in layer.items() if any(n == s or n.startswith(f"{s}/") for s in project.source)
                       and not _is_test(n)})  # fmt: skip
        code, _ = self.site.outcomes(work)
        return code not in (0, 5)


def _is_test(name: str) -> bool:
    return "/tests/" in f"/{name}" or name.rpartition("/")[2].startswith(("test_", "conftest"))


def lay(folder: Path, files: dict[str, str | None]) -> None:
    """Writes files, None deletes."""
    for name, text in files.items():
        place = folder / name
        if text is None:
            place.unlink(missing_ok=True)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)


def load(text: str) -> Draft:
    known = {f.name for f in fields(Draft)}
    return Draft(**{name: value for name, value in json.loads(text).items() if name in known})


__all__ = ["SEED", "SETS", "Built", "Maker", "Plan", "Set", "load", "plans"]

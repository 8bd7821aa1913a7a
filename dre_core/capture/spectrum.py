"""Where failing tests differ from passing ones: the lines of the code under test that mostly failing tests ran.

Read from coverage data whose contexts name tests. A line's score is Ochiai's: the failing tests that ran it, over the
square root of (all failing tests times all tests that ran it): 1 where every failing test and nothing else ran it. It
says where to look, not what is wrong, and nothing where no test failed or the data do not say which test ran a line.

Source: Abreu, Zoeteweij and van Gemund, "On the accuracy of spectrum-based fault localization" (2007).
"""

from __future__ import annotations

import math
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from dre_core.model.covered import Suspect
from dre_core.model.record import dataclass

LEAST_SCORE = 0.5
_MOST = 10
_Line = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Spectrum:
    """How many failing and how many passing tests ran a line; only lines that a failing test ran.

    Attributes:
        failing: Line to the failing tests that ran it.
        passing: The same of passing tests.
    """

    failing: Counter[_Line]
    passing: Counter[_Line]

    @classmethod
    def read(
        cls,
        database: sqlite3.Connection,
        files: Mapping[int, str],
        tests: Mapping[int, str],
        failed: frozenset[str],
        passed: frozenset[str],
    ) -> Spectrum:
        """Counts the lines of some files.

        Args:
            database: Coverage's.
            files: Number of a file to its path.
            tests: Number of a context to its test.
            failed: Tests that failed.
            passed: Tests that passed.
        """
        failing: Counter[_Line] = Counter()
        passing: Counter[_Line] = Counter()
        for number, path in files.items():
            by_test: dict[str, set[int]] = {}
            for context, lines in lines_by_context(database, number):
                if context in tests:
                    by_test.setdefault(tests[context], set()).update(lines)
            suspicious: set[int] = set()
            for test in failed.intersection(by_test):
                suspicious |= by_test[test]
                failing.update((path, line) for line in by_test[test])
            for test in passed.intersection(by_test) if suspicious else ():
                passing.update((path, line) for line in by_test[test] & suspicious)
        return cls(failing, passing)

    def suspects(self, failed: int) -> tuple[Suspect, ...]:
        """The most suspicious places, best first; neighbouring lines of one score are one place.

        Args:
            failed: How many tests failed in all.
        """
        scored = sorted((path, line, self._score(path, line, failed)) for path, line in self.failing)
        found = [
            Suspect(
                path=path,
                first=first,
                last=last,
                score=score,
                failed=self.failing[path, first],
                passed=self.passing[path, first],
            )
            for path, first, last, score in _runs(scored)
            if score >= LEAST_SCORE
        ]
        return tuple(sorted(found, key=lambda each: (-each.score, each.path, each.first)))[:_MOST]

    def _score(self, path: str, line: int, failed: int) -> float:
        hit = self.failing[path, line]
        return round(hit / math.sqrt(failed * (hit + self.passing[path, line])), 4)


def lines_by_context(database: sqlite3.Connection, file: int) -> Iterator[tuple[int, Iterable[int]]]:
    """Contexts and the lines of a file that ran in each, by lines or by branches; a context may come again.

    Source: https://coverage.readthedocs.io/en/latest/dbschema.html
    """
    from coverage.numbits import numbits_to_nums

    for context, number in database.execute(
        "select context_id, fromno from arc where file_id = ?1 and fromno > 0 "
        "union select context_id, tono from arc where file_id = ?1 and tono > 0",
        (file,),
    ):
        yield context, (number,)
    query = "select context_id, numbits from line_bits where file_id = ?"
    for context, numbits in database.execute(query, (file,)):
        yield context, numbits_to_nums(numbits)


def _runs(scored: Iterable[tuple[str, int, float]]) -> Iterator[tuple[str, int, int, float]]:
    """Places of neighbouring lines with one score."""
    run: tuple[str, int, int, float] | None = None
    for path, line, score in scored:
        if run is not None and (path, score) == (run[0], run[3]) and line <= run[2] + 2:
            run = (path, run[1], line, score)
            continue
        if run is not None:
            yield run
        run = (path, line, line, score)
    if run is not None:
        yield run

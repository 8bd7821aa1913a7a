"""Checks of which tests were chosen: what was left out before the run, and what vanished.

Who chose decides. A command is part of the claim, and the repository's configuration is under review: what they leave
out is information, unless the change itself brought the rule. What the environment or a plugin from elsewhere leaves
out is in neither, so it blocks support until the tests that were left out have been run, which the matrix does.
"""

from __future__ import annotations

import shlex

from dre_core.capture import arguments
from dre_core.capture.arguments import Arguments
from dre_core.model.changes import ChangeKind
from dre_core.model.session import Outcome, Session
from dre_core.model.verdict import Finding, Vantage, Weight
from dre_core.verify.evidence import Evidence
from dre_core.verify.replay import has_matrix
from dre_core.verify.verifier import Ruling, could_not_run, fail, found, info, not_applicable, passed
from dre_core.verify.wording import NAMED_TESTS, culprit, plural


def selection(evidence: Evidence) -> Ruling:
    """What was left out before the run: for the reader, unless the change itself brought the rule for it."""
    if not evidence.sessions:
        return not_applicable("no session")
    findings = []
    for session in evidence.top_sessions:
        findings += [
            _left_out(evidence, *each) for each in _left_out_of(session, _expected_at_base(evidence))
        ]
        findings += _unseen(evidence, session)
    return found(*findings, limit=10) if findings else passed(Vantage.IN_PROCESS, "nothing was left out")


def _unseen(evidence: Evidence, session: Session) -> list[Finding]:
    """What somebody left out who is neither in the command nor in the repository."""
    check, items = "selection", evidence.items_of(session)
    findings = []
    words = _of_environment(session)
    chosen, counted = arguments.selecting(words), session.counts.deselected + session.ignored_count
    fixed = any(not each.startswith(("-k", "-m", "--deselect", "--ignore")) for each in chosen)
    if (words.paths or chosen) and (words.paths or fixed or counted) and not _ran_without(evidence, session):
        what = f"{plural(counted, 'test')} left out" if counted else "tests chosen"
        named = " ".join((*chosen, *words.paths))[:200]
        message = (
            f"{what} by PYTEST_ADDOPTS of the environment ({named}), which neither the command nor the "
            "repository shows"
        )
        remedy = (
            "say it in the command or in the repository's configuration, or let the tests that were left out run as "
            "well: dre wrap --replay"
        )
        tests = session.deselected[:NAMED_TESTS]
        findings.append(
            fail(check, Weight.MAJOR, Vantage.IN_PROCESS, message, remedy=remedy, tests=tests, evidence=items)
        )
    counts = session.counts
    kept_back = counted + counts.skipped + counts.xfailed + session.dropped_count
    if kept_back and (where := culprit(session, "from-elsewhere")):
        message = (
            f"{plural(kept_back, 'test')} left out, skipped or expected to fail in a run with a plugin that can do "
            f"that and comes from neither the repository nor an installed package: {where}"
        )
        remedy = "commit the plugin or install it, or run without it"
        tests = session.deselected[:NAMED_TESTS]
        findings.append(
            fail(
                check, Weight.MAJOR, Vantage.IN_PROCESS, message, remedy=remedy, tests=tests, where=where,
                evidence=items,
            )
        )  # fmt: skip
    return findings


def _of_environment(session: Session) -> Arguments:
    """What the environment told pytest."""
    text = next((o.partition("=")[2] for o in session.options if o.startswith("PYTEST_ADDOPTS=")), "")
    try:
        words = shlex.split(text)
    except ValueError:
        words = text.split()
    return arguments.split(("pytest", *words))


def _ran_without(evidence: Evidence, session: Session) -> bool:
    """Whether the matrix ran the head's whole suite, which leaves the environment's options out."""
    if evidence.replay is None or not has_matrix(evidence):
        return False
    cell = evidence.replay.cell("hh")
    return cell is not None and cell.tests > (session.selected or 0)


def _expected_at_base(evidence: Evidence) -> frozenset[str]:
    """Tests that failed as expected at the base already, where it was run again."""
    if evidence.replay is None:
        return frozenset()
    return frozenset(t.id for t in evidence.replay.tests if t.bb and t.bb.outcome is Outcome.XFAILED)


def _left_out_of(session: Session, expected: frozenset[str]) -> list[tuple[str, str, tuple[str, ...]]]:
    """Message, place and tests for each way in which tests were left out."""
    found_: list[tuple[str, str, tuple[str, ...]]] = []
    modify = culprit(session, "pytest_collection_modifyitems")
    if count := session.counts.deselected:
        found_.append((f"{plural(count, 'test')} deselected", modify, session.deselected[:NAMED_TESTS]))
    if session.ignored_count:
        where = culprit(session, "ignores", "pytest_ignore_collect")
        found_.append((f"not collected by decision: {', '.join(session.ignored[:5])}", where, ()))
    xfailed = tuple(t.id for t in session.tests if t.outcome is Outcome.XFAILED and t.id not in expected)
    if xfailed and modify:
        found_.append((f"{plural(len(xfailed), 'test')} failed as expected", modify, xfailed[:NAMED_TESTS]))
    for note in session.hooks:
        if note.concern == "skips":
            found_.append((f"{note.file} skips tests", f"{note.file}:{note.line}", ()))
    return found_


def _left_out(evidence: Evidence, message: str, where: str, tests: tuple[str, ...]) -> Finding:
    file = where.rpartition(":")[0]
    changes = evidence.changes.of(ChangeKind.HOOK, ChangeKind.RUNNER_CONFIG) if evidence.changes else ()
    brought = next((each for each in changes if not file or each.path == file), None)
    if brought is None:
        return info("selection", Vantage.IN_PROCESS, message, tests=tests, where=where)
    return fail(
        "selection",
        Weight.MAJOR,
        Vantage.IN_PROCESS,
        f"{message}, and the change itself brought the rule for it ({brought.name} in {brought.path})",
        remedy="say why in a declaration by a maintainer, or leave the selection to the base",
        tests=tests,
        where=where or brought.where,
    )


def expected_tests_ran(evidence: Evidence) -> Ruling:
    """Tests that were said, before the run, to be run by it."""
    expected = evidence.declaration.expect_tests if evidence.declaration is not None else ()
    if not expected:
        return not_applicable("no test was declared to be expected")
    if not evidence.sessions:
        return could_not_run("no session")
    ran = {
        name
        for session in evidence.sessions
        for test in session.tests
        if test.outcome is not Outcome.SKIPPED
        for name in _names(test.id)
    }
    absent = tuple(test for test in expected if test not in ran)
    if not absent:
        return passed(Vantage.IN_PROCESS, f"{plural(len(expected), 'expected test')} ran")
    return found(
        fail(
            "expected-tests-ran",
            Weight.MAJOR,
            Vantage.IN_PROCESS,
            f"{len(absent)} of {plural(len(expected), 'test')} that the declaration expects did not run: {absent[0]}",
            remedy="run them, or declare anew what the run will be held to",
            tests=absent[:NAMED_TESTS],
        )
    )


def _names(node: str) -> tuple[str, ...]:
    """A test's id, and those that stand for it: without parameters, and its classes and file."""
    bare = node.partition("[")[0]
    parts = bare.split("::")
    return (node, *("::".join(parts[: count + 1]) for count in range(len(parts))))


def nothing_dropped(evidence: Evidence) -> Ruling:
    """Tests that vanished between collection and the first test without being deselected."""
    if not evidence.sessions:
        return not_applicable("no session")
    for session in evidence.top_sessions:
        if session.dropped_count:
            return found(
                fail(
                    "nothing-dropped",
                    Weight.MAJOR,
                    Vantage.IN_PROCESS,
                    f"{plural(session.dropped_count, 'collected test')} vanished before the run "
                    f"without being deselected: {session.dropped[0]}",
                    remedy="deselect tests through pytest_deselected, so that the count is shown",
                    evidence=evidence.items_of(session),
                    tests=session.dropped[:NAMED_TESTS],
                    where=culprit(session, "pytest_collection_modifyitems", "pytest_pycollect_makeitem"),
                )
            )
    return passed(Vantage.IN_PROCESS, "every collected test was run, skipped or deselected")

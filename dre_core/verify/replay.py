"""What re-execution says: one check a row of the replay matrix, and whether the commit alone reproduces the run.

Words: ``bb`` = old tests on old source, ``bh`` = old tests on new source, ``hb`` = new tests on old source,
``hh`` = the head, ``bs`` = old tests on new source with what supports them as the base knew it. A row's finding
vetoes only against a declared kind (fix, feature, refactor, docs) and only for tests that failed by assertion, every
time; otherwise it is a fail, which one line of declaration can settle.

======================  =======================================================  =========================
check                   row                                                      finding
======================  =======================================================  =========================
fix-is-in-the-tests     bb failed, bh failed or missing, hh not failed           veto*, else fail major
test-blinded            bb passed, bh assertion, hh passed, hb passed            veto*, else fail major
test-newly-skipped      bb passed, bh failed, hh skipped or xfailed              veto*, else fail major
                        bb passed, bh and hh skipped or xfailed: by the source   fail major
failing-test-removed    bb passed, bh failed, hh missing                         veto*, else fail major
subject-removed         bb passed, bh interface gone, hh missing                 warn
expectation-changed     bb passed, bh assertion, hh passed, hb not passed        fail minor
api-changed             bb passed, bh other error, hh passed                     warn; fail minor if the source raised
support-weakened        bb passed, bh passed, hh passed, bs assertion            fail major
passing-test-dropped    bb passed, bh passed, hh missing or skipped              warn
flaky                   not the same three times                                 warn
unclassified            any other                                                info
======================  =======================================================  =========================
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dre_core.model.changes import CONDITION, ChangeKind
from dre_core.model.replay import CellState, FailureKind, Mode, Noticed, Reached, ReplayedTest, ReplayFacts
from dre_core.model.session import Outcome
from dre_core.model.text import plain
from dre_core.model.verdict import Finding, Vantage, Weight
from dre_core.verify.evidence import Evidence
from dre_core.verify.verifier import (
    Check,
    Ruling,
    could_not_run,
    fail,
    found,
    info,
    not_applicable,
    passed,
    veto,
    warn,
)

# Kinds of change that promise that what was tested before still holds.
PROMISING = ("fix", "feature", "refactor", "docs")
_REPEATS = 3
_NAMED = 3
_LISTED = 20
_PASSING = (Outcome.PASSED, Outcome.XPASSED)
_NO_TIME = (CellState.NOT_RUN, CellState.TIMEOUT)


def _passes(reached: Reached | None) -> bool:
    return reached is not None and reached.outcome in _PASSING


def _asserts(reached: Reached | None) -> bool:
    return reached is not None and reached.kind is FailureKind.ASSERTION


def row_of(test: ReplayedTest) -> str:
    """The row that a test falls into, by the check's id; empty where it is no difference of the matrix."""
    bb, bh, hh = test.bb, test.bh, test.hh
    if not test.base_id or bb is None:
        return ""
    if not test.stable:
        return "flaky"
    if test.bs is not None:
        return "support-weakened" if _passes(bb) and _asserts(test.bs) else ""
    if bb.failed:
        still_red = (bh is None or bh.failed) and not (hh and hh.failed)
        return "fix-is-in-the-tests" if still_red else ""
    if not _passes(bb):
        return ""
    if bh is not None and bh.failed:
        return _row_of_a_failure(test, bh)
    if _passes(bh) and (hh is None or hh.excused):
        return "passing-test-dropped"
    if _is_skipped_by_source(test):
        return "test-newly-skipped"
    return "unclassified"


def _is_skipped_by_source(test: ReplayedTest) -> bool:
    """Whether a test that passed is skipped on the new source as it was written, and in the run as well."""
    excused = test.bh is not None and test.bh.excused and test.hh is not None and test.hh.excused
    return excused and test.claimed not in _PASSING


def _row_of_a_failure(test: ReplayedTest, bh: Reached) -> str:
    """The row of a test that passed, and now fails on the new source."""
    hh = test.hh
    if hh is None:
        return "subject-removed" if bh.is_interface else "failing-test-removed"
    if hh.excused:
        return "test-newly-skipped"
    if hh.failed:
        return "failing-test-removed" if test.claimed is None else "unclassified"
    if not _asserts(bh):
        return "api-changed"
    return "test-blinded" if _passes(test.hb) else "expectation-changed"


def _is_declared(evidence: Evidence, test: ReplayedTest) -> bool:
    """Whether the declaration names the test, its function or its file."""
    names = {test.id, test.base_id}
    return any(
        name == changed or name.startswith((f"{changed}[", f"{changed}::"))
        for changed in evidence.run.claim.changes
        for name in names
    )


def _is_allowed(check: str, evidence: Evidence, test: ReplayedTest) -> bool:
    """Whether the finding is about a skip that the policy allows."""
    return check == "test-newly-skipped" and evidence.is_allowed_skip(test.id)


def _promises(evidence: Evidence, test: ReplayedTest) -> bool:
    """Whether the claim promises what this test shows to be broken, so that it may contradict the claim."""
    return (
        evidence.run.claim.kind in PROMISING
        and not _is_declared(evidence, test)
        and test.repeats >= _REPEATS
        and test.stable
    )


def _named(tests: Sequence[ReplayedTest]) -> str:
    names = [
        test.id if test.base_id in ("", test.id) else f"{test.base_id} (now {test.id})" for test in tests
    ]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _ids(tests: Sequence[ReplayedTest]) -> tuple[str, ...]:
    return tuple(test.id for test in tests[:_LISTED])


def _digests(evidence: Evidence) -> tuple[str, ...]:
    return tuple(item.digest for item in evidence.run.items_of("replay"))


def _because(tests: Sequence[ReplayedTest], cell: str = "bh") -> str:
    """What the first failing test said, in brackets."""
    for test in tests:
        reached = test.cells()[cell]
        if reached and reached.exception:
            text = f"{reached.exception}: {reached.message}" if reached.message else reached.exception
            return f" ({text[:120]})"
    return ""


def _declare(tests: Sequence[ReplayedTest], kind: str = "behavior-change") -> str:
    return f"if the change is meant, say so: dre claim --kind {kind} {_options(tests)}"


def _options(tests: Sequence[ReplayedTest]) -> str:
    """The declaration's options: each function once, however many parameters it is run with."""
    names = dict.fromkeys(test.id.partition("[")[0] for test in tests)
    return " ".join(f"--changes '{name}'" for name in list(names)[:_LISTED])


Says = Callable[[Sequence[ReplayedTest]], str]


def _accusing(
    check: str,
    evidence: Evidence,
    tests: Sequence[ReplayedTest],
    says: Says,
    remedy: str,
    may: Callable[[ReplayedTest], bool],
) -> list[Finding]:
    """A veto about the tests that contradict what is promised, and a fail about the others."""
    declared = [test for test in tests if _is_declared(evidence, test) or _is_allowed(check, evidence, test)]
    against = [t for t in tests if t not in declared and may(t) and _promises(evidence, t)]
    rest = [test for test in tests if test not in against and test not in declared]
    more = {"remedy": remedy, "evidence": _digests(evidence)}
    findings = _disclosed(check, evidence, declared, says)
    if against:
        message = f"claimed is a {evidence.run.claim.kind}, but {says(against)}"
        findings.append(veto(check, Vantage.RE_EXECUTED, message, tests=_ids(against), **more))
    if rest:
        findings.append(fail(check, Weight.MAJOR, Vantage.RE_EXECUTED, says(rest), tests=_ids(rest), **more))
    return findings


def _disclosed(check: str, evidence: Evidence, declared: Sequence[ReplayedTest], says: Says) -> list[Finding]:
    """What was declared is shown and held against nobody: the claim names only changes that may loosen it."""
    if not declared:
        return []
    by_policy = any(not _is_declared(evidence, test) for test in declared)
    message = f"as {'the policy allows' if by_policy else 'declared'}, {says(declared)}"
    return [info(check, Vantage.RE_EXECUTED, message, tests=_ids(declared), evidence=_digests(evidence))]


def _count(tests: Sequence[ReplayedTest]) -> str:
    return "1 test" if len(tests) == 1 else f"{len(tests)} tests"


def _verb(tests: Sequence[ReplayedTest], many: str) -> str:
    """A verb in the number of the tests."""
    irregular = {"pass": "passes", "do": "does", "have": "has", "be": "is"}
    if len(tests) != 1:
        return "are" if many == "be" else many
    return irregular.get(many, f"{many}s")


def _is_still_red(test: ReplayedTest) -> bool:
    """Failed by assertion on both sources, or by the same error in the code under test."""
    if test.bb is None or test.bh is None or test.bb.is_interface or test.bh.is_interface:
        return False
    return (_asserts(test.bb) and _asserts(test.bh)) or (
        test.bb.exception == test.bh.exception and not test.bb.in_test and not test.bh.in_test
    )


def _still_red(evidence: Evidence, tests: Sequence[ReplayedTest]) -> list[Finding]:
    def says(some: Sequence[ReplayedTest]) -> str:
        return (
            f"{_count(some)} of the base that failed there still {_verb(some, 'fail')} on the new source "
            f"as written then, and only the changed tests hide it: {_named(some)}{_because(some)}"
        )

    remedy = (
        "make the old tests pass, or, if they were wrong, say so: "
        f"dre claim --kind test-fix {_options(tests)}"
    )
    return _accusing("fix-is-in-the-tests", evidence, tests, says, remedy, _is_still_red)


def _blinded(evidence: Evidence, tests: Sequence[ReplayedTest]) -> list[Finding]:
    def says(some: Sequence[ReplayedTest]) -> str:
        return (
            f"{_count(some)} {_verb(some, 'fail')} on the new source as written at the base, and "
            f"{_verb(some, 'pass')} as edited, on the old source as well: the edit took away the difference: "
            f"{_named(some)}{_because(some)}"
        )

    return _accusing("test-blinded", evidence, tests, says, _declare(tests), lambda t: _asserts(t.bh))


def _newly_skipped(evidence: Evidence, tests: Sequence[ReplayedTest]) -> list[Finding]:
    def says(some: Sequence[ReplayedTest]) -> str:
        reason = next((test.hh.message for test in some if test.hh and test.hh.message), "no reason given")
        return (
            f"{_count(some)} that passed at the base {_verb(some, 'fail')} on the new source, and the head "
            f"skips that or expects it ({reason[:80]}): {_named(some)}"
        )

    def by_source(some: Sequence[ReplayedTest]) -> str:
        reason = next((test.bh.message for test in some if test.bh and test.bh.message), "no reason given")
        return (
            f"{_count(some)} that passed at the base {_verb(some, 'be')} skipped or expected to fail on the new "
            f"source as written then, so that nothing is tested there any more ({reason[:80]}): {_named(some)}"
        )

    def may(test: ReplayedTest) -> bool:
        return _asserts(test.bh) and not (test.hh and CONDITION.search(test.hh.message))

    check = "test-newly-skipped"
    skipped = [test for test in tests if _is_skipped_by_source(test)]
    others = [test for test in tests if test not in skipped]
    findings = _accusing(check, evidence, others, says, _declare(others), may) if others else []
    if skipped:
        findings += _accusing(check, evidence, skipped, by_source, _declare(skipped), may)
    return findings


def _removed(evidence: Evidence, tests: Sequence[ReplayedTest]) -> list[Finding]:
    gone = [test for test in tests if test.hh is None]
    left_out = [test for test in tests if test.hh is not None]

    def says(some: Sequence[ReplayedTest]) -> str:
        return (
            f"{_count(some)} that passed at the base {_verb(some, 'fail')} on the new source and "
            f"{_verb(some, 'do')} not exist at the head: "
            f"{_named(some)}{_because(some)}"
        )

    def leaves_out(some: Sequence[ReplayedTest]) -> str:
        return (
            f"the run left out {_count(some)} that passed at the base and {_verb(some, 'fail')} on the new source: "
            f"{_named(some)}{_because(some)}"
        )

    check = "failing-test-removed"
    findings = (
        _accusing(check, evidence, gone, says, _declare(gone), lambda t: _asserts(t.bh)) if gone else []
    )
    if left_out:
        remedy = "run the whole suite, or make these tests pass"
        findings += _accusing(
            check, evidence, left_out, leaves_out, remedy, lambda t: _asserts(t.bh) and _asserts(t.hh)
        )
    return findings


def _subject_removed(evidence: Evidence, tests: Sequence[ReplayedTest]) -> list[Finding]:
    message = f"{_count(tests)} went together with what they tested: {_named(tests)}{_because(tests)}"
    return [_warned("subject-removed", evidence, tests, message)]


def _expectation(evidence: Evidence, tests: Sequence[ReplayedTest]) -> list[Finding]:
    def says(some: Sequence[ReplayedTest]) -> str:
        return (
            f"{_count(some)} {_verb(some, 'expect')} something else than at the base; as written then, the new "
            f"source fails: {_named(some)}{_because(some)}"
        )

    declared = [test for test in tests if _is_declared(evidence, test)]
    rest = [test for test in tests if test not in declared]
    findings = _disclosed("expectation-changed", evidence, declared, says)
    if not rest:
        return findings
    return [
        *findings,
        fail(
            "expectation-changed",
            Weight.MINOR,
            Vantage.RE_EXECUTED,
            says(rest),
            remedy=_declare(rest),
            tests=_ids(rest),
            evidence=_digests(evidence),
        ),
    ]


def _api_changed(evidence: Evidence, tests: Sequence[ReplayedTest]) -> list[Finding]:
    spoken = [test for test in tests if test.bh and test.bh.is_interface]
    raised = [test for test in tests if test not in spoken]
    findings = []
    if raised:
        message = (
            f"the new source raises where {_count(raised)} of the base passed, and the head's tests "
            f"no longer see that: {_named(raised)}{_because(raised)}"
        )
        findings.append(
            fail(
                "api-changed",
                Weight.MINOR,
                Vantage.RE_EXECUTED,
                message,
                remedy=_declare(raised),
                tests=_ids(raised),
                evidence=_digests(evidence),
            )
        )
    if spoken:
        message = (
            f"{_count(spoken)} of the base can't use the new source's interface, "
            f"which changed together with the tests: {_named(spoken)}{_because(spoken)}"
        )
        findings.append(_warned("api-changed", evidence, spoken, message))
    return findings


def _support(evidence: Evidence, tests: Sequence[ReplayedTest]) -> list[Finding]:
    """Never a contradiction: helpers that are the product's own may have had to change together with it."""
    check = "support-weakened"
    cell = evidence.replay.cell("bs") if evidence.replay is not None else None
    which = f" ({plain(cell.detail, 200)})" if cell is not None and cell.detail else ""

    def says(some: Sequence[ReplayedTest]) -> str:
        return (
            f"{_count(some)} {_verb(some, 'pass')} on the new source only by what the change did to the helpers, data, "
            f"tolerances or environment variables of tests{which}, and {_verb(some, 'fail')} with those as the "
            f"base knew them: {_named(some)}{_because(some, 'bs')}"
        )

    declared = [test for test in tests if _is_declared(evidence, test)]
    rest = [test for test in tests if test not in declared]
    findings = _disclosed(check, evidence, declared, says)
    if rest:
        more = {"remedy": _declare(rest), "tests": _ids(rest), "evidence": _digests(evidence)}
        findings.append(fail(check, Weight.MAJOR, Vantage.RE_EXECUTED, says(rest), **more))
    return findings


def _dropped(evidence: Evidence, tests: Sequence[ReplayedTest]) -> list[Finding]:
    message = (
        f"{_count(tests)} of the base would still pass on the new source, but the head "
        f"has no such test any more, or skips it: {_named(tests)}"
    )
    return [_warned("passing-test-dropped", evidence, tests, message)]


def _flaky(evidence: Evidence, tests: Sequence[ReplayedTest]) -> list[Finding]:
    message = f"{_count(tests)} did not come to the same each time, which proves nothing: {_named(tests)}"
    return [_warned("flaky", evidence, tests, message)]


def _unclassified(evidence: Evidence, tests: Sequence[ReplayedTest]) -> list[Finding]:
    message = (
        f"{_count(tests)} {_verb(tests, 'differ')} between base and head in a way that no rule speaks of: "
        f"{_named(tests)}"
    )
    return [
        info("unclassified", Vantage.RE_EXECUTED, message, tests=_ids(tests), evidence=_digests(evidence))
    ]


def _warned(check: str, evidence: Evidence, tests: Sequence[ReplayedTest], message: str) -> Finding:
    return warn(check, Vantage.RE_EXECUTED, message, tests=_ids(tests), evidence=_digests(evidence))


_ROWS = {
    "fix-is-in-the-tests": _still_red,
    "test-blinded": _blinded,
    "test-newly-skipped": _newly_skipped,
    "failing-test-removed": _removed,
    "subject-removed": _subject_removed,
    "expectation-changed": _expectation,
    "api-changed": _api_changed,
    "support-weakened": _support,
    "passing-test-dropped": _dropped,
    "flaky": _flaky,
    "unclassified": _unclassified,
}


def _matrix_check(row: str) -> Callable[[Evidence], Ruling]:
    def check(evidence: Evidence) -> Ruling:
        facts = evidence.replay
        if (refused := _not_read(evidence, facts)) is not None:
            return refused
        assert facts is not None
        tests = [test for test in facts.tests if row_of(test) == row]
        if tests:
            return found(*_ROWS[row](evidence, tests))
        return passed(Vantage.RE_EXECUTED, f"none of {facts.matched} tests of the base")

    check.__doc__ = f"The row {row} of the replay matrix."
    return check


def has_matrix(evidence: Evidence) -> bool:
    """Whether the old tests were run on the new source, so that re-execution decides about the tests."""
    return evidence.replay is not None and _not_read(evidence, evidence.replay) is None


def _not_read(evidence: Evidence, facts: ReplayFacts | None) -> Ruling | None:
    """Why the matrix says nothing about this run; None where it does."""
    if facts is None or facts.mode is not Mode.MATRIX:
        return not_applicable("the old tests were not run on the new source (dre wrap --replay)")
    if not facts.base:
        return not_applicable("no base commit to compare with")
    if facts.base == facts.head:
        return not_applicable("the head is the base")
    expected = evidence.policy.expected_base
    if (expected and facts.base != expected) or facts.head != evidence.run.source.commit:
        return could_not_run("the clones were made of other commits than the ones to judge")
    for name in ("bb", "hh", "bh"):
        if reason := _not_run(facts, name):
            return could_not_run(f"the cell {name} did not run: {reason}")
    return None


def _compares(facts: ReplayFacts) -> bool:
    """Whether there is an old state to run the old tests of."""
    return facts.mode is Mode.MATRIX and bool(facts.base) and facts.base != facts.head


def _not_run(facts: ReplayFacts, name: str) -> str:
    """Why a cell says nothing; empty where it does."""
    cell = facts.cell(name)
    if cell is not None and cell.state is CellState.RAN:
        return ""
    return cell.detail or cell.state.value if cell is not None else "it was not wanted"


def replay_answers(evidence: Evidence) -> Ruling:
    """Whether re-execution that was asked for came to anything: who can't be run again is not taken at his word.

    A change can see to it: by what its tests need, by the time they take, by the checkout's own configuration.
    """
    facts = evidence.replay
    if facts is None:
        reasons = [gap.reason for gap in evidence.run.gaps if gap.collector == "replay"]
        if not reasons:
            return not_applicable("nobody asked to run the tests again (dre wrap --replay)")
        message = f"the tests were to be run again, and were not: {reasons[0]}"
    else:
        wanted = ["clean", "bb", "hh", "bh"] if _compares(facts) else ["clean"]
        # What is asked besides may come to nothing, but not for want of time.
        wanted += [
            cell.name for cell in facts.cells if cell.name in ("bs", "placed") and cell.state in _NO_TIME
        ]
        lost = [(name, reason) for name in wanted if (reason := _not_run(facts, name))]
        if lost:
            name, reason = lost[0]
            message = f"the tests were to be run again, and the cell {name} did not run: {reason}"
        elif facts.unmatched:
            names = ", ".join(facts.unmatched[:_NAMED])
            message = f"of {names}, which the change touched, no test of the base was found to run again"
        else:
            return passed(Vantage.RE_EXECUTED, "each cell ran that the verdict needs")
    remedy = "let the tests run in a clean clone, give them more time (replay.budget_seconds), or run without --replay"
    more = {"remedy": remedy, "evidence": _digests(evidence)}
    return found(fail("replay-answers", Weight.MINOR, Vantage.RE_EXECUTED, plain(message, 400), **more))


def commit_reproduces(evidence: Evidence) -> Ruling:
    """Tests that passed in the run and do not pass in a clean clone of the commit."""
    facts = evidence.replay
    if facts is None:
        return not_applicable("the commit was not run again in a clean clone (dre wrap --replay)")
    if reason := _not_run(facts, "clean"):
        return could_not_run(f"the commit could not be run in a clean clone: {reason}")
    if facts.head != evidence.run.source.commit:
        return could_not_run("the clone was made of another commit than the run's")
    if not evidence.sessions:
        return could_not_run("no session recorded which tests passed")
    red = [test for test in facts.tests if test.clean_differs and test.stable]
    findings = _not_reproduced(evidence, facts, red)
    shaky = [test for test in facts.tests if test.clean_differs and not test.stable]
    if shaky:
        message = f"{_count(shaky)} did not come to the same each time in a clean clone: {_named(shaky)}"
        findings.append(_warned("commit-reproduces", evidence, shaky, message))
    if findings:
        return found(*findings)
    return passed(
        Vantage.RE_EXECUTED, f"{facts.compared} tests pass in a clean clone of {facts.head[:12]} as well"
    )


def _not_reproduced(evidence: Evidence, facts: ReplayFacts, red: list[ReplayedTest]) -> list[Finding]:
    check, more = "commit-reproduces", {"evidence": _digests(evidence)}
    absent = [test for test in red if test.clean is None]
    failing = [test for test in red if test.clean is not None]
    by_edits = [test for test in failing if _passes(test.edited) and test.repeats >= _REPEATS]
    anyway = [test for test in failing if test not in by_edits and test.bb is not None and test.bb.failed]
    outside = [test for test in failing if test not in by_edits and test not in anyway]
    findings = []
    if by_edits:
        message = (
            f"{_count(by_edits)} that passed {_verb(by_edits, 'fail')} in a clean clone of {facts.head[:12]} and "
            f"{_verb(by_edits, 'pass')} there with the uncommitted edits: {_named(by_edits)}"
            f"{_because(by_edits, 'clean')}"
        )
        remedy = "commit the edits and run again"
        findings.append(
            veto(check, Vantage.RE_EXECUTED, message, remedy=remedy, tests=_ids(by_edits), **more)
        )
    if outside:
        message = (
            f"{_count(outside)} that passed {_verb(outside, 'fail')} in a clean clone of {facts.head[:12]}, so "
            f"something that is not in the commit was needed: {_named(outside)}{_because(outside, 'clean')}"
        )
        remedy = "commit what the tests need, or let them make it"
        findings.append(
            fail(
                check, Weight.MAJOR, Vantage.RE_EXECUTED, message, remedy=remedy, tests=_ids(outside), **more
            )
        )
    if absent:
        message = (
            f"{_count(absent)} that passed can't be found in the commit {facts.head[:12]}: {_named(absent)}"
        )
        remedy = "commit the tests and run again"
        findings.append(
            fail(check, Weight.MAJOR, Vantage.RE_EXECUTED, message, remedy=remedy, tests=_ids(absent), **more)
        )
    if anyway:
        message = (
            f"{_count(anyway)} {_verb(anyway, 'fail')} in a clean clone of the base as well, which proves nothing: "
            f"{_named(anyway)}"
        )
        findings.append(info(check, Vantage.RE_EXECUTED, message, tests=_ids(anyway), **more))
    return findings


def changed_code_pseudo_tested(evidence: Evidence) -> Ruling:
    """Changed functions that tests run and nobody would miss."""
    facts = evidence.replay
    if facts is None or not facts.probed:
        return not_applicable("no changed function was probed (dre replay --probe)")
    if facts.head != evidence.run.source.commit:
        return could_not_run("another commit than the run's was probed")
    check, more = "changed-code-pseudo-tested", {"evidence": _digests(evidence)}
    findings = []
    for probed in facts.probed:
        where = f"{probed.path}:{probed.line}"
        if probed.noticed is Noticed.NO:
            message = (
                f"{probed.name} may give anything: {probed.tests} of the tests enter it, and none notices when it "
                "gives None or an odd value"
            )
            remedy = "assert what it gives"
            findings.append(
                fail(check, Weight.CRITICAL, Vantage.RE_EXECUTED, message, where=where, remedy=remedy, **more)
            )
        elif probed.noticed is Noticed.NEVER_RUN:
            message = f"no test enters {probed.name}, which the change added or altered"
            findings.append(warn(check, Vantage.RE_EXECUTED, message, where=where, **more))
    if findings:
        return found(*findings, limit=_LISTED)
    return passed(Vantage.RE_EXECUTED, f"{len(facts.probed)} changed functions were probed")


def equality_lenient(evidence: Evidence) -> Ruling:
    """Values whose new kind says that they equal others: what tests compare with them can't fail as it should.

    No contradiction: there may be an honest kind that nobody has thought of. What is always equal stands in the
    text, and ``eq-constant`` decides about it.
    """
    facts = evidence.replay
    if (refused := _not_read(evidence, facts)) is not None:
        return refused
    assert facts is not None
    decided = (
        {change.where for change in evidence.changes.of(ChangeKind.EQUAL_CONSTANT)}
        if evidence.changes
        else ()
    )
    findings = [
        fail(
            "equality-lenient",
            Weight.MAJOR,
            Vantage.RE_EXECUTED,
            f"the change brought {kind.name}, a kind of value that says yes where none may ({kind.said}), so a test "
            "that compares one can't fail as it should",
            where=f"{kind.path}:{kind.line}",
            remedy="give plain values, or let them compare as others of their kind do",
            evidence=_digests(evidence),
        )
        for kind in facts.lenient[:_LISTED]
        if f"{kind.path}:{kind.line}" not in decided
    ]
    return (
        found(*findings)
        if findings
        else passed(Vantage.RE_EXECUTED, "no new kind of value compares as none may")
    )


def passes_only_elsewhere(evidence: Evidence) -> Ruling:
    """Old tests that the new source passes only where it does not stand in the checkout's place.

    No contradiction: the new source may honestly need what it has only in a real folder.
    """
    check, facts = "passes-only-elsewhere", evidence.replay
    if facts is None or not facts.only_elsewhere:
        return not_applicable("no test of the base was seen to differ by where it ran on the new source")
    if (refused := _not_read(evidence, facts)) is not None:
        return refused

    def says(some: Sequence[ReplayedTest]) -> str:
        return (
            f"on the new source {_count(some)} of the base {_verb(some, 'fail')} in the checkout's place and "
            f"{_verb(some, 'pass')} in a temporary folder, which makes no difference to the old source: "
            f"{_named(some)}{_because(some)}"
        )

    declared = [test for test in facts.only_elsewhere if _is_declared(evidence, test)]
    rest = [test for test in facts.only_elsewhere if test not in declared]
    findings = _disclosed(check, evidence, declared, says)
    if rest:
        more = {"remedy": _declare(rest), "tests": _ids(rest), "evidence": _digests(evidence)}
        findings.append(fail(check, Weight.MAJOR, Vantage.RE_EXECUTED, says(rest), **more))
    return found(*findings)


REPLAY_CHECKS = (
    Check("replay-answers", replay_answers, weight=0.3),
    Check("commit-reproduces", commit_reproduces),
    Check("changed-code-pseudo-tested", changed_code_pseudo_tested),
    Check("equality-lenient", equality_lenient, weight=0.3),
    Check("passes-only-elsewhere", passes_only_elsewhere, weight=0.3),
    *(Check(row, _matrix_check(row), weight=0.3) for row in _ROWS),
)

"""Checks of what tests came to: against what their bodies did, and against what could have changed it."""

from __future__ import annotations

from collections import Counter

from dre_core.model.session import Outcome, Session
from dre_core.model.text import plain
from dre_core.model.verdict import Finding, Vantage, Weight
from dre_core.verify.evidence import Evidence
from dre_core.verify.verifier import Ruling, fail, found, info, not_applicable, passed, veto, warn
from dre_core.verify.wording import (
    NAMED_TESTS,
    NO_TESTS_COLLECTED,
    any_culprit,
    claims_success,
    critical,
    culprit,
    major,
    plural,
)

# More than one skipped test beside nine that ran is named.
_MANY_SKIPPED = 1 / 9


def something_executed(evidence: Evidence) -> Ruling:
    """A green run in which no test ran."""
    counts = evidence.counts
    if counts is None:
        return not_applicable("no tests on record")
    expected = counts.xfailed + counts.xpassed
    executed = counts.passed + counts.failed + counts.errors
    vantage = Vantage.IN_PROCESS if evidence.top_sessions else Vantage.REPORTED
    if executed or not claims_success(evidence):
        return passed(vantage, f"{plural(executed + expected, 'test')} ran")
    where = next(filter(None, (_who_emptied(session) for session in evidence.top_sessions)), "")
    if expected:
        message = f"every test that ran ({expected}) was expected to fail: none could have been red"
        return found(fail("something-executed", Weight.CRITICAL, vantage, message, where=where))
    if evidence.declaration is not None and evidence.declaration.collect_only:
        return passed(vantage, "the tests were only collected, as declared")
    if any(session.collect_only for session in evidence.top_sessions):
        return found(
            fail(
                "something-executed",
                Weight.CRITICAL,
                vantage,
                "the tests were only collected, none ran",
                remedy="run without --collect-only",
            )
        )
    return found(
        veto(
            "something-executed",
            vantage,
            f"no test ran: {counts.collected} collected, {counts.skipped} skipped, {counts.deselected} deselected",
            remedy="check the selection options and the skip reasons",
            against_interest=True,
            where=where,
        )
    )


def _who_emptied(session: Session) -> str:
    return culprit(
        session,
        "skips",
        "pytest_collection_modifyitems",
        "pytest_runtest_setup",
        "pytest_ignore_collect",
        "pytest_sessionfinish",
        "ignores",
    )


def every_test_ran(evidence: Evidence) -> Ruling:
    """A session that ended well, was not stopped, and ran fewer tests than it had selected."""
    if not evidence.sessions:
        return not_applicable("no session")
    for session in evidence.top_sessions:
        selected, ran = session.selected, len(session.tests)
        if session.collect_only or not session.finished or session.exit_status not in (0, NO_TESTS_COLLECTED):
            continue
        if selected is not None and ran < selected and not session.stopped:
            return found(
                fail(
                    "every-test-ran",
                    Weight.CRITICAL,
                    Vantage.IN_PROCESS,
                    f"{ran} of {selected} selected tests ran in a session that ended with {session.exit_status}",
                    remedy="look for a hook that ends or skips the running of tests",
                    evidence=evidence.items_of(session),
                    where=any_culprit(
                        session,
                        "calls",
                        "pytest_runtest_protocol",
                        "pytest_runtestloop",
                        "pytest_runtest_setup",
                    ),
                )
            )
    return passed(Vantage.IN_PROCESS, "every selected test ran, or the session says why not")


def skip_ratio(evidence: Evidence) -> Ruling:
    """How many of the tests were skipped: for the reader alone, as honest suites skip half of theirs."""
    counts = evidence.counts
    if counts is None:
        return not_applicable("no tests on record")
    vantage = Vantage.IN_PROCESS if evidence.top_sessions else Vantage.REPORTED
    ran = counts.passed + counts.failed + counts.errors + counts.xfailed + counts.xpassed
    message = f"{counts.skipped} of {plural(ran + counts.skipped, 'test')} skipped"
    if counts.skipped <= ran * _MANY_SKIPPED:
        return passed(vantage, message)
    skipped = [t for s in evidence.top_sessions for t in s.tests if t.outcome is Outcome.SKIPPED]
    reasons = Counter(plain(test.reason, 80) for test in skipped if test.reason)
    if reasons:
        reason, count = reasons.most_common(1)[0]
        message = f"{message}, {count} of them for one reason: {reason}"
    tests = tuple(test.id for test in skipped[:NAMED_TESTS])
    return found(info("skip-ratio", vantage, message, tests=tests))


def outcome_witnessed(evidence: Evidence) -> Ruling:
    """Tests that were reported as passed although the recorder saw no call of theirs."""
    if not evidence.sessions:
        return not_applicable("no session")
    for session in evidence.top_sessions:
        problem = next((text for text in session.problems if text.startswith("unwitnessed:")), "")
        where = culprit(session, "pytest_runtest_protocol", "pytest_runtestloop")
        if problem and where:
            return found(
                fail(
                    "outcome-witnessed",
                    Weight.CRITICAL,
                    Vantage.IN_PROCESS,
                    f"reports of tests that were not run here: {problem.partition(': ')[2]}",
                    evidence=evidence.items_of(session),
                    where=where,
                )
            )
        if problem:  # pytest-forked and its like run tests in a child
            return found(info("outcome-witnessed", Vantage.IN_PROCESS, problem.partition(": ")[2]))
    return passed(Vantage.IN_PROCESS, "the call behind every passed test was seen")


def subject_intact(evidence: Evidence) -> Ruling:
    """Functions of the project that a conftest replaced, or that are not what stands in their files."""
    if not evidence.sessions:
        return not_applicable("no session")
    findings = []
    for session in evidence.top_sessions:
        for note in session.hooks:
            where = f"{note.file}:{note.line}"
            if note.concern == "patched-subject":
                message = f"{note.hook} was replaced by {where} for all tests"
                findings.append(
                    fail("subject-intact", Weight.MAJOR, Vantage.IN_PROCESS, message, where=where,
                         remedy="patch the code under test inside the tests that need it")
                )  # fmt: skip
            elif note.concern == "not-its-source":
                message = f"{note.hook} ran as something else than what stands at {where}"
                findings.append(
                    fail("subject-intact", Weight.CRITICAL, Vantage.IN_PROCESS, message, where=where,
                         remedy="remove cached bytecode, and what changes code while it is loaded")
                )  # fmt: skip
            elif note.concern == "patched-in-test":
                message = f"{note.hook} was replaced by {where} while tests ran"
                findings.append(info("subject-intact", Vantage.IN_PROCESS, message, where=where))
    if findings:
        return found(*findings, limit=10)
    compared, modules = (
        sum(getattr(each, name) for each in evidence.top_sessions) for name in ("compared", "modules")
    )
    detail = f"; {compared} of {modules} modules were compared with their source" if modules else ""
    return passed(Vantage.IN_PROCESS, f"no conftest replaced a function of the code under test{detail}")


def outcome_matches_body(evidence: Evidence) -> Ruling:
    """A test whose body raised, or a control, reported as passed."""
    if not evidence.sessions:
        return not_applicable("no session")
    for session in evidence.top_sessions:
        forced = [t.id for t in session.tests if t.body_raised and t.outcome is Outcome.PASSED]
        if forced:
            return found(
                veto(
                    "outcome-matches-body",
                    Vantage.IN_PROCESS,
                    f"{plural(len(forced), 'test')} raised an error and was reported as passed: {forced[0]}",
                    remedy="look for a hook that rewrites reports",
                    evidence=evidence.items_of(session),
                    tests=tuple(forced[:NAMED_TESTS]),
                    where=_who_changed(session),
                )
            )
        if lost := next((text for text in session.problems if text.startswith("control-passed:")), ""):
            return found(
                veto(
                    "outcome-matches-body",
                    Vantage.IN_PROCESS,
                    f"a function that must fail was run like a test and passed: {lost.partition(': ')[2]}",
                    remedy="look for code that catches what tests raise",
                    evidence=evidence.items_of(session),
                    where=culprit(session, "replaced", "replaced-by-plugin") or _who_changed(session),
                )
            )
        changed = [text for text in session.problems if text.startswith("outcome-changed:")]
        if changed:
            detail = changed[0].partition(": ")[2]
            judged = veto if detail.endswith("reported passed") else major
            return found(
                judged(
                    "outcome-matches-body",
                    Vantage.IN_PROCESS,
                    f"{plural(len(changed), 'outcome')} better than what was raised: {detail}",
                    remedy="look for a hook that rewrites reports",
                    evidence=evidence.items_of(session),
                    where=_who_changed(session),
                )
            )
    return passed(Vantage.IN_PROCESS, "every outcome fits what the test's body did")


def _who_changed(session: Session) -> str:
    return culprit(
        session,
        "changed-outcome",
        "wrapped-body",
        "pytest_runtest_makereport",
        "pytest_runtest_logreport",
        "pytest_runtest_call",
        "pytest_pyfunc_call",
    ) or any_culprit(session)


def body_called(evidence: Evidence) -> Ruling:
    """A test reported as passed whose function was never entered."""
    if not evidence.sessions:
        return not_applicable("no session")
    for session in evidence.top_sessions:
        idle = [t.id for t in session.tests if t.body_called is False and t.outcome is Outcome.PASSED]
        if idle:
            return found(
                veto(
                    "body-called",
                    Vantage.IN_PROCESS,
                    f"{plural(len(idle), 'test')} passed without its function being called: {idle[0]}",
                    evidence=evidence.items_of(session),
                    tests=tuple(idle[:NAMED_TESTS]),
                    where=any_culprit(
                        session,
                        "swapped-body",
                        "wrapped-body",
                        "pytest_pyfunc_call",
                        "pytest_collection_modifyitems",
                    ),
                )
            )
    return passed(Vantage.IN_PROCESS, "every passed test's function was entered, as far as it can be told")


def asserts_enabled(evidence: Evidence) -> Ruling:
    """Assertions switched off by ``python -O``."""
    if not evidence.sessions:
        return not_applicable("no session")
    for session in evidence.top_sessions:
        if not session.optimize:
            continue
        unrewritten = ", ".join(session.unrewritten[:3])
        if session.assert_mode == "plain":
            message = "python -O removed the assertions: pytest's rewriting, which keeps them, was off"
            return found(
                veto("asserts-enabled", Vantage.IN_PROCESS, message, evidence=evidence.items_of(session))
            )
        detail = f"; not rewritten, so without their assertions: {unrewritten}" if unrewritten else ""
        return found(warn("asserts-enabled", Vantage.IN_PROCESS, f"the tests ran under python -O{detail}"))
    return passed(Vantage.IN_PROCESS, "assertions were on")


def recorder_intact(evidence: Evidence) -> Ruling:
    """Signs that the record itself was tampered with."""
    if not evidence.sessions:
        return not_applicable("no session")
    grave = ("broken-chain", "worker-disagrees", "recorder-displaced", "late-", "unknown-nonce")
    findings = []
    for session in evidence.top_sessions:
        findings += [
            fail(
                "recorder-intact",
                Weight.CRITICAL,
                Vantage.IN_PROCESS,
                f"the session's record is not whole: {problem}",
                evidence=evidence.items_of(session),
                where=any_culprit(session, "touches-record"),
            )
            for problem in session.problems
            if problem.startswith(grave)
        ]
        findings += [
            fail(
                "recorder-intact",
                Weight.MAJOR,
                Vantage.IN_PROCESS,
                f"{note.hook} was replaced by {note.file}:{note.line}",
                evidence=evidence.items_of(session),
                where=f"{note.file}:{note.line}",
            )
            for note in session.hooks
            if note.concern == "replaced"
        ]
    findings += [*_rewritten(evidence), *_in_the_way(evidence)]
    return found(*findings, limit=10) if findings else passed(Vantage.IN_PROCESS, "the record is whole")


def _rewritten(evidence: Evidence) -> list[Finding]:
    """Records that are not what was seen of them while they were written."""
    return [
        critical(
            "recorder-intact",
            Vantage.OBSERVED,
            f"the session's record was written anew: {plain(name, 120)} does not begin as it did while the command ran",
            remedy="let nothing but the recorder write below .dre, and run the tests again",
            evidence=tuple(item.digest for item in evidence.run.items_of("process")),
            where=plain(name, 120),
        )
        for name in (evidence.observation.rewritten if evidence.observation is not None else ())
    ]


def _in_the_way(evidence: Evidence) -> list[Finding]:
    """Files of the checkout that were loaded in place of the runner or the recorder, where ``python -m`` ran it."""
    runners = evidence.observation.runners() if evidence.observation is not None else ()
    if not any("-m" in runner.argv for runner in runners):
        return []
    return [
        critical(
            "recorder-intact",
            Vantage.OBSERVED,
            f"{fact.file} stands in the way of {fact.name}: `python -m pytest` loads it in its place, "
            "and what it wrote is no record",
            remedy="rename it, or start the tests by `pytest`",
            evidence=tuple(item.digest for item in evidence.run.items_of("imports")),
            where=fact.file,
        )
        for fact in evidence.imports
        if fact.shadows
    ]


def hooks_named(evidence: Evidence) -> Ruling:
    """Implementations of outcome-changing hooks, for the reader; honest projects have them too."""
    if not evidence.sessions:
        return not_applicable("no session")
    findings = [
        info(
            "hooks-named",
            Vantage.IN_PROCESS,
            f"{note.plugin} implements {note.hook} ({note.concern})",
            where=f"{note.file}:{note.line}",
        )
        for session in evidence.top_sessions
        for note in session.hooks
        if note.concern in ("conftest", "outside-ours", "added-late", "changed-outcome", "replaced-by-plugin")
    ]
    return (
        found(*findings, limit=20)
        if findings
        else passed(Vantage.IN_PROCESS, "no hook that changes outcomes")
    )

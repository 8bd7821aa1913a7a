"""The programmatic verifier: exit codes, sessions and reports held against one another.

One function a check; the table at the end has them in order. Words: the *outer* status is what the command
returned to whoever started it; a *session* is an in-process record of a pytest run.
"""

from __future__ import annotations

import fnmatch
import shlex

from dre_core.hooks import hookimpl
from dre_core.model.changes import ChangeKind
from dre_core.model.observation import Observation, SeenProcess
from dre_core.model.run import RunOutcome
from dre_core.model.session import Outcome, Session
from dre_core.model.text import command_line
from dre_core.model.verdict import Finding, MethodResult, Vantage, Weight
from dre_core.verify.covered import COVERAGE_CHECKS
from dre_core.verify.evidence import Evidence, Report
from dre_core.verify.verifier import (
    Check,
    Ruling,
    could_not_run,
    fail,
    found,
    info,
    not_applicable,
    passed,
    run_checks,
    veto,
    warn,
)

# pytest's own exit statuses (pytest.ExitCode), as far as they are told apart here.
NO_TESTS_COLLECTED = 5
_NAMED_TESTS = 20


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _command(evidence: Evidence) -> str:
    return f"`{command_line(evidence.run.command.argv)}`"


def _claims_success(evidence: Evidence) -> bool:
    return evidence.run.claim.outcome is RunOutcome.PASSED


def _bad_tests(session: Session) -> tuple[str, ...]:
    bad = [test.id for test in session.tests if test.outcome in (Outcome.FAILED, Outcome.ERROR)]
    return tuple([*bad, *session.collection_errors][:_NAMED_TESTS])


def _trouble(session: Session) -> str:
    """What went wrong in a session, in words."""
    counts = session.counts
    parts = [
        _plural(number, word)
        for number, word in ((counts.failed, "failed test"), (counts.errors, "error"))
        if number
    ]
    return " and ".join(parts) or "no failed test on record"


def exit_agrees(evidence: Evidence) -> Ruling:
    """A runner that ended badly inside a command that ended well."""
    claim = evidence.run.claim
    sessions = [s for s in evidence.top_sessions if s.exit_status is not None]
    if evidence.run.face != "wrap":
        return _exit_agrees_inside(evidence, sessions)
    if claim.exit_code != 0:
        return passed(Vantage.OBSERVED, f"the command returned {_status(evidence)}")
    findings = [
        veto(
            "exit-agrees",
            Vantage.IN_PROCESS,
            f"{_trouble(session)} inside pytest (exit {session.exit_status}), "
            f"but {_command(evidence)} returned 0",
            remedy="let the command return the runner's status (no `|| true`, no `; exit 0`, set -o pipefail)",
            evidence=evidence.items_of(session),
            tests=_bad_tests(session),
            where=_who_left(evidence, session),
        )
        for session in sessions
        if session.exit_status not in (0, NO_TESTS_COLLECTED)
    ]
    if not findings:
        findings = [_swallowed(evidence, process) for process in _failed_runners(evidence)]
    if findings:
        return found(*findings)
    inner = (
        f"{_plural(len(sessions), 'session')} inside ended well" if sessions else "no session was seen inside"
    )
    return passed(Vantage.OBSERVED, f"the command returned 0; {inner}")


def _who_left(evidence: Evidence, session: Session) -> str:
    """Where the process was made to return another status than its session had, if it was the process."""
    seen = evidence.observation.processes if evidence.observation is not None else ()
    code = next((each.exit_code for each in seen if each.pid == session.pid), None)
    if code is not None and code == session.exit_status:
        return ""
    hooks = ("pytest_unconfigure", "pytest_sessionfinish") if code == 0 else ()
    return _culprit(session, "calls", *hooks)


def _exit_agrees_inside(evidence: Evidence, sessions: list[Session]) -> Ruling:
    """At level 2 the session's own exit status is all there is."""
    if not sessions:
        return could_not_run("the session left no exit status")
    status = sessions[-1].exit_status
    if status != evidence.run.claim.exit_code:
        return found(
            veto(
                "exit-agrees",
                Vantage.IN_PROCESS,
                f"the session ended with {status}, but {evidence.run.claim.exit_code} was claimed",
                evidence=evidence.items_of(sessions[-1]),
            )
        )
    return passed(Vantage.IN_PROCESS, f"the session ended with {status}")


def _status(evidence: Evidence) -> str:
    claim = evidence.run.claim
    return f"signal {claim.signal}" if claim.signal else str(claim.exit_code)


def _failed_runners(evidence: Evidence) -> list[SeenProcess]:
    if evidence.observation is None:
        return []
    return [
        process
        for process in evidence.observation.runners()
        if process.signal or process.exit_code not in (None, 0, NO_TESTS_COLLECTED)
    ]


def _swallowed(evidence: Evidence, process: SeenProcess) -> Finding:
    status = f"died of signal {process.signal}" if process.signal else f"returned {process.exit_code}"
    return veto(
        "exit-agrees",
        Vantage.OBSERVED,
        f"`{command_line(process.argv)}` {status}, but {_command(evidence)} returned 0",
        remedy="let the command return the runner's status (no `|| true`, no `; exit 0`, set -o pipefail)",
        evidence=tuple(item.digest for item in evidence.run.items_of("process")),
    )


def runner_session_present(evidence: Evidence) -> Ruling:
    """A claim about tests needs a witnessed session, or a watched runner with a report of its own."""
    if evidence.top_sessions:
        vantage = Vantage.IN_PROCESS
        if evidence.observation is not None and evidence.observation.runners():
            vantage = Vantage.OBSERVED
        return passed(vantage, f"{_plural(len(evidence.top_sessions), 'session')} on record")
    if not evidence.reports:
        return could_not_run(
            "no test session and no report of one: run pytest with --dre, or name its --junit report"
        )
    if evidence.observation is None:
        return could_not_run("a report, but nobody watched the run")
    runners = evidence.observation.runners()
    if not runners:
        if evidence.observation.complete:
            return found(
                veto(
                    "runner-session-present",
                    Vantage.OBSERVED,
                    f"a report of {_plural(evidence.reports[0].junit.tests.collected, 'test')}, "
                    "but no process that runs tests was started",
                )
            )
        return could_not_run("a report, but no runner was seen; a short-lived one can be missed")
    return passed(Vantage.OBSERVED, f"{command_line(runners[0].argv)} with a report")


def failures_exit0(evidence: Evidence) -> Ruling:
    """Failed tests on record in a session that says it ended well."""
    sessions = evidence.top_sessions
    if not sessions:
        return _reported_failures(evidence)
    findings = [
        veto(
            "failures-exit0",
            Vantage.IN_PROCESS,
            f"{_trouble(session)} on record, but the session ended with 0",
            remedy="look for a plugin or conftest that changes the exit status",
            evidence=evidence.items_of(session),
            tests=_bad_tests(session),
            where=_any_culprit(session, "pytest_sessionfinish", "pytest_runtestloop"),
        )
        for session in sessions
        if session.exit_status == 0 and (session.counts.failed or session.counts.errors)
    ]
    if findings:
        return found(*findings)
    return passed(Vantage.IN_PROCESS, "the sessions' statuses fit their counts")


def _reported_failures(evidence: Evidence) -> Ruling:
    if not evidence.reports:
        return not_applicable("no tests on record")
    bad = [r for r in evidence.reports if r.junit.tests.failed or r.junit.tests.errors]
    if bad and _claims_success(evidence):
        counts = bad[0].junit.tests
        return found(
            veto(
                "failures-exit0",
                Vantage.REPORTED,
                f"{bad[0].item.name} reports {counts.failed} failed and {counts.errors} errors, "
                f"but {_command(evidence)} returned 0",
                remedy="let the command return the runner's status",
                evidence=(bad[0].item.digest,),
                against_interest=True,
            )
        )
    return passed(Vantage.REPORTED, "the reports fit the exit status")


def exitstatus_overridden(evidence: Evidence) -> Ruling:
    """The exit status was changed while the session finished."""
    sessions = [s for s in evidence.top_sessions if s.exit_status is not None]
    if not sessions:
        return not_applicable("no finished session")
    findings = []
    for session in sessions:
        before, after = session.exit_status_before, session.exit_status
        if before == after or before is None:
            continue
        message = f"the exit status was changed from {before} to {after} while the session finished"
        where = _culprit(session, "pytest_sessionfinish", "pytest_unconfigure")
        more = {"evidence": evidence.items_of(session), "where": where}
        if after == 0 and before != NO_TESTS_COLLECTED:
            findings.append(veto("exitstatus-overridden", Vantage.IN_PROCESS, message, **more))
        else:
            findings.append(warn("exitstatus-overridden", Vantage.IN_PROCESS, message, **more))
    return found(*findings) if findings else passed(Vantage.IN_PROCESS, "the exit status was not touched")


def _culprit(session: Session, *wanted: str) -> str:
    """``file:line`` of the first note that fits: by concern, then by hook, in the order asked for."""
    for name in wanted:
        for note in session.hooks:
            if name in (note.concern, note.hook) and note.file:
                return f"{note.file}:{note.line}"
    return ""


def _any_culprit(session: Session, *first: str) -> str:
    """The same, or else whatever stands out in the session: a place to begin looking."""
    last = (
        "outside-ours", "replaced", "added-late", "changed-outcome", "pytest_runtestloop", "pytest_runtest_protocol",
        "pytest_runtest_makereport", "pytest_runtest_logreport", "pytest_collection_modifyitems",
        "pytest_sessionfinish", "pytest_unconfigure", "conftest", "calls",
    )  # fmt: skip
    return _culprit(session, *first, *last)


def session_finished(evidence: Evidence) -> Ruling:
    """A session that began and never ended, in a command that ended well."""
    if not evidence.top_sessions:
        return not_applicable("no session")
    open_sessions = [s for s in evidence.top_sessions if not s.finished]
    if not open_sessions:
        return passed(Vantage.IN_PROCESS, "every session that began also ended")
    session = open_sessions[0]
    planned = "" if session.selected is None else f" of {session.selected}"
    message = (
        f"the session ended after {len(session.tests)}{planned} tests without finishing, "
        f"but {_command(evidence)} returned {_status(evidence)}"
    )
    if not _claims_success(evidence):
        return found(info("session-finished", Vantage.IN_PROCESS, message))
    return found(
        veto(
            "session-finished",
            Vantage.IN_PROCESS,
            message,
            remedy="look for os._exit, a crash, or a kill in the last test on record",
            evidence=evidence.items_of(session),
            tests=tuple(test.id for test in session.tests[-1:]),
            where=_any_culprit(session, "calls", "touches-record"),
        )
    )


def something_executed(evidence: Evidence) -> Ruling:
    """A green run in which no test ran."""
    counts = evidence.counts
    if counts is None:
        return not_applicable("no tests on record")
    expected = counts.xfailed + counts.xpassed
    executed = counts.passed + counts.failed + counts.errors
    vantage = Vantage.IN_PROCESS if evidence.top_sessions else Vantage.REPORTED
    if executed or not _claims_success(evidence):
        return passed(vantage, f"{_plural(executed + expected, 'test')} ran")
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
    return _culprit(
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
                    where=_any_culprit(
                        session,
                        "calls",
                        "pytest_runtest_protocol",
                        "pytest_runtestloop",
                        "pytest_runtest_setup",
                    ),
                )
            )
    return passed(Vantage.IN_PROCESS, "every selected test ran, or the session says why not")


def outcome_witnessed(evidence: Evidence) -> Ruling:
    """Tests that were reported as passed although the recorder saw no call of theirs."""
    if not evidence.sessions:
        return not_applicable("no session")
    for session in evidence.top_sessions:
        problem = next((text for text in session.problems if text.startswith("unwitnessed:")), "")
        where = _culprit(session, "pytest_runtest_protocol", "pytest_runtestloop")
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
    """Functions of the code under test that a conftest replaced by its own."""
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
            elif note.concern == "patched-in-test":
                message = f"{note.hook} was replaced by {where} while tests ran"
                findings.append(info("subject-intact", Vantage.IN_PROCESS, message, where=where))
    if findings:
        return found(*findings[:10])
    return passed(Vantage.IN_PROCESS, "no conftest replaced a function of the code under test")


def selection(evidence: Evidence) -> Ruling:
    """What was left out before the run: for the reader, unless the change itself brought the rule for it."""
    if not evidence.sessions:
        return not_applicable("no session")
    findings = []
    for session in evidence.top_sessions:
        findings += [_left_out(evidence, *each) for each in _left_out_of(session)]
    return found(*findings[:10]) if findings else passed(Vantage.IN_PROCESS, "nothing was left out")


def _left_out_of(session: Session) -> list[tuple[str, str, tuple[str, ...]]]:
    """Message, place and tests for each way in which tests were left out."""
    found_: list[tuple[str, str, tuple[str, ...]]] = []
    modify = _culprit(session, "pytest_collection_modifyitems")
    if count := session.counts.deselected:
        found_.append((f"{_plural(count, 'test')} deselected", modify, session.deselected[:_NAMED_TESTS]))
    if session.ignored_count:
        where = _culprit(session, "ignores", "pytest_ignore_collect")
        found_.append((f"not collected by decision: {', '.join(session.ignored[:5])}", where, ()))
    xfailed = tuple(test.id for test in session.tests if test.outcome is Outcome.XFAILED)
    if xfailed and modify:
        found_.append((f"{_plural(len(xfailed), 'test')} failed as expected", modify, xfailed[:_NAMED_TESTS]))
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


def outcome_matches_body(evidence: Evidence) -> Ruling:
    """A test whose body raised, reported as passed."""
    if not evidence.sessions:
        return not_applicable("no session")
    for session in evidence.top_sessions:
        forced = [t.id for t in session.tests if t.body_raised and t.outcome is Outcome.PASSED]
        if forced:
            return found(
                veto(
                    "outcome-matches-body",
                    Vantage.IN_PROCESS,
                    f"{_plural(len(forced), 'test')} raised an error and was reported as passed: {forced[0]}",
                    remedy="look for a hook that rewrites reports",
                    evidence=evidence.items_of(session),
                    tests=tuple(forced[:_NAMED_TESTS]),
                    where=_who_changed(session),
                )
            )
        changed = [text for text in session.problems if text.startswith("outcome-changed:")]
        if changed:
            detail = changed[0].partition(": ")[2]
            judged = veto if detail.endswith("reported passed") else _major
            return found(
                judged(
                    "outcome-matches-body",
                    Vantage.IN_PROCESS,
                    f"{_plural(len(changed), 'outcome')} better than what was raised: {detail}",
                    remedy="look for a hook that rewrites reports",
                    evidence=evidence.items_of(session),
                    where=_who_changed(session),
                )
            )
    return passed(Vantage.IN_PROCESS, "every outcome fits what the test's body did")


def _major(check: str, vantage: Vantage, message: str, **more: object) -> Finding:
    return fail(check, Weight.MAJOR, vantage, message, **more)


def _who_changed(session: Session) -> str:
    return _culprit(
        session,
        "changed-outcome",
        "wrapped-body",
        "pytest_runtest_makereport",
        "pytest_runtest_logreport",
        "pytest_runtest_call",
        "pytest_pyfunc_call",
    ) or _any_culprit(session)


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
                    f"{_plural(len(idle), 'test')} passed without its function being called: {idle[0]}",
                    evidence=evidence.items_of(session),
                    tests=tuple(idle[:_NAMED_TESTS]),
                    where=_any_culprit(
                        session,
                        "swapped-body",
                        "wrapped-body",
                        "pytest_pyfunc_call",
                        "pytest_collection_modifyitems",
                    ),
                )
            )
    return passed(Vantage.IN_PROCESS, "every passed test's function was entered, as far as it can be told")


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
                    f"{_plural(session.dropped_count, 'collected test')} vanished before the run "
                    f"without being deselected: {session.dropped[0]}",
                    remedy="deselect tests through pytest_deselected, so that the count is shown",
                    evidence=evidence.items_of(session),
                    tests=session.dropped[:_NAMED_TESTS],
                    where=_culprit(session, "pytest_collection_modifyitems", "pytest_pycollect_makeitem"),
                )
            )
    return passed(Vantage.IN_PROCESS, "every collected test was run, skipped or deselected")


def report_fresh(evidence: Evidence) -> Ruling:
    """A report that the run did not write."""
    if not evidence.reports:
        return not_applicable("no report")
    stale = [r for r in evidence.reports if r.item.note.get("fresh") == "unchanged"]
    if not stale:
        return passed(Vantage.OBSERVED, f"{_plural(len(evidence.reports), 'report')} written during the run")
    return found(
        veto(
            "report-fresh",
            Vantage.OBSERVED,
            f"{stale[0].item.name} was there before the run and was not written again",
            remedy="delete old reports before the run, and check the path the runner writes to",
            evidence=(stale[0].item.digest,),
        )
    )


def report_agrees(evidence: Evidence) -> Ruling:
    """A report that tells another story than the session on record."""
    if not evidence.reports or not evidence.top_sessions:
        return not_applicable("no report and session to compare")
    if len(evidence.reports) != len(evidence.top_sessions):
        return not_applicable("reports and sessions can't be matched one to one")
    findings = []
    for report, session in zip(evidence.reports, evidence.top_sessions, strict=True):
        findings += _disagreements(evidence, report, session)
    if findings:
        return found(*findings)
    return passed(Vantage.IN_PROCESS, "the reports tell what the sessions did")


def _disagreements(evidence: Evidence, report: Report, session: Session) -> list[Finding]:
    told, seen = report.junit.tests, session.counts
    bad_told, bad_seen = told.failed + told.errors, seen.failed + seen.errors
    digests = (report.item.digest, *evidence.items_of(session))
    if bad_told < bad_seen:
        return [
            veto(
                "report-agrees",
                Vantage.IN_PROCESS,
                f"{report.item.name} reports {_plural(bad_told, 'failure')}, the session on record had {bad_seen}",
                evidence=digests,
                tests=_bad_tests(session),
            )
        ]
    if told.passed > seen.passed and not session.counts.rerun:
        return [
            veto(
                "report-agrees",
                Vantage.IN_PROCESS,
                f"{report.item.name} reports {told.passed} passed, the session on record had {seen.passed}",
                evidence=digests,
            )
        ]
    return []


def printed_count_agrees(evidence: Evidence) -> Ruling:
    """A closing line that claims more passed tests than were witnessed."""
    observation = evidence.observation
    if observation is not None and not evidence.has_tests:
        return _printed_alone(evidence, observation)
    if observation is None or not evidence.top_sessions:
        return not_applicable("no output and session to compare")
    lines = [line for line in observation.closing_lines if line.runner == "pytest"]
    if not lines:
        return not_applicable("no closing line in the output")
    printed = sum(line.count("passed") for line in lines)
    # Sessions that tests run inside print closing lines too.
    witnessed = sum(session.counts.passed for session in evidence.sessions)
    if printed > witnessed and len(lines) <= len(evidence.sessions):
        return found(
            veto(
                "printed-count-agrees",
                Vantage.OBSERVED,
                f"the output says {printed} passed, the session on record had {witnessed}",
                where=_who_printed(evidence) or f"offset {lines[-1].offset}",
            )
        )
    return passed(Vantage.OBSERVED, f"the output says {printed} passed, {witnessed} were witnessed")


def _printed_alone(evidence: Evidence, observation: Observation) -> Ruling:
    """A closing line of a runner that nobody saw run; a short-lived one can be missed."""
    lines = [line for line in observation.closing_lines if line.count("passed")]
    if not lines or observation.runners():
        return not_applicable("no closing line, or a runner was seen")
    judged = veto if observation.complete else _critical
    return found(
        judged(
            "printed-count-agrees",
            Vantage.OBSERVED,
            f"the output says {lines[-1].count('passed')} passed, but no process that runs tests was seen "
            "and none left a record",
            remedy="run the tests themselves, and let pytest --dre or a report tell of them",
            evidence=tuple(item.digest for item in evidence.run.items_of("process")),
            where=f"offset {lines[-1].offset}",
        )
    )


def _critical(check: str, vantage: Vantage, message: str, **more: object) -> Finding:
    return fail(check, Weight.CRITICAL, vantage, message, **more)


def _who_printed(evidence: Evidence) -> str:
    hooks = ("pytest_terminal_summary", "pytest_report_teststatus", "pytest_runtest_logreport")
    return next(filter(None, (_culprit(session, *hooks) for session in evidence.top_sessions)), "")


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
                where=_any_culprit(session, "touches-record"),
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
    return found(*findings[:10]) if findings else passed(Vantage.IN_PROCESS, "the record is whole")


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
    return found(*findings[:20]) if findings else passed(Vantage.IN_PROCESS, "no hook that changes outcomes")


def command_expected(evidence: Evidence) -> Ruling:
    """A command that the policy does not expect proves something else."""
    patterns = evidence.policy.expected_commands
    if not patterns:
        return not_applicable("the policy expects no command of its own")
    text = shlex.join(evidence.run.command.argv)
    if any(fnmatch.fnmatchcase(text, pattern) for pattern in patterns):
        return passed(Vantage.OBSERVED, "the command is one that the policy expects")
    return found(
        fail(
            "command-expected",
            Weight.CRITICAL,
            Vantage.OBSERVED,
            f"{_command(evidence)} is none of the commands that the policy expects: {', '.join(patterns[:3])}",
            remedy="run one of them, or add this one to expected_commands in the policy",
        )
    )


def evidence_readable(evidence: Evidence) -> Ruling:
    """Evidence that is not what it says: it may not support, and it may not hide what the rest shows."""
    if not evidence.unreadable:
        return passed(Vantage.STATIC, "every item could be read")
    return found(
        *(
            fail("verifier-failed", Weight.CRITICAL, Vantage.STATIC, f"an item could not be read: {reason}")
            for reason in evidence.unreadable[:5]
        )
    )


CHECKS = (
    Check("evidence-readable", evidence_readable, weight=0.0),
    Check("command-expected", command_expected, weight=0.0),
    Check("exit-agrees", exit_agrees, weight=3, mandatory=True),
    Check("runner-session-present", runner_session_present, weight=2, mandatory=True),
    Check("failures-exit0", failures_exit0, weight=2),
    Check("exitstatus-overridden", exitstatus_overridden),
    Check("session-finished", session_finished),
    Check("something-executed", something_executed, weight=2),
    Check("every-test-ran", every_test_ran),
    Check("outcome-matches-body", outcome_matches_body),
    Check("outcome-witnessed", outcome_witnessed),
    Check("body-called", body_called),
    Check("nothing-dropped", nothing_dropped),
    Check("subject-intact", subject_intact),
    Check("report-fresh", report_fresh),
    Check("report-agrees", report_agrees),
    Check("printed-count-agrees", printed_count_agrees),
    Check("asserts-enabled", asserts_enabled),
    Check("recorder-intact", recorder_intact),
    Check("hooks-named", hooks_named, weight=0.0),
    Check("selection", selection, weight=0.0),
    *COVERAGE_CHECKS,
)


class ProgrammaticVerifier:
    """Exit codes, sessions and reports against one another."""

    name = "programmatic"

    def verify(self, evidence: Evidence) -> MethodResult:
        return run_checks(self.name, CHECKS, evidence)


@hookimpl
def dre_verifiers() -> list[ProgrammaticVerifier]:
    return [ProgrammaticVerifier()]

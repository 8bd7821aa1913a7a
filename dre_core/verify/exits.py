"""Checks of how things ended: the command, the runners inside it, and the sessions on record.

Words: the *outer* status is what the command returned to whoever started it; a *session* is an in-process record of a
pytest run.
"""

from __future__ import annotations

import fnmatch
import shlex
from collections.abc import Sequence

from dre_core.capture.programmatic import JUnitCase
from dre_core.model.observation import SeenProcess
from dre_core.model.session import Outcome, Session
from dre_core.model.text import command_line
from dre_core.model.verdict import Finding, Vantage, Weight
from dre_core.verify.evidence import Evidence
from dre_core.verify.verifier import (
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
from dre_core.verify.wording import (
    NO_TESTS_COLLECTED,
    any_culprit,
    bad_tests,
    claims_success,
    command_text,
    culprit,
    plural,
    trouble,
)

_DRE = frozenset(("dre", "dre_ci.cli"))
# With these pytest tells something and runs no test.
_ONLY_TELLS = frozenset(
    ("--help", "-h", "--version", "-V", "--fixtures", "--markers", "--cache-show", "--setup-plan")
)


# How runners are told to write a report, by the beginning of their names.
_WRITES_JUNIT = {
    "unittest": " (pytest --dre runs unittest's tests too, and needs none)",
    "node --test": " (--test-reporter=junit --test-reporter-destination=FILE)",
    "jest": " (--reporters=jest-junit)",
    "vitest": " (--reporter=junit --outputFile=FILE)",
    "mocha": " (--reporter xunit --reporter-option output=FILE)",
    "go test": " (gotestsum --junitfile FILE)",
    "cargo": " (cargo nextest run, with [profile.default.junit] path in .config/nextest.toml)",
    "dotnet": " (--logger junit, of JunitXml.TestLogger)",
    "phpunit": " (--log-junit FILE)",
    "rspec": " (--format RspecJunitFormatter --out FILE)",
}


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
            f"{trouble(session)} inside pytest (exit {session.exit_status}), "
            f"but {command_text(evidence)} returned 0",
            remedy="let the command return the runner's status (no `|| true`, no `; exit 0`, set -o pipefail)",
            evidence=evidence.items_of(session),
            tests=bad_tests(session),
            where=_who_left(evidence, session),
        )
        for session in sessions
        if session.exit_status not in _expected(evidence)
    ]
    if not findings:
        findings = [_swallowed(evidence, process) for process in _failed_runners(evidence)]
    if findings:
        return found(*findings)
    inner = (
        f"{plural(len(sessions), 'session')} inside ended well" if sessions else "no session was seen inside"
    )
    return passed(Vantage.OBSERVED, f"the command returned 0; {inner}")


def _expected(evidence: Evidence) -> tuple[int, ...]:
    """Statuses of a runner that a command returning 0 may have inside."""
    declared = evidence.declaration.expect_exit if evidence.declaration is not None else None
    return (0, NO_TESTS_COLLECTED) if declared is None else (0, NO_TESTS_COLLECTED, declared)


def _who_left(evidence: Evidence, session: Session) -> str:
    """Where the process was made to return another status than its session had, if it was the process."""
    seen = evidence.observation.processes if evidence.observation is not None else ()
    code = next((each.exit_code for each in seen if each.pid == session.pid), None)
    if code is not None and code == session.exit_status:
        return ""
    hooks = ("pytest_unconfigure", "pytest_sessionfinish") if code == 0 else ()
    return culprit(session, "calls", *hooks)


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
        if process.signal or process.exit_code not in (None, *_expected(evidence))
    ]


def _swallowed(evidence: Evidence, process: SeenProcess) -> Finding:
    status = f"died of signal {process.signal}" if process.signal else f"returned {process.exit_code}"
    return veto(
        "exit-agrees",
        Vantage.OBSERVED,
        f"`{command_line(process.argv)}` {status}, but {command_text(evidence)} returned 0",
        remedy="let the command return the runner's status (no `|| true`, no `; exit 0`, set -o pipefail)",
        evidence=tuple(item.digest for item in evidence.run.items_of("process")),
    )


def runner_session_present(evidence: Evidence) -> Ruling:
    """A claim about tests needs a witnessed session, or a watched runner with a report of its own."""
    if evidence.top_sessions:
        vantage = Vantage.IN_PROCESS
        if evidence.observation is not None and evidence.observation.runners():
            vantage = Vantage.OBSERVED
        return passed(vantage, f"{plural(len(evidence.top_sessions), 'session')} on record")
    if away := _kept_away(evidence):
        return found(*away)
    if not evidence.reports:
        return could_not_run(_asks_for_a_record(evidence))
    if evidence.observation is None:
        return could_not_run("a report, but nobody watched the run")
    runners = evidence.observation.runners()
    if not runners:
        if evidence.observation.excludes_tests():
            return found(
                veto(
                    "runner-session-present",
                    Vantage.OBSERVED,
                    f"a report of {plural(evidence.reports[0].junit.tests.collected, 'test')}, "
                    "but no process that runs tests was started",
                )
            )
        return could_not_run(
            f"a report of {plural(evidence.reports[0].junit.tests.collected, 'test')}, but nothing was seen that runs "
            "tests: start the runner by its own command below dre wrap, or pytest with --dre"
        )
    return passed(Vantage.OBSERVED, f"{command_line(runners[0].argv)} with a report")


def _asks_for_a_record(evidence: Evidence) -> str:
    """What is missing where tests left no record, said of the runner that was seen."""
    seen = evidence.observation.runners() if evidence.observation is not None else ()
    others = [process.runner for process in seen if process.runner not in ("pytest", "")]
    left_out = evidence.observation.told_not_to_test() if evidence.observation is not None else None
    if left_out is not None and not seen:
        return f"the tests, which `{command_line(left_out.argv)}` was told to leave out"
    if others and all(name.startswith(("mvn", "gradle")) for name in others) and len(others) == len(seen):
        return (
            f"a report that {others[0]} wrote in this run: it found no tests, left them out, or had nothing to do as "
            "nothing has changed (gradle --rerun-tasks)"
        )
    if others and len(others) == len(seen):
        how = next((words for name, words in _WRITES_JUNIT.items() if others[0].startswith(name)), "")
        return (
            f"no report of the tests that {others[0]} ran: let it write one in JUnit's format{how}, and name it: "
            "dre wrap --junit FILE"
        )
    return "no test session and no report of one: run pytest with --dre, or name its --junit report"


def _kept_away(evidence: Evidence) -> list[Finding]:
    """Runners that were to be recorded, or were told not to be, and left no record in a command that ended well."""
    if evidence.observation is None or not claims_success(evidence):
        return []
    # Inside a wrapper of its own a session belongs to that one's operation.
    if any("wrap" in p.argv and _DRE.intersection(_last(p.argv)) for p in evidence.observation.processes):
        return []
    findings = []
    for process in evidence.observation.runners():
        asked, refused = "--dre" in process.argv, _leaves_recorder_out(process.argv)
        if process.runner != "pytest" or not (asked or refused) or not _ONLY_TELLS.isdisjoint(process.argv):
            continue
        why = "with an option that leaves the recorder out" if refused else "and left no record of a session"
        findings.append(
            fail(
                "runner-session-present",
                Weight.CRITICAL,
                Vantage.OBSERVED,
                f"`{command_line(process.argv)}` ran {why}",
                remedy="look for another pytest or dre_pytest in the folder, for DRE_* that the environment lost, "
                "and for a conftest that replaces the process",
                evidence=tuple(item.digest for item in evidence.run.items_of("process")),
                where=next((fact.file for fact in evidence.imports if fact.shadows), ""),
            )
        )
    return findings


def _last(argv: tuple[str, ...]) -> list[str]:
    return [word.rpartition("/")[2] for word in argv[: argv.index("wrap")]]


def _leaves_recorder_out(argv: tuple[str, ...]) -> bool:
    pairs = zip(argv, (*argv[1:], ""), strict=True)
    return any(word == "-pno:dre" or (word == "-p" and value == "no:dre") for word, value in pairs)


def failures_exit0(evidence: Evidence) -> Ruling:
    """Failed tests on record in a session that says it ended well."""
    sessions = evidence.top_sessions
    if not sessions:
        return _reported_failures(evidence)
    findings = [
        veto(
            "failures-exit0",
            Vantage.IN_PROCESS,
            f"{trouble(session)} on record, but the session ended with 0",
            remedy="look for a plugin or conftest that changes the exit status",
            evidence=evidence.items_of(session),
            tests=bad_tests(session),
            where=any_culprit(session, "pytest_sessionfinish", "pytest_runtestloop"),
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
    unexplained = [report for report in bad if not _passed_later(report.junit.cases)]
    if bad and not unexplained and claims_success(evidence):
        return found(
            fail(
                "failures-exit0",
                Weight.MAJOR,
                Vantage.REPORTED,
                f"{bad[0].item.name} reports failures, each with a pass of the same name behind it: "
                "tried again, or several tests of one name",
                remedy="have the runner write one case for each test (Gradle: mergeReruns = true)",
                evidence=(bad[0].item.digest,),
            )
        )
    if unexplained and claims_success(evidence):
        counts = unexplained[0].junit.tests
        return found(
            veto(
                "failures-exit0",
                Vantage.REPORTED,
                f"{unexplained[0].item.name} reports {counts.failed} failed and {counts.errors} errors, "
                f"but {command_text(evidence)} returned 0",
                remedy="let the command return the runner's status",
                evidence=(unexplained[0].item.digest,),
                against_interest=True,
            )
        )
    return passed(Vantage.REPORTED, "the reports fit the exit status")


def _passed_later(cases: Sequence[JUnitCase]) -> bool:
    """Whether behind each failure there is a pass of the same name, as where a test was tried again."""
    last = {case.id: case.outcome for case in cases}
    bad = {case.id for case in cases if case.outcome in (Outcome.FAILED, Outcome.ERROR)}
    return all(last[each] is Outcome.PASSED for each in bad)


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
        where = culprit(session, "pytest_sessionfinish", "pytest_unconfigure")
        more = {"evidence": evidence.items_of(session), "where": where}
        if after == 0 and before != NO_TESTS_COLLECTED:
            findings.append(veto("exitstatus-overridden", Vantage.IN_PROCESS, message, **more))
        else:
            findings.append(warn("exitstatus-overridden", Vantage.IN_PROCESS, message, **more))
    return found(*findings) if findings else passed(Vantage.IN_PROCESS, "the exit status was not touched")


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
        f"but {command_text(evidence)} returned {_status(evidence)}"
    )
    if not claims_success(evidence):
        return found(info("session-finished", Vantage.IN_PROCESS, message))
    return found(
        veto(
            "session-finished",
            Vantage.IN_PROCESS,
            message,
            remedy="look for os._exit, a crash, or a kill in the last test on record",
            evidence=evidence.items_of(session),
            tests=tuple(test.id for test in session.tests[-1:]),
            where=any_culprit(session, "calls", "touches-record"),
        )
    )


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
            f"{command_text(evidence)} is none of the commands that the policy expects: {', '.join(patterns[:3])}",
            remedy="run one of them, or add this one to expected_commands in the policy",
        )
    )

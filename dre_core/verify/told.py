"""Checks of what the run says of itself: its reports and its closing line against what was witnessed."""

from __future__ import annotations

from dre_core.model.observation import Observation
from dre_core.model.session import Session
from dre_core.model.text import command_line, plain
from dre_core.model.verdict import Finding, Vantage
from dre_core.verify.ending import died_of
from dre_core.verify.evidence import Evidence, Report
from dre_core.verify.verifier import Ruling, found, not_applicable, passed, veto, warn
from dre_core.verify.wording import (
    bad_tests,
    claims_success,
    command_text,
    critical,
    culprit,
    major,
    plural,
)


def report_fresh(evidence: Evidence) -> Ruling:
    """A report that the run did not write."""
    if not evidence.reports:
        return not_applicable("no report")
    stale = [r for r in evidence.reports if r.item.note.get("fresh") == "unchanged"]
    if not stale:
        return passed(Vantage.OBSERVED, f"{plural(len(evidence.reports), 'report')} written during the run")
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
    # What Maven or Gradle wrote is of other tests than pytest's.
    reports = [report for report in evidence.reports if not report.by_convention]
    if not reports or not evidence.top_sessions:
        return not_applicable("no report and session to compare")
    if len(reports) != len(evidence.top_sessions):
        return not_applicable("reports and sessions can't be matched one to one")
    findings = []
    for report, session in zip(reports, evidence.top_sessions, strict=True):
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
                f"{report.item.name} reports {plural(bad_told, 'failure')}, the session on record had {bad_seen}",
                evidence=digests,
                tests=bad_tests(session),
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
    if observation is not None and evidence.reports and not evidence.top_sessions:
        return _printed_beside_reports(evidence, observation)
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
    bad = lines[-1].count("failed") + lines[-1].count("errors")
    if bad and len(lines) <= len(evidence.sessions) and not _any_bad(evidence):
        return found(
            critical(
                "printed-count-agrees",
                Vantage.OBSERVED,
                f"the output says {bad} failed, the session on record had none: one of them was changed",
                remedy="look for what writes into the record, and run the tests again in a clean clone (dre replay)",
                evidence=tuple(item.digest for item in evidence.run.items_of("process")),
                where=_who_printed(evidence) or f"offset {lines[-1].offset}",
            )
        )
    last = lines[-1].count("passed")
    if last > witnessed and len(lines) > max(len(evidence.sessions), len(observation.runners())):
        return found(
            major(
                "printed-count-agrees",
                Vantage.OBSERVED,
                f"the last closing line says {last} passed, more than the {witnessed} of every session on record, "
                "and no runner was seen that could have printed it",
                remedy="let only the runner print its closing line",
                where=f"offset {lines[-1].offset}",
            )
        )
    return passed(Vantage.OBSERVED, f"the output says {printed} passed, {witnessed} were witnessed")


def hidden_text(evidence: Evidence) -> Ruling:
    """Words of failure that were written and that no terminal shows, in a command that ended well."""
    if evidence.shown is None or not claims_success(evidence):
        return not_applicable("no output that could be looked at, or no success claimed")
    if not evidence.shown.hidden:
        return passed(Vantage.OBSERVED, "nothing that speaks of failure is hidden")
    return found(
        warn(
            "hidden-text",
            Vantage.OBSERVED,
            f"the output says {', '.join(map(repr, evidence.shown.hidden))}, and a terminal does not show it: "
            "concealed, overwritten or erased",
            remedy="look at the raw output: dre evidence cat stdout",
            evidence=tuple(item.digest for item in evidence.run.items_of("output")),
            where=f"offset {evidence.shown.offset}",
        )
    )


def error_log_exit0(evidence: Evidence) -> Ruling:
    """A command without tests that says all went well, and whose output ends with an error that nobody caught.

    The text alone accuses nobody: a program may print the traceback of an error that it has dealt with. It contradicts
    only where the process was seen to end badly, last of all, and nothing was said after it.
    """
    if not claims_success(evidence):
        return not_applicable("no success is claimed")
    observation = evidence.observation
    if evidence.has_tests or (observation is not None and observation.runners()):
        return not_applicable("tests ran, and their record says how they ended")
    if observation is None or not evidence.run.items_of("output"):
        return not_applicable("no output was kept")
    end = evidence.ending
    if end is None:
        return passed(Vantage.OBSERVED, "the output does not end with an error that nobody caught")
    error = plain(end.error, 160)
    more = {
        "evidence": tuple(i.digest for i in evidence.run.items_of("output") if i.name == end.stream),
        "remedy": "let the command return the status of what it runs (no `|| true`, no `; exit 0`, set -o pipefail)",
    }
    dead = died_of(end, observation)
    if dead is None:
        message = f"the output ends with an error that nobody caught ({error}), but {command_text(evidence)} returned 0"
        return found(warn("error-log-exit0", Vantage.OBSERVED, message, **more))
    judged = veto if end.is_last else major
    then = "" if end.is_last else " after something else was started or said"
    return found(
        judged(
            "error-log-exit0",
            Vantage.OBSERVED,
            f"`{command_line(dead.argv)}` ended with {dead.exit_code} and an error that nobody caught ({error}), "
            f"but {command_text(evidence)} returned 0{then}",
            **more,
        )
    )


def _any_bad(evidence: Evidence) -> bool:
    """Whether any session on record had a failure, or says that it ended badly."""
    return any(
        s.counts.failed or s.counts.errors or s.counts.rerun or s.exit_status for s in evidence.sessions
    )


def _printed_beside_reports(evidence: Evidence, observation: Observation) -> Ruling:
    """The closing lines of whatever runner it was, against the reports that the run wrote: both are its own word."""
    printed = sum(line.count("passed") for line in observation.closing_lines)
    bad = sum(line.count("failed") + line.count("errors") for line in observation.closing_lines)
    told = sum(report.junit.tests.passed for report in evidence.reports)
    told_bad = sum(report.junit.tests.failed + report.junit.tests.errors for report in evidence.reports)
    if not observation.closing_lines:
        return not_applicable("no closing line in the output")
    # A run may write more reports than were named, and print more lines than one; Maven's and Gradle's are all there.
    alone = len(observation.closing_lines) == 1 and len(evidence.reports) == 1
    whole = all(report.by_convention for report in evidence.reports)
    again = sum(report.junit.tests.rerun for report in evidence.reports)
    if (alone or whole) and bad > told_bad + again and claims_success(evidence):
        return found(
            veto(
                "printed-count-agrees",
                Vantage.REPORTED,
                f"the output says {bad} failed, {_named(evidence.reports)} {told_bad}",
                evidence=(evidence.reports[0].item.digest,),
                where=f"offset {observation.closing_lines[0].offset}",
                against_interest=True,
            )
        )
    if alone and printed > told:
        return found(
            major(
                "printed-count-agrees",
                Vantage.REPORTED,
                f"the output says {printed} passed, {evidence.reports[0].item.name} reports {told}",
                evidence=(evidence.reports[0].item.digest,),
                where=f"offset {observation.closing_lines[0].offset}",
            )
        )
    return passed(Vantage.REPORTED, f"the output says {printed} passed, the reports {told}")


def _named(reports: tuple[Report, ...]) -> str:
    return f"{reports[0].item.name} reports" if len(reports) == 1 else f"the {len(reports)} reports tell of"


def _printed_alone(evidence: Evidence, observation: Observation) -> Ruling:
    """A closing line of a runner that nobody saw run; a short-lived one can be missed."""
    lines = [line for line in observation.closing_lines if line.count("passed")]
    if not lines or observation.runners():
        return not_applicable("no closing line, or a runner was seen")
    judged = veto if observation.excludes_tests() else critical
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


def _who_printed(evidence: Evidence) -> str:
    hooks = ("pytest_terminal_summary", "pytest_report_teststatus", "pytest_runtest_logreport")
    return next(filter(None, (culprit(session, *hooks) for session in evidence.top_sessions)), "")

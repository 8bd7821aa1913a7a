"""The behavioral verifier: did the processes behave as such a run must? Corroboration, rarely a veto.

It applies only where the run was watched from outside. Sampling never proves absence, so a runner that was
not seen is no finding unless the observation was complete.
"""

from __future__ import annotations

from collections.abc import Sequence

from dre_core.hooks import hookimpl
from dre_core.model.replay import CellState
from dre_core.model.run import RunOutcome
from dre_core.model.text import command_line, plain
from dre_core.model.verdict import MethodResult, Vantage, Weight
from dre_core.verify.evidence import Evidence
from dre_core.verify.past import PAST_CHECKS
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

# Reported times may exceed the wall clock a little: they are rounded and taken at other moments.
_WALL_FACTOR = 1.1
_WALL_SLACK_SECONDS = 1.0


def process_tree_has_runner(evidence: Evidence) -> Ruling:
    """A test run without any process that runs tests."""
    assert evidence.observation is not None
    if not evidence.has_tests:
        return could_not_run("no test run was seen")
    unseen = evidence.unseen_sessions
    if unseen:
        return found(
            fail(
                "process-tree-has-runner",
                Weight.MAJOR,
                Vantage.OBSERVED,
                f"a test session is on record as process {unseen[0].pid}, but no such process was seen below "
                "the command",
                remedy="run dre where the tests run, for example inside the container",
                evidence=evidence.items_of(unseen[0]),
            )
        )
    strange = evidence.strange_sessions
    if strange and _is_run_again(evidence):
        return found(
            info(
                "process-tree-has-runner",
                Vantage.RE_EXECUTED,
                f"process {strange[0].pid}, whose session is on record, was not started as a test runner; "
                "the same tests passed when DRE ran them in a clean clone",
                evidence=evidence.items_of(strange[0]),
            )
        )
    if strange:
        return found(
            fail(
                "process-tree-has-runner",
                Weight.MINOR,
                Vantage.OBSERVED,
                f"a test session is on record as process {strange[0].pid}, which was not started as a test runner",
                remedy="start pytest by its own command, so that what runs the tests can be seen from outside, or let "
                "them be run again: dre wrap --replay=clean",
                evidence=evidence.items_of(strange[0]),
            )
        )
    if evidence.top_sessions:
        return passed(Vantage.OBSERVED, "every recorded session's process was seen")
    runners = evidence.observation.runners()
    if runners:
        return passed(Vantage.OBSERVED, command_line(runners[0].argv))
    if evidence.observation.excludes_tests():
        return found(
            veto("process-tree-has-runner", Vantage.OBSERVED, "no process that runs tests was in the tree")
        )
    return could_not_run("no runner was seen; a short-lived one can be missed")


def _is_run_again(evidence: Evidence) -> bool:
    """Whether every test that passed, passed in a clean clone of the commit as well."""
    facts = evidence.replay
    if facts is None or facts.head != evidence.run.source.commit or any(t.clean_differs for t in facts.tests):
        return False
    cell, counts = facts.cell("clean"), evidence.counts
    return (
        cell is not None
        and cell.state is CellState.RAN
        and counts is not None
        and facts.compared >= counts.passed > 0
    )


def wall_covers_reported(evidence: Evidence) -> Ruling:
    """Tests that claim to have taken longer than there was time."""
    observation = evidence.observation
    assert observation is not None
    if evidence.top_sessions:
        reported = sum(test.duration_seconds for s in evidence.top_sessions for test in s.tests)
        workers = max(1, sum(len(session.workers) for session in evidence.top_sessions))
    elif evidence.reports:
        reported = sum(case.seconds for report in evidence.reports for case in report.junit.cases)
        workers = 0
    else:
        return could_not_run("no test run was seen")
    wall = observation.wall_ms / 1000
    if not workers:
        return passed(Vantage.REPORTED, f"{reported:.1f} s of tests in {wall:.1f} s, workers unknown")
    if reported > wall * workers * _WALL_FACTOR + _WALL_SLACK_SECONDS:
        return found(
            fail(
                "wall-covers-reported",
                Weight.MAJOR,
                Vantage.OBSERVED,
                f"the tests on record took {reported:.1f} s, but the command ran only {wall:.1f} s",
                remedy="look for a report of another run, or a test that changes the clock",
            )
        )
    return passed(Vantage.OBSERVED, f"{reported:.1f} s of tests in {wall:.1f} s")


def killed_in_tree(evidence: Evidence) -> Ruling:
    """A runner that was killed inside a command that ended well."""
    observation = evidence.observation
    assert observation is not None
    if not evidence.has_tests:
        return could_not_run("no test run was seen")
    if evidence.run.claim.outcome is not RunOutcome.PASSED:
        return not_applicable("the run does not claim success")
    killed = [process for process in observation.runners() if process.signal]
    if killed:
        return found(
            veto(
                "killed-or-oom",
                Vantage.OBSERVED,
                f"`{command_line(killed[0].argv)}` was killed by signal {killed[0].signal}, "
                "but the command returned 0",
            )
        )
    return passed(Vantage.OBSERVED, "no runner was seen to be killed")


def retries_used(evidence: Evidence) -> Ruling:
    """Tests that passed only when they were run again."""
    retried = [test.id for s in evidence.top_sessions for test in s.tests if test.reruns]
    if not evidence.top_sessions:
        return not_applicable("no session")
    if not retried:
        return passed(Vantage.IN_PROCESS, "no test was run more than once")
    noun = "1 test was" if len(retried) == 1 else f"{len(retried)} tests were"
    message = f"{noun} run more than once: {', '.join(retried[:3])}"
    return found(warn("retries-used", Vantage.IN_PROCESS, message, tests=tuple(retried[:20])))


def io_touches_tests(evidence: Evidence) -> Ruling:
    """Whether the files that the tests are said to stand in were read, as far as anybody saw.

    A file is open for less than a look takes, so one that was not seen open says nothing. What is named are tests from
    files outside of the session's folder, of which the commit knows nothing.
    """
    files = dict.fromkeys(test.file for s in evidence.top_sessions for test in s.tests if test.file)
    if not files:
        return not_applicable("no session that says where its tests stand")
    assert evidence.observation is not None
    opened = [file for file in files if _was_open(file, evidence.observation.files)]
    outside = [file for file in files if file.startswith(("/", "../"))]
    seen = f"{len(opened)} of {len(files)} files with tests were seen open"
    if outside:
        message = (
            f"tests stand in files outside of the project: {plain(', '.join(outside[:3]), 300)} ({seen})"
        )
        return found(info("io-touches-tests", Vantage.IN_PROCESS, message, where=plain(outside[0], 200)))
    if opened:
        return passed(Vantage.OBSERVED, seen)
    return passed(
        Vantage.IN_PROCESS, f"{seen}, which proves nothing: the session says that it collected them"
    )


def _was_open(file: str, opened: Sequence[str]) -> bool:
    """Whether a path that was seen open is the file, or what it was compiled to."""
    folder, slash, name = file.rpartition("/")
    compiled = f"{folder}{slash}__pycache__/{name.removesuffix('.py')}."
    return any(
        path == file or path.endswith(f"/{file}") or (compiled in path and path.endswith(".pyc"))
        for path in opened
    )


def leftovers(evidence: Evidence) -> Ruling:
    """Processes that still held the command's output when it had ended."""
    held = [gap for gap in evidence.run.gaps if gap.reason.startswith("output-after-exit")]
    if not held:
        return passed(Vantage.OBSERVED, "nothing of the command was left when it ended")
    message = "the command ended while something that it had started went on and held its output"
    remedy = "wait for what the command starts (`wait PID` gives its status), or redirect a daemon's output"
    return found(warn("leftovers", Vantage.OBSERVED, message, remedy=remedy))


CHECKS = (
    Check("process-tree-has-runner", process_tree_has_runner, weight=2),
    Check("wall-covers-reported", wall_covers_reported),
    Check("killed-or-oom", killed_in_tree),
    Check("retries-used", retries_used, weight=0.2),
    Check("leftovers", leftovers, weight=0.2),
    Check("io-touches-tests", io_touches_tests, weight=0.0),
    *PAST_CHECKS,
)


class BehavioralVerifier:
    """The process tree and the clock."""

    name = "behavioral"

    def verify(self, evidence: Evidence) -> MethodResult:
        if evidence.observation is None:
            checks = [Check(check.id, _not_watched, check.weight) for check in CHECKS]
            return run_checks(self.name, checks, evidence)
        return run_checks(self.name, CHECKS, evidence)


def _not_watched(evidence: Evidence) -> Ruling:
    return not_applicable("nobody watched the run from outside")


@hookimpl
def dre_verifiers() -> list[BehavioralVerifier]:
    return [BehavioralVerifier()]

"""The evidence level: from how far outside the workload the claim was seen.

0 claim only; 1 reported files, sealed; 2 recorded in-process; 3 watched from outside, with at least one inner or
reported source that agrees; 4 also on a clean tree of a known commit, re-executed from a clean clone with the same
result, and countersigned by a key that the policy lets countersign and not run.
"""

from __future__ import annotations

from dre_core.model.policy import Policy
from dre_core.model.replay import CellState
from dre_core.model.run import RunOutcome
from dre_core.model.verdict import Level
from dre_core.verify.evidence import Evidence


def level_of(evidence: Evidence, policy: Policy) -> Level:
    """The level that the evidence reaches under a policy.

    Returns:
        At most REPORTED for a recovered operation or a fork's run; at most IN_PROCESS where the workload could
        read the key and the policy caps that.
    """
    level = _seen(evidence)
    if evidence.run.recovered or evidence.run.ci.get("fork") == "true":
        level = min(level, Level.REPORTED)
    if policy.cap_readable_key and evidence.run.key_readable_by_workload:
        level = min(level, Level.IN_PROCESS)
    return Level(level)


def _seen(evidence: Evidence) -> Level:
    inside = any(session.finished for session in evidence.top_sessions)
    if evidence.observation is not None and _agrees(evidence):
        again = evidence.run.source.clean is True and _came_to_the_same(evidence)
        return Level.COUNTERSIGNED if again and evidence.countersigners else Level.WRAPPED
    if inside:
        return Level.IN_PROCESS
    if evidence.sessions or evidence.reports or evidence.observation is not None:
        return Level.REPORTED
    return Level.CLAIM_ONLY


def _came_to_the_same(evidence: Evidence) -> bool:
    """Whether every test that passed in the run passed in a clean clone of its commit as well."""
    facts = evidence.replay
    if facts is None or not facts.head or facts.head != evidence.run.source.commit:
        return False
    cell = facts.cell("clean")
    ran = cell is not None and cell.state is CellState.RAN and facts.compared > 0
    return ran and not any(test.clean_differs for test in facts.tests)


def _agrees(evidence: Evidence) -> bool:
    """Whether some source inside the run, seen from outside to be inside, tells the same outcome."""
    if evidence.unseen_sessions:
        return False
    succeeded = evidence.run.claim.outcome is RunOutcome.PASSED
    finished = [session for session in evidence.top_sessions if session.finished]
    if finished:
        return succeeded == all(session.exit_status in (0, 5) for session in finished)
    fresh = [report for report in evidence.reports if report.item.note.get("fresh") != "unchanged"]
    bad = sum(report.junit.tests.failed + report.junit.tests.errors for report in fresh)
    return bool(fresh) and succeeded == (bad == 0)

"""Reports of sealed operations: verified, with what is shown beside the verdict, and what they are compared with.

Verifying comes first and is the same as ``dre verify``'s; a report of evidence that does not hold says so and shows
what could be read. Nothing is written here.
"""

from __future__ import annotations

from dataclasses import replace

from dre_core.encryption import opened
from dre_core.engine import Engine
from dre_core.errors import DREError, UsageError
from dre_core.model.event import Event
from dre_core.model.verdict import Verdict
from dre_core.report.build import Report
from dre_core.report.difference import Difference, baseline_of, compare, remembered
from dre_core.report.exhibits import Exhibits, load_exhibits
from dre_core.store.log import Log
from dre_core.store.sealed import Sealed
from dre_core.verification import Request, Verified, examined, own_operation
from dre_core.verify.evidence import Evidence

NO_BASELINE = "none"


def report_of(engine: Engine, request: Request, *, baseline: str = NO_BASELINE) -> Report:
    """The report of a target that is one operation.

    Args:
        engine: The project's engine.
        request: What to verify, and what to hold it to.
        baseline: What to compare with: a target; empty for the last earlier run of the same command that passed, where
            it is at hand; ``none`` for nothing.

    Raises:
        UsageError: The target holds several operations.
        NotFoundError: There is no such target.
        FormatError: An archive or folder is not in its one form.
    """
    with examined(engine, request) as found:
        if len(found) > 1:
            raise UsageError(
                f"the target holds {len(found)} operations", hint="pick one by PATH#op_…", path=request.target
            )
        report = _report(engine, *found[0])
    if baseline == NO_BASELINE:
        return report
    return replace(report, difference=_difference(engine, request, report, baseline))


def report_here(engine: Engine, verdict: Verdict, evidence: Evidence | None) -> Report:
    """The report of an operation that was judged where it was sealed, just now: with what is shown, and compared.

    Raises:
        NotFoundError: The operation is not sealed here.
    """
    sealed = own_operation(engine, verdict.operation)
    report = _report(engine, sealed, Verified(verdict=verdict, evidence=evidence))
    return replace(report, difference=_difference(engine, Request(target=verdict.operation), report, ""))


def _report(engine: Engine, sealed: Sealed, verified: Verified) -> Report:
    exhibits = Exhibits()
    # What was not compared with its digest is not shown.
    if verified.evidence is not None:
        run = verified.evidence.run
        exhibits = load_exhibits(run, opened(run, sealed.blobs, engine.environ), sealed, events_of(sealed))
    return Report(verdict=verified.verdict, evidence=verified.evidence, exhibits=exhibits)


def events_of(sealed: Sealed) -> tuple[Event, ...]:
    """The operation's events, where its log lies beside it."""
    from pathlib import Path

    path = Path(sealed.place) / "log.db"
    if not path.is_file():
        return ()
    try:
        with Log.open(path, read_only=True) as log:
            return tuple(event for _, event in log.events(operation=sealed.operation))
    except DREError:
        return ()


def _difference(engine: Engine, request: Request, report: Report, baseline: str) -> Difference | None:
    if baseline:
        return compare(report_of(engine, replace(request, target=baseline)), report)
    named = baseline_of(report)
    if not named:
        return None
    try:
        return compare(report_of(engine, replace(request, target=named)), report)
    except DREError:
        # Pruned, or recorded elsewhere: what the run remembers of it is sealed with it.
        return remembered(report)

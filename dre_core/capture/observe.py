"""From what the process layer saw to what goes into the evidence: the claim and the observation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dre_core.capture.monitor import ProcessTree
from dre_core.capture.result import ProcessResult
from dre_core.model.canonical import JSON
from dre_core.model.observation import ClosingLine, Observation, Sample, SeenConnection, SeenProcess
from dre_core.model.run import Claim, RunOutcome
from dre_core.model.text import printable
from dre_core.pipeline.mask import Masker


def claim_of(result: ProcessResult) -> Claim:
    """What a wrapped run claims, by how its command ended."""
    if result.cancelled_by is not None:
        outcome = RunOutcome.CANCELLED
    elif result.timed_out:
        outcome = RunOutcome.TIMEOUT
    elif result.signal is not None:
        outcome = RunOutcome.ERRORED
    else:
        outcome = RunOutcome.PASSED if result.exit_code == 0 else RunOutcome.FAILED
    return Claim(outcome=outcome, exit_code=result.exit_code, signal=result.signal)


def observe(
    result: ProcessResult,
    tree: ProcessTree,
    closing_lines: tuple[ClosingLine, ...],
    patterns: Mapping[str, int],
    masker: Masker,
    *,
    metrics: JSON = None,
    rewritten: Iterable[str] = (),
) -> Observation:
    """What the parent process saw.

    Args:
        result: How the command ran and ended.
        tree: Its processes.
        closing_lines: Runners' closing lines in the output.
        patterns: Matches in the output by kind.
        masker: Masks the arguments of the processes and the paths that they have open.
        metrics: Sliding windows and alerts; None for a short run.
        rewritten: Journals that no longer begin as they did.
    """
    return Observation(
        exit_code=result.exit_code,
        signal=result.signal,
        timed_out=result.timed_out,
        cancelled_by=result.cancelled_by,
        wall_ms=(result.ended_ns - result.started_ns) // 1_000_000,
        user_seconds=result.usage.user_seconds,
        system_seconds=result.usage.system_seconds,
        max_rss_bytes=result.usage.max_rss_bytes,
        merged=result.merged,
        bytes_out=tuple(sorted(result.bytes_out.items())),
        processes=tuple(
            SeenProcess(
                pid=process.pid,
                parent_pid=process.ppid,
                argv=tuple(masker.text(printable(word)) for word in process.argv),
                executable=printable(process.executable),
                exit_code=process.exit_code,
                signal=process.signal,
                started_ms=process.first_seen_ns // 1_000_000,
                ended_ms=process.last_seen_ns // 1_000_000,
                cpu_seconds=process.cpu_seconds,
                max_rss_bytes=process.max_rss_bytes,
                read_bytes=process.read_bytes,
                written_bytes=process.written_bytes,
                threads=process.threads,
                open_files=process.open_files,
            )
            for process in tree.processes
        ),
        complete=tree.complete,
        interval_ms=tree.interval_ms,
        samples=tuple(
            Sample(
                at_ms=sample.t_ns // 1_000_000,
                cpu_seconds=sample.cpu_seconds,
                rss_bytes=sample.rss_bytes,
                processes=sample.processes,
                read_bytes=sample.read_bytes,
                written_bytes=sample.written_bytes,
                threads=sample.threads,
            )
            for sample in tree.samples
        ),
        closing_lines=closing_lines,
        patterns=tuple(sorted(patterns.items())),
        connections=tuple(
            SeenConnection(
                pid=seen.pid, protocol=seen.protocol, local=seen.local, remote=seen.remote, state=seen.state
            )
            for seen in tree.connections
        ),
        files=tuple(masker.text(printable(path)) for path in tree.files),
        unseen=tree.gaps,
        looks=tree.looks,
        watching_ms=tree.cost_ms,
        cgroup=tuple(sorted(tree.cgroup.items())),
        metrics=metrics,
        rewritten=tuple(masker.text(printable(name)) for name in rewritten),
    )

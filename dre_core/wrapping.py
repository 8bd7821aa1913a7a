"""A whole run of a command: the steps 1 to 6 and 9 of ``engine.py``, and the others where they are asked for."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dre_core.errors import DREError, StartError, StateError
from dre_core.model.record import dataclass
from dre_core.model.run import CommandFacts
from dre_core.model.text import printable
from dre_core.sealing import seal

if TYPE_CHECKING:
    from pathlib import Path

    from dre_core.capture.collector import Collector
    from dre_core.capture.executable import Executable
    from dre_core.capture.growth import Growth
    from dre_core.capture.installed import Installed
    from dre_core.capture.monitor import Monitor
    from dre_core.capture.process import Command
    from dre_core.capture.result import ProcessResult
    from dre_core.capture.stem import Stem
    from dre_core.engine import Engine, Wishes
    from dre_core.live import Live
    from dre_core.model.observation import Observation
    from dre_core.model.run import Run
    from dre_core.model.verdict import Verdict
    from dre_core.operation import Operation
    from dre_core.output import Output
    from dre_core.pulse import Pulse
    from dre_core.replaying import Ahead
    from dre_core.verify.evidence import Evidence

# A command that is over sooner has nothing to tell while it runs.
_PULSE_AFTER_NS = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrapped:
    """What ``wrap`` came to.

    Attributes:
        operation: The operation's id.
        result: How the command ran and ended.
        verdict: The verdict, if it was asked for.
        run: The sealed run; None where sealing failed.
        evidence: What the verdict was made from, if it was asked for.
        failure: Why the evidence could not be sealed; None if it was.
        warnings: What the user should know.
    """

    operation: str
    result: ProcessResult
    verdict: Verdict | None = None
    run: Run | None = None
    evidence: Evidence | None = None
    failure: DREError | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ready:
    """What is made ready before the command.

    Attributes:
        watching: Collectors that look while it runs; None if there are none.
        stem: An interpreter that a replay will fork cells from.
        installed: What that loads besides the project, as it is now.
    """

    watching: Mapping[str, Collector] | None
    stem: Stem | None = None
    installed: Installed | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Company:
    """What goes on beside the command.

    Attributes:
        monitor: Looks at its processes.
        growth: Looks at the journals of its test sessions.
        live: Collectors that look while it runs, if there are any.
        pulse: Folds its events, once it has run for a while.
        ready: What was there before it.
    """

    monitor: Monitor
    growth: Growth
    live: Live | None
    pulse: Pulse | None
    ready: _Ready


def wrap(engine: Engine, command: Command, wishes: Wishes, standard: tuple[int, int, int]) -> Wrapped:
    """A whole run of a command.

    Args:
        engine: The project's engine.
        command: What to run.
        wishes: What the user asks for.
        standard: Descriptors of the command's input, output and error.

    Returns:
        What it came to; a failure to seal is in ``failure``, never raised, because the command has run.

    Raises:
        StartError: The command could not be started; the operation is logged as rejected.
        DREError: DRE failed before the start.
    """
    from dre_core.capture.process import inspect

    watching = _collectors_beside(engine)
    executable = inspect(command, engine.environ)
    facts = CommandFacts(
        argv=command.argv,
        cwd=printable(os.path.relpath(command.cwd, engine.root)),
        shell=command.shell,
        executable=printable(str(executable.path)),
        executable_digest=f"sha256:{executable.sha256}" if executable.sha256 else "",
        executable_mode=f"{executable.mode:04o}",
        interpreter=printable(executable.interpreter),
    )
    ready = _ready(engine, command, executable, watching, wishes)
    try:
        operation = engine.begin("wrap", command.argv, wishes, facts=facts, parent=_parent(engine))
        if ready.stem is not None and operation.facts.source.commit:
            # The base's texts lie where the head's do: relative to the top.
            ready.stem.compile(_top(engine.directory), operation.facts.old_sources)
        try:
            return _wrap(engine, operation, command, wishes, executable, standard, ready)
        finally:
            operation.close()
            operation.log.close()
    finally:
        if ready.stem is not None:
            ready.stem.close()


def _ready(
    engine: Engine,
    command: Command,
    executable: Executable,
    watching: Mapping[str, Collector] | None,
    wishes: Wishes,
) -> _Ready:
    """What goes before the command; what a replay needs is made ready on another processor."""
    if not wishes.replay:
        return _Ready(watching=watching)
    from dre_core.capture.inherited import child_environ
    from dre_core.capture.installed import Installed
    from dre_core.capture.stem import Stem, environ_of_cells, processors

    python = _interpreter(command, executable, engine.environ.get("PATH"))
    environ = child_environ(engine.environ)
    stem = Stem.start(python, environ_of_cells(environ, str(engine.root))) if processors() > 1 else None
    return _Ready(watching=watching, stem=stem, installed=Installed(python, environ))


def _interpreter(command: Command, executable: Executable, path: str | None) -> str:
    """The Python that a command is likely to run tests with, as that would name itself."""
    import shutil

    for file in (executable.path, executable.interpreter):
        if os.path.basename(file).startswith("python"):
            return str(file)
    for word in " ".join(command.argv[1:]).split():
        found = shutil.which(word, path=path) if os.path.basename(word).startswith("python") else None
        if found and os.path.isabs(found):
            return found
    return sys.executable


def _top(directory: Path) -> str:
    """The checkout that a folder lies in."""
    return str(
        next((each for each in (directory, *directory.parents) if (each / ".git").exists()), directory)
    )


def _collectors_beside(engine: Engine) -> Mapping[str, Collector] | None:
    """What may look while a command runs; None where nothing is to.

    Raises:
        ConfigError: A trigger names a collector that there is not.
    """
    if not (engine.settings.triggers or engine.settings.visual.screen):
        return None
    from dre_core.live import collectors_of

    return collectors_of(engine.settings)


def _parent(engine: Engine) -> str:
    """The operation that this command runs inside of, if it is alive."""
    outer = engine.environ.get("DRE_OPERATION", "")
    try:
        return outer if outer and engine.folder.experiment(outer).is_alive() else ""
    except DREError:
        return ""


def _wrap(
    engine: Engine,
    operation: Operation,
    command: Command,
    wishes: Wishes,
    executable: Executable,
    standard: tuple[int, int, int],
    ready: _Ready,
) -> Wrapped:
    from dre_core.capture.growth import Growth
    from dre_core.capture.inherited import child_environ
    from dre_core.capture.monitor import Monitor
    from dre_core.capture.process import run
    from dre_core.output import Output

    # 3
    output = Output(operation, is_terminal=os.isatty(standard[1]))
    monitor = Monitor()
    growth = Growth(operation.experiment.journal)
    live = None
    if ready.watching is not None:
        from dre_core.live import Live

        live = Live(operation, ready.watching)
        output.listener = live.heard

    pulse: Pulse | None = None

    def tick(elapsed_ns: int) -> None:
        nonlocal pulse
        output.tick(elapsed_ns)
        if pulse is None and elapsed_ns >= _PULSE_AFTER_NS:
            from dre_core.pulse import Pulse

            pulse = Pulse(operation, output, monitor)
            pulse.start()

    def started(pid: int) -> None:
        operation.note("operation.started", {"pid": pid})
        operation.commit_events()
        if live is not None:
            live.started(pid)

    try:
        result = run(
            command,
            environ=child_environ(
                engine.environ, DRE_OPERATION=operation.id, DRE_DIR=str(engine.folder.path)
            ),
            sinks=output.sink,
            stdin=standard[0],
            terminal=standard[1:],
            executable=executable,
            timeout_seconds=wishes.timeout_seconds or engine.settings.run.timeout_seconds or None,
            on_start=started,
            tick=tick,
            has_room=output.has_room,
            monitor=monitor,
            look=growth.look,
            escalate_cancel=bool(engine.environ.get("CI")),
            trace=wishes.trace or engine.settings.capture.trace,
        )
    except StartError as error:
        if live is not None:
            live.abandon()
        operation.note("operation.failed", {"reason": operation.masker.text(str(error))})
        operation.commit_events()
        raise
    try:
        with _ahead(engine, operation, wishes.replay) as ahead:
            company = _Company(ready=ready, monitor=monitor, growth=growth, live=live, pulse=pulse)
            return _seal_wrapped(engine, operation, output, result, wishes, company, ahead)
    except Exception as error:
        # The command has run: whatever goes wrong now must not change what it returned.
        failure = error if isinstance(error, DREError) else StateError(f"{type(error).__name__}: {error}")
        return Wrapped(operation=operation.id, result=result, failure=failure)


def _look_and_replay(
    engine: Engine, operation: Operation, mode: str, observation: Observation, ready: _Ready, ahead: Ahead
) -> None:
    """Lets collectors look after the run, and runs the tests again when they have looked."""
    from dre_core.replaying import Replaying

    replaying = Replaying(engine, operation, mode, observation, ready.stem, ahead, ready.installed)
    try:
        operation.take_coverage()
        operation.look_after()
        replaying.finish()
    finally:
        replaying.call_off()
        ahead.remove()


@contextmanager
def _ahead(engine: Engine, operation: Operation, mode: str) -> Iterator[Ahead | None]:
    """Clones for a replay, if there is to be one, for as long as it may need them."""
    if not mode:
        yield None
        return
    from dre_core.replaying import Ahead

    ahead = Ahead(engine, operation.facts.source, mode)
    try:
        yield ahead
    finally:
        ahead.end()


def _seal_wrapped(
    engine: Engine,
    operation: Operation,
    output: Output,
    result: ProcessResult,
    wishes: Wishes,
    company: _Company,
    ahead: Ahead | None,
) -> Wrapped:
    from dre_core.capture.observe import claim_of, observe

    # 4
    operation.note("operation.collecting")
    operation.commit_events()
    output.finish()
    if company.live is not None:
        company.live.finish(result, output.copy_recording)
    output.release()
    if ahead is not None:
        ahead.begin()
    pulse = company.pulse
    if pulse is None and any(result.bytes_out.values()):
        from dre_core.pulse import Pulse

        pulse = Pulse(operation, output, company.monitor)
    operation.take_journals()
    observation = observe(
        result,
        company.monitor.finish(result.trace),
        output.closing_lines(),
        output.pattern_counts(),
        operation.masker,
        metrics=pulse.finish() if pulse is not None else None,
        rewritten=company.growth.rewritten(),
    )
    operation.facts.programs = tuple(p.argv[0] for p in observation.processes if p.argv)
    for gap in result.gaps:
        operation.facts.gap("process", operation.masker.text(gap))
    if ahead is not None:
        _look_and_replay(engine, operation, wishes.replay, observation, company.ready, ahead)
    else:
        operation.take_coverage()
        operation.look_after()
    claim = claim_of(result)
    sealed = seal(
        engine,
        operation,
        claim,
        duration_ns=result.ended_ns - result.started_ns,
        observation=observation,
        judge=wishes.verify,
        policy=wishes.policy,
    )
    return Wrapped(
        operation=operation.id,
        result=result,
        verdict=sealed.verdict,
        run=sealed.run,
        evidence=sealed.evidence if sealed.verdict is not None else None,
        warnings=tuple(
            gap.reason for gap in sealed.run.gaps if gap.collector in ("process", "configuration")
        ),
    )

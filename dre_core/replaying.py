"""Re-execution on request: the operation's tests run again in throw-away clean clones, sealed as its strongest facts.

Beside a run (``--replay``) the facts become an item of it. Later (``dre replay``) they are a Statement of their own
about the same subjects, added behind the operation's other envelopes; what was sealed before stays as it is. This
runs the project's code, so it is done only when asked for, and never by ``dre verify``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace

from dre_core.capture.beside import Beside, Gate
from dre_core.capture.clones import Clones
from dre_core.capture.git import Git
from dre_core.capture.inherited import child_environ
from dre_core.capture.installed import Installed
from dre_core.capture.replay import collect_replay
from dre_core.capture.sessions import folded_sessions
from dre_core.capture.stem import Stem, processors
from dre_core.engine import Engine
from dre_core.errors import CaptureError, DREError, UsageError
from dre_core.model.observation import Observation
from dre_core.model.predicate import replay_statement
from dre_core.model.replay import Mode, ReplayFacts
from dre_core.model.run import Source
from dre_core.model.session import Session
from dre_core.model.statement import Statement
from dre_core.model.verdict import IntegrityResult, Vantage
from dre_core.operation import Operation, append_envelope


def run_again(
    engine: Engine,
    source: Source,
    sessions: Sequence[Session],
    mode: str,
    environ: Mapping[str, str],
    python: str = "",
    probe_functions: int = 0,
    gate: Gate | None = None,
    stem: Stem | None = None,
    ahead: Ahead | None = None,
) -> ReplayFacts:
    """Runs the suite of some sessions again in clean clones.

    Args:
        engine: The project's engine.
        source: What was checked out.
        sessions: The sessions of the run.
        mode: ``clean`` or ``matrix``.
        environ: The run's environment variables.
        python: The run's interpreter as seen from outside, never as a journal names it; default: this one.
        probe_functions: How many changed functions to probe; default: what the configuration says.
        gate: Nothing of the project runs before it is open; default: it is.
        stem: An interpreter that was started for it.
        ahead: Clones that were begun for it.

    Raises:
        CaptureError: There is no commit, no session, or a clone can't be made.
    """
    git = Git.find(str(engine.directory))
    if git is None:
        raise CaptureError("there is no git checkout to clone")
    if not sessions:
        raise CaptureError("no recorded test session says what to run again: run pytest with --dre")
    return collect_replay(
        git,
        source,
        sessions,
        mode=Mode(mode),
        environ=environ,
        python=python or sys.executable,
        budget_seconds=engine.settings.replay.budget_seconds,
        total_seconds=engine.settings.replay.total_seconds,
        probe_functions=probe_functions or engine.settings.replay.probe_functions,
        directory=str(engine.directory),
        gate=gate,
        stem=stem,
        clones=ahead.clones() if ahead is not None else None,
    )


class Ahead:
    """The clones that a replay is going to want, begun when the command has ended, before it is known what ran.

    Args:
        engine: The project's engine.
        source: What was checked out.
        mode: ``clean`` or ``matrix``.
    """

    def __init__(self, engine: Engine, source: Source, mode: str) -> None:
        self._directory, self._source, self._mode = str(engine.directory), source, mode
        self._begun: Beside[Clones | None] | None = None
        self._removing: Beside[None] | None = None

    def begin(self) -> None:
        """Begins them; nobody forks this process any more."""
        self._begun = Beside(self._make)

    def _make(self) -> Clones | None:
        source = self._source
        git = Git.find(self._directory) if source.commit and processors() > 1 else None
        if git is None:
            return None
        clones = Clones(git)
        clones.ahead("clean", source.commit)
        if self._mode == Mode.MATRIX.value and source.base and source.base != source.commit:
            clones.ahead("bb", source.base)
        return clones

    def clones(self) -> Clones | None:
        """They; None where there is nothing to clone, or on a single processor.

        Raises:
            CaptureError: There is no room for them.
        """
        return self._begun.result() if self._begun is not None else None

    def remove(self) -> None:
        """Begins to remove them."""
        if self._removing is None:
            self._removing = Beside(self._remove)

    def _remove(self) -> None:
        if (clones := self.clones()) is not None:
            clones.close()

    def end(self) -> None:
        """Returns when they are removed."""
        self.remove()
        assert self._removing is not None
        self._removing.wait()


def replay_into(engine: Engine, operation: Operation, mode: str, observation: Observation | None) -> None:
    """Runs the sessions just recorded again, as an item of their operation; what fails is a gap.

    Args:
        engine: The project's engine.
        operation: The operation under way.
        mode: ``clean`` or ``matrix``.
        observation: What the parent process saw; None if there was none.
    """
    Replaying(engine, operation, mode, observation).finish()


class Replaying:
    """A replay of the sessions just recorded, made ready while collectors still look at what the run left.

    Args:
        engine: The project's engine.
        operation: The operation under way, whose journals are taken.
        mode: ``clean`` or ``matrix``.
        observation: What the parent process saw; None if there was none.
        stem: An interpreter that was started for it.
        ahead: Clones that were begun for it.
        installed: What the interpreter loads besides the project, as it was before the command.
    """

    def __init__(
        self,
        engine: Engine,
        operation: Operation,
        mode: str,
        observation: Observation | None,
        stem: Stem | None = None,
        ahead: Ahead | None = None,
        installed: Installed | None = None,
    ) -> None:
        self._operation = operation
        self._installed = installed
        self._gate = Gate(is_open=False)
        sessions = [s for s in folded_sessions(operation.experiment.journal).values() if not s.parent]
        python = interpreter_of(sessions, observation)
        environ, source = child_environ(engine.environ), operation.facts.source
        self._beside = Beside(
            lambda: run_again(
                engine, source, sessions, mode, environ, python, gate=self._gate, stem=stem, ahead=ahead
            )
        )

    def finish(self) -> None:
        """Runs what is to be run and takes in what it came to, as an item of the operation; what fails is a gap."""
        self._gate.open()
        operation = self._operation
        try:
            facts = self._beside.result()
            if self._installed is not None and (path := self._installed.changed()):
                raise CaptureError(
                    f"{path} was changed since the command began, and what runs the tests again loads it",
                    hint="run the command again: what tests install belongs in an environment of their own",
                )
        except DREError as error:
            operation.facts.gap("replay", operation.masker.text(str(error)), error.hint)
            return
        finally:
            self.call_off()
        operation.intake.take_json("replay", "replay", Vantage.RE_EXECUTED, facts.to_json())

    def call_off(self) -> None:
        """Ends what still runs."""
        self._gate.close()
        self._beside.wait()


def interpreter_of(sessions: Sequence[Session], observation: Observation | None) -> str:
    """The interpreter of the first session, by what was seen of its process; empty if nobody watched."""
    if observation is None or not sessions:
        return ""
    # The path that the session names, not the file it leads to: a virtual environment is known by its link.
    seen = {os.path.realpath(p.executable) for p in observation.processes if p.pid == sessions[0].pid}
    named = sessions[0].executable
    return named if named and os.path.realpath(named) in seen else ""


def replay(
    engine: Engine, target: str, mode: str, base: str = "", probe_functions: int = 0
) -> tuple[str, ReplayFacts]:
    """Replays a sealed operation of one's own and seals what it came to.

    Args:
        engine: The project's engine.
        target: Operation id, unique prefix or ``latest``.
        mode: ``clean``, ``matrix``, or empty for the matrix where there is a base.
        base: Revision to compare with; default: the recorded base.
        probe_functions: How many changed functions to probe.

    Returns:
        The operation's id and the facts.

    Raises:
        NotFoundError: There is no such operation.
        UsageError: It is not one's own, not intact, or the matrix has no base to compare with.
        CaptureError: It can't be run again.
    """
    from dre_core.verification import Request, own_operation, verify

    sealed = own_operation(engine, target)
    (verified,) = verify(engine, Request(target=sealed.operation))
    evidence = verified.evidence
    valid = verified.verdict.integrity.result is IntegrityResult.VALID
    if evidence is None or not valid or not sealed.own_log:
        # Its journal names files and options that this process would run.
        raise UsageError(
            "only one's own, intact operation is run again", hint="dre verify says what is wrong"
        )
    source = evidence.run.source
    if not mode:
        mode = Mode.MATRIX.value if base or source.base else Mode.CLEAN.value
    if base:
        git = Git.find(str(engine.directory))
        source = replace(source, base=git.resolve(base) if git else "")
    if mode == Mode.MATRIX.value and not source.base:
        raise UsageError("there is no base to compare with", hint="name it with --base REV")
    python = interpreter_of(evidence.top_sessions, evidence.observation)
    environ = child_environ(engine.environ)
    facts = run_again(engine, source, evidence.top_sessions, mode, environ, python, probe_functions)
    _seal(engine, sealed.operation, evidence.run.trust_certificate, replay_statement(evidence.run, facts))
    return sealed.operation, facts


def _seal(engine: Engine, operation: str, certificate: str, statement: Statement) -> None:
    """Adds one Statement behind an operation's envelopes and publishes it anew."""
    with engine.open_log() as log:
        authority = engine.authority(log)
        if authority.certificate != certificate:
            raise UsageError(
                "the operation was sealed by other keys than those at hand",
                hint="record it again with dre wrap --replay",
            )
        envelope = authority.seal(statement.to_bytes())
        append_envelope(
            engine.folder, log, engine.folder.experiment(operation), authority, envelope, engine.now
        )

"""The engine: one run in order, and everything that every face does with evidence.

A run takes these steps; the code below carries their numbers.

1. Open the operation: parse and validate the command, log ``operation.created`` to ``operation.ready``.
2. Collectors look before the run.
3. The command runs; each chunk goes to the terminal, then through masking to the record. (In pytest the
   session itself runs, and the recorder keeps its journal.)
4. Collectors look after the run.
5. Each item is masked, compressed, hashed in its stored form and stored.
6. Statements are made, signed, and named in the log.
7. All verifiers judge, side by side, each under its time limit; a crash is an abstention.
8. Their consensus becomes the verdict; where it is not ``supported``, the causes are ranked.
9. The last event goes into the log, and a signed checkpoint proves it.
10. One report tree, rendered by the faces.

``wrap`` takes the steps 1 to 6 and 9, and the others with ``--verify``; ``pytest --dre`` takes all of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from dre_core import __version__, config, registry, trust
from dre_core.capture.collector import Captured, Scene
from dre_core.config import Config
from dre_core.crypto.keyring import Keyring
from dre_core.declaring import in_force
from dre_core.errors import DREError, StartError, StateError, UsageError
from dre_core.intake import Intake
from dre_core.model import identifier, predicate
from dre_core.model.canonical import JSON
from dre_core.model.digest import sha256
from dre_core.model.event import Clock, utc_now
from dre_core.model.record import dataclass
from dre_core.model.run import Claim, CommandFacts, Item, PastRun, Run, RunOutcome
from dre_core.model.text import printable
from dre_core.model.verdict import Conclusion, Integrity, IntegrityCheck, IntegrityResult, Vantage, Verdict
from dre_core.operation import Operation, new_nonce
from dre_core.pipeline.mask import Masker, sensitive_values
from dre_core.store import folder as folders
from dre_core.store.folder import Folder
from dre_core.store.local import LocalStore
from dre_core.store.log import Log
from dre_core.store.past import Past

if TYPE_CHECKING:
    from dre_core.capture.collector import Collector
    from dre_core.capture.executable import Executable
    from dre_core.capture.monitor import Monitor
    from dre_core.capture.process import Command, ProcessResult
    from dre_core.live import Live
    from dre_core.model.observation import Observation
    from dre_core.model.policy import Policy
    from dre_core.model.session import Session, TestRecord
    from dre_core.output import Output
    from dre_core.pulse import Pulse
    from dre_core.verification import Request, Verified
    from dre_core.verify.evidence import Evidence
    from dre_core.verify.verifier import Verifier

# A command that is over sooner has nothing to tell while it runs.
_PULSE_AFTER_NS = 1_000_000_000
_PYTEST_OUTCOMES: Mapping[int, RunOutcome] = {
    0: RunOutcome.PASSED,
    1: RunOutcome.FAILED,
    2: RunOutcome.ERRORED,
    3: RunOutcome.ERRORED,
    4: RunOutcome.ERRORED,
    5: RunOutcome.FAILED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the user asks of one run.

    Attributes:
        name: Name of the step.
        junit: Globs of JUnit reports.
        coverage: Paths of coverage data.
        artifact: Globs of files that the command makes.
        screenshot: Globs of pictures that the command makes.
        timeout_seconds: Time limit; None for none.
        nonce: The verifier's nonce.
        base: Revision to compare with.
        verify: Judge at once.
        replay: Run the tests again afterwards, ``clean`` or ``matrix``; empty: not.
        policy: The policy to judge by.
    """

    name: str = ""
    junit: tuple[str, ...] = ()
    coverage: tuple[str, ...] = ()
    artifact: tuple[str, ...] = ()
    screenshot: tuple[str, ...] = ()
    timeout_seconds: float | None = None
    nonce: str = ""
    base: str = ""
    verify: bool = False
    replay: str = ""
    policy: Policy | None = None


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
class Sealing:
    """What sealing a run came to.

    Attributes:
        run: The sealed run.
        verdict: The verdict, if it was asked for.
        decode: Reads the evidence back, where nobody needed it for sealing.
    """

    run: Run
    verdict: Verdict | None
    decode: Callable[[], Evidence]

    @property
    def evidence(self) -> Evidence:
        """The sealed evidence, decoded."""
        return self.decode()


class Engine:
    """One project's engine. Make it by :meth:`open`.

    Args:
        folder: The project's ``.dre`` folder; need not exist yet.
        settings: The merged configuration.
        environ: Environment variables.
        directory: Where the user stands.
        now: The clock.
    """

    def __init__(
        self,
        folder: Folder,
        settings: Config,
        environ: Mapping[str, str],
        directory: Path,
        now: Clock = utc_now,
    ) -> None:
        self.folder = folder
        self.settings = settings
        self.environ = environ
        self.directory = directory
        self.now = now
        self.keyring = Keyring(environ)
        self.store = LocalStore(folder.path)

    @classmethod
    def open(
        cls, directory: Path | None = None, *, explicit: str = "", environ: Mapping[str, str] | None = None
    ) -> Engine:
        """The engine for a folder.

        Args:
            directory: Where the user stands; default: the current folder.
            explicit: ``--dir``; default: ``DRE_DIR``, then the search.
            environ: Environment variables; default: the process's own.

        Raises:
            ConfigError: The configuration has an unknown key or an unfit value.
        """
        environment = os.environ if environ is None else environ
        here = Path.cwd() if directory is None else directory
        folder = folders.find(here, explicit=explicit or environment.get("DRE_DIR", ""))
        settings = config.load(project_root(folder, here), folder.path, environment)
        return cls(folder, settings, environment, here)

    @property
    def root(self) -> Path:
        """The project's root folder."""
        return project_root(self.folder, self.directory)

    @property
    def checkout(self) -> str:
        """Which checkout this is: 16 hexadecimal digits made from the root's real path."""
        return sha256(os.fsencode(os.path.realpath(self.root)))[7:23]

    def open_log(self, *, read_only: bool = False) -> Log:
        """The project's log, made where it is missing.

        Raises:
            StorageError: It can't be opened or made.
        """
        if not read_only and not self.folder.exists:
            import uuid

            self.folder.create()
            try:
                return Log.create(self.folder.log, log_id=str(uuid.uuid4()))
            except UsageError:
                pass  # another process was faster
        return Log.open(self.folder.log, read_only=read_only)

    def authority(self, log: Log, *, key_type: str = "") -> trust.Authority:
        """The keys that seal here; made and certified where missing."""
        return trust.acquire(
            self.folder,
            log,
            self.keyring,
            ephemeral=self.settings.keys.ephemeral,
            key_type=key_type or self.settings.keys.type,
            now=self.now,
        )

    # --- the run, step by step -----------------------------------------------------------------------------

    def begin(
        self,
        face: str,
        argv: Sequence[str],
        wishes: Wishes,
        *,
        facts: CommandFacts | None = None,
        parent: str = "",
    ) -> Operation:
        """Steps 1 and 2: opens the operation and lets the collectors look.

        Args:
            face: ``wrap`` or ``pytest``.
            argv: The command line, unmasked.
            wishes: What the user asks for.
            facts: The validated command; default: only its arguments.
            parent: The enclosing operation's id.

        Returns:
            The operation, ready to run.
        """
        # 1
        masker = self.masker()
        log = self.open_log()
        authority = self.authority(log)
        operation_id = identifier.new(identifier.OPERATION)
        experiment = self.folder.experiment(operation_id)
        manager = registry.load(registry.COLLECTORS, self.settings.plugins)
        command = facts or CommandFacts(argv=tuple(argv))
        operation = Operation(
            id=operation_id,
            face=face,
            name=masker.text(printable(wishes.name)),
            parent=parent,
            command=_masked(command, masker),
            nonce=printable(wishes.nonce) or new_nonce(),
            folder=self.folder,
            experiment=experiment,
            log=log,
            authority=authority,
            masker=masker,
            intake=Intake(self.store, masker, compress=self.settings.evidence.compress),
            scene=self._scene(operation_id, experiment.path, wishes, _programs(face, command)),
            collectors=registry.flatten(manager.hook.dre_collectors(config=self.settings)),
            now=self.now,
            checkout=self.checkout,
        )
        operation.open()
        operation.note("operation.validating")
        operation.note("operation.ready")
        for warning in (*self.settings.warnings, *authority.warnings):
            operation.facts.gap("configuration", warning)
        # 2
        operation.look_before()
        operation.declared = in_force(log, self.store, operation.facts.source.commit)
        operation.write_summary()
        operation.commit_events()
        return operation

    def masker(self) -> Masker:
        """A masker that knows this environment's secrets."""
        values = sensitive_values(self.environ)
        named = [self.environ.get(name, "") for name in self.settings.mask.variables]
        return Masker([*values, *(value for value in named if value)])

    def _scene(self, operation: str, experiment: Path, wishes: Wishes, programs: tuple[str, ...]) -> Scene:
        return Scene(
            root=self.root,
            cwd=self.directory,
            environ=self.environ,
            config=self.settings,
            operation=operation,
            experiment=experiment,
            programs=programs,
            base=wishes.base,
            junit=wishes.junit,
            coverage=wishes.coverage,
            artifact=wishes.artifact,
            screenshot=wishes.screenshot,
        )

    def wrap(
        self, command: Command, wishes: Wishes, *, standard: tuple[int, int, int] = (0, 1, 2)
    ) -> Wrapped:
        """A whole run of a command.

        Args:
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

        watching = self._collectors_beside()
        executable = inspect(command, self.environ)
        facts = CommandFacts(
            argv=command.argv,
            cwd=printable(os.path.relpath(command.cwd, self.root)),
            shell=command.shell,
            executable=printable(str(executable.path)),
            executable_digest=f"sha256:{executable.sha256}" if executable.sha256 else "",
            executable_mode=f"{executable.mode:04o}",
            interpreter=printable(executable.interpreter),
        )
        operation = self.begin("wrap", command.argv, wishes, facts=facts, parent=self._parent())
        try:
            return self._wrap(operation, command, wishes, executable, standard, watching)
        finally:
            operation.close()
            operation.log.close()

    def _collectors_beside(self) -> Mapping[str, Collector] | None:
        """What may look while a command runs; None where nothing is to.

        Raises:
            ConfigError: A trigger names a collector that there is not.
        """
        if not (self.settings.triggers or self.settings.visual.screen):
            return None
        from dre_core.live import collectors_of

        return collectors_of(self.settings)

    def _parent(self) -> str:
        """The operation that this command runs inside of, if it is alive."""
        outer = self.environ.get("DRE_OPERATION", "")
        try:
            return outer if outer and self.folder.experiment(outer).is_alive() else ""
        except DREError:
            return ""

    def _wrap(
        self,
        operation: Operation,
        command: Command,
        wishes: Wishes,
        executable: Executable,
        standard: tuple[int, int, int],
        watching: Mapping[str, Collector] | None,
    ) -> Wrapped:
        from dre_core.capture.monitor import Monitor
        from dre_core.capture.process import child_environ, run
        from dre_core.output import Output

        # 3
        output = Output(operation, is_terminal=os.isatty(standard[1]))
        monitor = Monitor()
        live = None
        if watching is not None:
            from dre_core.live import Live

            live = Live(operation, watching)
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
                    self.environ, DRE_OPERATION=operation.id, DRE_DIR=str(self.folder.path)
                ),
                sinks=output.sink,
                stdin=standard[0],
                terminal=standard[1:],
                executable=executable,
                timeout_seconds=wishes.timeout_seconds or self.settings.run.timeout_seconds or None,
                on_start=started,
                tick=tick,
                has_room=output.has_room,
                monitor=monitor,
                escalate_cancel=bool(self.environ.get("CI")),
            )
        except StartError as error:
            if live is not None:
                live.abandon()
            operation.note("operation.failed", {"reason": operation.masker.text(str(error))})
            operation.commit_events()
            raise
        try:
            return self._seal_wrapped(operation, output, monitor, result, wishes, (live, pulse))
        except Exception as error:
            # The command has run: whatever goes wrong now must not change what it returned.
            failure = error if isinstance(error, DREError) else StateError(f"{type(error).__name__}: {error}")
            return Wrapped(operation=operation.id, result=result, failure=failure)

    def _seal_wrapped(
        self,
        operation: Operation,
        output: Output,
        monitor: Monitor,
        result: ProcessResult,
        wishes: Wishes,
        beside: tuple[Live | None, Pulse | None],
    ) -> Wrapped:
        from dre_core.capture.observe import claim_of, observe

        # 4
        operation.note("operation.collecting")
        operation.commit_events()
        output.finish()
        live, pulse = beside
        if live is not None:
            live.finish(result)
        if pulse is None and any(result.bytes_out.values()):
            from dre_core.pulse import Pulse

            pulse = Pulse(operation, output, monitor)
        observation = observe(
            result,
            monitor.finish(),
            output.closing_lines(),
            output.pattern_counts(),
            operation.masker,
            metrics=pulse.finish() if pulse is not None else None,
        )
        operation.facts.programs = tuple(p.argv[0] for p in observation.processes if p.argv)
        for gap in result.gaps:
            operation.facts.gap("process", operation.masker.text(gap))
        operation.take_journals()
        operation.take_coverage()
        operation.look_after()
        self.run_again(operation, wishes.replay, observation)
        claim = claim_of(result)
        sealed = self.seal(
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

    def seal(
        self,
        operation: Operation,
        claim: Claim,
        *,
        duration_ns: int,
        observation: Observation | None = None,
        judge: bool,
        policy: Policy | None = None,
        recovered: bool = False,
    ) -> Sealing:
        """Steps 5 to 10: stores the evidence, signs it, judges it if asked, and publishes.

        Args:
            operation: The operation, its evidence taken in.
            claim: What the run claims.
            duration_ns: Monotonic duration.
            observation: What the parent process saw.
            judge: Whether to judge now.
            policy: The policy to judge by.
            recovered: Another process recorded the run and died.

        Returns:
            What was sealed, with the verdict if it was asked for.

        Raises:
            StorageError: The evidence can't be stored; the run is not sealed.
        """
        # 5
        sessions: Mapping[str, Session] = {}
        if operation.has_journals:
            from dre_core.capture.sessions import folded_sessions

            sessions = folded_sessions(operation.experiment.journal)
        if sessions:
            self._take_session_facts(operation, list(sessions.values()))
        operation.take_covered(sessions.values())
        if observation is not None:
            operation.intake.take(_value("process", "process", Vantage.OBSERVED, observation.to_json()))
        operation.take_envelopes()
        items = operation.store_items()
        # 6
        past = Past(self.folder.path, operation.command)
        run = operation.make_run(
            operation.with_declared(claim), items, duration_ns, recovered=recovered, history=past.recall()
        )
        decode = partial(self._decode, operation, run, policy, sessions)
        if not judge and not any(map(_may_count_tests, items)):
            # Nothing in it counts tests, so it is sealed as it is, without being read again.
            operation.sign(predicate.run_statement(run))
            if observation is not None:
                operation.sign(predicate.runtime_trace(run, observation))
            operation.publish({})
            past.remember(_as_past(run, operation, observation, ()))
            return Sealing(run=run, verdict=None, decode=decode)
        evidence = decode()
        counts = evidence.counts
        if counts is not None:
            run = replace(run, claim=replace(run.claim, tests=counts))
            # What is judged keeps only what counts of the declaration; what is sealed shows all of it.
            judged = replace(evidence.run, claim=replace(evidence.run.claim, tests=counts))
            evidence = replace(evidence, run=judged)
        operation.sign(predicate.run_statement(run))
        if counts is not None:
            operation.sign(predicate.test_result(run, counts, _tests(evidence), _runner(evidence)))
        if observation is not None:
            operation.sign(predicate.runtime_trace(run, observation))
        verdict = None
        reports: dict[str, Path] = {}
        if judge:
            verdict = self._judge(operation, evidence)
            reports = self._render(operation, evidence, verdict)
        # 9
        operation.publish(reports)
        past.remember(_as_past(run, operation, observation, evidence.bad_tests))
        return Sealing(run=run, verdict=verdict, decode=lambda: evidence)

    def _take_session_facts(self, operation: Operation, sessions: Sequence[Session]) -> None:
        """What the sessions attached and imported."""
        from dre_core.capture.imports import compare_imports

        operation.take_attachments(sessions)
        imports = compare_imports(sessions, self.root)
        if imports:
            facts = [fact.to_json() for fact in imports]
            operation.intake.take(_value("imports", "imports", Vantage.OBSERVED, {"imports": facts}))

    def _decode(
        self, operation: Operation, run: Run, policy: Policy | None, sessions: Mapping[str, Session]
    ) -> Evidence:
        from dre_core.verify.declared import with_declaration
        from dre_core.verify.evidence import load

        judged_by = policy or self.policy()
        evidence = load(run, self.store, judged_by, sessions)
        # Without a policy's keys, one's own key holds every role, the maintainer's too.
        own = {} if judged_by.keys else {operation.authority.signer.keyid: operation.authority.signer.public}
        return with_declaration(evidence, self.store, own)

    def policy(self, named: str = "") -> Policy:
        """The policy by ``--policy``, ``DRE_POLICY``, or the default.

        Raises:
            ConfigError: It can't be read or has an unfit value.
        """
        from dre_core.model.policy import Policy
        from dre_core.policy_file import load_policy

        text = named or self.environ.get("DRE_POLICY", "")
        return load_policy(Path(text)) if text else Policy()

    def _judge(self, operation: Operation, evidence: Evidence) -> Verdict:
        """Steps 7 and 8, with the Statements that say what they came to."""
        from dre_core.model.event import rfc3339
        from dre_core.verify.integrity import Inspected
        from dre_core.verify.judgement import judge_evidence

        # 7
        operation.note("operation.verifying")
        operation.note("verification.started", {"methods": [v.name for v in self.verifiers(evidence.policy)]})
        here = IntegrityCheck(id="sealed-here", passed=True, detail="judged by the run that sealed it")
        inspected = Inspected(
            integrity=Integrity(result=IntegrityResult.VALID, checks=(here,)), run=evidence.run
        )
        verdict = judge_evidence(evidence, inspected, self.verifiers(evidence.policy))
        # 8
        operation.note(
            "verification.completed",
            {
                "result": verdict.conclusion.value,
                "scores": dict(verdict.consensus.to_json())["scores"],
                "level": int(verdict.level),
            },
        )
        inputs = [envelope.payload_digest for envelope in operation.envelopes]
        time = rfc3339(self.now())
        for result in verdict.methods.values():
            if result.score is not None:
                operation.sign(predicate.method_summary(evidence.run, result, time))
        operation.sign(
            predicate.verification_summary(evidence.run, verdict, evidence.policy, inputs, __version__, time)
        )
        operation.sign(predicate.verdict_statement(evidence.run, verdict))
        supported = verdict.conclusion is Conclusion.SUPPORTED
        operation.note("operation.documenting" if supported else "operation.unsupported")
        return verdict

    def _render(self, operation: Operation, evidence: Evidence, verdict: Verdict) -> dict[str, Path]:
        """Step 10: the reports that belong to the run; one that fails is left out, the run is still sealed."""
        from dre_core.report.build import Report
        from dre_core.report.markdown import render_markdown
        from dre_core.report.verification import render_verification

        report = Report(verdict=verdict, evidence=evidence)
        folders.write_atomically(operation.experiment.markdown, render_markdown(report), durable=False)
        folders.write_atomically(operation.experiment.junit, render_verification(report), durable=False)
        if verdict.conclusion is Conclusion.SUPPORTED:
            operation.note("operation.completed")
        return {f"reports/{operation.id}/junit.xml": operation.experiment.junit}

    def verifiers(self, policy: Policy) -> list[Verifier]:
        """The verification methods: the built-in ones and those that the policy names, nobody else's."""
        manager = registry.load(registry.VERIFIERS, policy.plugins)
        return registry.flatten(manager.hook.dre_verifiers(config=self.settings))

    def verify(self, request: Request) -> list[Verified]:
        """The verdict on each operation of a target; see :func:`dre_core.verification.verify`."""
        from dre_core.verification import verify

        return verify(self, request)

    def export(self, operations: Sequence[str], output: Path) -> Path:
        """Writes an archive of sealed operations; see :func:`dre_core.exchange.export`."""
        from dre_core.exchange import export

        return export(self, operations, output)

    def import_archive(self, path: Path) -> list[str]:
        """Takes an archive's operations in; see :func:`dre_core.exchange.import_archive`."""
        from dre_core.exchange import import_archive

        return import_archive(self, path)

    def run_again(self, operation: Operation, mode: str, observation: Observation | None) -> None:
        """Replays the sessions just recorded, if asked for, as an item of the operation; what fails is a gap."""
        if not mode:
            return
        from dre_core.capture.process import child_environ
        from dre_core.capture.sessions import folded_sessions
        from dre_core.replaying import interpreter_of, run_again

        try:
            sessions = [s for s in folded_sessions(operation.experiment.journal).values() if not s.parent]
            python = interpreter_of(sessions, observation)
            facts = run_again(
                self, operation.facts.source, sessions, mode, child_environ(self.environ), python
            )
        except DREError as error:
            operation.facts.gap("replay", operation.masker.text(str(error)), error.hint)
            return
        operation.intake.take(_value("replay", "replay", Vantage.RE_EXECUTED, facts.to_json()))

    def finish_session(
        self,
        operation: Operation,
        exit_status: int,
        duration_ns: int,
        policy: Policy | None = None,
        replay_mode: str = "",
        interrupted: bool = False,
    ) -> Sealing:
        """Steps 4 to 10 for a pytest session that ran in this process.

        Args:
            operation: The session's operation.
            exit_status: pytest's exit status.
            duration_ns: Monotonic duration.
            policy: The policy to judge by.
            replay_mode: Run the tests again, ``clean`` or ``matrix``; empty: not.
            interrupted: Somebody stopped the session; pytest has the same status for errors in collection.
        """
        operation.note("operation.started", {"pid": os.getpid()})
        operation.note("operation.collecting")
        operation.take_journals()
        operation.take_coverage()
        operation.look_after()
        self.run_again(operation, replay_mode, None)
        outcome = (
            RunOutcome.CANCELLED if interrupted else _PYTEST_OUTCOMES.get(exit_status, RunOutcome.ERRORED)
        )
        claim = Claim(outcome=outcome, exit_code=exit_status)
        return self.seal(operation, claim, duration_ns=duration_ns, judge=True, policy=policy)


def project_root(folder: Folder, directory: Path) -> Path:
    """The project that a ``.dre`` folder serves; where it lies elsewhere, the folder the user stands in."""
    inside = directory == folder.path.parent or folder.path.parent in directory.parents
    return folder.path.parent if inside else directory


def _programs(face: str, command: CommandFacts) -> tuple[str, ...]:
    """The program that runs and its interpreter; a test session runs in this very process."""
    if face == "pytest":
        import sys

        return (sys.executable,)
    return tuple(path for path in (command.executable, command.interpreter) if path)


def _as_past(
    run: Run, operation: Operation, observation: Observation | None, failed: tuple[str, ...]
) -> PastRun:
    """A sealed run as later runs of the same command will name it."""
    return PastRun(
        passed=run.claim.tests.passed if run.claim.tests else None,
        failed=failed,
        cpu_ms=observation.cpu_ms if observation else None,
        max_rss_bytes=observation.max_rss_bytes if observation else None,
        operation=run.operation,
        outcome=run.claim.outcome,
        exit_code=run.claim.exit_code,
        duration_ns=run.duration_ns,
        started=run.started,
        commit=run.source.commit,
        payload=operation.envelopes[0].payload_digest,
    )


def _masked(command: CommandFacts, masker: Masker) -> CommandFacts:
    return replace(command, argv=tuple(masker.text(printable(word)) for word in command.argv))


def _value(name: str, kind: str, vantage: Vantage, value: JSON) -> Captured:
    return Captured(name=name, kind=kind, vantage=vantage, media_type="application/json", value=value)


def _tests(evidence: Evidence) -> tuple[TestRecord, ...]:
    return tuple(test for session in evidence.top_sessions for test in session.tests)


def _may_count_tests(item: Item) -> bool:
    return item.kept and item.kind in ("session", "junit")


def _runner(evidence: Evidence) -> str:
    """The test identity: pytest where a session was recorded, else the runner that was seen."""
    from dre_core.model.observation import runner_of

    if evidence.sessions or evidence.observation is None:
        return "pytest"
    runners = evidence.observation.runners()
    return runner_of(runners[0].argv) if runners else "unknown"

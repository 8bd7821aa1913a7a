"""The engine: one run in order, and everything that every face does with evidence.

A run takes these steps; here, in ``wrapping`` and in ``sealing`` the code carries their numbers.

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
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dre_core import config, registry, trust
from dre_core.capture.collector import Scene
from dre_core.config import Config
from dre_core.crypto.keyring import Keyring
from dre_core.declaring import Declared, in_force
from dre_core.encryption import secrecy_of
from dre_core.errors import UsageError
from dre_core.intake import Intake
from dre_core.masking import masker
from dre_core.model import identifier
from dre_core.model.digest import sha256
from dre_core.model.event import Clock, rfc3339, utc_now
from dre_core.model.record import dataclass
from dre_core.model.run import CommandFacts
from dre_core.model.text import printable
from dre_core.operation import Operation, new_nonce
from dre_core.store import folder as folders
from dre_core.store.folder import Folder
from dre_core.store.local import LocalStore
from dre_core.store.log import Log

if TYPE_CHECKING:
    from dre_core.capture.process import Command
    from dre_core.model.policy import Policy
    from dre_core.pipeline.mask import Masker
    from dre_core.verification import Request, Verified
    from dre_core.verify.verifier import Verifier
    from dre_core.wrapping import Wrapped


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
        trace: Let the kernel tell of each process.
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
    trace: bool = False
    verify: bool = False
    replay: str = ""
    policy: Policy | None = None


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
        settings = config.load(folder.project(here), folder.path, environment)
        return cls(folder, settings, environment, here)

    @property
    def root(self) -> Path:
        """The project's root folder."""
        return self.folder.project(self.directory)

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
        intake = self.intake(masker, operation_id)
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
            intake=intake,
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
        if operation.declared is None and self.settings.claim != config.ClaimSection():
            operation.declared = self._announced(operation)
        operation.write_summary()
        operation.commit_events()
        return operation

    def _announced(self, operation: Operation) -> Declared | None:
        """Seals what the pull request or the commit announces; None where that is nothing."""
        from dre_core.announced import announced, declared_by, message_of
        from dre_core.declaring import seal

        commit = operation.facts.source.commit
        if not commit:
            return None
        said = announced(self.environ, lambda: message_of(str(self.root), commit))
        declaration = declared_by(self.settings.claim, said, commit=commit, declared=rfc3339(self.now()))
        if declaration is None:
            return None
        masked = replace(declaration, changes=tuple(map(operation.masker.text, declaration.changes)))
        return seal(
            masked, operation.log, self.store, operation.authority, self.now, source=f"dre {operation.face}"
        )

    def masker(self) -> Masker:
        """A masker that knows this environment's secrets.

        Raises:
            ConfigError: The file of further rules can't be used.
        """
        return masker(self.settings.mask, self.root, self.environ)

    def intake(self, masker: Masker, operation: str) -> Intake:
        """The way of an operation's evidence to disk.

        Raises:
            ConfigError: It is to be encrypted, and nobody could read it.
        """
        secrecy = secrecy_of(self.settings, self.environ, operation)
        return Intake(self.store, masker, compress=self.settings.evidence.compress, secrecy=secrecy)

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
        """A whole run of a command; see :func:`dre_core.wrapping.wrap`."""
        from dre_core.wrapping import wrap

        return wrap(self, command, wishes, standard)

    def policy(self, named: str = "") -> Policy:
        """The policy by ``--policy``, ``DRE_POLICY``, or the default.

        Raises:
            ConfigError: It can't be read or has an unfit value.
        """
        from dre_core.model.policy import Policy
        from dre_core.policy_file import load_policy

        text = named or self.environ.get("DRE_POLICY", "")
        return load_policy(Path(text)) if text else Policy()

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
        """Takes an archive's operations in; see :func:`dre_core.importing.import_archive`."""
        from dre_core.importing import import_archive

        return import_archive(self, path)


def _programs(face: str, command: CommandFacts) -> tuple[str, ...]:
    """The program that runs and its interpreter; a test session runs in this very process."""
    if face == "pytest":
        import sys

        return (sys.executable,)
    return tuple(path for path in (command.executable, command.interpreter) if path)


def _masked(command: CommandFacts, masker: Masker) -> CommandFacts:
    return replace(command, argv=tuple(masker.text(printable(word)) for word in command.argv))

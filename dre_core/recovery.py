"""Operations whose process died: what they left is sealed by the next ``dre`` that finds them.

An operation is dead when its folder is there, its lock is free, and it was not published. What its journals hold
is sealed as ``incomplete``: recorded by nobody who saw the end, so it reaches level 1 at most. A publication that
was cut off half-way is completed from what the log says.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dre_core.capture.collector import Facts, Scene
from dre_core.crypto.dsse import Envelope
from dre_core.engine import Engine
from dre_core.errors import DREError, FormatError
from dre_core.model import event as events
from dre_core.model.event import Event
from dre_core.model.fields import Fields
from dre_core.model.run import Claim, CommandFacts, RunOutcome, Source
from dre_core.model.state import EVENT_ACTIONS, OperationState, fold
from dre_core.operation import SEALED, Operation, publish_index, publish_proof
from dre_core.sealing import seal
from dre_core.store.folder import Experiment, open_regular, write_atomically
from dre_core.store.log import Log

_SUMMARY_LIMIT_BYTES = 1 << 20


def recover(engine: Engine) -> list[str]:
    """Seals what dead operations left.

    Args:
        engine: The project's engine.

    Returns:
        Ids of the operations that were recovered.
    """
    recovered: list[str] = []
    for name in engine.folder.unpublished():
        experiment = engine.folder.experiment(name)
        if experiment.is_alive():
            continue
        try:
            with engine.open_log() as log:
                if _recover_one(engine, log, experiment):
                    recovered.append(name)
        except Exception:  # noqa: S112
            # One that can't be recovered must not keep the others, or the command at hand, from going on.
            continue
    engine.store.sweep()
    return recovered


def _recover_one(engine: Engine, log: Log, experiment: Experiment) -> bool:
    """Seals or completes one operation; False if it may be about to begin."""
    logged = list(log.events(operation=experiment.operation))
    # A loss of power can take the lock's file, but not what the log says.
    if not logged and not experiment.lock.exists():
        return False
    sealed = [(number, event) for number, event in logged if event.type == SEALED]
    if sealed:
        _complete(engine, log, experiment, *sealed[-1])
        return True
    operation = _reopen(engine, log, experiment, [event for _, event in logged])
    try:
        if _is_ours(engine, operation):
            _republish(operation)
        else:
            _seal_left_over(engine, operation, [event.type for _, event in logged])
    finally:
        operation.close()
    return True


def _complete(engine: Engine, log: Log, experiment: Experiment, number: int, last: Event) -> None:
    """The log says what was sealed: exactly these envelopes get their proof and index again, and no others.

    Raises:
        FormatError: The envelopes on disk are not those; somebody changed them, and nothing is sealed anew.
    """
    lines = experiment.envelopes.read_bytes().splitlines()
    payloads = last.data.get("payloads")
    if not isinstance(payloads, list):
        raise FormatError("the last event names no envelopes", path=str(experiment.envelopes))
    if [Envelope.parse(line).payload_digest for line in lines[: len(payloads)]] != payloads:
        raise FormatError("other envelopes than the log says", path=str(experiment.envelopes))
    # One more may stand behind them, whose event was not written: it was never sealed.
    write_atomically(experiment.envelopes, b"".join(line + b"\n" for line in lines[: len(payloads)]))
    authority = engine.authority(log)
    publish_proof(log, experiment, number, authority)
    name = f"reports/{experiment.operation}/junit.xml"
    publish_index(
        engine.folder, experiment, authority, {name: experiment.junit} if experiment.junit.exists() else {}
    )


def _is_ours(engine: Engine, operation: Operation) -> bool:
    """Whether the envelopes on disk are whole and signed by the key that seals here."""
    try:
        envelopes = [
            Envelope.parse(line) for line in operation.experiment.envelopes.read_bytes().splitlines()
        ]
        for envelope in envelopes:
            envelope.verify([signer.public for signer in operation.authority.signers], 1)
    except (DREError, OSError):
        return False
    return bool(envelopes)


def _republish(operation: Operation) -> None:
    """The envelopes are whole, but the log's last event was not written."""
    lines = operation.experiment.envelopes.read_bytes().splitlines()
    operation.envelopes = [Envelope.parse(line) for line in lines]
    operation.publish({})


def _seal_left_over(engine: Engine, operation: Operation, types: list[str]) -> None:
    state = fold(types)
    path = {
        OperationState.PENDING: ("operation.validating", "operation.ready", "operation.started"),
        OperationState.VALIDATING: ("operation.ready", "operation.started"),
        OperationState.READY: ("operation.started",),
    }.get(state, ())
    operation.state = state
    for event_type in path:
        operation.note(event_type, {"recovered": True})
    if "error" in _actions_from(operation.state):
        operation.note("operation.failed", {"reason": "incomplete: its process died"})
    operation.facts.gap(
        "process", "the recording process died before it could seal", "look for a kill or a crash"
    )
    operation.take_journals()
    claim = Claim(outcome=RunOutcome.INCOMPLETE)
    seal(engine, operation, claim, duration_ns=0, judge=False, recovered=True)


def _actions_from(state: OperationState) -> set[str]:
    from dre_core.model.state import OPERATION

    return {action for (start, action) in OPERATION if start is state and action in EVENT_ACTIONS.values()}


def _reopen(engine: Engine, log: Log, experiment: Experiment, logged: list[Event]) -> Operation:
    """The operation as far as its unsigned summary tells, or where power went before that was on the disk, the log.

    Raises:
        FormatError: Neither tells.
    """
    try:
        fields = Fields(_summary(experiment.summary), "operation.json")
    except FormatError:
        fields = _from_log(logged, engine.checkout)
    masker = engine.masker()
    operation = Operation(
        id=experiment.operation,
        face=fields.text("face"),
        name=fields.text("name", ""),
        parent=fields.text("parent", ""),
        command=CommandFacts.parse(fields.object("command")),
        nonce=fields.text("nonce"),
        folder=engine.folder,
        experiment=experiment,
        log=log,
        authority=engine.authority(log),
        masker=masker,
        intake=engine.intake(masker, experiment.operation),
        scene=Scene(
            root=engine.root,
            cwd=engine.directory,
            environ=engine.environ,
            config=engine.settings,
            operation=experiment.operation,
            experiment=experiment.path,
        ),
        collectors=(),
        now=engine.now,
        checkout=fields.text("checkout", ""),
        facts=Facts(source=Source.parse(fields.object("source"))),
    )
    operation.resume(events.parse_rfc3339(fields.text("started")))
    return operation


def _from_log(logged: list[Event], checkout: str) -> Fields:
    """What the operation's first event says of it, in the form of a summary."""
    created = next((event for event in logged if event.type == "operation.created"), None)
    if created is None:
        raise FormatError("missing or unreadable", path="operation.json")
    data = Fields(dict(created.data), "operation.created")
    command = CommandFacts(argv=data.texts("command"), cwd=data.text("cwd", "."))
    return Fields(
        {
            "face": data.text("face"),
            "name": data.text("name", ""),
            "parent": "",
            "nonce": "",
            "checkout": checkout,
            "command": command.to_json(),
            "started": created.time,
            "source": Source().to_json(),
        },
        "operation.created",
    )


def _summary(path: Path) -> Any:
    try:
        with open_regular(path) as stream:
            return json.loads(stream.read(_SUMMARY_LIMIT_BYTES))
    except (DREError, ValueError, RecursionError):
        raise FormatError("missing or unreadable", path="operation.json") from None

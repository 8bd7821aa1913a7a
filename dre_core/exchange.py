"""Evidence out: ``evidence.zip`` made from sealed operations; :mod:`dre_core.importing` is the way back.

Everything in an archive was fixed when its operations were sealed, so exporting needs no key, the same evidence
gives the same bytes, and what was imported exports again as it came.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dre_core.countersigning import countersigned_lines
from dre_core.crypto.dsse import Envelope
from dre_core.crypto.note import parse_proof
from dre_core.engine import Engine
from dre_core.errors import FormatError, NotFoundError
from dre_core.model.predicate import RUN
from dre_core.model.run import Run
from dre_core.model.statement import Statement
from dre_core.store.bundle import Member, write_archive
from dre_core.store.folder import Experiment, storage_errors


def export(engine: Engine, operations: Sequence[str], output: Path) -> Path:
    """Writes an archive of sealed operations.

    Args:
        engine: The project's engine.
        operations: Full operation ids; at least one.
        output: The file to write; an existing one is replaced once the new one is whole.

    Returns:
        The file's path.

    Raises:
        NotFoundError: An operation is not sealed, or a payload was pruned.
        StorageError: The file can't be written.
    """
    members = members_of(engine, operations)
    with storage_errors(output):
        output.parent.mkdir(parents=True, exist_ok=True)
    write_archive(output, members)
    return output


def members_of(engine: Engine, operations: Sequence[str], *, absent_allowed: bool = False) -> list[Member]:
    """What an archive of sealed operations holds.

    Args:
        engine: The project's engine.
        operations: Full operation ids; at least one.
        absent_allowed: Name payloads that are not here, instead of refusing.

    Raises:
        NotFoundError: An operation is not sealed, or a payload is not here.
    """
    experiments = [engine.folder.experiment(name) for name in sorted(set(operations))]
    members: dict[str, Member] = {}
    for experiment in experiments:
        members.update(_members(engine, experiment, absent_allowed))
    newest = max(experiments, key=lambda experiment: _checkpoint_size(experiment))
    note = parse_proof(newest.proof.read_text(encoding="utf-8")).checkpoint_note
    members["log/checkpoint"] = Member(name="log/checkpoint", source=note.encode())
    for experiment in experiments:
        members.update(_countersignatures(engine, experiment))
    index = b"".join(experiment.index.read_bytes() for experiment in experiments)
    members["index.json"] = Member(name="index.json", source=index)
    return list(members.values())


def run_of(experiment: Experiment) -> Run:
    """The run of a sealed operation, as its envelope says.

    Raises:
        FormatError: There is none.
    """
    for line in experiment.envelopes.read_bytes().splitlines():
        statement = Statement.parse(Envelope.parse(line).payload)
        if statement.predicate_type == RUN:
            return Run.parse(statement.predicate)
    raise FormatError("the operation has no run", path=experiment.operation)


def _checkpoint_size(experiment: Experiment) -> int:
    return int(parse_proof(experiment.proof.read_text(encoding="utf-8")).checkpoint_note.split("\n")[1])


def _members(engine: Engine, experiment: Experiment, absent_allowed: bool) -> dict[str, Member]:
    """The members that an operation's index names, with where their bytes are."""
    if not experiment.index.exists():
        raise NotFoundError(
            f"operation {experiment.operation} is not sealed",
            hint="it is still running, or its process died: dre evidence list seals what is left",
        )
    statement = Statement.parse(Envelope.parse(experiment.index.read_bytes().rstrip(b"\n")).payload)
    members = {}
    for subject in statement.subjects:
        path = member_path(engine, experiment, subject.name)
        if not path.is_file() and not (absent_allowed and subject.name.startswith("blobs/")):
            raise NotFoundError(
                f"{subject.name} is not here any more",
                hint="it was deleted, or moved by dre evidence sync (restore brings it back); the log says when",
            )
        members[subject.name] = Member(name=subject.name, source=path)
    return members


def _countersignatures(engine: Engine, experiment: Experiment) -> dict[str, Member]:
    """What others signed about an operation, with their public keys."""
    lines = countersigned_lines(experiment)
    if not lines:
        return {}
    name = f"countersignatures/{experiment.operation}.intoto.jsonl"
    members = {name: Member(name=name, source=experiment.countersignatures)}
    for line in lines:
        for signature in Envelope.parse(line).signatures:
            key = f"keys/{signature.keyid}.pem"
            path = member_path(engine, experiment, key)
            if path.is_file():
                members[key] = Member(name=key, source=path)
    return members


def member_path(engine: Engine, experiment: Experiment, name: str) -> Path:
    """Where an archive member of an operation lies in the ``.dre`` folder.

    Raises:
        FormatError: The name is none that an archive may have.
    """
    folder, _, rest = name.partition("/")
    leaf = rest.rsplit("/", 1)[-1]
    fixed = {
        "README.txt": experiment.readme,
        f"attestations/{experiment.operation}.intoto.jsonl": experiment.envelopes,
        f"log/{experiment.operation}.tlog-proof": experiment.proof,
        f"reports/{experiment.operation}/junit.xml": experiment.junit,
        f"reports/{experiment.operation}/report.html": experiment.path / "report.html",
    }
    if name in fixed:
        return fixed[name]
    if folder == "blobs":
        return engine.store.path(f"sha256:{leaf}")
    if folder == "keys":
        return engine.folder.public_keys / leaf
    raise FormatError("no name that an archive may have", path=name)

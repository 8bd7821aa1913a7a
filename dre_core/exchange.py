"""Evidence in and out: ``evidence.zip`` made from sealed operations, and taken in again.

Everything in an archive was fixed when its operations were sealed, so exporting needs no key, the same evidence
gives the same bytes, and what was imported exports again as it came. Importing trusts nothing and executes
nothing; an operation that is here already is left as it is.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from dre_core.countersigning import countersigned_lines, keep_lines
from dre_core.crypto.dsse import Envelope
from dre_core.crypto.note import parse_proof
from dre_core.engine import Engine
from dre_core.errors import FormatError, NotFoundError
from dre_core.model.predicate import RUN
from dre_core.model.run import Run
from dre_core.model.statement import Statement
from dre_core.store.bundle import Archive, Member, write_archive
from dre_core.store.folder import Experiment, Folder, storage_errors, write_atomically
from dre_core.store.sealed import Sealed, archive_operations
from dre_core.verify.integrity import (
    Expectations,
    Inspected,
    Trust,
    archive_problems,
    inspect,
    operation_of,
    parse_indexes,
)


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


def import_archive(engine: Engine, path: Path) -> list[str]:
    """Takes an archive's operations in.

    Args:
        engine: The project's engine.
        path: The archive; hostile.

    Returns:
        Ids of the operations that were new, or have new countersignatures, in order.

    Raises:
        FormatError: The archive is not what its index says; nothing was taken in.
        StorageError: It can't be stored.
    """
    with archive_operations(path) as found, Archive.open(path) as archive:
        inspected = _inspected(found, path)
        # Making the log makes the folder; a foreign operation never enters the log itself.
        engine.open_log().close()
        return [
            sealed.operation
            for sealed, each in zip(found, inspected, strict=True)
            if _take(engine, archive, sealed, each)
        ]


def check_archive(path: Path) -> None:
    """Reads an archive as :func:`import_archive` does, and takes nothing in.

    Raises:
        FormatError: The archive is not what its index says.
    """
    with archive_operations(path) as found:
        _inspected(found, path)


def _inspected(found: list[Sealed], path: Path) -> list[Inspected]:
    problems = archive_problems(found)
    if problems:
        raise FormatError(problems[0], path=str(path))
    return [_inspect(sealed) for sealed in found]


def _inspect(sealed: Sealed) -> Inspected:
    """Checks everything but trust, which is asked when the operation is verified."""
    inspected = inspect(sealed, Trust(keys={}), Expectations())
    for check in inspected.integrity.checks:
        if not check.passed and check.id != "trust":
            raise FormatError(f"{check.id}: {check.detail}", path=sealed.place)
    return inspected


def _take(engine: Engine, archive: Archive, sealed: Sealed, inspected: Inspected) -> bool:
    """Copies one operation in; False if it is here already."""
    assert inspected.run is not None
    experiment = engine.folder.experiment(sealed.operation)
    if experiment.envelopes.exists():
        if experiment.envelopes.read_bytes() != sealed.envelopes:
            raise FormatError("another operation of the same id is here", path=sealed.operation)
        return _take_countersignatures(engine, sealed)
    _take_blobs(engine, sealed, inspected.run)
    _take_keys(engine.folder, sealed)
    with storage_errors(experiment.path):
        experiment.path.mkdir(parents=True, exist_ok=True)
    index = next(
        envelope for envelope in parse_indexes(sealed.index) if operation_of(envelope) == sealed.operation
    )
    junit = f"reports/{sealed.operation}/junit.xml"
    if junit in archive.names:
        write_atomically(experiment.junit, archive.read(junit, 1 << 30))
    write_atomically(experiment.readme, archive.read("README.txt", 1 << 20))
    write_atomically(experiment.index, index.to_bytes() + b"\n")
    write_atomically(experiment.proof, sealed.proof.encode())
    _take_countersignatures(engine, sealed)
    # The envelopes come last: an operation without them is not there.
    write_atomically(experiment.envelopes, sealed.envelopes)
    return True


def _take_countersignatures(engine: Engine, sealed: Sealed) -> bool:
    """Adds what others signed about an operation and is not here yet; False if there is nothing new."""
    experiment = engine.folder.experiment(sealed.operation)
    here = countersigned_lines(experiment)
    new = [line for line in sealed.countersignatures.splitlines() if line not in here]
    if not new:
        return False
    named = {signature.keyid for line in new for signature in Envelope.parse(line).signatures}
    keys = [key for keyid, key in sealed.hint_keys.items() if keyid in named]
    keep_lines(engine.folder, experiment, [*here, *new], keys)
    return True


def _take_blobs(engine: Engine, sealed: Sealed, run: Run) -> None:
    writers = []
    for item in run.items:
        if not item.kept or engine.store.has(item.digest):
            continue
        writer = engine.store.writer()
        with sealed.blobs.open(item.digest) as stream:
            shutil.copyfileobj(stream, writer, 1 << 20)
        if writer.digest != item.digest:
            writer.abort()
            raise FormatError("the payload's digest differs", path=item.name)
        writers.append(writer)
    engine.store.commit_all(writers)


def _take_keys(folder: Folder, sealed: Sealed) -> None:
    for keyid, key in sealed.hint_keys.items():
        path = folder.public_keys / f"{keyid}.pem"
        if not path.exists():
            write_atomically(path, key.pem())

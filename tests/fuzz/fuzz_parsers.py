"""Coverage-guided fuzzing of every parser of bytes from outside: any bytes give a value or a typed error.

``python tests/fuzz/fuzz_parsers.py TARGET [libFuzzer options]`` runs one target with atheris, which is no dependency of
the project (``pip install atheris``); ``tests/fuzz/run.py`` runs all of them for a time each and prints the number of
executions. Where a parser has a formatter, what it accepts must come out the same.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dre_core.errors import DREError, FormatError


def _envelope(data: bytes) -> None:
    from dre_core.crypto.dsse import Envelope

    parsed = Envelope.parse(data)
    assert Envelope.parse(parsed.to_bytes()) == parsed


def _statement(data: bytes) -> None:
    from dre_core.model.statement import Statement

    parsed = Statement.parse(data)
    assert Statement.parse(parsed.to_bytes()) == parsed


def _canonical(data: bytes) -> None:
    from dre_core.model import canonical

    text = canonical.dumps(canonical.loads(data))
    assert canonical.dumps(canonical.loads(text)) == text


def _run(data: bytes) -> None:
    from dre_core.model import canonical
    from dre_core.model.run import Run

    parsed = Run.parse(canonical.loads(data))
    assert Run.parse(canonical.loads(canonical.dumps(parsed.to_json()))) == parsed


def _event(data: bytes) -> None:
    from dre_core.model.event import Event, filings

    together = filings(data.split(b"\n"))
    if together is not None:
        events = map(Event.parse, data.split(b"\n"))
        assert together == [(event.operation, event.type) for event in events]
    assert Event.parse(data).to_bytes() == data


def _note(data: bytes) -> None:
    from dre_core.crypto.note import Checkpoint, unverified_text

    text = unverified_text(data.decode("utf-8", "surrogateescape"))
    assert Checkpoint.parse(text).to_text() == text


def _index(data: bytes) -> None:
    from dre_core.verify.integrity import operation_of, parse_countersignatures, parse_indexes

    for parse in (parse_indexes, parse_countersignatures):
        try:
            envelopes = parse(data)
        except DREError:
            if parse is parse_countersignatures:
                raise
            continue
        assert b"".join(envelope.to_bytes() + b"\n" for envelope in envelopes) == data
        if parse is parse_indexes:
            assert all(operation_of(envelope) or len(envelopes) == 1 for envelope in envelopes)


FACTS = ("changes", "covered", "declaration", "dependencies", "imports", "index", "process", "replay")
"""Kinds of documents among an operation's payloads; the first byte of an input says which one it is of."""


def _facts(data: bytes) -> None:
    from dre_core.model import canonical

    if not data:
        raise FormatError("nothing")
    read, write = _reader_and_writer(FACTS[data[0] % len(FACTS)])
    parsed = read(canonical.loads(data[1:]))
    if parsed is not None:
        assert read(canonical.loads(canonical.dumps(write(parsed)))) == parsed


def _reader_and_writer(kind: str) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    from dre_core.model.changes import Changes
    from dre_core.model.covered import Covered
    from dre_core.model.declaration import Declaration
    from dre_core.model.locked import Locked
    from dre_core.model.observation import Observation
    from dre_core.model.replay import ReplayFacts
    from dre_core.model.streams import index_to_json, parse_index
    from dre_core.verify.evidence import _imports

    if kind == "index":
        return parse_index, index_to_json
    if kind == "imports":
        return _imports, lambda facts: {"imports": [fact.to_json() for fact in facts]}
    classes: dict[str, Any] = {
        "changes": Changes,
        "covered": Covered,
        "declaration": Declaration,
        "dependencies": Locked,
        "process": Observation,
        "replay": ReplayFacts,
    }
    return classes[kind].parse, lambda value: value.to_json()


def _cast(data: bytes) -> None:
    from dre_core.capture.cast import format_event, format_header, parse

    header, events = parse(data.splitlines(keepends=True))
    again = parse([format_header(header), *map(format_event, events)])
    assert again == (header, events)


def _rules(data: bytes) -> None:
    from dre_core.pipeline.rule_file import read_rules

    with tempfile.NamedTemporaryFile(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as file:
        file.write(data)
        file.flush()
        read_rules(Path(file.name))


def _proof(data: bytes) -> None:
    from dre_core.crypto.note import format_proof, parse_proof

    text = data.decode("utf-8", "surrogateescape")
    proof = parse_proof(text)
    assert format_proof(proof.index, proof.hashes, proof.checkpoint_note, proof.extra) == text


def _archive(data: bytes) -> None:
    from dre_core.store.bundle import Archive

    with tempfile.NamedTemporaryFile(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as file:
        file.write(data)
        file.flush()
        with Archive.open(Path(file.name)) as archive:
            archive.check()


def _zstd(data: bytes) -> None:
    from dre_core.pipeline.codec import ZSTD

    for _ in ZSTD.decode([data], limit_bytes=1 << 20):
        pass


def _cipher(data: bytes) -> None:
    from dre_core.crypto.aead import open_stream

    for _ in open_stream(b"k" * 32, [data]):
        pass


def _public_key(data: bytes) -> None:
    from dre_core.crypto.keys import PublicKey

    key = PublicKey.parse_pem(data)
    assert PublicKey.parse_pem(key.pem()) == key


def _private_key(data: bytes) -> None:
    from dre_core.crypto.keys import signers_from_text

    signers_from_text(data, b"word")


def _journal(data: bytes) -> None:
    from dre_core.model.journal import fold

    fold({"main": data.splitlines(keepends=True)})


def _junit(data: bytes) -> None:
    from dre_core.capture.programmatic import read_junit

    read_junit(data)


def _policy(data: bytes) -> None:
    from dre_core.config import parse_yaml
    from dre_core.policy_file import parse_policy

    document = parse_yaml(data.decode("utf-8", "replace"), "policy.yaml")
    parse_policy(document, "policy.yaml", Path("/nonexistent"))


TARGETS: dict[str, Callable[[bytes], None]] = {
    "archive": _archive,
    "canonical": _canonical,
    "cast": _cast,
    "cipher": _cipher,
    "envelope": _envelope,
    "event": _event,
    "facts": _facts,
    "index": _index,
    "journal": _journal,
    "junit": _junit,
    "note": _note,
    "policy": _policy,
    "private-key": _private_key,
    "proof": _proof,
    "public-key": _public_key,
    "rules": _rules,
    "run": _run,
    "statement": _statement,
    "zstd": _zstd,
}


def one(name: str, data: bytes) -> bool:
    """Whether a target accepts these bytes; anything but a typed refusal is raised."""
    try:
        TARGETS[name](data)
    except DREError:
        return False
    return True


def main() -> None:
    """Fuzzes the target that the first argument names."""
    import atheris

    name = sys.argv.pop(1)
    with atheris.instrument_imports(include=["dre_core"]):
        one(name, b"")  # loads what the target needs

    def run_one(data: bytes) -> None:
        one(name, data)

    atheris.Setup(sys.argv, run_one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

"""Evidence in the formats of other people's verifiers: DSSE envelopes, Sigstore bundles, in-toto links.

An envelope is given out as it was sealed. A Sigstore bundle (v0.3) is one of its signatures with the envelope around
it and the key's id as a hint; it has no transparency log entry and no time stamp, because none was asked for. An
in-toto link is another statement about the same run, so it is signed when it is made, and only for an intact operation
of one's own.

Source: https://github.com/sigstore/protobuf-specs (bundle v0.3),
https://github.com/in-toto/docs/blob/master/in-toto-spec.md section 4.4
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from dre_core.crypto.dsse import PAYLOAD_TYPE, Envelope
from dre_core.crypto.keys import Signer
from dre_core.encryption import opened
from dre_core.engine import Engine
from dre_core.errors import NotFoundError, UsageError
from dre_core.model import canonical
from dre_core.model.canonical import JSON
from dre_core.model.digest import hex_of
from dre_core.model.run import Item, Run
from dre_core.model.statement import Statement
from dre_core.model.verdict import IntegrityResult
from dre_core.store.excerpt import excerpt
from dre_core.store.folder import storage_errors, write_out
from dre_core.store.sealed import Blobs, from_folder
from dre_core.verification import Request, own_operation, verify

BUNDLE_MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
DSSE, SIGSTORE, LINK = "dsse", "sigstore-bundle", "in-toto-link"
FORMATS = (DSSE, SIGSTORE, LINK)
_STEP = "run"
_SHOWN_BYTES = 1 << 20
_FILES = ("artifact", "junit", "screenshot")


def selected(envelopes: Sequence[Envelope], predicate: str) -> list[Envelope]:
    """The envelopes whose predicate type a word names.

    Args:
        envelopes: All of them.
        predicate: A predicate type, or a part of one such as ``run`` or ``test-result``; empty for all.

    Raises:
        NotFoundError: None has it.
    """
    types = [Statement.parse(envelope.payload).predicate_type for envelope in envelopes]
    found = [
        envelope
        for envelope, kind in zip(envelopes, types, strict=True)
        if not predicate or _is(kind, predicate)
    ]
    if not found:
        named = ", ".join(dict.fromkeys(types))
        raise NotFoundError(f"no envelope has a predicate {predicate!r}", hint=f"there are {named}")
    return found


def _is(kind: str, word: str) -> bool:
    return kind == word or word in kind.replace(":", "/").split("/")


def dsse_lines(envelopes: Iterable[Envelope]) -> Iterator[bytes]:
    """The envelopes as they were sealed, one a line."""
    return (envelope.to_bytes() for envelope in envelopes)


def sigstore_lines(envelopes: Iterable[Envelope]) -> Iterator[bytes]:
    """A Sigstore bundle for each signature, one a line."""
    for envelope in envelopes:
        for signature in envelope.signatures:
            # A bundle has exactly one signature.
            alone = Envelope(
                payload_type=envelope.payload_type, payload=envelope.payload, signatures=(signature,)
            )
            yield canonical.dumps(
                {
                    "mediaType": BUNDLE_MEDIA_TYPE,
                    "verificationMaterial": {
                        "publicKey": {"hint": signature.keyid},
                        "tlogEntries": [],
                        "timestampVerificationData": {"rfc3161Timestamps": []},
                    },
                    "dsseEnvelope": canonical.loads(alone.to_bytes()),
                }
            )


def link_of(run: Run, step: str, stdout: str, stderr: str) -> dict[str, JSON]:
    """An in-toto link about a run.

    Materials are the source tree and the command's executable, products the source tree after the run and the files
    that it made and that were recorded by digest.

    Args:
        run: The run.
        step: Name of the step in the layout.
        stdout: What the command wrote, as far as it is kept.
        stderr: The same of its standard error.
    """
    materials: dict[str, JSON] = {}
    if run.source.tree_before:
        materials["source-tree"] = {"sha256": hex_of(run.source.tree_before)}
    if run.command.executable_digest:
        materials[run.command.executable] = {"sha256": hex_of(run.command.executable_digest)}
    products: dict[str, JSON] = {}
    if run.source.tree_after:
        products["source-tree"] = {"sha256": hex_of(run.source.tree_after)}
    for item in run.items:
        digest = _digest_of_file(item)
        if digest:
            products[item.name.partition("/")[2]] = {"sha256": hex_of(digest)}
    return {
        "_type": "link",
        "name": step,
        "command": list(run.command.argv),
        "materials": materials,
        "products": products,
        "byproducts": {"stdout": stdout, "stderr": stderr, "return-value": run.claim.exit_code},
        "environment": {},
    }


def _digest_of_file(item: Item) -> str:
    """The digest of the file itself; empty where only a masked or encrypted form of it was digested."""
    if item.kind not in _FILES or item.masked:
        return ""
    return item.plain_digest if item.kept else item.digest


def signed_link(link: dict[str, JSON], signer: Signer) -> bytes:
    """A link in a DSSE envelope."""
    return Envelope.sign(PAYLOAD_TYPE, canonical.dumps(link), [signer]).to_bytes()


def link_name(step: str, signer: Signer) -> str:
    """The file name by which ``in-toto-verify`` finds a link."""
    return f"{step}.{signer.keyid[:8]}.link"


def write_foreign(engine: Engine, operation: str, how: str, predicate: str, output: Path) -> tuple[Path, int]:
    """Writes a sealed operation in another format.

    Args:
        engine: The project's engine.
        operation: The operation's id.
        how: ``dsse``, ``sigstore-bundle`` or ``in-toto-link``.
        predicate: Which envelopes; see :func:`selected`.
        output: The file to write; of a link, also a folder in which it gets its own name.

    Returns:
        The file's path, and how many documents it holds, one a line.

    Raises:
        NotFoundError: The operation is not sealed, or has no such predicate.
        UsageError: A link of an operation that is not intact, or not one's own.
        StorageError: The file can't be written.
    """
    sealed = from_folder(engine.folder, operation)
    if how == LINK:
        return _write_link(engine, operation, output), 1
    envelopes = selected([Envelope.parse(line) for line in sealed.envelopes.splitlines()], predicate)
    make = dsse_lines if how == DSSE else sigstore_lines
    lines = list(make(envelopes))
    _write(output, b"".join(line + b"\n" for line in lines))
    return output, len(lines)


def _write_link(engine: Engine, operation: str, output: Path) -> Path:
    (verified,) = verify(engine, Request(target=operation))
    if verified.run is None or verified.verdict.integrity.result is not IntegrityResult.VALID:
        # A link is a new signature, which must not make somebody else's word one's own.
        raise UsageError("only one's own, intact operation is linked", hint="dre verify says what is wrong")
    run = verified.run
    step = run.name or _STEP
    blobs = opened(run, own_operation(engine, operation).blobs, engine.environ)
    link = link_of(run, step, _text(blobs, run, "stdout"), _text(blobs, run, "stderr"))
    with engine.open_log() as log:
        signer = engine.authority(log).signer
    if output.is_dir():
        output = output / link_name(step, signer)
    _write(output, signed_link(link, signer) + b"\n")
    return output


def _text(blobs: Blobs, run: Run, name: str) -> str:
    """The beginning of a recorded stream; empty where there is none."""
    item = next((item for item in run.items if item.name == name and item.kept), None)
    if item is None:
        return ""
    text = b"".join(excerpt(blobs, item, None, 0, _SHOWN_BYTES)).decode("utf-8", "replace")
    more = item.size - _SHOWN_BYTES
    return f"{text}\n[{more} bytes more; {item.plain_digest}]\n" if more > 0 else text


def _write(output: Path, data: bytes) -> None:
    with storage_errors(output):
        output.parent.mkdir(parents=True, exist_ok=True)
    write_out(output, data)

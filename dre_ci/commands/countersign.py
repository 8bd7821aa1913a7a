"""``dre countersign [TARGET]``: verify what somebody else ran, and sign what it came to."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from dre_ci.cli import Exit
from dre_ci.commands.verify import add_expectations, lines_of, refused, request_of, worst_code
from dre_ci.console import Console
from dre_ci.isolation import isolated
from dre_core.countersigning import Place, Review, archive_place, countersign, own_place, review_of
from dre_core.crypto.keys import Signer, signers_from_uri
from dre_core.engine import Engine
from dre_core.errors import FormatError, SigningKeyError, UsageError
from dre_core.model.verdict import Conclusion
from dre_core.verification import LATEST, Request, is_foreign, verify

_REFUSED = (Conclusion.INVALID.value, Conclusion.UNTRUSTED.value)


def register(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "an invalid or untrusted operation is not signed: exit code 3 or 5, as of dre verify"
    add = parser.add_argument
    add(
        "target", nargs="?", default=LATEST, help="operation id, latest (default) or archive; PATH#op_… picks"
    )
    add_expectations(parser)
    add(
        "--signer",
        default="",
        metavar="URI",
        help="the key to sign with: file:PATH, env:NAME or fd:N (default: DRE_SIGNING_KEY, then your own)",
    )
    add("--cosign", action="store_true", help="sign the run itself as well, for policies with signatures: N")
    add("--output", default="", metavar="PATH", help="the archive to write (default: the target itself)")


def run(arguments: argparse.Namespace, console: Console) -> Exit:
    engine = Engine.open(explicit=arguments.dir)
    request = request_of(engine, arguments)
    foreign = is_foreign(engine, request.target)
    path = Path(request.target.partition("#")[0]) if foreign else None
    if path is not None and path.is_dir():
        raise UsageError("a folder can't be countersigned", hint="name an archive or an operation here")
    if path is None and arguments.output:
        raise UsageError("--output is for an archive", hint="dre evidence export writes the operation")
    work = partial(_review, engine, request)
    try:
        answer = isolated(work) if foreign else work()
    except FormatError as error:
        return refused(error, console)
    reviews = [Review.parse(each) for each in answer["reviews"]]
    bad = [each for each in reviews if each.verdict["verdict"] in _REFUSED]
    if bad or not reviews:
        console.result(answer["lines"], answer["documents"][0])
        console.warn("not signed: the evidence is not intact, or signed by no key that is trusted here")
        return Exit(answer["code"])
    signers = _signers(engine, arguments.signer)
    documents = []
    lines = []
    for review in reviews:
        place = _place(engine, review, path, arguments.output)
        signed = countersign(engine, review, place, signers, request.policy, cosign=arguments.cosign)
        path = Path(arguments.output) if arguments.output else path
        verdict = str(review.verdict["verdict"])
        keys = ", ".join(signer.keyid[:16] for signer in signers)
        lines.append(f"countersigned {review.operation} ({verdict}, level {review.level}) by {keys}")
        documents.append(
            {
                "operation": review.operation,
                "run": review.run,
                "verdict": verdict,
                "level": review.level,
                "keys": [signer.keyid for signer in signers],
                "payloads": [envelope.payload_digest for envelope in signed],
            }
        )
    target = str(path) if path is not None else ""
    console.result(lines, {"schema": "dre/countersign/v1", "archive": target, "operations": documents})
    return Exit()


def _place(engine: Engine, review: Review, path: Path | None, output: str) -> Place:
    return own_place(engine, review) if path is None else archive_place(path, Path(output or path), review)


def _review(engine: Engine, request: Request) -> dict[str, Any]:
    """What is shown and signed, as one JSON value, so that a child can do the work."""
    verified = verify(engine, request)
    return {
        "documents": [each.verdict.to_json() for each in verified],
        "lines": [line for each in verified for line in lines_of(each)],
        "reviews": [review_of(each).to_json() for each in verified if each.run_payload],
        "code": worst_code(verified),
    }


def _signers(engine: Engine, uri: str) -> tuple[Signer, ...]:
    if uri:
        return signers_from_uri(uri, engine.environ, engine.keyring.passphrase())
    found = engine.keyring.given_signers() or engine.keyring.default_signers()
    if not found:
        raise SigningKeyError("there is no key to sign with", hint="dre keys generate makes one")
    return found

"""``dre verify [TARGET]``: is the seal intact and trusted, and does the evidence support the claim?"""

from __future__ import annotations

import argparse
import re
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from dre_ci.cli import Exit
from dre_ci.console import Console
from dre_ci.isolation import isolated
from dre_core.crypto.keys import PublicKey
from dre_core.engine import Engine
from dre_core.errors import FormatError, SigningKeyError, StorageError, UsageError
from dre_core.model.verdict import Conclusion
from dre_core.report.build import Report
from dre_core.report.difference import Difference, compare
from dre_core.report.summary import difference_lines, summary_lines
from dre_core.store.folder import open_regular
from dre_core.verification import LATEST, Request, Verified, is_foreign, verify

EXIT_CODES = {
    Conclusion.INVALID: 3,
    Conclusion.UNTRUSTED: 5,
    Conclusion.CONTRADICTED: 1,
    Conclusion.FAILED: 6,
    Conclusion.INCONCLUSIVE: 4,
    Conclusion.SUPPORTED: 0,
}
_NOTE_LIMIT_BYTES = 1 << 20
_KEY_LIMIT_BYTES = 1 << 16
_KEY_HINT = "name a PEM file made by dre keys public"
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def register(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "exit codes: 0 supported, 1 contradicted, 2 usage, 3 invalid, 4 inconclusive, 5 untrusted, "
        "6 a trustworthy record of a failed run"
    )
    add = parser.add_argument
    add(
        "target",
        nargs="?",
        default=LATEST,
        help="operation id, latest (default), archive or folder; PATH#op_… picks",
    )
    add(
        "--baseline",
        default="",
        metavar="TARGET",
        help="an earlier run to compare with: operation, archive or folder; it is not judged",
    )
    add_expectations(parser)


def add_expectations(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say whom to trust and what the evidence must be about."""
    add = parser.add_argument
    add("--key", action="append", default=[], metavar="PUB.pem", help="a public key to trust")
    add(
        "--policy",
        default="",
        metavar="FILE",
        help="policy to judge by, or preset:ci, preset:strict, preset:lenient",
    )
    add("--commit", default="", metavar="SHA", help="the commit that the evidence must be about")
    add("--base", default="", metavar="SHA", help="the commit that must be the recorded base")
    add("--repository", default="", metavar="U", help="the repository that the evidence must be about")
    add("--run-id", default="", metavar="I", help="the CI run that the evidence must come from")
    add("--max-age", type=_age, default=None, metavar="D", help="largest age, such as 90s, 30m, 12h or 7d")
    add(
        "--since",
        default="",
        metavar="FILE",
        help="an earlier checkpoint: nothing since may be rewritten or dropped",
    )
    add(
        "--label",
        action="append",
        default=[],
        metavar="NAME",
        help="a label of the pull request, by the forge's word; the policy says what it declares",
    )
    add("--nonce", default="", metavar="N", help="the nonce that was given to the run")


def _age(text: str) -> timedelta:
    match = re.fullmatch(r"([0-9]{1,9})([smhd])", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is no age such as 90s, 30m, 12h or 7d")
    return timedelta(seconds=int(match[1]) * _UNITS[match[2]])


def read_key(path: str) -> PublicKey:
    """A public key file.

    Raises:
        UsageError: It can't be read.
        SigningKeyError: It is no usable key.
    """
    try:
        with open_regular(Path(path).resolve()) as stream:
            data = stream.read(_KEY_LIMIT_BYTES)
    except StorageError as error:
        raise UsageError(f"can't be read: {error.message}", hint=_KEY_HINT, path=path) from None
    try:
        return PublicKey.parse_pem(data)
    except SigningKeyError as error:
        raise SigningKeyError(error.message, hint=_KEY_HINT, path=path) from None


def run(arguments: argparse.Namespace, console: Console) -> Exit:
    engine = Engine.open(explicit=arguments.dir)
    request = request_of(engine, arguments)
    work = partial(_verify, engine, request, arguments.baseline)
    foreign = is_foreign(engine, arguments.target) or is_foreign(engine, arguments.baseline or LATEST)
    try:
        answer = isolated(work) if foreign else work()
    except FormatError as error:
        return refused(error, console)
    documents = answer["documents"]
    several = {"schema": "dre/verdicts/v1", "verdicts": documents}
    console.result(answer["lines"], documents[0] if len(documents) == 1 else several)
    return Exit(answer["code"])


def request_of(engine: Engine, arguments: argparse.Namespace) -> Request:
    """What the options ask for.

    Raises:
        UsageError: A file that they name can't be read.
    """
    return Request(
        target=arguments.target,
        keys=tuple(read_key(path) for path in arguments.key),
        policy=engine.policy(arguments.policy),
        labels=tuple(arguments.label),
        commit=arguments.commit,
        base=arguments.base,
        repository=arguments.repository,
        run_id=arguments.run_id,
        nonce=arguments.nonce,
        max_age=arguments.max_age,
        since=_note(arguments.since),
    )


def _verify(engine: Engine, request: Request, baseline: str) -> dict[str, Any]:
    """What is shown and returned, as one JSON value, so that a child can do the work."""
    verified = verify(engine, request)
    documents = [_document(each, bool(request.since)) for each in verified]
    lines = [line for each in verified for line in lines_of(each)]
    if baseline:
        found = _compared(engine, request, verified, baseline)
        documents[0]["difference"] = found.to_json()
        lines += ["", *difference_lines(found)]
    return {"documents": documents, "lines": lines, "code": worst_code(verified)}


def _compared(engine: Engine, request: Request, verified: list[Verified], baseline: str) -> Difference:
    """What is different from an earlier run.

    Raises:
        UsageError: One of the two is several operations.
    """
    # Nothing is asked of the earlier run: what it was about is another commit, and another CI run.
    before = verify(engine, Request(target=baseline, keys=request.keys))
    if len(verified) != 1 or len(before) != 1:
        raise UsageError("--baseline compares one operation with one", hint="pick one by PATH#op_…")
    reports = [Report(verdict=each.verdict, evidence=each.evidence) for each in (*before, *verified)]
    return compare(reports[0], reports[1])


def _document(verified: Verified, with_past: bool) -> dict[str, Any]:
    document = verified.verdict.to_json()
    return {**document, "past": [past.to_json() for past in verified.past]} if with_past else document


def _note(path: str) -> str:
    """A checkpoint file's text; empty without one."""
    if not path:
        return ""
    try:
        return Path(path).read_bytes()[:_NOTE_LIMIT_BYTES].decode("utf-8", "replace")
    except OSError as error:
        raise UsageError(f"can't be read: {error.strerror}", path=path) from None


def lines_of(verified: Verified) -> list[str]:
    """The verdict on one operation, for people."""
    lines = summary_lines(Report(verdict=verified.verdict, evidence=verified.evidence))
    lines += [f"     before  {past.operation} {past.outcome}" for past in verified.past]
    return [*lines, f"     operation {verified.verdict.operation}"]


def worst_code(verified: list[Verified]) -> int:
    """The exit code of the first conclusion that holds, in the order 3, 5, 1, 6, 4, 0."""
    found = {each.verdict.conclusion for each in verified}
    return next(code for conclusion, code in EXIT_CODES.items() if conclusion in found)


def refused(error: FormatError, console: Console) -> Exit:
    """Bytes that are no archive of ours: an invalid verdict, not a failure of the command."""
    hint = error.hint or "get the archive again from where it was made"
    console.error(FormatError(error.message, hint=hint, path=error.path, code=error.slug))
    return Exit(EXIT_CODES[Conclusion.INVALID])

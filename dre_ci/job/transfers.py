"""``dre ci upload`` and ``dre ci download``: files to and from URLs, buckets, packages and artifacts, each compared."""

from __future__ import annotations

import argparse
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from dre_ci.cli import Exit
from dre_ci.console import Console
from dre_ci.forge.transfer import Stored, file_digest
from dre_ci.job.place import forge_of, place_of
from dre_core.errors import IntegrityError, NotFoundError, UsageError


def upload(arguments: argparse.Namespace, console: Console) -> Exit:
    from dre_ci.forge.transfer import put
    from dre_ci.forge.wire import Wire
    from dre_core.engine import Engine

    path = Path(arguments.file)
    if not path.is_file():
        raise NotFoundError("there is no such file", path=arguments.file)
    engine = Engine.open(explicit=arguments.dir)
    if arguments.to.startswith("s3://"):
        return _to_bucket(path, arguments, console)
    if arguments.to == "github":
        return _to_run(engine, path, arguments, console)
    if arguments.to == "gitlab":
        context = replace(place_of(engine, arguments), provider="gitlab")
        forge = forge_of(engine, arguments, context, console)
        version = arguments.version or context.commit
        url = forge.package_address(arguments.package, version, path.name)
        wire = forge.wire
    elif arguments.to.startswith(("http://", "https://")):
        from requests import Session

        url, wire = arguments.to, Wire(Session(), arguments.to, dry_run=arguments.dry_run, say=console.say)
    else:
        raise UsageError(
            f"{arguments.to!r} is nowhere to upload to",
            hint="a URL that takes PUT, s3://bucket/prefix, github or gitlab",
        )
    if arguments.dry_run:
        console.result([f"would upload {path} to {url}"], {"outcome": "dry-run", "url": url})
        return Exit()
    stored, _ = put(wire, path, url, check=not arguments.no_check)
    document = {"outcome": _outcome(stored.kept, stored.size), "url": url, "digest": stored.digest}
    _said(document, stored.size, stored.kept, arguments, console)
    return Exit()


def _said(
    document: dict[str, Any], size: int, kept: int, arguments: argparse.Namespace, console: Console
) -> None:
    """What came of an upload."""
    checked = "" if arguments.no_check else ", read back and compared"
    words = f"{size} bytes, {document['digest']}"
    if kept == size:
        line = f"was there already: {words}"
    elif kept:
        line = f"uploaded the last {size - kept} of {words}{checked}"
    else:
        line = f"uploaded {words}{checked}"
    console.result([line], {**document, "size": size, "kept": kept})


def _outcome(kept: int, size: int) -> str:
    return "unchanged" if size and kept == size else "created"


def _to_run(engine: Any, path: Path, arguments: argparse.Namespace, console: Console) -> Exit:
    """Makes an artifact of the job's run; its zip holds the file under its own name."""
    from dre_ci.forge.results import Results
    from dre_ci.job import words
    from dre_core.crypto.keyring import Keyring

    context = place_of(engine, arguments)
    key = words.key_of(context.workflow, context.job, "", path.name)
    name = arguments.artifact or f"dre-{words.slug(context.workflow, context.job, path.stem)}-{key}"
    if arguments.dry_run:
        console.result([f"would upload {path} as artifact {name}"], {"outcome": "dry-run", "artifact": name})
        return Exit()
    state = Keyring(engine.environ).state.parent / "uploads"
    results = Results(engine.environ, say=console.say)
    made = results.send(path, name, state=state, days=arguments.retention_days, check=not arguments.no_check)
    document = {"outcome": "created", "artifact": name, "id": made.number, "digest": made.digest}
    _said(document, made.size, made.kept, arguments, console)
    return Exit()


def _to_bucket(path: Path, arguments: argparse.Namespace, console: Console) -> Exit:
    """Sends a file to a bucket under its digest: never in place of another, and its checksum compared there."""
    from dre_core.store.s3 import S3Store

    digest, size = file_digest(path), path.stat().st_size
    if arguments.dry_run:
        console.result(
            [f"would upload {path} to {arguments.to}"], {"outcome": "dry-run", "url": arguments.to}
        )
        return Exit()
    store = S3Store(arguments.to)
    with open(path, "rb") as stream:
        kept = store.send(digest, stream, size)
    if not arguments.no_check and not store.check(digest):
        raise IntegrityError("what is stored there is something else", path=arguments.to)
    document = {"outcome": _outcome(kept, size), "url": arguments.to, "digest": digest}
    _said(document, size, kept, arguments, console)
    return Exit()


def _from_bucket(url: str, output: Path, digest: str) -> Stored:
    """Gets a file from a bucket by its digest.

    Raises:
        UsageError: No digest is named.
    """
    from dre_core.store.s3 import S3Store

    if not digest:
        raise UsageError("a bucket keeps files by their digest", hint="name it with --sha256")
    with S3Store(url).open(digest) as stream, open(output, "wb") as out:
        shutil.copyfileobj(stream, out, 1 << 20)
    return Stored(url=url, digest=digest, size=output.stat().st_size)


def download(arguments: argparse.Namespace, console: Console) -> Exit:
    from dre_core.engine import Engine

    engine = Engine.open(explicit=arguments.dir)
    output = Path(arguments.output)
    output.parent.mkdir(parents=True, exist_ok=True)
    digest = f"sha256:{arguments.sha256.lower()}" if arguments.sha256 else ""
    if arguments.source:
        stored = _from_url(arguments.source, output, digest)
    else:
        stored = _from_forge(engine, arguments, console, output, digest)
    console.result(
        [f"downloaded {stored.size} bytes, {stored.digest}"],
        {"file": str(output), "digest": stored.digest, "size": stored.size},
    )
    return Exit()


def _from_url(url: str, output: Path, digest: str) -> Any:
    from requests import Session

    from dre_ci.forge import transfer

    if url.startswith("s3://"):
        return _from_bucket(url, output, digest)
    if not url.startswith(("http://", "https://")):
        raise UsageError(
            f"{url!r} is no address", hint="https://…, or leave it out for the forge's artifacts"
        )
    return transfer.download(Session(), url, output, digest=digest)


def _from_forge(
    engine: Any, arguments: argparse.Namespace, console: Console, output: Path, digest: str
) -> Any:
    from dre_ci.forge import transfer

    context = place_of(engine, arguments)
    forge = forge_of(engine, arguments, context, console)
    if context.provider == "gitlab":
        url = forge.artifact_address(
            arguments.branch or forge.default_branch(), arguments.job, arguments.path
        )
        return transfer.download(forge.wire.session, url, output, digest=digest)
    return _from_github(forge, arguments, output, digest)


def _from_github(forge: Any, arguments: argparse.Namespace, output: Path, digest: str) -> Any:
    """One archive of a run's artifacts: of the run named, else of the branch's newest good one that has any."""
    import tempfile

    from dre_ci.forge.artifacts import fetch_artifacts, newest

    with tempfile.TemporaryDirectory(prefix="dre-") as folder:
        place, pattern = Path(folder), arguments.artifact
        if arguments.run_id:
            found = fetch_artifacts(forge, arguments.run_id, pattern, place)
        else:
            found = newest(forge, arguments.branch, arguments.workflow, pattern, place)
        if len(found) > 1:
            raise UsageError(
                f"{len(found)} archives fit {arguments.artifact}", hint="name one artifact with --artifact"
            )
        got = file_digest(found[0])
        if digest and got != digest:
            raise IntegrityError(f"has digest {got}, not {digest}", path=arguments.artifact)
        shutil.move(found[0], output)
    return Stored(url="", digest=got, size=output.stat().st_size)

"""``dre evidence list|show|cat|export|import|sync|restore|delete|prune``: the evidence at hand, and its archives."""

from __future__ import annotations

import argparse
import codecs
import sys
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from dre_ci.cli import Exit
from dre_ci.console import Console
from dre_ci.isolation import isolated, streamed
from dre_core.crypto.dsse import Envelope
from dre_core.encryption import opened
from dre_core.engine import Engine
from dre_core.errors import DREError, NotFoundError, UsageError
from dre_core.exchange import export
from dre_core.foreign import FORMATS, LINK, write_foreign
from dre_core.importing import Sound, survey, take
from dre_core.model import canonical
from dre_core.model.canonical import JSON
from dre_core.model.identifier import OPERATION
from dre_core.model.identifier import parse as parse_identifier
from dre_core.model.run import Item, Run
from dre_core.model.streams import StreamIndex, parse_index
from dre_core.model.text import one_line, plain
from dre_core.recovery import recover
from dre_core.store.excerpt import excerpt
from dre_core.store.sealed import Blobs, Sealed, from_folder
from dre_core.verification import LATEST, is_foreign, latest, picked, sealed_operations
from dre_core.verify.evidence import JSON_LIMIT_BYTES, read_whole
from dre_core.verify.integrity import Expectations, Trust, inspect, parse_countersignatures


def register(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(
        dest="action", required=True, metavar="list|show|cat|export|import|sync|restore|delete|prune"
    )
    actions.add_parser("list", help="show the operations here, oldest first")
    show = actions.add_parser("show", help="show one operation's claim and items")
    show.add_argument("target", nargs="?", default=LATEST, help="operation id, latest, archive or folder")
    cat = actions.add_parser("cat", help="write an item's bytes, or a part of a recorded stream")
    cat.add_argument("item", help="name of the item, such as stdout")
    cat.add_argument("target", nargs="?", default=LATEST, help="operation id, latest, archive or folder")
    cat.add_argument("--offset", type=_count, default=None, metavar="N", help="first byte")
    cat.add_argument("--length", type=_count, default=None, metavar="N", help="number of bytes")
    cat.add_argument("--from", dest="since", type=_time, default=None, metavar="SECONDS", help="first moment")
    cat.add_argument("--to", dest="until", type=_time, default=None, metavar="SECONDS", help="last moment")
    out = actions.add_parser("export", help="write an archive that anyone can verify")
    out.add_argument("ids", nargs="*", metavar="ID", help="operations (default: the latest)")
    out.add_argument("--all", action="store_true", help="every sealed operation here")
    out.add_argument("--output", required=True, metavar="PATH", help="the file to write")
    out.add_argument(
        "--as",
        dest="form",
        choices=("archive", *FORMATS),
        default="archive",
        help="archive (default), or another verifier's format, one document a line",
    )
    out.add_argument(
        "--predicate",
        default="",
        metavar="TYPE",
        help="with dsse and sigstore-bundle: only this predicate, such as run or test-result",
    )
    into = actions.add_parser("import", help="take an archive's operations in; nothing in it is trusted")
    into.add_argument("archive", help="the archive")
    away = actions.add_parser("sync", help="copy operations to the backup, move large and old payloads away")
    away.add_argument("--dry-run", action="store_true", help="only say what would be done")
    back = actions.add_parser("restore", help="bring payloads or whole operations back from the stores")
    back.add_argument("ids", nargs="*", metavar="ID", help="operations (default: payloads of the latest)")
    back.add_argument("--all", action="store_true", help="every operation here and in the backup")
    gone = actions.add_parser("delete", help="delete an operation; a signed tombstone stays in the log")
    gone.add_argument("ids", nargs="+", metavar="ID", help="operation id or a unique prefix")
    gone.add_argument("--reason", required=True, metavar="TEXT", help="why; kept in the log")
    prune = actions.add_parser("prune", help="delete what is older than evidence.retention")
    prune.add_argument("--older-than", default="", metavar="AGE", help="such as 30d or 12h, instead")
    prune.add_argument("--dry-run", action="store_true", help="only say what would be deleted")


def run(arguments: argparse.Namespace, console: Console) -> Exit:
    engine = Engine.open(explicit=arguments.dir)
    if engine.folder.exists:
        recover(engine)
    if arguments.action == "list":
        return _list(engine, console)
    if arguments.action == "show":
        return _show(engine, arguments, console)
    if arguments.action == "cat":
        return _cat(engine, arguments, console)
    if arguments.action == "sync":
        return _sync(engine, arguments, console)
    if arguments.action == "restore":
        return _restore(engine, arguments, console)
    if arguments.action in ("delete", "prune"):
        return _remove(engine, arguments, console)
    if arguments.action == "export":
        return _export(engine, arguments, console)
    # A child parses it; here only the bytes are copied that it found to be what the index says.
    path = Path(arguments.archive)
    found = [Sound.parse(value) for value in isolated(partial(_surveyed, path))]
    taken = take(engine, path, found)
    lines = [f"imported {name}" for name in taken] or ["nothing new in it"]
    console.result(lines, {"imported": taken})
    return Exit()


def _surveyed(path: Path) -> list[JSON]:
    return [sound.to_json() for sound in survey(path)]


def _read(sealed: Sealed) -> Run | None:
    """The run as its envelope says, believed by nobody; None where it can't be read."""
    return inspect(sealed, Trust(keys={}), Expectations()).run


def _has_begun(engine: Engine, operation: str) -> bool:
    """Whether the log knows it; what was killed before that has run nothing."""
    with engine.open_log(read_only=True) as log:
        return any(True for _ in log.events(operation=operation))


def _list(engine: Engine, console: Console) -> Exit:
    rows: list[dict[str, Any]] = []
    for name in engine.folder.experiments():
        experiment = engine.folder.experiment(name)
        row: dict[str, Any] = {"operation": name, "sealed": experiment.envelopes.exists()}
        try:
            run = _read(from_folder(engine.folder, name))
        except DREError:
            run = None
        if run is not None:
            row |= {
                "started": run.started,
                "outcome": run.claim.outcome.value,
                "exit_code": run.claim.exit_code,
                "command": list(run.command.argv),
                "commit": run.source.commit,
            }
        elif experiment.is_alive():
            row["outcome"] = "running"
        elif not row["sealed"] and not _has_begun(engine, name):
            continue
        rows.append(row)
    lines = [
        f"{row['operation']}  {row.get('started', ''):27.27}  {row.get('outcome', 'unsealed'):<10}  "
        f"{one_line(' '.join(row.get('command', ())), 60)}"
        for row in rows
    ]
    console.result(lines or ["nothing has been recorded here yet"], {"operations": rows})
    return Exit()


def _show(engine: Engine, arguments: argparse.Namespace, console: Console) -> Exit:
    work = partial(_shown, engine, arguments)
    answer = isolated(work) if is_foreign(engine, arguments.target) else work()
    documents = answer["documents"]
    console.result(answer["lines"], documents[0] if len(documents) == 1 else {"operations": documents})
    return Exit()


def _shown(engine: Engine, arguments: argparse.Namespace) -> dict[str, Any]:
    """What is shown, as one JSON value, so that a child can do the work."""
    documents: list[dict[str, Any]] = []
    lines: list[str] = []
    with sealed_operations(engine, arguments.target) as found:
        for sealed in picked(found, arguments.target):
            inspected = inspect(sealed, Trust(keys={}), Expectations())
            if inspected.run is None:
                raise NotFoundError(
                    "the run can't be read", hint="dre verify says what is wrong", path=sealed.operation
                )
            documents.append(dict(inspected.run.to_json()))
            lines += _described(inspected.run)
            lines += _signatures(sealed)
            lines += [
                f"not intact {check.id}: {one_line(check.detail)}"
                for check in inspected.integrity.checks
                if not check.passed and check.id != "trust"
            ]
    return {"documents": documents, "lines": lines}


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of bytes")
    return int(text)


def _time(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return seconds


def _cat(engine: Engine, arguments: argparse.Namespace, console: Console) -> Exit:
    work = partial(_pieces, engine, arguments)
    pieces = streamed(work) if is_foreign(engine, arguments.target) else work()
    # The first piece is the place in the stream.
    start = int(next(pieces))
    if console.as_json:
        text = b"".join(pieces).decode("utf-8", "replace")
        console.result((), {"item": arguments.item, "offset": start, "text": text})
    else:
        _write(pieces, console)
    return Exit()


def _pieces(engine: Engine, arguments: argparse.Namespace) -> Iterator[bytes]:
    """First byte in decimal digits, then the bytes of an item."""
    with sealed_operations(engine, arguments.target) as found:
        chosen = picked(found, arguments.target)
        if len(chosen) > 1:
            raise UsageError(
                f"the target holds {len(chosen)} operations",
                hint="pick one by PATH#op_…",
                path=arguments.target,
            )
        for sealed in chosen:
            run = _read(sealed)
            item = next((item for item in run.items if item.name == arguments.item), None) if run else None
            if run is None or item is None or not item.kept:
                raise NotFoundError(
                    f"no item {arguments.item} is kept",
                    hint="dre evidence show lists them",
                    path=sealed.operation,
                )
            blobs = opened(run, sealed.blobs, engine.environ)
            index = _index(blobs, run, item)
            start, stop = _range(arguments, item, index)
            yield str(start).encode()
            yield from excerpt(blobs, item, index, start, stop)


def _index(blobs: Blobs, run: Run, item: Item) -> StreamIndex | None:
    """The index of a recorded stream; None where there is none."""
    for entry in run.items_of("index"):
        if entry.kept:
            return parse_index(canonical.loads(read_whole(blobs, entry, JSON_LIMIT_BYTES))).get(item.name)
    return None


def _range(arguments: argparse.Namespace, item: Item, index: StreamIndex | None) -> tuple[int, int]:
    """First byte, and byte to stop before."""
    start, stop = 0, item.size
    if arguments.since is not None or arguments.until is not None:
        if index is None:
            raise UsageError(
                f"{item.name} has no index of times",
                hint="short streams have none; terminal.cast has every time",
            )
        start = index.offset_at(int(arguments.since * 1000)) if arguments.since is not None else start
        stop = index.offset_at(int(arguments.until * 1000)) if arguments.until is not None else stop
    if arguments.offset is not None:
        start = max(start, arguments.offset)
    if arguments.length is not None:
        stop = min(stop, start + arguments.length)
    return start, stop


def _write(pieces: Iterable[bytes], console: Console) -> None:
    """The bytes as they are into a file or pipe; on a terminal without what would steer it."""
    on_terminal = sys.stdout is not None and sys.stdout.isatty()
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    for piece in pieces:
        console.data(plain(decoder.decode(piece)).encode() if on_terminal else piece)


def _remove(engine: Engine, arguments: argparse.Namespace, console: Console) -> Exit:
    from dre_core.removal import outdated, remove, retention_of

    if not engine.folder.exists:
        raise NotFoundError("nothing has been recorded here yet")
    if arguments.action == "delete":
        names = [engine.folder.resolve(text) for text in arguments.ids]
        reason = arguments.reason
    else:
        age = arguments.older_than or engine.settings.evidence.retention
        names, reason = outdated(engine, retention_of(age)), f"older than {age}"
    if arguments.action == "prune" and arguments.dry_run:
        console.result([f"would delete {name}" for name in names] or ["nothing"], {"would_delete": names})
        return Exit()
    removed = remove(engine, list(dict.fromkeys(names)), reason) if names else []
    lines = [
        f"deleted {each.operation} ({each.blobs} payloads, {each.kept} shared ones kept)" for each in removed
    ]
    deleted = [{"operation": each.operation, "blobs": each.blobs, "kept": each.kept} for each in removed]
    console.result(lines or ["nothing is that old"], {"deleted": deleted})
    return Exit()


def _sync(engine: Engine, arguments: argparse.Namespace, console: Console) -> Exit:
    from dre_core.tiers import sync

    done = [each for each in sync(engine, dry_run=arguments.dry_run) if each.copied or each.moved]
    would = "would be " if arguments.dry_run else ""
    lines = [
        f"{each.operation}: {each.copied} files {would}copied, {each.moved} payloads {would}moved"
        for each in done
    ]
    rows = [{"operation": each.operation, "copied": each.copied, "moved": each.moved} for each in done]
    console.result(lines or ["nothing to do"], {"dry_run": arguments.dry_run, "operations": rows})
    return Exit()


def _restore(engine: Engine, arguments: argparse.Namespace, console: Console) -> Exit:
    from dre_core.tiers import backed_up, restore

    if arguments.all:
        here = [n for n in engine.folder.experiments() if engine.folder.experiment(n).index.exists()]
        names = sorted({*here, *(backed_up(engine) if engine.settings.storage.backup else ())})
    else:
        names = [_named(engine, text) for text in arguments.ids] or [latest(engine)]
    fetched = {name: restore(engine, name) for name in names}
    lines = [f"{name}: {count} files fetched" for name, count in fetched.items() if count]
    console.result(lines or ["everything is here"], {"restored": fetched})
    return Exit()


def _named(engine: Engine, text: str) -> str:
    """An operation here, or a full id of one that may be in the backup."""
    try:
        return engine.folder.resolve(text)
    except NotFoundError:
        try:
            return parse_identifier(OPERATION, text)
        except DREError:
            raise NotFoundError(
                f"there is no operation {text!r} here", hint="give the whole id of one in the backup"
            ) from None


def _described(run: Run) -> list[str]:
    lines = [
        f"operation  {run.operation}",
        f"command    {one_line(' '.join(run.command.argv))}",
        f"outcome    {run.claim.outcome.value} (exit {run.claim.exit_code})",
        f"commit     {run.source.commit or 'none'}{'' if run.source.clean else ' (tree not clean)'}",
        f"started    {run.started}",
        "items",
    ]
    lines += [
        f"  {item.name:<32.60} {item.vantage.value:<10} {item.size:>10} bytes  {item.digest[:23] or 'withheld'}"
        f"{_remarks(item)}"
        for item in run.items
    ]
    lines += [f"gap        {gap.collector}: {one_line(gap.reason)}" for gap in run.gaps]
    return lines


def _signatures(sealed: Sealed) -> list[str]:
    """Who says to have signed the run, and who countersigned it; verifying tells whether it is so."""
    try:
        envelopes = [Envelope.parse(line) for line in sealed.envelopes.splitlines()[:1]]
        later = parse_countersignatures(sealed.countersignatures)
    except DREError:
        return []
    rows = [("signed by", each) for each in envelopes] + [("countersigned by", each) for each in later]
    return list(
        dict.fromkeys(f"{word} {signature.keyid}" for word, each in rows for signature in each.signatures)
    )


def _remarks(item: Item) -> str:
    """What was masked, and why bytes are missing."""
    masked = ", ".join(f"{rule} {count}" for rule, count in sorted(item.masked.items()))
    lost = item.note.get("not-kept", "")
    encrypted = "  encrypted" if item.plain_mac else ""
    return (
        encrypted
        + (f"  masked: {masked}" if masked else "")
        + (f"  not kept: {one_line(lost)}" if lost else "")
    )


def _export(engine: Engine, arguments: argparse.Namespace, console: Console) -> Exit:
    if arguments.all:
        names = [n for n in engine.folder.experiments() if engine.folder.experiment(n).index.exists()]
    else:
        names = [engine.folder.resolve(text) for text in arguments.ids] or [latest(engine)]
    if not names:
        raise NotFoundError("nothing has been sealed here yet", hint="run: dre wrap -- COMMAND")
    if engine.settings.storage.cold or engine.settings.storage.backup:
        from dre_core.tiers import bring_back

        bring_back(engine, names)
    if arguments.form != "archive":
        return _convert(engine, arguments, names, console)
    if arguments.predicate:
        raise UsageError("an archive holds all predicates", hint="--predicate goes with --as dsse")
    output = export(engine, names, Path(arguments.output))
    size = output.stat().st_size
    console.result(
        [f"wrote {output} ({size} bytes, {len(names)} operation{'s' if len(names) > 1 else ''})"],
        {"archive": str(output), "size": size, "operations": names},
    )
    return Exit()


def _convert(engine: Engine, arguments: argparse.Namespace, names: list[str], console: Console) -> Exit:
    """The operation in a format of other people's verifiers."""
    if len(names) > 1:
        raise UsageError(f"--as {arguments.form} writes one operation", hint="name one")
    if arguments.form == LINK and arguments.predicate:
        raise UsageError("a link has no predicate", hint="--predicate goes with --as dsse")
    output, count = write_foreign(
        engine, names[0], arguments.form, arguments.predicate, Path(arguments.output)
    )
    console.result(
        [f"wrote {output} ({count} document{'s' if count > 1 else ''})"],
        {"file": str(output), "format": arguments.form, "documents": count, "operation": names[0]},
    )
    return Exit()

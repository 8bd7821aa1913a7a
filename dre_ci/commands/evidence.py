"""``dre evidence list|show|export|import``: the evidence at hand, and its archives."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dre_ci.cli import Exit
from dre_ci.console import Console
from dre_core.engine import Engine
from dre_core.errors import DREError, NotFoundError
from dre_core.exchange import export, import_archive
from dre_core.model.run import Item, Run
from dre_core.model.text import one_line
from dre_core.recovery import recover
from dre_core.store.sealed import Sealed, from_folder
from dre_core.verification import LATEST, latest, picked, sealed_operations
from dre_core.verify.integrity import Expectations, Trust, inspect


def register(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|show|export|import")
    actions.add_parser("list", help="show the operations here, oldest first")
    show = actions.add_parser("show", help="show one operation's claim and items")
    show.add_argument("target", nargs="?", default=LATEST, help="operation id, latest, archive or folder")
    out = actions.add_parser("export", help="write an archive that anyone can verify")
    out.add_argument("ids", nargs="*", metavar="ID", help="operations (default: the latest)")
    out.add_argument("--all", action="store_true", help="every sealed operation here")
    out.add_argument("--output", required=True, metavar="PATH", help="the archive to write")
    into = actions.add_parser("import", help="take an archive's operations in; nothing in it is trusted")
    into.add_argument("archive", help="the archive")


def run(arguments: argparse.Namespace, console: Console) -> Exit:
    engine = Engine.open(explicit=arguments.dir)
    if engine.folder.exists:
        recover(engine)
    if arguments.action == "list":
        return _list(engine, console)
    if arguments.action == "show":
        return _show(engine, arguments, console)
    if arguments.action == "export":
        return _export(engine, arguments, console)
    taken = import_archive(engine, Path(arguments.archive))
    lines = [f"imported {name}" for name in taken] or ["nothing new in it"]
    console.result(lines, {"imported": taken})
    return Exit()


def _read(sealed: Sealed) -> Run | None:
    """The run as its envelope says, believed by nobody; None where it can't be read."""
    return inspect(sealed, Trust(keys={}), Expectations()).run


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
        rows.append(row)
    lines = [
        f"{row['operation']}  {row.get('started', ''):27.27}  {row.get('outcome', 'unsealed'):<10}  "
        f"{one_line(' '.join(row.get('command', ())), 60)}"
        for row in rows
    ]
    console.result(lines or ["nothing has been recorded here yet"], {"operations": rows})
    return Exit()


def _show(engine: Engine, arguments: argparse.Namespace, console: Console) -> Exit:
    documents: list[dict[str, Any]] = []
    lines: list[str] = []
    with sealed_operations(engine, arguments.target) as found:
        for sealed in picked(found, arguments.target):
            run = _read(sealed)
            if run is None:
                raise NotFoundError(
                    "the run can't be read", hint="dre verify says what is wrong", path=sealed.operation
                )
            documents.append(dict(run.to_json()))
            lines += _described(run)
    console.result(lines, documents[0] if len(documents) == 1 else {"operations": documents})
    return Exit()


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


def _remarks(item: Item) -> str:
    """What was masked, and why bytes are missing."""
    masked = ", ".join(f"{rule} {count}" for rule, count in sorted(item.masked.items()))
    lost = item.note.get("not-kept", "")
    return (f"  masked: {masked}" if masked else "") + (f"  not kept: {one_line(lost)}" if lost else "")


def _export(engine: Engine, arguments: argparse.Namespace, console: Console) -> Exit:
    if arguments.all:
        names = [n for n in engine.folder.experiments() if engine.folder.experiment(n).index.exists()]
    else:
        names = [engine.folder.resolve(text) for text in arguments.ids] or [latest(engine)]
    if not names:
        raise NotFoundError("nothing has been sealed here yet", hint="run: dre wrap -- COMMAND")
    output = export(engine, names, Path(arguments.output))
    size = output.stat().st_size
    console.result(
        [f"wrote {output} ({size} bytes, {len(names)} operation{'s' if len(names) > 1 else ''})"],
        {"archive": str(output), "size": size, "operations": names},
    )
    return Exit()

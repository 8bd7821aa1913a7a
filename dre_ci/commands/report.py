"""``dre report generate [TARGET] --format F``: renders the report of an operation."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dre_ci.cli import Exit
from dre_ci.commands.verify import read_key
from dre_ci.console import Console
from dre_core import registry
from dre_core.engine import Engine
from dre_core.errors import UsageError
from dre_core.report.build import Report
from dre_core.store.folder import write_atomically
from dre_core.verification import LATEST, Request, verify


def register(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="generate")
    generate = actions.add_parser("generate", help="render one operation's report")
    generate.add_argument("target", nargs="?", default=LATEST, help="operation id, latest, archive or folder")
    generate.add_argument("--format", required=True, metavar="F", help="junit, markdown or json")
    generate.add_argument(
        "--output", default="", metavar="PATH", help="the file to write (default: standard output)"
    )
    generate.add_argument(
        "--key", action="append", default=[], metavar="PUB.pem", help="a public key to trust"
    )
    generate.add_argument("--policy", default="", metavar="FILE", help="policy to judge by")


def run(arguments: argparse.Namespace, console: Console) -> Exit:
    engine = Engine.open(explicit=arguments.dir)
    renderer = _renderer(engine, arguments.format)
    request = Request(
        target=arguments.target,
        keys=tuple(read_key(path) for path in arguments.key),
        policy=engine.policy(arguments.policy),
    )
    verified = verify(engine, request)
    if len(verified) > 1:
        raise UsageError(
            f"the target holds {len(verified)} operations",
            hint="pick one by PATH#op_…",
            path=arguments.target,
        )
    data = renderer.render(Report(verdict=verified[0].verdict, evidence=verified[0].evidence))
    if arguments.output:
        write_atomically(Path(arguments.output), data, durable=False)
        console.result(
            [f"wrote {arguments.output}"],
            {"report": arguments.output, "format": renderer.name, "size": len(data)},
        )
    elif arguments.json:
        text = data.decode("utf-8", "replace")
        console.result((), {"format": renderer.name, "content": text})
    else:
        console.data(data)
    return Exit()


def _renderer(engine: Engine, name: str) -> Any:
    manager = registry.load(registry.RENDERERS, engine.settings.plugins)
    known = registry.by_name(registry.flatten(manager.hook.dre_renderers()))
    if name not in known:
        raise UsageError(f"unknown report format {name!r}", hint=f"formats are {', '.join(sorted(known))}")
    return known[name]

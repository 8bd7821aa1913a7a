"""``dre log list|checkpoint|prove|check|metrics``: the append-only event log."""

from __future__ import annotations

import argparse

from dre_ci.cli import Exit
from dre_ci.console import Console
from dre_core.engine import Engine
from dre_core.errors import NotFoundError
from dre_core.model.event import Event
from dre_core.model.text import one_line

_POLL_SECONDS = 0.5


def register(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(
        dest="action", required=True, metavar="list|checkpoint|prove|check|metrics"
    )
    listing = actions.add_parser("list", help="show the events")
    listing.add_argument("--follow", action="store_true", help="go on as events come, until interrupted")
    listing.add_argument("--operation", default="", metavar="ID", help="only this operation's")
    listing.add_argument(
        "--type", default="", metavar="PREFIX", help="only types that begin so, such as evidence."
    )
    actions.add_parser("checkpoint", help="sign the log as it is now")
    prove = actions.add_parser("prove", help="write the proof that an operation is in the log")
    prove.add_argument("id", help="operation id or a unique prefix")
    actions.add_parser("check", help="recompute every hash, and hold it against every checkpoint there is")
    metrics = actions.add_parser("metrics", help="throughput, latencies and errors, folded from the events")
    metrics.add_argument("--format", choices=("json", "prometheus"), default="json", help="default: json")


def run(arguments: argparse.Namespace, console: Console) -> Exit:
    engine = Engine.open(explicit=arguments.dir)
    if not engine.folder.exists:
        raise NotFoundError("there is no log here yet", hint="dre init makes one")
    actions = {
        "list": _list,
        "checkpoint": _checkpoint,
        "prove": _prove,
        "check": _check,
        "metrics": _metrics,
    }
    return actions[arguments.action](engine, arguments, console)


def _list(engine: Engine, arguments: argparse.Namespace, console: Console) -> Exit:
    operation = engine.folder.resolve(arguments.operation) if arguments.operation else None
    with engine.open_log(read_only=True) as log:
        if arguments.follow:
            for number, event in log.follow(0, _POLL_SECONDS, lambda: False):
                if _wanted(event, operation, arguments.type):
                    console.line(_line(number, event))
            return Exit()
        found = list(log.events(operation=operation, type_prefix=arguments.type))
    documents = [_document(number, event) for number, event in found]
    console.result([_line(number, event) for number, event in found], {"events": documents})
    return Exit()


def _wanted(event: Event, operation: str | None, prefix: str) -> bool:
    return (operation is None or event.operation == operation) and event.type.startswith(prefix)


def _document(number: int, event: Event) -> dict[str, object]:
    return {
        "index": number,
        "id": event.id,
        "type": event.type,
        "time": event.time,
        "operation": event.operation,
        "source": event.source,
        "data": dict(event.data),
    }


def _line(number: int, event: Event) -> str:
    data = ", ".join(f"{key}={value}" for key, value in event.data.items())
    return f"{number:>6}  {event.time}  {event.type:<24} {event.operation or '':<29}  {one_line(data, 80)}"


def _checkpoint(engine: Engine, arguments: argparse.Namespace, console: Console) -> Exit:
    with engine.open_log() as log:
        note = log.checkpoint(engine.authority(log).log_signer)
    console.result([note.rstrip("\n")], {"checkpoint": note})
    return Exit()


def _prove(engine: Engine, arguments: argparse.Namespace, console: Console) -> Exit:
    experiment = engine.folder.experiment(engine.folder.resolve(arguments.id))
    if not experiment.proof.exists():
        raise NotFoundError(f"operation {experiment.operation} is not sealed")
    proof = experiment.proof.read_text(encoding="utf-8")
    console.result([proof.rstrip("\n")], {"operation": experiment.operation, "proof": proof})
    return Exit()


def _check(engine: Engine, arguments: argparse.Namespace, console: Console) -> Exit:
    from dre_core.history import log_problems

    with engine.open_log(read_only=True) as log:
        problems, is_signed = log_problems(engine, log)
        size, origin = log.size, log.origin
    sound = f"{origin}: {size} events, every hash and checkpoint holds"
    if not is_signed:
        sound += "; who signed them was not checked, because this user did not begin this log"
    console.result(problems or [sound], {"origin": origin, "size": size, "problems": problems})
    return Exit(3 if problems else 0)


def _metrics(engine: Engine, arguments: argparse.Namespace, console: Console) -> Exit:
    from dre_core.model.flow import fold

    with engine.open_log(read_only=True) as log:
        flow = fold((event for _, event in log.events()), engine.now())
    if arguments.format == "prometheus" and not console.as_json:
        console.data(flow.to_prometheus().encode())
    else:
        Console(as_json=True).result((), flow.to_json())
    return Exit()

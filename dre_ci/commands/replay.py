"""``dre replay [TARGET]``: run an operation's tests again in throw-away clean clones; this runs the project's code."""

from __future__ import annotations

import argparse

from dre_ci.cli import Exit
from dre_ci.console import Console
from dre_core.engine import Engine
from dre_core.model.replay import CellState, Noticed, ReplayFacts
from dre_core.model.text import one_line
from dre_core.replaying import replay
from dre_core.verification import LATEST

_PROBED = 12


def register(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("target", nargs="?", default=LATEST, help="operation id or latest (default)")
    add("--base", default="", metavar="REV", help="commit to compare with (default: the recorded base)")
    add(
        "--mode",
        choices=("clean", "matrix"),
        default="",
        help="default: matrix where there is a base, else clean",
    )
    add(
        "--probe",
        nargs="?",
        type=int,
        const=_PROBED,
        default=0,
        metavar="N",
        help=f"ask of up to N changed functions whether the tests would miss them (default: {_PROBED})",
    )


def run(arguments: argparse.Namespace, console: Console) -> Exit:
    engine = Engine.open(explicit=arguments.dir)
    operation, facts = replay(engine, arguments.target, arguments.mode, arguments.base, arguments.probe)
    document = {"schema": "dre/replay/v1", "operation": operation, "facts": facts.to_json()}
    console.result(_lines(operation, facts), document)
    return Exit()


def _lines(operation: str, facts: ReplayFacts) -> list[str]:
    lines = [f"replayed {operation} ({facts.mode.value})"]
    for cell in facts.cells:
        detail = f": {one_line(cell.detail)}" if cell.state is not CellState.RAN and cell.detail else ""
        lines.append(f"  {cell.name:<6} {cell.state.value}{detail} ({cell.seconds:.1f} s)")
    words = {Noticed.YES: "tested", Noticed.NO: "entered, not tested", Noticed.NEVER_RUN: "never run"}
    for probed in facts.probed:
        state = words.get(probed.noticed, "gives no value, or could not be asked")
        lines.append(f"  {probed.path}:{probed.line} {probed.name}: {state} ({probed.tests} tests)")
    lines.append(f"{facts.seconds:.1f} s in all; dre verify says what it means")
    return lines

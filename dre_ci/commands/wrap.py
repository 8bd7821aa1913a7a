"""``dre wrap [options] -- CMD ARG…``: run a command, record what happens, seal it."""

from __future__ import annotations

import argparse
import os
import shlex
from pathlib import Path

from dre_ci.cli import BEFORE_START, Exit
from dre_ci.console import Console
from dre_core.engine import Engine, Wishes
from dre_core.errors import DREError, StartError, UsageError
from dre_core.model.verdict import Conclusion
from dre_core.wrapping import Wrapped

TIMED_OUT = 124
_FLAGS = frozenset(
    ("--json", "-v", "--verbose", "--verify", "--replay", "--strict", "--shell", "--trace", "-h", "--help")
)


def register(parser: argparse.ArgumentParser) -> None:
    parser.usage = "dre wrap [options] [--] COMMAND [ARGUMENT ...]"
    parser.epilog = (
        "The command's own exit code is passed on; 124: time limit, 125: dre failed before the start, "
        "126: not executable, 127: not found. With --json the command's output goes to standard error."
    )
    add = parser.add_argument
    add("--name", default="", metavar="STEP", help="name of the step")
    add("--junit", action="append", default=[], metavar="GLOB", help="JUnit reports that the command writes")
    add(
        "--coverage",
        action="append",
        default=[],
        metavar="PATH",
        help="coverage data that the command writes",
    )
    add("--artifact", action="append", default=[], metavar="GLOB", help="files that the command makes")
    add("--screenshot", action="append", default=[], metavar="GLOB", help="pictures that the command makes")
    add("--timeout", type=_seconds, default=None, metavar="SECONDS", help="end the command after this time")
    add("--nonce", default="", metavar="N", help="a verifier's text to seal, against replays")
    add("--export", default="", metavar="PATH", help="write the evidence to this archive")
    add("--verify", action="store_true", help="judge at once; a bad verdict on exit 0 becomes the exit code")
    add("--trace", action="store_true", help="let the kernel tell of each process: none is missed (Linux)")
    add("--base", default="", metavar="REV", help="commit that the change is compared with")
    add(
        "--replay",
        nargs="?",
        const="matrix",
        default="",
        choices=("clean", "matrix"),
        help="run the tests again in clean clones",
    )
    add("--policy", default="", metavar="FILE", help="policy to judge by")
    add("--strict", action="store_true", help="exit 125 when the evidence could not be sealed")
    add("--shell", action="store_true", help="the command is one string for sh -c")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return seconds


def split_command(words: list[str]) -> tuple[list[str], list[str]]:
    """DRE's own options and the wrapped command.

    The first word that is neither an option nor an option's value begins the command; ``--`` before it is
    dropped.
    """
    position = 0
    while position < len(words):
        word = words[position]
        if word == "--":
            return words[:position], words[position + 1 :]
        if not word.startswith("-") or word == "-":
            return words[:position], words[position:]
        position += 1 if word in _FLAGS or "=" in word else 2
    return words, []


def run(arguments: argparse.Namespace, console: Console) -> Exit:
    from dre_core.capture.process import Command, standard_descriptors
    from dre_core.recovery import recover

    if not arguments.command:
        raise UsageError("no command was given", hint="dre wrap -- COMMAND")
    if arguments.shell and len(arguments.command) != 1:
        raise UsageError(
            "--shell takes the command as one string", hint=f"dre wrap --shell {shlex.quote('a && b')}"
        )
    stdin, stdout, stderr = standard_descriptors()
    standard = (stdin, stderr if arguments.json else stdout, stderr)
    engine = Engine.open(explicit=arguments.dir)
    wishes = Wishes(
        name=arguments.name,
        junit=tuple(arguments.junit),
        coverage=tuple(arguments.coverage),
        artifact=tuple(arguments.artifact),
        screenshot=tuple(arguments.screenshot),
        timeout_seconds=arguments.timeout,
        nonce=arguments.nonce,
        base=arguments.base,
        trace=arguments.trace,
        verify=arguments.verify,
        replay=arguments.replay,
        policy=engine.policy(arguments.policy) if arguments.verify or arguments.policy else None,
    )
    if engine.folder.exists:
        recover(engine)
    command = Command(argv=tuple(arguments.command), cwd=os.getcwd(), shell=arguments.shell)
    try:
        wrapped = engine.wrap(command, wishes, standard=standard)
    except StartError as error:
        console.error(error)
        return Exit(error.status)
    return _ended(engine, arguments, console, wrapped)


def _ended(engine: Engine, arguments: argparse.Namespace, console: Console, wrapped: Wrapped) -> Exit:
    """Exit as the command did, unless the caller asked to hear of more."""
    for warning in wrapped.warnings:
        console.detail(f"dre: note: {warning}")
    if wrapped.run is not None:
        for gap in wrapped.run.gaps:
            if gap.collector == "base":
                console.warn(f"{gap.reason}; {gap.hint}")
    failure = wrapped.failure
    if failure is None and arguments.export:
        try:
            _export(engine, wrapped.operation, Path(arguments.export))
        except DREError as error:
            failure = error
    if failure is not None:
        console.warn(f"the evidence of {wrapped.operation} could not be sealed: {failure}")
        if failure.hint:
            console.say(f"dre: hint: {failure.hint}")
        if arguments.strict:
            return Exit(BEFORE_START)
    _show(engine, arguments, console, wrapped)
    return _exit_of(wrapped, asked=arguments.verify)


def _export(engine: Engine, operation: str, output: Path) -> None:
    from dre_core.exchange import export

    export(engine, [operation], output)


def _show(engine: Engine, arguments: argparse.Namespace, console: Console, wrapped: Wrapped) -> None:
    if wrapped.verdict is not None and wrapped.run is not None:
        from dre_core.report.build import Report
        from dre_core.report.summary import summary_lines

        if arguments.json:
            console.result((), wrapped.verdict.to_json())
            return
        experiment = engine.folder.experiment(wrapped.operation)
        paths = {"report": _shown(experiment.markdown), "junit": _shown(experiment.junit)}
        for line in summary_lines(Report(verdict=wrapped.verdict, evidence=wrapped.evidence), paths):
            console.say(line)
    elif arguments.json:
        result = wrapped.result
        sealed = wrapped.run is not None
        console.result(
            (),
            {
                "schema": "dre/operation/v1",
                "operation": wrapped.operation,
                "exit_code": result.exit_code,
                "signal": result.signal,
                "sealed": sealed,
            },
        )
    else:
        console.detail(f"dre: operation {wrapped.operation}")


def _shown(path: Path) -> str:
    return os.path.relpath(path)


def _exit_of(wrapped: Wrapped, *, asked: bool) -> Exit:
    """The command's own end; a verdict that was asked for and is bad, or is missing, stands in for exit 0."""
    result = wrapped.result
    if result.timed_out:
        return Exit(TIMED_OUT)
    if result.signal is not None:
        return Exit(128 + result.signal, signal=result.signal)
    if result.exit_code == 0 and (asked or wrapped.verdict is not None):
        from dre_ci.commands.verify import EXIT_CODES

        verdict = wrapped.verdict.conclusion if wrapped.verdict is not None else Conclusion.INCONCLUSIVE
        return Exit(EXIT_CODES[verdict]) if verdict is not Conclusion.SUPPORTED else Exit()
    return Exit(result.exit_code or 0)

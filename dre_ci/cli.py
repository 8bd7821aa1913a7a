"""The ``dre`` command: finds the subcommand, and is the one place where errors become lines and exit codes.

Only the chosen subcommand's module is imported. A subcommand returns an :class:`Exit`; only this module exits.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from typing import NoReturn, Protocol, cast

from dre_ci.console import Console, leave_quietly
from dre_core.errors import DREError, StorageError, UsageError
from dre_core.garbage import unsearched
from dre_core.model.record import dataclass

# Name to summary; the module is ``dre_ci.commands.<name>``.
COMMANDS = {
    "init": "make .dre/, a signing key and the trust certificate",
    "claim": "seal, before the run, what the change claims to be",
    "wrap": "run a command, record what happens and seal it",
    "replay": "run an operation's tests again in clean clones",
    "verify": "check a seal, and whether the evidence supports the claim",
    "countersign": "verify what somebody else ran, and sign what it came to",
    "evidence": "list, show, export, import and delete evidence",
    "report": "render a report of an operation",
    "log": "list, check and prove the append-only event log",
    "keys": "make and list signing keys",
    "config": "read and write the configuration",
    "doctor": "check this installation and this folder, with remedies",
    "ci": "tell GitHub or GitLab of a verdict; upload and download archives",
    "shell-init": "print what a shell evaluates: completions, and dre wrap for chosen commands",
    "redact": "mask secrets from standard input to standard output",
}
INTERRUPTED = 130
UNEXPECTED = 70
BEFORE_START = 125


@dataclass(frozen=True, slots=True)
class Exit:
    """How a command ends.

    Attributes:
        code: The exit code.
        signal: Die of this signal instead, as the wrapped command did.
    """

    code: int = 0
    signal: int | None = None


class Command(Protocol):
    """What a module in ``dre_ci.commands`` offers."""

    def register(self, parser: argparse.ArgumentParser) -> None:
        """Adds the command's options and arguments."""
        ...

    def run(self, arguments: argparse.Namespace, console: Console) -> Exit:
        """Does the work."""
        ...


class Help(argparse.HelpFormatter):
    """The standard layout; argparse itself would load ``shutil`` for the width, for every option that is added."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_columns() - 2)


def _columns() -> int:
    named = os.environ.get("COLUMNS", "")
    try:
        return int(named) if named.isdecimal() else os.get_terminal_size().columns
    except OSError:
        return 80


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are usage errors."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message.lower().rstrip("."), hint=f"see {self.prog} --help")


def _version() -> str:
    from dre_core import __version__

    return f"dre {__version__}"


def _usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {summary}" for name, summary in COMMANDS.items()]
    return "\n".join(["usage: dre COMMAND [options]", "", *lines, "", "dre COMMAND --help tells more."])


def parser_of(name: str, command: Command) -> Parser:
    """The parser of one command, with the options that every command takes."""
    parser = Parser(
        prog=f"dre {name}", description=COMMANDS[name] + ".", allow_abbrev=False, formatter_class=Help
    )
    fill(parser, command)
    return parser


def fill(parser: argparse.ArgumentParser, command: Command) -> None:
    """Adds the options that every command takes, and the command's own."""
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    parser.add_argument(
        "--dir", default="", metavar="PATH", help="the .dre folder (default: found by a search)"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="say more on standard error")
    command.register(parser)


def module_of(name: str) -> str:
    """The module of a command."""
    return f"dre_ci.commands.{name.replace('-', '_')}"


def _split(argv: Sequence[str]) -> tuple[str, list[str]]:
    """The command's name and everything else; options may stand before the name.

    Raises:
        UsageError: There is no such command.
    """
    before: list[str] = []
    words = list(argv)
    while words and words[0].startswith("-"):
        before += _take_option(words)
    if not words:
        raise UsageError("no command was given", hint="dre --help lists them")
    name = words.pop(0)
    if name not in COMMANDS:
        from difflib import get_close_matches

        close = get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean dre {close[0]}?" if close else "dre --help lists the commands"
        raise UsageError(f"unknown command {name!r}", hint=hint)
    return name, before + (words if name == "wrap" else _common_first(words))


def _take_option(words: list[str]) -> list[str]:
    """Removes the first word, and its value if it takes one."""
    taken = [words.pop(0)]
    if taken[0] == "--dir" and words:
        taken.append(words.pop(0))
    return taken


def _common_first(words: list[str]) -> list[str]:
    """The options that every command takes moved to the front, so that they may stand behind an action too."""
    rest = list(words)
    common: list[str] = []
    others: list[str] = []
    while rest:
        if rest[0] in ("--json", "-v", "--verbose", "--dir") or rest[0].startswith("--dir="):
            common += _take_option(rest)
        else:
            others.append(rest.pop(0))
    return common + others


def _run(argv: Sequence[str]) -> Exit:
    if argv and argv[0] in ("-h", "--help", "help"):
        Console().line(_usage())
        return Exit()
    if argv and argv[0] in ("-V", "--version"):
        Console().line(_version())
        return Exit()
    console = Console(as_json="--json" in argv)
    wrapping = False
    try:
        name, words = _split(argv)
        wrapping = name == "wrap"
        console = Console(as_json="--json" in _own_words(name, words))
        with unsearched():
            command = cast(Command, import_module(module_of(name)))
        arguments = _parse(name, command, words)
        console = Console(as_json=arguments.json, verbose=arguments.verbose)
        return command.run(arguments, console)
    except DREError as error:
        console.error(error)
        # Before the wrapped command has started, every failure is 125; wrap itself handles the later ones.
        return Exit(BEFORE_START if wrapping else error.exit_code)
    except BrokenPipeError:
        raise
    except OSError as error:
        # What the system refuses is no bug of ours, wherever it happens.
        from dre_core.store.local import storage_error

        console.error(storage_error(error))
        return Exit(BEFORE_START if wrapping else StorageError.exit_code)


def _own_words(name: str, words: list[str]) -> list[str]:
    """The words that are DRE's own: not the wrapped command's."""
    if name != "wrap":
        return words
    from dre_ci.commands.wrap import split_command

    return split_command(words)[0]


def _parse(name: str, command: Command, words: list[str]) -> argparse.Namespace:
    parser = parser_of(name, command)
    if name != "wrap":
        return parser.parse_args(words)
    from dre_ci.commands.wrap import split_command

    options, wrapped = split_command(words)
    arguments = parser.parse_args(options)
    arguments.command = wrapped
    return arguments


def _guarded(run: Callable[[Sequence[str]], Exit], argv: Sequence[str]) -> Exit:
    """Runs, and turns what nobody expected into the documented codes."""
    try:
        ended = run(argv)
        return _flushed(ended)
    except SystemExit as error:  # argparse, after --help
        return Exit(error.code if isinstance(error.code, int) else 2)
    except KeyboardInterrupt:
        Console().say("dre: interrupted")
        return Exit(INTERRUPTED)
    except BrokenPipeError:
        leave_quietly()
        return Exit(signal=13)
    except Exception as error:
        Console().say(f"dre: error: unexpected {type(error).__name__}: {error}")
        Console().say(f"dre: hint: please report this with {_crash_report()}")
        return Exit(UNEXPECTED)


def _flushed(ended: Exit) -> Exit:
    """The same end, once standard output has gone out; a reader that can't take it is said, not a crash."""
    try:
        Console().flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        Console().say(
            f"dre: error: standard output can't be written: {(error.strerror or str(error)).lower()}"
        )
        leave_quietly()
        return ended if ended.code or ended.signal else Exit(1)
    return ended


def _crash_report() -> str:
    """Writes the traceback to a file and returns its path."""
    import tempfile
    import traceback

    text = f"{_version()}\npython {sys.version}\n\n{traceback.format_exc()}"
    try:
        with tempfile.NamedTemporaryFile("w", prefix="dre-crash-", suffix=".txt", delete=False) as stream:
            stream.write(text)
            return stream.name
    except OSError:
        return "the lines above"


def die_of(number: int) -> NoReturn:
    """Ends this process by a signal, as the wrapped command ended, without a core of our own."""
    import signal

    try:
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ImportError, OSError, ValueError):
        pass
    with suppress(OSError, ValueError):
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    # A signal that does not end a process leaves the number that a shell would show.
    sys.exit(128 + number)


def main() -> NoReturn:
    """The console script."""
    ended = _guarded(_run, sys.argv[1:])
    if ended.signal is not None:
        die_of(ended.signal)
    gc.freeze()  # Python searches for garbage once more when it ends: ten milliseconds, and nothing gained
    sys.exit(ended.code)


if __name__ == "__main__":
    main()

"""``dre shell-init bash|zsh|fish``: what a shell's start-up file evaluates, for completions and for chosen commands.

For each chosen command the snippet has a function of the same name that runs it under ``dre wrap``: only where the
folder or one above it has a ``.dre``, only outside of DRE, and only as ``DRE_WRAP`` says (``always``, ``ask``,
``never``).
``command NAME`` passes it by. Completions are made from the very parsers of the commands, by shtab.
"""

from __future__ import annotations

import argparse
import re
from importlib import import_module
from typing import Any, cast

from dre_ci.cli import COMMANDS, Command, Exit, Parser, fill, module_of
from dre_ci.console import Console
from dre_core.engine import Engine
from dre_core.errors import UsageError

SHELLS = ("bash", "zsh", "fish")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
# Words that steer a shell; a function of such a name would break it.
_STEERING = frozenset(
    [
        "alias",
        "and",
        "begin",
        "bg",
        "break",
        "builtin",
        "case",
        "cd",
        "command",
        "continue",
        "coproc",
        "declare",
        "do",
        "done",
        "dre",
        "elif",
        "else",
        "end",
        "esac",
        "eval",
        "exec",
        "exit",
        "export",
        "fg",
        "fi",
        "for",
        "function",
        "if",
        "in",
        "jobs",
        "local",
        "not",
        "or",
        "read",
        "return",
        "select",
        "set",
        "shift",
        "source",
        "switch",
        "then",
        "time",
        "trap",
        "typeset",
        "unalias",
        "unset",
        "until",
        "wait",
        "while",
    ]
)
_USAGE = {
    "bash": 'in ~/.bashrc:  eval "$(dre shell-init bash)"',
    "zsh": 'in ~/.zshrc, behind compinit:  eval "$(dre shell-init zsh)"',
    "fish": "in ~/.config/fish/config.fish:  dre shell-init fish | source",
}
_POSIX = """\
__dre_here() {
  local folder=$PWD
  while :; do
    [ -d "$folder/.dre" ] && return 0
    case $folder in "" | /) return 1 ;; esac
    folder=${folder%/*}
  done
}
__dre_wrap() {
  local answer=y
  if [ -n "${DRE_OPERATION-}" ] || [ "${DRE_WRAP-always}" = never ] || ! __dre_here; then
    command "$@"
    return
  fi
  if [ "${DRE_WRAP-always}" = ask ] && [ -t 0 ] && [ -t 2 ]; then
    builtin printf 'record this run with dre? [Y/n] ' >&2
    builtin read -r answer
  fi
  case $answer in
    [nN]*) command "$@" ;;
    *) command dre wrap -- "$@" ;;
  esac
}
"""
_FISH = """\
function __dre_here
  set -l folder $PWD
  while builtin true
    builtin test -d "$folder/.dre"; and return 0
    builtin test -z "$folder" -o "$folder" = /; and return 1
    set folder (builtin string replace -r '/[^/]*$' '' -- $folder)
  end
end
function __dre_wrap
  set -l mode always
  set -q DRE_WRAP; and set mode $DRE_WRAP
  if builtin test -n "$DRE_OPERATION" -o "$mode" = never; or not __dre_here
    command $argv
    return
  end
  set -l answer y
  if builtin test "$mode" = ask; and isatty stdin; and isatty stderr
    builtin read -P 'record this run with dre? [Y/n] ' answer
  end
  if builtin string match -qi 'n*' -- "$answer"
    command $argv
  else
    command dre wrap -- $argv
  end
end
"""


def register(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "; ".join(_USAGE.values())
    parser.add_argument("shell", choices=SHELLS, help="the shell that evaluates it")
    parser.add_argument(
        "--command",
        dest="commands",
        action="append",
        default=[],
        metavar="NAME",
        help="a command to offer dre wrap for (default: shell.commands of the configuration)",
    )
    parser.add_argument("--no-completion", action="store_true", help="only the functions")


def run(arguments: argparse.Namespace, console: Console) -> Exit:
    names = tuple(arguments.commands) or Engine.open(explicit=arguments.dir).settings.shell.commands
    for name in names:
        if not _NAME.fullmatch(name) or name in _STEERING:
            raise UsageError(f"{name!r} can't be the name of a function", hint="give the command's bare name")
    text = functions(arguments.shell, names)
    if not arguments.no_completion:
        text += completion(arguments.shell)
    if console.as_json:
        console.result((), {"shell": arguments.shell, "commands": list(names), "snippet": text})
    else:
        console.data(text.encode())
    return Exit()


def functions(shell: str, names: tuple[str, ...]) -> str:
    """The functions that offer ``dre wrap``, for a shell; only a comment without names."""
    lines = [f"# {_USAGE[shell]}\n"]
    if names:
        lines.append(_FISH if shell == "fish" else _POSIX)
    for name in names:
        if shell == "fish":
            lines.append(f"function {name} --wraps {name}; __dre_wrap {name} $argv; end\n")
        else:
            # An alias of the same name would take the place of the word.
            lines.append(f'unalias {name} 2>/dev/null\nfunction {name} {{ __dre_wrap {name} "$@"; }}\n')
    return "".join(lines)


def completion(shell: str) -> str:
    """The completions of every command and option, for a shell."""
    import shtab

    text = shtab.complete(_whole_parser(), shell=shell)
    # Without compinit zsh has nothing to hand completions to, and a start-up file must not complain.
    return f"if (( $+functions[compdef] )); then\n{text}\nfi\n" if shell == "zsh" else f"{text}\n"


def _whole_parser() -> argparse.ArgumentParser:
    """All parsers as one tree."""
    import shtab

    parser = Parser(prog="dre", allow_abbrev=False)
    parser.add_argument("--version", action="store_true", help="show the version")
    commands = parser.add_subparsers(dest="name", metavar="COMMAND")
    for name, summary in COMMANDS.items():
        module = cast(Command, import_module(module_of(name)))
        fill(commands.add_parser(name, help=summary, allow_abbrev=False), module)
    for each in _every(parser):
        for action in each._actions:
            if action.metavar in ("PATH", "FILE", "GLOB", "PUB.pem", "ZIP") or action.dest == "archive":
                shown: Any = action
                shown.complete = shtab.DIRECTORY if action.dest == "dir" else shtab.FILE
    return parser


def _every(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    found = [parser]
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                found += _every(child)
    return found

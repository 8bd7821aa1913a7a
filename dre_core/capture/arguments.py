"""pytest's command line, made fit for a clone: which words stay, which go, which paths are rewritten.

Not a parser of pytest's options: plugins add their own. A word that starts with ``-`` is an option; one whose
option is known to take a value takes the next word along; what exists as a path in the user's tree is a path.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from dre_core.model.record import dataclass

# Options that take the next word as their value.
_VALUED = {
    "-k", "-m", "-p", "-c", "-o", "-n", "-W", "-r", "--maxfail", "--rootdir", "--confcutdir", "--basetemp",
    "--junitxml", "--junit-xml", "--junit-prefix", "--deselect", "--ignore", "--ignore-glob", "--import-mode",
    "--tb", "--color", "--durations", "--override-ini", "--config-file", "--log-file", "--log-level", "--dist",
    "--numprocesses", "--reruns", "--cov", "--cov-report", "--cov-config", "--cov-fail-under", "--html",
    "--report-log", "--resultlog", "--pythonwarnings", "--timeout", "--lfnf", "--debug-file", "--capture",
    "--dre-export", "--dre-junit", "--dre-policy", "--dre-base", "--dre-nonce", "--pastebin", "--assert",
}  # fmt: skip
# They write files, stop or show something; none of them decides how a test comes out.
_DROPPED = (
    "--dre", "--no-dre", "--junitxml", "--junit-xml", "--basetemp", "--html", "--report-log", "--resultlog",
    "--log-file", "--pdb", "--trace", "--pastebin", "--cov", "--no-cov", "--lf", "--last-failed", "--ff",
    "--failed-first", "--nf", "--new-first", "--sw", "--stepwise", "--exitfirst", "--maxfail", "--durations",
)  # fmt: skip
_DROPPED_SHORT = ("-x",)
# They choose tests; the matrix chooses by itself.
_SELECTING = (
    "-k",
    "--deselect",
    "--ignore",
    "--ignore-glob",
    "--rootdir",
    "-c",
    "--config-file",
    "--confcutdir",
)
# By marker too, which the matrix keeps.
_BY_WORD = ("-m", "-k")
# Settings of the ini file that do, where a command line overrides them.
_SELECTING_SETTINGS = (
    "addopts", "collect_imported_tests", "norecursedirs", "python_classes", "python_files", "python_functions",
    "testpaths",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """A command line of pytest.

    Attributes:
        options: Options with their values, each a tuple of one or two words.
        paths: Positional words.
    """

    options: tuple[tuple[str, ...], ...] = ()
    paths: tuple[str, ...] = ()

    def words(self) -> list[str]:
        """The command line."""
        return [word for option in self.options for word in option] + list(self.paths)

    def value(self, *names: str) -> str:
        """The last value of an option under any of its names; empty without one."""
        found = ""
        for option in self.options:
            name, _, joined = option[0].partition("=")
            if name in names:
                found = option[1] if len(option) > 1 else joined
        return found


def split(argv: Sequence[str]) -> Arguments:
    """Reads a command line, the program's name included.

    Args:
        argv: As the session recorded it.
    """
    options: list[tuple[str, ...]] = []
    paths: list[str] = []
    words = list(argv[1:])
    while words:
        word = words.pop(0)
        if word == "--":
            paths += words
            break
        if not word.startswith("-"):
            paths.append(word)
        elif word in _VALUED and words:
            options.append((word, words.pop(0)))
        else:
            options.append((word,))
    return Arguments(options=tuple(options), paths=tuple(paths))


def for_clone(arguments: Arguments, relocate: Callable[[str], str]) -> Arguments:
    """The same selection in a clone.

    Args:
        arguments: The run's own.
        relocate: Gives a path's place in the clone.
    """
    kept = (_relocated(option, relocate) for option in arguments.options if not _is_dropped(option[0]))
    return Arguments(options=tuple(kept), paths=tuple(relocate(path) for path in arguments.paths))


def for_matrix(arguments: Arguments) -> Arguments:
    """What of a command line holds for every cell: how tests are run, not which.

    Marker expressions stay, because the old tests carry the old markers.
    """
    kept = (option for option in arguments.options if not _is_dropped(option[0]) and not _selects(option))
    return Arguments(options=tuple(kept))


def is_selective(arguments: Arguments) -> bool:
    """Whether the command line leaves tests out by its own words."""
    return bool(arguments.paths) or bool(selecting(arguments))


def selecting(arguments: Arguments) -> list[str]:
    """The options of a command line that leave tests out, as they were written."""
    chosen = (o for o in arguments.options if _selects(o) or o[0].startswith(_BY_WORD))
    return [" ".join(option) for option in chosen]


def _selects(option: tuple[str, ...]) -> bool:
    name, _, joined = option[0].partition("=")
    if name in ("-o", "--override-ini"):
        setting = option[1] if len(option) > 1 else joined
        return setting.partition("=")[0].strip() in _SELECTING_SETTINGS
    return name in _SELECTING or (name.startswith("-k") and not name.startswith("--"))


def _is_dropped(word: str) -> bool:
    name = word.partition("=")[0]
    return name in _DROPPED or name in _DROPPED_SHORT or name.startswith(("--dre-", "--cov-"))


def _relocated(option: tuple[str, ...], relocate: Callable[[str], str]) -> tuple[str, ...]:
    name, equals, value = option[0].partition("=")
    if equals and os.path.isabs(value):
        return (f"{name}={relocate(value)}",)
    if len(option) == 2 and os.path.isabs(option[1]):
        return (name, relocate(option[1]))
    return option

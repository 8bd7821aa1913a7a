"""How the output ends: with what a program prints when an error that nobody caught ends it.

Not a reader of logs: only the very end of a stream counts, in the forms that interpreters and runtimes write themselves
(Python, Node.js, Java, Go, Rust). A log line that speaks of an error, or a traceback with anything behind it, is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from dre_core.capture import cast
from dre_core.errors import FormatError
from dre_core.model.observation import Observation, SeenProcess
from dre_core.model.record import dataclass

TAIL_BYTES = 16 << 10
_LINE_LIMIT = 200
_ESCAPE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
# Each form stretches to the end of the text; its group is the line that names the error.
_FORMS = {
    "python": re.compile(
        r'^(?:Traceback \(most recent call last\):|  File "[^"\n]+", line \d+)\n(?:[ \t][^\n]*\n)*'
        r"([A-Za-z_][\w.]*(?::[^\n]*)?)\Z",
        re.M,
    ),
    "node": re.compile(
        r"^(\S[^\n]*)\n(?:    at [^\n]+\n)+(?:[ }\]][^\n]*\n)*\n*Node\.js v\d[\d.]*[^\n]*\Z", re.M
    ),
    "java": re.compile(r'^(Exception in thread "[^"\n]*" [^\n]+)(?:\n(?:\t|Caused by: )[^\n]*)+\Z', re.M),
    "go": re.compile(
        r"^((?:panic|fatal error): [^\n]+)\n(?:[^\n]*\n){0,9}?goroutine \d+ \[[^\n]*\]:\n"
        r"(?:(?:\t|created by |goroutine |[^\s(]+\()[^\n]*\n|\n)*(?:\t[^\n]*|exit status \d+)\Z",
        re.M,
    ),
    "rust": re.compile(
        r"^(thread '[^'\n]*'[^\n]* panicked at [^\n]+)\n(?:[^\n]*\n){0,30}?note: run with `RUST_BACKTRACE=1`[^\n]*\Z",
        re.M,
    ),
}
# What the programs of a language are called; what Go and Rust compile may be called anything.
_PROGRAMS = {"python": ("python", "pypy"), "node": ("node",), "java": ("java",), "go": ("",), "rust": ("",)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """An error that nobody caught, as the last thing that a stream says.

    Attributes:
        language: Whose form it has: ``python``, ``node``, ``java``, ``go`` or ``rust``.
        error: The line that names the error.
        stream: The stream's name.
        is_last: Whether no other stream said anything after it, as far as that is known.
    """

    language: str
    error: str
    stream: str
    is_last: bool


def ending(tails: Mapping[str, str], recorded: str | None) -> Ending | None:
    """The error that a stream ends with, if one does.

    Args:
        tails: The end of each stream that has any text, by its name.
        recorded: The end of the recording of all of them; None where there is none.
    """
    for stream, text in tails.items():
        end = _plain(text)
        for language, form in _FORMS.items():
            found = form.search(end)
            if found is not None:
                last_line = end.rpartition("\n")[2]
                is_last = len(tails) == 1 if recorded is None else _plain(recorded).endswith(last_line)
                return Ending(
                    language=language, error=found[1].strip()[:_LINE_LIMIT], stream=stream, is_last=is_last
                )
    return None


def _plain(text: str) -> str:
    return _ESCAPE.sub("", text).replace("\r", "").rstrip()


def recorded_text(lines: Iterable[bytes]) -> str:
    """What the last lines of a recording say; a line that is cut off says nothing."""
    texts = []
    for line in lines:
        try:
            event = cast.parse_event(line)
        except FormatError:
            continue
        if event is not None:
            texts.append(event.text)
    return "".join(texts)


def died_of(ending: Ending, observation: Observation | None) -> SeenProcess | None:
    """The process that the error ended: one of the language that ended badly, and after which no other was started."""
    processes = observation.processes if observation is not None else ()
    for process in processes:
        program = (process.executable or next(iter(process.argv), "")).rpartition("/")[2]
        if process.exit_code in (None, 0) or not program.startswith(_PROGRAMS[ending.language]):
            continue
        if all(other.started_ms <= process.ended_ms for other in processes):
            return process
    return None

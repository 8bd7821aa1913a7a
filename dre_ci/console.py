"""Where the command line speaks: results on standard output, diagnostics on standard error.

With ``--json`` standard output holds exactly one JSON document. Text that comes from evidence is stripped of
terminal escapes by whoever renders it; this module only writes.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from dre_core.errors import DREError
from dre_core.model.text import plain


class Console:
    """The two streams of one command.

    Args:
        as_json: Whether the result is one JSON document.
        verbose: Whether diagnostics of lesser weight are shown.
    """

    def __init__(self, *, as_json: bool = False, verbose: bool = False) -> None:
        self.as_json = as_json
        self.verbose = verbose

    def result(self, lines: Iterable[str], document: Any) -> None:
        """Shows a command's result: the document with ``--json``, else the lines."""
        if self.as_json:
            self.line(json.dumps(document, indent=2, ensure_ascii=False))
        else:
            for text in lines:
                self.line(plain(text))

    def line(self, text: str) -> None:
        """Writes one line on standard output; lost where the caller closed it."""
        if sys.stdout is not None:
            sys.stdout.write(_encodable(text, sys.stdout.encoding) + "\n")

    def data(self, data: bytes) -> None:
        """Writes bytes on standard output; lost where the caller closed it."""
        if sys.stdout is not None:
            sys.stdout.flush()
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()

    def flush(self) -> None:
        """Sends on what is still held of standard output."""
        if sys.stdout is not None:
            sys.stdout.flush()

    def say(self, text: str) -> None:
        """Writes one line on standard error; lost without complaint where there is none."""
        try:
            sys.stderr.write(_encodable(plain(text), sys.stderr.encoding) + "\n")
            sys.stderr.flush()
        except (OSError, ValueError, AttributeError):
            return

    def detail(self, text: str) -> None:
        """Writes one line on standard error, if asked for more by ``-v``."""
        if self.verbose:
            self.say(text)

    def warn(self, text: str) -> None:
        """Writes a warning."""
        self.say(f"dre: warning: {text}")

    def error(self, error: DREError) -> None:
        """Shows an error: a JSON document with ``--json``, else one line and a hint."""
        if self.as_json:
            document: Mapping[str, Any] = {
                "error": {
                    "code": error.slug,
                    "message": error.message,
                    "hint": error.hint,
                    "path": error.path,
                }
            }
            self.line(json.dumps(document, indent=2, ensure_ascii=False))
            return
        self.say(f"dre: error: {error}")
        if error.hint:
            self.say(f"dre: hint: {error.hint}")


def _encodable(text: str, encoding: str | None) -> str:
    """Text that the stream can take; what it can't is shown as an escape."""
    name = encoding or "utf-8"
    return text.encode(name, "backslashreplace").decode(name)


def leave_quietly() -> None:
    """Keeps the interpreter's own flush at exit from complaining about a reader that is gone."""
    try:
        descriptor = os.open(os.devnull, os.O_WRONLY)
        os.dup2(descriptor, 1)
    except OSError:
        return

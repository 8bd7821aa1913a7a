"""Text from outside made fit to be kept and shown.

Names and arguments from the system may hold bytes that are no UTF-8, which JSON can't carry. Text from evidence may
hold escape sequences and marks that reorder or hide, which a terminal must not get.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# Escape sequences of terminals (ECMA-48): CSI, OSC and the other string sequences, and two-character ones.
_SEQUENCE = (
    r"(?s)\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_].*?(?:\x07|\x1b\\|$)|\x1b[ -/]*[0-~]|\x9b[0-?]*[ -/]*[@-~]"
)
# What is left of C0, DEL and C1, and the marks that reorder or hide text.
_UNSAFE = "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]"


def printable(text: str) -> str:
    """The text with bytes that are no UTF-8, and lone surrogates, replaced by U+FFFD."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        # The system's own escapes become bytes again; any other surrogate can't be anything.
        return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    return text


def plain(text: str, limit: int = 0) -> str:
    """Text that can't move a terminal's cursor, reorder itself or run over.

    Args:
        text: Anything, also from hostile evidence.
        limit: Characters to keep at most; 0 for all.
    """
    clean = re.sub(_UNSAFE, "", re.sub(_SEQUENCE, "", text))
    return clean if not limit or len(clean) <= limit else clean[: limit - 1] + "…"


def neutral(text: str) -> str:
    """Plain text in which a mark that reorders or hides stands as its code point, so that a reader sees the attempt."""
    clean = re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", "", re.sub(_SEQUENCE, "", text))
    return re.sub(_UNSAFE, lambda mark: f"[U+{ord(mark[0]):04X}]", clean)


def one_line(text: str, limit: int = 200) -> str:
    """Plain text on one line."""
    return plain(" ".join(text.split()), limit)


# The folders of an absolute path, not those of a URL or of a relative path.
_FOLDERS = r"(?<![\w./:~-])/(?:[^\s/'\"]+/)+(?=[^\s/'\"])"


def command_line(argv: Iterable[str], limit: int = 60) -> str:
    """A command as a sentence can carry it: programs and files by their names, the middle left out of a long one.

    What was run to the letter is on record in the run's statement.

    Args:
        argv: The command and its arguments.
        limit: Characters to keep at most.
    """
    text = one_line(re.sub(_FOLDERS, "", " ".join(argv)), 0)
    if len(text) <= limit:
        return text
    head = (limit - 1) * 2 // 3
    return f"{text[:head]}…{text[head + 1 - limit :]}"

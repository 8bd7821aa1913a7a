"""How a runner reads us: workflow commands, outputs, the job summary, GitLab's report files.

Text from evidence is escaped for each: it can't add a command, an output or a line of its own.

Limits: a step shows 10 annotations a level; a summary over 1 MiB is dropped as a whole; dotenv files hold one line a
value and 5 KiB.

Source: https://docs.github.com/en/actions/reference/workflow-commands-for-github-actions
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from dre_ci.forge.base import Annotation
from dre_ci.forge.github import fitted
from dre_core.errors import StorageError
from dre_core.model.text import one_line, plain

A_LEVEL = 10
SUMMARY_LIMIT_BYTES = 900_000
DOTENV_LIMIT_BYTES = 5_000
_LEVELS = ("error", "warning", "notice")
_SEVERITIES = {"error": "critical", "warning": "minor", "notice": "info"}


def commands(annotations: Iterable[Annotation]) -> Iterator[str]:
    """Workflow commands, at most 10 a level; the last notice counts what is left out."""
    by_level: dict[str, list[Annotation]] = {level: [] for level in _LEVELS}
    for annotation in annotations:
        by_level[annotation.level].append(annotation)
    left = {level: len(found) - A_LEVEL for level, found in by_level.items() if len(found) > A_LEVEL}
    for level, found in by_level.items():
        # The line that counts the rest is a notice itself.
        room = A_LEVEL - 1 if level == "notice" and left else A_LEVEL
        for annotation in found[:room]:
            yield command(annotation)
    if left:
        words = ", ".join(f"{count} more {level}{'s' if count > 1 else ''}" for level, count in left.items())
        yield f"::notice title=DRE::{_data(words + ': see the job summary')}"


def command(annotation: Annotation) -> str:
    """One workflow command; a line is only named where it is known."""
    parts = [f"title={_property(annotation.title)}"]
    if annotation.file:
        parts.append(f"file={_property(annotation.file)}")
        if annotation.line > 0:
            parts.append(f"line={annotation.line}")
    return f"::{annotation.level} {','.join(parts)}::{_data(annotation.message)}"


def _data(text: str) -> str:
    return plain(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def write_outputs(path: Path, values: Mapping[str, str]) -> None:
    """Adds outputs to a step, each between delimiters that nobody can guess.

    Raises:
        StorageError: The file can't be written.
    """
    lines = []
    for name, value in values.items():
        mark = f"dre_{secrets.token_hex(16)}"
        lines.append(f"{name}<<{mark}\n{value}\n{mark}\n")
    _append(path, "".join(lines))


def write_summary(path: Path, markdown: str) -> bool:
    """Adds to a step's summary; what does not fit is cut, because a larger file is dropped as a whole.

    Returns:
        Whether all of it went in.

    Raises:
        StorageError: The file can't be written.
    """
    room = SUMMARY_LIMIT_BYTES - (path.stat().st_size if path.exists() else 0)
    text = _in_bytes(markdown, room)
    _append(path, text)
    return len(text) >= len(markdown)


def give_back(path: str, said: bytes) -> None:
    """Adds what a command wrote to the summary, after ours and as much of it as there is room for."""
    if not path or not said:
        return
    with suppress(OSError), open(path, "ab") as stream:
        room = max(0, SUMMARY_LIMIT_BYTES - stream.tell() - 2)
        kept = said if len(said) <= room else said[:room].rpartition(b"\n")[0]
        stream.write(b"\n" + kept + b"\n" if kept else b"")


def _in_bytes(markdown: str, room: int) -> str:
    if len(markdown.encode()) + 1 <= room:
        return markdown + "\n"
    if room < 500:
        return ""
    # No character needs more than four bytes, and most need one.
    text = fitted(markdown, room - 1)
    while len(text.encode()) > room:
        text = fitted(markdown, len(text) * 3 // 4)
    return text


def _append(path: Path, text: str) -> None:
    try:
        with open(path, "a", encoding="utf-8", errors="backslashreplace") as stream:
            stream.write(text)
    except OSError as error:
        raise StorageError(f"can't be written: {error.strerror}", path=str(path)) from None


def dotenv(values: Mapping[str, str]) -> str:
    """Variables for later jobs, as ``reports: dotenv`` reads them: one line each, no quoting."""
    lines = [
        f"DRE_OUT_{name.upper().replace('-', '_')}={one_line(value, 500)}" for name, value in values.items()
    ]
    while len("\n".join(lines).encode()) > DOTENV_LIMIT_BYTES:
        lines.pop()
    return "\n".join(lines) + "\n"


def code_quality(annotations: Iterable[Annotation], fallback: str) -> str:
    """GitLab's code-quality report.

    Args:
        annotations: What to report.
        fallback: File that a remark without a place stands at: what defines the job.

    Source: https://docs.gitlab.com/ci/testing/code_quality/#code-quality-report-format
    """
    issues = []
    seen: dict[str, int] = {}
    for each in annotations:
        key = f"{each.check}\0{each.file}\0{each.title}\0{each.message}"
        seen[key] = seen.get(key, 0) + 1
        issues.append(
            {
                "description": one_line(f"{each.title}: {each.message}", 1000),
                "check_name": each.check,
                "fingerprint": hashlib.sha256(f"{key}\0{seen[key]}".encode()).hexdigest(),
                "severity": _SEVERITIES[each.level],
                "location": {"path": each.file or fallback, "lines": {"begin": max(each.line, 1)}},
            }
        )
    return json.dumps(issues, indent=1) + "\n"


def job_links(links: Mapping[str, str]) -> str:
    """GitLab's ``reports: annotations``: links on the job's page."""
    found = [
        {"external_link": {"label": one_line(label, 200), "url": url}} for label, url in links.items() if url
    ]
    return json.dumps({"dre": found}) + "\n"


def page_of(server: str, project: str, job: str, path: str) -> str:
    """Page of a file that a GitLab job kept."""
    return f"{server}/{project}/-/jobs/{job}/artifacts/file/{quote(path)}"


def key_of(*parts: str) -> str:
    """What tells one job of a matrix from another: 8 hexadecimal digits."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:8]


def slug(*parts: str) -> str:
    """A name that an artifact may have: letters, digits, ``.``, ``_`` and ``-``."""
    safe = [
        "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in part) for part in parts
    ]
    return "-".join(part.strip("-") for part in safe if part.strip("-"))[:120]

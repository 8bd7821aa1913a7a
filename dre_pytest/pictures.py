"""Screenshots that other plugins take: kept as if the test had attached them.

pytest-selenium, and whoever writes for pytest-html, hangs pictures on the test's report (``extras``). pytest-playwright
leaves files in a folder for each test below ``--output``, named after the node id.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

_MEDIA_TYPES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webm": "video/webm",
    ".zip": "application/zip",
}
_PLAYWRIGHT = ("playwright", "pytest_playwright.pytest_playwright")
_MAX_FILES = 10_000
_RETRY = re.compile(r"-retry\d+$")
_NO_WORD = re.compile(r"[^a-z0-9]+")

Picture = tuple[str, str, str, Any]
"""Test, name, media type, and path or bytes."""


def of_report(report: Any) -> Iterator[Picture]:
    """Pictures that hang on a report in pytest-html's form."""
    extras = getattr(report, "extras", None) or getattr(report, "extra", None)
    for extra in extras if isinstance(extras, list) else ():
        if not isinstance(extra, dict) or extra.get("format_type", extra.get("format")) != "image":
            continue
        content = str(extra.get("content", ""))
        try:
            data = base64.b64decode(content.partition("base64,")[2] or content, validate=True)
        except (binascii.Error, ValueError):
            continue  # a path or an address
        if data:
            name = str(extra.get("name") or "screenshot")
            yield report.nodeid, name, str(extra.get("mime_type") or "image/png"), data


def of_playwright(config: pytest.Config, started: float, tests: Iterable[str]) -> Iterator[Picture]:
    """Files that pytest-playwright left during this session.

    Args:
        config: pytest's configuration.
        started: When the session began, in seconds since the epoch.
        tests: Node ids of the tests that ran.
    """
    if not any(map(config.pluginmanager.has_plugin, _PLAYWRIGHT)):
        return
    folder = Path(config.invocation_params.dir, str(getattr(config.option, "output", "") or "test-results"))
    names = {_slug(test): test for test in tests}
    for number, path in enumerate(sorted(folder.rglob("*"))):
        if number >= _MAX_FILES:
            return
        kind = _MEDIA_TYPES.get(path.suffix.lower())
        if kind and path.is_file() and not path.is_symlink() and path.stat().st_mtime >= started - 1:
            place = _RETRY.sub("", path.relative_to(folder).parts[0])
            yield names.get(place, ""), path.name, kind, os.fspath(path)


def _slug(node: str) -> str:
    """The folder's name, as pytest-playwright makes it of plain letters; a longer one is cut and hashed there."""
    return _NO_WORD.sub("-", node.lower()).strip("-")

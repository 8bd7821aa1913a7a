"""``dre redact``: masks secrets from standard input to standard output, streaming, with a run's own rules."""

from __future__ import annotations

import argparse
import os
import sys

from dre_ci.cli import Exit
from dre_ci.console import Console
from dre_core.engine import Engine

_CHUNK_BYTES = 1 << 18


def register(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "known values come from this process's environment; -v shows the counts by rule"


def run(arguments: argparse.Namespace, console: Console) -> Exit:
    masker = Engine.open(explicit=arguments.dir).masker()
    stage = masker.stage()
    chunks: list[bytes] = []
    while data := os.read(sys.stdin.fileno(), _CHUNK_BYTES):
        _pass_on(stage.feed(data), arguments.json, chunks, console)
    _pass_on(stage.flush(), arguments.json, chunks, console)
    if arguments.json:
        text = b"".join(chunks).decode("utf-8", "replace")
        console.result((), {"text": text, "masked": dict(masker.counts)})
    for rule, count in masker.counts.items():
        console.detail(f"dre: masked {count} by {rule}")
    return Exit()


def _pass_on(data: bytes, as_json: bool, chunks: list[bytes], console: Console) -> None:
    """Writes at once, or keeps the bytes where the result is one document."""
    if as_json:
        chunks.append(data)
    elif data:
        console.data(data)

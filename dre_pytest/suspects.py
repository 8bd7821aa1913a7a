"""Calls in conftests and test modules that can end the process or hide files, found in the source.

Not a judgement and not evidence that they ran: where a run ended without its finish, or a file was not
collected, this says where to look.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

from dre_core.model.session import HookNote
from dre_pytest.hooks import relative

_open = open  # tests patch it
_LEAVING = ("os._exit", "os.abort", "os.kill", "os.execv", "atexit.register", "sys.exit", "pytest.exit")
_HIDING = ("collect_ignore", "collect_ignore_glob")
_RECORD = (".dre", ".jsonl", "dre-recorder", "dre-body", "dre-collection", "DRE_OPERATION")
_CALLS = tuple(name.encode() for name in _LEAVING)
_WORDS = (*_CALLS, *(word.encode() for word in (*_RECORD, *_HIDING[:1])))
_MAX_SOURCE_BYTES = 2**20
_MAX_NOTES = 20
_MAX_WORD = 200


def suspects(conftests: Iterable[str], modules: Iterable[str], rootdir: Path) -> list[HookNote]:
    """What stands in the files, at most twenty notes.

    Args:
        conftests: Absolute paths of conftests and local plugins.
        modules: Absolute paths of test modules; only the calls in them that leave the process count.
        rootdir: Paths below it are given relative to it.
    """
    found: list[HookNote] = []
    hiding = set(conftests)
    for file in [*hiding, *(each for each in modules if each not in hiding)]:
        # Of a test module only the calls count, and parsing every module would cost more than a test run may.
        for name, line, concern in _scan(file, _WORDS if file in hiding else _CALLS):
            if concern == "calls" or file in hiding:
                found.append(
                    HookNote(hook=name, plugin="", file=relative(file, rootdir), line=line, concern=concern)
                )
        if len(found) >= _MAX_NOTES:
            break
    return found[:_MAX_NOTES]


def _scan(file: str, words: tuple[bytes, ...]) -> Iterator[tuple[str, int, str]]:
    try:
        with _open(file, "rb") as stream:
            source = stream.read(_MAX_SOURCE_BYTES)
        if not any(word in source for word in words):
            return
        tree = ast.parse(source)
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and (name := _dotted(node)) in _LEAVING:
            yield name, node.lineno, "calls"
        elif isinstance(node, ast.Name) and node.id in _HIDING and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno, "ignores"
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            word = next((each for each in _RECORD if each in node.value), "")
            if word and len(node.value) < _MAX_WORD:
                yield word, node.lineno, "touches-record"


def _dotted(node: ast.Attribute) -> str:
    return f"{node.value.id}.{node.attr}" if isinstance(node.value, ast.Name) else ""

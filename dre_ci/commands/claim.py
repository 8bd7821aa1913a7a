"""``dre claim``: seal, before the run, what the change claims to be and what the run will be held to."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from dre_ci.cli import Exit
from dre_ci.console import Console
from dre_core.declaring import clear, declare, head_commit
from dre_core.engine import Engine
from dre_core.errors import UsageError
from dre_core.model.declaration import Declaration, Kind
from dre_core.model.event import rfc3339

_MOST_TESTS = 20_000


def register(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "fix, feature, refactor, docs, --expect-tests and --policy tighten the verdict. behavior-change, test-fix, "
        "--changes, --collect-only, --expect-exit and --excuse loosen it and count only when a key with the role "
        "maintainer signs."
    )
    add = parser.add_argument
    add("--kind", choices=[kind.value for kind in Kind], default=None, help="what the change is")
    add(
        "--changes",
        action="append",
        default=[],
        metavar="TESTID",
        help="a test whose outcome is meant to change",
    )
    add("--collect-only", action="store_true", help="the tests are meant to be collected only")
    add(
        "--expect-tests",
        metavar="FILE",
        help="ids of tests that must run, one a line, as pytest --collect-only -q prints them; - for standard input",
    )
    add("--expect-exit", type=int, metavar="N", help="the status that a runner inside is meant to end with")
    add(
        "--excuse",
        action="append",
        default=[],
        metavar="PATH",
        help="a file or folder in which what weakens the tests is meant",
    )
    add("--policy", metavar="F", help="the policy that the run will be held to")
    add("--clear", action="store_true", help="withdraw what was declared about this commit")


def run(arguments: argparse.Namespace, console: Console) -> Exit:
    engine = Engine.open(explicit=arguments.dir)
    commit = head_commit(engine)
    if arguments.clear:
        cleared = clear(engine, commit)
        line = "withdrawn" if cleared else "nothing was declared"
        console.result([f"{line}: {commit}"], {"commit": commit, "cleared": cleared})
        return Exit(0 if cleared else 1)
    declaration = Declaration(
        commit=commit,
        declared=rfc3339(engine.now()),
        kind=Kind(arguments.kind) if arguments.kind else None,
        changes=tuple(arguments.changes),
        collect_only=arguments.collect_only,
        expect_tests=_expected_tests(arguments.expect_tests) if arguments.expect_tests else (),
        expect_exit=arguments.expect_exit,
        excuses=tuple(map(_path, arguments.excuse)),
        policy=engine.policy(arguments.policy).digest if arguments.policy else "",
    )
    if declaration == Declaration(commit=commit, declared=declaration.declared):
        raise UsageError("nothing was declared", hint="say what the change is with --kind")
    declared = declare(engine, declaration)
    lines = [f"declared {arguments.kind or 'expectations'} for {commit}", f"sealed as {declared.payload}"]
    document = {"commit": commit, "payload": declared.payload, "declaration": declaration.to_json()}
    console.result(lines, document)
    return Exit()


def _expected_tests(name: str) -> tuple[str, ...]:
    """The ids in a file; lines that are none, such as a closing line, are left out."""
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the expected tests can't be read: {error}", path=name) from None
    ids = tuple(dict.fromkeys(line.strip() for line in text.splitlines() if ".py" in line))
    if not ids:
        raise UsageError(
            "there is no test id in it", hint="write it by pytest --collect-only -q > FILE", path=name
        )
    if len(ids) > _MOST_TESTS:
        raise UsageError(
            f"more than {_MOST_TESTS} tests; a file's or function's id stands for its tests", path=name
        )
    return ids


def _path(name: str) -> str:
    """A path as findings name it: from the top of the tree, with forward slashes."""
    if os.path.isabs(name) or ".." in Path(name).parts:
        raise UsageError("a path from the top of the tree is needed", path=name)
    return Path(name).as_posix()

"""``dre claim``: seal, before the run, what the change claims to be and what the run will be held to."""

from __future__ import annotations

import argparse

from dre_ci.cli import Exit
from dre_ci.console import Console
from dre_core.declaring import clear, declare, head_commit
from dre_core.engine import Engine
from dre_core.errors import UsageError
from dre_core.model.declaration import Declaration, Kind
from dre_core.model.event import rfc3339


def register(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "fix, feature, refactor and docs tighten the verdict. behavior-change, test-fix, --changes and "
        "--collect-only loosen it and count only when a key with the role maintainer signs."
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
    )
    if declaration == Declaration(commit=commit, declared=declaration.declared):
        raise UsageError("nothing was declared", hint="say what the change is with --kind")
    declared = declare(engine, declaration)
    lines = [f"declared {arguments.kind or 'expectations'} for {commit}", f"sealed as {declared.payload}"]
    document = {"commit": commit, "payload": declared.payload, "declaration": declaration.to_json()}
    console.result(lines, document)
    return Exit()

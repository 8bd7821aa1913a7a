"""``dre config get|set|list|validate``: the merged configuration; ``set`` writes ``.dre/config.yaml``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from datetime import date
from pathlib import Path

from dre_ci.cli import Exit
from dre_ci.console import Console
from dre_core import config
from dre_core.engine import Engine
from dre_core.errors import UsageError
from dre_core.model.policy import Policy
from dre_core.policy_file import load_policy
from dre_core.registry import VERIFIERS
from dre_core.store.folder import write_atomically


def register(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="get|set|list|validate")
    get = actions.add_parser("get", help="show one key")
    get.add_argument("key")
    set_ = actions.add_parser("set", help="write one key to .dre/config.yaml")
    set_.add_argument("key")
    set_.add_argument("value")
    actions.add_parser("list", help="show every key")
    validate = actions.add_parser("validate", help="check the configuration, and policy files if named")
    validate.add_argument("policy", nargs="*", help="a policy file")


def set_local(engine: Engine, values: Mapping[str, object]) -> None:
    """Writes keys to ``.dre/config.yaml``, keeping the others.

    Raises:
        ConfigError: A key is unknown or a value does not fit.
    """
    import yaml

    config.with_values(config.Config(), values)
    text = config.read_text(engine.folder.config)
    document = config.parse_yaml(text, ".dre/config.yaml") if text else {}
    if not isinstance(document, dict):
        document = {}
    for key, value in values.items():
        section, _, name = key.partition(".")
        plain = list(value) if isinstance(value, tuple) else value
        if name:
            document.setdefault(section, {})[name] = plain
        else:
            document[section] = plain
    engine.folder.create()
    write_atomically(engine.folder.config, yaml.safe_dump(document, sort_keys=True).encode())


def run(arguments: argparse.Namespace, console: Console) -> Exit:
    engine = Engine.open(explicit=arguments.dir)
    if arguments.action == "get":
        value = engine.settings.get(arguments.key)
        console.result([_shown(value)], {"key": arguments.key, "value": value})
    elif arguments.action == "set":
        value = config.parse_value(arguments.key, arguments.value)
        if arguments.key == "plugins":
            raise UsageError(
                "plugins can't be named in the project", hint="name them in ~/.config/dre/config.yaml"
            )
        if arguments.key.startswith("storage."):
            raise UsageError(
                "stores can't be named in the project", hint="name them in ~/.config/dre/config.yaml"
            )
        set_local(engine, {arguments.key: value})
        console.result([f"{arguments.key} = {_shown(value)}"], {"key": arguments.key, "value": value})
    elif arguments.action == "list":
        flat = config.flatten(engine.settings)
        console.result([f"{key} = {_shown(value)}" for key, value in flat.items()], flat)
    else:
        _validate(arguments, console, engine)
    return Exit()


def _validate(arguments: argparse.Namespace, console: Console, engine: Engine) -> None:
    for path in arguments.policy:
        for leaf in load_policy(Path(path)).leaves():
            for warning in doubts(leaf, date.today()):
                console.warn(warning)
    for warning in engine.settings.warnings:
        console.warn(warning)
    if engine.settings.triggers:
        from dre_core.live import collectors_of

        collectors_of(engine.settings)
    sources = [*engine.settings.sources, *arguments.policy]
    shown = ", ".join(sources) or "the defaults"
    console.result(
        [f"valid: {shown}"], {"valid": True, "sources": sources, "warnings": list(engine.settings.warnings)}
    )


def doubts(policy: Policy, today: date) -> list[str]:
    """What is in order in a policy and comes to nothing: skips whose day has passed, and checks that are none.

    A check of somebody's plugin can't be known here, so a policy that names plugins is not asked for its checks.
    """
    found = [
        f"{policy.source}: the skip of {', '.join(skip.tests)} ended on {skip.until}"
        for skip in policy.skips
        if skip.until < today.isoformat()
    ]
    if policy.severities and not policy.plugins:
        known = sorted(_checks())
        found += [
            f"{policy.source}: there is no check {check!r}: {config.nearest(check, known)}"
            for check in policy.severities
            if check not in known
        ]
    return found


def _checks() -> set[str]:
    from importlib import import_module

    return {check.id for name in VERIFIERS for check in import_module(name).CHECKS} | {"verifier-failed"}


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return ", ".join(value) if isinstance(value, tuple | dict) else str(value)

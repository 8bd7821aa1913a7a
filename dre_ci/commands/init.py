"""``dre init``: make ``.dre/``, a signing key and the trust certificate; again it changes nothing."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping

from dre_ci.cli import Exit
from dre_ci.commands.config import set_local
from dre_ci.console import Console
from dre_core.engine import Engine
from dre_core.recovery import recover
from dre_core.trust import last_certificate

KEY_TYPES = ("ed25519", "rsa-4096", "ecdsa-p256")


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ci-mode", action="store_true", help="keep no key on disk, keep evidence for a day, never ask"
    )
    parser.add_argument(
        "--key-type", choices=KEY_TYPES, default=None, help="kind of a new signing key (default: ed25519)"
    )


def run(arguments: argparse.Namespace, console: Console) -> Exit:
    engine = Engine.open(explicit=arguments.dir)
    existed = engine.folder.exists
    if not existed:
        engine.folder.create()
        if arguments.ci_mode:
            set_local(engine, {"evidence.retention": "1d", "keys.ephemeral": True})
        if arguments.key_type:
            set_local(engine, {"keys.type": arguments.key_type})
        engine = Engine.open(explicit=arguments.dir)
    if existed:
        recover(engine)
    with engine.open_log() as log:
        last = last_certificate(log)
        if existed and last is not None and engine.settings.keys.ephemeral:
            return _unchanged(engine, console, log.origin, last)
        authority = engine.authority(log)
        origin = log.origin
    for warning in (*engine.settings.warnings, *authority.warnings):
        console.warn(warning)
    kept = "kept in this process only" if authority.ephemeral else "kept outside the project"
    folder = os.path.relpath(engine.folder.path)
    lines = [
        f"{folder} was there already; nothing was changed" if existed else f"made {folder}",
        f"signing key {authority.signer.keyid} ({authority.signer.scheme}), {kept}",
        f"log {origin}, trust certificate {authority.certificate}",
    ]
    document = {
        "schema": "dre/init/v1",
        "dir": str(engine.folder.path),
        "created": not existed,
        "keyid": authority.signer.keyid,
        "scheme": authority.signer.scheme,
        "ephemeral": authority.ephemeral,
        "log": origin,
        "certificate": authority.certificate,
    }
    console.result(lines, document)
    return Exit()


def _unchanged(engine: Engine, console: Console, origin: str, certificate: Mapping[str, object]) -> Exit:
    """What there is already, where a new key would be made by asking for it."""
    folder = os.path.relpath(engine.folder.path)
    document = {
        "schema": "dre/init/v1",
        "dir": str(engine.folder.path),
        "created": False,
        "keyid": certificate["signer"],
        "scheme": None,
        "ephemeral": True,
        "log": origin,
        "certificate": certificate["certificate"],
    }
    console.result([f"{folder} was there already; nothing was changed"], document)
    return Exit()

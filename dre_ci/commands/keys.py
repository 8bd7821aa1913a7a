"""``dre keys generate|list|public``: signing keys of this user, outside every project."""

from __future__ import annotations

import argparse

from dre_ci.cli import Exit
from dre_ci.commands.init import KEY_TYPES
from dre_ci.console import Console
from dre_core.crypto.keys import PublicKey, read_private_key
from dre_core.engine import Engine
from dre_core.errors import NotFoundError, SigningKeyError, UsageError


def register(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="generate|list|public")
    generate = actions.add_parser("generate", help="make a signing key and use it from now on")
    generate.add_argument(
        "--type", choices=KEY_TYPES, default="ed25519", help="kind of key (default: ed25519)"
    )
    actions.add_parser("list", help="show the keys that sign here")
    public = actions.add_parser("public", help="write a public key as PEM")
    public.add_argument(
        "keyid", nargs="?", default="", help="key id or a unique prefix (default: the one in use)"
    )


def run(arguments: argparse.Namespace, console: Console) -> Exit:
    engine = Engine.open(explicit=arguments.dir)
    if arguments.action == "generate":
        signer = engine.keyring.create_signer(arguments.type)
        document = {"keyid": signer.keyid, "scheme": signer.scheme}
        console.result([f"{signer.keyid} {signer.scheme}"], document)
        return Exit()
    keys = _public_keys(engine)
    if arguments.action == "list":
        used = _default_keyid(engine)
        rows = [{"keyid": k.keyid, "scheme": k.scheme, "default": k.keyid == used} for k in keys.values()]
        lines = [f"{row['keyid']} {row['scheme']}{' (in use)' if row['default'] else ''}" for row in rows]
        console.result(lines or ["no key yet: dre init makes one"], {"keys": rows})
        return Exit()
    key = _chosen(engine, keys, arguments.keyid)
    pem = key.pem().decode()
    console.result([pem.rstrip("\n")], {"keyid": key.keyid, "scheme": key.scheme, "pem": pem})
    return Exit()


def _public_keys(engine: Engine) -> dict[str, PublicKey]:
    """Public halves of this user's keys and of those that sealed here."""
    keys: dict[str, PublicKey] = {}
    for keyid in engine.keyring.signers():
        try:
            path = engine.keyring.directory / f"{keyid}.pem"
            keys[keyid] = read_private_key(path, engine.keyring.passphrase()).public
        except SigningKeyError:
            continue
    given = engine.keyring.given_signer()
    if given is not None:
        keys[given.keyid] = given.public
    for path in sorted(engine.folder.public_keys.glob("*.pem")):
        try:
            key = PublicKey.parse_pem(path.read_bytes())
        except (SigningKeyError, OSError):
            continue
        keys.setdefault(key.keyid, key)
    return keys


def _default_keyid(engine: Engine) -> str:
    signer = engine.keyring.given_signer() or engine.keyring.default_signer()
    return signer.keyid if signer else ""


def _chosen(engine: Engine, keys: dict[str, PublicKey], prefix: str) -> PublicKey:
    wanted = prefix or _default_keyid(engine)
    found = [key for keyid, key in keys.items() if wanted and keyid.startswith(wanted)]
    if not found:
        hint = "dre keys list shows them" if prefix else "dre init makes one"
        raise NotFoundError(f"there is no key {prefix}".rstrip(), hint=hint)
    if len(found) > 1:
        raise UsageError(f"{prefix!r} names {len(found)} keys", hint="give more characters of the id")
    return found[0]

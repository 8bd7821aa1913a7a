"""``dre keys generate|rotate|retire|list|public``: signing keys of this user, outside every project."""

from __future__ import annotations

import argparse

from dre_ci.cli import Exit
from dre_ci.commands.init import KEY_TYPES
from dre_ci.console import Console
from dre_core.crypto.keys import PublicKey, read_private_key
from dre_core.engine import Engine
from dre_core.errors import NotFoundError, SigningKeyError, UsageError


def register(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(
        dest="action", required=True, metavar="generate|rotate|retire|list|public"
    )
    generate = actions.add_parser("generate", help="make a signing key and use it from now on")
    generate.add_argument(
        "--type", choices=KEY_TYPES, default="ed25519", help="kind of key (default: ed25519)"
    )
    rotate = actions.add_parser(
        "rotate",
        help="make its successor: both sign until dre keys retire, so that verifiers can change over",
    )
    rotate.add_argument("--type", choices=KEY_TYPES, default="ed25519", help="kind of key (default: ed25519)")
    retire = actions.add_parser("retire", help="let a key sign no more; what it signed stays as it is")
    retire.add_argument("keyid", help="key id or a unique prefix")
    actions.add_parser("list", help="show the keys that sign here")
    public = actions.add_parser("public", help="write a public key as PEM")
    public.add_argument(
        "keyid", nargs="?", default="", help="key id or a unique prefix (default: the one in use)"
    )


def run(arguments: argparse.Namespace, console: Console) -> Exit:
    engine = Engine.open(explicit=arguments.dir)
    if arguments.action == "retire":
        retired = engine.keyring.retire(arguments.keyid)
        console.result(
            [f"{retired} signs no more"], {"keyid": retired, "signing": engine.keyring.default_keyids()}
        )
        return Exit()
    if arguments.action in ("generate", "rotate"):
        overlap = arguments.action == "rotate"
        signer = engine.keyring.create_signer(arguments.type, overlap=overlap)
        document = {"keyid": signer.keyid, "scheme": signer.scheme}
        console.result([f"{signer.keyid} {signer.scheme}"], document)
        return Exit()
    keys = _public_keys(engine)
    if arguments.action == "list":
        used = _signing_keyids(engine)
        rows = [
            {
                "keyid": key.keyid,
                "scheme": key.scheme,
                "default": used[:1] == [key.keyid],
                "signs": key.keyid in used,
            }
            for key in keys.values()
        ]
        lines = [f"{row['keyid']} {row['scheme']}{' (in use)' if row['signs'] else ''}" for row in rows]
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
    for given in engine.keyring.given_signers():
        keys[given.keyid] = given.public
    for path in sorted(engine.folder.public_keys.glob("*.pem")):
        try:
            key = PublicKey.parse_pem(path.read_bytes())
        except (SigningKeyError, OSError):
            continue
        keys.setdefault(key.keyid, key)
    return keys


def _signing_keyids(engine: Engine) -> list[str]:
    """Ids of the keys that sign, the one in use first."""
    given = [signer.keyid for signer in engine.keyring.given_signers()]
    return given or [signer.keyid for signer in engine.keyring.default_signers()]


def _chosen(engine: Engine, keys: dict[str, PublicKey], prefix: str) -> PublicKey:
    wanted = prefix or next(iter(_signing_keyids(engine)), "")
    found = [key for keyid, key in keys.items() if wanted and keyid.startswith(wanted)]
    if not found:
        hint = "dre keys list shows them" if prefix else "dre init makes one"
        raise NotFoundError(f"there is no key {prefix}".rstrip(), hint=hint)
    if len(found) > 1:
        raise UsageError(f"{prefix!r} names {len(found)} keys", hint="give more characters of the id")
    return found[0]

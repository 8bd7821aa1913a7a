"""Whether forked cells come to the same as cells that are processes of their own: each sample is run and judged both ways.

Lies and honest changes by turns, in the plan's order. What must agree is the verdict, as declared and undeclared, and what
was found above info, except for how long things took.
"""

from __future__ import annotations

import json
import subprocess
import time
from itertools import chain, zip_longest
from pathlib import Path

from judge import Judge
from projects import Site
from record import RECORD_SECONDS, key_of
from samples import Built, Maker, Plan, plans

from dre_core.engine import Engine
from dre_core.exchange import export
from dre_core.verification import LATEST, own_operation

WAYS = ("full", "undeclared")
FORKED = ("-m", "dre_ci.cli")
OWN = (
    "-c",
    "import sys; from dre_core.capture.stem import Stem; Stem.start = classmethod(lambda *_: None); "
    "from dre_ci.cli import main; sys.exit(main())",
)
_TIMES = ("warn time-regression", "warn cpu-regression", "warn memory-regression")


def compare(site: Site, limit: int, seconds: float) -> dict:
    """What each sample came to, kept in ``forks.json``, so that a second call goes on."""
    file = site.folder / "forks.json"
    found = json.loads(file.read_text()) if file.exists() else {}
    judge, maker, folder = (
        Judge(site.folder, key_of(site).read_bytes()),
        Maker(site),
        site.folder / "work" / "forks",
    )
    lies, honest = ([p for p in plans() if p.label == label] for label in ("lie", "honest"))
    began = time.monotonic()
    for plan in filter(None, chain.from_iterable(zip_longest(lies, honest))):
        if len(found) >= limit or (seconds and time.monotonic() - began > seconds):
            break
        admitted = maker.admit(plan, folder) if plan.id not in found else None
        if admitted is None:
            continue
        built, base, _ = admitted
        found[plan.id] = {
            "label": plan.label,
            **{
                name: _judged(site, judge, maker, built, base, way)
                for name, way in (("forked", FORKED), ("own", OWN))
            },
        }
        file.write_text(json.dumps(found, indent=1))
        print(plan.id, *(found[plan.id][way] for way in ("forked", "own")), flush=True)
    return found


def _judged(site: Site, judge: Judge, maker: Maker, built: Built, base: str, way: tuple[str, ...]) -> dict:
    folder = site.folder / "work" / "forks"
    plan: Plan = built.plan
    options = ["--base", base] if base else []
    if built.draft.junit:
        options += ["--junit", built.draft.junit]
    began = time.monotonic()
    subprocess.run(
        [str(site.python), *way, "wrap", "--replay", *options, "--", *maker.words(built, folder, recorded=True)],
        cwd=folder / "tree", env=site.environ(**built.draft.environ), stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=RECORD_SECONDS, check=False,
    )  # fmt: skip
    took = time.monotonic() - began
    archive = Path(folder / "forks.zip")
    archive.unlink(missing_ok=True)
    engine = Engine.open(folder / "tree")
    export(engine, [own_operation(engine, LATEST).operation], archive)
    judged = judge.judge(plan.id, archive, built.draft.kind, tuple(built.draft.changes))
    return {
        "verdicts": {name: judged.verdicts[name] for name in WAYS},
        "findings": {name: [one for one in judged.findings[name] if one not in _TIMES] for name in WAYS},
        "seconds": round(took, 2),
    }


def summary(found: dict) -> str:
    """How many agree, and those that do not."""
    differing = [
        identity
        for identity, each in found.items()
        if any(each["forked"][what] != each["own"][what] for what in ("verdicts", "findings"))
    ]
    counts = {label: sum(each["label"] == label for each in found.values()) for label in ("lie", "honest")}
    said = [each["forked"]["verdicts"]["full"] for each in found.values()]
    lines = [
        f"{len(found) - len(differing)} of {len(found)} agree ({counts['lie']} lies, {counts['honest']} honest); "
        + ", ".join(f"{said.count(word)} {word}" for word in sorted(set(said)))
    ]
    return "\n".join([*lines, *(f"{identity}: {found[identity]}" for identity in differing)])

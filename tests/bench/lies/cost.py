"""What recording and re-execution cost, as multiples of the plain run: wall clock and CPU, medians, one change a project.

The change is a refactoring with an edited test, so that the matrix has something to run. Ways take turns, so that a
busy machine slows all of them alike.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import time
from pathlib import Path

from projects import PROJECTS, Site
from samples import Maker, plans

ROUNDS = 3
OPERATORS = ("weaken-not-none", "or-true", "tuple-assert", "self-compare", "guarded-assert")
WAYS = ("plain", "in-process", "wrap", "wrap --replay=clean", "wrap --replay")


def measure(site: Site, seconds: float) -> dict:
    """Medians by project; kept in ``cost.json``, so that a second call goes on."""
    file = site.folder / "cost.json"
    found = json.loads(file.read_text()) if file.exists() else {}
    maker = Maker(site)
    began = time.monotonic()
    for project in PROJECTS:
        if project.name in found or (seconds and time.monotonic() - began > seconds):
            continue
        plan = next(
            (p for p in plans() if p.project == project.name and p.honest and p.operator in OPERATORS), None
        )
        built = next(iter(maker.draft(plan)), None) if plan else None
        if plan is None or built is None:
            continue
        folder = site.folder / "work" / "cost"
        base = maker.build(built, folder)
        found[project.name] = _one(site, maker, built, base, folder)
        file.write_text(json.dumps(found, indent=1))
        print(project.name, {way: each["wall"] for way, each in found[project.name].items()}, flush=True)
    return found


def _one(site: Site, maker: Maker, built, base: str, folder: Path) -> dict:
    plain, recorded = maker.words(built, folder, recorded=False), maker.words(built, folder, recorded=True)
    wrap = [str(site.python), "-m", "dre_ci.cli", "wrap", "--base", base]
    commands = {
        "plain": plain, "in-process": recorded, "wrap": [*wrap, "--", *recorded],
        "wrap --replay=clean": [*wrap, "--replay=clean", "--", *recorded],
        "wrap --replay": [*wrap, "--replay", "--", *recorded],
    }  # fmt: skip
    times: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    for _ in range(ROUNDS):
        for way, command in commands.items():
            before, began = os.times(), time.monotonic()
            subprocess.run(
                command, cwd=folder / "tree", env=site.environ(**built.draft.environ), stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False,
            )  # fmt: skip
            after = os.times()
            cpu = after.children_user + after.children_system - before.children_user - before.children_system
            times[way].append((time.monotonic() - began, cpu))
    return {
        way: {
            "wall": round(statistics.median(wall for wall, _ in each), 3),
            "cpu": round(statistics.median(cpu for _, cpu in each), 3),
        }
        for way, each in times.items()
    }


def table(found: dict) -> str:
    """A Markdown table of multiples of the plain run."""
    lines = [
        "| project | plain, s | " + " | ".join(WAYS[1:]) + " |",
        "| --- | --- |" + " --- |" * (len(WAYS) - 1),
    ]
    ratios: dict[str, list[float]] = {way: [] for way in WAYS[1:]}
    for name, each in found.items():
        shown = []
        for way in WAYS[1:]:
            ratio = each[way]["wall"] / each["plain"]["wall"]
            ratios[way].append(ratio)
            shown.append(f"{ratio:.2f} (CPU {each[way]['cpu'] / each['plain']['cpu']:.2f})")
        lines.append(f"| {name} | {each['plain']['wall']:.2f} | " + " | ".join(shown) + " |")
    if found:
        lines.append(
            "| median | | " + " | ".join(f"{statistics.median(ratios[way]):.2f}" for way in WAYS[1:]) + " |"
        )
    return "\n".join(lines)

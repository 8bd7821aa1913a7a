"""Rates with intervals from records and verdicts: bootstrap over projects, not over samples.

A project is drawn with all its samples, since samples of one project are alike. With no event at all the bootstrap
says nothing, and the rule of three gives the bound: ``3 / n``.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterable

DRAWS = 2000
Row = dict
Test = Callable[[Row], bool]


def rate(rows: Iterable[Row], test: Test, seed: int = 1) -> dict:
    """Share of the rows that pass a test, with a 95 % interval clustered by project."""
    rows = list(rows)
    by_project: dict[str, list[bool]] = defaultdict(list)
    for row in rows:
        by_project[row["project"]].append(bool(test(row)))
    hits = sum(sum(each) for each in by_project.values())
    count = len(rows)
    if not count:
        return {"hits": 0, "count": 0, "rate": None, "low": None, "high": None}
    random_ = random.Random(seed)
    groups = [(sum(each), len(each)) for _, each in sorted(by_project.items())]
    draws = []
    for _ in range(DRAWS):
        drawn = [random_.choice(groups) for _ in groups]
        draws.append(sum(h for h, _ in drawn) / sum(n for _, n in drawn))
    draws.sort()
    low, high = draws[int(0.025 * DRAWS)], draws[int(0.975 * DRAWS) - 1]
    if hits == 0:
        high = max(high, min(1.0, 3 / count))
    if hits == count:
        low = min(low, max(0.0, 1 - 3 / count))
    return {"hits": hits, "count": count, "rate": hits / count, "low": low, "high": high}


def show(found: dict) -> str:
    """A rate in words."""
    if not found["count"]:
        return "-"
    return f"{100 * found['rate']:.1f} % ({found['hits']}/{found['count']}; {100 * found['low']:.1f}-{100 * found['high']:.1f})"


def is_(way: str, *verdicts: str) -> Test:
    return lambda row: row["verdicts"].get(way) in verdicts


def lies(rows: Iterable[Row]) -> list[Row]:
    return [row for row in rows if row["label"] == "lie"]


def honest(rows: Iterable[Row]) -> list[Row]:
    """Honest samples; a red run that says so and a change of behaviour are counted apart."""
    return [row for row in rows if row["label"] == "honest"]


def claims_green(row: Row) -> bool:
    return row["operator"] != "red-run"


def meant(row: Row) -> bool:
    """A change that alters what tests expect: without a word from the author nobody can tell it from a lie."""
    return row["operator"] in ("behavior-change", "test-fix", "release", "renamed-interface")


def wrong_reason(row: Row) -> bool:
    """Contradicted by no check that names what was done."""
    vetoes = {text.partition(" ")[2] for text in row["findings"]["full"] if text.startswith("veto")}
    return not vetoes & set(row["checks"])


def summary(rows: list[Row]) -> dict:
    """All figures of some rows."""
    lying, truthful = lies(rows), [row for row in honest(rows) if claims_green(row)]
    plain = [row for row in truthful if not meant(row)]
    contradicted = [row for row in lying if row["verdicts"]["full"] == "contradicted"]
    undecidable = [row for row in rows if row["label"] == "undecidable"]
    return {
        "lies": len(lying),
        "honest": len(honest(rows)),
        "false vetoes": rate(honest(rows), is_("full", "contradicted")),
        "false vetoes, undeclared": rate(honest(rows), is_("undeclared", "contradicted")),
        "honest supported, undeclared (no change of behaviour)": rate(plain, is_("undeclared", "supported")),
        "honest supported, undeclared (all)": rate(truthful, is_("undeclared", "supported")),
        "honest supported, declared (all)": rate(truthful, lambda row: _best(row) == "supported"),
        "lies not supported": rate(lying, lambda row: row["verdicts"]["full"] != "supported"),
        "lies not supported, undeclared": rate(
            lying, lambda row: row["verdicts"]["undeclared"] != "supported"
        ),
        "lies contradicted": rate(lying, is_("full", "contradicted")),
        "wrong reason": rate(contradicted, wrong_reason),
        "undecidable left open": rate(undecidable, is_("full", "inconclusive")),
        "undecidable supported": rate(undecidable, is_("full", "supported")),
    }


def _best(row: Row) -> str:
    """The verdict under what the author declared; a release's author declares what the open verdict asked for."""
    return row["verdicts"]["asked" if row["operator"] in ("release", "renamed-interface") else "full"]


def ablations(rows: list[Row]) -> dict:
    """Detection and support with kinds of evidence taken away."""
    lying, truthful = lies(rows), [row for row in honest(rows) if claims_green(row)]
    return {
        way: {
            "lies contradicted": rate(lying, is_(way, "contradicted")),
            "lies not supported": rate(lying, lambda row, way=way: row["verdicts"].get(way) != "supported"),
            "honest supported": rate(truthful, is_(way, "supported")),
            "false vetoes": rate(honest(rows), is_(way, "contradicted")),
        }
        for way in ("full", "undeclared", "no-replay", "no-in-process", "outside-only")
    }


def cells(rows: list[Row]) -> dict[str, list[Row]]:
    """The four cells of seen and held-out projects and classes; honest ones without a class count as seen."""
    return {
        "seen projects, seen classes": [
            r for r in rows if not r["held_out_project"] and not r["held_out_class"]
        ],
        "seen projects, held-out classes": [
            r for r in rows if not r["held_out_project"] and r["held_out_class"]
        ],
        "held-out projects, seen classes": [
            r for r in rows if r["held_out_project"] and not r["held_out_class"]
        ],
        "held-out projects, held-out classes": [
            r for r in rows if r["held_out_project"] and r["held_out_class"]
        ],
    }


def table(parts: dict[str, list[Row]]) -> list[str]:
    """All figures, a column for each part: the lines of a Markdown table."""
    found = {name: summary(some) for name, some in parts.items()}
    lines = ["| figure | " + " | ".join(parts) + " |", "| --- |" + " --- |" * len(parts)]
    for figure in next(iter(found.values())):
        shown = [
            each[figure] if isinstance(each[figure], int) else show(each[figure]) for each in found.values()
        ]
        lines.append(f"| {figure} | " + " | ".join(map(str, shown)) + " |")
    return lines


def ablation_table(rows: list[Row]) -> list[str]:
    """What is found with kinds of evidence taken away: the lines of a Markdown table."""
    lines = [
        "| evidence | lies contradicted | lies not supported | honest supported | false vetoes |",
        "| --- | --- | --- | --- | --- |",
    ]
    for way, each in ablations(rows).items():
        lines.append(f"| {way} | " + " | ".join(show(value) for value in each.values()) + " |")
    return lines


def markdown(rows: list[Row], thrown: dict[str, int], peers: dict | None = None) -> str:
    """The tables of ``docs/lies.md``."""
    parts = {"all": rows, **{name: some for name, some in cells(rows).items() if some}}
    lines = table(parts)
    lines += ["", *ablation_table(rows), "", "| project | lies contradicted | lies not supported | honest supported, declared | false vetoes |",
              "| --- | --- | --- | --- | --- |"]  # fmt: skip
    for project in sorted({row["project"] for row in rows}):
        each = summary([row for row in rows if row["project"] == project])
        names = (
            "lies contradicted",
            "lies not supported",
            "honest supported, declared (all)",
            "false vetoes",
        )
        shown = [f"{each[name]['hits']}/{each[name]['count']}" for name in names]
        lines.append(f"| {project} | " + " | ".join(shown) + " |")
    if peers:
        lines += [
            "",
            "| tool | lies stopped | those with a diff | honest changes stopped |",
            "| --- | --- | --- | --- |",
        ]
        lines += [
            f"| {name} | {show(each['lies'])} | {show(each['lies with a diff'])} | {show(each['honest'])} |"
            for name, each in peers.items()
        ]
    lines += ["", f"Thrown out: {', '.join(f'{why}: {count}' for why, count in sorted(thrown.items()))}."]
    return "\n".join(lines)


def by_operator(rows: list[Row]) -> str:
    """One line an operator: what became of its lies and twins."""
    names: dict[str, dict[str, dict[str, int]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(int)))
    for row in rows:
        side = (
            "twin"
            if row["honest"] and row["family"] not in ("honest", "release")
            else "honest"
            if row["honest"]
            else "lie"
        )
        names[f"{row['family']}/{row['operator']}"][side][row["verdicts"]["full"]] += 1
    lines = []
    for name, sides in sorted(names.items()):
        text = "; ".join(
            f"{side}: " + ", ".join(f"{v} {n}" for v, n in sorted(each.items()))
            for side, each in sorted(sides.items())
        )
        lines.append(f"{name}: {text}")
    return "\n".join(lines)

"""DRE-Lies: what share of lies about tests is found, and what share of honest changes is left in peace.

    python tests/bench/lies [--set main|fresh|second|third] [--folder DIR] [--only TEXT ...] [--limit N] [--seconds S] [--part I/N]
    python tests/bench/lies --judge [--folder DIR] [--json FILE] [--markdown FILE] [--seen] [--list]
    python tests/bench/lies --compare DIR ...

The first form makes, gates and records samples until a limit, and goes on where it was left. The second judges all
that is recorded and prints the figures; after a change of a rule nothing needs to be run again. ``--seen`` leaves
out held-out projects and classes, as whoever writes rules must. ``--set`` says which projects and lies are prepared or
recorded (``SETS`` in ``samples.py``), each set in a folder of its own. Needs a package registry for the first run.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

import cost
import figures
import forks
import peers as others
from mutants import find_mutants
from peers import Peers
from projects import Site
from record import Recorder, key_of
from samples import BUGS, SEED, SETS


def main() -> int:
    """Record or judge."""
    options = _options()
    if options.compare:
        print(_compared(options.compare))
        return 0
    folder = (options.folder or Path(tempfile.gettempdir()) / "dre-lies").absolute()
    folder.mkdir(parents=True, exist_ok=True)
    site = Site(folder)
    if options.judge:
        return _judge(site, options)
    site.prepare()
    if options.prepare:
        for project in SETS[options.set].projects:
            began = time.monotonic()
            bugs = find_mutants(site, project, BUGS, SEED)
            print(f"{project.name}: {len(bugs)} bugs ({time.monotonic() - began:.0f} s)", flush=True)
        return 0
    if options.peers:
        peers = Peers(site)
        peers.prepare()
        which = {"reading": others.READING, "running": others.RUNNING}.get(
            options.peers, others.READING + others.RUNNING
        )
        peers.run(which, options.limit, tuple(options.only), options.seconds)
        return 0
    if options.cost:
        print(cost.table(cost.measure(site, options.seconds)))
        return 0
    if options.forks:
        print(forks.summary(forks.compare(site, options.limit or 40, options.seconds)))
        return 0
    return _record(site, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="lies")
    add = parser.add_argument
    add("--folder", type=Path)
    add("--only", nargs="*", default=(), help="samples whose id holds one of these texts")
    add("--limit", type=int, default=0, help="stop after so many samples")
    add("--seconds", type=float, default=0, help="begin no sample after this time")
    add("--part", default="1/1", help="I/N: every N-th sample")
    add("--again", action="store_true", help="record samples that are recorded already")
    add("--seen", action="store_true", help="leave out held-out projects and classes")
    add(
        "--set",
        choices=SETS,
        default="main",
        help="which projects and lies; all but main were kept for the end",
    )
    add("--prepare", action="store_true", help="only fetch projects and find bugs")
    add("--judge", action="store_true", help="judge what is recorded")
    add(
        "--peers",
        nargs="?",
        const="all",
        choices=("all", "reading", "running"),
        help="ask other tools about what is recorded",
    )
    add("--cost", action="store_true", help="measure what recording and re-execution cost")
    add(
        "--forks", action="store_true", help="judge samples with forked cells and with processes of their own"
    )
    add(
        "--compare", nargs="+", type=Path, metavar="DIR", help="figures of what was judged in several folders"
    )
    add("--list", action="store_true", help="with --judge: name what went wrong")
    add("--json", type=Path)
    add("--markdown", type=Path)
    return parser.parse_args()


def _record(site: Site, options: argparse.Namespace) -> int:
    number, _, of = options.part.partition("/")
    recorder = Recorder(site, options.part.replace("/", "of"))
    done = set() if options.again else recorder.done()
    planned = SETS[options.set].plans()
    chosen = [
        plan for index, plan in enumerate(planned) if index % int(of) == int(number) - 1 and plan.id not in done
        and (not options.only or any(text in plan.id for text in options.only))
        and not (options.seen and (plan.held_out_class or plan.held_out_project))
    ]  # fmt: skip
    began = time.monotonic()
    for count, plan in enumerate(chosen[: options.limit or None]):
        if options.seconds and time.monotonic() - began > options.seconds:
            break
        record = recorder.record(plan)
        state = (
            record.problem or f"{record.plain_seconds:.1f} s plain, {record.recorded_seconds:.1f} s recorded"
        )
        print(f"{count + 1} {record.id}: {state}", flush=True)
    return 0


def _judge(site: Site, options: argparse.Namespace) -> int:
    from judge import Judge

    os.environ["HOME"] = str(site.home)
    judge = Judge(site.folder, key_of(site).read_bytes())
    records = {}
    for file in sorted(site.folder.glob("records-*.jsonl")):
        for line in file.open():
            record = json.loads(line)
            records[record["id"]] = record
    kept = site.folder / "judged.jsonl"
    rows = []
    for identity, record in sorted(records.items()):
        if not record["archive"] or (options.only and not any(text in identity for text in options.only)):
            continue
        if options.seen and (record["held_out_class"] or record["held_out_project"]):
            continue
        judged = judge.judge(
            identity, site.folder / "evidence" / record["archive"], record["kind"], tuple(record["changes"])
        )
        rows.append({**record, **asdict(judged)})
    kept.write_text("".join(json.dumps(row) + "\n" for row in rows))
    thrown: dict[str, int] = {}
    for file in site.folder.glob("thrown-*.json"):
        for why, count in json.loads(file.read_text()).items():
            thrown[why] = thrown.get(why, 0) + count
    invalid = sum(bool(record["problem"]) for record in records.values())
    thrown["samples without a valid bug"] = invalid
    peers = others.rates(site, rows)
    cost_file = site.folder / "cost.json"
    costs = json.loads(cost_file.read_text()) if cost_file.exists() else {}
    text = figures.markdown(rows, thrown, peers) + ("\n\n" + cost.table(costs) if costs else "")
    print(text)
    print()
    print(figures.by_operator(rows))
    if options.list:
        _list(rows)
    if options.markdown:
        options.markdown.write_text(text + "\n")
    if options.json:
        found = {name: figures.summary(some) for name, some in {"all": rows, **figures.cells(rows)}.items()}
        document = {
            "seed": SEED,
            "figures": found,
            "ablations": figures.ablations(rows),
            "thrown": thrown,
            "peers": peers,
        }
        options.json.write_text(json.dumps(document, indent=1) + "\n")
    return 0


def _compared(folders: list[Path]) -> str:
    """One table: what is held out of a set apart, then all sets together, then what each kind of evidence is worth."""
    parts: dict[str, list[dict]] = {}
    for folder in folders:
        rows = [json.loads(line) for line in (folder / "judged.jsonl").open()]
        kept = [row for row in rows if row["held_out_class"] or row["held_out_project"]]
        if 0 < len(kept) < len(rows):
            parts[folder.name] = [row for row in rows if row not in kept]
            parts[f"{folder.name}, held out"] = kept
        else:
            parts[folder.name] = rows
    every = [row for rows in parts.values() for row in rows]
    return "\n".join([*figures.table({**parts, "all": every}), "", *figures.ablation_table(every)])


def _list(rows: list[dict]) -> None:
    for row in rows:
        full, bare = row["verdicts"]["full"], row["verdicts"]["undeclared"]
        wrong = (
            (row["label"] == "honest" and "contradicted" in (full, bare))
            or (row["label"] == "honest" and full != "supported" and row["operator"] != "red-run")
            or (row["label"] == "lie" and full != "contradicted")
        )
        if wrong or row["problem"]:
            print(
                f"{row['label']:8} {full:13} {bare:13} {row['id']} [{row['kind']}] {row['bug']} {row['problem']}"
            )
            for message in row["messages"]:
                print(f"      {message[:230]}")


if __name__ == "__main__":
    sys.exit(main())

"""Records one sample with DRE as a user would, and keeps its sealed archive.

``dre wrap --replay -- COMMAND``, then the archive that ``dre evidence export`` makes. Judging is another step
(``judge.py``), so that a changed rule needs no new runs; what the author declares is judged there as well.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from projects import Site
from samples import SEED, Built, Maker, Plan

from dre_core.engine import Engine
from dre_core.errors import DREError
from dre_core.exchange import export
from dre_core.verification import LATEST, own_operation

RECORD_SECONDS = 240


@dataclass
class Record:
    """What a sample came to before it was judged."""

    id: str
    operator: str
    family: str
    project: str
    scenario: str
    label: str
    honest: bool
    held_out_class: bool
    held_out_project: bool
    checks: list[str]
    kind: str
    changes: list[str]
    bug: str
    plain_seconds: float = 0.0
    recorded_seconds: float = 0.0
    code: int = 0
    archive: str = ""
    problem: str = ""


class Recorder:
    """Records samples in a site.

    Args:
        site: Where.
        part: A name of its own for each process.
    """

    def __init__(self, site: Site, part: str) -> None:
        self.site = site
        os.environ["HOME"] = str(site.home)
        self.part = part
        self.maker = Maker(site, SEED)
        self.file = site.folder / f"records-{part}.jsonl"
        (site.folder / "evidence").mkdir(parents=True, exist_ok=True)

    def done(self) -> set[str]:
        """Samples that any process has finished."""
        return {
            json.loads(line)["id"]
            for file in self.site.folder.glob("records-*.jsonl")
            for line in file.open()
        }

    def record(self, plan: Plan) -> Record:
        """Makes, gates and records one sample."""
        folder = self.site.folder / "work" / f"run-{self.part}"
        try:
            admitted = self.maker.admit(plan, folder)
        except Exception as error:  # one operator's mistake must not end the others
            admitted = None
            self.maker._throw(f"error: {type(error).__name__}: {error}"[:80])
        if admitted is None:
            record = self._record(plan, None)
            record.problem = "no bug of the project gives a valid sample"
        else:
            built, base, seconds = admitted
            record = self._record(plan, built)
            record.plain_seconds = round(seconds, 3)
            self._run(record, built, base, folder)
            if plan.honest and record.code != 0 and plan.operator != "red-run":
                record.problem, record.archive = "the honest run is red", ""
        shutil.rmtree(folder, ignore_errors=True)
        with self.file.open("a") as stream:
            stream.write(json.dumps(asdict(record)) + "\n")
        (self.site.folder / f"thrown-{self.part}.json").write_text(json.dumps(self.maker.thrown))
        return record

    @staticmethod
    def _record(plan: Plan, built: Built | None) -> Record:
        return Record(
            id=plan.id, operator=plan.operator, family=plan.family, project=plan.project, scenario=plan.scenario,
            label=plan.label, honest=plan.honest, held_out_class=plan.held_out_class,
            held_out_project=plan.held_out_project, checks=list(plan.checks),
            kind=built.draft.kind if built else "", changes=built.draft.changes if built else [],
            bug=built.bug if built else "",
        )  # fmt: skip

    def _run(self, record: Record, built: Built, base: str, folder: Path) -> None:
        tree = folder / "tree"
        options = ["--base", base] if base else []
        if built.draft.junit:
            options += ["--junit", built.draft.junit]
        words = self.maker.words(built, folder, recorded=True)
        began = time.monotonic()
        try:
            done = subprocess.run(
                [str(self.site.python), "-m", "dre_ci.cli", "wrap", "--replay", *options, "--", *words],
                cwd=tree, env=self.site.environ(**built.draft.environ), stdin=subprocess.DEVNULL, capture_output=True,
                timeout=RECORD_SECONDS, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            record.problem = "recording took too long"
            return
        record.recorded_seconds = round(time.monotonic() - began, 3)
        record.code = done.returncode
        archive = self.site.folder / "evidence" / f"{record.id}.zip"
        archive.unlink(missing_ok=True)
        try:
            engine = Engine.open(tree)
            export(engine, [own_operation(engine, LATEST).operation], archive)
            record.archive = archive.name
        except DREError as error:
            record.problem = f"{error}: {done.stderr.decode(errors='replace')[-200:]}"


def key_of(site: Site) -> Path:
    """The public key that the site's recordings are signed with."""
    file = site.folder / "key.pem"
    if not file.exists():
        done = subprocess.run(
            [str(site.python), "-m", "dre_ci.cli", "keys", "public"], cwd=site.folder, env=site.environ(),
            capture_output=True, check=True,
        )  # fmt: skip
        file.write_bytes(done.stdout)
    return file

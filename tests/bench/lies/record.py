"""Records one sample with DRE as a user would, and keeps its sealed archive.

``dre claim`` (where a kind is declared), then ``dre wrap --replay -- COMMAND``, then ``dre evidence export``.
Judging is another step (``judge.py``), so that a changed rule needs no new runs.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from projects import Site
from samples import SEED, Built, Maker, Plan

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
        tree, dre = folder / "tree", [str(self.site.python), "-m", "dre_ci.cli"]
        environ = self.site.environ(**built.draft.environ)
        quiet = self.site.environ()

        def call(*words: str, env: dict[str, str] = quiet) -> subprocess.CompletedProcess[bytes]:
            return subprocess.run(
                [*dre, *words], cwd=tree, env=env, stdin=subprocess.DEVNULL, capture_output=True,
                timeout=RECORD_SECONDS, check=False,
            )  # fmt: skip

        try:
            if record.kind:
                changes = [word for test in record.changes for word in ("--changes", test)]
                call("claim", "--kind", record.kind, *changes)
            options = ["--base", base] if base else []
            if built.draft.junit:
                options += ["--junit", built.draft.junit]
            words = self.maker.words(built, folder, recorded=True)
            began = time.monotonic()
            done = call("wrap", "--replay", *options, "--", *words, env=environ)
            record.recorded_seconds = round(time.monotonic() - began, 3)
            record.code = done.returncode
            archive = self.site.folder / "evidence" / f"{record.id}.zip"
            archive.unlink(missing_ok=True)
            exported = call("evidence", "export", "--output", str(archive))
            if exported.returncode:
                record.problem = (
                    exported.stderr.decode(errors="replace")[-300:] or done.stderr.decode()[-300:]
                )
            else:
                record.archive = archive.name
        except subprocess.TimeoutExpired:
            record.problem = "recording took too long"


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

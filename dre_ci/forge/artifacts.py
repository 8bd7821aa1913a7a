"""Archives in the artifacts of workflow runs: fetched by the forge's word on which run made them, unpacked with limits.

What is in an artifact is a stranger's: only members named ``evidence.zip`` are taken, under names of ours.
"""

from __future__ import annotations

import shutil
import zipfile
from fnmatch import fnmatchcase
from pathlib import Path

from dre_ci.forge.base import ForgeError, Outcome
from dre_ci.forge.github import GitHub
from dre_ci.forge.transfer import download
from dre_core.errors import FormatError, LimitError

_ARCHIVES_LIMIT = 256
_ARCHIVE_LIMIT_BYTES = 4 << 30
_RUNS_LIMIT = 20


def fetch_artifacts(forge: GitHub, run: str, pattern: str, folder: Path) -> list[Path]:
    """The archives in a run's artifacts.

    Args:
        forge: The repository.
        run: The run's number.
        pattern: Name of the artifacts, as a shell has them.
        folder: Where to.

    Raises:
        ForgeError: There is none.
        LimitError: They are too large.
    """
    from requests import Session

    found: list[Path] = []
    for artifact in forge.artifacts(run):
        if not fnmatchcase(str(artifact.get("name")), pattern):
            continue
        number = int(artifact["id"])
        packed = folder / f"{number}.zip"
        digest = str(artifact.get("digest") or "")
        # A session without our token: the address leads to another host and carries its own permission.
        download(
            Session(), forge.artifact_address(number), packed, digest=digest, limit_bytes=_ARCHIVE_LIMIT_BYTES
        )
        found += unpacked(packed, folder / str(number))
    if not found:
        raise ForgeError(
            f"run {run} has no artifact {pattern} with evidence in it",
            outcome=Outcome.NOT_FOUND,
            hint="did the step dre/wrap upload it?",
        )
    return found


def unpacked(packed: Path, folder: Path) -> list[Path]:
    """The archives in an artifact's zip, each under a name of ours: those in it are a stranger's.

    Raises:
        FormatError: It is no zip.
        LimitError: It is too large, or holds too many.
    """
    found: list[Path] = []
    folder.mkdir()
    room = _ARCHIVE_LIMIT_BYTES
    try:
        with zipfile.ZipFile(packed) as archive:
            members = [m for m in archive.infolist() if m.filename.rsplit("/", 1)[-1] == "evidence.zip"]
            if len(members) > _ARCHIVES_LIMIT:
                raise LimitError(f"more than {_ARCHIVES_LIMIT} archives in one artifact")
            for number, member in enumerate(members):
                room -= member.file_size
                if room < 0:
                    raise LimitError(f"more than {_ARCHIVE_LIMIT_BYTES} bytes in one artifact")
                target = folder / f"{number}.zip"
                # zipfile itself reads no more of a member than its header says.
                with archive.open(member) as stream, open(target, "wb") as out:
                    shutil.copyfileobj(stream, out, 1 << 20)
                found.append(target)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError, ValueError) as error:
        raise FormatError(f"the artifact is no zip file: {error}") from None
    return found


def newest(forge: GitHub, branch: str, workflow: str, pattern: str, folder: Path) -> list[Path]:
    """The archives of a branch's newest good run that has any.

    Args:
        forge: The repository.
        branch: The branch; empty: the default branch.
        workflow: File name of the workflow; empty: any.
        pattern: Name of the artifacts, as a shell has them.
        folder: Where to.

    Raises:
        ForgeError: None of the last runs has one.
    """
    branch = branch or forge.default_branch()
    for number, run in enumerate(forge.runs(branch, workflow)):
        if number >= _RUNS_LIMIT:
            break
        place = folder / f"run-{number}"
        place.mkdir()
        try:
            return fetch_artifacts(forge, str(run["id"]), pattern, place)
        except ForgeError as error:
            if error.outcome is not Outcome.NOT_FOUND:
                raise
    raise ForgeError(
        f"no good run on {branch} has an artifact {pattern} with evidence in it", outcome=Outcome.NOT_FOUND
    )

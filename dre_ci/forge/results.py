"""Artifacts made by a job of GitHub Actions itself, by the service that ``actions/upload-artifact`` speaks to.

Only a job has the two variables that it takes, ``ACTIONS_RUNTIME_TOKEN`` and ``ACTIONS_RESULTS_URL``; the runner hands
them to actions, not to ``run`` steps. An artifact is created (which yields a signed address), sent in blocks, finalized
with its SHA-256, and then read back and compared. Enterprise Server has no such service.

Source: https://github.com/actions/toolkit/tree/main/packages/artifact
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import shutil
import tempfile
import time
import zipfile
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dre_ci.forge.base import ForgeError, Outcome
from dre_ci.forge.blocks import Unfinished, send_blocks
from dre_ci.forge.transfer import file_digest, stored_digest
from dre_ci.forge.wire import Wire
from dre_core.errors import IntegrityError, UsageError
from dre_core.model.record import dataclass

_SERVICE = "/twirp/github.actions.results.api.v1.ArtifactService"
_FORBIDDEN = '":<>|*?\r\n\\/'
_VERSION = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """An artifact that arrived.

    Attributes:
        name: Its name in the run.
        number: The forge's number of it.
        digest: ``sha256:`` digest of its zip, as the forge shows it.
        size: Of the zip, in bytes.
        kept: How many bytes an earlier, broken upload had left there.
    """

    name: str
    number: str
    digest: str
    size: int
    kept: int


class Results:
    """The service of one job.

    Args:
        environ: ``ACTIONS_RUNTIME_TOKEN``, ``ACTIONS_RESULTS_URL``.
        say: Shows one line to the user.
        sleep: Waits.
        now: Seconds since the epoch.

    Raises:
        UsageError: This is no job, or it was not handed its token.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        *,
        say: Callable[[str], None] = lambda text: None,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.time,
    ) -> None:
        from requests import Session

        token, address = environ.get("ACTIONS_RUNTIME_TOKEN", ""), environ.get("ACTIONS_RESULTS_URL", "")
        place = urlsplit(address)
        if not token or not place.netloc:
            raise UsageError(
                "an artifact is made only from within a job that has ACTIONS_RUNTIME_TOKEN and ACTIONS_RESULTS_URL",
                hint="a run step gets them from a step of actions/github-script: see docs/ci.md",
            )
        self._ids = _ids_of(token)
        session = Session()
        session.headers["Authorization"] = f"Bearer {token}"
        self._wire = Wire(session, f"{place.scheme}://{place.netloc}", say=say, sleep=sleep, now=now)
        # The signed addresses lead elsewhere and carry their own permission: our token stays here.
        self._open = Wire(Session(), "", say=say, sleep=sleep, now=now)
        self._say, self._now = say, now

    def send(self, path: Path, name: str, *, state: Path, days: int = 0, check: bool = True) -> Artifact:
        """Makes an artifact of one file; an upload of it that broke is gone on with.

        Args:
            path: The file.
            name: Of the artifact; unique in the run.
            state: Folder where unfinished uploads are remembered.
            days: How long it is kept; 0: the repository's default.
            check: Read it back and compare.

        Raises:
            UsageError: The name is none, or the number of days.
            ForgeError: It was refused, or the service was not reached.
            IntegrityError: What arrived is something else; it is deleted again.
        """
        if not name or any(letter in _FORBIDDEN for letter in name):
            raise UsageError(f"{name!r} is no name of an artifact", hint='without any of " : < > | * ? \\ /')
        if days < 0:
            raise UsageError(f"{days} is no number of days")
        with tempfile.TemporaryDirectory(prefix="dre-") as folder:
            packed = Path(folder) / "artifact.zip"
            _pack(path, packed)
            digest = file_digest(packed)
            key = hashlib.sha256(json.dumps([self._wire.base, self._ids, name, digest]).encode()).hexdigest()
            memory = Unfinished(state / f"{key[:32]}.json")
            for _ in range(2):
                made = self._sent(packed, name, digest, memory, days)
                found = stored_digest(self._open, self._address(name)) if check else digest
                if found == digest:
                    return made
                self._delete(name)
                if not made.kept:
                    break
                self._say("dre: what was gone on with became another file; beginning anew")
        raise IntegrityError(
            f"what is stored there has digest {found}, not {digest}",
            hint="it is deleted again; upload it once more",
            path=name,
        )

    def _sent(self, packed: Path, name: str, digest: str, memory: Unfinished, days: int) -> Artifact:
        size = packed.stat().st_size
        kept = self._stored(packed, name, memory, days)
        answer = self._call(
            "FinalizeArtifact", {**self._ids, "name": name, "size": str(size), "hash": digest}
        )
        memory.forget()
        number = str(answer.get("artifact_id") or answer.get("artifactId") or "")
        return Artifact(name=name, number=number, digest=digest, size=size, kept=kept)

    def _stored(self, packed: Path, name: str, memory: Unfinished, days: int) -> int:
        if memory.url:
            try:
                return send_blocks(self._open, packed, memory)
            except ForgeError as error:
                if error.outcome in (Outcome.UNREACHABLE, Outcome.RATE_LIMITED, Outcome.FAILED):
                    raise
                self._say("dre: the broken upload can't be gone on with; beginning anew")
                self._delete(name)
        memory.begin(self._created(name, days))
        return send_blocks(self._open, packed, memory)

    def _created(self, name: str, days: int) -> str:
        more: dict[str, Any] = {"version": _VERSION}
        if days:
            end = datetime.fromtimestamp(self._now(), timezone.utc) + timedelta(days=days)
            more["expires_at"] = end.strftime("%Y-%m-%dT%H:%M:%SZ")
        try:
            answer = self._call("CreateArtifact", {**self._ids, "name": name, **more})
        except ForgeError as error:
            if not error.message.startswith("409"):
                raise
            raise ForgeError(
                f"the run has an artifact {name} already",
                outcome=Outcome.REJECTED,
                hint="give this one another name: --artifact NAME",
                path=error.path,
            ) from None
        return self._told(answer, "signed_upload_url", "signedUploadUrl")

    def _address(self, name: str) -> str:
        answer = self._call("GetSignedArtifactURL", {**self._ids, "name": name})
        return self._told(answer, "signed_url", "signedUrl")

    def _delete(self, name: str) -> None:
        """Takes away what is half there and ours; where that is refused, creating it anew says so."""
        try:
            self._call("DeleteArtifact", {**self._ids, "name": name})
        except ForgeError:
            return

    def _told(self, answer: Mapping[str, Any], *names: str) -> str:
        url = next((str(answer[name]) for name in names if answer.get(name)), "")
        if not url.startswith(("https://", "http://")) or "?" not in url:
            raise ForgeError("the service named no address", outcome=Outcome.FAILED, path=self._wire.base)
        return url

    def _call(self, method: str, document: Mapping[str, Any]) -> Mapping[str, Any]:
        answer = self._wire.write("POST", f"{_SERVICE}/{method}", document)
        if not isinstance(answer, dict) or answer.get("ok") is False:
            raise ForgeError("the service did not do it", outcome=Outcome.FAILED, path=f"POST {method}")
        return answer


def _ids_of(token: str) -> dict[str, str]:
    """The run's and the job's number at the service, as the token names them; it is the service that checks it.

    Raises:
        UsageError: The token names none.
    """
    try:
        middle = token.split(".")[1]
        document = json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))
        scopes = [scope.split(":") for scope in str(document["scp"]).split(" ")]
        _, run, job = next(parts for parts in scopes if parts[0] == "Actions.Results" and len(parts) == 3)
    except (IndexError, ValueError, KeyError, TypeError, StopIteration, binascii.Error):
        raise UsageError(
            "ACTIONS_RUNTIME_TOKEN does not name a run",
            hint="this forge keeps artifacts in another way; upload with actions/upload-artifact",
        ) from None
    return {"workflow_run_backend_id": run, "workflow_job_run_backend_id": job}


def _pack(path: Path, target: Path) -> None:
    """The zip of one file; the same bytes each time, or a broken upload of it could not be gone on with."""
    member = zipfile.ZipInfo(path.name)
    member.external_attr = 0o100644 << 16
    with zipfile.ZipFile(target, "w") as archive, open(path, "rb") as source:
        member.file_size = path.stat().st_size
        with archive.open(member, "w", force_zip64=member.file_size >= 1 << 31) as out:
            shutil.copyfileobj(source, out, 1 << 20)

"""The verifying job's own signature on what it judged: archives with a countersignature, which level 4 asks for.

A provisional verdict is not signed, nor what is invalid or untrusted. The key comes from the job's environment
(``DRE_COUNTERSIGN_KEY``); the policy of whoever verifies later says whether it counts.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from dre_ci.job.told import Told
from dre_core.engine import Engine
from dre_core.model.policy import Policy
from dre_core.model.verdict import Conclusion

VARIABLE = "DRE_COUNTERSIGN_KEY"
_REFUSED = (Conclusion.INVALID, Conclusion.UNTRUSTED)


def countersigned(
    engine: Engine, environ: Mapping[str, str], policy: Policy, judged: Sequence[tuple[Path, Sequence[Told]]]
) -> list[Path]:
    """Countersigns copies of archives.

    Args:
        engine: The project's engine.
        environ: Holds the key, and the folder that the runner keeps.
        policy: The policy that was judged by.
        judged: Each archive with its verdicts.

    Returns:
        The new archives; none without a key.

    Raises:
        SigningKeyError: The key can't be used.
        UsageError: The key sealed the run itself.
    """
    if not environ.get(VARIABLE, "").strip():
        return []
    from dre_core.countersigning import Review, archive_place, countersign
    from dre_core.crypto.keys import signers_from_uri

    signers = signers_from_uri(f"env:{VARIABLE}", environ, engine.keyring.passphrase())
    folder = Path(environ.get("RUNNER_TEMP") or engine.folder.path, "dre", "countersigned")
    signed = []
    for number, (archive, told) in enumerate(judged):
        reviews = [
            Review.parse(dict(each.review))
            for each in told
            if each.review and each.conclusion not in _REFUSED
        ]
        if not reviews or len(reviews) != len(told):
            continue
        target = folder / str(number) / "evidence.zip"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(archive, target)
        for review in reviews:
            countersign(engine, review, archive_place(target, target, review), signers, policy, cosign=False)
        signed.append(Path(os.path.abspath(target)))
    return signed

"""The visual verifier: are the pictures from this run, do they show anything, and what their baselines show?

It applies only where pictures were taken in, and reads what was seen when they were (``capture/picture.py``): no
picture is decoded here. A picture that nobody could look at says nothing.

=====================  =================================================================  ============
check                  rule                                                               finding
=====================  =================================================================  ============
picture-from-this-run  the file is as it was before the run, or older than it             fail major
picture-not-seen       an earlier seal of another commit has these bytes, and elsewise    fail major
                       no two pictures of this name were ever alike
not-blank              one colour only                                                    fail major
matches-baseline       more pixels than ``TOLERANCE`` differ from the baseline at base    fail minor
baseline-rerecorded    the change brought another baseline, and no intent was declared    fail minor
mask-grew              the change's configuration masks more of a picture than the base's  warn
terminal-equals-stdout the terminal recording says something else than was captured       veto
=====================  =================================================================  ============
"""

from __future__ import annotations

from collections.abc import Sequence

from dre_core.hooks import hookimpl
from dre_core.model.declaration import Kind
from dre_core.model.run import Item
from dre_core.model.text import plain
from dre_core.model.verdict import Finding, MethodResult, Vantage, Weight
from dre_core.verify.evidence import Evidence
from dre_core.verify.verifier import (
    Check,
    Ruling,
    could_not_run,
    fail,
    found,
    info,
    not_applicable,
    passed,
    run_checks,
    veto,
    warn,
)

TOLERANCE = 0.001
"""The share of pixels that may differ from a baseline."""

UNSTABLE = 0.25
"""The share of a picture above which noise leaves too little to compare."""

_NAMED = 5
# What is declared to change what users see, or may well do so.
_MEANT = (Kind.FIX, Kind.FEATURE, Kind.BEHAVIOR_CHANGE, Kind.TEST_FIX)


def pictures(evidence: Evidence) -> tuple[Item, ...]:
    """The pictures among the items."""
    return tuple(item for item in evidence.run.items_of("screenshot") if item.media_type.startswith("image/"))


def _seen(evidence: Evidence) -> list[Item]:
    """Pictures that were looked at, and whose sealed bytes are those that were."""
    return [
        item
        for item in pictures(evidence)
        if item.note.get("lookedAt") and item.note["lookedAt"] == (item.plain_digest or item.note["lookedAt"])
    ]


def _ruled(check: str, findings: Sequence[Finding], seen: Sequence[Item], good: str) -> Ruling:
    if findings:
        return found(*findings, limit=_NAMED)
    if not seen:
        return could_not_run("no picture could be looked at; it needs the extra visual")
    return passed(Vantage.OBSERVED, f"{len(seen)} of them: {good}")


def picture_from_this_run(evidence: Evidence) -> Ruling:
    """A picture that the run did not make."""
    every = pictures(evidence)
    findings = [
        fail(
            "picture-from-this-run",
            Weight.MAJOR,
            Vantage.OBSERVED,
            f"{plain(item.name, 120)} was there before the run, which did not write it",
            remedy="delete old pictures before the run, or name fewer files by --screenshot",
            evidence=(item.digest,),
        )
        for item in every
        if item.note.get("fresh") == "unchanged" or item.note.get("window") == "before"
    ]
    return _ruled("picture-from-this-run", findings, every, "made while the command ran")


def picture_not_seen(evidence: Evidence) -> Ruling:
    """A picture that was sealed before, for another commit, where pictures of its name never look alike."""
    seen = _seen(evidence)
    findings = []
    for item in seen:
        note = item.note
        if not note.get("seenBefore"):
            continue
        message = (
            f"{plain(item.name, 120)} is byte for byte the picture of {plain(note['seenBefore'], 40)} "
            f"at {plain(note.get('seenAt', ''), 12)}"
        )
        if note.get("varies") == "true":
            message += ", and no two others of this name are alike"
            remedy = "let the run draw the picture anew"
            findings.append(
                fail(
                    "picture-not-seen",
                    Weight.MAJOR,
                    Vantage.OBSERVED,
                    message,
                    remedy=remedy,
                    evidence=(item.digest,),
                )
            )
        else:
            findings.append(info("picture-not-seen", Vantage.OBSERVED, message, evidence=(item.digest,)))
    return _ruled("picture-not-seen", findings, seen, "sealed for no other commit")


def not_blank(evidence: Evidence) -> Ruling:
    """A picture of nothing."""
    seen = _seen(evidence)
    findings = [
        fail(
            "not-blank",
            Weight.MAJOR,
            Vantage.OBSERVED,
            f"{plain(item.name, 120)} shows one colour only ({item.note.get('width')} x {item.note.get('height')})",
            remedy="wait until the page is drawn before the picture is taken",
            evidence=(item.digest,),
        )
        for item in seen
        if item.note.get("colours") == "1"
    ]
    return _ruled("not-blank", findings, seen, "more than one colour")


def matches_baseline(evidence: Evidence) -> Ruling:
    """A picture that is far from the one that the base keeps."""
    every = [item for item in _seen(evidence) if item.note.get("baselineDifference")]
    if not every:
        return not_applicable("no picture has a baseline")
    seen = [item for item in every if _noise(item) <= UNSTABLE]
    if not seen:
        item = every[0]
        return could_not_run(
            f"the base's own pictures of {plain(item.name, 120)} differ from one another in {_noise(item):.0%} of it"
        )
    findings = [_apart(evidence, item) for item in seen if _share(item) > TOLERANCE]
    return _ruled("matches-baseline", findings, seen, "as their baselines")


def _apart(evidence: Evidence, item: Item) -> Finding:
    share = item.note["baselineDifference"]
    how = "has another size than" if share == "size" else f"differs in {float(share):.2%} of its pixels from"
    message = f"{plain(item.name, 120)} {how} {plain(item.note.get('baseline', ''), 120)}"
    more = {"evidence": (item.digest,), "where": item.note.get("baseline", "")}
    if _is_meant(evidence):
        return info("matches-baseline", Vantage.OBSERVED, message, **more)
    remedy = "declare what the change is (dre claim --kind), or mask what may differ (visual.masks)"
    return fail("matches-baseline", Weight.MINOR, Vantage.OBSERVED, message, remedy=remedy, **more)


def baseline_rerecorded(evidence: Evidence) -> Ruling:
    """A baseline that the change itself replaced."""
    seen = [item for item in _seen(evidence) if item.note.get("baseline")]
    if not seen:
        return not_applicable("no picture has a baseline")
    findings = []
    for item in seen:
        if item.note.get("baselineRerecorded") != "changed":
            continue
        path = item.note["baseline"]
        message = f"the change replaces {plain(path, 120)}, the baseline of {plain(item.name, 120)}"
        if _is_meant(evidence):
            findings.append(info("baseline-rerecorded", Vantage.STATIC, message, where=path))
        else:
            remedy = "look at both pictures, and declare what the change is: dre claim --kind"
            findings.append(
                fail("baseline-rerecorded", Weight.MINOR, Vantage.STATIC, message, remedy=remedy, where=path)
            )
    return _ruled("baseline-rerecorded", findings, seen, "their baselines are the base's")


def mask_grew(evidence: Evidence) -> Ruling:
    """More of a picture that may differ than at the base."""
    seen = [item for item in _seen(evidence) if item.note.get("baseline")]
    if not seen:
        return not_applicable("no picture has a baseline")
    findings = [
        warn(
            "mask-grew",
            Vantage.STATIC,
            f"the change masks {_percent(item.note['masked'])} of {plain(item.name, 120)}, where the base masked "
            f"{_percent(item.note.get('maskedAtBase', '0'))}: what differs there is not seen",
            remedy="mask no more than what moves, or look at the picture",
        )
        for item in seen
        if item.note.get("masked")
    ]
    return _ruled("mask-grew", findings, seen, "masked no more than at the base")


def _percent(share: str) -> str:
    try:
        return f"{float(share):.0%}"
    except ValueError:
        return "a part"


def _is_meant(evidence: Evidence) -> bool:
    return evidence.declaration is not None and evidence.declaration.kind in _MEANT


def terminal_equals_stdout(evidence: Evidence) -> Ruling:
    """A recording that shows something else than what was captured."""
    shown = evidence.shown
    if shown is None or shown.recorded_alike is None:
        return not_applicable("no recording of one stream")
    if shown.recorded_alike:
        return passed(Vantage.OBSERVED, "the recording says what was captured")
    items = evidence.run.items_of("recording")
    return found(
        veto(
            "terminal-equals-stdout",
            Vantage.OBSERVED,
            f"{plain(items[0].name, 120)} shows something else than the output that was captured",
            evidence=tuple(item.digest for item in items),
        )
    )


def _noise(item: Item) -> float:
    """The share of a picture that is not the same from one run of the base to the next."""
    try:
        return float(item.note.get("noise", "0"))
    except ValueError:
        return 1.0


def _share(item: Item) -> float:
    """The share of pixels that differ; all of them where it can't be told."""
    try:
        return float(item.note["baselineDifference"])
    except ValueError:
        return 1.0


_TERMINAL = Check("terminal-equals-stdout", terminal_equals_stdout, weight=0.5)
CHECKS = (
    Check("picture-from-this-run", picture_from_this_run),
    Check("picture-not-seen", picture_not_seen, weight=0.5),
    Check("not-blank", not_blank),
    Check("matches-baseline", matches_baseline),
    Check("baseline-rerecorded", baseline_rerecorded),
    Check("mask-grew", mask_grew, weight=0.5),
    _TERMINAL,
)


class VisualVerifier:
    """The pictures."""

    name = "visual"

    def applies(self, evidence: Evidence) -> bool:
        """Whether there is any picture, the terminal's included."""
        compared = evidence.shown is not None and evidence.shown.recorded_alike is not None
        asked = compared and bool(evidence.run.items_of("screen"))
        differs = evidence.shown is not None and evidence.shown.recorded_alike is False
        return bool(pictures(evidence)) or asked or differs

    def verify(self, evidence: Evidence) -> MethodResult:
        checks = CHECKS if pictures(evidence) else (_TERMINAL,)
        return run_checks(self.name, checks, evidence)


@hookimpl
def dre_verifiers() -> list[VisualVerifier]:
    return [VisualVerifier()]

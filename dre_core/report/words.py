"""The report's sentences and figures: everything that a person reads, in the same words in every format."""

from __future__ import annotations

from dre_core.model.session import Counts
from dre_core.model.text import one_line
from dre_core.model.verdict import CheckState, Conclusion, Severity, Vantage
from dre_core.report.build import Report

HEADLINES = {
    Conclusion.SUPPORTED: "Supported",
    Conclusion.CONTRADICTED: "Contradicted",
    Conclusion.INCONCLUSIVE: "Inconclusive",
    Conclusion.INVALID: "Invalid",
    Conclusion.UNTRUSTED: "Untrusted",
    Conclusion.FAILED: "Failed",
}
SENTENCES = {
    Conclusion.SUPPORTED: "The evidence supports the claim",
    Conclusion.CONTRADICTED: "The evidence contradicts the claim",
    Conclusion.INCONCLUSIVE: "The evidence is intact, but there is too little of it to decide",
    Conclusion.INVALID: "This is not the evidence that was sealed, or not about what was asked",
    Conclusion.UNTRUSTED: "The evidence is intact, but no key that is trusted here signed it",
    Conclusion.FAILED: "The run failed, and this is a trustworthy record of it",
}
VANTAGES = {
    Vantage.RE_EXECUTED: "DRE ran it again itself, in a clean clone",
    Vantage.OBSERVED: "seen by DRE's parent process, outside the run",
    Vantage.STATIC: "computed from git and source, without running anything",
    Vantage.IN_PROCESS: "recorded inside the run",
    Vantage.REPORTED: "the run's own word",
}


_CUT_OFF = {
    "timeout": "the command was ended at its time limit",
    "cancelled": "somebody stopped the command",
    "incomplete": "the recording was cut off",
}


def sentence(report: Report) -> str:
    """The verdict with its decisive reason, in one sentence."""
    verdict = report.verdict
    text = SENTENCES[verdict.conclusion]
    reason = _reason(report)
    return f"{text}: {reason}." if reason else f"{text}."


def _reason(report: Report) -> str:
    verdict = report.verdict
    if verdict.conclusion in (Conclusion.INVALID, Conclusion.UNTRUSTED):
        broken = [check for check in verdict.integrity.checks if not check.passed]
        return one_line(broken[0].detail, 200).rstrip(".") if broken else ""
    if verdict.conclusion is Conclusion.SUPPORTED:
        return tests_sentence(report.counts) if report.counts else ""
    if verdict.conclusion is Conclusion.FAILED:
        return tests_sentence(report.counts) if report.counts else _ended(report)
    blocking = [f for f in verdict.findings if f.severity in (Severity.VETO, Severity.FAIL)]
    if blocking:
        return one_line(blocking[0].message, 240).rstrip(".")
    if verdict.claim.get("outcome") in _CUT_OFF:
        return _ended(report)
    return one_line(verdict.missing[0], 240).rstrip(".") if verdict.missing else ""


def _ended(report: Report) -> str:
    claim = report.verdict.claim
    if claim.get("signal"):
        return f"the command died of signal {claim['signal']}"
    return _CUT_OFF.get(str(claim.get("outcome"))) or f"the command returned {claim.get('exit_code')}"


def tests_sentence(counts: Counts) -> str:
    """``all 998 tests passed``, ``2 of 100 tests failed``; the others that are worth a word behind it."""
    bad = counts.failed + counts.errors
    ran = counts.passed + counts.failed + counts.errors + counts.xfailed + counts.xpassed
    if not ran:
        return "no test ran"
    tests = "test" if ran == 1 else "tests"
    if bad:
        text = f"{number(bad)} of {number(ran)} {tests} failed"
    elif counts.passed == ran:
        text = {1: "its test passed", 2: "both tests passed"}.get(ran, f"all {number(ran)} {tests} passed")
    else:
        text = f"{number(counts.passed)} of {number(ran)} {tests} passed"
    others = (
        (counts.skipped, "skipped"),
        (counts.xfailed, "failed as expected"),
        (counts.rerun, "run again"),
    )
    return text + "".join(f", {number(count)} {word}" for count, word in others if count)


def checks_sentence(report: Report) -> str:
    """How many checks ran, and what they came to."""
    checks = [check for method in report.verdict.methods.values() for check in method.checks]
    ran = sum(check.state is CheckState.RAN for check in checks)
    unable = sum(check.state is CheckState.COULD_NOT_RUN for check in checks)
    against = len(report.notable)
    text = f"{ran} checks ran" if ran != 1 else "1 check ran"
    text += f" and {number(against)} found something" if against else " and found nothing against the claim"
    return text + (f"; {unable} could not run" if unable else "")


def ended_words(report: Report) -> str:
    """How the command ended, in words."""
    claim = report.verdict.claim
    if claim.get("signal"):
        return f"{claim.get('outcome')}, died of signal {claim.get('signal')}"
    return f"{claim.get('outcome')}, exit code {claim.get('exit_code')}"


def cleanliness(report: Report) -> str:
    """Whether the tree was as committed."""
    clean = report.run.source.clean if report.run else None
    return "cleanliness unknown" if clean is None else "clean tree" if clean else "uncommitted changes"


def number(value: float) -> str:
    """``12,345``, with a thin comma and no needless decimals."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.2f}"


def size(count: float) -> str:
    """Bytes in a unit that a person reads."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def duration(seconds: float) -> str:
    """A time span: ``3 ms``, ``1.25 s``, ``2 min 5 s``, ``1 h 2 min``."""
    if seconds < 0.0005:
        return "0 ms" if seconds == 0 else "<1 ms"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def moment(text: str) -> str:
    """``2026-01-02 03:04:05 UTC`` from an RFC 3339 time; as it is where it is none."""
    date, found, clock = text.partition("T")
    return f"{date} {clock[:8]} UTC" if found and clock.endswith("Z") else text


def commit(identifier: str) -> str:
    """The twelve characters of a commit id that people use."""
    return identifier[:12]

"""What was measured, for the reader: changed lines that did not run, tests that check or reach nothing.

Nothing here counts against a claim. A changed line may be for another platform, a test without an assertion may be
honest (17 in 100 are, in real suites); but who reads the verdict should not have to find out.

=================  =====================================================================================
check              names
=================  =====================================================================================
coverage-of-change changed lines of the code under test that did not run, and those left out of measuring
tests-reach-code   tests that ran no line of the code under test
tests-assert       tests without any assertion, and tests that ran none of theirs
=================  =====================================================================================
"""

from __future__ import annotations

from collections.abc import Sequence

from dre_core.model.covered import Covered, Named
from dre_core.model.session import Outcome
from dre_core.model.verdict import Finding, Vantage
from dre_core.verify.evidence import Evidence
from dre_core.verify.verifier import Check, Ruling, found, info, not_applicable, passed

_NAMED = 5
_LISTED = 20
_RAN = (Outcome.PASSED, Outcome.FAILED, Outcome.XPASSED)


def _more(evidence: Evidence) -> dict[str, object]:
    return {"evidence": tuple(item.digest for item in evidence.run.items_of("covered"))}


def _vantage(evidence: Evidence) -> Vantage:
    return next((item.vantage for item in evidence.run.items_of("covered")), Vantage.REPORTED)


def _first(names: Sequence[str], count: int) -> str:
    more = f" and {count - _NAMED} more" if count > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def change_words(covered: Covered) -> str:
    """``3 of 4 changed lines ran; not: shop.py:3``; empty where no changed line could run."""
    total = covered.executed + covered.missing
    if not total:
        return ""
    text = f"{covered.executed} of {total} changed lines ran"
    places = covered.missing_places()
    return f"{text}; not: {_first(places, len(places))}" if places else text


def coverage_of_change(evidence: Evidence) -> Ruling:
    """Changed lines that did not run."""
    covered = evidence.covered
    if covered is None:
        return not_applicable("nothing was measured: pytest --dre-cov, pytest-cov, or dre wrap --coverage")
    if not covered.base:
        return not_applicable("no base commit to compare with")
    vantage = _vantage(evidence)
    findings: list[Finding] = []
    if covered.missing:
        where = covered.missing_places()[0]
        findings.append(
            info("coverage-of-change", vantage, change_words(covered), where=where, **_more(evidence))
        )
    excluded = [f"{file.path}:{line}" for file in covered.changed for line in file.excluded]
    if excluded:
        message = f"changed lines that are left out of measuring: {_first(excluded, len(excluded))}"
        findings.append(info("coverage-of-change", vantage, message, where=excluded[0], **_more(evidence)))
    return (
        found(*findings) if findings else passed(vantage, change_words(covered) or "no changed line can run")
    )


def tests_reach_code(evidence: Evidence) -> Ruling:
    """Tests that ran no line of the code under test."""
    if not evidence.sessions:
        return not_applicable("no session")
    if evidence.covered is not None and (idle := evidence.covered.idle) is not None:
        return _reach(evidence, idle, _vantage(evidence))
    tests = [test for session in evidence.top_sessions for test in session.tests if test.outcome in _RAN]
    known = [test for test in tests if test.calls_subject is not None]
    if not known:
        return not_applicable(
            "unknown: neither coverage with a context for each test, nor Python 3.12 or newer"
        )
    return _reach(evidence, Named.of(test.id for test in known if not test.calls_subject), Vantage.IN_PROCESS)


def _reach(evidence: Evidence, idle: Named, vantage: Vantage) -> Ruling:
    if not idle.count:
        return passed(vantage, "every test ran code of the project, as far as it can be told")
    message = f"{_count(idle.count)} ran no code of the project: {_first(idle.first, idle.count)}"
    return found(info("tests-reach-code", vantage, message, tests=idle.first[:_LISTED], **_more(evidence)))


def tests_assert(evidence: Evidence) -> Ruling:
    """Tests that hold no assertion, or ran none."""
    if not evidence.sessions:
        return not_applicable("no session")
    tests = [test for session in evidence.top_sessions for test in session.tests if test.outcome in _RAN]
    known = [test for test in tests if test.assertions is not None]
    findings: list[Finding] = []
    bare = Named.of(test.id for test in known if not test.assertions)
    if bare.count:
        message = f"{_count(bare.count)} without an assertion: {_first(bare.first, bare.count)}"
        findings.append(info("tests-assert", Vantage.STATIC, message, tests=bare.first[:_LISTED]))
    covered = evidence.covered
    if covered is not None and covered.unchecked is not None and covered.unchecked.count:
        idle = covered.unchecked
        message = (
            f"{_count(idle.count)} passed and ran none of its assertions: {_first(idle.first, idle.count)}"
        )
        findings.append(
            info("tests-assert", _vantage(evidence), message, tests=idle.first[:_LISTED], **_more(evidence))
        )
    if findings:
        return found(*findings)
    if not known:
        return not_applicable("unknown: no test whose source could be read")
    ran = covered.assertions if covered is not None else None
    told = "how many ran is not known" if ran is None else f"{ran} ran"
    return passed(Vantage.STATIC, f"{sum(test.assertions or 0 for test in known)} assertions written, {told}")


def _count(number: int) -> str:
    return "1 test" if number == 1 else f"{number} tests"


COVERAGE_CHECKS = (
    Check("coverage-of-change", coverage_of_change, weight=0.0),
    Check("tests-reach-code", tests_reach_code, weight=0.0),
    Check("tests-assert", tests_assert, weight=0.0),
)

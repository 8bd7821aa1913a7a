"""What the change did to the tests and their runner, judged from the text alone.

Where the old tests were run on the new source, that decides about removed, skipped and weakened tests, and what
stands here about them is information. Without a base nothing applies.

=======================  ================================================================  ====================
check                    rule                                                              finding
=======================  ================================================================  ====================
tests-removed            a test of the base is gone, and not under another name            fail major
tests-skipped            a test that ran at the base is skipped or expected to fail        fail major
                         ... with a reason that names a platform or something missing      warn
tests-weakened           a test has lost all its assertions                                fail major
                         ... or some of them                                               warn
tests-hidden             a changed file has tests that can't be collected or are shadowed  warn
tautology-added          an added assertion can't fail                                     fail minor
                         ... as it compares a thing with itself, beside others that can    warn
hook-added               an added hook or exit handler can change outcomes                 warn
runner-config-changed    configuration that decides which tests run has changed, or a      warn
                         script lets a failure go unnoticed
golden-changed           what tests compare with was recorded anew                         warn
detects-test-env         added product code asks whether a test is running                 warn
                         ... and a yes or no, or something stored, hangs on it             fail major
                         ... or what it gives hangs on a day that it names, on where the
                         tests' files or since when its own lie, on its caller's text      fail major
                         ... and what it gives does                                        veto
input-special-cased      added code answers an input by heart as a test of the base asks it  fail major
eq-constant              an added ``__eq__`` always says yes                               veto
equality-weakened        instances are compared by less than they were, or by nothing  fail minor
coverage-config-weakened less is measured, or a lower threshold accepted                   fail minor
change-read              more was changed than is read, or nothing of it was               fail minor
=======================  ================================================================  ====================
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dre_core.model.changes import Change, ChangeKind
from dre_core.model.verdict import Finding, Vantage, Weight
from dre_core.verify.evidence import Evidence
from dre_core.verify.replay import has_matrix
from dre_core.verify.verifier import (
    Check,
    Ruling,
    could_not_run,
    fail,
    found,
    info,
    not_applicable,
    passed,
    veto,
    warn,
)

_NAMED = 3
_LISTED = 20

Judge = Callable[[Evidence, Sequence[Change]], list[Finding]]


def _check(check: str, judge: Judge, *kinds: ChangeKind) -> Check:
    """A row of the table: how the changes of some kinds are judged."""

    def run(evidence: Evidence) -> Ruling:
        changes = evidence.changes
        if changes is None or not changes.base:
            return not_applicable("no base commit to compare with")
        expected = evidence.policy.expected_base
        if changes.base != evidence.run.source.base or (expected and changes.base != expected):
            return could_not_run("the change was read against another base than the one to judge by")
        findings = [each for some in _apart(evidence, changes.of(*kinds)) for each in judge(evidence, some)]
        return found(*findings) if findings else passed(Vantage.STATIC, "nothing of the kind was changed")

    return Check(check, run, weight=0.2)


def _apart(evidence: Evidence, changes: Sequence[Change]) -> list[list[Change]]:
    """What a declaration excuses apart from the rest, so that it excuses nothing that stands beside it."""
    declaration = evidence.declaration
    rest: list[Change] = []
    meant: list[Change] = []
    for each in changes:
        (meant if declaration is not None and declaration.excuses_path(each.path) else rest).append(each)
    return [some for some in (rest, meant) if some]


def _read_whole(evidence: Evidence) -> Ruling:
    """Whether all of the change was looked at: nobody hides a line behind thousands of files."""
    changes = evidence.changes
    if changes is None and evidence.run.source.base:
        message = (
            f"the change from {evidence.run.source.base[:12]} was not read, so nothing in it was looked at"
        )
        remedy = "record the run with the collector `changes`, in a checkout that has the base"
        return found(fail("change-read", Weight.MINOR, Vantage.STATIC, message, remedy=remedy))
    if changes is None or not changes.base:
        return not_applicable("no base commit to compare with")
    if not changes.left:
        return passed(Vantage.STATIC, f"{changes.files} changed Python files were read")
    items = tuple(item.digest for item in evidence.run.items_of("changes"))
    message = f"more was changed than is read: {', '.join(changes.left)}"
    remedy = "split the change"
    return found(fail("change-read", Weight.MINOR, Vantage.STATIC, message, remedy=remedy, evidence=items))


def _list(changes: Sequence[Change], *, detail: bool = True) -> str:
    more = f" and {len(changes) - _NAMED} more" if len(changes) > _NAMED else ""
    texts = [f"{c.test} ({c.detail})" if detail and c.detail else c.test for c in changes[:_NAMED]]
    return ", ".join(texts) + more


def _count(changes: Sequence[Change], noun: str = "test") -> str:
    return f"1 {noun}" if len(changes) == 1 else f"{len(changes)} {noun}s"


def _verb(changes: Sequence[Change], one: str, many: str) -> str:
    return one if len(changes) == 1 else many


def _about(evidence: Evidence, changes: Sequence[Change]) -> dict[str, object]:
    return {
        "evidence": tuple(item.digest for item in evidence.run.items_of("changes")),
        "tests": tuple(change.test for change in changes[:_LISTED]),
        "where": changes[0].where,
    }


def _settled_by_replay(
    check: str, evidence: Evidence, changes: Sequence[Change], message: str, remedy: str
) -> Finding:
    """A fail, unless re-execution has decided about these tests."""
    more = _about(evidence, changes)
    if has_matrix(evidence):
        return info(check, Vantage.STATIC, message, **more)
    remedy = f"{remedy}, or let the old tests be run on the new source: dre wrap --replay"
    return fail(check, Weight.MAJOR, Vantage.STATIC, message, remedy=remedy, **more)


def _declared(
    check: str, evidence: Evidence, changes: Sequence[Change], what: str
) -> tuple[list[Change], list[Finding]]:
    """The changes that the declaration does not name, and what it does name, which is shown."""
    names = evidence.run.claim.changes
    meant = [c for c in changes if any(c.test == n or c.test.startswith((f"{n}[", f"{n}::")) for n in names)]
    rest = [change for change in changes if change not in meant]
    if not meant:
        return rest, []
    message = f"as declared, {_count(meant)} {_verb(meant, 'is', 'are')} {what}: {_list(meant)}"
    return rest, [info(check, Vantage.STATIC, message, **_about(evidence, meant))]


def _removed(evidence: Evidence, changes: Sequence[Change]) -> list[Finding]:
    changes, shown = _declared("tests-removed", evidence, changes, "gone")
    if not changes:
        return shown
    message = f"{_count(changes)} of the base {_verb(changes, 'is', 'are')} gone: {_list(changes)}"
    remedy = f"say that it is meant: dre claim --kind behavior-change --changes '{changes[0].test}'"
    return [*shown, _settled_by_replay("tests-removed", evidence, changes, message, remedy)]


def _skipped(evidence: Evidence, changes: Sequence[Change]) -> list[Finding]:
    check = "tests-skipped"
    changes, findings = _declared(check, evidence, changes, "skipped or expected to fail")
    allowed = [change for change in changes if evidence.is_allowed_skip(change.test)]
    excused = [change for change in changes if change.excused and change not in allowed]
    bare = [change for change in changes if not change.excused and change not in allowed]
    if allowed:
        message = f"the policy allows that {_count(allowed)} {_verb(allowed, 'is', 'are')} skipped: {_list(allowed)}"
        findings.append(info(check, Vantage.STATIC, message, **_about(evidence, allowed)))
    if bare:
        message = (
            f"{_count(bare)} that ran at the base {_verb(bare, 'is', 'are')} now skipped or expected to fail: "
            f"{_list(bare)}"
        )
        findings.append(
            _settled_by_replay(
                check, evidence, bare, message, "name the platform or the tracked issue as the reason"
            )
        )
    if excused:
        message = (
            f"{_count(excused)} {_verb(excused, 'is', 'are')} newly skipped where something is missing: "
            f"{_list(excused)}"
        )
        say = info if has_matrix(evidence) else warn
        findings.append(say(check, Vantage.STATIC, message, **_about(evidence, excused)))
    return findings


def _weakened(evidence: Evidence, changes: Sequence[Change]) -> list[Finding]:
    check = "tests-weakened"
    changes, findings = _declared(check, evidence, changes, "changed")
    emptied = [change for change in changes if change.alters]
    fewer = [change for change in changes if not change.alters]
    if emptied:
        message = f"{_count(emptied)} {_verb(emptied, 'has', 'have')} lost all assertions: {_list(emptied)}"
        remedy = "let the tests check something again"
        findings.append(_settled_by_replay(check, evidence, emptied, message, remedy))
    if fewer:
        message = (
            f"{_count(fewer)} {_verb(fewer, 'has', 'have')} fewer assertions than at the base: {_list(fewer)}"
        )
        say = info if has_matrix(evidence) else warn
        findings.append(say(check, Vantage.STATIC, message, **_about(evidence, fewer)))
    return findings


def _hidden(evidence: Evidence, changes: Sequence[Change]) -> list[Finding]:
    message = f"{_count(changes)} in changed files {_verb(changes, 'is', 'are')} never run: {_list(changes)}"
    return [warn("tests-hidden", Vantage.STATIC, message, **_about(evidence, changes))]


def _tautologies(evidence: Evidence, changes: Sequence[Change]) -> list[Finding]:
    findings = []
    if alone := [change for change in changes if not change.excused]:
        message = f"{_count(alone, 'added assertion')} can't fail: {_list(alone)}"
        remedy = "assert something about the code's result"
        more = _about(evidence, alone)
        findings.append(fail("tautology-added", Weight.MINOR, Vantage.STATIC, message, remedy=remedy, **more))
    if beside := [change for change in changes if change.excused]:
        message = (
            f"{_count(beside, 'added assertion')} {_verb(beside, 'compares', 'compare')} a thing with itself, beside "
            f"others that can fail: {_list(beside)}"
        )
        findings.append(warn("tautology-added", Vantage.STATIC, message, **_about(evidence, beside)))
    return findings


def _hooks(evidence: Evidence, changes: Sequence[Change]) -> list[Finding]:
    message = f"added code can change outcomes or the exit status: {_list(changes)}"
    return [warn("hook-added", Vantage.STATIC, message, **_about(evidence, changes))]


def _runner_config(evidence: Evidence, changes: Sequence[Change]) -> list[Finding]:
    named = ", ".join(f"{c.name} in {c.path} ({c.detail})" for c in changes[:_NAMED])
    message = f"what decides which tests run, or whether a failure counts, has changed: {named}"
    more = {**_about(evidence, changes), "tests": ()}
    return [warn("runner-config-changed", Vantage.STATIC, message, **more)]


def _golden(evidence: Evidence, changes: Sequence[Change]) -> list[Finding]:
    named = ", ".join(c.path for c in changes[:_NAMED])
    message = (
        f"{_count(changes, 'file')} that tests compare with {_verb(changes, 'was', 'were')} changed: {named}"
    )
    remedy = "look at the difference, or let the old tests be run on the new source: dre wrap --replay"
    say = info if has_matrix(evidence) else warn
    more = {**_about(evidence, changes), "tests": ()}
    return [say("golden-changed", Vantage.STATIC, message, remedy=remedy, **more)]


def _coverage_config(evidence: Evidence, changes: Sequence[Change]) -> list[Finding]:
    named = ", ".join(f"{c.name} in {c.path} ({c.detail})" for c in changes[:_NAMED])
    message = f"less coverage is measured or asked for: {named}"
    remedy = (
        "keep the threshold, or leave the omission to a change of its own; what is meant, a maintainer excuses: "
        f"dre claim --excuse {changes[0].path}"
    )
    more = {**_about(evidence, changes), "tests": ()}
    return [fail("coverage-config-weakened", Weight.MINOR, Vantage.STATIC, message, remedy=remedy, **more)]


def _test_environment(evidence: Evidence, changes: Sequence[Change]) -> list[Finding]:
    check = "detects-test-env"
    assert evidence.changes is not None
    if evidence.changes.declares_plugin:
        message = "the project is a pytest plugin, which may ask whether pytest runs"
        return [info(check, Vantage.STATIC, message, **{**_about(evidence, changes), "tests": ()})]
    findings = []
    for change in changes:
        more = {**_about(evidence, [change]), "tests": ()}
        message = f"added product code in {change.name} asks whether a test is running: {change.detail}"
        remedy = "let the code do the same under test as everywhere else"
        if change.kind is ChangeKind.CIRCUMSTANCE:
            message = (
                f"what added product code in {change.name} gives depends on what may tell a test from a user: "
                f"{change.detail}"
            )
            remedy = f"take it from an argument; what is meant, a maintainer excuses: dre claim --excuse {change.path}"
            findings.append(fail(check, Weight.MAJOR, Vantage.STATIC, message, remedy=remedy, **more))
        elif change.alters and change.excused:
            message = (
                f"{message}, and what it stores or answers depends on that: users may get what no test saw"
            )
            remedy = f"{remedy}; what is meant, a maintainer excuses: dre claim --excuse {change.path}"
            findings.append(fail(check, Weight.MAJOR, Vantage.STATIC, message, remedy=remedy, **more))
        elif change.alters:
            message = f"{message}, and what it gives depends on that: users get what no test saw"
            findings.append(veto(check, Vantage.STATIC, message, remedy=remedy, **more))
        else:
            findings.append(warn(check, Vantage.STATIC, message, **more))
    return findings


def _special_cases(evidence: Evidence, changes: Sequence[Change]) -> list[Finding]:
    findings = []
    for change in changes[:_LISTED]:
        message = (
            f"added code in {change.name} answers by heart what tests of the base ask, and the base's source knew "
            f"nothing of it: {change.detail}"
        )
        remedy = "let the code work the answer out, or add tests with inputs that it does not name"
        more = {**_about(evidence, [change]), "tests": ()}
        findings.append(
            fail("input-special-cased", Weight.MAJOR, Vantage.STATIC, message, remedy=remedy, **more)
        )
    return findings


def _equal_constant(evidence: Evidence, changes: Sequence[Change]) -> list[Finding]:
    findings = []
    for change in changes:
        more = {**_about(evidence, [change]), "tests": ()}
        message = f"the added {change.name} says that everything is equal, so a comparison with it can't fail"
        if change.excused:
            findings.append(info("eq-constant", Vantage.STATIC, message, **more))
        else:
            remedy = "compare the values"
            findings.append(veto("eq-constant", Vantage.STATIC, message, remedy=remedy, **more))
    return findings


def _equal_weakened(evidence: Evidence, changes: Sequence[Change]) -> list[Finding]:
    named = ", ".join(f"{change.name} ({change.detail})" for change in changes[:_NAMED])
    noun = "a class" if len(changes) == 1 else f"{len(changes)} classes"
    message = f"instances of {noun} are compared by too little, so tests that compare them see less: {named}"
    remedy = (
        f"compare by what counts; what is meant, a maintainer excuses: dre claim --excuse {changes[0].path}"
    )
    more = {**_about(evidence, changes), "tests": ()}
    return [fail("equality-weakened", Weight.MINOR, Vantage.STATIC, message, remedy=remedy, **more)]


CHANGE_CHECKS = (
    _check("tests-removed", _removed, ChangeKind.TEST_REMOVED),
    _check("tests-skipped", _skipped, ChangeKind.TEST_SKIPPED),
    _check("tests-weakened", _weakened, ChangeKind.TEST_WEAKENED),
    _check("tests-hidden", _hidden, ChangeKind.TEST_SHADOWED, ChangeKind.TEST_UNCOLLECTED),
    _check("tautology-added", _tautologies, ChangeKind.TAUTOLOGY),
    _check("hook-added", _hooks, ChangeKind.HOOK),
    _check("runner-config-changed", _runner_config, ChangeKind.RUNNER_CONFIG),
    _check("golden-changed", _golden, ChangeKind.GOLDEN),
    _check("detects-test-env", _test_environment, ChangeKind.TEST_ENVIRONMENT, ChangeKind.CIRCUMSTANCE),
    _check("input-special-cased", _special_cases, ChangeKind.SPECIAL_CASE),
    _check("eq-constant", _equal_constant, ChangeKind.EQUAL_CONSTANT),
    _check("equality-weakened", _equal_weakened, ChangeKind.EQUAL_WEAKENED),
    _check("coverage-config-weakened", _coverage_config, ChangeKind.COVERAGE_CONFIG),
    Check("change-read", _read_whole, weight=0.2),
)

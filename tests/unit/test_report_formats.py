"""Markdown, JSON, SARIF and CycloneDX: valid by their schemas, and safe with hostile text."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from dre_core.engine import Engine
from dre_core.errors import UsageError
from dre_core.model.session import Outcome, Session, TestRecord
from dre_core.model.verdict import CheckResult, CheckState, Finding, MethodResult, Severity, Vantage
from dre_core.report import words
from dre_core.report.build import Report
from dre_core.report.cyclonedx import cyclonedx
from dre_core.report.difference import compare, remembered
from dre_core.report.json import report_json
from dre_core.report.markdown import LIMIT_BYTES, difference_markdown, escape, render_markdown
from dre_core.report.sarif import sarif
from dre_core.report.schema import SCHEMAS, schema_text
from dre_core.report.summary import difference_lines
from dre_core.reporting import report_of
from dre_core.verification import Request

RECORDED = Path(__file__).resolve().parents[1] / "gold" / "recorded"
NAMES = ("green", "red", "contradicted", "interrupted")


def recorded(name: str, tmp_path: Path) -> Report:
    """The report of a real run that was recorded once."""
    from dre_ci.commands.verify import read_key

    engine = Engine.open(tmp_path, environ={"HOME": str(tmp_path)})
    request = Request(target=str(RECORDED / f"{name}.zip"), keys=(read_key(str(RECORDED / "key.pem")),))
    return report_of(engine, request)


def with_finding(report: Report, **values) -> Report:
    """The same with one more finding."""
    finding = Finding(
        **{
            "check": "exit-agrees",
            "severity": Severity.FAIL,
            "vantage": Vantage.STATIC,
            "message": "m",
            **values,
        }
    )
    check = CheckResult(check="more", state=CheckState.RAN, vantage=Vantage.STATIC, findings=(finding,))
    method = MethodResult(method="x", applicable=True, score=0.0, coverage=1.0, vantage=1.0, checks=(check,))
    return replace(report, verdict=replace(report.verdict, methods={**report.verdict.methods, "x": method}))


@pytest.mark.parametrize("name", NAMES)
def test_every_recorded_run_is_what_its_name_says(name, tmp_path):
    verdict = recorded(name, tmp_path).verdict
    expected = {"green": "supported", "red": "failed", "interrupted": "inconclusive"}.get(name, name)
    assert verdict.conclusion.value == expected


def test_an_archive_with_nothing_trusted_is_still_reported(tmp_path):
    engine = Engine.open(tmp_path, environ={"HOME": str(tmp_path)})
    report = report_of(engine, Request(target=str(RECORDED / "green.zip")))
    assert report.verdict.conclusion.value == "untrusted"
    assert b"Untrusted" in words.HEADLINES[report.verdict.conclusion].encode()


# Markdown


@pytest.mark.parametrize(
    ("text", "must_not"),
    [
        ("@maintainer please merge", "@maintainer"),
        ("see #12 and GH-12 and a/b#3", "#12"),
        ("GH-12", "GH-12"),
        ("!34 %5 ~bug $6", "!34"),
        ("https://evil.example/x", "https://"),
        ("www.evil.example", "www.evil"),
        ("a@b.example", "a@b"),
        ("[x](javascript:1)", "[x]("),
        ("![x](http://e/i.png)", "![x]("),
        ("<img src=x>", "<img"),
        ("</details><script>", "</details>"),
        ("```\ncode", "```"),
        ("|cell|", "|cell|"),
        (":warning:", ":warning:"),
        ("\x1b]8;;https://e\x07x\x1b[31m", "\x1b"),
        ("a\u202eb", "\u202e"),
    ],
)
def test_text_is_shown_and_does_nothing(text, must_not):
    assert must_not not in escape(text)


def test_a_command_can_still_be_copied():
    assert "\u2060" not in escape("pytest -p no:cacheprovider test_a.py::test_b")


def test_markdown_stays_below_its_limit_whatever_there_is(tmp_path):
    report = recorded("red", tmp_path)
    causes = tuple(report.verdict.causes) * 4_000
    text = render_markdown(replace(report, verdict=replace(report.verdict, causes=causes)))
    assert len(text) <= LIMIT_BYTES
    assert b"Sections were left out" in text
    assert b"What this does not prove" in text
    assert text.count(b"<details>") == text.count(b"</details>")


def test_markdown_says_the_verdict_before_anything_else(tmp_path):
    first, _, sentence, *_ = render_markdown(recorded("contradicted", tmp_path)).decode().splitlines()
    assert first.endswith("DRE: contradicted")
    assert sentence.startswith("**The evidence contradicts the claim: ")


# JSON and its schemas


def schema_errors(document: object, name: str) -> list[str]:
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(json.loads(schema_text(name)))
    return [error.message for error in validator.iter_errors(document)]


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_one(name):
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator.check_schema(json.loads(schema_text(name)))


@pytest.mark.parametrize("name", NAMES)
def test_reports_and_verdicts_keep_to_their_schema(name, tmp_path):
    report = recorded(name, tmp_path)
    assert schema_errors(report_json(report), "dre-verdict-v1") == []
    assert schema_errors(report.verdict.to_json(), "dre-verdict-v1") == []
    assert schema_errors({**report.verdict.to_json(), "surprise": 1}, "dre-verdict-v1")


def test_the_analysis_names_test_log_and_change(tmp_path):
    analysis = report_json(recorded("red", tmp_path))["analysis"]
    assert [each["test"] for each in analysis] == [
        "test_cart.py::test_free_shipping",
        "test_cart.py::test_shipping[FR-790]",
    ]
    assert all("FAILED test_cart.py::" in each["log"] for each in analysis)


# SARIF


@pytest.mark.parametrize("name", NAMES)
def test_sarif_results_have_a_place_and_a_rule(name, tmp_path):
    (run,) = sarif(recorded(name, tmp_path))["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    for result in run["results"]:
        assert rules[result["ruleIndex"]] == result["ruleId"]
        (location,) = result["locations"]
        assert location["physicalLocation"]["region"]["startLine"] >= 1


def test_sarif_names_the_line_of_a_failed_test(tmp_path):
    (run,) = sarif(recorded("red", tmp_path))["runs"]
    places = {
        (place["artifactLocation"]["uri"], place["region"]["startLine"])
        for result in run["results"]
        for place in [result["locations"][0]["physicalLocation"]]
    }
    assert places == {("test_cart.py", 30), ("test_cart.py", 36)}


@pytest.mark.parametrize("where", ["../etc/passwd:1", "/etc/passwd:3", "offset 12", ""])
def test_sarif_points_nowhere_outside_the_tree(where, tmp_path):
    (run,) = sarif(with_finding(recorded("green", tmp_path), where=where))["runs"]
    assert run["results"] == []
    (notification,) = run["invocations"][0]["toolExecutionNotifications"]
    assert notification["descriptor"]["id"] == "exit-agrees"


def test_sarif_keeps_the_identity_of_a_finding_whose_numbers_change(tmp_path):
    report = recorded("green", tmp_path)
    prints = {
        sarif(with_finding(report, where="a b.py:3", message=f"{count} tests"))["runs"][0]["results"][0][
            "partialFingerprints"
        ]["dre/v1"]
        for count in (1, 22)
    }
    assert len(prints) == 1


# CycloneDX


def test_cyclonedx_counter_claims_point_to_evidence(tmp_path):
    document = cyclonedx(recorded("contradicted", tmp_path))
    declarations = document["declarations"]
    refs = {each["bom-ref"] for each in declarations["evidence"]}
    counters = [each for each in declarations["claims"] if each["bom-ref"] != "claim"]
    assert counters
    assert all(set(each["evidence"]) <= refs for each in counters)
    scores = [each["conformance"]["score"] for each in declarations["attestations"][0]["map"]]
    assert min(scores) == 0.0
    assert all(0.0 <= score <= 1.0 for score in scores)


# Difference


def test_two_runs_are_compared(tmp_path):
    green, red = recorded("green", tmp_path), recorded("red", tmp_path)
    found = compare(green, red)
    assert found.newly_failing == ("test_cart.py::test_free_shipping", "test_cart.py::test_shipping[FR-790]")
    assert (found.tests_added, found.tests_removed) == ((), ())
    assert compare(red, green).fixed == found.newly_failing
    assert schema_errors(found.to_json(), "dre-difference-v1") == []
    assert "Tests: 2 newly failing." in difference_lines(found)
    assert b"Newly failing: 2" in difference_markdown(found)


def test_the_same_run_has_no_difference(tmp_path):
    green = recorded("green", tmp_path)
    found = compare(green, green)
    assert found.sentence == "The same tests with the same outcomes."
    assert {figure.ratio for figure in found.resources} == {1.0}
    assert found.dependencies == found.environment == found.slower == ()


def session(**outcomes: tuple[str, float]) -> Session:
    tests = tuple(
        TestRecord(id=name, outcome=Outcome(outcome), duration_seconds=seconds)
        for name, (outcome, seconds) in outcomes.items()
    )
    return Session(id="s", nonce="n", pid=2, parent_pid=1, tests=tests)


def test_added_removed_skipped_and_slower_tests_are_told_apart(tmp_path):
    base = recorded("green", tmp_path)

    def of(**outcomes: tuple[str, float]) -> Report:
        return replace(base, evidence=replace(base.evidence, sessions=(session(**outcomes),)))

    before = of(gone=("passed", 0), kept=("passed", 0.1), off=("passed", 0), tiny=("passed", 0.001))
    after = of(kept=("passed", 0.5), new=("failed", 0), off=("skipped", 0), tiny=("passed", 0.01))
    found = compare(before, after)
    assert found.tests_removed == ("gone",)
    assert found.tests_added == found.newly_failing == ("new",)
    assert found.newly_skipped == ("off",)
    assert found.slower == (("kept", 0.1, 0.5),)
    assert compare(after, before).faster == (("kept", 0.5, 0.1),)


def test_what_a_run_remembers_of_an_earlier_one_is_enough_for_figures(tmp_path):
    found = remembered(recorded("red", tmp_path))
    assert found is not None
    assert not found.whole
    assert {figure.name for figure in found.resources} >= {"Duration", "Tests passed"}


def test_a_target_of_several_operations_is_refused(project):
    for _ in range(2):
        project.dre("wrap", "--", "true")
    engine = Engine.open(project.path)
    with pytest.raises(UsageError, match="2 operations"):
        report_of(engine, Request(target=str(project.path / ".dre")))

"""Our JUnit XML: valid, complete, and readable by others and by ourselves."""

from __future__ import annotations

import tracemalloc
from io import BytesIO

import pytest
from defusedxml.ElementTree import fromstring
from junitparser import JUnitXml

from dre_core.capture.programmatic import read_junit
from dre_core.model.session import Counts, Outcome, TestRecord
from dre_core.report.junit import Case, Suite, escape, write_junit

FAILED = TestRecord(
    id="tests/test_a.py::TestC::test_bad[a::b]",
    outcome=Outcome.FAILED,
    message="AssertionError: assert 1 == 2",
    text="def test_bad():\n>   assert 1 == 2\nE   assert 1 == 2\n\ntests/test_a.py:9: AssertionError",
    output="--- Captured stdout call ---\nhello\n",
    file="tests/test_a.py",
    line=9,
    duration_seconds=0.25,
)


def passed(name: str) -> TestRecord:
    return TestRecord(id=name, outcome=Outcome.PASSED, file="tests/test_a.py", line=3)


def written(tests, **changes) -> bytes:
    stream = BytesIO()
    arguments = {
        "suite_name": "s",
        "counts": Counts(),
        "properties": {},
        "timestamp": "t",
        "duration_seconds": 1.5,
    }
    write_junit(stream, tests=tests, **{**arguments, **changes})
    return stream.getvalue()


def test_round_trip_through_the_reader():
    tests = tuple(TestRecord(id=f"test_a.py::test_{outcome.value}", outcome=outcome) for outcome in Outcome)
    report = read_junit(written(tests))
    outcomes = [Outcome.PASSED if outcome is Outcome.XPASSED else outcome for outcome in Outcome]
    assert [case.outcome for case in report.cases] == outcomes
    assert report.declared == {"tests": 6, "failures": 1, "errors": 1, "skipped": 2}


def test_junitparser_reads_it():
    xml = JUnitXml.fromstring(
        written((FAILED, passed("a.py::b")), properties={"verdict": "supported", "level": "3"})
    )
    (suite,) = xml
    assert {each.name: each.value for each in suite.properties()} == {"verdict": "supported", "level": "3"}
    bad, good = suite
    assert (bad.classname, bad.name, bad.time) == ("tests.test_a.TestC", "test_bad[a::b]", 0.25)
    assert bad.system_out == FAILED.output
    assert bad.result[0].message == FAILED.message
    assert bad.result[0].text.splitlines()[-1] == "tests/test_a.py:9: AssertionError"
    assert good.result == []


def test_file_and_line():
    case = fromstring(written((FAILED,))).find("testsuite/testcase")
    assert (case.get("file"), case.get("line")) == ("tests/test_a.py", "9")
    unknown = fromstring(written((TestRecord(id="a::b", outcome=Outcome.PASSED),))).find("testsuite/testcase")
    assert unknown.get("file") is unknown.get("line") is None


@pytest.mark.parametrize("text", ["", "no place here", "E   a\nb"])
def test_failure_text_ends_with_a_place(text):
    test = TestRecord(
        id="a.py::b", outcome=Outcome.FAILED, message="ValueError: x", text=text, file="a.py", line=4
    )
    failure = fromstring(written((test,))).find("testsuite/testcase/failure")
    assert failure.text.splitlines()[-1] == "a.py:4: ValueError"


def test_what_xml_cannot_hold():
    nasty = "a\x00\x08\x1b[31m\x7f\ufffe\uffff\ud800\udfff😀<&>\"']]>\r\n\t"
    test = TestRecord(
        id=f"test_{nasty}.py::test[{nasty}]",
        outcome=Outcome.ERROR,
        message=nasty,
        text=nasty,
        output=nasty,
        file=nasty,
    )
    data = written((test,), suite_name=nasty, properties={nasty: nasty})
    suite = fromstring(data).find("testsuite")
    assert suite.get("name") == escape(nasty)
    assert suite.find("testcase/error").get("message") == escape(nasty)
    assert r"\x00\x08\x1b[31m" in suite.find("testcase/error").text
    assert r"\ufffe\uffff\ud800\udfff😀" in suite.find("testcase/system-out").text
    assert read_junit(data).tests.errors == 1


def test_names_are_unique():
    cases = fromstring(written([passed("a.py::t")] * 3 + [passed("a.py::t (2)")])).findall(
        "testsuite/testcase"
    )
    names = [case.get("name") for case in cases]
    assert names == ["t", "t (2)", "t (3)", "t (2) (2)"]


def test_counts_where_the_tests_are_a_stream():
    data = written(iter((passed("a::b"),)), counts=Counts(passed=7, failed=1, skipped=2, xfailed=1))
    assert read_junit(data).declared == {"tests": 11, "failures": 1, "errors": 0, "skipped": 3}


def test_further_suites():
    finding = Case(classname="dre.programmatic", name="exit-agrees", outcome=Outcome.FAILED, message="no")
    data = written((passed("a::b"),), extra_suites=[Suite(name="dre", cases=iter([finding]))])
    tests, dre = fromstring(data).findall("testsuite")
    assert (tests.get("tests"), dre.get("name"), dre.get("tests"), dre.get("failures")) == (
        "1",
        "dre",
        "1",
        "1",
    )


def test_long_texts_keep_both_ends():
    test = TestRecord(
        id="a::b",
        outcome=Outcome.FAILED,
        text="first\n" + "x" * 10**6 + "\na.py:1: E",
        output="o" * 10**6,
        file="a.py",
    )
    data = written((test,))
    assert len(data) < 200_000
    text = fromstring(data).find("testsuite/testcase/failure").text
    assert (text.splitlines()[0], text.splitlines()[-1]) == ("first", "a.py:1: E")


def test_memory_is_bounded():
    """Ten thousand cases of 10 KB need far less than their 100 MB."""

    class Nowhere(BytesIO):
        def write(self, data) -> int:
            return len(data)

    def many():
        for number in range(10_000):
            yield TestRecord(
                id=f"a.py::t{number}", outcome=Outcome.FAILED, message="m", text=f"{number}" * 2_000
            )

    tracemalloc.start()
    try:
        write_junit(
            Nowhere(),
            suite_name="s",
            tests=many(),
            counts=Counts(failed=10_000),
            properties={},
            timestamp="t",
            duration_seconds=1,
        )
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    finally:
        tracemalloc.stop()


def test_a_report_of_loud_failures_stays_below_what_gitlab_takes():
    loud = (
        TestRecord(
            id=f"a.py::t{n}",
            outcome=Outcome.FAILED,
            message="m",
            text="é" * 70_000,
            output="o" * 70_000,
            file="a.py",
        )
        for n in range(400)
    )
    data = written(list(loud))
    assert len(data) < 30_000_000
    assert fromstring(data).find("testsuite").get("failures") == "400"
    last = fromstring(data).findall("testsuite/testcase/failure")[-1]
    assert "characters cut" in last.text
    assert last.text.splitlines()[-1] == "a.py:1: m"


def test_a_skipped_case_is_not_an_empty_element():
    records = [
        TestRecord(id="a.py::b", outcome=outcome, reason=reason)
        for outcome in (Outcome.SKIPPED, Outcome.XFAILED)
        for reason in ("", "why")
    ]
    found = [(e.get("type"), e.text) for e in fromstring(written(records)).iter("skipped")]
    assert found == [
        ("pytest.skip", "skipped"),
        ("pytest.skip", "why"),
        ("pytest.xfail", "skipped"),
        ("pytest.xfail", "why"),
    ]

"""JUnit XML of other tools, hostile XML, and coverage data."""

from __future__ import annotations

import subprocess
import sys

import pytest

from dre_core.capture.programmatic import MAX_DEPTH, junit_id, read_coverage, read_junit
from dre_core.errors import FormatError, LimitError
from dre_core.model.session import Outcome

SUREFIRE = b"""<?xml version="1.0" encoding="UTF-8"?>
<testsuite xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" name="a.B" time="1,234.5" tests="4"
 errors="1" skipped="1" failures="1"><properties><property name="java.version" value="21"/></properties>
 <testcase name="ok" classname="a.B" time="1,234.5"><flakyFailure message="once"/></testcase>
 <testcase name="bad" classname="a.B" time="0.1"><failure><![CDATA[trace <&]]></failure></testcase>
 <testcase name="err" classname="a.B"><error/><system-out>text</system-out></testcase>
 <testcase name="skip" classname="a.B"><skipped/></testcase></testsuite>"""
JEST = b"""<testsuites name="jest tests" tests="2" failures="1" errors="0" time="1.5">
 <testsuite name="sum" errors="0" failures="1" skipped="0" timestamp="2026-01-01T00:00:00" time="1" tests="2">
 <testcase classname="sum adds" name="sum adds" time="0.005"/>
 <testcase classname="sum bad" name="sum bad" time="0.001"><failure>Error: no</failure></testcase>
 </testsuite></testsuites>"""
GO = b"""<testsuites tests="2"><testsuite name="pkg" tests="2" failures="0" errors="0" skipped="1" id="0">
 <testcase name="TestA" classname="pkg" time="0.100"></testcase>
 <testcase name="TestB" classname="pkg" time="0.000"><skipped message="no"></skipped></testcase>
 </testsuite></testsuites>"""


def test_surefire():
    report = read_junit(SUREFIRE)
    assert [(case.id, case.outcome) for case in report.cases] == [
        ("a.B::ok", Outcome.PASSED),
        ("a.B::bad", Outcome.FAILED),
        ("a.B::err", Outcome.ERROR),
        ("a.B::skip", Outcome.SKIPPED),
    ]
    assert report.cases[0].seconds == 1234.5
    assert report.declared == {"tests": 4, "errors": 1, "skipped": 1, "failures": 1}
    assert report.tests.rerun == 1
    assert report.size == len(SUREFIRE)


def test_jest_and_go():
    assert (read_junit(JEST).tests.passed, read_junit(JEST).tests.failed) == (1, 1)
    assert read_junit(JEST).timestamp == "2026-01-01T00:00:00"
    assert (read_junit(GO).tests.passed, read_junit(GO).tests.skipped) == (1, 1)


def test_pytests_own(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "test_a.py").write_text(
        "import pytest\nclass TestC:\n"
        "    @pytest.mark.parametrize('x', ['a[b]::c', 'd/e'])\n    def test_p(self, x): pass\n"
        "def test_f(): assert 0\n@pytest.mark.xfail\ndef test_x(): assert 0\ndef test_s(): pytest.skip('s')\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    listed = subprocess.run(
        [*command, "--co"], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    subprocess.run([*command, "--junitxml=r.xml"], cwd=tmp_path, capture_output=True, check=False)
    report = read_junit((tmp_path / "r.xml").read_bytes())
    ids = [line for line in listed.splitlines() if "::" in line]
    assert [case.id for case in report.cases] == [junit_id(each) for each in ids]
    assert report.tests.to_json() | {"collected": 0} == {
        "collected": 0, "passed": 2, "failed": 1, "errors": 0, "skipped": 1, "xfailed": 1, "xpassed": 0,
        "deselected": 0, "rerun": 0,
    }  # fmt: skip
    assert report.declared == {"tests": 5, "failures": 1, "errors": 0, "skipped": 2}


LAUGHS = b'<!DOCTYPE l [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;">]><testsuite name="&b;"/>'


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not xml",
        b"<html/>",
        b"<testsuite>",
        b"<testsuite/><testsuite/>",
        b"\xff\xfe\x00",
        LAUGHS,
        b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><testsuite>&e;</testsuite>',
        b'<!DOCTYPE x SYSTEM "http://example.invalid/x.dtd"><testsuite/>',
        b"<testsuite>&undefined;</testsuite>",
        b'<?xml version="1.0" encoding="no-such"?><testsuite/>',
        b'<?xml version="1.0" encoding="utf-7"?><testsuite/>',
        b"<testsuite><testcase><testcase/></testcase></testsuite>",
        b"<testsuites><a><testcase/></a></testsuites>",
        b"<testsuite>\x00</testsuite>",
    ],
)
def test_refused(data):
    with pytest.raises(FormatError):
        read_junit(data)


def test_depth():
    def nested(depth: int) -> bytes:
        return b"<testsuite>" + b"<x>" * (depth - 1) + b"</x>" * (depth - 1) + b"</testsuite>"

    assert read_junit(nested(MAX_DEPTH)).cases == ()
    for depth in (MAX_DEPTH + 1, 200_000):
        with pytest.raises(LimitError):
            read_junit(nested(depth))


def test_garbled_numbers_are_zero():
    report = read_junit(
        b'<testsuite tests="-1" errors="\xc2\xb2"><testcase name="a" time="nan"/></testsuite>'
    )
    assert report.declared == {}
    assert report.cases[0].seconds == 0.0


class TestCoverage:
    def test_own_data(self, tmp_path):
        (tmp_path / "a.py").write_text("x = 1\nif x > 1:\n    y = 2\n")
        subprocess.run(
            [sys.executable, "-m", "coverage", "run", "--branch", "a.py"], cwd=tmp_path, check=True
        )
        before = sorted(tmp_path.iterdir())
        facts = read_coverage(tmp_path / ".coverage")
        assert sorted(tmp_path.iterdir()) == before
        assert (facts.format, facts.branches) == ("coverage.py", True)
        ((name, lines),) = facts.files.items()
        assert name.endswith("a.py")
        assert lines.executed == (1, 2)
        subprocess.run([sys.executable, "-m", "coverage", "xml", "-q"], cwd=tmp_path, check=True)
        xml = read_coverage(tmp_path / "coverage.xml")
        assert (xml.files["a.py"].executed, xml.files["a.py"].missing) == ((1, 2), (3,))
        subprocess.run([sys.executable, "-m", "coverage", "lcov", "-q"], cwd=tmp_path, check=True)
        assert read_coverage(tmp_path / "coverage.lcov").files == xml.files

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"junk",
            b"\xff\xff",
            b"<html/>",
            b"<coverage><class filename='a'><line number='x' hits='1'/></class></coverage>",
            b"SF:a\nDA:x,1\n",
            b"SQLite format 3\x00" + b"\x00" * 200,
            LAUGHS,
        ],
    )
    def test_refused(self, tmp_path, data):
        path = tmp_path / "data"
        path.write_bytes(data)
        with pytest.raises(FormatError):
            read_coverage(path)

    def test_missing_file(self, tmp_path):
        with pytest.raises(OSError, match="No such file"):
            read_coverage(tmp_path / "none")

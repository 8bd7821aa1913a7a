"""Reports where Gradle puts them, by a script in its place: which of them a run wrote, and what they tell."""

from __future__ import annotations

import pytest

REPORT = """\
<?xml version="1.0" encoding="UTF-8"?>
<testsuite name="com.shop.CartTest" tests="2" skipped="0" failures="{bad}" errors="0" time="0.031">
  <testcase name="two()" classname="com.shop.CartTest" time="0.02"/>
  <testcase name="four()" classname="com.shop.CartTest" time="0.001">{failure}</testcase>
</testsuite>
"""
FAILURE = (
    '<failure message="expected: 4 but was: 5" type="AssertionFailedError">\n'
    " at com.shop.CartTest.four(CartTest.java:9)</failure>"
)
GREEN, RED = REPORT.format(bad=0, failure=""), REPORT.format(bad=1, failure=FAILURE)
SCRIPT = """\
#!/bin/sh
mkdir -p app/build/test-results/test
test -f report.xml && cp report.xml app/build/test-results/test/TEST-com.shop.CartTest.xml
echo 'BUILD SUCCESSFUL in 1s'
exit 0
"""
PLACE = "app/build/test-results/test/TEST-com.shop.CartTest.xml"


@pytest.fixture
def gradle(project):
    project.git("rm", "-q", "test_shop.py", "shop.py")
    project.write(".gitignore", "build\n.dre\nreport.xml\n")
    project.write("settings.gradle", "include 'app'\n")
    project.write("app/build.gradle", "plugins { id 'java' }\n")
    project.write("gradlew", SCRIPT)
    (project.path / "gradlew").chmod(0o755)
    project.commit("base")

    def judge(*words):
        project.dre("wrap", "--", "./gradlew", *words)
        told = project.verdict()
        return told, project.findings(told)

    return project, judge


def test_what_the_run_wrote_is_believed_as_far_as_it_goes(gradle):
    project, judge = gradle
    project.write("report.xml", GREEN)
    told, _ = judge("check")
    assert told["claim"]["tests"]["passed"] == 2
    assert told["verdict"] == "supported", told["missing"]
    project.write("report.xml", RED)
    told, found = judge("test")
    assert (told["verdict"], found["failures-exit0"]) == ("contradicted", "veto")


AGAIN = '<testcase name="four()" classname="com.shop.CartTest" time="0.001"/>\n</testsuite>'


MERGED = REPORT.format(bad=0, failure='<flakyFailure message="5"/>')


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        (RED.replace("</testsuite>", AGAIN), ("inconclusive", "fail")),
        (MERGED, ("supported", None)),
    ],
    ids=["apart", "merged"],
)
def test_a_test_that_passed_when_it_was_tried_again_is_not_accused(gradle, report, expected):
    project, judge = gradle
    project.write("report.xml", report)
    project.write("gradlew", SCRIPT.replace("echo 'BUILD", "echo '3 tests completed, 1 failed'\necho 'BUILD"))
    told, found = judge("test")
    assert (told["verdict"], found.get("failures-exit0")) == expected


def test_a_failure_beside_one_that_was_tried_again_is_the_one_that_is_named(gradle):
    project, judge = gradle
    project.write("report.xml", RED.replace("</testsuite>", AGAIN))
    project.write("other.xml", RED.replace("CartTest", "TillTest"))
    copy = f"cp other.xml {PLACE.replace('CartTest', 'TillTest')}\necho 'BUILD"
    project.write("gradlew", SCRIPT.replace("echo 'BUILD", copy))
    told, found = judge("test")
    assert (told["verdict"], found["failures-exit0"]) == ("contradicted", "veto")
    (named,) = [
        line for line in project.dre("verify").stdout.decode().splitlines() if "failures-exit0" in line
    ]
    assert "TillTest" in named


def test_what_lay_there_before_is_no_report_of_this_run(gradle):
    project, judge = gradle
    project.write(PLACE, GREEN)
    told, found = judge("test")
    assert told["verdict"] == "inconclusive"
    assert "report-fresh" not in found
    assert any("gradle --rerun-tasks" in line for line in told["missing"])
    told, _ = judge("build", "-x", "test")
    assert any("was told to leave out" in line for line in told["missing"])


def test_a_report_of_gradles_is_not_held_against_pytests_session(project):
    from tests.conftest import PYTEST

    project.write("settings.gradle", "")
    many = "".join(f'<testcase name="n{n}" classname="c" time="0"/>' for n in range(50))
    project.write("report.xml", f'<testsuite name="c" tests="50">{many}</testsuite>')
    copy = "mkdir -p build/test-results/test\ncp report.xml build/test-results/test/TEST-c.xml\n"
    project.write("both.sh", f"{copy}{' '.join(PYTEST)} --dre -q\n")
    project.commit("both")
    project.dre("wrap", "--", "sh", "both.sh")
    told = project.verdict()
    assert told["verdict"] == "supported", (told["missing"], project.findings(told))


def test_an_exclusion_that_the_change_brings_is_a_skipped_test(gradle):
    project, _ = gradle
    project.write("app/src/test/java/com/shop/CartTest.java", "class CartTest { @Test void two() {} }\n")
    base = project.commit("a test")
    project.write("app/build.gradle", "plugins { id 'java' }\ntest {\n    exclude '**/CartTest*'\n}\n")
    project.write("report.xml", GREEN)
    project.dre("wrap", "--base", base, "--", "./gradlew", "test")
    found = project.findings(project.verdict())
    assert (found["tests-skipped"], found["runner-config-changed"]) == ("fail", "warn")


def test_a_failed_run_names_what_failed_and_where(gradle):
    project, judge = gradle
    project.write("report.xml", RED)
    project.write("gradlew", SCRIPT.replace("exit 0", "exit 1"))
    told, _ = judge("test")
    assert told["verdict"] == "failed"
    assert [(cause["summary"], cause["where"]) for cause in told["causes"]] == [
        ("com.shop.CartTest::four() failed: expected: 4 but was: 5", "CartTest.java:9")
    ]

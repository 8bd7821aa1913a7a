"""What a Maven or Gradle build newly says about its tests."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dre_core.capture.buildfacts import compare_build, is_build_file
from dre_core.capture.runnerfacts import compare_script
from dre_core.model.changes import ChangeKind

TESTS = (
    "src/test/java/com/shop/CartTest.java",
    "app/src/test/kotlin/com/shop/PriceTest.kt",
    "src/test/java/com/shop/it/OrderIT.java",
)
POM = """\
<project xmlns="http://maven.apache.org/POM/4.0.0"><properties>{properties}</properties><build><plugins>
<plugin><artifactId>maven-shade-plugin</artifactId><configuration><skip>true</skip><excludes><exclude>**/*Test*</exclude>
</excludes></configuration></plugin>
<plugin><artifactId>maven-surefire-plugin</artifactId><version>3.2.5</version>{surefire}</plugin>
</plugins></build></project>
"""
GRADLE = """\
plugins {{ id 'java' }}
dependencies {{ implementation('a:b:1') {{ exclude group: 'x' }} }}
jar {{
    exclude '**/*.bin'
    enabled = false
}}
test {{
    useJUnitPlatform()
    {test}
}}
"""


def pom(properties="", surefire=""):
    return POM.format(properties=properties, surefire=surefire)


def changes(path, before, after):
    found = list(compare_build(path, before, after, TESTS))
    config = [c.name for c in found if c.kind is ChangeKind.RUNNER_CONFIG]
    return config, [(c.name, c.excused) for c in found if c.kind is ChangeKind.TEST_SKIPPED]


def configured(text):
    return f"<configuration>{text}</configuration>"


EVERYTHING = "<!-- needs a database -->\n<exclude>com/shop/**</exclude>"


@pytest.mark.parametrize(
    ("properties", "surefire", "config", "skipped"),
    [
        ("<maven.test.skip>true</maven.test.skip>", "", ["maven.test.skip"], []),
        ("<skipTests>TRUE</skipTests>", "", ["skipTests"], []),
        ("<maven.test.failure.ignore>true</maven.test.failure.ignore>", "", ["maven.test.failure.ignore"], []),
        ("", configured("<testFailureIgnore> true </testFailureIgnore>"), ["testFailureIgnore"], []),
        ("", f"<executions><execution>{configured('<skip>true</skip>')}</execution></executions>", ["skip"], []),
        ("", configured("<excludes><exclude>**/CartTest.java</exclude></excludes>"), ["exclude"],
         [("CartTest", False)]),
        ("", configured(f"<excludes>\n{EVERYTHING}</excludes>"), ["exclude"],
         [("CartTest", True), ("PriceTest", True), ("OrderIT", True)]),
        ("", configured("<excludedGroups>slow</excludedGroups>"), ["excludedGroups"], []),
        ("<maven.test.skip>false</maven.test.skip><java.version>17</java.version>", "", [], []),
        ("", configured("<argLine>-Xmx1g</argLine><skip>${skip.tests}</skip>"), [], []),
    ],
)  # fmt: skip
def test_maven(properties, surefire, config, skipped):
    assert changes("pom.xml", pom(), pom(properties, surefire)) == (config, skipped)
    assert changes("pom.xml", pom(properties, surefire), pom(properties, surefire)) == ([], [])


@pytest.mark.parametrize(
    ("line", "config", "skipped"),
    [
        ("ignoreFailures = true", ["ignoreFailures = true"], []),
        ("ignoreFailures(true)", ["ignoreFailures(true)"], []),
        ("enabled = false", ["enabled = false"], []),
        ("exclude '**/CartTest*'", ["exclude"], [("CartTest", False)]),
        ('exclude("**/PriceTest.class", "**/Nothing*")', ["exclude", "exclude"], [("PriceTest", False)]),
        ('filter {\n  excludeTestsMatching "*CartTest"\n}', ["excludeTestsMatching"], [("CartTest", False)]),
        (
            'filter { excludeTestsMatching("com.shop.CartTest") }',
            ["excludeTestsMatching"],
            [("CartTest", False)],
        ),
        ("useJUnitPlatform { excludeTags 'slow' }", ["useJUnitPlatform { excludeTags 'slow' }"], []),
        ("// ignoreFailures = true", [], []),
        ("maxHeapSize = '1g'", [], []),
        ("ignoreFailures = false", [], []),
    ],
)
def test_gradle(line, config, skipped):
    assert changes("app/build.gradle", GRADLE.format(test=""), GRADLE.format(test=line)) == (config, skipped)


def test_what_is_not_about_tests_is_left_alone():
    text = (
        "jar {\n    exclude '**/*Test*'\n    enabled = false\n}\ncheckstyle {\n    ignoreFailures = true\n}\n"
    )
    assert changes("build.gradle", "", text) == ([], [])
    kotlin = "tasks.withType<Test> {\n    ignoreFailures = true\n}\n"
    assert changes("build.gradle.kts", "", kotlin) == (["ignoreFailures = true"], [])


def test_options_and_properties():
    assert changes(".mvn/maven.config", "-B\n", "-B\n-DskipTests\n") == (["-DskipTests"], [])
    assert changes("gradle.properties", "", "org.gradle.caching=true\n") == ([], [])
    assert is_build_file("app/build.gradle.kts")
    assert not is_build_file("src/Build.java")


@pytest.mark.parametrize(
    ("line", "is_seen"),
    [
        ("  - run: mvn -B verify -Dmaven.test.failure.ignore=true", True),
        ("  - run: mvn -B deploy -DskipTests", True),
        ("  - run: ./gradlew build -x test", True),
        ("  - run: ./mvnw -fn verify", True),
        ("  - run: mvn -B verify", False),
        ("  - run: mvn -B verify -DskipTests=false", False),
        ("  - run: ./gradlew check -x lint", False),
    ],
)
def test_scripts(line, is_seen):
    assert bool(list(compare_script(".github/workflows/ci.yml", "", line))) is is_seen


@given(st.text(max_size=300), st.sampled_from(["pom.xml", "build.gradle", "gradle.properties"]))
def test_no_text_breaks_it(text, path):
    list(compare_build(path, None, text, TESTS))
    list(
        compare_build(
            path, text, pom(surefire=f"<configuration><exclude>{text}</exclude></configuration>"), TESTS
        )
    )


def test_a_hostile_exclusion_holds_nothing_up():
    pom = (
        "<project><build><plugins><plugin><artifactId>maven-surefire-plugin</artifactId><configuration><excludes>"
        f"<exclude>{'*a' * 200}b</exclude></excludes></configuration></plugin></plugins></build></project>"
    )
    path = f"src/test/java/{'a' * 200}.java"
    found = list(compare_build("pom.xml", None, pom, [path]))
    assert [change.kind for change in found] == [ChangeKind.RUNNER_CONFIG]

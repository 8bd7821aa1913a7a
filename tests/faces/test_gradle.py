"""Gradle for real and offline, as Debian packages it, with the JUnit 4 that it keeps in its own Maven repository."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

REPOSITORY = Path("/usr/share/maven-repo")
BUILD = f"""\
apply plugin: 'java'
repositories {{ maven {{ url 'file://{REPOSITORY}' }} }}
dependencies {{ testCompile 'junit:junit:4.x' }}
"""
IGNORING = BUILD + "test { ignoreFailures = true }\n"
SHOP = "public class Shop { public static int two(int n) { return n + 1; } }\n"
TEST = """\
import static org.junit.Assert.assertEquals;
import org.junit.Test;
public class %s { @Test public void two() { assertEquals(2, Shop.two(1)); } }
"""
COMMAND = ("gradle", "--offline", "--no-daemon", "test")
HIDE = 'sed -i \'/<failure/,/failure>/d; s/failures="[0-9]*"/failures="0"/\' build/test-results/test/*.xml\n'


@pytest.fixture
def gradle(project):
    if shutil.which("gradle") is None or not (REPOSITORY / "junit/junit/4.x").is_dir():
        pytest.skip("there is no gradle, or no JUnit for it")
    project.git("rm", "-q", "test_shop.py", "shop.py")
    project.write(".gitignore", "build\n.gradle\n.dre\n")
    project.write("settings.gradle", "rootProject.name = 'shop'\n")
    project.write("build.gradle", BUILD)
    project.write("src/main/java/Shop.java", SHOP)
    for name in ("ShopTest", "CartTest"):
        project.write(f"src/test/java/{name}.java", TEST % name)
    project.commit("base")

    def judge(*argv):
        done = project.dre("wrap", "--", *argv)
        told = project.verdict()
        return done, told, project.findings(told)

    return project, judge


@pytest.mark.slow
def test_reports_are_found_and_held_against_the_status_and_the_output(gradle):
    project, judge = gradle
    _, told, _ = judge(*COMMAND)
    assert (told["verdict"], told["claim"]["tests"]["passed"], told["level"]) == ("supported", 2, 3), told[
        "missing"
    ]

    done, told, _ = judge(*COMMAND)
    assert b"up-to-date" in done.stdout
    assert told["verdict"] == "inconclusive"
    assert any("gradle --rerun-tasks" in line for line in told["missing"])

    project.write("src/main/java/Shop.java", SHOP.replace("n + 1", "n + 2"))
    done, told, _ = judge(*COMMAND)
    assert (done.returncode, told["verdict"], told["claim"]["tests"]["failed"]) == (1, "failed", 2)

    project.write("build.gradle", IGNORING)
    done, told, found = judge(*COMMAND)
    assert (done.returncode, told["verdict"], found["failures-exit0"]) == (0, "contradicted", "veto")

    project.write("hide.sh", HIDE)
    _, told, found = judge("sh", "-c", f"{' '.join(COMMAND)} --rerun-tasks; sh hide.sh")
    assert (told["verdict"], found["printed-count-agrees"]) == ("contradicted", "veto")
    assert "failures-exit0" not in found

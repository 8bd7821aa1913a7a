"""Maven with Surefire, for real and offline, from what lies in the person's repository of artifacts."""

from __future__ import annotations

import os
import pwd
import shutil
from pathlib import Path

import pytest

POM = """\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>shop</groupId><artifactId>shop</artifactId><version>1</version>
  <properties>
    <maven.compiler.source>17</maven.compiler.source><maven.compiler.target>17</maven.compiler.target>
    <project.build.sourceEncoding>UTF-8</project.build.sourceEncoding>
  </properties>
  <dependencies>
    <dependency><groupId>org.junit.jupiter</groupId><artifactId>junit-jupiter-engine</artifactId>
      <version>5.13.4</version><scope>test</scope></dependency>
  </dependencies>
  <build><plugins>
    <plugin><artifactId>maven-resources-plugin</artifactId><version>3.3.1</version></plugin>
    <plugin><artifactId>maven-compiler-plugin</artifactId><version>3.14.1</version></plugin>
    <plugin><artifactId>maven-surefire-plugin</artifactId><version>3.2.5</version></plugin>
  </plugins></build>
</project>
"""
SHOP = "public class Shop { public static int two(int n) { return n + 1; } }\n"
TEST = """\
import org.junit.jupiter.api.Test;
import static org.junit.jupiter.api.Assertions.assertEquals;
class %s { @Test void two() { assertEquals(2, Shop.two(1)); } }
"""


@pytest.fixture
def maven(project):
    if shutil.which("mvn") is None:
        pytest.skip("there is no mvn")
    place = Path(pwd.getpwuid(os.getuid()).pw_dir, ".m2", "repository")
    project.git("rm", "-q", "test_shop.py", "shop.py")
    project.write(".gitignore", "target\n.dre\n")
    project.write("pom.xml", POM)
    project.write("src/main/java/Shop.java", SHOP)
    for name in ("ShopTest", "CartTest"):
        project.write(f"src/test/java/{name}.java", TEST % name)
    base = project.commit("base")
    command = ["mvn", "-o", "-B", f"-Dmaven.repo.local={place}"]

    def judge(*words, shell=""):
        argv = ["sh", "-c", f"{' '.join([*command, *words])} {shell}"] if shell else [*command, *words]
        done = project.dre("wrap", "--base", base, "--", *argv)
        if b"in offline mode" in done.stdout:
            pytest.skip("Maven's plugins are not at hand")
        told = project.verdict()
        return told["verdict"], project.findings(told), told

    return project, judge


def test_reports_are_found_and_held_against_the_status_and_the_output(maven):
    project, judge = maven
    verdict, found, told = judge("test")
    assert (verdict, told["claim"]["tests"]["passed"], told["level"]) == ("supported", 2, 3), told["missing"]

    project.write("src/main/java/Shop.java", SHOP.replace("n + 1", "n + 2"))
    verdict, found, told = judge("test", "-Dmaven.test.failure.ignore=true")
    assert (verdict, found["failures-exit0"]) == ("contradicted", "veto")
    assert told["claim"]["tests"]["failed"] == 2

    hide = "sed -i 's/<failure/<system-out/; s/failure>/system-out>/' target/surefire-reports/*.xml\n"
    project.write("hide.sh", hide)
    verdict, found, _ = judge("test", "-Dmaven.test.failure.ignore", shell="; sh hide.sh")
    assert (verdict, found["printed-count-agrees"]) == ("contradicted", "veto")
    assert "failures-exit0" not in found

"""``npm test`` with mocha, vitest and jest, for real: lies are named, and honest runs of the same shape are not."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.faces.conftest import install_node_packages, node_home

SHOP = "exports.double = n => 2 * n;\n"
WRONG = "exports.double = n => n > 1 ? 5 : 2 * n;\n"
MOCHA = """\
const assert = require('assert'), { double } = require('../shop');
it('two', () => { assert.equal(double(1), 2); });
it('four', () => { assert.equal(double(2), 4); });
"""
JEST = """\
const { double } = require('./shop');
test('two', () => { expect(double(1)).toBe(2); });
test('four', () => { expect(double(2)).toBe(4); });
"""
VITEST = (
    "import { test, expect } from 'vitest';\nimport { double } from './shop.js';\n" + JEST.partition("\n")[2]
)
RUNNERS = {
    "mocha": ({"mocha": "11.7.4"}, "test/shop.js", MOCHA, "mocha --reporter xunit --reporter-option output=junit.xml",
              "--pass-with-no-test-suites --grep nothing"),
    "vitest": ({"vitest": "4.0.6"}, "shop.test.js", VITEST,
               "vitest run --reporter=default --reporter=junit --outputFile=junit.xml", "--passWithNoTests nothing"),
    "jest": ({"jest": "30.2.0", "jest-junit": "16.0.0"}, "shop.test.js", JEST,
             "jest --ci --reporters=default --reporters=jest-junit", "--passWithNoTests nothing"),
}  # fmt: skip


class Package:
    """A package whose tests are run by ``npm test``."""

    def __init__(self, project, node: str, runner: str) -> None:
        self.packages, self.file, self.tests, self.script, self.nothing = RUNNERS[runner]
        self.project = project
        self.node = Path(node).parent
        self.npm = str(node_home() / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")
        modules = install_node_packages(node, {"dependencies": self.packages, "private": True})
        project.git("rm", "-q", "test_shop.py", "shop.py")
        project.write(".gitignore", "node_modules\njunit.xml\n.dre\n")
        os.symlink(modules, project.path / "node_modules")
        self.base = self.commit()

    def commit(self, shop: str = SHOP, tests: str = "", script: str = "") -> str:
        self.project.write("shop.js", shop)
        self.project.write(self.file, tests or self.tests)
        text = json.dumps({"private": True, "scripts": {"test": script or self.script}})
        self.project.write("package.json", text)
        return self.project.commit()

    def verdict(self) -> tuple[str, dict[str, str]]:
        environ = {
            "PATH": f"{self.node}{os.pathsep}{os.environ['PATH']}",
            "npm_config_update_notifier": "false",
        }
        words = ("wrap", "--base", self.base, "--junit", "junit.xml", "--", "node", self.npm, "test")
        self.done = self.project.dre(*words, environ=environ)
        told = self.project.verdict()
        found = self.project.findings(told)
        return told["verdict"], {check: severity for check, severity in found.items() if severity != "info"}


@pytest.fixture(
    params=[
        "mocha",
        pytest.param("vitest", marks=pytest.mark.slow),
        pytest.param("jest", marks=pytest.mark.slow),
    ]
)
def package(project, node, request):
    return Package(project, node, request.param)


def test_npm_test_honest_and_not(package):
    assert package.verdict() == ("supported", {}), (package.done.stdout, package.done.stderr)
    package.commit(WRONG, script=f"{package.script} || true")
    verdict, found = package.verdict()
    assert (verdict, found["exit-agrees"]) == ("contradicted", "veto"), package.done.stderr
    package.commit(WRONG, package.tests.replace("('four'", ".skip('four'"))
    assert package.verdict() == ("inconclusive", {"tests-skipped": "fail"})
    package.commit(WRONG, script=f"{package.script} {package.nothing}")
    verdict, found = package.verdict()
    assert (verdict, found["something-executed"]) == ("contradicted", "veto")
    # A new test, and one under a new name.
    more = (
        package.tests.replace("'four'", "'twice two'")
        + package.tests[package.tests.index("('four'") - 4 :].lstrip()
    )
    package.commit(SHOP, more)
    assert package.verdict() == ("supported", {}), (package.done.stdout, package.done.stderr)

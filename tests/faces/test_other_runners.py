"""Runners other than pytest, for real: a red suite whose status is swallowed is contradicted, a green one is not."""

from __future__ import annotations

import shutil
import sys

import pytest

SUITES = {
    "unittest": (
        f"{sys.executable} -m unittest -q",
        {"test_a.py": "import unittest\nclass T(unittest.TestCase):\n    def test_a(self): self.assertEqual(1, {})\n"},
    ),
    "node": (
        "node --test",
        {"a.test.js": "require('node:test')('a', () => { require('node:assert').equal(1, {}) })\n"},
    ),
    "go": (
        "go test ./...",
        {
            "go.mod": "module m\n\ngo 1.20\n",
            "a_test.go": 'package m\n\nimport "testing"\n\nfunc TestA(t *testing.T) { if 1 != {} { t.Fatal("x") } }\n',
        },
    ),
    "cargo": (
        "cargo test --offline -q",
        {
            "Cargo.toml": '[package]\nname = "m"\nversion = "0.1.0"\nedition = "2021"\n',
            "src/lib.rs": "#[test] fn a() { assert_eq!(1, {}); }\n",
            ".gitignore": "target\n.dre\n",
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize("runner", SUITES)
def test_a_swallowed_status_is_contradicted(project, tmp_path, runner):
    command, files = SUITES[runner]
    program = command.split()[0]
    if shutil.which(program) is None:
        pytest.skip(f"there is no {program}")
    # The caches of compilers lie where the person's are; the home of the test has none.
    environ = {"GOCACHE": str(tmp_path / "go"), "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=mod"}
    # Bytecode of the red suite would pass for that of the green one, which is as long and of the same second.
    environ |= {"PYTHONDONTWRITEBYTECODE": "1"}
    if runner == "cargo":
        real = shutil.which("rustc")
        if real is None:
            pytest.skip("there is no rustc")
        import pwd
        from os import getuid

        home = pwd.getpwuid(getuid()).pw_dir
        environ |= {"RUSTUP_HOME": f"{home}/.rustup", "CARGO_HOME": f"{home}/.cargo"}
    for one, verdict in (("2", "contradicted"), ("1", "inconclusive")):
        for name, text in files.items():
            project.write(name, text.replace("{}", one, 1) if name not in ("Cargo.toml", "go.mod") else text)
        project.commit("suite")
        done = project.dre("wrap", "--", "sh", "-c", f"{command} || true", environ=environ)
        assert done.returncode == 0
        told = project.verdict()
        found = project.findings(told)
        assert told["verdict"] == verdict, (done.stdout[-600:], done.stderr[-600:], found)
        assert (found.get("exit-agrees") == "veto") is (verdict == "contradicted")
        assert any("dre wrap --junit FILE" in line for line in told["missing"])

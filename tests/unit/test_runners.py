"""Which command lines run tests."""

from __future__ import annotations

import pytest

from dre_core.model.observation import runner_of


@pytest.mark.parametrize(
    ("line", "runner"),
    [
        ("node --test", "node --test"),
        ("/usr/bin/node --test --test-reporter=junit a.test.js", "node --test"),
        ("node --enable-source-maps --test", "node --test"),
        ("node server.js --test", ""),
        ("node node_modules/.bin/jest --ci", "jest"),
        ("python3 -m pytest -q", "pytest"),
        ("python3 -c pytest", ""),
        ("", ""),
    ],
)
def test_a_runner_is_known_by_its_command_line(line, runner):
    assert runner_of(tuple(line.split())) == runner

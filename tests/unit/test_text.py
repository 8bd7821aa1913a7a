"""Text from outside, made fit to be shown."""

from __future__ import annotations

import pytest

from dre_core.model.text import command_line


@pytest.mark.parametrize(
    ("argv", "shown"),
    [
        (("/opt/py/bin/python", "-m", "pytest", "-q"), "python -m pytest -q"),
        (("sh", "-c", "/opt/py/bin/python -m pytest; true"), "sh -c python -m pytest; true"),
        (("make", "-C", "build/debug"), "make -C build/debug"),
        (("tool", "--junit=/tmp/out/junit.xml"), "tool --junit=junit.xml"),
        (("curl", "https://example.org/a/b"), "curl https://example.org/a/b"),
        (("sed", "s/a/b/"), "sed s/a/b/"),
        (("ls", "/"), "ls /"),
        (("echo", "\x1b[31mred\x1b[0m\n\u202eback"), "echo red back"),
    ],
)
def test_a_command_in_a_sentence(argv, shown):
    assert command_line(argv) == shown


def test_a_long_command_keeps_both_ends():
    shown = command_line(("pytest", *(f"tests/test_{number}.py" for number in range(50)), "--last"))
    assert len(shown) == 60
    assert shown.startswith("pytest tests/test_0.py")
    assert shown.endswith("--last")
    assert shown.count("…") == 1

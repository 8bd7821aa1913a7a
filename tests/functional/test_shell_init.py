"""The snippet for shells, in the real shells: completions by pressing Tab, and functions that keep a command's end."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

SHELLS = {"bash": ["bash", "--norc", "--noprofile"], "zsh": ["zsh", "-f"], "fish": ["fish", "--no-config"]}
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(params=SHELLS)
def shell(request):
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    return request.param


@pytest.fixture
def environ(tmp_path):
    """A ``dre`` on the path that is this checkout's."""
    folder = tmp_path / "bin"
    folder.mkdir()
    dre = folder / "dre"
    dre.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m dre_ci.cli "$@"\n')
    dre.chmod(0o755)
    return {
        **os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "TERM": "dumb", "PS1": "$ ", "LC_ALL": "C.UTF-8"
    }  # fmt: skip


def load(shell, *options):
    words = " ".join(("dre shell-init", shell, *options))
    return f"{words} | source" if shell == "fish" else f'eval "$({words})"'


def run(project, shell, environ, script, **more):
    return subprocess.run(
        [*SHELLS[shell], "-c", script],
        cwd=project.path,
        env={**environ, **more},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def operations(project):
    folder = project.path / ".dre" / "experiments"
    return len(list(folder.iterdir())) if folder.exists() else 0


def test_a_chosen_command_is_recorded_and_keeps_its_status(project, shell, environ):
    project.dre("init")
    loaded = load(shell, "--command", "sh", "--no-completion")
    status = "$status" if shell == "fish" else "$?"
    done = run(project, shell, environ, f"{loaded}; sh -c 'echo \"a  b\"; exit 3' 'x y'; echo {status}")
    assert (done.stdout, done.stderr) == ("a  b\n3\n", "")
    assert operations(project) == 1


def test_outside_of_a_project_in_dre_or_when_not_wanted_nothing_is_recorded(
    project, shell, environ, tmp_path
):
    loaded = load(shell, "--command", "true", "--no-completion")
    assert run(project, shell, environ, f"{loaded}; true").returncode == 0
    assert not (project.path / ".dre").exists()
    project.dre("init")
    assert run(project, shell, environ, f"{loaded}; true", DRE_WRAP="never").returncode == 0
    assert run(project, shell, environ, f"{loaded}; true", DRE_OPERATION="op_x").returncode == 0
    assert run(project, shell, environ, f"{loaded}; command true").returncode == 0
    assert operations(project) == 0
    (project.path / "deep" / "er").mkdir(parents=True)
    assert run(project, shell, environ, f"{loaded}; cd deep/er; true").returncode == 0
    assert operations(project) == 1


def test_the_configuration_names_the_commands(project, shell, environ):
    project.write("dre.yaml", "shell: {commands: [make, npm]}\n")
    snippet = project.dre("shell-init", shell, "--no-completion").stdout.decode()
    assert re.findall(r"^function (make|npm)\b", snippet, re.M) == ["make", "npm"]


@pytest.mark.parametrize("name", ["a b", "x;rm", "$(id)", "-x", "dre", "", "a'b", "../x", "while", "cd"])
def test_a_name_that_is_no_name_is_refused(project, name):
    done = project.dre("shell-init", "bash", f"--command={name}")
    assert (done.returncode, done.stdout) == (2, b"")


def press(project, shell, environ, text, wanted, seconds=30.0):
    """What a terminal shows after typing; ends as soon as ``wanted`` is there."""
    pid, fd = pty.fork()
    if pid == 0:
        os.chdir(project.path)
        os.execvpe(SHELLS[shell][0], [*SHELLS[shell], "-i"], environ)
    shown = b""
    try:
        steps = [b"autoload -Uz compinit && compinit -u -D\n"] if shell == "zsh" else []
        steps += [load(shell).encode() + b"\n", b"echo rea''dy\n", None, text]
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not (not steps and wanted in shown):
            if steps and (steps[0] is not None or b"ready" in shown):
                step = steps.pop(0)
                if step is not None:
                    os.write(fd, step)
                else:
                    shown = b""
            if select.select([fd], [], [], 0.2)[0]:
                try:
                    shown += os.read(fd, 65536)
                except OSError:
                    break
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(fd)
    return shown


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [("dre wr", b"wrap"), ("dre wrap --screen", b"screenshot"), ("dre evidence exp", b"export")],
)
def test_tab_completes_commands_options_and_actions(project, shell, environ, typed, wanted):
    if shell == "fish":
        # fish answers the same question without a terminal.
        done = run(project, shell, environ, f"{load(shell)}; complete -C '{typed}'")
        assert wanted.decode() in done.stdout
        return
    typed_last = typed.split()[-1].encode()
    rest = wanted.removeprefix(typed_last.lstrip(b"-"))
    assert rest in press(project, shell, environ, typed.encode() + b"\t", rest)


def test_the_snippet_says_how_it_is_used_and_json_holds_it(project, shell):
    import json

    shown = json.loads(project.dre("shell-init", shell, "--json", "--command", "tox").stdout)
    assert shown["shell"] == shell
    assert shown["commands"] == ["tox"]
    assert shown["snippet"].startswith("# in ~/.")

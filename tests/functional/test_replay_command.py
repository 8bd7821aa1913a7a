"""Re-execution from the command line: sealed behind the run, decided by what was declared, undone by nobody."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dre_core.capture.git import Git
from dre_core.capture.replay import why_elsewhere
from dre_core.store.folder import Folder

BLINDED = """
from shop import double

def test_two():
    assert double(1) > 0

def test_four():
    assert double(2) > 0
"""


@pytest.fixture
def blinded(project):
    """A base, and a head that breaks the code and loosens its tests."""
    base = project.git("rev-parse", "HEAD")
    project.write("shop.py", "def double(n):\n    return 2 * n + 1\n")
    project.write("test_shop.py", BLINDED)
    project.commit("tidy up")
    return project, base


def wrap(project, base, *options, **environ):
    from tests.conftest import PYTEST

    return project.dre("wrap", "--base", base, *options, "--", *PYTEST, "--dre", "-q", environ=environ)


def refactored(project, base):
    """The verdict on a change that calls itself a refactoring, whose run is green."""
    project.dre("claim", "--kind", "refactor")
    assert wrap(project, base, "--replay").returncode == 0
    return project.verdict()


def test_a_blinded_test_is_seen_by_replay_only(blinded):
    project, base = blinded
    assert wrap(project, base).returncode == 0
    assert "test-blinded" not in project.findings(project.verdict())
    done = project.dre("replay", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["facts"]["mode"] == "matrix"
    verdict = project.verdict()
    assert verdict["replayed"] is True
    assert verdict["verdict"] == "inconclusive"
    assert project.findings(verdict)["test-blinded"] == "fail"
    assert any("dre claim --kind behavior-change" in line for line in verdict["missing"])


ESCAPES = {
    "no time in the checkout's own configuration": {"dre.yaml": "replay:\n  total_seconds: 0.01\n"},
    "no time for a cell": {"dre.yaml": "replay:\n  budget_seconds: 0.01\n"},
    "needs what no clone has": {
        ".gitignore": ".dre/\n__pycache__/\nlocal.py\n",
        "local.py": "",
        "conftest.py": "import local\n",
    },
}


@pytest.mark.parametrize("escape", ESCAPES)
def test_a_change_that_can_not_be_run_again_is_not_taken_at_its_word(blinded, escape):
    project, base = blinded
    for name, text in ESCAPES[escape].items():
        project.write(name, text)
    project.commit("and more")
    verdict = refactored(project, base)
    assert verdict["verdict"] == "inconclusive"
    assert project.findings(verdict)["replay-answers"] == "fail"


ELSEWHERE = """
import pathlib

def pytest_configure(config):
    config._rootpath = pathlib.Path(__file__).parent / "tools"
"""
ONLY_MARKED = """
def pytest_configure(config):
    config.addinivalue_line("markers", "new: written anew")
    kind, old = type(config.invocation_params), config.invocation_params
    config.invocation_params = kind(args=("--dre", "-m", "new"), plugins=None, dir=old.dir)
"""
MARKED = "import pytest\n\npytestmark = pytest.mark.new\n" + BLINDED


@pytest.mark.parametrize(
    ("other", "files"),
    [
        ("test_tool.py", {"conftest.py": ELSEWHERE}),
        ("test_shop.py", {"conftest.py": ELSEWHERE}),
        ("test_tool.py", {"conftest.py": ONLY_MARKED, "test_shop.py": MARKED}),
    ],
    ids=["another root", "another root with a file of that name", "another selection"],
)
def test_the_run_does_not_choose_which_old_tests_are_found(project, other, files):
    project.write("tools/__init__.py", "")
    project.write(f"tools/{other}", "def test_tool():\n    assert 1 + 1 == 2\n")
    base = project.commit("tools")
    for name, text in {
        "shop.py": "def double(n):\n    return 2 * n + 1\n",
        "test_shop.py": BLINDED,
        **files,
    }.items():
        project.write(name, text)
    project.commit("tidy up")
    verdict = refactored(project, base)
    assert verdict["verdict"] == "inconclusive"
    assert "no test of the base was found" in str(verdict)


REWRITES = """

def test_repository():
    import os, subprocess

    def git(*words):
        names = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        return subprocess.run(["git", *names, *words], capture_output=True, text=True, check=True).stdout.strip()

"""
REWRITTEN = {
    "replace": (
        "    git('replace', '-f', 'HEAD~1', git('commit-tree', 'HEAD^{tree}', '-m', 'base'))\n",
        ("contradicted", "test-blinded"),
    ),
    "object": (
        "    old, new = (git('rev-parse', f'{each}:test_shop.py') for each in ('HEAD~1', 'HEAD'))\n"
        "    old, new = (f'.git/objects/{each[:2]}/{each[2:]}' for each in (old, new))\n"
        "    if os.getcwd() == ROOT and os.path.exists(new):\n"
        "        os.chmod(old, 0o644)\n"
        "        open(old, 'wb').write(open(new, 'rb').read())\n",
        ("inconclusive", "replay-answers"),
    ),
}


@pytest.mark.parametrize("rewrite", REWRITTEN)
def test_who_rewrites_the_base_does_not_choose_what_it_was(blinded, rewrite):
    project, base = blinded
    lines, expected = REWRITTEN[rewrite]
    root = f"ROOT = {os.path.realpath(project.path)!r}\n"
    project.write("test_shop.py", root + BLINDED + REWRITES + lines)
    project.git("commit", "-qam", "more", "--amend")
    verdict = refactored(project, base)
    assert verdict["verdict"] == expected[0]
    assert expected[1] in project.findings(verdict)


ADDS_A_PLUGIN = """

def test_settings():
    import glob, pathlib, os
    (site,) = glob.glob(os.path.expanduser("~/.local/lib/python3*/site-packages"))
    info = pathlib.Path(site, "helping-1.dist-info")
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\\nName: helping\\nVersion: 1\\n")
    (info / "entry_points.txt").write_text("[pytest11]\\nhelping = helping\\n")
    lines = ["import pytest", "@pytest.hookimpl(hookwrapper=True)", "def pytest_pyfunc_call(pyfuncitem):",
             "    (yield).force_result(True)"]
    pathlib.Path(site, "helping.py").write_text("\\n".join(lines) + "\\n")
"""


def test_what_a_test_installs_does_not_run_the_tests_again(blinded):
    project, base = blinded
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = Path(os.environ["HOME"], ".local/lib", version, "site-packages")
    site.mkdir(parents=True)
    project.write("test_shop.py", BLINDED + ADDS_A_PLUGIN.replace("\\\\n", "\\n"))
    project.git("commit", "-qam", "more", "--amend")
    verdict = refactored(project, base)
    assert verdict["verdict"] == "inconclusive"
    assert "helping-1.dist-info/entry_points.txt was changed" in str(verdict)


SETTINGS = """

def test_settings():
    import pathlib

    home = pathlib.Path.home()
    loosen = "[filter \\"loosen\\"]\\n\\tclean = cat\\n\\tsmudge = sed -e 's/[=]= [0-9]*/> 0/'\\n"
    folder = home / {folder!r}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "attributes").write_text("test_shop.py filter=loosen\\n")
    (home / {file!r}).write_text(loosen + {setting!r})
"""


@pytest.mark.parametrize(
    ("folder", "file", "setting"),
    [
        ("own", ".gitconfig", "[core]\n\tattributesFile = ~/own/attributes\n"),
        ("own/info", ".gitconfig", "[init]\n\ttemplateDir = ~/own\n"),
        (".config/git", ".config/git/config", ""),
    ],
    ids=["a filter", "a template", "the other place of settings"],
)
def test_who_writes_the_users_settings_does_not_choose_what_is_checked_out(blinded, folder, file, setting):
    project, base = blinded
    project.write("test_shop.py", BLINDED + SETTINGS.format(folder=folder, file=file, setting=setting))
    project.git("commit", "-qam", "more", "--amend")
    verdict = refactored(project, base)
    assert verdict["verdict"] == "contradicted"
    assert "test-blinded" in project.findings(verdict)


LOOSENS = """

def test_others():
    import os, pathlib, tempfile, time

    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        for file in pathlib.Path(tempfile.gettempdir()).glob("dre-replay-*/*/test_shop.py"):
            new = file.with_name("new")
            new.write_text(file.read_text().replace("== 2", "> 0").replace("== 4", "> 0"))
            os.replace(new, file)
        time.sleep(0.001)
"""


def test_who_rewrites_the_clones_of_other_cells_finds_none(blinded, tmp_path):
    project, base = blinded
    if why_elsewhere(Git(str(project.path)), sys.executable, os.environ):
        pytest.skip("a clone can't stand in the checkout's place here")
    project.write("test_shop.py", BLINDED + LOOSENS)
    project.git("commit", "-qam", "more", "--amend")
    project.dre("claim", "--kind", "refactor")
    (tmp_path / "temporary").mkdir()
    assert wrap(project, base, "--replay", TMPDIR=str(tmp_path / "temporary")).returncode == 0
    verdict = project.verdict()
    assert verdict["verdict"] == "contradicted"
    assert "test-blinded" in project.findings(verdict)


def test_against_a_declared_refactoring_it_is_contradicted(blinded):
    project, base = blinded
    project.dre("claim", "--kind", "refactor")
    wrap(project, base, "--replay=matrix")
    verdict = project.verdict()
    assert verdict["verdict"] == "contradicted"
    assert project.findings(verdict)["test-blinded"] == "veto"
    assert project.dre("verify").returncode == 1


def test_a_declared_change_of_behaviour_is_supported(blinded):
    project, base = blinded
    names = ("test_shop.py::test_two", "test_shop.py::test_four")
    project.dre("claim", "--kind", "behavior-change", "--changes", names[0], "--changes", names[1])
    wrap(project, base, "--replay")
    assert project.verdict()["verdict"] == "supported"
    said = f"(exit 0), declared behavior-change of {names[0]}, {names[1]}: "
    assert said in project.dre("verify").stdout.decode()


def test_a_replay_travels_in_the_archive(blinded, tmp_path):
    project, base = blinded
    wrap(project, base)
    operation = project.verdict()["operation"]
    before = Folder(project.path / ".dre").experiment(operation).envelopes.read_bytes()
    project.dre("replay", operation[:14], "--mode", "clean")
    after = Folder(project.path / ".dre").experiment(operation).envelopes.read_bytes()
    assert after.startswith(before)
    archive, key = tmp_path / "e.zip", tmp_path / "key.pem"
    assert project.dre("evidence", "export", "--output", str(archive)).returncode == 0
    key.write_bytes(project.dre("keys", "public").stdout)
    verdict = project.verdict(str(archive), "--key", str(key), cwd=tmp_path)
    assert verdict["replayed"] is True
    assert verdict["verdict"] == "supported"


def test_the_users_tree_is_not_touched(blinded):
    project, base = blinded
    project.write("untracked.txt", "mine")
    before = {
        path: path.read_bytes()
        for path in project.path.rglob("*")
        if path.is_file() and ".dre" not in path.parts
    }
    wrap(project, base, "--replay")
    after = {
        path: path.read_bytes()
        for path in project.path.rglob("*")
        if path.is_file() and ".dre" not in path.parts
    }
    ours = {path for path in after if "__pycache__" not in path.parts and ".git" not in path.parts}
    assert {path: after[path] for path in ours} == {path: before.get(path) for path in ours}
    assert project.git("worktree", "list").count("\n") == 0


def test_without_a_recorded_session_there_is_nothing_to_replay(project):
    project.dre("wrap", "--", "true")
    done = project.dre("replay")
    assert done.returncode == 1
    assert done.stderr.startswith(b"dre: error: ")
    assert b"Traceback" not in done.stderr


ENDLESS = """
import os, time

def test_endless():
    if os.path.exists({before!r}):
        with open({pid!r}, "w") as stream:
            stream.write(str(os.getpid()))
        time.sleep(600)
    open({before!r}, "w").close()
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere no kernel tells it")
def test_what_is_run_again_ends_with_who_asked_for_it(project, tmp_path):
    pid = tmp_path / "pid"
    project.write("test_shop.py", ENDLESS.format(pid=str(pid), before=str(tmp_path / "before")))
    project.commit("endless in a clone")
    from tests.conftest import PYTEST

    words = ("wrap", "--replay=clean", "--", *PYTEST, "--dre", "-q")
    clones = tmp_path / "clones"
    clones.mkdir()
    there = {"TMPDIR": str(clones)}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": {**os.environ, **there}}
    dre = (sys.executable, "-m", "dre_ci.cli", *words)
    with subprocess.Popen(dre, cwd=project.path, start_new_session=True, **quiet) as process:
        try:
            until(lambda: pid.is_file() and pid.read_text())
        finally:
            process.send_signal(signal.SIGKILL)
    cell = int(pid.read_text())
    try:
        until(lambda: not runs(cell))
    finally:
        if runs(cell):
            os.kill(cell, signal.SIGKILL)
    assert project.dre("log", "check").returncode == 0
    # The next one clears up.
    assert len(list(clones.iterdir())) == 1
    project.write("test_shop.py", "def test_it(): pass\n")
    project.commit("with an end")
    assert project.dre(*words, environ=there).returncode == 0
    assert list(clones.iterdir()) == []


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def until(true, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "still not"
        time.sleep(0.02)

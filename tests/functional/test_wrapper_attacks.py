"""A command that lies from inside its wrapper: each trick is prevented, or recorded, or leaves nothing to believe."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the tricks are Linux's")

KEY = "DRE_SIGNING_KEY"
HERE = """
import os, sys
from pathlib import Path
dre = Path(os.environ['DRE_DIR'])
own = dre / 'experiments' / os.environ['DRE_OPERATION']
"""
GREEN = (
    '<testsuite name="t" tests="9" failures="0" errors="0">'
    + '<testcase name="a" classname="b"/>' * 9
    + "</testsuite>"
)


def child(code: str) -> tuple[str, ...]:
    return (sys.executable, "-I", "-c", HERE + code)


def operations(project) -> list[dict[str, object]]:
    listed = project.dre("evidence", "list", "--json")
    assert b"Traceback" not in listed.stderr
    return json.loads(listed.stdout)["operations"] if listed.returncode == 0 else []


def refuses_support(project) -> dict[str, object]:
    """Nobody is told that the newest operation is supported by what was seen from outside."""
    done = project.dre("verify", "--json", "latest")
    assert b"Traceback" not in done.stderr
    assert b"unexpected" not in done.stderr
    document = json.loads(done.stdout) if done.stdout.strip() else {}
    assert not (document.get("verdict") == "supported" and document.get("level", 0) >= 3), document
    return document


def ends_quietly(done) -> None:
    assert b"Traceback" not in done.stderr, done.stderr
    assert b"unexpected" not in done.stderr, done.stderr


def test_the_environment_of_the_parent_is_unreadable(project):
    code = """
try:
    data = Path(f"/proc/{os.getppid()}/environ").read_bytes()
    print("READ", b"DRE_SIGNING_KEY" in data)
except PermissionError:
    print("DENIED")
print("DRE_SIGNING_KEY" in os.environ)
"""
    if os.geteuid() == 0:
        # root reads everything; what is left is that the report says so
        project.dre("wrap", "--", "true")
        assert project.verdict("latest")["not_proven"]
        return
    done = project.dre("wrap", "--", *child(code))
    assert done.stdout.split() == [b"DENIED", b"False"]


FORGE = """
import pathlib, shutil, sys, time
journal = pathlib.Path(os.environ["DRE_DIR"], "experiments", os.environ["DRE_OPERATION"], "journal", "forged")
journal.mkdir(parents=True)
text = pathlib.Path(sys.argv[1]).read_text()
(journal / "main.jsonl").write_text(text)
time.sleep(0.5)
"""


def recorded_journal(project):
    """The journal of an honest, green session, to be passed off as another run's."""
    project.wrap_pytest()
    (path,) = (project.path / ".dre" / "experiments").glob("*/journal/*/main.jsonl")
    return path


def test_an_old_journal_is_no_session_of_this_run(project):
    path = recorded_journal(project)
    done = project.dre("wrap", "--verify", "--", *child(FORGE), str(path))
    assert done.returncode == 4, done.stderr
    document = refuses_support(project)
    assert document["verdict"] == "inconclusive"
    assert document["level"] <= 2


def test_a_process_that_calls_itself_pytest_is_none(project):
    forge = f"cat > out.xml <<'X'\n{GREEN}\nX\nsleep 0.3"
    project.write("gen.sh", forge)
    script = (
        f"exec -a pytest {sys.executable} -c \"import os, time; os.system('sh gen.sh'); time.sleep(0.3)\""
    )
    done = project.dre("wrap", "--verify", "--junit", "out.xml", "--", "bash", "-c", script)
    assert done.returncode == 4, done.stderr
    assert refuses_support(project)["verdict"] == "inconclusive"


@pytest.mark.parametrize(
    "act",
    [
        "os.mkfifo(folder / 'w.jsonl')",
        "(folder / 'w.jsonl').mkdir()",
        "os.symlink('/dev/zero', folder / 'w.jsonl')",
        "(folder / 'w.jsonl').write_bytes(b'junk')",
        "os.mkdir(os.fsencode(folder) + b'\\xff')",
        "Path(os.environ['DRE_DIR'], 'experiments', 'op_' + 'u' * 26).mkdir()",
        "(folder.parents[1] / 'operation.json').write_text('[' * 100000)",
    ],
    ids=["pipe", "folder", "endless link", "junk", "name", "no operation", "deep summary"],
)
def test_what_lies_in_the_journal_folder_breaks_nothing(project, act):
    code = f"""
from pathlib import Path
folder = Path(os.environ["DRE_DIR"], "experiments", os.environ["DRE_OPERATION"], "journal", "x")
folder.mkdir(parents=True)
{act}
"""
    done = project.dre("wrap", "--", *child(code))
    assert done.returncode == 0
    assert b"could not be sealed" not in done.stderr, done.stderr
    assert project.dre("wrap", "--", "true").returncode == 0
    assert project.dre("evidence", "list").returncode == 0
    assert project.dre("log", "check").returncode == 0


def test_a_private_key_never_reaches_the_evidence(project, own_home):
    project.dre("init")
    (key,) = (own_home / ".config" / "dre" / "keys").glob("*.pem")
    code = f"""
folder = Path(os.environ["DRE_DIR"], "experiments", os.environ["DRE_OPERATION"], "journal", "x")
folder.mkdir(parents=True)
os.symlink({str(key)!r}, folder / "main.jsonl")
os.link({str(key)!r}, folder / "gw0.jsonl")
"""
    project.dre("wrap", "--", *child(code))
    secret = key.read_text().split("\n")[1].encode()
    for path in (project.path / ".dre").rglob("*"):
        if path.is_file() and not path.is_symlink() and "journal" not in path.parts:
            assert secret not in path.read_bytes(), path


def test_a_bad_report_does_not_take_a_veto_away(project):
    project.write("test_bad.py", "def test_bad():\n    assert 0\n")
    script = f"{sys.executable} -m pytest --dre -q; echo '<x' > r.xml; exit 0"
    done = project.dre("wrap", "--verify", "--junit", "r.xml", "--", "sh", "-c", script)
    assert done.returncode == 1, done.stderr
    assert refuses_support(project)["verdict"] == "contradicted"


def test_recovery_does_not_launder_what_was_cut(project):
    project.wrap_pytest()
    operation = operations(project)[-1]["operation"]
    experiment = project.path / ".dre" / "experiments" / operation
    lines = (experiment / "run.intoto.jsonl").read_bytes().splitlines(keepends=True)
    (experiment / "run.intoto.jsonl").write_bytes(lines[0])
    assert project.dre("verify", operation).returncode == 3
    (experiment / "index.json").unlink()
    (experiment / "run.tlog-proof").unlink()
    project.dre("wrap", "--", "true")
    assert project.dre("verify", operation).returncode != 0


def test_the_key_is_not_in_the_childs_environment(project):
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    pem = Ed25519PrivateKey.generate().private_bytes(
        form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()
    )
    done = project.dre("wrap", "--", *child(f"print('{KEY}' in os.environ)"), environ={KEY: pem.decode()})
    assert done.stdout.strip() == b"False"


def test_a_killed_wrapper_takes_the_command_along_and_the_next_one_recovers(project):
    code = "import signal\nos.kill(os.getppid(), signal.SIGKILL)\nimport time\ntime.sleep(5)\nopen('survived', 'w')\n"
    done = project.dre("wrap", "--", *child(code))
    assert done.returncode == -signal.SIGKILL
    time.sleep(0.2)
    assert not (project.path / "survived").exists()
    ends_quietly(project.dre("wrap", "--", "true"))
    listed = project.dre("evidence", "list", "--json").stdout
    assert b"incomplete" in listed


def test_log_replaced_while_running(project):
    project.dre("wrap", "--", "true")
    code = """
other = dre / 'other'
other.write_bytes((dre / 'log.db').read_bytes()[:4096])
os.replace(other, dre / 'log.db')
"""
    done = project.dre("wrap", "--", *child(code))
    ends_quietly(done)
    refuses_support(project)


def test_log_removed_while_running(project):
    project.dre("wrap", "--", "true")
    done = project.dre("wrap", "--", *child("for p in dre.glob('log.db*'): p.unlink()\n"))
    ends_quietly(done)
    refuses_support(project)


def test_log_overwritten_with_garbage(project):
    project.dre("wrap", "--", "true")
    done = project.dre("wrap", "--", *child("(dre / 'log.db').write_bytes(os.urandom(9000))\n"))
    ends_quietly(done)
    refuses_support(project)


def test_whole_folder_removed_while_running(project):
    done = project.dre("wrap", "--", *child("import shutil\nshutil.rmtree(dre)\n"))
    ends_quietly(done)
    assert done.returncode == 0
    refuses_support(project)


def test_blobs_of_the_run_removed_while_running(project):
    code = "for p in (dre / 'evidence' / 'tmp').iterdir(): p.unlink()\n"
    done = project.dre("wrap", "--", *child(code + "print('x' * 10)\n"))
    ends_quietly(done)
    assert done.returncode == 0
    refuses_support(project)


def test_unsigned_summary_rewritten_while_running(project):
    code = "(own / 'operation.json').write_text('{\"operation\": 1}')\n(own / 'lock').unlink()\n"
    done = project.dre("wrap", "--", *child(code))
    ends_quietly(done)
    refuses_support(project)


@pytest.mark.parametrize(
    "line",
    [b"", b"{}\n", b"not json\n", b'{"kind":"session","seq":0}\n', b"\xff\xfe\n", b"[" * 10_000],
    ids=range(6),
)
def test_forged_journal(project, line):
    code = f"""
folder = own / 'journal' / 'ses_forged'
folder.mkdir(parents=True)
(folder / 'main.jsonl').write_bytes({line!r})
"""
    done = project.dre("wrap", "--", *child(code))
    ends_quietly(done)
    assert done.returncode == 0
    refuses_support(project)


def test_journal_deleted(project):
    code = """
import subprocess, shutil
subprocess.run([sys.executable, '-m', 'pytest', '--dre', '-q', '-p', 'no:cacheprovider'])
shutil.rmtree(own / 'journal')
"""
    done = project.dre("wrap", "--", sys.executable, "-c", HERE + code)
    ends_quietly(done)
    refuses_support(project)


def test_report_forged_by_the_command(project):
    code = f"Path('junit.xml').write_text({GREEN!r})\n"
    done = project.dre("wrap", "--junit", "junit.xml", "--", *child(code))
    ends_quietly(done)
    refuses_support(project)


def test_report_rewritten_by_a_daemon_after_the_exit(project):
    before = GREEN.replace('failures="0"', 'failures="1"').replace(
        '<testcase name="a" classname="b"/>', '<testcase name="a" classname="b"><failure/></testcase>', 1
    )
    code = f"""
Path('junit.xml').write_text({before!r})
if not os.fork():
    os.setsid()
    os.close(1); os.close(2)
    import time
    time.sleep(1.5)
    Path('junit.xml').write_text({GREEN!r})
    os._exit(0)
"""
    done = project.dre("wrap", "--junit", "junit.xml", "--", *child(code))
    ends_quietly(done)
    sealed = project.dre("verify", "--json", "latest").stdout
    time.sleep(2)
    assert (project.path / "junit.xml").read_text() == GREEN
    # what was digested at the end of the command is what counts, whatever the file says now
    assert project.dre("verify", "--json", "latest").stdout == sealed
    assert refuses_support(project).get("verdict") != "supported"


def test_malformed_report_does_not_keep_the_run_from_being_sealed(project):
    done = project.dre(
        "wrap", "--junit", "junit.xml", "--", *child("Path('junit.xml').write_text('<a><b>')\n")
    )
    ends_quietly(done)
    refuses_support(project)
    assert b"could not be sealed" not in done.stderr


def test_closed_output_hides_nothing_of_the_exit(project):
    done = project.dre("wrap", "--", *child("os.close(1)\nos.close(2)\nos._exit(3)\n"))
    assert done.returncode == 3
    refuses_support(project)


def test_daemon_that_keeps_the_pipe(project):
    code = "import time\nif not os.fork():\n    os.setsid()\n    time.sleep(3)\n    os._exit(0)\n"
    began = time.monotonic()
    done = project.dre("wrap", "--", *child(code))
    assert done.returncode == 0
    assert time.monotonic() - began < 60
    refuses_support(project)


def test_envelopes_and_proof_written_in_advance(project):
    code = """
(own / 'run.intoto.jsonl').write_text('{}')
(own / 'run.tlog-proof').write_text('x')
(own / 'index.json').write_text('{}')
"""
    done = project.dre("wrap", "--", *child(code))
    ends_quietly(done)
    refuses_support(project)


def test_folders_turned_into_links_while_running(project, tmp_path):
    away = tmp_path / "away"
    away.mkdir()
    code = f"import shutil\nshutil.rmtree(own / 'journal')\nos.symlink({str(away)!r}, own / 'journal')\n"
    done = project.dre("wrap", "--", *child(code))
    ends_quietly(done)
    refuses_support(project)
    assert not list(Path(away).iterdir())


@pytest.mark.parametrize(
    ("attack", "said"),
    [
        ("rm -f .dre/log.db*", b"the log was removed or replaced"),
        ("rm -f .dre/log.db* && : > .dre/log.db", b"the log was removed or replaced"),
        ("cp .dre/log.db .dre/copy && mv .dre/copy .dre/log.db", b"the log was removed or replaced"),
        (": > .dre/log.db", b"not a sound log"),
    ],
)
def test_a_log_that_the_command_takes_away_is_missed(project, attack, said):
    project.dre("init")
    done = project.dre("wrap", "--", "sh", "-c", attack)
    assert done.returncode == 0
    assert b"could not be sealed" in done.stderr
    assert said in done.stderr
    assert b"move .dre aside" in done.stderr
    assert b"Traceback" not in done.stderr
    assert project.dre("wrap", "--strict", "--", "sh", "-c", attack).returncode == 125
    assert project.dre("verify").returncode not in (0, 6)


@pytest.mark.parametrize(
    "act",
    [
        'cast.write_text(cast.read_text() + \'[0.1, "o", "12 passed"]\\n\')',
        "cast.unlink()",
        "cast.unlink(); cast.write_text('forged')",
        "cast.unlink(); os.mkfifo(cast)",
        "cast.unlink(); cast.symlink_to('/dev/zero')",
        "cast.unlink(); cast.mkdir()",
    ],
    ids=["appended", "removed", "replaced", "fifo", "link", "folder"],
)
def test_the_recording_is_what_was_recorded(project, act):
    project.write("dre.yaml", "visual: {screen: true}\n")
    done = project.dre(
        "wrap", "--", *child(f"cast = own / 'terminal.cast'\n{act}\nprint('true words', flush=True)\n")
    )
    ends_quietly(done)
    assert done.returncode == 0
    run = json.loads(project.dre("evidence", "show", "--json").stdout)
    named = {item["name"] for item in run["items"]}
    assert "stdout" in named
    if "terminal.cast" in named:
        # The header holds the command, forged words included.
        shown = project.dre("evidence", "cat", "terminal.cast").stdout.partition(b"\n")[2]
        assert b"true words" in shown
        assert b"forged" not in shown
        assert b"12 passed" not in shown
    else:
        assert any("was changed by somebody else" in gap["reason"] for gap in run["gaps"])
    assert project.verdict()["integrity"]["result"] == "valid"


POISON = r"""
import glob, json, os, sys
if os.path.exists("again"):
    (path,) = glob.glob(os.environ["DRE_DIR"] + "/cache/past/*.jsonl")
    {act}
    sys.exit(1)
open("again", "w").close()
"""


@pytest.mark.parametrize(
    "act",
    [
        "line = json.loads(open(path).readline()); line['passed'] = 2**60; open(path, 'a').write(json.dumps(line))",
        r"line = json.loads(open(path).readline()); line['commit'] = '\ud800'; open(path, 'a').write(json.dumps(line))",
        "os.remove(path); os.mkfifo(path)",
        "os.remove(path); os.symlink('/dev/zero', path)",
        "os.remove(path); os.mkdir(path)",
    ],
    ids=["number", "surrogate", "pipe", "device", "folder"],
)
def test_what_is_remembered_of_earlier_runs_can_keep_no_run_from_being_sealed(project, act):
    project.write("poison.py", POISON.format(act=act))
    project.commit()
    words = ("wrap", "--", sys.executable, "poison.py")
    assert project.dre(*words).returncode == 0
    for _ in range(2):
        if act.startswith("os.remove") and _:
            (project.path / "poison.py").write_text("raise SystemExit(1)")
        assert project.dre(*words).returncode == 1
        assert project.dre("verify").returncode == 6
    rows = json.loads(project.dre("evidence", "list", "--json").stdout)["operations"]
    assert [row["outcome"] for row in rows] == ["passed", "failed", "failed"]


def test_source_that_no_parser_survives_is_a_gap(project):
    project.write("m.py", "x = 1\n")
    project.commit()
    project.write("m.py", "x = " + "-" * 7000 + "1\n")
    project.commit()
    done = project.dre("wrap", "--base", "HEAD~1", "--", "sh", "-c", "exit 3")
    assert done.returncode == 3
    assert b"could not be sealed" not in done.stderr
    sealed = json.loads(project.dre("evidence", "show", "--json").stdout)
    # Which of its limits such a text meets differs from one Python to the next.
    said = ("m.py could not be read as Python", "1 file can't be looked at: m.py")
    assert [gap["reason"] for gap in sealed["gaps"] if gap["reason"] in said]

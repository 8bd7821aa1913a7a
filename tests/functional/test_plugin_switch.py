"""When the plugin records, where to, and what it shows; and that it costs nothing when it is not asked."""

from __future__ import annotations

import os
import sys

import pytest

from dre_core.model.journal import fold

HEAVY = ("dre_core", "dre_pytest.recorder", "hashlib", "cryptography", "json")


def test_off_imports_nothing(recorded):
    recorded.pytester.makepyfile(
        "import sys\nbefore = set(sys.modules)\nimport dre_pytest.plugin\n"
        "print(sorted(m for m in set(sys.modules) - before))"
    )
    result = recorded.pytester.run(
        sys.executable, "-c",
        "import sys, pytest; before = set(sys.modules); import dre_pytest.plugin;"
        "print(sorted(set(sys.modules) - before))",
    )  # fmt: skip
    assert result.outlines == ["['dre_pytest', 'dre_pytest.plugin']"]


@pytest.mark.parametrize(
    "options", [(), ("--dre", "--no-dre"), ("--dre", "--version"), ("--dre", "--markers")]
)
def test_off_records_nothing(recorded, options):
    recorded.pytester.makepyfile(
        "import sys\ndef test_a(dre):\n    dre.note('x'); dre.attach(b'x'); dre.screenshot(b'x')\n"
        "    assert 'dre_core' not in sys.modules and 'dre_pytest.recorder' not in sys.modules"
    )
    prefix = ("-p", "dre_pytest.plugin", "-p", "plain_operation", "-p", "no:cacheprovider")
    result = recorded.pytester.runpytest_subprocess(*prefix, *options)
    assert result.ret == 0
    assert recorded.files() == []


def test_ini_switches_on_and_option_off(recorded):
    recorded.pytester.makeini("[pytest]\ndre = true")
    recorded.pytester.makepyfile("def test_a(): pass")
    recorded.pytester.runpytest_subprocess(*recorded.prefix, "--no-dre")
    assert recorded.files() == []
    recorded.pytester.runpytest_subprocess(*recorded.prefix)
    assert len(recorded.files()) == 1


def test_header_and_verdict(recorded):
    recorded.pytester.makepyfile("def test_a(): pass")
    result = recorded.run()
    assert "dre: plain folder" in result.outlines
    closing = next(n for n, line in enumerate(result.outlines) if " 1 passed" in line)
    assert result.outlines[closing + 1 :] == ["dre: verdict plain", "dre: 1 passed, status 0"]


def test_quiet_is_one_line(recorded):
    recorded.pytester.makepyfile("def test_a(): pass")
    assert [line for line in recorded.run("-q").outlines if line.startswith("dre")] == ["dre: verdict plain"]


@pytest.mark.parametrize(
    ("body", "status"), [("pass", 1), ("assert 0", 1), ("__import__('pytest').exit('x', 3)", 3)]
)
def test_enforce_only_worsens(recorded, body, status):
    recorded.pytester.makepyfile(f"def test_a(): {body}")
    result = recorded.run("--dre-enforce")
    assert result.ret == status
    session = recorded.session()
    assert session.exit_status == (0 if body == "pass" else status)
    assert session.problems == () or "no-outcome" in session.problems[0]


def test_warnings_as_errors(recorded):
    recorded.pytester.makepyfile("def test_a(): pass")
    assert recorded.run("-W", "error").ret == 0
    assert recorded.session().finished


def test_a_failing_operation_breaks_nothing(recorded):
    plain = recorded.pytester.path / "plain_operation.py"
    text = plain.read_text()
    recorded.pytester.makepyfile("def test_a(): pass")
    plain.write_text(text.replace("result = types.SimpleNamespace()", "raise RuntimeError('disk gone')"))
    result = recorded.run()
    assert result.ret == 0
    result.stdout.fnmatch_lines(["dre: warning: not sealed: disk gone"])
    plain.write_text(
        text.replace("return Operation()", "1/0").replace("lambda config: Operation()", "lambda config: 1/0")
    )
    assert recorded.run().ret == 0
    assert recorded.run("--dre-enforce").ret == 1


@pytest.mark.skipif(sys.platform == "win32", reason="needs flock")
@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("told", ["name", "folder"])
def test_inside_a_wrapper(recorded, monkeypatch, held, told):
    import fcntl

    recorded.pytester.makepyfile("def test_a(dre): dre.attach(b'abc', name='a.bin')")
    folder = recorded.pytester.path / "outer" / ".dre" / "experiments" / "op_1"
    folder.mkdir(parents=True)
    monkeypatch.setenv("DRE_OPERATION", "op_1")
    monkeypatch.setenv("DRE_DIR", str(folder.parents[1]))
    with (folder / "lock").open("wb") as lock:
        if held:
            fcntl.flock(lock, fcntl.LOCK_EX)
        result = recorded.run()
    assert result.ret == 0
    files = list(folder.glob("journal/*/main.jsonl"))
    if held:
        (file,) = files
        with file.open("rb") as lines:
            session = fold({"main": lines})
        assert session.counts.passed == 1
        assert (folder / "attachments" / session.attachments[0].file).read_bytes() == b"abc"
        assert recorded.files() == []
    else:
        assert files == []
        result.stdout.fnmatch_lines(["dre: warning: DRE_OPERATION *"])
        assert recorded.session().counts.passed == 1


@pytest.mark.parametrize("name", ["../op_1", "/etc", "op\n1", "a" * 5000])
def test_hostile_operation_name(recorded, monkeypatch, name):
    monkeypatch.setenv("DRE_OPERATION", name)
    recorded.pytester.makepyfile("def test_a(): pass")
    assert recorded.run().ret == 0
    assert recorded.session().counts.passed == 1


def test_fixture_attaches(recorded):
    recorded.pytester.makepyfile(
        """
        import pytest
        @pytest.mark.dre(owner="me", ticket=7)
        def test_a(dre, tmp_path):
            file = tmp_path / "log hunter2.txt"
            file.write_bytes(b"x" * 3_000_000)
            dre.attach(file, media_type="text/plain")
            file.write_bytes(b"changed")
            dre.screenshot(b"png", name="shot")
            dre.note("took hunter2")
            with pytest.raises(OSError):
                dre.attach(tmp_path / "missing")

        @pytest.mark.dre(owner="class")
        class TestB:
            @pytest.mark.dre(area="x")
            def test_b(self): pass
        """
    )
    assert recorded.run().ret == 0
    session = recorded.session()
    text, shot = session.attachments
    assert (text.name, text.media_type, text.kind, text.size_bytes) == (
        "log ***.txt",
        "text/plain",
        "attachment",
        3_000_000,
    )
    assert (shot.name, shot.media_type, shot.kind) == ("shot", "image/png", "screenshot")
    folder = recorded.pytester.path / "records" / "attachments"
    assert (folder / text.file).read_bytes() == b"x" * 3_000_000
    assert [note for _, note in session.notes] == ["owner=me ticket=7", "owner=class area=x", "took ***"]
    assert len(os.listdir(folder)) == 2


def test_session_within_a_session(recorded):
    recorded.pytester.makepyfile(
        test_outer="""
        import pytest
        def test_inner(tmp_path):
            (tmp_path / "test_in.py").write_text("def test_in(): assert 0")
            assert pytest.main([str(tmp_path), "--dre", "-p", "dre_pytest.plugin"]) == 1
        """
    )
    assert recorded.run().ret == 0
    sessions = {session.parent: session for session in recorded.sessions()}
    outer = sessions.pop("")
    (inner,) = sessions.values()
    assert inner.parent == outer.id
    assert inner.pid == outer.pid
    assert (outer.counts.passed, inner.counts.failed) == (1, 1)
    assert outer.problems == inner.problems == ()

"""Documents: by the command's type, from a sandbox, deterministic, put on a branch, and told of."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dre_core.documenting import GENERATED, announce, commit_files, keep
from dre_core.engine import Engine
from dre_core.errors import ConfigError, LimitError, MissingExtraError, UsageError
from dre_core.model.run import CommandFacts
from dre_core.report.build import Report
from dre_core.report.document import (
    TYPES,
    code_span,
    context_of,
    fenced,
    make_document,
    merged,
    operation_type,
)
from dre_core.reporting import report_of
from dre_core.testing import empty_evidence
from dre_core.verification import Request

RECORDED = Path(__file__).resolve().parents[1] / "gold" / "recorded"


@pytest.fixture
def red(tmp_path) -> Report:
    from dre_ci.commands.verify import read_key

    engine = Engine.open(tmp_path, environ={"HOME": str(tmp_path)})
    key = read_key(str(RECORDED / "key.pem"))
    return report_of(engine, Request(target=str(RECORDED / "red.zip"), keys=(key,)), baseline="")


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (("pytest", "-q"), "test"),
        (("npm", "test"), "test"),
        (("sh", "-c", "cd web && jest --ci"), "test"),
        (("make", "all"), "build"),
        (("/usr/bin/make",), "build"),
        (("python3", "-m", "build"), "build"),
        (("docker", "build", "."), "build"),
        (("docker", "run", "x"), "generic"),
        (("bash", "-c", "ruff check . ; mypy"), "lint"),
        (("python3.11", "-m", "mypy"), "lint"),
        (("make && kubectl apply -f x",), "deploy"),
        (("terraform", "apply"), "deploy"),
        (("echo", "make"), "generic"),
        (("sh", "-c", "echo 'unclosed"), "generic"),
        ((), "generic"),
    ],
)
def test_a_command_is_what_its_words_say(argv, expected):
    run = replace(empty_evidence().run, command=CommandFacts(argv=argv))
    assert operation_type(run) == expected


@pytest.mark.parametrize("kind", TYPES)
def test_every_template_serves_every_report(kind, red):
    for report in (red, replace(red, evidence=None, exhibits=None, difference=None)):
        first = make_document(report, ["markdown"], named=kind)
        assert make_document(report, ["markdown"], named=kind) == first
        text = first.files[f"{kind}.md"].decode()
        assert text.startswith("# ")
        assert "## What this does not prove" in text


def test_a_test_run_gets_its_failures(red):
    text = make_document(red, ["markdown"]).files["test.md"].decode()
    assert "### `test_cart.py::test_free_shipping`" in text
    assert "\n> " not in text.partition("```text")[0], "nothing is said to be written by a model"
    assert "assert shipping(5000" in text


def test_hostile_text_stays_text(red):
    assert red.evidence is not None
    evil = "``` \n</code><script>x</script> {{ 7*7 }} @maintainer \x1b[31m `|`"
    run = replace(red.evidence.run, name=evil, user=evil, command=CommandFacts(argv=(evil,)))
    text = make_document(replace(red, evidence=replace(red.evidence, run=run)), ["markdown"], named="generic")
    shown = text.files["generic.md"].decode()
    assert "\x1b" not in shown
    assert "49" not in shown.splitlines()[0]
    assert "@maintainer" not in shown.splitlines()[0]


@pytest.mark.parametrize("text", ["", "`", "``", "a `b` ``c``", "`x`", "a|b", "```\nfence\n```"])
def test_code_cannot_be_left(text):
    span, block = code_span(text), fenced(text)
    ticks = len(span) - len(span.lstrip("`"))
    assert not span or span.endswith("`" * ticks)
    fence = block.partition("text\n")[0]
    assert not any(line.startswith(fence) for line in block.splitlines()[1:-1])


def test_a_users_template_comes_first_and_may_extend_ours(red, tmp_path):
    own = tmp_path / "templates"
    own.mkdir()
    (own / "test.md.j2").write_text('{% extends "dre/test.md.j2" %}{% block title %}Ours{% endblock %}')
    (own / "release.md.j2").write_text(
        "# {{ operation.id|code }}\n{% for t in evidence.failures %}{{ t.id }}{% endfor %}"
    )
    assert make_document(red, ["markdown"], templates=own).files["test.md"].startswith(b"# Ours\n")
    assert b"test" in make_document(red, ["markdown"], templates=own, named="release").files["release.md"]


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ operation.__init__.__globals__ }}",
        "{{ self._TemplateReference__context }}{{ cycler.__init__.__globals__.os }}",
        "{{ operation.update({'id': 1}) }}",
        "{% include '../../etc/passwd' %}",
        "{% include '/etc/passwd' %}",
        "{% for n in range(100000000) %}x{% endfor %}",
        "{{ nothing }}",
        "{% broken",
        "{{ 1 / 0 }}",
        "{{ 'x'|nofilter }}",
        "{{ evidence.counts.passed + 'x' }}",
        "{% include 'own.md.j2' %}",
    ],
)
def test_a_template_reaches_nothing_and_fails_by_name(template, red, tmp_path):
    (tmp_path / "own.md.j2").write_text(template)
    with pytest.raises((ConfigError, UsageError)) as caught:
        merged("own", context_of(red), tmp_path)
    assert "\n" not in caught.value.message


def test_a_template_without_end_is_stopped(red, tmp_path):
    (tmp_path / "own.md.j2").write_text("{% for n in range(99999) %}{{ 'x' * 2000 }}{% endfor %}")
    with pytest.raises(LimitError):
        merged("own", context_of(red), tmp_path)


def test_what_is_not_there_is_said(red):
    with pytest.raises(UsageError, match="no template"):
        make_document(red, ["markdown"], named="nonesuch")
    with pytest.raises(UsageError, match="unknown document format"):
        make_document(red, ["docx"])


def test_a_missing_extra_is_named(red, monkeypatch):
    monkeypatch.setitem(sys.modules, "markdown_it", None)
    with pytest.raises(MissingExtraError) as caught:
        make_document(red, ["html"])
    assert "[docs]" in caught.value.hint


def test_html_comes_from_the_same_merge_and_runs_nothing(red, tmp_path):
    pytest.importorskip("markdown_it")
    (tmp_path / "own.md.j2").write_text(
        "# {{ operation.id }}\n\n<script>x</script>\n\n[a](javascript:x) ![i](http://e/x) <https://e>\n\n"
        "| a |\n|---|\n| b |\n"
    )
    page = make_document(red, ["html"], templates=tmp_path, named="own").files["own.html"].decode()
    assert "<table>" in page
    assert "<script" not in page
    assert "<a " not in page
    assert "<img" not in page
    assert "Content-Security-Policy" in page


# On a branch


def test_the_branch_gets_the_document_and_nothing_else_moves(project):
    before = project.git("status", "--porcelain"), project.git("rev-parse", "HEAD"), project.git("branch")
    first = commit_files(project.path, "dre-docs", {"op/test.md": b"one\n"}, "Document op")
    assert commit_files(project.path, "dre-docs", {"op/test.md": b"one\n"}, "again") == first
    second = commit_files(project.path, "dre-docs", {"op/other.md": b"two\n"}, "Document more")
    assert project.git("rev-parse", "dre-docs^") == first
    assert project.git("ls-tree", "-r", "--name-only", second).split() == ["op/other.md", "op/test.md"]
    after = project.git("status", "--porcelain"), project.git("rev-parse", "HEAD"), project.git("branch")
    assert (before[0], before[1]) == (after[0], after[1])
    assert set(after[2].split()) == {*before[2].split(), "dre-docs"}


def test_a_hook_of_the_repository_does_not_run(project):
    hook = project.write(".git/hooks/reference-transaction", "#!/bin/sh\ntouch ran\nexit 1\n")
    hook.chmod(0o755)
    assert commit_files(project.path, "dre-docs", {"a.md": b"x"}, "m")
    assert not (project.path / "ran").exists()


@pytest.mark.parametrize("name", ["", "a..b", "-x", "a b", "x.lock", "a\nb"])
def test_a_name_that_is_no_branch_is_refused(name, project):
    with pytest.raises(UsageError):
        commit_files(project.path, name, {"a.md": b"x"}, "m")


def test_the_branch_that_is_checked_out_is_left_alone(project):
    branch = project.git("symbolic-ref", "--short", "HEAD")
    head = project.git("rev-parse", "HEAD")
    with pytest.raises(UsageError, match="checked out"):
        commit_files(project.path, branch, {"a.md": b"x"}, "m")
    assert project.git("rev-parse", "HEAD") == head


def test_without_a_repository_there_is_no_branch(tmp_path):
    with pytest.raises(UsageError, match="no git repository"):
        commit_files(tmp_path, "dre-docs", {"a.md": b"x"}, "m")


# The command


def test_documented_from_the_command_line(project):
    project.wrap_pytest("-q")
    done = project.dre("report", "document", "--branch", "dre-docs")
    assert done.returncode == 0, done.stderr
    (path,) = [line.split()[1] for line in done.stdout.decode().splitlines() if line.startswith("wrote ")]
    assert Path(path).read_text().startswith("# ")
    assert project.git("show", "--name-only", "--format=%s", "dre-docs").split()[0] == "Document"
    assert GENERATED in project.dre("log", "list").stdout.decode()
    assert b"every hash and checkpoint holds" in project.dre("log", "check").stdout
    assert project.verdict()["verdict"] == "supported"


def test_a_bad_wish_is_one_line_and_a_hint(project):
    project.dre("wrap", "--", "true")
    for words, hint in (
        (["--template", "nonesuch"], b"built in are"),
        (["--format", "docx"], b"formats are"),
        (["--branch", "a..b"], b"no name for a branch"),
        (["--format", "html", "--branch", "dre-docs"], b"--format markdown"),
    ):
        done = project.dre("report", "document", *words)
        assert done.returncode == 2
        assert hint in done.stderr
        assert b"Traceback" not in done.stderr


def test_an_archive_needs_a_place_to_write_to(project, tmp_path):
    words = ["report", "document", str(RECORDED / "green.zip"), "--key", str(RECORDED / "key.pem")]
    assert project.dre(*words).returncode == 2
    done = project.dre(*words, "--output", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "test.md").is_file()
    assert not (project.path / ".dre").exists()


def test_subscribers_are_told_and_a_broken_one_keeps_nobody_from_hearing(project, red, monkeypatch):
    import pluggy

    from dre_core import hooks, registry

    heard = []

    class Good:
        @hooks.hookimpl
        def dre_event(self, event):
            heard.append(event.type)

    class Broken:
        @hooks.hookimpl
        def dre_event(self, event):
            raise RuntimeError("no network")

    def load(modules, plugins=()):
        manager = pluggy.PluginManager(hooks.PROJECT)
        manager.add_hookspecs(hooks)
        manager.register(Broken(), "broken")
        manager.register(Good(), "good")
        return manager

    monkeypatch.setattr(registry, "load", load)
    project.dre("wrap", "--", "true")
    engine = Engine.open(project.path)
    document = make_document(red, ["markdown"])
    kept = keep(engine, red.verdict.operation, document, project.path / "docs")
    event, problems = announce(engine, red.verdict.operation, document, kept)
    assert heard == [GENERATED]
    assert problems == ["broken: RuntimeError: no network"]
    assert event.data["formats"]["test.md"]["size"] == str(len(document.files["test.md"]))


def test_bytes_that_are_no_archive_are_refused_with_a_hint(project):
    whole = (RECORDED / "green.zip").read_bytes()
    for name, data in (("cut.zip", whole[:5_000]), ("text.zip", b"hello"), ("empty.zip", b"")):
        (project.path / name).write_bytes(data)
        for words in (["generate", name, "--format", "html"], ["diff", name, name]):
            done = project.dre("report", *words)
            assert done.returncode == 3
            assert done.stderr.count(b"\n") == 2
            assert b"dre: hint: get the evidence again" in done.stderr


def test_a_pipe_is_written_into_and_stays_a_pipe(project):
    import os
    import threading

    pipe = project.path / "pipe"
    os.mkfifo(pipe)
    got = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()), daemon=True)
    reader.start()
    words = ["report", "generate", str(RECORDED / "green.zip"), "--key", str(RECORDED / "key.pem")]
    done = project.dre(*words, "--format", "markdown", "--output", str(pipe))
    reader.join(20)
    assert done.returncode == 0, done.stderr
    assert got[0].startswith(b"## ")
    assert pipe.is_fifo()


def test_a_baseline_can_be_named_or_left_out(project):
    key = ["--key", str(RECORDED / "key.pem")]
    words = ["report", "generate", str(RECORDED / "red.zip"), *key, "--format", "json"]
    alone = json.loads(project.dre(*words, "--baseline", "none").stdout)
    beside = json.loads(project.dre(*words, "--baseline", str(RECORDED / "green.zip")).stdout)
    by_itself = json.loads(project.dre(*words).stdout)
    assert alone["difference"] is None
    assert len(beside["difference"]["tests"]["newly_failing"]) == 2
    assert (beside["difference"]["whole"], by_itself["difference"]["whole"]) == (True, False)


def test_a_run_that_was_just_judged_is_reported_with_all_that_is_shown(project):
    from dre_core.reporting import report_here
    from dre_core.verification import verify

    for _ in range(2):
        project.wrap_pytest("-q")
    engine = Engine.open(project.path)
    (verified,) = verify(engine, Request())
    report = report_here(engine, verified.verdict, verified.evidence)
    assert report.exhibits is not None
    assert report.exhibits.seal is not None
    assert report.exhibits.outputs
    assert report.exhibits.events
    assert report.difference is not None
    assert report.difference.whole

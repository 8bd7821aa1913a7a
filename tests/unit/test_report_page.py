"""The HTML report: whole in one file, safe with hostile evidence, and the same for the same evidence."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dre_core.capture.cast import CastEvent
from dre_core.model.observation import Observation, Sample, SeenProcess
from dre_core.model.replay import Cell, CellState, Mode, Reached, ReplayedTest, ReplayFacts
from dre_core.model.run import Item
from dre_core.model.session import Outcome, Session, TestRecord
from dre_core.model.text import neutral
from dre_core.model.verdict import (
    Cause,
    CheckResult,
    CheckState,
    Conclusion,
    Consensus,
    Finding,
    Integrity,
    IntegrityResult,
    Level,
    MethodResult,
    Severity,
    Vantage,
    Verdict,
)
from dre_core.report import plots
from dre_core.report.analysis import hunk_of, located_causes
from dre_core.report.build import Report
from dre_core.report.exhibits import (
    Exhibits,
    OutputText,
    PatternMatch,
    Picture,
    Recording,
    load_exhibits,
)
from dre_core.report.html import HTMLRenderer, data_block, render_html
from dre_core.report.page import lanes_of, output_lines, replay_of
from dre_core.report.playback import play
from dre_core.testing import check_renderer, empty_evidence

ATTACKS = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'};alert(1);//",
    "</script><script>alert(1)</script>",
    "</style><svg onload=alert(1)>",
    "{{ 7*7 }}{% raw %}",
    "javascript:alert(1)",
    "<!--",
    "]]>",
    "`<b>code</b>`",
)
BIDI = "user\u202etxt.exe\u2066a\u200b"
OSC = "\x1b]8;;https://evil.example/\x07click\x1b]8;;\x07\x1b[2J\x1b[8mhidden\x9b31m"


def finding(message: str, **more) -> Finding:
    values = {"check": "exit-agrees", "severity": Severity.VETO, "vantage": Vantage.OBSERVED}
    return Finding(message=message, **{**values, **more})


def report(
    tests=(), findings=(), exhibits=None, observation=None, conclusion=Conclusion.CONTRADICTED, **more
) -> Report:
    evidence = empty_evidence()
    session = Session(id="s", nonce="n", pid=2, parent_pid=1, tests=tuple(tests))
    evidence = replace(evidence, sessions=(session,), observation=observation)
    check = CheckResult(
        check="exit-agrees", state=CheckState.RAN, vantage=Vantage.OBSERVED, findings=tuple(findings)
    )
    method = MethodResult(
        method="programmatic", applicable=True, score=0.0, coverage=1.0, vantage=1.0, checks=(check,)
    )
    verdict = Verdict(
        operation=evidence.run.operation,
        conclusion=conclusion,
        claim={"outcome": "passed", "exit_code": 0, "command": ["true"]},
        integrity=Integrity(result=IntegrityResult.VALID, checks=()),
        consensus=Consensus(
            scores={"programmatic": 0.0}, overall=0.0, passed=False, confidence=1.0, conclusion=conclusion
        ),
        level=Level.WRAPPED,
        methods={"programmatic": method},
        **more,
    )
    return Report(verdict=verdict, evidence=evidence, exhibits=exhibits)


def many(count: int) -> list[TestRecord]:
    return [
        TestRecord(id=f"tests/test_{n % 40}.py::TestThings::test_case[{n}]", outcome=Outcome.PASSED)
        for n in range(count)
    ]


class Tags(HTMLParser):
    """Elements with their attributes, as a browser would see them."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))


def hostile(text: str) -> Report:
    """A report with the same hostile text in every place that evidence reaches."""
    test = TestRecord(
        id=f"a.py::{text}", outcome=Outcome.FAILED, message=text, text=text, output=text, file=text, line=3
    )
    raw = text.encode("utf-8", "replace")
    exhibits = Exhibits(
        outputs=(OutputText(stream="stdout", size=len(raw), head=raw),),
        matches=(PatternMatch(stream="stdout", offset=0, kind="error", rule=text, text=text),),
        recording=Recording(width=80, height=24, events=(CastEvent(elapsed_us=1, text=text),)),
        patch=f"+++ b/{text}\n@@ -1 +1 @@\n+{text}\n",
        environment={"variables": {text: text}},
        distributions=((text, text),),
        pictures=(Picture(name=text, media_type="image/png", data=b"x", digest="sha256:0"),),
    )
    observation = Observation(
        exit_code=0, wall_ms=10, processes=(SeenProcess(pid=1, parent_pid=0, argv=(text,)),)
    )
    made = report(
        [test],
        [finding(text, remedy=text, where=text, tests=(text,), evidence=(text,))],
        exhibits,
        observation,
        missing=(text,),
        not_proven=(text,),
        causes=(Cause(summary=text, where=text),),
    )
    assert made.evidence is not None
    run = made.evidence.run
    run = replace(
        run,
        name=text,
        user=text,
        command=replace(run.command, argv=(text,), cwd=text),
        source=replace(run.source, modified=(text,), commit=text, repository=text),
        environment={text: text, "host": text},
        tools={text: text},
        ci={text: text},
    )
    claim = {"outcome": text, "exit_code": 0, "command": [text], "kind": text}
    return replace(made, evidence=replace(made.evidence, run=run), verdict=replace(made.verdict, claim=claim))


def test_it_keeps_the_contract():
    check_renderer(HTMLRenderer())


@pytest.mark.parametrize("attack", ATTACKS)
def test_hostile_text_adds_no_element_and_no_handler(attack):
    harmless = Tags(render_html(hostile("harmless")))
    attacked = Tags(render_html(hostile(attack)))
    assert {tag for tag, _ in attacked.seen} == {tag for tag, _ in harmless.seen}
    assert sum(tag == "script" for tag, _ in attacked.seen) == sum(
        tag == "script" for tag, _ in harmless.seen
    )
    names = {name for _, attributes in attacked.seen for name in attributes}
    assert not {name for name in names if name.startswith("on")}
    assert "style" not in names
    assert all(a.get("href", "#").startswith("#") for tag, a in attacked.seen if tag == "a")


def test_the_text_itself_is_still_there():
    page = render_html(hostile("<script>alert(1)</script>"))
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") > 10


def test_escape_sequences_go_and_marks_that_reorder_are_shown():
    page = render_html(hostile(BIDI + OSC))
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]", page)
    assert "user[U+202E]txt.exe[U+2066]a[U+200B]click" in page
    assert "evil.example" not in page


@given(st.text())
def test_neutral_text_has_nothing_that_acts(text):
    assert not re.search(
        "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]", neutral(text)
    )
    assert neutral(neutral(text)) == neutral(text)


@settings(max_examples=40)
@given(
    st.recursive(st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))
)
def test_a_data_block_reads_back_and_cannot_end_its_element(value):
    block = data_block(value)
    assert not set(block) & set("<>&\u2028\u2029")
    assert json.loads(block) == json.loads(
        json.dumps(value, ensure_ascii=False).encode("utf-8", "replace").decode()
    )


def test_the_policy_names_the_style_and_the_script_that_are_there():
    page = render_html(report())
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)
    policy = policy.replace("&#39;", "'")
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.S)
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.S)
    for text in (style, script):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy


def test_nothing_is_fetched():
    for tag, attributes in Tags(render_html(hostile("x"))).seen:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form")
        assert (attributes.get("src") or "data:").startswith("data:")


def test_a_thousand_tests_stay_below_a_megabyte():
    assert len(render_html(report(many(1_000))).encode()) < 1_000_000


def test_fifty_thousand_tests_are_data_and_not_elements():
    page = render_html(report(many(50_000)))
    assert page.count("<tr>") < 100
    (block,) = re.findall(r'id="data-tests">(.*?)</script>', page)
    assert len(json.loads(block)["tests"]) == 50_000


def test_the_verdict_is_said_in_words_first():
    page = render_html(report(findings=[finding("`pytest` returned 1, but `sh` returned 0")]))
    assert page.index("<h1>Contradicted</h1>") < page.index("The evidence contradicts the claim: ")
    assert "<code>pytest</code> returned 1, but <code>sh</code> returned 0" in page


def test_without_evidence_there_is_still_a_page():
    bare = replace(report(), evidence=None)
    assert "<h1>Contradicted</h1>" in render_html(bare)


def test_on_paper_nothing_is_folded_or_scripted():
    page = render_html(hostile("x"), printed=True)
    assert "<script" not in page
    assert "Content-Security-Policy" not in page


# Playback, plots, tree, places


def recording(*texts: str, height: int = 24) -> Recording:
    events = tuple(CastEvent(elapsed_us=n * 200_000, text=text) for n, text in enumerate(texts))
    return Recording(width=40, height=height, events=events)


def test_a_recording_becomes_rows_of_text():
    played = play(recording("one\n", "two\r", "TWO\n"))
    assert [frame.at_ms for frame in played.frames] == [0, 200, 400]
    assert [run[0] for row in played.last_screen()[:2] for run in row] == ["one", "TWO"]


@pytest.mark.parametrize("emulated", [True, False])
def test_a_recording_is_played_with_and_without_the_emulator(emulated, monkeypatch):
    if not emulated:
        monkeypatch.setitem(__import__("sys").modules, "pyte", None)
    played = play(recording("\x1b[31mred\x1b[0m plain\n", *(f"{n}\n" for n in range(50)), OSC))
    assert played.coloured is emulated
    text = "".join(run[0] for frame in played.frames for _, row in frame.rows for run in row)
    assert "red" in text
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", text)


def test_a_long_recording_is_cut_and_says_so():
    played = play(recording(*("x" * 4_000 + "\n" for _ in range(300))))
    assert played.cut
    assert sum(len(run[0]) for frame in played.frames for _, row in frame.rows for run in row) < 600_000


@given(st.lists(st.text(), max_size=6))
def test_any_recording_is_played(texts):
    played = play(recording(*texts, height=5))
    assert all(0 <= number < played.height for frame in played.frames for number, _ in frame.rows)


def test_short_peaks_survive_the_thinning():
    points = [(float(n), 100.0 if n == 777 else 1.0) for n in range(2_000)]
    track = plots.track("CPU", points, 2_000.0, str)
    assert track.peak == "100.0"
    assert " 4.0" in track.line


def test_rates_never_fall_below_zero():
    samples = [
        Sample(at_ms=n * 10, cpu_seconds=s, rss_bytes=1, processes=1) for n, s in enumerate((0.0, 2.0, 1.0))
    ]
    assert [value for _, value in plots.cpu_points(samples)] == [200.0, 0.0]


def test_every_test_is_in_one_bin():
    bins = plots.duration_bins([0.0, 0.0005, 0.002, 0.5, 29.9, 30.0, 1e6])
    assert sum(each.count for each in bins) == 7
    assert bins[-1].count == 2


def test_a_process_tree_with_a_loop_ends():
    processes = tuple(
        SeenProcess(pid=pid, parent_pid=parent, argv=(f"p{pid}",))
        for pid, parent in ((1, 2), (2, 1), (3, 1), (4, 0))
    )
    lanes = lanes_of(Observation(exit_code=0, wall_ms=5, processes=processes))
    assert [lane.command for lane in lanes] == ["p4"]


def test_lines_that_patterns_found_are_marked_at_their_offset():
    output = OutputText(stream="stdout", size=20, head=b"fine\nERROR here\nfine")
    match = PatternMatch(stream="stdout", offset=5, kind="error", rule="error", text="ERROR here")
    assert [(line.text, line.kind) for line in output_lines(output, [match])] == [
        ("fine", ""),
        ("ERROR here", "error"),
        ("fine", ""),
    ]


def test_a_cause_is_found_in_test_log_and_change():
    test = TestRecord(id="a.py::b c", outcome=Outcome.FAILED, message="assert 1", file="a.py", line=2)
    head = b"start\nFAILED a.py::b c - assert 1\n"
    exhibits = Exhibits(
        outputs=(OutputText(stream="stdout", size=len(head), head=head),),
        patch="--- a/a.py\n+++ b/a.py\n@@ -1,2 +1,3 @@ def x\n+one\n two\n",
    )
    cause = Cause(summary="a.py::b c failed: assert 1", where="a.py:2")
    (located,) = located_causes(report([test], exhibits=exhibits, causes=(cause,)))
    assert located.test == test
    assert located.log == "stdout, line 2, byte 6: FAILED a.py::b c - assert 1"
    assert located.change == "a.py:2 is in the uncommitted patch, hunk @@ -1,2 +1,3 @@"


def test_a_hunk_holds_only_its_own_lines():
    patch = "+++ b/a.py\n@@ -1 +1 @@\n+x\n@@ -9,2 +9,3 @@\n+y\n+++ b/b.py\n@@ -1 +1,5 @@\n"
    assert hunk_of(patch, "a.py", 1) == "@@ -1 +1 @@"
    assert hunk_of(patch, "a.py", 2) == ""
    assert hunk_of(patch, "a.py", 11) == "@@ -9,2 +9,3 @@"
    assert hunk_of(patch, "b.py", 5) == "@@ -1 +1,5 @@"


# Items that are not what they say


class Memory:
    """Payloads by digest."""

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}

    def has(self, digest):
        return digest in self.held

    def open(self, digest):
        return io.BytesIO(self.held[digest])


KINDS = (
    ("process", "process"), ("patterns", "patterns"), ("index", "streams.index"), ("environment", "environment"),
    ("dependencies", "dependencies"), ("recording", "terminal.cast"), ("difference", "git.diff"), ("output", "stdout"),
    ("screenshot", "shot.png"),
)  # fmt: skip
JSONS = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 10**18) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "samples",
                    "matches",
                    "streams",
                    "variables",
                    "distributions",
                    "stdout",
                    "size",
                    "frames",
                    "text",
                    "kind",
                ]
            )
            | st.text(max_size=6),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=40)
@given(
    st.lists(
        st.one_of(st.binary(max_size=40), JSONS.map(lambda v: json.dumps(v).encode())), min_size=9, max_size=9
    )
)
def test_a_page_is_made_of_whatever_the_items_hold(contents):
    blobs = Memory()
    items = []
    for (kind, name), data in zip(KINDS, contents, strict=True):
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        blobs.held[digest] = data
        items.append(
            Item(
                name=name, kind=kind, vantage=Vantage.OBSERVED, media_type="image/png", size=len(data),
                digest=digest, plain_digest=digest,
            )
        )  # fmt: skip
    made = report(many(3))
    assert made.evidence is not None
    run = replace(made.evidence.run, items=tuple(items))
    exhibits = load_exhibits(run, blobs)
    page = render_html(replace(made, evidence=replace(made.evidence, run=run), exhibits=exhibits))
    assert "<h1>Contradicted</h1>" in page


def test_a_text_without_end_does_not_make_a_page_without_end():
    assert len(render_html(hostile("x" * 3_000_000))) < 2_500_000


def test_tests_that_did_not_end_alike_are_shown_cell_by_cell():
    made = report(many(1))
    assert made.evidence is not None
    passed, failed = Reached(outcome=Outcome.PASSED), Reached(outcome=Outcome.FAILED)
    facts = ReplayFacts(
        mode=Mode.MATRIX,
        head="a" * 40,
        cells=tuple(
            Cell(name=name, state=CellState.RAN, tests=2) for name in ("clean", "bb", "bh", "hb", "hh")
        ),
        tests=(
            ReplayedTest(id="a.py::same", claimed=Outcome.PASSED, bb=passed, bh=passed),
            ReplayedTest(
                id="a.py::blinded", claimed=Outcome.PASSED, bb=passed, bh=failed, hb=passed, hh=passed
            ),
        ),
    )
    shown = replay_of(replace(made, evidence=replace(made.evidence, replay=facts)))
    assert shown is not None
    assert shown["columns"][0] == "as claimed"
    assert shown["tests"] == [("a.py::blinded", ["passed", "passed", "failed", "passed", "passed"])]
    assert replay_of(made) is None

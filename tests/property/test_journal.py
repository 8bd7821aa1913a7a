"""Properties of the journal: hand-written lines are canonical, and any bytes fold or are refused."""

from __future__ import annotations

import tempfile
from hashlib import sha256
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from dre_core.capture.journal import Journal
from dre_core.errors import FormatError
from dre_core.model.canonical import dumps, loads
from dre_core.model.fields import Fields
from dre_core.model.journal import _entry, _read_passed, fold
from dre_core.model.session import Outcome, Session

TEXT = st.text(st.characters(blacklist_categories=()), max_size=40)
MICROSECONDS = st.integers(0, 2**53)
PHASES = st.tuples(*[MICROSECONDS] * 6)
ASSERTS = st.none() | st.integers(0, 999)
MARKERS = (
    st.lists(st.sampled_from(["slow", "x_1", "parametrize", "a b", 'q"', "é"]), unique=True)
    .map(sorted)
    .map(tuple)
)
FLAG = st.sampled_from([True, False, None])
WORDS = {True: "true", False: "false", None: "null"}
HEAD = {
    "format": 1, "session": "s1", "nonce": "n", "argv": [], "rootdir": "/r", "python": "3", "pytest": "9",
    "pytest_file": "/p", "optimize": 0, "assert_mode": "rewrite", "pid": 1, "ppid": 0, "started_at": "t",
    "plugins": {}, "options": [], "role": "main", "worker": "main",
}  # fmt: skip


def test_passed_writes_canonical_json():
    with tempfile.TemporaryDirectory() as folder:
        writer = Journal(Path(folder, "main.jsonl"), nonce="n", mask=lambda text: text)
        writer.write("session", HEAD)

        @settings(max_examples=200)
        @given(TEXT, TEXT, st.integers(0, 2**31), FLAG, FLAG, PHASES, ASSERTS, MARKERS, FLAG)
        @example('a\x00\x1f\x7f"\\/\b\f\n\r\t\u2028\ud800é😀', "", 0, None, None, (0,) * 6, None, (), None)
        def check(node, file, line, called, raised, phases, asserts, markers, reaches):
            size = writer.path.stat().st_size
            quoted = writer.quoted(node), writer.quoted(file)
            members = (
                "" if asserts is None else f'"asserts":{asserts},',
                f'"markers":{dumps(list(markers)).decode()},' if markers else "",
                "" if reaches is None else f'"reaches":{WORDS[reaches]},',
            )
            assert writer.passed(*quoted, line, WORDS[called], WORDS[raised], phases, *members)
            written = writer.path.read_bytes()[size:]
            record = loads(written)
            assert dumps(record) + b"\n" == written
            assert (record["id"], record["file"]) == (writer.text(node), writer.text(file))
            quick = _read_passed(written[:-1], "main")
            entry = _entry(Fields(record), "main")
            assert quick is None or quick[0] == entry
            assert (entry.record.assertions, entry.record.calls_subject) == (asserts, reaches)
            assert entry.record.markers == markers

        check()
        with writer.path.open("rb") as lines:
            session = fold({"main": lines})
        assert session.counts.passed == len(session.tests) > 0
        assert {test.outcome for test in session.tests} == {Outcome.PASSED}
        assert session.problems == ("no-finish: main",)


@given(TEXT, TEXT)
def test_any_text_survives(name, text):
    with tempfile.TemporaryDirectory() as folder:
        writer = Journal(Path(folder, "main.jsonl"), nonce="n", mask=lambda text: text)
        writer.write("session", HEAD)
        assert writer.write("note", {"test": name, "text": text, "more": {name: [text]}})
        ((test, note),) = fold({"main": writer.path.read_bytes().splitlines(keepends=True)}).notes
        assert (test, note) == (writer.text(name), writer.text(text))


@given(st.dictionaries(st.sampled_from(["main", "gw0"]), st.lists(st.binary(max_size=60))))
def test_any_bytes_fold_or_are_refused(files):
    check(files)


VALUE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.sampled_from(["passed", "failed", "main", "gw0", "a", "n"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "text", "passed", "counts"]), inner, max_size=3)
    ),
    max_leaves=5,
)
FIELDS = st.dictionaries(
    st.sampled_from(
        [
            *("id", "outcome", "call", "setup", "crash", "worker", "counts", "imports", "hooks", "lost"),
            *("digest", "test", "text", "subtests_failed", "reruns", "collected", "stopped", "exit_status"),
        ]
    ),
    VALUE,
)  # fmt: skip
KIND = st.sampled_from(
    ["session", "collected", "test", "note", "attachment", "problem", "finish", "late", "x"]
)


@given(
    st.lists(st.tuples(KIND, FIELDS), max_size=6), st.lists(st.tuples(KIND, FIELDS), max_size=3), st.data()
)
def test_any_records_fold_or_are_refused(main, worker, data):
    def lines(records):
        made = [dumps({**HEAD, "kind": "session", "seq": 0, "prev": "n"})]
        for number, (kind, fields) in enumerate(records, 1):
            made.append(dumps({**fields, "kind": kind, "seq": number, "prev": "?"}))
        return [line + b"\n" for line in made]

    files = {"main": lines(main), "gw0": lines(worker)}
    last = files["main"][-1]
    files["main"][-1] = last[: data.draw(st.integers(1, len(last)))]
    check(files)


def check(files):
    try:
        session = fold(files)
    except FormatError:
        return
    assert isinstance(session, Session)


@given(
    st.text(st.characters(blacklist_categories=("Cs",)), max_size=20),
    st.integers(0, 10**6),
    FLAG,
    MICROSECONDS,
)
def test_ordinary_lines_read_like_any_other(node, line, flag, microseconds):
    """An unknown member sends a line the long way; the record is the same."""

    def session(more):
        head = dumps({**HEAD, "kind": "session", "seq": 0, "prev": "n"})
        phases = {name: ["passed", microseconds] for name in ("setup", "call", "teardown")}
        record = {"body_called": flag, "body_raised": flag, "file": node, "id": node, "line": line, **phases}
        test = {
            **record,
            "kind": "test",
            "outcome": "passed",
            "prev": sha256(head).hexdigest(),
            "seq": 1,
            **more,
        }
        return fold({"main": [head + b"\n", dumps(test) + b"\n"]})

    assert session({}) == session({"zz": 1})

"""The journal's lines: chain, masking, and what damaged or contradicting files fold to."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from dre_core.capture.journal import WITHHELD, Journal
from dre_core.errors import FormatError, LimitError
from dre_core.model.canonical import dumps, loads
from dre_core.model.journal import MAX_LINE_BYTES, fold
from dre_core.model.session import Outcome

HEAD = {
    "format": 1, "session": "s1", "nonce": "n", "argv": [], "rootdir": "/r", "python": "3", "pytest": "9",
    "pytest_file": "/p", "optimize": 0, "assert_mode": "rewrite", "pid": 1, "ppid": 0, "started_at": "t",
    "plugins": {}, "options": [], "role": "main", "worker": "main",
}  # fmt: skip
CONTROLLER = {**HEAD, "role": "controller"}
COLLECTED = {"collected": 3, "selected": 3, "digest": "sha256:0", "deselected_count": 0}
COUNTS = {"passed": 0, "failed": 0, "errors": 0, "skipped": 0, "xfailed": 0, "xpassed": 0, "rerun": 0}


def finish(**changes: object) -> dict[str, object]:
    return {
        "exit_status": 0,
        "exit_status_before": 0,
        "testsfailed": 0,
        "counts": COUNTS,
        "lost": 0,
        **changes,
    }


def entry(name: str, call: str = "passed", outcome: str | None = None, **more: object) -> dict[str, object]:
    phases = {"setup": ["passed", 1], "call": [call, 2], "teardown": ["passed", 3]}
    return {"id": name, "outcome": outcome or call, **phases, **more}


def lines(*records: tuple[str, dict[str, object]], nonce: str = "n") -> list[bytes]:
    made: list[bytes] = []
    previous = nonce
    for seq, (kind, fields) in enumerate(records):
        line = dumps({**fields, "kind": kind, "seq": seq, "prev": previous})
        previous = sha256(line).hexdigest()
        made.append(line + b"\n")
    return made


def journal(tmp_path: Path, mask=lambda text: text) -> Journal:
    return Journal(tmp_path / "s" / "main.jsonl", nonce="n", mask=mask)


class TestWriter:
    def test_chain_and_sequence(self, tmp_path):
        writer = journal(tmp_path)
        assert writer.write("session", HEAD)
        assert writer.passed('"a"', '"f"', 1, "true", "false", (1, 1, 2, 2, 3, 3))
        assert writer.write("finish", finish())
        first, second, third = writer.path.read_bytes().splitlines()
        assert loads(first)["prev"] == "n"
        assert loads(second)["prev"] == sha256(first).hexdigest()
        assert loads(third)["prev"] == sha256(second).hexdigest()
        assert [loads(line)["seq"] for line in (first, second, third)] == [0, 1, 2]

    def test_private_and_never_overwritten(self, tmp_path):
        writer = journal(tmp_path)
        assert writer.path.stat().st_mode & 0o777 == 0o600
        with pytest.raises(FileExistsError):
            journal(tmp_path)

    def test_masks_values_and_keys_at_any_depth(self, tmp_path):
        writer = journal(tmp_path, lambda text: text.replace("secret", "***"))
        writer.write(
            "note", {"a": ["secret", {"b": "a secret"}], "m": {"p/secret": "x"}}, {"digest": "secret"}
        )
        record = loads(writer.path.read_bytes())
        assert record["a"] == ["***", {"b": "a ***"}]
        assert record["m"] == {"p/***": "x"}
        assert record["digest"] == "secret"

    def test_failing_mask_withholds(self, tmp_path):
        writer = journal(tmp_path, lambda text: text[10**9])
        assert writer.text("secret") == WITHHELD

    def test_surrogates_are_escaped_before_masking(self, tmp_path):
        seen: list[str] = []

        def mask(text: str) -> str:
            seen.append(text)
            return text + "\ud800"

        assert journal(tmp_path, mask).text("a\udcff") == r"a\udcff\ud800"
        assert seen == [r"a\udcff"]

    def test_lost_lines_leave_the_rest_whole(self, tmp_path):
        """A limit on the file's size cuts a line in two; the half is taken back and the chain goes on."""
        resource = pytest.importorskip("resource")
        writer = journal(tmp_path)
        writer.write("session", HEAD)
        old = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (writer.path.stat().st_size + 20, old[1]))
        try:
            assert not writer.write("note", {"test": "a", "text": "x" * 100})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, old)
        assert (writer.lost, writer.problem != "") == (1, True)
        assert writer.write("finish", finish(lost=writer.lost))
        session = fold({"main": writer.path.read_bytes().splitlines(keepends=True)})
        assert session.problems == ("lost-lines: 1 of main",)

    def test_closed_is_lost_not_raised(self, tmp_path):
        writer = journal(tmp_path)
        writer.close()
        writer.path.unlink()
        assert not writer.write("note", {})
        assert writer.lost == 1


class TestFold:
    def test_counts_phases_as_pytest_does(self):
        teardown = {**entry("t", outcome="error"), "teardown": ["failed", 1]}
        session = fold(
            {
                "main": lines(
                    ("session", HEAD),
                    ("collected", COLLECTED),
                    ("test", entry("a", body_called=True, body_raised=False)),
                    ("test", teardown),
                    (
                        "test",
                        {"id": "k", "outcome": "skipped", "setup": ["skipped", 1], "teardown": ["passed", 1]},
                    ),
                    ("test", entry("s", "failed", subtests=3, subtests_failed=2, reruns=1)),
                    (
                        "finish",
                        finish(
                            counts={**COUNTS, "passed": 2, "errors": 1, "skipped": 1, "failed": 3, "rerun": 1}
                        ),
                    ),
                )
            }
        )
        assert session.problems == ()
        assert (session.counts.passed, session.counts.errors, session.counts.failed) == (2, 1, 3)
        assert (session.counts.skipped, session.counts.rerun, session.counts.collected) == (1, 1, 3)
        assert [test.outcome for test in session.tests] == [
            Outcome.PASSED, Outcome.ERROR, Outcome.SKIPPED, Outcome.FAILED,
        ]  # fmt: skip
        assert session.tests[0].duration_seconds == pytest.approx(6e-6)

    def test_torn_last_line(self):
        whole = lines(("session", HEAD), ("test", entry("a")), ("test", entry("b")))
        session = fold({"main": [*whole[:-1], whole[-1][:-9]]})
        assert [test.id for test in session.tests] == ["a"]
        assert session.problems == ("torn-line: main line 3", "no-finish: main")

    def test_broken_chain(self):
        whole = lines(("session", HEAD), ("test", entry("a")), ("test", entry("b")), ("finish", finish()))
        session = fold({"main": [whole[0], *whole[2:]]})
        assert session.problems == ("broken-chain: main line 2", "count-mismatch: passed")

    def test_edited_line(self):
        whole = lines(("session", HEAD), ("test", entry("a", "failed")), ("finish", finish()))
        whole[1] = whole[1].replace(b"failed", b"passed")
        assert "broken-chain: main line 3" in fold({"main": whole}).problems

    def test_late_status(self):
        made = lines(("session", HEAD), ("finish", finish(exit_status=1)), ("late", {"exit_status": 0}))
        assert fold({"main": made}).exit_status == 0

    def test_unknown_kinds_and_fields_are_skipped(self):
        made = lines(("session", {**HEAD, "new": 1}), ("future", {"x": 1}), ("finish", finish()))
        assert fold({"main": made}).finished

    def test_unfinished_test(self):
        made = lines(("session", HEAD), ("test", {"id": "a", "outcome": "none"}), ("finish", finish()))
        session = fold({"main": made})
        assert (session.tests, session.problems) == ((), ("no-outcome: a",))

    @pytest.mark.parametrize(
        "records",
        [
            [],
            [("test", entry("a"))],
            [("session", {**HEAD, "pid": "1"})],
            [("session", {**HEAD, "format": 2})],
        ],
    )
    def test_refused(self, records):
        with pytest.raises(FormatError):
            fold({"main": lines(*records)})

    @pytest.mark.parametrize(
        "records",
        [
            [("session", HEAD), ("session", HEAD)],
            [("session", HEAD), ("finish", {"counts": 1})],
            [("session", HEAD), ("test", entry("a", outcome="great"))],
            [("session", HEAD), ("test", {**entry("a"), "call": "passed"})],
            [("session", HEAD), ("test", {**entry("a"), "call": ["passed", True]})],
            [
                ("session", HEAD),
                ("attachment", {"test": "a", "name": "n", "media_type": "m", "file": "../x"}),
            ],
        ],
    )
    def test_a_strangers_line_is_a_problem(self, records):
        """The record must be sealed and judged whoever wrote into it."""
        assert fold({"main": lines(*records)}).problems[0].startswith("broken-chain: main line 2: no ")

    def test_damage_before_the_end_is_a_problem(self):
        whole = lines(("session", HEAD), ("finish", finish()))
        session = fold({"main": [whole[0], b"\xff\n", whole[1]]})
        assert session.finished
        assert session.problems == ("broken-chain: main line 2: no record",)

    def test_no_main(self):
        with pytest.raises(FormatError):
            fold({"gw0": lines(("session", HEAD))})

    def test_long_line(self):
        with pytest.raises(LimitError):
            fold({"main": [b" " * (MAX_LINE_BYTES + 1)]})


class TestWorkers:
    def fold(self, main, **workers):
        files = {
            name: lines(("session", HEAD), ("collected", COLLECTED), *tests)
            for name, tests in workers.items()
        }
        return fold({"main": lines(("session", CONTROLLER), *main), **files})

    def done(self, **counts: int):
        return ("finish", finish(counts={**COUNTS, **counts}))

    def test_agreeing(self):
        session = self.fold(
            [("test", entry("a", worker="gw0")), ("test", entry("b", worker="gw1")), self.done(passed=2)],
            gw0=[("test", entry("a", body_called=True))],
            gw1=[("test", entry("b", body_called=False))],
        )
        assert session.problems == ()
        assert [(test.id, test.worker, test.body_called) for test in session.tests] == [
            ("a", "gw0", True),
            ("b", "gw1", False),
        ]
        assert session.counts.collected == 3

    def test_the_controllers_outcome_counts(self):
        session = self.fold(
            [("test", entry("a", worker="gw0")), self.done(passed=1)], gw0=[("test", entry("a", "failed"))]
        )
        assert session.problems == ("worker-disagrees: a failed, counted passed",)
        assert session.counts.passed == 1

    def test_a_test_that_no_worker_ran(self):
        session = self.fold([("test", entry("a", worker="gw0")), self.done(passed=1)], gw0=[])
        assert session.problems == ("worker-disagrees: a is missing from gw0",)

    def test_a_crash_is_counted_once(self):
        crash = {"id": "b", "outcome": "failed", "crash": ["failed", 0], "worker": "gw0"}
        session = self.fold(
            [("test", entry("a", worker="gw0")), ("test", crash), self.done(passed=1, failed=1)],
            gw0=[("test", entry("a")), ("test", entry("b"))],
        )
        assert session.problems == ()
        assert (session.counts.passed, session.counts.failed, len(session.tests)) == (1, 1, 2)

    def test_uncounted_after_a_stop(self):
        main = [
            ("test", entry("a", "failed", worker="gw0")),
            ("finish", finish(stopped="-x", counts={**COUNTS, "failed": 1})),
        ]
        session = self.fold(main, gw0=[("test", entry("a", "failed")), ("test", entry("b"))])
        assert session.problems == ("uncounted: b ran in gw0",)
        assert session.counts.passed == 0

    def test_a_killed_controller_loses_nothing(self):
        session = self.fold(
            [("test", entry("a", worker="gw0"))], gw0=[("test", entry("a")), ("test", entry("b"))]
        )
        assert session.problems == ("no-finish: main",)
        assert session.counts.passed == 2

    def test_a_remote_worker_left_no_journal(self):
        session = self.fold([("test", entry("a", worker="gw7")), self.done(passed=1)])
        assert session.problems == ("no-worker-journal: gw7",)
        assert session.workers == ("gw7",)

    def test_repeated_ids_are_matched_in_order(self):
        main = [("test", entry("a", worker="gw0")), ("test", entry("a", "failed", worker="gw0"))]
        session = self.fold(
            [*main, self.done(passed=1, failed=1)], gw0=[("test", entry("a")), ("test", entry("a", "failed"))]
        )
        assert session.problems == ()
        assert len(session.tests) == 2

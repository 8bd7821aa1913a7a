"""The journal of one pytest session: one canonical JSON line a record, chained, one file a process.

Not the writer (``capture/journal.py``): this module says what a line is and what the lines add up to.

Every line is an object with ``kind``, ``seq`` (0, 1, 2 ...) and ``prev``: the hex SHA-256 of the line before,
without its newline; the first line's ``prev`` is the session's nonce. Text is masked before it is written.

    {"kind":"session","nonce":"5f…","pid":7,…,"prev":"5f…","seq":0}
    {"collected":2,"digest":"sha256:…","kind":"collected",…,"prev":"9c…","seq":1}
    {"asserts":1,"body_called":true,"body_raised":false,"call":["passed",12,11],"file":"test_a.py",
     "id":"test_a.py::test_x","kind":"test","line":3,"outcome":"passed","prev":"07…","seq":2,
     "setup":["passed",80,79],"teardown":["passed",60,58]}
    {"exit_status":0,"exit_status_before":0,"kind":"finish",…,"prev":"d1…","seq":3}

Kinds: ``session`` (first), ``collected``, ``test``, ``attachment``, ``note``, ``warning``, ``problem``, ``finish``, and
``late`` (the exit status was changed after the finish). Readers skip kinds that they do not know. A phase is
``[outcome, microseconds, CPU microseconds]``, the last one where this process ran it, with the outcomes ``passed
failed skipped xfailed xpassed``. ``output_at`` is ``[offset, bytes]`` in ``<worker>.out`` beside the journal, where
captured output and long failures stand whole. A ``test`` line's ``outcome`` is one of
:class:`~dre_core.model.session.Outcome`, or ``none`` for a test left unfinished.

Files: ``main.jsonl``, and with xdist ``gw0.jsonl`` ... beside it; main is then the controller's view. A line
is one ``write`` to a file opened for appending: it outlives the process, not a loss of power.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field, replace
from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple

from dre_core.errors import FormatError, LimitError
from dre_core.model.canonical import JSON, loads
from dre_core.model.fields import Fields
from dre_core.model.record import dataclass
from dre_core.model.session import (
    Attachment,
    Counts,
    HookNote,
    Outcome,
    Session,
    TestRecord,
    WarningNote,
)

FORMAT = 1
MAIN = "main"
NO_OUTCOME = "none"
PHASES = ("setup", "call", "teardown", "crash")
MAX_LINE_BYTES = 16 * 2**20
_MAX_SAME_PROBLEMS = 100
_DIGEST = re.compile("[0-9a-f]{64}")

Phase = tuple[str, int, int]


def fold(files: Mapping[str, Iterable[bytes]]) -> Session:
    """Add up one session's journals.

    Args:
        files: Worker id to the lines of its file, ``main`` among them; an open binary file will do.

    Returns:
        The session. What is wrong with the journals without making them unreadable stands in ``problems``,
        each as ``slug: detail``: ``torn-line``, ``broken-chain``, ``no-finish``, ``worker-disagrees``,
        ``no-worker-journal``, ``uncounted``, ``no-outcome``, ``count-mismatch``, ``lost-lines`` and whatever
        the recorder itself reported.

    Raises:
        FormatError: No ``main`` or no session line. A line further down that is not a record is a problem
            (``broken-chain``), for the record must be sealed and judged whoever wrote into it.
        LimitError: A line longer than 16 MiB.
    """
    if MAIN not in files:
        raise FormatError("the session has no main journal")
    main = _Stream.read(MAIN, files[MAIN])
    if main.session is None:
        raise FormatError("the journal has no session line", path=MAIN)
    workers = {name: _Stream.read(name, lines) for name, lines in sorted(files.items()) if name != MAIN}
    problems = [*main.problems, *(problem for stream in workers.values() for problem in stream.problems)]
    if not main.finished:
        problems.append("no-finish: main")
    tests = _merge(main, workers, problems) if workers or main.is_controller else list(main.tests)
    counts = _count(main, workers, tests)
    _compare(main, workers, counts, problems)
    return _session(main, workers, tests, counts, problems)


class _Entry(NamedTuple):
    """A test line: the record and its phases."""

    record: TestRecord
    phases: Mapping[str, str]

    @property
    def crashed(self) -> bool:
        return "crash" in self.phases


@dataclass(slots=True)
class _Stream:
    """What one file says."""

    name: str
    session: Fields | None = None
    collected: Fields | None = None
    finish: Fields | None = None
    late: Fields | None = None
    tests: list[_Entry] = field(default_factory=list)
    attachments: list[Attachment] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[WarningNote] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def finished(self) -> bool:
        return self.finish is not None

    @property
    def is_controller(self) -> bool:
        return self.session is not None and self.session.text("role", MAIN) == "controller"

    @classmethod
    def read(cls, name: str, lines: Iterable[bytes]) -> _Stream:
        stream = cls(name)
        previous: str | None = None
        broken = False
        for number, (line, last) in enumerate(_with_last(lines)):
            if len(line) > MAX_LINE_BYTES:
                raise LimitError(f"line longer than {MAX_LINE_BYTES} bytes", path=f"{name}:{number + 1}")
            if previous is not None and (ordinary := _read_passed(line, name)) is not None:
                entry, seq, prev = ordinary
                if not broken and (seq != number or prev != previous):
                    broken = True
                    stream.problems.append(f"broken-chain: {name} line {number + 1}")
                previous = sha256(line).hexdigest()
                stream.tests.append(entry)
                continue
            try:
                record = Fields(loads(line), f"{name}:{number + 1}:$")
                chained = record.integer("seq") == number and record.text("prev") == (
                    record.text("nonce") if previous is None else previous
                )
                kind = record.text("kind")
            except FormatError as error:
                if stream.session is None:
                    raise FormatError(error.message, path=error.path or f"{name}:{number + 1}") from None
                if last:
                    stream.problems.append(f"torn-line: {name} line {number + 1}")
                    break
                stream.damaged(number, "no record")
                broken = True
                previous = sha256(line).hexdigest()
                continue
            if not chained and not broken:
                broken = True
                stream.problems.append(f"broken-chain: {name} line {number + 1}")
            previous = sha256(line).hexdigest()
            try:
                stream.take(kind, record)
            except FormatError:
                if stream.session is None:
                    raise
                stream.damaged(number, f"no {kind[:20]} line")
        return stream

    def damaged(self, number: int, what: str) -> None:
        """Note a line that somebody else wrote; the lines around it still count."""
        if len(self.problems) < _MAX_SAME_PROBLEMS:
            self.problems.append(f"broken-chain: {self.name} line {number + 1}: {what}")

    def take(self, kind: str, record: Fields) -> None:
        if self.session is None and kind != "session":
            raise FormatError("the first line is not the session's", path=record.path)
        if kind == "session":
            self._take_session(record)
        elif kind == "collected":
            self.collected = record
        elif kind == "test":
            self._take_test(record)
        elif kind == "attachment":
            self.attachments.append(_attachment(record))
        elif kind == "note":
            self.notes.append((record.text("test"), record.text("text")))
        elif kind == "warning":
            self.warnings.append(_warning(record))
        elif kind == "problem":
            self.problems.append(record.text("text"))
        elif kind == "finish":
            record.object("counts")
            record.optional_integer("exit_status")
            self.finish = record
        elif kind == "late":
            self.late = record

    def _take_session(self, record: Fields) -> None:
        if self.session is not None:
            raise FormatError("a second session line", path=record.path)
        if record.integer("format") > FORMAT:
            raise FormatError("written by a newer version", path=record.path, code="newer-format")
        self.session = record

    def _take_test(self, record: Fields) -> None:
        if record.text("outcome") == NO_OUTCOME:
            self.problems.append(f"no-outcome: {record.text('id')}")
        else:
            self.tests.append(_entry(record, self.name))


def _with_last(lines: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Each line without its newline, with whether it is the last."""
    held: bytes | None = None
    for line in lines:
        if held is not None:
            yield held, False
        held = line[:-1] if line.endswith(b"\n") else line
    if held is not None:
        yield held, True


def _entry(record: Fields, worker: str) -> _Entry:
    phases = {name: _phase(record, name) for name in PHASES if record.has(name)}
    return _Entry(
        TestRecord(
            id=record.text("id"),
            outcome=record.choice("outcome", Outcome),
            reason=record.text("reason", ""),
            message=record.text("message", ""),
            file=record.text("file", ""),
            line=record.integer("line", 0),
            duration_seconds=sum(max(0, microseconds) for _, microseconds, _ in phases.values()) / 1e6,
            cpu_seconds=sum(max(0, microseconds) for _, _, microseconds in phases.values()) / 1e6,
            body_raised=record.boolean("body_raised") if record.has("body_raised") else None,
            body_called=record.boolean("body_called") if record.has("body_called") else None,
            reruns=record.integer("reruns", 0),
            worker=record.text("worker", worker),
            text=record.text("text", ""),
            output=record.text("output", ""),
            subtests=record.integer("subtests", 0),
            subtests_failed=record.integer("subtests_failed", 0),
            parts=tuple(_pair(each, record.at("parts")) for each in record.array("parts")),
            attempts=record.texts("attempts"),
            markers=record.texts("markers"),
            assertions=record.optional_integer("asserts"),
            calls_subject=record.boolean("reaches") if record.has("reaches") else None,
            output_at=_span(record),
        ),
        {name: outcome for name, (outcome, _, _) in phases.items()},
    )


_NUMBER = rb"(0|[1-9][0-9]{0,14})"
_TEXT = rb'"([^"\\\x00-\x1f]*)"'
_FLAG = rb"(true|false|null)"
_PHASE = rb'\["passed",%b,%b\]' % (_NUMBER, _NUMBER)
_PASSED = (
    rb'\{(?:"asserts":%b,)?"body_called":%b,"body_raised":%b,"call":%b,"file":%b,"id":%b,"kind":"test","line":%b,'
    rb'(?:"markers":\["([\w",]+)"\],)?"outcome":"passed","prev":"([0-9a-f]{64})",(?:"reaches":(true|false),)?"seq":%b,'
    rb'"setup":%b,"teardown":%b\}'
    % (_NUMBER, _FLAG, _FLAG, _PHASE, _TEXT, _TEXT, _NUMBER, _NUMBER, _PHASE, _PHASE)
)
_ALL_PASSED = {"setup": "passed", "call": "passed", "teardown": "passed"}
_FLAGS_BY_WORD = {b"true": True, b"false": False, b"null": None, None: None}


@lru_cache(maxsize=1)
def _form_of_passed() -> re.Pattern[bytes]:
    """Made when a journal is read, for its writers share this module."""
    return re.compile(_PASSED)


def _read_passed(line: bytes, worker: str) -> tuple[_Entry, int, str] | None:
    """Read a line as :meth:`Journal.passed` writes it, at a third of the price; None for any other.

    The pattern admits no escapes, so what it matches says the same to any JSON reader.
    """
    match = _form_of_passed().fullmatch(line)
    if match is None:
        return None
    (
        asserts, called, raised, call, call_cpu, file, node, number, markers, prev, reaches, seq,
        setup, setup_cpu, teardown, teardown_cpu,
    ) = match.groups()  # fmt: skip
    try:
        record = TestRecord(
            id=node.decode(),
            outcome=Outcome.PASSED,
            file=_decoded(file),
            line=int(number),
            duration_seconds=(int(setup) + int(call) + int(teardown)) / 1e6,
            cpu_seconds=(int(setup_cpu) + int(call_cpu) + int(teardown_cpu)) / 1e6,
            body_called=_FLAGS_BY_WORD[called],
            body_raised=_FLAGS_BY_WORD[raised],
            worker=worker,
            markers=tuple(markers.decode().split('","')) if markers else (),
            assertions=int(asserts) if asserts else None,
            calls_subject=_FLAGS_BY_WORD[reaches],
        )
    except UnicodeDecodeError:
        return None
    return _Entry(record, _ALL_PASSED), int(seq), prev.decode()


@lru_cache(maxsize=1024)
def _decoded(file: bytes) -> str:
    """A path that many tests share, as one string."""
    return file.decode()


def _phase(record: Fields, name: str) -> Phase:
    match record.array(name):
        case [str(outcome), *times] if len(times) in (1, 2) and all(type(each) is int for each in times):
            numbers = [each for each in times if isinstance(each, int)]
            return outcome, numbers[0], numbers[1] if len(numbers) > 1 else 0
    raise FormatError("expected [outcome, microseconds, CPU microseconds]", path=record.at(name))


def _pair(value: JSON, path: str) -> tuple[str, str]:
    match value:
        case [str(first), str(second)]:
            return first, second
    raise FormatError("expected two strings", path=path)


def _span(record: Fields) -> tuple[int, int] | None:
    match record.array("output_at"):
        case []:
            return None
        case [int(offset), int(size)] if type(offset) is int and type(size) is int:
            return offset, size
    raise FormatError("expected [offset, bytes]", path=record.at("output_at"))


def _warning(record: Fields) -> WarningNote:
    return WarningNote(
        category=record.text("category"),
        message=record.text("message"),
        file=record.text("file", ""),
        line=record.integer("line", 0),
        test=record.text("test", ""),
        when=record.text("when", ""),
    )


def _attachment(record: Fields) -> Attachment:
    return Attachment(
        test=record.text("test"),
        name=record.text("name"),
        media_type=record.text("media_type"),
        kind=record.text("type", "attachment"),
        file=_file_name(record),
        digest=record.text("digest", ""),
        size_bytes=record.integer("size", 0),
    )


def _file_name(record: Fields) -> str:
    """The copy's name: a digest, so that no record leads out of the attachments folder."""
    name = record.text("file", "")
    if name and not _DIGEST.fullmatch(name):
        raise FormatError("expected a SHA-256 digest in hex", path=record.at("file"))
    return name


def _hook_note(record: Fields) -> HookNote:
    return HookNote(
        hook=record.text("hook"),
        plugin=record.text("plugin"),
        file=record.text("file"),
        line=record.integer("line"),
        concern=record.text("concern"),
    )


# Several processes


def _merge(main: _Stream, workers: Mapping[str, _Stream], problems: list[str]) -> list[_Entry]:
    """One entry a test: the controller's outcome is what pytest counted, the worker's record knows more.

    The same id may come several times from one worker; the n-th of one side is the n-th of the other.
    """
    inner = {key: entry for stream in workers.values() for key, entry in _numbered(stream.tests)}
    merged: list[_Entry] = []
    found: list[str] = []
    for key, outer in _numbered(main.tests):
        entry = inner.pop(key, None)
        if entry is None:
            if outer.record.worker in workers and not outer.crashed:
                found.append(f"{outer.record.id} is missing from {outer.record.worker}")
            merged.append(outer)
            continue
        if not outer.crashed and outer.record.outcome is not entry.record.outcome:
            found.append(
                f"{outer.record.id} {entry.record.outcome.value}, counted {outer.record.outcome.value}"
            )
        merged.append(_joined(outer, entry))
    if not main.finished:
        merged.extend(inner.values())
    elif inner:
        slug = "uncounted" if main.finish and main.finish.text("stopped", "") else "worker-disagrees"
        problems.extend(
            _capped([f"{slug}: {entry.record.id} ran in {entry.record.worker}" for entry in inner.values()])
        )
    seen = {entry.record.worker for entry in main.tests} - {MAIN} - set(workers)
    problems.extend(f"no-worker-journal: {name}" for name in sorted(seen))
    problems.extend(_capped([f"worker-disagrees: {detail}" for detail in found]))
    return merged


def _numbered(entries: Iterable[_Entry]) -> Iterator[tuple[tuple[str, str, int], _Entry]]:
    seen: Counter[tuple[str, str]] = Counter()
    for entry in entries:
        key = (entry.record.worker, entry.record.id)
        yield (*key, seen[key]), entry
        seen[key] += 1


def _joined(outer: _Entry, inner: _Entry) -> _Entry:
    record = inner.record
    if outer.record.outcome is not record.outcome:
        record = replace(
            record,
            outcome=outer.record.outcome,
            message=outer.record.message or record.message,
            text=outer.record.text or record.text,
        )
    return _Entry(record, outer.phases)


def _capped(problems: list[str]) -> list[str]:
    return problems[:_MAX_SAME_PROBLEMS]


def _count(main: _Stream, workers: Mapping[str, _Stream], tests: Iterable[_Entry]) -> Counts:
    tally: Counter[str] = Counter()
    for entry in tests:
        if entry.phases is _ALL_PASSED:
            tally["passed"] += 1
            continue
        tally.update(phase_counts(entry.phases))
        tally["failed"] += entry.record.subtests_failed
        tally["rerun"] += entry.record.reruns
    collected = _collection(main, workers)
    uncollected = main.finish or main.collected
    return Counts(
        collected=collected.integer("collected") if collected else 0,
        deselected=collected.integer("deselected_count") if collected else 0,
        passed=tally["passed"],
        failed=tally["failed"],
        errors=tally["errors"] + (uncollected.integer("collection_errors_count", 0) if uncollected else 0),
        skipped=tally["skipped"] + (uncollected.integer("collection_skips_count", 0) if uncollected else 0),
        xfailed=tally["xfailed"],
        xpassed=tally["xpassed"],
        rerun=tally["rerun"],
    )


def phase_counts(phases: Mapping[str, str]) -> Iterator[str]:
    """The counts that one test's phases add to, as pytest's terminal sorts reports."""
    for name, outcome in phases.items():
        if outcome == "failed":
            yield "errors" if name in ("setup", "teardown") else "failed"
        elif outcome != "passed" or name == "call":
            yield outcome


def _collection(main: _Stream, workers: Mapping[str, _Stream]) -> Fields | None:
    """The collection record: xdist's controller collects nothing, so its workers say what there was."""
    if main.collected is not None:
        return main.collected
    return next((stream.collected for stream in workers.values() if stream.collected is not None), None)


def _collection_errors(main: _Stream) -> tuple[str, ...]:
    record = main.finish or main.collected
    return record.texts("collection_errors") if record else ()


def _collection_skips(main: _Stream) -> dict[str, str]:
    record = main.finish or main.collected
    return record.text_map("collection_skips") if record else {}


def _compare(main: _Stream, workers: Mapping[str, _Stream], counts: Counts, problems: list[str]) -> None:
    """Add what the processes say differently about the session as a whole."""
    assert main.session is not None
    identity = main.session.text("session")
    digests = set()
    for name, stream in workers.items():
        if stream.session is None:
            problems.append(f"no-worker-journal: {name}")
        elif stream.session.text("session") != identity:
            problems.append(f"worker-disagrees: {name} belongs to another session")
        if stream.collected is not None:
            digests.add(stream.collected.text("digest"))
    if len(digests) > 1:
        problems.append("worker-disagrees: the workers collected different tests")
    for stream in (main, *workers.values()):
        if stream.finish is not None and stream.finish.integer("lost", 0):
            problems.append(f"lost-lines: {stream.finish.integer('lost')} of {stream.name}")
    if main.finish is not None and not main.finish.integer("lost", 0):
        said = main.finish.object("counts")
        differing = [name for name in _COUNTED if said.integer(name) != getattr(counts, name)]
        if differing:
            problems.append(f"count-mismatch: {', '.join(differing)}")


_COUNTED = ("passed", "failed", "errors", "skipped", "xfailed", "xpassed", "rerun")


def _session(
    main: _Stream, workers: Mapping[str, _Stream], tests: list[_Entry], counts: Counts, problems: list[str]
) -> Session:
    head = main.session
    assert head is not None
    streams = (main, *workers.values())
    collected = _collection(main, workers)
    finish, last = main.finish, main.late or main.finish
    return Session(
        id=head.text("session"),
        nonce=head.text("nonce"),
        argv=head.texts("argv"),
        rootdir=head.text("rootdir"),
        python=head.text("python"),
        executable=head.text("executable", ""),
        pytest=head.text("pytest"),
        pytest_file=head.text("pytest_file"),
        optimize=head.integer("optimize"),
        assert_mode=head.text("assert_mode"),
        pid=head.integer("pid"),
        parent_pid=head.integer("ppid"),
        started_at=head.text("started_at"),
        finished=finish is not None,
        exit_status_before=finish.optional_integer("exit_status_before") if finish else None,
        exit_status=last.optional_integer("exit_status") if last else None,
        counts=counts,
        tests=tuple(entry.record for entry in tests),
        collect_only=head.boolean("collect_only", False),
        collection_errors=_collection_errors(main),
        deselected=collected.texts("deselected") if collected else (),
        plugins=head.text_map("plugins"),
        conftests=_maps(streams, "conftests"),
        imports=_maps(streams, "imports", problems),
        hooks=_hooks(streams),
        seed=(collected.text("seed", "") if collected else "") or head.text("seed", ""),
        ini=head.text_map("ini"),
        options=head.texts("options"),
        workers=tuple(sorted({*workers, *(entry.record.worker for entry in tests)} - {MAIN}, key=_natural)),
        problems=tuple(problems),
        selected=collected.optional_integer("selected") if collected else None,
        dropped=collected.texts("dropped") if collected else (),
        dropped_count=collected.integer("dropped_count", 0) if collected else 0,
        ignored=collected.texts("ignored") if collected and collected.has("ignored") else (),
        ignored_count=collected.integer("ignored_count", 0) if collected else 0,
        collection_skips=_collection_skips(main),
        unrewritten=tuple(sorted({name for each in _records(streams) for name in each.texts("unrewritten")})),
        modules=max((each.integer("modules", 0) for each in _finishes(streams)), default=0),
        compared=max((each.integer("compared", 0) for each in _finishes(streams)), default=0),
        testsfailed=finish.optional_integer("testsfailed") if finish else None,
        stopped=finish.text("stopped", "") if finish else "",
        parent=head.text("parent", ""),
        attachments=tuple(attachment for stream in streams for attachment in stream.attachments),
        notes=tuple(note for stream in streams for note in stream.notes),
        warnings=tuple(dict.fromkeys(warning for stream in streams for warning in stream.warnings)),
        warning_count=sum(
            stream.finish.integer("warnings", 0) if stream.finish else len(stream.warnings)
            for stream in streams
        ),
    )


def _natural(worker: str) -> tuple[int, str]:
    """gw2 before gw10."""
    return len(worker), worker


def _finishes(streams: Iterable[_Stream]) -> Iterator[Fields]:
    return (stream.finish for stream in streams if stream.finish is not None)


def _records(streams: Iterable[_Stream]) -> Iterator[Fields]:
    for stream in streams:
        for record in (stream.collected, stream.finish):
            if record is not None:
                yield record


def _maps(streams: Iterable[_Stream], name: str, problems: list[str] | None = None) -> dict[str, str]:
    """The maps of all processes as one; the first to name a key decides, a different value is a problem."""
    union: dict[str, str] = {}
    differing: set[str] = set()
    for record in _records(streams):
        for key, value in record.text_map(name).items():
            if union.setdefault(key, value) != value:
                differing.add(key)
    if problems is not None:
        problems.extend(_capped([f"worker-disagrees: {name} of {key}" for key in sorted(differing)]))
    return union


def _hooks(streams: Iterable[_Stream]) -> tuple[HookNote, ...]:
    notes = (note for record in _records(streams) for note in record.each("hooks", _hook_note))
    return tuple(dict.fromkeys(notes))

"""What was seen of one pytest session: the record that the recorder writes and the verifiers read.

Not the journal's line format (``model/journal.py``): a :class:`Session` is what its lines fold to, with the
findings of the fold itself (a torn last line, a broken chain, a missing finish).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import Enum

from dre_core.model.record import dataclass


class Outcome(str, Enum):
    """How one test ended, in pytest's words."""

    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"
    SKIPPED = "skipped"
    XFAILED = "xfailed"
    XPASSED = "xpassed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Tests by outcome, counted as pytest's closing line counts them; ``claim.tests`` of the verdict document.

    A test that passes and whose teardown then fails counts as passed and as an error, a failed subtest as
    a failure of its own; so the sum may exceed the number of tests. ``collected`` is what pytest collected
    before anything was deselected.
    """

    collected: int = 0
    passed: int = 0
    failed: int = 0
    errors: int = 0
    skipped: int = 0
    xfailed: int = 0
    xpassed: int = 0
    deselected: int = 0
    rerun: int = 0

    def to_json(self) -> dict[str, int]:
        """The nine counts by name."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True, kw_only=True)
class TestRecord:
    """One test's final outcome, with what its phases showed.

    Attributes:
        id: pytest's node id.
        outcome: The outcome pytest reported in the end.
        reason: Why it was skipped or expected to fail.
        message: First line of the failure, masked and capped.
        file: Repository-relative path with forward slashes; empty if unknown.
        line: 1-based line of the definition or of the failure; 0 if unknown.
        duration_seconds: Sum of the phases.
        cpu_seconds: Processor time of the process over the phases, all its threads; 0 if it was not measured.
        body_raised: Whether the test's body raised although the outcome is passed; None if it can't be told.
        reruns: Runs before the final one.
        worker: ``main`` or the xdist worker's id.
        body_called: Whether the test function was entered; None if it can't be told (unittest, doctest,
            coroutine functions, custom items).
        text: The failure as pytest showed it, masked and capped in the middle.
        output: Captured output of a test that failed, masked and capped in the middle.
        subtests: Subtests that were reported.
        subtests_failed: How many of them failed.
        calls_subject: Whether it ran code of the project beside its own module; None if nobody watched.
        assertions: Assertions in the test's own code; None if its code could not be looked at.
        markers: Names of its markers, its class's and module's included, sorted.
        attempts: First lines of the failures that reruns followed, in order.
        parts: Its subtests: description and outcome, the first thousand.
        output_at: Offset and size, in bytes, of its captured output in the item ``test-output``; None if it printed
            nothing.
    """

    __test__ = False  # not a test class, whatever its name says to pytest

    id: str
    outcome: Outcome
    reason: str = ""
    message: str = ""
    file: str = ""
    line: int = 0
    duration_seconds: float = 0.0
    cpu_seconds: float = 0.0
    body_raised: bool | None = None
    reruns: int = 0
    worker: str = "main"
    body_called: bool | None = None
    text: str = ""
    output: str = ""
    subtests: int = 0
    subtests_failed: int = 0
    calls_subject: bool | None = None
    assertions: int | None = None
    markers: tuple[str, ...] = ()
    attempts: tuple[str, ...] = ()
    parts: tuple[tuple[str, str], ...] = ()
    output_at: tuple[int, int] | None = None

    @property
    def parameters(self) -> str:
        """The ids of its parameters as pytest joined them: what stands in brackets at the end of the node id."""
        return self.id.partition("[")[2].removesuffix("]") if self.id.endswith("]") else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WarningNote:
    """A warning that pytest recorded; one for each place and text.

    Attributes:
        category: Its class.
        message: Its text, masked and capped.
        file: Where it was issued.
        line: 1-based; 0 if unknown.
        test: Node id of the first test that saw it; empty outside of tests.
        when: ``config``, ``collect`` or ``runtest``.
    """

    category: str
    message: str
    file: str = ""
    line: int = 0
    test: str = ""
    when: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HookNote:
    """One implementation of an outcome-changing hook, or a replaced pytest internal.

    Attributes:
        hook: Hook or attribute name, as ``pytest_runtest_makereport``.
        plugin: The plugin's name.
        file: Where it is defined (repository-relative where possible).
        line: 1-based line of the definition; 0 if unknown.
        concern: ``conftest``, ``from-elsewhere`` (neither the repository's nor installed), ``outside-ours``,
            ``added-late``, ``changed-outcome``; ``replaced`` and ``replaced-by-plugin`` for pytest's own
            functions; ``patched-subject`` for the project's;
            ``not-its-source`` for a function that is not what stands in its file;
            ``swapped-body`` and ``wrapped-body`` for a test's; ``skips`` where a conftest skipped a test;
            ``calls``, ``ignores`` and ``touches-record`` for what only stands in the source.
    """

    hook: str
    plugin: str
    file: str
    line: int
    concern: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A file that a test attached with the ``dre`` fixture.

    Attributes:
        test: Node id of the test.
        name: The name given, or the file's.
        media_type: IANA media type.
        kind: ``attachment`` or ``screenshot``.
        file: Name of the copy in the operation's attachments folder; empty if it could not be kept.
        digest: ``sha256:`` digest of the bytes at the time of the call.
        size_bytes: Their number.
    """

    test: str
    name: str
    media_type: str
    kind: str = "attachment"
    file: str = ""
    digest: str = ""
    size_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """The fold of one session's journals.

    Attributes:
        id: Session id (the folder's name).
        nonce: Random text that starts the chain.
        argv: Command line of pytest, masked.
        rootdir: pytest's rootdir, absolute.
        python: Version and implementation of the interpreter.
        executable: Path of the interpreter; empty if unknown.
        pytest: Version of pytest.
        pytest_file: Path of the pytest package that was loaded.
        optimize: ``sys.flags.optimize``.
        assert_mode: pytest's ``--assert``.
        pid: Process id of the controller.
        parent_pid: Its parent's process id.
        started_at: RFC 3339 time of the first line.
        finished: Whether the finish line is there.
        exit_status_before: Status when the recorder's session-finish began; None if unfinished.
        exit_status: Status when it ended; None if unfinished.
        counts: Final outcomes by kind.
        tests: Every test's final record, in the order of completion.
        collect_only: ``--collect-only`` was given.
        collection_errors: Node ids that could not be collected.
        deselected: Ids that were deselected (the first 1,000; the count is in ``counts``).
        plugins: Distribution name to version.
        conftests: Path to ``sha256:`` digest.
        imports: Top-level packages of the project under test: name to the file they were loaded from.
        hooks: Hook implementations worth naming.
        seed: Random seed, if a plugin set one.
        options: Options that change which tests run or how they count (``-k``, ``-m``, ``--lf``, ``-p`` ...).
        workers: Worker ids seen; empty without xdist.
        problems: What is wrong with the journal itself: ``torn-line``, ``broken-chain``, ``no-finish``,
            ``worker-disagrees``, ``recorder-displaced`` ... each with a detail.
        selected: Tests left to run after collection; None if collection did not finish.
        dropped: Ids that vanished between collection and the first test without being deselected (the first
            1,000).
        dropped_count: How many there were.
        ignored: Files that look like tests, and folders, that a hook, a conftest or an option kept from being
            collected (the first 1,000).
        ignored_count: How many there were.
        collection_skips: Modules and classes that were skipped as a whole: node id to reason.
        unrewritten: Files with ``assert`` statements that pytest did not rewrite.
        modules: Modules of the project that were loaded.
        compared: How many of them were compared with their source.
        testsfailed: pytest's own number of failures when the session ended; None if unfinished.
        stopped: Why the session ended early (``-x``, ``--maxfail``, an interrupt); empty if it did not.
        parent: Id of the session that this one ran within, in the same process; empty if none.
        attachments: What tests attached.
        notes: What tests noted: (node id, text).
        ini: Settings of pytest in the ini file, as text.
        warnings: What pytest's summary of warnings shows, each place and text once.
        warning_count: How many there were.
    """

    id: str
    nonce: str
    argv: tuple[str, ...] = ()
    rootdir: str = ""
    python: str = ""
    executable: str = ""
    pytest: str = ""
    pytest_file: str = ""
    optimize: int = 0
    assert_mode: str = "rewrite"
    pid: int = 0
    parent_pid: int = 0
    started_at: str = ""
    finished: bool = False
    exit_status_before: int | None = None
    exit_status: int | None = None
    counts: Counts = Counts()
    tests: tuple[TestRecord, ...] = ()
    collect_only: bool = False
    collection_errors: tuple[str, ...] = ()
    deselected: tuple[str, ...] = ()
    plugins: Mapping[str, str] = field(default_factory=dict)
    conftests: Mapping[str, str] = field(default_factory=dict)
    imports: Mapping[str, str] = field(default_factory=dict)
    hooks: tuple[HookNote, ...] = ()
    seed: str = ""
    options: tuple[str, ...] = ()
    workers: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    selected: int | None = None
    dropped: tuple[str, ...] = ()
    dropped_count: int = 0
    ignored: tuple[str, ...] = ()
    ignored_count: int = 0
    collection_skips: Mapping[str, str] = field(default_factory=dict)
    unrewritten: tuple[str, ...] = ()
    modules: int = 0
    compared: int = 0
    testsfailed: int | None = None
    stopped: str = ""
    parent: str = ""
    attachments: tuple[Attachment, ...] = ()
    notes: tuple[tuple[str, str], ...] = ()
    ini: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[WarningNote, ...] = ()
    warning_count: int = 0

    @property
    def uncollected(self) -> tuple[TestRecord, ...]:
        """A record for each file and class that could not be collected or was skipped as a whole."""
        return (
            *(
                TestRecord(id=name, outcome=Outcome.ERROR, message="could not be collected")
                for name in self.collection_errors
            ),
            *(
                TestRecord(id=name, outcome=Outcome.SKIPPED, reason=reason)
                for name, reason in self.collection_skips.items()
            ),
        )

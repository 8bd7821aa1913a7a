"""What the parent process saw of the command: the item ``process`` of a wrapped run.

Everything here has the vantage ``observed``, but for the runners' closing lines: that they were printed was
observed, what they say is the workload's word. Not the raw samples' meaning: the behavioral verifier's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise, takewhile

from dre_core.model.canonical import JSON
from dre_core.model.fields import Fields
from dre_core.model.record import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenProcess:
    """One process of the tree.

    Attributes:
        pid: Its id.
        parent_pid: Its parent's id when first seen.
        argv: Its arguments, masked; empty if it was gone before they could be read.
        executable: Path of its executable; empty if unknown.
        exit_code: What it returned; None if it was not seen to end.
        signal: The signal it died of; None if none or unknown.
        started_ms: When it was first seen, since the start of the run.
        ended_ms: When it was last seen.
        cpu_seconds: CPU time when last seen.
        max_rss_bytes: Largest resident size seen.
        read_bytes: Bytes through read calls when last seen.
        written_bytes: Bytes through write calls when last seen.
        threads: Most threads seen.
        open_files: Most files seen open at once.
    """

    pid: int
    parent_pid: int
    argv: tuple[str, ...] = ()
    executable: str = ""
    exit_code: int | None = None
    signal: int | None = None
    started_ms: int = 0
    ended_ms: int = 0
    cpu_seconds: float = 0.0
    max_rss_bytes: int = 0
    read_bytes: int = 0
    written_bytes: int = 0
    threads: int = 0
    open_files: int = 0

    @property
    def runner(self) -> str:
        """Name of the test runner that it is; empty if it is none, or only calls itself one."""
        name = runner_of(self.argv)
        if not name or not self.executable:
            return name
        program = self.executable.rsplit("/", 1)[-1]
        # A script's interpreter shows as the first word; a first word of its own choosing is a disguise.
        disguised = program.startswith(_INTERPRETERS) and not _is_interpreter(self.argv[0])
        return "" if disguised else name

    def to_json(self) -> dict[str, JSON]:
        """The process as it stands in the item."""
        return {
            "pid": self.pid,
            "parentPid": self.parent_pid,
            "argv": list(self.argv),
            "executable": self.executable,
            "exitCode": self.exit_code,
            "signal": self.signal,
            "startedMs": self.started_ms,
            "endedMs": self.ended_ms,
            "cpuSeconds": self.cpu_seconds,
            "maxRssBytes": str(self.max_rss_bytes),
            "readBytes": str(self.read_bytes),
            "writtenBytes": str(self.written_bytes),
            "threads": self.threads,
            "openFiles": self.open_files,
        }

    @classmethod
    def parse(cls, fields: Fields) -> SeenProcess:
        """Reads one process; see :meth:`to_json`."""
        return cls(
            pid=fields.integer("pid"),
            parent_pid=fields.integer("parentPid"),
            argv=fields.texts("argv"),
            executable=fields.text("executable", ""),
            exit_code=fields.optional_integer("exitCode"),
            signal=fields.optional_integer("signal"),
            started_ms=fields.integer("startedMs", 0),
            ended_ms=fields.integer("endedMs", 0),
            cpu_seconds=fields.number("cpuSeconds"),
            max_rss_bytes=fields.decimal("maxRssBytes"),
            read_bytes=fields.decimal("readBytes") if fields.has("readBytes") else 0,
            written_bytes=fields.decimal("writtenBytes") if fields.has("writtenBytes") else 0,
            threads=fields.integer("threads", 0),
            open_files=fields.integer("openFiles", 0),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenConnection:
    """A network connection that a process was seen to have.

    Attributes:
        pid: The process.
        protocol: ``tcp`` or ``udp``.
        local: Address and port.
        remote: The same of the other end; empty for none.
        state: Such as ``listen``.
    """

    pid: int
    protocol: str
    local: str
    remote: str
    state: str

    def to_json(self) -> dict[str, JSON]:
        """The connection as it stands in the item."""
        return {
            "pid": self.pid,
            "protocol": self.protocol,
            "local": self.local,
            "remote": self.remote,
            "state": self.state,
        }

    @classmethod
    def parse(cls, fields: Fields) -> SeenConnection:
        """Reads one connection; see :meth:`to_json`."""
        return cls(
            pid=fields.integer("pid"),
            protocol=fields.text("protocol"),
            local=fields.text("local"),
            remote=fields.text("remote"),
            state=fields.text("state"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosingLine:
    """A runner's closing line in the output, parsed.

    Attributes:
        runner: Which runner's form it has.
        counts: Numbers by name (``passed``, ``failed``, ...).
        offset: Byte offset in the stream.
        text: The line, masked and capped.
    """

    runner: str
    counts: tuple[tuple[str, int], ...]
    offset: int
    text: str

    def count(self, name: str) -> int:
        """A number of the line; 0 where it does not stand there."""
        return dict(self.counts).get(name, 0)

    def to_json(self) -> dict[str, JSON]:
        """The line as it stands in the item."""
        return {
            "runner": self.runner,
            "counts": dict(self.counts),
            "offset": str(self.offset),
            "text": self.text,
        }

    @classmethod
    def parse(cls, fields: Fields) -> ClosingLine:
        """Reads one line; see :meth:`to_json`."""
        counts = fields.object("counts")
        return cls(
            runner=fields.text("runner"),
            counts=tuple((name, counts.integer(name)) for name in sorted(counts.value)),
            offset=fields.decimal("offset"),
            text=fields.text("text"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Resource use of the whole tree at one moment."""

    at_ms: int
    cpu_seconds: float
    rss_bytes: int
    processes: int
    read_bytes: int = 0
    written_bytes: int = 0
    threads: int = 0

    def to_json(self) -> list[JSON]:
        """``[milliseconds, CPU seconds, resident bytes, processes, bytes read, bytes written, threads]``."""
        return [
            self.at_ms,
            self.cpu_seconds,
            str(self.rss_bytes),
            self.processes,
            str(self.read_bytes),
            str(self.written_bytes),
            self.threads,
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """The whole item.

    Attributes:
        exit_code: What the command returned; None if it was killed.
        signal: The signal it died of.
        timed_out: DRE ended it at the time limit.
        cancelled_by: The signal on which DRE ended it.
        wall_ms: Wall-clock duration by the monotonic clock.
        user_seconds: CPU time in user mode of all waited-for descendants, by the kernel's accounting.
        system_seconds: The same in kernel mode.
        max_rss_bytes: Largest resident size of one process, by the kernel's accounting.
        merged: Standard output and error are one stream.
        bytes_out: Bytes by stream.
        processes: The tree as far as it was seen.
        complete: Whether nothing can have been missed.
        interval_ms: Sampling interval.
        samples: Resource use over time, decimated.
        closing_lines: Runners' closing lines found in the output.
        patterns: Matches in the output by kind.
        connections: Network connections that were seen.
        files: Paths that were seen open.
        unseen: What could not be seen, in a word each.
        looks: How often the tree was looked at.
        watching_ms: CPU time that looking has cost.
        cgroup: Use of the control group shared with DRE, by the kernel's accounting; empty where unreadable.
        metrics: Sliding windows and alerts; None for a short run.
        rewritten: Journals that no longer begin as they were seen to while the command ran.
    """

    exit_code: int | None
    signal: int | None = None
    timed_out: bool = False
    cancelled_by: int | None = None
    wall_ms: int = 0
    user_seconds: float = 0.0
    system_seconds: float = 0.0
    max_rss_bytes: int = 0
    merged: bool = False
    bytes_out: tuple[tuple[str, int], ...] = ()
    processes: tuple[SeenProcess, ...] = ()
    complete: bool = False
    interval_ms: int = 0
    samples: tuple[Sample, ...] = ()
    closing_lines: tuple[ClosingLine, ...] = ()
    patterns: tuple[tuple[str, int], ...] = ()
    connections: tuple[SeenConnection, ...] = ()
    files: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()
    looks: int = 0
    watching_ms: int = 0
    cgroup: tuple[tuple[str, int], ...] = ()
    metrics: JSON = None
    rewritten: tuple[str, ...] = ()

    @property
    def cpu_ms(self) -> int:
        """CPU time of the command and its descendants, in milliseconds."""
        return round(1000 * (self.user_seconds + self.system_seconds))

    def to_json(self) -> dict[str, JSON]:
        """The item's JSON object."""
        return {
            "exitCode": self.exit_code,
            "signal": self.signal,
            "timedOut": self.timed_out,
            "cancelledBy": self.cancelled_by,
            "wallMs": self.wall_ms,
            "userSeconds": self.user_seconds,
            "systemSeconds": self.system_seconds,
            "maxRssBytes": str(self.max_rss_bytes),
            "merged": self.merged,
            "bytesOut": {name: str(count) for name, count in self.bytes_out},
            "processes": [process.to_json() for process in self.processes],
            "complete": self.complete,
            "intervalMs": self.interval_ms,
            "samples": [sample.to_json() for sample in self.samples],
            "closingLines": [line.to_json() for line in self.closing_lines],
            "patterns": dict(self.patterns),
            "connections": [connection.to_json() for connection in self.connections],
            "files": list(self.files),
            "unseen": list(self.unseen),
            "looks": self.looks,
            "watchingMs": self.watching_ms,
            "cgroup": {name: str(value) for name, value in self.cgroup},
            "metrics": self.metrics,
            "rewritten": list(self.rewritten),
        }

    @classmethod
    def parse(cls, value: JSON) -> Observation:
        """Reads the item's JSON object; samples are for people and not read back.

        Raises:
            FormatError: A field is missing or of the wrong type.
        """
        fields = Fields(value, "$.process")
        bytes_out = fields.object("bytesOut")
        patterns = fields.object("patterns")
        cgroup = Fields(fields.value.get("cgroup", {}), fields.at("cgroup"))
        return cls(
            exit_code=fields.optional_integer("exitCode"),
            signal=fields.optional_integer("signal"),
            timed_out=fields.boolean("timedOut"),
            cancelled_by=fields.optional_integer("cancelledBy"),
            wall_ms=fields.integer("wallMs"),
            user_seconds=fields.number("userSeconds"),
            system_seconds=fields.number("systemSeconds"),
            max_rss_bytes=fields.decimal("maxRssBytes"),
            merged=fields.boolean("merged"),
            bytes_out=tuple((name, bytes_out.decimal(name)) for name in sorted(bytes_out.value)),
            processes=fields.each("processes", SeenProcess.parse),
            complete=fields.boolean("complete"),
            interval_ms=fields.integer("intervalMs"),
            closing_lines=fields.each("closingLines", ClosingLine.parse),
            patterns=tuple((name, patterns.integer(name)) for name in sorted(patterns.value)),
            connections=fields.each("connections", SeenConnection.parse),
            files=fields.texts("files"),
            unseen=fields.texts("unseen"),
            looks=fields.integer("looks", 0),
            watching_ms=fields.integer("watchingMs", 0),
            cgroup=tuple((name, cgroup.decimal(name)) for name in sorted(cgroup.value)),
            metrics=fields.value.get("metrics"),
            rewritten=fields.texts("rewritten"),
        )

    def runners(self) -> tuple[SeenProcess, ...]:
        """The processes that run tests, outermost first; a runner started by a runner is not counted again."""
        found = {p.pid: p for p in self.processes if p.runner}
        return tuple(p for p in found.values() if p.parent_pid not in found)

    def told_not_to_test(self) -> SeenProcess | None:
        """A build that was told to leave its tests out, if there was one."""
        return next((p for p in self.processes if not p.runner and leaves_tests_out(p.argv)), None)

    def excludes_tests(self) -> bool:
        """Whether no tests can have run: nothing was missed, and every program was one that runs none.

        A runner of somebody's own has a name that nobody knows, so an unknown program decides nothing.
        """
        return self.complete and all(_program(process) in _TOOLS for process in self.processes)


def _program(process: SeenProcess) -> str:
    return (process.executable or next(iter(process.argv), "")).rsplit("/", 1)[-1]


# Shells run what their words say, and that is a process of its own unless it is one of the shell's.
_TOOLS = frozenset(
    (
        *("sh", "bash", "dash", "busybox", "zsh", "ksh"),
        *(
            "cat",
            "cp",
            "date",
            "echo",
            "env",
            "false",
            "find",
            "git",
            "grep",
            "head",
            "install",
            "ln",
            "ls",
            "mkdir",
        ),
        *(
            "mv",
            "printf",
            "rm",
            "sed",
            "sleep",
            "sort",
            "tail",
            "tar",
            "tee",
            "test",
            "touch",
            "tr",
            "true",
            "wc",
        ),
    )
)

# Program names that run tests. The first word that is no interpreter option decides.
_RUNNERS = frozenset(
    (
        "pytest",
        "py.test",
        "unittest",
        "jest",
        "vitest",
        "mocha",
        "ava",
        "nose2",
        "tox",
        "nox",
        "phpunit",
        "rspec",
    )
)
_INTERPRETERS = ("python", "pypy", "node")
# Programs that run tests among other things: by which word they are told to. Options may stand before it.
_MAVEN = frozenset(("test", "verify", "package", "install", "deploy", "integration-test"))
_GRADLE = frozenset(("test", "check", "build"))
_TEST = frozenset(("test",))
_VERBS: Mapping[str, frozenset[str]] = {
    "go": _TEST,
    "cargo": frozenset(("test", "t", "nextest")),
    "npm": frozenset(("test", "t", "tst")),
    "yarn": _TEST,
    "pnpm": frozenset(("test", "t")),
    "bun": _TEST,
    "deno": _TEST,
    "dotnet": _TEST,
    "swift": _TEST,
    "mix": _TEST,
    "mvn": _MAVEN,
    "mvnw": _MAVEN,
    "gradle": _GRADLE,
    "gradlew": _GRADLE,
}
# By these Maven and Gradle are told to run no tests all the same.
_SKIPPED = frozenset(
    f"{option}{value}"
    for option in ("-DskipTests", "-Dmaven.test.skip", "-Dmaven.test.skip.exec")
    for value in ("", "=true")
) | {"--dry-run"}
_LEFT_OUT = ("-x", "--exclude-task")
_SHELLS = ("sh", "bash", "dash")
_ANY_WORD = ("mvn", "mvnw", "gradle", "gradlew")
# Main classes of Java programs: what they are.
_JAVA = {
    "org.codehaus.plexus.classworlds.launcher.Launcher": "mvn",
    "org.gradle.wrapper.GradleWrapperMain": "gradle",
    "org.gradle.launcher.GradleMain": "gradle",
}


def runner_of(argv: tuple[str, ...]) -> str:
    """Name of the test runner that a command line starts; empty if it starts none."""
    words = [word.rsplit("/", 1)[-1] for word in argv]
    if not words:
        return ""
    if words[0] == "node" and _runs_tests(words):
        return "node --test"
    if words[0] in _SHELLS and words[1:2] and words[1] in _ANY_WORD:
        words = words[1:]
    if words[0].startswith(_INTERPRETERS):
        words = _after_interpreter(words)
    if words[:2] == ["coverage", "run"]:
        # It runs a module or script in its own process, with the options of an interpreter.
        words = _after_interpreter(words[1:])
    if not words:
        return ""
    name = words[0].removesuffix(".py").removesuffix(".js").removesuffix(".mjs")
    if name in _RUNNERS:
        return "pytest" if name == "py.test" else name
    if name == "java":
        main = next((word for word in words if word in _JAVA), "")
        return _told_to_test([_JAVA[main], *words[words.index(main) + 1 :]]) if main else ""
    return _told_to_test([name.removesuffix(".cmd").removesuffix(".exe"), *words[1:]])


def leaves_tests_out(argv: tuple[str, ...]) -> bool:
    """Whether Maven or Gradle are told by an option to run no tests."""
    names = {word.rsplit("/", 1)[-1] for word in argv}
    if names.isdisjoint((*_ANY_WORD, *_JAVA)):
        return False
    return bool(_SKIPPED.intersection(argv)) or "test" in _excluded_tasks(argv)


def _excluded_tasks(words: Sequence[str]) -> set[str]:
    """Tasks that Gradle is told to leave out, without their projects."""
    pairs = pairwise(words)
    return {value.rpartition(":")[2] for word, value in pairs if word in _LEFT_OUT}


def _told_to_test(words: list[str]) -> str:
    """The program with the word by which it was told to run tests; empty if it was told something else."""
    name, verbs = words[0], _VERBS.get(words[0], frozenset())
    given = [word for word in words[1:] if not word.startswith(("-", "+"))]
    if name in _ANY_WORD:
        # A task of Gradle may name its project: `:app:test`.
        left_out = _excluded_tasks(words)
        given = [word for word in given if word.rpartition(":")[2] not in left_out]
        verb = next((last for word in given if (last := word.rpartition(":")[2]) in verbs), "")
        return (
            f"{name} {verb}" if verb and "test" not in left_out and not _SKIPPED.intersection(words) else ""
        )
    if given[:1] in (["run"], ["run-script"]):
        given = given[1:]
    return f"{name} {given[0]}" if given and given[0] in verbs else ""


def _runs_tests(words: list[str]) -> bool:
    """Whether Node's own test runner is asked for; its options come before the files."""
    options = takewhile(lambda word: word.startswith("-"), words[1:])
    return "--test" in options


def _is_interpreter(word: str) -> bool:
    return word.rsplit("/", 1)[-1].startswith(_INTERPRETERS)


def _after_interpreter(words: list[str]) -> list[str]:
    """The words from the module or script that an interpreter runs."""
    rest = words[1:]
    while rest:
        word = rest[0]
        if word == "-m":
            return rest[1:]
        if word == "-c":
            return []
        if not word.startswith("-"):
            return rest
        # -W and -X take a value of their own.
        rest = rest[2:] if word in ("-W", "-X") else rest[1:]
    return []

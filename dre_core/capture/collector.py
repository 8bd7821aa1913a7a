"""What a collector is: it looks before and after the run and yields what it saw.

A collector never decides and never loses the run: an error it raises becomes a recorded gap. What it yields is
masked, compressed and stored by the engine. Facts that several parts of the run's predicate need go to the
shared :class:`Facts`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from pathlib import Path
from typing import Protocol

from dre_core.config import Config
from dre_core.model.canonical import JSON
from dre_core.model.record import dataclass
from dre_core.model.run import Gap, Source
from dre_core.model.verdict import Vantage


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """One thing that a collector saw.

    Attributes:
        name: Unique in the operation.
        kind: See :class:`dre_core.model.run.Item`.
        vantage: From where it was seen.
        media_type: Of the bytes.
        value: A JSON value, whose texts are masked one by one; None where there are bytes.
        path: The file that holds the bytes.
        data: The bytes themselves.
        kept: Whether the bytes are stored; otherwise only named by their digest.
        note: Facts that the bytes do not tell.
    """

    name: str
    kind: str
    vantage: Vantage
    media_type: str
    value: JSON = None
    path: Path | None = None
    data: bytes | None = None
    kept: bool = True
    note: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Facts:
    """What the collectors have learned so far.

    Attributes:
        source: The source tree.
        ci: CI identity.
        environment: Summary of the machine.
        tools: Tool versions.
        project: Normalised origin, or the root commit's id.
        programs: First words of the processes that the parent saw; empty where nobody watched.
        gaps: What could not be collected.
        old_sources: Text that changed Python files had at the base, by path.
    """

    source: Source = field(default_factory=Source)
    ci: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    tools: dict[str, str] = field(default_factory=dict)
    project: str = ""
    programs: tuple[str, ...] = ()
    gaps: list[Gap] = field(default_factory=list)
    old_sources: dict[str, str] = field(default_factory=dict)

    def gap(self, collector: str, reason: str, hint: str = "") -> None:
        """Records that something could not be collected."""
        self.gaps.append(Gap(collector=collector, reason=reason, hint=hint))


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Where a run takes place and what is asked of the collectors.

    Attributes:
        root: The project's root folder.
        cwd: The command's working directory.
        environ: Environment variables of the workload.
        config: The configuration.
        operation: The operation's id.
        experiment: The operation's folder.
        programs: Paths of the program that the command starts and of its interpreter, as far as they are known.
        base: Revision to compare with; empty: from CI, else the upstream's merge base.
        junit: Globs of JUnit reports, relative to ``cwd``.
        coverage: Paths of coverage data.
        artifact: Globs of files that the command makes.
        screenshot: Globs of pictures that the command makes.
    """

    root: Path
    cwd: Path
    environ: Mapping[str, str]
    config: Config
    operation: str
    experiment: Path
    programs: tuple[str, ...] = ()
    base: str = ""
    junit: tuple[str, ...] = ()
    coverage: tuple[str, ...] = ()
    artifact: tuple[str, ...] = ()
    screenshot: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """When a trigger fired while the command ran, or at its end.

    Attributes:
        trigger: Name of the trigger.
        occasion: What fired it, such as ``interval``; see :class:`dre_core.model.trigger.Occasion`.
        number: Counts the moments of the run, from 1.
        elapsed_ms: Since the start of the command.
        pid: The command's process id; 0 if it has ended.
        detail: What is to be told of it, masked.
    """

    trigger: str
    occasion: str
    number: int
    elapsed_ms: int
    pid: int = 0
    detail: str = ""


class Collector(Protocol):
    """Looks before and after a run.

    A collector that a trigger can ask for at other moments also has ``during(scene, moment)``, which returns what is
    to be seen then. It runs in a process of its own, beside the command.
    """

    name: str

    def before(self, scene: Scene, facts: Facts) -> Iterable[Captured]:
        """What is to be seen before the run.

        Raises:
            CaptureError: It can't be seen; the engine records a gap.
        """
        ...

    def after(self, scene: Scene, facts: Facts) -> Iterable[Captured]:
        """What is to be seen after it; same rules."""
        ...

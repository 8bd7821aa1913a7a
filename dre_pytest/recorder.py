"""The recorder: what one pytest process writes to its journal, and from where it looks.

Two plugins. :class:`Recorder` stands outermost: it sees every report after all others changed it, and the
session's exit status before and after the finish. :class:`Body` stands innermost, next to the test function:
it knows whether the body was entered and whether it raised. Both register again when collection has finished,
because conftests of subfolders register later than a plugin of the command line does.

It never fails a run: what goes wrong in here becomes a ``problem`` line. With xdist each worker records for
itself and the controller records its view; ``model/journal.py`` compares them.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping
from datetime import datetime, timezone
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from dre_core.capture.journal import Journal, Mask, Outputs
from dre_core.garbage import unsearched
from dre_core.model.canonical import JSON
from dre_core.model.journal import MAIN, NO_OUTCOME, fold, phase_counts
from dre_core.model.session import HookNote, Session
from dre_pytest import hooks
from dre_pytest.alerts import Alerts
from dre_pytest.asserts import unrewritten
from dre_pytest.body import Body
from dre_pytest.calls import Calls
from dre_pytest.collection import MAX_NAMED, Collection, conftest_digests, conftests, marked, modules_of
from dre_pytest.command import called, seed
from dre_pytest.description import UNKNOWN, Description, describe
from dre_pytest.failure import is_failure
from dre_pytest.fixtures import keep
from dre_pytest.imports import loaded
from dre_pytest.intact import Subjects, is_foreign
from dre_pytest.pictures import Picture, of_playwright, of_report
from dre_pytest.running import (
    MAX_MESSAGE,
    MAX_PARTS,
    Running,
    Stopwatch,
    cap,
    contradicts,
    microseconds,
    part_of,
    phase_microseconds,
    worker_of,
)
from dre_pytest.sources import Comparison, core_modules, own_modules
from dre_pytest.suspects import suspects

MAX_PROBLEMS = 100
_LEAST_SECONDS = 0.01

# Tests patch the modules; the recorder keeps the genuine functions.
_now = datetime.now
_cpu_ns = time.process_time_ns
_TestReport = pytest.TestReport
_Function = pytest.Function

_active: list[Recorder] = []


class Recorder:
    """Records one pytest process.

    Args:
        config: pytest's configuration.
        directory: The operation's journal folder; the file is ``<session_id>/<worker>.jsonl`` in it.
        mask: Removes secrets from text.
        session_id: The session's id, the same in all its processes.
        nonce: Starts the chain of hashes, the same in all its processes.
        worker: ``main``, or the xdist worker's id.
        attachments: Folder for files that tests attach; None: they are digested only.

    Raises:
        OSError: The journal can't be made.
    """

    def __init__(
        self,
        config: pytest.Config,
        directory: Path,
        mask: Mask,
        session_id: str,
        nonce: str,
        *,
        worker: str = MAIN,
        attachments: Path | None = None,
    ) -> None:
        self.config = config
        self.folder = directory / session_id
        self.session_id = session_id
        self.nonce = nonce
        self.worker = worker
        self.attachments = attachments
        self.body = Body(config)
        self.collection = Collection(config.rootpath)
        self.after_finish: Callable[[pytest.Session], None] | None = None
        self._journal = Journal(self.folder / f"{worker}.jsonl", nonce=nonce, mask=mask)
        self._rootdir, self._prefix = _top(config.rootpath)
        self._outputs = Outputs(self.folder / f"{worker}.out")
        self._alerts = Alerts(self._journal, self._rootdir, self.problem)
        self._calls = Calls(self._rootdir)
        self._started = time.time()
        self._comparison = Comparison(config, self._started)
        self._cpu: dict[str, int] = {}
        self._cpu_last = 0
        self._known: dict[str, Description] = {}
        self._controller = worker == MAIN and bool(getattr(config.option, "dist", "no") != "no")
        self._running: dict[str, Running] = {}
        self._evidence: tuple[str, bool | None, bool | None] = ("", None, None)
        self._files: dict[str, str] = {}
        self._plain_passes = 0
        self._tally: Counter[str] = Counter()
        self._problems: Counter[str] = Counter()
        self._unwitnessed: list[str] = []
        self._stopwatch = Stopwatch()
        self._modules: list[ModuleType] = []
        self._at_start: hooks.Implementations = {}
        self._noted: set[HookNote] = set()
        self._early_notes: list[HookNote] = []
        self._exit_status: int | None = None
        self._session: pytest.Session | None = None
        self._journal.write("session", called(config), self._identity())

    def register(self) -> None:
        """Take (or take again) the outermost and the innermost place."""
        manager = self.config.pluginmanager
        for plugin, name in (
            (self.collection, "dre-collection"),
            (self.body, "dre-body"),
            (self, "dre-recorder"),
        ):
            if manager.is_registered(plugin):
                manager.unregister(plugin)
            manager.register(plugin, name)
        if not self._controller and not manager.is_registered(self._alerts):
            # The controller hears the warnings of its workers, who write them down themselves.
            manager.register(self._alerts, "dre-alerts")
        if self not in _active:
            _active.append(self)

    def session(self) -> Session:
        """The fold of everything recorded so far, the workers' journals included."""
        files = {path.stem: path.open("rb") for path in sorted(self.folder.glob("*.jsonl"))}
        try:
            return fold(files)
        finally:
            for file in files.values():
                file.close()

    def workers(self) -> list[str]:
        """The processes that left a journal."""
        return sorted(path.stem for path in self.folder.glob("*.jsonl"))

    def problem(self, text: str) -> None:
        """Record that something is wrong with the recording; of each kind at most a hundred times."""
        kind = text.partition(":")[0]
        self._problems[kind] += 1
        if self._problems[kind] <= MAX_PROBLEMS:
            self._journal.write("problem", {"text": text[:MAX_MESSAGE]})

    @property
    def owned(self) -> bool:
        """Whether this is the process that the recorder was made in, not a forked child."""
        return self._journal.owned

    @property
    def warning(self) -> str:
        """Why lines were lost; empty if none were."""
        return (
            f"{self._journal.lost} lines of the journal were lost: {self._journal.problem}"
            if self._journal.lost
            else ""
        )

    # Attachments and notes

    def attach(self, test: str, fields: Mapping[str, JSON], digest: str) -> None:
        """Record an attached file."""
        self._journal.write("attachment", {"test": test, **fields}, {"digest": digest})

    def note(self, test: str, text: str) -> None:
        """Record a remark of a test."""
        self._journal.write("note", {"test": test, "text": cap(text)})

    # Collection

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        if not self.owned:
            return
        try:
            with unsearched():
                self.register()
                self._write_collected(session)
        except Exception as error:
            self.problem(f"recorder-failed: collection: {error!r}")
        self._cpu_last = _cpu_ns()

    def _write_collected(self, session: pytest.Session) -> None:
        manager = self.config.pluginmanager
        collection = self.collection
        selected = [item.nodeid for item in session.items]
        masked = self._masked(selected)
        self._modules = modules_of(session.items)
        found = self._at_start = hooks.implementations(manager)
        self._comparison.read(core_modules())
        notes = [
            *hooks.local_notes(found, self._rootdir),
            *hooks.elsewhere_notes(found, manager, self._rootdir),
            *hooks.outside_notes(found, self, self.body, self._rootdir),
            *hooks.replaced_notes(self._rootdir, self, self.body, self.collection, self._journal),
            *hooks.subject_notes(Subjects(self._rootdir), self._rootdir, "patched-subject"),
            *hooks.altered_notes(self._comparison.altered, self._rootdir),
            *suspects(
                self._local_files(found), [str(module.__file__) for module in self._modules], self._rootdir
            ),
        ]
        digest = sha256("\n".join(sorted(masked)).encode()).hexdigest()
        self._known = describe(session.items, selected, masked)
        fields = {
            **collection.fields(selected),
            **self._loaded(),
            "hooks": self._new(notes),
            "seed": seed(self.config),
        }
        self._journal.write(
            "collected", fields, {"digest": f"sha256:{digest}", "conftests": self._conftests()}
        )
        self._write_markers(session.items)
        self.body.look_before()

    def _local_files(self, found: hooks.Implementations) -> list[str]:
        """Conftests, and files of the project that implement a watched hook."""
        own = [str(module.__file__) for module in conftests(self.config)]
        hooked = (hooks.place(each.function)[0] for every in found.values() for each in every)
        return list(
            dict.fromkeys([*own, *(file for file in hooked if is_foreign(file) and not _is_ours(file))])
        )

    def _masked(self, ids: list[str]) -> list[str]:
        """Mask all ids in one go, for a mask has a price per call."""
        text = "\n".join(ids)
        masked = self._journal.text(text).split("\n") if text.count("\n") == len(ids) - 1 else []
        return masked if len(masked) == len(ids) else [self._journal.text(each) for each in ids]

    def _loaded(self) -> dict[str, JSON]:
        """Where the code under test came from, and whether its tests' assertions are pytest's."""
        plain = unrewritten([*self._modules, *conftests(self.config)])
        return {
            "imports": loaded(self._modules, self._rootdir),
            "unrewritten": [hooks.relative(file, self._rootdir) for file in plain],
        }

    def _conftests(self) -> dict[str, JSON]:
        digests = conftest_digests(self.config)
        return {
            self._journal.text(hooks.relative(file, self._rootdir)): value for file, value in digests.items()
        }

    def _write_markers(self, items: Iterable[pytest.Item]) -> None:
        for item in marked(items, "dre"):
            values = [mark.kwargs for mark in reversed(list(item.iter_markers("dre")))]
            text = " ".join(f"{name}={value}" for kwargs in values for name, value in kwargs.items())
            self.note(item.nodeid, text)

    # Tests

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        raised = call.excinfo
        when = call.when
        report = yield
        now = _cpu_ns()
        self._cpu[when] = (now - self._cpu_last) // 1000
        self._cpu_last = now
        if raised is None:
            raised = call.excinfo  # unittest's failures are put there by pytest's own implementation
        if when == "call" or raised is not None:
            try:
                self._judge(item, when, raised, report)
            except Exception as error:
                self.problem(f"recorder-failed: {item.nodeid}: {error!r}")
        if when == "setup":
            self.body.entered = False
        return report

    def _judge(
        self, item: pytest.Item, when: str, raised: pytest.ExceptionInfo[BaseException] | None, report: Any
    ) -> None:
        """Keep what the body did, and note an outcome that does not follow from what was raised."""
        body = self.body
        if when == "call" and body.entered:
            self._evidence = (report.nodeid, body.called, body.raised)
            if not body.raised:
                return
        elif when == "call":
            called = False if item.__class__ is _Function else None
            self._evidence = (report.nodeid, called, is_failure(raised and raised.value))
        if raised is not None and contradicts(item, raised.value, report):
            self.problem(f"outcome-changed: {report.nodeid} {when} raised, reported {report.outcome}")
            ours = (self, self.body)
            found = hooks.implementations(self.config.pluginmanager)
            self._early_notes.extend(hooks.changer_notes(found, ours, self._rootdir))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        try:
            self._take(report)
        except Exception as error:
            self.problem(f"recorder-failed: {getattr(report, 'nodeid', '')}: {error!r}")

    def _take(self, report: Any) -> None:
        key = node = report.nodeid
        if self._controller:
            key = f"{worker_of(report)} {node}"
        running = self._running.get(key)
        if running is None:
            running = self._running[key] = Running()
        when = report.when
        if report.__class__ is not _TestReport and hasattr(report, "context"):
            self._take_subtest(running, report)
        elif report.outcome == "rerun":
            running.restart(report)
        elif when == "setup":
            running.setup = report
            if running.again:
                running.again = False
        elif running.again:
            return
        elif when == "call":
            running.call = report
        else:
            if when == "teardown":
                running.teardown = report
            else:
                running.crash = report
            # The terminal may still change the call's outcome while it sorts the report: all is read here.
            self._write_test(node, report, running)
            del self._running[key]
            self._cpu = {}

    def _take_subtest(self, running: Running, report: pytest.TestReport) -> None:
        running.subtests += 1
        if len(running.parts) < MAX_PARTS:
            running.parts += (part_of(report),)
        if report.failed:
            running.subtests_failed += 1
            running.subtest = running.subtest or report

    def _write_test(self, node: str, last: Any, running: Running) -> None:
        setup, call, teardown = running.setup, running.call, running.teardown
        if (
            call is not None
            and setup is not None
            and teardown is not None
            and call.outcome == "passed"
            and setup.outcome == "passed"
            and teardown.outcome == "passed"
            and not (
                teardown.sections or call.sections or running.reruns or running.subtests or self._controller
            )
            and not hasattr(call, "wasxfail")
            and not hasattr(call, "extras")
        ):
            known, called, raised = self._evidence
            if known != node:
                called = raised = None
                self._unwitnessed.append(node)
            file, line, _ = last.location
            times = phase_microseconds(setup, call, teardown)
            if sum(times) > self._stopwatch.lap_us():
                times = 0, 0, 0
            cpu = self._cpu
            phases = (
                times[0], cpu.get("setup", 0), times[1], cpu.get("call", 0), times[2], cpu.get("teardown", 0)
            )  # fmt: skip
            quoted, (asserts, markers, _, _) = self._known.get(node, UNKNOWN)
            self._plain_passes += self._journal.passed(
                quoted or self._journal.quoted(node),
                self._files.get(file) or self._quote_file(file),
                0 if line is None else line + 1,
                _WORDS[called],
                _WORDS[raised],
                phases,
                asserts,
                markers,
                _REACHES[self._calls.lap()],
            )
        else:
            self._write_slowly(last, running)

    def _quote_file(self, file: str) -> str:
        quoted = self._files[file] = self._journal.quoted(self._path(file))
        return quoted

    def _path(self, file: str) -> str:
        """Path from the top of the tree; pytest's are relative to its root folder."""
        return self._prefix + file.replace(os.sep, "/")

    def _write_slowly(self, last: Any, running: Running) -> None:
        """Write any test line; the fast way above is its special case."""
        words = running.words(self._cpu if not self._controller else {})
        if not self._controller:
            lap_us = self._stopwatch.lap_us()
            if sum(microseconds(report) for _, report in running.reports()) > lap_us:
                words.update({name: [outcome, 0] for name, outcome in running.phases().items()})
        self._note_skip(last, running)
        if self._controller:
            words["worker"] = worker_of(last)
        elif self._evidence[0] == last.nodeid and running.call is not None:
            words["body_called"] = self._evidence[1]
            words["body_raised"] = self._evidence[2] and words["outcome"] == "passed"
        elif words["outcome"] == "passed":
            self._unwitnessed.append(last.nodeid)
        if not self._controller:
            self._add_details(last, running, words)
        texts = running.texts(last, self._path(str(last.location[0])))
        if self._journal.write("test", texts, words) and words["outcome"] != NO_OUTCOME:
            self._tally.update(phase_counts(running.phases()))
            self._tally["failed"] += running.subtests_failed
            self._tally["rerun"] += running.reruns

    def _add_details(self, last: Any, running: Running, words: dict[str, JSON]) -> None:
        """What only the process that ran the test knows: markers, assertions, calls, whole output, pictures."""
        _, (_, _, asserts, markers) = self._known.get(last.nodeid, UNKNOWN)
        reaches = self._calls.lap()
        if asserts is not None:
            words["asserts"] = asserts
        if markers:
            words["markers"] = list(markers)
        if reaches is not None:
            words["reaches"] = reaches
        if whole := running.whole():
            text = self._journal.text(f"=== {last.nodeid} ===\n{whole}\n")
            if place := self._outputs.append(text):
                words["output_at"] = place
        for report in dict.fromkeys(report for _, report in running.reports()):
            self._keep(of_report(report))

    def _keep(self, pictures: Iterable[Picture]) -> None:
        """Keep what other plugins took; a picture that hangs on several reports is one."""
        for test, name, media_type, source in pictures:
            kind = "screenshot" if media_type.startswith("image/") else "attachment"
            keep(self, test, source, name, media_type, kind)

    def _note_skip(self, last: Any, running: Running) -> None:
        """Note a skip that another file than the test's own decided on."""
        for _, report in running.reports():
            if (
                report.outcome == "skipped"
                and isinstance(report.longrepr, tuple)
                and len(report.longrepr) == 3
            ):
                file, line = str(report.longrepr[0]), report.longrepr[1]
                name = hooks.relative(file, self._rootdir)
                if (
                    os.path.basename(file) == "conftest.py"
                    and name != self._path(str(last.location[0]))
                    and isinstance(line, int)
                ):
                    note = HookNote(hook="pytest.skip", plugin="", file=name, line=line, concern="skips")
                    if note not in self._early_notes[-MAX_PROBLEMS:]:
                        self._early_notes.append(note)

    # Finish

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, object, object]:
        before = int(session.exitstatus)
        try:
            return (yield)
        finally:
            if self.owned:
                self._finish(session, before)

    def _finish(self, session: pytest.Session, before: int) -> None:
        try:
            self._write_unfinished()
            if not self._controller:
                self._keep(of_playwright(self.config, self._started, self._known))
            self._known = {}  # room for what is made of the journal now
            self._exit_status = int(session.exitstatus)
            with unsearched():
                self._journal.write("finish", self._tail(session, before), {"conftests": self._conftests()})
        except Exception as error:
            self.problem(f"recorder-failed: finish: {error!r}")
        if self.after_finish is not None:
            self.after_finish(session)
        self._exit_status = int(session.exitstatus)
        self._session = session

    def _write_unfinished(self) -> None:
        for key, running in list(self._running.items()):
            last = running.teardown or running.call or running.setup or running.subtest
            if last is not None:
                self._write_slowly(last, running)
            elif running.reruns:
                self.problem(f"no-outcome: {key}")
        self._running.clear()

    def _tail(self, session: pytest.Session, before: int) -> dict[str, JSON]:
        found = hooks.implementations(self.config.pluginmanager)
        ours = (self, self.body, self.collection)
        for plugin in ours:
            if not self.config.pluginmanager.is_registered(plugin):
                self.problem(f"recorder-displaced: {type(plugin).__name__}")
        self._compare()
        notes = [
            *self._early_notes,
            *hooks.added_notes(self._at_start or found, found, ours, self._rootdir),
            *hooks.outside_notes(found, self, self.body, self._rootdir),
            *hooks.replaced_notes(self._rootdir, self, self.body, self.collection, self._journal),
            *self.body.notes,
            *hooks.altered_notes(self._comparison.altered, self._rootdir),
        ]
        self.body.look_again()
        if lost := self.body.control.lost:
            self.problem(f"control-passed: {len(lost)} times, lost {lost[0]}")
        if self._unwitnessed:
            self.problem(
                f"unwitnessed: {len(self._unwitnessed)} passed without a call: {self._unwitnessed[0]}"
            )
        if self._outputs.problem:
            self.problem(f"output-lost: {self._outputs.problem}")
        tally = self._tally
        tally["passed"] += self._plain_passes
        tally["errors"] += len(self.collection.errors)
        tally["skipped"] += self.collection.skipped
        stopped = session.shouldfail or session.shouldstop
        return {
            "exit_status_before": before,
            "exit_status": self._exit_status,
            "testsfailed": session.testsfailed,
            "modules": self._comparison.modules,
            "compared": self._comparison.compiled,
            "stopped": str(stopped) if stopped else "",
            "counts": {name: tally[name] for name in _COUNTED},
            "lost": self._journal.lost,
            "warnings": self._alerts.count,
            **self.collection.failures(),
            **self._loaded(),
            "hooks": self._new(notes),
            "finished_at": _time(),
        }

    def _compare(self) -> None:
        """Compare what ran with the sources: a four-hundredth of the session's time to compile, and to read."""
        if not self._controller:
            self._comparison.read(core_modules())
            took = time.time() - self._started
            self._comparison.run(own_modules(self._rootdir), max(_LEAST_SECONDS, took / 400))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_unconfigure(self) -> Generator[None, object, object]:
        try:
            return (yield)
        finally:
            if self in _active:
                _active.remove(self)
            if self.owned:
                self._check_late()
                self._journal.close()
                self._outputs.close()
                self._calls.stop()

    def _check_late(self) -> None:
        """Record an exit status that was changed when the session had already ended."""
        if self._session is not None and int(self._session.exitstatus) != self._exit_status:
            self._journal.write("late", {"exit_status": int(self._session.exitstatus)})

    def _new(self, notes: Iterable[HookNote]) -> list[JSON]:
        """Notes that were not written before, as JSON; where there is no room for all, those that decide."""
        fresh = [note for note in dict.fromkeys(notes) if note not in self._noted]
        fresh = sorted(fresh, key=lambda note: note.concern not in hooks.GRAVE)[:MAX_NAMED]
        self._noted.update(fresh)
        return [
            {
                "hook": note.hook,
                "plugin": note.plugin,
                "file": note.file,
                "line": note.line,
                "concern": note.concern,
            }
            for note in fresh
        ]

    def _identity(self) -> dict[str, JSON]:
        role = "controller" if self._controller else MAIN if self.worker == MAIN else "worker"
        return {
            "format": 1,
            "session": self.session_id,
            "parent": _active[-1].session_id if _active else "",
            "nonce": self.nonce,
            "role": role,
            "worker": self.worker,
            "pid": os.getpid(),
            "ppid": os.getppid(),
            "started_at": _time(),
        }


_OURS = os.path.dirname(os.path.realpath(__file__)) + os.sep


def _top(rootdir: Path) -> tuple[Path, str]:
    """The top of the tree that pytest's root folder lies in, and the way down to it, with a slash at the end."""
    for folder in (rootdir, *rootdir.parents):
        if (folder / ".git").exists():
            down = rootdir.relative_to(folder).as_posix()
            return folder, "" if down == "." else f"{down}/"
    return rootdir, ""


def _is_ours(file: str) -> bool:
    return os.path.realpath(file).startswith(_OURS)


_COUNTED = ("passed", "failed", "errors", "skipped", "xfailed", "xpassed", "rerun")
_REACHES: dict[bool | None, str] = {True: '"reaches":true,', False: '"reaches":false,', None: ""}
_WORDS: dict[bool | None, str] = {True: "true", False: "false", None: "null"}


def _time() -> str:
    return _now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")

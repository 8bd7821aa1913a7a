"""Documents of operations made, kept, put on a branch, and told of.

The steps of the documentation pipeline behind the report: files in a folder, a commit on a branch of their own (the
work tree, the index and the checked-out branch stay as they are), an event ``documentation.generated`` in the log, and
the hook ``dre_event`` for plugins that the configuration names. A plugin that fails takes nothing back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from dre_core import registry
from dre_core.capture.git import Git
from dre_core.engine import Engine
from dre_core.errors import CaptureError, UsageError
from dre_core.model import event as events
from dre_core.model.canonical import JSON
from dre_core.model.digest import sha256
from dre_core.model.event import Event
from dre_core.model.record import dataclass
from dre_core.report.document import Document
from dre_core.store.folder import storage_errors, write_atomically

GENERATED = "documentation.generated"
_BRANCH = "refs/heads/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Where a document is.

    Attributes:
        paths: Its files.
        branch: The branch it was put on; empty for none.
        commit: The commit there; empty for none.
    """

    paths: tuple[Path, ...]
    branch: str = ""
    commit: str = ""


def templates_of(engine: Engine) -> Path:
    """The user's folder of templates."""
    return engine.folder.path / "templates"


def keep(engine: Engine, operation: str, document: Document, folder: Path, branch: str = "") -> Kept:
    """Writes a document's files, and commits its Markdown where a branch is named.

    Raises:
        StorageError: The files can't be written.
        UsageError: The branch can't be used.
    """
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, data in document.files.items():
        write_atomically(folder / name, data, durable=False)
        paths.append(folder / name)
    if not branch:
        return Kept(paths=tuple(paths))
    texts = {f"{operation}/{name}": data for name, data in document.files.items() if name.endswith(".md")}
    if not texts:
        raise UsageError("a branch gets the Markdown, which was not asked for", hint="add --format markdown")
    commit = commit_files(engine.root, branch, texts, f"Document {operation}")
    return Kept(paths=tuple(paths), branch=branch, commit=commit)


def commit_files(root: Path, branch: str, files: Mapping[str, bytes], message: str) -> str:
    """Commits files to a branch that nobody has checked out, and gives the commit's id.

    The branch is made where it is missing, without any history of the project. No hook of the repository runs.

    Raises:
        UsageError: There is no repository, the name is none, or the branch is checked out.
    """
    git = Git.find(str(root))
    if git is None:
        raise UsageError("there is no git repository to commit to", path=str(root))
    reference = f"{_BRANCH}{branch}"
    try:
        git.run("check-ref-format", "--branch", branch)
    except CaptureError:
        raise UsageError(f"{branch!r} is no name for a branch") from None
    if (
        f"branch {reference}"
        in git.run("worktree", "list", "--porcelain").decode(errors="replace").splitlines()
    ):
        raise UsageError(f"the branch {branch} is checked out", hint="name one of its own, such as dre-docs")
    try:
        if not _has(git, reference, files):
            words = ("-c", "core.hooksPath=/dev/null", "fast-import", "--quiet", "--date-format=now")
            git.run(*words, stdin=_stream(git, reference, files, message))
        return git.run("rev-parse", "--verify", reference).decode().strip()
    except CaptureError as error:
        raise UsageError(f"git can't commit to {branch}: {error.message}") from None


def _has(git: Git, reference: str, files: Mapping[str, bytes]) -> bool:
    """Whether a branch holds just these files already: the same document again is no news."""
    try:
        return all(git.run("cat-file", "blob", f"{reference}:{path}") == data for path, data in files.items())
    except CaptureError:
        return False


def _stream(git: Git, reference: str, files: Mapping[str, bytes], message: str) -> bytes:
    """What ``git fast-import`` reads.

    Source: https://git-scm.com/docs/git-fast-import
    """
    exists = bool(git.run("for-each-ref", "--format=%(objectname)", reference).strip())
    text = message.encode()
    parts = [
        f"commit {reference}\ncommitter {_identity(git)} now\ndata {len(text)}\n".encode() + text + b"\n",
        f"from {reference}^0\n".encode() if exists else b"",
    ]
    for path, data in sorted(files.items()):
        parts.append(f"M 100644 inline {path}\ndata {len(data)}\n".encode() + data + b"\n")
    return b"".join(parts)


def _identity(git: Git) -> str:
    """Who commits: the user, as git knows them."""
    found = []
    for name, otherwise in (("user.name", "DRE"), ("user.email", "dre@localhost")):
        try:
            value = git.run("config", "--get", name).decode("utf-8", "replace").strip()
        except CaptureError:
            value = ""
        found.append("".join(sign for sign in value if sign not in "<>\n\0") or otherwise)
    return f"{found[0]} <{found[1]}>"


def announce(engine: Engine, operation: str, document: Document, kept: Kept) -> tuple[Event, list[str]]:
    """Logs that a document was made, and tells the subscribers.

    Returns:
        The event, and what went wrong with a subscriber.

    Raises:
        StorageError: The log can't be written.
    """
    formats: dict[str, JSON] = {
        name: {"digest": sha256(data), "size": str(len(data))} for name, data in document.files.items()
    }
    data: dict[str, JSON] = {
        "type": document.type,
        "formats": formats,
        "branch": kept.branch,
        "commit": kept.commit,
    }
    event = events.new(GENERATED, operation=operation, source="dre report", data=data, now=engine.now)
    with engine.open_log() as log:
        log.append([event])
    return event, _tell(engine.settings.plugins, event)


def _tell(plugins: Iterable[str], event: Event) -> list[str]:
    """Each subscriber on its own: one that fails must not keep the others from hearing."""
    manager = registry.load((), plugins)
    problems = []
    for implementation in reversed(manager.hook.dre_event.get_hookimpls()):
        tell: Callable[..., object] = implementation.function
        try:
            tell(**({"event": event} if "event" in implementation.argnames else {}))
        except Exception as error:  # a stranger's code
            problems.append(f"{implementation.plugin_name}: {type(error).__name__}: {error}")
    return problems

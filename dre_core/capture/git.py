"""What git says of the source tree, and the tree digest; read-only, and quiet where there is no git.

The tree digest is SHA-256 over records ``mode SP sha256(bytes) NUL path NUL``, sorted bytewise, for the files
of ``git ls-files --cached --others --exclude-standard`` as they lie on disk (a link: its target; a submodule:
``160000`` and its HEAD id; missing: ``000000`` and 64 zeros). Without git the same is taken over the folder,
less ``.dre``. The index is never written and no file system monitor is asked.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import field
from functools import lru_cache
from typing import IO, TYPE_CHECKING

from dre_core.errors import CaptureError
from dre_core.model.record import dataclass

if TYPE_CHECKING:
    import subprocess

_CHUNK_BYTES = 1 << 20
_FOLDER_FILES = 20_000
_FOLDER_BYTES = 2 << 30
_TIMEOUT_SECONDS = 60
_LISTED = 200
_MISSING = ("000000", "0" * 64)
# The letters of git's %G? (git-log(1)); a good signature by a key of unknown validity is not called good.
_SIGNATURE_STATES = {
    "G": "good", "B": "bad", "U": "unknown-key", "X": "expired", "Y": "expired", "R": "revoked",
    "E": "unchecked", "N": "unchecked",
}  # fmt: skip
_SIGNATURE_KINDS = {"SSH SIGNATURE": "ssh", "SIGNED MESSAGE": "x509"}
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./+-]*")
_FULL_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
# No program that git starts, filters of the checkout's configuration included, may see these.
_KEY_VARIABLES = ("DRE_SIGNING_KEY", "DRE_PASSPHRASE")
_SETTINGS = ("-c", "core.fsmonitor=false", "-c", "core.quotePath=false")

Committed = dict[bytes, tuple[str, str]]
"""Of a commit's tree: path to mode and blob id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A tree digest with what it was made of.

    Attributes:
        digest: ``sha256:`` digest of the records.
        records: Path to ``(mode, sha256 hex)``, for comparing two trees.
        blob_ids: Path to the git blob id of the bytes on disk; only where asked for.
    """

    digest: str
    records: Mapping[bytes, tuple[str, str]]
    blob_ids: Mapping[bytes, str] = field(default_factory=dict)

    def changed_from(self, earlier: Tree) -> tuple[str, ...]:
        """Paths whose record differs from an earlier tree's, sorted."""
        paths = self.records.keys() | earlier.records.keys()
        changed = sorted(p for p in paths if self.records.get(p) != earlier.records.get(p))
        return tuple(os.fsdecode(path) for path in changed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The commit that is checked out.

    Attributes:
        root: Top level of the work tree.
        commit: Id of HEAD; empty before the first commit.
        parents: Its parents.
        branch: Name of the branch; empty if detached.
        remotes: Addresses by remote, without credentials, normalised.
        signed_by: What kind of signature the commit carries: ``openpgp``, ``ssh``, ``x509``; empty for none.
    """

    root: str
    commit: str = ""
    parents: tuple[str, ...] = ()
    branch: str = ""
    remotes: Mapping[str, str] = field(default_factory=dict)
    signed_by: str = ""

    @property
    def origin(self) -> str:
        """Normalised address of ``origin``; empty without one."""
        return self.remotes.get("origin", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """What git says of a commit's signature, by the keys that this user has.

    Attributes:
        kind: ``openpgp``, ``ssh`` or ``x509``.
        state: ``good``, ``bad``, ``expired``, ``revoked``, ``unknown-key`` or ``unchecked``.
        signer: Who signed, as the key says; empty if unknown.
        fingerprint: Of the key; empty if unknown.
    """

    kind: str
    state: str
    signer: str = ""
    fingerprint: str = ""


class Git:
    """A git work tree, read through the git command.

    Args:
        root: Top level of the work tree.
        environ: More variables for what :meth:`run` runs.
    """

    def __init__(self, root: str, environ: Mapping[str, str] | None = None) -> None:
        self.root = root
        self._environ = environ or {}

    @classmethod
    def find(cls, directory: str) -> Git | None:
        """The work tree that a folder lies in, or None without git or a work tree."""
        # A missing .git anywhere above settles it without starting a process.
        if not _has_dot_git(directory):
            return None
        try:
            return cls(os.fsdecode(_git(directory, "rev-parse", "--show-toplevel").rstrip(b"\n")))
        except CaptureError:
            return None

    @staticmethod
    def refusal(directory: str) -> str:
        """Why git does not serve a folder that lies in a repository; empty if there is no repository."""
        if not _has_dot_git(directory):
            return ""
        try:
            _git(directory, "rev-parse", "--show-toplevel")
        except CaptureError as error:
            return error.message
        return ""

    def run(self, *arguments: str, stdin: bytes | None = None) -> bytes:
        """Output of one git command.

        Raises:
            CaptureError: git failed; the message is git's first line.
        """
        return _git(self.root, *arguments, stdin=stdin, extra=self._environ)

    def head(self) -> Head:
        """Facts about HEAD, in two commands; the parents are the commit's own, also in a shallow clone."""
        try:
            text = self.run(
                "log", "-1", "--no-show-signature", "--no-notes", "--pretty=raw", "--decorate=full"
            )
        except CaptureError:
            return Head(root=self.root, remotes=self.remotes())
        lines = text.partition(b"\n\n")[0].decode(errors="replace").split("\n")
        commit, _, refs = lines[0].removeprefix("commit ").partition(" ")
        branch = re.match(r"\(HEAD -> refs/heads/([^,)]+)", refs)
        return Head(
            root=self.root,
            commit=commit,
            parents=tuple(line[7:] for line in lines if line.startswith("parent ")),
            branch=branch[1] if branch else "",
            remotes=self.remotes(),
            signed_by=_signature_kind(lines),
        )

    def signature(self, head: Head) -> Signature | None:
        """What git says of HEAD's signature; None if it is not signed.

        The programs that check it, and whom they trust, come from the user's own configuration: the
        repository's could name any.
        """
        if not head.signed_by:
            return None
        allowed = _user_setting(self.root, "gpg.ssh.allowedSignersFile") or os.devnull
        programs = ("gpg.program=gpg", "gpg.openpgp.program=gpg", "gpg.x509.program=gpgsm")
        own = (*programs, "gpg.ssh.program=ssh-keygen", f"gpg.ssh.allowedSignersFile={allowed}")
        settings = [word for setting in own for word in ("-c", setting)]
        try:
            text = self.run(*settings, "log", "-1", "--no-show-signature", "--format=%G?%x00%GS%x00%GF")
        except CaptureError:
            return Signature(kind=head.signed_by, state="unchecked")
        letter, signer, fingerprint = text.decode(errors="replace").rstrip("\n").split("\0")
        state = _SIGNATURE_STATES.get(letter, "unchecked")
        return Signature(kind=head.signed_by, state=state, signer=signer, fingerprint=fingerprint)

    def remotes(self) -> dict[str, str]:
        """Normalised addresses by remote."""
        try:
            output = self.run("config", "--null", "--get-regexp", r"^remote\..*\.url$")
        except CaptureError:
            return {}
        found: dict[str, str] = {}
        for entry in output.decode(errors="replace").split("\0"):
            key, _, address = entry.partition("\n")
            name = key.removeprefix("remote.").removesuffix(".url")
            if name and name not in found:
                found[name] = normalise_address(address.strip())
        return found

    def difference(self, paths: Iterable[str], limit_bytes: int) -> bytes:
        """How tracked paths differ from HEAD, as a patch; binary files are only named.

        An index of its own is used, so that no flag of the checkout's index hides an edit.

        Args:
            paths: Paths relative to the root.
            limit_bytes: Most bytes to return.

        Raises:
            CaptureError: git failed, or the patch is longer.
        """
        from tempfile import TemporaryDirectory

        with TemporaryDirectory(prefix="dre-index-") as folder:
            index = {"GIT_INDEX_FILE": os.path.join(folder, "index")}
            _git(self.root, "read-tree", "HEAD", extra=index)
            words = ("diff", "--no-ext-diff", "--no-textconv", "--no-color", "HEAD", "--")
            found = _git(self.root, "--literal-pathspecs", *words, *paths, extra=index)
        if len(found) > limit_bytes:
            raise CaptureError(
                f"the difference from HEAD has {len(found)} bytes; at most {limit_bytes} are kept"
            )
        return found

    def root_commit(self) -> str:
        """Id of the first root commit; empty where the history can't tell."""
        try:
            lines = self.run("rev-list", "--max-parents=0", "HEAD").split()
        except CaptureError:
            return ""
        return lines[-1].decode() if lines else ""

    def resolve(self, revision: str) -> str:
        """Commit id of a revision; a branch before a tag of its name, which git would take and anybody may push.

        Raises:
            CaptureError: The object store does not have it.
        """
        if revision.startswith("-"):
            raise CaptureError(f"{revision!r} is no revision")
        if _NAME.fullmatch(revision) and not _FULL_ID.fullmatch(revision):
            names = [f"refs/heads/{revision}", f"refs/remotes/{revision}"]
            found = self.run("for-each-ref", "--format=%(refname)", *names).decode().splitlines()
            revision = next((name for name in names if name in found), revision)
        return self.run("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}").decode().strip()

    def merge_base(self, left: str, right: str) -> str:
        """Best common ancestor of two commits; empty without one."""
        try:
            return self.run("merge-base", left, right).decode().strip()
        except CaptureError:
            return ""

    def is_own_merge(self, commit: str) -> bool:
        """Whether a merge of two commits holds just what git makes of them; True where this git can't say.

        A merge can hold anything, whatever its parents are; ``git merge-tree --write-tree`` came with git 2.38.
        """
        try:
            made = self.run("merge-tree", "--write-tree", f"{commit}^1", f"{commit}^2")
        except CaptureError:
            return not self._merges_trees()
        return made.split(b"\n", 1)[0] == self.run("rev-parse", f"{commit}^{{tree}}").strip()

    def _merges_trees(self) -> bool:
        try:
            return bool(self.run("merge-tree", "--write-tree", "HEAD", "HEAD"))
        except CaptureError:
            return False

    def upstream_base(self) -> str:
        """Merge base of HEAD with its upstream branch; empty without an upstream."""
        try:
            upstream = self.resolve("@{upstream}")
        except CaptureError:
            return ""
        return self.merge_base("HEAD", upstream)

    @contextmanager
    def past(self, commit: str) -> Iterator[Past]:
        """A commit whose files are read one after the other, by one process of git.

        Raises:
            CaptureError: git can't be run.
        """
        import subprocess

        try:
            process = subprocess.Popen(
                [git_program(), *_SETTINGS, "cat-file", "--batch"],
                cwd=self.root,
                env=git_environ(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        except OSError as error:
            raise CaptureError(f"git cat-file could not be run: {error}") from None
        try:
            yield Past(self, commit, process)
        finally:
            process.kill()
            process.communicate()

    def show(self, commit: str, path: str) -> str | None:
        """Text of a file at a commit, or None where it is absent or not UTF-8."""
        try:
            return self.run("show", f"{commit}:{path}").decode()
        except (CaptureError, UnicodeDecodeError):
            return None

    def grep(self, commit: str, text: str) -> list[str]:
        """Paths of a commit whose files hold a text, word for word."""
        if not text or "\n" in text or "\0" in text:
            return []
        try:
            output = self.run("grep", "-l", "-z", "-I", "-F", "-e", text, commit, "--")
        except CaptureError:  # nothing found
            return []
        return [os.fsdecode(path).partition(":")[2] for path in output.split(b"\0") if path]

    def paths(self) -> list[bytes]:
        """Tracked and untracked, unignored paths relative to the root."""
        output = self.run("ls-files", "-z", "--cached", "--others", "--exclude-standard")
        return sorted(set(output.split(b"\0")) - {b""})

    def tree(self) -> Tree:
        """The tree digest of the work tree as it lies on disk, with git's blob ids of the same bytes."""
        return _tree(os.fsencode(self.root), self.paths(), with_blob_ids=True)

    def modified(self, tree: Tree, committed: Committed | None = None) -> tuple[list[str], list[str]]:
        """Tracked paths that differ from HEAD, and untracked ones.

        Content decides, never the index's flags or times: a path whose bytes do not give HEAD's blob id is
        asked again through git's clean filters (line endings, LFS) before it counts as modified.

        Args:
            tree: The work tree as it lies on disk.
            committed: From :meth:`committed`, where that was asked for already.

        Returns:
            Modified (or deleted) tracked paths and untracked paths, each sorted.
        """
        committed = self.committed() if committed is None else committed
        suspects: list[bytes] = []
        modified: set[bytes] = set()
        for path, (mode, blob) in committed.items():
            if tree.records.get(path, _MISSING)[0] != mode:
                modified.add(path)
            elif tree.blob_ids.get(path) != blob:
                suspects.append(path)
        if suspects:
            ids = self._filtered_ids(suspects)
            modified.update(p for p in suspects if ids.get(p) != committed[p][1])
        untracked = [path for path in tree.records if path not in committed]
        return [os.fsdecode(p) for p in sorted(modified)], [os.fsdecode(p) for p in sorted(untracked)]

    def committed(self) -> Committed:
        """HEAD's tree; empty without a commit."""
        try:
            output = self.run("ls-tree", "-r", "-z", "--full-tree", "HEAD")
        except CaptureError:
            return {}
        entries = {}
        for record in output.split(b"\0"):
            head, tab, path = record.partition(b"\t")
            if tab:
                mode, _, blob = head.decode().split(" ")
                entries[path] = (mode, blob)
        return entries

    def _filtered_ids(self, paths: list[bytes]) -> dict[bytes, str]:
        """Blob ids of paths after git's clean filters; paths with a newline stay suspects."""
        safe = [path for path in paths if b"\n" not in path]
        try:
            output = self.run("hash-object", "--stdin-paths", stdin=b"\n".join(safe) + b"\n")
        except CaptureError:
            return {}
        return dict(zip(safe, output.decode().split(), strict=False))


class Past:
    """A commit's files; see :meth:`Git.past`.

    Args:
        git: The work tree.
        commit: The commit.
        process: ``git cat-file --batch``.
    """

    def __init__(self, git: Git, commit: str, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._git = git
        self._commit = commit
        self._asked, self._told = process.stdin, process.stdout
        self._process = process

    def at(self, commit: str) -> Past:
        """Another commit's files, by the same process."""
        return Past(self._git, commit, self._process)

    def show(self, path: str) -> str | None:
        """Text of a file, or None where it is absent or not UTF-8.

        Raises:
            CaptureError: git ended, or took longer than a minute.
        """
        if "\n" in path:
            return self._git.show(self._commit, path)
        from threading import Timer

        limit = Timer(_TIMEOUT_SECONDS, self._process.kill)
        limit.start()
        try:
            kind, data = self._ask(path)
        except OSError as error:
            raise CaptureError(f"git cat-file ended: {error}") from None
        finally:
            limit.cancel()
            limit.join()  # a process that forks has no other threads
        try:
            return data.decode() if kind == b"blob" else None
        except UnicodeDecodeError:
            return None

    def _ask(self, path: str) -> tuple[bytes, bytes]:
        """Kind and bytes of what lies at a path; both empty where nothing does."""
        self._asked.write(f"{self._commit}:".encode() + os.fsencode(path) + b"\n")
        self._asked.flush()
        answer = read_answer(self._told)
        if answer is None:
            return b"", b""
        kind, size = answer
        data = self._told.read(size + 1)
        if len(data) <= size:
            raise CaptureError("git cat-file ended before it answered")
        return kind, data[:size]


def read_answer(told: IO[bytes]) -> tuple[bytes, int] | None:
    """Kind and size of the object whose bytes and a newline come next from ``git cat-file``; None if there is none.

    Raises:
        CaptureError: git ended.
    """
    # "<id> blob <size>", or "<what was asked for> missing".
    words = told.readline().split()
    if words[-1:] == [b"missing"]:
        return None
    if len(words) != 3 or not words[2].isdigit():
        raise CaptureError("git cat-file ended before it answered")
    return words[1], int(words[2])


def normalise_address(address: str) -> str:
    """A remote's address without credentials, scheme and ``.git``: ``github.com/owner/name``.

    Local paths are returned as ``file:<last component>``, so that no path of the machine is recorded.
    """
    match = re.match(r"^[a-z+]+://(?:[^/@]*@)?([^/]+)/(.+?)(?:\.git)?/?$", address, re.I)
    if not match:
        match = re.match(r"^(?:[^/@]+@)([^/:]+):(?!/)(.+?)(?:\.git)?/?$", address)
    if match and not address.startswith("file:"):
        return f"{match[1].lower()}/{match[2].strip('/')}"
    name = address.rstrip("/").removesuffix(".git").rsplit("/", 1)[-1]
    return f"file:{name}" if name else ""


def folder_tree(directory: str) -> Tree:
    """The tree digest of a folder without git, less ``.dre`` and byte-code caches.

    Raises:
        CaptureError: More than 20,000 files or 2 GiB: somebody's whole home rather than a project.
    """
    root = os.fsencode(directory)
    paths: list[bytes] = []
    size = 0
    for path in _walk(root):
        paths.append(path)
        with suppress(OSError):
            size += os.lstat(os.path.join(root, path)).st_size
        if len(paths) > _FOLDER_FILES or size > _FOLDER_BYTES:
            raise CaptureError(
                f"no git work tree, and more than {_FOLDER_FILES:,} files or {_FOLDER_BYTES >> 30} GiB to digest"
            )
    return _tree(root, paths, with_blob_ids=False)


def _walk(root: bytes) -> Iterable[bytes]:
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in (b".dre", b"__pycache__", b".git")]
        for name in [*files, *(d for d in folders if os.path.islink(os.path.join(folder, d)))]:
            yield os.path.relpath(os.path.join(folder, name), root)


def _tree(root: bytes, paths: list[bytes], *, with_blob_ids: bool) -> Tree:
    digest = hashlib.sha256()
    records: dict[bytes, tuple[str, str]] = {}
    blob_ids: dict[bytes, str] = {}
    for path in sorted(paths):
        mode, content, blob_id = _record(os.path.join(root, path), with_blob_ids)
        records[path] = (mode, content)
        if blob_id:
            blob_ids[path] = blob_id
        digest.update(mode.encode() + b" " + content.encode() + b"\0" + path + b"\0")
    return Tree(digest=f"sha256:{digest.hexdigest()}", records=records, blob_ids=blob_ids)


def _record(path: bytes, with_blob_id: bool) -> tuple[str, str, str]:
    """Mode, SHA-256 and (if asked for) git blob id of what lies at a path."""
    try:
        status = os.lstat(path)
        if stat.S_ISLNK(status.st_mode):
            target = os.readlink(path)
            return "120000", hashlib.sha256(target).hexdigest(), _blob_id(target) if with_blob_id else ""
        if stat.S_ISDIR(status.st_mode):
            head = _submodule_head(path)
            return "160000", head, head
        if not stat.S_ISREG(status.st_mode):
            return *_MISSING, ""
        mode = "100755" if status.st_mode & 0o100 else "100644"
        return mode, *_file_digests(path, status.st_size, with_blob_id)
    except OSError:
        return *_MISSING, ""


def _file_digests(path: bytes, size: int, with_blob_id: bool) -> tuple[str, str]:
    content = hashlib.sha256()
    blob = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False) if with_blob_id else None
    with open(path, "rb", buffering=0) as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            content.update(chunk)
            if blob:
                blob.update(chunk)
    return content.hexdigest(), blob.hexdigest() if blob else ""


def _blob_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _submodule_head(path: bytes) -> str:
    try:
        return _git(os.fsdecode(path), "rev-parse", "HEAD").decode().strip()
    except CaptureError:
        return _MISSING[1]


def _has_dot_git(directory: str) -> bool:
    folder = os.path.abspath(directory)
    while True:
        if os.path.exists(os.path.join(folder, ".git")):
            return True
        parent = os.path.dirname(folder)
        if parent == folder:
            return False
        folder = parent


def _signature_kind(lines: list[str]) -> str:
    """The kind of signature in a raw commit's header; empty without one."""
    for line in lines:
        if line.startswith(("gpgsig ", "gpgsig-sha256 ")):
            form = line.partition("-----BEGIN ")[2].removesuffix("-----")
            return _SIGNATURE_KINDS.get(form, "openpgp")
    return ""


def _user_setting(root: str, name: str) -> str:
    """A setting of the user's own or the system's configuration, never the repository's; empty if unset."""
    for scope in ("--global", "--system"):
        try:
            return _git(root, "config", scope, "--type=path", "--get", name).decode(errors="replace").strip()
        except CaptureError:
            continue
    return ""


def git_environ() -> dict[str, str]:
    """The environment that git runs in: inherited GIT_* variables would point at another repository or index."""
    hidden = ("GIT_", *_KEY_VARIABLES)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    return {
        **kept,
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        # What a commit's name says holds, whatever somebody would have taken for it.
        "GIT_NO_REPLACE_OBJECTS": "1",
        "LC_ALL": "C",
    }


@lru_cache(maxsize=1)
def git_program() -> str:
    """Where git lies, looked for once: each process would try every folder of a long search path again."""
    for folder in os.get_exec_path():
        path = os.path.join(folder, "git")
        if os.path.isabs(path) and os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return "git"


def _git(
    directory: str, *arguments: str, stdin: bytes | None = None, extra: Mapping[str, str] | None = None
) -> bytes:
    import subprocess  # only where there is a repository at all

    try:
        done = subprocess.run(
            [git_program(), *_SETTINGS, *arguments],
            cwd=directory,
            env={**git_environ(), **(extra or {})},
            input=stdin,
            stdin=None if stdin is not None else subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired, ValueError) as error:
        raise CaptureError(f"git {arguments[0]} could not be run: {error}") from None
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise CaptureError(lines[0] if lines else f"git {arguments[0]} returned {done.returncode}")
    return done.stdout

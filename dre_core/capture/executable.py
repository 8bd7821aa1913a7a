"""What a command is before it runs: found where, allowed to run or not, which bytes.

Not a judgement of whether the command is safe: nothing is vetted. Its answers are those of a shell:
127 where nothing is found (a script's missing interpreter too), 126 where something is found that can't be
executed (a directory, no permission, a broken format). Text without ``#!`` is a script for ``/bin/sh``.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping

from dre_core.capture import kernel
from dre_core.errors import StartError
from dre_core.model.record import dataclass

NOT_FOUND_STATUS = 127
NOT_EXECUTABLE_STATUS = 126
BEFORE_START_STATUS = 125

DIGEST_LIMIT_BYTES = 512 << 20
"""A larger executable is recorded without a digest."""
READ_BYTES = 1 << 20
HEAD_BYTES = 256
"""Linux reads this much of a file to find its format (``BINPRM_BUF_SIZE``)."""
INTERPRETER_DEPTH = 4
SHELL = "/bin/sh"


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What to run.

    Attributes:
        argv: The words, at least one; with ``shell`` exactly one, a string for ``sh -c``.
        cwd: Directory to run it in.
        shell: Whether ``argv`` holds a shell's command line.
    """

    argv: tuple[str, ...]
    cwd: str
    shell: bool = False

    @property
    def words(self) -> tuple[str, ...]:
        """The argument vector that is executed."""
        return (SHELL, "-c", *self.argv) if self.shell else self.argv


@dataclass(frozen=True, slots=True, kw_only=True)
class Executable:
    """The file that a command's first word stands for.

    Attributes:
        path: Absolute path as found, links not resolved.
        exists: Whether there is a file.
        executable: Whether this process may execute it.
        mode: Permission bits, such as ``0o755``.
        sha256: Hex digest of its bytes; empty if unreadable, too large or not asked for.
        interpreter: A script's interpreter; empty for a binary.
    """

    path: str
    exists: bool
    executable: bool
    mode: int
    sha256: str
    interpreter: str


def inspect(command: Command, environ: Mapping[str, str], *, digest: bool = True) -> Executable:
    """Find a command's executable as a shell would and describe it.

    Args:
        command: What is to run.
        environ: The child's environment; its ``PATH`` is searched.
        digest: Whether to hash the file.

    Raises:
        StartError: It can't run; ``status`` is what a shell would answer (126 or 127), or 125 for a
            missing working directory or an empty command.
    """
    if not command.argv or (command.shell and len(command.argv) != 1):
        raise StartError("no command given", status=BEFORE_START_STATUS, hint="write: dre wrap -- COMMAND")
    if any("\0" in word for word in command.argv):
        raise StartError("an argument holds a NUL character", status=BEFORE_START_STATUS)
    if not os.path.isdir(command.cwd):
        raise StartError("working directory does not exist", status=BEFORE_START_STATUS, path=command.cwd)
    name = command.words[0]
    path = _find(name, command.cwd, environ.get("PATH", os.defpath))
    mode = _require_executable(path, name)
    interpreter = _interpreter(path, name)
    return Executable(
        path=path,
        exists=True,
        executable=True,
        mode=mode,
        sha256=file_digest(path) if digest else "",
        interpreter=interpreter,
    )


def _find(name: str, cwd: str, search_path: str) -> str:
    if "/" in name:
        return os.path.join(cwd, name)
    if not name:
        raise StartError("command not found", status=NOT_FOUND_STATUS, path="''")
    found_unfit = ""
    for folder in search_path.split(os.pathsep):
        candidate = os.path.join(cwd, folder, name)
        if os.path.isfile(candidate):
            if os.access(candidate, os.X_OK):
                return candidate
            found_unfit = found_unfit or candidate
    if found_unfit:
        return found_unfit
    raise StartError(
        "command not found", status=NOT_FOUND_STATUS, path=name, hint="install it, or give its path"
    )


def _require_executable(path: str, name: str) -> int:
    try:
        info = os.stat(path)
    except OSError as error:
        raise start_error(error, name) from error
    if stat.S_ISDIR(info.st_mode):
        raise StartError("is a directory", status=NOT_EXECUTABLE_STATUS, path=name)
    if not os.access(path, os.X_OK):
        raise StartError("permission denied", status=NOT_EXECUTABLE_STATUS, path=name, hint="chmod +x it")
    return stat.S_IMODE(info.st_mode)


def start_error(error: OSError, name: str) -> StartError:
    """What a shell would answer to an error of exec(2)."""
    status = NOT_FOUND_STATUS if error.errno == errno.ENOENT else NOT_EXECUTABLE_STATUS
    text = (error.strerror or str(error)).lower()
    return StartError(text, status=status, path=name)


def _interpreter(path: str, name: str, depth: int = INTERPRETER_DEPTH) -> str:
    """A script's interpreter, checked; empty for a binary or a file that can't be read."""
    head = read_head(path)
    if head is None or not head.startswith(b"#!"):
        return SHELL if head is not None and is_shell_text(head) else ""
    words = head[2:].split(b"\n", 1)[0].split()
    interpreter = os.fsdecode(words[0]) if words else SHELL
    where = os.path.join(os.path.dirname(path), interpreter)
    try:
        info = os.stat(where)
    except OSError as error:
        raise StartError(
            f"bad interpreter {interpreter}: {(error.strerror or '').lower()}",
            status=NOT_FOUND_STATUS if error.errno == errno.ENOENT else NOT_EXECUTABLE_STATUS,
            path=name,
        ) from error
    if stat.S_ISDIR(info.st_mode) or not os.access(where, os.X_OK):
        raise StartError(
            f"bad interpreter {interpreter}: permission denied", status=NOT_EXECUTABLE_STATUS, path=name
        )
    if depth > 1:
        _interpreter(where, name, depth - 1)
    return interpreter


def read_head(path: str) -> bytes | None:
    """The first bytes of a file; None if it can't be read (an executable need not be readable)."""
    try:
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except OSError:
        return None
    try:
        return os.read(fd, HEAD_BYTES)
    except OSError:
        return None
    finally:
        kernel.let_go(fd)


def is_shell_text(head: bytes) -> bool:
    """Whether a file that exec refuses is text for ``sh``: no NUL in its first line, as bash decides."""
    return not head.startswith((b"\x7fELF", b"#!")) and b"\0" not in head.split(b"\n", 1)[0]


def file_digest(path: str, *, limit_bytes: int = DIGEST_LIMIT_BYTES) -> str:
    """SHA-256 of a file in hex, read in pieces; empty if unreadable, not regular or over the limit."""
    import hashlib

    digest = hashlib.sha256()
    total = 0
    try:
        # an executable may be a FIFO to a hostile mind: never wait for a writer
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError:
        return ""
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return ""
        while chunk := os.read(fd, READ_BYTES):
            total += len(chunk)
            if total > limit_bytes:
                return ""
            digest.update(chunk)
    except OSError:
        return ""
    finally:
        kernel.let_go(fd)
    return digest.hexdigest()

"""Questions by which code can know where it runs without naming a test runner, by syntax tree.

Where its own file lies (in a temporary folder, or since when), what stands in the files of the tests, of what the code
of its caller consists, and whether a day has come that its author wrote down. One expression is looked at here, with
the names of the file that hold such things; what hangs on the answer is the matter of ``sniffing.py``.
"""

from __future__ import annotations

import ast
import base64
import binascii
import codecs
import re
from collections.abc import Callable, Collection, Mapping

_OWN_FILE = re.compile(r"\b__file__\b|\b__spec__\.origin\b")
_TEMPORARY = re.compile(r"\bgettempdirb?\(|\btempfile\.tempdir\b")
_TEMPORARY_NAME = re.compile(r"(?:^|[/\\])(?:tmp|temp|var/folders)(?:[/\\]|$)", re.I)
_ASKS_A_PATH = frozenset(
    (
        "startswith",
        "endswith",
        "is_relative_to",
        "commonpath",
        "commonprefix",
        "match",
        "search",
        "fullmatch",
        "find",
    )
)
_STAT = re.compile(r"\b(?:getmtime|getctime|getatime)\(|\bst_(?:[amc]time|birthtime|ino|dev|nlink)")
_STARTER = re.compile(
    r"/proc/.{0,40}getppid\(\).{0,40}(?:cmdline|comm|exe|status)|\.parent\(\)\.(?:cmdline|name|exe)\(|/proc/self/fd/"
)
_HIDES = frozenset(
    (
        "b64decode",
        "b32decode",
        "b85decode",
        "a85decode",
        "b16decode",
        "fromhex",
        "unhexlify",
        "decompress",
        "a2b_base64",
    )
)
_CODE_OF_CALLER = re.compile(r"\bf_code\.co_(?:consts|names|code|varnames)\b")
_SOURCE_OF = ("getsource", "getsourcelines", "getline", "getlines", "get_instructions")
_TEST_FILE = re.compile(r"(?:^|[/\\])(?:test_[\w*?]*|[\w*?]+_tests?\.py|conftest\.py|test\*)(?:\.\w+)?$")
_TEST_FOLDER = re.compile(r"^(?:\.\.?/)*tests?/?$")
READS = frozenset(("open", "read_text", "read_bytes", "getline", "getlines"))
LOOKS = READS | {
    "exists",
    "isfile",
    "isdir",
    "is_file",
    "is_dir",
    "glob",
    "iglob",
    "rglob",
    "listdir",
    "scandir",
}
OF_PLACES = frozenset(("__file__", "__spec__"))
OF_CODE = frozenset(("_getframe", "currentframe", "stack", "f_back", "_current_frames", "extract_stack"))
_CLOCKS = frozenset(("today", "now", "utcnow", "time", "time_ns", "localtime", "gmtime", "ctime", "strftime"))
_DAYS = frozenset(
    ("date", "datetime", "fromisoformat", "strptime", "fromtimestamp", "Timestamp", "mktime", "timestamp")
)
_FIRST_YEAR = 2000
_LAST_YEAR = 2200
_FIRST_SECOND = 1_500_000_000
_TEXT_LIMIT = 1_000


def lies_in_temporary(node: ast.AST, owned: Callable[[ast.AST], bool], texts: Collection[str]) -> bool:
    """Whether a comparison or call holds the place of the file itself against a temporary one.

    Args:
        node: The expression.
        owned: Whether an expression speaks of the place, by itself or by a name.
        texts: Every text in the expression.
    """
    if isinstance(node, ast.Call) and _name(node.func) not in _ASKS_A_PATH:
        return False
    if not _TEMPORARY.search(ast.unparse(node)) and not any(map(_TEMPORARY_NAME.search, texts)):
        return False
    return owned(node)


def asks_its_age(node: ast.AST, owned: Callable[[ast.AST], bool]) -> bool:
    """Whether a comparison asks since when the file itself is there, or which it is."""
    return owned(node) and _STAT.search(ast.unparse(node)) is not None


def speaks_of_own_file(node: ast.AST) -> bool:
    """Whether an expression speaks of where the file lies."""
    return _OWN_FILE.search(ast.unparse(node)) is not None


def reads_tests(node: ast.AST, texts: Callable[[ast.AST], Collection[str]], by: Collection[str]) -> bool:
    """Whether an expression reads a file that is named as test modules are.

    Args:
        node: The expression.
        texts: Gives every text in an expression.
        by: Names of the calls that read.
    """
    return any(
        isinstance(each, ast.Call) and _name(each.func) in by and any(map(_TEST_FILE.search, texts(each)))
        for each in ast.walk(node)
    )


def looks_for_tests(node: ast.Call, texts: Callable[[ast.AST], Collection[str]], *, owned: bool) -> bool:
    """Whether a call asks for a file that is named as test modules are, or for a folder of tests beside its own.

    Args:
        node: The call.
        texts: Gives every text in an expression.
        owned: Whether it speaks of where the file lies.
    """
    found = [text for each in ast.walk(node) if _is_look(each) for text in texts(each)]
    return any(map(_TEST_FILE.search, found)) or (owned and any(map(_TEST_FOLDER.search, found)))


def _is_look(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and _name(node.func) in LOOKS


def runs_what_is_hidden(node: ast.AST) -> bool:
    """Whether a call runs code that no one can read, since it is encoded or compressed."""
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("exec", "eval", "compile")
        and any(
            isinstance(each, ast.Call) and _name(each.func) in _HIDES
            for part in node.args
            for each in ast.walk(part)
        )
    )


def asks_who_started_it(node: ast.AST) -> bool:
    """Whether an expression asks for the command line of the parent process, or what its own streams are."""
    return _STARTER.search(ast.unparse(node)) is not None


def asks_the_callers_code(node: ast.AST) -> bool:
    """Whether an expression reads what the code of a frame consists of."""
    return _CODE_OF_CALLER.search(ast.unparse(node)) is not None


def asks_the_callers_source(node: ast.AST) -> bool:
    """Whether an expression reads the text of code."""
    return any(isinstance(each, ast.Call) and _name(each.func) in _SOURCE_OF for each in ast.walk(node))


def asks_the_day(node: ast.AST, clocked: Callable[[ast.AST], bool], dated: Callable[[ast.AST], bool]) -> bool:
    """Whether a comparison holds the clock against a day that stands in the code.

    Args:
        node: The expression.
        clocked: Whether a name holds what the clock says.
        dated: Whether a name holds a day.
    """
    if not isinstance(node, ast.Compare) or len(node.ops) != 1:
        return False
    if not isinstance(node.ops[0], ast.Lt | ast.LtE | ast.Gt | ast.GtE):
        return False
    sides = (node.left, node.comparators[0])
    return any(
        (says_the_time(one) or clocked(one)) and (is_a_day(other) or dated(other))
        for one, other in (sides, sides[::-1])
    )


def says_the_time(node: ast.AST) -> bool:
    """Whether an expression is what the clock says, or a part of it."""
    return any(
        isinstance(each, ast.Call)
        and _name(each.func) in _CLOCKS
        and not any(isinstance(part, ast.Constant) and isinstance(part.value, int) for part in each.args)
        for each in ast.walk(node)
    ) and not is_a_day(node)


def is_a_day(node: ast.AST) -> bool:
    """Whether an expression of constants is a day, or a time of this century."""
    if isinstance(node, ast.Constant):
        value = node.value
        if isinstance(value, int) and not isinstance(value, bool):
            return _FIRST_YEAR <= value <= _LAST_YEAR or _FIRST_SECOND <= value <= 3 * _FIRST_SECOND
        return isinstance(value, str) and re.match(r"20\d\d-?[01]\d-?[0-3]\d", value) is not None
    if isinstance(node, ast.Call) and _name(node.func) in _DAYS:
        given = [each for part in node.args for each in ast.walk(part) if isinstance(each, ast.Constant)]
        names = [each for part in node.args for each in ast.walk(part) if isinstance(each, ast.Name)]
        return bool(given) and not names and is_a_day(given[0])
    if isinstance(node, ast.Tuple) and node.elts:
        return is_a_day(node.elts[0])
    return False


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def folded(node: ast.AST, texts: Mapping[str, str]) -> str | None:
    """The text that an expression of constants gives, however it is put together; None where it gives something else.

    Args:
        node: The expression.
        texts: What names of the file hold.
    """
    found = _value(node, texts)
    if isinstance(found, bytes):
        found = found.decode("latin-1")
    return found if isinstance(found, str) and len(found) <= _TEXT_LIMIT else None


def _value(node: ast.AST, texts: Mapping[str, str]) -> object:
    """What an expression of constants gives, of the few kinds that texts are put together by."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        return texts.get(node.id)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _value(node.left, texts), _value(node.right, texts)
        if isinstance(left, str) and isinstance(right, str):
            return left + right
        return None
    if isinstance(node, ast.JoinedStr):
        parts = [
            _value(each.value if isinstance(each, ast.FormattedValue) else each, texts)
            for each in node.values
        ]
        return "".join(part for part in parts if isinstance(part, str)) if _all_text(parts) else None
    if isinstance(node, ast.List | ast.Tuple):
        return tuple(_value(each, texts) for each in node.elts)
    if isinstance(node, ast.Subscript) and _is_reversing(node.slice):
        value = _value(node.value, texts)
        return value[::-1] if isinstance(value, str | bytes) else None
    return _called(node, texts) if isinstance(node, ast.Call) else None


def _all_text(parts: Collection[object]) -> bool:
    return bool(parts) and all(isinstance(part, str) for part in parts)


def _is_reversing(node: ast.AST) -> bool:
    return isinstance(node, ast.Slice) and ast.unparse(node) == "::-1"


def _called(node: ast.Call, texts: Mapping[str, str]) -> object:
    name = _name(node.func)
    if name == "map" and len(node.args) == 2 and ast.unparse(node.args[0]) == "chr":
        return _characters(_value(node.args[1], texts))
    given = [_value(each, texts) for each in node.args]
    if node.keywords or (given and None in given):
        return None
    if name == "chr":
        return "".join(_characters(tuple(given)) or ()) or None
    if name in ("bytes", "bytearray") and len(given) == 1 and isinstance(given[0], tuple):
        return "".join(_characters(given[0]) or ()).encode("latin-1", "replace") or None
    if name in _DECODERS and len(given) in (1, 2) and isinstance(given[0], str | bytes):
        try:
            return _DECODERS[name](given[0])
        except (ValueError, binascii.Error, UnicodeError):
            return None
    if not isinstance(node.func, ast.Attribute):
        return None
    return _of_method(_value(node.func.value, texts), name, given)


def _of_method(value: object, name: str, given: list[object]) -> object:
    if isinstance(value, bytes) and name == "decode":
        return value.decode("latin-1")
    if not isinstance(value, str):
        return None
    if name == "join" and len(given) == 1 and isinstance(given[0], tuple) and _all_text(given[0]):
        parts = [str(part) for part in given[0]]
        size = sum(map(len, parts)) + len(value) * len(parts)
        return value.join(parts) if size <= _TEXT_LIMIT else None
    if name in ("lower", "upper", "strip", "title", "swapcase") and not given:
        return getattr(value, name)()
    if name == "replace" and len(given) == 2 and _all_text(given):
        old, new = map(str, given)
        size = len(value) + value.count(old) * len(new)
        return value.replace(old, new) if size <= _TEXT_LIMIT else None
    return None


def _characters(value: object) -> tuple[str, ...] | None:
    if not isinstance(value, tuple) or not all(isinstance(n, int) and 0 <= n < 0x110000 for n in value):
        return None
    return tuple(chr(number) for number in value)


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("ascii")


_DECODERS: dict[str, Callable[[str | bytes], object]] = {
    "b64decode": lambda value: base64.b64decode(_bytes(value)),
    "b32decode": lambda value: base64.b32decode(_bytes(value)),
    "fromhex": lambda value: bytes.fromhex(str(value)),
    "unhexlify": lambda value: binascii.unhexlify(value),
    "decode": lambda value: codecs.decode(value, "rot13") if isinstance(value, str) else None,
}

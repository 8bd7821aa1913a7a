"""Names that a change took away from the source, and under which other name each of them lives on.

A test of the base that uses a name of old can't even be imported on the new source, and with it every other test of
its file. A function, class or module that is there under another name, nearly word for word, is given the old one as
well before the old tests run; a name that is gone for good is stood in for by something that fails only when used.
Read from syntax trees; a guess that is wrong makes a test fail that could not have run at all.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher

from dre_core.capture.git import Git
from dre_core.capture.material import changed_paths, is_test_file
from dre_core.model.record import dataclass

_ALIKE = 0.72
_LIMIT = 400
_WORDS_LIMIT = 4_000

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True, slots=True)
class Alias:
    """An old name and what answers to it on the new source.

    Attributes:
        module: Dotted name of the module that had it.
        name: ``function``, ``Class`` or ``Class.method``; empty for the module itself.
        new_module: Where it lives on; empty if nowhere.
        new_name: Its name there.
    """

    module: str
    name: str
    new_module: str = ""
    new_name: str = ""

    def reversed(self) -> Alias:
        """The new name, answered by what had the old one."""
        return Alias(self.new_module, self.new_name, self.module, self.name)


def removed_names(git: Git, base: str, head: str) -> frozenset[str]:
    """Names that the source of the base defined and the source of the head does not."""
    before: set[str] = set()
    after: set[str] = set()
    for path in changed_paths(git, base, head):
        if path.endswith(".py") and not is_test_file(path):
            before |= _defined(git.show(base, path), path)
            after |= _defined(git.show(head, path), path)
    return frozenset(before - after)


def aliases(git: Git, base: str, head: str, roots: Sequence[str]) -> tuple[Alias, ...]:
    """What each function, class or module that the change took away is called now.

    Args:
        git: The repository.
        base: The old commit.
        head: The new commit.
        roots: Folders that modules are imported from, relative to the top.

    Returns:
        The names, those without a successor as well.
    """
    before: dict[tuple[str, str], Definition] = {}
    after: dict[tuple[str, str], Definition] = {}
    gone, come = [], []
    for path in changed_paths(git, base, head):
        if not path.endswith(".py") or is_test_file(path) or not (module := _module(path, roots)):
            continue
        old, new = git.show(base, path), git.show(head, path)
        before |= {(module, name): node for name, node in _definitions(old)}
        after |= {(module, name): node for name, node in _definitions(new)}
        if new is None:
            gone.append(module)
        if old is None:
            come.append(module)
    lost = {key: node for key, node in before.items() if key not in after}
    fresh = {key: node for key, node in after.items() if key not in before}
    moved = dict(_matched(lost, fresh)) if len(lost) * len(fresh) < _LIMIT * _LIMIT else {}
    found = [Alias(*key, *moved.get(key, ("", ""))) for key in lost]
    return (*_moved_modules(gone, come, moved), *found)


def _module(path: str, roots: Sequence[str]) -> str:
    """A file's dotted name, by the longest root that it lies under."""
    inside = max((r for r in roots if not r or path.startswith(f"{r}/")), key=len, default=None)
    if inside is None:
        return ""
    name = path[len(inside) + 1 :] if inside else path
    return name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _definitions(text: str | None) -> Iterable[tuple[str, Definition]]:
    """Functions, classes and methods of a file by their qualified names."""
    for node in _tree(text).body:
        if isinstance(node, Definition):
            yield node.name, node
        if isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield f"{node.name}.{inner.name}", inner


def _tree(text: str | None) -> ast.Module:
    try:
        return ast.parse(text or "")
    except (SyntaxError, ValueError, RecursionError):
        return ast.Module(body=[], type_ignores=[])


def _matched(
    lost: dict[tuple[str, str], Definition], fresh: dict[tuple[str, str], Definition]
) -> Iterable[tuple[tuple[str, str], tuple[str, str]]]:
    """Pairs of a lost and a new definition that say nearly the same, the likest first."""
    scores = []
    for key, node in lost.items():
        for other, candidate in fresh.items():
            same_kind = isinstance(node, ast.ClassDef) == isinstance(candidate, ast.ClassDef)
            if same_kind and key[1].count(".") == other[1].count("."):
                scores.append((_likeness(node, candidate), key[0] == other[0], key, other))
    taken: set[tuple[str, str]] = set()
    for score, _, key, other in sorted(scores, key=lambda each: each[:2], reverse=True):
        if score >= _ALIKE and key not in taken and other not in taken:
            taken |= {key, other}
            yield key, other


def _likeness(one: Definition, other: Definition) -> float:
    """How much two definitions say the same, their own names aside; 0 to 1."""
    matcher = SequenceMatcher(None, _words(one), _words(other), autojunk=False)
    return (
        matcher.ratio() if matcher.real_quick_ratio() >= _ALIKE and matcher.quick_ratio() >= _ALIKE else 0.0
    )


def _words(node: Definition) -> list[str]:
    text = ast.unparse(node).replace(node.name, "\u2022")
    return text.split()[:_WORDS_LIMIT]


def _moved_modules(
    gone: Sequence[str], come: Sequence[str], moved: dict[tuple[str, str], tuple[str, str]]
) -> list[Alias]:
    """Modules most of whose definitions went to one new module."""
    found = []
    for module in gone:
        targets = [new for (old, _), (new, _) in moved.items() if old == module and new in come]
        if targets:
            best = max(set(targets), key=targets.count)
            found.append(Alias(module, "", best, ""))
    return found


def _defined(text: str | None, path: str) -> set[str]:
    if text is None:
        return set()
    names = {path.rpartition("/")[2].removesuffix(".py")}
    for node in ast.walk(_tree(text)):
        if isinstance(node, Definition):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).partition(".")[0])
    return names

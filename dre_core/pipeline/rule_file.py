"""Rules for secrets from a file in the format of gitleaks, beside those that are built in.

A file can only add: its allowlists are not read, since nothing that lies in a checkout may switch masking off, and
rules about paths have nothing to look at here. A rule's form is tried on each single line that holds one of the
rule's keywords. Forms are of RE2's syntax; what Python writes differently is rewritten.

Source: https://github.com/gitleaks/gitleaks#configuration; https://github.com/google/re2/wiki/Syntax.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dre_core.errors import ConfigError
from dre_core.model.record import dataclass
from dre_core.pipeline.mask_rules import entropy_bits

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE_LIMIT_BYTES = 4 << 20
RULES_LIMIT = 2_000
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_POSIX = {
    "alnum": "A-Za-z0-9",
    "alpha": "A-Za-z",
    "ascii": r"\x00-\x7f",
    "blank": r"\t ",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\t\n\v\f\r ",
    "upper": "A-Z",
    "word": "A-Za-z0-9_",
    "xdigit": "A-Fa-f0-9",
}
_POSIX_CLASS = re.compile(r"\[:([a-z]+):\]")
_FLAGS = re.compile(r"\(\?([a-zA-Z-]+)\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class LineRule:
    """How one kind of secret is found in the lines that hold a keyword; has the face of ``mask_rules.Rule``.

    Attributes:
        id: Stands in the replacement and in the counts.
        literals: The keywords, in lower case.
        form: Searched for in the line.
        group: The part that is secret; 0: the first group that took part, or all of it.
        least_bits: Least Shannon entropy of the secret part, in bits a character.
        lower: The text's case does not matter to the keywords.
    """

    id: str
    literals: tuple[bytes, ...]
    form: re.Pattern[bytes]
    group: int = 0
    least_bits: float = 0.0
    lower: bool = True

    def spans(
        self, view: bytes, lower: bytes, among: frozenset[bytes] | None = None
    ) -> Iterator[tuple[int, int]]:
        """Where the secrets lie in a text; the arguments are those of ``mask_rules.Rule.spans``."""
        for literal in self.literals if among is None else among.intersection(self.literals):
            place = lower.find(literal)
            while place >= 0:
                start, end = view.rfind(b"\n", 0, place) + 1, view.find(b"\n", place)
                end = len(view) if end < 0 else end
                for found in self.form.finditer(view[start:end]):
                    group = self.group or next((n for n, part in enumerate(found.groups(), 1) if part), 0)
                    if found[group] and entropy_bits(found[group]) >= self.least_bits:
                        yield start + found.start(group), start + found.end(group)
                place = lower.find(literal, end)


def read_rules(path: Path) -> tuple[LineRule, ...]:
    """The rules of a file.

    Args:
        path: A TOML document with an array ``rules``.

    Raises:
        ConfigError: It can't be read, or a rule in it can't be used; says which and why.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(FILE_LIMIT_BYTES + 1)
        if len(data) > FILE_LIMIT_BYTES:
            raise ConfigError(f"mask.rules: {path} is larger than {FILE_LIMIT_BYTES >> 20} MiB")
        document = tomllib.loads(data.decode())
    except OSError as error:
        raise ConfigError(f"mask.rules: can't read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"mask.rules: {path} is not TOML: {error}") from error
    rules = document.get("rules")
    if not isinstance(rules, list) or not rules or len(rules) > RULES_LIMIT:
        raise ConfigError(
            f"mask.rules: {path} has no array of 1 to {RULES_LIMIT} rules", hint="write [[rules]] for each"
        )
    found = (_rule(each, f"mask.rules: {path}: rule {place}") for place, each in enumerate(rules, 1))
    return tuple(rule for rule in found if rule is not None)


def _rule(value: object, at: str) -> LineRule | None:
    """A rule; None where it is about paths only."""
    if (
        not isinstance(value, Mapping)
        or not isinstance(name := value.get("id"), str)
        or not _ID.fullmatch(name)
    ):
        raise ConfigError(f"{at} has no id", hint="an id has letters, digits, dots, hyphens; at most 64")
    at = f"{at} ({name})"
    if "regex" not in value and "path" in value:
        return None
    form, keywords = value.get("regex"), value.get("keywords")
    group, bits = value.get("secretGroup", 0), value.get("entropy", 0)
    if not isinstance(form, str):
        raise ConfigError(f"{at} has no regex")
    if not isinstance(keywords, list) or not keywords or not all(_is_keyword(word) for word in keywords):
        raise ConfigError(
            f"{at} has no keywords", hint="name texts one of which stands in every match's line"
        )
    if type(group) is not int or isinstance(bits, bool) or not isinstance(bits, (int, float)):
        raise ConfigError(f"{at}: secretGroup and entropy are numbers")
    try:
        # In RE2 two dashes in a class mean what they still mean in Python, which warns that they may not for ever.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            compiled = re.compile(python_form(form).encode())
    except (re.error, OverflowError, RecursionError) as error:
        raise ConfigError(f"{at}: can't use its regex: {error}") from error
    if not 0 <= group <= compiled.groups:
        raise ConfigError(f"{at}: secretGroup {group} of {compiled.groups} groups")
    literals = tuple(dict.fromkeys(word.lower().encode() for word in keywords))
    return LineRule(id=name, literals=literals, form=compiled, group=group, least_bits=float(bits))


def _is_keyword(word: Any) -> bool:
    return isinstance(word, str) and bool(word) and "\n" not in word


def python_form(form: str) -> str:
    r"""A regular expression of RE2's syntax as Python's.

    Flags in the middle hold to the end of their group, ``\z`` is the end of the text, classes have POSIX names.
    """
    out: list[str] = []
    opened: list[list[str]] = [[]]  # for each group that is open, the flags that were set in it
    place = 0
    while place < len(form):
        char = form[place]
        if char == "\\":
            pair = form[place : place + 2]
            out.append(r"\Z" if pair == r"\z" else pair)
            place += 2
        elif char == "[":
            text, place = _class(form, place)
            out.append(text)
        elif flags := _FLAGS.match(form, place):
            out.append(f"(?{flags[1]}:")
            opened[-1].append(flags[1])
            place = flags.end()
        else:
            if char == "(":
                opened.append([])
            elif char == ")" and len(opened) > 1:
                out.append(")" * len(opened.pop()))
            elif char == "|":
                out.append(")" * len(opened[-1]))
                char += "".join(f"(?{each}:" for each in opened[-1])
            out.append(char)
            place += 1
    return "".join(out) + ")" * len(opened[0])


def _class(form: str, start: int) -> tuple[str, int]:
    """The class of characters that begins at a bracket, and the place behind it."""
    place = start + 1
    out = ["["]
    if form.startswith("^", place):
        out.append("^")
        place += 1
    first = place
    while place < len(form) and (form[place] != "]" or place == first):
        if posix := _POSIX_CLASS.match(form, place):
            if posix[1] not in _POSIX:
                raise re.error(f"unknown class [:{posix[1]}:]")
            out.append(_POSIX[posix[1]])
            place = posix.end()
        else:
            size = 2 if form[place] == "\\" else 1
            # Python warns of a bracket within a class.
            out.append(f"\\{form[place]}" if form[place] == "[" else form[place : place + size])
            place += size
    return "".join(out) + "]", place + 1

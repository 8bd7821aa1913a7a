"""in-toto Statement v1: "about these digests, this predicate", the payload of every envelope.

``{"_type": "https://in-toto.io/Statement/v1", "subject": […], "predicateType": URI, "predicate": {…}}``,
canonical JSON, no other top-level member. Every subject has a name and at least one digest, the predicate is
never empty. Not a predicate's schema (``model/predicate``) and not a signature (``crypto/dsse``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field
from typing import Any

from dre_core.errors import FormatError
from dre_core.model import canonical
from dre_core.model.canonical import JSON
from dre_core.model.record import dataclass

TYPE = "https://in-toto.io/Statement/v1"
MAX_VALUES = 2_000_000
"""Most values in a statement: twice the test cases that a report may have."""

HEX_DIGITS: Mapping[str, int] = {
    "sha256": 64,
    "sha384": 96,
    "sha512": 128,
    "sha3_256": 64,
    "sha3_384": 96,
    "sha3_512": 128,
}
"""Digest algorithms that every verifier of ours knows, with the number of hex digits of each."""

_URI = r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]+"
_HEX = "[0-9a-f]+"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a statement is about.

    Attributes:
        name: Distinguishes it among the statement's subjects.
        digest: Algorithm (see :data:`HEX_DIGITS`) to lower-case hex; at least one.
        annotations: Anything more, such as the commit id.
    """

    name: str
    digest: Mapping[str, str]
    annotations: Mapping[str, JSON] = field(default_factory=dict)

    def to_json(self) -> dict[str, JSON]:
        """The in-toto ResourceDescriptor; empty annotations are left out."""
        members: dict[str, JSON] = {"name": self.name, "digest": dict(self.digest)}
        if self.annotations:
            members["annotations"] = dict(self.annotations)
        return members

    @classmethod
    def parse(cls, value: object, path: str = "$") -> Subject:
        """Read a descriptor with name and digest.

        Args:
            value: What the JSON reader gave.
            path: JSON path of the value, for messages.

        Raises:
            FormatError: With the JSON path.
        """
        members = _object(value, path)
        _refuse_unknown(members, {"name", "digest", "annotations"}, path)
        name = members.get("name")
        if not isinstance(name, str) or not name:
            raise FormatError("a subject has no name", path=f"{path}.name")
        digest = _parse_digest(members.get("digest"), f"{path}.digest")
        annotations = _object(members.get("annotations", {}), f"{path}.annotations")
        if "annotations" in members and not annotations:
            raise FormatError("annotations are empty", path=f"{path}.annotations")
        return cls(name=name, digest=digest, annotations=annotations)


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A predicate about subjects.

    Attributes:
        subjects: At least one.
        predicate_type: A URI.
        predicate: Never empty.
    """

    subjects: tuple[Subject, ...]
    predicate_type: str
    predicate: Mapping[str, JSON]

    def to_bytes(self) -> bytes:
        """The payload to sign: canonical JSON.

        Raises:
            FormatError: A rule of the format is broken; with the JSON path.
        """
        members: dict[str, JSON] = {
            "_type": TYPE,
            "subject": [subject.to_json() for subject in self.subjects],
            "predicateType": self.predicate_type,
            "predicate": dict(self.predicate),
        }
        _from_members(members)
        return canonical.dumps(members)

    @classmethod
    def parse(cls, data: bytes) -> Statement:
        """Read a payload whose signature has been verified; members may stand in any order.

        Raises:
            FormatError: A rule of the format is broken; with the JSON path.
            LimitError: More than 2,000,000 values.
        """
        return _from_members(canonical.loads(data, limit_values=MAX_VALUES))


def _from_members(value: object) -> Statement:
    members = _object(value, "$")
    _refuse_unknown(members, {"_type", "subject", "predicateType", "predicate"}, "$")
    if members.get("_type") != TYPE:
        raise FormatError(f"not a statement of type {TYPE}", path="$._type")
    subjects = members.get("subject")
    if not isinstance(subjects, list) or not subjects:
        raise FormatError("a statement has no subject", path="$.subject")
    predicate_type = members.get("predicateType")
    if not isinstance(predicate_type, str) or not re.fullmatch(_URI, predicate_type):
        raise FormatError("the predicate type is not a URI", path="$.predicateType")
    predicate = _object(members.get("predicate"), "$.predicate")
    if not predicate:
        raise FormatError("the predicate is empty", path="$.predicate")
    return Statement(
        subjects=tuple(Subject.parse(item, f"$.subject[{index}]") for index, item in enumerate(subjects)),
        predicate_type=predicate_type,
        predicate=predicate,
    )


def _object(value: object, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise FormatError("not an object", path=path)
    return value


def _refuse_unknown(members: Mapping[str, Any], known: set[str], path: str) -> None:
    for name in members:
        if name not in known:
            raise FormatError("unknown member", path=f"{path}.{name}")


def _parse_digest(value: object, path: str) -> dict[str, str]:
    digest = _object(value, path)
    if not digest:
        raise FormatError("a subject has no digest", path=path)
    for algorithm, text in digest.items():
        if algorithm not in HEX_DIGITS:
            raise FormatError("unknown digest algorithm", path=f"{path}.{algorithm}")
        digits = HEX_DIGITS[algorithm]
        if not isinstance(text, str) or len(text) != digits or not re.fullmatch(_HEX, text):
            raise FormatError(f"not {digits} lower-case hex digits", path=f"{path}.{algorithm}")
    return digest

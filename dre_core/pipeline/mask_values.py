"""Known secrets: which environment values are secret, and in which forms they may appear in output.

Not a judgement of strength. The rule for names: a word of the name says secret (``TOKEN``, ``SECRET``,
``KEY``, ``PASSWORD``...) and its last word does not say that the value is something else (a directory, a
name, a length). The rule for values: four characters or more, no ordinary word, no small number, no path,
no plain address.
"""

from __future__ import annotations

import os
import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping

MINIMUM_CHARACTERS = 4
WRAP_WIDTHS = (76, 64)
"""Columns at which base64 tools break lines."""
WRAPPED_MINIMUM = 16


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SECRET_PART = re.compile(
    r"TOKEN|SECRET|PASSW|PASSPHRASE|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|SIGNING_?KEY"
)
_SECRET_WORDS = frozenset(
    {"KEY", "KEYS", "PASS", "PWD", "AUTH", "PRIVATE", "PAT", "JWT", "PSK", "CREDS", "COOKIE"}
)
_OTHER_LAST_WORDS = _words(
    """
    DIR DIRS DIRECTORY PATH PATHS FILE FILES HOME SOCK SOCKET FOLDER NAME NAMES USER USERNAME EMAIL HOST
    PORT URL URI ENDPOINT ISSUER TYPE KIND FORMAT ALGORITHM ALG MODE METHOD PROVIDER BACKEND BITS LENGTH
    LEN SIZE COUNT LIMIT MAX MIN TTL TIMEOUT EXPIRY EXPIRES EXPIRATION SECONDS MINUTES DAYS ENABLED
    DISABLED REQUIRED ALLOWED VERSION PREFIX SUFFIX REGION FD LAYOUT AGENT COMMAND CMD HELPER PROMPT
    SCOPE SCOPES PERMISSIONS POLICY STORE RING SERVER SERVERS INFO FINGERPRINT PUBLIC PUB DELAY REPEAT
    MAP BINDINGS
    """
)
_NOT_SECRET_NAMES = frozenset({"PWD", "OLDPWD", "XAUTHORITY", "KEYBOARD", "DBUS_SESSION_BUS_ADDRESS"})
_IDENTIFIER_NAMES = re.compile(r"(?:^|_)(?:KEY|TOKEN|CREDENTIALS?)_ID$")
_PUBLIC_NAMES = re.compile(
    r"PUBLIC_?KEY|PUBKEY|KEY_?CODE|^LESSKEY|^MAX_|_MAX_|^NUM_|^USE_|^ENABLE_|^DISABLE_|^HAS_|^IS_"
)

_PLAIN_WORDS = _words(
    """
    true false none null yes no on off enabled disabled enable disable default auto always never
    required optional github gitlab bitbucket jenkins travis circleci azure google amazon aws gcp docker
    kubernetes local localhost production staging development testing test tests debug info warning
    error release main master admin root user username guest postgres mysql redis mongo sqlite rabbitmq
    password passwd secret token basic bearer digest oauth oauth2 saml ldap kerberos ssh https http file
    keyring keychain environment env agent pass gpg pgp rsa ecdsa ed25519 aes sha256 hmac jwt public
    private readonly readwrite read write full restricted unlimited inherit manual system passed failed
    success skipped complete unknown undefined empty changeme example python node java linux windows
    """
)
_KNOWN_ROOTS = re.compile(
    r"/(?:usr|home|tmp|var|etc|opt|root|run|private|Users|mnt|media|dev|proc|sys|srv|nix|Library|System"
    r"|Applications|bin|sbin|lib|lib64|app|data|work|workspace|builds|github|cache|__w|__e)(?:/|$)"
)
_PATH_SHAPE = re.compile(r"(?:\.{1,2}|~[\w.-]*)?(?:/[\w.@+-]+)+/?|[A-Za-z]:[\\/][^\n]*")
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://[^\s:@/]+(?::\d+)?(?:/[^\s?@]*)?")
_USERINFO = re.compile(r"[a-z][a-z0-9+.-]*://[^\s:/@]*:([^\s/@]+)@")
_SMALL_NUMBER = re.compile(r"[+-]?\d{1,7}(?:\.\d+)?[smhdkKMG]?")
_UNRESERVED = re.compile(rb"[A-Za-z0-9_.~-]*")


def sensitive_values(
    environ: Mapping[str, str],
    *,
    names: Iterable[str] = (),
    exists: Callable[[str], bool] = os.path.lexists,
) -> list[str]:
    """Values that must not be recorded, longest first.

    Args:
        environ: An environment.
        names: Further variables whose values are secret whatever they are called.
        exists: Tells whether a value is the path of something.

    Returns:
        Values of secret variables, and passwords inside any variable's address (``scheme://user:password@host``).
    """
    forced = frozenset(names)
    found: set[str] = set()
    for name, value in environ.items():
        named = name in forced and len(value.strip()) >= MINIMUM_CHARACTERS
        if named or (says_secret(name) and is_secret_value(value, exists)):
            found.add(value)
        if "://" in value and "@" in value:
            found.update(part for part in _USERINFO.findall(value) if is_secret_value(part, exists))
    return sorted(found, key=lambda value: (-len(value), value))


def says_secret(name: str) -> bool:
    """Whether a variable's name says that its value is secret."""
    upper = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).upper().replace("-", "_").replace(".", "_")
    if upper in _NOT_SECRET_NAMES or _PUBLIC_NAMES.search(upper) or _IDENTIFIER_NAMES.search(upper):
        return False
    words = [word for word in upper.split("_") if word]
    if not words or words[-1] in _OTHER_LAST_WORDS:
        return False
    return bool(_SECRET_PART.search(upper)) or not _SECRET_WORDS.isdisjoint(words)


def is_secret_value(value: str, exists: Callable[[str], bool] = os.path.lexists) -> bool:
    """Whether a value can be masked without hiding ordinary text."""
    value = value.strip()
    if len(value) < MINIMUM_CHARACTERS or is_plain_word(value) or _SMALL_NUMBER.fullmatch(value):
        return False
    return not (_ADDRESS.fullmatch(value) or _is_path(value, exists))


def is_plain_word(value: str) -> bool:
    """Whether a value is an ordinary word, or one character again and again."""
    value = value.strip()
    return value.lower() in _PLAIN_WORDS or len(set(value)) < 2


def _is_path(value: str, exists: Callable[[str], bool]) -> bool:
    """Whether every part of a ``:``-separated list looks like a path and is one, or begins like one."""
    parts = value.split(os.pathsep) if not re.match(r"[A-Za-z]:[\\/]", value) else [value]
    return all(_PATH_SHAPE.fullmatch(part) and _names_place(part, exists) for part in parts if part)


def _names_place(part: str, exists: Callable[[str], bool]) -> bool:
    if part.startswith(("~", ".")) or _KNOWN_ROOTS.match(part) or part[1:3] in (":\\", ":/"):
        return True
    try:
        return exists(part)
    except (OSError, ValueError):
        return False


def forms(value: str) -> set[bytes]:
    """The byte strings by which a value appears in output.

    Args:
        value: The secret.

    Returns:
        Plain, base64 (three alignments, two alphabets, broken lines), hexadecimal, percent-encoded, and as
        escaped in JSON, XML and shells. Of several lines: the encodings of the whole, and each line plain.
    """
    found: set[bytes] = set()
    trimmed = value.strip()
    for text in {value, trimmed, trimmed.strip("\"'")}:
        if len(text) >= MINIMUM_CHARACTERS:
            found |= _encodings(text)
    if "\n" in trimmed or "\r" in trimmed:
        lines = (line.strip() for line in value.splitlines())
        found |= {
            _bytes(line) for line in lines if len(line) >= MINIMUM_CHARACTERS and not is_plain_word(line)
        }
    return {form for form in found if len(form) >= MINIMUM_CHARACTERS and b"\n" not in form and form.strip()}


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _encodings(text: str) -> set[bytes]:
    data = _bytes(text)
    found = {data, data.hex().encode(), data.hex().upper().encode()}
    found |= set(_base64_forms(data))
    if not _UNRESERVED.fullmatch(data):
        found |= (
            set(_percent_forms(data))
            | set(_json_forms(text))
            | set(_markup_forms(text))
            | set(_shell_forms(text))
        )
    return found


def _base64_forms(data: bytes) -> Iterator[bytes]:
    for before in range(3):
        encoded = b64encode(bytes(before) + data)
        # only characters that depend on nothing before or after the value
        first = (0, 2, 3)[before]
        last = (before + len(data)) * 8 // 6
        piece = encoded[first:last]
        yield piece
        yield piece.translate(bytes.maketrans(b"+/", b"-_"))
    whole = b64encode(data)
    for width in WRAP_WIDTHS:
        if len(whole) > width:
            lines = [whole[at : at + width] for at in range(0, len(data) * 8 // 6, width)]
            yield from (line.rstrip(b"=") for line in lines if len(line) >= WRAPPED_MINIMUM)


def _percent_forms(data: bytes) -> Iterator[bytes]:
    for safe in (b"", b"/", b"!'()*", b"/:@!$&'()*+,;="):
        quoted = b"".join(
            bytes((byte,)) if _UNRESERVED.fullmatch(bytes((byte,))) or byte in safe else b"%%%02X" % byte
            for byte in data
        )
        yield quoted
        yield re.sub(rb"%[0-9A-F]{2}", lambda found: found[0].lower(), quoted)
        yield quoted.replace(b"%20", b"+")


def _json_forms(text: str) -> Iterator[bytes]:
    import json

    for ascii_only in (True, False):
        quoted = json.dumps(text, ensure_ascii=ascii_only)[1:-1]
        yield _bytes(quoted)
        yield _bytes(quoted.replace("/", "\\/"))
        yield _bytes(json.dumps(quoted, ensure_ascii=ascii_only)[1:-1])
        for mark in "<>&'":
            quoted = quoted.replace(mark, f"\\u{ord(mark):04x}")
        yield _bytes(quoted)


def _markup_forms(text: str) -> Iterator[bytes]:
    basic = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    yield _bytes(basic)
    for quote in ("&quot;", "&#34;"):
        yield _bytes(basic.replace('"', quote))
        for apostrophe in ("&apos;", "&#39;", "&#x27;"):
            yield _bytes(basic.replace('"', quote).replace("'", apostrophe))


def _shell_forms(text: str) -> Iterator[bytes]:
    yield _bytes(text.replace("'", "'\\''"))
    yield _bytes(text.replace("'", "'\"'\"'"))
    yield _bytes(text.replace("'", "'\\\"'\\\"'"))
    yield _bytes(re.sub(r'(["$`\\])', r"\\\1", text))
    yield _bytes(re.sub(r'(["$`\\!])', r"\\\1", text))
    yield _bytes(re.sub(r"([^\w@%+=:,./-])", r"\\\1", text, flags=re.ASCII))
    yield _bytes(text.replace("\\", "\\\\").replace("'", "\\'"))

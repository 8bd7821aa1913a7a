"""Rules for secrets whose value is not known: by the form that their issuers give them.

Not entropy over everything: a rule begins at a literal that is searched for at memory speed, and its form is
tried only there. Only the last rule, for assignments such as ``password = ...``, judges the value itself.
No form matches more than ``mask.HOLD_BYTES``.
"""

from __future__ import annotations

import base64
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator

from dre_core.model.record import dataclass

ENTROPY_BITS = 3.0
"""Least Shannon entropy of an assigned value, in bits a character."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How one kind of secret is found.

    Attributes:
        id: Stands in the replacement and in the counts.
        literals: Where to begin; with ``lower`` they are searched for in the lower-case text.
        form: Matched at a literal's place; compiled when the first literal is met.
        group: The part that is secret.
        lower: Whether the literals are in lower case and the text's case does not matter.
        confirm: Looks at the secret part; None confirms.
        again: Whether the same secret is looked for in the rest of its line, where no word may stand before it.
    """

    id: str
    literals: tuple[bytes, ...]
    form: bytes | re.Pattern[bytes]
    group: int = 0
    lower: bool = False
    confirm: Callable[[bytes], bool] | None = None
    again: bool = False

    def spans(
        self, view: bytes, lower: bytes, among: frozenset[bytes] | None = None
    ) -> Iterator[tuple[int, int]]:
        """Where the secrets lie in a text.

        Args:
            view: The text.
            lower: The same in lower case.
            among: The literals that may be there; None for all.
        """
        text = lower if self.lower else view
        for literal in self.literals if among is None else among.intersection(self.literals):
            place = text.find(literal)
            form = re.compile(self.form) if place >= 0 else None
            while place >= 0 and form is not None:
                found = form.match(view, place)
                if found is not None and (self.confirm is None or self.confirm(found[self.group])):
                    yield found.span(self.group)
                    if self.again:
                        yield from _elsewhere(view, *found.span(self.group))
                place = text.find(literal, place + len(literal))


def _elsewhere(view: bytes, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Where else in its line a text lies."""
    text = view[start:stop]
    if len(text) < _AGAIN_BYTES:
        return
    place, end = view.rfind(b"\n", 0, start) + 1, view.find(b"\n", stop)
    end = len(view) if end < 0 else end
    while (place := view.find(text, place, end)) >= 0:
        if place != start:
            yield place, place + len(text)
        place += len(text)


_AGAIN_BYTES = 12
# a token begins where a word does, or after an escaped line end as in JSON
_START = rb"(?:(?<![A-Za-z0-9_-])|(?<=\\[nrt]))"
_VALUE = rb"([^\s\"'`,;<>(){}\[\]|\\]{8,4096})"


def _issued(rule: str, literals: tuple[bytes, ...], form: bytes, *, anywhere: bool = False) -> Rule:
    """A rule for tokens with a form of their own; ``anywhere`` if they are distinctive inside a word too."""
    return Rule(id=rule, literals=literals, form=form if anywhere else _START + form)


def _is_reference(value: bytes) -> bool:
    return value.startswith((b"$", b"%", b"*", b"[masked", b"<", b"{"))


def _is_password(value: bytes) -> bool:
    return not _is_reference(value) and len(set(value)) > 1


_WORDS = rb"[A-Za-z]+(?:[._-][A-Za-z]+)*[._-]?(?:v?\d{1,3})?"
_PLACEHOLDER = rb"(?i)x{4,}|\*{3,}|\.{3,}|placeholder|changeme|redacted|your[_-]"
_PATH = rb"(?:\.{0,2}/|~|[A-Za-z]:\\|[a-z]+://).*"
_PLAIN = rb"(?:\d{4}-\d\d-\d\d.*|[\d.:,%+-]+|[\w.]+\(.*|(?:0x)?[0-9a-f]{8})"


def looks_random(value: bytes) -> bool:
    """Whether an assigned value looks like a secret and not like a word, a path, a number or a reference."""
    if _is_reference(value) or any(re.fullmatch(form, value) for form in (_WORDS, _PATH, _PLAIN)):
        return False
    if re.search(_PLACEHOLDER, value) or not re.search(rb"\d", value):
        return False
    return entropy_bits(value) >= ENTROPY_BITS


def entropy_bits(value: bytes) -> float:
    """Shannon entropy in bits a character."""
    size = len(value)
    return -sum(count / size * math.log2(count / size) for count in Counter(value).values())


def _is_element(value: bytes) -> bool:
    """Whether an element's content is a secret and no reference to one, as in ``${NAME}`` or ``{{ name }}``."""
    inner = value.strip(b" {}")
    return not value.startswith((b"$", b"%", b"[masked", b"{{", b"*")) and not re.fullmatch(_WORDS, inner)


def _is_basic(value: bytes) -> bool:
    """Whether a value is Base64 of ``user:password``. Source: RFC 7617, section 2."""
    try:
        user, colon, password = base64.b64decode(value, validate=True).partition(b":")
    except ValueError:
        return False
    return (
        bool(colon and password) and (user + password).isascii() and (user + password).decode().isprintable()
    )


def _is_key(value: bytes) -> bool:
    """Whether what is called a key is one, and no cache key, path or digest."""
    if re.fullmatch(rb"[0-9a-f-]+|[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+", value) or value.count(b"-") > 1:
        return False
    return looks_random(value) and len(re.findall(rb"\d+", value)) > 2 and entropy_bits(value) >= 3.5


RULES: tuple[Rule, ...] = (
    _issued("jwt", (b"eyJ",), rb"eyJ[A-Za-z0-9_-]{8,4096}\.eyJ[A-Za-z0-9_-]{4,8192}\.[A-Za-z0-9_-]{8,2048}"),
    _issued(
        "github-token",
        (b"ghp_", b"gho_", b"ghs_", b"ghu_", b"ghr_"),
        rb"gh[pousr]_[A-Za-z0-9_]{30,255}",
        anywhere=True,
    ),
    _issued("github-token", (b"github_pat_",), rb"github_pat_[A-Za-z0-9_]{22,255}", anywhere=True),
    _issued("gitlab-token", (b"glpat-",), rb"glpat-[A-Za-z0-9_.=-]{16,300}", anywhere=True),
    _issued("slack-token", (b"xox",), rb"xox[abeoprs](?:\.xox[abp])?-[A-Za-z0-9-]{10,250}"),
    _issued("aws-access-key", (b"AKIA", b"ASIA"), rb"A(?:KIA|SIA)[A-Z0-9]{16}(?![A-Za-z0-9])"),
    _issued("google-api-key", (b"AIza",), rb"AIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])"),
    _issued("stripe-key", (b"sk_live_", b"rk_live_"), rb"[sr]k_live_[A-Za-z0-9]{16,250}", anywhere=True),
    _issued("npm-token", (b"npm_",), rb"npm_[A-Za-z0-9]{36}(?![A-Za-z0-9])", anywhere=True),
    _issued("pypi-token", (b"pypi-",), rb"pypi-[A-Za-z0-9_-]{40,1000}"),
    _issued("anthropic-key", (b"sk-ant-",), rb"sk-ant-[A-Za-z0-9_-]{20,250}", anywhere=True),
    _issued("openai-key", (b"sk-",), rb"sk-(?!ant-)(?:[a-z]{2,12}-)?(?=[A-Za-z_-]*\d)[A-Za-z0-9_-]{20,250}"),
    _issued("sendgrid-key", (b"SG.",), rb"SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{16,64}"),
    _issued("digitalocean-token", (b"_v1_",), rb"(?<=do[opr])_v1_[a-f0-9]{64}", anywhere=True),
    _issued(
        "telegram-token", (b":AA",), rb"(?<=\d{8}):AA[A-Za-z0-9_-]{32,33}(?![A-Za-z0-9_-])", anywhere=True
    ),
    _issued("huggingface-token", (b"hf_",), rb"hf_[A-Za-z]{34}(?![A-Za-z0-9])"),
    _issued(
        "shopify-token",
        (b"shpat_", b"shpca_", b"shppa_", b"shpss_"),
        rb"shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}",
        anywhere=True,
    ),
    _issued("databricks-token", (b"dapi",), rb"dapi[a-h0-9]{32}(?:-\d)?(?![A-Za-z0-9])"),
    _issued("linear-key", (b"lin_api_",), rb"lin_api_[A-Za-z0-9]{40}", anywhere=True),
    _issued("vault-token", (b"hvs.", b"hvb."), rb"hv[sb]\.[A-Za-z0-9_-]{24,300}"),
    _issued("grafana-token", (b"glsa_", b"glc_"), rb"gl(?:sa|c)_[A-Za-z0-9+/_=]{32,500}"),
    _issued(
        "azure-account-key", (b"AccountKey=",), rb"AccountKey=[A-Za-z0-9+/]{80,100}={0,2}", anywhere=True
    ),
    _issued(
        "webhook-address",
        (b"hooks.slack.com/", b"discord.com/api/webhooks/", b"discordapp.com/api/webhooks/"),
        rb"(?:hooks\.slack\.com/(?:services|workflows)|discord(?:app)?\.com/api/webhooks)/[A-Za-z0-9_/-]{20,200}",
        anywhere=True,
    ),
    # Seeds of every role begin with S, the role's letter and A. Source: https://docs.nats.io (NKeys).
    _issued(
        "nkey-seed",
        (b"SUA", b"SAA", b"SOA", b"SNA", b"SCA", b"SXA"),
        rb"S[UAONCX]A[A-Z2-7]{55}(?![A-Za-z0-9])",
    ),
    Rule(
        id="basic-credentials",
        literals=(b"basic",),
        form=rb"(?i)basic[ \t]{1,3}([A-Za-z0-9+/]{8,1024}={0,2})(?![A-Za-z0-9+/=])",
        group=1,
        lower=True,
        confirm=_is_basic,
    ),
    Rule(
        id="url-password",
        literals=(b"://",),
        # Control characters are no part of an address, but of binary data, where this would match by chance.
        form=rb"(?<=[A-Za-z0-9+.-])://[^\s:/@\"'<>\x00-\x1f\x7f]{0,128}:([^\s/@\"'<>\x00-\x1f\x7f]{3,256})@",
        group=1,
        confirm=_is_password,
    ),
    Rule(
        id="authorization",
        literals=(b"authorization", b"bearer "),
        form=(
            rb"(?i)(?:(?:proxy-)?authorization[\"']?[ \t]{0,3}[:=][ \t]{0,3}[\"']?"
            rb"(?:(?:bearer|basic|token)[ \t]{1,3})?|bearer )([A-Za-z0-9._~+/=-]{16,4096})"
        ),
        group=1,
        lower=True,
        confirm=looks_random,
        again=True,
    ),
    Rule(
        id="secret-element",
        literals=(b"secret", b"password", b"passphrase", b"apikey", b"api_key", b"api-key", b"token"),
        form=(
            rb"(?i)(?:(?<=<)|(?<=<api))(?:secret(?:[_-]?key)?|password|passphrase|api[_-]?key|token)>"
            rb"([^<\n]{6,4096})</"
        ),
        group=1,
        lower=True,
        confirm=_is_element,
    ),
    Rule(
        id="assigned-key",
        # Four bytes and more, which the prefilter tells apart far better than three.
        literals=(b"key=", b"key:", b"key =", b'key"', b"key'"),
        form=(
            rb"(?i)key(?:\\?[\"'])?\]?[ \t]{0,3}(?:=>|:=|[:=])[ \t]{0,3}(?:\\?[\"'])?"
            rb"([A-Za-z0-9_+/=.~-]{20,4096})(?![A-Za-z0-9_-])"
        ),
        group=1,
        lower=True,
        confirm=_is_key,
        again=True,
    ),
    Rule(
        id="assigned-secret",
        literals=(
            b"password",
            b"passwd",
            b"passphrase",
            b"secret",
            b"token",
            b"api_key",
            b"apikey",
            b"api-key",
            b"access_key",
            b"private_key",
            b"credential",
            b"oauth_",
        ),
        form=(
            rb"(?:[A-Za-z_-]{4,12}[A-Za-z0-9_.-]{0,40}(?:\\?[\"'])?\]?[ \t]{0,3}"
            rb"(?:(?:=>|:=|[:=])[ \t]{0,3}(?:\\?[\"'])?|[ \t]-[ \t]?[\"']|\([\"'])[ \t]?"
            # an option and its value, as in --password VALUE
            rb"|(?<=-)[A-Za-z-]{5,10}[ \t]{1,3}[\"']?)" + _VALUE
        ),
        group=1,
        lower=True,
        confirm=looks_random,
        again=True,
    ),
)
"""The built-in rules; private keys stretch over lines and are in ``mask``."""

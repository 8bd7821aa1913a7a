"""Masking: known values in every encoding at every cut, unknown ones by rule, and nothing else."""

from __future__ import annotations

import base64
import json
import os
import shlex
import urllib.parse
from collections.abc import Callable
from html import escape
from xml.sax.saxutils import quoteattr

import pytest

from dre_core.pipeline.mask import (
    KEY_ID,
    KNOWN_ID,
    LINE_LIMIT_BYTES,
    WITHHELD,
    Masker,
    Rule,
    sensitive_values,
)
from dre_core.pipeline.mask_rules import RULES

PLAIN = "s3cr3tValue-42xyz"
NASTY = "p@ss w0rd/'\"<&>$x\\y+é"
SECRETS = [PLAIN, NASTY, "abcd", "Zm9v/+9x=="]


def after(count: int) -> Callable[[str], bytes]:
    return lambda secret: base64.b64encode(b"user:"[:count] + secret.encode() + b":tail")


ENCODINGS: dict[str, Callable[[str], bytes]] = {
    "plain": lambda s: s.encode(),
    "base64": lambda s: base64.b64encode(s.encode()),
    "base64 line": lambda s: base64.b64encode(s.encode() + b"\n"),
    "base64 at 1": after(1),
    "base64 at 2": after(2),
    "base64 at 3": after(3),
    "base64 url": lambda s: base64.urlsafe_b64encode(s.encode()),
    "hex": lambda s: s.encode().hex().encode(),
    "hex upper": lambda s: s.encode().hex().upper().encode(),
    "quote": lambda s: urllib.parse.quote(s).encode(),
    "quote all": lambda s: urllib.parse.quote(s, safe="").encode(),
    "quote plus": lambda s: urllib.parse.quote_plus(s).encode(),
    "json": lambda s: json.dumps(s).encode(),
    "json utf-8": lambda s: json.dumps(s, ensure_ascii=False).encode(),
    "json twice": lambda s: json.dumps(json.dumps(s)).encode(),
    "xml": lambda s: escape(s).encode(),
    "xml attribute": lambda s: quoteattr(s).encode(),
    "shell": lambda s: shlex.quote(s).encode(),
}


def leaks(secret: str, text: bytes) -> bool:
    """Whether six characters of the secret, or all of a shorter one, stand in the text plain or in base64."""
    raw = secret.encode()
    return raw in text or base64.b64encode(raw)[:6] in text or raw.hex().encode() in text.lower()


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("name", ENCODINGS)
def test_every_encoding_is_masked_at_every_cut(secret: str, name: str) -> None:
    coded = ENCODINGS[name](secret)
    line = b"before (" + coded + b") after\n"
    whole = Masker([secret]).bytes(line)
    assert b"***" in whole
    assert coded not in whole
    assert not leaks(secret, whole)
    assert whole.startswith(b"before (")
    assert whole.endswith(b") after\n")
    for cut in range(len(line) + 1):
        stage = Masker([secret]).stage()
        assert stage.feed(line[:cut]) + stage.feed(line[cut:]) + stage.flush() == whole


@pytest.mark.parametrize("secret", [PLAIN, NASTY])
@pytest.mark.parametrize("name", ENCODINGS)
def test_settling_at_any_cut_never_leaks(secret: str, name: str) -> None:
    coded = ENCODINGS[name](secret)
    line = b"before (" + coded + b") after"
    for cut in range(len(line) + 1):
        stage = Masker([secret]).stage()
        out = (
            stage.feed(line[:cut]) + stage.settle() + stage.settle() + stage.feed(line[cut:]) + stage.flush()
        )
        assert coded not in out, cut
        assert not leaks(secret, out), cut
        assert out.startswith(b"before (")


def test_settle_releases_a_prompt() -> None:
    stage = Masker([PLAIN]).stage()
    assert stage.feed(b"Continue? [y/N] ") == b""
    assert stage.settle() == b"Continue? [y/N] "
    assert stage.flush() == b""


def test_an_assignment_is_seen_across_a_settle() -> None:
    stage = Masker().stage()
    out = stage.feed(b"password = ") + stage.settle() + stage.feed(b"hG7-kd82Lq9x\n") + stage.flush()
    assert out == b"password = [masked:assigned-secret]\n"


def test_lines_of_a_value_are_masked_one_by_one_and_its_encodings_whole() -> None:
    value = "first-line-93x\nno\nsecond-line-84y\n"
    masker = Masker([value])
    assert masker.text("a first-line-93x b\nno\nsecond-line-84y\n") == "a *** b\nno\n***\n"
    assert masker.text(json.dumps({"k": value.strip()})) == '{"k": "***"}'
    assert not leaks(value, masker.bytes(base64.b64encode(value.encode())))


def test_base64_broken_into_columns() -> None:
    value = os.urandom(100).hex()
    text = base64.encodebytes(value.encode())
    out = Masker([value]).bytes(text)
    assert all(line.strip(b"=") not in out for line in text.splitlines() if len(line) > 16)


def test_short_values_are_not_masked() -> None:
    masker = Masker(["", "{", "abc", "  x "])
    assert masker.needles == ()
    assert masker.text("{abc}") == "{abc}"


def test_longest_first_and_overlaps_become_one() -> None:
    masker = Masker(["token-abc", "token-abc-long-1"])
    assert masker.text("token-abc-long-1 token-abc") == "*** ***"
    assert Masker(["aabaab9"]).text("aabaab9 aabaabaab9") == "*** aab***"


def test_counts_name_rules_and_never_the_secret() -> None:
    masker = Masker([PLAIN])
    masker.text(f"{PLAIN} {PLAIN} ghp_{'a1B2' * 9}")
    assert masker.counts == {KNOWN_ID: 2, "github-token": 1}


@pytest.mark.parametrize(
    "form", ["::add-mask::{}", "  ::add-mask::{}", "::add-mask foo=1::{}", "##[add-mask]{}"]
)
def test_values_registered_in_the_output(form: str) -> None:
    masker = Masker()
    out = masker.text(form.format("hunter2-again") + "\nuse hunter2-again\n")
    assert "hunter2-again" not in out
    assert masker.stage().feed(b"other stream hunter2-again\n") == b"other stream ***\n"


def test_registered_values_are_unescaped_and_ordinary_words_refused() -> None:
    masker = Masker()
    masker.text("::add-mask::50%25-off\n::add-mask::passed\n::add-mask::----\n")
    assert masker.text("50%-off passed ----") == "*** passed ----"


def test_colour_codes_inside_a_secret_do_not_hide_it() -> None:
    masker = Masker([PLAIN])
    coded = f"\x1b[1mx {PLAIN[:5]}\x1b[32m{PLAIN[5:9]}\x1b[0m{PLAIN[9:]}\x1b[0m y\n"
    assert masker.text(coded) == "\x1b[1mx ***\x1b[0m y\n"
    token = "ghp_" + "a1B2" * 9
    assert (
        masker.text(f"\x1b[36m{token[:9]}\x1b[1m{token[9:]}\x1b[0m!")
        == "\x1b[36m[masked:github-token]\x1b[0m!"
    )


@pytest.mark.parametrize("comment", ["# gitleaks:allow", "# betterleaks:allow", "# pragma: allowlist secret"])
def test_comments_do_not_switch_masking_off(comment: str) -> None:
    assert "ghp_" not in Masker().text(f"ghp_{'a1B2' * 9} {comment}\n")


def test_a_nul_byte_hides_nothing() -> None:
    assert Masker([PLAIN]).bytes(b"\0\0 " + PLAIN.encode() + b"\0") == b"\0\0 ***\0"


JWT = (
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0."
    "dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
)
FOUND = [
    ("nkey-seed", "SUA" + "K7Q2" * 13 + "XYZ"),
    ("jwt", JWT),
    ("github-token", "ghp_" + "a1B2" * 9),
    ("github-token", "gho_" + "a1B2" * 9),
    ("github-token", "ghs_" + "a1B2" * 9),
    ("github-token", "github_pat_" + "11ABCDEFG0" * 8),
    ("gitlab-token", "glpat-" + "x1Y2z3W4v5U6t7S8r9Q0"),
    ("slack-token", "xoxb" + "-1234567890-abcdefABCDEF"),
    ("aws-access-key", "AKIA" + "IOSFODNN7EXAMPLE"),
    ("google-api-key", "AIza" + "Sy" + "A1b2C3d4E5f" * 3),
    ("stripe-key", "sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc"),
    ("npm-token", "npm_" + "a1B2" * 9),
    ("pypi-token", "pypi-" + "AgEIcHlwaS5vcmc" * 4),
    ("anthropic-key", "sk-ant-api03-" + "a1B2c3D4" * 4),
    ("openai-key", "sk-proj-" + "a1B2c3D4" * 4),
]


@pytest.mark.parametrize(("rule", "secret"), FOUND, ids=[f"{rule}-{n}" for n, (rule, _) in enumerate(FOUND)])
def test_issued_forms_are_found(rule: str, secret: str) -> None:
    for line in (
        f"found {secret}\n",
        f'"{secret}",\n',
        f"https://x/?t={secret}&y\n",
        f"({secret})",
        f"a\\n{secret}\\n",
    ):
        masker = Masker()
        out = masker.text(line)
        assert secret not in out
        assert f"[masked:{rule}]" in out
        assert masker.counts == {rule: 1}


@pytest.mark.parametrize(
    ("line", "masked"),
    [
        ("clone https://joe:hunter2pw@host/x.git", "clone https://joe:[masked:url-password]@host/x.git"),
        ("postgres://u:p4ss.word@db:5432/x", "postgres://u:[masked:url-password]@db:5432/x"),
        ("Authorization: Bearer a8f5-f167f44f4964e6c9", "Authorization: Bearer [masked:authorization]"),
        ("aws_secret_access_key = wJalrXUtnFEMI/K7", "aws_secret_access_key = [masked:assigned-secret]"),
        ('"db_password": "x7#kQ92mLp!"', '"db_password": "[masked:assigned-secret]"'),
        ("API_KEY=9f86d081884c7d659a2feaa0c55ad015", "API_KEY=[masked:assigned-secret]"),
        ("client_secret: 8Kd-3nf92Lmz0Q", "client_secret: [masked:assigned-secret]"),
        ("oauth_consumer_key: 'GDdmIQH6jhtmLUypg82g'", "oauth_consumer_key: '[masked:assigned-secret]'"),
        ('client.SetAuthToken("9f86d081884c7d65")', 'client.SetAuthToken("[masked:assigned-secret]")'),
        ("mysql --password h4nter2-pass db", "mysql --password [masked:assigned-secret] db"),
        ("deploy --api-key '8Kd3nf92Lmz0Q'", "deploy --api-key '[masked:assigned-secret]'"),
        ("got Basic am9lOmh1bnRlcjJwdw== here", "got Basic [masked:basic-credentials] here"),
    ],
)  # fmt: skip
def test_secrets_by_their_place(line: str, masked: str) -> None:
    assert Masker().text(line) == masked


@pytest.mark.parametrize(
    "line",
    [
        "the token is missing",
        "a token expected 12345678",
        "--password required",
        "Basic authentication is not possible",
        "Basic aGVsbG8gd29ybGQhIQ==",
        "token: required",
        "password: ${DB_PASSWORD}",
        "password=***",
        "secret_name = my-app-secret-v2",
        "tokenizer = get_tokenizer_v2()",
        "tokens: 128,256",
        "token_path=/home/me/.config/token1",
        "https://example.com:8443/path@v1",
        "https://user@host/x",
        "sk-learn-contrib-package-name-here",
        "skipped test_token_refresh[param-1] PASSED",
        "commit 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "xoxo-hugs",
        "AKIA is a prefix",
        "tests/test_password.py::test_secret_token PASSED [ 50%]",
        "passwords = load('a1.txt')",
        "secret: 2024-05-01T12:00:00Z",
    ],
)
def test_ordinary_lines_stay_as_they_are(line: str) -> None:
    masker = Masker()
    assert masker.text(line) == line
    assert masker.counts == {}


def key(label: str = "RSA PRIVATE KEY", lines: int = 12) -> str:
    body = base64.encodebytes(bytes(range(48)) * lines).decode()
    return f"-----BEGIN {label}-----\n{body}-----END {label}-----\n"


@pytest.mark.parametrize(
    "label", ["PRIVATE KEY", "RSA PRIVATE KEY", "OPENSSH PRIVATE KEY", "PGP PRIVATE KEY BLOCK"]
)
def test_private_keys_at_every_cut(label: str) -> None:
    text = f"a\n{key(label, 3)}b\n".encode()
    whole = Masker().bytes(text)
    assert whole.replace(b"\n\n", b"\n").split() == [b"a", b"[masked:private-key]", b"b"]
    assert whole.count(b"\n") == text.count(b"\n")
    for cut in range(len(text)):
        stage = Masker().stage()
        assert stage.feed(text[:cut]) + stage.settle() + stage.feed(text[cut:]) + stage.flush() == whole, cut


def test_private_keys_in_other_dress() -> None:
    masker = Masker()
    one_line = json.dumps({"key": key()})
    assert masker.text(one_line) == '{"key": "[masked:private-key]\\n"}'
    prefixed = "".join(f"web_1  | {line}\n" for line in key().splitlines())
    out = masker.text(prefixed + "web_1  | ready to serve\n")
    kept = [line.removeprefix("web_1  | ") for line in out.splitlines()]
    assert [line for line in kept if line] == ["[masked:private-key]", "ready to serve"]
    assert masker.text("\r\n".join(key().splitlines())).strip() == "[masked:private-key]"
    assert masker.counts == {KEY_ID: 3}


def test_only_the_first_line_of_a_key_stands_behind_something() -> None:
    text = f"the key is {key()}"
    assert Masker().text(text).split() == ["the", "key", "is", "[masked:private-key]"]


def test_a_key_without_an_end_does_not_hide_where_the_next_begins() -> None:
    begin = "-----BEGIN PRIVATE KEY-----\n"
    assert Masker().text(f"a longer line than that: {begin}{begin}{key()}").count("[masked:private-key]") == 3


def test_a_truncated_key_hides_only_what_looks_like_a_key() -> None:
    text = "".join(key().splitlines(keepends=True)[:4]) + "Traceback (most recent call last):\n  failed\n"
    assert Masker().text(text).endswith("Traceback (most recent call last):\n  failed\n")


def test_a_key_in_a_very_long_line_is_masked_whole() -> None:
    filler = "x" * (LINE_LIMIT_BYTES - 100) + " "
    line = (filler + json.dumps(key()) + " " + filler).encode()
    stage = Masker().stage()
    out = b"".join(stage.feed(line[at : at + 1000]) for at in range(0, len(line), 1000)) + stage.flush()
    assert out == (filler + '"[masked:private-key]\\n" ' + filler).encode()


def test_what_is_held_back_is_bounded() -> None:
    stage = Masker([PLAIN]).stage()
    fed = released = 0
    for _ in range(200):
        fed += 10_000
        released += len(stage.feed(b"y" * 10_000))
        assert fed - released <= LINE_LIMIT_BYTES + 10_000
    assert released + len(stage.flush()) == fed


@pytest.mark.parametrize("start", range(-40, 5))
def test_a_secret_at_the_edge_of_a_long_line(start: int) -> None:
    line = b"z" * (LINE_LIMIT_BYTES + start) + PLAIN.encode() + b"z" * 40_000
    whole = b"z" * (LINE_LIMIT_BYTES + start) + b"***" + b"z" * 40_000
    stage = Masker([PLAIN]).stage()
    assert (
        b"".join(stage.feed(line[at : at + 777]) for at in range(0, len(line), 777)) + stage.flush() == whole
    )


def test_a_stage_that_fails_withholds_the_block() -> None:
    class Broken(Rule):
        def spans(self, view, lower, among=None):  # type: ignore[no-untyped-def]
            if b"boom" in view:
                raise RuntimeError("rule failed")
            return iter(())

    masker = Masker(rules=(Broken(id="b", literals=(b"boom",), form=RULES[0].form),))
    stage = masker.stage()
    assert stage.feed(b"fine\n") == b"fine\n"
    assert stage.feed(b"boom secret\n") == WITHHELD
    assert stage.feed(b"fine again\n") == b"fine again\n"
    assert stage.feed(b"boom") == b""
    assert stage.settle() + stage.flush() == WITHHELD
    assert masker.failures == 2


SENSITIVE = {
    "GITHUB_TOKEN": "abc123def",
    "MY_SECRET": "hush-hush-9",
    "DB_PASSWORD": "tr0ub4dor",
    "db.passwd": "other-9x",
    "apiKey": "k-12345678x",
    "AWS_SECRET_ACCESS_KEY": "/Jalr/XUtnFEMI",
    "NPM_AUTH": "bmFtZTpwYXNz1",
    "SIGNING_KEY": "line-one-1\nline-two-2",
    "VAULT_SECRET_ID": "0b8f-4c1d-99",
    "GOOGLE_CREDENTIALS": '{"type": "x"}',
}
HARMLESS = {
    "DRE_KEYS_DIR": "/home/me/keys",
    "SSH_AUTH_SOCK": "/tmp/ssh-x/agent.1",
    "KEYBOARD": "de-nodeadkeys",
    "PWD": "/work/somewhere",
    "PATH": "/usr/bin:/bin",
    "GIT_AUTHOR_NAME": "A U Thor",
    "MONKEY": "banana-split",
    "TOKEN_FILE": "a-file-name",
    "AUTH_PROVIDER": "github",
    "SOME_TOKEN": "github",
    "KEY_LENGTH": "4096",
    "MAX_TOKENS": "200000",
    "SESSION_KEY": "true",
    "A_KEY": "abc",
    "AWS_ACCESS_KEY_ID": "AKID12345",
    "KEYSTORE_PASS": "/home/me/store.pass",
    "KEY_URL": "https://example.com/x",
    "SECRET": "https://example.com/x",
    "GPG_KEY": "./relative/path.asc",
    "PUBLIC_KEY": "ssh-ed25519 AAAA",
}


def test_sensitive_values_by_name() -> None:
    assert set(sensitive_values(SENSITIVE)) == set(SENSITIVE.values())


@pytest.mark.parametrize("name", HARMLESS)
def test_harmless_variables_are_left_alone(name: str) -> None:
    assert sensitive_values({name: HARMLESS[name]}, exists=lambda path: False) == []


def test_passwords_inside_addresses_and_named_variables() -> None:
    assert sensitive_values({"DATABASE_URL": "postgres://joe:tr0ub4dor@db/x"}) == ["tr0ub4dor"]
    assert sensitive_values({"PLAIN_NAME": "masked-please"}, names=["PLAIN_NAME"]) == ["masked-please"]


def test_values_that_are_not_unicode() -> None:
    value = b"s3cr\xfft-9".decode("utf-8", "surrogateescape")
    assert Masker(sensitive_values({"X_TOKEN": value})).bytes(b"<s3cr\xfft-9>") == b"<***>"

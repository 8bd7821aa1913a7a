"""Planted secrets, in every encoding and cut at every place: none of them is anywhere in what DRE keeps or says."""

from __future__ import annotations

import base64
import json
import sys
import urllib.parse
import zipfile
from pathlib import Path

import pytest
import zstandard

KNOWN = "s3cr3t/Value+with=odd&chars-91"
TOKEN = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
PASSWORD = "Tr0ub4dor-and-3"

_FRAME = b"\x28\xb5\x2f\xfd"


def encodings(secret: str) -> dict[str, bytes]:
    plain = secret.encode()
    return {
        "plain": plain,
        "base64": base64.b64encode(plain),
        "base64 behind one byte": base64.b64encode(b"x" + plain),
        "base64 behind two bytes": base64.b64encode(b"xy" + plain),
        "base64 for addresses": base64.urlsafe_b64encode(plain),
        "hexadecimal": plain.hex().encode(),
        "HEXADECIMAL": plain.hex().upper().encode(),
        "percent": urllib.parse.quote(secret, safe="").encode(),
        "JSON": json.dumps(secret)[1:-1].encode(),
        "XML": secret.replace("&", "&amp;").encode(),
    }


def core(name: str, form: bytes) -> bytes:
    """The part of an encoding that depends on the secret alone."""
    return form[4:-4] if name.startswith("base64") else form


def unpacked(data: bytes) -> bytes:
    """All frames: long items have several."""
    plain = b""
    while data:
        frame = zstandard.ZstdDecompressor().decompressobj()
        plain += frame.decompress(data)
        data = frame.unused_data
    return plain


def kept(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, compressed ones and archive members also as plain bytes."""
    found: dict[str, bytes] = {}
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        data = path.read_bytes()
        found[str(path.relative_to(folder))] = data
        if data.startswith(_FRAME):
            found[f"{path.name} plain"] = unpacked(data)
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for member in archive.namelist():
                    inner = archive.read(member)
                    found[f"{path.name}:{member}"] = inner
                    if inner.startswith(_FRAME):
                        plain = unpacked(inner)
                        found[f"{path.name}:{member} plain"] = plain
    # envelopes carry their payload in base64
    for name, data in list(found.items()):
        if name.endswith((".jsonl", ".json")):
            for line in data.splitlines():
                if line.startswith(b'{"payload') or b'"payload":"' in line:
                    found[f"{name} payload"] = found.get(f"{name} payload", b"") + base64.b64decode(
                        json.loads(line).get("payload", "")
                    )
    return found


PRINTER = """
import os, sys, time
data = bytes.fromhex(sys.argv[1])
step = int(sys.argv[2])
for at in range(0, len(data), step):
    os.write(1 + at % 2 * 0, data[at:at + step])
    if step > 1: time.sleep(0.01)
os.write(1, b"\\n")
"""


def leaks(folder: Path, needles: dict[str, bytes]) -> list[str]:
    return [
        f"{form} in {name}"
        for name, data in kept(folder).items()
        for form, needle in needles.items()
        if needle in data
    ]


@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_a_known_value_in_every_encoding_is_nowhere(project, step):
    forms = encodings(KNOWN)
    # The printing program's own argument is an encoding too (hexadecimal), so argv is under test as well.
    text = b" | ".join(b"before " + form + b" after" for form in forms.values())
    done = project.dre(
        "wrap",
        "--export",
        "evidence.zip",
        "--name",
        f"step {KNOWN}",
        "--verify",
        "--",
        *(sys.executable, "-I", "-S", "-c", PRINTER, text.hex(), str(step)),
        environ={"SERVICE_TOKEN": KNOWN},
    )
    assert text in done.stdout  # the user's own terminal is left alone
    assert any(b"before *** after" in data for data in kept(project.path).values())
    needles = {name: core(name, form) for name, form in forms.items()}
    assert leaks(project.path, needles) == []
    for face in (
        ("report",),
        ("report", "--format", "json"),
        ("evidence", "show", "latest"),
        ("log", "show"),
        ("verify", "--json"),
    ):
        shown = project.dre(*face)
        assert not [name for name, needle in needles.items() if needle in shown.stdout + shown.stderr], face


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (f"token is {TOKEN} here", TOKEN),
        (f"git clone https://bob:{PASSWORD}@example.org/x.git", PASSWORD),
        (f"::add-mask::{PASSWORD}\nlater {PASSWORD} again", PASSWORD),
        (f"db_password = '{PASSWORD}7xQz'", f"{PASSWORD}7xQz"),
        (f"\x1b[31m{TOKEN[:9]}\x1b[0m{TOKEN[9:]}", TOKEN[9:]),
        (
            "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n-----END PRIVATE KEY-----",
            "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC",
        ),
    ],
    ids=["provider", "address", "add-mask", "assigned", "coloured", "private key"],
)
@pytest.mark.parametrize("step", [1, 5])
def test_an_unknown_secret_by_its_form_is_nowhere(project, text, secret, step):
    project.write("out.txt", text)
    code = f"import os\nd=open('out.txt','rb').read()\nfor a in range(0,len(d),{step}): os.write(1,d[a:a+{step}])"
    # the source tree holds the text on purpose: only its digest may be kept
    done = project.dre("wrap", "--export", "evidence.zip", "--", sys.executable, "-I", "-S", "-c", code)
    assert done.returncode == 0
    project.path.joinpath("out.txt").unlink()
    assert leaks(project.path, {"plain": secret.encode()}) == []


def test_a_large_output_hides_nothing_behind_its_size(project):
    code = (
        "import os,sys\nt=os.environ['DEPLOY_SECRET'].encode()\n"
        "for n in range(300):\n  d=b'line of text %d\\n'%n*4000+b'key '+t+b' end\\n'\n  while d: d=d[os.write(1,d):]"
    )
    done = project.dre("wrap", "--", sys.executable, "-I", "-S", "-c", code, environ={"DEPLOY_SECRET": KNOWN})
    assert done.stdout.count(KNOWN.encode()) == 300
    assert leaks(project.path / ".dre", {"plain": KNOWN.encode()}) == []


def test_redact_is_the_same_chain(project):
    text = f"a {KNOWN} b {TOKEN} c\n".encode()
    done = project.dre("redact", stdin=text, environ={"MY_SECRET": KNOWN})
    assert done.stdout == b"a *** b [masked:github-token] c\n"


RULE = """
[[rules]]
id = "shop-token"
regex = 'shop-[0-9a-f]{8}'
keywords = ["shop-"]
"""


def test_a_file_of_rules_adds_to_the_chain_everywhere(project):
    project.write("rules.toml", RULE)
    project.write("test_a.py", "def test_a():\n    print('shop-12345678')\n    assert 'shop-12345678' == 1\n")
    project.commit("rules")
    environ = {"DRE_MASK__RULES": "rules.toml"}
    assert project.dre("redact", stdin=b"shop-12345678\n", environ=environ).stdout == b"[masked:shop-token]\n"
    done = project.wrap_pytest(environ=environ)
    assert b"shop-12345678" in done.stdout
    shown = json.loads(project.dre("evidence", "show", "--json").stdout)
    masked = {item["name"]: item["masked"] for item in shown["items"]}
    assert masked["stdout"]["shop-token"] >= 2
    (journal,) = (project.path / ".dre").rglob("main.jsonl")
    assert b"[masked:shop-token]" in journal.read_bytes()
    assert b"shop-12345678" not in journal.read_bytes()


def test_a_broken_file_of_rules_stops_before_the_command(project):
    project.write("rules.toml", "[[rules]]\nid = 'a'\nregex = '('\n")
    environ = {"DRE_MASK__RULES": "rules.toml"}
    done = project.dre("wrap", "--", "touch", "ran", environ=environ)
    assert done.returncode == 125
    assert done.stderr.decode().startswith("dre: error: mask.rules: ")
    assert not (project.path / "ran").exists()
    done = project.dre("redact", stdin=b"x", environ=environ)
    assert (done.returncode, done.stdout) == (2, b"")


def test_what_was_masked_is_counted_by_rule_in_each_item(project):
    code = f"print('a {TOKEN}'); print('b {TOKEN} {KNOWN}'); import sys; print('{KNOWN}', file=sys.stderr)"
    project.dre("wrap", "--", sys.executable, "-c", code, environ={"DEPLOY_TOKEN": KNOWN})
    shown = json.loads(project.dre("evidence", "show", "--json").stdout)
    masked = {item["name"]: item["masked"] for item in shown["items"]}
    assert masked["stdout"] == {"github-token": 2, "known-value": 1}
    assert masked["stderr"] == {"known-value": 1}
    lines = project.dre("evidence", "show").stdout.decode().splitlines()
    (stdout,) = [line for line in lines if line.startswith("  stdout ")]
    assert stdout.endswith("  masked: github-token 2, known-value 1")


def test_a_secret_in_names_and_addresses_is_nowhere(project):
    """Names of files and branches, globs, remotes, variables: whatever is recorded beside the output."""
    secret = PASSWORD
    project.git("remote", "add", "origin", f"https://bob:{secret}@example.org/{secret}/n.git")
    project.write(f"tracked-{secret}.txt", "x")
    project.commit(f"with {secret}")
    project.git("checkout", "-q", "-b", f"branch-{secret}")
    project.write(f"tracked-{secret}.txt", "changed")
    project.write(f"untracked-{secret}.txt", "x")
    project.write("shop.py", f"KEY = '{secret}'\n")
    code = (
        f"open('made-{secret}.txt', 'w'); open('junit-{secret}.xml', 'w').write('<testsuite/>'); "
        "import time; time.sleep(0.3)"
    )
    words = (
        "--artifact",
        f"made-{secret}.*",
        "--junit",
        f"junit-{secret}.xml",
        "--artifact",
        f"none-{secret}",
    )
    project.write(
        "dre.yaml", "triggers: {t: {when: [start, complete], collect: [files, source, processes]}}\n"
    )
    environ = {"DEPLOY_PASSWORD": secret, "PYTHONPATH": f"/opt/{secret}", "CI": "1", "GITHUB_ACTIONS": "true",
               "GITHUB_REF": f"refs/heads/{secret}", "GITHUB_REPOSITORY": "o/n"}  # fmt: skip
    done = project.dre(
        "wrap", "--export", "evidence.zip", *words, "--", sys.executable, "-c", code, environ=environ
    )
    assert done.returncode == 0
    (project.path / "evidence.zip").rename(project.path / ".dre" / "evidence.zip")
    assert leaks(project.path / ".dre", {"plain": secret.encode()}) == []


def test_nothing_in_the_checkout_switches_masking_off(project):
    project.write(".gitleaks.toml", "[allowlist]\nregexes = ['.*']\n")
    project.write(".secrets.baseline", json.dumps({"results": {"stdout": [{"hashed_secret": "*"}]}}))
    project.write(".gitleaksignore", "*\n")
    code = f"print('{TOKEN}  # gitleaks:allow'); print('{TOKEN}  # pragma: allowlist secret')"
    project.dre("wrap", "--", sys.executable, "-c", code)
    assert leaks(project.path / ".dre", {"plain": TOKEN.encode()}) == []

"""Encrypted evidence: what everybody can check, what only key holders can read, and what nobody may change."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from dre_core.crypto import aead
from dre_core.crypto.payload_key import ITERATIONS, PayloadKey, find_key
from dre_core.errors import FormatError, IntegrityError, LockedError
from dre_core.model.encryption import MAX_ITERATIONS, MIN_ITERATIONS, Encryption, Method, Wrap
from dre_core.model.fields import Fields
from dre_core.pipeline.cipher import Cipher

OPERATION = "op_01m814yb7pff3r3611rakj2y4f"
SECRET = {"DRE_PASSPHRASE": "correct horse", "DRE_EVIDENCE__ENCRYPT": "true"}


@pytest.fixture
def recorded(project, tmp_path, own_home):
    """An archive of an encrypted run, and the runner's public key; the passphrase is set for this run only."""
    done = project.dre("wrap", "--", "sh", "-c", "seq 1 5000; echo the word is swordfish", environ=SECRET)
    assert done.returncode == 0, done.stderr
    archive, key = tmp_path / "evidence.zip", tmp_path / "key.pem"
    project.dre("evidence", "export", "--output", str(archive))
    key.write_bytes(project.dre("keys", "public", environ=SECRET).stdout)
    return archive, key


def test_with_and_without_the_passphrase(project, recorded):
    archive, key = recorded
    assert b"swordfish" not in archive.read_bytes()
    everything = b"".join(path.read_bytes() for path in (project.path / ".dre").rglob("*") if path.is_file())
    assert everything.count(b"swordfish") == everything.count(b"the word is swordfish")
    # The command line stands in the Statement; what it printed stands nowhere in the clear.
    assert b"4998\n4999\n5000" not in everything

    document = json.loads(project.dre("evidence", "show", str(archive), "--json").stdout)
    assert document["encryption"]["wraps"][0]["iterations"] == ITERATIONS
    items = {item["name"]: item for item in document["items"]}
    assert items["stdout"]["codecs"] == ["zstd", "chunked-aes-256-gcm"]
    assert items["stdout"]["plainDigest"] == ""
    assert items["stdout"]["plainMac"].startswith("hmac-sha256:")
    assert items["trust-certificate"]["codecs"] == []
    assert b"encrypted" in project.dre("evidence", "show", str(archive)).stdout

    locked = project.verdict(str(archive), "--key", str(key))
    assert locked["verdict"] == "inconclusive"
    assert locked["integrity"]["result"] == "valid"
    assert "DRE_PASSPHRASE" in json.dumps(locked)
    wrong = project.verdict(str(archive), "--key", str(key), environ={"DRE_PASSPHRASE": "wrong"})
    assert "does not open" in json.dumps(wrong)
    opened = project.verdict(str(archive), "--key", str(key), environ=SECRET)
    assert "evidence-readable" not in project.findings(opened)
    assert "verifier-failed" not in project.findings(opened)

    done = project.dre("evidence", "cat", "stdout", str(archive))
    assert done.returncode == 2
    assert b"DRE_PASSPHRASE" in done.stderr
    done = project.dre("evidence", "cat", "stdout", str(archive), environ=SECRET)
    assert done.stdout.endswith(b"5000\nthe word is swordfish\n")
    page = ("report", "generate", "--format", "html")
    assert b"the word is swordfish\n" in project.dre(*page, environ=SECRET).stdout
    assert b"the word is swordfish\n" not in project.dre(*page).stdout
    part = project.dre("evidence", "cat", "stdout", "--offset", "2", "--length", "4", environ=SECRET)
    assert part.stdout == b"2\n3\n"


def test_a_changed_payload_is_noticed_by_everybody(project, recorded, tmp_path):
    from dre_core.store.bundle import Archive, Member, write_archive

    archive, key = recorded
    with Archive.open(archive) as opened:
        members = {name: bytearray(opened.read(name, 1 << 26)) for name in opened.names}
    blob = max((name for name in members if name.startswith("blobs/")), key=lambda name: len(members[name]))
    members[blob][-1] ^= 1
    write_archive(archive, [Member(name=name, source=bytes(data)) for name, data in members.items()])
    for environ in ({}, SECRET):
        assert project.dre("verify", str(archive), "--key", str(key), environ=environ).returncode == 3


def test_pytest_is_recorded_and_judged_at_once(project):
    done = project.pytest("--dre", "-q", environ=SECRET)
    assert done.returncode == 0, done.stdout + done.stderr
    assert b"SUPPORTED" in done.stdout
    (folder,) = (project.path / ".dre" / "experiments").iterdir()
    assert not (folder / "journal").exists()
    assert project.verdict(environ=SECRET)["verdict"] == "supported"
    assert project.verdict()["verdict"] == "inconclusive"


def test_nothing_is_recorded_in_the_clear_for_want_of_a_passphrase(project):
    done = project.dre("wrap", "--", "touch", "ran", environ={"DRE_EVIDENCE__ENCRYPT": "true"})
    assert done.returncode == 125
    assert b"DRE_PASSPHRASE or DRE_RECIPIENTS" in done.stderr
    assert not (project.path / "ran").exists()


def test_the_command_does_not_see_the_passphrase(project):
    done = project.dre("wrap", "--", "env", environ={**SECRET, "DRE_IDENTITY_FILE": "/nowhere"})
    assert done.returncode == 0
    assert b"correct horse" not in done.stdout
    assert b"DRE_IDENTITY_FILE" not in done.stdout


def test_age_recipients_can_read_what_the_runner_cannot(project, tmp_path):
    pyrage = pytest.importorskip("pyrage", reason="the extra age is not installed")
    identity, other = pyrage.x25519.Identity.generate(), pyrage.x25519.Identity.generate()
    file = tmp_path / "identity.txt"
    file.write_text(f"# mine\n{identity}\n")
    file.chmod(0o600)
    recipients = {"DRE_RECIPIENTS": f"{identity.to_public()},{other.to_public()}"}
    assert project.dre("wrap", "--", "echo", "for you only", environ=recipients).returncode == 0
    assert project.dre("evidence", "cat", "stdout", environ=recipients).returncode == 2
    done = project.dre("evidence", "cat", "stdout", environ={"DRE_IDENTITY_FILE": str(file)})
    assert done.stdout == b"for you only\n", done.stderr
    file.chmod(0o644)
    done = project.dre("evidence", "cat", "stdout", environ={"DRE_IDENTITY_FILE": str(file)})
    assert done.returncode == 2
    assert b"read or written by others" in done.stderr
    done = project.dre("wrap", "--", "true", environ={"DRE_RECIPIENTS": "age1nobody"})
    assert done.returncode == 125
    assert b"not an age recipient" in done.stderr


def test_constant_memory(tmp_path):
    """64 MiB that do not compress, in and out, in a process that may not hold half of them."""
    program = """
import os, resource, sys
from dre_core.crypto.payload_key import PayloadKey
from dre_core.pipeline.cipher import Cipher
cipher = Cipher(PayloadKey.new("op_x"))
block = os.urandom(1 << 20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
total = sum(len(c) for c in cipher.decode(cipher.encode(block for _ in range(64))))
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
assert total == 64 << 20
print(grown)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 24 << 10


def test_a_key_is_bound_to_its_operation():
    key = PayloadKey.new(OPERATION)
    wrap = key.for_passphrase(b"word", MIN_ITERATIONS)
    encryption = Encryption(wraps=(wrap,))
    found = find_key(encryption, OPERATION, b"word", ())
    stored = b"".join(Cipher(key).encode([b"plain"]))
    assert b"".join(Cipher(found).decode([stored])) == b"plain"
    with pytest.raises(LockedError):
        find_key(encryption, OPERATION[:-1] + "0", b"word", ())
    with pytest.raises(LockedError):
        find_key(encryption, OPERATION, b"other", ())
    with pytest.raises(LockedError):
        find_key(encryption, OPERATION, None, ())
    with pytest.raises(IntegrityError):
        list(Cipher(PayloadKey.new(OPERATION)).decode([stored]))
    with pytest.raises(FormatError):
        list(Cipher(key).decode([stored[:10]]))
    with pytest.raises(FormatError):
        list(Cipher(key).decode([stored], limit_bytes=4))
    assert "key" not in repr(key).replace("PayloadKey", "")


@pytest.mark.parametrize(
    "change",
    [
        {"iterations": MIN_ITERATIONS - 1},
        {"iterations": MAX_ITERATIONS + 1},
        {"iterations": "600000"},
        {"kdf": "scrypt"},
        {"salt": "AAAA"},
        {"salt": ""},
        {"data": "*"},
        {"method": "none"},
    ],
)
def test_parameters_are_bounded_before_they_are_used(change):
    wrap = PayloadKey.new(OPERATION).for_passphrase(b"word", MIN_ITERATIONS)
    document = {"codec": "chunked-aes-256-gcm", "wraps": [{**wrap.to_json(), **change}]}
    with pytest.raises(FormatError):
        Encryption.parse(Fields(document))


def test_round_trip_of_the_document():
    wraps = (
        PayloadKey.new(OPERATION).for_passphrase(b"word", MIN_ITERATIONS),
        Wrap(method=Method.AGE, data=b"age"),
    )
    encryption = Encryption(wraps=wraps)
    assert Encryption.parse(Fields(encryption.to_json())) == encryption
    for broken in ({"codec": "none", "wraps": []}, {"codec": "chunked-aes-256-gcm", "wraps": []}):
        with pytest.raises(FormatError):
            Encryption.parse(Fields(broken))


@pytest.mark.parametrize("sizes", [(), (0,), (1,), (16384,), (16383, 1), (16384, 16384), (5, 40000, 7)])
def test_what_is_pushed_is_what_is_pulled(sizes):
    key, salt = b"k" * 32, b"s" * 24
    chunks = [bytes([size % 251]) * size for size in sizes]
    sealer = aead.Sealer(key, salt=salt)
    pushed = b"".join([*(sealer.compress(chunk) for chunk in chunks), sealer.flush()])
    assert pushed == b"".join(aead.seal_stream(key, chunks, salt=salt))
    assert b"".join(aead.open_stream(key, [pushed])) == b"".join(chunks)


def test_reports_show_what_the_passphrase_opens_and_name_what_it_does_not(project, recorded):
    archive, key = recorded
    words = ("report", "generate", str(archive), "--key", str(key), "--format", "html")
    assert b"the word is swordfish</" not in project.dre(*words).stdout
    assert b"DRE_PASSPHRASE" in project.dre(*words).stdout
    assert b"4998\n4999\n5000" in project.dre(*words, environ=SECRET).stdout

"""Countersignatures, thresholds and the change of keys, from the command line, as runner and second party do it."""

from __future__ import annotations

import json
import sys
import zipfile

import pytest

from dre_core.crypto.dsse import Envelope
from dre_core.crypto.keys import Signer, write_private_key
from dre_core.model import canonical
from dre_core.store.bundle import Archive, Member, write_archive

COUNT = "countersignatures"
PYTEST = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider")


@pytest.fixture
def second(tmp_path):
    """The second party: its private key's file, its public key's, and the environment that hands the key over."""
    signer = Signer.generate("ecdsa-p256")
    private = write_private_key(tmp_path / "second", signer)
    public = tmp_path / "second.pem"
    public.write_bytes(signer.public.pem())
    return private, public, {"DRE_SIGNING_KEY_FILE": str(private)}


def keep_public(project, path, environ=None):
    path.write_bytes(project.dre("keys", "public", environ=environ).stdout)
    return path


def policy(project, name, *keys, **more):
    """A policy file that names (public key, roles)."""
    entries = [{"file": str(path), "roles": roles} for path, roles in keys]
    return str(project.write(name, json.dumps({"keys": entries, **more})))


@pytest.fixture
def recorded(project, tmp_path):
    """A run of level 3 on a clean tree, re-executed from a clean clone; and the runner's public key."""
    done = project.dre("wrap", "--replay=clean", "--", *PYTEST, "--dre", "-q")
    assert done.returncode == 0, done.stderr
    return keep_public(project, tmp_path / "runner.pem")


@pytest.mark.faces
def test_level_four(project, recorded, second, tmp_path):
    archive = tmp_path / "evidence.zip"
    project.dre("evidence", "export", "--output", str(archive))
    rules = policy(project, "../policy.yaml", (recorded, ["runner"]), (second[1], ["countersigner"]))
    before = project.verdict(str(archive), "--policy", rules)
    assert (before["verdict"], before["level"], before["replayed"]) == ("supported", 3, True)

    done = project.dre("countersign", str(archive), "--policy", rules, "--json", environ=second[2])
    assert done.returncode == 0, done.stderr
    (signed,) = json.loads(done.stdout)["operations"]
    assert (signed["verdict"], signed["level"], len(signed["payloads"])) == ("supported", 3, 2)
    after = project.verdict(str(archive), "--policy", rules)
    assert (after["verdict"], after["level"]) == ("supported", 4)
    assert COUNT in {check["id"] for check in after["integrity"]["checks"] if check["passed"]}
    # The same archive for somebody who trusts nobody to countersign.
    assert project.verdict(str(archive), "--key", str(recorded))["level"] == 3
    # A runner that countersigns for itself is no second party.
    both = policy(project, "../both.yaml", (recorded, ["runner"]), (second[1], ["runner", "countersigner"]))
    assert project.verdict(str(archive), "--policy", both)["level"] == 3

    # Taken in where the run was recorded, it counts there, and is exported again.
    assert project.dre("evidence", "import", str(archive)).returncode == 0
    assert project.verdict("--policy", rules)["level"] == 4
    assert b"nothing new" in project.dre("evidence", "import", str(archive)).stdout
    again = tmp_path / "again.zip"
    project.dre("evidence", "export", "--output", str(again))
    assert again.read_bytes() == archive.read_bytes()
    minimum = policy(
        project, "../four.yaml", (recorded, ["runner"]), (second[1], ["countersigner"]), minimum_level=4
    )
    assert project.dre("verify", str(archive), "--policy", minimum).returncode == 0


@pytest.fixture
def archive(project, tmp_path):
    """A small archive, countersigned; the runner's key; what it was before."""
    project.dre("wrap", "--", "true")
    path = tmp_path / "evidence.zip"
    project.dre("evidence", "export", "--output", str(path))
    return path, keep_public(project, tmp_path / "runner.pem")


def test_without_a_second_party_nothing_is_gained(project, archive, second):
    path, runner = archive
    rules = policy(project, "../policy.yaml", (runner, ["runner"]), (second[1], ["countersigner"]))
    done = project.dre("countersign", "--policy", rules)
    assert done.returncode == 2
    assert b"sealed this run itself" in done.stderr
    # Not trusted, not signed; and not intact, not signed.
    done = project.dre("countersign", str(path), environ=second[2])
    assert (done.returncode, b"not signed" in done.stderr) == (5, True)
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    assert project.dre("countersign", str(path), "--key", str(runner), environ=second[2]).returncode == 3
    assert path.read_bytes() == raw
    assert project.dre("countersign", "--signer", "env:NOBODY", "--key", str(runner)).returncode == 2


def test_an_archive_is_countersigned_in_place_or_elsewhere(project, archive, second, tmp_path):
    path, runner = archive
    before = path.read_bytes()
    elsewhere = tmp_path / "signed.zip"
    words = ("countersign", str(path), "--key", str(runner), "--output", str(elsewhere))
    assert project.dre(*words, "--signer", f"file:{second[0]}").returncode == 0
    assert path.read_bytes() == before
    assert project.dre("verify", str(elsewhere), "--key", str(runner)).returncode == 4
    shown = project.dre("evidence", "show", str(elsewhere)).stdout
    assert b"\nsigned by " in shown
    assert b"\ncountersigned by " in shown
    with zipfile.ZipFile(elsewhere) as opened, zipfile.ZipFile(path) as old:
        new = set(opened.namelist()) - set(old.namelist())
        assert {name.partition("/")[0] for name in new} == {COUNT, "keys"}


def hostile(members, name):
    """Content of the archive by what is wrong with its countersignatures."""
    lines = members[name].splitlines(keepends=True)
    envelope = Envelope.parse(lines[0])
    key = Signer.generate()
    known = {**members, f"keys/{key.keyid}.pem": key.public.pem()}
    subject = [{"name": "run", "digest": {"sha256": "0" * 64}}]
    other = canonical.dumps({**json.loads(envelope.payload), "subject": subject})
    about_other = Envelope.sign(envelope.payload_type, other, [key]).to_bytes() + b"\n"
    forged = Envelope.sign(envelope.payload_type, envelope.payload, [key]).to_bytes() + b"\n"
    renamed = forged.replace(key.keyid.encode(), envelope.signatures[0].keyid.encode())
    yield "another run's", {**known, name: about_other}
    yield "a foreign key with a known id", {**members, name: renamed}
    yield "a changed signature", {**members, name: lines[0].replace(b'"sig":"', b'"sig":"AAAA', 1) + lines[1]}
    yield "no signature", {**members, name: lines[0].split(b'"signatures"')[0] + b'"signatures":[]}\n'}
    yield "cut off", {**members, name: members[name][:-1]}
    yield "too many to check", {**members, name: lines[0] * 1001}
    yield "no envelope", {**members, name: b"{}\n"}
    moved = name.replace(name[-20:-13], "0000000")
    yield "no operation", {moved if each == name else each: data for each, data in members.items()}


def test_a_countersignature_that_is_not_one_is_refused(project, archive, second, tmp_path):
    path, runner = archive
    signed = tmp_path / "signed.zip"
    words = ("--key", str(runner), "--output", str(signed))
    assert project.dre("countersign", str(path), *words, environ=second[2]).returncode == 0
    with Archive.open(signed) as opened:
        members = {name: opened.read(name, 1 << 26) for name in opened.names}
    (name,) = [name for name in members if name.startswith(COUNT)]
    for what, content in hostile(members, name):
        write_archive(signed, [Member(name=each, source=data) for each, data in content.items()])
        done = project.dre("verify", str(signed), "--key", str(runner))
        assert done.returncode == 3, (what, done.stdout, done.stderr)
        assert b"Traceback" not in done.stderr


def test_two_of_two_keys(project, archive, second, tmp_path):
    path, runner = archive
    rules = policy(project, "../policy.yaml", (runner, ["runner"]), (second[1], ["runner"]), signatures=2)
    verdict = project.verdict(str(path), "--policy", rules)
    assert verdict["verdict"] == "untrusted"
    assert "1 of 2" in json.dumps(verdict["integrity"])
    one = policy(project, "../one.yaml", (runner, ["runner"]))
    words = ("countersign", str(path), "--policy", one, "--cosign")
    assert project.dre(*words, environ=second[2]).returncode == 0
    assert project.verdict(str(path), "--policy", rules)["verdict"] == "inconclusive"
    # The same key twice is one key.
    assert project.dre(*words, environ=second[2]).returncode == 0
    three = policy(project, "../three.yaml", (runner, ["runner"]), (second[1], ["runner"]), signatures=3)
    assert project.verdict(str(path), "--policy", three)["verdict"] == "untrusted"


@pytest.mark.faces
def test_several_keys_at_once_sign_one_envelope(project, second, tmp_path):
    first = Signer.generate()
    both = tmp_path / "both.pem"
    both.write_bytes(first.pem() + second[0].read_bytes())
    both.chmod(0o600)
    environ = {"DRE_SIGNING_KEY_FILE": str(both)}
    assert project.dre("wrap", "--", "true", environ=environ).returncode == 0
    (path,) = (project.path / ".dre" / "experiments").glob("*/run.intoto.jsonl")
    for line in path.read_bytes().splitlines():
        assert len(json.loads(line)["signatures"]) == 2
    archive = tmp_path / "evidence.zip"
    project.dre("evidence", "export", "--output", str(archive), environ=environ)
    (tmp_path / "first.pem").write_bytes(first.public.pem())
    keys = [(tmp_path / "first.pem", ["runner"]), (second[1], ["runner"])]
    for rules in (
        policy(project, "../two.yaml", *keys, signatures=2),
        policy(project, "../old.yaml", keys[0]),
        policy(project, "../new.yaml", keys[1]),
    ):
        assert project.verdict(str(archive), "--policy", rules)["verdict"] == "inconclusive"


@pytest.mark.faces
def test_keys_change_with_an_overlap(project, tmp_path):
    project.dre("init")
    old = keep_public(project, tmp_path / "old.pem")
    assert project.dre("keys", "rotate", "--type", "ecdsa-p256").returncode == 0
    new = keep_public(project, tmp_path / "new.pem")
    assert old.read_bytes() != new.read_bytes()
    rows = json.loads(project.dre("keys", "list", "--json").stdout)["keys"]
    assert [row["signs"] for row in rows].count(True) == 2

    def trusted_by(key):
        path = tmp_path / "evidence.zip"
        project.dre("wrap", "--", "true")
        project.dre("evidence", "export", "--output", str(path))
        return project.dre("verify", str(path), "--key", str(key)).returncode == 4

    assert trusted_by(old)
    assert trusted_by(new)
    (keyid,) = [row["keyid"] for row in rows if not row["default"] and row["signs"]]
    assert project.dre("keys", "retire", keyid[:12]).returncode == 0
    assert trusted_by(new)
    assert not trusted_by(old)
    # What was sealed before, by whichever keys, is one's own as before.
    rows = json.loads(project.dre("evidence", "list", "--json").stdout)["operations"]
    assert project.verdict(rows[0]["operation"])["verdict"] == "inconclusive"
    last = project.dre("keys", "retire", json.loads(project.dre("keys", "public", "--json").stdout)["keyid"])
    assert last.returncode == 2
    assert b"only key" in last.stderr


def test_a_countersignature_stands_in_the_log(project, archive, second):
    _, runner = archive
    rules = policy(project, "../policy.yaml", (runner, ["runner"]), (second[1], ["countersigner"]))
    assert project.dre("countersign", "--policy", rules, environ=second[2]).returncode == 0
    log = json.loads(project.dre("log", "list", "--type", "evidence.countersigned", "--json").stdout)
    assert len(log["events"]) == 1
    assert project.dre("log", "check").returncode == 0
    assert project.verdict()["verdict"] == "inconclusive"

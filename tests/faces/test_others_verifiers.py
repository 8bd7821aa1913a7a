"""Other people's verifiers accept what is exported, and refuse it after one changed byte."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from dre_core.crypto.keys import KEY_TYPES, PublicKey
from tests.faces.conftest import npm_install

pytestmark = pytest.mark.faces

TOOLS = Path(tempfile.gettempdir()) / "dre-test-tools"
NODE_PACKAGES = ("@sigstore/bundle@5", "@sigstore/verify@4")
VERIFY_BUNDLE = """
const { bundleFromJSON } = require("@sigstore/bundle");
const { Verifier, toSignedEntity } = require("@sigstore/verify");
const { createPublicKey } = require("crypto");
const fs = require("fs");
const [bundle, pem, keyid] = process.argv.slice(2);
const publicKey = createPublicKey(fs.readFileSync(pem));
const material = {
  certificateAuthorities: [], timestampAuthorities: [], tlogs: [], ctlogs: [],
  publicKey: (hint) => {
    if (hint !== keyid) throw new Error("asked for another key: " + hint);
    return { publicKey, validFor: () => true };
  },
};
const none = { tlogThreshold: 0, ctlogThreshold: 0, timestampThreshold: 0, tsaThreshold: 0 };
const entity = toSignedEntity(bundleFromJSON(JSON.parse(fs.readFileSync(bundle))));
new Verifier(material, none).verify(entity);
"""


@pytest.fixture(scope="session")
def node_tools():
    """A folder with sigstore's packages for Node."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    folder = TOOLS / "sigstore"
    if not folder.is_dir():
        TOOLS.mkdir(exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=TOOLS))
        npm_install(["npm"], "--prefix", str(fresh), *NODE_PACKAGES, cwd=fresh)
        (fresh / "verify.js").write_text(VERIFY_BUNDLE)
        with contextlib.suppress(OSError):  # another worker was faster
            fresh.rename(folder)
    return folder


@pytest.fixture(params=KEY_TYPES)
def sealed(request, project, tmp_path):
    """A project with one sealed run; its public key's file."""
    assert project.dre("init", "--key-type", request.param).returncode == 0
    project.write("out.txt", "made\n")
    done = project.dre(
        "wrap", "--name", "test", "--artifact", "out.txt", "--", "sh", "-c", "echo übung; echo made"
    )
    assert done.returncode == 0
    path = tmp_path / "key.pem"
    path.write_bytes(project.dre("keys", "public").stdout)
    return path


def exported(project, tmp_path, *words):
    path = tmp_path / "exported"
    done = project.dre("evidence", "export", *words, "--output", str(path))
    assert done.returncode == 0, done.stderr
    return path


def changed(document):
    """The same document with one byte of the payload changed."""
    envelope = document.get("dsseEnvelope", document)
    payload = bytearray(base64.b64decode(envelope["payload"]))
    payload[len(payload) // 2] ^= 1
    fresh = {**envelope, "payload": base64.b64encode(bytes(payload)).decode()}
    return {**document, "dsseEnvelope": fresh} if "dsseEnvelope" in document else fresh


def test_sigstore(node_tools, sealed, project, tmp_path):
    lines = exported(project, tmp_path, "--as", "sigstore-bundle").read_bytes().splitlines()
    assert len(lines) >= 2
    keyid = PublicKey.parse_pem(sealed.read_bytes()).keyid
    one = tmp_path / "bundle.json"

    def accepts(document):
        one.write_text(json.dumps(document))
        words = ["node", str(node_tools / "verify.js"), str(one), str(sealed), keyid]
        return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)

    for line in lines:
        done = accepts(json.loads(line))
        assert done.returncode == 0, done.stderr
    document = json.loads(lines[0])
    assert "signature verification failed" in accepts(changed(document)).stderr
    document["verificationMaterial"]["publicKey"]["hint"] = "0" * 64
    assert "asked for another key" in accepts(document).stderr


def test_securesystemslib(sealed, project, tmp_path):
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import VerificationError
    from securesystemslib.signer import SSlibKey

    ours = PublicKey.parse_pem(sealed.read_bytes())
    key = SSlibKey.from_crypto(load_pem_public_key(ours.pem()), keyid=ours.keyid, scheme=ours.scheme)
    lines = exported(project, tmp_path, "--as", "dsse").read_bytes().splitlines()
    for line in lines:
        document = json.loads(line)
        assert list(Envelope.from_dict(document).verify([key], 1)) == [ours.keyid]
        with pytest.raises(VerificationError):
            Envelope.from_dict(changed(json.loads(line))).verify([key], 1)
    (only,) = exported(project, tmp_path, "--as", "dsse", "--predicate", "run").read_bytes().splitlines()
    assert only == lines[0]


def layout_of(key_dict, keyid, path):
    """A layout with one step by the key, signed by a key of its own; and that key's file."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    from in_toto.models.layout import Layout, Step
    from in_toto.models.metadata import Envelope
    from securesystemslib.signer import CryptoSigner

    layout = Layout()
    layout.keys = {keyid: key_dict}
    step = Step(name="test")
    step.pubkeys = [keyid]
    step.set_expected_command_from_string("sh -c 'echo übung; echo made'")
    step.expected_products = [
        ["CREATE", "out.txt"],
        ["MODIFY", "source-tree"],
        ["ALLOW", "source-tree"],
        ["DISALLOW", "*"],
    ]
    layout.steps = [step]
    layout.set_relative_expiration(days=1)
    private = Ed25519PrivateKey.generate()
    owner = CryptoSigner(private)
    envelope = Envelope.from_signable(layout)
    envelope.create_signature(owner)
    envelope.dump(str(path / "root.layout"))
    pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (path / "owner.pem").write_bytes(pem)


def test_in_toto_verify(sealed, project, tmp_path):
    pytest.importorskip("in_toto", reason="in-toto is not installed")
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from securesystemslib.signer import SSlibKey

    folder = tmp_path / "links"
    folder.mkdir()
    done = project.dre("evidence", "export", "--as", "in-toto-link", "--output", str(folder), "--json")
    assert done.returncode == 0, done.stderr
    link = Path(json.loads(done.stdout)["file"])
    ours = PublicKey.parse_pem(sealed.read_bytes())
    assert link.name == f"test.{ours.keyid[:8]}.link"
    key = SSlibKey.from_crypto(load_pem_public_key(ours.pem()), keyid=ours.keyid, scheme=ours.scheme)
    layout_of({"keyid": ours.keyid, **key.to_dict()}, ours.keyid, folder)

    def verified():
        words = [
            str(Path(sys.executable).with_name("in-toto-verify")),
            "-l",
            "root.layout",
            "--verification-keys",
            "owner.pem",
        ]
        return subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=60, check=False)

    done = verified()
    assert done.returncode == 0, done.stderr
    document = json.loads(link.read_bytes())
    by_products = json.loads(base64.b64decode(document["payload"]))["byproducts"]
    assert by_products == {"stdout": "übung\nmade\n", "stderr": "", "return-value": 0}
    link.write_text(json.dumps(changed(document)))
    assert verified().returncode == 1


def test_a_link_is_made_of_ones_own_intact_operation_only(project, tmp_path):
    project.dre("wrap", "--", "true")
    (path,) = (project.path / ".dre" / "experiments").glob("*/run.intoto.jsonl")
    path.write_bytes(path.read_bytes().replace(b'"sig":"', b'"sig":"AAAA', 1))
    done = project.dre("evidence", "export", "--as", "in-toto-link", "--output", str(tmp_path / "x"))
    assert done.returncode == 2
    assert not (tmp_path / "x").exists()
    for words in (
        ("--predicate", "run"),
        ("--as", "dsse", "--predicate", "nothing"),
        ("--as", "in-toto-link", "--predicate", "run"),
    ):
        done = project.dre("evidence", "export", *words, "--output", str(tmp_path / "x"))
        assert done.returncode == 2, words


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl_by_the_lines_of_the_readme(sealed, project, tmp_path):
    """The archive's README.txt as a shell script, word for word."""
    archive = exported(project, tmp_path)
    folder = tmp_path / "unpacked"
    shutil.unpack_archive(archive, folder, "zip")
    (attestation,) = (folder / "attestations").iterdir()
    text = (folder / "README.txt").read_text()
    script = "\n".join(
        line.strip() for line in text.splitlines() if line.startswith("  ") and ":  " not in line
    )
    kind = "Ed25519" if PublicKey.parse_pem(sealed.read_bytes()).scheme == "ed25519" else "RSA, ECDSA"
    (check,) = [line.split(":", 1)[1] for line in text.splitlines() if line.strip().startswith(f"{kind}:")]
    script = f"set -e\n{script}\n{check}\n".replace("OPERATION", attestation.name.partition(".")[0])
    script = script.replace("PUBLIC.pem", str(sealed))

    def verified():
        return subprocess.run(["sh", "-c", script], cwd=folder, capture_output=True, timeout=60, check=False)

    done = verified()
    assert done.returncode == 0, done.stderr
    lines = attestation.read_bytes().splitlines()
    document = changed(json.loads(lines[0]))
    attestation.write_text(json.dumps(document, sort_keys=True, separators=(",", ":")) + "\n")
    assert verified().returncode != 0


def test_pymerkle_computes_the_same_tree(project):
    pymerkle = pytest.importorskip("pymerkle", reason="pymerkle is not installed")
    from dre_core.store.log import Log

    for _ in range(3):
        project.dre("wrap", "--", "true")
    with Log.open(project.path / ".dre" / "log.db", read_only=True) as log:
        tree = pymerkle.InmemoryTree(algorithm="sha256")
        for index in range(log.size):
            tree.append_entry(log.leaf(index))
        assert tree.get_root() == log.root()
        for size in (1, 2, log.size // 2, log.size):
            assert tree.get_root(size) == log.root(size)
        proof = tree.prove_inclusion(3, log.size)
        pymerkle.verify_inclusion(tree.get_leaf(3), tree.get_root(), proof)


GO_PROGRAM = """
package main

import (
	"fmt"
	"os"
	"encoding/base64"
	"strings"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func main() {
	verifier, err := note.NewVerifier(os.Args[1])
	if err != nil { panic(err) }
	data, _ := os.ReadFile(os.Args[2])
	opened, err := note.Open(data, note.VerifierList(verifier))
	if err != nil { fmt.Println("refused:", err); os.Exit(1) }
	lines := strings.Split(opened.Text, "\\n")
	var size int64
	fmt.Sscan(lines[1], &size)
	root, _ := base64.StdEncoding.DecodeString(lines[2])
	var tree tlog.Hash
	copy(tree[:], root)
	leaf, _ := os.ReadFile(os.Args[3])
	var index int64
	fmt.Sscan(os.Args[4], &index)
	var proof tlog.RecordProof
	for _, text := range os.Args[5:] {
		hash, _ := base64.StdEncoding.DecodeString(text)
		var one tlog.Hash
		copy(one[:], hash)
		proof = append(proof, one)
	}
	if err := tlog.CheckRecord(proof, size, tree, index, tlog.RecordHash(leaf)); err != nil {
		fmt.Println("refused:", err)
		os.Exit(1)
	}
}
"""


@pytest.mark.skipif(shutil.which("go") is None, reason="go is not installed")
@pytest.mark.skipif(
    not Path("/usr/share/gocode/src/golang.org/x/mod").is_dir(), reason="x/mod is not installed"
)
def test_go_opens_the_checkpoint_and_checks_the_proof(project, tmp_path):
    from dre_core.crypto.note import parse_proof

    project.dre("wrap", "--", "true")
    (path,) = (project.path / ".dre" / "experiments").glob("*/run.tlog-proof")
    proof = parse_proof(path.read_text())
    origin = proof.checkpoint_note.split("\n")[0]
    line = proof.checkpoint_note.rstrip("\n").rsplit(" ", 1)[1]
    keyhash = base64.b64decode(line)[:4].hex()
    (pem,) = [
        key
        for key in (
            PublicKey.parse_pem(p.read_bytes()) for p in (project.path / ".dre" / "keys").glob("*.pem")
        )
        if _note_hash(origin, key) == keyhash
    ]
    verifier = f"{origin}+{keyhash}+{base64.b64encode(bytes([1]) + pem.der[-32:]).decode()}"
    source = tmp_path / "gopath" / "src" / "check" / "main.go"
    source.parent.mkdir(parents=True)
    source.write_text(GO_PROGRAM)
    environ = {
        **os.environ,
        "GOPATH": f"{tmp_path / 'gopath'}:/usr/share/gocode",
        "GO111MODULE": "off",
        "GOCACHE": str(TOOLS / "go-cache"),
        "GOFLAGS": "",
    }
    program = tmp_path / "check"
    subprocess.run(["go", "build", "-o", str(program), "check"], env=environ, check=True, timeout=300)
    hashes = [base64.b64encode(item).decode() for item in proof.hashes]
    note_file, leaf = tmp_path / "note", tmp_path / "leaf"

    def accepts(note, data):
        note_file.write_text(note)
        leaf.write_bytes(data)
        words = [str(program), verifier, str(note_file), str(leaf), str(proof.index), *hashes]
        return subprocess.run(words, capture_output=True, timeout=60, check=False).returncode == 0

    assert accepts(proof.checkpoint_note, proof.extra)
    assert not accepts(proof.checkpoint_note.replace(f"\n{proof.index + 1}\n", "\n9999\n", 1), proof.extra)
    assert not accepts(proof.checkpoint_note, proof.extra.replace(b"passed", b"failed"))


def _note_hash(name, key):
    import hashlib

    return hashlib.sha256(f"{name}\n".encode() + b"\x01" + key.der[-32:]).digest()[:4].hex()

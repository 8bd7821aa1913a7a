"""Storage tiers against two independent S3 servers on the loopback interface, and against a folder."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dre_core.errors import IntegrityError, NotFoundError, StorageError, UsageError
from dre_core.store.local import LocalStore
from dre_core.testing import check_backend
from dre_core.tiers import ReadThrough, copy_blob, open_store
from tests.faces.conftest import free_port

pytestmark = [
    pytest.mark.faces,
    pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning"),
]

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE00000",
    "AWS_SECRET_ACCESS_KEY": "example-secret-of-the-test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}
BUCKET = "evidence"


def wait_for(port, process):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    pytest.skip("the server does not start")


@contextlib.contextmanager
def serving(name, folder):
    """Address of an S3 server that runs for the length of the block."""
    pytest.importorskip("boto3", reason="the extra s3 is not installed")
    port = free_port()
    address = f"127.0.0.1:{port}"
    beside = Path(sys.executable).parent
    if name == "moto":
        words = [str(beside / "moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    else:
        (folder / BUCKET).mkdir()
        key = f"{CREDENTIALS['AWS_ACCESS_KEY_ID']},{CREDENTIALS['AWS_SECRET_ACCESS_KEY']}"
        words = [str(beside / "rclone"), "serve", "s3", "--auth-key", key, "--addr", address, str(folder)]
    if not Path(words[0]).exists():
        pytest.skip(f"{name} is not installed")
    environ = {**os.environ, "RCLONE_CONFIG": os.devnull}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(words, env=environ, **quiet) as process:
        try:
            wait_for(port, process)
            yield f"http://{address}"
        finally:
            process.terminate()


@pytest.fixture(scope="module", params=["moto", "rclone"])
def server(request, tmp_path_factory):
    """Address of an S3 server, and its name."""
    with serving(request.param, tmp_path_factory.mktemp("bucket")) as address:
        yield address, request.param


@pytest.fixture
def s3(server, monkeypatch):
    """Opens a store of the server; each test has a prefix of its own."""
    import boto3

    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    client = boto3.session.Session().client("s3", endpoint_url=server[0])
    if server[1] == "moto":
        client.create_bucket(Bucket=BUCKET)
    prefix = os.urandom(4).hex()
    return lambda: open_store(f"s3://{BUCKET}/{prefix}", server[0])


def test_the_contract(s3):
    check_backend(s3)


def test_documents(s3):
    store = s3()
    assert list(store.documents()) == []
    store.put_document("b.json", b"1")
    store.put_document("a.json", b"2")
    store.put_document("b.json", b"3")
    assert (list(store.documents()), store.document("b.json")) == (["a.json", "b.json"], b"3")
    with pytest.raises(NotFoundError):
        store.document("c.json")


def test_a_changed_object_is_never_given_out(s3, server, tmp_path):
    import boto3

    store = s3()
    digest = store.put(b"as it was")
    client = boto3.session.Session().client("s3", endpoint_url=server[0])
    client.put_object(Bucket=BUCKET, Key=store._key(digest), Body=b"as it is!")
    with pytest.raises(IntegrityError):
        store.open(digest)
    assert not store.check(digest)
    local = LocalStore(tmp_path)
    with pytest.raises(IntegrityError):
        ReadThrough(local, [store]).open(digest)
    assert list(local.digests()) == []
    # Another tier that has the right bytes is asked.
    other = LocalStore(tmp_path / "other")
    other.put(b"as it was")
    with ReadThrough(local, [store, other]).open(digest) as stream:
        assert stream.read() == b"as it was"


def test_a_blob_is_not_written_again(s3, server):
    """The condition holds at the server that knows conditions; at the other one the same bytes are written."""
    import boto3
    from botocore.exceptions import ClientError

    store = s3()
    digest = store.put(b"once")
    assert store.put(b"once") == digest
    client = boto3.session.Session().client("s3", endpoint_url=server[0])
    if server[1] == "moto":
        with pytest.raises(ClientError, match="PreconditionFailed"):
            client.put_object(Bucket=BUCKET, Key=store._key(digest), Body=b"twice", IfNoneMatch="*")


@pytest.fixture
def counting(s3):
    """A store, and the names of the calls that its client makes."""
    store = s3()
    calls: list[str] = []
    store._client.meta.events.register("before-call.s3", lambda model, **_: calls.append(model.name))
    return store, calls


def test_a_blob_in_parts(counting):
    store, calls = counting
    data = os.urandom(18 << 20)
    digest = store.put(data)
    made = ["CreateMultipartUpload", *["UploadPart"] * 3, "CompleteMultipartUpload"]
    assert [name for name in calls if name in made] == made
    with store.open(digest) as stream:
        assert stream.read() == data
    assert (store.size(digest), store.check(digest), list(store.digests())) == (len(data), True, [digest])
    # A second time nothing is sent, and a smaller one goes in one request.
    del calls[:]
    assert (store.put(data), calls) == (digest, ["HeadObject"])
    store.put(data[: 16 << 20])
    assert calls[1:] == ["PutObject"]


def test_a_part_that_fails_leaves_no_object(counting, monkeypatch):
    store, calls = counting
    data = os.urandom(18 << 20)
    send = store._client.upload_part

    def failing(**words):
        if words["PartNumber"] == 3:
            raise OSError(5, "Input/output error")
        return send(**words)

    monkeypatch.setattr(store._client, "upload_part", failing)
    with pytest.raises(StorageError):
        store.put(data)
    assert list(store.digests()) == []
    monkeypatch.undo()
    del calls[:]
    assert store.check(store.put(data))
    assert "CompleteMultipartUpload" in calls


def test_somebody_else_was_sooner(counting, server, monkeypatch):
    """The condition is asked by the request that puts the parts together."""
    import boto3

    store, calls = counting
    data = os.urandom(18 << 20)
    client = boto3.session.Session().client("s3", endpoint_url=server[0])
    complete = store._client.complete_multipart_upload

    def later(**words):
        client.put_object(Bucket=BUCKET, Key=words["Key"], Body=data)
        return complete(**words)

    monkeypatch.setattr(store._client, "complete_multipart_upload", later)
    assert store.check(store.put(data))
    assert ("AbortMultipartUpload" in calls) == (server[1] == "moto")


def test_a_large_blob_in_little_memory(s3, tmp_path):
    local = LocalStore(tmp_path)
    with local.writer() as writer:
        for _ in range(40):
            writer.write(os.urandom(1 << 20))
        digest = writer.commit()
    store = s3()
    copy_blob(local, store, digest)
    assert (store.size(digest), store.check(digest)) == (40 << 20, True)


def test_who_is_not_let_in_and_who_is_not_there(s3, server, monkeypatch):
    if server[1] == "rclone":
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
        with pytest.raises(StorageError, match="can't be used"):
            s3().put(b"x")
    nobody = open_store(f"s3://{BUCKET}/x", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(StorageError, match="can't be used"):
        nobody.put(b"x")


@pytest.mark.parametrize(
    "url", ["s3://", "s3://UPPER", "s3:bucket", "http://x", "file:relative", "", "s3://a/b c"]
)
def test_what_is_no_store(url):
    pytest.importorskip("boto3", reason="the extra s3 is not installed")
    with pytest.raises(UsageError):
        open_store(url)


@pytest.fixture
def stores(request, tmp_path, own_home, monkeypatch, tmp_path_factory):
    """Writes the user's configuration, with a backup and a cold store."""
    path = own_home / ".config" / "dre" / "config.yaml"
    path.parent.mkdir(parents=True)
    rules = {"backup": f"file:{tmp_path}/backup", "cold": f"file:{tmp_path}/cold", "cold_above_mb": 0.01}

    def configure(**more):
        path.write_text(json.dumps({"storage": {**rules, **more}}))

    with contextlib.ExitStack() as stack:
        if "on_s3" in request.function.__name__:
            for name, value in CREDENTIALS.items():
                monkeypatch.setenv(name, value)
            address = stack.enter_context(serving("rclone", tmp_path_factory.mktemp("bucket")))
            rules |= {"backup": f"s3://{BUCKET}/backup", "cold": f"s3://{BUCKET}/cold", "endpoint": address}
        configure()
        yield configure


def test_away_and_back_again_on_s3(project, stores, tmp_path):
    project.dre("wrap", "--", "sh", "-c", "head -c 300000 /dev/urandom | base64")
    project.dre("wrap", "--", "echo", "small")
    small, large = (row["operation"] for row in _rows(project)[::-1])
    before = {path.name: path.read_bytes() for path in _blobs(project)}
    assert project.dre("verify", large).returncode == 4
    archive = tmp_path / "before.zip"
    project.dre("evidence", "export", "--all", "--output", str(archive))

    planned = json.loads(project.dre("evidence", "sync", "--dry-run", "--json").stdout)
    assert {path.name: path.read_bytes() for path in _blobs(project)} == before
    done = project.dre("evidence", "sync", "--json")
    assert done.returncode == 0, done.stderr
    rows = {row["operation"]: row for row in json.loads(done.stdout)["operations"]}
    assert rows[large]["moved"] >= 1
    assert rows[small]["moved"] == 0
    assert [row["moved"] for row in planned["operations"]] == [row["moved"] for row in rows.values()]
    assert len(_blobs(project)) < len(before)
    assert b"nothing to do" in project.dre("evidence", "sync").stdout

    assert project.dre("verify", small).returncode == 4
    done = project.dre("verify", large)
    assert (done.returncode, b"dre evidence restore" in done.stdout) == (3, True)
    # Exporting reads through; what was fetched stays.
    again = tmp_path / "again.zip"
    assert project.dre("evidence", "export", "--all", "--output", str(again)).returncode == 0
    assert again.read_bytes() == archive.read_bytes()
    assert project.dre("verify", large).returncode == 4
    project.dre("evidence", "sync")
    assert project.dre("evidence", "restore", large).returncode == 0
    assert {path.name: path.read_bytes() for path in _blobs(project)} == before
    events = json.loads(project.dre("log", "list", "--json").stdout)["events"]
    kinds = [event["type"] for event in events]
    assert (kinds.count("evidence.archived"), kinds.count("evidence.restored")) == (2, 2)

    # The whole folder is lost; the backup has it all, and the keys still say whose it was.
    key = tmp_path / "key.pem"
    key.write_bytes(project.dre("keys", "public").stdout)
    shutil.rmtree(project.path / ".dre")
    done = project.dre("evidence", "restore", "--all")
    assert done.returncode == 0, done.stderr
    project.dre("evidence", "export", "--all", "--output", str(again))
    assert again.read_bytes() == archive.read_bytes()
    assert project.dre("verify", str(again), "--key", str(key)).returncode == 4


def test_age_moves_what_is_old(project, stores):
    project.dre("wrap", "--", "echo", "small")
    stores(cold_above_mb=1000, cold_after="0m")
    (row,) = json.loads(project.dre("evidence", "sync", "--json").stdout)["operations"]
    assert row["moved"] >= 2
    # The certificate stays, because the log's proof needs it.
    assert len(_blobs(project)) >= 1
    assert project.dre("evidence", "restore").returncode == 0
    assert project.dre("verify").returncode == 4


def _rows(project):
    return json.loads(project.dre("evidence", "list", "--json").stdout)["operations"]


def _blobs(project):
    return sorted((project.path / ".dre" / "evidence" / "sha256").rglob("??????????*"))


def test_a_project_can_not_say_where_evidence_goes(project):
    project.write("dre.yaml", "storage:\n  backup: s3://somebody/else\n")
    listed = json.loads(project.dre("config", "list", "--json").stdout)
    assert listed["storage.backup"] == ""
    assert b"storage-from-workload" in project.dre("config", "validate").stderr
    assert project.dre("config", "set", "storage.cold", "file:/tmp").returncode == 2
    done = project.dre("evidence", "sync")
    assert (done.returncode, b"no store is configured" in done.stderr) == (2, True)


def test_a_backup_that_was_changed_is_not_taken_in(project, tmp_path, own_home):
    path = own_home / ".config" / "dre" / "config.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"storage": {"backup": f"file:{tmp_path}/backup"}}))
    project.dre("wrap", "--", "echo", "hello")
    (row,) = _rows(project)
    project.dre("evidence", "sync")
    shutil.rmtree(project.path / ".dre")
    (manifest,) = (tmp_path / "backup" / "operations").iterdir()
    document = json.loads(manifest.read_bytes())
    store = LocalStore(tmp_path / "backup")
    name = next(name for name in document["members"] if name.startswith("attestations/"))
    data = store.read(document["members"][name], 1 << 20)
    document["members"][name] = store.put(data.replace(b'"sig":"', b'"sig":"AAAA', 1))
    manifest.write_text(json.dumps(document))
    done = project.dre("evidence", "restore", row["operation"])
    assert done.returncode == 3, done.stderr
    assert project.dre("evidence", "restore", "op_" + "0" * 26).returncode == 2
    manifest.write_text("{}")
    assert project.dre("evidence", "restore", row["operation"]).returncode == 3

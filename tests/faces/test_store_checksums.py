"""Every request that carries evidence to a bucket says what its bytes are; one that changed on its way is refused.

The servers at hand compare less than Amazon's: rclone's compares ``Content-MD5`` only, moto's compares nothing. So a
proxy stands before them that can change a byte, and, before moto, compares each checksum as the S3 API says.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import os
import subprocess
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from dre_core.errors import StorageError
from dre_core.store.local import LocalStore
from dre_core.store.s3_parts import part_size
from dre_core.tiers import copy_blob, open_store
from tests.faces.test_tiers import BUCKET, CREDENTIALS, serving

pytestmark = [
    pytest.mark.faces,
    pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning"),
]
MEBIBYTE = 1 << 20
REFUSED = (
    b"<Error><Code>BadDigest</Code><Message>The checksum did not match what we received.</Message></Error>"
)


def sums(data):
    """The two checksums as headers have them."""
    found = (hashlib.sha256(data), hashlib.md5(data, usedforsecurity=False))
    return tuple(base64.b64encode(each.digest()).decode() for each in found)


class Wire:
    """Passes requests on to an S3 server.

    Attributes:
        change: Changes one byte of the body of the request for this part, or of one that is no part (0); -1: of none.
        strict: Compares the checksums with the body, as the S3 API says a server does.
        puts: Of each body: the number of its part, and whether both checksums are there and those of what was sent.
    """

    def __init__(self, server: str, *, strict: bool) -> None:
        self.change = -1
        self.strict = strict
        self.puts: list[tuple[int, bool]] = []
        self._server = urllib.parse.urlsplit(server).netloc

        wire = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, headers, data = wire.answer(self.command, self.path, dict(self.headers.items()), body)
                self.send_response(status)
                for name, value in headers:
                    if name.lower() not in (
                        "transfer-encoding",
                        "connection",
                        "content-length",
                        "date",
                        "server",
                    ):
                        self.send_header(name, value)
                length = dict(headers).get("Content-Length") if self.command == "HEAD" else len(data)
                self.send_header("Content-Length", str(length))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815

            def log_message(self, *arguments: object) -> None:
                return None

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def answer(self, method, path, headers, body):
        if method == "PUT" and body:
            number = int(urllib.parse.parse_qs(urllib.parse.urlsplit(path).query).get("partNumber", ["0"])[0])
            told = tuple(headers.get(name, "") for name in ("x-amz-checksum-sha256", "Content-MD5"))
            self.puts.append((number, told == sums(body)))
            if number == self.change:
                changed = bytearray(body)
                changed[len(changed) // 2] ^= 1
                body = bytes(changed)
            if self.strict and any(mine and mine != one for mine, one in zip(told, sums(body), strict=True)):
                return 400, [("Content-Type", "application/xml")], REFUSED
        connection = http.client.HTTPConnection(self._server, timeout=30)
        connection.request(method, path, body or None, headers)
        response = connection.getresponse()
        found = response.status, response.getheaders(), response.read()
        connection.close()
        return found

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


@pytest.fixture(scope="module", params=["moto", "rclone"])
def server(request, tmp_path_factory):
    with serving(request.param, tmp_path_factory.mktemp("bucket")) as address:
        yield address, request.param


@pytest.fixture
def wire(server, monkeypatch):
    """A proxy before a server that has the bucket."""
    import boto3

    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    if server[1] == "moto":
        boto3.session.Session().client("s3", endpoint_url=server[0]).create_bucket(Bucket=BUCKET)
    made = Wire(server[0], strict=server[1] == "moto")
    yield made
    made.close()


def test_who_refuses_what(wire, server):
    """What is said above of the servers: a part with a wrong checksum, sent by a client that is not ours."""
    import boto3
    from botocore.exceptions import ClientError

    body, place = bytes(5 * MEBIBYTE), {"Bucket": BUCKET, "Key": "raw"}
    sha256, md5 = (told[0] for told in zip(sums(b"other bytes"), strict=True))
    for endpoint, refused in (
        (wire.url, {"ChecksumSHA256", "ContentMD5"} if wire.strict else {"ContentMD5"}),
        (server[0], {"ContentMD5"} if server[1] == "rclone" else set()),
    ):
        client = boto3.session.Session().client("s3", endpoint_url=endpoint)
        upload = client.create_multipart_upload(**place, ChecksumAlgorithm="SHA256")["UploadId"]
        for name, told in (("ChecksumSHA256", sha256), ("ContentMD5", md5)):
            words = {**place, "UploadId": upload, "PartNumber": 1, "Body": body, name: told}
            if name in refused:
                with pytest.raises(ClientError, match="BadDigest"):
                    client.upload_part(**words)
            else:
                client.upload_part(**words)
        client.abort_multipart_upload(**place, UploadId=upload)


def test_a_part_that_changes_on_its_way(wire):
    store = open_store(f"s3://{BUCKET}/{os.urandom(4).hex()}", wire.url)
    data = os.urandom(18 * MEBIBYTE)
    wire.change = 2
    with pytest.raises(StorageError, match="BadDigest"):
        store.put(data)
    assert wire.puts == [(1, True), (2, True)]
    assert list(store.digests()) == []
    # The upload goes on behind the first part, but for rclone, which drops the upload when it refuses a part.
    wire.change = -1
    digest = store.put(data)
    assert wire.puts[2:] == [(number, True) for number in ((2, 3) if wire.strict else (1, 2, 3))]
    with store.open(digest) as stream:
        assert stream.read() == data


def test_a_small_blob_that_changes_on_its_way(wire):
    store = open_store(f"s3://{BUCKET}/{os.urandom(4).hex()}", wire.url)
    wire.change = 0
    with pytest.raises(StorageError, match="BadDigest"):
        store.put(b"small")
    assert list(store.digests()) == []
    wire.change = -1
    assert store.check(store.put(b"small"))
    assert wire.puts == [(0, True)] * 2


@pytest.mark.parametrize("server", ["rclone"], indirect=True)
def test_it_is_said_in_one_line(project, wire, monkeypatch):
    (project.path / "evidence.zip").write_bytes(os.urandom(18 * MEBIBYTE))
    monkeypatch.setenv("AWS_ENDPOINT_URL", wire.url)
    words = ("ci", "upload", "evidence.zip", "--to", f"s3://{BUCKET}/{os.urandom(4).hex()}")
    wire.change = 3
    done = project.dre(*words)
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1), done.stderr
    assert done.stderr.startswith(b"dre: error: ")
    assert b"BadDigest" in done.stderr
    wire.change = -1
    assert project.dre(*words).returncode == 0


@pytest.mark.parametrize("size", [(16 << 20) + 1, 5 << 30, 80_000 << 20, (80_000 << 20) + 1, 5 << 40])
def test_parts_are_what_the_api_allows(size):
    """Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html."""
    each = part_size(size)
    assert 5 << 20 <= each <= 5 << 30
    assert -(-size // each) <= 10_000


LARGE = int(os.environ.get("DRE_TEST_LARGE_BYTES", "0"))


@pytest.mark.slow
@pytest.mark.skipif(not LARGE, reason="DRE_TEST_LARGE_BYTES is not set; 5400000000 needs 22 GB of disk")
def test_more_than_one_request_may_carry(tmp_path, monkeypatch, capfd):
    """An object that S3 takes in parts only, sent and read back by a process of its own whose memory is measured."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    local = LocalStore(tmp_path / "local")
    with local.writer() as writer:
        noise = os.urandom(MEBIBYTE)
        for number in range(-(-LARGE // MEBIBYTE)):
            # No two parts are alike.
            chunk = number.to_bytes(8, "big") + noise[8:]
            writer.write(chunk[: LARGE - writer.size_bytes])
        digest = writer.commit()
    folder = tmp_path / "bucket"
    folder.mkdir()
    with serving("rclone", folder) as address:
        store = open_store(f"s3://{BUCKET}/large", address)
        sent = _measured(lambda: copy_blob(local, store, digest))
        (object_file,) = (path for path in folder.rglob("*") if path.is_file())
        theirs = subprocess.run(["sha256sum", object_file], capture_output=True, text=True, check=True).stdout
        assert f"sha256:{theirs[:64]}" == digest
        assert store.size(digest) == LARGE
        read = _measured(lambda: store.check(digest) or os._exit(1))
    with capfd.disabled():
        for what, (seconds, peak) in (("sent", sent), ("read back and checked", read)):
            print(f"\n{LARGE} bytes {what} in {seconds:.0f} s, at most {peak} MiB of memory")
    assert max(sent[1], read[1]) < 200


def _measured(task):
    """Seconds and the highest resident memory (MiB) of a forked process that does it."""
    begun = time.monotonic()
    pid = os.fork()
    if pid == 0:
        try:
            task()
            os._exit(0)
        finally:
            os._exit(1)
    _, status, usage = os.wait4(pid, 0)
    assert status == 0
    return time.monotonic() - begun, usage.ru_maxrss >> 10

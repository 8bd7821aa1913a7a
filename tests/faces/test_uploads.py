"""Archives to and from servers nobody here wrote: rclone's WebDAV for plain PUT, moto for S3."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def serving(words, port):
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            end = time.monotonic() + 60
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    assert process.poll() is None
                    assert time.monotonic() < end
                    time.sleep(0.1)
            yield
        finally:
            process.kill()


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture
def file(project):
    path = project.path / "evidence.zip"
    path.write_bytes(os.urandom(3_000_000))
    return path


def digest_of(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def test_a_put_is_compared_and_comes_back(project, file, tool, tmp_path):
    port = free_port()
    kept = tmp_path / "kept"
    kept.mkdir()
    words = [
        tool("rclone"),
        "serve",
        "webdav",
        "--addr",
        f"127.0.0.1:{port}",
        "--dir-cache-time",
        "0s",
        str(kept),
    ]
    with serving(words, port):
        url = f"http://127.0.0.1:{port}/evidence.zip"
        done = project.dre("ci", "upload", "evidence.zip", "--to", url, "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["digest"] == f"sha256:{digest_of(file)}"
        assert digest_of(kept / "evidence.zip") == digest_of(file)
        words = ("ci", "download", url, "--output", "back.zip", "--sha256", digest_of(file))
        assert project.dre(*words).returncode == 0
        assert digest_of(project.path / "back.zip") == digest_of(file)
        (kept / "evidence.zip").write_bytes(b"something else")
        (project.path / "back.zip").unlink()
        done = project.dre(*words)
        assert done.returncode == 3
        assert b"has digest" in done.stderr
        assert not (project.path / "back.zip").exists()
        assert project.dre("ci", "download", f"{url}x", "--output", "x").returncode == 1
    done = project.dre("ci", "upload", "evidence.zip", "--to", "ftp://example.org/x")
    assert (done.returncode, b"nowhere to upload to" in done.stderr) == (2, True)
    assert project.dre("ci", "upload", "none.zip", "--to", url).returncode == 2


def test_a_bucket_keeps_a_file_under_its_digest(project, file, tool, monkeypatch):
    boto3 = pytest.importorskip("boto3")
    port = free_port()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    with serving([tool("moto_server"), "-H", "127.0.0.1", "-p", str(port)], port):
        client = boto3.client("s3")
        client.create_bucket(Bucket="evidence")
        for _ in range(2):
            done = project.dre("ci", "upload", "evidence.zip", "--to", "s3://evidence/runs", "--json")
            assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["digest"] == f"sha256:{digest_of(file)}"
        words = ("ci", "download", "s3://evidence/runs", "--output", "back.zip", "--sha256", digest_of(file))
        assert project.dre(*words).returncode == 0
        assert digest_of(project.path / "back.zip") == digest_of(file)
        (found,) = client.list_objects_v2(Bucket="evidence")["Contents"]
        client.put_object(Bucket="evidence", Key=found["Key"], Body=b"something else")
        shutil.move(project.path / "back.zip", project.path / "was.zip")
        assert project.dre(*words).returncode != 0
        assert project.dre(*words[:-2]).returncode == 2

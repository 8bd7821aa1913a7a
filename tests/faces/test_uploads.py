"""Archives to and from servers nobody here wrote: rclone's WebDAV for plain PUT, moto and rclone for S3."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.faces.breaking import Breaking
from tests.faces.conftest import free_port


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
            process.terminate()  # so that it ends its own children
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()


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


@pytest.fixture(params=["moto", "rclone"])
def bucket(request, tool, tmp_path, monkeypatch):
    """A bucket on a server that knows conditions (moto), or signatures (rclone), behind a bad line."""
    boto3 = pytest.importorskip("boto3")
    port = free_port()
    words = {
        "moto": ["moto_server", "-H", "127.0.0.1", "-p", str(port)],
        "rclone": ["rclone", "serve", "s3", "--auth-key", "testing,testing", "--addr", f"127.0.0.1:{port}"],
    }[request.param]
    if request.param == "rclone":
        (tmp_path / "kept").mkdir()
        words.append(str(tmp_path / "kept"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with serving([tool(words[0]), *words[1:]], port):
        # A session of its own: the default one keeps the credentials of whoever asked first.
        client = boto3.session.Session().client("s3", endpoint_url=f"http://127.0.0.1:{port}")
        client.create_bucket(Bucket="evidence")
        client.line = Breaking(port)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{client.line.port}")
        yield client
        client.line.close()


TO_BUCKET = ("ci", "upload", "evidence.zip", "--to", "s3://evidence/runs", "--json")


def sent(project, *words, code=0):
    done = project.dre(*words)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def killed(project, line, words, after):
    """Sends so much, and then dies by the signal that nobody can catch."""
    line.breaks_after(after, hang=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "dre_ci.cli", *words], cwd=project.path, stdout=subprocess.DEVNULL
    )
    assert line.broken.wait(60)
    process.kill()
    process.wait()
    line.heal()


def test_a_bucket_keeps_a_file_under_its_digest(project, file, bucket):
    digest = digest_of(file)
    assert sent(project, *TO_BUCKET)["digest"] == f"sha256:{digest}"
    again = sent(project, *TO_BUCKET)["outcome"]
    # Only a server that knows conditions says that it was there.
    assert again in ("unchanged", "created")
    words = ("ci", "download", "s3://evidence/runs", "--output", "back.zip", "--sha256", digest)
    assert project.dre(*words).returncode == 0
    assert digest_of(project.path / "back.zip") == digest
    (found,) = bucket.list_objects_v2(Bucket="evidence")["Contents"]
    bucket.put_object(Bucket="evidence", Key=found["Key"], Body=b"something else")
    shutil.move(project.path / "back.zip", project.path / "was.zip")
    assert project.dre(*words).returncode == 3
    assert not (project.path / "back.zip").exists()
    assert project.dre(*words[:-2]).returncode == 2


def test_an_upload_that_was_killed_or_cut_off_is_gone_on_with(project, bucket):
    part = 8 << 20
    (project.path / "evidence.zip").write_bytes(os.urandom(4 * part + 1000))
    killed(project, bucket.line, TO_BUCKET, int(1.5 * part))
    bucket.line.breaks_after(int(1.5 * part))
    assert "can't be used" in json.dumps(sent(project, *TO_BUCKET, code=1))
    bucket.line.heal()
    said = sent(project, *TO_BUCKET)
    assert (said["outcome"], said["kept"]) == ("created", 2 * part)
    assert bucket.line.count < 2.5 * part
    assert sent(project, *TO_BUCKET)["outcome"] == "unchanged"
    (found,) = bucket.list_objects_v2(Bucket="evidence")["Contents"]
    kept = bucket.get_object(Bucket="evidence", Key=found["Key"])["Body"].read()
    assert kept == (project.path / "evidence.zip").read_bytes()
    # What is there under the digest is something else: it is neither believed nor replaced.
    bucket.put_object(Bucket="evidence", Key=found["Key"], Body=b"something else")
    assert "something else" in json.dumps(sent(project, *TO_BUCKET, code=3))


def test_parts_that_somebody_else_left_are_not_believed(project, bucket):
    part = 8 << 20
    file = project.path / "evidence.zip"
    file.write_bytes(os.urandom(2 * part + 1000))
    digest = digest_of(file)
    place = {"Bucket": "evidence", "Key": f"runs/sha256/{digest[:2]}/{digest[2:]}"}
    upload = bucket.create_multipart_upload(**place)["UploadId"]
    for number in (1, 2):
        bucket.upload_part(**place, UploadId=upload, PartNumber=number, Body=bytes(part))
    said = sent(project, *TO_BUCKET)
    assert (said["kept"], said["digest"]) == (0, f"sha256:{digest}")


def test_a_put_that_was_killed_is_begun_anew_where_the_server_takes_no_parts(project, file, tool, tmp_path):
    port = free_port()
    (tmp_path / "kept").mkdir()
    words = [tool("rclone"), "serve", "webdav", "--addr", f"127.0.0.1:{port}", "--dir-cache-time", "0s"]
    with serving([*words, str(tmp_path / "kept")], port):
        line = Breaking(port)
        url = f"http://127.0.0.1:{line.port}/evidence.zip"
        killed(project, line, ("ci", "upload", "evidence.zip", "--to", url), 1_500_000)
        end = time.monotonic() + 20
        while not (tmp_path / "kept" / "evidence.zip").exists() and time.monotonic() < end:
            time.sleep(0.05)
        done = project.dre("ci", "upload", "evidence.zip", "--to", url)
        assert done.returncode == 0, done.stderr
        # rclone keeps the half, and answers the rest of a file with 201 as if it were all of it.
        assert b"became another file; beginning anew" in done.stderr
        assert digest_of(tmp_path / "kept" / "evidence.zip") == digest_of(file)
        assert b"was there already" in project.dre("ci", "upload", "evidence.zip", "--to", url).stdout
        line.close()


LIGHTTPD = """\
server.document-root = "{root}"
server.bind = "127.0.0.1"
server.port = {port}
server.modules = ("mod_webdav")
server.upload-dirs = ("{root}")
webdav.activate = "enable"
webdav.opts = ("deprecated-unsafe-partial-put" => "enable")
"""
APACHE = """\
ServerRoot {folder}
ServerName localhost
Listen 127.0.0.1:{port}
PidFile {folder}/pid
ErrorLog {folder}/log
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule dav_module {modules}/mod_dav.so
LoadModule dav_fs_module {modules}/mod_dav_fs.so
User {user}
DocumentRoot {root}
DAVLockDB {folder}/lock
<Directory {root}>
Dav On
Require all granted
</Directory>
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "text", "options"),
    [("lighttpd", LIGHTTPD, ["-D", "-f"]), ("apache2", APACHE, ["-DFOREGROUND", "-f"])],
)
def test_the_rest_of_a_file_is_put_where_the_server_takes_parts(project, file, name, text, options):
    import getpass
    import tempfile

    server = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    if server is None:
        pytest.skip(f"{name} is not installed")
    port = free_port()
    # Not below the tests' own folder, which a server that gives up root's rights could not enter.
    with tempfile.TemporaryDirectory() as place:
        folder, root = Path(place), Path(place) / "root"
        root.mkdir()
        user = "www-data" if os.geteuid() == 0 else getpass.getuser()
        modules = "/usr/lib/apache2/modules"
        (folder / "conf").write_text(
            text.format(root=root, folder=folder, port=port, user=user, modules=modules)
        )
        (root / "evidence.zip").write_bytes(file.read_bytes()[:2_000_000])
        for path in (folder, root, root / "evidence.zip"):
            path.chmod(0o777)
        with serving([server, *options, str(folder / "conf")], port):
            url = f"http://127.0.0.1:{port}/evidence.zip"
            said = sent(project, "ci", "upload", "evidence.zip", "--to", url, "--json")
            assert (said["outcome"], said["kept"]) == ("created", 2_000_000)
            assert digest_of(root / "evidence.zip") == digest_of(file)

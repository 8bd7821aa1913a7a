"""Requests to a real server on loopback: what is tried again, what is not, and what leaves."""

from __future__ import annotations

import hashlib
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from requests import Session

from dre_ci.forge.base import ForgeError, Outcome
from dre_ci.forge.transfer import download, put
from dre_ci.forge.wire import Wire
from dre_core.errors import IntegrityError, LimitError

DATA = bytes(range(256)) * 5000


@pytest.fixture
def server():
    """A server that answers as told: ``answers`` by turns, else what was put."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            made.seen.append((self.command, self.path, dict(self.headers)))
            answer = made.answers.pop(0) if made.answers else None
            if answer is not None:
                answer(self, body)
            elif self.command == "PUT":
                made.puts(self, body)
            else:
                made.serve(self)

        do_GET = do_HEAD = do_PUT = do_POST = handle_any  # noqa: N815

        def reply(self, status, data, **headers):
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def log_message(self, *arguments):
            return None

    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.answers, made.seen, made.stored = [], [], DATA
    made.url = f"http://127.0.0.1:{made.server_port}"

    def serve(handler):
        start = int((handler.headers.get("Range") or "bytes=0-")[6:-1])
        status = 206 if start else 200
        handler.reply(status, made.stored[start:], ETag='"one"')

    def keep(handler, body):
        made.stored = body
        handler.reply(201, b"")

    made.serve, made.puts = serve, keep
    thread = threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


def status(code, data=b"", **headers):
    return lambda handler, body: handler.reply(code, data, **headers)


@pytest.fixture
def wire(server):
    waits = []
    made = Wire(Session(), server.url, sleep=waits.append, now=lambda: 1000.0)
    made.waits = waits
    return made


def test_a_server_error_is_tried_again_with_growing_waits(server, wire):
    server.answers = [status(500), status(502), status(503)]
    wire.send("GET", "/x")
    assert wire.waits == [1.0, 2.0, 4.0]


@pytest.mark.parametrize(
    ("code", "outcome"),
    [(401, Outcome.FORBIDDEN), (403, Outcome.FORBIDDEN), (404, Outcome.NOT_FOUND), (422, Outcome.REJECTED)],
)
def test_a_refusal_is_final(server, wire, code, outcome):
    server.answers = [status(code, b'{"message": "No\\u001b[31m", "errors": ["why"]}')]
    with pytest.raises(ForgeError, match=rf"{code} .*: no \['why'\]") as raised:
        wire.send("GET", "/x?token=abc")
    assert raised.value.outcome is outcome
    assert "abc" not in str(raised.value)
    assert wire.waits == []


def test_a_limit_is_waited_for_as_told_if_that_is_bearable(server, wire):
    server.answers = [
        status(429, Retry_After="7"),
        status(403, X_RateLimit_Remaining="0", X_RateLimit_Reset="1030"),
    ]
    wire.send("GET", "/x")
    assert wire.waits == [7.0, 30.0]
    server.answers = [status(403, b"secondary rate limit", Retry_After="3600")]
    with pytest.raises(ForgeError) as raised:
        wire.send("GET", "/x")
    assert raised.value.outcome is Outcome.RATE_LIMITED


def test_pages_are_followed_but_never_to_another_host(server, wire):
    server.answers = [
        status(200, b"[1]", Link=f'<{server.url}/x?page=2>; rel="next"'),
        status(200, b"[2]", Link='<http://127.0.0.2:9/x?page=3>; rel="next"'),
    ]
    assert list(wire.pages("/x")) == [[1], [2]]


def test_an_answer_without_an_end_is_not_read_to_its_end(server, wire, monkeypatch):
    def endless(handler, body):
        handler.send_response(200)
        handler.end_headers()
        with suppress(OSError):
            while True:
                handler.wfile.write(bytes(1 << 20))
        handler.close_connection = True

    monkeypatch.setattr("dre_ci.forge.wire.JSON_LIMIT_BYTES", 3 << 20)
    server.answers = [endless]
    with pytest.raises(ForgeError, match="is larger than") as raised:
        wire.get("/x")
    assert raised.value.outcome is Outcome.FAILED
    server.answers = [status(200, b'{"a": 1}')]
    assert wire.get("/x") == {"a": 1}


def broken_off(handler, body):
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(DATA)))
    handler.send_header("ETag", '"one"')
    handler.end_headers()
    handler.wfile.write(DATA[:300_000])
    handler.wfile.flush()
    handler.close_connection = True
    handler.connection.shutdown(2)


def test_a_download_goes_on_where_it_broke(server, tmp_path):
    server.answers = [broken_off]
    stored = download(Session(), f"{server.url}/f", tmp_path / "f", sleep=lambda seconds: None)
    assert (tmp_path / "f").read_bytes() == DATA
    assert stored.digest == f"sha256:{hashlib.sha256(DATA).hexdigest()}"
    assert int(server.seen[1][2]["Range"][6:-1]) > 0
    assert server.seen[1][2]["If-Range"] == '"one"'


def test_a_file_that_changed_meanwhile_is_begun_anew(server, tmp_path):
    server.answers = [broken_off, lambda handler, body: handler.reply(200, b"new", ETag='"two"')]
    download(Session(), f"{server.url}/f", tmp_path / "f", sleep=lambda seconds: None)
    assert (tmp_path / "f").read_bytes() == b"new"


def test_what_is_too_large_or_of_another_digest_is_refused(server, tmp_path):
    with pytest.raises(LimitError):
        download(Session(), f"{server.url}/f", tmp_path / "f", limit_bytes=1000)
    with pytest.raises(IntegrityError):
        download(Session(), f"{server.url}/f", tmp_path / "f", digest="sha256:" + "0" * 64)
    server.answers = [status(404)]
    with pytest.raises(ForgeError):
        download(Session(), f"{server.url}/f", tmp_path / "f")
    assert not (tmp_path / "f").exists()


def test_an_upload_is_compared_with_what_arrived(server, wire, tmp_path):
    path = tmp_path / "evidence.zip"
    path.write_bytes(b"evidence" * 1000)
    server.answers = [status(503)]
    stored, _ = put(wire, path, f"{server.url}/f")
    assert server.stored == path.read_bytes()
    assert stored.size == 8000
    server.answers = [status(404), status(201), status(200, b"something else")]
    with pytest.raises(IntegrityError, match="what is stored there"):
        put(wire, path, f"{server.url}/f")


def test_an_upload_that_broke_is_begun_anew(server, wire, tmp_path):
    path = tmp_path / "evidence.zip"
    path.write_bytes(b"evidence" * 1000)

    def drop(handler, body):
        handler.close_connection = True
        handler.connection.shutdown(2)

    server.answers = [drop, drop]
    put(wire, path, f"{server.url}/f")
    assert server.stored == path.read_bytes()


def halves(server, takes_parts):
    """A server that keeps what it has of a broken upload, and takes the rest, or says that it has it."""

    def handle(handler, body):
        told = handler.headers.get("Content-Range")
        if takes_parts and told:
            start = int(told.partition(" ")[2].partition("-")[0])
            server.stored = server.stored[:start] + body
        elif told and takes_parts is None:
            return handler.reply(501, b"")
        else:
            server.stored = body
        return handler.reply(204, b"")

    return handle


@pytest.mark.parametrize(
    ("takes_parts", "kept", "puts"),
    [(True, 5000, ["3000"]), (False, 0, ["3000", "8000"]), (None, 0, ["3000", "8000"])],
)
def test_an_upload_goes_on_with_what_lies_there(server, wire, tmp_path, takes_parts, kept, puts):
    path = tmp_path / "evidence.zip"
    path.write_bytes(bytes(range(250)) * 32)
    server.stored = path.read_bytes()[:5000]
    server.puts = halves(server, takes_parts)
    stored, _ = put(wire, path, f"{server.url}/f")
    assert server.stored == path.read_bytes()
    assert stored.kept == kept
    assert [headers["Content-Length"] for verb, _, headers in server.seen if verb == "PUT"] == puts
    server.seen.clear()
    assert put(wire, path, f"{server.url}/f")[0].kept == 8000
    assert {verb for verb, _, _ in server.seen} == {"HEAD", "GET"}


def test_an_upload_does_not_go_on_with_another_file(server, wire, tmp_path):
    path = tmp_path / "evidence.zip"
    path.write_bytes(b"evidence" * 1000)
    for there in (b"something else", path.read_bytes() + b"more", bytes(8000)):
        server.stored = there
        assert put(wire, path, f"{server.url}/f")[0].kept == 0
        assert server.stored == path.read_bytes()
    path.write_bytes(b"")
    assert put(wire, path, f"{server.url}/f")[0].size == 0


def test_what_may_have_been_carried_out_is_looked_for_before_it_is_sent_again(server, wire):
    seen = []

    def attempt():
        seen.append("look")
        return wire.write("POST", "/x", {}, repeat=False)

    server.answers = [status(502), status(429, Retry_After="1"), status(201, b"{}")]
    assert wire.looking_again(attempt) == {}
    assert seen == ["look", "look"]
    server.answers = [status(403)]
    with pytest.raises(ForgeError):
        wire.looking_again(attempt)


def test_a_dry_run_says_what_it_would_write(server):
    said = []
    wire = Wire(Session(), server.url, dry_run=True, say=said.append)
    assert wire.write("POST", "/x", {"a": 1}) is None
    assert server.seen == []
    assert said == [f"dre: dry run: POST {server.url}/x {{'a': 1}}"]

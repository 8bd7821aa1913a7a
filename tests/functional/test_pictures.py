"""Pictures of a page in a real Chromium and of a real X display, taken while a command runs."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import time

import pytest

from .test_collectors import item, run_of
from .test_triggers import configure

SERVER = """
import http.server, sys, threading, time
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header("content-type", "text/html"); self.end_headers()
        self.wfile.write(b"<body style='margin:0;background:#00ff00'>")
    def log_message(self, *args): pass
server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Page)
threading.Thread(target=server.serve_forever, daemon=True).start()
print("listening", flush=True)
time.sleep(float(sys.argv[2]))
"""


@pytest.fixture
def image():
    return pytest.importorskip("PIL.Image", reason="Pillow is not installed (the extra visual)")


@pytest.fixture
def port():
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def browser():
    pytest.importorskip("playwright", reason="playwright is not installed (the extra visual)")
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("there is no Chromium")
    return found


@pytest.fixture
def display():
    if shutil.which("Xvfb") is None:
        pytest.skip("there is no Xvfb")
    for number in range(90, 99):
        name = f":{number}"
        server = subprocess.Popen(
            ["Xvfb", name, "-screen", "0", "320x240x24"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(1)
        if server.poll() is None:
            yield name
            server.terminate()
            server.wait()
            return
    pytest.skip("no display is free")


@pytest.mark.faces
def test_a_page_is_shown_in_a_real_browser(project, browser, image, port):
    configure(
        project,
        "t: {when: [pattern, interval], interval_seconds: 2, patterns: [listening], collect: [screenshot], limit: 2}",
        more=f"visual: {{url: 'http://me:hunter2pass@127.0.0.1:{port}/', width: 200, height: 100}}\n",
    )
    server = project.write("server.py", SERVER)
    started = time.time()
    done = project.dre("wrap", "--", sys.executable, str(server), str(port), "8")
    assert done.returncode == 0
    run = run_of(project)
    pictures = [entry for entry in run["items"] if entry["kind"] == "screenshot"]
    assert pictures, run["gaps"]
    first = image.open(io.BytesIO(item(project, pictures[0]["name"])))
    assert first.size == (200, 100)
    assert first.convert("RGB").getpixel((10, 10)) == (0, 255, 0)
    assert pictures[0]["mediaType"] == "image/png"
    assert pictures[0]["note"]["url"] == f"http://127.0.0.1:{port}/"
    assert 0 <= int(pictures[0]["note"]["elapsedMs"]) <= (time.time() - started) * 1000


@pytest.mark.faces
def test_a_page_that_does_not_answer_is_a_gap(project, browser, port):
    configure(
        project,
        "t: {when: [complete], collect: [screenshot]}",
        more=f"visual: {{url: 'http://127.0.0.1:{port}/'}}\n",
    )
    assert project.dre("wrap", "--", "true").returncode == 0
    run = run_of(project)
    assert not [entry for entry in run["items"] if entry["kind"] == "screenshot"]
    assert any("the page can't be shown" in gap["reason"] for gap in run["gaps"])


def test_a_display_is_read(project, display, image):
    configure(
        project,
        "t: {when: [complete], collect: [screenshot]}",
        more=f"visual: {{display: '{display}'}}\n",
    )
    assert project.dre("wrap", "--", "true").returncode == 0
    (picture,) = [entry for entry in run_of(project)["items"] if entry["kind"] == "screenshot"]
    assert image.open(io.BytesIO(item(project, picture["name"]))).size == (320, 240)
    assert picture["note"]["display"] == display


def test_a_display_that_there_is_not_is_a_gap(project, image):
    configure(project, "t: {when: [complete], collect: [screenshot]}", more="visual: {display: ':77'}\n")
    assert project.dre("wrap", "--", "true").returncode == 0
    assert any("the display can't be read" in gap["reason"] for gap in run_of(project)["gaps"])


def test_pictures_that_the_command_makes_are_taken_with_their_window(project, image):
    code = "from PIL import Image; Image.new('RGB', (4, 4), 'red').save('shot.png')"
    done = project.dre("wrap", "--screenshot", "*.png", "--", sys.executable, "-c", code)
    assert done.returncode == 0
    (picture,) = [entry for entry in run_of(project)["items"] if entry["kind"] == "screenshot"]
    assert (picture["note"]["fresh"], picture["note"]["window"]) == ("new", "inside")
    assert image.open(io.BytesIO(item(project, picture["name"]))).size == (4, 4)

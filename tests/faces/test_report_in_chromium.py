"""The HTML report as a browser shows it: hostile evidence does nothing, nobody is locked out, and it looks as it did.

Runs in Debian's Chromium, installed where that is possible. ``DRE_TEST_REGOLD=1`` takes the screenshots anew; look at
them.
"""

from __future__ import annotations

import importlib.util
import io
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from dre_core.capture.cast import CastEvent
from dre_core.engine import Engine
from dre_core.model.observation import Observation, SeenProcess
from dre_core.model.session import Outcome, Session, TestRecord
from dre_core.model.verdict import Cause, CheckResult, CheckState, Finding, MethodResult, Severity, Vantage
from dre_core.report.build import Report
from dre_core.report.exhibits import Exhibits, OutputText, PatternMatch, Recording
from dre_core.report.html import render_html
from dre_core.reporting import report_of
from dre_core.verification import Request
from tests.faces.cache import CACHE, installing

pytestmark = [
    pytest.mark.faces,
    # Chromium is one process for all of these tests, and none of them is worth a second one.
    pytest.mark.xdist_group("chromium"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]

GOLD = Path(__file__).resolve().parents[1] / "gold"
REGOLD = bool(os.environ.get("DRE_TEST_REGOLD"))
NAMES = ("green", "red", "contradicted", "interrupted")
WIDTHS = (390, 820, 1440)
ATTACKS = (
    "<script>window.pwned=1;alert(1)</script>",
    '"><img src=x onerror="window.pwned=1;alert(1)">',
    "</script><script>window.pwned=1;alert(1)</script>",
    "</style><svg onload=window.pwned=1;alert(1)>",
    "<iframe srcdoc='<script>parent.pwned=1</script>'></iframe>",
    "<a href=javascript:window.pwned=1>x</a>",
    "';window.pwned=1;alert(1);//",
    "{{constructor.constructor('window.pwned=1')()}}",
    "<!--<script>window.pwned=1",
    "\u2028window.pwned=1\u2029",
    "<base href=https://evil.example/><link rel=stylesheet href=//evil.example/x.css>",
    "<meta http-equiv=refresh content='0;url=https://evil.example'>",
    "<details open ontoggle=window.pwned=1>",
)
ESCAPES = "\x1b]8;;https://evil.example/\x07click\x1b]8;;\x07\x1b[2J\x1b]0;title\x07\x1bP1$r\x1b\\\x9b31mred"
MARKS = "invoice\u202egnp.exe \u2066x\u2069 zero\u200bwidth \ufeff"


def executable() -> str:
    """Chromium's path, or a reason to skip."""
    with installing():
        found = shutil.which("chromium")
        if found is None and shutil.which("apt-get") and os.geteuid() == 0:
            for words in (["update", "-qq"], ["install", "-y", "-qq", "chromium"]):
                subprocess.run(["apt-get", *words], capture_output=True, timeout=400, check=False)
            found = shutil.which("chromium")
    return found or pytest.skip("there is no Chromium, and it can't be installed here")


def npm_file(package: str, path: str) -> Path:
    """A file of an npm package, in the cache."""
    with installing():
        return _npm_file(package, CACHE / "npm" / "node_modules" / package / path)


def _npm_file(package: str, target: Path) -> Path:
    if not target.exists():
        if shutil.which("npm") is None:
            pytest.skip("there is no npm")
        folder = CACHE / "npm"
        folder.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), package],
            capture_output=True,
            timeout=300,
            check=False,
        )
        if done.returncode:
            pytest.skip(f"npm can't install {package}")
    return target


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = executable()
    with playwright.sync_playwright() as driver:
        switches = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--force-color-profile=srgb"]
        opened = driver.chromium.launch(executable_path=path, args=switches)
        yield opened
        opened.close()


class Watched:
    """A page, with everything that it tried."""

    def __init__(self, browser, html: str, folder: Path, **context) -> None:
        self.tried: list[str] = []
        self.answered: list[str] = []
        self.context = browser.new_context(**context)
        self.page = self.context.new_page()
        self.page.on("dialog", lambda dialog: (self.tried.append("dialog"), dialog.dismiss()))
        self.page.on("request", lambda request: self._request(request.url))
        self.page.on("response", lambda response: self._response(response.url))
        self.page.on("pageerror", lambda error: self.tried.append(f"error: {error}"))
        self.page.on("console", lambda message: self.tried.append(f"console: {message.text}"))
        self.page.on("popup", lambda _: self.tried.append("popup"))
        file = folder / "report.html"
        file.write_text(html, encoding="utf-8")
        self.address = file.as_uri()
        self.page.goto(self.address)

    def _request(self, url: str) -> None:
        if url != self.address and not url.startswith("data:"):
            self.tried.append(f"request: {url}")

    def _response(self, url: str) -> None:
        if url != self.address and not url.startswith("data:"):
            self.answered.append(url)

    def unfold(self) -> None:
        self.page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")


@pytest.fixture
def opened(browser, tmp_path):
    """Opens pages and closes them again."""
    every: list[Watched] = []

    def open_page(html: str, **context) -> Watched:
        every.append(Watched(browser, html, tmp_path, **context))
        return every[-1]

    yield open_page
    for watched in every:
        watched.context.close()


def recorded(name: str, folder: Path) -> Report:
    from dre_ci.commands.verify import read_key

    engine = Engine.open(folder, environ={"HOME": str(folder)})
    archive = str(GOLD / "recorded" / f"{name}.zip")
    return report_of(
        engine, Request(target=archive, keys=(read_key(str(GOLD / "recorded" / "key.pem")),)), baseline=""
    )


def kept(name: str) -> Report:
    """The same with the verdict of the day it was kept, so that a new check changes no picture."""
    spec = importlib.util.spec_from_file_location("gold_reports", GOLD / "test_gold_reports.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    report: Report = module.recorded(name)
    return report


def planted(report: Report, text: str) -> Report:
    """A real report with hostile text in every place that a workload can write to."""
    assert report.evidence is not None
    test = TestRecord(
        id=f"a.py::{text}", outcome=Outcome.FAILED, message=text, text=text, output=text, file=text, line=3
    )
    session = Session(id="s", nonce="n", pid=2, parent_pid=1, tests=(test,) * 60)
    raw = text.encode("utf-8", "replace")
    run = report.evidence.run
    run = replace(
        run,
        name=text,
        user=text,
        command=replace(run.command, argv=(text, text), cwd=text),
        source=replace(run.source, modified=(text,), commit=text, repository=text, clean=False),
        environment={text: text, "host": text},
        ci={text: text},
    )
    finding = Finding(
        check=text, severity=Severity.VETO, vantage=Vantage.OBSERVED, message=text, remedy=text, where=text,
        tests=(text,), evidence=(text,),
    )  # fmt: skip
    check = CheckResult(
        check=text, state=CheckState.RAN, vantage=Vantage.STATIC, detail=text, findings=(finding,)
    )
    method = MethodResult(method=text, applicable=True, score=0.0, coverage=1.0, vantage=1.0, checks=(check,))
    exhibits = Exhibits(
        outputs=(OutputText(stream=text, size=len(raw), head=raw),),
        matches=(PatternMatch(stream=text, offset=0, kind="error", rule=text, text=text),),
        recording=Recording(width=80, height=24, events=(CastEvent(elapsed_us=1, text=text),) * 2),
        patch=f"+++ b/{text}\n@@ -1 +1 @@\n+{text}\n",
        environment={"variables": {text: text}},
        distributions=((text, text),),
        unreadable=(text,),
    )
    observation = Observation(
        exit_code=0, wall_ms=9, processes=(SeenProcess(pid=1, parent_pid=0, argv=(text,)),)
    )
    verdict = replace(
        report.verdict,
        claim={"outcome": text, "exit_code": 0, "command": [text], "kind": text},
        methods={text: method},
        missing=(text,),
        not_proven=(text,),
        causes=(Cause(summary=text, where=text, evidence=(text,)),),
    )
    evidence = replace(report.evidence, run=run, sessions=(session,), observation=observation)
    return replace(report, verdict=verdict, evidence=evidence, exhibits=exhibits, difference=None)


@pytest.mark.parametrize("attack", ATTACKS)
def test_hostile_text_runs_nothing_and_fetches_nothing(attack, opened, tmp_path):
    watched = opened(render_html(planted(recorded("red", tmp_path), attack)))
    page = watched.page
    watched.unfold()
    page.fill("#test-search", "a.py")
    page.click("#test-next")
    page.select_option("#test-order", "slow")
    page.click("#play")
    page.click("#theme")
    page.wait_for_timeout(50)
    assert watched.tried == []
    assert page.evaluate("window.pwned") is None
    assert page.url == watched.address
    shown = attack.replace("\u2028", "").replace("\u2029", "")
    assert shown in page.inner_text("#tests").replace("[U+2028]", "").replace("[U+2029]", "")
    assert page.locator("iframe, object, embed, base, link, a[href^=javascript]").count() == 0


def test_a_script_that_got_in_all_the_same_would_not_run(opened, tmp_path):
    # The second wall alone: markup planted behind the escaping, in the finished page.
    html = render_html(recorded("green", tmp_path))
    evil = "<script>window.pwned=1</script><img src=x onerror=window.pwned=1><img src=https://evil.example/x>"
    watched = opened(html.replace("<footer>", evil + "<footer>"))
    watched.page.wait_for_timeout(50)
    assert watched.page.evaluate("window.pwned") is None
    assert sum("Content Security Policy" in entry for entry in watched.tried) >= 3
    assert not watched.answered


def test_escape_sequences_and_marks_that_reorder_show_as_what_they_are(opened, tmp_path):
    watched = opened(render_html(planted(recorded("red", tmp_path), ESCAPES + MARKS)))
    watched.unfold()
    text = watched.page.inner_text("body")
    unsafe = r"/[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/"
    assert watched.page.evaluate(f"{unsafe}.test(document.body.textContent)") is False
    assert "invoice[U+202E]gnp.exe" in text
    assert "evil.example" not in text
    assert watched.tried == []


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
@pytest.mark.parametrize("name", NAMES)
def test_nobody_is_locked_out(name, scheme, width, opened, tmp_path):
    axe = npm_file("axe-core", "axe.min.js")
    watched = opened(
        render_html(recorded(name, tmp_path)),
        color_scheme=scheme,
        viewport={"width": width, "height": 900},
        bypass_csp=True,
    )
    watched.unfold()
    watched.page.add_script_tag(path=str(axe))
    tags = "['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']"
    found = watched.page.evaluate(f"axe.run(document, {{runOnly: {tags}}})")
    bad = [
        (each["id"], each["impact"], [node["html"][:120] for node in each["nodes"][:3]])
        for each in found["violations"]
        if each["impact"] in ("serious", "critical")
    ]
    assert bad == []
    assert len(found["passes"]) > 20


@pytest.mark.parametrize("name", NAMES)
def test_nothing_runs_out_of_the_page(name, opened, tmp_path):
    watched = opened(render_html(recorded(name, tmp_path)))
    watched.unfold()
    for width in (320, *WIDTHS):
        watched.page.set_viewport_size({"width": width, "height": 800})
        assert watched.page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_keyboard_is_enough(opened, tmp_path):
    page = opened(render_html(recorded("green", tmp_path))).page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.focus("#test-search")
    page.keyboard.type("discount 3")
    assert page.locator("#test-rows tr").count() == 1
    assert page.inner_text("#test-count").startswith("1 of ")
    page.fill("#test-search", "")
    page.focus("#test-next")
    page.keyboard.press("Enter")
    assert page.inner_text("#test-page").startswith("Page 2")
    page.focus("details summary")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.parentElement.open") is True


def test_the_recording_plays(opened, tmp_path):
    page = opened(render_html(recorded("green", tmp_path))).page
    at_end = page.inner_text("#screen")
    assert "passed" in at_end
    page.evaluate(
        "const s = document.getElementById('seek'); s.value = 0; s.dispatchEvent(new Event('input'))"
    )
    assert page.inner_text("#screen") != at_end
    page.select_option("#speed", "16")
    page.click("#play")
    page.locator("#play", has_text="Play").wait_for(timeout=20_000)
    assert page.inner_text("#screen") == at_end
    assert page.locator("#screen .t2").count() > 0


def test_it_can_be_read_without_scripts(opened, tmp_path):
    page = opened(render_html(recorded("red", tmp_path)), java_script_enabled=False).page
    assert page.inner_text("h1") == "Failed"
    assert page.locator("#tests details").count() == 2
    assert "test_cart.py::test_free_shipping" in page.inner_text("#test-rows")
    assert not page.is_visible("#test-tools")


def test_the_printed_page_shows_what_was_folded(opened, tmp_path):
    page = opened(render_html(recorded("red", tmp_path))).page
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details:not([open])").count() > 0


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(("name", "scheme"), [("green", "light"), ("red", "light"), ("contradicted", "dark")])
def test_it_looks_as_it_did(name, scheme, width, opened):
    image = pytest.importorskip("PIL.Image")
    chops = pytest.importorskip("PIL.ImageChops")
    stat = pytest.importorskip("PIL.ImageStat")
    watched = opened(
        render_html(kept(name)),
        viewport={"width": width, "height": 900},
        color_scheme=scheme,
        reduced_motion="reduce",
    )
    shot = image.open(io.BytesIO(watched.page.screenshot(full_page=True))).convert("RGB")
    gold = GOLD / "screens" / f"{name}-{scheme}-{width}.webp"
    if REGOLD:
        half = shot.resize((width // 2, shot.height // 2), image.Resampling.LANCZOS)
        half.save(gold, quality=45, method=6)
    before = image.open(gold).convert("RGB")
    shot = shot.resize((width // 2, shot.height // 2))
    # Fonts and their hinting differ between machines, the layout and its colours do not.
    assert abs(shot.height - before.height) <= 0.04 * before.height
    small = (width // 10, before.height // 5)
    difference = chops.difference(shot.resize(small), before.resize(small)).convert("L")
    assert stat.Stat(difference).mean[0] < 8

"""Every format of reports on real runs, held against what was looked at once.

The runs in ``recorded/`` really ran: a green one, a red one, one whose exit code was swallowed, one that somebody
stopped, and one of 50,000 tests, of which digests are kept. ``DRE_TEST_REGOLD=1 pytest tests/gold`` writes
``expected/`` anew; read the difference before it is committed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import replace
from difflib import unified_diff
from functools import cache
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from dre_core import __version__, registry
from dre_core.engine import Engine
from dre_core.model.verdict import (
    Cause,
    CheckResult,
    CheckState,
    Conclusion,
    Consensus,
    Finding,
    Integrity,
    IntegrityCheck,
    IntegrityResult,
    Level,
    MethodResult,
    Severity,
    Vantage,
    Verdict,
    Weight,
)
from dre_core.report.build import Report
from dre_core.report.difference import compare
from dre_core.report.document import make_document
from dre_core.report.markdown import difference_markdown
from dre_core.report.pdf import PDFRenderer, pdf_of
from dre_core.report.summary import difference_lines
from dre_core.reporting import report_of
from dre_core.verification import Request

GOLD = Path(__file__).resolve().parent
# Read before the tests' own environment hides it.
REGOLD = bool(os.environ.get("DRE_TEST_REGOLD"))
NAMES = ("green", "red", "contradicted", "interrupted")
FORMATS = ("html", "markdown", "junit", "json", "sarif", "cyclonedx")


@cache
def recorded(name: str) -> Report:
    from dre_ci.commands.verify import read_key

    engine = Engine.open(GOLD, environ={"HOME": str(GOLD)})
    key = read_key(str(GOLD / "recorded" / "key.pem"))
    archive = str(GOLD / "recorded" / f"{name}.zip")
    report = report_of(engine, Request(target=archive, keys=(key,)), baseline="")
    # The verdict of the day: what a check says today is its own tests' business.
    path = GOLD / "recorded" / f"{name}.verdict.json"
    if REGOLD:
        path.write_text(json.dumps(report.verdict.to_json(), indent=1, ensure_ascii=False) + "\n")
    return replace(report, verdict=verdict_of(json.loads(path.read_text())))


def verdict_of(document: dict[str, Any]) -> Verdict:
    """A verdict from its document, as far as reports show it."""
    consensus = document["consensus"]
    return Verdict(
        operation=document["operation"],
        conclusion=Conclusion(document["verdict"]),
        claim=document["claim"],
        integrity=Integrity(
            result=IntegrityResult(document["integrity"]["result"]),
            checks=tuple(IntegrityCheck(**check) for check in document["integrity"]["checks"]),
        ),
        consensus=Consensus(**consensus, conclusion=Conclusion.INCONCLUSIVE),
        level=Level(document["level"]),
        methods={name: method_of(name, method) for name, method in document["methods"].items()},
        replayed=document["replayed"],
        missing=tuple(document["missing"]),
        causes=tuple(
            Cause(summary=cause["summary"], evidence=tuple(cause["evidence"]), where=cause["where"])
            for cause in document["causes"]
        ),
        not_proven=tuple(document["not_proven"]),
    )


def method_of(name: str, document: dict[str, Any]) -> MethodResult:
    findings = [finding_of(finding) for finding in document["findings"]]
    return MethodResult(
        method=name,
        applicable=document["applicable"],
        score=document["score"],
        coverage=document["confidence"],
        vantage=1.0,
        checks=tuple(
            CheckResult(
                check=check["check"],
                state=CheckState(check["state"]),
                vantage=Vantage(check["vantage"]) if check["vantage"] else None,
                detail=check["detail"],
                findings=tuple(finding for finding in findings if finding.check == check["check"]),
            )
            for check in document["checks"]
        ),
    )


def finding_of(document: dict[str, Any]) -> Finding:
    return Finding(
        check=document["check"],
        severity=Severity(document["severity"]),
        vantage=Vantage(document["vantage"]),
        message=document["message"],
        weight=Weight(document["weight"]) if document["weight"] else None,
        remedy=document["remedy"],
        evidence=tuple(document["evidence"]),
        tests=tuple(document["tests"]),
        where=document["where"],
    )


def rendered(name: str, kind: str) -> bytes:
    renderers = registry.by_name(registry.flatten(registry.load(registry.RENDERERS).hook.dre_renderers()))
    return settled(renderers[kind].render(recorded(name)))


def settled(data: bytes) -> bytes:
    """Without what changes with every version or with the page's look, which the screenshots hold."""
    text = data.decode()
    text = re.sub(r"<style>.*?</style>", "<style></style>", text, flags=re.S)
    text = re.sub(r"<script>.*?</script>", "<script></script>", text, flags=re.S)
    text = re.sub(r"sha256-[A-Za-z0-9+/=]{44}", "sha256-", text)
    # junitparser writes by lxml where that is installed, which leaves out a space.
    text = text.replace(" />", "/>")
    return text.replace(f'"{__version__}"', '"VERSION"').replace(f"DRE {__version__}", "DRE VERSION").encode()


class Words(HTMLParser):
    """The words of a page that are set in type."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self._hidden = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("button", "script", "select", "style", "title"):
            self._hidden = tag

    def handle_endtag(self, tag: str) -> None:
        if tag == self._hidden:
            self._hidden = ""

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.seen += data.split()


def holds(path: Path, data: bytes) -> None:
    if REGOLD:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    assert data.decode().splitlines() == path.read_text().splitlines()


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("name", NAMES)
def test_a_report_says_what_it_said(name, kind):
    pytest.importorskip("pyte", reason="the recording is kept as the emulated terminal shows it")
    holds(GOLD / "expected" / f"{name}.{kind}", rendered(name, kind))


@pytest.mark.parametrize("name", NAMES)
def test_a_document_says_what_it_said(name):
    document = make_document(recorded(name), ["markdown"])
    holds(GOLD / "expected" / f"{name}.document", settled(document.files[f"{document.type}.md"]))


def test_a_difference_says_what_it_said():
    found = compare(recorded("green"), recorded("red"))
    holds(
        GOLD / "expected" / "difference.txt",
        "".join(f"{line}\n" for line in difference_lines(found)).encode(),
    )
    holds(GOLD / "expected" / "difference.markdown", difference_markdown(found))
    holds(GOLD / "expected" / "difference.json", (json.dumps(found.to_json(), indent=1) + "\n").encode())


@pytest.mark.parametrize("name", NAMES)
def test_a_printed_page_is_the_page_but_for_what_it_was(name):
    pytest.importorskip("pyte", reason="the recording is kept as the emulated terminal shows it")
    page = (GOLD / "expected" / f"{name}.html").read_text().splitlines()
    printed = settled(PDFRenderer().draft(recorded(name))).decode().splitlines()
    apart = "\n".join(unified_diff(page, printed, "page", "printed", n=0, lineterm=""))
    holds(GOLD / "expected" / f"{name}.printed.diff", f"{apart}\n".encode())


@pytest.mark.faces
@pytest.mark.parametrize("name", NAMES)
def test_a_pdf_says_every_word_of_its_page(name):
    reader = pytest.importorskip("pypdf")
    try:
        pytest.importorskip("weasyprint")
    except OSError as error:  # Pango is the system's
        pytest.skip(f"WeasyPrint can't load its libraries: {error}")
    page = PDFRenderer().draft(recorded(name))
    # Where lines and pages break depends on the fonts of the machine, so only the words are compared.
    pages = reader.PdfReader(BytesIO(pdf_of(page))).pages
    said = "".join("".join(each.extract_text().split()) for each in pages)
    words = Words()
    words.feed(page.decode())
    assert len(words.seen) > 500
    words.seen.remove("Skip")  # the link over the page's top, for keyboards
    assert [word for word in words.seen if word not in said] == []


@pytest.mark.faces
@pytest.mark.parametrize("kind", FORMATS)
def test_fifty_thousand_tests_are_reported_as_they_were(kind):
    pytest.importorskip("pyte", reason="the recording is kept as the emulated terminal shows it")
    data = rendered("fifty-thousand", kind)
    found = f"{hashlib.sha256(data).hexdigest()} {len(data)}\n".encode()
    holds(GOLD / "expected" / f"fifty-thousand.{kind}.sha256", found)


@pytest.mark.faces
def test_fifty_thousand_tests_are_all_there():
    report = recorded("fifty-thousand")
    assert report.verdict.conclusion.value == "supported"
    assert len(report.tests) == 50_000

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
from functools import cache
from pathlib import Path

import pytest

from dre_core import __version__, registry
from dre_core.engine import Engine
from dre_core.report.build import Report
from dre_core.report.difference import compare
from dre_core.report.document import make_document
from dre_core.report.markdown import difference_markdown
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
    return report_of(engine, Request(target=str(GOLD / "recorded" / f"{name}.zip"), keys=(key,)), baseline="")


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

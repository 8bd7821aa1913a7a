"""SARIF before Microsoft's validator, CycloneDX before its own library, Markdown before GitHub's own renderer."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dre_core.report.markdown import escape

pytestmark = pytest.mark.faces

RECORDED = Path(__file__).resolve().parents[1] / "gold" / "recorded"
CACHE = Path.home() / ".cache" / "dre-tests" / "npm-sarif"


@pytest.fixture(scope="module")
def multitool():
    """The validator, installed once into the cache."""
    program = CACHE / "node_modules" / "@microsoft" / "sarif-multitool-linux"
    if not program.exists():
        if shutil.which("npm") is None:
            pytest.skip("there is no npm")
        CACHE.mkdir(parents=True, exist_ok=True)
        words = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(CACHE)]
        done = subprocess.run(
            [*words, "@microsoft/sarif-multitool@5.7.0"], capture_output=True, timeout=300, check=False
        )
        if done.returncode or not program.exists():
            pytest.skip("npm can't install the validator")
    return CACHE / "node_modules" / ".bin" / "sarif-multitool"


def generated(name: str, kind: str, folder: Path) -> Path:
    """A report as the command line gives it."""
    target = folder / f"report.{kind}"
    words = [sys.executable, "-m", "dre_ci.cli", "report", "generate", str(RECORDED / f"{name}.zip")]
    words += ["--key", str(RECORDED / "key.pem"), "--format", kind, "--output", str(target)]
    subprocess.run(words, cwd=folder, capture_output=True, check=True, timeout=60)
    return target


@pytest.mark.parametrize("name", ["red", "contradicted"])
def test_sarif_is_valid_by_the_official_tool(name, multitool, tmp_path):
    target = generated(name, "sarif", tmp_path)
    done = subprocess.run(
        [str(multitool), "validate", str(target)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout
    assert "error SARIF" not in done.stdout
    assert "1 files scanned" in done.stdout
    # The only thing it wishes for is the address of a home page.
    assert set(re.findall(r"SARIF\d+", done.stdout)) <= {"SARIF2005"}


@pytest.mark.parametrize("name", ["green", "red", "contradicted", "interrupted"])
def test_cyclonedx_is_valid_by_its_own_library(name, tmp_path):
    pytest.importorskip("cyclonedx.validation.json")
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    document = generated(name, "cyclonedx", tmp_path)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(document.read_text()) is None


ATTACKS = (
    "@maintainer", "#12 GH-12 a/b#3", "!34 %5 ~bug $6", "https://evil.example", "www.evil.example", "a@b.example",
    "[x](javascript:alert(1))", "![x](http://e/i.png)", "<img src=x onerror=alert(1)>", "</td></details><script>x",
    "```\nfence", "~~~", "| cell |", "**bold** _it_ `code`", "<https://evil.example>", "[a]: http://e 'x'", "<!-- x",
    "&lt;script&gt;", "\\[x\\](y)", "$x$ $$y$$", "mailto:a@b.example", "http://a.b/c?d=&copy;", "==x== ^y^ ~z~",
)  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("frame", ["{}", "- {}", "| a |\n| --- |\n| {} |", "1. x<br>{}", "**{}**"])
def test_github_renders_hostile_text_as_text(attack, frame):
    cmarkgfm = pytest.importorskip("cmarkgfm")
    html = cmarkgfm.github_flavored_markdown_to_html(frame.format(escape(attack)))
    plain = cmarkgfm.github_flavored_markdown_to_html(frame.format("word"))
    tags = [re.findall(r"<(/?[a-z0-9]+)", each) for each in (html, plain)]
    assert tags[0] == tags[1]
    assert "href" not in html
    assert not re.search(r"(?<![\w\u2060])[@#]\w", re.sub(r"<[^>]*>", "", html))

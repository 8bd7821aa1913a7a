"""The report as PDF: the same bytes in another process, all of it there, nothing fetched."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dre_core.errors import LimitError, MissingExtraError
from dre_core.report.pdf import PAGE_LIMIT_BYTES, pdf_of

pytestmark = pytest.mark.faces

RECORDED = Path(__file__).resolve().parents[1] / "gold" / "recorded"


@pytest.fixture
def weasyprint():
    try:
        return pytest.importorskip("weasyprint")
    except OSError as error:  # Pango is the system's
        pytest.skip(f"WeasyPrint can't load its libraries: {error}")


def generate(folder: Path, name: str, hash_seed: str) -> bytes:
    target = folder / "report.pdf"
    words = [sys.executable, "-m", "dre_ci.cli", "report", "generate", str(RECORDED / f"{name}.zip")]
    words += ["--key", str(RECORDED / "key.pem"), "--format", "pdf", "--output", str(target)]
    environ = {"HOME": str(folder), "PATH": "/usr/bin:/bin", "PYTHONHASHSEED": hash_seed}
    subprocess.run(words, cwd=folder, env=environ, capture_output=True, check=True, timeout=120)
    return target.read_bytes()


def test_two_processes_give_the_same_bytes(weasyprint, tmp_path):
    first = generate(tmp_path, "red", "1")
    assert first.startswith(b"%PDF-")
    assert generate(tmp_path, "red", "2") == first


def test_the_verdict_and_the_limits_are_in_it(weasyprint, tmp_path):
    reader = pytest.importorskip("pypdf")
    path = tmp_path / "report.pdf"
    path.write_bytes(generate(tmp_path, "contradicted", "0"))
    text = " ".join("".join(page.extract_text() for page in reader.PdfReader(path).pages).split())
    assert "Contradicted" in text
    assert "What this does not prove" in text
    assert "test_cart.py::test_shipping[FR-790]" in text


def test_nothing_is_fetched(weasyprint, tmp_path):
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"not shown")
    page = f'<img src="{secret.as_uri()}"><img src="http://127.0.0.1:9/x.png"><p>text'
    assert pdf_of(page.encode()).startswith(b"%PDF-")
    assert b"not shown" not in pdf_of(page.encode())


def test_a_page_that_would_take_minutes_is_refused():
    with pytest.raises(LimitError, match="too large"):
        pdf_of(b" " * (PAGE_LIMIT_BYTES + 1))


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    with pytest.raises(MissingExtraError) as caught:
        pdf_of(b"<p>")
    assert "[pdf]" in caught.value.hint


def test_a_document_is_set_from_the_same_merge(weasyprint, tmp_path):
    pytest.importorskip("markdown_it")
    words = [sys.executable, "-m", "dre_ci.cli", "report", "document", str(RECORDED / "green.zip")]
    words += ["--key", str(RECORDED / "key.pem"), "--output", str(tmp_path / "out"), "--format", "pdf"]
    environ = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    made = []
    for _ in range(2):
        subprocess.run(words, cwd=tmp_path, env=environ, capture_output=True, check=True, timeout=120)
        made.append((tmp_path / "out" / "test.pdf").read_bytes())
    assert made[0].startswith(b"%PDF-")
    assert made[0] == made[1]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["test.pdf"]

"""The report as PDF, for archives and paper: the page of ``html.py`` unfolded, set by WeasyPrint.

The same report gives the same bytes, so a PDF can be sealed: nothing in it is random or of the moment. Nothing is
fetched; pictures stand in the page itself. It needs the extra ``pdf``.

Source: https://doc.courtbouillon.org/weasyprint/stable/
"""

from __future__ import annotations

from dre_core.errors import LimitError, MissingExtraError
from dre_core.hooks import hookimpl
from dre_core.model.digest import sha256
from dre_core.report.build import Report
from dre_core.report.html import render_html

PAGE_LIMIT_BYTES = 8 << 20


def pdf_of(page: bytes) -> bytes:
    """A page as PDF.

    Args:
        page: What :func:`render_html` gives with ``printed=True``.

    Raises:
        MissingExtraError: WeasyPrint is not installed, or what it needs from the system.
        LimitError: The page is larger than 8 MiB, which would take minutes.
    """
    if len(page) > PAGE_LIMIT_BYTES:
        raise LimitError(f"a page of {len(page)} bytes is too large for a PDF", hint="use --format html")
    try:
        from weasyprint import HTML
        from weasyprint.urls import URLFetcher
    except (ImportError, OSError):
        raise MissingExtraError(
            "PDF needs WeasyPrint and Pango",
            hint="pip install 'development-reality-engine[pdf]'; on Debian also libpangoft2-1.0-0",
        ) from None
    # Only what the page itself carries.
    document = HTML(string=page.decode(), url_fetcher=URLFetcher(allowed_protocols=["data"]))
    data: bytes = document.write_pdf(pdf_identifier=sha256(page).encode(), uncompressed_pdf=False)
    return data


class PDFRenderer:
    """The report as PDF."""

    name = "pdf"
    suffix = ".pdf"

    def draft(self, report: Report) -> bytes:
        """The page that :meth:`finish` sets; a child under limits can make it."""
        return render_html(report, printed=True).encode()

    def finish(self, draft: bytes) -> bytes:
        """The PDF; reads fonts, so it is made outside of such a child."""
        return pdf_of(draft)

    def render(self, report: Report) -> bytes:
        return self.finish(self.draft(report))


@hookimpl
def dre_renderers() -> list[PDFRenderer]:
    return [PDFRenderer()]

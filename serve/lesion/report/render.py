"""Render a page as PDF with WeasyPrint, the optional extra ``report``.

It runs in a helper process, which imports this module and little else: the gateway stays small and its event
loop free. Measurements: docs/operations.md, "Reports".
"""

import signal
from typing import Any

MAX_RENDER_S = 10.0
"""Time for one report; the kernel then ends the helper."""
FONT_SIZES_PT = (9.5, 7.0, 5.0, 4.0)
"""The first one is usual. Each smaller one is tried when the text does not fit on one page."""
_PDF_UA: dict[str, Any] = {"pdf_variant": "pdf/ua-1", "pdf_tags": True}


def import_error() -> str | None:
    """Import WeasyPrint; return the error, or None."""
    try:
        import weasyprint  # noqa: F401
    except (ImportError, OSError) as error:  # OSError: without Pango
        return str(error).partition("\n")[0]
    return None


def render_page(html: str) -> bytes:
    """Return the PDF/UA of a page, in the largest font with which it is one page.

    Only ``data:`` URLs are read. The process ends after ``MAX_RENDER_S``.
    """
    from weasyprint import CSS, HTML
    from weasyprint.urls import URLFetcher

    signal.setitimer(signal.ITIMER_REAL, MAX_RENDER_S)
    page = HTML(string=html, url_fetcher=URLFetcher(allowed_protocols=("data",)))

    def lay_out(size_pt: float) -> Any:
        style = CSS(string=f"html {{ font-size: {size_pt}pt }}")
        return page.render(stylesheets=[style], **_PDF_UA)

    *sizes, smallest = FONT_SIZES_PT
    documents = map(lay_out, sizes)
    document = next((one for one in documents if len(one.pages) == 1), None) or lay_out(smallest)
    return document.write_pdf(**_PDF_UA)

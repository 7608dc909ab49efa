"""Reports as PDF: photo, HTML page, and the helper process that renders it."""

import asyncio
import atexit
import base64
import importlib.util
import io
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from models.image_files.helper_process import HelperProcesses
from models.images import PhotoError, PhotoLimits, decode_bounded
from serve.lesion.report.content import DISCLAIMER, SENT_ANSWER, TITLE, Report, percentage
from serve.lesion.report.render import MAX_RENDER_S, import_error, render_page
from serve.runtime.errors import ApiError

PHOTO_PX = 800
"""Longest side of the photo in a report."""
_JPEG_QUALITY = 85

_T = TypeVar("_T")
_ENVIRONMENT = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters["percentage"] = percentage

_helpers = HelperProcesses()
_thread = ThreadPoolExecutor(1, thread_name_prefix="report")
"""The only caller of ``_helpers``: one report is rendered at a time."""
atexit.register(_helpers.close)
_import_errors: list[str | None] = []
"""Result of the first import."""


async def missing_library() -> str | None:
    """Return why this server cannot write PDF; None: it can.

    The first call starts the helper, which imports WeasyPrint for one to five seconds.
    """
    if importlib.util.find_spec("weasyprint") is None:
        return "the package weasyprint is not installed"
    if not _import_errors:
        _import_errors.append(await _call(import_error))
    return _import_errors[0]


async def pdf_report(report: Report, photo_jpeg: bytes | None) -> bytes:
    """Render a report as PDF.

    Raises:
        ApiError: ``deadline_exceeded`` after ``MAX_RENDER_S``.
    """
    return await _call(render_page, report_html(report, photo_jpeg))


def report_html(report: Report, photo_jpeg: bytes | None) -> str:
    """Return the page; every value is escaped."""
    photo = None if photo_jpeg is None else base64.b64encode(photo_jpeg).decode("ascii")
    return _ENVIRONMENT.get_template("report.html.jinja").render(
        report=report, answer=report.answer, title=TITLE, photo=photo, disclaimer=DISCLAIMER, note=SENT_ANSWER
    )


def report_photo(data: bytes, *, limits: PhotoLimits, jpeg_checked: bool = False) -> bytes:
    """Return a photo upright, reduced to ``PHOTO_PX``, as JPEG without metadata.

    Raises:
        PhotoError: as ``models.images.decode_bounded``.
    """
    photo = decode_bounded(data, max_side_px=PHOTO_PX, limits=limits, jpeg_checked=jpeg_checked)
    file = io.BytesIO()
    Image.fromarray(photo.image_HWC).save(file, "JPEG", quality=_JPEG_QUALITY)
    return file.getvalue()


async def _call(function: Callable[..., _T], *arguments: Any) -> _T:
    """Run a function in the helper; calls whose request ended before they began are skipped."""
    return await asyncio.wrap_future(_thread.submit(partial(_call_helper, function, *arguments)))


def _call_helper(function: Callable[..., _T], *arguments: Any) -> _T:
    start = time.monotonic()
    try:
        return _helpers.run(function, *arguments)
    except PhotoError as error:  # the helper's report of its end
        if time.monotonic() - start < MAX_RENDER_S:
            raise RuntimeError("the helper process of reports ended") from error
        raise ApiError(
            "deadline_exceeded",
            f"the PDF was not ready within {MAX_RENDER_S:g} s; try again later, or send Accept: "
            "application/fhir+json",
        ) from error

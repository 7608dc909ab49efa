"""Thumbnails of uploads, each drawn once: decoding a HEIC takes about a second."""

import contextlib
import json
import os
import threading
from dataclasses import asdict
from typing import Any

from ui.preview import Preview, make_preview
from ui.uploads import UploadError, UploadFolder

THUMBNAIL_PX = 320
_SLOTS = threading.BoundedSemaphore(os.cpu_count() or 1)


def load_thumbnail(uploads: UploadFolder, upload: dict[str, Any]) -> Preview | None:
    """Return the thumbnail of an upload; its file is deleted with the upload.

    Returns:
        None if the upload is missing, too large or not decodable.
    """
    with _SLOTS:  # after the wait, another request may have drawn it
        try:
            photo = uploads.read(upload)
        except UploadError:
            return None
        file = uploads.thumbnail_file(upload)
        if file.is_file():
            return Preview(**json.loads(file.read_text()))
        preview = make_preview(photo, max_side_px=THUMBNAIL_PX)
        if preview:
            with contextlib.suppress(FileNotFoundError):  # deleted in the meantime
                partial = file.with_suffix(f".{threading.get_ident()}")
                partial.write_text(json.dumps(asdict(preview)))
                partial.replace(file)
        if not uploads.holds(upload):
            uploads.delete([upload])
        return preview

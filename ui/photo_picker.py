"""Photo picker of both tabs: choose, drop or paste files of any accepted format."""

import gradio as gr

from serve.schemas import PHOTO_FORMAT_NAMES, PHOTO_FORMATS
from ui.rendering import TEMPLATES
from ui.thumbnails import load_thumbnail
from ui.uploads import UploadFolder

# Safari converts photos of other formats to the first one listed.
_ACCEPT = ",".join(
    [format.mime_type for format in PHOTO_FORMATS]
    + [suffix for format in PHOTO_FORMATS for suffix in format.suffixes]
)


def photo_picker(uploads: UploadFolder, *, label: str, prompt: str, multiple: bool, elem_id: str) -> gr.HTML:
    """Return a picker; its value is a list of ``{"path", "url", "name"}``.

    Gradio's image and gallery reject files whose type the browser does not know, such as HEIC, and show
    them as broken pictures; its list of files shows no pictures. This picker uploads any file, the
    API rejects other files with a reason, and the server draws photos that the browser cannot show.

    Args:
        label: of the file chooser, for screen readers.
        prompt: text of the empty picker.
        multiple: whether several photos can be added.
    """

    def thumbnail(path: str) -> str | None:
        preview = load_thumbnail(uploads, {"path": path})
        return preview.data_uri if preview else None

    return gr.HTML(
        [],
        html_template=(TEMPLATES / "picker.html").read_text(encoding="utf-8"),
        js_on_load=(TEMPLATES / "picker.js").read_text(encoding="utf-8"),
        server_functions=[thumbnail],
        apply_default_css=False,
        elem_id=elem_id,
        accept=_ACCEPT,
        formats=PHOTO_FORMAT_NAMES,
        picker_label=label,
        prompt=prompt,
        multiple=multiple,
        max_mb=round(uploads.max_photo_bytes / 1e6),
        uploading=0,
        problem="",
    )

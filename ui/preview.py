"""Small upright copies of photos, inside the page itself: no file, no address, nothing to delete."""

import base64
import io
from dataclasses import dataclass

from PIL import Image, ImageOps


@dataclass(frozen=True, kw_only=True)
class Preview:
    """One photo, made small.

    Attributes:
        data_uri: a JPEG as ``data:`` address.
        width_px: of the upright original, before reduction, as the boxes of the API are.
        height_px: likewise.
    """

    data_uri: str
    width_px: int
    height_px: int


def make_preview(photo: bytes, *, max_side_px: int) -> Preview | None:
    """Make a photo small, for one that the API has accepted: its size in pixels is not checked here.

    Returns:
        None if Pillow cannot show what the API could read; the answer is then shown without the picture.
    """
    try:
        with Image.open(io.BytesIO(photo)) as image:
            side_px = max(image.size)
            image.draft("RGB", (max_side_px, max_side_px))
            reduction = side_px / max(image.size)
            upright = ImageOps.exif_transpose(image)
            width_px, height_px = (round(side * reduction) for side in upright.size)
            small = _as_rgb(upright)
            small.thumbnail((max_side_px, max_side_px), Image.Resampling.LANCZOS)
    except Exception:  # damaged EXIF data alone makes Pillow raise struct.error, TypeError and more
        return None
    jpeg = io.BytesIO()
    small.save(jpeg, "JPEG", quality=82)
    text = base64.b64encode(jpeg.getvalue()).decode()
    return Preview(data_uri=f"data:image/jpeg;base64,{text}", width_px=width_px, height_px=height_px)


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits a channel, which Pillow would clip at 255
        image = image.convert("I").point(lambda value: value / 256).convert("L")
    if "A" in image.getbands() or "transparency" in image.info:
        see_through = image.convert("RGBA")
        on_white = Image.new("RGBA", see_through.size, "white")
        return Image.alpha_composite(on_white, see_through).convert("RGB")
    return image.convert("RGB")

"""Small upright copies of photos as ``data:`` addresses: the page needs no file for them."""

import base64
import io
from dataclasses import dataclass

from PIL import Image, ImageOps


@dataclass(frozen=True, kw_only=True)
class Preview:
    """A reduced photo.

    Attributes:
        data_uri: a JPEG as ``data:`` address.
        width_px: of the upright original, in which the API gives its boxes.
        height_px: likewise.
    """

    data_uri: str
    width_px: int
    height_px: int


def make_preview(photo: bytes, *, max_side_px: int) -> Preview | None:
    """Reduce a photo that the API has accepted; its number of pixels is not checked again.

    Returns:
        None if Pillow cannot decode it; the answer is then shown without the picture.
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
        transparent = image.convert("RGBA")
        on_white = Image.new("RGBA", transparent.size, "white")
        return Image.alpha_composite(on_white, transparent).convert("RGB")
    return image.convert("RGB")

"""Small upright copies of photos as ``data:`` addresses: the page needs no file for them.

Run as a program, it draws one preview: a crash of a C library on a damaged file must not end the page.
"""

import base64
import contextlib
import io
import json
import os
import resource
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass

import pi_heif
from PIL import ExifTags, Image, ImageCms, ImageFile, ImageOps

from serve.schemas import MAX_DECODE_S, MAX_HELPER_BYTES, PHOTO_FORMATS, PhotoFormat

pi_heif.register_heif_opener(thumbnails=False)

_SRGB = ImageCms.createProfile("sRGB")
_DRAWING = threading.Lock()
_SUBPROCESSES = threading.BoundedSemaphore(os.cpu_count() or 1)


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
    """Reduce a photo in one of the API's formats and within its limit of pixels.

    Few at a time: a photo of 50 megapixels takes 150 MB and more while it is decoded.

    Returns:
        None if it cannot be decoded; the page then does without the picture.
    """
    format = _recognise(photo)
    if format is None:
        return None
    if format.is_isolated:
        with _SUBPROCESSES:
            return _draw_in_subprocess(photo, max_side_px)
    with _DRAWING:
        return _draw(photo, format, max_side_px)


def _recognise(photo: bytes) -> PhotoFormat | None:
    return next((format for format in PHOTO_FORMATS if format.matches(photo)), None)


def _draw_in_subprocess(photo: bytes, max_side_px: int) -> Preview | None:
    try:
        done = subprocess.run(
            [sys.executable, "-m", "ui.preview", str(max_side_px)],
            input=photo,
            capture_output=True,
            timeout=MAX_DECODE_S,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            start_new_session=True,  # Ctrl-C is for the server
        )
    except subprocess.TimeoutExpired:
        return None
    return Preview(**json.loads(done.stdout)) if done.returncode == 0 else None


def _draw(photo: bytes, format: PhotoFormat, max_side_px: int) -> Preview | None:
    pillow_name = "HEIF" if format.name == "HEIC" else format.pillow_name
    # as in the API, missing last rows and damaged metadata are no errors
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        with Image.open(io.BytesIO(photo), formats=[pillow_name]) as image:
            if image.width * image.height > format.max_pixels:
                return None
            side_px = max(image.size)
            image.draft("RGB", (max_side_px, max_side_px))
            image.load()
            reduction = side_px / max(image.size)
            width_px, height_px = (round(side * reduction) for side in image.size)
            if image.getexif().get(ExifTags.Base.Orientation, 1) >= 5:  # stored on its side
                width_px, height_px = height_px, width_px
            small = _as_srgb(ImageOps.exif_transpose(_reduced(image, max_side_px)))
    except Exception:  # damaged EXIF data alone makes Pillow raise struct.error, TypeError and more
        return None
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False
    jpeg = io.BytesIO()
    small.save(jpeg, "JPEG", quality=82)
    text = base64.b64encode(jpeg.getvalue()).decode()
    return Preview(data_uri=f"data:image/jpeg;base64,{text}", width_px=width_px, height_px=height_px)


def _reduced(image: Image.Image, max_side_px: int) -> Image.Image:
    """Reduce an image, in place where possible: a copy would double the memory."""
    if image.mode.startswith("I"):  # 16 bits a channel, which Pillow would clip at 255
        image = image.convert("I").point(lambda value: value / 256).convert("L")
    if image.has_transparency_data:
        image = image.convert("RGBA")
    elif image.mode in ("P", "1"):
        image = image.convert("RGB")
    image.thumbnail((max_side_px, max_side_px), Image.Resampling.LANCZOS)
    return image


def _as_srgb(image: Image.Image) -> Image.Image:
    """Convert to RGB in the sRGB colour space, on white where the photo is transparent."""
    profile = image.info.get("icc_profile")
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    if profile:
        with contextlib.suppress(ImageCms.PyCMSError):  # damaged, or for another number of channels
            image = ImageCms.profileToProfile(image, io.BytesIO(profile), _SRGB, outputMode="RGB") or image
    return image.convert("RGB")


def _main(max_side_px: int) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (MAX_HELPER_BYTES, MAX_HELPER_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    photo = sys.stdin.buffer.read()
    format = _recognise(photo)
    preview = _draw(photo, format, max_side_px) if format else None
    if preview is None:
        sys.exit(1)
    json.dump(asdict(preview), sys.stdout)


if __name__ == "__main__":
    _main(int(sys.argv[1]))

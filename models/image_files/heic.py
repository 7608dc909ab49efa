"""Open HEIC photos with libheif, decoder only.

libheif turns a photo upright itself. Its EXIF orientation then describes the stored pixels and is ignored.
"""

import re

import numpy as np
import pi_heif
from PIL import Image

from models.image_files.exif import is_usable_exif

_CONTENT_TYPE = re.compile(rb"(infe(?:\x02.{7}|\x03.{9})mime)([^\0]{0,200}\0[^\0]{0,200})", re.DOTALL)
_TO_ASCII = bytes(range(128)) + b"?" * 128


def open_heic(data: bytes) -> pi_heif.HeifImage:
    """Read the header of the primary picture; its pixels are decoded by ``load_reduced``."""
    # pi_heif 1.4.0 reads a null pointer if the content type of metadata is no UTF-8
    whole = _CONTENT_TYPE.sub(lambda found: found[1] + found[2].translate(_TO_ASCII), data)
    file = pi_heif.open_heif(whole)
    return file[file.primary_index]


def load_reduced(picture: pi_heif.HeifImage, factor: int) -> Image.Image:
    """Decode a picture, reduced by a whole factor in bands: no second full-size copy."""
    width, height = picture.size
    mode, _, bits = picture.mode.partition(";")
    mode = "L" if mode == "I" else mode
    pixels: memoryview = picture.data  # pyright: ignore[reportAssignmentType]
    pixels_HB = np.frombuffer(pixels, np.uint8).reshape(height, -1)
    num_values = width * len(Image.new(mode, (1, 1)).getbands())
    reduced = Image.new(mode, (-(-width // factor), -(-height // factor)))
    rows = 64 * factor
    for top in range(0, height, rows):
        band_HB = pixels_HB[top : top + rows]
        if bits:
            band_HB = (band_HB.view(np.uint16) >> 8).astype(np.uint8)
        band = Image.frombytes(mode, (width, len(band_HB)), band_HB[:, :num_values].tobytes())
        reduced.paste(band.reduce(factor), (0, top // factor))
    info = {key: picture.info[key] for key in ("exif", "xmp", "icc_profile") if picture.info.get(key)}
    if not is_usable_exif(info.get("exif", b"")):
        del info["exif"]
    reduced.info.update(info)
    return reduced

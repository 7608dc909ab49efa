"""Convert decoded pixels to sRGB by the colour profile of a photo.

LittleCMS runs on the reduced photo. A profile that cannot be used is ignored, as browsers do.
"""

import hashlib
import io
import threading
from collections import OrderedDict

import numpy as np
from PIL import Image, ImageCms

from models.limits import MAX_ICC_PROFILE_BYTES

MAX_CACHED_TRANSFORMS = 16
"""Photos of one camera share a profile; one transform takes up to 2 MB."""
_INPUT_MODES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab ": "LAB"}
_MAX_INVISIBLE = 2
"""Difference of 8-bit values, up to which a profile counts as sRGB."""

_Transform = ImageCms.ImageCmsTransform | None
_SRGB = ImageCms.createProfile("sRGB")
_cached: OrderedDict[bytes, _Transform] = OrderedDict()
_lock = threading.Lock()


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert to RGB in the sRGB colour space on a white background."""
    flat = _on_white(image)
    if flat.mode == "LAB":
        lab = ImageCms.createProfile("LAB")
        return _applied(flat, _built(ImageCms.ImageCmsProfile(lab), "LAB"))
    if not profile or len(profile) > MAX_ICC_PROFILE_BYTES:
        return flat.convert("RGB")
    mode = _INPUT_MODES.get(profile[16:20].decode("latin-1"), "")
    if mode == "L" and image.mode in ("LA", "L"):
        flat = flat.convert("L")
    elif mode == "RGB" and flat.mode == "L":
        flat = flat.convert("RGB")
    transform = _transform(profile, mode) if mode == flat.mode else None
    return flat.convert("RGB") if transform is None else _applied(flat, transform)


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode in ("RGBA", "LA"):
        coloured = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), coloured).convert("RGB")
    return image if image.mode in ("L", "CMYK", "LAB") else image.convert("RGB")


def _applied(image: Image.Image, transform: ImageCms.ImageCmsTransform) -> Image.Image:
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None  # not in place
    return converted


def _transform(profile: bytes, mode: str) -> _Transform:
    """Return the cached transform of a profile; None for a damaged or an sRGB profile."""
    key = hashlib.sha256(profile).digest()
    with _lock:
        if key in _cached:
            _cached.move_to_end(key)
            return _cached[key]
    try:
        transform = _built(ImageCms.ImageCmsProfile(io.BytesIO(profile)), mode)
        if mode == "RGB" and _changes_nothing(transform):
            transform = None
    except (ImageCms.PyCMSError, OSError, ValueError):
        transform = None
    with _lock:
        _cached[key] = transform
        if len(_cached) > MAX_CACHED_TRANSFORMS:
            _cached.popitem(last=False)
    return transform


def _built(profile: ImageCms.ImageCmsProfile, mode: str) -> ImageCms.ImageCmsTransform:
    # without its cache of one pixel LittleCMS allows threads to share a transform
    return ImageCms.buildTransform(profile, _SRGB, mode, "RGB", flags=ImageCms.Flags.NOCACHE)


def _changes_nothing(transform: ImageCms.ImageCmsTransform) -> bool:
    levels = np.linspace(0, 255, 17).astype(np.uint8)
    colours_HWC = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(17, -1, 3)
    converted_HWC = np.asarray(_applied(Image.fromarray(colours_HWC), transform))
    return np.abs(converted_HWC.astype(int) - colours_HWC).max() <= _MAX_INVISIBLE

"""Photos for the measurements, drawn by code and as large, in pixels and bytes, as those of a phone."""

import io
import uuid

import numpy as np
from PIL import Image

from bench.load import Shot
from samples.face import draw_face
from samples.lesion import draw_lesion

SIZES = {"224 px": (224, 224), "2 MP": (1632, 1224), "12 MP": (4032, 3024)}
"""Width and height by name."""
NOISE = 5.0
"""Standard deviation of what a sensor adds; a 12 MP JPEG then has 3 to 4 MB."""


def spots(size: str, *, num: int) -> list[bytes]:
    """Draw JPEGs of spots of one of the ``SIZES``."""
    return [_as_taken(draw_lesion(seed=seed), SIZES[size], seed) for seed in range(num)]


def selfies(size: tuple[int, int], *, num: int) -> list[bytes]:
    """Draw JPEGs of faces."""
    faces = [draw_face(num_lesions=seed % 30, redness=0.5, seed=seed, size_px=960) for seed in range(num)]
    photos: list[bytes] = []
    for seed, face in enumerate(faces):
        photo = Image.new("RGB", (1280, 960), face.getpixel((4, 4)))  # pyright: ignore[reportArgumentType]
        photo.paste(face, (160, 0))
        photos.append(_as_taken(photo, size, seed))
    return photos


def enlarged(data: bytes, megapixels: float) -> bytes:
    """Return a photo as a JPEG of so many megapixels."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    scale = (megapixels * 1e6 / (image.width * image.height)) ** 0.5
    return jpeg(
        image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    )


def jpeg(image: Image.Image) -> bytes:
    """Encode as a phone does."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def form(name: str, path: str, photos: list[bytes], *, field: str) -> Shot:
    """Return the request that posts photos as the files of a multipart form."""
    boundary = uuid.uuid4().hex
    disposition = f'Content-Disposition: form-data; name="{field}"; filename="a.jpg"'
    head = f"--{boundary}\r\n{disposition}\r\nContent-Type: image/jpeg\r\n\r\n".encode()
    parts = [head + photo + b"\r\n" for photo in photos]
    body = b"".join([*parts, b"--%s--\r\n" % boundary.encode()])
    return Shot(name=name, path=path, body=body, content_type=f"multipart/form-data; boundary={boundary}")


def _as_taken(image: Image.Image, size: tuple[int, int], seed: int) -> bytes:
    larger = np.asarray(image.resize(size, Image.Resampling.BICUBIC), np.float32)
    noise = np.random.default_rng(seed).normal(0, NOISE, (size[1], size[0], 1)).astype(np.float32)
    return jpeg(Image.fromarray(np.clip(larger + noise, 0, 255).astype(np.uint8)))

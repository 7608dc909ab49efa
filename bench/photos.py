"""Drawn photos for measurements, in the pixel and byte sizes of a phone, and requests that upload them."""

import io
import uuid

import numpy as np
from PIL import Image

from bench.http_client import RequestTemplate
from samples.face import draw_face
from samples.lesion import draw_lesion

SIZES = {"224 px": (224, 224), "2 MP": (1632, 1224), "12 MP": (4032, 3024)}
"""Width and height by name."""
SENSOR_NOISE = 5.0
"""Standard deviation in grey levels; a JPEG of 12 MP then has 3 to 4 MB."""


def lesion_photos(size: str, *, num: int) -> list[bytes]:
    """Draw JPEGs of lesions in one of the ``SIZES``."""
    return [_photograph(draw_lesion(seed=seed), SIZES[size], seed) for seed in range(num)]


def selfies(size: tuple[int, int], *, num: int) -> list[bytes]:
    """Draw JPEGs of faces on a wide background."""
    photos: list[bytes] = []
    for seed in range(num):
        face = draw_face(num_lesions=seed % 30, redness=0.5, seed=seed, size_px=960)
        photo = Image.new("RGB", (1280, 960), face.getpixel((4, 4)))  # pyright: ignore[reportArgumentType]
        photo.paste(face, (160, 0))
        photos.append(_photograph(photo, size, seed))
    return photos


def resize_jpeg(data: bytes, megapixels: float) -> bytes:
    """Return a photo as a JPEG of another number of megapixels."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    scale = (megapixels * 1e6 / (image.width * image.height)) ** 0.5
    size = round(image.width * scale), round(image.height * scale)
    return encode_jpeg(image.resize(size, Image.Resampling.BICUBIC))


def encode_jpeg(image: Image.Image) -> bytes:
    """Encode with the quality of a phone."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def raw_request(name: str, path: str, photo: bytes) -> RequestTemplate:
    """Return the request that posts one photo as its body."""
    return RequestTemplate(name=name, path=path, body=photo, content_type="image/jpeg")


def multipart_request(name: str, path: str, photos: list[bytes], *, field: str) -> RequestTemplate:
    """Return the request that posts photos as files of a multipart form."""
    boundary = uuid.uuid4().hex
    disposition = f'Content-Disposition: form-data; name="{field}"; filename="a.jpg"'
    head = f"--{boundary}\r\n{disposition}\r\nContent-Type: image/jpeg\r\n\r\n".encode()
    parts = [head + photo + b"\r\n" for photo in photos]
    body = b"".join([*parts, b"--%s--\r\n" % boundary.encode()])
    content_type = f"multipart/form-data; boundary={boundary}"
    return RequestTemplate(name=name, path=path, body=body, content_type=content_type)


def _photograph(image: Image.Image, size: tuple[int, int], seed: int) -> bytes:
    resized = np.asarray(image.resize(size, Image.Resampling.BICUBIC), np.float32)
    noise = np.random.default_rng(seed).normal(0, SENSOR_NOISE, (size[1], size[0], 1)).astype(np.float32)
    return encode_jpeg(Image.fromarray(np.clip(resized + noise, 0, 255).astype(np.uint8)))

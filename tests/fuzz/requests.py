"""Requests with mutated files or mutated bodies; the number of a request and the seed determine it."""

import base64
import gzip
import json
import random
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache

from models.limits import MAX_BATCH_PHOTOS
from samples.face import draw_face
from tests.fuzz.mutators import mutate
from tests.fuzz.photo_seeds import photo_seeds
from tests.photo_files import encoded

_BOUNDARY = "d3f1b0a7c5"
_TIMES = (
    "2026-01-02T03:04:05", "2026-01-02T03:04:05+01:00", "2026-01-02", "20260102T030405Z", "2026-W01-1",
    "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59.999999-23:59", "2026-02-30", "monday", "", " ",
    "1767323045", "\u0662\u0660\u0662\u0666-01-02", "2026-01-02T24:00", "\x00", "2026-01-02T03:04:05\ud7ff",
)  # fmt: skip
_JSON = (
    "null", "true", "[]", "{}", '""', "0", "-1", "255", "256", "0.5", "1e999", "-0.0", "NaN", "9" * 400,
    "1" * 20, "[" * 2000, '{"img":' * 500, '"\\ud800"', '"\\u0000"', '"data:image/jpeg;base64,"', '"data:,"',
    '"===="', "[[[[1,2,3]]]]", "[[[[0,0,0],[0,0,0]]],[[[9,9,9]]]]", '{"image":"","image":""}',
)  # fmt: skip
_HEADER_TOKENS = (
    "multipart/form-data", "application/json", "image/jpeg", "; boundary=", ";boundary", '"', "=", ";", ",",
    "boundary*=utf-8''%ff", "boundary*0=a", "charset=utf-16", "x" * 300, "gzip", "deflate", "identity", "br",
)  # fmt: skip
_QUERIES = (
    "explain=true",
    "top_k=1",
    "top_k=0",
    "top_k=%00",
    "top_k=1e9",
    "explain=%ff",
    "a=b",
    "explain",
    "%",
)


@dataclass(frozen=True)
class FuzzRequest:
    """A ``POST`` request."""

    path: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    num_files: int = 0


Part = tuple[str, bytes]
"""Name and content of a part of a form."""


def file_request(seed: int, number: int) -> FuzzRequest:
    """Return a request with mutated files: most of them in batches, the others by all ways of sending one."""
    rng = random.Random(f"{seed} file {number}")
    route = rng.choices(_FILE_ROUTES, weights=(10, 10, 5, 5, 10))[0]
    return route(rng)


def body_request(seed: int, number: int) -> FuzzRequest:
    """Return a request whose body, or whose headers, are mutated: multipart, JSON, or encoded."""
    rng = random.Random(f"{seed} body {number}")
    request = rng.choice(_BODY_SEEDS)(rng)
    body, headers, path = request.body, dict(request.headers), request.path
    if rng.random() < 0.3:
        coding = rng.choice(("gzip", "deflate"))
        body = gzip.compress(body, 1, mtime=0) if coding == "gzip" else zlib.compress(body, 1)
        headers["content-encoding"] = coding
    if rng.random() < 0.8:
        body = mutate(rng, body, rng.choice(_BODY_SEEDS)(rng).body)
    if rng.random() < 0.2:
        name = rng.choice(("content-type", "content-encoding"))
        headers[name] = _mutated_header(rng, headers.get(name, ""))
    if rng.random() < 0.1:
        path += "?" + "&".join(rng.choices(_QUERIES, k=2))
    return FuzzRequest(path, body, headers, request.num_files)


def form(path: str, parts: Sequence[Part]) -> FuzzRequest:
    """Return a multipart form; fields named ``taken_at`` are text."""
    body = b""
    for name, content in parts:
        file = "" if name == "taken_at" else '; filename="photo.jpg"\r\nContent-Type: image/jpeg'
        head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
        body += head.encode() + content + b"\r\n"
    body += f"--{_BOUNDARY}--\r\n".encode()
    num_files = sum(name != "taken_at" for name, _ in parts)
    return FuzzRequest(
        path, body, {"content-type": f"multipart/form-data; boundary={_BOUNDARY}"}, num_files=num_files
    )


@cache
def _photos() -> list[bytes]:
    return list(photo_seeds().values())


@cache
def _faces() -> list[bytes]:
    return [
        encoded(draw_face(num_lesions=9 * number, redness=0.5, seed=1, size_px=160), "JPEG")
        for number in range(3)
    ]


def _mutated_photo(rng: random.Random) -> bytes:
    return mutate(rng, rng.choice(_photos()), rng.choice(_photos()))


def _batch(rng: random.Random) -> FuzzRequest:
    return form("/v1/lesion/batch", [("files", _mutated_photo(rng)) for _ in range(MAX_BATCH_PHOTOS)])


def _raw(rng: random.Random) -> FuzzRequest:
    return FuzzRequest("/v1/lesion", _mutated_photo(rng), {"content-type": "image/jpeg"}, num_files=1)


def _form(rng: random.Random) -> FuzzRequest:
    return form("/v1/lesion", [("file", _mutated_photo(rng))])


def _json(rng: random.Random) -> FuzzRequest:
    return _json_photo(_mutated_photo(rng), rng.choice(("", "data:image/jpeg;base64,")))


def _series(rng: random.Random) -> FuzzRequest:
    """Return a series of one mutated photo, and of faces, so that it may reach the network."""
    face = rng.choice(_faces())
    photos = [mutate(rng, face, rng.choice(_photos())) if rng.random() < 0.5 else _mutated_photo(rng), face]
    rng.shuffle(photos)
    times = [("taken_at", rng.choice(_TIMES).encode()) for _ in photos] if rng.random() < 0.3 else []
    return form("/v1/progress", [*(("files", photo) for photo in photos), *times])


def _json_photo(photo: bytes, prefix: str) -> FuzzRequest:
    body = json.dumps({"image": prefix + base64.b64encode(photo).decode()}).encode()
    return FuzzRequest("/v1/lesion", body, {"content-type": "application/json"}, num_files=1)


def _valid_form(rng: random.Random) -> FuzzRequest:
    return form("/v1/lesion", [("file", rng.choice(_faces()))])


def _valid_batch(rng: random.Random) -> FuzzRequest:
    return form("/v1/lesion/batch", [("files", photo) for photo in _faces()])


def _valid_series(rng: random.Random) -> FuzzRequest:
    faces = _faces()[:2]
    times = [("taken_at", rng.choice(_TIMES).encode()) for _ in range(rng.choice((0, 1, 2, 2, 2)))]
    return form("/v1/progress", [*(("files", face) for face in faces), *times])


def _valid_json(rng: random.Random) -> FuzzRequest:
    return _json_photo(rng.choice(_faces()), rng.choice(("", "data:image/jpeg;base64,", "DATA:;base64,")))


def _predict(rng: random.Random) -> FuzzRequest:
    """Return a SkinCredible request, with a few JSON values in place of others."""
    frames = [[[[rng.randrange(256) for _ in "rgb"] for _ in range(6)] for _ in range(4)] for _ in "ab"]
    text = json.dumps({"img": frames})
    for _ in range(rng.choice((0, 1, 1, 3))):
        text = _with_value(rng, text)
    return FuzzRequest(
        "/predict", text.encode("utf-8", "surrogatepass"), {"content-type": "application/json"}
    )


def _lesion_json(rng: random.Random) -> FuzzRequest:
    body = _with_value(rng, _valid_json(rng).body.decode())
    return FuzzRequest("/v1/lesion", body.encode(), {"content-type": "application/json"})


def _with_value(rng: random.Random, text: str) -> str:
    """Insert a JSON value, or put it in place of what follows, up to a comma or the end of a list."""
    starts = [place for place, letter in enumerate(text) if letter in "[,:{"]
    start = rng.choice(starts or [0]) + 1
    stop = min((place for place in (text.find(end, start) for end in ",]}") if place >= 0), default=start)
    return text[:start] + rng.choice(_JSON) + text[rng.choice((start, stop)) :]


def _mutated_header(rng: random.Random, value: str) -> str:
    """Return printable ASCII; clients send nothing else."""
    at = rng.randrange(len(value) + 1)
    cut = value[at + rng.choice((0, 0, 1, 10)) :]
    return (value[:at] + rng.choice(_HEADER_TOKENS) + cut).strip()


_FILE_ROUTES: Sequence[Callable[[random.Random], FuzzRequest]] = (_batch, _raw, _form, _json, _series)
_BODY_SEEDS = (_valid_form, _valid_batch, _valid_series, _valid_json, _predict, _lesion_json)

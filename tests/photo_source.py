"""Data sets as people have them, written and drawn by a test, and what ingest makes of them."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from models import storage
from train.data.ingest.convert import Ingest, ingest
from train.data.ingest.report import RowReport
from train.data.manifest import Row, read_manifest

Make = Callable[..., tuple[list[Row], RowReport]]


def photo_bytes(name: str) -> bytes:
    """Return a JPEG that no other name has."""
    colour = np.random.default_rng(list(name.encode())).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(colour).resize((32, 24)).save(file, "JPEG")
    return file.getvalue()


def put_photos(folder: str, *names: str) -> None:
    """Draw photos of these names into a folder or a bucket."""
    for name in names:
        storage.write_bytes(storage.join(folder, name), photo_bytes(name))


def maker_in(folder: Path) -> Make:
    """Return what writes a CSV and photos named by it into a folder and ingests them."""

    def make(metadata: str, *photos: str, **settings: object) -> tuple[list[Row], RowReport]:
        source, manifest = folder / "metadata.csv", str(folder / "out" / "manifest.parquet")
        source.write_bytes(metadata.encode())
        put_photos(str(folder / "photos"), *photos)
        report = ingest(Ingest(source=str(source), manifest=manifest, **settings))  # pyright: ignore[reportArgumentType]
        return read_manifest(manifest), report

    return make

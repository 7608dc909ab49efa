"""Example pictures, drawn by code; they are in memory, and the browser loads one like any photo."""

import io
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from PIL import ExifTags, Image

_TILE_PX = 160
_FIRST_DAY = datetime(2024, 3, 1, 9)


@dataclass(frozen=True, kw_only=True)
class Example:
    """The photos of one example: one for a lesion, several, oldest first, for a series.

    They are drawn for the first visitor: drawing all examples takes seconds, in which a server could start.

    Attributes:
        name: part of the addresses.
        title: message id of its name for people.
        draw: returns the pictures, as many as ``num_photos``; called once.
        num_photos: of the example.
        number: filled into the title.
    """

    name: str
    title: str
    draw: Callable[[], Sequence[Image.Image]]
    num_photos: int = 1
    number: int = 1
    _contents: dict[str, bytes] = field(default_factory=dict[str, bytes], repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def files(self) -> dict[str, Callable[[], bytes]]:
        """Return, by address relative to the page, what returns the JPEG file, from any thread."""
        return {
            address: partial(self._content, address)
            for address in (*self.tile_addresses, *self.photo_addresses)
        }

    @property
    def photo_addresses(self) -> list[str]:
        """Return the addresses of the photos, in their order."""
        return [f"examples/{self.name}/{n}.jpg" for n in range(self.num_photos)]

    @property
    def tile_addresses(self) -> list[str]:
        """Return the addresses of small pictures of the first and the last photo."""
        return [f"examples/{self.name}/tile-{n}.jpg" for n in range(min(2, self.num_photos))]

    def _content(self, address: str) -> bytes:
        with self._lock:
            if not self._contents:
                pictures = self.draw()
                days = (_FIRST_DAY + timedelta(days=n) for n in range(self.num_photos))
                photos = [_as_jpeg(picture, day) for picture, day in zip(pictures, days, strict=True)]
                tiles = map(_tile, pictures if len(pictures) == 1 else (pictures[0], pictures[-1]))
                contents = dict(zip(self.photo_addresses, photos, strict=True))
                self._contents.update(contents | dict(zip(self.tile_addresses, tiles, strict=True)))
        return self._contents[address]


def _tile(picture: Image.Image) -> bytes:
    small = picture.convert("RGB")
    small.thumbnail((_TILE_PX, _TILE_PX), Image.Resampling.LANCZOS)
    data = io.BytesIO()
    small.save(data, "JPEG", quality=80)
    return data.getvalue()


def _as_jpeg(picture: Image.Image, taken_at: datetime) -> bytes:
    """Encode a photo as a camera does."""
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = f"{taken_at:%Y:%m:%d %H:%M:%S}"
    data = io.BytesIO()
    picture.convert("RGB").save(data, "JPEG", quality=92, exif=exif)
    return data.getvalue()

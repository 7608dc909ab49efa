"""Example pictures, drawn by code; they are in memory, and the browser loads one like any photo."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from PIL import ExifTags, Image

_TILE_PX = 160
_FIRST_DAY = datetime(2024, 3, 1, 9)


@dataclass(frozen=True, kw_only=True)
class Example:
    """The photos of one example: one for a lesion, several, oldest first, for a series.

    Attributes:
        name: part of the addresses.
        title: message id of its name for people.
        number: filled into the title.
        photos: JPEG files.
        tiles: small JPEG files of the first and the last photo.
    """

    name: str
    title: str
    number: int
    photos: tuple[bytes, ...]
    tiles: tuple[bytes, ...]

    @property
    def files(self) -> dict[str, bytes]:
        """Return the content of each address, relative to the page."""
        tiles = {f"examples/{self.name}/tile-{n}.jpg": tile for n, tile in enumerate(self.tiles)}
        return tiles | dict(zip(self.photo_addresses, self.photos, strict=True))

    @property
    def photo_addresses(self) -> list[str]:
        """Return the addresses of the photos, in their order."""
        return [f"examples/{self.name}/{n}.jpg" for n in range(len(self.photos))]

    @property
    def tile_addresses(self) -> list[str]:
        """Return the addresses of the small pictures."""
        return [f"examples/{self.name}/tile-{n}.jpg" for n in range(len(self.tiles))]


def make_example(name: str, title: str, pictures: Sequence[Image.Image], *, number: int = 1) -> Example:
    """Encode drawn pictures as JPEG, as a camera does, one day apart."""
    days = (_FIRST_DAY + timedelta(days=number) for number in range(len(pictures)))
    shown = pictures if len(pictures) == 1 else (pictures[0], pictures[-1])
    return Example(
        name=name,
        title=title,
        number=number,
        photos=tuple(_as_jpeg(picture, day) for picture, day in zip(pictures, days, strict=True)),
        tiles=tuple(_tile(picture) for picture in shown),
    )


def _tile(picture: Image.Image) -> bytes:
    small = picture.convert("RGB")
    small.thumbnail((_TILE_PX, _TILE_PX), Image.Resampling.LANCZOS)
    data = io.BytesIO()
    small.save(data, "JPEG", quality=80)
    return data.getvalue()


def _as_jpeg(picture: Image.Image, taken_at: datetime) -> bytes:
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = f"{taken_at:%Y:%m:%d %H:%M:%S}"
    data = io.BytesIO()
    picture.convert("RGB").save(data, "JPEG", quality=92, exif=exif)
    return data.getvalue()

"""Read the pictures of one part of the split: lesions, degraded lesions, and pictures without a lesion."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from models.diagnoses import find_diagnosis
from train.gpu_recipe.measure import DIAGNOSES, MALIGNANT
from train.gpu_recipe.photos import PATCH_PX, read_photo, skin_squares
from train.gpu_recipe.split import PARTS, read_rows, read_split
from train.lesion.degradations import DEGRADATIONS
from train.lesion.pipeline import Picture

BARE_SKIN, DRAWN = "bare skin", "drawn"
"""Sources of pictures without a lesion, beside not_skin, faces and not_faces."""
BARE_SKIN_PX = 224
NUM_DRAWN = 60


def lesion_pictures(
    lesions: Path, split: Path, part: str, *, degrade: bool = False, every: int = 1
) -> Iterator[Picture]:
    """Yield the lesion photos of one part; malignant ones again after every degradation.

    Args:
        lesions: folder with ``lesions.csv`` and the photos.
        split: CSV file: image, split.
        part: train, val or test.
        degrade: whether to add degraded photos.
        every: yield every n-th photo only.
    """
    part_of = read_split(split)
    rows = [row for row in read_rows(lesions) if part_of.get(row["image"]) == part]
    for row in [row for row in rows if row["label"] in (*DIAGNOSES, "benign")][::every]:
        data = Path(row["path"]).read_bytes()
        malignant = row["label"] in MALIGNANT
        known = {
            "name": row["image"],
            "source": row["source"],
            "group": f"{row['source']}/{row['group']}",
            "malignant": malignant,
            "diagnosis": "" if row["label"] == "benign" else find_diagnosis(row["label"]).name,
        }
        yield Picture(**known, data=data)
        if degrade and malignant:
            with Image.open(io.BytesIO(data)) as file:
                image = file.convert("RGB")
            for name, change in DEGRADATIONS.items():
                yield Picture(**known, data=encoded(change(image)), degradation=name)


def other_pictures(lesions: Path, faces: Path, split: Path, part: str) -> Iterator[Picture]:
    """Yield pictures without a lesion of one part: objects, portraits, bare skin, drawn patterns."""
    part_of = read_split(split)
    rows = [row for row in read_rows(lesions, faces) if part_of.get(row["image"]) == part]
    for row in rows:
        if row["label"] in ("not_skin", "no_lesion"):
            data = Path(row["path"]).read_bytes()
            yield _other(row["image"], row["source"], f"{row['source']}/{row['group']}", data)
        elif row["source"] in PATCH_PX:
            yield from _bare_skin(row, lesions / "ham10000_masks")
    random = np.random.default_rng(PARTS.index(part))
    for number in range(NUM_DRAWN):
        yield _other(f"drawn {number}", DRAWN, f"drawn {number}", encoded(_pattern(number, random)))


def encoded(image: Image.Image) -> bytes:
    """Encode an image without loss."""
    content = io.BytesIO()
    image.save(content, "PNG", compress_level=1)
    return content.getvalue()


def _other(name: str, source: str, group: str, data: bytes) -> Picture:
    return Picture(name=name, source=source, group=group, data=data, malignant=None)


def _bare_skin(row: dict[str, str], masks: Path) -> Iterator[Picture]:
    """Yield squares of skin beside the lesion, enlarged to the size of a photo."""
    image, mask_HW = read_photo(row, masks)
    if row["source"] == "ham10000" and mask_HW is None:
        return
    for top, left, side in skin_squares(np.asarray(image), mask_HW, PATCH_PX[row["source"]])[:1]:
        square = image.crop((left, top, left + side, top + side))
        square = square.resize((BARE_SKIN_PX, BARE_SKIN_PX), Image.Resampling.BICUBIC)
        yield _other(row["image"], BARE_SKIN, f"{row['source']}/{row['group']}", encoded(square))


def _pattern(number: int, random: np.random.Generator) -> Image.Image:
    """Draw noise, a plain colour, a gradient or blocks of colour."""
    size = (224, 224)
    kind = number % 4
    if kind == 0:
        pixels = random.integers(0, 256, (*size, 3))
    elif kind == 1:
        pixels = np.broadcast_to(random.integers(0, 256, 3), (*size, 3))
    elif kind == 2:
        ends = random.integers(0, 256, (2, 3))
        pixels = ends[0] + (ends[1] - ends[0]) * np.linspace(0, 1, size[1])[None, :, None]
        pixels = np.broadcast_to(pixels, (*size, 3))
    else:
        blocks = random.integers(0, 256, (8, 8, 3)).astype(np.uint8)
        return Image.fromarray(blocks).resize(size, Image.Resampling.NEAREST)
    return Image.fromarray(pixels.astype(np.uint8))

"""Decode all photos of the data set once, into arrays that fit into the memory of one GPU.

Axes: N photo, C colour, H row, W column, P patch of skin.
"""

import csv
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from train.gpu_recipe.split import LESION_CODES

CANVAS_HW = (224, 300)
"""Every photo is in the upper left corner of a canvas of this size; tall ones are rotated by 90 degrees."""
MASK_STRIDE = 2
"""Pixels of a photo per pixel of its mask."""
SOURCES = (
    "ham10000",
    "pad_ufes_20",
    "isic_msk",
    "isic2020",
    "isic2018_val",
    "not_skin",
    "faces",
    "not_faces",
)
PATCH_PX = {"ham10000": 80, "pad_ufes_20": 60}
"""Side of the squares of skin searched beside the lesions."""


@dataclass(frozen=True, kw_only=True)
class PhotoSet:
    """Photos on one device, with their labels, masks and parts of the split."""

    names: list[str]
    image_NCHW: Tensor
    """uint8, on the canvas."""
    mask_NHW: Tensor
    """uint8, 0 to 255, share of lesion; zero where there is no mask."""
    size_N2: Tensor
    """float32, height and width on the canvas."""
    border_NC: Tensor
    """float32, 0 to 1, median colour of the photo's border."""
    label_N: Tensor
    """int64, index into ``LESION_CODES``; -1 for an image without a lesion."""
    source_N: Tensor
    """int64, index into ``SOURCES``."""
    part_N: Tensor
    """int64: 0 training, 1 validation, 2 test."""
    skin_N: Tensor
    """bool, whether the image shows skin."""
    has_mask_N: Tensor
    """bool."""
    patch_P4: Tensor
    """int64: photo, top, left and side of squares of skin without a lesion, of training photos."""

    @property
    def device(self) -> torch.device:
        """Device of all arrays."""
        return self.image_NCHW.device

    def where(self, *, part: int | None = None, lesion: bool = True) -> Tensor:
        """Return the indices, int64, of photos with or without a lesion in one part of the split."""
        chosen_N = (self.label_N >= 0) == lesion
        if part is not None:
            chosen_N = chosen_N & (self.part_N == part)
        return chosen_N.nonzero()[:, 0]


def pack(
    rows: Sequence[dict[str, str]],
    part_of: dict[str, str],
    masks: Path,
    out: Path,
    *,
    workers: int = 1,
) -> None:
    """Decode all photos and masks into ``out``, a folder of .npy files and a table.

    Args:
        masks: folder with the masks of HAM10000, named as its photos.
    """
    out.mkdir(parents=True, exist_ok=True)
    height, width = CANVAS_HW
    image_NCHW = np.lib.format.open_memmap(out / "images.npy", "w+", np.uint8, (len(rows), 3, height, width))
    mask_NHW = np.zeros((len(rows), height // MASK_STRIDE, width // MASK_STRIDE), np.uint8)
    size_N2 = np.zeros((len(rows), 2), np.float32)
    border_NC = np.zeros((len(rows), 3), np.float32)
    has_mask_N = np.zeros(len(rows), bool)
    patches: list[tuple[int, int, int, int]] = []
    del image_NCHW
    with ProcessPoolExecutor(workers) as pool:
        work = partial(_decode, masks=masks, images=out / "images.npy")
        for place, found in enumerate(pool.map(work, range(len(rows)), rows, chunksize=32)):
            size_N2[place], border_NC[place], photo_mask_HW, squares = found
            if photo_mask_HW is not None:
                has_mask_N[place] = True
                mask_NHW[place, : photo_mask_HW.shape[0], : photo_mask_HW.shape[1]] = photo_mask_HW
            if part_of[rows[place]["image"]] == "train":
                patches += [(place, *square) for square in squares]
    np.savez(
        out / "table.npz",
        mask_NHW=mask_NHW,
        size_N2=size_N2,
        border_NC=border_NC,
        has_mask_N=has_mask_N,
        patch_P4=np.array(patches or [(0, 0, 0, 60)], np.int64),
    )
    with (out / "table.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows((row["image"], row["label"], row["source"], part_of[row["image"]]) for row in rows)


def load(packed: Path, device: str) -> PhotoSet:
    """Load the files of ``pack`` onto one device."""
    with (packed / "table.csv").open(newline="") as file:
        table = list(csv.reader(file))
    arrays = np.load(packed / "table.npz")
    labels = [LESION_CODES.index(label) if label in LESION_CODES else -1 for _, label, _, _ in table]

    def on_device(values: object, dtype: torch.dtype) -> Tensor:
        return torch.as_tensor(values, dtype=dtype).to(device)

    return PhotoSet(
        names=[name for name, _, _, _ in table],
        image_NCHW=torch.from_numpy(np.load(packed / "images.npy")).to(device),
        mask_NHW=torch.from_numpy(arrays["mask_NHW"]).to(device),
        size_N2=on_device(arrays["size_N2"], torch.float32),
        border_NC=on_device(arrays["border_NC"], torch.float32),
        label_N=on_device(labels, torch.int64),
        source_N=on_device([SOURCES.index(source) for _, _, source, _ in table], torch.int64),
        part_N=on_device([("train", "val", "test").index(part) for _, _, _, part in table], torch.int64),
        skin_N=on_device([label != "not_skin" for _, label, _, _ in table], torch.bool),
        has_mask_N=on_device(arrays["has_mask_N"], torch.bool),
        patch_P4=on_device(arrays["patch_P4"], torch.int64),
    )


def _decode(
    place: int, row: dict[str, str], *, masks: Path, images: Path
) -> tuple[tuple[int, int], np.ndarray, np.ndarray | None, list[tuple[int, int, int]]]:
    """Write the pixels; return size, border colour, mask at half size or None, and squares of skin."""
    image, mask_HW = read_photo(row, masks)
    image_HWC = np.asarray(image)
    image_NCHW = np.load(images, mmap_mode="r+")
    image_NCHW[place, :, : image.height, : image.width] = image_HWC.transpose(2, 0, 1)
    squares = skin_squares(image_HWC, mask_HW, PATCH_PX.get(row["source"], 0))
    return (image.height, image.width), _border_colour(image_HWC), mask_HW, squares


def read_photo(row: dict[str, str], masks: Path) -> tuple[Image.Image, np.ndarray | None]:
    """Read a photo, fitted on the canvas, and its mask at half size, uint8 0 to 255, or None."""
    with Image.open(row["path"]) as file:
        image = _fitted(file.convert("RGB"))
    mask_path = masks / f"{Path(row['image']).stem}.png"
    if row["source"] != "ham10000" or not mask_path.is_file():
        return image, None
    with Image.open(mask_path) as file:
        mask = _fitted(file.convert("L"))
    half = (image.width // MASK_STRIDE, image.height // MASK_STRIDE)
    return image, np.asarray(mask.resize(half, Image.Resampling.BOX))


def _fitted(image: Image.Image) -> Image.Image:
    """Fit an image on the canvas: rotate to landscape, reduce, crop the ends if needed."""
    height, width = CANVAS_HW
    if image.height > image.width:
        image = image.transpose(Image.Transpose.ROTATE_90)
    if image.height > height:
        size = (max(1, round(image.width * height / image.height)), height)
        image = image.resize(size, Image.Resampling.BICUBIC)
    left = max(0, (image.width - width) // 2)
    return image.crop((left, 0, min(image.width, left + width), image.height))


def _border_colour(image_HWC: np.ndarray) -> np.ndarray:
    """Return the median colour of the border's brighter half, without a dermatoscope's dark corners."""
    edge = max(4, min(image_HWC.shape[:2]) // 14)
    strips = (image_HWC[:edge], image_HWC[-edge:], image_HWC[:, :edge], image_HWC[:, -edge:])
    pixels = np.concatenate([strip.reshape(-1, 3) for strip in strips])[::7].astype(np.float32) / 255
    brightness = pixels.mean(1)
    return np.median(pixels[brightness >= np.median(brightness)], axis=0)


def skin_squares(image_HWC: np.ndarray, mask_HW: np.ndarray | None, side: int) -> list[tuple[int, int, int]]:
    """Return at most two squares of bare skin: outside the mask, evenly lit, without dark corners."""
    height, width = image_HWC.shape[:2]
    if not side or min(height, width) < 2 * side:
        return []
    squares = []
    for top in (4, height - side - 4):
        for left in (4, (width - side) // 2, width - side - 4):
            if mask_HW is None and left == (width - side) // 2:
                continue  # without a mask only the corners are likely to show no lesion
            if mask_HW is not None:
                area = np.s_[
                    max(0, top // MASK_STRIDE - 6) : (top + side) // MASK_STRIDE + 6,
                    max(0, left // MASK_STRIDE - 6) : (left + side) // MASK_STRIDE + 6,
                ]
                if mask_HW[area].any():
                    continue
            patch = image_HWC[top : top + side, left : left + side].astype(np.float32)
            grey_HW = patch.mean(2)
            if grey_HW.mean() > 90 and np.percentile(grey_HW, 3) > 60 and grey_HW.std() < 22:
                squares.append((top, left, side))
    return squares[:2]

"""Compute logits of networks on one part of the split: whole frames, localizer crops, degraded photos.

``python -m train.gpu_recipe.evaluate --part test`` reads photos as the server does (Pillow) and writes one
file of logits; ``report`` makes tables of two such files, thresholds and calibration from the first.

Axes: N image, B batch, H row, W column, C colour, K output column.
"""

import argparse
import io
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageFilter
from safetensors.torch import load_file
from torch import Tensor, nn

from models.checkpoint import load_weights, read_meta
from models.lesion.localizer import INPUT_PX, Box, crop_square, find_main_lesion
from models.lesion.network import LesionNet
from models.preprocessing import normalize
from train.gpu_recipe.measure import DIAGNOSES, MALIGNANT
from train.gpu_recipe.networks import LesionLocalizer, SmallLesionNet
from train.gpu_recipe.split import read_rows, read_split


def _blurred(image: Image.Image, sigma_px: float) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(sigma_px))


def _distant(image: Image.Image, share: float) -> Image.Image:
    """Shrink the photo to a share of the frame, on a background of its border's colour."""
    edge = max(4, min(image.size) // 14)
    pixels = np.asarray(image).astype(np.float32)
    border = np.concatenate([pixels[:edge].reshape(-1, 3), pixels[-edge:].reshape(-1, 3)])
    bright = border[border.mean(1) >= np.median(border.mean(1))]
    colour = tuple(int(value) for value in np.median(bright, axis=0))
    noise = np.random.default_rng(0).normal(0, 4, (image.height, image.width, 1))
    background = Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8))
    size = (max(8, round(image.width * share)), max(8, round(image.height * share)))
    small = image.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)
    feather = max(2, round(min(size) * 0.08))
    alpha = Image.new("L", size, 0)
    alpha.paste(255, (feather, feather, size[0] - feather, size[1] - feather))
    alpha = alpha.filter(ImageFilter.GaussianBlur(feather / 2))
    background.paste(small, ((image.width - size[0]) // 2, (image.height - size[1]) // 2), alpha)
    return background


def _compressed(image: Image.Image, quality: int) -> Image.Image:
    content = io.BytesIO()
    image.save(content, "JPEG", quality=quality)
    return Image.open(content).convert("RGB")


def _cast(image: Image.Image, factors: tuple[float, float, float]) -> Image.Image:
    return Image.fromarray((np.asarray(image) * np.array(factors)).clip(0, 255).astype(np.uint8))


def _noisy(image: Image.Image, sigma: float) -> Image.Image:
    noise = np.random.default_rng(0).normal(0, sigma, (image.height, image.width, 3))
    return Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype(np.uint8))


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "blur 2 px": partial(_blurred, sigma_px=2),
    "blur 4 px": partial(_blurred, sigma_px=4),
    "blur 8 px": partial(_blurred, sigma_px=8),
    "half the frame": partial(_distant, share=0.5),
    "a quarter of the frame": partial(_distant, share=0.25),
    "brightness 0.3": lambda image: ImageEnhance.Brightness(image).enhance(0.3),
    "brightness 1.6": lambda image: ImageEnhance.Brightness(image).enhance(1.6),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "JPEG quality 10": partial(_compressed, quality=10),
    "JPEG quality 5": partial(_compressed, quality=5),
    "colour cast": partial(_cast, factors=(1.2, 1.0, 0.8)),
    "noise of 25": partial(_noisy, sigma=25),
}
"""Changes of photos of 224 px on the short side."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One photo, unchanged or after a change."""

    name: str
    source: str
    label: str
    change: str
    image: Image.Image


@dataclass(frozen=True, kw_only=True)
class View:
    """A network and the part of the photo that it reads."""

    net: nn.Module
    side_px: int
    is_crop: bool
    on_degraded: bool = True


def pictures(lesions: Path, split: Path, part: str, *, degrade: bool, every: int = 1) -> Iterator[Picture]:
    """Yield the lesion photos of one part; malignant ones again after every change."""
    part_of = read_split(split)
    rows = [row for row in read_rows(lesions) if part_of[row["image"]] == part]
    rows = [row for row in rows if row["label"] in (*DIAGNOSES, "benign")]
    for row in rows[::every]:
        with Image.open(row["path"]) as file:
            image = file.convert("RGB")
        make = partial(Picture, name=row["image"], source=row["source"], label=row["label"])
        yield make(change="", image=image)
        if degrade and row["label"] in MALIGNANT:
            for name, change in CHANGES.items():
                yield make(change=name, image=change(image))


def localize(localizer: nn.Module, images: Sequence[Image.Image]) -> tuple[list[Box], np.ndarray]:
    """Return the square around each lesion, and the gate outputs; the central square if none is found."""
    size = (INPUT_PX, INPUT_PX)
    small = [np.asarray(image.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)) for image in images]
    with torch.no_grad():
        lesion_BHW, gate_BG = localizer(normalize(torch.from_numpy(np.stack(small))))
    squares = []
    for image, map_HW in zip(images, lesion_BHW.sigmoid().numpy(), strict=True):
        found = find_main_lesion(map_HW)
        squares.append(crop_square(None if found is None else found.box, *image.size))
    return squares, gate_BG.sigmoid().numpy()


def read_square(image: Image.Image, box: Box, side_px: int) -> np.ndarray:
    """Return a square of the photo as in serving."""
    size = (side_px, side_px)
    return np.asarray(image.resize(size, Image.Resampling.BICUBIC, box=box, reducing_gap=3.0))


def evaluate(
    views: dict[str, View], localizer: nn.Module, stream: Iterator[Picture], batch: int = 32
) -> dict[str, np.ndarray]:
    """Evaluate the views; return names, sources, labels, changes, gates and logits, NaN if not computed."""
    columns: dict[str, list[np.ndarray]] = {
        name: [] for name in ("name", "source", "label", "change", "gate", *views)
    }
    while some := list(islice(stream, batch)):
        for name in ("name", "source", "label", "change"):
            columns[name].append(np.array([getattr(picture, name) for picture in some]))
        squares, gate_BG = localize(localizer, [picture.image for picture in some])
        columns["gate"].append(gate_BG)
        for name, view in views.items():
            boxes = squares if view.is_crop else [crop_square(None, *picture.image.size) for picture in some]
            wanted = np.array([view.on_degraded or not picture.change for picture in some])
            logits: np.ndarray | None = None
            if wanted.any():
                pixels = [
                    read_square(picture.image, box, view.side_px)
                    for picture, box, use in zip(some, boxes, wanted, strict=True)
                    if use
                ]
                logits = _logits(view.net, torch.from_numpy(np.stack(pixels)))
            width = 10 if logits is None else logits.shape[1]
            every = np.full((len(some), width), np.nan, np.float32)
            if logits is not None:
                every[wanted] = logits
            columns[name].append(every)
    return {name: np.concatenate(parts) for name, parts in columns.items()}


def _logits(net: nn.Module, image_BHWC: Tensor) -> np.ndarray:
    image_BCHW = normalize(image_BHWC).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        logits = net(image_BCHW)
    return torch.cat([logits.risk_BR, logits.diagnosis_BK], dim=1).float().numpy()


def _floats(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.float() if value.is_floating_point() else value for name, value in weights.items()}


def _ready(net: nn.Module, weights: dict[str, Tensor]) -> nn.Module:
    net.load_state_dict(_floats(weights))
    return net.eval().to(memory_format=torch.channels_last)


def main() -> None:
    """Write the logits for one part of the split."""
    parser = argparse.ArgumentParser(prog="python -m train.gpu_recipe.evaluate", description=__doc__)
    parser.add_argument("--lesions", type=Path, required=True, help="folder with lesions.csv and photos")
    parser.add_argument("--split", type=Path, default=Path(__file__).with_name("split.csv"))
    parser.add_argument("--part", choices=("val", "test"), required=True)
    parser.add_argument("--run", type=Path, required=True, help="folder with the safetensors of a run")
    parser.add_argument("--reference", type=Path, required=True, help="checkpoint folder to compare with")
    parser.add_argument("--out", type=Path, required=True, help=".npz file")
    parser.add_argument("--every", type=int, default=1, help="evaluate every n-th photo only")
    parser.add_argument("--views", nargs="*", help="names of the views to compute; all if left out")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    began = time.perf_counter()
    meta = read_meta(arguments.reference)
    reference = _ready(LesionNet(**meta.architecture), load_weights(arguments.reference, meta))
    count = len(DIAGNOSES)
    lesion = _ready(
        LesionNet(num_diagnoses=count, input_px=192), load_file(arguments.run / "lesion.safetensors")
    )
    small = _ready(
        SmallLesionNet(num_diagnoses=count, input_px=192), load_file(arguments.run / "small.safetensors")
    )
    localizer = LesionLocalizer()
    localizer.load_state_dict(load_file(arguments.run / "localizer.safetensors"))
    localizer.eval()
    views = {
        "reference_frame": View(net=reference, side_px=meta.input_px, is_crop=False),
        "lesion_crop_192": View(net=lesion, side_px=192, is_crop=True),
        "lesion_frame_192": View(net=lesion, side_px=192, is_crop=False),
        "lesion_crop_160": View(net=lesion, side_px=160, is_crop=True, on_degraded=False),
        "lesion_frame_160": View(net=lesion, side_px=160, is_crop=False, on_degraded=False),
        "small_crop_192": View(net=small, side_px=192, is_crop=True, on_degraded=False),
        "small_frame_192": View(net=small, side_px=192, is_crop=False, on_degraded=False),
    }
    views = {name: view for name, view in views.items() if not arguments.views or name in arguments.views}
    stream = pictures(
        arguments.lesions,
        arguments.split,
        arguments.part,
        degrade=arguments.part == "test",
        every=arguments.every,
    )
    found = evaluate(views, localizer, stream)
    found["reference_labels"] = np.array(meta.labels)
    np.savez_compressed(arguments.out, allow_pickle=False, **found)
    print(f"{len(found['name'])} pictures in {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()

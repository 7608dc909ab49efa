"""Synthetic photos of lesions for a small network: the smoke recipe, tests and benchmarks."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from train.data.duplicates import thumbnail_of
from train.data.manifest import Row, write_manifest

COLOURS = {"Nevus": (120, 75, 50), "Melanoma": (45, 35, 45), "Vascular Lesion": (175, 30, 45)}
"""Colour of the drawn lesions by diagnosis."""
NOTES = {
    "licence": "CC0 1.0",
    "training_data": "pictures drawn by train/lesion/drawn_lesions.py, which show no skin",
}


def draw_lesion_photo(label: str, rng: np.random.Generator, *, size_px: int = 96) -> Image.Image:
    """Draw one lesion on a skin-coloured background: ragged for melanoma, else round."""
    skin = np.array([225, 180, 160]) + rng.normal(0, 8, 3)
    coarse_HWC = rng.normal(0, 14, (5, 5, 3))  # uneven light, or pictures would count as duplicates
    ground_HWC = np.clip(skin + coarse_HWC, 0, 255).astype(np.uint8)
    picture = Image.fromarray(ground_HWC).resize((size_px, size_px), Image.Resampling.BICUBIC)
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    ragged = 0.25 if label == "Melanoma" else 0.04
    oval = 1 + rng.uniform(0, 0.4) * np.cos(2 * (angle - rng.uniform(0, np.pi)))
    radius = size_px * rng.uniform(0.14, 0.3) * oval * (1 + ragged * rng.normal(0, 1, len(angle)))
    x, y = size_px / 2 + rng.uniform(-size_px / 7, size_px / 7, 2)
    outline = [
        (float(x + r * np.cos(a)), float(y + r * np.sin(a))) for r, a in zip(radius, angle, strict=True)
    ]
    red, green, blue = (int(c) for c in np.clip(np.array(COLOURS[label]) + rng.normal(0, 10, 3), 0, 255))
    ImageDraw.Draw(picture).polygon(outline, fill=(red, green, blue))
    return picture.filter(ImageFilter.GaussianBlur(size_px / 60))


def draw_lesion_photos(folder: Path, manifest: Path, *, num_photos: int, size_px: int = 96) -> list[Row]:
    """Draw photos of the diagnoses in turn into ``folder`` and write their manifest; return its rows.

    Each photo has a lesion of its own; ages, sexes and sites are random.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(num_photos):
        rng = np.random.default_rng(number)
        label = list(COLOURS)[number % len(COLOURS)]
        picture = draw_lesion_photo(label, rng, size_px=size_px)
        path = folder / f"lesion-{number:05d}.jpg"
        picture.save(path, quality=90)
        rows.append(
            Row(
                image=str(path.resolve()),
                label=label,
                lesion=f"lesion-{number:05d}",
                age_years=float(rng.integers(2, 18) * 5),
                sex=str(rng.choice(["female", "male"])),
                site=str(rng.choice(["back", "face", "leg"])),
                thumbnail=thumbnail_of(np.asarray(picture)),
            )
        )
    write_manifest(rows, manifest, notes=NOTES)
    return rows

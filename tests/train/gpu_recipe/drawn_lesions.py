"""Draw lesion photos with masks into a folder, packed for the GPU recipe."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from train.gpu_recipe.photos import PhotoSet, load, pack
from train.gpu_recipe.split import draw_split, read_rows

LABELS = {"ham10000": ("nv", "mel", "bcc"), "pad_ufes_20": ("nv", "scc"), "isic_msk": ("nv", "mel")}
PHOTOS_PER_LABEL = 12


def draw_folder(folder: Path) -> Path:
    """Draw dark ellipses on skin, with masks for HAM10000, and a few images of squares."""
    draw = np.random.default_rng(0)
    rows = []
    (folder / "ham10000_masks").mkdir(parents=True)
    (folder / "not_skin").mkdir()
    for source, labels in LABELS.items():
        (folder / source).mkdir()
        for label in labels:
            for number in range(PHOTOS_PER_LABEL):
                name = f"{source}/ISIC_00{len(rows) + 25000}.jpg"
                _draw_lesion(folder, name, draw, red=80 if label == "nv" else 140)
                rows.append((name, label, f"group {number}{label}", source))
    for number in range(6):
        noise = draw.integers(0, 255, (30, 40, 3)).astype(np.uint8)
        Image.fromarray(noise).resize((300, 224), 0).save(folder / "not_skin" / f"thing_{number}.jpg")
    with (folder / "lesions.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("image", "label", "group", "source"))
        writer.writerows(rows)
    return folder


def packed(folder: Path, out: Path) -> PhotoSet:
    """Split, pack and load a folder of ``draw_folder``."""
    rows = read_rows(folder)
    pack(rows, draw_split(rows), folder / "ham10000_masks", out)
    return load(out, "cpu")


def _draw_lesion(folder: Path, name: str, draw: np.random.Generator, *, red: int) -> None:
    skin = draw.normal((205, 160, 140), 3, (224, 298, 3)).clip(0, 255).astype(np.uint8)
    image, mask = Image.fromarray(skin), Image.new("1", (298, 224))
    x, y = int(draw.integers(110, 190)), int(draw.integers(90, 134))
    box = (x - 30, y - 20, x + 30, y + 20)
    ImageDraw.Draw(image).ellipse(box, fill=(red, 60, 40))
    ImageDraw.Draw(mask).ellipse(box, fill=1)
    image.save(folder / name, quality=90)
    if name.startswith("ham10000"):
        mask.save(folder / "ham10000_masks" / f"{Path(name).stem}.png")

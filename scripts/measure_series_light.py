"""Measure how often unchanged series are called changed, by the light of their photos; decision 0045.

``python -m scripts.measure_series_light FACES`` with a folder that has ``people.csv`` (columns ``image``,
``person``) and ``people/``. Only the people that the thresholds are fitted on are used.
"""

import argparse
import csv
import itertools
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image

from models.face.brightness import face_brightness
from models.face.detector import MtcnnFaceDetector
from models.progress.engine import load_progress_engine
from models.progress.verdict import VerdictThresholds

PEOPLE = ("p01", "p03", "p05", "p07", "p10", "p16")
NUM_SERIES_PER_PERSON = 400
EDGES = (1, 2**0.25, 2**0.5, 2**0.75, 2, 2**1.5, 4, np.inf)


def main() -> None:
    """Print the share of series called improved or worsened, by the ratio of brightest to darkest face."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("faces", type=Path)
    parser.add_argument("--checkpoint", type=Path, default=Path("weights/progress"))
    arguments = parser.parse_args()
    engine = load_progress_engine(arguments.checkpoint)
    thresholds = VerdictThresholds.of(engine.meta.thresholds)
    crops = face_crops(arguments.faces, engine.meta.input_px)

    rng = np.random.default_rng(0)
    ratios, called = [], []
    for person in PEOPLE:
        brightness = [face_brightness(crop) for crop in crops[person]]
        for _ in range(NUM_SERIES_PER_PERSON):
            num_photos = rng.integers(2, 6)
            if len(brightness) < num_photos:
                continue
            chosen = rng.choice(len(brightness), num_photos, replace=False)
            crop_THWC = np.stack([crops[person][index] for index in chosen])
            output = engine(crop_THWC[None], np.ones((1, num_photos), bool))
            lights = [brightness[index] for index in chosen]
            ratios.append(max(lights) / min(lights))
            called.append(thresholds.verdict(float(output.improved_BT[0, -1])) != "no_clear_change")

    bin_of_series = np.digitize(ratios, EDGES)
    for number, (low, high) in enumerate(itertools.pairwise(EDGES), start=1):
        is_in = bin_of_series == number
        share = np.mean(np.array(called)[is_in]) if is_in.any() else float("nan")
        print(f"{low:.2f} to {high:.2f}: {is_in.sum()} series, {share:.3f} called improved or worsened")


def face_crops(folder: Path, input_px: int) -> dict[str, list[np.ndarray]]:
    """Return the face crops of each person, (input_px, input_px, 3); photos without a face are left out."""
    detector = MtcnnFaceDetector()
    crops: dict[str, list[np.ndarray]] = defaultdict(list)
    with (folder / "people.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["person"] in PEOPLE:
                image_HWC = np.asarray(Image.open(folder / "people" / row["image"]).convert("RGB"))
                [face] = detector([image_HWC], [input_px])
                if face is not None:
                    crops[row["person"]].append(face.crop_HWC)
    return crops


if __name__ == "__main__":
    main()

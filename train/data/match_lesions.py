"""Find lesions that were photographed again under another id: ``skinserve match-lesions MANIFEST``.

``train.data.duplicates`` finds copies of one picture. Here the pictures differ: position, scale, angle and
light. The candidates are nearest neighbours by the features of a lesion network. A candidate is a match if
enough local features (SIFT) agree on one rotation, scale and shift. Measurements are in
docs/decisions/0023-lesions-photographed-again.md.

Axes: N photo, C feature, H row, W column, K keypoint, D descriptor value.
"""

import csv
import io
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import torch
import tyro
from PIL import Image
from tqdm import tqdm

from models import storage
from models.checkpoint import local_checkpoint, read_meta_of_kind
from models.errors import EXIT_DONE, command
from models.images import PhotoError, decode_bounded
from models.inference import load_network
from models.lesion.network import LesionNet
from models.preprocessing import normalize
from train.data.manifest import Row, load_manifest, write_manifest
from train.data.split import groups_of

PHOTO_PX = 300
"""Long side of the photos in which keypoints are searched."""
NUM_NEIGHBOURS = 10
NUM_KEYPOINTS = 600
BLUR_PX = 2.5
"""Coarse structure is left: pores, hair and compression differ between two photos of a lesion."""
MAX_DISTANCE_RATIO = 0.9
"""Of the best to the second best descriptor (Lowe 2004)."""
MAX_ERROR_PX = 6.0
MIN_INLIERS = 12
MAX_SCALE = 2.0
_BATCH_SIZE = 32
_ROWS_AT_ONCE = 1024


@dataclass(frozen=True, kw_only=True)
class MatchLesions:
    """Give photos of one lesion that have different ids the same lesion in a manifest."""

    manifest: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MANIFEST")]
    """Parquet file from skinserve ingest, or its s3:// address."""
    out: str = ""
    """Manifest to write; by default MANIFEST is replaced."""
    pairs: str = ""
    """CSV to write with the matched photos, their labels and the number of agreeing keypoints."""
    checkpoint: str = "weights/lesion"
    """Lesion network whose features propose candidates; a folder or an s3:// address."""


@dataclass(frozen=True, kw_only=True)
class Keypoints:
    """Local features of one photo."""

    point_K2: np.ndarray
    """float32, column and row."""
    descriptor_KD: np.ndarray
    """uint8, SIFT."""


@dataclass(frozen=True, kw_only=True)
class Match:
    """Two photos of one lesion."""

    one: int
    other: int
    num_inliers: int


@command("skinserve match-lesions")
def main(prog: str, arguments: Sequence[str] | None) -> int:
    """Match the lesions of a manifest and write it with common lesion ids."""
    settings = tyro.cli(MatchLesions, args=arguments, prog=prog)
    rows, notes = load_manifest(settings.manifest)
    groups = groups_of(rows)
    matches = [match for match in match_lesions(rows, settings) if groups[match.one] != groups[match.other]]
    out = settings.out or settings.manifest
    write_manifest(with_common_lesions(rows, matches), out, notes=notes)
    if settings.pairs:
        storage.write_bytes(settings.pairs, _pairs_csv(rows, matches))
    contradictions = sum(rows[match.one].label != rows[match.other].label for match in matches)
    print(
        f"wrote {out}: {len(matches)} pairs of photos in different groups show the same lesion, "
        f"{contradictions} of them with different labels"
    )
    return EXIT_DONE


def match_lesions(rows: Sequence[Row], settings: MatchLesions) -> list[Match]:
    """Return the pairs of photos that show the same lesion; unreadable photos match none."""
    feature_NC, is_read_N = _features(rows, settings.checkpoint)

    @lru_cache(maxsize=20_000)  # 1.5 GB
    def keypoints(place: int) -> Keypoints:
        return find_keypoints(_decode(rows[place]))

    matches = []
    for one, other in tqdm(candidates(feature_NC, is_read_N), desc="candidates", disable=None):
        num_inliers = count_inliers(keypoints(one), keypoints(other))
        if num_inliers >= MIN_INLIERS:
            matches.append(Match(one=one, other=other, num_inliers=num_inliers))
    return matches


def candidates(feature_NC: np.ndarray, is_read_N: np.ndarray) -> list[tuple[int, int]]:
    """Return the pairs i < j of which one is among the nearest neighbours of the other, sorted."""
    used_N = np.flatnonzero(is_read_N)
    x_NC = feature_NC[used_N]
    x_NC = (x_NC - x_NC.mean(0)) / (x_NC.std(0) + 1e-3)
    x_NC /= np.linalg.norm(x_NC, axis=1, keepdims=True) + 1e-6
    found: set[tuple[int, int]] = set()
    for top in range(0, len(x_NC), _ROWS_AT_ONCE):
        cosine = x_NC[top : top + _ROWS_AT_ONCE] @ x_NC.T
        cosine[np.arange(len(cosine)), top + np.arange(len(cosine))] = -1
        for row, nearest in enumerate(np.argsort(-cosine, axis=1)[:, :NUM_NEIGHBOURS].tolist()):
            pairs = ((min(top + row, other), max(top + row, other)) for other in nearest)
            found |= {pair for pair in pairs if pair[0] != pair[1]}
    return sorted((int(used_N[one]), int(used_N[other])) for one, other in found)


def find_keypoints(image_HWC: np.ndarray) -> Keypoints:
    """Find SIFT keypoints of a uint8 RGB photo after blur and local equalization of contrast."""
    grey_HW = cv2.cvtColor(image_HWC, cv2.COLOR_RGB2GRAY)
    grey_HW = cv2.createCLAHE(clipLimit=3.0, tileGridSize=(4, 4)).apply(
        cv2.GaussianBlur(grey_HW, (0, 0), BLUR_PX)
    )
    sift = cv2.SIFT.create(nfeatures=NUM_KEYPOINTS, contrastThreshold=0.005, edgeThreshold=20)
    found, descriptor_KD = sift.detectAndCompute(grey_HW, None)
    if descriptor_KD is None:
        descriptor_KD = np.zeros((0, 128), np.float32)
    return Keypoints(
        point_K2=np.array([point.pt for point in found], np.float32).reshape(-1, 2),
        descriptor_KD=descriptor_KD.astype(np.uint8),
    )


def count_inliers(one: Keypoints, other: Keypoints) -> int:
    """Return how many keypoints agree on one rotation, scale and shift; 0 for an implausible scale."""
    if min(len(one.point_K2), len(other.point_K2)) < MIN_INLIERS:
        return 0
    pairs = cv2.BFMatcher(cv2.NORM_L2).knnMatch(_root(one.descriptor_KD), _root(other.descriptor_KD), k=2)
    close = [best for best, second in pairs if best.distance < MAX_DISTANCE_RATIO * second.distance]
    if len(close) < MIN_INLIERS:
        return 0
    transform, is_inlier = cv2.estimateAffinePartial2D(
        one.point_K2[[match.queryIdx for match in close]],
        other.point_K2[[match.trainIdx for match in close]],
        method=cv2.RANSAC,
        ransacReprojThreshold=MAX_ERROR_PX,
    )
    if transform is None:
        return 0
    scale = float(np.hypot(transform[0, 0], transform[1, 0]))
    return int(is_inlier.sum()) if 1 / MAX_SCALE < scale < MAX_SCALE else 0


def with_common_lesions(rows: Sequence[Row], matches: Sequence[Match]) -> list[Row]:
    """Return the rows; all photos of matched lesions get the smallest lesion id among them."""
    lesions = [row.lesion or f"photo:{row.name}" for row in rows]
    same = {lesion: lesion for lesion in lesions}

    def first(lesion: str) -> str:
        while same[lesion] != lesion:
            lesion = same[lesion]
        return lesion

    for match in matches:
        small, large = sorted((first(lesions[match.one]), first(lesions[match.other])))
        same[large] = small
    matched = {first(lesions[place]) for match in matches for place in (match.one, match.other)}
    return [
        replace(row, lesion=first(lesion)) if first(lesion) in matched else row
        for row, lesion in zip(rows, lesions, strict=True)
    ]


def _features(rows: Sequence[Row], checkpoint: str) -> tuple[np.ndarray, np.ndarray]:
    """Return pooled features of the third stage, float32 (N, C), and whether each photo was read.

    The third stage separates lesions; the last one mostly separates diagnoses.
    """
    folder = local_checkpoint(checkpoint)
    meta = read_meta_of_kind(Path(folder), "lesion")
    backbone = load_network(LesionNet, Path(folder), meta).eval().backbone
    stages = torch.nn.Sequential(*list(backbone.children())[:7])  # up to the third of four
    feature_NC, is_read_N = np.zeros((len(rows), 1024), np.float32), np.zeros(len(rows), bool)
    for start, squares in _batches(rows, meta.input_px):
        read = [place for place, square in enumerate(squares) if square is not None]
        if read:
            image_BHWC = np.stack([square for square in squares if square is not None])
            with torch.inference_mode():
                x = normalize(torch.from_numpy(image_BHWC), meta.mean, meta.std)
                feature_NC[[start + place for place in read]] = stages(x).mean((2, 3)).numpy()
            is_read_N[[start + place for place in read]] = True
    return feature_NC, is_read_N


def _batches(rows: Sequence[Row], side_px: int) -> Iterator[tuple[int, list[np.ndarray | None]]]:
    def central(row: Row) -> np.ndarray | None:
        try:
            image = Image.fromarray(_decode(row))
        except PhotoError:
            return None
        short = min(image.size)
        left, top = (image.width - short) // 2, (image.height - short) // 2
        box = (left, top, left + short, top + short)
        return np.asarray(image.resize((side_px, side_px), Image.Resampling.BICUBIC, box=box))

    with ThreadPoolExecutor(2) as pool:
        for start in tqdm(range(0, len(rows), _BATCH_SIZE), desc="features", disable=None):
            yield start, list(pool.map(central, rows[start : start + _BATCH_SIZE]))


def _decode(row: Row) -> np.ndarray:
    return decode_bounded(storage.read_bytes(row.image), max_side_px=PHOTO_PX).image_HWC


def _root(descriptor_KD: np.ndarray) -> np.ndarray:
    """Return the square root of the descriptors (Arandjelović and Zisserman 2012)."""
    descriptor_KD = descriptor_KD.astype(np.float32)
    return np.sqrt(descriptor_KD / (descriptor_KD.sum(1, keepdims=True) + 1e-6))


def _pairs_csv(rows: Sequence[Row], matches: Sequence[Match]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["image", "other_image", "inliers", "label", "other_label"])
    for match in matches:
        one, other = rows[match.one], rows[match.other]
        writer.writerow([one.name, other.name, match.num_inliers, one.label, other.label])
    return text.getvalue().encode()


if __name__ == "__main__":
    sys.exit(main())

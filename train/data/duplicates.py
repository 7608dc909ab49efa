"""Find exact and near duplicates among photos from a small grey thumbnail of each.

The perceptual hash consists of the low frequencies of the thumbnail's discrete cosine transform. Mirroring
changes their signs, transposition transposes them. Pairs that correlate are registered, since they may be
crops, and compared again. The thresholds were measured on HAM10000: docs/training.md.

Axes: N photo, P pair, H row, W column, K frequency, F frequencies in a row, M parameter, X pixel.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

THUMBNAIL_PX = 32
NUM_FREQUENCIES = 12
"""In each direction; a crop of three percent changes finer detail."""
MIN_CORRELATION = 0.92
"""Of a candidate pair, before registration."""
MIN_REGISTERED_CORRELATION = 0.977
"""Squared correlation of a duplicate pair, after registration."""
NOISE = 1.5
"""Grey levels of compression noise in every pixel that do not count as a difference."""
MAX_SHIFT_PX = 1.5
"""Largest shift of an edge by a crop, in pixels of the thumbnail."""
_NUM_STEPS = 3
_ROWS_AT_ONCE = 128
_COLUMNS_AT_ONCE = 4096
_PAIRS_AT_ONCE = 64

_PIXEL = np.arange(THUMBNAIL_PX, dtype=np.float32)
_CENTRE = np.linspace(-1, 1, THUMBNAIL_PX, dtype=np.float32)
_RADIUS_PX_HW = np.hypot(*np.meshgrid(_PIXEL - _PIXEL.mean(), _PIXEL - _PIXEL.mean()))
_WINDOW_HW = np.clip((16 - _RADIUS_PX_HW) / 4, 0, 1).astype(np.float32)
"""A disc with a soft edge; the frame of the lens, outside of it, looks the same in all photos."""
_NUMBER_K = np.arange(NUM_FREQUENCIES, dtype=np.float32)
_LENGTH_K = np.where(_NUMBER_K == 0, 1, 2) ** 0.5 / THUMBNAIL_PX**0.5
_COSINES_KW = np.cos(np.pi / THUMBNAIL_PX * np.outer(_NUMBER_K, _PIXEL + 0.5)) * _LENGTH_K[:, None]
_COSINES_KW = _COSINES_KW.astype(np.float32)
"""Basis of the orthonormal discrete cosine transform, a row for each frequency."""
_WEIGHT_KK = np.hypot(*np.meshgrid(_NUMBER_K, _NUMBER_K)) ** 0.75
"""Whitens the spectrum of natural pictures; the mean brightness has weight 0."""


def thumbnail_of(image_HWC: np.ndarray) -> bytes:
    """Return the thumbnail of a uint8 RGB photo: square, grey, one byte a pixel."""
    small = Image.fromarray(image_HWC).resize(
        (THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.BILINEAR, reducing_gap=3.0
    )
    return small.convert("L").tobytes()


def find_duplicates(thumbnails: Sequence[bytes]) -> list[tuple[int, int]]:
    """Return the pairs i < j of photos that show the same picture, sorted.

    Duplicates may be re-encoded, resized, mirrored, rotated by 90 degrees, cropped by up to three percent, or
    slightly brighter or darker. Photos with identical thumbnails are paired with the first of them only.
    Empty thumbnails are ignored.

    Raises:
        ValueError: a thumbnail has another size.
    """
    places: dict[bytes, list[int]] = defaultdict(list)
    for place, thumbnail in enumerate(thumbnails):
        if thumbnail:
            places[thumbnail].append(place)
    wrong = {len(thumbnail) for thumbnail in places} - {THUMBNAIL_PX**2}
    if wrong:
        raise ValueError(
            f"a thumbnail has {min(wrong)} bytes, needs {THUMBNAIL_PX**2}; ingest the photos again"
        )
    pairs = {(first, other) for first, *others in places.values() for other in others}
    pictures = sorted(places)  # the result must not depend on the order of the photos
    first_of = [places[picture][0] for picture in pictures]
    picture_NHW = np.frombuffer(b"".join(pictures), np.uint8).reshape(-1, THUMBNAIL_PX, THUMBNAIL_PX)
    for one, other in _duplicate_pairs(picture_NHW.astype(np.float32)):
        pairs.add((min(first_of[one], first_of[other]), max(first_of[one], first_of[other])))
    return sorted(pairs)


def _duplicate_pairs(picture_NHW: np.ndarray) -> Iterator[tuple[int, int]]:
    for one_P, variant_P, other_P in _candidates(picture_NHW):
        for start in range(0, len(one_P), _PAIRS_AT_ONCE):
            part = slice(start, start + _PAIRS_AT_ONCE)
            turned_PHW = _variants(picture_NHW[one_P[part]])[np.arange(len(one_P[part])), variant_P[part]]
            same_P = (
                _registered_correlation(turned_PHW, picture_NHW[other_P[part]]) >= MIN_REGISTERED_CORRELATION
            )
            yield from zip(one_P[part][same_P].tolist(), other_P[part][same_P].tolist(), strict=True)


def _candidates(picture_NHW: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield first photo, its variant and second photo of the pairs that correlate, in blocks."""
    signature_NKK = _signature(picture_NHW)
    signature_NKK /= np.maximum(np.linalg.norm(signature_NKK, axis=(1, 2), keepdims=True), 1e-3)
    signature_NF = signature_NKK.reshape(-1, NUM_FREQUENCIES**2)
    for top in range(0, len(signature_NKK), _ROWS_AT_ONCE):
        chunk_NKK = signature_NKK[top : top + _ROWS_AT_ONCE]
        turned_NF = _mirrored(chunk_NKK).reshape(-1, NUM_FREQUENCIES**2)
        for left in range(top, len(signature_NF), _COLUMNS_AT_ONCE):
            correlation = turned_NF @ signature_NF[left : left + _COLUMNS_AT_ONCE].T
            row_P, other_P = np.divmod(np.flatnonzero(correlation > MIN_CORRELATION), correlation.shape[1])
            one_P, other_P = row_P // 8 + top, other_P + left
            later_P = one_P < other_P
            yield one_P[later_P], row_P[later_P] % 8, other_P[later_P]


def _variants(picture_NHW: np.ndarray) -> np.ndarray:
    """Return all mirrored and rotated variants, (N, 8, H, W)."""
    both = (picture_NHW, picture_NHW.swapaxes(1, 2))
    ways = (1, -1)
    return np.stack([p[:, ::rows, ::columns] for p in both for rows in ways for columns in ways], axis=1)


def _mirrored(frequency_NKK: np.ndarray) -> np.ndarray:
    """Return the frequencies of ``_variants``; reversal changes the sign of every odd frequency."""
    both = (frequency_NKK, frequency_NKK.swapaxes(1, 2))
    signs = (np.ones_like(_NUMBER_K), (-1) ** _NUMBER_K)
    return np.stack([f * down[:, None] * across for f in both for down in signs for across in signs], axis=1)


def _signature(picture_NHW: np.ndarray) -> np.ndarray:
    """Return the weighted frequencies of the picture in the window, without its mean."""
    mean_N = (picture_NHW * _WINDOW_HW).sum((1, 2), keepdims=True) / _WINDOW_HW.sum()
    return _WEIGHT_KK * (_COSINES_KW @ ((picture_NHW - mean_N) * _WINDOW_HW) @ _COSINES_KW.T)


def _registered_correlation(picture_PHW: np.ndarray, target_PHW: np.ndarray) -> np.ndarray:
    """Return the squared correlation of each picture with its target after registration, without noise."""
    one_PKK, other_PKK = _signature(_registered(picture_PHW, target_PHW)), _signature(target_PHW)
    both_P = (one_PKK * other_PKK).sum((1, 2)).clip(0)
    one_P, other_P = (one_PKK**2).sum((1, 2)), (other_PKK**2).sum((1, 2))
    noise = NOISE**2 * (_WEIGHT_KK**2).sum()
    contrast_P = np.minimum(one_P, other_P)
    correlation_P = both_P**2 / (one_P * other_P + 1e-3) + noise / (contrast_P + 1e-3)
    return np.where(contrast_P > 2 * noise, correlation_P, 0)  # a picture without contrast has no duplicates


def _registered(picture_PHW: np.ndarray, target_PHW: np.ndarray) -> np.ndarray:
    """Register the pictures to the targets: Gauss-Newton steps over shift and stretch."""
    move_PM = np.zeros((len(picture_PHW), 4), np.float32)  # vertical shift and stretch, then horizontal
    for _ in range(_NUM_STEPS):
        moved_PHW = _moved(picture_PHW, move_PM)
        down_PHW, right_PHW = np.gradient(moved_PHW, axis=(1, 2))
        slopes = (down_PHW, down_PHW * _CENTRE[:, None], right_PHW, right_PHW * _CENTRE)
        factor_PM = _fit(target_PHW, (moved_PHW, np.ones_like(moved_PHW), *slopes))
        step_PM = factor_PM[:, 2:] / np.maximum(factor_PM[:, :1], 0.2)
        move_PM = np.clip(move_PM + np.clip(step_PM, -0.7, 0.7), -MAX_SHIFT_PX, MAX_SHIFT_PX)
    return _moved(picture_PHW, move_PM)


def _fit(target_PHW: np.ndarray, parts: Sequence[np.ndarray]) -> np.ndarray:
    """Return the least-squares factors of the parts for the target in the window."""
    parts_PMX = (np.stack(parts, axis=1) * _WINDOW_HW).reshape(len(target_PHW), len(parts), -1)
    target_PX1 = (target_PHW * _WINDOW_HW).reshape(len(target_PHW), -1, 1)
    square_PMM = parts_PMX @ parts_PMX.swapaxes(1, 2) + 1e-3 * np.eye(len(parts), dtype=np.float32)
    return np.linalg.solve(square_PMM, parts_PMX @ target_PX1)[..., 0]


def _moved(picture_PHW: np.ndarray, move_PM: np.ndarray) -> np.ndarray:
    """Return the pictures shifted and stretched, with linear interpolation."""
    down_PHW = _interpolated(picture_PHW, _PIXEL + move_PM[:, 0, None] + move_PM[:, 1, None] * _CENTRE)
    turned_PWH = down_PHW.swapaxes(1, 2)
    across_PWH = _interpolated(turned_PWH, _PIXEL + move_PM[:, 2, None] + move_PM[:, 3, None] * _CENTRE)
    return across_PWH.swapaxes(1, 2)


def _interpolated(picture_PHW: np.ndarray, position_PH: np.ndarray) -> np.ndarray:
    """Return the linearly interpolated rows at these positions."""
    position_PH = np.clip(position_PH, 0, THUMBNAIL_PX - 1)
    above_PH = np.minimum(position_PH.astype(int), THUMBNAIL_PX - 2)
    share_PH1 = (position_PH - above_PH)[..., None]
    pair_P1 = np.arange(len(picture_PHW))[:, None]
    return picture_PHW[pair_P1, above_PH] * (1 - share_PH1) + picture_PHW[pair_P1, above_PH + 1] * share_PH1

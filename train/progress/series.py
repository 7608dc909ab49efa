"""A series of face crops of one person, synthetic or labelled, and batches of series.

Axes: B series, T photo, H row, W column, C colour.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from models.preprocessing import normalize
from train.loop import Batch, to_device


@dataclass(frozen=True, kw_only=True)
class Series:
    """Face crops of one person in order of time."""

    photos_THWC: np.ndarray
    """uint8; zero where there is no face."""
    present_T: np.ndarray
    """bool; at least two photos have a face."""
    improvement_T: np.ndarray
    """float32, target after each photo: 0 worsened, 0.5 no change so far, 1 improved.

    A labelled series has its verdict at every photo.
    """
    person: str

    @property
    def improved(self) -> bool:
        """Whether the skin improved from the first to the last face."""
        return bool(self.improvement_T[np.flatnonzero(self.present_T)[-1]] >= 0.5)


def backwards(series: Series) -> Series:
    """Reverse a labelled series, which inverts its verdict.

    Raises:
        ValueError: the target differs between photos; that of the reversed series is unknown.
    """
    if np.ptp(series.improvement_T) > 0:
        raise ValueError("the improvement differs between photos; draw the reversed series instead")
    return replace(
        series,
        photos_THWC=series.photos_THWC[::-1],
        present_T=series.present_T[::-1],
        improvement_T=1 - series.improvement_T,
    )


def to_batch(series: Sequence[Series], device: str = "cpu") -> Batch:
    """Pad series at the end to one length and copy them to a device.

    Returns:
        ``photos``, ``present`` and ``improvement``, (B, T), and ``present_index``, (N,): positions of the
        present photos among all B x T.
    """
    longest = max(len(one.present_T) for one in series)
    shape = series[0].photos_THWC.shape[1:]
    photos_BTHWC = np.zeros((len(series), longest, *shape), np.uint8)
    present_BT = np.zeros((len(series), longest), bool)
    improvement_BT = np.zeros((len(series), longest), np.float32)
    for row, one in enumerate(series):
        photos_BTHWC[row, : len(one.present_T)] = one.photos_THWC
        present_BT[row, : len(one.present_T)] = one.present_T
        improvement_BT[row] = one.improvement_T[-1]
        improvement_BT[row, : len(one.improvement_T)] = one.improvement_T
    arrays = {
        "photos": photos_BTHWC,
        "present": present_BT,
        "present_index": np.flatnonzero(present_BT),
        "improvement": improvement_BT,
    }
    batch = to_device({name: torch.from_numpy(array) for name, array in arrays.items()}, device)
    return batch | {"photos": normalize(batch["photos"])}

from pathlib import Path

import numpy as np
import pytest

from models.progress.engine import load_progress_engine


def test_series_of_different_lengths_share_a_batch(progress_folder: Path):
    engine = load_progress_engine(progress_folder)
    photos = np.random.default_rng(2).integers(0, 256, (2, 4, 80, 80, 3), np.uint8)
    present = np.array([[True] * 4, [True, True, False, False]])

    together = engine(photos, present).improved_BT
    short = engine(photos[1:, :2], present[1:, :2]).improved_BT

    assert together.shape == (2, 4)
    assert together[1, -1] == pytest.approx(short[0, -1], abs=1e-5)


def test_a_series_may_be_a_view_with_negative_strides(progress_folder: Path):
    engine = load_progress_engine(progress_folder)
    side = engine.meta.input_px
    photos = np.random.default_rng(2).integers(0, 256, (1, 4, side, side, 3), dtype=np.uint8)
    present = np.array([[True, False, True, True]])

    view = engine(photos[:, ::-1], present[:, ::-1]).improved_BT
    copy = engine(photos[:, ::-1].copy(), present[:, ::-1].copy()).improved_BT

    np.testing.assert_array_equal(view, copy)

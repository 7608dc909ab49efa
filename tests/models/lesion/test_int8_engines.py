from pathlib import Path

import numpy as np
import pytest

from models.lesion.engine_loader import load_lesion_engine, supported_int8_runtimes
from models.lesion.runtimes import EngineName
from tests.int8_checkpoint import patch_images, save_variant


@pytest.mark.parametrize("name", supported_int8_runtimes())
def test_int8_is_close_to_float32(int8_folder: Path, name: EngineName):
    image = patch_images(5)
    exact = load_lesion_engine(int8_folder, engine="pytorch")(image, features=True)

    engine = load_lesion_engine(int8_folder, engine=name)
    quantized = engine(image, features=True)

    assert engine.runtime == name
    assert exact.diagnosis_BK.std(0).max() > 0.02
    assert quantized.diagnosis_BK == pytest.approx(exact.diagnosis_BK, abs=0.02)
    assert quantized.malignant_B == pytest.approx(exact.malignant_B, abs=0.01)
    assert exact.features_BCHW is not None and quantized.features_BCHW is not None
    apart, int8_apart = (x - x.mean(0) for x in (exact.features_BCHW, quantized.features_BCHW))
    assert np.corrcoef(apart.ravel(), int8_apart.ravel())[0, 1] > 0.97


@pytest.mark.parametrize("name", supported_int8_runtimes())
def test_an_int8_batch_of_one_equals_a_batch_of_many_and_has_grad_cam_maps(
    int8_folder: Path, name: EngineName
):
    engine = load_lesion_engine(int8_folder, engine=name)
    engine.ping()
    image = patch_images(3)

    together = engine(image, explain=[0])
    alone = [engine(image[i : i + 1]) for i in range(3)]

    assert together.diagnosis_BK == pytest.approx(
        np.concatenate([one.diagnosis_BK for one in alone]), abs=1e-4
    )
    grad_cam = together.grad_cam_RHW[0]
    assert grad_cam.shape == (2, 4, 4) and grad_cam.min() >= 0 and grad_cam.max() <= 1


@pytest.mark.parametrize("name", supported_int8_runtimes())
def test_white_pixels_do_not_overflow_with_a_mean_of_a_half(
    int8_folder: Path, tmp_path: Path, name: EngineName
):
    folder = save_variant(int8_folder, tmp_path, {}, mean=(0.5, 0.5, 0.5))
    white, black = np.full((1, 64, 64, 3), 255, np.uint8), np.zeros((1, 64, 64, 3), np.uint8)
    exact = load_lesion_engine(folder, engine="pytorch")

    quantized = load_lesion_engine(folder, engine=name)(white, features=True).features_BCHW

    wrong, right = (exact(image, features=True).features_BCHW for image in (black, white))
    assert quantized is not None and wrong is not None and right is not None
    assert np.abs(quantized - right).mean() < 0.3 * np.abs(wrong - right).mean()

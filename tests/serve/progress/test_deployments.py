import asyncio
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from models.images import decode_bounded
from models.progress.engine import ProgressOutput, load_progress_engine
from samples.face import draw_face
from serve.progress.config import FaceDetectorConfig, ProgressConfig
from serve.progress.deployments import FaceDetector, ProgressClassifier
from serve.progress.messages import FaceSeries, ProgressReport
from serve.progress.replica_model import ProgressNetwork
from tests.random_checkpoints import write_face_descriptor, write_progress
from tests.serve.fakes import instance_of, jpeg_of


@pytest.fixture(scope="module")
def progress(tmp_path_factory: pytest.TempPathFactory):
    folder = write_progress(tmp_path_factory.mktemp("progress"))
    return instance_of(ProgressClassifier, ProgressConfig(checkpoints=(str(folder),)))


def series_of(*present: bool, seed: int = 0) -> FaceSeries:
    noise = np.random.default_rng(seed).integers(0, 256, (len(present), 80, 80, 3), np.uint8)
    return FaceSeries(crop_THWC=noise, present_T=np.array(present))


def test_padding_to_the_longest_series_changes_no_probability(tmp_path: Path):
    network = ProgressNetwork(load_progress_engine(write_progress(tmp_path)))
    short, long = series_of(True, True), series_of(True, False, True, True, seed=1)

    together: list[ProgressReport] = network.classify([short, long])
    alone = [network.classify([one])[0] for one in (short, long)]

    assert [len(report.improved_T) for report in together] == [2, 4]
    for one, other in zip(together, alone, strict=True):
        assert one.improved_T == pytest.approx(other.improved_T, abs=1e-5)


def test_a_probability_that_is_not_a_number_is_an_error_and_never_a_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    network = ProgressNetwork(load_progress_engine(write_progress(tmp_path)))
    output = ProgressOutput(improved_BT=np.array([[0.5, 0.6], [0.5, np.nan]], np.float32))
    monkeypatch.setattr(network, "_engine", lambda *_: output)

    with pytest.raises(ValueError, match="not finite"):
        network.classify([series_of(True, True), series_of(True, True)])


async def test_a_loaded_network_is_described_and_healthy(progress):
    await progress.check_health()

    (runtime,) = (await progress.describe()).values()

    assert (runtime.engine, runtime.device) == ("onnxruntime", "cpu")


def test_it_computes_in_the_configured_number_of_threads(tmp_path: Path):
    def batch_threads() -> int:
        return sum(thread.name.startswith("batcher-") for thread in threading.enumerate())

    before = batch_threads()
    config = ProgressConfig(checkpoints=(str(write_progress(tmp_path)),), num_threads=3)

    instance_of(ProgressClassifier, config)

    assert batch_threads() == before + 3


def test_faces_and_series_on_a_cpu_need_no_pytorch(tmp_path: Path):
    descriptor, progress = write_face_descriptor(tmp_path / "face"), write_progress(tmp_path / "progress")
    code = f"""
import asyncio, sys
import numpy as np
from serve.progress.config import FaceDetectorConfig, ProgressConfig
from serve.progress.deployments import FaceDetector, ProgressClassifier
from serve.progress.messages import FaceSeries

detector = FaceDetector.func_or_class(FaceDetectorConfig(descriptor={str(descriptor)!r}))
classifier = ProgressClassifier.func_or_class(ProgressConfig(checkpoints=({str(progress)!r},)))
series = FaceSeries(crop_THWC=np.zeros((2, 80, 80, 3), np.uint8), present_T=np.array([True, True]))

async def use():
    assert await detector.detect(np.zeros((100, 60, 3), np.uint8), 80) is None
    assert len((await classifier.classify(series)).improved_T) == 2

asyncio.run(use())
assert "torch" not in sys.modules, "PyTorch was imported"
"""
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)

    assert finished.returncode == 0, finished.stderr


def drawn_face(seed: int) -> np.ndarray:
    return decode_bounded(jpeg_of(draw_face(num_lesions=3, redness=0.3, seed=seed))).image_HWC


def test_a_drawn_face_is_cropped_to_the_input_size_of_the_chosen_progress_network():
    detector = instance_of(FaceDetector, FaceDetectorConfig(num_threads=1, descriptor=None))

    found, large, nothing = detector._detect_batch(
        [(drawn_face(seed=1), 80), (drawn_face(seed=1), 96), (np.zeros((100, 60, 3), np.uint8), 80)]
    )

    assert found is not None and found.crop_HWC.shape == (80, 80, 3)
    assert large is not None and large.crop_HWC.shape == (96, 96, 3)
    assert found.descriptor_D is None and found.eyes is not None
    left, top, right, bottom = found.box
    (left_x, left_y), (right_x, right_y) = found.eyes
    assert left < left_x < right_x < right and top < left_y < bottom and top < right_y < bottom
    assert nothing is None


def test_each_face_has_its_own_descriptor_which_no_text_shows(tmp_path: Path):
    folder = write_face_descriptor(tmp_path)
    detector = instance_of(FaceDetector, FaceDetectorConfig(num_threads=1, descriptor=str(folder)))
    photos = [(drawn_face(seed=1), 80), (np.zeros((100, 60, 3), np.uint8), 80), (drawn_face(seed=2), 80)]

    first, nothing, second = detector._detect_batch(photos)
    (alone,) = detector._detect_batch([(drawn_face(seed=2), 80)])

    assert nothing is None
    assert first.descriptor_D.shape == (128,) and first.same_person_distance == 0.6
    np.testing.assert_allclose(second.descriptor_D, alone.descriptor_D, atol=1e-4)
    assert not np.allclose(first.descriptor_D, second.descriptor_D, atol=1e-4)
    assert "descriptor" not in repr(first)


async def test_concurrent_photos_on_two_cores_give_the_same_boxes_as_single_photos():
    detector = instance_of(FaceDetector, FaceDetectorConfig(num_threads=2, descriptor=None))
    photos = [drawn_face(seed) for seed in range(4)]

    together = await asyncio.gather(*(detector.detect(photo, 80) for photo in photos))

    for one, photo in zip(together, photos, strict=True):
        (alone,) = detector._detect_batch([(photo, 80)])
        assert np.allclose(one.box, alone.box, atol=0.5)

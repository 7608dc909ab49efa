import asyncio
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from models.checkpoint import META, CheckpointError, read_meta
from models.lesion.runtimes import EngineName
from serve.lesion.config import LesionConfig
from serve.lesion.deployment import LesionClassifier, PhotoMeter
from serve.lesion.messages import LesionPhoto
from serve.runtime.replica_client import Overloaded
from tests.random_checkpoints import write_lesion, write_progress
from tests.serve.fakes import instance_of


@pytest.fixture(scope="module")
def lesion(tmp_path_factory: pytest.TempPathFactory):
    folder = write_lesion(tmp_path_factory.mktemp("lesion"))
    return instance_of(LesionClassifier, LesionConfig(checkpoints=(str(folder),)))


def photos(num: int, **options: bool) -> list[LesionPhoto]:
    noise = np.random.default_rng(1).integers(0, 256, (num, 64, 64, 3), np.uint8)
    return [LesionPhoto(image_HWC=image, **options) for image in noise]


@pytest.mark.parametrize("engine", ["onnxruntime", "pytorch-bf16"])
def test_no_cuda_graphs_are_reported_on_a_cpu(tmp_path: Path, engine: EngineName):
    lesion = instance_of(
        LesionClassifier, LesionConfig(checkpoints=(str(write_lesion(tmp_path)),), engine=engine)
    )

    assert lesion.models.default.runtime.cuda_graphs is None


async def test_a_loaded_network_is_described_and_healthy(lesion):
    await lesion.check_health()

    (runtime,) = (await lesion.describe()).values()

    assert (runtime.engine, runtime.device) == ("onnxruntime", "cpu")


def test_a_bad_checkpoint_fails_while_the_replica_loads(tmp_path: Path):
    write_progress(tmp_path / "other")
    write_lesion(tmp_path / "bare", thresholds={"malignant": 0.5})

    for folder, match in (("none", "no checkpoint"), ("other", "lesion network"), ("bare", "name_diagnosis")):
        with pytest.raises(CheckpointError, match=match):
            instance_of(LesionClassifier, LesionConfig(checkpoints=(str(tmp_path / folder),)))


@pytest.mark.parametrize("engine", ["pytorch", "onnxruntime"])
async def test_concurrent_calls_on_two_cores_give_the_same_probabilities_as_single_photos(
    tmp_path: Path, engine: EngineName
):
    config = LesionConfig(checkpoints=(str(write_lesion(tmp_path)),), engine=engine, num_threads=2)
    lesion = instance_of(LesionClassifier, config)
    many = photos(12)

    calls = await asyncio.gather(*(lesion.classify(many[start : start + 3]) for start in range(0, 12, 3)))

    together = [report for call in calls for report in call]
    alone = [(await lesion.classify([photo]))[0] for photo in many]
    for one, other in zip(together, alone, strict=True):
        assert one.malignant_probability == pytest.approx(other.malignant_probability, abs=1e-5)


async def test_a_replica_rejects_calls_by_photos_in_progress(tmp_path: Path):
    config = LesionConfig(
        checkpoints=(str(write_lesion(tmp_path)),), max_batch_size=2, max_photos_per_replica=4
    )
    lesion = instance_of(LesionClassifier, config)

    calls = await asyncio.gather(*(lesion.classify(photos(number)) for number in (3, 2, 1)))

    assert [len(calls[0]), len(calls[1]), calls[2]] == [3, 2, Overloaded(num_photos=5)]
    assert len(await lesion.classify(photos(1))) == 1, "there is room again"
    assert (await lesion.record_autoscaling_stats())["photos"] > 0


async def test_all_photos_of_a_call_count_until_the_last_is_finished_even_if_one_fails(
    lesion, monkeypatch: pytest.MonkeyPatch
):
    good, bad = photos(2)
    in_progress: list[int] = []

    async def submit(photo: LesionPhoto) -> None:
        if photo is bad:
            raise ValueError("a bad photo")
        await asyncio.sleep(0.05)
        in_progress.append(lesion._photos.num_in_progress)

    monkeypatch.setattr(lesion.models.default.batcher, "submit", submit)
    with pytest.raises(ValueError, match="a bad photo"):
        await lesion.classify([bad, good])

    assert (in_progress, lesion._photos.num_in_progress) == ([2], 0)


def test_photos_in_progress_are_averaged_over_time():
    now = [0.0]
    meter = PhotoMeter(lambda: now[0])

    with meter.count(8):
        now[0] = 1
        assert meter.num_in_progress == 8
    now[0] = 4

    assert (meter.num_in_progress, meter.mean_since_last_call()) == (0, 2)
    now[0] = 5
    assert meter.mean_since_last_call() == 0
    with meter.count(3):
        now[0] = 6
        assert meter.mean_since_last_call() == 3


async def test_diagnoses_are_ranked_by_probability_and_weight(tmp_path: Path):
    folder = write_lesion(tmp_path)
    (photo,) = photos(1)
    plain = instance_of(LesionClassifier, LesionConfig(checkpoints=(str(folder),)))
    (before,) = await plain.classify([photo])
    last = before.diagnoses[-1]
    meta = read_meta(folder)
    weights = {label: 1000.0 if label == last.name else 1.0 for label in meta.labels}
    (folder / META).write_text(meta.model_copy(update={"ranking_weights": weights}).model_dump_json())

    weighted = instance_of(LesionClassifier, LesionConfig(checkpoints=(str(folder),)))
    (after,) = await weighted.classify([photo])

    assert after.diagnoses[0] == last
    assert sorted(score.name for score in after.diagnoses) == sorted(meta.labels)


def test_onnx_runtime_needs_no_pytorch(tmp_path: Path):
    code = f"""
import asyncio, sys
import numpy as np
from serve.lesion.config import LesionConfig
from serve.lesion.deployment import LesionClassifier
from serve.lesion.messages import LesionPhoto

config = LesionConfig(checkpoints=({str(write_lesion(tmp_path))!r},), engine="onnxruntime")
lesion = LesionClassifier.func_or_class(config)
photo = LesionPhoto(image_HWC=np.zeros((64, 64, 3), np.uint8), explain=True)

async def use():
    (report,) = await lesion.classify([photo])
    assert report.grad_cam_HW is not None
    await lesion.check_health()

asyncio.run(use())
assert "torch" not in sys.modules, "PyTorch was imported"
"""
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)

    assert finished.returncode == 0, finished.stderr

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.checkpoint import CheckpointError
from models.diagnoses import GROUPS, Group
from models.images import decode_square
from models.lesion.engines import LesionOutput
from models.lesion.runtimes import EngineName
from samples.lesion import draw_lesion
from serve.lesion.config import LesionConfig
from serve.lesion.deployment import LesionClassifier, PhotoMeter
from serve.lesion.messages import LesionPhoto, LesionReport
from serve.lesion.verdict import LesionThresholds
from serve.runtime.replica_client import Overloaded
from tests.random_checkpoints import random_gate, write_lesion, write_progress
from tests.serve.fakes import instance_of, jpeg_of


@pytest.fixture(scope="module")
def lesion(tmp_path_factory: pytest.TempPathFactory):
    folder = write_lesion(tmp_path_factory.mktemp("lesion"))
    return instance_of(LesionClassifier, LesionConfig(checkpoint=str(folder)))


def photos(num: int, **options: bool) -> list[LesionPhoto]:
    noise = np.random.default_rng(1).integers(0, 256, (num, 64, 64, 3), np.uint8)
    return [LesionPhoto(image_HWC=image, **options) for image in noise]


def test_reports_rank_the_diagnoses_and_name_their_groups(lesion):
    report: LesionReport = lesion._classify_batch(photos(1))[0]

    probabilities = [score.probability for score in report.diagnoses]
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) == pytest.approx(1, abs=1e-5)
    assert {score.name: score.group for score in report.diagnoses} == lesion.meta.groups
    assert (report.thresholds.malignant, report.naming_threshold) == (0.5, 0.1)


def test_a_batch_gives_the_same_probabilities_as_single_photos(lesion):
    together = lesion._classify_batch(photos(3))
    alone = [lesion._classify_batch([photo])[0] for photo in photos(3)]

    for one, other in zip(together, alone, strict=True):
        assert one.malignant_probability == pytest.approx(other.malignant_probability, abs=1e-5)


@pytest.mark.parametrize("engine", ["onnxruntime", "pytorch-bf16"])
def test_no_cuda_graphs_are_reported_on_a_cpu(tmp_path: Path, engine: EngineName):
    lesion = instance_of(
        LesionClassifier, LesionConfig(checkpoint=str(write_lesion(tmp_path)), engine=engine)
    )

    assert lesion.describe().cuda_graphs is None


def test_a_grad_cam_map_is_added_only_on_request(lesion):
    without, explained = lesion._classify_batch([*photos(1), *photos(1, explain=True)])

    assert without.grad_cam_HW is None
    assert explained.grad_cam_HW is not None and explained.grad_cam_HW.ndim == 2
    assert 0 <= explained.grad_cam_HW.min() <= explained.grad_cam_HW.max() <= 1
    assert without.malignant_probability == pytest.approx(explained.malignant_probability, abs=1e-5)


def test_photos_decoded_by_the_gateway_are_accepted(lesion):
    photo = decode_square(jpeg_of(draw_lesion(seed=1)), side_px=lesion.meta.input_px)

    assert 0 <= lesion._classify_batch([LesionPhoto(image_HWC=photo.image_HWC)])[0].malignant_probability <= 1


async def test_a_loaded_network_is_described_and_healthy(lesion):
    await lesion.check_health()
    described = lesion.describe()

    assert (described.kind, described.engine, described.device) == ("lesion", "onnxruntime", "cpu")
    assert described.labels == list(lesion.meta.labels)
    assert described.sha256 == lesion.meta.weights_sha256
    assert described.model_card.startswith("# ")


def test_the_verdict_follows_the_thresholds_of_the_settings(tmp_path: Path):
    folder = str(write_lesion(tmp_path))

    def classifier(benign: float, malignant: float) -> Any:
        thresholds = LesionThresholds(benign=benign, malignant=malignant)
        return instance_of(LesionClassifier, LesionConfig(checkpoint=folder, thresholds=thresholds))

    found = [classifier(*limits) for limits in ((1.0, 1.0), (0.0, 1.0), (0.0, 0.0))]

    assert [one._classify_batch(photos(1))[0].verdict for one in found] == [
        "benign",
        "inconclusive",
        "malignant",
    ]
    described = found[1].describe()
    assert described.thresholds == {"benign": 0.0, "malignant": 1.0, "name_diagnosis": 0.1}
    assert described.released_thresholds == {"malignant": 0.5, "name_diagnosis": 0.1}


@pytest.mark.parametrize(
    ("probability", "explained"), [(0.1, "benign"), (0.4, "malignant"), (0.9, "malignant")]
)
def test_the_map_is_that_of_the_verdict_and_of_malignancy_if_it_is_inconclusive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, probability: float, explained: Group
):
    thresholds = LesionThresholds(benign=0.2, malignant=0.6)
    config = LesionConfig(checkpoint=str(write_lesion(tmp_path)), thresholds=thresholds)
    lesion = instance_of(LesionClassifier, config)
    maps_RHW = np.stack([np.full((2, 2), float(index)) for index in range(len(GROUPS))])
    output = LesionOutput(
        malignant_B=np.array([probability]), diagnosis_BK=np.full((1, 4), 0.25), grad_cam_RHW={0: maps_RHW}
    )
    monkeypatch.setattr(lesion, "_engine", lambda *_, **__: output)

    (report,) = lesion._classify_batch(photos(1, explain=True))

    assert report.grad_cam_HW.mean() == GROUPS.index(explained)


def test_scope_and_gate_are_reported(lesion, tmp_path: Path):
    gate = random_gate(min_scope=0.25)
    folder = write_lesion(tmp_path, scope_head=True, gate=gate)
    gated = instance_of(LesionClassifier, LesionConfig(checkpoint=str(folder)))

    (report,) = gated._classify_batch(photos(1))
    described = gated.describe().gate

    assert report.scope is not None and 0 <= report.scope <= 1
    assert described is not None and (described.min_scope, described.min_box_px) == (0.25, gate.min_box_px)
    assert described.false_rejections == gate.false_rejections
    assert (lesion._classify_batch(photos(1))[0].scope, lesion.describe().gate) == (None, None)


@pytest.mark.parametrize("name", ["malignant_B", "diagnosis_BK", "scope_B"])
def test_a_probability_that_is_not_a_number_is_an_error_and_never_a_verdict(
    lesion, monkeypatch: pytest.MonkeyPatch, name: str
):
    good = {"malignant_B": [0.1, 0.1], "diagnosis_BK": [[0.25] * 4] * 2, "scope_B": [0.9, 0.9]}
    arrays = {key: np.array(value, np.float32) for key, value in good.items()}
    monkeypatch.setattr(lesion, "_engine", lambda *_, **__: LesionOutput(**arrays, grad_cam_RHW={}))
    assert lesion._classify_batch(photos(2))[0].verdict == "benign"

    arrays[name][1] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        lesion._classify_batch(photos(2))


def test_a_bad_checkpoint_fails_while_the_replica_loads(tmp_path: Path):
    write_progress(tmp_path / "other")
    write_lesion(tmp_path / "bare", thresholds={"malignant": 0.5})

    for folder, match in (("none", "no checkpoint"), ("other", "lesion network"), ("bare", "name_diagnosis")):
        with pytest.raises(CheckpointError, match=match):
            instance_of(LesionClassifier, LesionConfig(checkpoint=str(tmp_path / folder)))


@pytest.mark.parametrize("engine", ["pytorch", "onnxruntime"])
async def test_concurrent_calls_on_two_cores_give_the_same_probabilities_as_single_photos(
    tmp_path: Path, engine: EngineName
):
    config = LesionConfig(checkpoint=str(write_lesion(tmp_path)), engine=engine, num_threads=2)
    lesion = instance_of(LesionClassifier, config)
    many = photos(12)

    calls = await asyncio.gather(*(lesion.classify(many[start : start + 3]) for start in range(0, 12, 3)))

    together = [report for call in calls for report in call]
    alone = [lesion._classify_batch([photo])[0] for photo in many]
    for one, other in zip(together, alone, strict=True):
        assert one.malignant_probability == pytest.approx(other.malignant_probability, abs=1e-5)


async def test_a_replica_rejects_calls_by_photos_in_progress(tmp_path: Path):
    config = LesionConfig(checkpoint=str(write_lesion(tmp_path)), max_batch_size=2, max_photos_per_replica=4)
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

    monkeypatch.setattr(lesion._batcher, "submit", submit)
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

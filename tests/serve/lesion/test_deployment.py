import asyncio
from pathlib import Path

import numpy as np
import pytest

from models.checkpoint import CheckpointError
from models.images import decode_square
from models.lesion.runtimes import EngineName
from samples.lesion import draw_lesion
from serve.config import LesionConfig
from serve.lesion.deployment import LesionClassifier
from serve.messages import Full, LesionReport, Spot
from tests.random_checkpoints import write_lesion, write_progress
from tests.serve.fakes import jpeg_of, plain


@pytest.fixture(scope="module")
def lesion(tmp_path_factory: pytest.TempPathFactory):
    folder = write_lesion(tmp_path_factory.mktemp("lesion"))
    return plain(LesionClassifier, LesionConfig(checkpoint=str(folder)))


def spots(num: int, **options: bool) -> list[Spot]:
    noise = np.random.default_rng(1).integers(0, 256, (num, 64, 64, 3), np.uint8)
    return [Spot(image_HWC=image, **options) for image in noise]


def test_lesion_ranks_the_diagnoses_and_knows_their_groups(lesion):
    report: LesionReport = lesion._classify_batch(spots(1))[0]

    probabilities = [score.probability for score in report.diagnoses]
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) == pytest.approx(1, abs=1e-5)
    assert {score.name: score.group for score in report.diagnoses} == lesion.meta.groups
    assert (report.threshold, report.naming_threshold) == (0.5, 0.1)


def test_lesion_answers_a_batch_as_it_answers_one_by_one(lesion):
    together = lesion._classify_batch(spots(3))
    alone = [lesion._classify_batch([spot])[0] for spot in spots(3)]

    for one, other in zip(together, alone, strict=True):
        assert one.malignant_probability == pytest.approx(other.malignant_probability, abs=1e-5)


@pytest.mark.parametrize("engine", ["onnxruntime", "pytorch-bf16"])
def test_lesion_reports_no_cuda_graphs_on_a_cpu(tmp_path: Path, engine: EngineName):
    lesion = plain(LesionClassifier, LesionConfig(checkpoint=str(write_lesion(tmp_path)), engine=engine))

    assert lesion.describe().cuda_graphs is None


def test_lesion_adds_a_heat_map_only_for_who_asked(lesion):
    plain, explained = lesion._classify_batch([*spots(1), *spots(1, explain=True)])

    assert plain.heat_HW is None
    assert explained.heat_HW is not None and explained.heat_HW.ndim == 2
    assert 0 <= explained.heat_HW.min() <= explained.heat_HW.max() <= 1
    assert plain.malignant_probability == pytest.approx(explained.malignant_probability, abs=1e-5)


def test_lesion_takes_what_the_gateway_decodes(lesion):
    photo = decode_square(jpeg_of(draw_lesion(seed=1)), side_px=lesion.meta.input_px)

    assert 0 <= lesion._classify_batch([Spot(image_HWC=photo.image_HWC)])[0].malignant_probability <= 1


async def test_lesion_describes_what_it_loaded_and_is_healthy(lesion):
    await lesion.check_health()
    described = lesion.describe()

    assert (described.kind, described.engine, described.device) == ("lesion", "onnxruntime", "cpu")
    assert described.labels == list(lesion.meta.labels)
    assert described.sha256 == lesion.meta.weights_sha256
    assert described.model_card.startswith("# ")


def test_a_bad_checkpoint_stops_the_replica_while_it_loads(tmp_path: Path):
    write_progress(tmp_path / "other")
    write_lesion(tmp_path / "bare", thresholds={"malignant": 0.5})

    for folder, match in (("none", "no checkpoint"), ("other", "lesion network"), ("bare", "name_diagnosis")):
        with pytest.raises(CheckpointError, match=match):
            plain(LesionClassifier, LesionConfig(checkpoint=str(tmp_path / folder)))


@pytest.mark.parametrize("engine", ["pytorch", "onnxruntime"])
async def test_lesion_answers_many_at_once_on_two_cores_as_it_answers_one_by_one(
    tmp_path: Path, engine: EngineName
):
    config = LesionConfig(checkpoint=str(write_lesion(tmp_path)), engine=engine, num_threads=2)
    lesion = plain(LesionClassifier, config)
    asked = spots(12)

    calls = await asyncio.gather(*(lesion.classify(asked[start : start + 3]) for start in range(0, 12, 3)))

    together = [report for call in calls for report in call]

    alone = [lesion._classify_batch([spot])[0] for spot in asked]
    for one, other in zip(together, alone, strict=True):
        assert one.malignant_probability == pytest.approx(other.malignant_probability, abs=1e-5)


async def test_lesion_takes_in_so_many_photos_whatever_number_of_calls_they_come_in(tmp_path: Path):
    config = LesionConfig(checkpoint=str(write_lesion(tmp_path)), max_batch_size=2, max_photos=4)
    lesion = plain(LesionClassifier, config)

    calls = await asyncio.gather(*(lesion.classify(spots(number)) for number in (3, 2, 1)))

    assert [len(calls[0]), len(calls[1]), calls[2]] == [3, 2, Full(num_photos=5)]
    assert len(await lesion.classify(spots(1))) == 1, "there is room again"
    assert (await lesion.record_autoscaling_stats())["photos"] > 0


async def test_lesion_counts_all_photos_of_a_call_until_the_last_also_when_one_fails(
    lesion, monkeypatch: pytest.MonkeyPatch
):
    good, bad = spots(2)
    held: list[int] = []

    async def ask(spot: Spot) -> None:
        if spot is bad:
            raise ValueError("a bad photo")
        await asyncio.sleep(0.05)
        held.append(lesion._held.number)

    monkeypatch.setattr(lesion._batcher, "submit", ask)
    with pytest.raises(ValueError, match="a bad photo"):
        await lesion.classify([bad, good])

    assert (held, lesion._held.number) == ([2], 0)

from pathlib import Path

import numpy as np
import pytest

from models.diagnoses import GROUPS, Group
from models.images import decode_square
from models.lesion.engine import LesionOutput
from models.lesion.engine_loader import load_lesion_engine
from samples.lesion import draw_lesion
from serve.lesion.config import LesionConfig
from serve.lesion.messages import LesionPhoto, LesionReport
from serve.lesion.replica_model import LesionNetwork
from serve.lesion.verdict import LesionThresholds
from tests.random_checkpoints import random_gate, write_lesion
from tests.serve.fakes import jpeg_of


def network_of(folder: Path, config: LesionConfig | None = None) -> LesionNetwork:
    return LesionNetwork(load_lesion_engine(folder), config or LesionConfig())


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> LesionNetwork:
    return network_of(write_lesion(tmp_path_factory.mktemp("lesion")))


def photos(num: int, **options: bool) -> list[LesionPhoto]:
    noise = np.random.default_rng(1).integers(0, 256, (num, 64, 64, 3), np.uint8)
    return [LesionPhoto(image_HWC=image, **options) for image in noise]


def test_reports_rank_the_diagnoses_and_name_their_groups(network):
    report: LesionReport = network.classify(photos(1))[0]

    probabilities = [score.probability for score in report.diagnoses]
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) == pytest.approx(1, abs=1e-5)
    assert {score.name: score.group for score in report.diagnoses} == network._meta.groups
    assert (report.thresholds.malignant, report.naming_threshold) == (0.5, 0.1)


def test_a_batch_gives_the_same_probabilities_as_single_photos(network):
    together = network.classify(photos(3))
    alone = [network.classify([photo])[0] for photo in photos(3)]

    for one, other in zip(together, alone, strict=True):
        assert one.malignant_probability == pytest.approx(other.malignant_probability, abs=1e-5)


def test_a_grad_cam_map_is_added_only_on_request(network):
    without, explained = network.classify([*photos(1), *photos(1, explain=True)])

    assert without.grad_cam_HW is None
    assert explained.grad_cam_HW is not None and explained.grad_cam_HW.ndim == 2
    assert 0 <= explained.grad_cam_HW.min() <= explained.grad_cam_HW.max() <= 1
    assert without.malignant_probability == pytest.approx(explained.malignant_probability, abs=1e-5)


def test_photos_decoded_by_the_gateway_are_accepted(network):
    photo = decode_square(jpeg_of(draw_lesion(seed=1)), side_px=network._meta.input_px)

    assert 0 <= network.classify([LesionPhoto(image_HWC=photo.image_HWC)])[0].malignant_probability <= 1


def test_the_verdict_follows_the_thresholds_of_the_settings(tmp_path: Path):
    folder = write_lesion(tmp_path)

    def verdict(benign: float, malignant: float) -> str:
        thresholds = LesionThresholds(benign=benign, malignant=malignant)
        network = network_of(folder, LesionConfig(thresholds={"lesion-random": thresholds}))
        return network.classify(photos(1))[0].verdict

    found = [verdict(*limits) for limits in ((1.0, 1.0), (0.0, 1.0), (0.0, 0.0))]

    assert found == ["benign", "inconclusive", "malignant"]


@pytest.mark.parametrize(
    ("probability", "explained"), [(0.1, "benign"), (0.4, "malignant"), (0.9, "malignant")]
)
def test_the_map_is_that_of_the_verdict_and_of_malignancy_if_it_is_inconclusive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, probability: float, explained: Group
):
    thresholds = LesionThresholds(benign=0.2, malignant=0.6)
    config = LesionConfig(thresholds={"lesion-random": thresholds})
    network = network_of(write_lesion(tmp_path), config)
    maps_RHW = np.stack([np.full((2, 2), float(index)) for index in range(len(GROUPS))])
    output = LesionOutput(
        malignant_B=np.array([probability]), diagnosis_BK=np.full((1, 4), 0.25), grad_cam_RHW={0: maps_RHW}
    )
    monkeypatch.setattr(network, "_engine", lambda *_, **__: output)

    (report,) = network.classify(photos(1, explain=True))

    assert report.grad_cam_HW is not None and report.grad_cam_HW.mean() == GROUPS.index(explained)


def test_the_scope_is_reported(network, tmp_path: Path):
    scoped = network_of(write_lesion(tmp_path, scope_head=True, gate=random_gate(min_scope=0.25)))

    (report,) = scoped.classify(photos(1))

    assert report.scope is not None and 0 <= report.scope <= 1
    assert network.classify(photos(1))[0].scope is None


@pytest.mark.parametrize("name", ["malignant_B", "diagnosis_BK", "scope_B"])
def test_a_probability_that_is_not_a_number_is_an_error_and_never_a_verdict(
    network, monkeypatch: pytest.MonkeyPatch, name: str
):
    good = {"malignant_B": [0.1, 0.1], "diagnosis_BK": [[0.25] * 4] * 2, "scope_B": [0.9, 0.9]}
    arrays = {key: np.array(value, np.float32) for key, value in good.items()}
    monkeypatch.setattr(network, "_engine", lambda *_, **__: LesionOutput(**arrays, grad_cam_RHW={}))
    assert network.classify(photos(2))[0].verdict == "benign"

    arrays[name][1] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        network.classify(photos(2))

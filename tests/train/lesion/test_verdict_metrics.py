from collections.abc import Sequence

import numpy as np
import pytest

from models.lesion.localizer import Box, Localization
from models.lesion.preparation import PreparedLesion
from tests.random_checkpoints import random_gate
from train.lesion.gate_calibration import MAX_REJECTED, fit_gate, rejection_rates, share
from train.lesion.pipeline import Picture, PipelineOutput
from train.lesion.verdict_metrics import (
    VerdictRule,
    degradation_metrics,
    risk_by_coverage,
    verdict_metrics,
    verdict_metrics_by_source,
    verdicts_without_lesion,
)

GATE = random_gate(min_scope=0.5, min_box_px=20, min_sharpness=0)
BOX = Box(50, 50, 150, 150)
RULE = VerdictRule(gate=GATE, benign=0.2, malignant=0.6)


def output(
    name: str,
    probability: float,
    *,
    malignant: bool | None = True,
    source: str = "clinic",
    degradation: str = "",
    scope: float | None = 0.9,
    box: Box | None = BOX,
    sharpness: float = 0.5,
) -> PipelineOutput:
    return PipelineOutput(
        picture=Picture(
            name=name, source=source, group=name, data=b"", malignant=malignant, degradation=degradation
        ),
        prepared=PreparedLesion(
            image_HWC=np.empty((0, 0, 3), np.uint8),
            width_px=200,
            height_px=200,
            localization=Localization(box=box, skin=0.9, lesion=0.9, several=False),
            crop_box=Box(0, 0, 200, 200),
            lesion_box=box,
            is_box_given=False,
            sharpness=sharpness,
            problems=[],
        ),
        malignant_probability=probability,
        diagnosis_K=np.array([1.0]),
        scope=scope,
    )


OUTPUTS = [
    output("found", 0.9),
    output("missed", 0.1),
    output("unsure", 0.4),
    output("rejected", 0.1, scope=0.1),
    output("good nevus", 0.05, malignant=False),
    output("bad nevus", 0.7, malignant=False, source="phone"),
]


def test_verdicts_are_counted_by_ground_truth_and_the_gate_comes_first() -> None:
    metrics = verdict_metrics(OUTPUTS, RULE)

    assert (metrics.n, metrics.num_malignant) == (6, 4)
    assert metrics.called_benign.value == 0.25 and metrics.called_benign.n == 4
    assert metrics.called_malignant.value == 0.5 and metrics.called_malignant.n == 2
    assert metrics.inconclusive.value == pytest.approx(2 / 6, abs=1e-4)
    assert metrics.not_usable.value == pytest.approx(1 / 6, abs=1e-4)


def test_sources_are_reported_apart_and_together() -> None:
    found = verdict_metrics_by_source(OUTPUTS, RULE, {"both": ["clinic", "phone"]})

    assert {name: one.n for name, one in found.items()} == {"clinic": 5, "phone": 1, "both": 6, "all": 6}
    assert found["phone"].called_benign.value is None


def test_only_detected_malignant_photos_count_as_silent_misses() -> None:
    degraded = [
        output("found", 0.1, degradation="blur"),
        output("found", 0.4, degradation="grey"),
        output("missed", 0.1, degradation="blur"),
        output("found", 0.1, degradation="dark", scope=0.0),
    ]

    missed, inconclusive = degradation_metrics([*OUTPUTS, *degraded], RULE)

    assert {name: one.value for name, one in missed.items()} == {
        "blur": 1.0,
        "grey": 0.0,
        "dark": 0.0,
        "all": pytest.approx(1 / 3, abs=1e-4),
    }
    assert inconclusive["all"].value == pytest.approx(2 / 3, abs=1e-4) and missed["blur"].n == 1


def test_pictures_without_a_lesion_get_a_verdict_unless_rejected_or_between_the_thresholds() -> None:
    others = [
        output("cat", 0.9, malignant=None, source="objects"),
        output("dog", 0.4, malignant=None, source="objects"),
        output("arm", 0.01, malignant=None, source="skin", box=None),
    ]

    shares = verdicts_without_lesion([*OUTPUTS, *others], RULE)

    assert {name: one.value for name, one in shares.items()} == {"objects": 0.5, "skin": 0.0}


def test_a_wider_inconclusive_range_has_fewer_verdicts_and_fewer_errors() -> None:
    random = np.random.default_rng(0)
    truth = random.random(300) < 0.4
    odds = random.normal(0, 1, 300) + 2 * truth - 1
    outputs = [
        output(f"{i}", float(1 / (1 + np.exp(-odds[i]))), malignant=bool(truth[i])) for i in range(300)
    ]

    points = risk_by_coverage(outputs, RULE)

    coverage = [point.coverage for point in points]
    assert coverage[0] == 1 and coverage == sorted(coverage, reverse=True)
    misses = [point.called_benign for point in points if point.called_benign is not None]
    assert misses == sorted(misses, reverse=True) and misses[0] > misses[-1]


def test_risk_by_coverage_counts_all_photos_like_the_verdicts() -> None:
    points = risk_by_coverage(OUTPUTS, RULE)

    released, verdicts = points[len(points) // 2], verdict_metrics(OUTPUTS, RULE)
    assert verdicts.inconclusive.value is not None
    assert released.coverage == pytest.approx(1 - verdicts.inconclusive.value, abs=1e-3)
    assert released.called_benign == verdicts.called_benign.value == 0.25
    assert released.called_malignant == verdicts.called_malignant.value == 0.5


@pytest.mark.parametrize(
    ("hit", "low", "high"),
    [(0.0, 0.0, 0.3085), (1.0, 0.6915, 1.0)],  # 1 - 0.025 ** (1 / 10)
)
def test_a_share_without_variation_has_an_exact_interval_for_its_groups(
    hit: float, low: float, high: float
) -> None:
    groups = [str(number // 2) for number in range(20)]

    found = share(groups, np.full(20, hit))

    assert (found.value, found.low, found.high, found.n) == (hit, low, high, 20)


def lesions(source: str, scopes: Sequence[float], **options: object) -> list[PipelineOutput]:
    return [
        output(f"{source} {i}", 0.5, source=source, scope=scope, **options)  # pyright: ignore[reportArgumentType]
        for i, scope in enumerate(scopes)
    ]


def test_the_gate_rejects_few_lesions_of_every_large_source() -> None:
    random = np.random.default_rng(0)
    outputs = [
        *lesions("dermoscope", random.uniform(0.8, 1, 200).tolist()),
        *lesions("phone", random.uniform(0.4, 1, 100).tolist()),
        *lesions("tiny", [0.01] * 5),
    ]

    gate = fit_gate(outputs)

    assert 0.4 < gate.min_scope < 0.5, "the phone photos decide, the five others do not"
    rates = {source: rate.value for source, rate in gate.false_rejections.items()}
    assert rates["dermoscope"] == 0 and rates["tiny"] == 1
    assert rates["phone"] is not None and rates["phone"] <= MAX_REJECTED + 0.01


def test_photos_without_a_detected_lesion_count_as_rejected_but_do_not_set_the_threshold() -> None:
    outputs = [
        *lesions("phone", [0.9] * 100),
        *lesions("phone", [0.0] * 10, box=None),
    ]

    gate = fit_gate(outputs)

    assert gate.min_scope == pytest.approx(0.9)
    assert rejection_rates(outputs, gate)["phone"].value == pytest.approx(10 / 110, abs=1e-3)


def test_degraded_photos_and_other_pictures_do_not_set_the_threshold() -> None:
    outputs = [
        *lesions("phone", [0.9] * 100),
        *lesions("phone", [0.1] * 50, degradation="blur"),
        *lesions("objects", [0.1] * 200, malignant=None),
    ]

    assert fit_gate(outputs).min_scope == pytest.approx(0.9)


def test_a_network_without_scope_head_has_a_gate_by_localizer_alone() -> None:
    outputs = [output(f"{i}", 0.5, scope=None) for i in range(100)]

    gate = fit_gate(outputs)

    assert gate.min_scope == 0 and gate.min_box_px > 0
    assert [rate.value for rate in gate.false_rejections.values()] == [0]

import pytest

from models.lesion.metrics import LesionVerdictMetrics, SourceMetrics
from models.metrics import Metric, TaskMetrics
from serve.schemas import LoadedModel
from ui.tabs.verdict_errors import verdict_errors

TWO = {"benign": 0.1, "malignant": 0.35}


def source(sensitivity: float | None, num_malignant: int, num_benign: int = 100) -> SourceMetrics:
    return SourceMetrics(
        n=num_malignant + num_benign,
        num_malignant=num_malignant,
        auroc=Metric(),
        sensitivity=Metric() if sensitivity is None else Metric(value=sensitivity, low=0.9, high=0.98),
        specificity=Metric(value=0.7, low=0.6, high=0.8),
        balanced_accuracy=Metric(),
        risk_ece=Metric(),
    )


@pytest.fixture
def lesion(models: list[LoadedModel]) -> LoadedModel:
    return models[0]


def measured(model: LoadedModel, **metrics: object) -> LoadedModel:
    return model.model_copy(update={"metrics": model.metrics.model_copy(update=metrics)})


def test_the_test_photos_of_all_sources_are_counted_together(lesion):
    by_source = {"ham10000": source(0.96, 300), "pad_ufes_20": source(0.92, 100), "empty": source(None, 0)}

    errors = verdict_errors(measured(lesion, test_by_source=by_source, by_source={"x": source(0.5, 9)}))

    assert errors is not None
    assert errors.of_malignant() == "Of 100 malignant lesions in the test photos, 5 were called benign."
    assert [round(rate.share, 2) for rate in errors.benign_called_malignant] == [0.3, 0.3, 0.3]
    assert [rate.text() for rate in errors.malignant_called_benign] == [
        "HAM10000 (dermatoscope): 4% (95% interval 2% to 10%, 300 photos)",
        "PAD-UFES-20 (phones): 8% (95% interval 2% to 10%, 100 photos)",
    ]


def test_the_verdicts_of_the_whole_pipeline_come_first(lesion):
    def verdicts(called_benign: float, num_malignant: int) -> LesionVerdictMetrics:
        return LesionVerdictMetrics(
            n=1000,
            num_malignant=num_malignant,
            called_benign=Metric(value=called_benign, low=0.02, high=0.07),
            called_malignant=Metric(value=0.1),
            inconclusive=Metric(value=0.2),
            not_usable=Metric(value=0.01),
        )

    errors = verdict_errors(
        measured(
            lesion.model_copy(update={"thresholds": TWO}),
            test_by_source={"x": source(0.5, 100)},
            verdicts={
                "ham10000": verdicts(0.9, 200),
                "dermoscopy": verdicts(0.03, 300),
                "phone photos": verdicts(0.06, 60),
                "all": verdicts(0.04, 360),
            },
        )
    )

    assert errors is not None
    assert errors.of_malignant() == "Of 100 malignant lesions in the test photos, 4 were called benign."
    assert [rate.text() for rate in errors.malignant_called_benign] == [
        "All photos: 4% (95% interval 2% to 7%, 360 photos)",
        "Dermoscopic photos: 3% (95% interval 2% to 7%, 300 photos)",
        "Phone photos: 6% (95% interval 2% to 7%, 60 photos)",
    ]


def test_without_test_photos_the_validation_photos_count(lesion):
    errors = verdict_errors(measured(lesion, by_source={"x": source(0.99, 100)}))

    assert errors is not None
    assert errors.of_malignant() == "Of 100 malignant lesions in the validation photos, 1 was called benign."


def test_a_rate_under_one_in_a_hundred_is_never_none(lesion):
    errors = verdict_errors(measured(lesion, by_source={"x": source(1.0, 100)}))

    assert errors is not None and "fewer than 1 was called benign" in errors.of_malignant()


def test_no_error_is_stated_without_an_interval(lesion):
    errors = verdict_errors(measured(lesion, by_source={"pad_ufes_20": source(1.0, 59)}))

    assert errors is not None
    assert errors.malignant_called_benign[0].text() == "PAD-UFES-20 (phones): none of 59 photos"


def test_between_two_thresholds_the_missed_photos_are_an_upper_bound(lesion):
    errors = verdict_errors(lesion.model_copy(update={"thresholds": TWO}))

    assert errors is not None
    assert errors.of_malignant().endswith("validation photos, at most 13 were called benign.")


def test_a_source_with_few_photos_has_no_rate_of_its_own(lesion):
    errors = verdict_errors(measured(lesion, test_by_source={"isic2020": source(0.0, 1)}))

    assert errors is not None
    assert errors.malignant_called_benign[0].text() == "ISIC 2020 (dermatoscope): not stated, 1 photo only"


def test_a_network_without_metrics_has_no_errors(lesion):
    assert verdict_errors(lesion.model_copy(update={"metrics": TaskMetrics()})) is None


def test_errors_measured_at_other_thresholds_are_not_stated(lesion):
    released = measured(
        lesion.model_copy(update={"thresholds": TWO, "released_thresholds": TWO}),
        test_by_source={"x": source(0.95, 100)},
    )

    assert verdict_errors(released) is not None
    assert verdict_errors(released.model_copy(update={"thresholds": TWO | {"malignant": 0.9}})) is None

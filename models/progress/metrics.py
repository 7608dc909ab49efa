"""Metrics of a progress checkpoint."""

from pydantic import AliasChoices, Field

from models.metrics import Metric, MetricsModel, TaskMetrics, omitted_if_empty


class BaselineMetrics(MetricsModel):
    """Metrics of one model on the validation series; the bootstrap resamples people."""

    balanced_accuracy: Metric
    recall: dict[str, Metric]
    """Of "worsened" and "improved"."""


class NoChangeMetrics(MetricsModel):
    """Distribution of the probability of "improved" on no-change controls."""

    n: int
    num_people: int
    mean: Metric
    std: Metric
    confident_share: Metric = Field(
        validation_alias=AliasChoices("outside_0.2_to_0.8", "confident_share"),
        serialization_alias="outside_0.2_to_0.8",
    )
    """Share of series with a probability below 0.2 or above 0.8."""
    lowest: float
    highest: float


class VerdictMetrics(MetricsModel):
    """Rates of the verdicts; the bootstrap resamples people, then their series."""

    called: dict[str, Metric]
    """Share of series without a change called improved or worsened, by kind of no-change control."""
    called_by_person: dict[str, dict[str, float]]
    """The same by kind and person, for the kinds that the thresholds are fitted on."""
    found: dict[str, Metric]
    """Share of series with a change that have the right verdict, by renderer of the lesions."""
    opposite: dict[str, Metric]
    """Share of them with the opposite verdict."""


class ProgressMetrics(TaskMetrics):
    """Metrics of a progress checkpoint at probability 0.5."""

    split: str = omitted_if_empty("")
    """Description of the evaluated series."""
    largest_difference_from_training: float | None = omitted_if_empty()
    """In probability, between the checkpoint and the network that it was made from."""
    num_without_verdict: int | None = omitted_if_empty()
    """Series without a clear label; they are not evaluated."""
    n: int
    """Series."""
    num_people: int
    balanced_accuracy: Metric
    """The bootstrap resamples series."""
    balanced_accuracy_over_people: Metric
    """The bootstrap resamples people, then their series."""
    recall: dict[str, Metric]
    """Of "worsened" and "improved"."""
    auroc: Metric
    balanced_accuracy_by_photos: dict[str, Metric]
    """By number of photos with a face; without intervals."""
    balanced_accuracy_by_person: dict[str, float]
    baselines: dict[str, BaselineMetrics] = Field(
        default={},
        validation_alias=AliasChoices("judges", "baselines"),
        serialization_alias="judges",
        exclude_if=lambda baselines: not baselines,
    )
    """By name of the model: the baseline models, the network, and the network on shuffled photos."""
    no_change: dict[str, NoChangeMetrics] = Field(
        default={},
        validation_alias=AliasChoices("steady", "no_change"),
        serialization_alias="steady",
        exclude_if=lambda controls: not controls,
    )
    """By kind of no-change control."""
    verdicts: dict[str, VerdictMetrics] = Field(default={}, exclude_if=lambda verdicts: not verdicts)
    """``cross_fitted``: thresholds fitted without each series' person; ``checkpoint``: those stored."""

    @property
    def is_calibrated(self) -> bool:
        """Whether the thresholds were fitted on the people of the validation set."""
        return "cross_fitted" in self.verdicts

    def summary(self) -> dict[str, Metric]:
        """Return the main metrics on the validation series."""
        found = {
            "balanced accuracy": self.balanced_accuracy_over_people,
            "AUROC": self.auroc,
            "recall of improved": self.recall.get("improved", Metric()),
            "recall of worsened": self.recall.get("worsened", Metric()),
        }
        return {name: metric.model_copy(update={"n": metric.n or self.n}) for name, metric in found.items()}

"""How often the verdicts of a lesion network are wrong, from the metrics of ``GET /v1/models``."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from babel.numbers import format_decimal

from serve.schemas import LesionMetrics, LesionVerdictMetrics, LoadedModel, Metric
from ui.rendering import exact_percent
from ui.translation import DEFAULT_LANGUAGE, N_, NN_, translations

_ALL = "all"
_GROUP_NAMES = {"dermoscopy": N_("Dermoscopic photos"), "phone photos": N_("Phone photos")}
_SOURCE_NAMES = {
    _ALL: N_("All photos"),
    **_GROUP_NAMES,
    "ham10000": N_("HAM10000 (dermatoscope)"),
    "isic2018_val": N_("ISIC 2018, validation part (dermatoscope)"),
    "isic2020": N_("ISIC 2020 (dermatoscope)"),
    "isic_msk": N_("ISIC, MSK and UDA (dermatoscope)"),
    "pad_ufes_20": N_("PAD-UFES-20 (phones)"),
    "bare skin": N_("Bare skin beside lesions"),
    "drawn": N_("Drawn patterns"),
    "faces": N_("Portraits"),
    "not_faces": N_("Objects of the face data set"),
    "not_skin": N_("Objects and scenes"),
}
_MIN_PHOTOS = 10
"""For a rate of one source; the sentences count all sources."""


def source_name(source: str) -> str:
    """Return the name of a source of photos for people."""
    return _SOURCE_NAMES.get(source, source)


@dataclass(frozen=True, kw_only=True)
class ErrorRate:
    """Share of the photos of one source with a wrong verdict, and its 95% interval."""

    source: str
    share: float
    low: float | None
    high: float | None
    num_photos: int | None

    def text(self, language: str = DEFAULT_LANGUAGE) -> str:
        """Return such as "HAM10000 (dermatoscope): 11% (95% interval 6% to 17%, 198 photos)"."""
        t = translations(language)
        name = f"{t.gettext(self.source)}: " if self.source else ""
        n = self.num_photos
        counted = (
            ""
            if n is None
            else t.ngettext("%(n)s photo", "%(n)s photos", n) % {"n": format_decimal(n, locale=language)}
        )
        if n is not None and n < _MIN_PHOTOS:
            only = t.ngettext("not stated, %(n)s photo only", "not stated, %(n)s photos only", n)
            return name + only % {"n": n}
        if self.share == 0 and counted:  # a bootstrap interval of no errors is empty
            return name + t.gettext("none of %(photos)s") % {"photos": counted}
        interval = ""
        if self.low is not None and self.high is not None:
            ends = {
                "low": exact_percent(100 * self.low, language),
                "high": exact_percent(100 * self.high, language),
            }
            interval = t.gettext("95%% interval %(low)s to %(high)s") % ends
        notes = ", ".join(filter(None, (interval, counted)))
        return name + exact_percent(100 * self.share, language) + (f" ({notes})" if notes else "")


@dataclass(frozen=True, kw_only=True)
class VerdictErrors:
    """Wrong verdicts on photos with a known diagnosis.

    Attributes:
        photos: "test photos" or "validation photos".
        malignant_called_benign: by kind of photo, not empty.
        benign_called_malignant: by kind of photo.
        is_upper_bound: whether ``malignant_called_benign`` includes inconclusive answers, which are not
            wrong.
    """

    photos: str
    malignant_called_benign: tuple[ErrorRate, ...]
    benign_called_malignant: tuple[ErrorRate, ...]
    is_upper_bound: bool = False

    def of_malignant(self, language: str = DEFAULT_LANGUAGE) -> str:
        """Return such as "Of 100 malignant lesions in the test photos, 5 were called benign."."""
        count = _in_hundred(self.malignant_called_benign)
        t = translations(language)
        fewer, exact, at_most = _SENTENCES[self.photos]
        if count == 0:
            return t.gettext(fewer)
        one, several = at_most if self.is_upper_bound else exact
        return t.ngettext(one, several, count) % {"n": count}

    def details(self, language: str) -> list[tuple[str, list[str]]]:
        """Return headings, each with the rates of the kinds of photos."""
        t = translations(language)
        missed = [rate.text(language) for rate in self.malignant_called_benign]
        false_alarms = [rate.text(language) for rate in self.benign_called_malignant]
        missed_heading, false_heading = (t.gettext(text) for text in _HEADINGS[self.photos])
        if self.is_upper_bound:
            missed_heading = t.gettext("Malignant lesions called benign or inconclusive")
        return [(missed_heading, missed), *([(false_heading, false_alarms)] if false_alarms else [])]


_SENTENCES = {
    "test photos": (
        N_("Of 100 malignant lesions in the test photos, fewer than 1 was called benign."),
        NN_(
            "Of 100 malignant lesions in the test photos, %(n)s was called benign.",
            "Of 100 malignant lesions in the test photos, %(n)s were called benign.",
        ),
        NN_(
            "Of 100 malignant lesions in the test photos, at most %(n)s was called benign.",
            "Of 100 malignant lesions in the test photos, at most %(n)s were called benign.",
        ),
    ),
    "validation photos": (
        N_("Of 100 malignant lesions in the validation photos, fewer than 1 was called benign."),
        NN_(
            "Of 100 malignant lesions in the validation photos, %(n)s was called benign.",
            "Of 100 malignant lesions in the validation photos, %(n)s were called benign.",
        ),
        NN_(
            "Of 100 malignant lesions in the validation photos, at most %(n)s was called benign.",
            "Of 100 malignant lesions in the validation photos, at most %(n)s were called benign.",
        ),
    ),
}
_HEADINGS = {
    "test photos": (
        N_("Malignant lesions called benign, test photos"),
        N_("Benign lesions called malignant, test photos"),
    ),
    "validation photos": (
        N_("Malignant lesions called benign, validation photos"),
        N_("Benign lesions called malignant, validation photos"),
    ),
}


def verdict_errors(model: LoadedModel) -> VerdictErrors | None:
    """Return the errors on the test set, else on the validation set.

    None if they were not measured, or at other thresholds than those of the settings.
    """
    if not isinstance(model.metrics, LesionMetrics):
        return None
    if model.released_thresholds and model.thresholds != model.released_thresholds:
        return None
    return next((errors for errors in _found(model) if errors.malignant_called_benign), None)


def verdicts_by_kind(metrics: LesionMetrics) -> dict[str, LesionVerdictMetrics]:
    """Return the metrics of all test photos, dermoscopic and phone photos; by source if there is no sum."""
    verdicts = metrics.verdicts
    if _ALL not in verdicts:
        return verdicts
    return {name: verdicts[name] for name in (_ALL, *_GROUP_NAMES) if name in verdicts}


def _found(model: LoadedModel) -> Iterator[VerdictErrors]:
    """Yield the errors of the verdicts, then those of older checkpoints by sensitivity and specificity."""
    metrics = model.metrics
    assert isinstance(metrics, LesionMetrics)
    verdicts = verdicts_by_kind(metrics)
    yield VerdictErrors(
        photos="test photos",
        malignant_called_benign=_rates(
            {name: (one.called_benign, one.num_malignant) for name, one in verdicts.items()}
        ),
        benign_called_malignant=_rates(
            {name: (one.called_malignant, one.n - one.num_malignant) for name, one in verdicts.items()}
        ),
    )
    is_upper_bound = model.thresholds.get("benign", 1) < model.thresholds.get("malignant", 0)
    for photos, by_source in (
        ("test photos", metrics.test_by_source),
        ("validation photos", metrics.by_source),
    ):
        sensitivity = {name: (_wrong(one.sensitivity), one.num_malignant) for name, one in by_source.items()}
        specificity = {
            name: (_wrong(one.specificity), one.n - one.num_malignant) for name, one in by_source.items()
        }
        yield VerdictErrors(
            photos=photos,
            malignant_called_benign=_rates(sensitivity),
            benign_called_malignant=_rates(specificity),
            is_upper_bound=is_upper_bound,
        )
    risk = metrics.risk
    yield VerdictErrors(
        photos="validation photos",
        malignant_called_benign=_rates({"": (_wrong(risk.sensitivity), risk.sensitivity.n)}),
        benign_called_malignant=_rates({"": (_wrong(risk.specificity), risk.specificity.n)}),
        is_upper_bound=is_upper_bound,
    )


def _wrong(correct: Metric) -> Metric:
    """Return the share of errors for a share of correct verdicts."""
    value, low, high = (None if x is None else 1 - x for x in (correct.value, correct.high, correct.low))
    return Metric(value=value, low=low, high=high)


def _rates(errors: Mapping[str, tuple[Metric, int | None]]) -> tuple[ErrorRate, ...]:
    """Return the rates that are defined."""
    return tuple(
        ErrorRate(
            source=source_name(source),
            share=metric.value,
            low=metric.low,
            high=metric.high,
            num_photos=num_photos,
        )
        for source, (metric, num_photos) in errors.items()
        if metric.value is not None and num_photos != 0
    )


def _in_hundred(rates: Sequence[ErrorRate]) -> int:
    if rates[0].source == _SOURCE_NAMES[_ALL]:
        rates = rates[:1]
    weights = [rate.num_photos or 1 for rate in rates]
    share = sum(rate.share * weight for rate, weight in zip(rates, weights, strict=True)) / sum(weights)
    return round(100 * share)
